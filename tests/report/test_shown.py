"""What is looked at shows as text in a terminal, and as text and picture in a notebook."""

from __future__ import annotations

import html
import math
import re
from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from torch import nn

from lr_recipes import Horizon, preview, schedules
from lr_recipes.report.chart import draw_chart
from lr_recipes.report.shown import Shown
from lr_recipes.sweep.result import RangeTest, Sweep

pytestmark = pytest.mark.behaviour("B65")

SWEEP = Sweep(min_lr=1e-6, max_lr=1.0)
FALLS = [2 - 1 / (1 + (3e-3 / SWEEP.lr(n)) ** 2) for n in range(100)]
MEASURED = RangeTest(SWEEP, FALLS)
THINGS: dict[str, Any] = {
    "preview": lambda: preview(schedules.Cosine(), 1000),
    "comparison": lambda: preview({"a": schedules.Cosine(), "b & <c>": schedules.Linear()}, 1000),
    "range test": lambda: MEASURED,
}


def test_a_number_of_updates_is_a_run() -> None:
    assert repr(preview(schedules.Cosine(), 1000)) == repr(preview(schedules.Cosine(), Horizon(total_steps=1000)))
    assert schedules.Cosine().resolve(8)(4) == pytest.approx((1 + math.cos(math.pi / 2)) / 2)
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1)
    bound = schedules.Linear().bind(optimizer, 10)
    optimizer.step()
    bound.step()
    assert bound.get_last_lr() == [0.1 * 0.9]


@pytest.mark.parametrize("given", ["5 epochs", 1.5, True, None, 0, -3])
def test_what_is_no_run_is_said(given: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"={given!r}: must be"):
        preview(schedules.Cosine(), given)


@pytest.mark.parametrize("name", THINGS)
def test_a_notebook_shows_table_and_picture(name: str) -> None:
    shown: Shown = THINGS[name]()
    match = re.fullmatch(r'<pre>(.*)</pre><img src="data:image/png;base64,([^"]+)" alt="[^"]+">', as_html(shown), re.S)
    assert match is not None
    assert html.unescape(match[1]) == shown.table
    assert "<" not in match[1]
    assert ink_in(b64decode(match[2])) > 0.005


def as_html(shown: Any) -> str:
    text: str = shown._repr_html_()
    return text


@pytest.mark.parametrize("name", THINGS)
def test_a_notebook_shows_a_figure_as_picture(name: str) -> None:
    assert ink_in(THINGS[name]().plot()._repr_png_()) > 0.005


def ink_in(png: bytes) -> float:
    """The share of a picture that is not white."""
    pixels = imread(BytesIO(png), format="png")
    return float((pixels[:, :, :3].min(axis=2) < 0.9).mean())


def test_a_range_test_prints_as_its_table_and_its_curve() -> None:
    table, chart = repr(MEASURED).split("\n\n")
    assert table == MEASURED.table
    lines = chart.splitlines()
    assert lines[0] == "loss, smoothed"
    assert max(map(len, lines)) <= 80
    assert lines[-2].split() == ["1e-06", "3.3e-05", "0.0011", "0.031", "1"]
    heights = [float(match[1]) for line in lines if (match := re.match(r"\s*([\d.]+) ┤", line))]
    assert heights == [pytest.approx(2, abs=0.01), pytest.approx(1.5, abs=0.01), pytest.approx(1, abs=0.01)]


def test_a_range_test_without_a_loss_prints_as_its_table() -> None:
    nothing = RangeTest(SWEEP, [], "not finite")
    assert repr(nothing) == nothing.table
    assert "no suggestion" in nothing.table


def test_a_chart_begins_where_it_is_told_to() -> None:
    drawn = draw_chart([(0, 5.0), (9, 4.0)], title="", x_title="", ticks={}, low=4.0, plain=True)
    rows = [line.split()[0] for line in drawn.splitlines() if re.match(r"\s*[\d.]+ \+", line)]
    assert rows == ["5", "4.5", "4"]
    assert draw_chart([(0, -1.0), (9, -1.0)], title="", x_title="", ticks={}, low=-1.0).count("┤") == 3
