"""Previews: the numbers are the schedule's own, in the text, in the table, in the file and in the picture."""

from __future__ import annotations

import csv
import io
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR

from lr_recipes.plan.horizon import Horizon, HorizonError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.report.picture import figure_of_several, log_axis, save_figure
from lr_recipes.report.preview import Comparison, Preview, preview
from lr_recipes.schedules import (
    Cosine,
    CosineRestarts,
    Exponential,
    Fixed,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Step,
    TorchSchedule,
    WarmupStableDecay,
)

RUN = Horizon(total_steps=1000, steps_per_epoch=100, source="10 epochs of 100 updates")
GROUPS = {"decay": 0.002, "no_decay": 0.002, "head": 0.02}


@pytest.fixture(autouse=True)
def _fine_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # prints anything, whatever the tests run in


def one(schedule: Schedule, horizon: Horizon = RUN, lr: Any = 0.002, **options: Any) -> Preview:
    found = preview(schedule, horizon, lr, **options)
    assert isinstance(found, Preview)
    return found


def cells(text: str) -> list[list[str]]:
    """The rows of the last block of a text."""
    return [line.split() for line in text.split("\n\n")[-1].splitlines()]


# Numbers


def test_every_group_gets_its_base_times_the_factor() -> None:
    schedule = Cosine(warmup="10%", min_lr_ratio=0.1)
    shown, curve = one(schedule, lr=GROUPS), schedule.resolve(RUN)
    for n in (0, 99, 100, 500, 999, 5000):
        assert shown.factor(n) == curve(n)
        assert shown.lrs(n) == {name: base * curve(n) for name, base in GROUPS.items()}


def test_an_lr_that_is_held_for_an_epoch_is_that_of_the_epochs_first_update() -> None:
    uneven = Horizon(total_steps=30, steps_per_epoch=[5, 10, 15])
    shown, curve = one(OneCycle(), uneven, interval="epoch"), OneCycle().resolve(uneven)
    begins = [0] * 5 + [5] * 10 + [15] * 15
    assert "momentum" in curve.beside
    assert [shown.factor(n) for n in range(30)] == [curve(begin) for begin in begins]
    assert [shown.values("momentum", n)["group0"] for n in range(30)] == [
        curve.beside["momentum"](begin) for begin in begins
    ]
    assert "held for each epoch" in shown.table
    assert "held for each epoch" not in one(OneCycle(), uneven).table


def test_an_absolute_floor_is_measured_against_the_highest_group() -> None:
    shown = one(Linear(min_lr=0.0002), lr=GROUPS)
    assert shown.lrs(1000) == pytest.approx({"decay": 2e-5, "no_decay": 2e-5, "head": 2e-4})


def test_without_a_base_lr_shares_of_the_peak_are_shown() -> None:
    shown = one(Cosine(), lr=None)
    assert shown.lrs(500) == {"group0": 0.5}
    assert "peak LR" not in shown.table
    assert "LR / peak" in shown.table
    assert "learning rate / peak" in shown.chart()
    with pytest.raises(ValueError, match=r"min_lr=0\.1 needs the peak LR"):
        one(Cosine(min_lr=0.1), lr=None)


# Text


def test_the_table_has_the_plan_and_the_lr_at_the_quarters() -> None:
    plan, table = one(Cosine(warmup="10%"), title="AdamW").table.split("\n\n")
    assert plan.splitlines() == [
        "Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)",
        "  warmup    updates 0 to 99      factor 0.01 -> 1",
        "  cosine    updates 100 to 999   factor 1 -> 3.05e-06",
        "  group0    peak LR 0.002, floor 0",
    ]
    curve = Cosine(warmup="10%").resolve(RUN)
    positions = [0, 250, 500, 750, 999]
    assert cells(table)[0] == ["of", "the", "run", "update", "epoch", "LR"]
    assert cells(table)[1:] == [
        [share, f"{n:,}", str(n // 100), f"{0.002 * curve(n):.4g}"]
        for share, n in zip(["0%", "25%", "50%", "75%", "100%"], positions, strict=True)
    ]


def test_groups_that_share_an_lr_share_a_column() -> None:
    table = cells(one(Linear(), lr=GROUPS).table)
    assert " ".join(table[0]).endswith("epoch LR decay, no_decay LR head")
    assert [row[-2:] for row in table[1:3]] == [["0.002", "0.02"], ["0.0015", "0.015"]]


LISTED = TorchSchedule(factory=partial(OneCycleLR, max_lr=[0.02, 0.05], total_steps=21, pct_start=0.5))


@pytest.mark.behaviour("B47")
def test_each_group_is_shown_with_its_own_curve(tmp_path: Path) -> None:
    """What torch gives it, in the table, the file and the picture; no factor is said for all."""
    shown = preview(LISTED, Horizon(total_steps=20), lr={"head": 0.01, "body": 0.1})
    scheduler = OneCycleLR(optimizer := SGD(groups_of(0.01, 0.1), momentum=0.9), [0.02, 0.05], 21, pct_start=0.5)
    for n in range(20):
        assert [*shown.lrs(n).values()] == pytest.approx([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert shown.table.splitlines()[1:6] == [
        "  group head  base LR 0.01, LR 0.0008 -> 0.0199 -> 0.000444",
        "    torch     updates 0 to 19   factor 0.08 -> 0.0444",
        "  group body  base LR 0.1, LR 0.002 -> 0.0497 -> 0.00111",
        "    torch     updates 0 to 19   factor 0.02 -> 0.0111",
        "  momentum    0.95 -> 0.8506 -> 0.9478",
    ]
    heads = ["of", "the", "run", "update", "LR", "head", "LR", "body", "momentum"]
    assert cells(shown.table)[0] == heads
    assert "learning rate of body; each group has a curve of its own" in shown.chart()
    assert max(lr for _, lr in shown.points()) == pytest.approx(0.05, rel=0.01)
    shown.to_csv(tmp_path / "plan.csv")
    first = (tmp_path / "plan.csv").read_text().splitlines()[1]
    assert first.split(",")[:5] == ["0", "", "", "torch", ""]
    assert len(shown.plot().axes[0].get_lines()) == 2


@pytest.mark.behaviour("B47")
def test_groups_with_the_same_lrs_share_a_column_whatever_their_base() -> None:
    listed = TorchSchedule(factory=partial(OneCycleLR, max_lr=[0.05, 0.05, 0.02], total_steps=21))
    table = preview(listed, Horizon(total_steps=20), lr={"a": 0.01, "b": 0.1, "c": 0.1}).table
    assert "  LR a, b  " in table
    assert "  LR c  " in table


@pytest.mark.behaviour("B47")
def test_lists_need_an_lr_for_each_group() -> None:
    with pytest.raises(ValueError, match="for 1 parameter group: max_lr must have the same length"):
        preview(LISTED, Horizon(total_steps=20), lr=0.1)


def groups_of(*lrs: float) -> list[dict[str, Any]]:
    return [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in lrs]


def test_momentum_is_shown_where_it_moves() -> None:
    assert "momentum" not in one(Cosine()).table
    assert "momentum" not in one(OneCycle(cycle_momentum=False)).table
    table = cells(one(OneCycle()).table)
    assert table[0][-1] == "momentum"
    assert [table[1][-1], table[-1][-1]] == ["0.95", "0.95"]


@pytest.mark.parametrize(("updates", "shares"), [(1, ["100%"]), (2, ["0%", "100%"]), (3, ["0%", "25%", "100%"])])
def test_each_update_of_a_tiny_run_stands_once_in_the_table(updates: int, shares: list[str]) -> None:
    table = cells(one(Linear(), Horizon(total_steps=updates)).table)
    assert [row[0] for row in table[1:]] == shares
    assert [row[1] for row in table[1:]] == [str(n) for n in range(updates)]


def test_a_plateau_says_that_its_cuts_are_not_known_and_where_they_end() -> None:
    assert "cuts are left out" in one(Plateau()).table
    assert "floor 0.0002" in one(Plateau(min_lr_ratio=0.1)).table
    assert "cuts are left out" not in one(Fixed()).table


MANY = {f"layer{k}.with.a.long.name": 0.1 / 2**k for k in range(12)}


@pytest.mark.parametrize("lr", [None, 0.002, GROUPS, MANY], ids=["none", "one", "three", "twelve"])
@pytest.mark.parametrize(
    "schedule",
    [Cosine(warmup="5%"), OneCycle(), MultiStep(milestones=["50%", "75%"])],
    ids=lambda one: type(one).__name__,
)
@pytest.mark.parametrize("updates", [1000, 10_000_000])
def test_what_is_printed_fits_into_eighty_columns(schedule: Schedule, lr: Any, updates: int) -> None:
    shown = one(schedule, Horizon(total_steps=updates, steps_per_epoch=100), lr)
    table, chart = repr(shown).split("\n\n")[1:]  # the plan names groups in full
    assert max(map(len, [*table.splitlines(), *chart.splitlines()])) <= 80
    assert "LR" in table


def test_where_stdout_prints_ascii_only_the_curve_is_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not repr(one(Cosine())).isascii()
    assert one(Cosine()).chart(plain=True).isascii()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert repr(one(Cosine())).isascii()
    assert repr(preview({"a": Cosine(), "b": Linear()}, RUN)).isascii()


def test_the_chart_names_its_axes_and_the_group_that_it_shows() -> None:
    lines = one(Cosine(), lr=GROUPS).chart().splitlines()
    assert lines[0] == "learning rate of head, the others in proportion"
    assert lines[1].lstrip().startswith("0.02 ")
    assert lines[-1].strip() == "optimizer update (100 an epoch)"
    assert lines[-2].split() == ["0", "250", "500", "750", "999"]


def test_the_chart_has_a_logarithmic_axis_where_the_lr_spans_decades() -> None:
    lines = one(MultiStep(milestones=["50%", "75%"]), lr=0.1).chart().splitlines()
    assert lines[0] == "learning rate, log scale"
    assert [line.split("┤")[0].strip() for line in lines if "┤" in line] == ["0.1", "0.01", "0.001"]


# Runs without a known end


@pytest.mark.parametrize(
    ("schedule", "updates", "last"),
    [
        (Fixed(), 100, 1.0),
        (Fixed(warmup=50), 500, 1.0),
        (Plateau(), 100, 1.0),
        (Step(step_size="10 epochs"), 2000, 0.1),
        (InverseSqrt(warmup=100), 4000, 0.158),
    ],
    ids=repr,
)
def test_a_run_without_an_end_is_shown_as_far_as_something_happens(
    schedule: Schedule, updates: int, last: float
) -> None:
    epochs = 100 if isinstance(schedule, Step) else None
    shown = one(schedule, Horizon(steps_per_epoch=epochs))
    assert shown.updates == updates
    assert shown.factor(updates - 1) == pytest.approx(last, rel=0.01)
    assert "no known end" in shown.table
    assert "of what is shown" in shown.table
    assert cells(shown.table)[-1][1] == f"{updates - 1:,}"


def test_a_schedule_that_needs_an_end_says_so() -> None:
    with pytest.raises(HorizonError, match="Cosine needs to know how many updates"):
        one(Cosine(), Horizon())


# Files


def test_the_file_has_the_columns_of_lr_csv_and_a_row_for_each_update(tmp_path: Path) -> None:
    shown, curve = one(OneCycle(), lr={"decay": 0.1, "head": 0.2}), OneCycle().resolve(RUN)
    shown.to_csv(tmp_path / "new" / "preview.csv")
    rows = list(read_rows(tmp_path / "new" / "preview.csv"))
    assert list(rows[0]) == [
        "step", "epoch", "samples", "phase", "planned_factor", "lr/decay", "lr/head", "momentum/decay", "momentum/head",
    ]  # fmt: skip
    assert "momentum" in curve.beside
    assert [list(row.values()) for row in rows] == [
        [str(n), str(n // 100), "", curve.phase(n), *map(str, [curve(n), 0.1 * curve(n), 0.2 * curve(n)])]
        + [str(curve.beside["momentum"](n))] * 2
        for n in range(1000)
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["preview.csv"]


def test_of_very_many_updates_the_file_has_ten_thousand_and_the_ends_of_all_phases(tmp_path: Path) -> None:
    shown = one(WarmupStableDecay(warmup=1234, decay=54321), Horizon(total_steps=10_000_000))
    shown.to_csv(tmp_path / "preview.csv")
    steps = [int(row["step"]) for row in read_rows(tmp_path / "preview.csv")]
    assert 10_000 <= len(steps) <= 10_010
    assert steps == sorted(set(steps))
    assert {0, 1233, 1234, 9_945_678, 9_945_679, 9_999_999} <= set(steps)
    assert max(after - before for before, after in itertools.pairwise(steps)) == 1000


def test_a_file_that_cannot_be_written_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/preview\.csv"):
        one(Cosine()).to_csv(tmp_path / "file" / "preview.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OSError, match=r"folder\.csv"):
        one(Cosine()).to_csv(tmp_path / "folder.csv")
    with pytest.raises(ValueError, match="'foo' is not supported"):
        save_figure(one(Cosine()).plot(), tmp_path / "picture.foo")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.csv"]


# Pictures


def lines_of(figure: Figure) -> list[Any]:
    return [line for line in figure.axes[0].lines if len(line.get_xdata()) > 2]


def test_the_picture_shows_lrs_momentum_and_phases_with_named_axes(tmp_path: Path) -> None:
    figure = one(OneCycle(), lr=GROUPS, title="AdamW").plot()
    lrs, momenta = figure.axes
    curve = OneCycle().resolve(RUN)
    for line, base in zip(lines_of(figure), (0.002, 0.02), strict=True):
        assert list(line.get_xdata()) == list(range(1000))
        assert list(line.get_ydata()) == [base * curve(n) for n in range(1000)]
    assert (lrs.get_ylabel(), momenta.get_ylabel()) == ("learning rate", "momentum")
    assert momenta.get_xlabel() == "optimizer update (100 an epoch)"
    assert [text.get_text() for text in lrs.texts] == ["up", "down"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["decay, no_decay", "head"]
    assert figure.get_suptitle() == "AdamW: 1,000 updates (10 epochs of 100 updates)\nOneCycle()"
    save_figure(figure, tmp_path / "preview.png")
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")


def test_a_single_group_needs_no_legend() -> None:
    assert one(Cosine()).plot().legends == []


@pytest.mark.parametrize("schedule", [Fixed(), InverseSqrt(warmup=100)], ids=repr)
def test_a_run_without_an_end_and_one_of_one_update_are_drawn_too(schedule: Schedule) -> None:
    one(schedule, Horizon()).plot().draw_without_rendering()
    one(Cosine(), Horizon(total_steps=1)).plot().draw_without_rendering()


LOG = {
    Cosine(): False,
    Cosine(warmup="10%"): False,
    Cosine(min_lr_ratio=0.001): False,
    Linear(): False,
    Polynomial(): False,
    OneCycle(): False,
    Fixed(): False,
    WarmupStableDecay(): False,
    CosineRestarts(cycle="25%"): False,
    Step(step_size="50%"): False,
    MultiStep(milestones=["50%", "75%"]): True,
    Step(step_size="30%"): True,
    Exponential(gamma=0.5): True,
    Exponential(gamma=0.9): False,
}


@pytest.mark.parametrize(("schedule", "log"), LOG.items(), ids=map(repr, LOG))
def test_the_axis_is_logarithmic_where_the_lr_spans_decades(schedule: Schedule, log: bool) -> None:
    axis = one(schedule).plot().axes[0]
    assert axis.get_yscale() == ("log" if log else "linear")
    bottom, top = axis.get_ylim()
    assert top >= 0.002
    lrs = [0.002 * schedule.resolve(RUN)(n) for n in range(1000)]
    if log:  # what lasts is in sight, and the axis does not go far below it
        assert min(lrs) / 2 < bottom < min(lrs)
    else:
        assert bottom == 0


def test_a_fall_to_zero_does_not_stretch_a_logarithmic_axis() -> None:
    both = preview({"step": Step(step_size="30%"), "cosine": Cosine()}, RUN, 0.002)
    low = log_axis(shown.points() for shown in both.previews.values())
    assert low is not None
    assert 1e-6 < low < 2.1e-6  # the cosine itself ends at 5e-9
    assert both.plot().axes[0].get_ylim()[0] == pytest.approx(low / 1.5)


# Several


def compared() -> Comparison:
    schedules = {"step": Step(step_size="50%"), "cosine": Cosine(), "one_cycle": OneCycle(), "linear": Linear()}
    found = preview(schedules, RUN, 0.002)
    assert isinstance(found, Comparison)
    return found


def test_several_schedules_are_compared_row_by_row() -> None:
    head, *rows = cells(compared().table)
    assert head == ["0%", "25%", "50%", "75%", "100%"]
    assert rows[0] == ["step", "0.002", "0.002", "0.0002", "0.0002", "0.0002"]
    assert [row[0] for row in rows] == ["step", "cosine", "one_cycle", "linear"]
    assert compared().table.startswith("4 schedules over 1,000 updates: learning rate at shares of the run")
    printed = repr(compared()).splitlines()
    assert max(map(len, printed)) <= 80
    assert printed[3].endswith("█" * 20 + "▁" * 20)


def test_all_curves_are_in_one_picture_told_apart_by_colour_and_by_line() -> None:
    figure = compared().plot()
    curves = [Step(step_size="50%"), Cosine(), OneCycle(), Linear()]
    lines = figure.axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [
        [0.002 * schedule.resolve(RUN)(n) for n in range(1000)] for schedule in curves
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["step", "cosine", "one_cycle", "linear"]
    assert len({to_rgb(line.get_color()) for line in lines}) == 4
    assert len({line.get_linestyle() for line in lines}) == 4
    axis = figure.axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_ylim()[0]) == ("optimizer update", "learning rate", 0)


def test_twelve_curves_all_have_a_name_in_the_legend_and_no_two_look_the_same() -> None:
    figure = figure_of_several({f"curve {k}": [(0, 1.0), (9, 0.1 * k)] for k in range(12)}, "twelve")
    assert len(figure.legends[0].get_texts()) == 12
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == 12
    figure.draw_without_rendering()


def test_equal_curves_share_a_line_and_their_names() -> None:
    figure = figure_of_several(
        {"seed=1": [(0, 1.0), (1, 0.5)], "seed=2": [(0, 1.0), (1, 0.5)], "$x_1$": [(0, 1.0)]}, ""
    )
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seed=1, seed=2", r"\$x_1\$"]


def test_the_file_of_several_has_a_column_for_each_empty_past_its_end(tmp_path: Path) -> None:
    short, long = (
        one(Linear(), Horizon(total_steps=2), title="short"),
        one(Linear(), Horizon(total_steps=4), title="long"),
    )
    Comparison({"short": short, "long": long}).to_csv(tmp_path / "preview.csv")
    with (tmp_path / "preview.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["step", "lr/short", "lr/long"],
            ["0", "0.002", "0.002"],
            ["1", "0.001", "0.0015"],
            ["2", "", "0.001"],
            ["3", "", "0.0005"],
        ]


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"schedule": 3}, TypeError, "schedule=3: must be one of lr_recipes.schedules"),
        ({"schedule": {}}, ValueError, "give at least one schedule by name"),
        ({"interval": "batch"}, ValueError, "interval='batch': must be one of step, epoch"),
        ({"lr": 0}, ValueError, "lr=0: must be a number above 0"),
        ({"lr": {"head": "0.1"}}, ValueError, "lr='0.1' of head: must be a number above 0"),
        ({"lr": float("nan")}, ValueError, "lr=nan: must be a number above 0"),
        ({"lr": {}}, ValueError, "give the base LR of at least one group"),
        ({"schedule": Cosine(warmup=2000)}, ValueError, "warmup=2000 is 2,000 updates, and the run does 1,000"),
    ],
)
def test_mistakes_are_explained(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        preview(**{"schedule": Cosine(), "horizon": RUN, **arguments})


def test_an_lr_held_for_epochs_of_unknown_length_is_refused() -> None:
    with pytest.raises(ValueError, match="interval='epoch' needs steps_per_epoch"):
        one(Cosine(), Horizon(total_steps=10), interval="epoch").factor(3)


def test_a_billion_updates_take_no_time() -> None:
    started = time.perf_counter()
    repr(one(CosineRestarts(cycle="1%", warmup="1%"), Horizon(total_steps=10**9)))
    assert time.perf_counter() - started < 1
