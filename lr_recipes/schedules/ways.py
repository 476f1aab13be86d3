"""The ways from one factor to another, which a decay, a ramp and a line through points share. The standard library."""

from __future__ import annotations

import math
from collections.abc import Callable

Way = Callable[[float], float]

# What is left of the difference between both ends, by the progress on the way: 1 at 0 and 0 at 1, both exactly.
_LEFT: dict[str, Way] = {
    "linear": lambda q: 1 - q,
    "cosine": lambda q: (1 + math.cos(math.pi * q)) / 2,
    "1-sqrt": lambda q: 1 - math.sqrt(q),
    "square": lambda q: 1 - q * q,
}
WAYS = (*_LEFT, "exponential")


def check_way(argument: str, name: str, start: float, end: float) -> None:
    """Refuse an exponential way that begins or ends at 0.

    Args:
        argument: what ``name`` was given for.
        name: one of ``WAYS``.
        start: the factor that it leads from.
        end: the factor that it leads to.

    Raises:
        ValueError: there is no such way; the message says what there is.
    """
    if name == "exponential" and 0 in (start, end):
        raise ValueError(
            f"{argument}='exponential' from {start:g} to {end:g}: it never reaches 0, so give factors above 0, as in "
            "0.01, or take 'cosine'"
        )


def way(name: str, start: float, end: float) -> Way:
    """Return progress -> factor: ``start`` at 0 and ``end`` at 1, both exactly.

    Example:
        >>> [way("cosine", 1, 3)(q) for q in (0, 0.5, 1)], way("exponential", 1, 100)(0.5)
        ([1.0, 2.0, 3.0], 10.0)
    """
    start, end = float(start), float(end)
    if start == end:  # to the last bit, so that a factor that does not change is seen not to
        return lambda q: start
    if name == "exponential":
        return lambda q: start ** (1 - q) * end**q
    left = _LEFT[name]

    def mixed(q: float) -> float:
        share = left(q)
        return start * share + end * (1 - share)

    return mixed
