"""What an optimizer was built with, under every scheduler of torch: noted, given back, or told by its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR
from torch.optim.swa_utils import SWALR

from lr_recipes import Horizon, schedules
from lr_recipes.optimizer.as_built import give_back, note_peak, noting, peak_lrs
from lr_recipes.optimizer.groups import built_lrs
from tests.optimizer.loops import parameter

OVERWRITERS: dict[str, Callable[[Optimizer], Any]] = {
    "OneCycleLR": lambda optimizer: OneCycleLR(optimizer, max_lr=1.0, total_steps=10),
    "OneCycleLR, lists": lambda optimizer: OneCycleLR(optimizer, max_lr=[1.0, 2.0], total_steps=10),
    "OneCycleLR, no momentum": lambda optimizer: OneCycleLR(optimizer, 1.0, total_steps=10, cycle_momentum=False),
    "CyclicLR": lambda optimizer: CyclicLR(optimizer, base_lr=0.3, max_lr=1.0),
    "CyclicLR, no momentum": lambda optimizer: CyclicLR(optimizer, base_lr=0.3, max_lr=1.0, cycle_momentum=False),
}
OTHERS: dict[str, Callable[[Optimizer], Any]] = {
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, 0.1),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, 0.1),
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda step: 0.5),
    "MultiplicativeLR": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda step: 0.5),
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, 1),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [0, 1]),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.5),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer),
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 10),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 10),
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer),
    "SWALR": lambda optimizer: SWALR(optimizer, swa_lr=0.7),
    "SequentialLR": lambda optimizer: lr_scheduler.SequentialLR(
        optimizer,
        [lr_scheduler.ConstantLR(optimizer, 0.1), lr_scheduler.StepLR(optimizer, 3)],
        milestones=[5],
    ),
    "ChainedScheduler": lambda optimizer: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(optimizer, 0.1), lr_scheduler.StepLR(optimizer, 3)]
    ),
}


def sgd() -> Optimizer:
    groups = [{"params": [parameter()], "lr": 0.01, "momentum": 0.5}, {"params": [parameter()], "name": "head"}]
    return SGD(groups, lr=0.1, momentum=0.9)


def adam() -> Optimizer:
    groups = [{"params": [parameter()], "lr": torch.tensor(0.01)}, {"params": [parameter()], "betas": (0.7, 0.8)}]
    return Adam(groups, lr=torch.tensor(0.1), betas=(0.85, 0.99))


def plain(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [
        {key: float(value) if isinstance(value, Tensor) else value for key, value in group.items() if key != "params"}
        for group in optimizer.param_groups
    ]


def test_every_scheduler_of_torch_is_one_or_the_other() -> None:
    tried = {name.partition(",")[0] for name in (*OVERWRITERS, *OTHERS)}
    there = {kind.__name__ for kind in vars(lr_scheduler).values() if isinstance(kind, type)}
    schedulers = {name for name in there if issubclass(getattr(lr_scheduler, name, int), lr_scheduler.LRScheduler)}
    assert schedulers - {"LRScheduler", "_LRScheduler"} <= tried


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_schedulers_leave_what_was_built_in_the_groups(make: Callable[[Optimizer], Any]) -> None:
    optimizer = sgd()
    built = plain(optimizer)
    scheduler = make(optimizer)
    assert built_lrs(optimizer) == peak_lrs(optimizer, [scheduler]) == [0.01, 0.1]
    assert [group["momentum"] for group in optimizer.param_groups] == [group["momentum"] for group in built]
    before = plain(optimizer)
    give_back(optimizer, [scheduler])
    assert plain(optimizer) == before


@pytest.mark.behaviour("B54")
@pytest.mark.parametrize("build", [sgd, adam])
@pytest.mark.parametrize("make", OVERWRITERS.values(), ids=OVERWRITERS)
def test_what_was_written_over_is_given_back(make: Callable[[Optimizer], Any], build: Callable[[], Optimizer]) -> None:
    optimizer = build()
    built, objects = plain(optimizer), [group["lr"] for group in optimizer.param_groups]
    with noting():
        scheduler = make(optimizer)
        make(optimizer)  # a second one finds what the first wrote
    assert built_lrs(optimizer) != [0.01, 0.1]
    give_back(optimizer, [scheduler])
    assert [{key: pytest.approx(value) for key, value in group.items()} for group in built] == plain(optimizer)
    if build is adam:
        assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, objects, strict=True))


def test_an_older_schedulers_note_is_what_was_built() -> None:
    optimizer = sgd()
    lr_scheduler.LinearLR(optimizer, 0.1)
    with noting():
        OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    give_back(optimizer)
    assert built_lrs(optimizer) == [0.01, 0.1]


def test_torch_is_as_it_was_after_noting() -> None:
    inits = OneCycleLR.__init__, CyclicLR.__init__
    with pytest.raises(TypeError, match="str is not an Optimizer"), noting():
        OneCycleLR("no optimizer", max_lr=1.0, total_steps=10)  # type: ignore[arg-type]
    assert inits == (OneCycleLR.__init__, CyclicLR.__init__)


@pytest.mark.parametrize("make", OVERWRITERS.values(), ids=OVERWRITERS)
def test_where_nobody_looked_the_optimizers_own_arguments_are_taken(make: Callable[[Optimizer], Any]) -> None:
    optimizer = SGD([{"params": [parameter()]}, {"params": [parameter()]}], lr=0.1, momentum=0.9)
    built = plain(optimizer)
    give_back(optimizer, [make(optimizer)])
    assert plain(optimizer) == built


@pytest.mark.parametrize("make", OVERWRITERS.values(), ids=OVERWRITERS)
def test_the_peak_of_a_scheduler_that_stays(make: Callable[[Optimizer], Any], request: pytest.FixtureRequest) -> None:
    optimizer = sgd()
    scheduler, other = make(optimizer), OneCycleLR(sgd(), max_lr=5.0, total_steps=10)
    expected = [1.0, 2.0 if "lists" in request.node.name else 1.0]
    assert peak_lrs(optimizer, [other, scheduler]) == expected


def test_a_new_peak_is_given_back_in_the_same_ratio() -> None:
    optimizer = sgd()
    with noting():
        OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    note_peak(optimizer, 0.4)
    give_back(optimizer)
    assert built_lrs(optimizer) == pytest.approx([0.04, 0.4])
    note_peak(optimizer, 0.8)  # nothing is noted any more
    assert built_lrs(optimizer) == pytest.approx([0.04, 0.4])


@pytest.mark.behaviour("B54")
def test_a_schedule_that_is_bound_after_one_cycle_peaks_at_the_optimizers_lr() -> None:
    optimizer = SGD([parameter()], lr=0.1, momentum=0.9)
    OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    scheduler = schedules.Linear().bind(optimizer, Horizon(total_steps=10))
    assert scheduler.get_last_lr() == [0.1]
    assert optimizer.param_groups[0]["momentum"] == 0.9
