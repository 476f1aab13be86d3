"""A plan in words: what a run prints before its first update, and what a preview shows. No torch.

What is true of a plan is asked of it; here it only becomes lines. Who prints them, and where, is not known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lr_recipes.checks import one_line
from lr_recipes.plan.curve import Curve, Phase
from lr_recipes.plan.plan import Line, Plan

_MANY_LINES = 8  # lines that are shown without cutting
_BY_NAME = 3  # groups that are named in one line
_SHORT = 24  # characters of a name there
_LOOKS = 1000  # of a curve that are looked at
_NEARLY = 0.9  # of the base LR: no further below it is the highest update of a curve that peaks between two
_ROUNDING = 1e-9
_UNNAMED = "no schedule names it"

# Until they are lined up, the columns of a line are divided by a tab, which no name has.
Cells = str


def in_words(
    plan: Plan,
    title: str,
    groups: Sequence[str],
    notes: Sequence[str] = (),
    what: str = "plan",
    made_by: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> str:
    """Return a plan as a short block: where the total came from, each phase, each group.

    Where the LRs of groups follow several curves, each has its phases below its groups; those whose phases are the same
    in words stand together. Then come the other numbers that the plan moves.

    Args:
        plan: the plan.
        title: whose plan it is, such as the optimizer's name.
        groups: names of the parameter groups.
        notes: further lines, one each.
        what: ``"plan"``, or ``"forecast"`` of somebody else's schedule.
        made_by: lines above the phases: who makes the LRs, where it is not the plan itself.
        shares: ``"lr"`` and other hyper-parameters of which only the factor is known, and not what it multiplies.

    Example:
        >>> from lr_recipes import Horizon, schedules
        >>> run = Horizon(total_steps=100, source="max_steps=100")
        >>> print(in_words(schedules.Cosine(warmup=10).plan(run, [0.002]), "AdamW", ["decay"]))
        Learning-rate plan for AdamW: 100 updates (max_steps=100)
          warmup       updates 0 to 9     factor 0.1 -> 1
          cosine       updates 10 to 99   factor 1 -> 0.000305
          group decay  peak LR 0.002, floor 0
    """
    count = plan.total_steps
    total = "no known end" if count is None else plan.horizon.in_words(count)
    source = f" ({one_line(plan.horizon.source)})" if plan.horizon.source else ""
    names, forecast, known = [*map(one_line, groups)], what != "plan", "lr" not in shares
    blocks = [*_phases_and_groups(plan).items()]
    if len(blocks) == 1:
        ((phases, of_block),) = blocks
        rows = [*phases, *(_group_rows(plan, of_block, names, forecast) if known else [])]
    else:
        parts = []
        for phases, of_block in [blocks[k] for k in few(len(blocks))]:
            heads = _group_rows(plan, of_block, names, forecast) if known else [_group_row(of_block, names)]
            parts.append("\n".join([*heads, *_indented(phases)] if of_block[0].is_scheduled else heads))
        rows = "\n".join(with_gap(parts, len(blocks), "curves")).split("\n")
    rows += [row for key in plan.moves for row in _number_rows(plan, key, names, key in shares)]
    head = f"Learning-rate {what} for {one_line(title)}: {total}{source}"
    lines = [*map(one_line, made_by), *_lined_up(rows), *map(one_line, notes)]
    return "\n".join([head, *(f"  {line}" for line in lines)])


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


def few_names(names: Sequence[str]) -> str:
    """Return names in one line, none of them long; of many the first three, and how many more there are.

    Example:
        >>> few_names(["head", "body"]), few_names(["a", "b", "c", "d", "e"])
        ('head, body', 'a, b, c and 2 more')
    """
    more = len(names) - _BY_NAME
    return ", ".join(cut(name, _SHORT) for name in names[:_BY_NAME]) + (f" and {more:,} more" if more > 0 else "")


def _lined_up(rows: Sequence[Cells]) -> list[str]:
    """Lines with their columns below each other: what it is, the updates of a phase, and what is said of it."""
    cells = [row.split("\t") for row in rows]
    wide = max(_MANY_LINES, *(len(row[0]) for row in cells if len(row) > 1))
    longest = max((len(row[1]) for row in cells if len(row) > 2), default=0)
    lines = []
    for label, *middle, text in [row if len(row) > 1 else [*row, ""] for row in cells]:
        lines.append("  ".join([f"{label:<{wide}}", *(f"{one:<{longest}} " for one in middle), text]).rstrip())
    return lines


def _indented(rows: Sequence[Cells]) -> list[Cells]:
    """Rows that belong to the one above them."""
    return [f"  {row}" for row in rows]


# The LR


def _phases_and_groups(plan: Plan) -> Mapping[tuple[Cells, ...], list[Line]]:
    """Phases of the LR, and the groups that go through them."""
    found: dict[tuple[Cells, ...], list[Line]] = {}
    lines = [line for line in plan.lines if line.key == "lr"]
    phases = {curve: tuple(_phase_rows(plan, curve)) for curve in plan.curves}
    for line in lines:
        found.setdefault(phases[line.curve], []).append(line)
    return found or {tuple(_phase_rows(plan, plan.curve)): []}


def _phase_rows(plan: Plan, curve: Curve) -> list[Cells]:
    shown = [curve.phases[k] for k in few(len(curve.phases))]
    rows = [f"{phase.name}\t{_stretch(plan, phase)}\t{_factors(curve, phase)}" for phase in shown]
    return with_gap(rows, len(curve.phases), "phases")


def _stretch(plan: Plan, phase: Phase) -> str:
    if plan.horizon.timed and phase.last is not None:
        mark = plan.horizon.mark
        return f"{mark(phase.first)} to {mark(phase.last + 1)}"  # a millisecond is over when the next one begins
    if phase.last == phase.first:
        return f"update {phase.first:,}"
    return f"updates {phase.first:,} on" if phase.last is None else f"updates {phase.first:,} to {phase.last:,}"


def _factors(curve: Curve, phase: Phase) -> str:
    # What the first and the last update of the phase use: a cosine down to 0 ends just above it, for update T would be
    # 0.
    first = curve(phase.first)
    if phase.last is None:
        return f"factor from {first:.3g}"
    last = curve(phase.last)
    return f"factor {first:.3g}" if first == last else f"factor {first:.3g} -> {last:.3g}"


def _group_rows(plan: Plan, lines: Sequence[Line], names: Sequence[str], forecast: bool) -> list[Cells]:
    """A row for each group, of many for a few."""
    shown = [lines[k] for k in few(len(lines))]
    courses = {line.curve: _Course.of(line.curve) for line in shown}
    rows = [f"{_labelled(names[one.group])}\t{_lr(plan, one, courses[one.curve], forecast)}" for one in shown]
    return with_gap(rows, len(lines), "groups")


def _group_row(lines: Sequence[Line], names: Sequence[str]) -> Cells:
    """A row for all groups, where their LRs are not known."""
    label = f"group{'s' if len(lines) > 1 else ''} {few_names([names[line.group] for line in lines])}"
    return label if lines[0].is_scheduled else f"{label}\tstays as built: {_UNNAMED}"


def _lr(plan: Plan, line: Line, course: _Course, forecast: bool) -> str:
    """The LR of a group: its peak and floor, or where it has none what it begins and ends with."""
    base, curve = line.base, line.curve
    if not line.is_scheduled:
        return f"stays at LR {base:g}: {_UNNAMED}"
    # A forecast may be of a part of a run, whose peak is still to come, and where it ends need not be its lowest.
    if course.highest > 1 + _ROUNDING or not (forecast or (course.highest > _NEARLY and course.has_floor)):
        return f"base LR {base:g}, LR {course.path(base, '.3g')}"
    last = plan.end_factor if curve is plan.curve else curve.end
    return f"peak LR {base:g}, {'last' if forecast else 'floor'} {base * last:.3g}"


def _labelled(name: str) -> str:
    """A group's name, told apart from a phase of the same name, such as "decay"."""
    return name if name.startswith("group") else f"group {name}"


# Other numbers


def _number_rows(plan: Plan, key: str, names: Sequence[str], is_share: bool) -> list[Cells]:
    """What becomes of a number of the groups: a row, or one for each curve and value with its groups."""
    in_step = {line.curve.beside[key] for line in plan.lines if key in line.curve.beside}
    lines = [line for line in plan.others if line.key == key]
    courses = {curve: _Course.of(curve) for curve in dict.fromkeys(line.curve for line in lines)}
    # The phases of what moves in step with the LR are the LR's.
    many = {curve for curve in courses if len(curve.phases) > 1 and curve not in in_step}
    phases = {curve: tuple(_indented(_phase_rows(plan, curve))) if curve in many else () for curve in courses}
    found: dict[tuple[str, tuple[Cells, ...]], list[str]] = {}
    for line in lines:
        if not line.is_scheduled:
            said = f"stays at {line.base:g}: {_UNNAMED}"
        elif not line.base:
            said = "stays at 0"
        else:
            name = f" ({line.curve.phases[0].name})" if line.curve not in many | in_step else ""
            said = f"{'factor ' if is_share else ''}{courses[line.curve].path(line.base, '.4g')}{name}"
        found.setdefault((said, phases[line.curve] if line.base else ()), []).append(names[line.group])
    rows: list[Cells] = []
    for said, below in [[*found][k] for k in few(len(found))]:
        whose = f"{few_names(found[said, below])}: " if len(found) > 1 else ""
        rows.append("\n".join([f"{key}\t{whose}{said}", *below]))
    return "\n".join(with_gap(rows, len(found), f"values of {key}")).split("\n")


@dataclass(frozen=True)
class _Course:
    """What a curve does, as far as a few words say it.

    Attributes:
        turns: the first factor, those where it turns and that are above or below both ends, and the last one.
        highest: its highest factor.
        has_floor: whether it goes nowhere lower, once it was highest, than where it ends.
        ends: whether it has an end.
    """

    turns: Sequence[float]
    highest: float
    has_floor: bool
    ends: bool

    @classmethod
    def of(cls, curve: Curve) -> _Course:
        """Look at a curve."""
        total = curve.total_steps
        most = curve.phases[-1].first + _LOOKS if total is None else total
        edges = {edge for phase in curve.phases[:_LOOKS] for edge in (phase.first, phase.first - 1)}
        places = sorted({*range(0, most, max(most // _LOOKS, 1)), *edges, most - 1} - {-1})
        factors = [*map(curve.factor, places), *([] if total is None else [curve.end])]
        high, low = max(factors), min(factors)
        inner = sorted(factors.index(one) for one in {high, low} - {factors[0], factors[-1]})
        floor = min(factors[factors.index(high) :]) if total is not None else curve.end
        return cls(
            [factors[0], *(factors[place] for place in inner), factors[-1]],
            high,
            floor >= curve.end - _ROUNDING,
            total is not None,
        )

    def path(self, base: float, form: str) -> str:
        """Return what it does in values: where it begins, turns and ends."""
        shown = [format(base * one, form) for one in self.turns]
        if not self.ends:
            return shown[0] if len({*shown}) == 1 else f"from {shown[0]}"
        return " -> ".join([one for one, before in zip(shown, ["", *shown], strict=False) if one != before])
