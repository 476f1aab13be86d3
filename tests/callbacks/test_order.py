"""The order of the callbacks in the list means nothing: all orders use the same LRs and write the same record."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch.optim import SGD
from torch.optim.lr_scheduler import ExponentialLR

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, LearningRateWarmup, schedules
from tests.callbacks.harness import PEAK, Tiny, fit

UPDATES = 12
CUT = 7
Makers = dict[str, Callable[[Path], Callback]]


class Saves(Callback):
    """Writes a checkpoint after update ``CUT``; it comes last, so that all others have had their turn."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "cut.ckpt"

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == CUT:
            trainer.save_checkpoint(self.path)


class Writes(Callback):
    """Somebody else, who writes an LR once where the plan knows nothing of it: the record must say so."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 9:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.7


def scheduler(folder: Path) -> Callback:
    return LearningRateScheduler(schedules.Cosine(warmup=3))


def warmup(folder: Path) -> Callback:
    return LearningRateWarmup(4)


def logger(folder: Path) -> Callback:
    return LearningRateLogger(folder, plot=False)


def range_test(folder: Path) -> Callback:
    return LearningRateRangeTest(1e-5, 10.0, num_training_steps=30, dirpath=folder, plot=False)


def writes(folder: Path) -> Callback:
    return Writes()


def module(owner: str) -> Tiny:
    """A module whose loss has a lowest point, for the range test; with a scheduler of its own under a warmup."""

    class Bowl(Tiny):
        def loss(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.stack([(1 + (weight - 3) ** 2).sqrt().sum() for weight in self.weights]).sum()

    def build(parameters: list[Any]) -> Any:
        optimizer = SGD(parameters, lr=PEAK)
        if owner == "scheduler":
            return optimizer
        return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}]

    return Bowl(build)


def train(owner: str, makers: Sequence[Callable[[Path], Callback]], folder: Path, ckpt: Path | None = None) -> Any:
    """The LRs that were used, and the record."""
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    callbacks = [*(make(folder) for make in makers), *([] if ckpt else [Saves(folder)])]
    run = fit(module=module(owner), callbacks=callbacks, batches=UPDATES, max_epochs=1, ckpt_path=ckpt)
    return run.used, (folder / "lr.csv").read_text()


OWNERS = {"scheduler": scheduler, "warmup": warmup}
each_owner = pytest.mark.parametrize("owner", OWNERS)
pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:update 9 used LR 0.7"),
]


@each_owner
def test_all_orders_of_a_fresh_run_are_one(owner: str, tmp_path: Path) -> None:
    parts = [OWNERS[owner], logger, range_test, writes]
    runs = {
        order: train(owner, order, tmp_path / "-".join(make.__name__ for make in order))
        for order in itertools.permutations(parts)
    }
    used, record = next(iter(runs.values()))
    assert 0.7 in used
    assert len(set(used)) > 8
    assert len(record.splitlines()) == 1 + UPDATES
    assert [order for order, run in runs.items() if run != (used, record)] == []


@each_owner
@pytest.mark.parametrize("saved", ["both", "owner", "logger"])
def test_all_orders_of_a_resumed_run_are_one(owner: str, saved: str, tmp_path: Path) -> None:
    """Whichever of them was there when the checkpoint was written: a position comes back from who saved it.

    A logger alone saves the position, and no plan and no warmup that could go on; then the new owner begins there.
    """
    parts = [OWNERS[owner], logger]
    first = {"both": parts, "owner": parts[:1], "logger": parts[1:]}[saved]
    (tmp_path / "first").mkdir()
    torch.manual_seed(0)
    saves = Saves(tmp_path / "first")
    callbacks = [*(make(tmp_path / "first") for make in first), saves]
    whole = fit(module=module(owner), callbacks=callbacks, batches=UPDATES, max_epochs=1).used
    runs = {
        order: train(owner, order, tmp_path / "-".join(make.__name__ for make in order), saves.path)
        for order in itertools.permutations(parts)
    }
    used, record = next(iter(runs.values()))
    assert len(used) == UPDATES - CUT
    if saved != "logger":
        assert used == whole[CUT:]
    steps = [line.split(",")[0] for line in record.splitlines()[1:]]
    assert steps[-len(used) :] == [str(n) for n in range(CUT, UPDATES)]
    assert [order for order, run in runs.items() if run != (used, record)] == []


def test_two_owners_are_refused_in_both_orders(tmp_path: Path) -> None:
    for order in itertools.permutations([scheduler, warmup]):
        with pytest.raises(ValueError, match=r"both write the LR: .*schedules.Cosine\(warmup=4\)") as caught:
            fit(callbacks=[make(tmp_path) for make in order], max_epochs=1)
        assert "LearningRateScheduler" in str(caught.value)
        assert "LearningRateWarmup" in str(caught.value)
