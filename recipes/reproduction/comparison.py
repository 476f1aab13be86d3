"""What the results say: paired differences with their intervals, corrected together, and usable LRs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from recipes.reproduction.experiment import Experiment, Result, Results
from recipes.reproduction.row import Claim

USABLE = 1.1  # times the best loss
LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """Paired differences: same seed, so same first weights and same order of the data.

    Args:
        mean: of the differences; below 0 is better than what it is compared with.
        low, high: ends of the 95 % t-interval of the mean.
        wins: pairs in which it was better.
        count: pairs.
        p: probability of a mean so far from the margin, were it at the margin; of the two-sided t-test.
        margin: what the mean has to lie below.
    """

    mean: float
    low: float
    high: float
    wins: int
    count: int
    p: float
    margin: float = 0.0

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def paired(losses: Sequence[float], baseline: Sequence[float], margin: float = 0.0) -> Difference:
    """Compare losses pair by pair.

    Args:
        losses: of a schedule, one for each seed.
        baseline: of what it is compared with, on the same seeds.
        margin: what the mean difference has to lie below.

    Raises:
        ValueError: there are fewer than two pairs.

    Example:
        >>> one = paired([0.8, 0.9, 0.7], [1.0, 1.0, 1.0])
        >>> f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f}), {one.wins}/{one.count}, p {one.p:.2f}"
        '-0.20 (-0.45 to 0.05), 3/3, p 0.07'
    """
    if len(losses) < 2:
        raise ValueError(f"an interval needs at least two pairs, and there is {'one' if losses else 'none'}")
    differences = [ours - theirs for ours, theirs in zip(losses, baseline, strict=True)]
    wins, count = sum(difference < 0 for difference in differences), len(differences)
    if not all(map(math.isfinite, differences)):  # one of them diverged: better or worse without measure
        return Difference(math.nan, math.nan, math.nan, wins, count, 1.0, margin)
    mean = fmean(differences)
    if len(set(differences)) == 1:
        return Difference(mean, mean, mean, wins, count, float(mean == margin), margin)
    from scipy import stats  # type: ignore[import-untyped]

    test = stats.ttest_1samp(differences, margin)
    low, high = test.confidence_interval(0.95)
    return Difference(mean, float(low), float(high), wins, count, float(test.pvalue), margin)


def holm(probabilities: Sequence[float]) -> list[float]:
    """Correct the probabilities of tests that are judged together (Holm 1979).

    The i-th smallest of n is multiplied with ``n - i + 1``; none gets smaller than one that was smaller before, and
    none larger than 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected, largest = [0.0] * len(probabilities), 0.0
    order = sorted(range(len(probabilities)), key=probabilities.__getitem__)
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, probabilities[index] * (len(order) - place)))
        corrected[index] = largest
    return corrected


@dataclass(frozen=True)
class Evaluation:
    """A schedule of a row, evaluated.

    Args:
        schedule: its name.
        lr: that tuning chose.
        losses: of the test set, one for each evaluation seed.
        accuracy: test mean over the evaluation seeds.
        difference: of the loss to the baseline, tuned like it; ``None`` for the baseline itself.
        accuracy_difference: likewise of the accuracy, a share; above 0 is better.
        hindsight: mean difference to the baseline at the LR that is best on the evaluation seeds themselves.
        recommended: whether the table names it.
        seconds: of processor time, mean of a run.
        corrected: the difference's probability, corrected with all others of the page.
    """

    schedule: str
    lr: float
    losses: tuple[float, ...]
    accuracy: float
    difference: Difference | None
    accuracy_difference: Difference | None
    hindsight: float | None
    recommended: bool
    seconds: float
    corrected: float = 1.0

    @property
    def loss(self) -> float:
        """Test mean over the evaluation seeds."""
        return fmean(self.losses)

    @property
    def alone(self) -> bool:
        """Whether the interval lies below 0, no other comparison considered."""
        return self.difference is not None and self.difference.high < 0

    @property
    def passes(self) -> bool:
        """The rule: it lies below 0 among all comparisons of the page, and on average in hindsight too."""
        below = self.difference is not None and self.difference.mean < 0 and self.corrected < LEVEL
        return below and (self.hindsight is None or self.hindsight < 0)


def evaluations_of(experiment: Experiment, results: Results) -> list[Evaluation]:
    """Return a line for each schedule of a complete row that is compared with the first; that one comes first."""
    row = experiment.row
    best = experiment.hindsight(results).best if row.in_hindsight else None
    in_hindsight = None if best is None else losses_of(experiment, row.baseline, results, best)
    baseline = evaluated(experiment, row.baseline, results)
    return [
        evaluation_of(experiment, schedule, results, None if schedule == row.baseline else baseline, in_hindsight)
        for schedule in row.schedules
    ]


def evaluation_of(
    experiment: Experiment,
    schedule: str,
    results: Results,
    baseline: Sequence[Result] | None,
    in_hindsight: Sequence[float] | None = None,
) -> Evaluation:
    """Evaluate a schedule of a complete row.

    Args:
        experiment: the row's.
        schedule: which one.
        results: of all rows.
        baseline: runs that it is compared with, a run for each seed; ``None``: with nothing.
        in_hindsight: losses of the baseline at the LR that hindsight would have chosen.
    """
    runs = evaluated(experiment, schedule, results)
    losses, accuracies = [run.loss("test") for run in runs], [run.test_acc for run in runs]
    difference = accuracy_difference = hindsight = None
    if baseline is not None:
        difference = paired(losses, [run.loss("test") for run in baseline])
        accuracy_difference = paired(accuracies, [run.test_acc for run in baseline])
        hindsight = None if in_hindsight is None else fmean(losses) - fmean(in_hindsight)
    return Evaluation(
        schedule,
        lr_of(experiment, schedule, results),
        tuple(losses),
        fmean(accuracies),
        difference,
        accuracy_difference,
        hindsight,
        schedule in experiment.row.recommended,
        fmean(run.cpu_seconds for run in runs),
    )


def lr_of(experiment: Experiment, schedule: str, results: Results) -> float:
    """Return the LR of a schedule of a complete row."""
    lr = experiment.tuned(schedule, results).best
    assert lr is not None, "the row is complete"
    return lr


def losses_of(experiment: Experiment, schedule: str, results: Results, lr: float | None = None) -> list[float]:
    """Return the test losses of the evaluation seeds, at the LR of the schedule or another."""
    return [run.loss("test") for run in evaluated(experiment, schedule, results, lr)]


def evaluated(experiment: Experiment, schedule: str, results: Results, lr: float | None = None) -> list[Result]:
    """Return the runs of the evaluation seeds, at the LR of the schedule or another."""
    at = lr_of(experiment, schedule, results) if lr is None else lr
    return [results[run] for run in experiment.runs(schedule, at, experiment.seeds)]


@dataclass(frozen=True)
class Verdict:
    """A claim, and what was measured.

    Args:
        claim: the claim.
        lr, rival_lr: that tuning chose.
        difference: of the losses.
        corrected: its probability, corrected with all others of the page.
    """

    claim: Claim
    lr: float
    rival_lr: float
    difference: Difference
    corrected: float = 1.0

    @property
    def word(self) -> str:
        """Whether it holds; where it does not, whether the opposite is certain."""
        if self.corrected >= LEVEL:
            return "open"
        return "holds" if self.difference.mean < self.claim.margin else "the opposite"


def verdict_of(claim: Claim, experiment: Experiment, results: Results) -> Verdict:
    """Judge a claim by the results of its complete row."""
    schedules = (claim.schedule, claim.rival)
    losses, rivals = (losses_of(experiment, schedule, results) for schedule in schedules)
    lr, rival_lr = (lr_of(experiment, schedule, results) for schedule in schedules)
    return Verdict(claim, lr, rival_lr, paired(losses, rivals, claim.margin))


@dataclass(frozen=True)
class Judgement:
    """All comparisons of a page, corrected together."""

    rows: Mapping[str, Sequence[Evaluation]]
    claims: Sequence[Verdict]

    @property
    def count(self) -> int:
        """How many tests there are."""
        return len(_tests(self.rows)) + len(self.claims)


def judged(rows: Mapping[str, Sequence[Evaluation]], claims: Sequence[Verdict]) -> Judgement:
    """Correct the probabilities of all comparisons together."""
    tests = _tests(rows)
    corrected = iter(holm([*(one.p for one in tests), *(verdict.difference.p for verdict in claims)]))
    return Judgement(
        {
            name: [one if one.difference is None else replace(one, corrected=next(corrected)) for one in found]
            for name, found in rows.items()
        },
        [replace(verdict, corrected=next(corrected)) for verdict in claims],
    )


def _tests(rows: Mapping[str, Iterable[Evaluation]]) -> list[Difference]:
    return [one.difference for found in rows.values() for one in found if one.difference is not None]


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
