"""The page and its pictures: numbers come from the results, and words do not contradict them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from recipes.reproduction.experiment import Experiment, Result, Run
from recipes.reproduction.page import Page
from recipes.reproduction.pictures import draw_losses, draw_row, smoothed
from recipes.reproduction.table import BASELINE, Row

ROOT = Path(__file__).parents[3]
ROW = Row(
    "classical_cnn",
    "Classical CNN training",
    {
        BASELINE: ("schedule=fixed",),
        "cosine": ("schedule=cosine",),
        "warmup_cosine": ("schedule=warmup_cosine", "schedule.warmup='5 epochs'"),
    },
    recommended=("cosine",),
    lrs=(0.1, 0.2, 0.4),
    published_lr=0.1,
    seeds=3,
    tuning_seeds=1,
    warmup=("cosine", "warmup_cosine"),
    why="Because.",
)
ORIGIN = {"machine": "2 cores", "python": "3.11", "torch": "2.15", "lightning": "2.6", "data": "abc"}


def page_of(loss: Callable[[Run], float], quick: bool = False, leave_out: int = 0) -> Page:
    experiment = Experiment(ROW)
    results: dict[Run, Result] = {}
    while wanted := experiment.wanted(results):
        for run in wanted:
            value = loss(run)
            done = math.isfinite(value)
            results[run] = (
                Result(run, "done", value, 0.5, value, 0.5, 9, 60.0, 60.0) if done else Result(run, "diverged")
            )
    for run in list(results)[:leave_out]:
        del results[run]
    return Page([experiment], {ROW.name: results}, {ROW.name: ORIGIN}, quick)


def good_cosine(run: Run) -> float:
    base = 1 + abs(math.log2(run.lr / 0.2)) + 0.01 * (run.seed % 100)
    return base - (0.5 + 0.001 * (run.seed % 100) if run.schedule == "cosine" else 0)


def row_of(page: Page, schedule: str) -> list[str]:
    (line,) = [line for line in page.text("results").splitlines() if line.startswith(f"| {ROW.setting} | {schedule} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_of_the_table_says_everything() -> None:
    cells = row_of(page_of(good_cosine), "**cosine**")
    assert cells[2:] == ["0.2", "0.518", "-0.502 ± 0.002", "3/3", "-0.502", "50.0%", "yes"]
    assert row_of(page_of(good_cosine), "fixed")[4:] == ["-", "-", "-", "50.0%", "-"]


def test_what_does_not_hold_is_said_and_what_holds_is_counted() -> None:
    text = page_of(good_cosine).text("results")
    assert "In 1 of 1 rows of the table at least one schedule that it names holds." in text
    lost = text.partition("## What did not hold")[2].partition("##")[0]
    assert "`warmup_cosine`: +0.000 ± 0.000, 0 of 3 wins: the interval does not lie below 0." in lost
    assert ", `cosine`:" not in lost
    worse = page_of(lambda run: good_cosine(run) + 2 * (run.schedule == "cosine")).text("results")
    assert "In 0 of 1 rows" in worse
    assert "not in: Classical CNN training." in worse


def test_the_largest_usable_lr_with_and_without_warmup() -> None:
    def breaks(run: Run) -> float:
        limit = 0.4 if run.schedule == "cosine" else 1.6
        return math.inf if run.lr > limit else 1 + 0.01 * abs(math.log2(run.lr / 0.2))

    text = page_of(breaks).text("results")
    assert "| Classical CNN training | `cosine` | 0.2 | 0.4 | 1 | 1.010 |" in text
    assert "| Classical CNN training | `warmup_cosine` | 0.2 | 1.6 | 4 | 1.010 |" in text
    assert "does not double" not in text
    same = page_of(lambda run: 1 + 0.01 * abs(math.log2(run.lr / 0.2))).text("results")
    assert "`warmup_cosine` does not double the largest usable LR of `cosine`" in same


def test_a_diverged_schedule_is_named_so() -> None:
    page = page_of(lambda run: math.inf if run.schedule == "cosine" else good_cosine(run))
    assert row_of(page, "**cosine**")[3] == "a run diverged"
    assert "`cosine`: a run diverged." in page.text("results")


def test_a_row_that_is_not_complete_is_not_judged() -> None:
    text = page_of(good_cosine, leave_out=2).text("results")
    assert "not complete: 2 runs missing" in text
    assert "Measured:" not in text


def test_a_quick_run_claims_nothing() -> None:
    page = page_of(good_cosine, quick=True)
    assert "no number here says anything" in page.text("results")
    assert "holds." not in page.text("results")
    assert row_of(page, "**cosine**")[-1] == "-"


def test_commands_can_be_typed_as_they_stand() -> None:
    text = page_of(good_cosine).text("results")
    assert "    python train.py recipe=classical_cnn schedule=cosine\n" in text
    assert "    make reproduce ARGS=rows=classical_cnn" in text


def test_the_page_and_its_pictures_are_written(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page_of(good_cosine).write(tmp_path / "README.md", tmp_path / "results", [ROW.name])
    text = (tmp_path / "README.md").read_text()
    for name in ("classical_cnn.png", "warmup.png"):
        assert f"(results/{name})" in text
        assert (tmp_path / "results" / name).stat().st_size > 5000


def test_pictures_tell_schedules_apart_without_colour(tmp_path: Path) -> None:
    curve = tmp_path / "a.csv"
    curve.write_text("update,lr,train_loss\n0,0.1,1.0\n10,0.05,0.5\n")
    losses = {"a": {0.1: 1.0, 0.2: 0.5}, "b": {0.1: 0.9, 0.2: math.inf}}
    figure = draw_row("A setting", losses, {"a": curve, "b": curve})
    left, middle, right = figure.axes
    assert len({line.get_marker() for line in left.lines if line.get_label() in losses}) == 2
    assert len({line.get_linestyle() for line in middle.lines}) == 2
    assert left.get_xscale() == "log"
    assert [axis.get_xlabel() for axis in (middle, right)] == ["optimizer update"] * 2
    assert "nats" in left.get_ylabel()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_diverged_lr_is_a_cross_at_the_top() -> None:
    axis = Figure().subplots()
    draw_losses(axis, {"a": {0.1: 1.0, 0.2: 0.5, 0.4: math.inf}})
    (cross,) = [line for line in axis.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert list(cross.get_xdata()) == [0.4]
    assert cross.get_ydata()[0] > 1.0


def test_the_running_mean_has_no_bias_at_its_start() -> None:
    assert smoothed([2.0] * 5) == pytest.approx([2.0] * 5)
    assert smoothed([0.0, 1.0])[1] == pytest.approx(0.1 / 0.19)


def test_rows_that_others_work_on_are_shown_but_not_drawn(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    page_of(good_cosine).write(tmp_path / "README.md", tmp_path / "results", [])
    assert "| **cosine** |" in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "results" / "classical_cnn.png").exists()


def test_the_numbers_of_the_guide_stand_in_the_measured_table() -> None:
    guide, page = ((ROOT / path).read_text(encoding="utf-8") for path in ("docs/choosing.md", "recipes/README.md"))
    numbers = re.findall(r"-\d\.\d{3}", guide)
    assert len(numbers) == 6
    assert [number for number in numbers if f"| {number} ± " not in page] == []
