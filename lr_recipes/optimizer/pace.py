"""Where an update lies in a run that follows the clock: maps the updates of one optimizer to positions of its curve.

The clock says how much of the run is over, and is looked at now and then; an update says where the curve is read. In
between every update moves on by the same amount, so no update reads a clock, and all processes that are given the same
estimates use the same LRs. How the time is measured, and how processes agree, is not known here. The standard library
alone.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

_REMEMBERED = 0.1  # of the run: older updates hardly count for how long one takes
_CATCH_UP = 0.05  # of the run: in about this time a pause is caught up with
_LOOKS_APART = 1000.0  # milliseconds from one look at the clock to the next, at most
_OF_THE_REST = 1 / 20  # of what is left, also at most


class Estimate(NamedTuple):
    """How a run goes on: each update moves on by ``increment`` milliseconds, until the clock is asked again."""

    increment: float
    updates: int


class Pace:
    """Maps the position of an update to its progress, in milliseconds of a run that follows the clock.

    Progress never falls, has no jumps but those from one update to the next, and comes to ``total`` when the time is
    over: where it is behind the clock, after a pause, or before it, each further update moves on by more or less, so
    that the two meet again within a twentieth of the run, or at its end.

    Args:
        total: milliseconds of the run.

    Attributes:
        next: the position at which an estimate is due, before the update is done.

    Example:
        >>> pace = Pace(1000)  # updates of 10 ms
        >>> for position in range(1, 100):
        ...     if position >= pace.next:
        ...         pace.turn(position, pace.estimate(position, elapsed=10.0 * position))
        >>> [round(pace.at(position), -1) for position in (0, 50, 99, 100)]
        [0, 500, 990, 1000]
        >>> pace.reached(100)
        1000
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.next = 1
        self._position, self._progress, self._increment = 0, 0.0, 0.0
        self._looked: tuple[int, float] | None = None
        self._updates = self._passed = 0.0  # since the first look; the longer ago, the less

    def at(self, position: int) -> int:
        """Return the progress of the update at ``position``."""
        return int(self._exact(position))

    def _exact(self, position: int) -> float:
        # The last millisecond at most: who does an update has not come to the end yet.
        return min(self._progress + (position - self._position) * self._increment, self.total - 1)

    def reached(self, position: int) -> int:
        """Return how far a run has come that ends at ``position``; less than an update from the end is at the end."""
        progress = self.at(position)
        return self.total if self.total - progress <= max(self._increment, 1) else progress

    # An estimate

    def estimate(self, position: int, elapsed: float) -> Estimate:
        """Return how the run goes on from ``position``; to be asked on one process, and told to all with ``turn``.

        Args:
            position: updates that are done.
            elapsed: milliseconds since the run began, with all its pauses.
        """
        if self._looked is None:  # what came before is the first update's, which warms the machine up
            self._looked = (position, elapsed)
            return Estimate(self._increment, 1)
        each = self._look(position, elapsed)
        # On the way to where the clock will be after `ahead`, which at the end of the run is its end.
        left = max(self.total - elapsed, 0.0)
        ahead = max(min(left, self.total * _CATCH_UP), each)
        way = min(elapsed + ahead, self.total) - self._exact(position)
        apart = min(_LOOKS_APART, left * _OF_THE_REST) / each
        return Estimate(max(way, 0.0) * each / ahead, max(1, min(int(apart), int(self._updates))))

    def _look(self, position: int, elapsed: float) -> float:
        """Note what the clock says, and return how long an update takes, pauses included."""
        assert self._looked is not None
        updates, passed = position - self._looked[0], max(elapsed - self._looked[1], 0.0)
        self._looked = (position, elapsed)
        kept = math.exp(-passed / (self.total * _REMEMBERED))
        self._updates, self._passed = self._updates * kept + updates, self._passed * kept + passed
        return max(self._passed / self._updates, 1e-6)

    def turn(self, position: int, estimate: Estimate) -> None:
        """Go on as estimated, from the update at ``position`` on, whose own progress stays."""
        self._progress, self._position = self._exact(position), position
        self._increment, self.next = estimate.increment, position + estimate.updates

    def updates_in_all(self, position: int) -> int | None:
        """Return about how many updates the run will do; ``None`` where no estimate was made yet."""
        if not self._passed or self._looked is None:
            return None
        left = max(self.total - self._looked[1], 0.0)
        return position + round(left * self._updates / self._passed)

    # The state

    def state(self, position: int) -> dict[str, Any]:
        """Return where it is at ``position``, as plain values."""
        return {"progress": self._exact(position), "increment": self._increment}

    def go_on(self, position: int, state: dict[str, Any]) -> None:
        """Go on from a saved state at ``position``; how long an update takes here and now is measured anew."""
        self._position, self._progress, self._increment = position, state["progress"], state["increment"]
        self.next, self._looked, self._updates, self._passed = position + 1, None, 0.0, 0.0
