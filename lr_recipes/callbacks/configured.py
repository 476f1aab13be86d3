"""A schedule that a module makes in ``configure_optimizers``: what the Trainer that calls it says about the run.

The Trainer sets its data up after that hook, or when somebody asks before, as its own ``estimated_stepping_batches``
does. So the first LR is right from the moment at which the schedule is made.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from lr_recipes.callbacks.fit import advising_for, goes_on_from, horizon_of, limits_of
from lr_recipes.callbacks.learning_rate_scheduler import plan_for, refuse_averaging
from lr_recipes.callbacks.lightning import Trainer, callbacks_of, configuring
from lr_recipes.plan.horizon import Horizon, HorizonError
from lr_recipes.plan.loop import Limits, Start
from lr_recipes.plan.plan import Plan
from lr_recipes.schedules import Schedule


class RunOfTrainer:
    """What a Trainer says about the run of a schedule; it must not be kept alive by it.

    Args:
        trainer: the Trainer.
        facts: those about the run that are given; the others are the Trainer's.
        how_to_give: a fact, in words, with ``{}`` in the place of its name.
    """

    def __init__(self, trainer: Trainer, facts: Mapping[str, Any], how_to_give: str) -> None:
        self._trainer, self._callbacks = weakref.ref(trainer), callbacks_of(trainer)
        self._given = {name: value for name, value in facts.items() if value is not None}
        self._how_to_give = how_to_give

    @classmethod
    def that_is_configured(cls, schedule: Schedule, facts: Mapping[str, Any], how_to_give: str) -> RunOfTrainer | None:
        """Return the run of the Trainer that is calling ``configure_optimizers``; ``None`` where none is.

        Raises:
            ValueError: a callback of the Trainer would write the LR too.
        """
        trainer = configuring()
        if trainer is None:
            return None
        module = type(trainer.lightning_module).__name__
        refuse_averaging(f"{module}.configure_optimizers() makes a {schedule!r}", callbacks_of(trainer))
        return cls(trainer, facts, how_to_give)

    def plan(self, schedule: Schedule, base_lrs: Sequence[float], start: Start | None) -> Plan:
        """Return the plan for the run, or for what is left of it after ``start``, if that is given.

        Raises:
            HorizonError, ValueError: see ``Schedule.plan``.
        """
        trainer, given = self._trainer(), self._given
        assert trainer is not None  # it is calling
        if "total_steps" in given:
            with suppress(HorizonError):  # who has said all that is needed is not made to load the data
                return schedule.plan(Horizon(**given), base_lrs)
        limits = self._limits(trainer)._replace(start=start or Start())
        fast = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        with advising_for(trainer, self._how_to_give):
            return plan_for(schedule, horizon_of(trainer, limits, **given), base_lrs, fast)

    def is_under_way(self) -> bool:
        """Whether the Trainer can be asked how long it trains, and is not trying something out."""
        # BatchSizeFinder and `lr_find` train for some updates, with another end and without the Trainer's callbacks;
        # the state of before is then loaded. What they have found changes the run.
        trainer = self._trainer()
        return trainer is not None and callbacks_of(trainer) is self._callbacks

    def start(self) -> Start | None:
        """Return where the schedule begins that is made now: in a further fit of a Trainer, where it has stopped."""
        trainer = self._trainer()
        if trainer is None or "total_steps" in self._given or goes_on_from(trainer) != "earlier fit":
            return None
        # An epoch that was broken off is begun again from its first batch.
        epoch, by_steps = trainer.current_epoch, trainer.max_steps >= 0
        return Start(epoch, trainer.global_step if by_steps else self._updates_before(trainer, epoch), 0)

    def now(self) -> Start:
        """Return where the Trainer is that goes on from a checkpoint, perhaps within an epoch."""
        trainer = self._trainer()
        assert trainer is not None
        epoch, done = trainer.current_epoch, trainer.global_step
        return Start(epoch, done, done - self._updates_before(trainer, epoch))

    def _updates_before(self, trainer: Trainer, epoch: int) -> int:
        limits = self._limits(trainer)
        return sum(limits.updates_in(one) or 0 for one in range(epoch))

    def _limits(self, trainer: Trainer) -> Limits:
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        return limits_of(trainer)
