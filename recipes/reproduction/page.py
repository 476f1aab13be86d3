"""Writes the page: the table first, then a section for each row; every number comes from the results."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes.reproduction.comparison import Line, curve_of, lines_of, usable
from recipes.reproduction.experiment import BEYOND, FACTOR, Plan, Result, Run
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
trains the published settings of [`conf/recipe/published`](../conf/recipe/published), with LRs around the published
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
        plans: the rows, in order.
        results: of each row, by its name.
        origins: of each row, by its name: versions, machine, data.
        quick: whether only the machinery was tried.
        command: that makes all of it.
        seconds: of training, all runs together.
    """

    plans: Sequence[Plan]
    results: Mapping[str, Mapping[Run, Result]]
    origins: Mapping[str, Mapping[str, str]]
    quick: bool = False
    command: str = "make reproduce"

    def __post_init__(self) -> None:
        places = {row.name: place for place, row in enumerate(ROWS)}
        object.__setattr__(self, "plans", sorted(self.plans, key=lambda plan: places.get(plan.row.name, 0)))

    def complete(self) -> list[Plan]:
        """Return the rows that lack nothing."""
        return [plan for plan in self.plans if not plan.wanted(self.results[plan.row.name])]

    def write(self, path: Path, results: Path, drawn: Sequence[str]) -> None:
        """Write the page to ``path``, and the pictures of the rows ``drawn`` into the folder of the results."""
        plans = self.complete()
        for plan in (plan for plan in plans if plan.row.name in drawn):
            found = self.results[plan.row.name]
            curves = {name: results / "curves" / f"{plan.row.name}-{name}.csv" for name in plan.row.schedules}
            losses = {name: curve_of(plan, name, found) for name in plan.row.schedules}
            there = {name: file for name, file in curves.items() if file.exists()}
            draw_row(plan.row.setting, losses, there).savefig(results / f"{plan.row.name}.png")
        robust = {plan.row.setting: self._robust(plan) for plan in plans if plan.row.warmup}
        if robust:
            draw_robustness(robust).savefig(results / ROBUSTNESS)
        written = path.with_suffix(f".{os.getpid()}")  # another process may write it too
        written.write_text(self.text(results.name), encoding="utf-8")
        written.replace(path)

    def _robust(self, plan: Plan) -> dict[str, dict[float, float]]:
        return {name: curve_of(plan, name, self.results[plan.row.name]) for name in plan.row.warmup}

    def text(self, folder: str) -> str:
        """Return the page; pictures are in ``folder`` beside it."""
        lines = {plan.row.name: lines_of(plan, self.results[plan.row.name]) for plan in self.complete()}
        parts = [self._head(), *self._table(lines), *self._summary(lines), *self._warmup(folder)]
        for plan in self.plans:
            parts += section(plan.row, lines.get(plan.row.name), folder)
        parts += [*self._not_held(lines), *self._how(), *([] if self.quick else [ELSEWHERE])]
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

    def _table(self, lines: Mapping[str, Sequence[Line]]) -> list[str]:
        rows = [f"| {' | '.join(_HEADS)} |", "|" + "---|" * len(_HEADS)]
        for plan in self.plans:
            for line in lines.get(plan.row.name, ()):
                rows.append(f"| {' | '.join(cells(plan.row, line, self.quick))} |")
            if plan.row.name not in lines:
                missing = len(plan.wanted(self.results[plan.row.name]))
                words = f"not complete: {missing} runs are missing"
                rows.append(f"| {plan.row.setting} | {words} |" + " |" * (len(_HEADS) - 2))
        return ["\n".join(rows)]

    def _summary(self, lines: Mapping[str, Sequence[Line]]) -> list[str]:
        if self.quick or not lines:
            return []
        rows = [plan.row for plan in self.complete() if not plan.row.extra]
        held = [row.setting for row in rows if any(line.passes and line.recommended for line in lines[row.name])]
        words = f"In {len(held)} of {len(rows)} rows of the table at least one schedule that it names holds"
        missing = [row.setting for row in rows if row.setting not in held]
        return [words + (f"; not in: {', '.join(missing)}." if missing else ".")]

    def _warmup(self, folder: str) -> list[str]:
        plans = [plan for plan in self.complete() if plan.row.warmup]
        if not plans:
            return []
        rows = ["| setting | schedule | best LR | usable up to | times that without warmup | loss at twice the best |"]
        rows += ["|" + "---|" * 6]
        for plan in plans:
            curves = self._robust(plan)
            found = [usable(name, losses) for name, losses in curves.items()]
            twice = found[0].best * FACTOR
            rows += [
                f"| {plan.row.setting} | `{one.schedule}` | {one.best:g} | {one.largest:g} "
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

    def _not_held(self, lines: Mapping[str, Sequence[Line]]) -> list[str]:
        if self.quick:
            return []
        settings = {plan.row.name: plan.row.setting for plan in self.plans}
        lost = [
            f"- {settings[name]}, `{line.schedule}`: {in_words(line)}."
            for name, found in lines.items()
            for line in found
            if line.difference is not None and not line.passes
        ]
        for plan in (plan for plan in self.complete() if plan.row.warmup):
            without, *with_it = (usable(name, losses) for name, losses in self._robust(plan).items())
            lost += [
                f"- {plan.row.setting}: `{one.schedule}` does not double the largest usable LR of `{without.schedule}` "
                f"({without.largest:g} -> {one.largest:g})."
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


def cells(row: Row, line: Line, quick: bool) -> list[str]:
    """Return the cells of a schedule."""
    name = f"**{line.schedule}**" if line.recommended else line.schedule
    difference = line.difference
    shown = "-" if difference is None else f"{difference.mean:+.3f} ± {difference.half_width:.3f}"
    wins = "-" if difference is None else f"{difference.wins}/{difference.count}"
    hindsight = "-" if line.hindsight is None else f"{line.hindsight:+.3f}"
    holds = "-" if difference is None or quick else ("yes" if line.passes else "no")
    numbers = [f"{line.lr:g}", f"{line.loss:.3f}", shown, wins, hindsight, f"{line.accuracy:.1%}"]
    if not math.isfinite(line.loss):
        numbers = [f"{line.lr:g}", "a run diverged", "-", wins, "-", "-"]
    return [row.setting, name, *numbers, holds]


def in_words(line: Line) -> str:
    """Say what a schedule gave that does not hold."""
    difference = line.difference
    assert difference is not None
    if not math.isfinite(difference.mean):
        return "a run diverged"
    words = f"{difference.mean:+.3f} ± {difference.half_width:.3f}, {difference.wins} of {difference.count} wins"
    if not difference.certain:
        return f"{words}: the interval does not lie below 0"
    return f"{words}, but {line.hindsight:+.3f} against the fixed LR of hindsight"


def section(row: Row, lines: Sequence[Line] | None, folder: str) -> list[str]:
    """Return the section of a row."""
    parts = [f"## {row.setting}", row.why]
    if lines is not None:
        parts.append(findings(lines))
        names = ", ".join(line.schedule for line in lines)
        parts.append(f"![Loss over LR, LR and training loss of {names}]({folder}/{row.name}.png)")
    typed = [f"    python train.py {' '.join(row.overrides(name))}" for name in row.recommended]
    return [*parts, "\n".join([*typed, f"    make reproduce ARGS=rows={row.name}"])]


def findings(lines: Sequence[Line]) -> str:
    """Return a sentence with what a row gave."""
    fixed = next(line for line in lines if line.difference is None)
    best = min((line for line in lines if line.difference is not None), key=lambda line: line.loss)
    assert best.difference is not None
    return (
        f"Measured: `{best.schedule}` ends at {best.loss:.3f} nats and {best.accuracy:.1%}, the tuned fixed LR at "
        f"{fixed.loss:.3f} and {fixed.accuracy:.1%} ({best.difference.wins} of {best.difference.count} wins; a run "
        f"takes {best.seconds:.1f} s of one core)."
    )
