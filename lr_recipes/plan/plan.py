"""What every update of one optimizer shall use: for each group and each hyper-parameter a base and a curve.

Whatever shows, compares, saves or carries out an LR takes a :class:`Plan` and does not ask where it came from. The
standard library alone: who makes a plan (``schedules/``) and who writes it into an optimizer (``optimizer/``) stand on
higher floors, and are known here by what is asked of them (``Source``, ``Reaction``).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

from lr_recipes.checks import counted
from lr_recipes.plan.built import Built
from lr_recipes.plan.curve import AS_BUILT, Curve
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.sight import Sight
from lr_recipes.plan.state import Form

# How often an LR is refreshed: at every update, or at an epoch's first one, to be held until the next epoch.
INTERVALS = ("step", "epoch")

State = TypeVar("State")


class Line(NamedTuple):
    """One hyper-parameter of one group: update ``n`` uses ``base x curve(n)``.

    Args:
        group: index of the parameter group.
        key: the hyper-parameter: ``"lr"``, ``"momentum"`` (SGD's, or Adam's beta1), ``"weight_decay"``, ``"betas[1]"``,
            or any other number that the group holds.
        base: what the group was built with; 1 where the curve is the value itself.
        curve: position -> factor.
        peak: what an absolute floor is measured against.
    """

    group: int
    key: str
    base: float
    curve: Curve
    peak: float

    @property
    def is_scheduled(self) -> bool:
        """Whether a schedule is given for it; else it stays as built."""
        return self.curve.phases[0].name != AS_BUILT


class Source(Protocol):
    """What a plan was made from, as far as a plan needs it: a schedule."""

    def describe(self) -> dict[str, Any]:
        """Return it as plain values."""

    def read(self, description: dict[str, Any]) -> Source:
        """Build another one from what its ``describe()`` returned."""

    def plan(self, horizon: Horizon, base_lrs: Sequence[float], peak: float | None = None) -> Plan:
        """Make a plan."""


class Reaction(Protocol[State]):
    """How a plan reacts to a metric: what it has seen is a value of its own kind, and cuts multiply the curve."""

    @property
    def monitor(self) -> str:
        """Name of the metric."""

    def seen(self, saved: dict[str, Any] | None = None) -> State:
        """Return what was seen: nothing yet, or what was saved."""

    @property
    def form(self) -> Form:
        """What must be saved of what was seen."""

    def can_have_seen(self, state: State) -> bool:
        """Whether there are values of the metric that lead to such a state."""

    def observe(self, state: State, value: float) -> State:
        """Return the state after one fresh value of the metric."""

    def scale(self, state: State, peak: float | None = None) -> float:
        """Return what the cuts so far multiply the curve by."""

    def lowest(self, peak: float | None = None) -> float:
        """Return the factor below which no cut goes."""


@dataclass(frozen=True, eq=False, repr=False)  # curves are functions, which have no useful equality: see `resume.py`
class Plan(Sight):
    """A schedule on a run and on an optimizer's groups.

    Attributes:
        schedule: what it was made from.
        horizon: the run that it is for.
        curve: factor of the LR at each position, and the phases; where groups have other curves, that of the first.
        lines: what each group uses, hyper-parameter by hyper-parameter.
        built: what the groups were built with.
        peak: the largest base LR at the start; an absolute floor is measured against it.
        reaction: how it reacts to a metric; ``None`` where it is a function of the position alone.
        by_name: whether the schedule says by name what each group follows, even where that is one curve by now.
    """

    schedule: Source
    horizon: Horizon
    curve: Curve
    lines: tuple[Line, ...]
    built: Built
    peak: float
    reaction: Reaction[Any] | None = None
    by_name: bool = False

    @classmethod
    def of(
        cls,
        schedule: Source,
        horizon: Horizon,
        curve: Curve,
        base_lrs: Sequence[float],
        peak: float,
        reaction: Reaction[Any] | None = None,
    ) -> Plan:
        """Return the plan in which all groups follow one curve, each from its own base LR."""
        built = Built.of(base_lrs)
        return cls(schedule, horizon, curve, _lines_of([curve] * len(built), built, peak), built, peak, reaction)

    @classmethod
    def by_group(
        cls, schedule: Source, horizon: Horizon, curves: Sequence[Curve], base_lrs: Sequence[float], peak: float
    ) -> Plan:
        """Return the plan in which each group follows a curve of its own, from its own base LR."""
        built = Built.of(base_lrs)
        return cls(schedule, horizon, curves[0], _lines_of(curves, built, peak), built, peak)

    @classmethod
    def merged(
        cls, schedule: Source, horizon: Horizon, built: Built, parts: Sequence[tuple[Plan, Sequence[int]]]
    ) -> Plan:
        """Return the plan of several plans, each of which is for the groups whose indices are given with it."""
        lines = _in_order(line._replace(group=groups[line.group]) for plan, groups in parts for line in plan.lines)
        first = next(plan for plan, groups in parts if 0 in groups)
        return cls(schedule, horizon, first.curve, lines, built, max(plan.peak for plan, _ in parts), by_name=True)

    def with_lines(self, schedule: Source, lines: Iterable[Line]) -> Plan:
        """Return the plan with further lines, made from a schedule that says them too."""
        return replace(self, schedule=schedule, lines=_in_order([*self.lines, *lines]))

    def regrouped(self, base_lrs: Sequence[float], was: Sequence[int | None] = ()) -> Plan:
        """Return the plan for other groups, which follow the same curve from their own base LRs.

        Args:
            base_lrs: of the groups that there are now, and what else is known of them.
            was: which of the plan's groups each of them is, ``None`` for a new one; where groups follow other curves.

        Raises:
            ValueError: each group has a curve of its own, and there is none for these.
        """
        # What floors are measured against stays: a late group with a larger LR must not move the floor of those that
        # are under way.
        built = Built.of(base_lrs).measured({})
        if self.is_one_curve:
            return replace(self, lines=_lines_of([self.curve] * len(built), built, self.peak), built=built)
        if was and None not in was:  # groups have left, and the others keep their curves
            mine = {index: group for group, index in enumerate(was)}
            lines = _in_order(line._replace(group=mine[line.group]) for line in self.lines if line.group in mine)
            first = next(line.curve for line in lines if line.key == "lr")
            return replace(self, curve=first, lines=lines, built=built.measured(self._peaks_of(was)))
        # None of the curves is another group's. The schedule is asked, as it will be when the run is resumed: should it
        # have no curve for them, that is said now and not then.
        known = was or [index if index < len(self.built) else None for index in range(len(built))]
        try:
            return self.schedule.plan(self.horizon, built.measured(self._peaks_of(known)), self.peak)
        except ValueError as error:
            raise ValueError(
                f"the plan has a curve for each of {len(self.base_lrs)} parameter groups, and the optimizer now has "
                f"{len(base_lrs)}: {error}. Give the optimizer all groups from the start, those that are trained later "
                "with requires_grad=False; or give the schedule one setting for all groups"
            ) from error

    def over(self, horizon: Horizon) -> Plan:
        """Return the plan of the same schedule on the same groups over another run, its floors where they were."""
        return self.schedule.plan(horizon, self._measured, self.peak)

    @property
    def _measured(self) -> Built:
        """What the groups were built with, floors and all."""
        return self.built if self.is_one_curve else self.built.measured(self._peaks_of(range(len(self.built))))

    def _peaks_of(self, was: Sequence[int | None]) -> dict[str, list[float | None]]:
        """What floors of each group are measured against, of groups that were some of this plan's."""
        peaks: dict[str, list[float | None]] = {}
        for key in {line.key: None for line in self.lines}:
            known = {line.group: line.peak for line in self.lines if line.key == key}
            peaks[key] = [None if index is None else known.get(index) for index in was]
        return peaks

    # A cached_property writes into the object's __dict__, which a frozen dataclass does not prevent.

    @cached_property
    def base_lrs(self) -> Built:
        """The base LR of each group, which is its peak."""
        return self.built

    @cached_property
    def others(self) -> tuple[Line, ...]:
        """The lines of other hyper-parameters than the LR."""
        return tuple(line for line in self.lines if line.key != "lr")

    @cached_property
    def moves(self) -> tuple[str, ...]:
        """The hyper-parameters that the plan moves beside the LR, by name."""
        return tuple(dict.fromkeys(line.key for line in self.others))

    @cached_property
    def uniform(self) -> bool:
        """Whether all groups follow one curve, so that one factor says what LR an update uses."""
        return all(line.curve is self.curve for line in self._lrs)

    @cached_property
    def is_one_curve(self) -> bool:
        """Whether the curve says all that there is to say, of any group."""
        beside = all(line.curve is self.curve.beside.get(line.key) for line in self.others)
        return self.uniform and beside and not self.by_name

    @cached_property
    def curves(self) -> dict[Curve, list[int]]:
        """The curves of the LR, and which groups follow each."""
        found: dict[Curve, list[int]] = {}
        for line in self._lrs:
            found.setdefault(line.curve, []).append(line.group)
        return found

    @cached_property
    def _lrs(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.key == "lr")

    @property
    def total_steps(self) -> int | None:
        """Updates in the plan; ``None`` when it has no end."""
        return self.horizon.total_steps

    def __repr__(self) -> str:
        length = "no known end" if self.total_steps is None else counted(self.total_steps, "update")
        groups = counted(len(self.base_lrs), "group")
        return f"<Plan of {self.schedule!r}: {length}, {groups}, peak LR {self.peak:g}>"

    @property
    def end_factor(self) -> float:
        """The factor that the plan ends at; of one that reacts, the one below which it never cuts."""
        return self.curve.end if self.reaction is None else self.reaction.lowest(self.peak)

    def lrs(self, position: int) -> list[float]:
        """Return the LR of each group at the update at ``position``, without the cuts of a plan that reacts."""
        if self.uniform:
            factor = self.curve.factor(position)
            return [line.base * factor for line in self._lrs]
        factors = {curve: curve.factor(position) for curve in self.curves}
        return [line.base * factors[line.curve] for line in self._lrs]

    def values(self, key: str, position: int) -> list[float | None]:
        """Return a hyper-parameter of each group at the update at ``position``; ``None`` where it is left alone."""
        lines = [line for line in self.lines if line.key == key]
        factors = {curve: curve.factor(position) for curve in {line.curve for line in lines}}
        values: list[float | None] = [None] * len(self.built)
        for line in lines:
            values[line.group] = line.base * factors[line.curve]
        return values

    def uses(self, position: int) -> tuple[Any, ...]:
        """Return what tells two plans for the same groups apart at an update: LR factors, and what moves beside."""
        factors = [self.curve(position)] if self.uniform else [line.curve(position) for line in self._lrs]
        # A list of equals says what one of them says: so `[0.1, 0.1]` is not another plan than 0.1.
        others = ((key, _one_of_equals(self.values(key, position))) for key in sorted(self.moves))
        return _one_of_equals(factors), *others

    def state(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings, lists and dicts, for checkpoints."""
        # What the curve is made from, and not the curve: numbers and words load with `weights_only=True`, and the curve
        # follows from them. The keys are a format: checkpoints of older versions have the same.
        state = {
            "schedule": self.schedule.describe(),
            "base_lrs": [*self.base_lrs],
            "peak": float(self.peak),
            "horizon": self.horizon.describe(),
            "cycles_momentum": "momentum" in self.moves,
        }
        if self.is_one_curve:
            return state
        return {**state, "built": self._measured.describe(self.moves)}

    def __reduce__(self) -> tuple[Any, ...]:
        # Curves are functions, which cannot be pickled: a copy is made from what they were made from.
        return _made_anew, (self.schedule, self.horizon, self._measured, self.peak)


def _made_anew(schedule: Source, horizon: Horizon, base_lrs: Sequence[float], peak: float) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of was said when the original was made
        return schedule.plan(horizon, base_lrs, peak)


def _one_of_equals(values: Sequence[Any]) -> Any:
    """The value, where all are equal; else all."""
    return values[0] if all(value == values[0] for value in values) else tuple(values)


def _in_order(lines: Iterable[Line]) -> tuple[Line, ...]:
    return tuple(sorted(lines, key=lambda line: (line.group, line.key)))


def _lines_of(curves: Sequence[Curve], built: Built, peak: float) -> tuple[Line, ...]:
    """Lines of groups that follow a curve each."""
    lines = []
    for group, (curve, base) in enumerate(zip(curves, built, strict=True)):
        lines.append(Line(group, "lr", base, curve, peak))
        # Such a curve says the values themselves, not shares of one.
        lines += (Line(group, key, 1.0, values, 1.0) for key, values in curve.beside.items())
    return tuple(lines)
