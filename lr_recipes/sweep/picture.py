"""Draws ``range_test.png``: the loss over the LR, the smoothed curve, every suggestion and the usable range.

Nothing is found out here: what is drawn is given. matplotlib is imported when it is needed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

from lr_recipes.report.picture import COLOURS, GREY, escaped
from lr_recipes.report.shown import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by their shape too, in print and by colour-blind readers.
_MARKERS = {"steepest": "o", "valley": "s", "slide": "^", "minimum": "D", "edge": "*"}
_NAMES = {"minimum": "minimum / 10", "edge": "edge (suggested peak)"}
_LINE = 100  # characters that fit into the width of the picture
_ROOM = 0.25  # share of the curve's height that is shown above and below it


def sweep_figure(
    lrs: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    *,
    suggestions: Mapping[str, float],
    peak: float | None,
    usable: tuple[float, float] | None,
    title: str,
) -> Figure:
    """Return the picture as a matplotlib figure.

    Args:
        lrs: LR of each update.
        losses: loss of each update.
        smoothed: smoothed loss of each update.
        suggestions: rule -> LR.
        peak: the LR that gets a line of its own.
        usable: lowest and highest usable LR, shaded.
        title: lines above the picture; long ones are wrapped.
    """
    figure = new_figure(figsize=(8, 4.6), dpi=120)
    axis = figure.subplots()
    axis.plot(lrs, losses, ".", color="0.6", markersize=4, label="loss of an update", zorder=2)
    axis.plot(lrs, smoothed, color="black", linewidth=1.8, label="smoothed", zorder=3)
    if usable is not None:
        axis.axvspan(*usable, color="0.92", zorder=0, label="usable: {:.2g} to {:.2g}".format(*usable))
    for (rule, lr), colour in zip(suggestions.items(), COLOURS, strict=False):
        _mark(axis, rule, lr, smoothed[_closest_point(lrs, lr)], colour)
    if peak is not None:
        axis.axvline(peak, color=GREY, linestyle="--", linewidth=1.2, zorder=1)
    _set_axes(axis)
    if losses:
        _set_limits(axis, lrs, losses, smoothed)
    lines = [textwrap.fill(line, _LINE) for line in title.splitlines()]
    figure.suptitle(escaped("\n".join(lines)), x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8, handlelength=2)
    return figure


def _closest_point(lrs: Sequence[float], lr: float) -> int:
    return min(range(len(lrs)), key=lambda i: max(lrs[i] / lr, lr / lrs[i]))


def _mark(axis: Axes, rule: str, lr: float, height: float, colour: str) -> None:
    """A marker on the curve, the suggested peak's larger than the others."""
    axis.plot(
        [lr],
        [height],
        _MARKERS[rule],
        color=colour,
        markeredgecolor="black",
        markersize=14 if rule == "edge" else 9,
        label=f"{_NAMES.get(rule, rule)}: {lr:g}",
        zorder=5,
    )


def _set_axes(axis: Axes) -> None:
    axis.set_xlabel("learning rate of the update (log scale)")
    axis.set_ylabel("training loss")
    axis.set_xscale("log")
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _set_limits(axis: Axes, lrs: Sequence[float], losses: Sequence[float], smoothed: Sequence[float]) -> None:
    """Leave what exploded out at the top: it would press the part that matters flat."""
    low, high = min(smoothed), max(smoothed)
    noise = median(abs(loss - curve) for loss, curve in zip(losses, smoothed, strict=True))
    room = max(_ROOM * (high - low), 5 * noise) or 0.1 * abs(high) or 1.0
    axis.set_ylim(low - room, high + room)
    axis.set_xlim(lrs[0] / 1.2, lrs[-1] * 1.2)
