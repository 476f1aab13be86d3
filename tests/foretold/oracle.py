"""The oracle of these tests: what plain Lightning really used, measured; nothing of lr_recipes is imported here.

A set-up is trained as it is. Every update's LRs are read when the raw optimizer steps, and checked by the move of the
parameters; every call of a scheduler's ``step`` is counted.
"""

from __future__ import annotations

import logging
import random
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

Configure = Callable[[Any], Any]


class Toy(LightningModule):
    """Parameters, one for each group, whose gradient is 1; ``configure`` is its ``configure_optimizers``."""

    def __init__(self, configure: Configure) -> None:
        super().__init__()
        self.configure = configure
        self.w = nn.ParameterList(nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(3))

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return torch.stack([w.sum() for w in self.w]).sum()

    def configure_optimizers(self) -> Any:
        return self.configure(self)


class Unsized(IterableDataset[Tensor]):
    """Batches, without saying how many."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.ones(self.batches, 1))


def loader(batches: int) -> DataLoader[Any]:
    return DataLoader(torch.ones(batches, 1))  # type: ignore[arg-type]


@dataclass
class Measured:
    """A run that is over.

    Args:
        used: ``used[o][n]`` has the LRs of the groups of optimizer ``o`` at its update ``n`` of this run.
        ticks: ``ticks[s]`` has, for every call of scheduler ``s``, how many updates of all optimizers came before it.
        momentum: of the first group at every update; ``None`` where it has none.
        begun: updates that a resumed run's checkpoint had done; the figures in ``ticks`` and ``used`` begin after it.
        error: the type and the first line of what ended the run.
        warned: what was warned of during the fit.
        random: a number of each generator, drawn when training begins.
        apart: updates whose parameters did not move by LR times gradient.
        left: what is there when training has ended: weights, LRs, ticks of the schedulers, random states.
    """

    used: list[list[tuple[float, ...]]] = field(default_factory=list)
    ticks: list[list[int]] = field(default_factory=list)
    momentum: list[list[float | None]] = field(default_factory=list)
    begun: int = 0
    error: str | None = None
    warned: list[str] = field(default_factory=list)
    random: tuple[float, ...] = ()
    apart: list[tuple[int, int]] = field(default_factory=list)
    left: list[Any] = field(default_factory=list)

    @property
    def lrs(self) -> list[float]:
        """Of the first group of the first optimizer."""
        return [lrs[0] for lrs in self.used[0]]

    @property
    def updates(self) -> int:
        return sum(map(len, self.used))


class Oracle(Callback):
    def __init__(self) -> None:
        self.run = Measured()
        self._done = 0
        self._handles: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.run.begun = trainer.global_step
        self.run.random = (float(torch.rand(1)), random.random(), float(numpy.random.rand()))
        for index, optimizer in enumerate(trainer.optimizers):
            self.run.used.append([])
            self.run.momentum.append([])
            self._watch(index, optimizer)
        for config in trainer.lr_scheduler_configs:
            self.run.ticks.append([])
            self._count(config.scheduler, self.run.ticks[-1])

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for handle in self._handles:
            handle.remove()
        self.run.left = [
            [weight.tolist() for weight in pl_module.parameters()],
            [(float(group["lr"]), group.get("initial_lr")) for one in trainer.optimizers for group in one.param_groups],
            [getattr(config.scheduler, "last_epoch", None) for config in trainer.lr_scheduler_configs],
            [torch.get_rng_state().tolist(), random.getstate(), repr(numpy.random.get_state())],
        ]

    def _watch(self, index: int, optimizer: Any) -> None:
        before: list[Tensor] = []

        def read(*_: Any) -> None:
            self.run.used[index].append(tuple(float(group["lr"]) for group in optimizer.param_groups))
            group = optimizer.param_groups[0]
            self.run.momentum[index].append(group.get("momentum", group.get("betas", [None])[0]))
            before[:] = [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]

        def look(*_: Any) -> None:
            self._done += 1
            if type(optimizer) is not torch.optim.SGD:
                return
            olds = iter(before)
            for group, lr in zip(optimizer.param_groups, self.run.used[index][-1], strict=True):
                for p, old in zip(group["params"], olds):  # noqa: B905  (the next group goes on in `olds`)
                    moved = (
                        None if p.grad is None or group["momentum"] else (old - p.detach() - lr * p.grad).abs().max()
                    )
                    if moved is not None and moved > 1e-6 * abs(lr) + 1e-12:
                        self.run.apart.append((index, len(self.run.used[index]) - 1))

        self._handles += [optimizer.register_step_pre_hook(read), optimizer.register_step_post_hook(look)]

    def _count(self, scheduler: Any, ticks: list[int]) -> None:
        step = scheduler.step

        def counted(*args: Any, **options: Any) -> Any:
            ticks.append(self._done)
            return step(*args, **options)

        scheduler.step = counted


@contextmanager
def silence() -> Iterator[list[warnings.WarningMessage]]:
    """Without Lightning's lines; the warnings are kept."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def quiet_trainer(callbacks: list[Callback], **options: Any) -> Trainer:
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=callbacks, **{**quiet, **options})


def nothing(trainer: Trainer, module: LightningModule, **loaders: Any) -> None:
    """What is done before a plain fit."""


def measured(setup: Any, folder: Path, before: Callable[..., Any] = nothing) -> Measured:
    """Train the set-up, and say what was used.

    Args:
        setup: a row of the table, see setups.py.
        folder: for the checkpoint of a set-up that goes on from one.
        before: called with what `trainer.fit` is called with, before it.
    """
    oracle = Oracle()
    with silence() as caught:
        arguments = {} if setup.ckpt is None else {"ckpt_path": str(setup.ckpt(setup, folder))}
        seed_everything(0, verbose=False)
        trainer, module, loaders = setup.build(oracle)
        before(trainer, module, **loaders, **arguments)
        caught.clear()
        try:
            trainer.fit(module, **loaders, **arguments)
        except Exception as error:
            oracle.run.error = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    oracle.run.warned = sorted(filter(None, map(words, caught)))
    return oracle.run


def words(warning: warnings.WarningMessage) -> str:
    """What was said, without addresses; nothing where Lightning says it once in a process."""
    said = str(warning.message)
    return "" if said.startswith("`training_step` returned `None`") else re.sub(r"0x[0-9a-f]+", "0x", said)
