"""What an optimizer's parameter groups were built with: the base LRs, and what else a schedule may start from.

The standard library alone: who reads it off an optimizer stands above (``optimizer/groups.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class Built(list[float]):
    """The base LR of each parameter group; and the groups' names and other hyper-parameters, where they are known.

    A list, since most schedules ask for the LRs alone.

    Args:
        lrs: of each group.
        names: of each group; by default ``group0``, ``group1``, ...
        others: hyper-parameter -> its value in each group, ``None`` in one that has no such number.
        peaks: ``"lr"`` or another hyper-parameter -> what an absolute floor is measured against in each group; ``None``
            for a group that is new. By default the largest value of the groups that follow the same schedule.
        elsewhere: names of the groups of each other optimizer, which a schedule by group may be meant for too.
        settled: whether the plan is under way: groups may have left by now, or joined.
    """

    def __init__(
        self,
        lrs: Iterable[float],
        names: Sequence[str] = (),
        others: Mapping[str, Sequence[float | None]] | None = None,
        peaks: Mapping[str, Sequence[float | None]] | None = None,
        elsewhere: Sequence[Sequence[str]] = (),
        settled: bool = False,
    ) -> None:
        super().__init__(float(lr) for lr in lrs)  # numpy's too: what is saved is plain
        self.names = tuple(names) or tuple(f"group{index}" for index in range(len(self)))
        self.others = {key: list(values) for key, values in (others or {}).items()}
        self.peaks = {key: list(values) for key, values in (peaks or {}).items()}
        self.elsewhere, self.settled = tuple(elsewhere), settled

    @classmethod
    def of(cls, given: Sequence[float]) -> Built:
        """Return it as it is, and for the LRs alone that of groups of which nothing else is known."""
        return given if isinstance(given, cls) else cls(given)

    def peak(self) -> float:
        """Return what an absolute floor is measured against: the largest LR at the start."""
        known = [peak for peak in self.peaks.get("lr", ()) if peak is not None]
        return known[0] if known else max(self, default=1.0)

    def value(self, key: str, group: int) -> float:
        """Return a hyper-parameter of a group; 1 where it is not known, so that a factor is shown as what it is."""
        value = self.others[key][group] if key in self.others else 1.0
        return 0.0 if value is None else value

    def groups_with(self, key: str) -> list[int]:
        """Return the groups that have a hyper-parameter: all, where nothing is known but the LRs."""
        if not self.others:
            return list(range(len(self)))
        return [group for group, value in enumerate(self.others.get(key, ())) if value is not None]

    def groups(self, chosen: Sequence[int]) -> Built:
        """Return what some of the groups were built with."""
        others, peaks = (
            {key: [values[group] for group in chosen] for key, values in of.items()} for of in (self.others, self.peaks)
        )
        lrs, names = [self[group] for group in chosen], [self.names[group] for group in chosen]
        return Built(lrs, names, others, peaks, self.elsewhere, self.settled)

    def of_key(self, key: str) -> Built:
        """Return it with a hyper-parameter in the place of the LR, for a schedule that moves that one."""
        lrs = [self.value(key, group) for group in range(len(self))]
        peaks = {"lr": self.peaks[key]} if key in self.peaks else {}
        return Built(lrs, self.names, {}, peaks, self.elsewhere, self.settled)

    def with_lrs(self, lrs: Sequence[float]) -> Built:
        """Return it with other base LRs."""
        return Built(lrs, self.names, self.others, {}, self.elsewhere, settled=True)

    def equals(self, other: Built, keys: Iterable[str]) -> bool:
        """Whether the LRs are the same, and the hyper-parameters that are named."""
        return self == other and all(self.others.get(key) == other.others.get(key) for key in keys)

    def measured(self, peaks: Mapping[str, Sequence[float | None]]) -> Built:
        """Return it with floors measured against ``peaks``, for a plan that is under way."""
        return Built(self, self.names, self.others, peaks, self.elsewhere, settled=True)

    def beside(self, elsewhere: Iterable[Sequence[str]]) -> Built:
        """Return it with the names of the groups of other optimizers."""
        return Built(self, self.names, self.others, self.peaks, tuple(elsewhere), self.settled)

    def followed_by(self, more: Built) -> Built:
        """Return it with those groups of ``more`` that come after its own."""
        late = more.groups(range(len(self), len(more)))
        others = {key: [*values, *late.others.get(key, [None] * len(late))] for key, values in self.others.items()}
        return Built([*self, *late], [*self.names, *late.names], others, {}, self.elsewhere, self.settled)

    def describe(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return what of it a plan depends on that moves ``keys``, beside the LRs, as plain values."""
        others = {key: self.others[key] for key in keys if key in self.others}
        return {"names": list(self.names), "others": others, "peaks": self.peaks}

    @classmethod
    def read(cls, lrs: Sequence[float], saved: Mapping[str, Any] | None) -> Built:
        """Return it from the LRs and what ``describe`` returned; ``None`` where nothing else was saved."""
        known = {} if saved is None else {part: saved[part] for part in ("names", "others", "peaks")}
        return cls(lrs, **known, settled=True)
