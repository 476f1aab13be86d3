"""What every update of one optimizer shall use: for each group and each hyper-parameter a base and a curve.

Whatever shows, compares, saves or carries out an LR takes a :class:`Plan` and does not ask where it came from. The
standard library alone: who makes a plan (``schedules/``) and who writes it into an optimizer (``optimizer/``) stand on
higher floors, and are known here by what is asked of them (``Source``, ``Reaction``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar

from lr_recipes.checks import counted
from lr_recipes.plan.curve import Curve
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
        key: the hyper-parameter: ``"lr"`` or ``"momentum"``.
        base: what the group was built with; 1 where the curve is the value itself.
        curve: position -> factor.
    """

    group: int
    key: str
    base: float
    curve: Callable[[int], float]


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
        curve: factor of the LR at each position, and the phases; where each group has a curve, that of the first.
        lines: what each group uses, hyper-parameter by hyper-parameter.
        peak: the largest base LR at the start; an absolute floor is measured against it.
        reaction: how it reacts to a metric; ``None`` where it is a function of the position alone.
    """

    schedule: Source
    horizon: Horizon
    curve: Curve
    lines: tuple[Line, ...]
    peak: float
    reaction: Reaction[Any] | None = None

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
        return cls(schedule, horizon, curve, tuple(_lines_of([curve] * len(base_lrs), base_lrs)), peak, reaction)

    @classmethod
    def by_group(
        cls, schedule: Source, horizon: Horizon, curves: Sequence[Curve], base_lrs: Sequence[float], peak: float
    ) -> Plan:
        """Return the plan in which each group follows a curve of its own, from its own base LR."""
        return cls(schedule, horizon, curves[0], tuple(_lines_of(curves, base_lrs)), peak)

    def regrouped(self, base_lrs: Sequence[float], was: Sequence[int | None] = ()) -> Plan:
        """Return the plan for other groups, which follow the same curve from their own base LRs.

        Args:
            base_lrs: of the groups that there are now.
            was: which of the plan's groups each of them is, ``None`` for a new one; where each has a curve of its own.

        Raises:
            ValueError: each group has a curve of its own, and there is none for these.
        """
        # `peak` stays: a late group with a larger LR must not move the floor of those that are under way.
        if self.uniform:
            return replace(self, lines=tuple(_lines_of([self.curve] * len(base_lrs), base_lrs)))
        if was and None not in was:  # groups have left, and the others keep their curves
            mine = {index: group for group, index in enumerate(was)}
            lines = (line._replace(group=mine[line.group]) for line in self.lines if line.group in mine)
            return replace(self, lines=tuple(sorted(lines, key=lambda line: line.group)))
        # None of the curves is another group's. The schedule is asked, as it will be when the run is resumed: should it
        # have no curve for them, that is said now and not then.
        try:
            return self.schedule.plan(self.horizon, base_lrs, self.peak)
        except ValueError as error:
            raise ValueError(
                f"the plan has a curve for each of {len(self.base_lrs)} parameter groups, and the optimizer now has "
                f"{len(base_lrs)}: {error}. Give the optimizer all groups from the start, those that are trained later "
                "with requires_grad=False; or give the schedule one setting for all groups"
            ) from error

    # A cached_property writes into the object's __dict__, which a frozen dataclass does not prevent.

    @cached_property
    def base_lrs(self) -> list[float]:
        """The base LR of each group, which is its peak."""
        return [line.base for line in self._lrs]

    @cached_property
    def others(self) -> tuple[Line, ...]:
        """The lines of other hyper-parameters than the LR."""
        return tuple(line for line in self.lines if line.key != "lr")

    @cached_property
    def uniform(self) -> bool:
        """Whether all groups follow one curve, so that one factor says what an update uses."""
        return all(line.curve is self.curve.factor for line in self._lrs)

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

    @property
    def moves_momentum(self) -> bool:
        """Whether the plan moves the momentum too."""
        return any(line.key == "momentum" for line in self.others)

    def lrs(self, position: int) -> list[float]:
        """Return the LR of each group at the update at ``position``, without the cuts of a plan that reacts."""
        if self.uniform:
            factor = self.curve.factor(position)
            return [line.base * factor for line in self._lrs]
        return [line.base * line.curve(position) for line in self._lrs]

    def momentum(self, position: int) -> float | None:
        """Return the momentum of the update at ``position``, in the first group; ``None`` where it is left alone."""
        return next((line.base * line.curve(position) for line in self.others if line.key == "momentum"), None)

    def uses(self, position: int) -> tuple[Any, ...]:
        """Return what tells two plans for the same groups apart at an update: LR factors and momenta."""
        if self.uniform:
            return self.curve(position), self.momentum(position)
        factors = [line.curve(position) for line in self._lrs]
        momenta = [line.base * line.curve(position) for line in self.others]
        # A list of equals says what one of them says: so `[0.1, 0.1]` is not another plan than 0.1.
        return _one_of_equals(factors), _one_of_equals(momenta) if momenta else None

    def state(self) -> dict[str, Any]:
        """Return the plan as plain numbers, strings, lists and dicts, for checkpoints."""
        # What the curve is made from, and not the curve: numbers and words load with `weights_only=True`, and the curve
        # follows from them. The keys are a format: checkpoints of older versions have the same.
        return {
            "schedule": self.schedule.describe(),
            "base_lrs": [*self.base_lrs],
            "peak": float(self.peak),
            "horizon": self.horizon.describe(),
            "cycles_momentum": self.moves_momentum,
        }

    def __reduce__(self) -> tuple[Any, ...]:
        # Curves are functions, which cannot be pickled: a copy is made from what they were made from.
        return _made_anew, (self.schedule, self.horizon, self.base_lrs, self.peak)


def _made_anew(schedule: Source, horizon: Horizon, base_lrs: Sequence[float], peak: float) -> Plan:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns of was said when the original was made
        return schedule.plan(horizon, base_lrs, peak)


def _one_of_equals(values: Sequence[Any]) -> Any:
    """The value, where all are equal; else all."""
    return values[0] if all(value == values[0] for value in values) else tuple(values)


def _lines_of(curves: Sequence[Curve], base_lrs: Sequence[float]) -> Iterable[Line]:
    """Lines of groups that follow a curve each."""
    for group, (curve, base) in enumerate(zip(curves, base_lrs, strict=True)):
        yield Line(group, "lr", float(base), curve.factor)  # numpy's too: what is saved is plain
        if curve.momentum is not None:  # the curve says momenta, not shares of one
            yield Line(group, "momentum", 1.0, curve.momentum)
