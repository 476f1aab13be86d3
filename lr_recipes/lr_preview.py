"""What a schedule will do, before anything is trained: as text, as a picture and as a file. No torch.

Evaluates the same objects as a run does, a schedule resolved on a horizon, so what is shown is what will be used.
"""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lr_recipes import picture
from lr_recipes.horizon import Duration, Horizon
from lr_recipes.lr_csv import LrCsv, columns_of
from lr_recipes.plan import GroupPlan, describe_plan
from lr_recipes.schedules import Curve, Plateau, Schedule
from lr_recipes.terminal_chart import WIDTH, Point, draw_chart, is_plain, sparkline

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARES = (0, 25, 50, 75, 100)
INTERVALS = ("step", "epoch")
_ROWS = 10_000  # of a file; more updates than that are thinned
_POINTS = 4000  # of a picture: more than it has pixels
_SPARKS = (10, 40)  # characters of a sparkline, at least and at most
_FAR_BELOW, _FOR_LONG = 30, 0.2  # below a 30th of the peak for a fifth of the run: a linear axis would show nothing
_FOR_MOMENTS = 0.02  # what lasts no longer, such as the end of a decay to 0, does not stretch a logarithmic axis
_NO_END = 100  # updates that are shown at least of a run without a known end
_NAME = 24  # characters of a name in a table
_NO_SHARE = "LR / peak"

Column = tuple[str, Sequence[str]]


def preview(
    schedule: Schedule | Mapping[str, Schedule],
    horizon: Horizon,
    lr: float | Mapping[str, float] | None = None,
    interval: str = "step",
    title: str = "",
) -> Any:
    """Show what a schedule will do in a run, without training.

    Args:
        schedule: one schedule; or several by name, to compare them.
        horizon: the facts about the run.
        lr: base LR, as the optimizer is built with: of all groups, or by the name of the group. Without it, LRs are
            shown as shares of the peak.
        interval: ``"step"``, or ``"epoch"`` for an LR that is held for each epoch, as in ``LearningRateScheduler``.
        title: whose plan it is; by default the schedule's class.

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
    if isinstance(schedule, Mapping):
        if not schedule:
            raise ValueError("schedule={}: give at least one schedule by name, as in {'cosine': Cosine()}")
        return Comparison({name: preview(one, horizon, lr, interval, name) for name, one in schedule.items()})
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule={schedule!r}: must be one of lr_recipes.schedules, as in Cosine(warmup='10%')")
    if interval not in INTERVALS:
        raise ValueError(f"interval={interval!r}: must be one of {', '.join(INTERVALS)}")
    base_lrs = _base_lrs(lr)
    curve = schedule.resolve(horizon, peak=None if lr is None else max(base_lrs.values()))
    return Preview(schedule, horizon, curve, base_lrs, interval, title or type(schedule).__name__, lr is not None)


@dataclass(frozen=True, repr=False, eq=False)
class Preview:
    """One schedule on one horizon; prints as its plan, its LRs and its curve.

    Attributes:
        schedule, horizon: what was asked for.
        curve: the schedule, resolved on the horizon.
        base_lrs: base LR by group.
        interval: ``"step"``, or ``"epoch"`` for an LR that is held for each epoch.
        title: whose plan it is.
        absolute: whether LRs are LRs; else they are shares of the peak.
        notes: further lines below the plan.
    """

    schedule: Schedule
    horizon: Horizon
    curve: Curve
    base_lrs: Mapping[str, float]
    interval: str
    title: str
    absolute: bool = True
    notes: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"{self.table}\n\n{self.chart()}"

    @cached_property
    def updates(self) -> int:
        """How many updates are shown: all, or of a run without a known end as many as show what the schedule does."""
        if self.horizon.total_steps is not None:
            return self.horizon.total_steps
        epoch = self.horizon.steps("1 epoch") if self.horizon.steps_per_epoch else 0
        shortest = shown = 10 * max(self.curve.phases[-1].first, epoch, _NO_END // 10)
        while shown < 100 * shortest and self.curve(shown - 1) > 0.2:
            shown *= 2
        return shown if self.curve(shown - 1) <= 0.2 else shortest

    def factor(self, position: int) -> float:
        """Return the factor that the update at ``position`` uses; it decides alone, whatever was asked for before."""
        return self.curve(position if self.interval == "step" else self._epoch_start(position))

    def lrs(self, position: int) -> dict[str, float]:
        """Return the LR of each group at the update at ``position``."""
        factor = self.factor(position)
        return {name: base * factor for name, base in self.base_lrs.items()}

    def momentum(self, position: int) -> float | None:
        """Return the momentum at the update at ``position``, where the schedule moves it."""
        move = self.curve.momentum
        return None if move is None else move(position if self.interval == "step" else self._epoch_start(position))

    @property
    def table(self) -> str:
        """The plan, and the LR at 0, 25, 50, 75 and 100 % of the updates; text that fits into 80 columns."""
        return f"{self._plan()}\n\n{_aligned(self._share_columns())}"

    def chart(self, plain: bool | None = None) -> str:
        """Return the LR over the updates as a curve of characters, for 80 columns.

        Args:
            plain: ASCII only; by default where stdout can print nothing else.
        """
        ticks = {self._at(share): f"{self._at(share):,}" for share in SHARES}
        group = max(self.base_lrs, key=self.base_lrs.__getitem__)
        points = [(n, self.base_lrs[group] * self.factor(n)) for n in self._positions(_POINTS)]
        low, several = log_axis([points]), len(set(self.base_lrs.values())) > 1
        title = self._y_title() + (f" of {group}, the others in proportion" if several else "")
        return draw_chart(
            points,
            title=title + (", log scale" if low else ""),
            x_title=self._x_title(),
            ticks=ticks,
            log_from=low,
            plain=is_plain() if plain is None else plain,
        )

    def plot(self) -> Figure:
        """Return a matplotlib figure: the LR of each group, the momentum where it moves, the phases."""
        columns = self._columns()
        rows = [dict(zip(columns, map(_cell, row), strict=True)) for row in self._rows(_POINTS)]
        total = "no known end" if self.horizon.total_steps is None else f"{self.horizon.total_steps:,} updates"
        source = f" ({self.horizon.source})" if self.horizon.source else ""
        figure = picture.figure_of(rows, f"{self.title}: {total}{source}\n{self.schedule!r}", {})
        if len(self.base_lrs) == 1:
            figure.legends[0].remove()  # nothing to tell apart
        figure.axes[0].set_ylabel(self._y_title())
        figure.axes[-1].set_xlabel(self._x_title())
        lines = [[(n, base * self.factor(n)) for n in self._positions(_POINTS)] for base in self.base_lrs.values()]
        _scale(figure.axes[0], lines)
        return figure

    def points(self) -> list[Point]:
        """Return updates and their LR in the group with the highest: all updates, or 10,000 that show the curve."""
        base = max(self.base_lrs.values())
        return [(n, base * self.factor(n)) for n in self._positions(_ROWS)]

    def to_csv(self, path: str | Path) -> None:
        """Write the plan with the columns of ``lr.csv``: a row for each update, of very many for 10,000 of them."""
        with_replacement(Path(path), self._write)

    def _write(self, path: Path) -> None:
        file = LrCsv(path, self._columns())
        file.write(self._rows(_ROWS))
        file.close()

    def _columns(self) -> list[str]:
        names = list(self.base_lrs)
        return columns_of({"lr": names, "momentum": names if self.curve.momentum else []})

    def _rows(self, most: int) -> Iterable[list[Any]]:
        """Rows of ``lr.csv``; how many samples an update sees is known when it has seen them."""
        epoch_of, phase = self.horizon.epoch_of, self.curve.phase
        for n in self._positions(most):
            momentum = self.momentum(n)
            momenta = [] if momentum is None else [momentum] * len(self.base_lrs)
            yield [n, epoch_of(n), None, phase(n), self.factor(n), *self.lrs(n).values(), *momenta]

    def _positions(self, most: int) -> list[int]:
        """About ``most`` updates, evenly spaced, with the first and the last of every phase; all where they are few."""
        edges = {edge for phase in self.curve.phases[:most] for edge in (phase.first - 1, phase.first)}
        chosen = {*range(0, self.updates, max(self.updates // most, 1)), self.updates - 1, *edges}
        return sorted(n for n in chosen if 0 <= n < self.updates)

    def _epoch_start(self, position: int) -> int:
        epoch = self.horizon.epoch_of(position)
        if epoch is None:
            raise ValueError("interval='epoch' needs steps_per_epoch, which this run does not have")
        return self.horizon.steps(Duration(epoch, "epochs"))

    def _at(self, share: int) -> int:
        """The update at a share of the run; 100 % is the last one."""
        return min(math.floor(share * self.updates / 100 + 0.5), self.updates - 1)

    def _plan(self) -> str:
        end = self.curve.end
        if isinstance(self.schedule, Plateau):  # cuts are decided by what is measured; it never goes below this
            end = self.schedule.lowest(max(self.base_lrs.values()))
        groups = [GroupPlan(name, base, base * end) for name, base in self.base_lrs.items()]
        notes = [*self.notes, *(["the LR is held for each epoch"] if self.interval == "epoch" else [])]
        notes += ["cuts are left out: they depend on the metric"] if isinstance(self.schedule, Plateau) else []
        return describe_plan(self.title, self.curve, self.horizon, groups if self.absolute else [], notes)

    def _share_columns(self) -> list[Column]:
        """Columns of the table; groups with the same LRs share one, and there are as many as fit beside each other."""
        at = {self._at(share): f"{share}%" for share in SHARES}
        known = self.horizon.total_steps is not None
        columns = [("of the run" if known else "of what is shown", [*at.values()])]
        columns.append(("update", [f"{n:,}" for n in at]))
        if self.horizon.steps_per_epoch is not None:
            columns.append(("epoch", [f"{self.horizon.epoch_of(n):,}" for n in at]))
        moves = [("momentum", [f"{self.momentum(n):.4g}" for n in at])] if self.curve.momentum is not None else []
        for number, (base, names) in enumerate(_sharing(self.base_lrs).items()):
            head = f"LR {_shortened(', '.join(names), _NAME)}" if len(self.base_lrs) > 1 else "LR"
            more = [(head if self.absolute else _NO_SHARE, [f"{base * self.factor(n):.4g}" for n in at])]
            if number and len(_aligned([*columns, *more, *moves]).partition("\n")[0]) > WIDTH:
                break
            columns += more
        return [*columns, *moves]

    def _y_title(self) -> str:
        return "learning rate" if self.absolute else "learning rate / peak"

    def _x_title(self) -> str:
        epoch = self.horizon.steps_per_epoch
        return f"optimizer update ({epoch:,} an epoch)" if isinstance(epoch, int) else "optimizer update"


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
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
        return figure_of_several(self._points(), self.title, first._y_title())

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each update and a column ``lr/<name>`` for each preview."""
        write_several(Path(path), self._points())

    @property
    def title(self) -> str:
        """What is compared, in a line."""
        totals = {one.horizon.total_steps for one in self.previews.values()}
        (total,) = totals if len(totals) == 1 else (None,)
        return f"{len(self.previews)} schedules" + (f" over {total:,} updates" if total is not None else "")

    def _points(self) -> dict[str, list[Point]]:
        return {name: one.points() for name, one in self.previews.items()}

    def _table(self, sparks: bool) -> str:
        columns: list[Column] = [("", [_shortened(name, _NAME) for name in self.previews])]
        for share in (0, 50, 100) if sparks else SHARES:
            columns.append((f"{share}%", [f"{_highest(one, one._at(share)):.3g}" for one in self.previews.values()]))
        if sparks:
            room = WIDTH - len(_aligned(columns).partition("\n")[0]) - 2
            count, plain = min(max(room, _SPARKS[0]), _SPARKS[1]), is_plain()
            columns.append((" " * count, [_sparks(one, count, plain) for one in self.previews.values()]))
        shown = next(iter(self.previews.values()))._y_title()
        return f"{self.title[0].upper()}{self.title[1:]}: {shown} at shares of the run\n\n{_aligned(columns)}"


def figure_of_several(curves: Mapping[str, Sequence[Point]], title: str, y_title: str = "learning rate") -> Figure:
    """Return a matplotlib figure of LR curves in one axis; equal curves share a line and their names.

    Args:
        curves: updates and LRs by name.
        title: a line above it.
        y_title: what is drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained", dpi=120)
    axis = figure.subplots()
    sharing: dict[tuple[Point, ...], list[str]] = {}
    for name, curve in curves.items():
        sharing.setdefault(tuple(curve), []).append(name)
    # Dashes in front of solid lines, so that neither is hidden where they run together.
    looks = zip(itertools.cycle(picture.COLOURS), itertools.cycle(picture.STYLES), strict=False)
    for (curve, names), (colour, style) in zip(sharing.items(), looks, strict=False):
        steps, lrs = zip(*curve, strict=True)
        marker = picture.marker_of(lrs)
        label = picture.escaped(", ".join(names))
        axis.plot(steps, lrs, color=colour, linestyle=style, linewidth=1.8, marker=marker, label=label)
    axis.set_ylabel(y_title)
    axis.set_xlabel("optimizer update")
    picture.make_quiet(axis)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter("{x:g}")
    _scale(axis, list(curves.values()))
    figure.suptitle(picture.escaped(title), x=0.01, ha="left", fontsize=9)
    widest = max(len(", ".join(names)) for names in sharing.values())
    columns = max(min(4, picture.LINE // (widest + 8)), 1)
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handlelength=4)
    return figure


def write_several(path: Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Write a row for each update that a curve has and a column ``lr/<name>`` for each curve, empty past its end."""
    by_step: dict[int, dict[str, float]] = {}
    for name, curve in curves.items():
        for step, lr in curve:
            by_step.setdefault(step, {})[name] = lr

    def write(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["step", *(f"lr/{name}" for name in curves)])
            writer.writerows([step, *(lrs.get(name) for name in curves)] for step, lrs in sorted(by_step.items()))

    with_replacement(path, write)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's ending names."""
    with_replacement(path, lambda target: figure.savefig(target, format=path.suffix.lstrip(".") or "png"))


def with_replacement(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file beside ``path`` that then takes its place, so that nobody finds half of one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(fresh)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # under the name that was asked for


def log_axis(curves: Iterable[Sequence[Point]]) -> float | None:
    """Return where a logarithmic LR axis begins; ``None`` for a linear one, which begins at 0.

    Logarithmic where LRs span decades: where a curve, after its highest point, is far below the peak for long. It then
    begins at the lowest LR that is used for more than a moment.
    """
    falls = [_fall(curve) for curve in curves]
    peak = max(lr for fall in falls for lr, _ in fall)
    if all(sum(share for lr, share in fall if lr < peak / _FAR_BELOW) < _FOR_LONG for fall in falls):
        return None
    return min(map(_lowest_for_long, falls))


def _fall(curve: Sequence[Point]) -> list[tuple[float, float]]:
    """LRs above 0 from the highest one on, each with the share of the run for which it is used."""
    ends = [*(n for n, _ in curve[1:]), curve[-1][0] + 1]
    whole = ends[-1] - curve[0][0]
    lrs = [lr for _, lr in curve]
    top = lrs.index(max(lrs))
    return [(lr, (end - n) / whole) for (n, lr), end in zip(curve[top:], ends[top:], strict=True) if lr > 0]


def _lowest_for_long(fall: Sequence[tuple[float, float]]) -> float:
    lasted = 0.0
    for lr, share in sorted(fall):
        lasted += share
        if lasted > _FOR_MOMENTS:
            return lr
    return max(lr for lr, _ in fall)


def _scale(axis: Any, curves: Sequence[Sequence[Point]]) -> None:
    """A logarithmic axis where the LRs span decades and groups that are far apart have not made it one already."""
    low = log_axis(curves)
    if low is not None and axis.get_yscale() != "log":
        axis.set_yscale("log")
        axis.set_ylim(low / 1.5, 1.5 * max(lr for curve in curves for _, lr in curve))


def _highest(one: Preview, position: int) -> float:
    return max(one.base_lrs.values()) * one.factor(position)


def _sparks(one: Preview, count: int, plain: bool) -> str:
    positions = [math.floor((one.updates - 1) * k / (count - 1)) for k in range(count)]
    peak = max(one.factor(n) for n in one._positions(_POINTS))
    return sparkline([one.factor(n) for n in positions], peak, plain)


def _base_lrs(lr: float | Mapping[str, float] | None) -> dict[str, float]:
    base_lrs = dict(lr) if isinstance(lr, Mapping) else {"group0": 1.0 if lr is None else lr}
    for name, value in base_lrs.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            whose = f" of {name}" if isinstance(lr, Mapping) else ""
            raise ValueError(f"lr={value!r}{whose}: must be a number above 0, the peak of the schedule, as in 0.001")
    if not base_lrs:
        raise ValueError("lr={}: give the base LR of at least one group, as in {'decay': 0.001}")
    return {name: float(value) for name, value in base_lrs.items()}


def _sharing(base_lrs: Mapping[str, float]) -> dict[float, list[str]]:
    """Names of the groups by their base LR."""
    sharing: dict[float, list[str]] = {}
    for name, base in base_lrs.items():
        sharing.setdefault(base, []).append(name)
    return sharing


def _aligned(columns: Sequence[Column]) -> str:
    """Columns of text, each to the right."""
    lines = zip(*([head, *values] for head, values in columns), strict=True)
    widths = [max(map(len, [head, *values])) for head, values in columns]
    return "\n".join(
        "  " + "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
