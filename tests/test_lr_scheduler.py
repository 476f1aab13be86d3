"""Schedules that are constructed as torch's are: in a plain loop, in a Lightning module, by dotted path."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from lr_recipes import Horizon, lr_scheduler, schedules
from lr_recipes.schedules import Schedule

from .callbacks.harness import (
    PEAK,
    SCHEDULES,
    Tiny,
    fit,
    plan,
    sgd,
)

TOTAL = 20
ALL: dict[str, Schedule] = {
    **SCHEDULES,
    "torch": schedules.TorchSchedule(factory=partial(StepLR, step_size=3), warmup=2),
    "plateau": schedules.Plateau(warmup=3),
}


def one_weight(**options: Any) -> Optimizer:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    return SGD([weight], **{"lr": PEAK, "momentum": 0.9, **options})


def knobs(schedule: Schedule) -> dict[str, Any]:
    """The keyword arguments that make a schedule."""
    return {one.name: getattr(schedule, one.name) for one in dataclasses.fields(schedule) if one.init}


def made(schedule: Schedule, optimizer: Any, **facts: Any) -> Any:
    """The schedule as a framework constructs it from a name and keyword arguments."""
    return getattr(lr_scheduler, type(schedule).__name__)(optimizer, **knobs(schedule), **facts)


def used(optimizer: Optimizer, count: int, tick: Callable[[], Any] = lambda: None) -> list[float]:
    """What the next updates use."""
    lrs = []
    for _ in range(count):
        lrs.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        tick()
    return lrs


# A plain loop


@pytest.mark.parametrize("ticks", [0, 1, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_update_uses_the_closed_form_whoever_ticks(name: str, ticks: int) -> None:
    optimizer = one_weight()
    scheduler = made(ALL[name], optimizer, total_steps=TOTAL)
    assert isinstance(scheduler, LRScheduler)
    lrs = used(optimizer, TOTAL, lambda: [scheduler.step() for _ in range(ticks)])
    assert lrs == plan(ALL[name], TOTAL)


@pytest.mark.parametrize("name", ALL)
def test_goes_on_from_what_was_saved(name: str) -> None:
    whole, first = plan(ALL[name], TOTAL), one_weight()
    scheduler = made(ALL[name], first, total_steps=TOTAL)
    used(first, 7)
    file = io.BytesIO()
    torch.save([first.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    second = one_weight()
    again = made(ALL[name], second, total_steps=TOTAL)
    second.load_state_dict(states[0])
    again.load_state_dict(states[1])
    assert used(second, TOTAL - 7) == whole[7:]
    assert used(first, TOTAL - 7) == whole[7:]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
@pytest.mark.parametrize("name", ["cosine", "one_cycle", "plateau"])
def test_a_copy_goes_on_by_itself(name: str, copied: Callable[[Any], Any]) -> None:
    optimizer = one_weight()
    scheduler = made(ALL[name], optimizer, total_steps=TOTAL, resume="config")
    used(optimizer, 7)
    other, twin = copied((optimizer, scheduler))
    assert type(twin) is type(scheduler)
    assert twin.resume == "config"
    other.param_groups[0]["params"][0].grad = torch.ones(1)
    assert used(other, TOTAL - 7) == plan(ALL[name], TOTAL)[7:]
    assert scheduler.position == 7


def test_facts_of_the_run_are_keyword_arguments() -> None:
    optimizer = one_weight()
    scheduler = lr_scheduler.Step(
        optimizer, step_size="2 epochs", warmup="64 samples", steps_per_epoch=5, samples_per_step=32
    )
    assert used(optimizer, 25) == pytest.approx([PEAK * min(1, (n + 1) / 2) * 0.1 ** (n // 10) for n in range(25)])
    assert scheduler.horizon == Horizon(steps_per_epoch=5, samples_per_step=32)


def test_last_epoch_is_the_last_update_that_is_done() -> None:
    optimizer = one_weight()
    lr_scheduler.Cosine(optimizer, total_steps=TOTAL, last_epoch=6)
    assert used(optimizer, TOTAL - 7) == plan(schedules.Cosine(), TOTAL)[7:]


# In a Lightning module


def returns(schedule: Schedule, form: str = "lists", **facts: Any) -> Callable[[Any], Any]:
    """``configure_optimizers`` of a module that returns its own schedule."""

    def build(weights: Any) -> Any:
        optimizer = sgd(weights)
        scheduler = made(schedule, optimizer, **facts)
        return {
            "lists": ([optimizer], [scheduler]),
            "dict": {"optimizer": optimizer, "lr_scheduler": scheduler},
            "step": {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}},
            "untold": optimizer,
        }[form]

    return build


@pytest.mark.parametrize("form", ["lists", "dict", "step", "untold"])
def test_the_total_comes_from_the_trainer(form: str) -> None:
    run = fit(module=Tiny(returns(SCHEDULES["cosine"], form)), max_epochs=2)
    assert run.used == plan(SCHEDULES["cosine"], 16)
