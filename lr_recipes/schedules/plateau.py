"""The schedule that reacts to a metric: pure functions on what it has seen.

Where the metric comes from, and when it is fresh, is decided by who owns the LR (``callbacks/``). No torch, no state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lr_recipes import checks
from lr_recipes.plan.curve import Shape
from lr_recipes.plan.plan import Reaction
from lr_recipes.plan.state import COUNT, NUMBER, Entries, Form, Maybe, Value
from lr_recipes.schedules.base import Span, ToFloor


@dataclass(frozen=True)
class PlateauState:
    """What a plateau has seen: plain numbers, one state after each fresh value."""

    best: float | None = None
    bad: int = 0
    cooldown: int = 0
    reductions: int = 0


_COUNTED = ("bad", "cooldown", "reductions")


@dataclass(frozen=True, kw_only=True, repr=False)
class Plateau(ToFloor):
    """A cut whenever a metric has stopped improving: max(factor^(number of reductions so far), m).

    Args:
        monitor: name of the logged metric, of the validation or of the epoch of training.
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
            raise ValueError(
                f"monitor={checks.brief(self.monitor)}: must be the name of a logged metric, as in 'val_loss'"
            )
        self.check_one_of("mode", ("min", "max"))
        self.check_one_of("threshold_mode", ("rel", "abs"))
        self.check_number("factor", 0, 1, above=True)
        if self.factor == 1:
            raise ValueError("factor=1: a cut must lower the LR; choose a factor below 1, as in 0.1")
        self.check_number("threshold", 0)
        for name in ("patience", "cooldown"):
            self.check_number(name, 0)
            if not isinstance(getattr(self, name), int):
                raise ValueError(f"{name}={checks.brief(getattr(self, name))}: must be a whole number of validations")

    def shape(self, span: Span) -> Shape:
        # The position decides the warmup alone; the cuts multiply this curve, whatever the position (`scale`).
        return Shape(lambda t: 1.0, 1.0, [("plateau", span.warmup)])

    def reaction(self) -> Reaction[PlateauState]:
        return self

    def seen(self, saved: dict[str, Any] | None = None) -> PlateauState:
        """Return what was seen: nothing yet, or what was saved."""
        return PlateauState(**{name: saved[name] for name in ("best", *_COUNTED)}) if saved else PlateauState()

    @property
    def form(self) -> Form:
        """What must be saved of what was seen."""
        best = Value("a number", lambda value: not NUMBER.fault(value) and not math.isnan(value))
        return Entries({"best": Maybe(best), **dict.fromkeys(_COUNTED, COUNT)})

    def can_have_seen(self, state: PlateauState) -> bool:
        """Whether there are values of the metric that lead to a state."""
        if state.cooldown and (state.bad or not state.reductions):  # it begins with a cut, and nothing is bad in it
            return False
        return state.bad <= self.patience and state.cooldown <= self.cooldown

    def observe(self, state: PlateauState, value: float) -> PlateauState:
        """Return the state after one fresh validation result; a value that is not a number changes nothing."""
        value = float(value)  # numpy's number or a tensor: the best one is saved
        if math.isnan(value):
            return state
        better = self._is_better(value, state.best)
        best = value if better else state.best
        bad = 0 if better or state.cooldown else state.bad + 1
        cooldown = max(state.cooldown - 1, 0)
        # As in torch: with patience=2 the first two bad results are tolerated, and the third in a row cuts.
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
        if best is None:  # anything is better than nothing, but for the infinity that is the worst there is
            return not math.isinf(value) or (value > 0) == (self.mode == "max")
        # Of the size of the best: torch takes the best itself, so that of a negative metric a slightly worse value
        # counts as better.
        margin = self.threshold * abs(best) if self.threshold_mode == "rel" else self.threshold
        return value < best - margin if self.mode == "min" else value > best + margin
