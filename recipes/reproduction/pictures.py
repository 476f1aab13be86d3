"""Draws the pictures of the page: the loss over the LR, and the curves of LR and loss over the updates."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lr_recipes.report.picture import COLOURS
from recipes.reproduction.comparison import USABLE, Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Schedules are told apart by line and marker too, in print and by colour-blind readers.
_SYMBOLS = ("o", "s", "^", "D", "v", "P")
_DASHES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_LOSS_TICKS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1, 1.4, 1.7, 2, 2.5, 3, 4, 6, 10)
_FEWEST_TICKS = 4
_ACROSS = 3  # panels side by side
_SMOOTH = 0.9  # of the running mean of training losses

Losses = Mapping[str, Mapping[float, float]]


def draw_row(title: str, losses: Losses, curves: Mapping[str, Path]) -> Figure:
    """Draw a row of the table.

    Args:
        title: above the picture.
        losses: schedule -> LR -> mean validation loss.
        curves: schedule -> file with ``update,lr,train_loss``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained", dpi=110)
    left, middle, right = figure.subplots(1, 3)
    draw_losses(left, losses)
    for number, (schedule, path) in enumerate(curves.items()):
        updates, lrs, values = read_curve(path)
        style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "linestyle": _DASHES[number % len(_DASHES)]}
        middle.plot(updates, lrs, label=schedule, linewidth=1.6, **style)
        right.plot(updates, smoothed(values), label=schedule, linewidth=1.4, **style)
    _name_axes(middle, "optimizer update", "largest learning rate, each tuned")
    _name_axes(right, "optimizer update", "training loss (nats, running mean)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=6, frameon=False, fontsize=9)
    return figure


def draw_robustness(rows: Mapping[str, Losses]) -> Figure:
    """Draw the loss over the LR with and without warmup, a panel for each row of the table."""
    from matplotlib.figure import Figure

    across = min(len(rows), _ACROSS)
    down = math.ceil(len(rows) / across)
    figure = Figure(figsize=(4.4 * across, 3.8 * down), layout="constrained", dpi=110)
    panels = figure.subplots(down, across, squeeze=False).flat
    for axis in panels[len(rows) :]:
        axis.remove()
    for axis, (setting, losses) in zip(panels, rows.items(), strict=False):
        draw_losses(axis, losses, band=True)
        axis.set_title(setting, loc="left", fontsize=10)
        axis.legend(frameon=False, fontsize=9)
    return figure


def draw_lengths(rows: Mapping[str, Sequence[tuple[int, Sequence[Evaluation]]]]) -> Figure:
    """Draw the difference to the fixed LR over the number of updates, a panel for each row of the table."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8 * max(len(rows), 1), 3.8), layout="constrained", dpi=110)
    for axis, (setting, points) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows.items(), strict=True):
        updates = [count for count, _ in points]
        for number, schedule in enumerate(one.schedule for one in points[0][1] if one.difference is not None):
            found = [one.difference for _, found in points for one in found if one.schedule == schedule]
            there = [one for one in found if one is not None]
            axis.errorbar(
                [count * 1.03**number for count in updates],  # side by side, so that no bar hides another
                [one.mean for one in there],
                [one.half_width for one in there],
                label=schedule,
                capsize=3,
                marker=_SYMBOLS[number % len(_SYMBOLS)],
                linestyle=_DASHES[number % len(_DASHES)],
                color=COLOURS[number % len(COLOURS)],
            )
        axis.axhline(0.0, color="black", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xticks(updates, [f"{count:,}" for count in updates])
        axis.set_xticks([], minor=True)
        axis.set_title(setting, loc="left", fontsize=10)
        axis.legend(frameon=False, fontsize=9)
        _name_axes(axis, "optimizer updates of the run (log scale)", "test loss less that of a fixed LR (nats)")
    return figure


def draw_losses(axis: Axes, losses: Losses, band: bool = False) -> None:
    """Draw the mean validation loss over the LR; crosses at the top are LRs at which a run diverged."""
    from matplotlib.ticker import MaxNLocator

    finite = [loss for curve in losses.values() for loss in curve.values() if math.isfinite(loss)]
    low, high = (min(finite), max(finite)) if finite else (0.5, 1.0)
    top = high * (high / low) ** 0.06
    for number, (schedule, curve) in enumerate(losses.items()):
        colour, good = COLOURS[number % len(COLOURS)], {lr: loss for lr, loss in curve.items() if math.isfinite(loss)}
        style: dict[str, Any] = {
            "marker": _SYMBOLS[number % len(_SYMBOLS)],
            "linestyle": _DASHES[number % len(_DASHES)],
            "color": colour,
        }
        axis.plot(list(good), list(good.values()), markersize=5, label=schedule, **style)
        diverged = [lr for lr in curve if lr not in good]
        axis.plot(diverged, [top] * len(diverged), "x", color=colour, markersize=7)
        if band and good:
            axis.axhspan(min(good.values()), USABLE * min(good.values()), color=colour, alpha=0.12, linewidth=0)
    axis.set_xscale("log")
    lrs = sorted({lr for curve in losses.values() for lr in curve})
    axis.set_xticks(lrs, [f"{lr:g}" for lr in lrs], rotation=60, fontsize=8)
    axis.set_xticks([], minor=True)
    axis.set_yscale("log")  # the low losses are what is to be seen
    ticks = [tick for tick in _LOSS_TICKS if low * 0.9 <= tick <= high * 1.1]
    if len(ticks) < _FEWEST_TICKS:  # the losses lie close together
        ticks = [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_yticks([], minor=True)
    _name_axes(axis, "peak learning rate (log scale)", "validation loss (nats, log scale)")


def _name_axes(axis: Axes, x: str, y: str) -> None:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def read_curve(path: Path) -> tuple[list[int], list[float], list[float]]:
    """Return updates, LRs and training losses of a file."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return (
        [int(row["update"]) for row in rows],
        [float(row["lr"]) for row in rows],
        [float(row["train_loss"]) for row in rows],
    )


def smoothed(values: Sequence[float]) -> list[float]:
    """Return the running mean without the bias of its start.

    Example:
        >>> smoothed([1.0, 1.0])
        [1.0, 1.0]
    """
    found, mean = [], 0.0
    for count, value in enumerate(values, 1):
        mean = _SMOOTH * mean + (1 - _SMOOTH) * value
        found.append(round(mean / (1 - _SMOOTH**count), 12))
    return found
