"""What a record of LRs is, whoever wrote it: for each group, updates and the LRs that they used. No torch.

A record is of samples: loggers write every 50th update or so, and what lies between two samples is not known. How the
files of others are laid out is known to the readers (``record_tables.py``, ``record_events.py``,
``record_states.py``); which of them reads a file is chosen in ``records.py``.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median_low
from typing import NamedTuple

from lr_recipes.checks import MOST, brief, counted, nearest, one_line
from lr_recipes.plan.series import Series

_USABLE = 3.4e38  # of 32 bits: no parameter can be stepped by more
_NAMED = 8  # columns that a message lists
_LR_NAME = re.compile(r"(?<![a-z])(lr|learning[ _-]?rate)(?![a-z])")
_NO_LRS = ("-momentum", "-weight_decay", "__min", "__max")  # what loggers write beside an LR, under its name


class RecordError(ValueError):
    """A file that is no record of LRs, or none that can be read; the message says what to give."""


class Track:
    """The LRs of one group in a record, in order, each update once.

    Args:
        name: as the record has it.
        owner: what is shared by the groups of one optimizer.

    Attributes:
        updates: that were recorded.
        lrs: what they used.
        again: samples that were left out because the record goes back and does their updates again.
        odd: updates whose LR is no number that an optimizer can use.
        lost: samples whose step is no update.
        mixed: samples that are the mean of several updates.
    """

    def __init__(self, name: str, owner: str = "") -> None:
        self.name, self.owner = name, owner or owner_of(name)
        self.updates, self.lrs, self.odd = array("q"), array("d"), array("q")
        self.again = self.lost = self.mixed = 0

    def add(self, update: float, lr: float) -> None:
        """Take the next sample of the record."""
        if not (0 <= update <= MOST and update == int(update)):
            self.lost += 1
            return
        updates = self.updates
        if updates and update <= updates[-1]:
            self._go_back(int(update), lr)
        if not abs(lr) <= _USABLE:  # not a number, or infinite, either
            self.odd.append(int(update))
            return
        updates.append(int(update))
        self.lrs.append(lr)

    def _go_back(self, update: int, lr: float) -> None:
        """A run that was killed goes on from its checkpoint: what it did past that counts for nothing."""
        place = bisect_left(self.updates, update)
        same = len(self.updates) - place == 1 and self.lrs[place] == lr  # written twice, and nothing done again
        self.again += 0 if same else len(self.updates) - place
        del self.updates[place:], self.lrs[place:]


@dataclass
class Record:
    """A record that was read.

    Attributes:
        writer: who writes such a file.
        tracks: what there is of each group.
        total: updates of the whole run, where the record says so.
        early: by how many updates the LR of a step may be that of an earlier update; the first is the likely one.
        notes: what is to be known about it, in sentences.
    """

    writer: str
    tracks: list[Track]
    total: int | None = None
    early: Sequence[int] = (0,)
    notes: list[str] = field(default_factory=list)

    def optimizers(self) -> list[Samples]:
        """Return the samples of each optimizer: of groups that were recorded together."""
        together: dict[tuple[str, bytes], list[Track]] = {}
        for track in self.tracks:
            if track.updates:
                together.setdefault((track.owner, track.updates.tobytes()), []).append(track)
        return [
            Samples(owner, [one.name for one in tracks], tracks[0].updates, [one.lrs for one in tracks])
            for (owner, _), tracks in together.items()
        ]

    def faults(self) -> list[str]:
        """Return a sentence for each group with LRs that are none."""
        return [
            f"{one_line(track.name)}: {counted(len(track.odd), 'recorded LR')} cannot be used by any optimizer (not a "
            f"number, or too large), the first at update {track.odd[0]:,}: look for what computes it"
            for track in self.tracks
            if track.odd
        ]

    def remarks(self) -> list[str]:
        """Return what is to be known about the record, in sentences."""
        told = list(self.notes)
        for count, what in (
            (max(one.again for one in self.tracks), "left out: the record goes back and does their updates again, as "
             "a resumed run does; of two runs in one file only the last counts"),
            (max(one.lost for one in self.tracks), "left out: the step is negative, no whole number, or too large"),
            (max(one.mixed for one in self.tracks), "left out: the mean of several updates, and the LR of none"),
        ):  # fmt: skip
            told += [f"{counted(count, 'sample')} {what}"] if count else []
        return told


class Samples(NamedTuple):
    """LRs of the groups of one optimizer, at the updates that were recorded.

    Attributes:
        title: whose they are.
        names: of the groups.
        updates: in order.
        lrs: of each group, by update.
    """

    title: str
    names: list[str]
    updates: Sequence[int]
    lrs: Sequence[Sequence[float]]

    @property
    def every(self) -> int:
        """Updates from one sample to the next, as a rule."""
        return median_low(after - before for before, after in pairwise(self.updates)) if len(self.updates) > 1 else 1

    def earlier(self, by: int) -> Samples:
        """Return the same, read as those of earlier updates; what would be before the first is left out."""
        begin = bisect_left(self.updates, by)
        if not by or begin == len(self.updates):
            return self
        updates = [update - by for update in self.updates[begin:]]
        return self._replace(updates=updates, lrs=[own[begin:] for own in self.lrs])

    def reaches(self, total: int | None) -> bool:
        """Whether the record goes to the end of a run of so many updates; of an unknown number, it is taken to."""
        return total is None or self.updates[-1] + self.every >= total

    def series(self, total: int | None) -> Series:
        """Return them as a series, in which an LR is held up to the next sample."""
        series = Series(self.names, self.updates[0])
        last = self.updates[-1]
        end = total if total is not None and last < total and self.reaches(total) else last + 1
        for place, after in enumerate([*self.updates[1:], end]):
            series.add([own[place] for own in self.lrs], after - self.updates[place])
        return series

    def held(self, series: Series) -> int:
        """Return how many updates an LR lasts where it goes on changing: those of an epoch, or between two samples."""
        lasts, every = [count for _, count, _ in series.stretches(0)][:-1], self.every
        most = 2 * max(median_low(lasts) if lasts else 1, every)
        return max((count for count in lasts if count <= most), default=every)

    def points(self, group: int, most: int) -> list[tuple[int, float]]:
        """Return about ``most`` samples of a group, the highest and lowest among them."""
        lrs, count = self.lrs[group], len(self.updates)
        wide = max(math.ceil(3 * count / most), 1)
        chosen = {0, count - 1}
        for begin in range(0, count, wide):
            part = range(begin, min(begin + wide, count))
            chosen |= {begin, min(part, key=lrs.__getitem__), max(part, key=lrs.__getitem__)}
        return [(self.updates[place], lrs[place]) for place in sorted(chosen)]


def owner_of(name: str) -> str:
    """Return what the groups of one optimizer share in their names.

    Example:
        >>> owner_of("lr-SGD/pg1"), owner_of("train/lr")
        ('lr-SGD', 'train/lr')
    """
    return name.partition("/")[0] if name.startswith("lr-") else name


def is_lr(name: str) -> bool:
    """Whether a name is that of an LR, as loggers and people write it.

    Example:
        >>> [is_lr(name) for name in ("lr-SGD/pg1", "train/learning_rate", "lr-SGD-momentum", "already")]
        [True, True, False, False]
    """
    name = name.lower()
    return bool(_LR_NAME.search(name)) and not name.endswith(_NO_LRS)


def chosen_names(where: str, names: Iterable[str], column: str | None, metric: dict[str, str]) -> list[str]:
    """Return the names under which a record has LRs.

    Args:
        where: the file.
        names: all that it has.
        column: the one that was asked for.
        metric: what a name is of, where it has more in it, such as that of a run.

    Raises:
        RecordError: there are none.
    """
    names = list(names)
    if column is not None:
        found = [name for name in names if column in (name, metric.get(name))]
        if not found:
            raise RecordError(
                f"{where} has no column {brief(column)}{nearest(column, names)}: take one of {listed(names)}"
            )
        return found
    found = [name for name in names if is_lr(metric.get(name, name))]
    if not found:
        raise RecordError(
            f"{where} has no learning rates: there are {listed(names)}; name the one that is an LR with column=NAME, "
            "or let LearningRateLogger or LearningRateMonitor record the run"
        )
    return found


def listed(names: Sequence[str]) -> str:
    """Return names in a row, of very many the first."""
    named = [f"'{one_line(name[:60])}'" for name in names[:_NAMED] if name]
    more = [f"{len(names) - _NAMED:,} more"] if len(names) > _NAMED else []
    return ", ".join([*named, *more]) or "none"
