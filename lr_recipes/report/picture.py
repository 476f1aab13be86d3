"""Draws LRs over the updates: ``lr.png`` from ``lr.csv``, with the phases of the plan, and several curves in one.

matplotlib is imported where a picture is made: a run that draws none must not wait for it.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lr_recipes.checks import visible
from lr_recipes.report.chart import Point
from lr_recipes.report.lr_csv import with_replacement
from lr_recipes.report.rows import sample_rows
from lr_recipes.report.shown import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers; the line styles tell them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
GREY = "0.35"
_POINTS = 8000  # some times as many as a picture has pixels
_FEW = 60  # updates that can be told apart, and get a dot each
_WIDE_RANGE = 20  # peaks further apart than this need a logarithmic axis
_DECADES = 3  # how far below the lowest peak such an axis goes: a decay to 0 would have no bottom
_MANY = 8  # more phases or curves than this are not all named
LINE = 110  # characters that fit into the width of the picture
_NAME = 44  # of them are left for a name, so that two names share a line
_FAR_BELOW, _FOR_LONG = 30, 0.2  # below a 30th of the peak for a fifth of the run: a linear axis would show nothing
_FOR_MOMENTS = 0.02  # what lasts no longer, such as the end of a decay to 0, does not stretch a logarithmic axis
_HEIGHT, _PANEL = 4.2, 1.4  # inches: of a picture of LRs, and of each other number below them
_CHARACTER = 0.0105  # width of a small letter, as a share of the axis

Rows = Sequence[Mapping[str, str]]
Values = tuple[float, ...]


def draw(source: Path, target: Path, title: str = "", peaks: Mapping[str, float] | None = None) -> None:
    """Draw the used LR of every group, and the planned one where ``peaks`` are given.

    Args:
        source: an ``lr.csv``.
        target: the picture to write.
        title: a line or two above it.
        peaks: base LR of each group; the plan is ``planned_factor`` times that.

    Raises:
        ValueError: the file has no rows.
    """
    save_figure(figure_of(_rows_of(source, _POINTS), title, peaks or {}), target)


def draw_many(sources: Mapping[str, Path], target: Path, title: str = "") -> None:
    """Draw the used LRs of many files in one picture.

    Args:
        sources: an ``lr.csv`` by the name that it gets in the picture.
        target: the picture to write.
        title: a line above it.

    Raises:
        ValueError: a file has no rows.
    """
    curves: dict[str, tuple[tuple[int, ...], Values]] = {}
    for name, source in sources.items():
        rows = _rows_of(source, max(_POINTS // len(sources), _FEW))
        lrs = _series(rows, "lr/")
        steps = tuple(_steps(rows))
        curves.update({name if len(lrs) == 1 else f"{name} {group}": (steps, used) for group, used in lrs.items()})
    save_figure(figure_together(curves, title), target)


def _rows_of(source: Path, points: int) -> Rows:
    """Rows of a file, of very many only so many, at equal distances."""
    rows = sample_rows(source, points)
    if not rows:
        raise ValueError(f"{source} has no rows to draw: let LearningRateLogger record a run into it first")
    return rows


def figure_of(rows: Rows, title: str, peaks: Mapping[str, float]) -> Figure:
    """Return the picture of ``rows`` as a matplotlib figure."""
    numbers = {kind: of for kind in _kinds(rows) if (of := _moving(_series(rows, f"{kind}/")))}
    figure = new_figure(figsize=(8, _HEIGHT + _PANEL * len(numbers)), dpi=120)
    ratios = [3, *(1 for _ in numbers)]
    axes = list(figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0])
    _draw_lrs(axes[0], rows, peaks)
    for axis, (kind, sharing) in zip(axes[1:], numbers.items(), strict=True):
        _draw_number(axis, rows, kind, sharing)
    for axis in axes:
        make_quiet(axis)
    _draw_phases(axes, rows)
    axes[-1].set_xlabel("optimizer update")
    wrapped = [textwrap.fill(line, LINE) for line in title.splitlines()]
    figure.suptitle(escaped("\n".join(wrapped)), x=0.01, ha="left", fontsize=9)
    _draw_legend(figure, axes[0])
    return figure


def _draw_lrs(axis: Axes, rows: Rows, peaks: Mapping[str, float]) -> None:
    """The used LR as thin lines, one for all groups that share it, on the planned one as a broad light band."""
    lrs, steps = _series(rows, "lr/"), _steps(rows)
    factors = _numbers(rows, "planned_factor")
    plans = [
        tuple(math.nan if math.isnan(lr) else peaks[name] * factor for lr, factor in zip(used, factors, strict=True))
        for name, used in lrs.items()
        if name in peaks
    ]
    for plan in dict.fromkeys(plans):
        marker = "o" if marker_of(plan) else ""
        axis.plot(steps, plan, color="0.83", linewidth=5, solid_capstyle="round", marker=marker, zorder=1)
    _draw_used(axis, [(steps, used, names) for used, names in _sharing(lrs).items()])
    if len(rows) == 1:
        axis.set_xlim(steps[0] - 0.5, steps[0] + 0.5)


def _draw_used(axis: Axes, curves: Sequence[tuple[Sequence[int], Values, Sequence[str]]]) -> None:
    """Updates, LRs, and the names of the groups that used them, each as a line."""
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(STYLES), strict=False)
    for (steps, used, names), (colour, style) in zip(curves, looks, strict=False):
        axis.plot(
            steps, used, color=colour, linestyle=style, linewidth=1.6, marker=marker_of(used), label=_label(names)
        )
    axis.set_ylabel("learning rate")
    _scale_for_groups(axis, [used for _, used, _ in curves])


def figure_together(curves: Mapping[str, tuple[tuple[int, ...], Values]], title: str) -> Figure:
    """Return the picture of many used LRs, each with its updates; a line for all that share it."""
    figure = new_figure(figsize=(8, 4.2), dpi=120)
    axis = figure.subplots()
    sharing: dict[tuple[tuple[int, ...], Values], list[str]] = {}
    for name, curve in curves.items():
        sharing.setdefault(curve, []).append(name)
    _draw_used(axis, [(*curve, names) for curve, names in sharing.items()])
    make_quiet(axis)
    axis.set_xlabel("optimizer update")
    figure.suptitle(escaped(title), x=0.01, ha="left", fontsize=9)
    _draw_legend(figure, axis)
    return figure


def _scale_for_groups(axis: Axes, lrs: Any) -> None:
    """A linear axis from 0, or a logarithmic one where the groups are far apart."""
    tops = [max((lr for lr in used if math.isfinite(lr)), default=0.0) for used in lrs]
    positive = [lr for used in lrs for lr in used if 0 < lr < math.inf]
    if not positive or min(tops) <= 0 or max(tops) < _WIDE_RANGE * min(tops):
        axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter("{x:g}")
        return
    axis.set_yscale("log")
    axis.set_ylim(bottom=max(min(positive) / 1.5, min(tops) / 10**_DECADES), top=max(tops) * 1.5)


def _draw_number(axis: Axes, rows: Rows, kind: str, sharing: Mapping[Values, Sequence[str]]) -> None:
    """What moves beside the LR: a line for all groups that share it, named where it is not that of all."""
    for (curve, names), style in zip(sharing.items(), itertools.cycle(STYLES), strict=False):
        label, marker = _label(names), marker_of(curve)
        axis.plot(_steps(rows), curve, color=GREY, linestyle=style, linewidth=1.6, marker=marker, label=label)
    axis.set_ylabel(kind, fontsize=8)  # which is longer than the panel is high otherwise
    if [*sharing.values()] != [[*_series(rows, "lr/")]]:
        axis.legend(frameon=False, fontsize=7, ncols=2, handlelength=3)


def make_quiet(axis: Axes) -> None:
    """A faint grid, no box, and whole updates, with thousands separated, along the x axis."""
    from matplotlib.ticker import MaxNLocator

    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.01)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=9, steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    axis.xaxis.set_major_formatter("{x:,.0f}")


def _draw_legend(figure: Figure, axis: Axes) -> None:
    """Below the picture, where it hides nothing: the names of the curves, of very many the first and the last."""
    from matplotlib.lines import Line2D

    plans = [line for line in axis.lines if line.get_zorder() == 1][:1]
    used = [line for line in axis.lines if line.get_zorder() > 1]
    if len(used) > _MANY:
        used = [*used[:3], Line2D([], [], linestyle="none", label=f"... {len(used) - 4} more ..."), used[-1]]
    names = [*(str(line.get_label()) for line in used), *("planned" for _ in plans)]
    columns = min(4, LINE // (max(map(len, names)) + 8))
    figure.legend(
        [*used, *plans], names, loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handlelength=3
    )


def _draw_phases(axes: Sequence[Axes], rows: Rows) -> None:
    """A thin line where a phase begins, its name in the middle above."""
    # Without a factor for all groups, the phases are those of the first one.
    of_first = any(row["phase"] and not row["planned_factor"] for row in rows)
    colour = COLOURS[0] if of_first else GREY
    begins = [next(run) for _, run in itertools.groupby(rows, key=lambda row: row["phase"])]
    if len(begins) > _MANY:
        return
    starts, last = _steps(begins), int(rows[-1]["step"])
    for axis, start in itertools.product(axes[:1] if of_first else axes, starts[1:]):
        axis.axvline(start, color=colour if of_first else "0.6", linewidth=0.7, zorder=0)
    middles = [(start + end) / 2 for start, end in zip(starts, [*starts[1:], last], strict=True)]
    names = [row["phase"] for row in begins]
    above = axes[0].get_xaxis_transform()  # x in updates, y as a share of the axis
    for middle, name in _fitting(middles, names, max(last - starts[0], 1)):
        axes[0].text(middle, 1.01, escaped(name), transform=above, ha="center", va="bottom", fontsize=8, color=colour)


def _fitting(middles: Sequence[float], names: Sequence[str], width: float) -> list[tuple[float, str]]:
    """Names that do not overlap, from left to right; one that would touch the one before it is left out."""
    kept: list[tuple[float, str]] = []
    free_from = -math.inf
    for middle, name in zip(middles, names, strict=True):
        half = (len(name) / 2 + 1) * _CHARACTER * width
        if middle - half >= free_from:
            kept.append((middle, name))
            free_from = middle + half
    return kept


def _steps(rows: Rows) -> list[int]:
    return [int(row["step"]) for row in rows]


def _series(rows: Rows, prefix: str) -> dict[str, Values]:
    """Values by group name."""
    return {column.removeprefix(prefix): _numbers(rows, column) for column in rows[0] if column.startswith(prefix)}


def _numbers(rows: Rows, column: str) -> Values:
    """Values of a column; where there is none, as of a group that was not there yet, not a number.

    It is the one object ``math.nan`` in all places, so curves with equal gaps are equal.
    """
    return tuple(float(row[column]) if row[column] else math.nan for row in rows)


def _kinds(rows: Rows) -> list[str]:
    """What is there beside the LR: momentum, weight decay and so on."""
    kinds = dict.fromkeys(column.partition("/")[0] for column in rows[0] if "/" in column)
    return [kind for kind in kinds if kind != "lr"]


def _sharing(series: Mapping[str, Values]) -> dict[Values, list[str]]:
    """Names of the groups by their values."""
    sharing: dict[Values, list[str]] = {}
    for name, values in series.items():
        sharing.setdefault(values, []).append(name)
    return sharing


def _moving(series: Mapping[str, Values]) -> dict[Values, list[str]]:
    """The same of those whose values change."""
    return {values: names for values, names in _sharing(series).items() if len(set(values) - {math.nan}) > 1}


def marker_of(values: Values) -> str:
    """A dot for each value where they are few: a line needs two."""
    return "." if sum(map(math.isfinite, values)) <= _FEW else ""


def _label(names: Sequence[str]) -> str:
    label = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return escaped(label if len(label) <= _NAME else f"{label[: _NAME // 2]}...{label[-_NAME // 2 :]}")


def escaped(text: str) -> str:
    """Text that matplotlib shows as it is: "$" would start a formula, and no text or a first "_" hide the name."""
    text = visible(text).replace("$", r"\$")  # of a control character, which no font has, it would warn
    return text if text and text[0] != "_" else f" {text}"


# Several curves in one picture, and one rule for a logarithmic axis


def figure_of_several(curves: Mapping[str, Sequence[Point]], title: str, y_title: str = "learning rate") -> Figure:
    """Return a matplotlib figure of LR curves in one axis; equal curves share a line and their names.

    Args:
        curves: updates and LRs by name.
        title: a line above it.
        y_title: what is drawn.
    """
    figure = new_figure(figsize=(8, 4.6), dpi=120)
    axis = figure.subplots()
    sharing: dict[tuple[Point, ...], list[str]] = {}
    for name, curve in curves.items():
        sharing.setdefault(tuple(curve), []).append(name)
    # matplotlib draws later lines over earlier ones, and the first style is solid: dashes lie in front of solid lines,
    # so neither is hidden where they run together.
    looks = zip(itertools.cycle(COLOURS), itertools.cycle(STYLES), strict=False)
    for (curve, names), (colour, style) in zip(sharing.items(), looks, strict=False):
        steps, lrs = zip(*curve, strict=True)
        marker = marker_of(lrs)
        label = escaped(", ".join(names))
        axis.plot(steps, lrs, color=colour, linestyle=style, linewidth=1.8, marker=marker, label=label)
    axis.set_ylabel(y_title)
    axis.set_xlabel("optimizer update")
    make_quiet(axis)
    axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter("{x:g}")
    set_lr_scale(axis, list(curves.values()))
    figure.suptitle(escaped(title), x=0.01, ha="left", fontsize=9)
    widest = max(len(", ".join(names)) for names in sharing.values())
    columns = max(min(4, LINE // (widest + 8)), 1)
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, fontsize=8, handlelength=4)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's ending names."""
    with_replacement(path, lambda target: figure.savefig(target, format=path.suffix.lstrip(".") or "png"))


def pixels_of(path: Path) -> Any:
    """Return a picture that was saved, as an array of its rows, columns and colours, each from 0 to 1."""
    from matplotlib.image import imread

    return imread(path)


def log_axis(curves: Iterable[Sequence[Point]]) -> float | None:
    """Return where a logarithmic LR axis begins; ``None`` for a linear one, which begins at 0.

    Logarithmic where LRs span decades: where a curve, after its highest point, is far below the peak for long. It then
    begins at the lowest LR that is used for more than a moment.
    """
    falls = [_fall(curve) for curve in curves]
    peak = max((lr for fall in falls for lr, _ in fall), default=0.0)  # 0 where all are frozen
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


def set_lr_scale(axis: Any, curves: Sequence[Sequence[Point]]) -> None:
    """A logarithmic axis where the LRs span decades and groups that are far apart have not made it one already."""
    low = log_axis(curves)
    if low is not None and axis.get_yscale() != "log":
        axis.set_yscale("log")
        axis.set_ylim(low / 1.5, 1.5 * max(lr for curve in curves for _, lr in curve))
