"""A plan: what every group uses at every update, what tells two plans apart, and what is saved of one."""

from __future__ import annotations

import dataclasses
import json

import pytest

from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from lr_recipes.schedules import Cosine, Fixed, Linear, OneCycle, Plateau, Schedule

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
    assert plan.momentum(0) == 0.9
    assert plan.uses(0) == (plan.curve(0), 0.9)
    assert Linear().plan(RUN, [0.1]).uses(0) == (1.0, None)


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
