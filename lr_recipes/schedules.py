"""Learning-rate schedules: pure functions from a position to a factor. No torch, no state, no side effects.

A schedule is a frozen description whose lengths carry units. ``schedule.resolve(horizon)`` turns it into a
:class:`Curve`, and ``curve(n)`` is the factor that update ``n`` (counted from 0) multiplies each group's own base LR
by. In the formulas below ``t`` is the position, ``W`` the warmup steps, ``T`` the total steps, ``m`` the floor as a
ratio of the peak, and ``p = (t - W) / (T - W)`` the progress of a decay, clipped to [0, 1].

To add a schedule: write one dataclass here whose ``_body`` returns its :class:`_Body`, put its knobs into
``conf/schedule/<name>.yaml`` and one row into the table of ``tests/test_schedules.py``.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import math
import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lr_recipes.horizon import Duration, Horizon

if TYPE_CHECKING:
    from lr_recipes.scheduler import BoundSchedule

__all__ = [
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "Fixed",
    "InverseSqrt",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Schedule",
    "Sequence",
    "Step",
    "TorchSchedule",
    "WarmupStableDecay",
]

Factor = Callable[[int], float]
Length = int | str

FOREVER = 2**62
WARMUP_TYPES = ("linear", "cosine", "exponential", "constant")
DECAY_TYPES = ("linear", "cosine", "1-sqrt", "exponential", "square")


class Phase(NamedTuple):
    """A named stretch of updates, from ``first`` to ``last`` inclusive (``None``: without end)."""

    name: str
    first: int
    last: int | None


class _Run(NamedTuple):
    """What a schedule needs to know to become a curve: warmup in steps, the floor as a ratio, and the run's facts."""

    warmup: int
    floor: float
    horizon: Horizon
    peak: float | None

    @property
    def total(self) -> int | None:
        return self.horizon.total_steps


class _Body(NamedTuple):
    """What a schedule does apart from its warmup.

    ``factor`` is asked for positions below T only. ``end`` holds from T on: it is the limit from the left, so that a
    run which goes on past its plan neither climbs again nor drops once more. ``during_warmup`` says that ``factor``
    also counts for t < W (step sizes and milestones count from the start of training); else it is 1 there.
    """

    factor: Factor
    end: float
    phases: SequenceOf[tuple[str, int]]
    momentum: Factor | None = None
    during_warmup: bool = False


class Curve:
    """A resolved schedule: ``curve(n)`` is the factor of update ``n``, for any ``n >= 0`` and in any order.

    Attributes:
        factor: the same function without the check of ``n``, for the update path.
        momentum: position -> momentum, for schedules that cycle it; else ``None``.
        total_steps: updates in the plan; ``None`` when it has no end.
        phases: the named stretches of the plan, in order.
        end: the factor from ``total_steps`` on.
    """

    __slots__ = ("_firsts", "end", "factor", "momentum", "phases", "total_steps")

    def __init__(self, body: _Body, ramp: Factor, warmup: int, total_steps: int | None) -> None:
        self.factor = _join(body, ramp, warmup, total_steps)
        self.momentum = body.momentum
        self.total_steps = total_steps
        self.end = body.end
        self.phases = _phases([*([("warmup", 0)] if warmup else []), *body.phases], warmup, total_steps)
        self._firsts = [phase.first for phase in self.phases]

    def __call__(self, position: int) -> float:
        if position < 0:
            raise ValueError(f"position={position}: updates are counted from 0")
        return self.factor(position)

    def phase(self, position: int) -> str:
        """Return the name of the phase that holds the update at ``position``; ``"end"`` past the plan."""
        if self.total_steps is not None and position >= self.total_steps:
            return "end"
        return self.phases[bisect_right(self._firsts, position) - 1].name


def _join(body: _Body, ramp: Factor, warmup: int, total: int | None) -> Factor:
    """Warmup, body and end as one function; a branch is there only if the curve has it, since this runs per update."""
    after, end = body.factor, body.end
    if warmup and body.during_warmup:
        before: Factor = lambda t: ramp(t) * after(t)  # noqa: E731 - a def could not be one of two
    else:
        before = ramp
    if total is None:
        return (lambda t: after(t) if t >= warmup else before(t)) if warmup else after
    if not warmup:
        return lambda t: after(t) if t < total else end
    return lambda t: (after(t) if t >= warmup else before(t)) if t < total else end


def _phases(starts: SequenceOf[tuple[str, int]], warmup: int, total: int | None) -> list[Phase]:
    """Give each start the position before the next one as its end; what the warmup or the end covers is left out."""
    starts = [(name, first if name == "warmup" else max(first, warmup)) for name, first in starts]
    nexts = [*(first for _, first in starts[1:]), FOREVER if total is None else total]
    return [
        Phase(name, first, None if after == FOREVER else after - 1)
        for (name, first), after in zip(starts, nexts, strict=True)
        if first < after
    ]


@dataclass(frozen=True, kw_only=True, repr=False)
class Schedule:
    """What every schedule has: a warmup that multiplies whatever comes after it.

    With ``r = (t + 1) / W``, or ``r = t / W`` when ``warmup_start_factor`` ``s`` is given (else ``s`` is 0 for
    ``linear`` and ``cosine``, 1 / W for ``exponential``, 1 / 3 for ``constant``), the warmup's factor at ``t < W`` is

    - ``linear``: s + (1 - s) r, so by default the first update uses 1 / W and update W - 1 exactly 1
    - ``cosine``: s + (1 - s) (1 - cos(pi r)) / 2
    - ``exponential``: s^(1 - r)
    - ``constant``: s

    Args:
        warmup: length of the warmup, a duration; 0 for none.
        warmup_type: ``"linear"``, ``"cosine"``, ``"exponential"`` or ``"constant"``.
        warmup_start_factor: factor of the very first update, in [0, 1]; ``None`` for the defaults above.

    Raises:
        ValueError: a value is of the wrong kind or out of its range; the message says which range.
    """

    warmup: Length = 0
    warmup_type: str = "linear"
    warmup_start_factor: float | None = None

    def __post_init__(self) -> None:
        self._length("warmup")
        self._one_of("warmup_type", WARMUP_TYPES)
        self._number("warmup_start_factor", 0, 1)
        if self.warmup_type == "exponential" and self.warmup_start_factor == 0:
            raise ValueError("warmup_start_factor=0: an exponential warmup must start above 0, for example at 0.01")

    def __repr__(self) -> str:
        given = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self) if self._is_set(f))
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given)})"

    def _is_set(self, field: dataclasses.Field[Any]) -> bool:
        return bool(getattr(self, field.name) != field.default)

    def describe(self) -> dict[str, Any]:
        """Return the schedule as plain numbers, strings, lists and dicts, for checkpoints and comparisons."""
        fields = {f.name: _to_plain(getattr(self, f.name)) for f in dataclasses.fields(self)}
        return {"schedule": type(self).__name__, **fields}

    def resolve(self, horizon: Horizon, peak: float | None = None) -> Curve:
        """Turn lengths into whole steps and return the curve.

        Args:
            horizon: the facts about the run.
            peak: the largest base LR of the optimizer; needed only for an absolute ``min_lr``.

        Raises:
            HorizonError: a length or a decay needs a fact that the run does not have.
            ValueError: the warmup or another length does not fit into the run.

        Example:
            >>> curve = Cosine(warmup=10).resolve(Horizon(total_steps=110))
            >>> curve(0), curve(9), curve(60), curve(110)
            (0.1, 1.0, 0.5, 0.0)
        """
        curve = self._curve(horizon, peak, "the run")
        warmup, total = horizon.steps(self.warmup, "warmup"), horizon.total_steps
        if total is not None and warmup * 2 > total:
            warnings.warn(
                f"warmup={self.warmup!r} is {warmup:,} updates, and the run does {total:,}: more than half of the run "
                "is warmup",
                UserWarning,
                stacklevel=2,
            )
        return curve

    def _curve(self, horizon: Horizon, peak: float | None, whole: str) -> Curve:
        """``resolve`` for ``whole``, which is the run or a phase; a phase may be all warmup, so this does not warn."""
        warmup, total = horizon.steps(self.warmup, "warmup"), horizon.total_steps
        if total is not None and warmup > total:
            raise ValueError(
                f"warmup={self.warmup!r} is {warmup:,} updates, and {whole} does {total:,}: the peak LR would never "
                "be reached. Shorten the warmup or train longer"
            )
        body = self._body(_Run(warmup, self._floor(peak), horizon, peak))
        return Curve(body, self._ramp(warmup), warmup, total)

    def bind(self, optimizer: Any, horizon: Horizon) -> BoundSchedule:
        """Bind the schedule to a torch optimizer, for a plain PyTorch loop; the result is a torch ``LRScheduler``.

        Args:
            optimizer: a ``torch.optim.Optimizer``; each group's LR of this moment is its peak.
            horizon: the facts about the run.

        Example:
            >>> import torch
            >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
            >>> scheduler = Linear().bind(optimizer, Horizon(total_steps=10))
            >>> for _ in range(5):
            ...     optimizer.step()
            ...     scheduler.step()
            >>> scheduler.get_last_lr()
            [0.05]
        """
        from lr_recipes.scheduler import BoundSchedule

        return BoundSchedule(self, optimizer, horizon)

    def _body(self, run: _Run) -> _Body:
        raise NotImplementedError(f"{type(self).__name__} must define _body")

    def _floor(self, peak: float | None) -> float:
        return 0.0

    def _ramp(self, warmup: int) -> Factor:
        """The warmup's factor for t < warmup."""
        given = self.warmup_start_factor
        ahead = 1 if given is None else 0
        start = _default_start(self.warmup_type, warmup) if given is None else given
        if self.warmup_type == "constant":
            return lambda t: start
        if self.warmup_type == "cosine":
            return lambda t: start + (1 - start) * (1 - math.cos(math.pi * (t + ahead) / warmup)) / 2
        if self.warmup_type == "exponential":
            return lambda t: start ** (1 - (t + ahead) / warmup)
        return lambda t: start + (1 - start) * (t + ahead) / warmup

    def _length(self, name: str, minimum: int = 0) -> None:
        """Check that a field is a duration, and keep it as a number or a string: what is saved is plain."""
        value = getattr(self, name)
        Duration.parse(value, name, minimum)
        object.__setattr__(self, name, _plain_length(value))

    def _number(self, name: str, low: float, high: float = math.inf, *, above: bool = False) -> None:
        """Check that a field is a number in [low, high] (or above low), or None where None is its default."""
        value = getattr(self, name)
        if value is None and _default(self, name) is None:
            return
        limits = f"above {low:g}" if above else f"at least {low:g}"
        limits += f" and at most {high:g}" if high < math.inf else ", and finite"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name}={value!r}: must be a number, {limits}")
        if not (low < value if above else low <= value) or not value <= high or math.isinf(value):
            raise ValueError(f"{name}={value!r}: must be {limits}")

    def _one_of(self, name: str, known: SequenceOf[str]) -> None:
        value = getattr(self, name)
        if value not in known:
            near = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{name}={value!r}{hint}: must be one of {', '.join(known)}")

    def _flag(self, name: str) -> None:
        if not isinstance(getattr(self, name), bool):
            raise ValueError(f"{name}={getattr(self, name)!r}: must be true or false")


@dataclass(frozen=True, kw_only=True, repr=False)
class _ToFloor(Schedule):
    """A schedule that decays to a floor: at most one of ``min_lr_ratio`` and ``min_lr``; neither means 0.

    Args:
        min_lr_ratio: floor as a ratio of each group's peak, in [0, 1].
        min_lr: floor as an LR, of the group with the largest peak; the other groups keep their ratio to it.
    """

    min_lr_ratio: float | None = None
    min_lr: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self._number("min_lr_ratio", 0, 1)
        self._number("min_lr", 0)
        if self.min_lr_ratio is not None and self.min_lr is not None:
            raise ValueError(
                f"min_lr_ratio={self.min_lr_ratio!r} and min_lr={self.min_lr!r} both set the floor: give one, "
                "and set the other to null (None)"
            )

    def _floor(self, peak: float | None) -> float:
        if self.min_lr is None:
            return 0.0 if self.min_lr_ratio is None else float(self.min_lr_ratio)
        if peak is None:
            raise ValueError(f"min_lr={self.min_lr!r} needs the peak LR: resolve(horizon, peak=...), or min_lr_ratio")
        if self.min_lr > peak:
            raise ValueError(
                f"min_lr={self.min_lr!r} is above the peak LR {peak!r}: lower it, or raise the optimizer's lr"
            )
        return self.min_lr / peak if self.min_lr else 0.0

    def _span(self, run: _Run) -> int:
        """Updates from the end of the warmup to the end of the run; a run that is all warmup decays over none."""
        return max(run.horizon.need_total(type(self).__name__) - run.warmup, 1)


@dataclass(frozen=True, kw_only=True, repr=False)
class Fixed(Schedule):
    """The same LR throughout (after the warmup, if there is one): factor 1.

    Example:
        >>> Fixed(warmup=4).resolve(Horizon())(1)
        0.5
    """

    def _body(self, run: _Run) -> _Body:
        return _Body(lambda t: 1.0, 1.0, [("constant", run.warmup)])


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
        self._length("step_size", minimum=1)
        self._number("gamma", 0, 1, above=True)

    def _body(self, run: _Run) -> _Body:
        gamma, cuts = self.gamma, run.horizon.every(self.step_size, "step_size")
        if not isinstance(cuts, range):
            return _cut_at(cuts, gamma, run, "step")
        size = cuts.step
        return _stepwise(lambda t: gamma ** (t // size), run, "step")


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

    milestones: SequenceOf[Length]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "milestones", _milestones(self.milestones, "['50%', '75%']"))
        self._number("gamma", 0, 1, above=True)

    def _body(self, run: _Run) -> _Body:
        return _cut_at(_rising(self.milestones, run.horizon), self.gamma, run, "multistep")


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
        self._number("gamma", 0, 1, above=True)
        self._length("every", minimum=1)

    def _body(self, run: _Run) -> _Body:
        gamma, passed = self.gamma, _stretches(run.horizon.every(self.every, "every"))
        end = 0.0 if run.total is None else gamma ** passed(run.total)
        return _Body(lambda t: gamma ** passed(t), end, [("exponential", 0)], during_warmup=True)


@dataclass(frozen=True, kw_only=True, repr=False)
class Cosine(_ToFloor):
    """Half a cosine from the peak to the floor: m + (1 - m) (1 + cos(pi p)) / 2.

    Args: ``warmup``, ``warmup_type``, ``warmup_start_factor``, and one of ``min_lr_ratio`` and ``min_lr``.

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; torch ``CosineAnnealingLR``.

    Example:
        >>> Cosine(min_lr_ratio=0.5).resolve(Horizon(total_steps=100))(50)
        0.75
    """

    def _body(self, run: _Run) -> _Body:
        warmup, floor, span, pi, cos = run.warmup, run.floor, self._span(run), math.pi, math.cos
        half = (1 - floor) / 2
        return _Body(lambda t: floor + half * (1 + cos(pi * (t - warmup) / span)), floor, [("cosine", warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class Polynomial(_ToFloor):
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
        self._number("power", 0, above=True)

    def _body(self, run: _Run) -> _Body:
        warmup, floor, span, power = run.warmup, run.floor, self._span(run), self.power
        return _Body(
            lambda t: floor + (1 - floor) * (1 - (t - warmup) / span) ** power,
            floor,
            [("polynomial", warmup)],
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class Linear(_ToFloor):
    """A straight line from the peak to the floor: m + (1 - m) (1 - p).

    Args: ``warmup``, ``warmup_type``, ``warmup_start_factor``, and one of ``min_lr_ratio`` and ``min_lr``.

    Source: transformers ``get_linear_schedule_with_warmup``; Bergsma et al. 2025, https://arxiv.org/abs/2502.15938.

    Example:
        >>> Linear(warmup=10).resolve(Horizon(total_steps=110))(60)
        0.5
    """

    def _body(self, run: _Run) -> _Body:
        warmup, floor, span = run.warmup, run.floor, self._span(run)
        return _Body(lambda t: floor + (1 - floor) * (1 - (t - warmup) / span), floor, [("linear", warmup)])


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
            self._length("timescale", minimum=1)
        elif Duration.parse(self.warmup).value == 0:
            raise ValueError(
                "timescale=None takes the warmup's length, and warmup=0: give one of them, as in '500 steps'"
            )

    def _body(self, run: _Run) -> _Body:
        scale = run.warmup if self.timescale is None else run.horizon.steps(self.timescale, "timescale")
        shift, sqrt = scale - run.warmup, math.sqrt
        end = 0.0 if run.total is None else sqrt(scale / (shift + run.total))
        return _Body(lambda t: sqrt(scale / (shift + t)), end, [("inverse_sqrt", run.warmup)])


@dataclass(frozen=True, kw_only=True, repr=False)
class WarmupStableDecay(_ToFloor):
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
        self._length("decay", minimum=1)
        self._one_of("decay_type", DECAY_TYPES)
        if self.decay_type == "exponential" and not self.min_lr_ratio and not self.min_lr:
            raise ValueError("decay_type='exponential' never reaches 0: give a floor, as in min_lr_ratio=0.01")

    def _body(self, run: _Run) -> _Body:
        total = run.horizon.need_total("WarmupStableDecay")
        length = run.horizon.from_end().steps(self.decay, "decay")
        start = total - length
        if start < run.warmup:
            raise ValueError(
                f"warmup={self.warmup!r} ({run.warmup:,} updates) and decay={self.decay!r} ({length:,}) do not fit "
                f"into the {total:,} updates of the run: shorten one of them or train longer"
            )
        shape, phases = self._shape(run.floor), [("stable", run.warmup), ("decay", start)]
        return _Body(lambda t: 1.0 if t < start else shape((t - start) / length), run.floor, phases)

    def _shape(self, floor: float) -> Callable[[float], float]:
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
class CosineRestarts(_ToFloor):
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
        self._length("cycle", minimum=1)
        self._number("cycle_mult", 1)
        self._number("cycle_decay", 0, 1, above=True)

    def _body(self, run: _Run) -> _Body:
        warmup, floor, decay = run.warmup, run.floor, self.cycle_decay
        length = FOREVER if run.total is None else run.total - warmup
        starts = self._starts(run.horizon.steps(self.cycle, "cycle"), length)

        def in_cycle(k: int, since: int) -> float:
            high = max(decay**k, floor)
            progress = (since - starts[k]) / (starts[k + 1] - starts[k])
            return floor + (high - floor) * (1 + math.cos(math.pi * progress)) / 2

        def factor(t: int) -> float:
            return in_cycle(bisect_right(starts, t - warmup) - 1, t - warmup)

        if run.total is None:
            return _Body(factor, floor, [("cycles", warmup)])
        # From the left: where the run ends with a cycle, that cycle's floor, not the next one's start.
        cycles = max(bisect_left(starts, length), 1)
        phases = [(f"cycle {k + 1}", warmup + starts[k]) for k in range(cycles)]
        return _Body(factor, in_cycle(cycles - 1, length), phases)

    def _starts(self, cycle: int, limit: int) -> SequenceOf[int]:
        """First position of each cycle, and one that lies beyond ``limit``; counted from the end of the warmup."""
        if self.cycle_mult == 1:
            return range(0, limit + 2 * cycle, cycle)
        starts, length = [0], float(cycle)
        while starts[-1] <= limit:
            starts.append(starts[-1] + round(length))
            length *= self.cycle_mult
        return starts


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
        >>> round(curve(0), 3), curve(9), round(curve.momentum(9), 3)
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
        self._number("pct_start", 0, 1)
        self._number("div_factor", 1)
        self._number("final_div_factor", 1)
        self._one_of("anneal_strategy", ("cos", "linear"))
        self._number("base_momentum", 0, 1)
        self._number("max_momentum", 0, 1)
        self._flag("three_phase")
        if self.three_phase and self.pct_start > 0.5:
            raise ValueError(
                f"pct_start={self.pct_start!r} with three_phase=True: at most 0.5, for the way down is as long as the "
                "way up"
            )
        self._flag("cycle_momentum")

    def _body(self, run: _Run) -> _Body:
        total = run.horizon.need_total("OneCycle")
        low = 1 / self.div_factor
        final = low / self.final_div_factor
        top, base = self.max_momentum, self.base_momentum
        turn = self.pct_start * total - 1
        if self.three_phase:
            ends, values, momenta = [turn, 2 * turn, total - 1], [low, 1, low, final], [top, base, top, top]
        else:
            ends, values, momenta = [turn, total - 1], [low, 1, final], [top, base, top]
        factor = self._pieces(ends, values)
        names = ("up", "down", "final")
        firsts = [0, *(max(math.floor(end) + 1, 0) for end in ends[:-1])]
        momentum = self._pieces(ends, momenta) if self.cycle_momentum else None
        phases = list(zip(names, firsts, strict=False))
        return _Body(factor, factor(total - 1), phases, momentum, during_warmup=True)

    def _pieces(self, ends: SequenceOf[float], values: SequenceOf[float]) -> Factor:
        """Curve through ``values``, the first at position 0 and the others at ``ends``; flat after the last."""

        def piecewise(t: int) -> float:
            k = min(bisect_left(ends, t), len(ends) - 1)
            start = ends[k - 1] if k else 0.0
            length = ends[k] - start
            share = min((t - start) / length, 1.0) if length > 0 else 1.0
            if self.anneal_strategy == "cos":
                return values[k + 1] + (values[k] - values[k + 1]) * (1 + math.cos(math.pi * share)) / 2
            return values[k] + (values[k + 1] - values[k]) * share

        return piecewise


@dataclass(frozen=True)
class PlateauState:
    """What a plateau has seen: plain numbers, one state after each fresh validation result."""

    best: float | None = None
    bad: int = 0
    cooldown: int = 0
    reductions: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class Plateau(_ToFloor):
    """A cut whenever a metric has stopped improving: max(factor^(number of reductions so far), m).

    Args:
        monitor: name of the logged metric.
        mode: ``"min"`` or ``"max"``: which way is better.
        factor: factor of each cut, in (0, 1).
        patience: validations without improvement that are tolerated; the next one cuts.
        threshold: how much better counts as better.
        threshold_mode: ``"rel"``: relative to the size of the best, so negative metrics work too; ``"abs"``: absolute.
        cooldown: validations after a cut during which none is counted as bad.

    Source: torch ``ReduceLROnPlateau``.

    Example:
        >>> plateau, state = Plateau(patience=1), PlateauState()
        >>> for loss in (1.0, 0.9, 0.9, 0.9):
        ...     state = plateau.observe(state, loss)
        >>> state.reductions, plateau.scale(state)
        (1, 0.1)
    """

    monitor: str = "val_loss"
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.monitor, str) or not self.monitor:
            raise ValueError(f"monitor={self.monitor!r}: must be the name of a logged metric, as in 'val_loss'")
        self._one_of("mode", ("min", "max"))
        self._one_of("threshold_mode", ("rel", "abs"))
        self._number("factor", 0, 1, above=True)
        if self.factor == 1:
            raise ValueError("factor=1: a cut must lower the LR; choose a factor below 1, as in 0.1")
        self._number("threshold", 0)
        for name in ("patience", "cooldown"):
            self._number(name, 0)
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name}={getattr(self, name)!r}: must be a whole number of validations")

    def _body(self, run: _Run) -> _Body:
        return _Body(lambda t: 1.0, 1.0, [("plateau", run.warmup)])

    def observe(self, state: PlateauState, value: float) -> PlateauState:
        """Return the state after one fresh validation result; a value that is not a number changes nothing."""
        if math.isnan(value):
            return state
        better = self._is_better(value, state.best)
        best = value if better else state.best
        bad = 0 if better or state.cooldown else state.bad + 1
        cooldown = max(state.cooldown - 1, 0)
        if bad > self.patience:
            return PlateauState(best, 0, self.cooldown, state.reductions + 1)
        return PlateauState(best, bad, cooldown, state.reductions)

    def scale(self, state: PlateauState, peak: float | None = None) -> float:
        """Return the factor after ``state.reductions`` cuts."""
        return max(self.factor**state.reductions, self.lowest(peak))

    def lowest(self, peak: float | None = None) -> float:
        """Return the factor below which no cut goes."""
        return self._floor(peak)

    def _is_better(self, value: float, best: float | None) -> bool:
        if best is None:
            return not math.isinf(value) or (value > 0) == (self.mode == "max")
        margin = self.threshold * abs(best) if self.threshold_mode == "rel" else self.threshold
        return value < best - margin if self.mode == "min" else value > best + margin


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TorchSchedule(Schedule):
    """Any ``torch.optim.lr_scheduler`` as a source of factors: what it does to the peak, divided by the peak.

    The scheduler runs once, on an optimizer of its own that holds the largest base LR; so its absolute settings, such
    as ``eta_min`` or ``max_lr``, are of that scale, and all groups keep their ratios. A ``warmup`` multiplies its first
    updates.

    Args:
        factory: optimizer -> scheduler, such as ``functools.partial(StepLR, step_size=30)``.
        interval: what one ``step()`` of the scheduler stands for: ``"step"`` (an update) or ``"epoch"``.

    Raises:
        ValueError: ``factory`` makes no scheduler, or one that waits for a metric (when the plan is resolved).

    Example:
        >>> from functools import partial
        >>> from torch.optim.lr_scheduler import StepLR
        >>> schedule = TorchSchedule(factory=partial(StepLR, step_size=30), warmup=2)
        >>> curve = schedule.resolve(Horizon(total_steps=100), peak=0.1)
        >>> round(curve(0), 3), round(curve(29), 3), round(curve(30), 3)
        (0.5, 1.0, 0.1)
    """

    factory: Callable[[Any], Any]
    interval: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._one_of("interval", ("step", "epoch"))
        if not callable(self.factory):
            raise ValueError(
                f"factory={self.factory!r}: must make a scheduler when it is called with an optimizer, as "
                "functools.partial(StepLR, step_size=30) does; in YAML: _target_, _partial_: true"
            )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchSchedule) and self.describe() == other.describe()

    __hash__ = None  # type: ignore[assignment]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "factory": _describe_call(self.factory)}

    def _body(self, run: _Run) -> _Body:
        from lr_recipes.scheduler import TorchFactors

        if run.peak is None:
            raise ValueError("a TorchSchedule needs the peak LR: resolve(horizon, peak=...)")
        torch_scheduler, which = TorchFactors(self.factory, run.peak), self._which(run.horizon)
        last = FOREVER if run.total is None else run.total - 1
        momentum: Factor | None = None
        if torch_scheduler.cycles_momentum:
            momentum = lambda t: torch_scheduler.momentum(which(min(t, last)))  # noqa: E731
        # Running it to its end now shows at once whether it can run that far.
        end = 0.0 if run.total is None else torch_scheduler.factor(which(last))
        return _Body(lambda t: torch_scheduler.factor(which(t)), end, [("torch", 0)], momentum, during_warmup=True)

    def _which(self, horizon: Horizon) -> Callable[[int], int]:
        """Position -> how often the scheduler has stepped by then."""
        if self.interval == "step":
            return lambda t: t
        horizon.steps("1 epoch", "interval")  # says what is missing where epochs have no length
        return lambda t: int(horizon.epoch_of(t) or 0)


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

    schedules: SequenceOf[Schedule]
    milestones: SequenceOf[Length]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "schedules", _as_tuple(self.schedules, "schedules", "[Fixed(), Linear()]"))
        object.__setattr__(self, "milestones", _milestones(self.milestones, "['50%']"))
        for phase in self.schedules:
            if not isinstance(phase, Schedule) or isinstance(phase, Plateau):
                raise ValueError(f"schedules: {phase!r} cannot be a phase; phases are schedules other than Plateau")
        if len(self.schedules) != len(self.milestones) + 1:
            raise ValueError(
                f"{len(self.schedules)} schedules and {len(self.milestones)} milestones: "
                "there must be one milestone fewer than schedules"
            )

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "schedules": [phase.describe() for phase in self.schedules]}

    def _body(self, run: _Run) -> _Body:
        marks = _rising(self.milestones, run.horizon)
        if run.total is not None and marks[-1] >= run.total:
            raise ValueError(
                f"milestones={list(self.milestones)!r}: the last phase would begin at update {marks[-1]:,}, and the "
                f"run does {run.total:,}. Move the milestone forward or train longer"
            )
        starts = [0, *marks]
        lengths = [end - start for start, end in zip(starts, marks, strict=False)]
        lengths_or_none = [*lengths, None if run.total is None else run.total - marks[-1]]
        parts = [run.horizon.part(start, length) for start, length in zip(starts, lengths_or_none, strict=True)]
        curves = [
            phase._curve(part, run.peak, f"phase {k}")
            for k, (phase, part) in enumerate(zip(self.schedules, parts, strict=True), start=1)
        ]
        for phase, curve in zip(self.schedules, curves, strict=True):
            if curve.momentum is not None:
                raise ValueError(
                    f"schedules: the phase {phase!r} moves the momentum too, which cannot change phase by phase: "
                    "set its cycle_momentum=False"
                )

        def factor(t: int) -> float:
            k = bisect_right(marks, t)
            return curves[k].factor(t - starts[k])

        phases = [
            (phase.name, start + phase.first)
            for start, curve in zip(starts, curves, strict=True)
            for phase in curve.phases
        ]
        return _Body(factor, curves[-1].end, phases, during_warmup=True)


def from_description(description: dict[str, Any]) -> Schedule:
    """Build a schedule from what ``describe()`` returned.

    Example:
        >>> from_description(Cosine(warmup="10%").describe())
        Cosine(warmup='10%')
    """
    fields = dict(description)
    name = fields.pop("schedule")
    kind = {kind.__name__: kind for kind in _kinds(Schedule)}.get(name)
    if kind is None:
        raise ValueError(f"schedule={name!r} is not known here: import the module that defines it first")
    if "schedules" in fields:
        fields["schedules"] = [from_description(phase) for phase in fields["schedules"]]
    if "factory" in fields:
        fields["factory"] = _call_from(fields["factory"])
    return kind(**fields)


def _kinds(kind: type[Schedule]) -> list[type[Schedule]]:
    """The class and all that are made from it, a user's own included."""
    return [kind, *(found for below in kind.__subclasses__() for found in _kinds(below))]


def _describe_call(call: Any) -> dict[str, Any]:
    """A callable as plain values: the name of what it calls and, for a ``functools.partial``, its arguments."""
    function, args, kwargs = getattr(call, "func", call), getattr(call, "args", ()), getattr(call, "keywords", {})
    name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
    return {
        "calls": name,
        "args": [_plain_argument(value) for value in args],
        "kwargs": {key: _plain_argument(value) for key, value in kwargs.items()},
    }


def _plain_argument(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain_argument(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return _describe_call(value) if callable(value) else repr(value)


def _call_from(description: Any) -> Any:
    """Build a scheduler's factory from its description, where it is torch's own and its arguments are plain."""
    module, _, name = description["calls"].rpartition(".")
    given = [*description["args"], *description["kwargs"].values()]
    if module != "torch.optim.lr_scheduler" or any(isinstance(value, dict) for value in given):
        raise ValueError(
            f"the checkpoint's schedule, {description['calls']}, cannot be built from a checkpoint: give the same one "
            "in the settings"
        )
    return partial(getattr(importlib.import_module(module), name), *description["args"], **description["kwargs"])


def _stepwise(factor: Factor, run: _Run, name: str) -> _Body:
    """Body of a staircase: its end is the level of the last update."""
    return _Body(factor, 0.0 if run.total is None else factor(run.total - 1), [(name, 0)], during_warmup=True)


def _cut_at(cuts: SequenceOf[int], gamma: float, run: _Run, name: str) -> _Body:
    return _stepwise(lambda t: gamma ** bisect_right(cuts, t), run, name)


def _stretches(marks: SequenceOf[int]) -> Callable[[int], float]:
    """Position -> how many of the stretches that end at ``marks`` have passed, parts of one included."""
    if isinstance(marks, range):
        length = marks.step
        return lambda t: t / length

    def passed(t: int) -> float:
        k = bisect_right(marks, t)
        start = marks[k - 1] if k else 0
        return k + (t - start) / (marks[k] - start)

    return passed


def _milestones(given: Any, example: str) -> tuple[Length, ...]:
    """Milestones as a tuple of plain values, each a duration."""
    milestones = _as_tuple(given, "milestones", example)
    for milestone in milestones:
        Duration.parse(milestone, "milestones", minimum=1)
    return tuple(map(_plain_length, milestones))


def _rising(milestones: SequenceOf[Length], horizon: Horizon) -> list[int]:
    """Milestones in steps; they must rise, whatever their units."""
    steps = [horizon.steps(milestone, "milestones") for milestone in milestones]
    for before, after, given in zip(steps, steps[1:], milestones[1:], strict=False):
        if after <= before:
            raise ValueError(
                f"milestones={list(milestones)!r}: {given!r} does not come after the one before it; sort them"
            )
    return steps


def _default_start(warmup_type: str, warmup: int) -> float:
    return {"exponential": 1 / max(warmup, 1), "constant": 1 / 3}.get(warmup_type, 0.0)


def _default(schedule: Schedule, name: str) -> Any:
    return type(schedule).__dataclass_fields__[name].default


def _as_tuple(given: Any, name: str, example: str) -> tuple[Any, ...]:
    """Any list-like value, such as a config's list, as a tuple that is not empty."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable) or not (found := tuple(given)):
        raise ValueError(f"{name}={given!r}: must be a list that is not empty, as in {example}")
    return found


def _plain_length(value: Any) -> Any:
    return str(value) if isinstance(value, Duration) else value


def _to_plain(value: Any) -> Any:
    """A list for a tuple, and a float for what only behaves as one, such as numpy's."""
    if isinstance(value, tuple):
        return list(value)
    return float(value) if isinstance(value, float) else value
