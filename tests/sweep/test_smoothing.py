"""The smoothed curve: nothing of it moves."""

from __future__ import annotations

import math

import pytest

from lr_recipes.sweep.smoothing import smooth, smooth_without_outliers


def test_smoothing_keeps_a_straight_line_to_the_last_point() -> None:
    xs = [0.08 * n for n in range(100)]
    values, slopes = smooth(xs, [3 - 2 * x for x in xs])
    assert values == pytest.approx([3 - 2 * x for x in xs])
    assert slopes == pytest.approx([-2.0] * 100)


def test_smoothing_moves_nothing() -> None:
    xs = [0.08 * n for n in range(-50, 51)]
    values, slopes = smooth(xs, [math.tanh(x) for x in xs])
    assert [-value for value in reversed(values)] == pytest.approx(values, abs=1e-12)  # odd, as the function is
    assert max(range(101), key=slopes.__getitem__) == 50


def test_smoothing_takes_more_decades_where_updates_are_far_apart() -> None:
    xs = [math.log10(0.1 + 0.1 * n) for n in range(30)]  # a linear sweep
    values, _ = smooth(xs, [2 * x for x in xs])
    assert values == pytest.approx([2 * x for x in xs])


def test_a_point_far_from_the_others_changes_nothing() -> None:
    xs = [0.08 * n for n in range(100)]
    ys = [3 - 2 * x for x in xs]
    values, slopes = smooth_without_outliers(xs, [*ys[:50], 1e6, *ys[51:]])
    assert values == pytest.approx(ys, abs=0.05)
    assert slopes == pytest.approx([-2.0] * 100, abs=0.1)
