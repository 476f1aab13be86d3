"""The statistics, beside scipy's own and beside numbers worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from recipes.reproduction.comparison import evaluations_of, losses_by_lr, paired, usable
from recipes.reproduction.experiment import Experiment, Result, Run
from recipes.reproduction.table import BASELINE, Row


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    generator = random.Random(1)
    ours, theirs = ([generator.gauss(mean, 0.1) for _ in range(7)] for mean in (0.9, 1.0))
    found = paired(ours, theirs)
    low, high = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.wins == sum(a < b for a, b in zip(ours, theirs, strict=True))


def test_by_hand() -> None:
    """Differences -1, -2, -3: mean -2, standard error 1 / sqrt(3), t(0.975, 2) = 4.3027."""
    found = paired([1.0, 1.0, 1.0], [2.0, 3.0, 4.0])
    assert found.mean == pytest.approx(-2.0)
    assert found.half_width == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)
    assert (found.wins, found.count) == (3, 3)
    assert not found.certain
    assert paired([1.0, 1.0, 1.0], [2.0, 2.1, 2.05]).certain


def test_equal_differences_have_an_interval_without_length() -> None:
    assert paired([1.0, 1.0], [2.0, 2.0]).half_width == 0.0


def test_one_pair_gives_no_interval() -> None:
    with pytest.raises(ValueError, match="an interval needs at least two pairs, and there is one"):
        paired([1.0], [2.0])


def test_a_diverged_run_is_not_averaged_away() -> None:
    found = paired([math.inf, 1.0], [2.0, 2.0])
    assert math.isnan(found.mean)
    assert not found.certain
    assert found.wins == 1


def test_usable_is_what_lies_within_ten_percent_of_the_lowest_loss() -> None:
    found = usable("x", {0.1: 1.1, 0.2: 1.0, 0.4: 1.09, 0.8: 1.11, 1.6: math.inf})
    assert (found.best, found.largest) == (0.2, 0.4)


ROW = Row("r", "R", {BASELINE: (), "a": (), "b": ()}, ("a",), (0.1, 0.2), 0.1, seeds=3, tuning_seeds=1, why="")


def results_of(experiment: Experiment, shift: dict[str, float]) -> dict[Run, Result]:
    results: dict[Run, Result] = {}
    while wanted := experiment.wanted(results):
        for run in wanted:
            loss = (
                2 + shift[run.schedule] * (1 + 0.01 * (run.seed % 100)) + abs(math.log2(run.lr / 0.2)) + 0.1 * run.seed
            )
            results[run] = Result(run, "done", loss, 0.5, loss, 0.5, 10, 1.0)
    return results


def test_a_schedule_passes_only_if_it_also_beats_the_fixed_lr_of_hindsight() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": -0.5, "b": 0.5})
    fixed, a, b = evaluations_of(experiment, results)
    assert fixed.difference is None
    assert not fixed.passes
    assert a.passes
    assert a.recommended
    assert a.difference is not None
    assert a.difference.mean == pytest.approx(-0.51)
    assert a.hindsight == pytest.approx(-0.51)
    assert not b.passes
    assert not b.recommended
    for run in list(results):  # on the evaluation seeds, another fixed LR is far better
        if run.schedule == BASELINE and run.lr == 0.1 and run.seed in experiment.seeds:
            results[run] = Result(run, "done", 0.0, 1.0, 1.0, 1.0, 10, 1.0)
    while wanted := experiment.wanted(results):
        results |= {run: Result(run, "done", 9.0, 0.5, 9.0, 0.5, 10, 1.0) for run in wanted}
    a = evaluations_of(experiment, results)[1]
    assert a.difference is not None
    assert a.difference.certain
    assert a.hindsight is not None
    assert a.hindsight > 0
    assert not a.passes


def test_the_curve_holds_every_lr_that_was_tried_on_the_tuning_seeds() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": -0.5, "b": 0.5})
    assert list(losses_by_lr(experiment, "a", results)) == pytest.approx([0.1, 0.2, 0.4])
