"""A warmup over somebody else's scheduler."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch.optim import Adam, Optimizer, lr_scheduler

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.optimizer.warmup import WarmupOver
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules import Fixed
from tests.optimizer.loops import parameter, sgd, watch


def warmed(optimizer: Optimizer, *schedulers: Any, length: int = 4, position: int = 0, **start: Any) -> WarmupOver:
    clock = Clock(optimizer)
    clock.position = position
    warmup = WarmupOver(Fixed(warmup=length).plan(Horizon(), [], peak=1.0), clock, schedulers, **start)
    clock.start()
    return warmup


def torch_loop(optimizer: Optimizer, scheduler: Any, updates: int = 8) -> list[list[float]]:
    used = watch(optimizer)
    for _ in range(updates):
        optimizer.step()
        scheduler.step()
    return used


def test_warmup_multiplies_what_a_scheduler_writes() -> None:
    """And from its end on the optimizer uses the scheduler's own value, to the last bit."""
    alone, optimizer = sgd(0.1, 0.001), sgd(0.1, 0.001)
    factory = functools.partial(lr_scheduler.ExponentialLR, gamma=0.9)
    expected = torch_loop(alone, factory(alone))
    scheduler = factory(optimizer)
    warmup = warmed(optimizer, scheduler)
    used = watch(optimizer)
    for _ in range(8):
        optimizer.step()
        scheduler.step()
    assert used[:4] == [
        [lr * factor for lr in lrs] for lrs, factor in zip(expected, (0.25, 0.5, 0.75, 1), strict=False)
    ]
    assert used[4:] == expected[4:]
    assert warmup.over
    assert type(scheduler) is lr_scheduler.ExponentialLR
    assert warmup.clock.owner is None


def test_warmup_does_not_count_a_step_without_gradients() -> None:
    optimizer = sgd(0.1)
    warmup = warmed(optimizer)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    assert (warmup.clock.position, read_lrs(optimizer)) == (1, [0.05])


def test_warmup_takes_an_lr_written_past_it_as_the_schedulers() -> None:
    optimizer = sgd(0.1, 0.01)
    warmed(optimizer)
    used = watch(optimizer)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.8
    optimizer.step()
    assert used == [[0.1 * 0.25, 0.01 * 0.25], [0.8 * 0.5, 0.01 * 0.5]]


def test_warmup_takes_late_groups() -> None:
    optimizer = sgd(0.1)
    warmed(optimizer)
    used = watch(optimizer)
    optimizer.step()
    optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    optimizer.step()
    assert used == [[0.1 * 0.25], [0.1 * 0.5, 7.0 * 0.5]]


def test_warmup_of_a_tensor_lr() -> None:
    shared = torch.tensor(0.1)
    optimizer = Adam([{"params": [parameter()]}, {"params": [parameter()]}], lr=shared)
    warmed(optimizer)
    used = watch(optimizer)
    for _ in range(5):
        optimizer.step()
    assert [lr for lr, _ in used] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert all(one == other for one, other in used)
    assert optimizer.param_groups[0]["lr"] is shared


def test_warmup_goes_on_where_it_was() -> None:
    optimizer = sgd(0.025)  # what a checkpoint restores: already multiplied
    warmed(optimizer, position=1, lrs=[0.1])
    used = watch(optimizer)
    optimizer.step()
    assert used == [[0.1 * 0.5]]


def test_warmup_that_is_over_leaves_the_lr_alone() -> None:
    optimizer = sgd(0.1)
    warmup = warmed(optimizer, position=4)
    optimizer.step()
    with warmup.hidden():
        optimizer.param_groups[0]["lr"] = 0.3
    optimizer.step()
    assert (warmup.clock.position, read_lrs(optimizer)) == (6, [0.3])
