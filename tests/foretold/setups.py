"""The table of set-ups: schedulers as people write them, and what a forecast of each must say.

Each row is a `configure_optimizers`, under a name, with one docstring: what its author meant and what happens. The
names of findings are judged by what happens to the LR in a plain run (oracle.py), not by any implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD

from tests.foretold.oracle import Configure, Measured, Toy, loader, measured, quiet_trainer

FINDINGS = {
    *("climbs_again", "floor_not_reached", "peak_not_reached", "finished_early", "ends_high", "vanishes"),
    *("milestone_never_hit", "never_ticks", "frequency_restarts", "frequency_with_accumulation", "raises"),
    *("negative_lr", "ratio_changed", "group_rises", "first_updates_zero", "two_writers", "replaced", "late_by_one"),
    *("plateau_cannot_cut", "plateau_stale", "total_unknown", "other_length"),
}
PEAK = 0.1


@dataclass(frozen=True)
class Setup:
    """One row.

    Args:
        name: of the function that is its `configure_optimizers`.
        sentence: what its author meant, and what happens.
        configure: that function; it gets the module.
        expected: names of the findings; none for a sound set-up.
        may: names that fit too, so that a forecast may add them or not.
        module: class of the module; it gets ``configure``.
        train, val: make the loaders; ``val`` is ``None`` without validation.
        data: makes a data module, in place of the loaders.
        callbacks: makes those of the Trainer.
        options: of the Trainer.
        known: how many first updates are certain; ``None`` for all. Two numbers are the least and the most that can be
            called so: from the first decision of a plateau to its earliest cut.
        total: the number of updates can be known.
        ticks: the scheduler's ticks are calls of ``step``, and of the scheduler that the module built.
        ckpt: trains a first part and returns its checkpoint.
        check: the measured run is as the sentence says.
        trained: it is trained by the tests; one in the proportions of a real project is only foretold.
        peer: package that the set-up needs.
    """

    name: str
    sentence: str
    configure: Configure
    expected: frozenset[str]
    may: frozenset[str] = frozenset()
    module: Callable[[Configure], LightningModule] = Toy
    train: Callable[[], Any] = lambda: loader(8)
    val: Callable[[], Any] | None = None
    data: Callable[[], LightningDataModule] | None = None
    callbacks: Callable[[], list[Callback]] = list
    options: dict[str, Any] = field(default_factory=dict)
    known: int | tuple[int, int] | None = None
    total: bool = True
    ticks: bool = True
    ckpt: Callable[[Setup, Path], Path] | None = None
    check: Callable[[Measured], bool] | None = None
    trained: bool = True
    peer: str | None = None

    @property
    def sound(self) -> bool:
        return not self.expected

    def build(self, *more: Callback, **options: Any) -> tuple[Trainer, LightningModule, dict[str, Any]]:
        """A Trainer, a module and the loaders: new ones at every call."""
        if self.peer is not None:
            pytest.importorskip(self.peer)
        trainer = quiet_trainer([*self.callbacks(), *more], **{**self.options, **options})
        loaders = {"train_dataloaders": self.train()} if self.data is None else {"datamodule": self.data()}
        if self.val is not None:
            loaders["val_dataloaders"] = self.val()
        return trainer, self.module(self.configure), loaders


SETUPS: dict[str, Setup] = {}


def setup(*expected: str, batches: int = 8, epochs: int | None = 4, **options: Any) -> Callable[[Configure], Configure]:
    """Enter the function below into the table.

    Args:
        expected: names of the findings.
        batches: of an epoch.
        epochs: ``max_epochs``.
        options: fields of `Setup`; all others are the Trainer's.
    """
    names = Setup.__dataclass_fields__
    fields = {name: options.pop(name) for name in list(options) if name in names}
    fields.setdefault("train", lambda: loader(batches))
    fields["may"] = frozenset(fields.get("may", ()))

    def enter(configure: Configure) -> Configure:
        name, sentence = configure.__name__, " ".join((configure.__doc__ or "").split())
        assert name not in SETUPS, name
        assert sentence, name
        assert {*expected, *fields["may"]} <= FINDINGS, name
        SETUPS[name] = Setup(
            name, sentence, configure, frozenset(expected), options={"max_epochs": epochs, **options}, **fields
        )
        return configure

    return enter


def sgd(module: Any, *lrs: Any, **options: Any) -> SGD:
    """Plain SGD: a group for each of the LRs, one parameter in each."""
    lrs = lrs or (PEAK,)
    return SGD([{"params": [w], "lr": lr} for w, lr in zip(module.w, lrs)], lr=lrs[-1], **options)  # noqa: B905


def per_step(optimizer: Any, scheduler: Any, **config: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", **config}}


def per_epoch(optimizer: Any, scheduler: Any, **config: Any) -> dict[str, Any]:
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, **config}}


def stopped(step: int, **options: Any) -> Callable[[Setup, Path], Path]:
    """A checkpoint after ``step`` updates of a run with these options."""

    def first_part(setup: Setup, folder: Path) -> Path:
        keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=step, save_top_k=-1)
        trainer, module, loaders = setup.build(keep, **{"enable_checkpointing": True, **options})
        trainer.fit(module, **loaders)
        return folder / f"step={step}.ckpt"

    return first_part


def stopped_after(epoch: int, **options: Any) -> Callable[[Setup, Path], Path]:
    """A checkpoint at the end of epoch ``epoch`` (from 0) of a run with these options."""

    def first_part(setup: Setup, folder: Path) -> Path:
        keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
        trainer, module, loaders = setup.build(keep, **{"enable_checkpointing": True, **options})
        trainer.fit(module, **loaders)
        return folder / f"epoch={epoch}.ckpt"

    return first_part


def near(value: float, other: float) -> bool:
    return abs(value - other) <= 1e-9 * max(abs(value), abs(other), 1e-300)


@cache
def plain(name: str) -> Measured:
    """The plain run of a set-up, trained once for all tests."""
    with TemporaryDirectory() as folder:
        return measured(SETUPS[name], Path(folder))
