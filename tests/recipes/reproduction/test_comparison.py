"""The statistics, beside scipy's own and beside numbers worked out by hand."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from recipes.reproduction.comparison import evaluations_of, holm, judged, losses_by_lr, paired, usable, verdict_of
from recipes.reproduction.experiment import Experiment, Result, Run
from recipes.reproduction.row import BASELINE, Claim, Row


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
    assert found.p == pytest.approx(2 * stats.t.sf(2.0 * math.sqrt(3), 2))


def test_equal_differences_have_an_interval_without_length() -> None:
    assert paired([1.0, 1.0], [2.0, 2.0]).half_width == 0.0


def test_one_pair_gives_no_interval() -> None:
    with pytest.raises(ValueError, match="an interval needs at least two pairs, and there is one"):
        paired([1.0], [2.0])


def test_a_diverged_run_is_not_averaged_away() -> None:
    found = paired([math.inf, 1.0], [2.0, 2.0])
    assert math.isnan(found.mean)
    assert found.p == 1.0
    assert found.wins == 1


def test_with_a_margin_the_mean_has_to_lie_below_it() -> None:
    ours, theirs = [1.01, 1.0, 1.02, 0.99], [1.0, 1.0, 1.0, 1.0]
    found = paired(ours, theirs, 0.05)
    assert found.mean == pytest.approx(0.005)
    assert found.p == pytest.approx(stats.ttest_1samp([a - 1.0 for a in ours], 0.05).pvalue)
    assert found.p < 0.05 < paired(ours, theirs).p


def test_holms_correction_rejects_what_his_procedure_rejects() -> None:
    """Step by step: the smallest against level / n, the next against level / (n - 1), until one is not smaller."""
    generator = random.Random(2)
    for _ in range(200):
        found = [generator.random() ** 3 for _ in range(generator.randint(1, 9))]
        rejected = set()
        for place, index in enumerate(sorted(range(len(found)), key=found.__getitem__)):
            if found[index] >= 0.05 / (len(found) - place):
                break
            rejected.add(index)
        assert {index for index, p in enumerate(holm(found)) if p < 0.05} == rejected


def test_usable_is_what_lies_within_ten_percent_of_the_lowest_loss() -> None:
    found = usable("x", {0.1: 1.1, 0.2: 1.0, 0.4: 1.09, 0.8: 1.11, 1.6: math.inf})
    assert (found.best, found.largest) == (0.2, 0.4)


ROW = Row("r", "R", {BASELINE: (), "a": (), "b": ()}, ("a",), (0.1, 0.2), "", seeds=3, tuning_seeds=1)


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
    fixed, a, b = judged({"r": evaluations_of(experiment, results)}, []).rows["r"]
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
    a = judged({"r": evaluations_of(experiment, results)}, []).rows["r"][1]
    assert a.alone
    assert a.corrected < 0.05
    assert a.hindsight is not None
    assert a.hindsight > 0
    assert not a.passes


def test_the_curve_holds_every_lr_that_was_tried_on_the_tuning_seeds() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": -0.5, "b": 0.5})
    assert list(losses_by_lr(experiment, "a", results)) == pytest.approx([0.1, 0.2, 0.4])


def test_rows_and_claims_are_corrected_together() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": -0.5, "b": -0.1})
    found = evaluations_of(experiment, results)
    claims = [verdict_of(Claim("r", *names, "", ""), experiment, results) for names in (("a", "b"), ("b", "a"))]
    together = judged({"r": found}, claims)
    assert together.count == 4
    ps = [one.difference.p for one in found if one.difference] + [one.difference.p for one in claims]
    corrected = [one.corrected for one in together.rows["r"] if one.difference] + [
        one.corrected for one in together.claims
    ]
    assert corrected == pytest.approx(holm(ps))
    assert [one.word for one in together.claims] == ["holds", "the opposite"]


def test_what_is_certain_alone_may_not_be_among_many() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": 0.0, "b": 0.0})
    for run, lower in zip(experiment.runs("a", 0.2, experiment.seeds), (0.10, 0.13, 0.16), strict=True):
        results[run] = Result(run, "done", 0.0, 0.5, results[run._replace(schedule=BASELINE)].test_loss - lower, 0.5)
    alone = evaluations_of(experiment, results)
    assert judged({"r": alone[:2]}, []).rows["r"][1].passes
    among = judged({str(n): alone for n in range(4)}, []).rows["0"][1]
    assert among.alone
    assert not among.passes


def test_a_claim_of_as_good_holds_within_its_margin() -> None:
    experiment = Experiment(ROW)
    results = results_of(experiment, {BASELINE: 0.0, "a": 0.01, "b": 0.5})
    for schedule, word in (("a", "holds"), ("b", "the opposite")):
        claim = Claim("r", schedule, BASELINE, "", "", 0.02)
        assert judged({}, [verdict_of(claim, experiment, results)]).claims[0].word == word
