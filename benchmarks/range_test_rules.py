"""Suggestions on curves whose answer is known, beside other tools: `python -m benchmarks.range_test_rules`.

The loss falls along a sigmoid in log LR, whose steepest point is 3e-3 and nowhere else, and rises when the LR is too
high. Noise is added to the loss of each update, and each tool sees what it would have measured: it stops and smooths by
its own rule. An answer is compared with that of the curve without noise and smoothing, on a fine grid. The rules of the
others are restated from their sources: Lightning 2.6 `tuner/lr_finder.py`, pytorch-lr-finder 0.2 `lr_finder.py`, fastai
2.8 `callback/schedule.py`.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from lr_recipes.sweep.result import DivergenceWatch, RangeTest, Sweep

STEEPEST = math.log10(3e-3)
START, FALL, WIDTH = 2.3, 1.8, 0.3  # nats, nats, decades
RANGES = ((1e-7, 10.0), (1e-6, 1.0), (1e-5, 10.0))
NOISES = (0.01, 0.05)  # standard deviation, as a share of the loss at the start
SEEDS = range(20)
UPDATES = 100
CLOSE = 0.5  # decades


def loss_at(lr: float) -> float:
    """The loss without noise."""
    x = math.log10(lr) - STEEPEST
    return START - FALL / (1 + math.exp(-x / WIDTH)) + 0.5 * 10 ** ((x - 1.6) / 0.3)


class Measured(NamedTuple):
    """LRs and losses, as far as a tool went; the losses are as it smooths them."""

    lrs: list[float]
    losses: list[float]


Rule = Callable[[Measured], float | None]


# What the curve itself says, by our definitions


def answers() -> dict[str, float]:
    """Return the LR that each of our rules would find without noise and smoothing."""
    xs = [-7 + 0.001 * n for n in range(7000)]
    losses = [loss_at(10**x) for x in xs]
    bottom = losses.index(min(losses))
    slopes = [after - before for before, after in pairwise(losses)]
    fall = losses[0] - losses[bottom]

    def done(share: float) -> int:
        return next(n for n, loss in enumerate(losses) if loss <= losses[0] - share * fall)

    slide = max(range(bottom), key=lambda n: losses[n] - losses[min(n + 1000, bottom)])
    found = {
        "steepest": xs[slopes.index(min(slopes))],
        "valley": (xs[done(0.2)] + xs[done(0.8)]) / 2,
        "slide": xs[slide],
        "minimum": xs[bottom] - 1,
        "edge": xs[done(0.9)],
    }
    return {rule: 10**x for rule, x in found.items()}


# Others


def by_lightning(sweep: Sweep, noisy: Callable[[float], float]) -> Measured:
    """Running mean with 0.98, bias-corrected; stops at four times its best."""
    measured, mean, best = Measured([], []), 0.0, 0.0
    for step in range(sweep.num_training_steps):
        lr = sweep.lr(step)
        mean = 0.98 * mean + 0.02 * noisy(lr)
        smoothed = mean / (1 - 0.98 ** (step + 1))
        measured.lrs.append(lr)
        measured.losses.append(smoothed)
        if step > 1 and smoothed > 4 * best:
            break
        best = smoothed if step <= 1 else min(best, smoothed)
    return measured


def _lr_finder(sweep: Sweep, noisy: Callable[[float], float]) -> Measured:
    """Running mean with 0.95 from the first loss; stops at five times its best."""
    measured = Measured([], [])
    for step in range(sweep.num_training_steps):
        lr = sweep.lr(step)
        loss = noisy(lr)
        measured.lrs.append(lr)
        measured.losses.append(0.05 * loss + 0.95 * measured.losses[-1] if measured.losses else loss)
        if measured.losses[-1] > 5 * min(measured.losses):
            break
    return measured


def _fastai(sweep: Sweep, noisy: Callable[[float], float]) -> Measured:
    """As Lightning, whose sweep comes from there; rules see neither the first tenth nor the last five."""
    lrs, losses = by_lightning(sweep, noisy)
    first = sweep.num_training_steps // 10
    return Measured(lrs[first:-5], losses[first:-5])


def lightning_steepest(measured: Measured) -> float | None:
    """Steepest in LR (not in its logarithm), without the first ten points and the last one."""
    lrs, losses = np.array(measured.lrs[10:-1]), np.array(measured.losses[10:-1])
    return float(lrs[np.gradient(losses, lrs).argmin()])


def lr_finder_steepest(measured: Measured) -> float | None:
    """Steepest from update to update, without the first ten points and the last five."""
    return measured.lrs[10:-5][int(np.gradient(np.array(measured.losses[10:-5])).argmin())]


def fastai_steepest(measured: Measured) -> float | None:
    """Steepest in log LR."""
    steps = np.diff(np.array(measured.losses)) / np.diff(np.log(np.array(measured.lrs)))
    return measured.lrs[int(steps.argmin())]


def fastai_minimum(measured: Measured) -> float | None:
    """A tenth of the LR with the lowest loss."""
    return measured.lrs[int(np.argmin(measured.losses))] / 10


def fastai_valley(measured: Measured) -> float | None:
    """The middle of the longest run of falling losses, which may have gaps."""
    losses = measured.losses
    longest, start, end = [1] * len(losses), 0, 0
    for i in range(1, len(losses)):
        for j in range(i):
            if losses[i] < losses[j] and longest[i] < longest[j] + 1:
                longest[i] = longest[j] + 1
            if longest[end] < longest[i]:
                end, start = i, i - longest[i]
    third = (end - start) / 3
    return measured.lrs[start + int(third) + int(third / 2)]


def fastai_slide(measured: Measured) -> float | None:
    """An interval of 15 points slides down from the end until the slopes at its ends are alike."""
    slopes, right = np.gradient(np.array(measured.losses)), -1
    left = right - 15
    found = measured.lrs[left]
    while left >= -len(slopes) and abs(slopes[right] - slopes[left]) > 0.005:
        found = measured.lrs[left]
        right, left = right - 1, left - 1
    return found


# Ours


def ours(sweep: Sweep, noisy: Callable[[float], float]) -> RangeTest:
    """What a range test of ours finds."""
    watch, losses = DivergenceWatch(), []
    for step in range(sweep.num_training_steps):
        losses.append(noisy(sweep.lr(step)))
        stop = watch.observe(losses[-1])
        if stop is not None:
            return RangeTest(sweep, losses, stop)
    return RangeTest(sweep, losses)


# Tool and rule -> which of our answers it looks for, how it measures, and the rule.
OTHERS: dict[str, tuple[str, Callable[[Sweep, Callable[[float], float]], Measured], Rule]] = {
    "Lightning lr_find": ("steepest", by_lightning, lightning_steepest),
    "pytorch-lr-finder": ("steepest", _lr_finder, lr_finder_steepest),
    "fastai steep": ("steepest", _fastai, fastai_steepest),
    "fastai valley": ("valley", _fastai, fastai_valley),
    "fastai slide": ("slide", _fastai, fastai_slide),
    "fastai minimum": ("minimum", _fastai, fastai_minimum),
}


def noisy_curve(noise: float, seed: int) -> Callable[[float], float]:
    """Return the loss as updates see it, each call another one."""
    generator = random.Random(seed)
    return lambda lr: loss_at(lr) + generator.gauss(0, noise * START)


def errors(
    noise: float, ranges: Sequence[tuple[float, float]] = RANGES, seeds: Sequence[int] = SEEDS
) -> dict[str, list[float]]:
    """Return, by tool and rule, how many decades each suggestion is off; infinite where there is none."""
    right = answers()
    off: dict[str, list[float]] = {}
    for (low, high), seed in product(ranges, seeds):
        sweep = Sweep(min_lr=low, max_lr=high, num_training_steps=UPDATES)
        found = ours(sweep, noisy_curve(noise, seed)).suggestions
        for rule, answer in right.items():
            off.setdefault(f"lr_recipes {rule}", []).append(_decades(found.get(rule), answer))
        for name, (rule, measure, suggest) in OTHERS.items():
            lr = suggest(measure(sweep, noisy_curve(noise, seed)))
            off.setdefault(name, []).append(_decades(lr, right[rule]))
    return off


def _decades(lr: float | None, answer: float) -> float:
    return math.inf if lr is None else abs(math.log10(lr / answer))


def table() -> str:
    """Return the errors of all rules as text."""
    right = answers()
    by_noise = {noise: errors(noise) for noise in NOISES}
    heads = [f"{f'{noise:.0%} noise: median, worst, close':>36}" for noise in NOISES]
    lines = [f"{'rule':<22}{'answer':>8}" + "".join(heads)]
    for name in by_noise[NOISES[0]]:
        rule = OTHERS[name][0] if name in OTHERS else name.split()[1]
        cells = [_cell(by_noise[noise][name]) for noise in NOISES]
        lines.append(f"{name:<22}{right[rule]:>8.2g}" + "".join(cells))
    return "\n".join(lines)


def _cell(off: list[float]) -> str:
    close = sum(error <= CLOSE for error in off) / len(off)
    return f"{statistics.median(off):>22.2f}{max(off):>7.2f}{close:>7.0%}"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    ranges = ", ".join(f"{low:g} to {high:g}" for low, high in RANGES)
    print(table())
    print(
        f"\nIn decades; close: within half a decade. {UPDATES} updates, {len(SEEDS)} seeds for each range: {ranges}.\n"
        "The answer is that of the curve itself, by our definition of the rule."
    )


if __name__ == "__main__":
    main()
