"""Schedules whose course is drawn by hand: from one factor to another, also above 1. No torch, no state.

Where a schedule of ``catalogue.py`` knows its formula, the one who uses these says where it goes. In the formulas ``t``
is the position, ``W`` the warmup steps and ``T`` the total steps.
"""

from __future__ import annotations

import importlib
from bisect import bisect_right
from collections import abc
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lr_recipes import checks
from lr_recipes.plan.curve import Curve, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules.base import Length, Schedule, Span, ToFloor, as_milestones, as_tuple, rising_steps
from lr_recipes.schedules.from_torch import describe_call, not_from_a_checkpoint
from lr_recipes.schedules.ways import WAYS, check_way, way

if TYPE_CHECKING:
    Function = abc.Callable[[float], float] | str
else:  # OmegaConf, with which loggers write hyper-parameters, refuses such a union
    Function = abc.Callable[[Any], Any]

__all__ = ["Custom", "Piecewise", "Ramp"]

INTERPOLATIONS = (*WAYS, "step")
_SAMPLES = 8  # stretches of the progress at whose ends a function is asked what it returns, before it is used


@dataclass(frozen=True, kw_only=True, repr=False)
class Ramp(Schedule):
    """From one factor to another, down or up: with the ramp's progress q, start + (end - start) g(q).

    ``g`` is, by ``shape``, ``linear`` q, ``cosine`` (1 - cos(pi q)) / 2, ``1-sqrt`` sqrt(q) and ``square`` q^2;
    ``exponential`` is start^(1 - q) end^q as a whole. A warmup leads to ``start``.

    Args:
        end: factor at the end of the ramp, at least 0; above 1 it is more than the base LR.
        start: factor of the first update after the warmup, at least 0.
        shape: ``"linear"``, ``"cosine"``, ``"1-sqrt"``, ``"square"``, or ``"exponential"`` between factors above 0.
        length: how long it takes from the end of the warmup, a duration, with ``end`` from there on; ``None``: to the
            end of the run.

    Source: torch ``LinearLR``; optax ``linear_schedule``.

    Example:
        >>> curve = Ramp(end=10, shape="exponential").resolve(Horizon(total_steps=100))
        >>> curve(0), round(curve(50), 3), curve(100)
        (1.0, 3.162, 10.0)
    """

    end: float
    start: float = 1.0
    shape: str = "linear"  # type: ignore[assignment] # an argument's name here: what the method does is `_ramp_of`
    length: Length | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("end", 0)
        self.check_number("start", 0)
        self.check_one_of("shape", WAYS)
        check_way("shape", self.shape, self.start, self.end)
        if self.length is not None:
            self.check_length("length", minimum=1)

    def curve_of(
        self, horizon: Horizon, peak: float | None, whole: str, shape: abc.Callable[[Span], Shape] | None = None
    ) -> Curve:
        return super().curve_of(horizon, peak, whole, shape or self._ramp_of)

    def _ramp_of(self, span: Span) -> Shape:
        warmup, total, end = span.warmup, span.total, float(self.end)
        length = span.after_warmup("Ramp") if self.length is None else span.horizon.steps(self.length, "length")
        along = way(self.shape, self.start, end)

        def factor(t: int) -> float:
            # Update W uses `start`, as the updates of the warmup do; update W + length is the first with `end`.
            done = t - warmup
            return along(max(done, 0) / length) if done < length else end

        held = total is None or warmup + length < total
        phases = [("ramp", warmup), *([("constant", warmup + length)] if self.length is not None and held else [])]
        return Shape(factor, end if total is None else factor(total), phases, during_warmup=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Piecewise(Schedule):
    """Through points: at each milestone the factor that stands for it, and between two of them an interpolation.

    The first factor is used up to its milestone, and the last one from its milestone on.

    Args:
        milestones: durations, counted from the start of training, warmup included, in rising order; may begin at 0.
        factors: the factor at each milestone, at least 0; above 1 it is more than the base LR.
        interpolation: ``"linear"``, ``"cosine"``, ``"1-sqrt"``, ``"square"``, ``"exponential"`` between factors above
            0, or ``"step"``, which stays until the next milestone; a list has one for each pair of neighbours.

    Source: numpy ``interp``; optax ``piecewise_interpolate_schedule``.

    Example:
        >>> points = Piecewise(milestones=[0, "20%", "80%", "100%"], factors=[1, 0.5, 0.5, 0])
        >>> curve = points.resolve(Horizon(total_steps=100))
        >>> curve(10), curve(50), curve(90), curve(100)
        (0.75, 0.5, 0.25, 0.0)
    """

    milestones: abc.Sequence[Length]
    factors: abc.Sequence[float]
    interpolation: str | abc.Sequence[str] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", as_milestones(self.milestones, "[0, '50%', '100%']", minimum=0))
        object.__setattr__(self, "factors", as_tuple(self.factors, "factors", "[1, 0.5, 0]"))
        for factor in self.factors:
            checks.number("factors", factor, 0)
        if len(self.factors) != len(self.milestones):
            raise ValueError(
                f"{checks.counted(len(self.milestones), 'milestone')} and {checks.counted(len(self.factors), 'factor')}"
                ": there must be one factor for each milestone"
            )
        if not isinstance(self.interpolation, str):
            words = as_tuple(self.interpolation, "interpolation", "['cosine', 'linear']")
            object.__setattr__(self, "interpolation", words)
            if len(words) != len(self.factors) - 1:
                raise ValueError(
                    f"{checks.counted(len(words), 'interpolation')} and {checks.counted(len(self.factors), 'factor')}: "
                    "there must be one for each pair of neighbours, so one fewer than factors; or a single word for all"
                )
        for word, *ends in self._pieces():
            checks.one_of("interpolation", word, INTERPOLATIONS)
            check_way("interpolation", word, *ends)

    def _pieces(self) -> list[tuple[str, float, float]]:
        """How each stretch between two milestones is interpolated, and the factors at both ends."""
        given, count = self.interpolation, len(self.factors) - 1
        words = [given] * count if isinstance(given, str) else given
        return list(zip(words, self.factors, self.factors[1:], strict=False))

    def shape(self, span: Span) -> Shape:
        marks, first, last = (
            rising_steps(self.milestones, span.horizon),
            float(self.factors[0]),
            float(self.factors[-1]),
        )
        # A step is no way at all: it stays at `a`.
        ways = [way("linear", a, a) if word == "step" else way(word, a, b) for word, a, b in self._pieces()]

        def piece(k: int, t: int) -> float:
            if not 0 <= k < len(ways):
                return first if k < 0 else last
            return ways[k]((t - marks[k]) / (marks[k + 1] - marks[k]))

        def place(t: int) -> int:
            return bisect_right(marks, t) - 1  # from the right: the update at a milestone uses its factor

        # The end goes on with the piece of update T - 1: a step that falls on the end of the run is taken by no update.
        end = last if span.total is None else piece(place(span.total - 1), span.total)
        firsts = [0, *(mark for mark in marks[1:] if span.total is None or mark < span.total)]
        phases = [(f"piece {k}", first) for k, first in enumerate(firsts, start=1)]
        return Shape(lambda t: piece(place(t), t), end, phases, during_warmup=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Custom(ToFloor):
    """A function of the progress, of one's own: m + (1 - m) f(p).

    ``p`` goes from 0 at the end of the warmup, which leads to f(0), to 1 at the end of the run. A value above 1 is more
    than the base LR.

    Args:
        function: progress -> factor, at least 0; or its dotted path, ``"my_module.late"``. It must depend on nothing
            but the progress: it is asked in any order, and again after a resume.

    Raises:
        ValueError: there is no such function, or it returns no factor. A checkpoint holds its name and some of its
            values, so a resumed run is given the function again, and asks when it has changed.

    Source: torch ``LambdaLR``.

    Example:
        >>> curve = Custom(function=lambda p: 1 - p**3, warmup=10).resolve(Horizon(total_steps=110))
        >>> curve(0), curve(10), curve(60), curve(110)
        (0.1, 1.0, 0.875, 0.0)
    """

    function: Function

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.function, str):
            object.__setattr__(self, "function", _found(self.function))
        if not callable(self.function):
            raise ValueError(
                f"function={checks.brief(self.function)}: must make a factor of the progress, as lambda p: 1 - p does; "
                "in YAML its dotted path, as in my_module.late"
            )
        self._samples()

    def __repr__(self) -> str:
        return super().__repr__().replace(repr(self.function), repr(self._name))

    @property
    def _name(self) -> str:
        call = describe_call(self.function)
        given = [*map(str, call["args"]), *(f"{name}={value}" for name, value in call["kwargs"].items())]
        return f"{call['calls']}({', '.join(given)})" if given else str(call["calls"])

    # In a pickle the function stands by its reference, which `weights_only=True` refuses; a path would be imported.

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("function"), str):
            raise not_from_a_checkpoint(state["function"])
        super().__setstate__(state)

    def describe(self) -> dict[str, Any]:
        # Its values too, for a function may change and keep its name; to six digits, for processors round otherwise.
        values = ", ".join(f"{value:.6g}" for value in self._samples())
        return {**super().describe(), "function": f"{self._name}: {values}"}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        raise not_from_a_checkpoint(str(fields["function"]).partition(":")[0])

    def _samples(self) -> list[float]:
        return [self._at(k / _SAMPLES) for k in range(_SAMPLES + 1)]

    def _at(self, progress: float) -> float:
        function: Any = self.function
        try:
            value = checks.plain(function(progress))
        except Exception as error:
            value = error
        if not checks.is_finite(value) or value < 0:
            raise ValueError(
                f"function={self._name!r} gives {checks.brief(value)} at the progress {progress:g}: it must return a "
                "factor, a finite number of at least 0"
            )
        return float(value)

    def shape(self, span: Span) -> Shape:
        warmup, floor, length, at = span.warmup, span.floor, span.after_warmup("Custom"), self._at

        def factor(t: int) -> float:
            return floor + (1 - floor) * at(max(t - warmup, 0) / length)

        return Shape(factor, factor(warmup + length), [("custom", warmup)], during_warmup=True)


def _found(path: str) -> Any:
    """The function at a dotted path."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # of the module's own code too
        raise ValueError(
            f"function={checks.brief(path)} is not found ({error}): write its dotted path, as in 'math.cos'; a module "
            "of your own is found where Python looks for it, as with PYTHONPATH=."
        ) from error
