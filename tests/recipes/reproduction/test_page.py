"""The page and its pictures: numbers come from the results, and words do not contradict them."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from recipes.app.batch_scaling import scaled_lr_of
from recipes.app.config import composed
from recipes.app.training import run as train
from recipes.reproduction.experiment import Experiment, Result, Run
from recipes.reproduction.page import Page
from recipes.reproduction.pictures import draw_losses, draw_row, smoothed
from recipes.reproduction.row import BASELINE, Row
from recipes.reproduction.rows import ROWS
from recipes.reproduction.store import parsed
from recipes.reproduction.worker import measured_config

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


def results_of(experiments: Sequence[Experiment], loss: Callable[[Run], float]) -> dict[Run, Result]:
    results: dict[Run, Result] = {}
    while wanted := [run for one in experiments for run in one.wanted(results)]:
        for run in wanted:
            value = loss(run)
            done = math.isfinite(value)
            results[run] = (
                Result(run, "done", value, 0.5, value, 0.5, 9, 60.0, 60.0) if done else Result(run, "diverged")
            )
    return results


def page_of(loss: Callable[[Run], float], quick: bool = False, leave_out: int = 0) -> Page:
    experiment = Experiment(ROW)
    results = results_of([experiment], loss)
    for run in list(results)[:leave_out]:
        del results[run]
    return Page([experiment], results, {ROW.name: ORIGIN}, quick)


def good_cosine(run: Run) -> float:
    base = 1 + abs(math.log2(run.lr / 0.2)) + 0.01 * (run.seed % 100)
    return base - (0.5 + 0.001 * (run.seed % 100) if run.schedule == "cosine" else 0)


def row_of(page: Page, schedule: str) -> list[str]:
    (line,) = [line for line in page.text("results").splitlines() if line.startswith(f"| {ROW.setting} | {schedule} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_of_the_table_says_everything() -> None:
    cells = row_of(page_of(good_cosine), "**cosine**")
    assert cells[2:4] == ["0.2", "0.518 (0.509 to 0.527)"]
    assert cells[4:] == ["-0.502 ± 0.002", "3/3", "<0.001, <0.001", "-0.502", "50.0%", "+0.0 ± 0.0", "yes"]
    assert row_of(page_of(good_cosine), "fixed")[4:] == ["-", "-", "-", "-", "50.0%", "-", "-"]


def test_what_does_not_hold_is_said_and_what_holds_is_counted() -> None:
    text = page_of(good_cosine).text("results")
    assert "In 1 of 1 rows of the table a schedule that it names holds on every task that was tried:" in text
    assert "- Classical CNN training: holds on its one task; the second is in the long form." in text
    lost = text.partition("## What did not hold")[2].partition("##")[0]
    assert "`warmup_cosine`: +0.000 ± 0.000, 0 of 3 wins: not lower than the fixed LR." in lost
    assert ", `cosine`:" not in lost
    worse = page_of(lambda run: good_cosine(run) + 0.9 * (run.schedule == "cosine")).text("results")
    assert "`cosine`: +0.398 ± 0.002, 0 of 3 wins: higher than the fixed LR." in worse
    worse = page_of(lambda run: good_cosine(run) + 2 * (run.schedule == "cosine")).text("results")
    assert "In 0 of 1 rows" in worse
    assert "- Classical CNN training: does not hold on its one task" in worse


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
    assert "    python train.py recipe=classical_cnn schedule=cosine optimizer.lr=0.2\n" in text
    assert "    make reproduce ARGS='long=true rows=classical_cnn'" in text


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


def test_the_numbers_of_the_guides_stand_in_the_measured_page() -> None:
    """Differences with their intervals, what half and twice the LR cost, and losses."""
    choosing, averaging, page = (
        (ROOT / path).read_text(encoding="utf-8")
        for path in ("docs/choosing.md", "docs/averaging.md", "recipes/README.md")
    )
    (of_the_page,) = [paragraph for paragraph in averaging.split("\n\n") if "recipes/README.md" in paragraph]
    differences = re.findall(r"[+-]?\d\.\d{3} ± \d\.\d{3}", choosing + of_the_page)
    losses = re.findall(r"(?<![+-])(?<!± )\b\d\.\d{3}\b(?! ±)", choosing)
    costs = re.findall(r"([+-]\d\.\d{3}), ([+-]\d\.\d{3}) \|", choosing)
    assert len(differences) >= 28
    assert [number for number in losses if f"| {number} |" not in page] == []
    assert len(costs) >= 6
    assert [number for number in differences if f"| {number} |" not in page] == []
    assert [pair for pair in costs if f"| {pair[0]} | {pair[1]} |" not in page] == []


def test_a_second_task_stands_below_its_row_and_counts() -> None:
    rows = (ROW, replace(ROW, name="again", part="second", of=ROW.name, recipe=ROW.name))
    experiments = [Experiment(replace(row, warmup=())) for row in rows]

    def worse_again(run: Run) -> float:
        return good_cosine(run) + 2 * (run.row == "again" and run.schedule == "cosine")

    text = Page(experiments[::-1], results_of(experiments, worse_again), {}).text("results")
    table = text.partition("## ")[0].splitlines()
    lines = [line.split("|")[1].strip() for line in table if line.startswith("| Classical CNN")]
    assert lines == ["Classical CNN training"] * 3 + ["Classical CNN training, second task"] * 3
    assert "In 0 of 1 rows" in text
    assert "- Classical CNN training: holds on 1 of 2 tasks." in text


def test_the_default_is_shown_beside_the_best_of_its_row() -> None:
    row = replace(ROW, warmup=(), also={"default": ("optimizer=adamw",)}, untuned={"default": 0.002})

    def loss(run: Run) -> float:
        return 0.7 + 0.01 * (run.seed % 100) if run.schedule == "default" else good_cosine(run)

    text = Page([Experiment(row)], results_of([Experiment(row)], loss), {}).text("results")
    assert "| Classical CNN training | `cosine`, 0.2 | 0.518 | 1.020 | 0.720 | +0.202 ± 0.002 | +0.0 ± 0.0 |" in text
    assert "all 2 comparisons" in text  # the default is an estimate


def test_the_difference_is_shown_over_the_length_of_the_run(tmp_path: Path) -> None:
    short = replace(ROW, name="short", part="length", of=ROW.name, recipe=ROW.name, warmup=())
    experiments = [Experiment(replace(ROW, warmup=())), Experiment(short)]

    def loss(run: Run) -> float:
        return good_cosine(run) + 0.6 * (run.row == "short" and run.schedule == "cosine")

    results = {
        run: replace(result, updates=100 if run.row == "short" else 900)
        for run, result in results_of(experiments, loss).items()
    }
    page = Page(experiments, results, {})
    table = page.text("results").partition("## How long must a run be?")[2].partition("\n## ")[0]
    lines = [line for line in table.splitlines() if "| cosine |" in line]
    assert [line.split("|")[2].strip() for line in lines] == ["100", "900"]
    assert "| +0.098 ± 0.002 |" in lines[0]
    assert "| -0.502 ± 0.002 |" in lines[1]
    (tmp_path / "results").mkdir()
    page.write(tmp_path / "README.md", tmp_path / "results", [])
    assert (tmp_path / "results" / "lengths.png").stat().st_size > 5000


def test_rows_that_are_written_down_and_not_measured_are_named() -> None:
    later = Experiment(replace(ROW, name="later", setting="CNN, 9 updates", part="length", of=ROW.name, warmup=()))
    experiments = [Experiment(ROW), later]
    words = "Written down and not measured yet: CNN, 9 updates (`later`)."
    assert words in Page(experiments, results_of(experiments[:1], good_cosine), {}).text("results")
    assert words not in Page(experiments, results_of(experiments, good_cosine), {}).text("results")


def test_what_a_wrong_lr_costs_is_read_off_the_tuning_runs() -> None:
    text = page_of(lambda run: good_cosine(run) if run.lr < 0.4 else math.inf).text("results")
    table = text.partition("## What a wrong LR costs")[2].partition("\n## ")[0]
    assert "| Classical CNN training | `fixed` | 0.2 | +1.000 | a run diverged |" in table
    assert "| Classical CNN training | `cosine` | 0.2 | +1.000 | a run diverged |" in table


def test_what_the_range_test_suggests_is_shown_beside_the_tuned_lr() -> None:
    row = replace(ROW, warmup=(), also={"range_test": ("task=range_test",)}, untuned={"range_test": 1.0})
    results = {
        run: replace(result, edge_lr=0.1 * (run.seed - 100), valley_lr=0.01) if run.schedule == "range_test" else result
        for run, result in results_of([Experiment(row)], good_cosine).items()
    }
    text = Page([Experiment(row)], results, {}).text("results")
    assert "| `cosine`, 0.2 | 0.18 (0.1 to 0.3) | 0.91, 3/3 | 0.2 | 0.01 (0.01 to 0.01) | 0.05, 0/3 |" in text


@cache
def committed() -> Page:
    """The page, from nothing but the lines that are committed beside it."""
    results: dict[Run, Result] = {}
    origins: dict[str, dict[str, str]] = {}
    for path in sorted((ROOT / "recipes" / "results").glob("*.csv")):
        for line in path.read_text(encoding="utf-8").splitlines()[1:]:
            result, origin = parsed(line)
            results[result.run] = result
            origins.setdefault(result.run.row, origin)
    return Page([Experiment(row, more=("trainer=cpu",)) for row in ROWS], results, origins)


def test_every_figure_of_the_page_comes_from_the_committed_results() -> None:
    assert committed().text("results") == (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")


def trains_as_its_recipe(row: Row) -> bool:
    typed = [one for overrides in row.schedules.values() for one in overrides]
    return row.part in ("table", "second", "length") and not any(one.startswith("trainer.") for one in typed)


AS_THE_RECIPES = [row for row in ROWS if trains_as_its_recipe(row)]


def test_every_recipe_is_measured_over_its_own_length() -> None:
    assert {row.recipe or row.name for row in AS_THE_RECIPES} == {row.recipe or row.name for row in ROWS}


@pytest.mark.parametrize("row", AS_THE_RECIPES, ids=lambda row: row.name)
def test_the_lr_of_a_recipe_is_the_one_that_was_best_for_its_schedule(row: Row) -> None:
    own = measured_config((f"recipe={row.recipe or row.name}", "output_dir=unused"))
    found = {one.schedule: one for one in committed().judged.rows[row.name] if one.recommended}
    kinds = {name: measured_config((*row.overrides(name), "output_dir=unused")).schedule for name in found}
    (name,) = [name for name, kind in kinds.items() if kind._target_ == own.schedule._target_]
    lr = scaled_lr_of(own) if row.name == "large_batch" else own.optimizer.lr
    assert lr == pytest.approx(found[name].lr)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("row", ["fast_supervised_signals", "fast_supervised"])
def test_the_command_under_a_row_ends_where_the_row_says(row: str, tmp_path: Path) -> None:
    """As it is typed: another seed than those of the row, and the best checkpoint in place of the last weights."""
    page = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
    command = page.partition(f"    make reproduce ARGS='long=true rows={row}'")[0].rstrip().splitlines()[-1].strip()
    assert command.startswith("python train.py ")
    (best,) = [one for one in committed().judged.rows[row] if one.recommended]
    typed = shlex.split(command.removeprefix("python train.py "))
    quiet = ("trainer=cpu", "trainer.enable_progress_bar=false", "logger=none", "threads=1")
    metrics = train(composed(*typed, *quiet, f"output_dir={tmp_path}", f"pretrained_dir={tmp_path}"))
    beyond = (max(best.losses) - min(best.losses)) / 2  # another seed than those ten
    assert min(best.losses) - beyond <= metrics["test_loss"] <= max(best.losses) + beyond
