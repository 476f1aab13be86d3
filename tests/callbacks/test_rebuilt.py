"""An optimizer that is rebuilt in mid-run goes on in the plan where the old one was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import PEAK, Tiny, keep_all, loader, messages, quiet_trainer, sgd

pytestmark = [
    pytest.mark.behaviour("B45"),
    pytest.mark.filterwarnings("ignore:.*weights_only.*"),
    pytest.mark.filterwarnings("ignore:.*more than half of the run is warmup"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]
COSINE = [PEAK * (1 + math.cos(math.pi * n / 16)) / 2 for n in range(16)]
USED: list[tuple[float, ...]] = []


class Noting(SGD):
    """Notes in its own step what it uses: hooks are lost where an optimizer is built again in place."""

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                closure()
        USED.append(tuple(float(group["lr"]) for group in self.param_groups))
        return super().step()


def noting(weights: Any, lr: float = PEAK) -> Optimizer:
    return Noting(list(weights), lr=lr)


def set_up(trainer: Trainer, module: Any) -> None:
    trainer.strategy.setup_optimizers(trainer)


def assign(trainer: Trainer, module: Any) -> None:
    trainer.optimizers = [noting(module.weights)]


def in_place(trainer: Trainer, module: Any) -> None:
    trainer.optimizers[0].__init__(module.parameters(), lr=PEAK)  # type: ignore[misc, call-arg]


def groups_anew(trainer: Trainer, module: Any) -> None:
    (optimizer,) = trainer.optimizers
    optimizer.param_groups.clear()
    optimizer.state.clear()
    optimizer.add_param_group({"params": list(module.parameters()), "lr": PEAK})


def load(trainer: Trainer, module: Any) -> None:
    trainer.optimizers[0].load_state_dict(noting(module.weights).state_dict())


def smaller(trainer: Trainer, module: Any) -> None:
    trainer.optimizers = [noting(module.weights, lr=PEAK / 4)]


def another_kind(trainer: Trainer, module: Any) -> None:
    trainer.optimizers = [Adam(list(module.weights), lr=PEAK)]


WAYS = [set_up, assign, in_place, groups_anew, load]
Way = Callable[[Trainer, Any], None]


class Rebuild(Callback):
    """Rebuilds the optimizer where the second epoch begins, or at a batch of it."""

    def __init__(self, way: Way, batch: int | None = None) -> None:
        self.way, self.batch = way, batch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if self.batch is None and trainer.current_epoch == 1:
            self.way(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch == 1 and batch_idx == self.batch:
            self.way(trainer, pl_module)


def train(*callbacks: Callback, build: Any = noting, ckpt_path: Path | None = None) -> list[float]:
    """Two epochs of eight updates; the LRs that the first group used."""
    USED.clear()
    quiet_trainer(list(callbacks), max_epochs=2).fit(Tiny(build), loader(8), ckpt_path=ckpt_path)
    return [lrs[0] for lrs in USED]


@pytest.mark.parametrize("batch", [None, 3])
@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_in_the_plan(way: Way, batch: int | None, tmp_path: Path) -> None:
    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    used = train(LearningRateScheduler(schedules.Cosine()), log, Rebuild(way, batch))
    assert used == pytest.approx(COSINE, rel=1e-15)
    rows = list(read_rows(tmp_path / "lr.csv"))
    assert [float(row["lr/group0"]) for row in rows] == used
    assert log.state_dict()["audits"]["Noting"]["compared"] == 16


@pytest.mark.parametrize("way", WAYS)
def test_under_a_warmup(way: Way, tmp_path: Path) -> None:
    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    used = train(LearningRateWarmup(12), log, Rebuild(way))
    assert used == pytest.approx([PEAK * min((n + 1) / 12, 1) for n in range(16)], rel=1e-15)


def decaying(weights: Any) -> Any:
    optimizer = noting(weights)
    return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}]


def test_under_a_warmup_with_a_scheduler_that_is_built_anew_too(tmp_path: Path) -> None:
    """The module's new scheduler begins at its start, as without the warmup; the warmup goes on."""
    plain = train(Rebuild(set_up), build=decaying)
    assert plain == pytest.approx([PEAK * 0.9 ** (n % 8) for n in range(16)])
    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    used = train(LearningRateWarmup(12), log, Rebuild(set_up), build=decaying)
    assert used == pytest.approx([lr * min((n + 1) / 12, 1) for n, lr in enumerate(plain)], rel=1e-15)


def test_schedulers_that_come_back_with_it_are_replaced_again() -> None:
    used = train(LearningRateScheduler(schedules.Cosine(), replace=True), Rebuild(set_up), build=decaying)
    assert used == pytest.approx(COSINE, rel=1e-15)


def test_the_lrs_that_it_was_built_with_are_its_peaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        used = train(LearningRateScheduler(schedules.Cosine()), Rebuild(smaller))
    assert used == pytest.approx([*COSINE[:8], *(lr / 4 for lr in COSINE[8:])], rel=1e-15)
    assert "Noting was rebuilt: it goes on in the plan at update 8, with LR 0.0125 (0.025 x 0.5)" in messages(caplog)


def test_one_of_another_kind(tmp_path: Path) -> None:
    """It keeps its name, and so its file, and the place of its state in a checkpoint."""
    callbacks = [LearningRateScheduler(schedules.Cosine()), LearningRateLogger(tmp_path, plot=False)]
    train(*callbacks, Rebuild(another_kind), build=sgd)
    rows = list(read_rows(tmp_path / "lr.csv"))
    assert [float(row["lr/group0"]) for row in rows] == pytest.approx(COSINE, rel=1e-15)
    assert list(callbacks[0].state_dict()["optimizers"]) == ["SGD"]


@pytest.mark.parametrize("way", [set_up, smaller, groups_anew])
@pytest.mark.parametrize("cut", [6, 9, 13])
def test_a_run_is_resumed_before_and_after(way: Way, cut: int, tmp_path: Path) -> None:
    """Not at 8: Lightning begins no epoch where it goes on after an epoch's last batch, so nothing is rebuilt there."""

    def callbacks(folder: Path) -> list[Callback]:
        keep: ModelCheckpoint = keep_all(folder)
        log = LearningRateLogger(folder, plot=False, audit="error")
        return [LearningRateScheduler(schedules.Cosine(warmup=2)), log, Rebuild(way), keep]

    whole = train(*callbacks(tmp_path / "whole"))
    resumed = train(*callbacks(tmp_path / "resumed"), ckpt_path=tmp_path / "whole" / f"step={cut}.ckpt")
    assert resumed == whole[cut:]
    rows = list(read_rows(tmp_path / "resumed" / "lr.csv"))
    assert [float(row["lr/group0"]) for row in rows] == whole


class RebuiltAndSaved(Callback):
    """Rebuilds the optimizer after update 3 and saves at once, before the new one has stepped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.fit_loop.total_batch_idx == 3:
            set_up(trainer, None)
            trainer.save_checkpoint(self.path)


def test_a_checkpoint_before_its_first_step_knows_the_new_one(tmp_path: Path) -> None:
    """What a warmup saves is the LR of the scheduler that has begun again with it."""
    expected = [PEAK * 0.9 ** (n - 4) * min((n + 1) / 8, 1) for n in range(4, 16)]
    path = tmp_path / "rebuilt.ckpt"
    assert train(LearningRateWarmup(8), RebuiltAndSaved(path), build=decaying)[4:] == pytest.approx(expected)
    assert train(LearningRateWarmup(8), build=decaying, ckpt_path=path) == pytest.approx(expected)


def test_a_second_optimizer_that_joins_is_refused() -> None:
    def add(trainer: Trainer, module: Any) -> None:
        trainer.optimizers = [*trainer.optimizers, SGD(list(module.weights), lr=1.0)]

    def both(trainer: Trainer, module: Any) -> None:
        add(trainer, module)
        trainer.optimizers[1].step()

    with pytest.raises(ValueError, match="has 2 optimizers now, and had 1 when training began: SGD has no schedule"):
        train(LearningRateScheduler(schedules.Cosine()), Rebuild(both))


def test_an_optimizer_of_somebody_else_is_left_alone() -> None:
    other = SGD([torch.nn.Parameter(torch.ones(1))], lr=7.0)

    class Steps(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            other.step()

    assert train(LearningRateScheduler(schedules.Cosine()), Steps()) == pytest.approx(COSINE, rel=1e-15)
    assert other.param_groups[0]["lr"] == 7.0
