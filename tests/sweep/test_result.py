"""The maths of the range test: the LRs, when it stops, and what the losses suggest; synthetic curves with an answer."""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import range_test_rules
from benchmarks.range_test_rules import NOISES, OTHERS, RANGES, answers, errors
from lr_recipes.sweep.result import RULES, DivergenceWatch, RangeTest, Sweep

RISE = -1.0  # log LR where the loss of `curve` begins to rise


def curve(x: float, steepest: float = -2.5, width: float = 0.3, rise: float = RISE) -> float:
    """A loss over log10 LR: falls from 2.3 to 0.5 around ``steepest``, and rises from ``rise`` on."""
    return 2.3 - 1.8 / (1 + math.exp((steepest - x) / width)) + 0.5 * 10 ** ((x - rise) / 0.3)


def measured(
    loss: Callable[[float], float], noise: float = 0.02, seed: int = 0, threshold: float = 4.0, **sweep: Any
) -> RangeTest:
    """A range test of a curve over log10 LR."""
    plan, watch, generator, losses = Sweep(**sweep), DivergenceWatch(threshold), random.Random(seed), []
    for n in range(plan.num_training_steps):
        value = loss(math.log10(plan.lr(n))) + generator.gauss(0, noise)
        stop = watch.observe(value)
        if stop != "not finite":
            losses.append(value)
        if stop:
            return RangeTest(plan, losses, stop)
    return RangeTest(plan, losses)


def decades(lr: float, other: float) -> float:
    return abs(math.log10(lr / other))


# The LRs


def test_exponential_sweep_multiplies_from_the_first_lr_to_the_last() -> None:
    sweep = Sweep(min_lr=1e-4, max_lr=1.0, num_training_steps=13)
    assert [sweep.lr(n) for n in (0, 3, 6, 9, 12)] == [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    ratios = [sweep.lr(n + 1) / sweep.lr(n) for n in range(12)]
    assert ratios == pytest.approx([10 ** (1 / 3)] * 12)


def test_linear_sweep_adds_from_the_first_lr_to_the_last() -> None:
    sweep = Sweep(min_lr=0.1, max_lr=1.1, num_training_steps=11, mode="linear")
    assert [sweep.lr(n) for n in range(11)] == pytest.approx([0.1 + 0.1 * n for n in range(11)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 0.1}, r"min_lr=1 must be below max_lr=0.1.*set min_lr=1e-07"),
        ({"min_lr": 0.1, "max_lr": 0.1}, r"min_lr=0.1 must be below max_lr=0.1"),
        ({"min_lr": 0.0}, r"min_lr=0.0: must be a number above 0, as in min_lr=1e-07"),
        ({"max_lr": -1.0}, r"max_lr=-1.0: must be a number above 0, as in max_lr=10"),
        ({"max_lr": math.inf}, r"max_lr=inf: must be"),
        ({"min_lr": math.nan}, r"min_lr=nan: must be"),
        ({"min_lr": "1e-7"}, r"min_lr='1e-7': must be a number"),
        ({"num_training_steps": 9}, r"num_training_steps=9: must be a whole number, at least 10.*100 is usual"),
        ({"num_training_steps": 20.0}, r"num_training_steps=20.0: must be a whole number"),
        ({"num_training_steps": True}, r"num_training_steps=True"),
        ({"mode": "cosine"}, r"mode='cosine': must be one of exponential, linear"),
    ],
)
def test_sweeps_that_cannot_be_are_refused_with_value_limit_and_way_out(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sweep(**arguments)


# When it stops


def observed(losses: list[float], threshold: float = 4.0) -> list[str | None]:
    watch = DivergenceWatch(threshold)
    return [watch.observe(loss) for loss in losses]


@pytest.mark.parametrize(
    ("losses", "stops_after"),
    [
        ([1.0] * 20 + [30.0] * 5, 21),  # 0.9 x 1 + 0.1 x 30 and nearly no bias: 4.3
        ([1.0] * 20 + [10.0] * 5, 24),
        ([100.0] + [1.0] * 100, None),  # a bad start is no divergence
        ([1.0, 50.0] + [1.0] * 30, None),  # nor is an outlier among the first ten
        ([1.0] * 20 + [3.9] * 100, None),
        ([0.0] * 20 + [-1.0] * 20 + [1.5] * 50, None),  # 2.5 above the best: less than 3 times 1
        ([0.0] * 20 + [-1.0] * 40 + [2.5] * 50, 78),  # 2.5 - 3.49 x 0.9^18 > 2 x 0.985
        ([2.0 - 0.1 * n for n in range(20)] + [1e-4] * 40 + [1.0] * 40, None),  # near 0, and only half of the way back
        ([-5.0] * 20 + [9.0] * 40, None),
        ([-5.0] * 20 + [12.0] * 40, 40),
    ],
)
def test_divergence_is_judged_on_the_bias_corrected_mean(losses: list[float], stops_after: int | None) -> None:
    found = observed(losses)
    first = next((n for n, stop in enumerate(found, 1) if stop), None)
    assert first == stops_after
    assert set(found) <= {None, "diverged"}


def test_a_running_mean_with_its_bias_would_stop_too_early() -> None:
    # Uncorrected, the mean of a constant loss grows tenfold from update 1 on.
    assert observed([1.0] * 50, threshold=1.5) == [None] * 50


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_at_once(loss: float) -> None:
    assert observed([1.0, loss]) == [None, "not finite"]


@pytest.mark.parametrize("threshold", [1.0, 0.5, math.nan, "4", True])
def test_thresholds_that_cannot_be_are_refused(threshold: Any) -> None:
    with pytest.raises(ValueError, match=r"divergence=.*: must be above 1"):
        DivergenceWatch(threshold)


# What it suggests


@pytest.mark.behaviour("B36")
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("limits", RANGES)
def test_every_rule_is_within_half_a_decade_of_the_answer(noise: float, limits: tuple[float, float]) -> None:
    off = errors(noise, [limits])
    for rule in RULES:
        assert len(off[f"lr_recipes {rule}"]) == 20
        assert max(off[f"lr_recipes {rule}"]) <= 0.5


def test_answers_are_where_the_definitions_say() -> None:
    right = answers()
    assert right["steepest"] == pytest.approx(3e-3, rel=0.01)
    assert decades(right["slide"], right["steepest"]) == pytest.approx(0.5, abs=0.01)  # the decade lies around it
    assert right["valley"] == pytest.approx(3e-3, rel=0.1)  # a sigmoid is symmetrical, but for the rise
    assert range_test_rules.loss_at(10 * right["minimum"]) < range_test_rules.loss_at(9 * right["minimum"])
    assert range_test_rules.loss_at(10 * right["minimum"]) < range_test_rules.loss_at(11 * right["minimum"])


def test_the_table_has_all_rules_and_the_others_are_off() -> None:
    off = errors(0.05, RANGES[:1], range(5))
    assert list(off) == [f"lr_recipes {rule}" for rule in RULES] + list(OTHERS)
    assert min(off["Lightning lr_find"]) > 1
    assert max(off["fastai valley"]) < 1


@pytest.mark.parametrize("steepest", [-5.0, -3.5, -2.0])
@pytest.mark.parametrize("width", [0.1, 0.2, 0.4])
def test_the_steepest_point_is_found_wherever_it_is(steepest: float, width: float) -> None:
    test = measured(lambda x: curve(x, steepest, width, rise=steepest + 1.8))
    assert decades(test.suggestions["steepest"], 10**steepest) < 0.25
    assert decades(test.suggestions["valley"], 10**steepest) < 0.25


def test_a_linear_sweep_finds_it_too() -> None:
    test = measured(lambda x: curve(x, steepest=-1.0, rise=2.0), min_lr=1e-3, max_lr=1.0, mode="linear")
    assert test.reason is None
    assert decades(test.suggestions["steepest"], 0.1) < 0.25


@pytest.mark.parametrize("shift", [0.0, -10.0, 5.0])
@pytest.mark.parametrize("scale", [0.001, 1.0, 1000.0])
def test_neither_sign_nor_size_of_the_loss_matters(shift: float, scale: float) -> None:
    plain = RangeTest(Sweep(), [curve(math.log10(Sweep().lr(n))) for n in range(80)])
    other = RangeTest(Sweep(), [scale * (loss + shift) for loss in plain.losses])
    assert other.suggestions == plain.suggestions != {}


def test_an_explosion_does_not_pull_at_the_curve_before_it() -> None:
    sweep = Sweep()
    losses = [curve(math.log10(sweep.lr(n))) for n in range(75)]
    wild = RangeTest(sweep, [*losses, 1e4, 1e6, 1e8], "diverged")
    mild = RangeTest(sweep, [*losses, 2.4, 2.4, 2.4], "diverged")
    assert wild.suggestions == mild.suggestions != {}


@pytest.mark.behaviour("B39")
def test_what_came_before_a_loss_that_is_not_finite_is_used() -> None:
    test = measured(lambda x: curve(x) if x < -1.5 else math.nan)
    assert test.stop == "not finite"
    assert max(test.lrs) < 10**-1.5
    assert set(test.suggestions) == set(RULES)
    assert decades(test.suggestions["steepest"], 10**-2.5) < 0.25


def test_a_flat_bottom_has_no_minimum() -> None:
    test = measured(lambda x: curve(x, rise=9.0))
    assert set(test.suggestions) == {"steepest", "valley", "slide", "edge"}
    assert "minimum" not in test.suggestions


NAN_FROM_THE_FIRST = RangeTest(Sweep(), [], "not finite")
INTERRUPTED = RangeTest(Sweep(), measured(curve).losses[:70], "interrupted")


@pytest.mark.behaviour("B37")
@pytest.mark.parametrize(
    ("test", "reason"),
    [
        (INTERRUPTED, r"the sweep was interrupted after 70 of 100 updates"),
        (NAN_FROM_THE_FIRST, r"the loss was not finite after 0 updates, at LR 1e-07: lower min_lr, as in min_lr=1e-10"),
        (RangeTest(Sweep(), [2.0] * 7, "not finite"), r"not finite after 7 updates, at LR 3.1e-07: lower min_lr"),
        (measured(lambda x: 2.3), r"the loss is flat: from LR 1e-07 to 10 .* larger batches or more updates"),
        (measured(lambda x: 2.3, noise=0.0), r"the loss is flat"),
        (measured(lambda x: curve(x, steepest=9.0)), r"the loss is flat and then rises: from LR 1e-07 to 0\."),
        (measured(curve, min_lr=1.0, max_lr=1000.0), r"the loss rises at once \(diverged at LR .*min_lr=0.001"),
        (measured(curve, min_lr=0.01, max_lr=10.0), r"falls fastest at the start, LR 0.01, .*lower min_lr"),
        (measured(curve, max_lr=4e-3), r"falls fastest at the end, LR 0.004, .*raise max_lr, as in max_lr=0.4"),
    ],
)
def test_a_sweep_that_shows_nothing_suggests_nothing_and_says_why(test: RangeTest, reason: str) -> None:
    assert test.reason is not None
    assert re.search(reason, test.reason), test.reason
    assert test.suggestions == {}
    assert (test.suggestion, test.usable, test.agree) == (None, None, False)
    assert test.reason in test.table


def test_noise_alone_is_never_taken_for_a_descent() -> None:
    found = [measured(lambda x: 2.3, noise=noise, seed=seed).reason for noise in (0.01, 0.3) for seed in range(100)]
    assert None not in found


def test_the_suggested_peak_is_where_nine_tenths_of_the_fall_are_done() -> None:
    test = measured(curve, noise=0.0)
    top, bottom = max(test.smoothed[:50]), min(test.smoothed)
    assert test.suggestion == test.suggestions["edge"]
    first = next(lr for lr, loss in zip(test.lrs, test.smoothed, strict=True) if loss <= top - 0.9 * (top - bottom))
    assert test.suggestion == float(f"{first:.2g}")


def test_agreement_of_the_rules_for_an_lr_to_keep_means_within_a_decade() -> None:
    assert measured(curve).agree
    late = measured(lambda x: curve(x, steepest=-5.0, rise=1.0))  # the lowest loss is far from the descent
    kept = [late.suggestions[rule] for rule in ("steepest", "valley", "slide", "minimum")]
    assert max(kept) > 10 * min(kept)
    assert not late.agree
    assert ": look at the curve" in late.table


def test_what_the_loss_does_after_it_has_risen_is_not_looked_at() -> None:
    def second_dip(x: float) -> float:  # as a net with batch normalisation has it, at an LR that breaks it
        return min(curve(x, rise=-1.0), 2.3) - 2.0 * math.exp(-(((x - 0.3) / 0.3) ** 2))

    test = measured(second_dip)
    assert min(test.lrs[n] for n, loss in enumerate(test.losses) if loss == min(test.losses)) > 1
    assert test.suggestions == pytest.approx(measured(curve).suggestions, rel=0.25)


@pytest.mark.parametrize("at", [0.004, 0.02, 0.03])
def test_single_losses_far_from_the_curve_change_little(at: float) -> None:
    plain = measured(curve)
    losses = list(plain.losses)
    losses[min(range(len(losses)), key=lambda n: abs(plain.lrs[n] - at))] += 5.0
    assert RangeTest(plain.sweep, losses, plain.stop).suggestions == pytest.approx(plain.suggestions, rel=0.25)


def test_the_usable_range_reaches_from_the_descent_to_the_lowest_loss() -> None:
    low, high = measured(curve).usable or (0, 0)
    assert decades(low, 10 ** (-2.5 - 0.3 * math.log(4))) < 0.2
    assert decades(high, 10**-1.55) < 0.3


# What to do with it


def test_the_table_is_short_and_complete() -> None:
    test = measured(curve)
    head, *lines = test.table.splitlines()
    assert (
        head
        == f"LR range test: {len(test.losses)} of 100 updates, LR 1e-07 to 10 (exponential), diverged after LR 0.35"
    )
    assert [line.split()[0] for line in lines] == [*RULES, "usable", "agreement", "suggested"]
    assert [line.split()[1] for line in lines[:5]] == [f"{lr:g}" for lr in test.suggestions.values()]
    assert lines[-1].split()[1] == f"{test.suggestion:g}"
    assert max(map(len, test.table.splitlines())) <= 100
    assert INTERRUPTED.table.startswith("LR range test: 70 of 100 updates, LR 1e-07 to 10 (exponential), interrupted\n")


def test_csv_and_json_hold_everything_in_full(tmp_path: Path) -> None:
    test = measured(curve)
    test.to_csv(tmp_path / "range_test.csv")
    test.to_json(tmp_path / "range_test.json")
    with (tmp_path / "range_test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(len(test.losses)))
    assert tuple(float(row["lr"]) for row in rows) == test.lrs
    assert [float(row["loss"]) for row in rows] == test.losses
    assert tuple(float(row["smoothed_loss"]) for row in rows) == test.smoothed
    found = json.loads((tmp_path / "range_test.json").read_text())
    assert found == test.as_dict()
    assert found["suggestions"] == test.suggestions
    assert (found["min_lr"], found["max_lr"], found["num_training_steps"]) == (1e-7, 10.0, 100)


@pytest.mark.parametrize("test", [NAN_FROM_THE_FIRST, INTERRUPTED, RangeTest(Sweep(), [1.0] * 12, "interrupted")])
def test_a_result_without_a_suggestion_is_written_too(test: RangeTest, tmp_path: Path) -> None:
    test.to_csv(tmp_path / "a.csv")
    test.to_json(tmp_path / "a.json")
    test.plot(tmp_path / "a.png")
    assert json.loads((tmp_path / "a.json").read_text())["reason"] == test.reason
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1 + len(test.losses)
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_the_plot_is_a_figure_and_is_saved_where_asked(tmp_path: Path) -> None:
    figure = measured(curve).plot(tmp_path / "range_test.png", title="mine")
    assert figure.get_suptitle().startswith("mine\nsuggested peak LR ")
    assert (tmp_path / "range_test.png").stat().st_size > 5000
