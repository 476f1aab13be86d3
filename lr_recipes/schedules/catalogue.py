"""The schedules, to be read from top to bottom: pure functions from a position to a factor. No torch, no state.

In the formulas ``t`` is the position, ``W`` the warmup steps, ``T`` the total steps, ``m`` the floor as a ratio of the
peak, and ``p = (t - W) / (T - W)`` the progress of a decay, clipped to [0, 1].

To add a schedule: write one dataclass here whose ``shape`` returns its ``Shape`` and put its name into ``__all__``, its
knobs into ``conf/schedule/<name>.yaml``, one row into ``named.py`` and one into the table of
``tests/schedules/test_catalogue.py``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lr_recipes import checks
from lr_recipes.plan.curve import Factor, Shape
from lr_recipes.plan.horizon import Duration, Horizon, Marks
from lr_recipes.schedules.base import Length, Schedule, Span, ToFloor, as_tuple, from_description, plain_length

__all__ = [
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "Fixed",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Sequence",
    "Step",
    "WarmupStableDecay",
]

_LISTED = 10_000  # cycles that are phases of their own; more are one phase, for nobody reads so many names
DECAY_TYPES = ("linear", "cosine", "1-sqrt", "exponential", "square")


@dataclass(frozen=True, kw_only=True, repr=False)
class Fixed(Schedule):
    """The same LR throughout (after the warmup, if there is one): factor 1.

    Example:
        >>> Fixed(warmup=4).resolve(Horizon())(1)
        0.5
    """

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: 1.0, 1.0, [("constant", span.warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Step(Schedule):
    """A cut by the same factor after every stretch of the same length: gamma^floor(t / step_size).

    Args:
        step_size: a duration, counted from the start of training, warmup included. The update at position
            ``step_size`` is the first with the lower LR.
        gamma: factor of each cut, in (0, 1].

    Source: torch ``StepLR``; He et al. 2016, https://arxiv.org/abs/1512.03385.

    Example:
        >>> curve = Step(step_size="30 epochs").resolve(Horizon(total_steps=900, steps_per_epoch=10))
        >>> curve(299), curve(300)
        (1.0, 0.1)
    """

    step_size: Length
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("step_size", minimum=1)
        self.check_number("gamma", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        # Update `size - 1` is the last at the peak, update `size` the first with one cut.
        gamma, cuts = self.gamma, span.horizon.every(self.step_size, "step_size")
        if isinstance(cuts, Marks):  # stretches of different lengths, such as half epochs of 13 updates
            around = cuts.around
            return _stepwise(lambda t: gamma ** around(t)[0], span, "step")
        size = cuts.step
        return _stepwise(lambda t: gamma ** (t // size), span, "step")


@dataclass(frozen=True, kw_only=True, repr=False)
class MultiStep(Schedule):
    """A cut at each milestone: gamma^(number of milestones <= t).

    Args:
        milestones: durations, counted from the start of training, warmup included, in rising order.
        gamma: factor of each cut, in (0, 1].

    Source: torch ``MultiStepLR``.

    Example:
        >>> curve = MultiStep(milestones=["50%", "75%"]).resolve(Horizon(total_steps=100))
        >>> [round(curve(n), 3) for n in (49, 50, 75)]
        [1.0, 0.1, 0.01]
    """

    milestones: abc.Sequence[Length]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", _milestones(self.milestones, "['50%', '75%']"))
        self.check_number("gamma", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        gamma, cuts = self.gamma, _rising(self.milestones, span.horizon)
        # From the right: the update at a cut is the first with the lower LR.
        return _stepwise(lambda t: gamma ** bisect_right(cuts, t), span, "multistep")


@dataclass(frozen=True, kw_only=True, repr=False)
class Exponential(Schedule):
    """A smooth cut by ``gamma`` over each stretch ``every``: gamma^(t / every).

    Args:
        gamma: factor over one stretch, in (0, 1].
        every: length of the stretch, a duration.

    Source: torch ``ExponentialLR``, here at every update instead of once per epoch.

    Example:
        >>> Exponential(gamma=0.25, every=100).resolve(Horizon(total_steps=200))(50)
        0.5
    """

    gamma: float
    every: Length = "1 epoch"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("gamma", 0, 1, above=True)
        self.check_length("every", minimum=1)

    def shape(self, span: Span) -> Shape:
        gamma, passed = self.gamma, _stretches(span.horizon.every(self.every, "every"))
        # Smooth, so the end is the value at T: update T - 1 uses a little more. (A run without an end never asks for
        # it.)
        end = 0.0 if span.total is None else gamma ** passed(span.total)
        return Shape(lambda t: gamma ** passed(t), end, [("exponential", 0)], during_warmup=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Cosine(ToFloor):
    """Half a cosine from the peak to the floor: m + (1 - m) (1 + cos(pi p)) / 2.

    Args: ``warmup``, ``warmup_type``, ``warmup_start_factor``, and one of ``min_lr_ratio`` and ``min_lr``.

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; torch ``CosineAnnealingLR``.

    Example:
        >>> Cosine(min_lr_ratio=0.5).resolve(Horizon(total_steps=100))(50)
        0.75
    """

    def shape(self, span: Span) -> Shape:
        warmup, floor, pi, cos = span.warmup, span.floor, math.pi, math.cos  # local names: this runs at every update
        length, half = span.after_warmup("Cosine"), (1 - floor) / 2
        # Update W uses the peak, update T - 1 the last value above the floor.
        return Shape(lambda t: floor + half * (1 + cos(pi * (t - warmup) / length)), floor, [("cosine", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Polynomial(ToFloor):
    """A polynomial from the peak to the floor: m + (1 - m) (1 - p)^power.

    Args:
        power: exponent, above 0; 1 is a straight line.

    Source: torch ``PolynomialLR``; transformers ``get_polynomial_decay_schedule_with_warmup``.

    Example:
        >>> Polynomial(power=2).resolve(Horizon(total_steps=100))(50)
        0.25
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("power", 0, above=True)

    def shape(self, span: Span) -> Shape:
        warmup, floor, length, power = span.warmup, span.floor, span.after_warmup("Polynomial"), self.power
        # 1 - p, for power 1 to the last bit as Linear has it. A power below 1 takes one quotient: what the subtraction
        # rounds off near the end would grow to a million times as much.
        remaining: Factor = lambda t: 1 - (t - warmup) / length  # noqa: E731 - a def could not be one of two
        if power < 1:
            remaining = lambda t: (warmup + length - t) / length  # noqa: E731
        return Shape(lambda t: floor + (1 - floor) * remaining(t) ** power, floor, [("polynomial", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Linear(ToFloor):
    """A straight line from the peak to the floor: m + (1 - m) (1 - p).

    Args: ``warmup``, ``warmup_type``, ``warmup_start_factor``, and one of ``min_lr_ratio`` and ``min_lr``.

    Source: transformers ``get_linear_schedule_with_warmup``; Bergsma et al. 2025, https://arxiv.org/abs/2502.15938.

    Example:
        >>> Linear(warmup=10).resolve(Horizon(total_steps=110))(60)
        0.5
    """

    def shape(self, span: Span) -> Shape:
        warmup, floor, length = span.warmup, span.floor, span.after_warmup("Linear")
        return Shape(lambda t: floor + (1 - floor) * (1 - (t - warmup) / length), floor, [("linear", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class InverseSqrt(Schedule):
    """A decay without end: sqrt(s / (s + t - W)).

    Args:
        timescale: s, a duration; ``None`` takes the warmup's length.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; transformers ``get_inverse_sqrt_schedule``.

    Example:
        >>> InverseSqrt(warmup=100).resolve(Horizon())(400)
        0.5
    """

    timescale: Length | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.timescale is not None:
            self.check_length("timescale", minimum=1)
        elif Duration.parse(self.warmup).value == 0:
            raise ValueError(
                "timescale=None takes the warmup's length, and warmup=0: give one of them, as in '500 steps'"
            )

    def shape(self, span: Span) -> Shape:
        scale = span.warmup if self.timescale is None else span.horizon.steps(self.timescale, "timescale")
        shift, sqrt = scale - span.warmup, math.sqrt  # at t = W the fraction is scale / scale: no jump after the warmup
        end = 0.0 if span.total is None else sqrt(scale / (shift + span.total))
        return Shape(lambda t: sqrt(scale / (shift + t)), end, [("inverse_sqrt", span.warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class WarmupStableDecay(ToFloor):
    """The peak held, then a decay over the last stretch: with its progress q, m + (1 - m) f(q).

    ``f`` is, by ``decay_type``, ``linear`` 1 - q, ``cosine`` (1 + cos(pi q)) / 2, ``1-sqrt`` 1 - sqrt(q) and
    ``square`` 1 - q^2; ``exponential`` is m^q as a whole and needs a floor above 0.

    Args:
        decay: length of the decay at the end of the run, a duration.
        decay_type: shape of the decay.

    Source: Haegele et al. 2024, https://arxiv.org/abs/2405.18392; transformers ``get_wsd_schedule``.

    Example:
        >>> curve = WarmupStableDecay(decay="20%", decay_type="linear").resolve(Horizon(total_steps=100))
        >>> curve(80), curve(90), curve(100)
        (1.0, 0.5, 0.0)
    """

    decay: Length = "20%"
    decay_type: str = "1-sqrt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("decay", minimum=1)
        self.check_one_of("decay_type", DECAY_TYPES)
        if self.decay_type == "exponential" and not self.min_lr_ratio and not self.min_lr:
            raise ValueError("decay_type='exponential' never reaches 0: give a floor, as in min_lr_ratio=0.01")

    def shape(self, span: Span) -> Shape:
        total = span.horizon.need_total("WarmupStableDecay")
        # Counted back from the end: "2 epochs" are the last two, which may be longer or shorter than the first two.
        length = span.horizon.from_end().steps(self.decay, "decay")
        start = total - length  # update `start` still uses the peak (q = 0), update `start + 1` is the first below it
        if start < span.warmup:
            raise ValueError(
                f"warmup={self.warmup!r} ({span.horizon.in_words(span.warmup)}) and decay={self.decay!r} "
                f"({span.horizon.mark(length)}) do not fit into the {span.horizon.in_words(total)} of the run: shorten "
                "one of them or train longer"
            )
        decay, phases = self._decay(span.floor), [("stable", span.warmup), ("decay", start)]
        return Shape(lambda t: 1.0 if t < start else decay((t - start) / length), span.floor, phases)

    def _decay(self, floor: float) -> Callable[[float], float]:
        """The factor as a function of the decay's progress."""
        if self.decay_type == "exponential":
            return lambda q: floor**q
        fall: Callable[[float], float] = {
            "linear": lambda q: 1 - q,
            "cosine": lambda q: (1 + math.cos(math.pi * q)) / 2,
            "1-sqrt": lambda q: 1 - math.sqrt(q),
            "square": lambda q: 1 - q * q,
        }[self.decay_type]
        return lambda q: floor + (1 - floor) * fall(q)


@dataclass(frozen=True, kw_only=True, repr=False)
class CosineRestarts(ToFloor):
    """Cosine cycles one after another: in cycle k with progress q, m + (h - m) (1 + cos(pi q)) / 2.

    Each starts at h = max(cycle_decay^k, m), with k counted from 0.

    Args:
        cycle: length of the first cycle, a duration.
        cycle_mult: each cycle is this many times as long as the one before, at least 1.
        cycle_decay: each cycle starts at this share of the start of the one before, in (0, 1].

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; torch ``CosineAnnealingWarmRestarts``.

    Example:
        >>> curve = CosineRestarts(cycle=10, cycle_mult=2).resolve(Horizon(total_steps=30))
        >>> curve(5), curve(10), curve(20), curve(30)
        (0.5, 1.0, 0.5, 0.0)
    """

    cycle: Length
    cycle_mult: float = 1.0
    cycle_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("cycle", minimum=1)
        self.check_number("cycle_mult", 1, checks.MOST)
        self.check_number("cycle_decay", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        warmup, floor, decay = span.warmup, span.floor, self.cycle_decay
        # Counted from the end of the warmup, so epochs are those from there on; "%" is of the whole run all the same.
        # Each cycle is rounded from the start: rounded lengths would add up to another end of the run, and a cycle too
        # many.
        ends = span.horizon.part(warmup, span.total).every(self.cycle, "cycle", self.cycle_mult)
        around = _around(ends)

        def in_cycle(cycle: tuple[int, int, int], since: int) -> float:
            k, start, end = cycle
            high, progress = max(decay**k, floor), (since - start) / (end - start)
            return floor + (high - floor) * (1 + math.cos(math.pi * progress)) / 2

        def factor(t: int) -> float:
            return in_cycle(around(t - warmup), t - warmup)

        if span.total is None:
            return Shape(factor, floor, [("cycles", warmup)])
        # Where the run ends with a cycle, that cycle's floor, not the next one's start.
        length = span.total - warmup
        last = around(max(length - 1, 0))
        count = last[0] + 1
        starts = [0, *(ends[k] for k in range(count - 1))] if count <= _LISTED else []
        phases = [(f"cycle {k}", warmup + start) for k, start in enumerate(starts, start=1)]
        return Shape(factor, in_cycle(last, length), phases or [("cycles", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class OneCycle(Schedule):
    """From peak / div_factor up to the peak and down to peak / (div_factor x final_div_factor), momentum the other way.

    The last update uses the lowest LR, as in torch; the peak is the group's own base LR, so groups keep their ratios.
    A ``warmup`` multiplies the first updates on top.

    Args:
        pct_start: share of the run that goes up, in [0, 1]; with ``three_phase`` at most 0.5.
        div_factor: peak / first LR, at least 1.
        final_div_factor: first LR / last LR, at least 1.
        anneal_strategy: ``"cos"`` or ``"linear"``.
        three_phase: go down to the first LR symmetrically, then to the last.
        cycle_momentum: move SGD's momentum, or Adam's beta1, between ``max_momentum`` and ``base_momentum``.
        base_momentum: momentum at the peak LR, in [0, 1].
        max_momentum: momentum at the first and last LR, in [0, 1].

    Source: Smith and Topin 2018, https://arxiv.org/abs/1708.07120; torch ``OneCycleLR``.

    Example:
        >>> curve = OneCycle(pct_start=0.5, anneal_strategy="linear").resolve(Horizon(total_steps=20))
        >>> round(curve(0), 3), curve(9), round(curve.beside["momentum"](9), 3)
        (0.04, 1.0, 0.85)
    """

    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    anneal_strategy: str = "cos"
    three_phase: bool = False
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("pct_start", 0, 1)
        self.check_number("div_factor", 1)
        self.check_number("final_div_factor", 1)
        self.check_one_of("anneal_strategy", ("cos", "linear"))
        self.check_number("base_momentum", 0, 1)
        self.check_number("max_momentum", 0, 1)
        self.check_flag("three_phase")
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"pct_start={self.pct_start!r} with three_phase=True: at most 0.5, for the way down is as long as the "
                "way up"
            )
        self.check_flag("cycle_momentum")

    def shape(self, span: Span) -> Shape:
        total = span.horizon.need_total("OneCycle")
        low = 1 / self.div_factor
        final = low / self.final_div_factor
        top, base = self.max_momentum, self.base_momentum
        # torch's arithmetic: of 20 updates with pct_start=0.5, update 9 uses the peak and update 19, the last, the
        # lowest. Where a turn lies between two updates, none uses just its value.
        turn = self.pct_start * total - 1
        if self.three_phase:
            ends, values, momenta = [turn, 2 * turn, total - 1], [low, 1, low, final], [top, base, top, top]
        else:
            ends, values, momenta = [turn, total - 1], [low, 1, final], [top, base, top]
        factor = self._pieces(ends, values)
        names = ("up", "down", "final")
        # The update at a turn is the last of its phase; the next phase begins with the first one after it.
        firsts = [0, *(max(math.floor(end) + 1, 0) for end in ends[:-1])]
        beside = {"momentum": self._pieces(ends, momenta)} if self.cycle_momentum else {}
        phases = list(zip(names, firsts, strict=False))
        return Shape(factor, factor(total - 1), phases, during_warmup=True, beside=beside)

    def _pieces(self, ends: abc.Sequence[float], values: abc.Sequence[float]) -> Factor:
        """Curve through ``values``, the first at position 0 and the others at ``ends``; flat after the last."""

        def piecewise(t: int) -> float:
            k = min(bisect_left(ends, t), len(ends) - 1)  # from the left: position `ends[k]` is the end of piece k
            start = ends[k - 1] if k else 0.0
            length = ends[k] - start
            share = min((t - start) / length, 1.0) if length > 0 else 1.0
            if self.anneal_strategy == "cos":
                return values[k + 1] + (values[k] - values[k + 1]) * (1 + math.cos(math.pi * share)) / 2
            return values[k] + (values[k + 1] - values[k]) * share

        return piecewise


@dataclass(frozen=True, kw_only=True, repr=False)
class Sequence(Schedule):
    """Phases one after another, each a schedule of its own that counts from its own start.

    Phase k runs from milestone k - 1 up to, not including, milestone k; "%" in a phase is of that phase, and its epochs
    are the run's from there on. Every factor is of the same peak, so for a smooth join a phase begins where the one
    before ends.

    Args:
        schedules: the phases, at least two.
        milestones: durations from the start of training at which the next phase begins; one fewer than schedules.

    Source: torch ``SequentialLR``; optax ``join_schedules``.

    Example:
        >>> phases = Sequence(schedules=[Fixed(), Linear()], milestones=["50%"])
        >>> curve = phases.resolve(Horizon(total_steps=100))
        >>> curve(49), curve(50), curve(75), curve(100)
        (1.0, 1.0, 0.5, 0.0)
    """

    schedules: abc.Sequence[Schedule]
    milestones: abc.Sequence[Length]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedules", as_tuple(self.schedules, "schedules", "[Fixed(), Linear()]"))
        object.__setattr__(self, "milestones", _milestones(self.milestones, "['50%']"))
        for phase in self.schedules:
            if not isinstance(phase, Schedule) or phase.reaction() is not None:
                raise ValueError(
                    f"schedules: {checks.brief(phase)} cannot be a phase; phases are schedules other than Plateau"
                )
        if len(self.schedules) != len(self.milestones) + 1:
            raise ValueError(
                f"{checks.counted(len(self.schedules), 'schedule')} and "
                f"{checks.counted(len(self.milestones), 'milestone')}: there must be one milestone fewer than schedules"
            )

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "schedules": [phase.describe() for phase in self.schedules]}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        return cls(**{**fields, "schedules": [from_description(phase) for phase in fields["schedules"]]})

    def shape(self, span: Span) -> Shape:
        marks = _rising(self.milestones, span.horizon)
        # Update T - 1 is the last, so a phase that begins at T would have none.
        if span.total is not None and marks[-1] >= span.total:
            raise ValueError(
                f"milestones={checks.brief(list(self.milestones))}: the last phase would begin at update "
                f"{marks[-1]:,}, and the run does {span.total:,}. Move the milestone forward or train longer"
            )
        starts = [0, *marks]
        lengths = [end - start for start, end in zip(starts, marks, strict=False)]
        lengths_or_none = [*lengths, None if span.total is None else span.total - marks[-1]]
        parts = [span.horizon.part(start, length) for start, length in zip(starts, lengths_or_none, strict=True)]
        curves = [
            phase.curve_of(part, span.peak, f"phase {k}")
            for k, (phase, part) in enumerate(zip(self.schedules, parts, strict=True), start=1)
        ]
        for phase, curve in zip(self.schedules, curves, strict=True):
            if curve.beside:
                raise ValueError(
                    f"schedules: the phase {checks.brief(phase)} moves the momentum too, which cannot change phase by "
                    "phase: set its cycle_momentum=False"
                )

        def factor(t: int) -> float:
            k = bisect_right(marks, t)  # from the right: the update at a milestone is the first of the next phase
            return curves[k].factor(t - starts[k])  # which counts from its own start: update 0 of the phase

        phases = [
            (phase.name, start + phase.first)
            for start, curve in zip(starts, curves, strict=True)
            for phase in curve.phases
        ]
        return Shape(factor, curves[-1].end, phases, during_warmup=True)


def _stepwise(factor: Factor, span: Span, name: str) -> Shape:
    """The shape of a staircase: its end is the level of the last update."""
    # Of update T - 1 and not of T: a cut that falls on the end of the run has no update to take part in.
    return Shape(factor, 0.0 if span.total is None else factor(span.total - 1), [(name, 0)], during_warmup=True)


def _around(marks: range | Marks) -> Callable[[int], tuple[int, int, int]]:
    """Position -> how many marks it has reached, the last of these (0 for none) and the next one."""
    if isinstance(marks, Marks):
        return marks.around
    size = marks.step

    def around(t: int) -> tuple[int, int, int]:
        k = t // size
        return k, k * size, (k + 1) * size

    return around


def _stretches(marks: range | Marks) -> Callable[[int], float]:
    """Position -> how many of the stretches that end at ``marks`` have passed, parts of one included."""
    if isinstance(marks, range):
        length = marks.step
        return lambda t: t / length
    around = marks.around

    def passed(t: int) -> float:
        k, start, end = around(t)
        return k + (t - start) / (end - start)

    return passed


def _milestones(given: Any, example: str) -> tuple[Length, ...]:
    """Milestones as a tuple of plain values, each a duration."""
    milestones = as_tuple(given, "milestones", example)
    for milestone in milestones:
        Duration.parse(milestone, "milestones", minimum=1)
    return tuple(map(plain_length, milestones))


def _rising(milestones: abc.Sequence[Length], horizon: Horizon) -> list[int]:
    """Milestones in steps; they must rise, whatever their units."""
    steps = [horizon.steps(milestone, "milestones") for milestone in milestones]
    for before, after, given in zip(steps, steps[1:], milestones[1:], strict=False):
        if after <= before:
            raise ValueError(
                f"milestones={checks.brief(list(milestones))}: {given!r} does not come after the one before it; sort "
                "them"
            )
    return steps
