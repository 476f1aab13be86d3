"""Smooths a noisy curve without a lag: a running mean would move every feature of it to the right. No torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from statistics import median

_HALF_WIDTH = 0.6  # how far to each side the smoothed curve looks; on log10 LR: decades ...
_NEIGHBOURS = 6  # ... or, where points are far apart, so many of them


def smooth(
    xs: Sequence[float], ys: Sequence[float], trust: Sequence[float] = ()
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the values and slopes of a local straight line at each ``x``: least squares with tricube weights.

    The window reaches equally far to both sides, so that nothing moves (Cleveland 1979).

    Args:
        xs: in ascending order.
        ys: their values.
        trust: a further weight for each point; by default all have the same.

    Example:
        >>> smooth([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7], [1.0] * 8)[0][:2]
        (1.0, 1.0)
    """
    values, slopes = [], []
    for index, x in enumerate(xs):
        first, weights = weights_around(xs, index)
        last = first + len(weights)
        if trust:
            weights = [w * t for w, t in zip(weights, trust[first:last], strict=True)]
        offsets, near = [other - x for other in xs[first:last]], ys[first:last]
        s0 = sum(weights)
        s1 = sum(w * t for w, t in zip(weights, offsets, strict=True))
        s2 = sum(w * t * t for w, t in zip(weights, offsets, strict=True))
        y0 = sum(w * y for w, y in zip(weights, near, strict=True))
        y1 = sum(w * t * y for w, t, y in zip(weights, offsets, near, strict=True))
        determinant = s0 * s2 - s1 * s1
        if determinant == 0:  # a single point
            values.append(y0 / s0)
            slopes.append(0.0)
            continue
        values.append((s2 * y0 - s1 * y1) / determinant)
        slopes.append((s0 * y1 - s1 * y0) / determinant)
    return tuple(values), tuple(slopes)


def smooth_without_outliers(xs: Sequence[float], ys: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return what ``smooth`` does, with little weight on points that are far from the curve for their neighbourhood.

    Bisquare weights, twice, as in Cleveland's method; but the scale is that of the neighbours, since losses scatter
    more where the LR is high.
    """
    values, slopes = smooth(xs, ys)
    for _ in range(2):
        away = [abs(y - value) for y, value in zip(ys, values, strict=True)]
        trust = []
        for index, distance in enumerate(away):
            first, weights = weights_around(xs, index)
            usual = 6 * median(away[first : first + len(weights)])
            trust.append((1 - (distance / usual) ** 2) ** 2 if distance < usual else float(distance == 0))
        values, slopes = smooth(xs, ys, trust)
    return values, slopes


def weights_around(xs: Sequence[float], index: int) -> tuple[int, list[float]]:
    """First neighbour of a point that counts, and the weights from there on; ``xs`` are in order."""
    x, near = xs[index], range(max(0, index - _NEIGHBOURS), min(len(xs), index + _NEIGHBOURS + 1))
    distances = sorted(abs(xs[other] - x) for other in near)
    width = max(_HALF_WIDTH, 1.001 * distances[min(_NEIGHBOURS, len(distances) - 1)])
    first, last = bisect_left(xs, x - width), bisect_left(xs, x + width)
    return first, [max(0.0, 1 - (abs(other - x) / width) ** 3) ** 3 for other in xs[first:last]]
