"""Parameter groups that leave in mid-run, that bring an ``lr_scale``, or that have no LR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import Oracle, OwnRate, Tiny, loader, messages, quiet_trainer

pytestmark = [
    pytest.mark.behaviour("B47"),
    pytest.mark.filterwarnings("ignore:.*more than half of the run is warmup"),
]
LINEAR = [1 - n / 8 for n in range(8)]


def two(weights: list[nn.Parameter]) -> Optimizer:
    return SGD([{"params": [weights[0]], "lr": 0.01}, {"params": [weights[1]], "lr": 0.1}], lr=1.0)


class At(Callback):
    """Does something to the groups before some batches."""

    def __init__(self, **deeds: Callable[[Optimizer], Any]) -> None:
        self.deeds = {int(name.removeprefix("at_")): deed for name, deed in deeds.items()}

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx in self.deeds:
            self.deeds[batch_idx](trainer.optimizers[0])


def take_out(index: int) -> Callable[[Optimizer], None]:
    def deed(optimizer: Optimizer) -> None:
        del optimizer.param_groups[index]

    return deed


def add(lr: float, **more: Any) -> Callable[[Optimizer], None]:
    def deed(optimizer: Optimizer) -> None:
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": lr, **more})

    return deed


def train(*callbacks: Callback, build: Any = two) -> list[tuple[float, ...]]:
    oracle = Oracle()
    quiet_trainer([*callbacks, oracle], max_epochs=1).fit(Tiny(build), loader(8))
    return oracle.used[0]


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("logged", [False, True])
def test_the_groups_that_stay_keep_their_lrs(index: int, logged: bool, tmp_path: Path) -> None:
    log = [LearningRateLogger(tmp_path, plot=False, audit="error")] if logged else []
    used = train(LearningRateScheduler(schedules.Linear()), *log, At(at_4=take_out(index)))
    bases = (0.01, 0.1)
    expected = [[base * f for base in bases] for f in LINEAR[:4]] + [[bases[1 - index] * f] for f in LINEAR[4:]]
    assert [list(lrs) for lrs in used] == [pytest.approx(lrs, rel=1e-15) for lrs in expected]
    if logged:
        rows = list(read_rows(tmp_path / "lr.csv"))
        assert [row[f"lr/group{index}"] != "" for row in rows] == [True] * 4 + [False] * 4
        assert [float(row[f"lr/group{1 - index}"]) for row in rows] == [bases[1 - index] * f for f in LINEAR]


def test_under_a_warmup() -> None:
    used = train(LearningRateWarmup(6), At(at_4=take_out(0)))
    factors = [min((n + 1) / 6, 1) for n in range(8)]
    assert [lrs[-1] for lrs in used] == pytest.approx([0.1 * f for f in factors], rel=1e-15)
    assert [len(lrs) for lrs in used] == [2] * 4 + [1] * 4


def test_one_leaves_and_another_joins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The record has a column for each that there has been, and says when they came and went."""
    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    with caplog.at_level("INFO"):
        used = train(LearningRateScheduler(schedules.Linear()), log, At(at_2=take_out(0), at_5=add(7.0, name="head")))
    assert used[2:5] == [pytest.approx((0.1 * f,), rel=1e-15) for f in LINEAR[2:5]]
    assert used[5:] == [pytest.approx((0.1 * f, 7.0 * f), rel=1e-15) for f in LINEAR[5:]]
    rows = list(read_rows(tmp_path / "lr.csv"))
    columns = ["lr/group0", "lr/group1", "lr/head"]
    there = [[row[name] != "" for name in columns] for row in rows]
    assert there == [[True, True, False]] * 2 + [[False, True, False]] * 3 + [[False, True, True]] * 3
    assert "group head joined at update 5, group group0 left at update 2" in messages(caplog)


def test_the_group_that_leaves_and_one_that_joins_at_once() -> None:
    def swap(optimizer: Optimizer) -> None:
        take_out(0)(optimizer)
        add(7.0)(optimizer)

    used = train(LearningRateScheduler(schedules.Linear()), At(at_4=swap))
    assert used[4:] == [pytest.approx((0.1 * f, 7.0 * f), rel=1e-15) for f in LINEAR[4:]]


# The share of the LR that a layer has, after timm, MAE and BEiT


def layers(weights: list[nn.Parameter], **lrs: float) -> Optimizer:
    groups: Any = [{"params": [weights[0]], "lr_scale": 0.1}, {"params": [weights[1]], "lr_scale": 1.0}]
    for group, lr in zip(groups, lrs.values(), strict=False):
        group["lr"] = lr
    return SGD(groups, lr=0.1)


@pytest.mark.parametrize("lrs", [{}, {"first": 0.01, "second": 0.1}], ids=["to be multiplied", "multiplied already"])
def test_lr_scale_is_honoured_once(lrs: dict[str, float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        used = train(LearningRateScheduler(schedules.Linear()), build=lambda weights: layers(weights, **lrs))
    assert used == [pytest.approx((0.01 * f, 0.1 * f), rel=1e-12) for f in LINEAR]
    assert ("the lr_scale of each group is part of its peak" in messages(caplog)) is not lrs


def test_lr_scale_is_honoured_once_where_a_schedule_is_bound_again() -> None:
    optimizer = layers([nn.Parameter(torch.ones(1)) for _ in range(2)])
    for _ in range(3):
        bound = schedules.Linear().bind(optimizer, Horizon(total_steps=8))
        assert list(bound.base_lrs) == pytest.approx([0.01, 0.1], rel=1e-15)
        bound.position = 4


def test_lr_scale_of_a_group_that_joins() -> None:
    used = train(LearningRateScheduler(schedules.Linear()), At(at_4=add(0.1, lr_scale=0.5)), build=layers)
    assert used[4:] == [pytest.approx((0.01 * f, 0.1 * f, 0.05 * f), rel=1e-12) for f in LINEAR[4:]]


# No LR, and an LR of 0


@pytest.mark.parametrize("owner", [lambda: LearningRateScheduler(schedules.Cosine()), lambda: LearningRateWarmup(2)])
def test_an_optimizer_without_an_lr_is_refused_in_a_sentence(owner: Any) -> None:
    with pytest.raises(ValueError, match=r"OwnRate has lr=None in group0, .* build it with a number as in lr=1e-3"):
        train(owner(), build=OwnRate)


def test_it_can_be_recorded(tmp_path: Path) -> None:
    quiet_trainer([LearningRateLogger(tmp_path, plot=False)], max_epochs=1).fit(Tiny(OwnRate), loader(8))
    assert [row["lr/group0"] for row in read_rows(tmp_path / "lr.csv")] == [""] * 8


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_no_optimizer_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Tiny.configure_optimizers\(\) returns no optimizer, .* return one"):
        train(LearningRateScheduler(schedules.Cosine()), build=lambda weights: None)
    quiet_trainer([LearningRateLogger(tmp_path, plot=False)], max_epochs=1).fit(Tiny(lambda weights: None), loader(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("schedule", [schedules.Cosine(warmup=2), schedules.Fixed(), schedules.Cosine(min_lr=0.0)])
def test_an_lr_of_0_stays_0(schedule: Any) -> None:
    oracle = Oracle()
    trainer = quiet_trainer([LearningRateScheduler(schedule), oracle], max_epochs=1)
    trainer.fit(Tiny(lambda weights: SGD(weights, lr=0.0)), loader(8))
    assert oracle.used[0] == [(0.0,)] * 8


# What is planned, under a warmup over the module's own scheduler


def by_epoch(weights: Any) -> Any:
    optimizer = SGD(weights, lr=0.1)
    return [optimizer], [{"scheduler": LambdaLR(optimizer, lambda n: 0.9**n), "interval": "step"}]


@pytest.mark.parametrize("build", [by_epoch, two], ids=["a scheduler", "none"])
def test_a_warmup_is_compared_to_the_end_of_the_run(
    build: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        train(LearningRateWarmup(3), LearningRateLogger(tmp_path, plot=False, audit="error"), build=build)
    assert "used = planned on 8 of 8 updates, warmup complete" in messages(caplog)
    factors = [row["planned_factor"] for row in read_rows(tmp_path / "lr.csv")]
    assert [float(factor) for factor in factors] == pytest.approx([1 / 3, 2 / 3, *[1.0] * 6])


@pytest.mark.parametrize("batch", [1, 5], ids=["within the warmup", "after it"])
def test_what_the_scheduler_wrote_is_not_of_a_group_that_takes_anothers_place(batch: int, tmp_path: Path) -> None:
    """Until it steps again: what it has said is by the index of the groups before."""

    def each_epoch(weights: Any) -> Any:
        optimizer = two(weights)
        return [optimizer], [LambdaLR(optimizer, lambda n: 0.5**n)]

    def swap(optimizer: Optimizer) -> None:
        take_out(1)(optimizer)
        add(7.0)(optimizer)

    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    used = train(LearningRateWarmup(3), log, At(**{f"at_{batch}": swap}), build=each_epoch)
    assert [lrs[1] for lrs in used[batch:]] == pytest.approx([7.0 * min((n + 1) / 3, 1) for n in range(batch, 8)])


@pytest.mark.parametrize("batch", [1, 5], ids=["within the warmup", "after it"])
def test_a_foreign_write_is_found_under_a_warmup(batch: int, tmp_path: Path) -> None:
    class Writes(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: Any, optimizer: Optimizer) -> None:
            if trainer.fit_loop.total_batch_idx == batch:
                optimizer.param_groups[0]["lr"] *= 3

    with pytest.warns(UserWarning, match=f"update {batch} used LR .* something else writes"):
        train(LearningRateWarmup(3), LearningRateLogger(tmp_path, plot=False), Writes(), build=by_epoch)
