"""Writes the page: the table first, then what follows from it, then a section for each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean

from recipes.reproduction.comparison import (
    LEVEL,
    Evaluation,
    Judgement,
    evaluated,
    evaluations_of,
    judged,
    losses_by_lr,
    verdict_of,
)
from recipes.reproduction.experiment import BEYOND, Experiment, Result, Run
from recipes.reproduction.further import CLAIMS
from recipes.reproduction.pictures import draw_lengths, draw_robustness, draw_row
from recipes.reproduction.row import BASELINE, DEFAULT, RANGE_TEST, SHOWN, Row
from recipes.reproduction.rows import ROWS
from recipes.reproduction.tables import (
    claims_table,
    default_table,
    in_nats,
    lengths_table,
    main_table,
    named,
    probability,
    robustness_of,
    suggestions_table,
    usables,
    warmup_table,
    wrong_lr_table,
)

ROBUSTNESS = "warmup.png"
LENGTHS_PICTURE = "lengths.png"
ELSEWHERE = """## Parts of it, and other machines

    make reproduce                                     # the rows of the table with fewer seeds, 20 minutes
    make reproduce ARGS="long=true rows=transformer"   # a part of all; what is done is not done again
    make reproduce ARGS=quick=true                     # a minute or two: does everything work here?
    python -m recipes.reproduction -m long=true rows=transformer,large_batch hydra/launcher=joblib workers=1
    make reproduce ARGS="published=true trainer=gpu 'overrides=[\"data.download=true\"]' rows=classical_cnn"

Only `long=true` writes this page; the others write theirs below `runs/`. The fourth line makes each row a job of one of
Hydra's launchers. A row's results are one file, so jobs on several machines can share a folder, and a later
`make reproduce ARGS=long=true` finds what they did and writes the page. On a SLURM cluster:
`pip install hydra-submitit-launcher` and `hydra/launcher=submitit_slurm`; that has not been tried. The last line trains
the published settings of `conf/recipe/published`, with LRs around the published one; it wants a GPU and has not been
measured. All settings: `python -m recipes.reproduction --help`."""


@dataclass(frozen=True)
class Page:
    """What is shown.

    Args:
        experiments: the rows, in any order.
        results: of all rows.
        origins: of each row, by its name: versions, machine, data.
        quick: whether only the machinery was tried.
        command: that makes all of it.
    """

    experiments: Sequence[Experiment]
    results: Mapping[Run, Result]
    origins: Mapping[str, Mapping[str, str]]
    quick: bool = False
    command: str = "make reproduce ARGS=long=true"

    @cached_property
    def _in_order(self) -> list[Experiment]:
        """A second task follows its row; otherwise as they are listed."""
        places = {row.name: place for place, row in enumerate(ROWS)}

        def place(one: Experiment) -> tuple[int, int]:
            own = places.get(one.row.name, 0)
            return (places.get(one.row.of, own), 1) if one.row.part == "second" else (own, 0)

        return sorted(self.experiments, key=place)

    def _of(self, *parts: str) -> list[Experiment]:
        return [one for one in self._in_order if one.row.part in parts]

    @cached_property
    def complete(self) -> list[Experiment]:
        """The rows that lack nothing."""
        return [one for one in self._in_order if not one.wanted(self.results)]

    def _done(self, *parts: str) -> list[Experiment]:
        return [one for one in self.complete if one.row.part in parts]

    @cached_property
    def judged(self) -> Judgement:
        """All comparisons, corrected together."""
        by_name = {one.row.name: one for one in self.complete}
        rows = {one.row.name: evaluations_of(one, self.results) for one in self._done(*SHOWN, "length")}
        there = [
            claim
            for claim in CLAIMS
            if claim.row in by_name and {claim.schedule, claim.rival} <= set(by_name[claim.row].row.all_schedules)
        ]
        return judged(rows, [verdict_of(claim, by_name[claim.row], self.results) for claim in there])

    def write(self, path: Path, results: Path, drawn: Sequence[str]) -> None:
        """Write the page to ``path``, and the pictures of the rows ``drawn`` into the folder of the results."""
        for experiment in (one for one in self._done(*SHOWN) if one.row.name in drawn):
            row = experiment.row
            curves = {name: results / "curves" / f"{row.name}-{name}.csv" for name in row.schedules}
            losses = {name: losses_by_lr(experiment, name, self.results) for name in row.schedules}
            there = {name: file for name, file in curves.items() if file.exists()}
            draw_row(named(row), losses, there).savefig(results / f"{row.name}.png")
        if self._robust:
            draw_robustness(self._robust).savefig(results / ROBUSTNESS)
        if self._lengths:
            draw_lengths(self._lengths).savefig(results / LENGTHS_PICTURE)
        written = path.with_suffix(f".{os.getpid()}")  # another process may write it too
        written.write_text(self.text(results.name), encoding="utf-8")
        written.replace(path)

    def text(self, folder: str) -> str:
        """Return the page; pictures are in ``folder`` beside it."""
        table = main_table(self._of(*SHOWN), self.judged, self.results, self.quick)
        parts = [self._head(), table]
        if not self.quick:
            parts += [*self._summary(), *self._missing(), *self._default(), *self._length(folder), *self._claims()]
        parts += self._warmup(folder)
        if not self.quick:
            parts += [*self._wrong_lr(), *self._suggestions()]
        for experiment in self._of(*SHOWN):
            parts += section(experiment.row, self.judged.rows.get(experiment.row.name), folder)
        parts += [*self._not_held(), *self._how(), *([] if self.quick else [ELSEWHERE])]
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
            "better than the fixed LR. Behind a loss stand those of the best and the worst seed. *p alone* is that of "
            f"a paired t-test, *p of all* the same corrected (Holm) for all {self.judged.count} comparisons of this "
            "page. *In hindsight* is the mean difference to the fixed LR that turned out best on these very seeds; it "
            "was not looked for on second tasks, and is not in the short form. A schedule *holds* where p of all is "
            "below 0.05, the mean is below 0, and in hindsight, where that is known, it is so too. "
            "Schedules that the table names for the setting are in bold."
        )

    def _summary(self) -> list[str]:
        rows = [one for one in self._done("table") if set(self._second(one.row)) <= set(self.judged.rows)]
        if not rows:
            return []
        held = {name: any(one.passes and one.recommended for one in found) for name, found in self.judged.rows.items()}
        tasks = [(one.row, [held[name] for name in (one.row.name, *self._second(one.row))]) for one in rows]
        whole = sum(all(found) for _, found in tasks)
        return [
            f"In {whole} of {len(rows)} rows of the table a schedule that it names holds on every task that was tried:",
            "\n".join(f"- {row.setting}: {_on_tasks(row, found)}" for row, found in tasks),
        ]

    def _second(self, row: Row) -> list[str]:
        return [one.row.name for one in self._of("second") if one.row.of == row.name]

    def _missing(self) -> list[str]:
        others = [one for one in self._of("length", "literature", "warmup") if one not in self.complete]
        names = ", ".join(f"{one.row.setting} (`{one.row.name}`)" for one in others)
        return [f"Written down and not measured yet: {names}."] if others else []

    def _default(self) -> list[str]:
        experiments = [one for one in self._done(*SHOWN) if DEFAULT in one.row.also]
        if not experiments:
            return []
        return [
            "## What the practical default gives",
            "AdamW with its file's LR of 0.002, a warmup of 5 % and a cosine to zero, nothing tuned, beside the best "
            "schedule of each row with its optimizer and its tuned LR: what does somebody lose who only takes the "
            "default? The differences are estimates, not tests, and not among those that are corrected together.",
            default_table(experiments, self.judged, self.results),
        ]

    @cached_property
    def _lengths(self) -> dict[str, list[tuple[int, Sequence[Evaluation]]]]:
        """Setting -> updates and evaluations, for rows that were measured over several lengths."""
        found: dict[str, list[tuple[int, Sequence[Evaluation]]]] = {}
        for experiment in self._done(*SHOWN):
            others = [one for one in self._done("length") if one.row.of == experiment.row.name]
            if not others:
                continue
            kept = set.intersection(*(set(one.row.schedules) for one in others))
            points = [
                (self._updates(one), [each for each in self.judged.rows[one.row.name] if each.schedule in kept])
                for one in [experiment, *others]
            ]
            found[named(experiment.row)] = sorted(points, key=lambda one: one[0])
        return found

    def _updates(self, experiment: Experiment) -> int:
        return evaluated(experiment, BASELINE, self.results)[0].updates

    def _length(self, folder: str) -> list[str]:
        if not self._lengths:
            return []
        return [
            "## How long must a run be?",
            f"![Difference to the tuned fixed LR over the number of updates]({folder}/{LENGTHS_PICTURE})",
            "The same rows over other numbers of updates, each with LRs tuned for that number. A run "
            "whose loss still falls fast has little to gain from a decay:",
            lengths_table(self._lengths),
        ]

    def _claims(self) -> list[str]:
        if not self.judged.claims:
            return []
        return [
            "## What the literature says, tried at this scale",
            "Claims, metric and rule were written down before the runs that they are of "
            "(`recipes/reproduction/further.py`), and are printed whatever came out. Each schedule had its own LR, "
            "tuned as its rival's. A claim *holds* "
            "where p of all is below 0.05 and the mean difference lies below the limit; it is *open* where p is "
            "larger, and *the opposite* where the mean lies above the limit as certainly. Where two are claimed to be "
            "equally good, the limit is 0.02 nats: no more than that higher. "
            "Where it is said of the same run that it is as good at several lengths, its LR is that of 1,500 updates. "
            "A branch of `warmup_stable_decay` equals a run of its own to the bit, and was made as one.",
            claims_table(self.judged.claims),
            "These are networks that train in seconds: a claim about large models that is open here is not refuted.",
        ]

    @cached_property
    def _robust(self) -> dict[str, dict[str, dict[float, float]]]:
        return {one.row.setting: robustness_of(one, self.results) for one in self.complete if one.row.warmup}

    def _warmup(self, folder: str) -> list[str]:
        if not self._robust:
            return []
        return [
            "## What warmup gives",
            f"![Validation loss over the peak learning rate, with and without warmup]({folder}/{ROBUSTNESS})",
            "The same schedule without and with warmup, at LRs from half to "
            f"{2**BEYOND} times the best one without it. A band is what lies within 10 % of a curve's lowest loss; a "
            "cross is an LR at which a run diverged. *Usable* is the largest LR within the band; the last column is "
            "the loss at twice the best LR without warmup:",
            warmup_table(self._robust),
        ]

    def _wrong_lr(self) -> list[str]:
        experiments = self._done(*SHOWN)
        if not experiments:
            return []
        return [
            "## What a wrong LR costs",
            "Validation loss at half and at twice the tuned LR, less that at the tuned one, in nats; means over the "
            "tuning seeds, from the runs that chose it:",
            wrong_lr_table(experiments, self.judged, self.results),
        ]

    def _suggestions(self) -> list[str]:
        experiments = [one for one in self._done(*SHOWN) if RANGE_TEST in one.row.also]
        if not experiments:
            return []
        return [
            "## Is the range test right?",
            "`task=range_test` on every row and evaluation seed, 100 updates each, beside the LRs that tuning chose: "
            "the rule `edge` for the best of the schedules that the table names, `valley` for a fixed LR. A grid with "
            "factor 2 knows an LR to a factor of 1.4.",
            suggestions_table(experiments, self.judged, self.results),
        ]

    def _not_held(self) -> list[str]:
        if self.quick:
            return []
        rows = {one.row.name: one.row for one in self._done(*SHOWN, "length")}
        lost = [
            f"- {named(rows[name])}, `{one.schedule}`: {why_not_held(one)}."
            for name, found in self.judged.rows.items()
            for one in found
            if one.difference is not None and not one.passes
        ]
        for setting, curves in self._robust.items():
            without, *with_it = usables(curves)
            lost += [
                f"- {setting}: `{one.schedule}` does not double the largest usable LR of `{without.schedule}` "
                f"({without.largest:g} -> {one.largest:g})."
                for one in with_it
                if one.largest < 2 * without.largest
            ]
        return ["## What did not hold", "\n".join(lost) if lost else "Every schedule that was tried holds."]

    def _how(self) -> list[str]:
        if not self.origins:
            return []
        some = next(iter(self.origins.values()))
        seconds = sum(result.cpu_seconds for result in self.results.values())
        shown = {
            one.row.name: self.origins[one.row.name]["data"] for one in self._of(*SHOWN) if one.row.name in self.origins
        }
        data = ", ".join(f"{name} {found}" for name, found in shown.items())
        first = self._in_order[0]
        return [
            "## How it was measured",
            "\n".join(
                [
                    "- Every schedule, the fixed LR included, gets the same grid of LRs with factor 2; it grows while "
                    "its best LR lies on an edge. The LR is chosen by the mean validation loss on "
                    f"{first.row.tuning_seeds} tuning seeds.",
                    f"- Evaluation is on {max(one.row.seeds for one in self._in_order)} other seeds, on the test set, "
                    "with the last weights. The tasks were chosen on yet other seeds; those on MNIST-1D were tried on "
                    "one of these too. The same seed gives every schedule the same first weights and the same order "
                    "of the data.",
                    "- In every run the LR that each update used was compared with the plan; a difference would have "
                    "ended it.",
                    f"- {len(self.results)} runs, {seconds / 60:.0f} minutes of processor time; {some['machine']}; "
                    f"Python {some['python']}, torch {some['torch']}, lightning {some['lightning']}.",
                    f"- Hashes of the data: {data}.",
                    "- Each run is a line of a CSV file in `results/`.",
                ]
            ),
        ]


def _on_tasks(row: Row, held: Sequence[bool]) -> str:
    if len(held) == 1:
        known = any(one.part == "second" and one.of == row.name for one in ROWS)
        why = "the second is in the long form" if known else "a second one was not found"
        return f"{'holds' if held[0] else 'does not hold'} on its one task; {why}."
    return f"holds on {'both' if all(held) else f'{sum(held)} of {len(held)}'} tasks."


def why_not_held(evaluation: Evaluation) -> str:
    """Say what a schedule gave that does not hold."""
    difference = evaluation.difference
    assert difference is not None
    words = f"{in_nats(difference)}, {difference.wins} of {difference.count} wins"
    if words.startswith("a run diverged"):
        return "a run diverged"
    if difference.mean >= 0:
        return f"{words}: {'higher' if evaluation.corrected < LEVEL else 'not lower'} than the fixed LR"
    if not evaluation.alone:
        return f"{words}: the interval does not lie below 0"
    if evaluation.hindsight is not None and evaluation.hindsight >= 0:
        return f"{words}, but {evaluation.hindsight:+.3f} against the fixed LR of hindsight"
    return (
        f"{words}: certain alone (p {probability(difference.p)}), not among all ({probability(evaluation.corrected)})"
    )


def section(row: Row, evaluations: Sequence[Evaluation] | None, folder: str) -> list[str]:
    """Return the section of a row."""
    parts = [f"## {named(row)}", f"{row.task[:1].upper()}{row.task[1:]}." if row.task else "", row.why]
    if evaluations is None:
        return [*parts, f"    make reproduce ARGS='long=true rows={row.name}'"]
    names = ", ".join(one.schedule for one in evaluations)
    typed = [
        f"    python train.py {' '.join(row.overrides(one.schedule))} optimizer.lr={one.lr:g}"
        for one in evaluations
        if one.recommended
    ]
    return [
        *parts,
        measured_in_words(evaluations),
        f"![Loss over LR, LR and training loss of {names}]({folder}/{row.name}.png)",
        "\n".join([*typed, f"    make reproduce ARGS='long=true rows={row.name}'"]),
    ]


def measured_in_words(evaluations: Sequence[Evaluation]) -> str:
    """Return a sentence with what a row gave."""
    fixed = next(one for one in evaluations if one.difference is None)
    best = min((one for one in evaluations if one.difference is not None), key=lambda one: one.loss)
    assert best.difference is not None
    return (
        f"Measured: `{best.schedule}` ends at {best.loss:.3f} nats and {best.accuracy:.1%}, the tuned fixed LR at "
        f"{fixed.loss:.3f} and {fixed.accuracy:.1%} ({best.difference.wins} of {best.difference.count} wins; a run "
        f"takes {fmean(one.seconds for one in evaluations):.1f} s of one core)."
    )
