"""A plan in words: what a run prints before its first update, and what a preview shows. No torch.

What is true of a plan is asked of it; here it only becomes lines. Who prints them, and where, is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from lr_recipes.checks import one_line
from lr_recipes.plan.curve import Phase
from lr_recipes.plan.plan import Plan

_MANY_LINES = 8  # lines that are shown without cutting


def in_words(
    plan: Plan,
    title: str,
    groups: Sequence[str],
    notes: Sequence[str] = (),
    what: str = "plan",
    made_by: Sequence[str] = (),
) -> str:
    """Return a plan as a short block: where the total came from, each phase, each group.

    Args:
        plan: the plan.
        title: whose plan it is, such as the optimizer's name.
        groups: names of the parameter groups; none where the LRs are shares of the peak.
        notes: further lines, one each.
        what: ``"plan"``, or ``"forecast"`` of somebody else's schedule.
        made_by: lines above the phases: who makes the LRs, where it is not the plan itself.

    Example:
        >>> from lr_recipes import Horizon, schedules
        >>> run = Horizon(total_steps=100, source="max_steps=100")
        >>> print(in_words(schedules.Cosine(warmup=10).plan(run, [0.002]), "AdamW", ["decay"]))
        Learning-rate plan for AdamW: 100 updates (max_steps=100)
          warmup       updates 0 to 9     factor 0.1 -> 1
          cosine       updates 10 to 99   factor 1 -> 0.000305
          group decay  peak LR 0.002, floor 0
    """
    count, phases = plan.total_steps, plan.curve.phases
    total = "no known end" if count is None else plan.horizon.in_words(count)
    source = f" ({one_line(plan.horizon.source)})" if plan.horizon.source else ""
    shown = [phases[k] for k in few(len(phases))]
    named = {k: _labelled(one_line(groups[k])) for k in few(len(groups))}
    wide = max(_MANY_LINES, *(len(phase.name) for phase in shown), *map(len, named.values()))
    longest = max(len(_stretch(plan, phase)) for phase in shown)
    stretches = [f"{p.name:<{wide}}  {_stretch(plan, p):<{longest}}   {_factors(plan, p)}" for p in shown]
    end = "floor" if what == "plan" else "last"  # where a forecast ends need not be its lowest
    lrs = partial(_peak_and_floor, end=end) if plan.uniform else _first_and_last
    whose = [f"{label:<{wide}}  {lrs(plan, k)}" for k, label in named.items()]
    lines = [*with_gap(stretches, len(phases), "phases"), *with_gap(whose, len(groups), "groups")]
    lines += map(one_line, notes)
    head = f"Learning-rate {what} for {one_line(title)}: {total}{source}"
    return "\n".join([head, *(f"  {line}" for line in [*map(one_line, made_by), *lines])])


def few(count: int) -> Sequence[int]:
    """Return which of ``count`` things are shown: all, or where they are many the first three and the last."""
    return range(count) if count <= _MANY_LINES else (0, 1, 2, count - 1)


def with_gap(lines: Sequence[str], count: int, what: str) -> list[str]:
    """Return the lines of things of which ``few`` are shown, with a word about those that are left out."""
    left = [f"... {count - len(lines):,} more {what} ..."] if count > len(lines) else []
    return [*lines[:-1], *left, *lines[-1:]]


def cut(name: str, most: int) -> str:
    """Return a name, or of a long one as much of its beginning as ``most`` characters take.

    Example:
        >>> cut("transformer.blocks", 12)
        'transform...'
    """
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _stretch(plan: Plan, phase: Phase) -> str:
    if plan.horizon.timed and phase.last is not None:
        mark = plan.horizon.mark
        return f"{mark(phase.first)} to {mark(phase.last + 1)}"  # a millisecond is over when the next one begins
    if phase.last == phase.first:
        return f"update {phase.first:,}"
    return f"updates {phase.first:,} on" if phase.last is None else f"updates {phase.first:,} to {phase.last:,}"


def _factors(plan: Plan, phase: Phase) -> str:
    if not plan.uniform:
        return "a curve for each group"
    # What the first and the last update of the phase use: a cosine down to 0 ends just above it, for update T would be
    # 0.
    first = plan.curve(phase.first)
    if phase.last is None:
        return f"factor from {first:.3g}"
    last = plan.curve(phase.last)
    return f"factor {first:.3g}" if first == last else f"factor {first:.3g} -> {last:.3g}"


def _peak_and_floor(plan: Plan, group: int, end: str) -> str:
    base = plan.base_lrs[group]
    return f"peak LR {base:g}, {end} {base * plan.end_factor:.3g}"


def _first_and_last(plan: Plan, group: int) -> str:
    """The LR of a group where each has a curve of its own, which need not begin, peak or end at its base LR."""
    base, first, count = plan.base_lrs[group], plan.lrs(0)[group], plan.total_steps
    if count is None:
        return f"base LR {base:g}, LR from {first:.3g}"
    return f"base LR {base:g}, LR {first:.3g} -> {plan.lrs(count - 1)[group]:.3g}"


def _labelled(name: str) -> str:
    """A group's name, told apart from a phase of the same name, such as "decay"."""
    return name if name.startswith("group") else f"group {name}"
