"""Which plan a resumed run follows: the saved one, the configured one, or neither until somebody has chosen.

Works on the plain state that a checkpoint holds; no torch. Two plans differ when they would give some update another
LR, not when the same curve is written in other words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from lr_recipes.horizon import Horizon
from lr_recipes.schedules import Curve, Schedule, from_description

POLICIES = ("error", "checkpoint", "config")
_SAMPLES = 512


class ResumeError(ValueError):
    """The checkpoint's plan and the configured one differ, and nobody has chosen between them."""


class Plan(NamedTuple):
    """A schedule, the peaks of its groups and the run it is for; ``differences`` says what was chosen between."""

    schedule: Schedule
    base_lrs: list[float]
    peak: float
    horizon: Horizon
    differences: list[str]


def chosen_plan(saved: dict[str, Any], configured: dict[str, Any], resume: str) -> Plan:
    """Return the plan to follow from the saved position on.

    Args:
        saved: the state in the checkpoint.
        configured: the state of the run that is about to start.
        resume: ``"error"``, ``"checkpoint"`` or ``"config"``.

    Raises:
        ResumeError: the plans differ and ``resume`` is ``"error"``; the message shows old and new side by side.
    """
    if len(saved["base_lrs"]) != len(configured["base_lrs"]):
        raise ResumeError(
            f"the checkpoint has {len(saved['base_lrs'])} parameter groups and this run has "
            f"{len(configured['base_lrs'])}: resume with the optimizer that the checkpoint was made with"
        )
    differences = [] if _same_curve(saved, configured) else _differences(saved, configured)
    if differences and resume == "error":
        raise ResumeError(_question(differences, saved["position"]))
    source = saved if resume == "checkpoint" else configured
    return Plan(*_read(source), differences)


def _read(state: dict[str, Any]) -> tuple[Schedule, list[float], float, Horizon]:
    schedule, horizon = from_description(state["schedule"]), Horizon(**state["horizon"])
    return schedule, list(state["base_lrs"]), state["peak"], horizon


def _curve(state: dict[str, Any]) -> Curve:
    schedule, _, peak, horizon = _read(state)
    return schedule.resolve(horizon, peak=peak)


def _same_curve(saved: dict[str, Any], configured: dict[str, Any]) -> bool:
    """Whether every update that both plans have uses the same LR; checked at up to 512 positions and both ends."""
    if saved["base_lrs"] != configured["base_lrs"]:
        return False
    reacts = saved["plateau"] is not None or configured["plateau"] is not None
    if reacts and saved["schedule"] != configured["schedule"]:
        return False
    old, new = _curve(saved), _curve(configured)
    shared = min(old.total_steps or 10**6, new.total_steps or 10**6)
    positions = {
        *range(0, shared, max(shared // _SAMPLES, 1)),
        *(p.first for p in [*old.phases, *new.phases]),
        shared - 1,
    }
    return all(old(n) == new(n) for n in positions if n < shared)


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
    return "none" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
