"""What the updates of one optimizer use, as numbers: played ahead, or read from a record. The standard library alone.

A series knows LRs and updates, and nothing of schedulers; what it is called when something is wrong with it is said in
``report/findings.py``.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

_SAME = 1e-9  # of the largest LR: what changes less is held


class Leg(NamedTuple):
    """A stretch of updates in which the LR of a group rises, falls or is held.

    Args:
        name: ``"rises"``, ``"falls"`` or ``"holds"``.
        first: its first update.
        last: its last update.
        begin: LR of the first update.
        end: LR of the last update.
        changes: how often the LR changed in it, its first update included.
    """

    name: str
    first: int
    last: int
    begin: float
    end: float
    changes: int


class Series:
    """The LR of every group at every update of a run, or of a part of it; an LR that is held is kept once.

    Args:
        names: of the groups.
        first: the first update.

    Attributes:
        end: the first update past the series.
    """

    def __init__(self, names: Sequence[str], first: int = 0) -> None:
        self.names = list(names)
        self.first = self.end = first
        self.firsts = array("q")  # updates from which on ...
        self.lrs = [array("d") for _ in self.names]  # ... the groups use these LRs

    def add(self, lrs: Sequence[float], updates: int = 1) -> None:
        """Let the next updates use these LRs, by group."""
        held = bool(self.firsts) and all(own[-1] == lr for own, lr in zip(self.lrs, lrs, strict=True))
        if not held:
            self.firsts.append(self.end)
            for own, lr in zip(self.lrs, lrs, strict=True):
                own.append(lr)
        self.end += updates

    def __len__(self) -> int:
        return self.end - self.first

    def at(self, update: int) -> list[float]:
        """Return the LR of every group at an update.

        Raises:
            IndexError: it is not in the series.
        """
        if not self.first <= update < self.end:
            raise IndexError(f"update {update:,} is not one of updates {self.first:,} to {self.end - 1:,}")
        place = bisect_right(self.firsts, update) - 1
        return [own[place] for own in self.lrs]

    def stretches(self, group: int) -> Iterator[tuple[int, int, float]]:
        """Yield the LRs of a group, one after another: first update, updates, LR."""
        firsts, own = self.firsts, self.lrs[group]
        for place, lr in enumerate(own):
            after = firsts[place + 1] if place + 1 < len(firsts) else self.end
            yield firsts[place], after - firsts[place], lr

    def peak(self, group: int) -> float:
        """Return the largest LR that a group uses."""
        return max(self.lrs[group], default=0.0)

    @property
    def leader(self) -> int:
        """The group with the largest LR."""
        return max(range(len(self.names)), key=self.peak, default=0)

    def legs(self, group: int, held: int = 1) -> list[Leg]:
        """Return the stretches in which the LR of a group rises, falls or is held, in order.

        Args:
            group: index of the group.
            held: updates that an LR may last between two changes without being held: those of an epoch, where a
                scheduler is ticked once in each.
        """
        legs: list[Leg] = []
        same = _SAME * max(map(abs, self.lrs[group]), default=0.0)
        lrs = self.lrs[group]
        for place, (first, count, lr) in enumerate(self.stretches(group)):
            # The first LR of all has none before it: it begins what the second one goes on with.
            earlier, later = (lrs[place - 1], lr) if place else (lr, lrs[1] if len(lrs) > 1 else lr)
            turn = "rises" if later > earlier + same else "falls" if later < earlier - same else "holds"
            name = "holds" if count > held else turn
            if legs and legs[-1].name == name and (name != "holds" or turn == "holds"):
                legs[-1] = legs[-1]._replace(last=first + count - 1, end=lr, changes=legs[-1].changes + 1)
            else:
                legs.append(Leg(name, first, first + count - 1, lr, lr, int(place > 0)))
        return legs


class Ticked(NamedTuple):
    """A scheduler in plain values, as far as one can tell from it what it was meant to do.

    Attributes:
        kind: its class, as its user knows it.
        interval: ``"step"`` or ``"epoch"``: what its ticks wait for; empty where nobody ticks it.
        frequency: how many of these a tick waits for.
        ticks: after how many updates each tick came.
        done: ticks before the first of them, in a run that goes on.
        settings: what it was told, by the names of its arguments.
        length: ticks until it has come to an end of its own; ``None`` where it has none, or none that is known.
        told: the setting that says its length, such as ``"T_max"``.
        restarts: whether climbing again is meant.
        apart: whether its groups were told apart on purpose.
        parts: the schedulers that it runs one after another or together.
    """

    kind: str
    interval: str = ""
    frequency: int = 1
    ticks: Sequence[int] = ()
    done: int = 0
    settings: Mapping[str, Any] = {}
    length: float | None = None
    told: str = ""
    restarts: bool = False
    apart: bool = False
    parts: Sequence[Ticked] = ()

    @property
    def reach(self) -> int:
        """How often it has been ticked when the run is over."""
        return self.done + len(self.ticks)
