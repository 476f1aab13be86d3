"""Which of torch's schedulers a state was saved by, with which settings, and how often it has been stepped."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, lr_scheduler
from torch.optim.swa_utils import SWALR

from lr_recipes.report.saved_scheduler import SavedScheduler, saved_scheduler

# Class -> how it is made, and what is to be said of its settings.
CASES: dict[str, tuple[Callable[[Any], Any], dict[str, Any]]] = {
    "LambdaLR": (lambda o: lr_scheduler.LambdaLR(o, lambda n: 0.5**n), {}),
    "MultiplicativeLR": (lambda o: lr_scheduler.MultiplicativeLR(o, lambda n: 0.5), {}),
    "StepLR": (lambda o: lr_scheduler.StepLR(o, 3, 0.5), {"step_size": 3, "gamma": 0.5}),
    "MultiStepLR": (lambda o: lr_scheduler.MultiStepLR(o, [2, 3, 3.5, 3.5]), {"milestones": [2, 3, 3.5, 3.5]}),
    "ConstantLR": (lambda o: lr_scheduler.ConstantLR(o, 0.5, 3), {"factor": 0.5, "total_iters": 3}),
    "LinearLR": (
        lambda o: lr_scheduler.LinearLR(o, 0.5, total_iters=3),
        {"start_factor": 0.5, "end_factor": 1.0, "total_iters": 3},
    ),
    "ExponentialLR": (lambda o: lr_scheduler.ExponentialLR(o, 0.5), {"gamma": 0.5}),
    "PolynomialLR": (lambda o: lr_scheduler.PolynomialLR(o, 9, 2.0), {"total_iters": 9, "power": 2.0}),
    "CosineAnnealingLR": (lambda o: lr_scheduler.CosineAnnealingLR(o, 9, 0.01), {"T_max": 9, "eta_min": 0.01}),
    "CosineAnnealingWarmRestarts": (
        lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 3, 0.01),
        {"T_0": 2, "T_mult": 3, "eta_min": 0.01},
    ),
    "CyclicLR": (
        lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3, step_size_down=5, cycle_momentum=False),
        {"max_lrs": [0.1], "mode": "triangular", "gamma": 1.0, "step_size_up": 3.0, "step_size_down": 5.0},
    ),
    "OneCycleLR": (
        lambda o: lr_scheduler.OneCycleLR(o, 0.5, 20, pct_start=0.4, anneal_strategy="linear", three_phase=True),
        {"total_steps": 20, "pct_start": 0.4, "three_phase": True, "anneal_strategy": "linear"},
    ),
    "ReduceLROnPlateau": (
        lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", 0.5, 2),
        {"mode": "max", "factor": 0.5, "patience": 2, "min_lrs": [0]},
    ),
    "SequentialLR": (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [2]
        ),
        {"milestones": [2]},
    ),
    "ChainedScheduler": (
        lambda o: lr_scheduler.ChainedScheduler([lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], o),
        {},
    ),
    "SWALR": (lambda o: SWALR(o, 0.05, 7, "linear"), {"anneal_epochs": 7, "anneal_strategy": "linear"}),
}  # fmt: skip


def after(make: Callable[[Any], Any], ticks: int = 4) -> tuple[Any, Any]:
    """A scheduler after some ticks, and its optimizer; both as they are."""
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    scheduler = make(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an order that does not matter here
        for _ in range(ticks):
            optimizer.step()
            scheduler.step(*([1.0] if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau) else []))
    return scheduler, optimizer


@pytest.mark.parametrize("name", CASES)
def test_each_scheduler_of_torch_is_known_by_what_it_saves(name: str) -> None:
    make, settings = CASES[name]
    scheduler, optimizer = after(make)
    saved = saved_scheduler(scheduler.state_dict())
    both = "LambdaLR or MultiplicativeLR"  # they save the same
    assert saved.kind == (both if name in both.split(" or ") else name)
    assert {key: saved.settings[key] for key in settings} == settings
    assert not [key for key in saved.settings if key.startswith("_")]
    assert (saved.ticks, saved.last_lrs) == (4, [optimizer.param_groups[0]["lr"]])


def test_all_schedulers_of_torch_are_there() -> None:
    public = {
        name
        for name, kind in vars(lr_scheduler).items()
        if isinstance(kind, type) and issubclass(kind, lr_scheduler.LRScheduler) and not name.startswith("_")
    }
    assert public - {"LRScheduler"} <= set(CASES) | {"SWALR"}


def test_parts_are_schedulers_of_their_own() -> None:
    scheduler, _ = after(CASES["SequentialLR"][0])
    first, second = saved_scheduler(scheduler.state_dict()).parts
    assert (first.kind, first.ticks) == ("ConstantLR", 1)  # its last tick is the one before the milestone
    assert (second.kind, second.ticks) == ("ExponentialLR", 2)


def test_a_plateau_says_what_it_has_seen() -> None:
    scheduler, _ = after(lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=5), 3)
    assert saved_scheduler(scheduler.state_dict()).seen == {"best": 1.0, "num_bad_epochs": 2, "cooldown_counter": 0}


def test_one_of_somebody_else_has_no_name_but_settings() -> None:
    """What lightning-bolts saves of its warmup with a cosine."""
    state = {"warmup_epochs": 5, "max_epochs": 100, "warmup_start_lr": 0.0, "eta_min": 0.0, "base_lrs": [0.1],
             "last_epoch": 3, "_step_count": 4, "_last_lr": [0.06]}  # fmt: skip
    saved = saved_scheduler(state)
    assert (saved.kind, saved.ticks, saved.last_lrs, saved.base_lrs) == (None, 3, [0.06], [0.1])
    assert saved.settings == {"warmup_epochs": 5, "max_epochs": 100, "warmup_start_lr": 0.0, "eta_min": 0.0}


@pytest.mark.parametrize(
    "damage",
    [{"milestones": 5}, {"milestones": {2: 10**9}}, {"milestones": {2: "x"}}, {"last_epoch": "x", "_last_lr": 5},
     {"total_steps": 0, "_schedule_phases": [5]}, {"_schedulers": [5, {}]}, {5: 5}, {"last_epoch": 10**400}],
)  # fmt: skip
@pytest.mark.parametrize("name", ["MultiStepLR", "OneCycleLR", "SequentialLR"])
def test_a_damaged_state_is_shown_as_far_as_it_goes(name: str, damage: dict[Any, Any]) -> None:
    scheduler, _ = after(CASES[name][0])
    saved = saved_scheduler({**scheduler.state_dict(), **damage})
    assert isinstance(saved, SavedScheduler)
    assert len(repr(saved)) < 2000
