"""What the cases of plain Lightning and torch are made of: the table, a tiny module, runs, words for what came out."""

from __future__ import annotations

import contextlib
import math
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim import lr_scheduler as torch_schedulers
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.heard import heard

ROOT = Path(__file__).resolve().parent.parent
PEAK = 0.1


# The table


@dataclass(frozen=True)
class Behaviour:
    """A row of the page; ``plain`` trains without lr_recipes and returns a sentence with what it measured."""

    situation: str
    here: str
    plain: Callable[[], str]


BEHAVIOURS: dict[str, Behaviour] = {}


def row(name: str, situation: str, here: str) -> Callable[[Callable[[], str]], Callable[[], str]]:
    """Enter the decorated function as the plain case of a row."""

    def enter(plain: Callable[[], str]) -> Callable[[], str]:
        BEHAVIOURS[name] = Behaviour(situation, here, plain)
        return plain

    return enter


# The module that all cases train, and what its updates used


class Tiny(LightningModule):
    """Two weights and a constant gradient.

    Args:
        build: what ``configure_optimizers`` returns, made from the module.
        step: the training step, if it is not just the loss.
        metrics: ``val_loss`` of each validation; the epoch's number picks it.
    """

    def __init__(self, build: Callable[[Any], Any], step: Any = None, metrics: Sequence[float] = ()) -> None:
        super().__init__()
        self.build, self.step, self.metrics = build, step, metrics
        self.lr = PEAK  # where `LearningRateFinder` leaves its suggestion
        self.estimate = math.nan  # what Lightning took the number of updates for, where a case asks it
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])

    def loss(self, batch: Tensor) -> Any:
        return sum((weight * batch.mean()).sum() for weight in self.weights)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) if self.step is None else self.step(self, batch, batch_idx)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.metrics[self.current_epoch])

    def configure_optimizers(self) -> Any:
        return self.build(self)


class Watch(Callback):
    """Reads the LR of every group when an optimizer steps; a step without any gradient is no update."""

    def __init__(self) -> None:
        self.used: list[list[list[float]]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.used = [[] for _ in trainer.optimizers]
        for used, optimizer in zip(self.used, trainer.optimizers, strict=True):
            optimizer.register_step_pre_hook(partial(self._before, used))
            optimizer.register_step_post_hook(partial(self._after, used))

    @staticmethod
    def _before(used: list[list[float]], optimizer: Optimizer, *_: Any) -> None:
        used.append([float(group["lr"]) for group in optimizer.param_groups])

    @staticmethod
    def _after(used: list[list[float]], optimizer: Optimizer, *_: Any) -> None:
        if all(p.grad is None for group in optimizer.param_groups for p in group["params"]):
            used.pop()


@dataclass
class Run:
    """A fit that is over, and what it said: warnings and log lines."""

    trainer: Trainer
    module: Tiny
    watch: Watch
    said: list[str] = field(default_factory=list)

    @property
    def used(self) -> list[float]:
        """Used LR of the first group of the first optimizer, update by update."""
        return [lrs[0] for lrs in self.watch.used[0]]

    @property
    def schedulers(self) -> list[Any]:
        return [config.scheduler for config in self.trainer.lr_scheduler_configs]

    @property
    def ticks(self) -> str:
        """How often each scheduler has stepped."""
        return " and ".join(str(scheduler.last_epoch) for scheduler in self.schedulers)


def fit(
    build: Callable[[Any], Any],
    *,
    batches: int = 8,
    train: Any = None,
    step: Any = None,
    metrics: Sequence[float] = (),
    module: Tiny | None = None,
    callbacks: Sequence[Callback] = (),
    ckpt_path: Any = None,
    **trainer_arguments: Any,
) -> Run:
    """Train ``Tiny`` with plain Lightning, by default in epochs of 8 batches."""
    watch = Watch()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    options = {"accelerator": "cpu", "devices": 1, "enable_model_summary": False, "num_sanity_val_steps": 0, **quiet}
    with listening() as said:
        trainer = Trainer(callbacks=[*callbacks, watch], **{**options, **trainer_arguments})
        run = Run(trainer, module or Tiny(build, step, metrics), watch, said)
        val = loader(1) if metrics else None
        trainer.fit(run.module, loader(batches) if train is None else train, val, ckpt_path=ckpt_path)
    return run


def loader(samples: int, **options: Any) -> DataLoader[Any]:
    ones: Any = torch.ones(samples, 1)
    return DataLoader(ones, **options)


def resume(first: Run, build: Callable[[Any], Any], **arguments: Any) -> Run:
    """Go on from a checkpoint of a run that has ended."""
    with tempfile.TemporaryDirectory() as folder:
        first.trainer.save_checkpoint(f"{folder}/run.ckpt", weights_only=False)
        return fit(build, ckpt_path=f"{folder}/run.ckpt", **arguments)


@contextlib.contextmanager
def listening() -> Iterator[list[str]]:
    """Collect warnings and Lightning's log lines, and keep them off the screen."""
    with heard("lightning.pytorch", "lightning.fabric") as said, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield said
        finally:
            said += [str(one.message) for one in caught]


def word(*runs: Run) -> str:
    """What runs said about the LR."""
    said = {quoted(text) for run in runs for text in run.said}
    about = sorted(text for text in said if re.search(r"learning rate|\blr|schedule", text, re.IGNORECASE))
    return f"the message is: {'; '.join(about)}" if about else "no message"


def error_of(function: Callable[[], Any]) -> str:
    """Return the error that a call ends in, or that it ends in none."""
    try:
        function()
    except Exception as error:  # whatever it is, it is the answer
        return f"{type(error).__name__}: {quoted(str(error))}"
    return "no error"


def sgd(module: Tiny, lr: Any = PEAK) -> Optimizer:
    return SGD(module.parameters(), lr=lr)


def two_groups(module: Tiny, lrs: tuple[float, float] = (PEAK, PEAK / 100)) -> Optimizer:
    return SGD([{"params": [weight], "lr": lr} for weight, lr in zip(module.weights, lrs, strict=True)])


def stepped(
    factory: Callable[..., Any], optimizer: Callable[[Any], Optimizer] = sgd, **config: Any
) -> Callable[[Any], Any]:
    """Build an optimizer and a torch scheduler that Lightning steps once per update, or as ``config`` says."""

    def build(module: Tiny) -> Any:
        one = optimizer(module)
        return {"optimizer": one, "lr_scheduler": {"scheduler": factory(one), "interval": "step", **config}}

    return build


def cosine(total: Any, **options: Any) -> Callable[[Any], Any]:
    return stepped(partial(CosineAnnealingLR, T_max=total), **options)


def plateau(patience: int = 0, **config: Any) -> Callable[[Any], Any]:
    factory = partial(ReduceLROnPlateau, factor=0.5, patience=patience)
    return stepped(factory, **{"interval": "epoch", "monitor": "val_loss", **config})


def linear_over_estimate(module: Tiny) -> Any:
    """The linear decay of transformers, over the total that Lightning estimates."""
    total = module.estimate = module.trainer.estimated_stepping_batches
    return stepped(partial(LambdaLR, lr_lambda=lambda t: max(0.0, (total - t) / max(1, total))))(module)


def cosine_over_estimate(module: Tiny) -> Any:
    module.estimate = module.trainer.estimated_stepping_batches
    return cosine(module.estimate)(module)


class Unsized(IterableDataset[Tensor]):
    """Eight ones, without a length."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(8, 1))


class Do(Callback):
    """Calls a function at the start of the batch with this number, counted over the whole run."""

    def __init__(self, at: int, action: Callable[[Trainer], Any]) -> None:
        self.at, self.action = at, action

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.total_batch_idx == self.at:
            self.action(trainer)


class StopAfter(Callback):
    """Ends a run after some batches that would not end by itself."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.fit_loop.total_batch_idx + 1 >= self.batches


# Every scheduler of torch that is a function of its count, made for 16 updates
TORCH: dict[str, Callable[[Optimizer], Any]] = {
    "StepLR": partial(StepLR, step_size=3),
    "MultiStepLR": partial(torch_schedulers.MultiStepLR, milestones=[3, 7]),
    "ConstantLR": partial(ConstantLR, total_iters=6),
    "LinearLR": partial(LinearLR, total_iters=6),
    "ExponentialLR": partial(ExponentialLR, gamma=0.9),
    "PolynomialLR": partial(torch_schedulers.PolynomialLR, total_iters=16),
    "CosineAnnealingLR": partial(CosineAnnealingLR, T_max=16),
    "CosineAnnealingWarmRestarts": partial(torch_schedulers.CosineAnnealingWarmRestarts, T_0=6),
    "LambdaLR": partial(LambdaLR, lr_lambda=lambda t: 0.9**t),
    "MultiplicativeLR": partial(torch_schedulers.MultiplicativeLR, lr_lambda=lambda t: 0.9),
    "OneCycleLR": partial(OneCycleLR, max_lr=PEAK, total_steps=16, cycle_momentum=False),
    "CyclicLR": partial(torch_schedulers.CyclicLR, base_lr=0.01, max_lr=PEAK, step_size_up=4, cycle_momentum=False),
    "SequentialLR": lambda o: SequentialLR(o, [LinearLR(o, 0.25, 1.0, 3), CosineAnnealingLR(o, 12)], [4]),
    "ChainedScheduler": lambda o: ChainedScheduler([LinearLR(o, 0.25, 1.0, 3), ExponentialLR(o, 0.9)]),
}


# Sentences


def show(values: Iterable[float]) -> str:
    """Write LRs: one that is repeated once, with how often, and of many only the first and last ones."""
    runs = [(text, len(list(same))) for text, same in groupby(f"{value:.3g}" for value in values)]
    texts = [text if count == 1 else f"{text} ({count} times)" for text, count in runs]
    return ", ".join(texts if len(texts) <= 8 else [*texts[:4], "...", *texts[-3:]])


def code(names: Iterable[str]) -> str:
    """Write names as code."""
    return ", ".join(f"`{name}`" for name in names)


def quoted(text: str) -> str:
    """Return the first sentence of a message, without its end, and fit for a cell of the table."""
    return re.split(r"[.!?](?:\s|$)", " ".join(text.split()))[0].replace("|", "\\|")


# Processes


def start(call: str, **environment: str) -> subprocess.Popen[str]:
    """Start a process that calls a function of the cases, as in ``"plain_cases.train_until_killed(...)"``."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from benchmarks import plain_cases, plain_faults, plain_paths\n{call}"],
        cwd=ROOT,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outputs_of(processes: Sequence[subprocess.Popen[str]], code: int = 0) -> list[str]:
    """Wait for processes that must end with a certain code, and return what they printed."""
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode != code:
            raise RuntimeError(f"a process ended with code {process.returncode} and not {code}:\n{errors}")
    return [printed for printed, _ in outputs]
