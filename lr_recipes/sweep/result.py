"""The maths of the LR range test: which LRs to try, when to stop, and what the losses say about the LR. No torch.

An update's loss is measured at an LR that grows from update to update. Everything is looked at over the logarithm of
the LR, on a curve that is smoothed without a lag: a running mean would move every feature towards higher LRs. Who does
the updates is not known here (``callbacks/sweep_loop.py``), so every rule can be tried on losses that are made up.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from lr_recipes import checks
from lr_recipes.report.chart import draw_chart, is_plain
from lr_recipes.report.lr_csv import with_replacement
from lr_recipes.report.picture import save_figure
from lr_recipes.report.rows import lines_of
from lr_recipes.report.shown import Shown
from lr_recipes.sweep.smoothing import smooth_without_outliers, weights_around

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODES = ("exponential", "linear")
# Rule -> what it looks for, on the smoothed curve over log LR.
RULES = {
    "steepest": "where the loss falls fastest",
    "valley": "the middle of the descent",
    "slide": "where the decade with the largest fall begins",
    "minimum": "a tenth of the LR with the lowest loss",
    "edge": "where nine tenths of the fall are done",
}
# The first four look for an LR to keep. A schedule that warms up and decays is at its peak for a while only, and ends
# better with a higher one: `python -m benchmarks.range_test_models`.
PEAK = "edge"
STOPS = ("max_lr", "diverged", "not finite", "interrupted")
MIN_STEPS = 10
_SMOOTHING = 0.9  # of the running mean that judges divergence
_CERTAIN = 8.0  # standard errors of the smoothed curve that a fall must exceed; noise alone makes 4, at times 6
_VISIBLE = 1e-3  # share of the loss that a fall must exceed where there is no noise
_RISE = 0.05  # of the fall: a rise after which the descent is over
_EDGE = 0.3  # decades: a feature so near to the end of the sweep is cut off by it
_AGREE = 10.0  # suggestions are good to half a decade each, so two may be a decade apart


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The LR of each update of a range test: from ``min_lr``, used by update 0, to ``max_lr``, used by the last one.

    Exponential: ``min_lr (max_lr / min_lr)^(n / (N - 1))``; linear: ``min_lr + (max_lr - min_lr) n / (N - 1)``.

    Args:
        min_lr: LR of the first update.
        max_lr: LR of the last update.
        num_training_steps: updates ``N``, at least 10.
        mode: ``"exponential"`` or ``"linear"``.

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> [Sweep(min_lr=1e-3, max_lr=1.0, num_training_steps=10).lr(n) for n in (0, 3, 9)]
        [0.001, 0.01, 1.0]
    """

    min_lr: float = 1e-7
    max_lr: float = 10.0
    num_training_steps: int = 100
    mode: str = "exponential"

    def __post_init__(self) -> None:
        for name in ("min_lr", "max_lr"):
            value = getattr(self, name)
            if not checks.is_finite(value) or value <= 0:
                raise ValueError(
                    f"{name}={checks.brief(value)}: must be a number above 0, as in {name}={_default_of(name):g}"
                )
        if self.min_lr >= self.max_lr:
            raise ValueError(
                f"min_lr={self.min_lr:g} must be below max_lr={self.max_lr:g}: the LR grows from the one to the other; "
                f"set min_lr={min(_default_of('min_lr'), self.max_lr / 1000):g}, or a larger max_lr"
            )
        steps = self.num_training_steps
        if not checks.is_whole(steps, MIN_STEPS):
            raise ValueError(
                f"num_training_steps={checks.brief(steps)}: must be a whole number, at least {MIN_STEPS}, or there is "
                f"no curve to see; {_default_of('num_training_steps')} is usual"
            )
        checks.countable("num_training_steps", steps)
        checks.one_of("mode", self.mode, MODES)

    def lr(self, update: int) -> float:
        """Return the LR of an update, counted from 0."""
        share = update / (self.num_training_steps - 1)  # so update N - 1, the last, is at 1, and uses max_lr
        if self.mode == "linear":
            return self.min_lr + (self.max_lr - self.min_lr) * share
        low, high = math.log10(self.min_lr), math.log10(self.max_lr)
        exponent = min(low + (high - low) * share, 308.0)  # 1e308 is nearly the largest float
        return float(f"{10**exponent:.12g}")  # 0.01 and not 0.009999999999999998


def _default_of(name: str) -> Any:
    return Sweep.__dataclass_fields__[name].default


class DivergenceWatch:
    """Says when a range test may stop: the loss is not finite, or the smoothed loss has left its best value far behind.

    Smoothed is the running mean ``m = 0.9 m + 0.1 loss`` without the bias of its start: ``m / (1 - 0.9^n)``. It has
    diverged when it is more than ``(threshold - 1) x scale`` above its best value; the scale is the size of that value,
    or the fall so far where that is more. So a positive loss may, in general, reach ``threshold`` times its best, and
    losses that are negative or near 0 are all right. The first ten updates are not judged.

    Args:
        threshold: how far is far.
    """

    def __init__(self, threshold: float = 4.0) -> None:
        if not checks.is_finite(threshold) or threshold <= 1:
            raise ValueError(
                f"divergence={checks.brief(threshold)}: must be above 1, and finite: 4 stops at four times the best"
            )
        self.threshold = threshold
        self._mean, self._count = 0.0, 0
        self._first = self._best = math.inf

    def observe(self, loss: float) -> str | None:
        """Take the loss of an update; return ``"not finite"``, ``"diverged"``, or ``None`` to go on."""
        if not math.isfinite(loss):
            return "not finite"
        self._count += 1
        self._mean = _SMOOTHING * self._mean + (1 - _SMOOTHING) * loss
        smoothed = self._mean / (1 - _SMOOTHING**self._count)
        self._first = smoothed if self._count == 1 else self._first
        self._best = min(self._best, smoothed)
        scale = max(abs(self._best), self._first - self._best)
        far = smoothed - self._best > (self.threshold - 1) * scale
        return "diverged" if far and self._count > MIN_STEPS else None


class _Features(NamedTuple):
    """Places on the smoothed curve, as indices of updates."""

    top: int  # highest before the bottom
    begin: int  # a fifth of the fall is done
    steepest: int
    end: int  # four fifths of the fall are done
    edge: int  # nine tenths of the fall are done
    bottom: int
    slide: int


@dataclass(frozen=True, repr=False)
class RangeTest(Shown):
    """What a range test measured, and what it suggests; prints as its table and the curve of the losses.

    Args:
        sweep: the LRs that were to be tried.
        losses: loss of each update that was done, in order; all finite.
        stop: why it ended: ``"max_lr"``, ``"diverged"``, ``"not finite"`` or ``"interrupted"``.

    Attributes:
        lrs: LR of each of these updates: the largest of the parameter groups; the others are in proportion.
        smoothed: the smoothed losses.
        suggestions: rule -> LR, with two significant digits; a rule that finds nothing is left out.
        reason: why there is no suggestion, and what to change; ``None`` where there is one.
        suggestion: the peak for a schedule that warms up and decays, the one of the rule ``"edge"``; or ``None``.
        agree: whether those of the other rules, which look for an LR to keep, are within a decade.
        usable: lowest and highest LR at which training gets on: from a fifth of the fall to the lowest loss.

    Example:
        >>> sweep = Sweep(min_lr=1e-6, max_lr=1.0)
        >>> falls = [2 - 1 / (1 + (3e-3 / sweep.lr(n)) ** 2) for n in range(100)]
        >>> RangeTest(sweep, falls, "max_lr").suggestions["steepest"]
        0.0028
    """

    sweep: Sweep
    losses: Sequence[float]
    stop: str = "max_lr"

    def __post_init__(self) -> None:
        if not isinstance(self.sweep, Sweep):
            raise TypeError(f"sweep={checks.brief(self.sweep)}: must be a Sweep, as in Sweep(min_lr=1e-6, max_lr=1.0)")
        checks.one_of("stop", self.stop, STOPS)
        if not isinstance(self.losses, (list, tuple)) or not all(map(checks.is_finite, self.losses)):
            raise ValueError(f"losses={checks.brief(self.losses)}: must be a list of finite numbers, one an update")

    @cached_property
    def lrs(self) -> tuple[float, ...]:
        """LR of each update."""
        return tuple(self.sweep.lr(update) for update in range(len(self.losses)))

    @property
    def smoothed(self) -> tuple[float, ...]:
        """Smoothed loss of each update."""
        return self._fit[0]

    @cached_property
    def suggestions(self) -> dict[str, float]:
        """LR by rule."""
        if self.reason is not None:
            return {}
        lrs, at = self.lrs, self._features
        found = {
            "steepest": lrs[at.steepest],
            "valley": math.sqrt(lrs[at.begin] * lrs[at.end]),
            "slide": lrs[at.slide],
            "minimum": lrs[at.bottom] / 10,
            "edge": lrs[at.edge],
        }
        if not self._bottom_is_seen:
            del found["minimum"]
        return {rule: float(f"{lr:.2g}") for rule, lr in found.items()}

    @property
    def suggestion(self) -> float | None:
        """The suggested peak of a schedule."""
        return self.suggestions.get(PEAK)

    @property
    def agree(self) -> bool:
        """Whether the rules for an LR to keep are within a decade."""
        return bool(self.suggestions) and self._apart <= _AGREE

    @property
    def _apart(self) -> float:
        """Factor between the largest and the smallest LR that the rules for an LR to keep suggest."""
        found = [lr for rule, lr in self.suggestions.items() if rule != PEAK]
        return max(found) / min(found)

    @property
    def usable(self) -> tuple[float, float] | None:
        """Lowest and highest LR at which training gets on."""
        if self.reason is not None:
            return None
        return self.lrs[self._features.begin], self.lrs[self._features.bottom]

    @cached_property
    def reason(self) -> str | None:
        """Why there is no suggestion."""
        count, last = len(self.losses), f"LR {self.lrs[-1]:.2g}" if self.losses else f"LR {self.sweep.min_lr:g}"
        if self.stop == "interrupted":
            return f"the sweep was interrupted after {count} of {self.sweep.num_training_steps} updates"
        if count < MIN_STEPS:
            return f"the loss was not finite after {checks.counted(count, 'update')}, at {last}: {self._lower}"
        at, smoothed, lrs = self._features, self.smoothed, self.lrs
        fall = smoothed[at.top] - smoothed[at.bottom]
        if fall <= max(_CERTAIN * self._error, _VISIBLE * abs(smoothed[at.top])):
            if self.stop != "max_lr" and lrs[-1] < 100 * lrs[0]:
                return f"the loss rises at once ({self.stop} at {last}): {self._lower}"
            then = "" if self.stop == "max_lr" else " and then rises"
            return (
                f"the loss is flat{then}: from LR {lrs[0]:g} to {lrs[-1]:.2g} it does not fall by more than its noise. "
                "Take larger batches or more updates; or this module does not learn"
            )
        if math.log10(lrs[at.steepest] / lrs[0]) < _EDGE:
            return f"the loss falls fastest at the start, LR {lrs[0]:g}, so the sweep begins too late: {self._lower}"
        if self.stop == "max_lr" and math.log10(lrs[-1] / lrs[at.steepest]) < _EDGE:
            return (
                f"the loss still falls fastest at the end, LR {lrs[-1]:g}, so the sweep stops too early: raise max_lr, "
                f"as in max_lr={100 * self.sweep.max_lr:g}"
            )
        return None

    @property
    def _lower(self) -> str:
        return f"lower min_lr, as in min_lr={self.sweep.min_lr / 1000:g}"

    @property
    def _bottom_is_seen(self) -> bool:
        """Whether the loss rose again: else the lowest loss is where the sweep ended, or anywhere on a flat bottom."""
        if self.stop != "max_lr":
            return True
        bottom = self._features.bottom
        fall = self.smoothed[self._features.top] - self.smoothed[bottom]
        return max(self.smoothed[bottom:]) - self.smoothed[bottom] > self._certain_rise(fall)

    def _certain_rise(self, fall: float) -> float:
        """What the smoothed loss must rise by, after a fall, to say that the descent is over."""
        return max(_RISE * fall, _CERTAIN / 2 * self._error)

    @cached_property
    def _noise(self) -> float:
        """Standard deviation of a loss around the curve: from differences of neighbours, blind to outliers."""
        steps = [abs(after - before) for before, after in zip(self.losses, self.losses[1:], strict=False)]
        return median(steps) / (0.6745 * math.sqrt(2)) if steps else 0.0

    @property
    def _error(self) -> float:
        """Standard error of the smoothed curve, in the middle of the sweep."""
        xs = [math.log10(lr) for lr in self.lrs]
        weights = weights_around(xs, len(xs) // 2)[1]
        return self._noise * math.sqrt(sum(w * w for w in weights)) / sum(weights)

    @cached_property
    def _fit(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The smoothed losses and their slopes, per decade.

        A loss above that of the start only says that the LR is too high; how much above would pull at the curve far
        before it, so it is cut off.
        """
        if not self.losses:
            return (), ()
        start = median(self.losses[: max(5, len(self.losses) // 10)])
        limit = start + 3 * self._noise
        return smooth_without_outliers([math.log10(lr) for lr in self.lrs], [min(loss, limit) for loss in self.losses])

    @cached_property
    def _features(self) -> _Features:
        (values, slopes), xs = self._fit, [math.log10(lr) for lr in self.lrs]
        bottom = self._first_bottom(values)
        top = max(range(bottom + 1), key=values.__getitem__)
        fall, descent = values[top] - values[bottom], range(top, bottom + 1)

        def done(share: float) -> int:
            """First update from which on the loss has fallen by so much."""
            return min(i for i in descent if values[i] <= values[top] - share * fall or i == bottom)

        begin, end, edge = done(0.2), done(0.8), done(0.9)
        steepest = min(descent, key=slopes.__getitem__)

        def fall_over_a_decade(i: int) -> float:
            return values[i] - values[min(bisect_left(xs, xs[i] + 1), bottom)]

        return _Features(top, begin, steepest, end, edge, bottom, max(range(bottom + 1), key=fall_over_a_decade))

    def _first_bottom(self, values: Sequence[float]) -> int:
        """The lowest point before the loss has risen for certain; what it does beyond that is no more to be trusted."""
        top = bottom = 0
        for index, value in enumerate(values):
            if value < values[bottom]:
                bottom = index
            fall = values[top] - values[bottom]
            if fall > _CERTAIN * self._error:
                if value - values[bottom] > self._certain_rise(fall):
                    break
            elif value > values[top]:
                top = bottom = index
        return bottom

    # What to do with it

    def __repr__(self) -> str:
        return f"{self.table}\n\n{self.chart()}" if self.losses else self.table

    def chart(self, plain: bool | None = None) -> str:
        """Return the smoothed loss over the LR as a curve of characters, for 80 columns.

        Args:
            plain: ASCII only; by default where stdout can print nothing else.
        """
        last = len(self.losses) - 1
        ticks = {n: f"{self.lrs[n]:.2g}" for n in sorted({round(share * last / 4) for share in range(5)})}
        return draw_chart(
            list(enumerate(self.smoothed)),
            title="loss, smoothed",
            x_title="learning rate of the update" + (", log scale" if self.sweep.mode == "exponential" else ""),
            ticks=ticks,
            low=min(self.smoothed),
            plain=is_plain() if plain is None else plain,
        )

    @property
    def table(self) -> str:
        """The suggestions as text, a line each."""
        count, planned = len(self.losses), self.sweep.num_training_steps
        ends = {"max_lr": "", "interrupted": ", interrupted"}
        how = ends.get(self.stop, f", {self.stop} after LR {self.lrs[-1]:.2g}" if self.losses else f", {self.stop}")
        head = (
            f"LR range test: {count} of {planned} updates, LR {self.sweep.min_lr:g} to {self.sweep.max_lr:g} "
            f"({self.sweep.mode}){how}"
        )
        if self.reason is not None:
            return f"{head}\n  no suggestion: {self.reason}"
        lines = [f"{rule:<10}{lr:<9g}{RULES[rule]}" for rule, lr in self.suggestions.items()]
        low, high = self.usable or (0.0, 0.0)
        verdict = f"the rules for an LR to keep are a factor of {self._apart:.2g} apart"
        lines += [
            f"{'usable':<10}{low:.2g} to {high:.2g}",
            f"{'agreement':<10}{verdict}{'' if self.agree else ': look at the curve'}",
            f"{'suggested':<10}{self.suggestion:<9g}as the peak of a schedule that warms up and decays",
        ]
        return "\n".join([head, *(f"  {line}" for line in lines)])

    @property
    def _verdict(self) -> str:
        """What the picture says below its title."""
        if self.suggestion is None:
            return f"no suggestion: {self.reason}"
        doubt = "" if self.agree else "; but the rules for an LR to keep are more than a decade apart"
        return f"suggested peak LR {self.suggestion:g}, for a schedule that warms up and decays{doubt}"

    def plot(self, path: str | Path | None = None, title: str | None = None) -> Figure:
        """Draw the losses over the LR with all suggestions, and return the matplotlib figure.

        Args:
            path: where to save the picture; ``None``: nowhere.
            title: a line above it; by default what was swept.
        """
        from lr_recipes.sweep.picture import sweep_figure

        head = self.table.partition("\n")[0] if title is None else title
        figure = sweep_figure(
            self.lrs,
            self.losses,
            self.smoothed,
            suggestions=self.suggestions,
            peak=self.suggestion,
            usable=self.usable,
            title="\n".join(line for line in (head, self._verdict) if line),
        )
        if path is not None:
            save_figure(figure, Path(path))
        return figure

    def to_csv(self, path: str | Path) -> None:
        """Write a row for each update: its LR, its loss and the smoothed loss, in full."""
        rows = zip(range(len(self.losses)), self.lrs, self.losses, self.smoothed, strict=True)
        text = lines_of([("step", "lr", "loss", "smoothed_loss"), *rows])
        with_replacement(Path(path), lambda target: target.write_bytes(text))

    def to_json(self, path: str | Path) -> None:
        """Write ``as_dict()``."""
        text = json.dumps(self.as_dict(), indent=2) + "\n"
        with_replacement(Path(path), lambda target: target.write_bytes(text.encode()))

    def as_dict(self) -> dict[str, Any]:
        """Return settings and findings as plain values."""
        return {
            **asdict(self.sweep),
            "updates": len(self.losses),
            "stop": self.stop,
            "suggestion": self.suggestion,
            "suggestions": self.suggestions,
            "agree": self.agree,
            "usable": list(self.usable) if self.usable else None,
            "reason": self.reason,
        }
