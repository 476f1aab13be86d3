"""What the schedulers of a run will do, played ahead: a plan for each optimizer, and what is wrong with it. No torch.

Who plays it is ``callbacks/foretelling.py``; here it is put together, asked and shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from lr_recipes.checks import counted
from lr_recipes.plan.curve import Curve, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.series import Series, Ticked
from lr_recipes.report import findings
from lr_recipes.report.findings import Case, Finding
from lr_recipes.report.preview import Preview
from lr_recipes.report.shown import Shown, in_html
from lr_recipes.report.words import in_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SAME_SHARE = 1e-9
_LEGS = 40  # legs that are phases of a plan; of more the rest is one


@dataclass(frozen=True)
class _Played:
    """Stands where a plan has its schedule: what was played, as it is called."""

    kinds: str

    def describe(self) -> dict[str, Any]:
        return {"schedule": "forecast", "of": self.kinds}

    def read(self, description: dict[str, Any]) -> _Played:
        return self

    def plan(self, horizon: Horizon, base_lrs: Sequence[float], peak: float | None = None) -> Plan:
        raise ValueError("a forecast is of the groups that there were when it was made: ask for a new one")

    def __repr__(self) -> str:
        return self.kinds


@dataclass
class Outlook:
    """What is foretold of one optimizer.

    Attributes:
        name: of the optimizer.
        case: the LRs, and what is known of its schedulers.
        horizon: the run.
        known: the first update that nothing certain is known of.
        bases: LR of each group that its factors are of.
        factor: what the LRs of the schedulers are multiplied by at an update, as by a warmup.
        play_on: plays on, up to an update; for runs that are too long to be played at once.
        now: what the groups hold before the first update.
    """

    name: str
    case: Case
    horizon: Horizon
    known: int
    bases: Sequence[float]
    now: Sequence[float]
    factor: Callable[[int], float] | None = None
    play_on: Callable[[int], None] | None = None
    total: int | None = None

    def lrs(self, update: int) -> list[float]:
        """Return the LR of every group at an update.

        Raises:
            IndexError: it is before the first one that was played, or past the end of the run.
        """
        series = self.case.series
        if not len(series) and self.total is None:
            return list(self.now)
        if update >= series.end and self.play_on is not None:
            self.play_on(update)
        lrs = series.at(update)
        return lrs if self.factor is None else [lr * self.factor(update) for lr in lrs]

    def known_lrs(self, update: int) -> list[float] | None:
        """Return the LR of every group at an update where it is certain, else ``None``."""
        if update >= self.known and self.play_on is not None:
            self.play_on(update)
        return self.lrs(update) if self.case.series.first <= update < self.known else None

    @property
    def is_known(self) -> bool:
        """Whether anything is certain."""
        return self.known > self.case.series.first

    @cached_property
    def seen(self) -> Series:
        """What the groups will use: the series of the schedulers, with the factor."""
        series, factor = self.case.series, self.factor
        if factor is None:
            return series
        seen = Series(series.names, series.first)
        for first, after in pairwise([*series.firsts, series.end]):
            lrs = series.at(first)
            for update in range(first, after):
                if factor(update) == factor(after - 1) == 1.0:  # the warmup is over
                    seen.add(lrs, after - update)
                    break
                seen.add([lr * factor(update) for lr in lrs])
        return seen

    @cached_property
    def plan(self) -> Plan:
        """The plan that is carried out."""
        series, total = self.seen, self.total
        places = range(len(series.firsts))
        shares = [self._share(group, series.lrs[group]) for group in range(len(series.names))]
        alike = all(abs(own[at] - shares[0][at]) <= _SAME_SHARE for own in shares[1:] for at in places)
        curves = [self._curve(group, total) for group in (range(1) if alike else range(len(series.names)))]
        played, peak = _Played(self.kinds), max(self.bases, default=0.0)
        horizon = replace(self.horizon, total_steps=total)
        if alike:
            return Plan.of(played, horizon, curves[0], self.bases, peak)
        return Plan.by_group(played, horizon, curves, self.bases, peak)

    def _share(self, group: int, lrs: Sequence[float]) -> list[float]:
        base = self.bases[group] or 1.0
        return [lr / base for lr in lrs]

    def _curve(self, group: int, total: int | None) -> Curve:
        series, base = self.seen, self.bases[group] or 1.0

        def factor(update: int) -> float:
            played = self.case.series  # it grows, where the run is played on
            if not len(played):
                return self.now[group] / base
            return self.lrs(min(max(update, played.first), played.end - 1))[group] / base

        legs = series.legs(group, self.case.spacing)[:_LEGS] if len(series) else []
        phases = [(leg.name, leg.first) for leg in legs] or [("forecast", 0)]
        later = [("not played", series.end)] if len(series) and total is not None and series.end < total else []
        end = factor(series.end - 1)
        return Curve(Shape(factor, end, [*phases, *later]), lambda update: 1.0, 0, total)

    @property
    def kinds(self) -> str:
        """The schedulers in words, with their rhythm."""
        return " and ".join(self.made_by)

    @property
    def made_by(self) -> list[str]:
        """Each scheduler in words, with its rhythm."""
        return [*map(_ticked, self.case.schedulers)] or ["no scheduler"]

    def in_words(self, notes: Sequence[str] = ()) -> str:
        """Return the block that a run prints of it."""
        if not len(self.case.series):
            return "\n  ".join([f"Learning-rate forecast for {self.name}: {self.kinds}", *notes])
        return in_words(self.plan, self.name, self.case.series.names, notes, "forecast", self.made_by)

    def preview(self, notes: Sequence[str]) -> Preview:
        """Return the sight of it."""
        names = self.case.series.names
        return Preview(self.plan, names, "step", self.name, notes=notes, what="forecast", made_by=self.made_by)


def _ticked(one: Ticked) -> str:
    if not one.interval:
        return one.kind
    units = {"step": ("an update", "batches"), "epoch": ("an epoch", "epochs")}
    each, several = units[one.interval]
    rhythm = each if one.frequency == 1 else f"every {one.frequency} {several}"
    return f"{one.kind}: {counted(len(one.ticks), 'tick')}, one {rhythm}"


@dataclass(frozen=True, repr=False, eq=False)
class Forecast(Shown):
    """What the schedulers of a run will do, optimizer by optimizer; prints as the block that a run prints.

    Attributes:
        outlooks: what is foretold of each optimizer.
        all_ticks: after how many updates each tick of each scheduler comes.
        findings: what is wrong.
        caveats: what could not be simulated, and why, in sentences.
    """

    outlooks: Sequence[Outlook]
    all_ticks: Sequence[Sequence[int]] = ()
    caveats: Sequence[str] = ()
    findings: list[Finding] = field(default_factory=list)

    @classmethod
    def of(cls, outlooks: Sequence[Outlook], ticks: Sequence[Sequence[int]], caveats: Sequence[str]) -> Forecast:
        """Return the forecast of a run, judged."""
        found = [finding for outlook in outlooks for finding in findings.of(outlook.case)]
        return cls(outlooks, ticks, caveats, found)

    def total_steps(self, optimizer: int = 0) -> int | None:
        """Return the updates that the run will do; ``None`` if that is not known."""
        return self.outlooks[optimizer].total

    def known_steps(self, optimizer: int = 0) -> int:
        """Return of how many first updates the LR is certain."""
        return self.outlooks[optimizer].known

    def lr(self, n: int, optimizer: int = 0) -> list[float]:
        """Return the LR of every group at update ``n``; for a plateau that of a metric that always improves.

        Raises:
            IndexError: the run does no such update, or had done it before.
        """
        return self.outlooks[optimizer].lrs(n)

    def ticks(self, scheduler: int = 0) -> list[int]:
        """Return after how many updates each tick of a scheduler comes."""
        return list(self.all_ticks[scheduler])

    def in_words(self, with_findings: bool = True) -> str:
        """Return the block of every optimizer, and the caveats."""
        blocks = []
        for number, outlook in enumerate(self.outlooks):
            blocks.append(outlook.in_words(self._found(number) if with_findings else []))
        return "\n".join([*blocks, *(f"  {caveat}" for caveat in self._caveats)])

    def __repr__(self) -> str:
        return self.in_words()

    @property
    def table(self) -> str:
        """The same as text."""
        return self.in_words()

    def previews(self) -> list[Preview]:
        """Return the sight of each optimizer whose LRs are known."""
        return [
            outlook.preview([*self._found(number), *self._caveats])
            for number, outlook in enumerate(self.outlooks)
            if len(outlook.case.series)
        ]

    def _found(self, number: int) -> list[str]:
        return [f"{one.name}: {one.message}" for one in self.findings if one.optimizer == number]

    @property
    def _caveats(self) -> list[str]:
        return [f"Not foretold: {caveat}" for caveat in self.caveats]

    def chart(self, plain: bool | None = None) -> str:
        """Return the LR over the updates as curves of characters."""
        return "\n\n".join(one.chart(plain) for one in self.previews())

    def plot(self) -> Figure:
        """Return a matplotlib figure: the LR of each group of the first optimizer that is known.

        Raises:
            ValueError: nothing is known.
        """
        for one in self.previews():
            return one.plot()
        why = "; ".join(self.caveats)
        raise ValueError(f"no LR of this run is known, so there is no curve to draw: print the forecast ({why})")

    def _repr_html_(self) -> str:
        return super()._repr_html_() if self.previews() else in_html(self.table, lambda: None, "")
