"""Counts, in the first epoch, how often schedulers are ticked that only the module's own code knows when to tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lr_recipes.checks import counted
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.told import described

_NO_MATTER = 0.02  # of its length: so much a scheduler may be told too much or too little


class FirstEpoch:
    """Says after the first epoch how often each scheduler was ticked, and where that leads to.

    Args:
        schedulers: those that the module ticks by itself.
        clocks: of the optimizers.
        epochs: of the run; ``None`` or -1 where there is no limit.
    """

    def __init__(self, schedulers: Sequence[Any], clocks: Sequence[Clock], epochs: int | None) -> None:
        self._clocks, self._epochs = clocks, epochs if epochs is not None and epochs > 0 else None
        self._began = [clock.position for clock in clocks]
        # torch's schedulers count their ticks under this name, others need not.
        self._ticked = [
            (one, one.last_epoch) for one in schedulers if isinstance(getattr(one, "last_epoch", None), int)
        ]

    def in_words(self) -> list[str]:
        """Return a sentence for each scheduler; to be asked when the epoch is over."""
        return [self._sentence(one, one.last_epoch - before) for one, before in self._ticked]

    def _sentence(self, scheduler: Any, ticks: int) -> str:
        updates = sum(
            clock.position - before
            for clock, before in zip(self._clocks, self._began, strict=True)
            if clock.optimizer is scheduler.optimizer
        )
        told, kind = described(scheduler), type(scheduler).__name__
        often = "once" if ticks == 1 else counted(ticks, "time")
        said = f"{kind} was ticked {often} in the {counted(updates, 'update')} of the first epoch"
        if self._epochs is None or told.length is None:
            return said
        reach = ticks * self._epochs
        if abs(reach - told.length) <= max(_NO_MATTER * told.length, 1):
            return f"{said}; at this rate it is at its end, {told.told}={told.length:g}, when the run is"
        return (
            f"{said}; at this rate it is ticked {reach:,} times by the end of the run, and was given "
            f"{told.told}={told.length:g}. Give it {told.told}={reach}, or tick it as often as it was made for"
        )
