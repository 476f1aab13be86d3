"""A resolved plan in words: what a run prints before its first update, and what a preview shows. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lr_recipes.horizon import Horizon
from lr_recipes.schedules import Curve, Phase


class GroupPlan(NamedTuple):
    """A parameter group: its name, its peak LR and the LR that it ends at (``None``: not known in advance)."""

    name: str
    peak: float
    floor: float | None


def describe_plan(
    title: str, curve: Curve, horizon: Horizon, groups: Sequence[GroupPlan], notes: Sequence[str] = ()
) -> str:
    """Return the plan as a short block: where the total came from, each phase, each group.

    Args:
        title: whose plan it is, such as the optimizer's name.
        curve: the resolved schedule.
        horizon: the run that it was resolved for.
        groups: the parameter groups.
        notes: further lines, one each.

    Example:
        >>> from lr_recipes.schedules import Cosine
        >>> run = Horizon(total_steps=100, source="max_steps=100")
        >>> print(describe_plan("AdamW", Cosine(warmup=10).resolve(run), run, [GroupPlan("decay", 0.002, 0.0)]))
        Learning-rate plan for AdamW: 100 updates (max_steps=100)
          warmup       updates 0 to 9     factor 0.1 -> 1
          cosine       updates 10 to 99   factor 1 -> 0.000305
          group decay  peak LR 0.002, floor 0
    """
    count = horizon.total_steps
    total = "no known end" if count is None else f"{count:,} update{'s' if count != 1 else ''}"
    source = f" ({horizon.source})" if horizon.source else ""
    groups = [group._replace(name=_labelled(group.name)) for group in groups]
    wide = max(8, *(len(phase.name) for phase in curve.phases), *(len(group.name) for group in groups))
    longest = max(len(_span(phase)) for phase in curve.phases)
    phases = [f"{p.name:<{wide}}  {_span(p):<{longest}}   factor {_factors(curve, p)}" for p in curve.phases]
    peaks = [f"{group.name:<{wide}}  peak LR {group.peak:g}{_floor(group)}" for group in groups]
    lines = [*_shortened(phases, "phases"), *_shortened(peaks, "groups"), *notes]
    return "\n".join([f"Learning-rate plan for {title}: {total}{source}", *(f"  {line}" for line in lines)])


def _shortened(lines: list[str], what: str) -> list[str]:
    """The lines, or where they are many, the first three and the last."""
    if len(lines) <= 8:
        return lines
    return [*lines[:3], f"... {len(lines) - 4:,} more {what} ...", lines[-1]]


def _span(phase: Phase) -> str:
    if phase.last == phase.first:
        return f"update {phase.first:,}"
    return f"updates {phase.first:,} on" if phase.last is None else f"updates {phase.first:,} to {phase.last:,}"


def _factors(curve: Curve, phase: Phase) -> str:
    first = curve(phase.first)
    if phase.last is None:
        return f"from {first:.3g}"
    last = curve(phase.last)
    return f"{first:.3g}" if first == last else f"{first:.3g} -> {last:.3g}"


def _labelled(name: str) -> str:
    """A group's name, told apart from a phase of the same name, such as "decay"."""
    return name if name.startswith("group") else f"group {name}"


def _floor(group: GroupPlan) -> str:
    return "" if group.floor is None else f", floor {group.floor:g}"
