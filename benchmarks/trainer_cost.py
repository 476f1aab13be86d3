"""What scheduling and logging add to a training step of a tiny module: `python -m benchmarks.trainer_cost`.

Every variant trains the same module for the same number of updates with the same Trainer; the repetitions of all
variants are interleaved, so that a machine which changes its speed does not favour one. Measured is the time of the
processor, in the thread that trains, so that other processes count as little as can be. The logger keeps nothing,
so that only the cost of asking it is measured.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import lightning
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules


class Tiny(LightningModule):
    """One parameter; ``torch_schedule`` gives it torch's cosine, stepped at every update."""

    def __init__(self, updates: int, torch_schedule: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.updates, self.torch_schedule = updates, torch_schedule

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return (self.weight * batch[0]).sum()

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        if not self.torch_schedule:
            return optimizer
        scheduler = {"scheduler": CosineAnnealingLR(optimizer, self.updates), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}


class Clock(Callback):
    """Seconds of the processor in this thread, between the first batch after the warm-up and the last one.

    What is done once at the end, such as closing files, does not count: it is not done at every update.
    """

    def __init__(self, skip: int, updates: int) -> None:
        self.skip, self.last, self.start, self.seconds = skip, updates - 1, 0.0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.skip:
            self.start = time.thread_time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.last:
            self.seconds = time.thread_time() - self.start


Variant = tuple[bool, int, Callable[[str], list[Callback]]]
VARIANTS: dict[str, Variant] = {
    "nothing": (False, 50, lambda folder: []),
    "CosineAnnealingLR": (True, 50, lambda folder: []),
    "CosineAnnealingLR + LearningRateMonitor, every 50": (True, 50, lambda folder: [LearningRateMonitor("step")]),
    "CosineAnnealingLR + LearningRateMonitor, every 1": (True, 1, lambda folder: [LearningRateMonitor("step")]),
    "LearningRateScheduler": (False, 50, lambda folder: [LearningRateScheduler(schedules.Cosine())]),
    "LearningRateScheduler + LearningRateLogger": (
        False,
        50,
        lambda folder: [LearningRateScheduler(schedules.Cosine()), LearningRateLogger(folder, plot=False)],
    ),
}


def microseconds_per_update(variant: Variant, updates: int, folder: str) -> float:
    """Train once and return the time of an update."""
    torch_schedule, every, callbacks = variant
    clock = Clock(updates // 10, updates)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=updates,
        max_epochs=-1,
        logger=DummyLogger(),
        log_every_n_steps=every,
        callbacks=[*callbacks(folder), clock],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    gc.collect()
    trainer.fit(Tiny(updates, torch_schedule), DataLoader(TensorDataset(torch.ones(updates, 1)), batch_size=None))
    return 1e6 * clock.seconds / (updates - clock.skip)


def measure(updates: int, repeats: int) -> dict[str, list[float]]:
    """Return the microseconds per update of every variant and repetition."""
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for name, variant in VARIANTS.items():
                times[name].append(microseconds_per_update(variant, updates, folder))
    return times


def table(times: dict[str, list[float]]) -> str:
    """Return the medians, and what each adds to the bare Trainer beside torch + LearningRateMonitor at every update."""
    bare = times["nothing"]
    added = {
        name: statistics.median(t - b for t, b in zip(values, bare, strict=True)) for name, values in times.items()
    }
    reference = added["CosineAnnealingLR + LearningRateMonitor, every 1"]
    lines = ["| what | us per update (median) | adds | share of CosineAnnealingLR + LearningRateMonitor, every 1 |"]
    lines.append("|---|---|---|---|")
    for name, values in times.items():
        share = added[name] / reference
        lines.append(f"| {name} | {statistics.median(values):.0f} | {added[name]:.0f} | {share:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1000, help="updates in a run (default: 1000)")
    parser.add_argument("--repeats", type=int, default=15, help="runs of each variant (default: 15)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(table(measure(options.updates, options.repeats)))
    print(f"\nPython {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}")


if __name__ == "__main__":
    main()
