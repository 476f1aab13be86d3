"""What a scheduler was told, in plain values: its settings, how long it lasts, whether it is to climb again.

torch's classes are known by their attributes, and so are those of transformers (functions with their settings bound)
and timm. Of any other class what is there under the usual names is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from lr_recipes.optimizer.internals import joints_of, parts_of
from lr_recipes.plan.series import Ticked

# A setting that says how many ticks a scheduler lasts, in the order in which one is believed.
LENGTHS = ("T_max", "total_steps", "total_iters", "t_initial", "num_training_steps", "max_epochs", "max_iters")
_ARGUMENTS = (
    *LENGTHS,
    *("eta_min", "milestones", "step_size", "gamma", "factor", "start_factor", "end_factor", "power", "T_0", "T_mult"),
    *("patience", "cooldown", "threshold", "mode", "num_warmup_steps", "num_cycles", "warmup_epochs", "warmup_t"),
    *("warmup_iters", "step_size_up", "step_size_down", "lr_min", "min_lr", "decay_t", "cycle_limit"),
)
_MEANT = ("restart", "cycl", "sgdr", "triangular", "sawtooth")  # in the name of a class or a function


def described(scheduler: Any, interval: str = "", frequency: int = 1) -> Ticked:
    """Return what a scheduler was told."""
    own = arguments_of(scheduler)
    parts = [described(one) for one in parts_of(scheduler)]
    told, length = _lasts(scheduler, own, parts)
    kind = type(scheduler).__name__
    functions = [getattr(one, "__qualname__", type(one).__name__) for one in _functions(scheduler)]
    meant = any(word in name.lower() for name in (kind, *functions) for word in _MEANT) and kind != "OneCycleLR"
    return Ticked(
        kind,
        interval,
        frequency,
        settings=own,
        length=length,
        told=told,
        restarts=(meant or own.get("cycle_limit", 1) > 1 or any(one.restarts for one in parts)),
        apart=_apart(scheduler),
        parts=parts,
        done=max(int(getattr(scheduler, "last_epoch", 0) or 0), 0),
    )


def arguments_of(scheduler: Any) -> dict[str, Any]:
    """Return the settings of a scheduler by the names of its arguments, as plain values."""
    found: dict[str, Any] = {}
    for function in _functions(scheduler):
        for name, value in _bound(function).items():
            found.setdefault(name, value)
    for name, value in vars(scheduler).items():
        if name in _ARGUMENTS and _is_plain(value):
            found[name] = sorted(value.elements()) if hasattr(value, "elements") else value
    milestones = joints_of(scheduler)
    return found if milestones is None else {**found, "milestones": list(milestones)}


def _functions(scheduler: Any) -> list[Any]:
    """The functions that a LambdaLR or a MultiplicativeLR multiplies by."""
    return list(getattr(scheduler, "lr_lambdas", ()))


def _bound(function: Any) -> dict[str, Any]:
    """What a function was given beforehand: by ``partial``, in its closure, as the attributes of its object."""
    given: dict[str, Any] = {}
    while isinstance(function, partial):
        given = {**function.keywords, **given}
        function = function.func
    closure = getattr(function, "__closure__", None) or ()
    for name, cell in zip(getattr(getattr(function, "__code__", None), "co_freevars", ()), closure, strict=False):
        try:
            given.setdefault(name, cell.cell_contents)
        except ValueError:  # not set yet
            continue
    if not hasattr(function, "__code__"):
        given.update(vars(function) if hasattr(function, "__dict__") else {})
    return {name: value for name, value in given.items() if isinstance(value, (int, float))}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)) or hasattr(value, "elements"):
        return all(isinstance(one, (int, float)) for one in value)
    return isinstance(value, (bool, int, float, str))


def _lasts(scheduler: Any, own: Mapping[str, Any], parts: list[Ticked]) -> tuple[str, float | None]:
    """Name of the setting that says how long it lasts, and how many ticks that is."""
    kind = type(scheduler).__name__
    if kind == "SequentialLR" and parts:
        last = parts[-1]
        begins = own["milestones"][-1] if own.get("milestones") else 0
        return last.told, None if last.length is None else begins + last.length
    if parts:
        lasting = [(one.length, one.told) for one in parts if one.length is not None]
        length, told = max(lasting, default=(None, ""))
        return told, length
    if kind in ("ConstantLR", "CosineAnnealingWarmRestarts", "CyclicLR", "SWALR"):
        return "", None
    if kind == "LinearLR" and own["end_factor"] >= own["start_factor"]:  # a warmup, after which all goes on
        return "", None
    for name in LENGTHS:
        value = own.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return name, value
    return "", None


def _apart(scheduler: Any) -> bool:
    """Whether the groups were told apart: each by a function of its own, or by a list of other ratios."""
    functions = _functions(scheduler)
    if len({id(one) for one in functions}) > 1:
        codes = [(getattr(one, "__code__", one), tuple(sorted(_bound(one).items()))) for one in functions]
        if any(one != codes[0] for one in codes):
            return True
    return any(_apart(one) for one in parts_of(scheduler))
