"""A schedule that a module makes in ``configure_optimizers``: what the Trainer that calls it says about the run.

The Trainer sets its data up after that hook, or when somebody asks before, as its own ``estimated_stepping_batches``
does. So the first LR is right from the moment at which the schedule is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lr_recipes.callbacks.fit import advising, goes_on_from, horizon_of, limits_of
from lr_recipes.callbacks.learning_rate_scheduler import plan_for
from lr_recipes.callbacks.lightning import Trainer, configuring
from lr_recipes.plan.horizon import Horizon, HorizonError
from lr_recipes.plan.loop import Limits, Start
from lr_recipes.plan.plan import Plan
from lr_recipes.schedules import Schedule


def plan_in_trainer(
    schedule: Schedule, base_lrs: Sequence[float], facts: Mapping[str, Any], how_to_give: str
) -> Plan | None:
    """Return the plan for the run of the Trainer that is calling ``configure_optimizers``; ``None`` where none is.

    Args:
        schedule: what to plan.
        base_lrs: what the groups were built with.
        facts: those about the run that are given; ``None`` for the Trainer's.
        how_to_give: the total, in words.

    Raises:
        HorizonError, ValueError: see ``Schedule.plan``.
    """
    trainer = configuring()
    if trainer is None:
        return None
    given = {name: value for name, value in facts.items() if value is not None}
    if "total_steps" in given:
        try:  # who has said all that is needed is not made to load the data
            return schedule.plan(Horizon(**given), base_lrs)
        except HorizonError:
            pass
    if trainer.train_dataloader is None:
        trainer.fit_loop.setup_data()
    automatic = trainer.lightning_module.automatic_optimization
    horizon = horizon_of(trainer, _from_here(trainer), given.get("total_steps"))
    with advising(automatic, how_to_give, bool(trainer.reload_dataloaders_every_n_epochs)):  # type: ignore[attr-defined]
        fast = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        return plan_for(schedule, replace(horizon, **given), base_lrs, fast)


def _from_here(trainer: Trainer) -> Limits:
    """The limits of the run of a schedule that is made now: a further fit of a Trainer is what is left of its run."""
    limits, epoch = limits_of(trainer), trainer.current_epoch
    if goes_on_from(trainer) != "earlier fit":
        return limits
    # An epoch that was broken off is begun again: it then has more updates than the others.
    done = trainer.global_step - sum(limits.updates_in(one) or 0 for one in range(epoch))
    length = limits.updates_in(epoch)
    lengths = {} if length is None else {epoch: done + length}
    return limits._replace(lengths=lengths, start=Start(epoch, trainer.global_step, done))
