"""The updates of epoch after epoch, as runs of equal epochs: a million epochs take no more room and time than one.

The standard library alone. How many updates an epoch does is counted elsewhere (``loop.py``).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, repeat
from typing import Any

_FEW_EPOCHS = 20  # that are shown one by one


class Epochs(Sequence[int]):
    """The updates of each epoch; equal to a tuple of the same numbers.

    Where more epochs are asked for than there are, the last one goes on.

    Args:
        runs: how many epochs, and how many updates each of them does.

    Attributes:
        runs: the same, without empty ones; two that follow each other differ.

    Example:
        >>> epochs = Epochs([(1_000_000, 4), (1, 8)])
        >>> len(epochs), epochs[0], epochs.epoch_of(4_000_001), epochs.until(1_000_000.5)
        (1000001, 4, 1000000, 4000004.0)
    """

    def __init__(self, runs: Iterable[tuple[int, int]]) -> None:
        joined: list[tuple[int, int]] = []
        for count, updates in runs:
            if count <= 0:
                continue
            if joined and joined[-1][1] == updates:
                joined[-1] = (joined[-1][0] + count, updates)
            else:
                joined.append((count, updates))
        self.runs = tuple(joined)
        # The first epoch and the first update of each run, and after the last one the number of them all.
        self._firsts = [0, *accumulate(count for count, _ in joined)]
        self._starts = [0, *accumulate(count * updates for count, updates in joined)]

    @classmethod
    def of(cls, lengths: Iterable[int]) -> Epochs:
        """Return the epochs of these lengths."""
        return cls((1, updates) for updates in lengths)

    # What a sequence has

    def __len__(self) -> int:
        return self._firsts[-1]

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        return self.runs[self._run_of(range(len(self))[index])][1]

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(repeat(updates, count) for count, updates in self.runs)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Epochs):
            return self.runs == other.runs
        return isinstance(other, tuple) and len(other) == len(self) and tuple(self) == other

    def __hash__(self) -> int:
        return hash(tuple(self))  # that of the tuple which it is equal to

    def __repr__(self) -> str:
        return repr(tuple(self)) if len(self) <= _FEW_EPOCHS else f"Epochs({list(self.runs)})"

    # What is asked of it

    @property
    def updates(self) -> int:
        """Updates in all of the epochs."""
        return self._starts[-1]

    def until(self, epochs: float) -> float:
        """Return the updates in so many epochs from the first on; a whole number of epochs has a whole number."""
        listed = min(math.floor(epochs), len(self) - 1)
        run = self._run_of(listed)
        updates = self.runs[run][1]
        return self._starts[run] + (listed - self._firsts[run]) * updates + (epochs - listed) * updates

    def epoch_of(self, position: int) -> int:
        """Return the epoch that holds the update at ``position``."""
        run = self._run_at(position)
        # The last update of an epoch is not of the next: update 3 is of epoch 0 where that has 4, and update 4 of epoch
        # 1.
        return self._firsts[run] + (position - self._starts[run]) // self.runs[run][1]

    def passed(self, position: float) -> float:
        """Return how many epochs have passed at ``position``, parts of one included."""
        run = self._run_at(position)
        return self._firsts[run] + (position - self._starts[run]) / self.runs[run][1]

    def between(self, first: int, after: int) -> Epochs:
        """Return the epochs from ``first`` on, up to ``after``, which is not one of them."""
        ends = [*self._firsts[1:-1], max(after, len(self))]
        runs = zip(self._firsts, ends, self.runs, strict=False)
        return Epochs((min(end, after) - max(start, first), updates) for start, end, (_, updates) in runs)

    def _run_of(self, epoch: int) -> int:
        return bisect_right(self._firsts, epoch, 0, len(self.runs)) - 1

    def _run_at(self, position: float) -> int:
        return bisect_right(self._starts, position, 0, len(self.runs)) - 1
