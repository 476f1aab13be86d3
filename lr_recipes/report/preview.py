"""What a schedule will do, before anything is trained: as text, as a picture and as a file. No torch.

Evaluates the same objects as a run does, a schedule resolved on a horizon, so what is shown is what will be used. Which
numbers are shown stands here; how they are drawn, in ``chart.py`` and ``picture.py``, and how a plan is put into words,
in ``words.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lr_recipes import checks
from lr_recipes.plan.built import Built
from lr_recipes.plan.curve import Curve
from lr_recipes.plan.horizon import Duration, Horizon, HorizonError
from lr_recipes.plan.plan import INTERVALS, Line, Plan
from lr_recipes.report.chart import WIDTH, Point, draw_chart, is_plain, sparkline
from lr_recipes.report.lr_csv import LrCsv, columns_of, with_replacement, write_several
from lr_recipes.report.picture import figure_of, figure_of_several, log_axis, set_lr_scale
from lr_recipes.report.shown import Shown
from lr_recipes.report.supposed import GroupValues, check_moved, check_names, leaves_of, numbers_moved, supposed
from lr_recipes.report.words import cut, in_words
from lr_recipes.schedules import Schedule
from lr_recipes.schedules.combined import Combined
from lr_recipes.schedules.named import as_schedule

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0, 25, 50, 75, 100)
_ROWS = 10_000  # of a file; more updates than that are thinned
_DRAWN = 4000  # of a picture: more than it has pixels
_SPARKS = (10, 40)  # characters of a sparkline, at least and at most
_NO_END = 100  # updates that are shown at least of a run without a known end
_NAME_WIDTH = 24  # characters of a name in a table
_CURVES = 100  # whose phases a picture is sure to show
_NO_SHARE = "LR / peak"

Column = tuple[str, Sequence[str]]


class _Ranked(NamedTuple):
    """A column of a table, and its turn where there is little room: one of each number, then of each further curve."""

    rank: int
    column: Column


@checks.explains_arguments
def preview(
    schedule: Schedule | str | Mapping[str, Schedule | str],
    horizon: Horizon | int | str,
    lr: GroupValues | None = None,
    interval: str = "step",
    title: str = "",
    built: Mapping[str, GroupValues] | None = None,
) -> Any:
    """Show what a schedule will do in a run, without training.

    Args:
        schedule: one schedule, or the name of one, such as ``"warmup_cosine"``; or several by name, to compare them.
        horizon: the facts about the run; or, for a schedule that needs no others, its number of updates.
        lr: base LR, as the optimizer is built with: of all groups, or by the name of the group. Without it, LRs are
            shown as shares of the peak. The groups of a ``ByGroup`` then are called as its keys are, and those that
            none of them means ``"others"``.
        interval: ``"step"``, or ``"epoch"`` for an LR that is held for each epoch, as in ``LearningRateScheduler``.
        title: whose plan it is; by default the schedule's class.
        built: other numbers that the schedule moves, as the optimizer is built with: ``{"weight_decay": 0.1}``, or by
            the name of the group. Of a number that is not here its factor is shown.

    Returns:
        A `Preview`, or a `Comparison` of several. Both print as text and have ``table``, ``plot()`` and ``to_csv()``.

    Raises:
        HorizonError: the schedule needs a fact that ``horizon`` does not have.
        ValueError: an argument is out of range, or the schedule does not fit the run.

    Example:
        >>> from lr_recipes import Horizon, schedules
        >>> print(preview(schedules.Cosine(warmup="10%"), Horizon(total_steps=1000), lr=0.002).table)
        Learning-rate plan for Cosine: 1,000 updates
          warmup    updates 0 to 99      factor 0.01 -> 1
          cosine    updates 100 to 999   factor 1 -> 3.05e-06
          group0    peak LR 0.002, floor 0
        <BLANKLINE>
          of the run  update         LR
                  0%       0      2e-05
                 25%     250   0.001866
                 50%     500   0.001174
                 75%     750  0.0003572
                100%     999  6.092e-09
    """
    horizon = Horizon.of(horizon)
    if built is not None and not isinstance(built, Mapping):
        raise ValueError(
            f"built={checks.brief(built)}: must be a mapping from numbers to what the groups are built with, as in "
            "{'weight_decay': 0.1}"
        )
    if isinstance(schedule, Mapping):
        if not schedule:
            raise ValueError("schedule={}: give at least one schedule by name, as in {'cosine': Cosine()}")
        check_names("schedule", schedule)
        built, known = built or {}, {name: as_schedule(one) for name, one in schedule.items()}
        moved = {name: numbers_moved(one) for name, one in known.items()}
        check_moved(built, list(chain(*moved.values())))
        return Comparison(
            {
                name: preview(
                    one, horizon, lr, interval, name, {key: built[key] for key in built if key in moved[name]}
                )
                for name, one in known.items()
            }
        )
    schedule = as_schedule(schedule)
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule={checks.brief(schedule)}: must be one of lr_recipes.schedules, as in Cosine(warmup='10%'), or a "
            "name, as in 'warmup_cosine'"
        )
    checks.one_of("interval", interval, INTERVALS)
    check_names("title", [title])
    bases, unknown = supposed(schedule, lr, built or {})
    plan = schedule.plan(horizon, bases) if lr is not None else _plan_of_shares(schedule, horizon, bases)
    return Preview(plan, bases.names, interval, title or type(schedule).__name__, lr is not None, shares=unknown)


def _plan_of_shares(schedule: Schedule, horizon: Horizon, bases: Built) -> Plan:
    # There is no peak then: a schedule that needs one, as for an absolute floor, says so.
    if not isinstance(schedule, Combined):
        return Plan.of(schedule, horizon, schedule.resolve(horizon), bases, max(bases), schedule.reaction())
    for key, one in leaves_of(schedule):
        if key == "lr":
            one.curve_of(horizon, None, "the run")
    return schedule.plan(horizon, bases)


@dataclass(frozen=True, repr=False, eq=False)
class Preview(Shown):
    """The sight of a plan, before training; prints as the plan, its LRs and its curve.

    Attributes:
        plan: what every update will use.
        groups: names of the groups.
        interval: ``"step"``, or ``"epoch"`` for an LR that is held for each epoch.
        title: whose plan it is.
        absolute: whether LRs are LRs; else they are shares of the peak.
        notes: further lines below the plan.
        what: ``"plan"``, or ``"forecast"`` of somebody else's schedulers.
        made_by: lines above the phases: who makes the LRs, where it is not the plan itself.
        shares: numbers that the plan moves of which only the factor is known.
    """

    plan: Plan
    groups: Sequence[str]
    interval: str
    title: str
    absolute: bool = True
    notes: Sequence[str] = ()
    what: str = "plan"
    made_by: Sequence[str] = ()
    shares: Sequence[str] = ()

    @property
    def horizon(self) -> Horizon:
        """The run that it is for."""
        return self.plan.horizon

    @property
    def curve(self) -> Curve:
        """The factor at each position; where each group has a curve of its own, that of the first."""
        return self.plan.curve

    @cached_property
    def base_lrs(self) -> dict[str, float]:
        """Base LR by group."""
        return dict(zip(self.groups, self.plan.base_lrs, strict=True))

    def __repr__(self) -> str:
        return f"{self.table}\n\n{self.chart()}"

    @cached_property
    def updates(self) -> int:
        """How many updates are shown, all or of a run without a known end as many as show what the schedule does."""
        if self.horizon.total_steps is not None:
            return self.horizon.total_steps
        epoch = self.horizon.steps("1 epoch") if self.horizon.steps_per_epoch else 0
        # Ten times as far as the last phase begins; further where the LR is still high there, as an inverse square
        # root's.
        shortest = shown = 10 * max(epoch, _NO_END // 10, *(line.curve.phases[-1].first for line in self.plan.lines))
        while shown < 100 * shortest and self.curve(shown - 1) > 0.2:
            shown *= 2
        return shown if self.curve(shown - 1) <= 0.2 else shortest

    def factor(self, position: int) -> float:
        """Return the factor that the update at ``position`` uses; it decides alone, whatever was asked for before.

        Where each group has a curve of its own, it is the first group's.
        """
        return self.curve(self._written_at(position))

    def lrs(self, position: int) -> dict[str, float]:
        """Return the LR of each group at the update at ``position``."""
        return dict(zip(self.groups, self.plan.lrs(self._written_at(position)), strict=True))

    def values(self, key: str, position: int) -> dict[str, float]:
        """Return a hyper-parameter that the schedule moves at the update at ``position``, of each group that has it."""
        values = zip(self.groups, self.plan.values(key, self._written_at(position)), strict=True)
        return {name: value for name, value in values if value is not None}

    @cached_property
    def _highest(self) -> Line:
        """The LR of the group with the highest base LR, among those that a schedule is given for."""
        return _largest([line for line in self.plan.lines if line.key == "lr"])

    @property
    def _highest_group(self) -> str:
        return self.groups[self._highest.group]

    def _highest_lr(self, position: int) -> float:
        """The LR at an update in the group with the highest base LR; the others, which may be many, are not asked."""
        return self._at_line(self._highest, position)

    def _at_line(self, line: Line, position: int) -> float:
        return line.base * line.curve(self._written_at(position))

    @property
    def table(self) -> str:
        """The plan, and the LR at 0, 25, 50, 75 and 100 % of the updates; text that fits into 80 columns."""
        return f"{self._plan_in_words()}\n\n{_aligned(self._share_columns())}"

    def chart(self, plain: bool | None = None) -> str:
        """Return the LR over the updates as a curve of characters, for 80 columns.

        Args:
            plain: ASCII only; by default where stdout can print nothing else.
        """
        ticks = {self._at(share): self.horizon.mark(self._at(share)) for share in SHARES}
        line = self._charted
        points = [(n, self._at_line(line, n)) for n in self._positions(_DRAWN)]
        low = log_axis([points])
        return draw_chart(
            points,
            title=self._chart_title(line) + (", log scale" if low else ""),
            x_title=self._x_title(),
            ticks=ticks,
            log_from=low,
            plain=is_plain() if plain is None else plain,
        )

    @cached_property
    def _charted(self) -> Line:
        """What the chart shows: the highest LR; where that stays as it is, the first number that does not."""
        numbers = [line for line in self.plan.others if line.key == self.plan.moves[0] and line.base]
        highest = self._highest
        if not numbers or any(highest.curve(n) != highest.curve(0) for n in self._positions(_DRAWN)):
            return highest
        return _largest(numbers)

    def _chart_title(self, line: Line) -> str:
        lines = [one for one in self.plan.lines if one.key == line.key]
        title, group = self._title_of(line.key), cut(self.groups[line.group], _NAME_WIDTH)
        curves, groups = len({id(one.curve) for one in lines}), len(lines)
        if curves > 1:
            each = (
                "each group has a curve of its own" if curves == groups else f"{curves:,} curves for {groups:,} groups"
            )
            return f"{title} of {group}; {each}"
        return f"{title} of {group}, the others in proportion" if len({one.base for one in lines}) > 1 else title

    def _title_of(self, key: str) -> str:
        return self._y_title() if key == "lr" else f"{key} / built" if key in self.shares else key

    def plot(self) -> Figure:
        """Return a matplotlib figure: the LR of each group, what moves beside it, the phases."""
        columns = self._columns()
        rows = [dict(zip(columns, map(_cell, row), strict=True)) for row in self._rows(_DRAWN)]
        count = self.horizon.total_steps
        total = "no known end" if count is None else self.horizon.in_words(count)
        source = f" ({self.horizon.source})" if self.horizon.source else ""
        figure = figure_of(rows, f"{self.title}: {total}{source}\n{self.plan.schedule!r}", {})
        if len(self.base_lrs) == 1:
            figure.legends[0].remove()  # nothing to tell apart
        for axis in figure.axes:
            axis.set_ylabel(self._title_of("lr" if axis is figure.axes[0] else axis.get_ylabel()))
        figure.axes[-1].set_xlabel(self._x_title(drawn=True))
        drawn = {n: self.lrs(n) for n in self._positions(_DRAWN)}
        set_lr_scale(figure.axes[0], [[(n, lrs[name]) for n, lrs in drawn.items()] for name in self.groups])
        return figure

    def points(self) -> list[Point]:
        """Return updates and their LR in the group with the highest: all updates, or 10,000 that show the curve."""
        return [(n, self._highest_lr(n)) for n in self._positions(_ROWS)]

    def to_csv(self, path: str | Path) -> None:
        """Write the plan with the columns of ``lr.csv``: a row for each update, of very many for 10,000 of them."""
        with_replacement(Path(path), self._write)

    def _write(self, path: Path) -> None:
        file = LrCsv(path, self._columns())
        file.write(self._rows(_ROWS))
        file.close()

    def _columns(self) -> list[str]:
        names = list(self.base_lrs)
        return columns_of({"lr": names, **{key: list(self.values(key, 0)) for key in self.plan.moves}})

    def _rows(self, most: int) -> Iterable[list[Any]]:
        """Rows of ``lr.csv``; how many samples an update sees is known when it has seen them."""
        epoch_of, phase = self.horizon.epoch_of, self.curve.phase
        for n in self._positions(most):
            others = [value for key in self.plan.moves for value in self.values(key, n).values()]
            factor = self.factor(n) if self.plan.uniform else None
            yield [n, epoch_of(n), None, phase(n), factor, *self.lrs(n).values(), *others]

    @cached_property
    def _curves(self) -> list[Curve]:
        """The curves of the plan; of very many those of the first groups."""
        return list(dict.fromkeys(line.curve for line in self.plan.lines))[:_CURVES]

    def _positions(self, most: int) -> list[int]:
        """About ``most`` updates, evenly spaced, with the first and the last of every phase; all where they are few."""
        # Both sides of a join, so that a cut is drawn as a cut and not as a slope between two samples.
        phases = {phase for curve in self._curves for phase in curve.phases[:most]}
        edges = {edge for phase in phases for edge in (phase.first - 1, phase.first)}
        chosen = {*range(0, self.updates, max(self.updates // most, 1)), self.updates - 1, *edges}
        return sorted(n for n in chosen if 0 <= n < self.updates)

    def _written_at(self, position: int) -> int:
        """The update whose LR the one at ``position`` uses: itself, or the first of its epoch."""
        if self.interval == "step":
            return position
        epoch = self.horizon.epoch_of(position)
        if epoch is None:
            raise HorizonError("interval='epoch'", "steps_per_epoch")
        return self.horizon.steps(Duration(epoch, "epochs"))

    def _at(self, share: int) -> int:
        """The update at a share of the run; 100 % is the last one, or where the clock counts the end."""
        if self.horizon.timed:
            return share * self.updates // 100
        return min(math.floor(share * self.updates / 100 + 0.5), self.updates - 1)  # no update T is ever done

    def _plan_in_words(self) -> str:
        notes = [*self.notes, *(["the LR is held for each epoch"] if self.interval == "epoch" else [])]
        notes += ["cuts are left out: they depend on the metric"] if self.plan.reaction is not None else []
        shares = self.shares if self.absolute else [*self.shares, "lr"]
        return in_words(self.plan, self.title, self.groups, notes, self.what, self.made_by, shares)

    def _share_columns(self) -> list[Column]:
        """Columns of the table; groups with the same LRs share one, and there are as many as fit beside each other."""
        at = {self._at(share): f"{share}%" for share in SHARES}
        known = self.horizon.total_steps is not None
        columns = [("of the run" if known else "of what is shown", [*at.values()])]
        columns.append(("time" if self.horizon.timed else "update", [self.horizon.mark(n) for n in at]))
        if self.horizon.steps_per_epoch is not None:
            columns.append(("epoch", [f"{self.horizon.epoch_of(n):,}" for n in at]))
        found = [one for key in ("lr", *self.plan.moves) for one in self._number_columns(key, at)]
        kept: list[_Ranked] = []
        for one in sorted(found, key=lambda one: one.rank):
            beside = [*columns, *(other.column for other in kept), one.column]
            if not kept or len(_aligned(beside).partition("\n")[0]) <= WIDTH:
                kept.append(one)
        return [*columns, *(one.column for one in found if one in kept)]

    def _number_columns(self, key: str, at: Iterable[int]) -> list[_Ranked]:
        """A column for all groups with the same values of a number; beside the LR those where it changes."""
        values = [self.lrs(n) if key == "lr" else self.values(key, n) for n in at]
        sharing: dict[tuple[float, ...], list[str]] = {}
        for name in values[0]:
            sharing.setdefault(tuple(one[name] for one in values), []).append(name)
        moving = {some: names for some, names in sharing.items() if key == "lr" or len({*some}) > 1} or sharing
        lines = {self.groups[line.group]: line for line in self.plan.lines if line.key == key}
        by_name, head, seen = (
            len(self.groups) > 1 if key == "lr" else len(moving) > 1,
            self._head_of(key),
            set[Curve](),
        )
        columns = []
        for some, names in moving.items():
            title, line = f"{head} {cut(', '.join(names), _NAME_WIDTH)}" if by_name else head, lines[names[0]]
            rank = 2 if line.curve in seen or not line.is_scheduled else 1 if seen else 0
            columns.append(_Ranked(rank, (title, [f"{one:.4g}" for one in some])))
            seen |= {line.curve} if line.is_scheduled else set()
        return columns

    def _head_of(self, key: str) -> str:
        return ("LR" if self.absolute else _NO_SHARE) if key == "lr" else self._title_of(key)

    def _y_title(self) -> str:
        return "learning rate" if self.absolute else "learning rate / peak"

    def _x_title(self, drawn: bool = False) -> str:
        if self.horizon.timed:
            return "milliseconds" if drawn else "time"
        epoch = self.horizon.steps_per_epoch
        return f"optimizer update ({epoch:,} an epoch)" if isinstance(epoch, int) else "optimizer update"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Shown):
    """Several previews by name; prints as a row for each.

    Attributes:
        previews: a `Preview` by name.
    """

    previews: Mapping[str, Preview]

    def __repr__(self) -> str:
        return self._table(sparks=True)

    @property
    def table(self) -> str:
        """The LR of each at 0, 25, 50, 75 and 100 % of its updates; text."""
        return self._table(sparks=False)

    def plot(self) -> Figure:
        """Return a matplotlib figure with all LRs in one axis."""
        first = next(iter(self.previews.values()))
        curves = zip(self._labels(), self._points().values(), strict=True)
        return figure_of_several(dict(curves), self.title, first._y_title())

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each update and a column ``lr/<name>`` for each preview."""
        write_several(Path(path), self._points())

    @property
    def title(self) -> str:
        """What is compared, in a line."""
        totals = {one.horizon.total_steps for one in self.previews.values()}
        (total,) = totals if len(totals) == 1 else (None,)
        whole = "" if total is None else f" over {checks.counted(total, 'update')}"
        return f"{checks.counted(len(self.previews), 'schedule')}{whole}"

    def _labels(self) -> list[str]:
        """The names; of a plan by group with the group whose LR is shown."""
        return [name if one.plan.uniform else f"{name} ({one._highest_group})" for name, one in self.previews.items()]

    def _points(self) -> dict[str, list[Point]]:
        return {name: one.points() for name, one in self.previews.items()}

    def _table(self, sparks: bool) -> str:
        columns: list[Column] = [("", [cut(name, _NAME_WIDTH) for name in self._labels()])]
        for share in (0, 50, 100) if sparks else SHARES:
            columns.append((f"{share}%", [f"{one._highest_lr(one._at(share)):.3g}" for one in self.previews.values()]))
        if sparks:
            room = WIDTH - len(_aligned(columns).partition("\n")[0]) - 2
            count, plain = min(max(room, _SPARKS[0]), _SPARKS[1]), is_plain()
            columns.append((" " * count, [_sparks(one, count, plain) for one in self.previews.values()]))
        shown = next(iter(self.previews.values()))._y_title()
        return f"{self.title[0].upper()}{self.title[1:]}: {shown} at shares of the run\n\n{_aligned(columns)}"


def _sparks(one: Preview, count: int, plain: bool) -> str:
    positions = [math.floor((one.updates - 1) * k / (count - 1)) for k in range(count)]
    peak = max(one._highest_lr(n) for n in one._positions(_DRAWN))
    return sparkline([one._highest_lr(n) for n in positions], peak, plain)


def _largest(lines: Sequence[Line]) -> Line:
    """The line with the largest base, among those that a schedule is given for."""
    return max(lines, key=lambda line: (line.is_scheduled, line.base))


def _aligned(columns: Sequence[Column]) -> str:
    """Columns of text, each to the right."""
    lines = zip(*([head, *values] for head, values in columns), strict=True)
    widths = [max(map(len, [head, *values])) for head, values in columns]
    return "\n".join(
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
