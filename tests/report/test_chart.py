"""The chart of characters: what is drawn is where the curve is, in braille and in ASCII."""

from __future__ import annotations

import io
import itertools
import math
import sys

import pytest

from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.chart import Point, draw_chart, is_plain, sparkline
from lr_recipes.schedules import Cosine, CosineRestarts, Fixed, MultiStep, OneCycle, Schedule, WarmupStableDecay

TICKS = {0: "0", 300: "300", 599: "599"}
SCHEDULES = [
    Cosine(warmup="5%"),
    OneCycle(),
    MultiStep(milestones=["50%", "75%"]),
    CosineRestarts(cycle="10%", cycle_decay=0.8),
    WarmupStableDecay(warmup="5%"),
    Fixed(),
]


def points_of(schedule: Schedule, updates: int = 600, lr: float = 0.002) -> list[Point]:
    curve = schedule.resolve(Horizon(total_steps=updates))
    return [(n, lr * curve(n)) for n in range(updates)]


def chart(points: list[Point], **options: object) -> list[str]:
    settings = {"title": "learning rate", "x_title": "optimizer update", "ticks": TICKS, "plain": False, **options}
    return draw_chart(points, **settings).splitlines()  # type: ignore[arg-type]


def rows_of(lines: list[str], edges: str = "│┤") -> list[str]:
    """What stands to the right of the y axis, from the top row to the bottom one."""
    found = []
    for line in lines:
        edge = next((position for position, letter in enumerate(line) if letter in edges), None)
        if edge is not None:
            found.append(line[edge + 1 :])
    return found


def dots_of(rows: list[str], columns: int) -> list[set[int]]:
    """Heights of the dots in each column of dots, counted from the bottom."""
    bits = [(0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80)]
    dots: list[set[int]] = [set() for _ in range(2 * columns)]
    for above, row in enumerate(reversed(rows)):
        for column, letter in enumerate(row):
            code = 0 if letter == " " else ord(letter) - 0x2800
            for down, pair in enumerate(bits):
                for side, bit in enumerate(pair):
                    if code & bit:
                        dots[2 * column + side].add(4 * above + 3 - down)
    return dots


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("log_from", [None, 1e-5])
def test_every_dot_lies_on_the_curve_and_the_curve_has_no_gap(schedule: Schedule, log_from: float | None) -> None:
    points = points_of(schedule)
    rows = rows_of(chart(points, log_from=log_from))
    columns = 80 - chart(points, log_from=log_from)[-3].index("└") - 1
    dots = dots_of(rows, columns)
    top, last = 4 * len(rows) - 1, points[-1][0]

    def height(lr: float) -> float:
        if log_from is None:
            return lr / 0.002 * top
        return max(math.log(lr / log_from), 0) / math.log(0.002 / log_from) * top

    for column, there in enumerate(dots):
        # the updates that this column and the borders to its neighbours stand for
        low, high = ((column + side) * last / (len(dots) - 1) for side in (-0.5, 0.5))
        heights = [height(points[n][1]) for n in range(max(math.floor(low), 0), min(math.ceil(high), last) + 1)]
        assert there, column
        assert there == set(range(min(there), max(there) + 1))
        assert min(heights) - 1 < min(there)
        assert max(there) < max(heights) + 1
        assert max(there) > max(heights[1:-1] or heights) - 1.01  # no peak is cut off
    for before, after in itertools.pairwise(dots):
        assert min(after) <= max(before) + 1
        assert max(after) >= min(before) - 1


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("updates", [1, 2, 3, 600, 100_000])
@pytest.mark.parametrize("log_from", [None, 1e-5])
def test_a_chart_fits_into_eighty_columns(updates: int, plain: bool, log_from: float | None) -> None:
    points = points_of(Cosine(), updates)
    ticks = {0: "0", updates // 2: f"{updates // 2:,}", updates - 1: f"{updates - 1:,}"}
    lines = chart(points, plain=plain, ticks=ticks, log_from=log_from)
    assert len(lines) == 1 + 11 + 3
    assert max(map(len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert lines[0] == "learning rate"
    assert lines[-1].strip() == "optimizer update"
    assert all(line.isascii() for line in lines) == plain


def test_a_linear_axis_is_labelled_at_top_middle_and_bottom() -> None:
    lines = chart(points_of(Cosine()))
    labels = [line.split("┤")[0].strip() if "┤" in line else "" for line in lines[1:12]]
    assert labels == ["0.002", "", "", "", "", "0.001", "", "", "", "", "0"]


def test_a_logarithmic_axis_is_labelled_at_its_decades() -> None:
    lines = chart([(0, 1.0), (100, 0.1), (200, 0.0001)], log_from=0.0001, ticks={0: "0"})
    labels = {line.split("┤")[0].strip() for line in lines[1:12] if "┤" in line}
    assert labels == {"1", "0.1", "0.01", "0.001", "0.0001"}


def test_ascii_keeps_the_shape() -> None:
    lines = chart(points_of(MultiStep(milestones=["50%"])), plain=True)
    edge = lines[1].index("+")
    top, bottom = lines[1][edge + 1 :], lines[10][edge + 1 :]
    assert set(top.rstrip("|")) == {"'"}
    assert set(bottom.strip().lstrip("|")) == {"."}
    cuts = [line.rindex("|") - edge for line in lines[1:11]]
    assert all(abs(cut - (80 - edge) / 2) <= 1 for cut in cuts)


def test_labels_of_ticks_that_would_touch_are_left_out() -> None:
    ticks = {0: "0", 10: "a long label", 12: "another", 599: "599"}
    line = chart(points_of(Cosine()), ticks=ticks)[-2]
    assert line.split("  ")[-1].strip() == "599"
    assert "another" not in line


def test_a_flat_line_at_zero_is_drawn() -> None:
    assert "⣀" in chart([(0, 0.0), (9, 0.0)], ticks={0: "0"})[-4]


def test_a_sparkline_has_a_character_for_each_value() -> None:
    assert sparkline([0, 0.25, 0.5, 1, 2], 1) == "▁▃▅██"
    assert sparkline([0, 0.25, 0.5, 1], 1, plain=True) == ".259"
    assert sparkline([0, 0], 0) == "▁▁"


@pytest.mark.parametrize(
    ("encoding", "plain"), [("utf-8", False), ("ascii", True), ("cp437", True), ("latin-1", True), (None, False)]
)
def test_what_stdout_cannot_print_is_not_drawn(
    encoding: str | None, plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO() if encoding is None else io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert is_plain() is plain
