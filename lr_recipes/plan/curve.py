"""A function of the position: what a schedule is once its lengths are whole steps. The standard library alone.

Positions count from 0. In a run of ``T`` updates with a warmup of ``W``, update ``W - 1`` is the last of the warmup,
update ``W`` the first after it, update ``T - 1`` the last of the plan, and update ``T`` the first past it.

Here the pieces are joined. What a piece looks like is the schedule's business (``schedules/``), and what its values are
multiplied by is the plan's (``plan.py``): nothing here knows an LR.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from lr_recipes.checks import counted
from lr_recipes.plan.names import clean
from lr_recipes.plan.sight import Sight

Factor = Callable[[int], float]

FOREVER = 2**62  # longer than any run
AS_BUILT = "as built"  # the phase of a group or a number that no schedule is given for
_PHASES_NAMED = 4  # at most, where a curve is a line of text


class Phase(NamedTuple):
    """A named stretch of updates, from ``first`` to ``last`` inclusive (``None``: without end)."""

    name: str
    first: int
    last: int | None


class Shape(NamedTuple):
    """What a schedule does apart from its warmup.

    Args:
        factor: position -> factor; asked for positions below ``T`` only.
        end: the factor from position ``T`` on. It is the limit from the left, so that a run which goes on past its plan
            neither climbs again nor drops once more.
        phases: name and first position of each stretch, in order.
        during_warmup: whether ``factor`` also counts for ``t < W``, as step sizes and milestones do, which count from
            the start of training; else it is 1 there.
        beside: other hyper-parameters that move in step with the LR, by name, each as position -> its value.
    """

    factor: Factor
    end: float
    phases: Sequence[tuple[str, int]]
    during_warmup: bool = False
    beside: Mapping[str, Factor] = MappingProxyType({})


class Curve(Sight):
    """A resolved schedule: ``curve(n)`` is the factor of update ``n``, for any ``n >= 0`` and in any order.

    Attributes:
        factor: the same function without the check of ``n``, for the update path.
        beside: other hyper-parameters that move in step with the LR, by name, each as a curve of its values.
        warmup: updates of the warmup.
        total_steps: updates in the plan; ``None`` when it has no end.
        phases: the named stretches of the plan, in order.
        end: the factor from ``total_steps`` on.
    """

    __slots__ = ("_firsts", "beside", "end", "factor", "phases", "total_steps", "warmup")

    def __init__(self, shape: Shape, ramp: Factor, warmup: int, total_steps: int | None) -> None:
        self.factor = _join(shape, ramp, warmup, total_steps)
        self.beside = {key: _curve_of_values(value, shape, total_steps) for key, value in shape.beside.items()}
        self.warmup = warmup
        self.total_steps = total_steps
        self.end = shape.end
        self.phases = _phases([*([("warmup", 0)] if warmup else []), *shape.phases], warmup, total_steps)
        self._firsts = [phase.first for phase in self.phases]  # sorted: `phase` looks a position up in it

    def __call__(self, position: int) -> float:
        if position < 0:
            raise ValueError(f"position={position}: updates are counted from 0, so it must be at least 0")
        return self.factor(position)

    def __repr__(self) -> str:
        length = "no known end" if self.total_steps is None else counted(self.total_steps, "update")
        shown = ", ".join(f"{one.name} {_stretch_of(one)}" for one in self.phases[:_PHASES_NAMED])
        more = len(self.phases) - _PHASES_NAMED
        return f"<Curve of {length}: {shown}{f' and {more:,} more phases' if more > 0 else ''}>"

    def phase(self, position: int) -> str:
        """Return the name of the phase that holds the update at ``position``; ``"end"`` past the plan."""
        # Update T - 1 is the last of the last phase, update T the first that has none.
        if self.total_steps is not None and position >= self.total_steps:
            return "end"
        # From the right: the first update of a phase is its own, and not the last of the phase before it.
        return self.phases[bisect_right(self._firsts, position) - 1].name


def _curve_of_values(value: Factor, shape: Shape, total: int | None) -> Curve:
    """What moves beside the LR: no warmup multiplies it, and past the plan it stays as the last update had it."""
    end = 0.0 if total is None else value(total - 1)
    return Curve(Shape(value, end, shape.phases), lambda t: 1.0, 0, total)


def _stretch_of(phase: Phase) -> str:
    return f"from {phase.first:,} on" if phase.last is None else f"{phase.first:,} to {phase.last:,}"


def _join(shape: Shape, ramp: Factor, warmup: int, total: int | None) -> Factor:
    """Warmup, shape and end as one function; a branch is there only if the curve has it, since this runs per update."""
    after, end = shape.factor, shape.end
    if warmup and shape.during_warmup:
        # A cut at update 30 stays at update 30, however long the warmup is: so both hold during the warmup.
        before: Factor = lambda t: ramp(t) * after(t)  # noqa: E731 - a def could not be one of two
    else:
        before = ramp
    # Update `warmup - 1` is the last that uses `before`, update `warmup` the first that uses `after` alone; update
    # `total - 1` is the last of the plan, update `total` the first that uses `end`.
    if total is None:
        return (lambda t: after(t) if t >= warmup else before(t)) if warmup else after
    if not warmup:
        return lambda t: after(t) if t < total else end
    return lambda t: (after(t) if t >= warmup else before(t)) if t < total else end


def _phases(starts: Sequence[tuple[str, int]], warmup: int, total: int | None) -> list[Phase]:
    """Give each start the position before the next one as its end; what the warmup or the end covers is left out."""
    # The first phase of a staircase begins at update 0, but is shown from the warmup's end on.
    starts = [(name, first if name == "warmup" else max(first, warmup)) for name, first in starts]
    nexts = [*(first for _, first in starts[1:]), FOREVER if total is None else total]
    return [
        Phase(clean(name), first, None if after == FOREVER else after - 1)
        for (name, first), after in zip(starts, nexts, strict=True)
        if first < after  # a phase without an update: the warmup or a later phase covers it, or the run ends before it
    ]
