"""Named faults of a series of LRs, played ahead or recorded: what happens to the LR, at which update, what mends it.

One function for each, and its row in ``FINDINGS``. A function is given a ``Case`` and returns the update at which it
shows and the sentence that says so, or nothing; what a case does not know (a record has no schedulers) is empty, and no
reason for a finding. No torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lr_recipes.checks import counted
from lr_recipes.plan.series import Leg, Series, Ticked

_LITTLE = 0.02  # of the way from the peak to the floor: what is left at the end is no matter below it
_CLIMB = 0.01  # of the peak: a rise that is worth a word
_FLOOR = 0.05  # of the peak: a floor at which training is as good as over
_LONG = 0.2  # of the run: so long at the floor is too long
_HIGH = 0.1  # of the peak: what a last cycle leaves
_VANISHED = 1e-6  # of the peak
_UNDONE = 0.01  # of the updates: what two schedulers undo of each other is worth a word
_ALIKE = 1e-9


class Finding(NamedTuple):
    """What is wrong with the LRs of a run.

    Attributes:
        name: one of ``FINDINGS``.
        optimizer: index of the optimizer.
        update: the update at which it shows first; ``None`` where it is no matter of one.
        message: what will happen, at which update, and the one change that mends it.
    """

    name: str
    optimizer: int
    update: int | None
    message: str


class Reacting(NamedTuple):
    """What a plateau can do in a run, whatever its metric does.

    Attributes:
        monitor: name of the metric.
        patience: decisions without a better value that it waits for.
        decisions: how often it is told a value.
        cuts: whether a metric that never gets better leads to a cut that an update uses.
        stale: the first update that a metric which gets better with each validation leads to a cut for.
        validations: validations in the run; ``None`` where the metric is no matter of them.
    """

    monitor: str
    patience: int
    decisions: int
    cuts: bool
    stale: int | None = None
    validations: int | None = None


@dataclass(frozen=True)
class Case:
    """What is known of the LRs of one optimizer, played ahead or recorded.

    Attributes:
        series: what the updates use.
        whole: whether the series goes to the end of the run.
        schedulers: those that are on the optimizer.
        onward: what would follow, were the run longer.
        built: the LR that each group was built with.
        epochs: epochs of the run.
        batches: in an epoch.
        accumulate: batches in an update; 0 where that changes.
        raised: the first update that is never done, and the error that keeps it away.
        undone: updates at which two schedulers undo each other: the first, how many, and who.
        replaced: the first update after a callback has put a scheduler of its own in the place of this one, and both.
        late: the first update that uses the LR of the epoch before it, and the way out.
        plateaus: what plateaus can do.
        unread: kinds of schedulers that were built on the optimizer, and that nobody ticks.
        lengths: settings in which a checkpoint is of another length than this run: kind, name, here, there.
        optimizer: its index.
    """

    series: Series
    whole: bool = True
    schedulers: Sequence[Ticked] = ()
    onward: Series | None = None
    built: Sequence[float] = ()
    epochs: int | None = None
    batches: int | None = None
    accumulate: int = 1
    raised: tuple[int, str] | None = None
    undone: tuple[int, int, str, str] | None = None
    replaced: tuple[int, str, str] | None = None
    late: tuple[int, str] | None = None
    plateaus: Sequence[Reacting] = ()
    unread: Sequence[str] = ()
    lengths: Sequence[tuple[str, str, Any, Any]] = ()
    optimizer: int = 0

    @property
    def spacing(self) -> int:
        """Updates that an LR lasts where it is changed with every tick."""
        if any(one.interval == "epoch" for one in self.schedulers) and not any(
            one.interval == "step" for one in self.schedulers
        ):
            gaps = [after - before for one in self.schedulers for before, after in zip(one.ticks, one.ticks[1:])]
            return max(gaps, default=len(self.series))
        gaps = [after - before for one in self.schedulers for before, after in zip(one.ticks, one.ticks[1:])]
        return max(1, min(gaps, default=1)) if gaps else 1

    @property
    def legs(self) -> list[Leg]:
        """Stretches of the group with the largest LR."""
        return self.series.legs(self.series.leader, self.spacing)

    @property
    def peak(self) -> float:
        """The largest LR that is used."""
        return self.series.peak(self.series.leader)

    @property
    def last(self) -> float:
        """LR of the last update, in the group with the largest."""
        lrs = self.series.lrs[self.series.leader]
        return lrs[-1] if lrs else 0.0

    @property
    def meant(self) -> bool:
        """Whether climbing again is meant."""
        return any(one.restarts for one in self.schedulers)


Found = tuple[int | None, str] | None


def of(case: Case) -> list[Finding]:
    """Return what is wrong with the LRs of a case: the findings, without those that only follow from another one."""
    found: dict[str, Finding] = {}
    for name, rule in FINDINGS.items():
        what = rule.look(case)
        if what is not None:
            found[name] = Finding(name, case.optimizer, *what)
    hidden = {name for one in found for name in FINDINGS[one].explains}
    return [one for name, one in found.items() if name not in hidden]


class Rule(NamedTuple):
    """A kind of finding.

    Attributes:
        look: finds it in a case.
        explains: kinds that are not worth a word beside it, for they follow from it.
    """

    look: Callable[[Case], Found]
    explains: frozenset[str] = frozenset()


FINDINGS: dict[str, Rule] = {}
