"""Says which of torch's schedulers a state was saved by, and where it stands: Lightning saves no names. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lr_recipes.checks import is_finite, is_whole
from lr_recipes.plan.state import whole
from lr_recipes.report.checkpoint_file import plain_of

# What every scheduler saves, and what says where one stands; the rest is settings.
_POSITION = {"base_lrs", "last_lrs", "last_epoch", "verbose", "schedulers"}
_COUNTERS = {"best", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
# Class -> the settings that tell it from others, and those that only some have, or some versions of torch save. Two
# classes that save the same have one row.
_SCHEDULERS: dict[str, tuple[str, str]] = {
    "LambdaLR or MultiplicativeLR": ("lr_lambdas", ""),
    "StepLR": ("step_size gamma", ""),
    "MultiStepLR": ("milestones gamma", ""),
    "ConstantLR": ("factor total_iters", ""),
    "LinearLR": ("start_factor end_factor total_iters", ""),
    "ExponentialLR": ("gamma", ""),
    "PolynomialLR": ("total_iters power", ""),
    "CosineAnnealingLR": ("T_max eta_min", ""),
    "CosineAnnealingWarmRestarts": ("T_0 T_mult eta_min", ""),
    "CyclicLR": (
        "max_lrs total_size step_ratio mode gamma scale_mode cycle_momentum",
        "use_beta1 base_momentums max_momentums",
    ),
    "OneCycleLR": ("total_steps phases cycle_momentum", "use_beta1 anneal_strategy anneal_func"),
    "ReduceLROnPlateau": (
        "factor patience cooldown eps mode threshold threshold_mode min_lrs mode_worse",
        "default_min_lr",
    ),
    "SequentialLR": ("milestones", ""),
    "ChainedScheduler": ("", ""),
    "SWALR": ("anneal_epochs", "anneal_strategy anneal_func"),
}
# What follows from arguments, or is what a class has of its own.
_NO_ARGUMENTS = {
    *("mode_worse", "default_min_lr", "use_beta1", "anneal_func", "lr_lambdas", "scale_mode", "total_size"),
    *("step_ratio", "phases"),
}
_REPEATS = 100
_MADE_OF_OTHERS = {"SequentialLR", "ChainedScheduler"}


@dataclass(frozen=True)
class SavedScheduler:
    """A scheduler as it was saved.

    Attributes:
        kind: the class of torch's that saves such a state, two of them with "or"; ``None`` where none does.
        settings: what it was given, by the names of its arguments where these are saved.
        ticks: how often it has been stepped; ``None`` if that is not saved.
        last_lrs: the LR of each group that it wrote last.
        base_lrs: those that it began with.
        seen: what a plateau has seen of its metric.
        parts: those that it runs one after another, or together.
    """

    kind: str | None
    settings: dict[str, Any] = field(default_factory=dict)
    ticks: int | None = None
    last_lrs: list[Any] | None = None
    base_lrs: list[Any] | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    parts: list[SavedScheduler] = field(default_factory=list)


def saved_scheduler(state: Mapping[Any, Any]) -> SavedScheduler:
    """Return what a scheduler's state says.

    Example:
        >>> saved_scheduler({"step_size": 3, "gamma": 0.1, "base_lrs": [0.1], "last_epoch": 7, "_last_lr": [0.001]})
        SavedScheduler(kind='StepLR', settings={'step_size': 3, 'gamma': 0.1}, ticks=7, last_lrs=[0.001], \
base_lrs=[0.1], seen={}, parts=[])
    """
    from lr_recipes.optimizer.internals import SAVED_AS  # imports torch, as whoever has read a checkpoint did

    named = {SAVED_AS.get(key, key): value for key, value in state.items() if isinstance(key, str)}
    own = {key: plain_of(value) for key, value in named.items() if key and key not in _POSITION | _COUNTERS}
    kind = next((name for name in _SCHEDULERS if _fits(name, set(own), "schedulers" in named)), None)
    held = named.get("schedulers")
    parts = [saved_scheduler(one) for one in held if isinstance(one, Mapping)] if isinstance(held, list) else []
    ticks = named.get("last_epoch")
    if kind == "ChainedScheduler" and ticks is None:  # it steps all of them
        ticks = max((part.ticks for part in parts if part.ticks is not None), default=None)
    if kind == "MultiStepLR" and isinstance(named["milestones"], Mapping):  # how often each was given
        own["milestones"] = _with_repeats(named["milestones"])
    last, base = (named.get(key) for key in ("last_lrs", "base_lrs"))
    return SavedScheduler(
        kind,
        own if kind is None else _as_given(kind, own),
        ticks=None if whole(-1).fault(ticks) else ticks,
        last_lrs=plain_of(last) if isinstance(last, list) else None,
        base_lrs=plain_of(base) if isinstance(base, list) else None,
        seen={key: plain_of(named[key]) for key in ("best", "num_bad_epochs", "cooldown_counter") if key in named},
        parts=parts,
    )


def _fits(name: str, own: set[str], made_of_others: bool) -> bool:
    needed, more = ({*part.split()} for part in _SCHEDULERS[name])
    return needed <= own <= needed | more and (name in _MADE_OF_OTHERS) == made_of_others


def _as_given(kind: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by the names of the arguments that they were given as, as far as these are saved."""
    settings = {name: value for name, value in own.items() if name not in _NO_ARGUMENTS}
    if kind == "OneCycleLR":
        settings |= _of_one_cycle(own["phases"], own["total_steps"])
    elif kind == "CyclicLR" and is_finite(own["total_size"]) and is_finite(own["step_ratio"]):
        up = own["total_size"] * own["step_ratio"]
        settings |= {"step_size_up": up, "step_size_down": own["total_size"] - up}
    return settings


def _with_repeats(counts: Mapping[Any, Any]) -> list[Any]:
    """Milestones, each as often as it was given; of a count that can hardly be meant, once."""
    times = {at: count if is_whole(count) and count < _REPEATS else 1 for at, count in counts.items()}
    return [plain_of(at) for at, count in times.items() for _ in range(count)]


def _of_one_cycle(phases: Any, total: Any) -> dict[str, Any]:
    known = phases if isinstance(phases, list) and all(isinstance(one, Mapping) for one in phases) else []
    rise: Any = known[0].get("end_step") if known else None
    if not is_finite(rise) or not is_whole(total):
        return {}
    # The rise ends at tick pct_start x total_steps - 1, which writes the peak.
    return {"pct_start": round((rise + 1) / total, 6), "three_phase": len(known) == 3}
