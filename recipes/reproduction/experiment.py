"""Which runs a row needs, as a pure function of the results that are there.

Tuning comes first: the validation loss over the grid, a mean over the tuning seeds. Then the evaluation: the test loss
of each schedule at its LR, on other seeds. In a row of the table the fixed LR is evaluated at the LRs around its own
too, until the best of them is known, so that schedules are also compared with what hindsight would have chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

from recipes.reproduction.row import Row

FIRST_TUNING_SEED = 1001
FIRST_SEED = 101  # of the evaluation; 1, 2, ... are what recipes were chosen with
FACTOR = 2.0  # between neighbours of a grid
_EXTENSIONS = 5  # twice so many LRs are added to a grid at most
BEYOND = 4  # LRs above the best without warmup that are tried with and without it


class Run(NamedTuple):
    """One training run of a row."""

    row: str
    schedule: str
    lr: float
    seed: int


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Args:
        run: which run.
        status: ``"done"``, ``"diverged"`` (the loss is not finite) or ``"failed"`` with the reason.
        val_loss, val_acc, test_loss, test_acc: of the last weights; not a number unless done. Losses in nats.
        updates: optimizer updates.
        seconds: how long it took.
        cpu_seconds: of processor time, which other work on the machine does not change.
        edge_lr, valley_lr: what a range test suggests, for a schedule that decays and for an LR to keep.
    """

    run: Run
    status: str
    val_loss: float = math.nan
    val_acc: float = math.nan
    test_loss: float = math.nan
    test_acc: float = math.nan
    updates: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    edge_lr: float = math.nan
    valley_lr: float = math.nan

    def loss(self, split: str) -> float:
        """Return the loss on ``"val"`` or ``"test"``; a run that is not done is infinitely bad."""
        return (self.val_loss if split == "val" else self.test_loss) if self.status == "done" else math.inf


Results = Mapping[Run, Result]


class Grid(NamedTuple):
    """LRs that were tried, and the best of them; ``None`` while runs are missing."""

    lrs: list[float]
    best: float | None


@dataclass(frozen=True)
class Experiment:
    """The runs of a row, and what can be read off their results.

    Args:
        row: the row.
        grow: whether a grid may grow; not where only the machinery is tried.
        more: what to type for every run besides.
    """

    row: Row
    grow: bool = True
    more: tuple[str, ...] = ()

    def overrides(self, schedule: str) -> tuple[str, ...]:
        """Return what to type for a schedule after ``python train.py``."""
        return (*self.row.overrides(schedule), *self.more)

    @property
    def tuning_seeds(self) -> list[int]:
        """Seeds on which LRs are chosen."""
        return [FIRST_TUNING_SEED + n for n in range(self.row.tuning_seeds)]

    @property
    def seeds(self) -> list[int]:
        """Seeds on which schedules are compared."""
        return [FIRST_SEED + n for n in range(self.row.seeds)]

    def runs(self, schedule: str, lr: float, seeds: Sequence[int]) -> list[Run]:
        """Return the runs of a schedule at an LR, one for each seed."""
        return [Run(self.row.name, schedule, lr, seed) for seed in seeds]

    def mean(self, schedule: str, lr: float, seeds: Sequence[int], split: str, results: Results) -> float | None:
        """Return the mean loss over the seeds; ``None`` while runs are missing."""
        runs = self.runs(schedule, lr, seeds)
        if any(run not in results for run in runs):
            return None
        return fmean(results[run].loss(split) for run in runs)

    def tuner(self, schedule: str) -> Experiment:
        """Return the experiment in which a schedule gets its LR: this one, or that of a row over another length."""
        if self.row.tuned_in and schedule in self.row.tuned_in[1]:
            return replace(self, row=self.row.tuned_in[0])
        return self

    @property
    def sources(self) -> list[Experiment]:
        """This experiment, and the one in which some of its schedules get their LR."""
        return [self, *([replace(self, row=self.row.tuned_in[0])] if self.row.tuned_in else [])]

    def tuned(self, schedule: str, results: Results) -> Grid:
        """Return the grid of a schedule on the tuning seeds, as far as it is known; untuned, an LR alone."""
        if schedule in self.row.untuned:
            return Grid([], self.row.untuned[schedule])
        tuner = self.tuner(schedule)
        if tuner is not self:
            return tuner.tuned(schedule, results)
        return self._grid(schedule, list(self.row.lrs), self.tuning_seeds, "val", results)

    def hindsight(self, results: Results) -> Grid:
        """Return the grid of the baseline on the evaluation seeds, around the LR that tuning chose."""
        center = self.tuned(self.row.baseline, results).best
        if center is None:
            return Grid([], None)
        lrs = [center / FACTOR, center, center * FACTOR] if self.grow else [center]
        return self._grid(self.row.baseline, lrs, self.seeds, "test", results)

    def robustness(self, results: Results) -> list[float]:
        """Return the LRs at which a schedule with warmup and one without are compared; none while they are unknown."""
        if not self.row.warmup:
            return []
        best = self.tuned(self.row.warmup[0], results).best
        return [] if best is None else [best * FACTOR**power for power in range(-1, BEYOND + 1)]

    def wanted(self, results: Results) -> list[Run]:
        """Return the runs that are known to be needed and have no result yet; none when the row is complete."""
        wanted: list[Run] = []
        for schedule in self.row.all_schedules:
            grid, tuner = self.tuned(schedule, results), self.tuner(schedule)
            wanted += [run for lr in grid.lrs for run in tuner.runs(schedule, lr, tuner.tuning_seeds)]
            if grid.best is not None:
                wanted += self.runs(schedule, grid.best, self.seeds)
        if self.row.in_hindsight:
            lrs = self.hindsight(results).lrs
            wanted += [run for lr in lrs for run in self.runs(self.row.baseline, lr, self.seeds)]
        for schedule in self.row.warmup:
            wanted += [run for lr in self.robustness(results) for run in self.runs(schedule, lr, self.tuning_seeds)]
        return [run for run in dict.fromkeys(wanted) if run not in results]

    def expected(self) -> int:
        """Return how many runs there will be if no grid grows."""
        row, count = self.row, len(self.row.all_schedules)
        elsewhere = len(row.untuned) + (len(row.tuned_in[1]) if row.tuned_in else 0)
        tuning = (count - elsewhere) * len(row.lrs) * row.tuning_seeds
        evaluation = (count + (2 if self.grow and row.in_hindsight else 0)) * row.seeds
        above = len(row.warmup) * (BEYOND - 1) * row.tuning_seeds
        return tuning + evaluation + above

    def _grid(self, schedule: str, lrs: list[float], seeds: Sequence[int], split: str, results: Results) -> Grid:
        """Let the grid grow while its best LR lies on an edge."""
        largest = len(lrs) + 2 * _EXTENSIONS
        while True:
            means = [self.mean(schedule, lr, seeds, split, results) for lr in lrs]
            known = [mean for mean in means if mean is not None]
            if len(known) < len(lrs):
                return Grid(lrs, None)
            place = known.index(min(known))
            if not self.grow or 0 < place < len(lrs) - 1 or len(lrs) == largest:
                return Grid(lrs, lrs[place])
            lrs = [lrs[0] / FACTOR, *lrs] if place == 0 else [*lrs, lrs[-1] * FACTOR]
