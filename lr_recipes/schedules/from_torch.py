"""Any scheduler of torch as a schedule, and the call that makes it in plain words, for checkpoints.

The scheduler itself is run in ``optimizer/forecast.py``; here it becomes what any schedule is: fields, a description, a
shape.
"""

from __future__ import annotations

import copy
import importlib
from collections import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lr_recipes import checks
from lr_recipes.plan.built import Built
from lr_recipes.plan.curve import FOREVER, Factor, Shape
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import INTERVALS, Plan
from lr_recipes.plan.state import TEXT, ByName, Entries, ListOf, Value
from lr_recipes.schedules.base import Schedule, Span

if TYPE_CHECKING:  # jsonargparse reads this too: where a type says so, it takes a class for what makes one of its kind
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from lr_recipes.optimizer.forecast import TorchFactors

    SchedulerFactory = Callable[[Optimizer], LRScheduler] | Callable[[Any], Any]
else:  # torch takes seconds to import, and OmegaConf, with which loggers write hyper-parameters, refuses such a union
    SchedulerFactory = Callable[[Any], Any]


_TORCHS = "torch.optim.lr_scheduler"
_ANY = Value("a plain value", lambda value: True)
_CALL = Entries({"calls": TEXT, "args": ListOf(_ANY), "kwargs": ByName(TEXT, _ANY)})  # see `describe_call`


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TorchSchedule(Schedule):
    """Any ``torch.optim.lr_scheduler`` as a source of factors: what it does to the peak, divided by the peak.

    The scheduler runs once, on an optimizer of its own that holds the largest base LR; so its absolute settings, such
    as ``eta_min`` or ``max_lr``, are of that scale, and all groups keep their ratios. A ``warmup`` multiplies its first
    updates.

    A scheduler that is given a list, with an entry for each parameter group, sets each group apart: it runs on groups
    with the optimizer's own LRs, and every group uses what torch gives it.

    Args:
        factory: optimizer -> scheduler, such as ``functools.partial(StepLR, step_size=30)``.
        interval: what one ``step()`` of the scheduler stands for: ``"step"`` (an update) or ``"epoch"``.

    Raises:
        ValueError: ``factory`` makes no scheduler, one for another number of groups, or one that waits for a metric;
            or it sets an LR where the optimizer's is 0 (when the plan is resolved).

    Example:
        >>> from functools import partial
        >>> from torch.optim.lr_scheduler import StepLR
        >>> schedule = TorchSchedule(factory=partial(StepLR, step_size=30), warmup=2)
        >>> curve = schedule.resolve(Horizon(total_steps=100), peak=0.1)
        >>> round(curve(0), 3), round(curve(29), 3), round(curve(30), 3)
        (0.5, 1.0, 0.1)
    """

    factory: SchedulerFactory
    interval: str = "step"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_one_of("interval", INTERVALS)
        if not callable(self.factory):
            raise ValueError(
                f"factory={checks.brief(self.factory)}: must make a scheduler when it is called with an optimizer, as "
                "functools.partial(StepLR, step_size=30) does; in YAML: _target_, _partial_: true"
            )
        object.__setattr__(self, "factory", _with_plain(self.factory))  # the class is frozen; this is its construction

    # Two `functools.partial` of the same call are not equal, but their descriptions are.

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchSchedule) and self.describe() == other.describe()

    __hash__ = None  # type: ignore[assignment]

    @staticmethod
    def equal(value: Any, other: Any) -> bool:
        both_calls = callable(value) and callable(other)
        return describe_call(value) == describe_call(other) if both_calls else bool(value == other)

    # In a pickle a factory of torch's is plain words, as in a checkpoint, and so loads with `weights_only=True`.

    def __getstate__(self) -> dict[str, Any]:
        call = describe_call(self.factory)
        try:
            _call_from(call)
        except ValueError:  # somebody's own code, which only a pickle can hold
            return vars(self)
        return {**vars(self), "factory": call}

    def __setstate__(self, state: dict[str, Any]) -> None:
        factory = state["factory"]
        super().__setstate__({**state, "factory": _call_from(factory) if isinstance(factory, dict) else factory})

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "factory": describe_call(self.factory)}

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> Schedule:
        return cls(**{**fields, "factory": _call_from(fields["factory"])})

    def plan(self, horizon: Horizon | int | str, base_lrs: Sequence[float], peak: float | None = None) -> Plan:
        from lr_recipes.optimizer.forecast import TorchFactors  # torch takes seconds to import

        horizon = Horizon.of(horizon)
        if len(base_lrs) < 2:
            return super().plan(horizon, base_lrs, peak)
        top = Built.of(base_lrs).peak() if peak is None else peak
        if self._treats_groups_alike(len(base_lrs), top):
            return super().plan(horizon, base_lrs, top)
        # Whoever sets each group apart has said what each one's LR shall be: nothing is brought into a ratio, and every
        # group is run at its own LR.
        run = TorchFactors(self.factory, base_lrs)
        curves = [
            self.curve_of(horizon, top, "the run", partial(self._shape_of, run, group))
            for group in range(len(base_lrs))
        ]
        self.warn_of_warmup(curves[0], horizon)
        return Plan.by_group(self, horizon, curves, base_lrs, top)

    def _treats_groups_alike(self, count: int, peak: float) -> bool:
        from lr_recipes.optimizer.forecast import TorchFactors, treats_groups_alike

        try:
            TorchFactors(self.factory, [peak])
        except ValueError:  # a list has an entry for each group: for one group it is too long
            return False
        return treats_groups_alike(self.factory, count)

    def shape(self, span: Span) -> Shape:
        from lr_recipes.optimizer.forecast import TorchFactors

        if span.peak is None:
            raise ValueError("a TorchSchedule needs the peak LR: resolve(horizon, peak=...) or preview(..., lr=...)")
        shape = self._shape_of(TorchFactors(self.factory, [span.peak]), 0, span)
        if span.peak:
            return shape
        # An LR of 0 stays 0, as has been made sure of. Its factors are those of any other LR: a group may join later.
        return self._shape_of(TorchFactors(self.factory, [1.0]), 0, span)

    def _shape_of(self, run: TorchFactors, group: int, span: Span) -> Shape:
        """What a scheduler does to a group of the stand-in that it runs on."""
        which = self._which(span.horizon)
        last = FOREVER if span.total is None else span.total - 1  # the last update of the plan
        beside: dict[str, Factor] = {}
        if run.cycles_momentum:
            # Past the plan the LR stays at `end`, and the momentum at that of the last update.
            beside["momentum"] = lambda t: run.momentum(which(min(t, last)), group)
        # Running it to its end now shows at once whether it can run that far.
        end = 0.0 if span.total is None else run.factor(which(last), group)
        factor: Factor = lambda t: run.factor(which(t), group)  # noqa: E731 - beside the one above
        return Shape(factor, end, [("torch", 0)], during_warmup=True, beside=beside)

    def _which(self, horizon: Horizon) -> Callable[[int], int]:
        """Position -> how often the scheduler has stepped by then."""
        if horizon.timed:
            raise ValueError(
                f"{self!r} is stepped after each update, and this run follows the clock: take a schedule of "
                "lr_recipes.schedules, such as schedules.Cosine(), or let the run count updates"
            )
        if self.interval == "step":
            return lambda t: t  # stepped after every update: t times before update t
        horizon.steps("1 epoch", "interval")  # says what is missing where epochs have no length
        return lambda t: int(horizon.epoch_of(t) or 0)


def _with_plain(call: Any) -> Any:
    """A ``functools.partial`` whose list-like arguments are lists, of plain numbers; anything else as it is."""
    # Hydra passes a ListConfig, which torch takes for a single value. Its partials are of a class of their own, with
    # more attributes, so one is copied and not built anew.
    if not isinstance(call, partial):
        return call
    # jsonargparse's are of something of its own, which is given the class: what is to be saved is a call of that.
    kinds = [one for one in call.args if isinstance(one, type)]
    if kinds and getattr(call.func, "__module__", "").startswith("jsonargparse"):
        call = partial(kinds[0], **call.keywords)
    plain: Any = copy.copy(call)
    args, kwargs = map(_plain, call.args), {key: _plain(value) for key, value in call.keywords.items()}
    plain.__setstate__((call.func, tuple(args), kwargs, vars(call)))
    return plain


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays, and tensors
        return value.tolist()
    if isinstance(value, abc.Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value


def describe_call(call: Any) -> dict[str, Any]:
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
        return checks.plain(value)
    return describe_call(value) if callable(value) else repr(value)


def _has_call(given: list[Any]) -> bool:
    """Whether there is a callable among plain arguments, in a list of them too."""
    return any(isinstance(value, dict) or (isinstance(value, list) and _has_call(value)) for value in given)


def _call_from(description: Any) -> Any:
    """Build a scheduler's factory from its description, where it is torch's own and its arguments are plain."""
    fault = _CALL.fault(description, "factory")
    if fault:
        raise ValueError(f"{fault}: give the schedule in the settings")
    # A checkpoint may come from anywhere: it must not name just any code to be called.
    module, _, name = description["calls"].rpartition(".")
    given = [*description["args"], *description["kwargs"].values()]
    found = importlib.import_module(_TORCHS) if module == _TORCHS else None
    kind = getattr(found, name, None)
    if found is None or not isinstance(kind, type) or not issubclass(kind, found.LRScheduler) or _has_call(given):
        raise not_from_a_checkpoint(description["calls"])
    return partial(kind, *description["args"], **description["kwargs"])


def not_from_a_checkpoint(name: str) -> ValueError:
    """What is said where a checkpoint names code of somebody's own."""
    return ValueError(
        f"the checkpoint's schedule, {checks.one_line(name)}, cannot be built from a checkpoint: give the same one in "
        "the settings"
    )
