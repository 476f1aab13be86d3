"""Which plan a resumed run follows: the saved one, the configured one, or neither until somebody has chosen.

Works on the plain state that a checkpoint holds; no torch. Two plans differ when they would give some update another
LR, not when the same curve is written in other words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lr_recipes.horizon import Horizon
from lr_recipes.schedules import Curve, Plateau, Schedule, from_description

POLICIES = ("error", "checkpoint", "config")
_SAMPLES = 10**5  # runs up to this long are compared at every update
_FEW_SAMPLES = 10**3  # of runs without a known end, whose curves take longer
_FAR = 10**5  # how far plans without a known end are compared


class ResumeError(ValueError):
    """The checkpoint's plan and the configured one differ, and nobody has chosen between them."""


class Plan(NamedTuple):
    """A schedule, the peaks of its groups and the run it is for; ``differences`` says what was chosen between."""

    schedule: Schedule
    base_lrs: list[float]
    peak: float
    horizon: Horizon
    differences: list[str]


def chosen_plan(saved: dict[str, Any], configured: dict[str, Any], resume: str, own: Schedule | None = None) -> Plan:
    """Return the plan to follow from the saved position on.

    Args:
        saved: the state in the checkpoint.
        configured: the state of the run that is about to start.
        resume: ``"error"``, ``"checkpoint"`` or ``"config"``.
        own: the schedule that ``configured`` describes; a ``TorchSchedule`` cannot always be built from words.

    Raises:
        ResumeError: the plans differ and ``resume`` is ``"error"``; the message shows old and new side by side.
    """
    if len(saved["base_lrs"]) != len(configured["base_lrs"]):
        raise ResumeError(
            f"the checkpoint has {len(saved['base_lrs'])} parameter groups and this run has "
            f"{len(configured['base_lrs'])}: resume with the optimizer that the checkpoint was made with"
        )
    new = _read(configured, own or from_description(configured["schedule"]))
    if saved["schedule"] == configured["schedule"]:
        old: Plan | None = _read(saved, new.schedule)
    else:
        old = _read(saved, from_description(saved["schedule"])) if _is_known(saved["schedule"]) else None
    differences = [] if old is not None and _same(old, new) else _differences(saved, configured)
    if differences and resume == "error":
        raise ResumeError(_question(differences, saved["position"]))
    if resume != "checkpoint":
        return new._replace(differences=differences)
    return (old or _read(saved, from_description(saved["schedule"])))._replace(differences=differences)


def rescaled_position(saved: dict[str, Any], horizon: Horizon) -> int:
    """Return the position at the same share of the data, where an update now sees another number of samples.

    Example:
        >>> saved = {"position": 100, "horizon": {"samples_per_step": 32}}
        >>> rescaled_position(saved, Horizon(samples_per_step=64))
        50
    """
    position: int = saved["position"]
    before, now = saved["horizon"]["samples_per_step"], horizon.samples_per_step
    if before is None or now is None or before == now:
        return position
    return int(position * before / now + 0.5)


def _read(state: dict[str, Any], schedule: Schedule) -> Plan:
    return Plan(schedule, list(state["base_lrs"]), state["peak"], Horizon(**state["horizon"]), [])


def _is_known(description: dict[str, Any]) -> bool:
    try:
        from_description(description)
    except ValueError:
        return False
    return True


def _same(old: Plan, new: Plan) -> bool:
    """Whether every update that both plans have uses the same LR and momentum; of very long runs, a sample of them."""
    if old.base_lrs != new.base_lrs:
        return False
    if (old.schedule.describe(), old.horizon, old.peak) == (new.schedule.describe(), new.horizon, new.peak):
        return True
    reacts = isinstance(old.schedule, Plateau) or isinstance(new.schedule, Plateau)
    if reacts and old.schedule.describe() != new.schedule.describe():
        return False
    first, second = (plan.schedule.resolve(plan.horizon, peak=plan.peak) for plan in (old, new))
    shared = min(first.total_steps or _FAR, second.total_steps or _FAR)
    phases = [phase.first for phase in [*first.phases, *second.phases]]
    samples = _SAMPLES if first.total_steps or second.total_steps else _FEW_SAMPLES
    positions = {*range(0, shared, max(shared // samples, 1)), *phases, shared - 1}
    return all(_uses(first, n) == _uses(second, n) for n in positions if n < shared)


def _uses(curve: Curve, position: int) -> tuple[float, float | None]:
    return curve(position), None if curve.momentum is None else curve.momentum(position)


def _differences(saved: dict[str, Any], configured: dict[str, Any]) -> list[str]:
    """One line for each value that differs, old and new side by side."""
    pairs = [("peak LR", saved["base_lrs"], configured["base_lrs"])]
    for part in ("schedule", "horizon"):
        for key in {**saved[part], **configured[part]}:
            pairs.append((key, saved[part].get(key), configured[part].get(key)))
    return [f"{name}: {_show(old)} -> {_show(new)}" for name, old, new in pairs if old != new and name != "source"]


def _question(differences: list[str], position: int) -> str:
    lines = "\n".join(f"    {line}" for line in differences)
    return (
        f"the checkpoint (at update {position:,}) and this run plan different learning rates "
        f"(checkpoint -> this run):\n"
        f"{lines}\n"
        "Choose one: resume='checkpoint' follows the checkpoint's plan to its end; resume='config' follows this run's "
        f"plan from update {position:,} on, whatever jump that makes; or make this run's settings equal to the "
        "checkpoint's"
    )


def _show(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return "[" + ", ".join(_show(item) for item in value) + "]"
    if isinstance(value, dict):
        return _show_call(value)
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _show_call(value: dict[str, Any]) -> str:
    """A schedule, or a call that makes one, as somebody would write it."""
    if "calls" not in value:
        return repr(from_description(value)) if "schedule" in value else str(value)
    given = [*map(_show, value["args"]), *(f"{name}={_show(item)}" for name, item in value["kwargs"].items())]
    return f"{value['calls'].rpartition('.')[2]}({', '.join(given)})"
