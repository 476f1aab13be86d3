"""A plan: what every group uses at every update, what tells two plans apart, and what is saved of one."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from collections.abc import Callable
from functools import partial

import pytest
from torch.optim.lr_scheduler import LambdaLR

from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from lr_recipes.schedules import Cosine, Exponential, Fixed, Linear, OneCycle, Plateau, Schedule, TorchSchedule

RUN = Horizon(total_steps=20, steps_per_epoch=5, source="max_epochs=4")


def uses(plan: Plan, position: int) -> list[tuple[int, str, float]]:
    return [(line.group, line.key, line.base * line.curve(position)) for line in plan.lines]


def test_a_line_for_each_group() -> None:
    plan = Linear(warmup=4).plan(RUN, [0.1, 0.001])
    assert uses(plan, 0) == [(0, "lr", 0.1 / 4), (1, "lr", 0.001 / 4)]
    assert uses(plan, 12) == [(0, "lr", 0.1 / 2), (1, "lr", 0.001 / 2)]
    assert uses(plan, 20) == [(0, "lr", 0.0), (1, "lr", 0.0)]
    assert (plan.base_lrs, plan.others, plan.total_steps) == ([0.1, 0.001], (), 20)


def test_a_schedule_that_moves_the_momentum_has_a_line_for_it_too() -> None:
    """The curve says momenta, so their base is 1: all groups have the same."""
    plan = OneCycle(max_momentum=0.9).plan(RUN, [0.1, 0.001])
    assert [(line.group, line.key, line.base) for line in plan.others] == [(0, "momentum", 1), (1, "momentum", 1)]
    assert plan.base_lrs == [0.1, 0.001]
    assert plan.values("momentum", 0) == [0.9, 0.9]
    assert plan.uses(0) == (plan.curve(0), ("momentum", 0.9))
    assert Linear().plan(RUN, [0.1]).uses(0) == (1.0,)


@pytest.mark.parametrize("schedule", [Linear(warmup=4, min_lr=0.01), OneCycle()])
def test_groups_that_join_follow_the_same_curve(schedule: Schedule) -> None:
    """From their own base; the peak, and so an absolute floor, stays."""
    plan = schedule.plan(RUN, [0.1])
    joined = plan.regrouped([0.1, 7.0]).regrouped([0.1, 7.0, 0.5])
    assert joined.base_lrs == [0.1, 7.0, 0.5]
    assert (joined.peak, joined.curve) == (plan.peak, plan.curve)
    assert {line.group for line in joined.lines} == {0, 1, 2}
    assert [value for _, key, value in uses(joined, 7) if key == "lr"] == [
        base * plan.curve(7) for base in (0.1, 7, 0.5)
    ]
    assert len(joined.others) == 3 * len(plan.others)
    assert plan.base_lrs == [0.1]


def by_group(*factors: float, base_lrs: list[float]) -> Plan:
    """A plan in which group k follows an exponential of its own."""
    curves = [Exponential(gamma=factor, every=1).resolve(RUN) for factor in factors]
    return Plan.by_group(Fixed(), RUN, curves, base_lrs, max(base_lrs))


@pytest.mark.behaviour("B47")
def test_a_curve_for_each_group() -> None:
    plan = by_group(0.5, 0.25, base_lrs=[0.1, 8.0])
    assert not plan.uniform
    assert plan.base_lrs == [0.1, 8.0]
    assert plan.lrs(2) == [0.1 * 0.25, 8.0 * 0.0625]
    assert plan.curve(2) == 0.25
    assert plan.moves == ()


@pytest.mark.parametrize("schedule", [Linear(warmup=4), OneCycle(), Plateau(), Fixed()])
def test_one_curve_for_all_groups(schedule: Schedule) -> None:
    plan = schedule.plan(RUN, [0.1, 7.0, 0.5])
    assert plan.uniform
    assert plan.lrs(5) == [base * plan.curve(5) for base in (0.1, 7.0, 0.5)]


@pytest.mark.behaviour("B47")
def test_plans_are_told_apart_by_every_group() -> None:
    bases = [0.1, 0.1]
    assert by_group(0.5, 0.25, base_lrs=bases).uses(1) == ((0.5, 0.25),)
    assert by_group(0.5, 0.25, base_lrs=bases).uses(1) != by_group(0.5, 0.75, base_lrs=bases).uses(1)
    same = Exponential(gamma=0.5, every=1).plan(RUN, bases)
    assert by_group(0.5, 0.5, base_lrs=bases).uses(1) == same.uses(1)


@pytest.mark.behaviour("B47")
def test_other_groups_are_the_schedules_to_answer() -> None:
    """Whoever made the curves is asked; none of them is that of a group that joins."""
    made = by_group(0.5, 0.25, base_lrs=[0.1, 8.0]).regrouped([0.1, 8.0, 3.0])
    assert made.lrs(2) == [0.1, 8.0, 3.0]
    schedule = TorchSchedule(factory=partial(LambdaLR, lr_lambda=[float, abs]))
    with pytest.raises(ValueError, match=r"each of 2 parameter groups, and the optimizer now has 1: .* all groups"):
        schedule.plan(RUN, [0.1, 8.0]).regrouped([8.0])


def double(step: int) -> float:
    return 2.0 * step


@pytest.mark.parametrize(
    "plan",
    [
        Linear(warmup=4, min_lr=0.01).plan(RUN, [0.1]).regrouped([0.1, 7.0]),
        OneCycle().plan(RUN, [0.1]),
        TorchSchedule(factory=partial(LambdaLR, lr_lambda=[float, double])).plan(RUN, [0.1, 0.5]),
    ],
    ids=["late group", "momentum", "curve for each group"],
)
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])
def test_a_copy_is_the_same_plan(plan: Plan, copied: Callable[[Plan], Plan]) -> None:
    again = copied(plan)
    assert again.state() == plan.state()
    assert [(again.lrs(n), again.uses(n)) for n in range(25)] == [(plan.lrs(n), plan.uses(n)) for n in range(25)]


def test_a_copy_repeats_no_warning() -> None:
    with pytest.warns(UserWarning, match="more than half of the run is warmup"):
        plan = Linear(warmup=15).plan(RUN, [0.1])
    assert copy.deepcopy(plan).lrs(3) == plan.lrs(3)


def test_the_peak_is_the_largest_base_or_the_given_one() -> None:
    schedule = Linear(min_lr=0.125)
    assert schedule.plan(RUN, [0.001, 0.5]).end_factor == 0.25
    assert schedule.plan(RUN, [0.001, 0.5], peak=0.25).end_factor == 0.5


def test_the_factor_that_it_ends_at() -> None:
    """Of one that reacts, the one below which it never cuts: its curve does not fall."""
    assert Cosine(min_lr_ratio=0.2).plan(RUN, [0.1]).end_factor == 0.2
    plateau = Plateau(min_lr=0.125).plan(RUN, [0.5])
    assert (plateau.curve.end, plateau.end_factor) == (1.0, 0.25)
    assert plateau.reaction is not None


def test_what_is_saved_is_plain_and_makes_the_plan_anew() -> None:
    schedule = OneCycle(pct_start=0.5, warmup="10%")
    plan = schedule.plan(RUN, [0.1]).regrouped([0.1, 7.0])
    saved = json.loads(json.dumps(plan.state()))
    assert saved == plan.state()
    assert saved["cycles_momentum"] is True
    again = schedule.read(saved["schedule"]).plan(Horizon(**saved["horizon"]), saved["base_lrs"], saved["peak"])
    assert again.state() == saved
    assert [again.uses(n) for n in range(25)] == [plan.uses(n) for n in range(25)]


def test_a_plan_stays_what_it_is() -> None:
    plan = Fixed().plan(RUN, [0.1])
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.peak = 1.0  # type: ignore[misc]
    plan.state()["base_lrs"].append(7.0)
    assert plan.base_lrs == [0.1]
