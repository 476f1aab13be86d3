"""Where warmup, shape and end of a curve meet: which update is the first after one and the last of another.

The shape here says which of its updates was asked for, so a join that is off by one shows.
"""

from __future__ import annotations

import pytest

from lr_recipes.plan.curve import FOREVER, Curve, Phase, Shape

END = -1.0


def ramp(position: int) -> float:
    return (position + 1) / 100


def shape(position: int) -> float:
    return float(position)


def curve(warmup: int, total: int | None, *phases: tuple[str, int], during_warmup: bool = False) -> Curve:
    shaped = Shape(shape, END, phases or [("shape", 0)], during_warmup=during_warmup)
    return Curve(shaped, ramp, warmup, total)


def test_of_ten_updates_with_a_warmup_of_four() -> None:
    """Update 3 is the last of the warmup, 4 the first after it, 9 the last of the plan, 10 the first past it."""
    joined = curve(4, 10)
    assert [joined(n) for n in range(4)] == [0.01, 0.02, 0.03, 0.04]
    assert [joined(n) for n in range(4, 10)] == [4, 5, 6, 7, 8, 9]
    assert {joined(n) for n in (10, 11, 10**9)} == {END}


def test_without_a_warmup() -> None:
    joined = curve(0, 3)
    assert [joined(n) for n in range(5)] == [0, 1, 2, END, END]


@pytest.mark.parametrize("warmup", [0, 2])
def test_without_an_end(warmup: int) -> None:
    joined = curve(warmup, None)
    assert [joined(n) for n in (0, 1, 2, 10**9)] == [*([0.01, 0.02] if warmup else [0, 1]), 2, 10**9]


@pytest.mark.parametrize("total", [6, None])
def test_a_shape_that_counts_during_the_warmup_is_multiplied_by_it(total: int | None) -> None:
    joined = curve(3, total, during_warmup=True)
    assert [joined(n) for n in range(5)] == [0.01 * 0, 0.02 * 1, 0.03 * 2, 3, 4]


def test_a_plan_that_is_all_warmup() -> None:
    joined = curve(3, 3)
    assert [joined(n) for n in range(4)] == [0.01, 0.02, 0.03, END]
    assert joined.phases == [Phase("warmup", 0, 2)]


def test_updates_are_counted_from_zero() -> None:
    with pytest.raises(ValueError, match="position=-1: updates are counted from 0"):
        curve(2, 5)(-1)


def test_what_it_is_made_of_can_be_read() -> None:
    shaped = Shape(shape, END, [("shape", 0)], beside={"momentum": shape})
    joined = Curve(shaped, ramp, 2, 5)
    assert (joined.warmup, joined.total_steps, joined.end) == (2, 5, END)
    assert [joined.beside["momentum"](n) for n in range(7)] == [*map(shape, range(5)), shape(4), shape(4)]
    assert curve(2, 5).beside == {}


# Phases


def test_phases_meet_without_a_gap() -> None:
    joined = curve(4, 10, ("stable", 4), ("decay", 7))
    assert joined.phases == [Phase("warmup", 0, 3), Phase("stable", 4, 6), Phase("decay", 7, 9)]
    names = [joined.phase(n) for n in (0, 3, 4, 6, 7, 9, 10, 11)]
    assert names == ["warmup", "warmup", "stable", "stable", "decay", "decay", "end", "end"]


def test_the_last_phase_of_a_plan_without_an_end_has_none() -> None:
    joined = curve(4, None, ("stable", 4), ("decay", 7))
    assert joined.phases[-1] == Phase("decay", 7, None)
    assert joined.phase(FOREVER) == "decay"


def test_what_the_warmup_covers_begins_after_it() -> None:
    """As of a shape that counts from the start of training; what the warmup or the end covers whole is left out."""
    joined = curve(5, 10, ("first", 0), ("second", 3), ("third", 8), ("fourth", 10), during_warmup=True)
    assert joined.phases == [Phase("warmup", 0, 4), Phase("second", 5, 7), Phase("third", 8, 9)]


def test_a_warmup_of_the_shapes_own_keeps_its_place() -> None:
    """As of a sequence whose first part has one."""
    joined = curve(0, 10, ("warmup", 0), ("shape", 3), ("warmup", 5), ("shape", 8))
    assert [(phase.first, phase.last) for phase in joined.phases] == [(0, 2), (3, 4), (5, 7), (8, 9)]
