"""A series of LRs: what it keeps, and how it is cut into legs."""

from __future__ import annotations

import pytest

from lr_recipes.plan.series import Leg, Series, Ticked


def series(*lrs: float, each: int = 1, first: int = 0) -> Series:
    made = Series(["all"], first)
    for lr in lrs:
        made.add([lr], each)
    return made


def test_an_lr_that_is_held_is_kept_once() -> None:
    held = series(0.1, 0.1, 0.1, 0.05, 0.05, 0.1)
    assert list(held.firsts) == [0, 3, 5]
    assert [held.at(update)[0] for update in range(6)] == [0.1, 0.1, 0.1, 0.05, 0.05, 0.1]
    assert list(held.stretches(0)) == [(0, 3, 0.1), (3, 2, 0.05), (5, 1, 0.1)]
    assert len(held) == held.end == 6


def test_a_group_that_changes_begins_a_stretch_of_all() -> None:
    both = Series(["body", "head"])
    for lrs in ([0.1, 1.0], [0.1, 0.5], [0.1, 0.5]):
        both.add(lrs)
    assert list(both.firsts) == [0, 1]
    assert both.at(2) == [0.1, 0.5]
    assert (both.peak(0), both.peak(1), both.leader) == (0.1, 1.0, 1)


@pytest.mark.parametrize("update", [-1, 4, 9, 13])
def test_what_is_not_in_it_is_an_error_with_the_limits(update: int) -> None:
    with pytest.raises(IndexError, match=rf"update {update} is not one of updates 5 to 8"):
        series(0.1, each=4, first=5).at(update)


def test_a_series_of_nothing() -> None:
    nothing = Series(["all"], 3)
    assert (len(nothing), nothing.end, nothing.peak(0), nothing.leader, nothing.legs(0)) == (0, 3, 0.0, 0, [])


@pytest.mark.parametrize(
    ("lrs", "each", "legs"),
    [
        ([0.1], 4, [Leg("holds", 0, 3, 0.1, 0.1, 0)]),
        ([3.0, 2.0, 1.0], 1, [Leg("falls", 0, 2, 3.0, 1.0, 2)]),
        ([1.0, 2.0, 3.0], 1, [Leg("rises", 0, 2, 1.0, 3.0, 2)]),
        ([1.0, 2.0, 1.0], 1, [Leg("rises", 0, 1, 1.0, 2.0, 1), Leg("falls", 2, 2, 1.0, 1.0, 1)]),
        (
            [1.0, 2.0, 2.0, 2.0, 1.0, 0.0],
            1,
            [Leg("rises", 0, 0, 1.0, 1.0, 0), Leg("holds", 1, 3, 2.0, 2.0, 1), Leg("falls", 4, 5, 1.0, 0.0, 2)],
        ),
        ([1.0, 1.0 - 1e-12], 1, [Leg("holds", 0, 1, 1.0, 1.0 - 1e-12, 1)]),  # less than can be told apart
    ],
    ids=["constant", "falls", "rises", "turns", "plateau", "rounding"],
)
def test_legs(lrs: list[float], each: int, legs: list[Leg]) -> None:
    assert series(*lrs, each=each).legs(0) == legs


def test_an_lr_of_an_epoch_is_not_held() -> None:
    stairs = series(3.0, 2.0, 1.0, each=4)
    assert [leg.name for leg in stairs.legs(0)] == ["holds", "holds", "holds"]
    assert stairs.legs(0, held=4) == [Leg("falls", 0, 11, 3.0, 1.0, 2)]


def test_every_update_is_in_one_leg() -> None:
    lrs = [abs((n % 14) - 7) * 1.0 for n in range(50)] + [3.0] * 9
    legs = series(*lrs).legs(0)
    assert [leg.first for leg in legs[1:]] == [leg.last + 1 for leg in legs[:-1]]
    assert (legs[0].first, legs[-1].last) == (0, 58)
    assert all((leg.begin, leg.end) == (lrs[leg.first], lrs[leg.last]) for leg in legs)


def test_how_often_a_scheduler_has_been_ticked_at_the_end() -> None:
    assert Ticked("StepLR", ticks=[1, 2, 3]).reach == 3
    assert Ticked("StepLR", ticks=[4, 5], done=3).reach == 5
