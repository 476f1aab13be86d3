"""What epochs, groups and optimizers cost: `python -m benchmarks.sizes`.

A real Trainer begins and makes a few updates, with ours and with what Lightning has for it: torch's cosine, stepped
at every update, and `LearningRateMonitor` at every update. Optimizers do nothing in their steps, so that little else is
measured. Each number is the least of some runs, in time of the processor in the thread that trains: to the first batch,
for an update, and from the last batch to the end. The record is kept, and no picture is drawn.
"""

from __future__ import annotations

import argparse
import gc
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Size(NamedTuple):
    """What a run is made of.

    Attributes:
        epochs: that it may last; it ends after ``updates`` of each optimizer.
        groups: of each optimizer.
        optimizers: more than one in manual optimization.
        updates: of each optimizer.
    """

    epochs: int = 1
    groups: int = 1
    optimizers: int = 1
    updates: int = 100

    def __str__(self) -> str:
        return f"{self.epochs:,} / {self.groups:,} / {self.optimizers}"


SIZES = (
    Size(),
    Size(epochs=1_000_000),
    Size(groups=100),
    Size(groups=10_000, updates=20),
    Size(optimizers=100, updates=20),
)
_SKIP = 5  # the first updates are slower

# Name -> whether the module has torch's schedulers, and the callbacks.
Variant = tuple[bool, Callable[[Size, str], list[Callback]]]
VARIANTS: dict[str, Variant] = {
    "nothing": (False, lambda size, folder: []),
    "CosineAnnealingLR": (True, lambda size, folder: []),
    "CosineAnnealingLR + LearningRateMonitor": (True, lambda size, folder: [LearningRateMonitor("step")]),
    "LearningRateScheduler": (False, lambda size, folder: [_scheduler(size)]),
    "LearningRateScheduler + LearningRateLogger": (
        False,
        lambda size, folder: [_scheduler(size), LearningRateLogger(folder, plot=False)],
    ),
}


def _scheduler(size: Size) -> LearningRateScheduler:
    total = size.updates if size.optimizers > 1 else None  # in manual optimization only the module knows it
    return LearningRateScheduler(schedules.Cosine(), total_steps=total)


class Idle(Optimizer):
    """Changes nothing."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        first, *others = weights
        super().__init__([first], {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01})
        # torch compares each group that is added with all before it, which takes a minute for 10,000.
        self.param_groups += [{**self.param_groups[0], "params": [weight]} for weight in others]

    def step(self, closure: Any = None) -> Any:
        return None if closure is None else torch.enable_grad()(closure)()


class Sized(LightningModule):
    """A module of some size, whose loss needs one weight of each optimizer."""

    def __init__(self, size: Size, torch_schedule: bool) -> None:
        super().__init__()
        self.automatic_optimization = size.optimizers == 1
        self.weights = nn.ModuleList(
            nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(size.groups)]) for _ in range(size.optimizers)
        )
        self.torch_schedule, self.updates = torch_schedule, size.updates

    def configure_optimizers(self) -> Any:
        optimizers = [Idle(list(weights.parameters())) for weights in self.weights]
        if not self.torch_schedule:
            return optimizers
        made = [{"scheduler": CosineAnnealingLR(one, self.updates), "interval": "step"} for one in optimizers]
        return optimizers, made

    def training_step(self, batch: Tensor) -> Any:
        if self.automatic_optimization:
            return self.weights[0][0].sum()  # type: ignore[index]
        for weights, optimizer in zip(self.weights, self._all(self.optimizers()), strict=True):
            self.manual_backward(weights[0].sum())  # type: ignore[index]
            optimizer.step()
        for scheduler in self._all(self.lr_schedulers() or []):
            scheduler.step()
        return None

    @staticmethod
    def _all(given: Any) -> list[Any]:
        return given if isinstance(given, list) else [given]


class Took(NamedTuple):
    """Milliseconds of a run."""

    start: float
    update: float
    end: float


class Stopwatch(Callback):
    """Notes the processor's time at the first batch, after the first updates, and at the end of the last batch."""

    def __init__(self, updates: int) -> None:
        self.last, self.at = updates - 1, dict[str, float]()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx in (0, _SKIP):
            self.at["first" if batch_idx == 0 else "skipped"] = time.thread_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.last:
            self.at["last"] = time.thread_time()


def took(variant: Variant, size: Size, folder: str) -> Took:
    """Train once."""
    torch_schedule, callbacks = variant
    watch = Stopwatch(size.updates)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=size.epochs,
        max_steps=size.updates * size.optimizers,
        logger=DummyLogger(),
        log_every_n_steps=1,
        callbacks=[*callbacks(size, folder), watch],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module, data = Sized(size, torch_schedule), DataLoader(TensorDataset(torch.zeros(size.updates)), batch_size=None)
    begun = time.thread_time()
    trainer.fit(module, data)
    at, over = watch.at, time.thread_time()
    updates = size.updates - _SKIP
    return Took(1e3 * (at["first"] - begun), 1e3 * (at["last"] - at["skipped"]) / updates, 1e3 * (over - at["last"]))


def measure(sizes: Sequence[Size] = SIZES, repeats: int = 3) -> dict[Size, dict[str, Took]]:
    """Return the least of each time, by size and variant."""
    found: dict[Size, dict[str, Took]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            runs: dict[str, list[Took]] = {name: [] for name in VARIANTS}
            for _ in range(repeats):
                for number, (name, variant) in enumerate(VARIANTS.items()):
                    gc.collect()  # else a run pays for the modules of those before it
                    runs[name].append(took(variant, size, str(Path(folder, str(number)))))
            found[size] = {name: Took(*map(min, zip(*all_, strict=True))) for name, all_ in runs.items()}
    return found


def table(found: dict[Size, dict[str, Took]]) -> str:
    """Return start / update / end in milliseconds as Markdown; beside a run without a schedule what each one adds."""
    lines = [f"| epochs / groups / optimizers | {' | '.join(VARIANTS)} |", "|" + "---|" * (len(VARIANTS) + 1)]
    for size, runs in found.items():
        bare, *others = runs.values()
        cells = [" / ".join(f"{value:.3g}" for value in bare)]
        for one in others:
            cells.append(" / ".join(f"{value - without:+.3g}" for value, without in zip(one, bare, strict=True)))
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="runs of each (default: 3)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(table(measure(repeats=options.repeats)))


if __name__ == "__main__":
    main()
