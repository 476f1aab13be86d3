"""Any scheduler of torch as a schedule, and the call that makes it in plain words, for checkpoints.

The scheduler itself is run in ``optimizer/forecast.py``; here it becomes what any schedule is: fields, a description, a
shape.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from lr_recipes.plan.curve import FOREVER, Factor, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import INTERVALS
from lr_recipes.schedules.base import Schedule, Span


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
        self.check_one_of("interval", INTERVALS)
        if not callable(self.factory):
            raise ValueError(
                f"factory={self.factory!r}: must make a scheduler when it is called with an optimizer, as "
                "functools.partial(StepLR, step_size=30) does; in YAML: _target_, _partial_: true"
            )

    # Two `functools.partial` of the same call are not equal, but their descriptions are.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchSchedule) and self.describe() == other.describe()

    __hash__ = None  # type: ignore[assignment]

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "factory": _describe_call(self.factory)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        return cls(**{**fields, "factory": _call_from(fields["factory"])})

    def shape(self, span: Span) -> Shape:
        from lr_recipes.optimizer.forecast import TorchFactors  # torch takes seconds to import

        if span.peak is None:
            raise ValueError("a TorchSchedule needs the peak LR: resolve(horizon, peak=...) or preview(..., lr=...)")
        torch_scheduler, which = TorchFactors(self.factory, span.peak), self._which(span.horizon)
        last = FOREVER if span.total is None else span.total - 1  # the last update of the plan
        momentum: Factor | None = None
        if torch_scheduler.cycles_momentum:
            # Past the plan the LR stays at `end`, and the momentum at that of the last update.
            momentum = lambda t: torch_scheduler.momentum(which(min(t, last)))  # noqa: E731
        # Running it to its end now shows at once whether it can run that far.
        end = 0.0 if span.total is None else torch_scheduler.factor(which(last))
        return Shape(lambda t: torch_scheduler.factor(which(t)), end, [("torch", 0)], momentum, during_warmup=True)

    def _which(self, horizon: Horizon) -> Callable[[int], int]:
        """Position -> how often the scheduler has stepped by then."""
        if self.interval == "step":
            return lambda t: t  # stepped after every update: t times before update t
        horizon.steps("1 epoch", "interval")  # says what is missing where epochs have no length
        return lambda t: int(horizon.epoch_of(t) or 0)


def _describe_call(call: Any) -> dict[str, Any]:
    """A callable as plain values: the name of what it calls and, for a ``functools.partial``, its arguments."""
    # `func`, `args` and `keywords` are what a functools.partial has; Hydra makes one of `_partial_: true`.
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
    # A checkpoint may come from anywhere: it must not name just any code to be called.
    module, _, name = description["calls"].rpartition(".")
    given = [*description["args"], *description["kwargs"].values()]
    if module != "torch.optim.lr_scheduler" or any(isinstance(value, dict) for value in given):
        raise ValueError(
            f"the checkpoint's schedule, {description['calls']}, cannot be built from a checkpoint: give the same one "
            "in the settings"
        )
    return partial(getattr(importlib.import_module(module), name), *description["args"], **description["kwargs"])
