"""The picture of a range test: what is drawn, read from the figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lr_recipes.report.picture import COLOURS
from lr_recipes.sweep.result import RULES, RangeTest, Sweep

SWEEP = Sweep(min_lr=1e-6, max_lr=1.0)


def falling(*more: float, stop: str = "diverged") -> RangeTest:
    """A loss that falls from 2 to 1 around 3e-3, up to an LR of 0.1, and what comes then."""
    losses = [2 - 1 / (1 + (3e-3 / SWEEP.lr(n)) ** 2) for n in range(84)]
    return RangeTest(SWEEP, [*losses, *more], stop)


def figure_of(test: RangeTest, title: str = "") -> Figure:
    return test.plot(title=title)


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def lines(figure: Figure) -> dict[str, Any]:
    return {str(line.get_label()): line for line in figure.axes[0].lines}


def test_losses_and_the_smoothed_curve_are_drawn_over_a_logarithmic_axis() -> None:
    test = falling()
    figure = figure_of(test, "a title")
    axis, drawn = figure.axes[0], lines(figure)
    assert axis.get_xscale() == "log"
    assert axis.get_xlabel() == "learning rate of the update (log scale)"
    assert axis.get_ylabel() == "training loss"
    assert list(drawn["loss of an update"].get_ydata()) == list(test.losses)
    assert tuple(drawn["smoothed"].get_ydata()) == test.smoothed
    assert tuple(drawn["smoothed"].get_xdata()) == test.lrs


def test_every_suggestion_is_marked_on_the_curve_and_told_apart_by_shape_and_colour() -> None:
    test = falling(2.5, 3.0)
    assert set(test.suggestions) == set(RULES)
    drawn = lines(figure_of(test))
    marks = [drawn[next(label for label in drawn if label.startswith(rule))] for rule in RULES]
    assert [float(mark.get_xdata()[0]) for mark in marks] == list(test.suggestions.values())
    assert len({mark.get_marker() for mark in marks}) == len({to_hex(mark.get_color()) for mark in marks}) == 5
    assert {to_hex(mark.get_color()).upper() for mark in marks} <= set(COLOURS)
    for mark in marks:
        nearest = min(range(len(test.lrs)), key=lambda n: abs(test.lrs[n] - mark.get_xdata()[0]))
        assert mark.get_ydata()[0] == pytest.approx(test.smoothed[nearest], abs=0.1)


def test_the_legend_names_values_and_the_usable_range() -> None:
    test = falling(2.5, 3.0)
    low, high = test.usable or (0, 0)
    figure = figure_of(test)
    assert labels(figure) == [
        "loss of an update",
        "smoothed",
        f"usable: {low:.2g} to {high:.2g}",
        f"steepest: {test.suggestions['steepest']:g}",
        f"valley: {test.suggestions['valley']:g}",
        f"slide: {test.suggestions['slide']:g}",
        f"minimum / 10: {test.suggestions['minimum']:g}",
        f"edge (suggested peak): {test.suggestions['edge']:g}",
    ]
    (shade,) = figure.axes[0].patches
    assert shade.get_extents().transformed(figure.axes[0].transData.inverted()).intervalx == pytest.approx([low, high])


@pytest.mark.parametrize("explosion", [[50.0], [1e6, 1e9]])
def test_an_explosion_leaves_the_picture_at_the_top(explosion: Sequence[float]) -> None:
    bottom, top = figure_of(falling(*explosion)).axes[0].get_ylim()
    assert 0.5 < bottom < 1 < 2 < top < 3


def test_the_title_says_what_is_suggested_or_why_nothing_is() -> None:
    test = falling(2.5, 3.0)
    assert figure_of(test, "mine, $5").get_suptitle() == (
        f"mine, \\$5\nsuggested peak LR {test.suggestion:g}, for a schedule that warms up and decays"
    )
    flat = figure_of(RangeTest(SWEEP, [1.0] * 100), "mine")
    assert flat.get_suptitle().startswith("mine\nno suggestion: the loss is flat")
    assert labels(flat) == ["loss of an update", "smoothed"]
    assert max(map(len, flat.get_suptitle().splitlines())) <= 100


@pytest.mark.parametrize("losses", [[], [1.0], [0.0] * 20, [-5.0] * 20, [1e-30] * 20])
def test_odd_losses_are_drawn_without_a_warning(losses: list[float], tmp_path: Path) -> None:
    figure_of(RangeTest(SWEEP, losses, "interrupted")).savefig(tmp_path / "odd.png")
    assert (tmp_path / "odd.png").stat().st_size > 3000
