"""A run that follows the clock: which time ends it, how much of it is over, and how all processes agree on the pace.

What ends the run is Lightning's ``Timer``, which it makes of ``Trainer(max_time=...)``: so that one is asked. It counts
validations and checkpoints, and goes on from a checkpoint. What an estimate is made of is ``optimizer/pace.py``'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lr_recipes.callbacks.lightning import Timer, Trainer, timers_of
from lr_recipes.callbacks.telling import tell
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.pace import Estimate, Pace
from lr_recipes.plan.horizon import Horizon

_SOON = 60_000  # milliseconds of a fit after which it is said how many updates there will be, or after an epoch


class Timekeeper:
    """Keeps schedules that follow the clock at the pace of a Trainer.

    Args:
        trainer: the Trainer.
        began: milliseconds of its run after which the schedules began: 0, but where they were begun anew.
    """

    def __init__(self, trainer: Trainer, began: float = 0.0) -> None:
        self._trainer, self._timer, self.began = trainer, ending(timers_of(trainer)), began
        self._told_at = self.elapsed() + _SOON
        self._told = False

    def begin_anew(self) -> None:
        """Let new schedules begin now, over the time that is left."""
        self.began += self.elapsed()

    def horizon(self, *_: Any, **__: Any) -> Horizon:
        """Return the horizon of the schedules; what a run that counts updates would need is not asked for."""
        return horizon_by(self._timer, self.began)

    def elapsed(self) -> float:
        """Return the milliseconds since the schedules began."""
        return 1000 * self._timer.time_elapsed() - self.began

    def keep(self, schedules: Mapping[str, BoundSchedule]) -> None:
        """Estimate anew how each schedule goes on whose time for that has come; to be asked before each batch."""
        due = [(one.pace, one.position) for one in schedules.values() if one.pace and one.position >= one.pace.next]
        if due:  # after the same updates on all processes
            elapsed = self.elapsed()
            for (pace, position), estimate in zip(due, self._agreed(due, elapsed), strict=True):
                pace.turn(position, estimate)
            if elapsed >= self._told_at:
                self.say_how_many(schedules)

    def _agreed(self, due: Iterable[tuple[Pace, int]], elapsed: float) -> list[Estimate]:
        """The estimates of the first process: two clocks never say the same, and then the weights would part."""
        trainer = self._trainer
        made = [pace.estimate(position, elapsed) for pace, position in due] if trainer.is_global_zero else []
        return made if trainer.world_size == 1 else trainer.strategy.broadcast(made)

    def say_how_many(self, schedules: Mapping[str, BoundSchedule]) -> None:
        """Say once about how many updates there will be."""
        for name, one in schedules.items():
            pace = one.pace
            total = None if self._told or pace is None else pace.updates_in_all(one.position)
            if pace is not None and total is not None:
                tell(self._trainer, f"{name}: about {total:,} updates in the {one.horizon.mark(pace.total)}")
        self._told = self._told or any(one.position for one in schedules.values())


def ending(timers: Iterable[Timer]) -> Timer:
    """Return which of the timers ends a run.

    Raises:
        ValueError: there is none.
    """
    known = list(timers)
    if not known:
        raise ValueError(
            "progress='time' needs a time that ends the run: give Trainer(max_time='00:08:00:00'), or leave progress "
            "out, so that the schedule counts updates"
        )
    return min(known, key=lambda one: one.time_remaining() or 0.0)


def horizon_by(timer: Timer, began: float = 0.0) -> Horizon:
    """Return the horizon of a run that a timer ends.

    Args:
        timer: the timer.
        began: milliseconds of the run after which the horizon begins.
    """
    seconds = (timer.time_remaining() or 0.0) + timer.time_elapsed()
    return Horizon(total_steps=max(round(1000 * seconds - began), 1), timed=True, source="by the clock, as max_time")
