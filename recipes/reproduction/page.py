"""Writes the page: the table first, then a section for each row; every number comes from the results."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lr_recipes.checks import counted
from recipes.reproduction.comparison import Evaluation, evaluations_of, losses_by_lr, usable
from recipes.reproduction.experiment import BEYOND, FACTOR, Experiment, Result, Run
from recipes.reproduction.pictures import draw_robustness, draw_row
from recipes.reproduction.table import ROWS, Row

ROBUSTNESS = "warmup.png"
ELSEWHERE = """## Parts of it, and other machines

    make reproduce ARGS="rows=transformer seeds=10"    # part of it; what is done is not done again
    make reproduce ARGS=quick=true                     # a minute or two: does everything work here?
    python -m recipes.reproduction -m rows=transformer,large_batch hydra/launcher=joblib workers=1
    make reproduce ARGS="published=true trainer=gpu 'overrides=[\"data.download=true\"]' rows=classical_cnn"

The third line makes each row a job of one of Hydra's launchers. A row's results are one file, so jobs on several
machines can share a folder, and a later `make reproduce` finds what they did and writes the page. On a SLURM cluster:
`pip install hydra-submitit-launcher` and `hydra/launcher=submitit_slurm`; that has not been tried. The fourth line
trains the published settings of `conf/recipe/published`, with LRs around the published
one, into `runs/published`; it wants a GPU and has not been measured. All settings:
`python -m recipes.reproduction --help`."""
_HEADS = (
    "setting",
    "schedule",
    "tuned LR",
    "test loss (nats)",
    "difference to fixed, 95 % interval",
    "wins",
    "to fixed in hindsight",
    "accuracy",
    "holds",
)


@dataclass(frozen=True)
class Page:
    """What is shown.

    Args:
        experiments: the rows, in order.
        results: of each row, by its name.
        origins: of each row, by its name: versions, machine, data.
        quick: whether only the machinery was tried.
        command: that makes all of it.
        seconds: of training, all runs together.
    """

    experiments: Sequence[Experiment]
    results: Mapping[str, Mapping[Run, Result]]
    origins: Mapping[str, Mapping[str, str]]
    quick: bool = False
    command: str = "make reproduce"

    def __post_init__(self) -> None:
        places = {row.name: place for place, row in enumerate(ROWS)}
        in_order = sorted(self.experiments, key=lambda one: places.get(one.row.name, 0))
        object.__setattr__(self, "experiments", in_order)

    def complete(self) -> list[Experiment]:
        """Return the rows that lack nothing."""
        return [one for one in self.experiments if not one.wanted(self.results[one.row.name])]

    def write(self, path: Path, results: Path, drawn: Sequence[str]) -> None:
        """Write the page to ``path``, and the pictures of the rows ``drawn`` into the folder of the results."""
        experiments = self.complete()
        for experiment in (one for one in experiments if one.row.name in drawn):
            row, found = experiment.row, self.results[experiment.row.name]
            curves = {name: results / "curves" / f"{row.name}-{name}.csv" for name in row.schedules}
            losses = {name: losses_by_lr(experiment, name, found) for name in row.schedules}
            there = {name: file for name, file in curves.items() if file.exists()}
            draw_row(row.setting, losses, there).savefig(results / f"{row.name}.png")
        robust = {one.row.setting: self._robust(one) for one in experiments if one.row.warmup}
        if robust:
            draw_robustness(robust).savefig(results / ROBUSTNESS)
        written = path.with_suffix(f".{os.getpid()}")  # another process may write it too
        written.write_text(self.text(results.name), encoding="utf-8")
        written.replace(path)

    def _robust(self, experiment: Experiment) -> dict[str, dict[float, float]]:
        found = self.results[experiment.row.name]
        return {name: losses_by_lr(experiment, name, found) for name in experiment.row.warmup}

    def text(self, folder: str) -> str:
        """Return the page; pictures are in ``folder`` beside it."""
        evaluations = {one.row.name: evaluations_of(one, self.results[one.row.name]) for one in self.complete()}
        parts = [self._head(), *self._table(evaluations), *self._summary(evaluations), *self._warmup(folder)]
        for experiment in self.experiments:
            parts += section(experiment.row, evaluations.get(experiment.row.name), folder)
        parts += [*self._not_held(evaluations), *self._how(), *([] if self.quick else [ELSEWHERE])]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _head(self) -> str:
        if self.quick:
            return (
                "# Quick run\n\nOnly the machinery was tried, with a few updates and seeds: no number here says "
                f"anything about a schedule.\n\n    {self.command}"
            )
        return (
            "# Which schedule for which setting: measured\n\n"
            f"    {self.command}\n\n"
            "trains every schedule of every row with its own tuned LR and compares it with a fixed LR that was tuned "
            "in the same way. A difference is of the test loss (cross-entropy in nats), paired by seed; below 0 is "
            "better than the fixed LR. *In hindsight* is the mean difference to the fixed LR that turned out best on "
            "these very seeds. A schedule *holds* where the interval excludes 0 and the sign is the same in hindsight. "
            "Schedules that the table names for the setting are in bold."
        )

    def _table(self, evaluations: Mapping[str, Sequence[Evaluation]]) -> list[str]:
        rows = [f"| {' | '.join(_HEADS)} |", "|" + "---|" * len(_HEADS)]
        for experiment in self.experiments:
            for evaluation in evaluations.get(experiment.row.name, ()):
                rows.append(f"| {' | '.join(cells(experiment.row, evaluation, self.quick))} |")
            if experiment.row.name not in evaluations:
                missing = len(experiment.wanted(self.results[experiment.row.name]))
                words = f"not complete: {counted(missing, 'run')} missing"
                rows.append(f"| {experiment.row.setting} | {words} |" + " |" * (len(_HEADS) - 2))
        return ["\n".join(rows)]

    def _summary(self, evaluations: Mapping[str, Sequence[Evaluation]]) -> list[str]:
        if self.quick or not evaluations:
            return []
        rows = [one.row for one in self.complete() if not one.row.extra]
        held = [row.setting for row in rows if any(one.passes and one.recommended for one in evaluations[row.name])]
        words = f"In {len(held)} of {len(rows)} rows of the table at least one schedule that it names holds"
        missing = [row.setting for row in rows if row.setting not in held]
        return [words + (f"; not in: {', '.join(missing)}." if missing else ".")]

    def _warmup(self, folder: str) -> list[str]:
        experiments = [one for one in self.complete() if one.row.warmup]
        if not experiments:
            return []
        rows = ["| setting | schedule | best LR | usable up to | times that without warmup | loss at twice the best |"]
        rows += ["|" + "---|" * 6]
        for experiment in experiments:
            curves = self._robust(experiment)
            found = [usable(name, losses) for name, losses in curves.items()]
            twice = found[0].best * FACTOR
            rows += [
                f"| {experiment.row.setting} | `{one.schedule}` | {one.best:g} | {one.largest:g} "
                f"| {one.largest / found[0].largest:g} | {curves[one.schedule][twice]:.3f} |"
                for one in found
            ]
        return [
            "## What warmup gives",
            f"![Validation loss over the peak learning rate, with and without warmup]({folder}/{ROBUSTNESS})",
            "The same schedule without and with warmup, at LRs from half to "
            f"{2**BEYOND} times the best one without it. A band is what lies within 10 % of a curve's lowest loss; a "
            "cross is an LR at which a run diverged. *Usable* is the largest LR within the band; the last column is "
            "the loss at twice the best LR without warmup:",
            "\n".join(rows),
        ]

    def _not_held(self, evaluations: Mapping[str, Sequence[Evaluation]]) -> list[str]:
        if self.quick:
            return []
        settings = {one.row.name: one.row.setting for one in self.experiments}
        lost = [
            f"- {settings[name]}, `{one.schedule}`: {why_not_held(one)}."
            for name, found in evaluations.items()
            for one in found
            if one.difference is not None and not one.passes
        ]
        for experiment in (one for one in self.complete() if one.row.warmup):
            without, *with_it = (usable(name, losses) for name, losses in self._robust(experiment).items())
            lost += [
                f"- {experiment.row.setting}: `{one.schedule}` does not double the largest usable LR of "
                f"`{without.schedule}` ({without.largest:g} -> {one.largest:g})."
                for one in with_it
                if one.largest < 2 * without.largest
            ]
        return ["## What did not hold", "\n".join(lost) if lost else "Every schedule that was tried holds."]

    def _how(self) -> list[str]:
        if not self.origins:
            return []
        some = next(iter(self.origins.values()))
        count = sum(len(found) for found in self.results.values())
        seconds = sum(result.cpu_seconds for found in self.results.values() for result in found.values())
        data = ", ".join(f"{name} {origin['data']}" for name, origin in self.origins.items())
        return [
            "## How it was measured",
            "\n".join(
                [
                    "- Every schedule, the fixed LR included, gets the same grid of LRs with factor 2; it grows while "
                    "its best LR lies on an edge. The LR is chosen by the mean validation loss on tuning seeds.",
                    "- Evaluation is on other seeds than tuning, on the test set, with the last weights; the tasks "
                    "were chosen on yet other seeds. The same seed gives every schedule the same first "
                    "weights and the same order of the data.",
                    "- In every run the LR that each update used was compared with the plan; a difference would have "
                    "ended it.",
                    f"- {count} runs, {seconds / 60:.0f} minutes of processor time; {some['machine']}; "
                    f"Python {some['python']}, torch {some['torch']}, lightning {some['lightning']}.",
                    f"- Hashes of the data: {data}.",
                    "- Each run is a line of a CSV file in `results/`.",
                ]
            ),
        ]


def cells(row: Row, evaluation: Evaluation, quick: bool) -> list[str]:
    """Return the cells of a schedule."""
    name = f"**{evaluation.schedule}**" if evaluation.recommended else evaluation.schedule
    difference = evaluation.difference
    shown = "-" if difference is None else f"{difference.mean:+.3f} ± {difference.half_width:.3f}"
    wins = "-" if difference is None else f"{difference.wins}/{difference.count}"
    hindsight = "-" if evaluation.hindsight is None else f"{evaluation.hindsight:+.3f}"
    holds = "-" if difference is None or quick else ("yes" if evaluation.passes else "no")
    numbers = [f"{evaluation.lr:g}", f"{evaluation.loss:.3f}", shown, wins, hindsight, f"{evaluation.accuracy:.1%}"]
    if not math.isfinite(evaluation.loss):
        numbers = [f"{evaluation.lr:g}", "a run diverged", "-", wins, "-", "-"]
    return [row.setting, name, *numbers, holds]


def why_not_held(evaluation: Evaluation) -> str:
    """Say what a schedule gave that does not hold."""
    difference = evaluation.difference
    assert difference is not None
    if not math.isfinite(difference.mean):
        return "a run diverged"
    words = f"{difference.mean:+.3f} ± {difference.half_width:.3f}, {difference.wins} of {difference.count} wins"
    if not difference.certain:
        return f"{words}: the interval does not lie below 0"
    return f"{words}, but {evaluation.hindsight:+.3f} against the fixed LR of hindsight"


def section(row: Row, evaluations: Sequence[Evaluation] | None, folder: str) -> list[str]:
    """Return the section of a row."""
    parts = [f"## {row.setting}", row.why]
    if evaluations is not None:
        parts.append(measured_in_words(evaluations))
        names = ", ".join(one.schedule for one in evaluations)
        parts.append(f"![Loss over LR, LR and training loss of {names}]({folder}/{row.name}.png)")
    typed = [f"    python train.py {' '.join(row.overrides(name))}" for name in row.recommended]
    return [*parts, "\n".join([*typed, f"    make reproduce ARGS=rows={row.name}"])]


def measured_in_words(evaluations: Sequence[Evaluation]) -> str:
    """Return a sentence with what a row gave."""
    fixed = next(one for one in evaluations if one.difference is None)
    best = min((one for one in evaluations if one.difference is not None), key=lambda one: one.loss)
    assert best.difference is not None
    return (
        f"Measured: `{best.schedule}` ends at {best.loss:.3f} nats and {best.accuracy:.1%}, the tuned fixed LR at "
        f"{fixed.loss:.3f} and {fixed.accuracy:.1%} ({best.difference.wins} of {best.difference.count} wins; a run "
        f"takes {best.seconds:.1f} s of one core)."
    )
