"""Schedules that come round again: a cycle, and then the next one. No torch, no state.

In the formulas ``t`` is the position, ``W`` the warmup steps, ``T`` the total steps and ``m`` the floor as a ratio of
the peak; ``k`` counts the cycles from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lr_recipes import checks
from lr_recipes.plan.curve import Shape
from lr_recipes.plan.horizon import Duration, Marks
from lr_recipes.schedules.base import Length, Span, ToFloor

__all__ = ["CosineRestarts", "Cyclic"]


_LISTED = 10_000  # cycles that are phases of their own; more are one phase, for nobody reads so many names
HEIGHTS = ("triangular", "triangular2", "exp_range")

Cycle = tuple[int, int, int]  # its number, its first update, and the first update of the next one


@dataclass(frozen=True, kw_only=True, repr=False)
class CosineRestarts(ToFloor):
    """Cosine cycles one after another: in cycle k with progress q, m + (h - m) (1 + cos(pi q)) / 2.

    Each starts at h = max(cycle_decay^k, m). They begin at the end of the warmup.

    Args:
        cycle: length of the first cycle, a duration.
        cycles: how many cycles fill the run, in place of ``cycle``.
        cycle_mult: each cycle is this many times as long as the one before, at least 1.
        cycle_decay: each cycle starts at this share of the start of the one before, in (0, 1].

    Source: Loshchilov and Hutter 2017, https://arxiv.org/abs/1608.03983; torch ``CosineAnnealingWarmRestarts``.

    Example:
        >>> curve = CosineRestarts(cycle=10, cycle_mult=2).resolve(30)
        >>> curve(5), curve(10), curve(20), curve(30)
        (0.5, 1.0, 0.5, 0.0)
        >>> CosineRestarts(cycles=2).resolve(100)(50)
        1.0
    """

    cycle: Length | None = None
    cycles: int | None = None
    cycle_mult: float = 1.0
    cycle_decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_cycles(self)
        self.check_number("cycle_mult", 1, checks.MOST)
        self.check_number("cycle_decay", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        floor, decay = span.floor, self.cycle_decay

        def factor(cycle: Cycle, t: int) -> float:
            k, start, end = cycle
            high, progress = max(decay**k, floor), (t - start) / (end - start)
            return floor + (high - floor) * (1 + math.cos(math.pi * progress)) / 2

        return _in_cycles(self, factor, span, span.warmup, self.cycle_mult)


@dataclass(frozen=True, kw_only=True, repr=False)
class Cyclic(ToFloor):
    """Straight up from the floor to the peak and down again: m + (1 - m) h s, with s the share of the way up, 0 to 1.

    The height h is, by ``mode``, ``triangular`` 1, ``triangular2`` 1 / 2^k and ``exp_range`` gamma^t. Cycles count from
    the start of training, and a ``warmup`` multiplies the first updates on top. Without a floor the first update of
    each cycle uses 0.

    Args:
        cycle: length of a cycle, up and down, a duration.
        cycles: how many cycles fill the run, in place of ``cycle``.
        pct_start: share of the cycle that goes up, in [0, 1].
        mode: how high the cycles go.
        gamma: factor of each update for ``exp_range``, in (0, 1].

    Source: Smith 2017, https://arxiv.org/abs/1506.01186; torch ``CyclicLR``.

    Example:
        >>> curve = Cyclic(cycle=40, mode="triangular2", min_lr_ratio=0.5).resolve(100)
        >>> curve(0), curve(10), curve(20), curve(40), curve(60)
        (0.5, 0.75, 1.0, 0.5, 0.75)
    """

    cycle: Length | None = None
    cycles: int | None = None
    pct_start: float = 0.5
    mode: str = "triangular"
    gamma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_cycles(self)
        self.check_number("pct_start", 0, 1)
        self.check_one_of("mode", HEIGHTS)
        self.check_number("gamma", 0, 1, above=True)

    def shape(self, span: Span) -> Shape:
        floor, up, gamma = span.floor, self.pct_start, self.gamma
        heights: dict[str, Callable[[int, int], float]] = {
            "triangular": lambda k, t: 1.0,
            "triangular2": lambda k, t: 0.5**k,
            "exp_range": lambda k, t: gamma**t,
        }
        height = heights[self.mode]

        def factor(cycle: Cycle, t: int) -> float:
            k, start, end = cycle
            turn = start + up * (end - start)  # where it lies between two updates, none uses the peak
            share = (t - start) / (turn - start) if t < turn else (end - t) / (end - turn) if turn < end else 1.0
            return floor + (1 - floor) * height(k, t) * share

        return _in_cycles(self, factor, span, 0, 1.0)


def _check_cycles(schedule: CosineRestarts | Cyclic) -> None:
    cycle, cycles = schedule.cycle, schedule.cycles
    if (cycle is None) == (cycles is None):
        raise ValueError(
            f"cycle={checks.brief(cycle)} and cycles={checks.brief(cycles)}: give one of them, the length of a cycle, "
            "as in cycle='10 epochs', or how many fill the run, as in cycles=4, and set the other to null (None)"
        )
    if cycles is None:
        schedule.check_length("cycle", minimum=1)
    elif not checks.is_whole(cycles):
        raise ValueError(f"cycles={checks.brief(cycles)}: must be a whole number of cycles, at least 1, as in cycles=4")


def _in_cycles(
    schedule: CosineRestarts | Cyclic, factor: Callable[[Cycle, int], float], span: Span, first: int, growth: float
) -> Shape:
    """The shape of cycles that begin at update ``first``.

    Args:
        factor: a cycle and an update, both counted from ``first`` on -> factor.
        growth: each cycle is so many times as long as the one before.
    """
    # Epochs are those from the first cycle on; "%" is of the whole run all the same. Each cycle is rounded from the
    # start: rounded lengths would add up to another end of the run, and a cycle too many.
    length = schedule.cycle if schedule.cycles is None else _first_of(schedule.cycles, span, first, growth)
    ends = span.horizon.part(first, span.total).every(length, "cycle", growth)  # type: ignore[arg-type] # one is given
    around, during_warmup = _around(ends), first < span.warmup

    def at(t: int) -> float:
        return factor(around(t - first), t - first)

    if span.total is None:
        return Shape(at, span.floor, [("cycles", first)], during_warmup=during_warmup)
    # Where the run ends with a cycle, that cycle's end, not the next one's start.
    updates = span.total - first
    last = around(max(updates - 1, 0))
    count = last[0] + 1
    starts = [0, *(ends[k] for k in range(count - 1))] if count <= _LISTED else []
    phases = [(f"cycle {k}", first + start) for k, start in enumerate(starts, start=1)]
    return Shape(at, factor(last, updates), phases or [("cycles", first)], during_warmup=during_warmup)


def _first_of(cycles: int, span: Span, first: int, growth: float) -> Duration:
    """How long the first cycle is where ``cycles`` of them fill the run from update ``first`` on."""
    updates = span.horizon.need_total(f"cycles={cycles}") - first
    many = cycles * math.log(growth) > math.log(checks.MOST)  # longer than any run, and perhaps than any float
    whole = math.inf if many else cycles if growth == 1 else (growth**cycles - 1) / (growth - 1)
    if 0 < updates < whole:  # a run that is all warmup does none of them
        raise ValueError(
            f"cycles={cycles}: the first one would be shorter than an update, for {span.horizon.in_words(updates)} are "
            "left for all of them. Take fewer or train longer"
        )
    return span.horizon.lasting(max(updates / whole, 1))


def _around(marks: range | Marks) -> Callable[[int], tuple[int, int, int]]:
    """Position -> how many marks it has reached, the last of these (0 for none) and the next one."""
    if isinstance(marks, Marks):
        return marks.around
    size = marks.step

    def around(t: int) -> tuple[int, int, int]:
        k = t // size
        return k, k * size, (k + 1) * size

    return around
