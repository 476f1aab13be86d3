"""What is looked at shows as text in a terminal, and as text and picture in a notebook."""

from __future__ import annotations

import html
import math
import re
import subprocess
import sys
from base64 import b64decode
from io import BytesIO
from typing import Any

import pytest
import torch
from matplotlib.image import imread
from torch import nn

from lr_recipes import Horizon, preview, schedules
from lr_recipes.plan.built import Built
from lr_recipes.report.chart import draw_chart
from lr_recipes.report.shown import Shown
from lr_recipes.report.sights import form_of
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
    text, png = parts_of(as_html(shown))
    assert text == shown.table
    assert ink_in(png) > 0.005


def parts_of(shown: str) -> tuple[str, bytes]:
    """The text that a notebook shows, and its picture."""
    match = re.fullmatch(
        r'<pre style="[^"]+">(?P<text>[^<]*)</pre>(<img src="data:image/png;base64,(?P<png>[^"]+)" alt="[^"<]+" '
        r'width="[0-9]+" style="[^"<]+">)?',
        shown,
    )
    assert match is not None
    return html.unescape(match["text"]), b64decode(match["png"] or "")


def as_html(shown: Any) -> str:
    text: str = shown._repr_html_()
    return text


@pytest.mark.parametrize("name", THINGS)
def test_a_notebook_shows_a_figure_as_picture(name: str) -> None:
    assert ink_in(THINGS[name]().plot()._repr_png_()) > 0.005


# What stands on lower floors


RUN = Horizon(total_steps=1000)
Linear, Hyperparameters = schedules.Linear, schedules.Hyperparameters
BY_GROUP = schedules.ByGroup(groups={"head": Linear(), "norm": schedules.Cosine()})
LOWER: dict[str, tuple[Any, str, str]] = {
    "schedule": (
        schedules.Cosine(warmup="10%"),
        "Cosine(warmup='10%')",
        "Cosine(warmup='10%')\n  warmup               '10%'\n  warmup_type          'linear'\n"
        "  warmup_start_factor  None\n  min_lr_ratio         None\n  min_lr               None",
    ),
    "curve": (
        schedules.Cosine(warmup="10%").resolve(RUN),
        "<Curve of 1,000 updates: warmup 0 to 99, cosine 100 to 999>",
        "Learning-rate plan for Curve: 1,000 updates\n  warmup    updates 0 to 99      factor 0.01 -> 1",
    ),
    "curve of very many phases": (
        schedules.CosineRestarts(cycle=10).resolve(RUN),
        "<Curve of 1,000 updates: cycle 1 0 to 9, cycle 2 10 to 19, cycle 3 20 to 29, cycle 4 30 to 39 and 96 more "
        "phases>",
        "Learning-rate plan for Curve: 1,000 updates\n  cycle 1    updates 0 to 9",
    ),
    "curve without an end": (
        schedules.Fixed(warmup=5).resolve(Horizon()),
        "<Curve of no known end: warmup 0 to 4, constant from 5 on>",
        "Learning-rate plan for Curve: no known end",
    ),
    "plan": (
        schedules.Linear().plan(RUN, [0.1, 0.2]),
        "<Plan of Linear(): 1,000 updates, 2 groups, peak LR 0.2>",
        "Learning-rate plan for Linear: 1,000 updates\n  linear    updates 0 to 999   factor 1 -> 0.001\n"
        "  group0    peak LR 0.1, floor 0",
    ),
    "schedule by group": (
        BY_GROUP,
        repr(BY_GROUP),
        f"{BY_GROUP!r}\n  groups   {{'head': Linear(), 'norm': Cosine()}}\n  default  None",
    ),
    "plan by group": (
        Hyperparameters(lr=BY_GROUP, eps=Linear()).plan(RUN, Built([0.1, 0.2], ["head", "norm"])),
        f"<Plan of Hyperparameters(lr={BY_GROUP!r}, eps=Linear()): 1,000 updates, 2 groups, peak LR 0.2>",
        "Learning-rate plan for Hyperparameters: 1,000 updates\n"
        "  group head  peak LR 0.1, floor 0\n    linear    updates 0 to 999   factor 1 -> 0.001\n"
        "  group norm  peak LR 0.2, floor 0\n    cosine    updates 0 to 999   factor 1 -> 2.47e-06\n"
        "  eps         factor 1 -> 0 (linear)\n",
    ),
}


@pytest.mark.parametrize("name", LOWER)
def test_a_schedule_a_curve_and_a_plan_are_a_line_in_a_terminal_and_a_picture_in_a_notebook(name: str) -> None:
    one, line, begins = LOWER[name]
    assert repr(one) == str(one) == line
    text, png = parts_of(as_html(one))
    assert text.startswith(begins)
    assert ink_in(png) > 0.005


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Cosine(warmup="5 epochs"),
        schedules.Linear(min_lr=1e-5),
        schedules.Step(step_size="2 epochs", gamma=0.1),
    ],
    ids=repr,
)
def test_a_schedule_that_needs_more_than_a_number_of_updates_shows_its_knobs_alone(schedule: Any) -> None:
    text, png = parts_of(as_html(schedule))
    assert text.startswith(f"{schedule!r}\n  warmup ")
    assert png == b""


class Broken(schedules.Schedule):
    """Somebody's own, which fails."""

    def shape(self, span: schedules.Span) -> schedules.Shape:
        raise ZeroDivisionError


def test_a_schedule_of_ones_own_that_fails_shows_its_knobs_alone() -> None:
    assert parts_of(as_html(Broken()))[1] == b""


def test_what_a_name_holds_is_text_and_no_html() -> None:
    shown = as_html(schedules.Plateau(monitor="<img src=x onerror=alert(1)>"))
    assert "<img src=x" not in shown
    assert "monitor='<img src=x onerror=alert(1)>'" in parts_of(shown)[0]


@pytest.mark.parametrize(
    ("schedule", "label"),
    [
        (schedules.Cosine(warmup="10%"), "share of the run"),
        (schedules.OneCycle(), "share of the run"),
        (schedules.Cosine(warmup=100), "optimizer update of a run of 1,000"),
        (schedules.Step(step_size=300, gamma=0.5), "optimizer update of a run of 1,000"),
        (schedules.WarmupStableDecay(decay="20%"), "share of the run"),
        (BY_GROUP, "share of the run"),
        (Hyperparameters(eps=Linear()), "share of the run"),
        (Hyperparameters(eps=Linear(warmup=100)), "optimizer update of a run of 1,000"),
    ],
    ids=repr,
)
def test_the_axis_of_a_schedule_is_a_share_where_all_of_its_lengths_are(schedule: Any, label: str) -> None:
    figure = form_of(schedule)
    assert figure is not None
    assert figure.axes[-1].get_xlabel() == label


def test_a_low_floor_is_handed_the_way_to_the_reports_by_the_package_alone() -> None:
    """Nothing of the reports, and no torch or matplotlib, is imported until something is shown."""
    program = (
        "import sys\nfrom lr_recipes.plan.curve import Curve\nfrom lr_recipes.schedules import Cosine\n"
        "assert not {'torch', 'matplotlib', 'lr_recipes.report'} & set(sys.modules), sorted(sys.modules)\n"
        "print(Cosine().resolve(10)._repr_html_()[:4], 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "<pre False\n"


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
