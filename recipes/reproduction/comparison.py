"""What the results of a row say: paired differences to the fixed LR with their intervals, wins, and usable LRs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from recipes.reproduction.experiment import Experiment, Results
from recipes.reproduction.table import BASELINE

USABLE = 1.1  # times the best loss


@dataclass(frozen=True)
class Difference:
    """Paired differences: same seed, so same first weights and same order of the data.

    Args:
        mean: of the differences; below 0 is better than what it is compared with.
        low, high: ends of the 95 % t-interval of the mean.
        wins: pairs in which it was better.
        count: pairs.
    """

    mean: float
    low: float
    high: float
    wins: int
    count: int

    @property
    def certain(self) -> bool:
        """Whether the interval lies below 0."""
        return self.high < 0

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def paired(losses: Sequence[float], baseline: Sequence[float]) -> Difference:
    """Compare losses pair by pair.

    Args:
        losses: of a schedule, one for each seed.
        baseline: of what it is compared with, on the same seeds.

    Raises:
        ValueError: there are fewer than two pairs.

    Example:
        >>> one = paired([0.8, 0.9, 0.7], [1.0, 1.0, 1.0])
        >>> f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f}), {one.wins}/{one.count}"
        '-0.20 (-0.45 to 0.05), 3/3'
    """
    if len(losses) < 2:
        raise ValueError(f"an interval needs at least two pairs, and there is {'one' if losses else 'none'}")
    differences = [ours - theirs for ours, theirs in zip(losses, baseline, strict=True)]
    wins = sum(difference < 0 for difference in differences)
    if not all(map(math.isfinite, differences)):  # one of them diverged: better or worse without measure
        return Difference(math.nan, math.nan, math.nan, wins, len(differences))
    mean = fmean(differences)
    if len(set(differences)) == 1:
        return Difference(mean, mean, mean, wins, len(differences))
    from scipy import stats  # type: ignore[import-untyped]

    low, high = stats.ttest_1samp(differences, 0.0).confidence_interval(0.95)
    return Difference(mean, float(low), float(high), wins, len(differences))


@dataclass(frozen=True)
class Evaluation:
    """A schedule of a row, evaluated.

    Args:
        schedule: its name.
        lr: that tuning chose.
        loss, accuracy: test mean over the evaluation seeds.
        difference: to the fixed LR that was tuned like it; ``None`` for the fixed LR itself.
        hindsight: mean difference to the fixed LR that is best on the evaluation seeds themselves.
        recommended: whether the table names it.
        seconds: of processor time, mean of a run.
    """

    schedule: str
    lr: float
    loss: float
    accuracy: float
    difference: Difference | None
    hindsight: float | None
    recommended: bool
    seconds: float

    @property
    def passes(self) -> bool:
        """The rule: the interval excludes 0, and the sign holds against the fixed LR of hindsight."""
        certain = self.difference is not None and self.difference.certain
        return certain and self.hindsight is not None and self.hindsight < 0


def evaluations_of(experiment: Experiment, results: Results) -> list[Evaluation]:
    """Return a line for each schedule of a complete row, the fixed LR first."""
    best_fixed = experiment.hindsight(results).best
    fixed = experiment.tuned(BASELINE, results).best
    assert best_fixed is not None, "the row is complete"
    assert fixed is not None
    baseline, in_hindsight = (_losses(experiment, BASELINE, lr, results) for lr in (fixed, best_fixed))
    evaluations = []
    for schedule in experiment.row.schedules:
        lr = experiment.tuned(schedule, results).best
        assert lr is not None, "the row is complete"
        runs = [results[run] for run in experiment.runs(schedule, lr, experiment.seeds)]
        losses = [run.loss("test") for run in runs]
        other = schedule != BASELINE
        evaluations.append(
            Evaluation(
                schedule,
                lr,
                fmean(losses),
                fmean(run.test_acc for run in runs),
                paired(losses, baseline) if other else None,
                fmean(losses) - fmean(in_hindsight) if other else None,
                schedule in experiment.row.recommended,
                fmean(run.cpu_seconds for run in runs),
            )
        )
    return evaluations


def _losses(experiment: Experiment, schedule: str, lr: float, results: Results) -> list[float]:
    return [results[run].loss("test") for run in experiment.runs(schedule, lr, experiment.seeds)]


@dataclass(frozen=True)
class Usable:
    """Up to which LR a schedule can be used.

    Args:
        schedule: its name.
        best: LR with the lowest mean loss.
        largest: largest LR whose mean loss is within 10 % of the lowest.
    """

    schedule: str
    best: float
    largest: float


def usable(schedule: str, losses: Mapping[float, float]) -> Usable:
    """Return up to which LR a schedule can be used.

    Args:
        schedule: its name.
        losses: LR -> mean loss.

    Example:
        >>> usable("cosine", {0.1: 1.0, 0.2: 1.05, 0.4: 3.0}).largest
        0.2
    """
    best = min(losses, key=losses.__getitem__)
    return Usable(schedule, best, max(lr for lr, loss in losses.items() if loss <= USABLE * losses[best]))


def losses_by_lr(experiment: Experiment, schedule: str, results: Results) -> dict[float, float]:
    """Return LR -> mean validation loss over the tuning seeds, at all LRs tried; infinite where a run diverged."""
    lrs = sorted({*experiment.tuned(schedule, results).lrs, *_robust(experiment, schedule, results)})
    means = {lr: experiment.mean(schedule, lr, experiment.tuning_seeds, "val", results) for lr in lrs}
    return {lr: mean for lr, mean in means.items() if mean is not None}


def _robust(experiment: Experiment, schedule: str, results: Results) -> list[float]:
    return experiment.robustness(results) if schedule in experiment.row.warmup else []
