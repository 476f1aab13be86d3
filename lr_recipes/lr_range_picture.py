"""Draws ``range_test.png``: the loss over the LR, the smoothed curve, every suggestion and the usable range."""

from __future__ import annotations

import textwrap
from statistics import median
from typing import TYPE_CHECKING

from lr_recipes.picture import COLOURS, escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lr_recipes.lr_range_test import RangeTest

# Told apart by their shape too, in print and by colour-blind readers.
_MARKERS = {"steepest": "o", "valley": "s", "slide": "^", "minimum": "D", "edge": "*"}
_NAMES = {"minimum": "minimum / 10", "edge": "edge (suggested peak)"}
_GREY = "0.35"
_LINE = 100  # characters that fit into the width of the picture
_ROOM = 0.25  # share of the curve's height that is shown above and below it


def figure_of(test: RangeTest, title: str) -> Figure:
    """Return the picture as a matplotlib figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.6), layout="constrained", dpi=120)
    axis = figure.subplots()
    axis.plot(test.lrs, test.losses, ".", color="0.6", markersize=4, label="loss of an update", zorder=2)
    axis.plot(test.lrs, test.smoothed, color="black", linewidth=1.8, label="smoothed", zorder=3)
    if test.usable is not None:
        axis.axvspan(*test.usable, color="0.92", zorder=0, label="usable: {:.2g} to {:.2g}".format(*test.usable))
    _draw_suggestions(axis, test)
    _set_axes(axis, test)
    lines = [textwrap.fill(line, _LINE) for line in (title, _verdict(test)) if line]
    figure.suptitle(escaped("\n".join(lines)), x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8, handlelength=2)
    return figure


def _verdict(test: RangeTest) -> str:
    if test.suggestion is None:
        return f"no suggestion: {test.reason}"
    doubt = "" if test.agree else "; but the rules for an LR to keep are more than a decade apart"
    return f"suggested peak LR {test.suggestion:g}, for a schedule that warms up and decays{doubt}"


def _draw_suggestions(axis: Axes, test: RangeTest) -> None:
    """A marker on the curve for each rule, and a line through the suggested peak."""
    for (rule, lr), colour in zip(test.suggestions.items(), COLOURS, strict=False):
        label = f"{_NAMES.get(rule, rule)}: {lr:g}"
        axis.plot(
            [lr],
            [_height(test, lr)],
            _MARKERS[rule],
            color=colour,
            markeredgecolor="black",
            markersize=14 if rule == "edge" else 9,
            label=label,
            zorder=5,
        )
    if test.suggestion is not None:
        axis.axvline(test.suggestion, color=_GREY, linestyle="--", linewidth=1.2, zorder=1)


def _height(test: RangeTest, lr: float) -> float:
    """The smoothed loss at the update whose LR is nearest."""
    nearest = min(range(len(test.lrs)), key=lambda i: max(test.lrs[i] / lr, lr / test.lrs[i]))
    return test.smoothed[nearest]


def _set_axes(axis: Axes, test: RangeTest) -> None:
    axis.set_xlabel("learning rate of the update (log scale)")
    axis.set_ylabel("training loss")
    axis.set_xscale("log")
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if not test.losses:
        return
    # What exploded would press the part that matters flat, so it leaves the picture at the top.
    low, high = min(test.smoothed), max(test.smoothed)
    noise = median(abs(loss - curve) for loss, curve in zip(test.losses, test.smoothed, strict=True))
    room = max(_ROOM * (high - low), 5 * noise) or 0.1 * abs(high) or 1.0
    axis.set_ylim(low - room, high + room)
    axis.set_xlim(test.lrs[0] / 1.2, test.lrs[-1] * 1.2)
