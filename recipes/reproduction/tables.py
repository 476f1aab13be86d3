"""The tables of the page, as Markdown; every number comes from the results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

from lr_recipes.checks import counted
from recipes.reproduction.comparison import (
    Difference,
    Evaluation,
    Judgement,
    Usable,
    Verdict,
    evaluated,
    evaluation_of,
    losses_by_lr,
    lr_of,
    usable,
)
from recipes.reproduction.experiment import FACTOR, Experiment, Results
from recipes.reproduction.row import BASELINE, DEFAULT, RANGE_TEST, Row

_HEADS = (
    "setting",
    "schedule",
    "tuned LR",
    "test loss (nats)",
    "difference to fixed, 95 % interval",
    "wins",
    "p alone, p of all",
    "to fixed in hindsight",
    "accuracy",
    "difference, points",
    "holds",
)
WITHIN = 2.0  # a suggestion within this factor of the tuned LR is a good one


def markdown(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *lines))


def main_table(experiments: Sequence[Experiment], judged: Judgement, results: Results, quick: bool) -> str:
    """Return the table of the page: each row of the table of settings, then its second task."""
    lines: list[list[str]] = []
    for experiment in experiments:
        row = experiment.row
        found = judged.rows.get(row.name)
        lines += [cells(row, one, quick) for one in found or ()]
        if found is None:
            missing = f"not complete: {counted(len(experiment.wanted(results)), 'run')} missing"
            lines.append([named(row), missing, *[""] * (len(_HEADS) - 2)])
    return markdown(_HEADS, lines)


def named(row: Row) -> str:
    """Return what a row is called in the table."""
    return f"{row.setting}, second task" if row.part == "second" else row.setting


def cells(row: Row, evaluation: Evaluation, quick: bool) -> list[str]:
    """Return the cells of a schedule."""
    name = f"**{evaluation.schedule}**" if evaluation.recommended else evaluation.schedule
    head = [named(row), name, f"{evaluation.lr:g}"]
    difference, points = evaluation.difference, evaluation.accuracy_difference
    if not math.isfinite(evaluation.loss):
        wins = "-" if difference is None else f"{difference.wins}/{difference.count}"
        return [*head, "a run diverged", "-", wins, "-", "-", "-", "-", "no" if difference and not quick else "-"]
    loss = f"{evaluation.loss:.3f} ({min(evaluation.losses):.3f} to {max(evaluation.losses):.3f})"
    if difference is None or points is None:
        return [*head, loss, "-", "-", "-", "-", f"{evaluation.accuracy:.1%}", "-", "-"]
    return [
        *head,
        loss,
        in_nats(difference),
        f"{difference.wins}/{difference.count}",
        f"{probability(difference.p)}, {probability(evaluation.corrected)}",
        "-" if evaluation.hindsight is None else f"{evaluation.hindsight:+.3f}",
        f"{evaluation.accuracy:.1%}",
        in_points(points),
        "-" if quick else ("yes" if evaluation.passes else "no"),
    ]


def in_nats(difference: Difference) -> str:
    """Return a difference of losses with its interval.

    Example:
        >>> in_nats(Difference(-0.1, -0.15, -0.05, 9, 10, 0.01))
        '-0.100 ± 0.050'
    """
    if not math.isfinite(difference.mean):
        return "a run diverged"
    return f"{difference.mean:+.3f} ± {difference.half_width:.3f}"


def in_points(difference: Difference) -> str:
    """Return a difference of accuracies with its interval, in points of a hundred."""
    return f"{100 * difference.mean:+.1f} ± {100 * difference.half_width:.1f}"


def probability(p: float) -> str:
    """Return a probability in short.

    Example:
        >>> probability(0.0123), probability(0.00001), probability(1.0)
        ('0.012', '<0.001', '1')
    """
    return "<0.001" if p < 0.001 else ("1" if p > 0.9995 else f"{p:.3f}")


def default_table(experiments: Sequence[Experiment], judged: Judgement, results: Results) -> str:
    """Return what the practical default loses to the best schedule of each row, tuned."""
    lines = []
    for experiment in experiments:
        row = experiment.row
        best = min(judged.rows[row.name], key=lambda one: one.loss)
        ours = evaluation_of(experiment, DEFAULT, results, evaluated(experiment, best.schedule, results))
        fixed = next(one for one in judged.rows[row.name] if one.schedule == BASELINE)
        assert ours.difference is not None
        assert ours.accuracy_difference is not None
        lines.append(
            [
                named(row),
                f"`{best.schedule}`, {best.lr:g}",
                f"{best.loss:.3f}",
                f"{fixed.loss:.3f}",
                f"{ours.loss:.3f}",
                in_nats(ours.difference),
                in_points(ours.accuracy_difference),
            ]
        )
    heads = ("setting", "best of its row, tuned LR", "its test loss", "fixed, tuned", "default", "default less best")
    return markdown((*heads, "in points of accuracy"), lines)


def lengths_table(lengths: Mapping[str, Sequence[tuple[int, Sequence[Evaluation]]]]) -> str:
    """Return the difference to a fixed LR over the length of the run.

    Args:
        lengths: setting -> updates and evaluations of each length.
    """
    lines = [
        [
            setting,
            f"{updates:,}",
            one.schedule,
            f"{fixed.lr:g}, {one.lr:g}",
            f"{fixed.loss:.3f}",
            f"{one.loss:.3f}",
            in_nats(one.difference),
            f"{probability(one.difference.p)}, {probability(one.corrected)}",
        ]
        for setting, found in lengths.items()
        for updates, (fixed, *others) in found
        for one in others
        if one.difference is not None
    ]
    heads = ("setting", "updates", "schedule", "tuned LRs", "fixed", "schedule's loss", "difference, 95 % interval")
    return markdown((*heads, "p alone, p of all"), lines)


def claims_table(verdicts: Sequence[Verdict]) -> str:
    """Return the claims and what was measured."""
    lines = [
        [
            f"{one.claim.words} ({one.claim.source})",
            f"`{one.claim.schedule}`, {one.lr:g}",
            f"`{one.claim.rival}`, {one.rival_lr:g}",
            f"below {one.claim.margin:+.2f}" if one.claim.margin else "below 0",
            in_nats(one.difference),
            f"{one.difference.wins}/{one.difference.count}",
            f"{probability(one.difference.p)}, {probability(one.corrected)}",
            f"**{one.word}**",
        ]
        for one in verdicts
    ]
    heads = ("claim", "schedule, tuned LR", "beside", "holds if", "difference, 95 % interval", "wins")
    return markdown((*heads, "p alone, p of all", "measured"), lines)


def warmup_table(rows: Mapping[str, Mapping[str, Mapping[float, float]]]) -> str:
    """Return up to which LR schedules can be used without and with warmup.

    Args:
        rows: setting -> schedule -> LR -> mean validation loss; the first schedule is the one without.
    """
    lines = []
    for setting, curves in rows.items():
        found = usables(curves)
        twice = found[0].best * FACTOR
        lines += [
            [
                setting,
                f"`{one.schedule}`",
                f"{one.best:g}",
                f"{one.largest:g}",
                f"{one.largest / found[0].largest:g}",
                f"{curves[one.schedule][twice]:.3f}",
            ]
            for one in found
        ]
    heads = ("setting", "schedule", "best LR", "usable up to", "times that without warmup")
    return markdown((*heads, "loss at twice the best"), lines)


def usables(curves: Mapping[str, Mapping[float, float]]) -> list[Usable]:
    """Return up to which LR each schedule can be used."""
    return [usable(name, losses) for name, losses in curves.items()]


def robustness_of(experiment: Experiment, results: Results) -> dict[str, dict[float, float]]:
    """Return schedule -> LR -> mean validation loss, of the schedules whose warmup is judged."""
    return {name: losses_by_lr(experiment, name, results) for name in experiment.row.warmup}


def wrong_lr_table(experiments: Sequence[Experiment], judged: Judgement, results: Results) -> str:
    """Return what half and twice the tuned LR cost, for a fixed LR and for the best schedule that the table names."""
    lines = []
    for experiment in experiments:
        found = judged.rows[experiment.row.name]
        for one in (found[0], _best_named(found)):
            losses = losses_by_lr(experiment, one.schedule, results)
            cost = [losses.get(lr, math.nan) - losses[one.lr] for lr in (one.lr / FACTOR, one.lr * FACTOR)]
            words = ["a run diverged" if math.isinf(each) else f"{each:+.3f}" for each in cost]
            lines.append([named(experiment.row), f"`{one.schedule}`", f"{one.lr:g}", *words])
    return markdown(("setting", "schedule", "tuned LR", "at half of it", "at twice as much"), lines)


def suggestions_table(experiments: Sequence[Experiment], judged: Judgement, results: Results) -> str:
    """Return what the range test suggests beside the LR that tuning chose."""
    lines = []
    for experiment in experiments:
        row = experiment.row
        found = evaluated(experiment, RANGE_TEST, results)
        best = _best_named(judged.rows[row.name])
        fixed = lr_of(experiment, BASELINE, results)
        edge, valley = ([getattr(one, rule) for one in found] for rule in ("edge_lr", "valley_lr"))
        lines.append(
            [
                named(row),
                f"`{best.schedule}`, {best.lr:g}",
                *beside(edge, best.lr),
                f"{fixed:g}",
                *beside(valley, fixed),
            ]
        )
    heads = ("setting", "schedule, tuned LR", "`edge` suggests", "ratio, how often within 2", "fixed, tuned LR")
    return markdown((*heads, "`valley` suggests", "ratio, how often within 2"), lines)


def _best_named(found: Sequence[Evaluation]) -> Evaluation:
    """Return the best of the schedules that the table names for the setting."""
    return min((one for one in found if one.recommended), key=lambda one: one.loss)


def beside(suggested: Sequence[float], tuned: float) -> tuple[str, str]:
    """Return the middle of the suggestions with their range, and how they lie to the tuned LR.

    Example:
        >>> beside([0.1, 0.2, 0.4], 0.1)
        ('0.2 (0.1 to 0.4)', '2, 2/3')
    """
    there = [lr for lr in suggested if math.isfinite(lr)]
    if not there:
        return "nothing", "-"
    middle = math.exp(fmean(math.log(lr) for lr in there))
    within = sum(1 / WITHIN <= lr / tuned <= WITHIN for lr in there)
    return f"{middle:.2g} ({min(there):.2g} to {max(there):.2g})", f"{middle / tuned:.2g}, {within}/{len(suggested)}"
