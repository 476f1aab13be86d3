"""Schedules whose course is drawn by hand: from one factor to another, also above 1. No torch, no state.

Where a schedule of ``catalogue.py`` knows its formula, the one who uses these says where it goes. In the formulas ``t``
is the position, ``W`` the warmup steps and ``T`` the total steps.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass

from lr_recipes.plan.curve import Curve, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules.base import Length, Schedule, Span
from lr_recipes.schedules.ways import WAYS, check_way, way

__all__ = ["Ramp"]


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
        check_way(self.shape, {"start": self.start, "end": self.end}, "shape")
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
