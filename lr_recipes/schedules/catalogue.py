"""The schedules, to be read from top to bottom: pure functions from a position to a factor. No torch, no state.

In the formulas ``t`` is the position, ``W`` the warmup steps, ``T`` the total steps, ``m`` the floor as a ratio of the
peak, and ``p = (t - W) / (T - W)`` the progress of a decay, clipped to [0, 1].

Those that come round again are in ``cycles.py``, those that are drawn by hand in ``drawn.py``.

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
from lr_recipes.plan.horizon import Duration, Marks
from lr_recipes.schedules.base import (
    Length,
    Schedule,
    Span,
    ToFloor,
    as_milestones,
    as_tuple,
    from_description,
    not_below,
    rising_steps,
)
from lr_recipes.schedules.ways import WAYS, way

__all__ = [
    "Cosine",
    "Exponential",
    "Fixed",
    "InverseSqrt",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Polynomial",
    "Power",
    "Product",
    "Rex",
    "Sequence",
    "Step",
    "WarmupStableDecay",
]


@dataclass(frozen=True, kw_only=True, repr=False)
class Fixed(Schedule):
    """The same LR throughout (after the warmup, if there is one): factor 1.

    Example:
        >>> from lr_recipes import Horizon
        >>> Fixed(warmup=4).resolve(Horizon())(1)
        0.5
    """

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: 1.0, 1.0, [("constant", span.warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Step(ToFloor):
    """A cut by the same factor after every stretch of the same length: max(gamma^floor(t / step_size), m).

    Args:
        step_size: a duration, counted from the start of training, warmup included. The update at position
            ``step_size`` is the first with the lower LR.
        gamma: factor of each cut, in (0, 1].

    Source: torch ``StepLR``; He et al. 2016, https://arxiv.org/abs/1512.03385.

    Example:
        >>> from lr_recipes import Horizon
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
class MultiStep(ToFloor):
    """A cut at each milestone: max(gamma^(number of milestones <= t), m).

    Args:
        milestones: durations, counted from the start of training, warmup included, in rising order.
        gamma: factor of each cut, in (0, 1].

    Source: torch ``MultiStepLR``.

    Example:
        >>> curve = MultiStep(milestones=["50%", "75%"]).resolve(100)
        >>> [round(curve(n), 3) for n in (49, 50, 75)]
        [1.0, 0.1, 0.01]
    """

    milestones: abc.Sequence[Length]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", as_milestones(self.milestones, "['50%', '75%']"))
        self.check_number("gamma", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        gamma, cuts = self.gamma, rising_steps(self.milestones, span.horizon)
        # From the right: the update at a cut is the first with the lower LR.
        return _stepwise(lambda t: gamma ** bisect_right(cuts, t), span, "multistep")


@dataclass(frozen=True, kw_only=True, repr=False)
class Exponential(ToFloor):
    """A smooth cut by ``gamma`` over each stretch ``every``: max(gamma^(t / every), m).

    Args:
        gamma: factor over one stretch, in (0, 1].
        every: length of the stretch, a duration.

    Source: torch ``ExponentialLR``, here at every update instead of once per epoch.

    Example:
        >>> Exponential(gamma=0.25, every=100).resolve(200)(50)
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
        return _without_end(lambda t: gamma ** passed(t), span, "exponential", 0, during_warmup=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Cosine(ToFloor):
    """Half a cosine from the peak to the floor: m + (1 - m) (1 + cos(pi p)) / 2.

    Args: ``warmup``, ``warmup_type``, ``warmup_start_factor``, and one of ``min_lr_ratio`` and ``min_lr``.

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; torch ``CosineAnnealingLR``.

    Example:
        >>> Cosine(min_lr_ratio=0.5).resolve(100)(50)
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
        >>> Polynomial(power=2).resolve(100)(50)
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
        >>> Linear(warmup=10).resolve(110)(60)
        0.5
    """

    def shape(self, span: Span) -> Shape:
        warmup, floor, length = span.warmup, span.floor, span.after_warmup("Linear")
        return Shape(lambda t: floor + (1 - floor) * (1 - (t - warmup) / length), floor, [("linear", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Rex(ToFloor):
    """Slowly down at first and fast at the end: m + (1 - m) (1 - p) / (1 - (1 - beta) p).

    Args:
        beta: how far it is from a straight line, which 1 is: above 0; the nearer to 0, the later it falls, and above 1
            it falls early. The paper's is 1 / 2.

    Source: Chen et al. 2021, https://arxiv.org/abs/2107.04197.

    Example:
        >>> round(Rex().resolve(100)(50), 4)
        0.6667
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_number("beta", 0, above=True)

    def shape(self, span: Span) -> Shape:
        warmup, floor, length, bend = span.warmup, span.floor, span.after_warmup("Rex"), 1 - self.beta

        def factor(t: int) -> float:
            done = (t - warmup) / length
            return floor + (1 - floor) * (1 - done) / (1 - bend * done)

        return Shape(factor, floor, [("rex", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class InverseSqrt(ToFloor):
    """A decay without end: max(sqrt(s / (s + t - W)), m).

    Args:
        timescale: s, a duration; ``None`` takes the warmup's length.

    Source: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; transformers ``get_inverse_sqrt_schedule``.

    Example:
        >>> from lr_recipes import Horizon
        >>> InverseSqrt(warmup=100).resolve(Horizon())(400)
        0.5
    """

    timescale: Length | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_timescale(self)

    def shape(self, span: Span) -> Shape:
        left, sqrt = _left_by(self, span), math.sqrt
        return _without_end(lambda t: sqrt(left(t)), span, "inverse_sqrt", span.warmup)


@dataclass(frozen=True, kw_only=True, repr=False)
class InverseTime(ToFloor):
    """A decay without end, to one n-th after n - 1 times the timescale: max(s / (s + t - W), m).

    Args:
        timescale: s, a duration, after which half of the peak is left; ``None`` takes the warmup's length.

    Source: Robbins and Monro 1951, https://doi.org/10.1214/aoms/1177729586; Keras ``InverseTimeDecay``.

    Example:
        >>> from lr_recipes import Horizon
        >>> curve = InverseTime(timescale=100).resolve(Horizon())
        >>> curve(100), curve(300)
        (0.5, 0.25)
    """

    timescale: Length | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_timescale(self)

    def shape(self, span: Span) -> Shape:
        return _without_end(_left_by(self, span), span, "inverse_time", span.warmup)


@dataclass(frozen=True, kw_only=True, repr=False)
class Power(ToFloor):
    """The peak, then a power of the time that has passed, then a last decay: max(min((s / t)^exponent, 1), m).

    Unlike other decays it counts from the start of training, warmup included, so that a longer run goes on as a shorter
    one did. A warmup that is longer than s leads to what is left at its end. The last decay, if there is one, goes from
    what is left at its start down to the floor.

    Args:
        timescale: s, a duration from the start of training; up to there the peak is used. For an LR of a n^b at n
            tokens, that is (peak / a)^(1 / b) tokens.
        exponent: above 0; the -b of that law.
        decay: length of the last decay at the end of the run, a duration; 0 for none, which needs no total.
        decay_type: shape of the last decay, as in ``WarmupStableDecay``.

    Source: Shen et al. 2024, https://arxiv.org/abs/2408.13359.

    Example:
        >>> curve = Power(timescale=100, exponent=0.5, decay=100, decay_type="linear").resolve(500)
        >>> curve(100), curve(400), curve(450), curve(500)
        (1.0, 0.5, 0.25, 0.0)
    """

    timescale: Length
    exponent: float = 0.51
    decay: Length = 0
    decay_type: str = "1-sqrt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("timescale", minimum=1)
        self.check_number("exponent", 0, above=True)
        self.check_length("decay")
        if Duration.parse(self.decay).value:
            _check_decay_type(self)

    def shape(self, span: Span) -> Shape:
        scale, exponent = span.horizon.steps(self.timescale, "timescale"), self.exponent
        first = max(scale, span.warmup)  # updates up to here use one factor; it is the peak where it is s

        def power(t: int) -> float:
            left: float = (scale / max(t, first)) ** exponent
            return left

        shape = _without_end(power, span, "power", span.warmup, during_warmup=True)
        if not Duration.parse(self.decay).value:
            return shape
        start, length = _last_decay(self, span, "Power")
        decay = way(self.decay_type, shape.factor(start), span.floor)
        phases = [("power", span.warmup), ("decay", start)]
        return Shape(
            lambda t: decay((t - start) / length) if t > start else shape.factor(t),
            span.floor,
            phases,
            during_warmup=True,
        )


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
        >>> curve = WarmupStableDecay(decay="20%", decay_type="linear").resolve(100)
        >>> curve(80), curve(90), curve(100)
        (1.0, 0.5, 0.0)
    """

    decay: Length = "20%"
    decay_type: str = "1-sqrt"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_length("decay", minimum=1)
        _check_decay_type(self)

    def shape(self, span: Span) -> Shape:
        start, length = _last_decay(self, span, "WarmupStableDecay")
        decay, phases = way(self.decay_type, 1.0, span.floor), [("stable", span.warmup), ("decay", start)]
        return Shape(lambda t: 1.0 if t < start else decay((t - start) / length), span.floor, phases)


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
        >>> curve = OneCycle(pct_start=0.5, anneal_strategy="linear").resolve(20)
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
        >>> curve = phases.resolve(100)
        >>> curve(49), curve(50), curve(75), curve(100)
        (1.0, 1.0, 0.5, 0.0)
    """

    schedules: abc.Sequence[Schedule]
    milestones: abc.Sequence[Length]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedules", as_tuple(self.schedules, "schedules", "[Fixed(), Linear()]"))
        object.__setattr__(self, "milestones", as_milestones(self.milestones, "['50%']"))
        _check_parts(self.schedules, "a phase")
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
        marks = rising_steps(self.milestones, span.horizon)
        # Update T - 1 is the last, so a phase that begins at T would have none.
        if span.total is not None and marks[-1] >= span.total:
            raise ValueError(
                f"milestones={checks.brief(list(self.milestones))}: the last phase would begin at "
                f"{'' if span.horizon.timed else 'update '}{span.horizon.mark(marks[-1])}, and the run does "
                f"{span.horizon.mark(span.total)}. Move the milestone forward or train longer"
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


@dataclass(frozen=True, kw_only=True, repr=False)
class Product(ToFloor):
    """Schedules that hold at the same time: the product of their factors, and at least m.

    Each is made for the whole run, with its own warmup and floor; a ``warmup`` of the product multiplies them all.

    Args:
        schedules: the schedules, at least two.

    Source: torch ``ChainedScheduler``.

    Example:
        >>> curve = Product(schedules=[Linear(), Step(step_size="50%")]).resolve(100)
        >>> curve(25), round(curve(75), 3)
        (0.75, 0.025)
    """

    schedules: abc.Sequence[Schedule]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedules", as_tuple(self.schedules, "schedules", "[Cosine(), Step(step_size=30)]"))
        _check_parts(self.schedules, "a part of a product")

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "schedules": [one.describe() for one in self.schedules]}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        return cls(**{**fields, "schedules": [from_description(one) for one in fields["schedules"]]})

    def shape(self, span: Span) -> Shape:
        curves = [one.curve_of(span.horizon, span.peak, "the run") for one in self.schedules]
        for one, curve in zip(self.schedules, curves, strict=True):
            if curve.beside:
                raise ValueError(
                    f"schedules: {checks.brief(one)} moves the momentum too, which is not multiplied: set its "
                    "cycle_momentum=False"
                )
        factors, prod = [curve.factor for curve in curves], math.prod
        # A phase lasts until one of the schedules comes to another one.
        firsts = sorted({phase.first for curve in curves for phase in curve.phases})
        names = [" x ".join(dict.fromkeys(curve.phase(first) for curve in curves)) for first in firsts]
        return Shape(
            not_below(span.floor, lambda t: prod([factor(t) for factor in factors])),
            max(prod(curve.end for curve in curves), span.floor),
            list(zip(names, firsts, strict=True)),
            during_warmup=True,
        )


def _check_parts(schedules: abc.Sequence[Any], what: str) -> None:
    for one in schedules:
        if not isinstance(one, Schedule) or one.reaction() is not None or not one.is_one_curve:
            raise ValueError(
                f"schedules: {checks.brief(one)} cannot be {what}: take schedules other than Plateau; ByGroup and "
                "Hyperparameters may have this one within, and not the other way round"
            )


def _stepwise(factor: Factor, span: Span, name: str) -> Shape:
    """The shape of a staircase: its end is the level of the last update."""
    # Of update T - 1 and not of T: a cut that falls on the end of the run has no update to take part in.
    factor = not_below(span.floor, factor)
    return Shape(factor, 0.0 if span.total is None else factor(span.total - 1), [(name, 0)], during_warmup=True)


def _without_end(factor: Factor, span: Span, name: str, first: int, *, during_warmup: bool = False) -> Shape:
    """The shape of a smooth decay that goes on for ever, or down to the floor."""
    # The end is the value at T: update T - 1 uses a little more. (A run without an end never asks for it.)
    factor = not_below(span.floor, factor)
    end = 0.0 if span.total is None else factor(span.total)
    return Shape(factor, end, [(name, first)], during_warmup=during_warmup)


def _check_timescale(schedule: InverseSqrt | InverseTime) -> None:
    if schedule.timescale is not None:
        schedule.check_length("timescale", minimum=1)
    elif Duration.parse(schedule.warmup).value == 0:
        raise ValueError("timescale=None takes the warmup's length, and warmup=0: give one of them, as in '500 steps'")


def _left_by(schedule: InverseSqrt | InverseTime, span: Span) -> Factor:
    """s / (s + t - W)."""
    scale = span.warmup if schedule.timescale is None else span.horizon.steps(schedule.timescale, "timescale")
    shift = scale - span.warmup  # at t = W the fraction is scale / scale: no jump after the warmup
    return lambda t: scale / (shift + t)


def _check_decay_type(schedule: Power | WarmupStableDecay) -> None:
    schedule.check_one_of("decay_type", WAYS)
    if schedule.decay_type == "exponential" and not schedule.min_lr_ratio and not schedule.min_lr:
        raise ValueError("decay_type='exponential' never reaches 0: give a floor, as in min_lr_ratio=0.01")


def _last_decay(schedule: Power | WarmupStableDecay, span: Span, who: str) -> tuple[int, int]:
    """The first update of the decay at the end of the run, and how many it lasts."""
    total = span.horizon.need_total(who)
    # Counted back from the end: "2 epochs" are the last two, which may be longer or shorter than the first two.
    length = span.horizon.from_end().steps(schedule.decay, "decay")
    start = total - length  # update `start` is still above the decay (q = 0), update `start + 1` is its first below
    if start < span.warmup:
        raise ValueError(
            f"warmup={schedule.warmup!r} ({span.horizon.in_words(span.warmup)}) and decay={schedule.decay!r} "
            f"({span.horizon.mark(length)}) do not fit into the {span.horizon.in_words(total)} of the run: shorten one "
            "of them or train longer"
        )
    return start, length


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
