"""Draws ``lr.png`` from ``lr.csv``: the LR of every group over the updates, with the phases of the plan."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lr_recipes.lr_csv import read_rows

# Okabe and Ito's palette: told apart by colour-blind readers; line styles tell them apart in print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":")
_POINTS = 4000  # more than a picture has pixels
_WIDE_RANGE = 100  # groups further apart than this need a logarithmic axis


def draw(source: Path, target: Path, title: str = "", peaks: Mapping[str, float] | None = None) -> None:
    """Draw the used LR of every group, and the planned one where ``peaks`` are given.

    Args:
        source: an ``lr.csv``.
        target: the picture to write.
        title: one line above it.
        peaks: base LR of each group; the plan is ``planned_factor`` times that.

    Raises:
        ValueError: the file has no rows.
    """
    rows = _thinned(source)
    if not rows:
        raise ValueError(f"{source} has no rows to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    momentum = _moving(_series(rows, "momentum/"))
    figure = Figure(figsize=(8, 5.6 if momentum else 4.2), layout="constrained", dpi=120)
    FigureCanvasAgg(figure)
    heights = [3, 1] if momentum else [1]
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    _draw_lrs(axes[0], rows, peaks or {})
    _draw_phases(axes, rows)
    if momentum:
        _draw_lines(axes[1], rows, momentum)
        axes[1].set_ylabel("momentum")
    axes[0].set_title(title, fontsize=10, loc="left", pad=18)
    axes[-1].set_xlabel("optimizer update")
    figure.savefig(target)


def _thinned(source: Path) -> list[dict[str, str]]:
    """Rows of the file, evenly thinned to a few thousand; the last one is always there."""
    with source.open("rb") as file:
        lines = sum(1 for _ in file)
    stride = max(lines // _POINTS, 1)
    kept: list[dict[str, str]] = []
    last: dict[str, str] = {}
    for index, row in enumerate(row for row in read_rows(source) if row):
        last = row
        if index % stride == 0:
            kept.append(row)
    return kept if not kept or last is kept[-1] else [*kept, last]


def _series(rows: list[dict[str, str]], prefix: str) -> dict[str, list[float]]:
    """Values by group name; where a group was not there yet, not a number."""
    names = [column.removeprefix(prefix) for column in rows[0] if column.startswith(prefix)]
    return {name: [float(row[prefix + name] or "nan") for row in rows] for name in names}


def _moving(series: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values for name, values in series.items() if len(set(values)) > 1}


def _steps(rows: list[dict[str, str]]) -> list[int]:
    return [int(row["step"]) for row in rows]


def _draw_lrs(axis: Any, rows: list[dict[str, str]], peaks: Mapping[str, float]) -> None:
    lrs = _series(rows, "lr/")
    _draw_lines(axis, rows, lrs)
    planned = [float(row["planned_factor"] or "nan") for row in rows]
    label = "planned"
    for name in lrs:
        if name in peaks:
            plan = [peaks[name] * factor for factor in planned]
            axis.plot(_steps(rows), plan, color="black", linewidth=0.8, linestyle=(0, (1, 4)), label=label, zorder=3)
            label = "_planned"  # matplotlib leaves names with an underscore out of the legend
    axis.set_ylabel("learning rate")
    positive = [value for values in lrs.values() for value in values if value > 0]
    tops = [max(values, default=0) for values in lrs.values()]
    if positive and min(tops) > 0 and max(tops) / min(tops) > _WIDE_RANGE:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.legend(frameon=False, fontsize=8)


def _draw_lines(axis: Any, rows: list[dict[str, str]], series: dict[str, list[float]]) -> None:
    """One line for each different curve; groups that share a curve share a label."""
    alike: dict[tuple[float, ...], list[str]] = {}
    for name, values in series.items():
        alike.setdefault(tuple(values), []).append(name)
    colours, styles = itertools.cycle(COLOURS), itertools.cycle(STYLES)
    for curve, names in alike.items():
        label = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        axis.plot(_steps(rows), curve, color=next(colours), linestyle=next(styles), linewidth=1.8, label=label)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.margins(x=0.01)


def _draw_phases(axes: Any, rows: list[dict[str, str]]) -> None:
    """A thin line where a phase begins, its name above; names that would overlap are left out."""
    starts = [(int(one[0]["step"]), name) for name, one in _runs(rows) if name]
    if len(starts) > 8:
        return
    first, last = int(rows[0]["step"]), int(rows[-1]["step"])
    free_from = float("-inf")
    for step, name in starts:
        for axis in axes:
            axis.axvline(step, color="0.6", linewidth=0.7, zorder=0)
        place = (step - first) / max(last - first, 1)
        if place >= free_from:
            text = f" {name}"
            axes[0].annotate(text, (step, 1), xycoords=("data", "axes fraction"), va="bottom", fontsize=8, color="0.35")
            free_from = place + 0.014 * len(text)


def _runs(rows: list[dict[str, str]]) -> list[tuple[str, list[dict[str, str]]]]:
    return [(name, list(group)) for name, group in itertools.groupby(rows, key=lambda row: row["phase"])]
