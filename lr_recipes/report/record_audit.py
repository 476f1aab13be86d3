"""Judges a record of LRs: against a plan, or, without one, by what is odd in itself. No torch.

What lies between two samples is not known, so it is not judged: used is compared with planned where it was recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from lr_recipes.checks import counted, one_line
from lr_recipes.plan.plan import Plan
from lr_recipes.report import findings
from lr_recipes.report.audit import Audit
from lr_recipes.report.chart import Point, draw_chart, is_plain
from lr_recipes.report.picture import figure_of_several, log_axis
from lr_recipes.report.recorded import Record, Samples
from lr_recipes.report.shown import Shown
from lr_recipes.report.words import cut, in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS = 4000  # of a chart, and of a picture
_ENOUGH = 3  # samples that fit another reading: it is meant
_GROUPS_TOLD = 8  # whose first difference is told
_NAME_LENGTH = 40

Planned = Callable[[Sequence[float]], Plan]


class Apart(NamedTuple):
    """Where a group first used another LR than the planned one."""

    group: str
    update: int
    used: float
    planned: float

    def __str__(self) -> str:
        gap = abs(self.used - self.planned)
        return (
            f"group {one_line(self.group)}: first at update {self.update:,}, used {self.used:.8g}, planned "
            f"{self.planned:.8g} (difference {gap:.3g})"
        )


@dataclass
class Judged:
    """What came out for one optimizer.

    Attributes:
        samples: its LRs.
        total: updates of the run, if known.
        findings: what is odd in itself, where there is no plan.
        plan: the plan that it was compared with.
        audit: the counts of the comparison.
        apart: where the groups first differ from the plan.
        read: how the steps of the record were read, where that is not what is usual.
    """

    samples: Samples
    total: int | None
    findings: Sequence[findings.Finding] = ()
    plan: Plan | None = None
    audit: Audit = field(default_factory=Audit)
    apart: Sequence[Apart] = ()
    read: str = ""

    @property
    def found(self) -> bool:
        """Whether something is out of order."""
        return bool(self.findings or self.apart)

    def __str__(self) -> str:
        return "\n\n".join([self._head(), self._chart(), *self._plan(), *self._verdict()])

    def _head(self) -> str:
        updates, every = self.samples.updates, self.samples.every
        whole = max(self.total or 0, updates[-1] + 1)
        sampled = f", every {_ordinal(every)}" if every > 1 else ""
        as_far = "" if self.total else " up to its end"
        return (
            f"Learning rate of {cut(one_line(self.samples.title), _NAME_LENGTH)}: recorded {len(updates):,} of "
            f"{counted(whole, 'update')}{as_far}{sampled} (updates {updates[0]:,} to {updates[-1]:,})"
        )

    def _chart(self) -> str:
        names, lrs = self.samples.names, self.samples.lrs
        leader = max(range(len(names)), key=lambda group: max(lrs[group]))
        points = self.samples.points(leader, _DOTS)
        first, last = points[0][0], points[-1][0]
        low, log = min(0.0, *(lr for _, lr in points)), log_axis([points])
        whose = f" of {cut(one_line(names[leader]), _NAME_LENGTH)}, the largest" if len(names) > 1 else ""
        return draw_chart(
            points,
            title=f"learning rate{whose}{', log scale' if log and not low else ''}",
            x_title="optimizer update",
            ticks={place: f"{place:,}" for place in (first + share * (last - first) // 4 for share in range(5))},
            log_from=log if not low else None,
            low=low,
            plain=is_plain(),
        )

    def _plan(self) -> list[str]:
        return [] if self.plan is None else [in_words(self.plan, self.samples.title, self.samples.names)]

    def _verdict(self) -> list[str]:
        if self.plan is None:
            found = [f"{one.name}: {one.message}" for one in self.findings]
            return ["\n".join(found or ["nothing is out of order in the LRs above"])]
        more = len(self.apart) - _GROUPS_TOLD
        lines = [
            self.audit.closing_line(self._position(), self.plan.total_steps),
            *map(str, self.apart[:_GROUPS_TOLD]),
            *([f"and {counted(more, 'more group')}"] if more > 0 else []),
            *([self.read] if self.read else []),
        ]
        return ["\n".join(lines)]

    def _position(self) -> int:
        """Updates completed: the last sample is followed by those that were not recorded any more."""
        total = self.plan.total_steps if self.plan else None
        last = self.samples.updates[-1] + 1
        return total if total is not None and last < total and self.samples.reaches(total) else last

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        updates = self.samples.updates
        told: dict[str, Any] = {
            "name": self.samples.title,
            "groups": self.samples.names,
            "recorded": len(updates),
            "first": updates[0],
            "last": updates[-1],
            "every": self.samples.every,
            "total": self.total,
        }
        if self.plan is None:
            return {**told, "findings": [one._asdict() for one in self.findings]}
        compared = {"compared": self.audit.compared, "different": self.audit.different, "read": self.read}
        return {**told, **compared, "apart": [one._asdict() for one in self.apart]}


@dataclass(repr=False)
class RecordAudit(Shown):
    """What a record of LRs shows; prints as text, and has a picture."""

    where: str
    record: Record
    judged: list[Judged]

    @property
    def found(self) -> bool:
        """Whether something is out of order."""
        return bool(self.record.faults()) or any(one.found for one in self.judged)

    @property
    def table(self) -> str:
        """All of it, as text."""
        notes = [f"note: {note}" for note in self.record.remarks()]
        head = "\n".join([f"{one_line(self.where)}: written by {self.record.writer}", *notes])
        return "\n\n".join([head, *map(str, self.judged), *self.record.faults()])

    def __repr__(self) -> str:
        return self.table

    def as_json(self) -> str:
        """Return the same as one JSON object."""
        content = {
            "file": self.where,
            "writer": self.record.writer,
            "found": self.found,
            "notes": self.record.remarks(),
            "faults": self.record.faults(),
            "optimizers": [one.as_dict() for one in self.judged],
        }
        return json.dumps(content, indent=2)

    def plot(self) -> Figure:
        """Return a matplotlib figure: the LR of every group."""
        curves: dict[str, list[Point]] = {}
        for one in self.judged:
            for group, name in enumerate(one.samples.names):
                curves[name] = one.samples.points(group, _DOTS)
        figure = figure_of_several(curves, f"{self.where}: LRs that were recorded")
        lowest = min(lr for curve in curves.values() for _, lr in curve)
        if lowest < 0:
            figure.axes[0].set_yscale("linear")
            figure.axes[0].set_ylim(bottom=1.05 * lowest)
        return figure


def audit_record(
    where: str, record: Record, total: int | None, planned: Planned | None = None, lr: float | None = None
) -> RecordAudit:
    """Judge a record.

    Args:
        where: the file.
        record: what was read from it.
        total: updates of the run, where it is known.
        planned: makes the plan for base LRs; without it, what is odd in itself is looked for.
        lr: the base LR of every group; by default that with which the plan fits where it is highest.
    """
    judged = []
    for index, samples in enumerate(record.optimizers()):
        if planned is None:
            read = samples.earlier(record.early[0])
            series = read.series(total)
            case = findings.Case(series, whole=read.reaches(total), held=read.held(series), optimizer=index)
            judged.append(Judged(read, total, findings.of(case)))
        else:
            judged.append(_best(samples, record.early, planned, lr, total))
    return RecordAudit(where, record, judged)


def _best(samples: Samples, early: Sequence[int], planned: Planned, lr: float | None, total: int | None) -> Judged:
    """Compare with the plan as the steps are usually read; as they may be read too where that alone fits."""
    usual = None
    for by in early:
        # A step that counts from 0 is no number of updates done; and one or two LRs would fit too easily.
        if usual is not None and (samples.updates[0] < by or len(samples.updates) < _ENOUGH):
            continue
        found = _compared(samples.earlier(by), planned, lr, total)
        if usual is None or not found.found:
            if usual is not None:
                found.read = (
                    "the LR of each step was read as that of the update before it: this fits, and the step's own does "
                    "not"
                    if by
                    else "the LR of each step was read as that of the update after it, as older "
                    "versions of transformers log it: this fits"
                )
            usual = found
        if not usual.found:
            break
    assert usual is not None
    return usual


def _compared(samples: Samples, planned: Planned, lr: float | None, total: int | None) -> Judged:
    bases = [lr] * len(samples.names) if lr is not None else _bases(samples, planned([1.0] * len(samples.names)))
    plan, audit = planned(bases), Audit()
    apart: dict[int, Apart] = {}
    for place, update in enumerate(samples.updates):
        used, wanted = [own[place] for own in samples.lrs], plan.lrs(update)
        before = audit.different
        audit.compare(update, used, wanted, samples.names)
        if audit.different > before and len(apart) < len(used):
            for group, name in enumerate(samples.names):
                if group not in apart and Audit().compare(update, [used[group]], [wanted[group]], [name]):
                    apart[group] = Apart(name, update, used[group], wanted[group])
    return Judged(samples, total, (), plan, audit, [apart[group] for group in sorted(apart)])


def _bases(samples: Samples, plan: Plan) -> list[float]:
    """The base LR of each group: that of the sample at which the plan's factor is largest."""
    place = max(range(len(samples.updates)), key=lambda at: plan.lrs(samples.updates[at])[0])
    factor = plan.lrs(samples.updates[place])[0]
    return [own[place] / factor if factor > 0 and own[place] > 0 else 1.0 for own in samples.lrs]


def _ordinal(count: int) -> str:
    tens, ones = divmod(count % 100, 10)
    return f"{count:,}{'th' if tens == 1 else {1: 'st', 2: 'nd', 3: 'rd'}.get(ones, 'th')}"
