"""The callback that owns the LR of a Lightning run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging

from lr_recipes.callbacks.hooks import leave_out
from lr_recipes.callbacks.telling import tell, warn
from lr_recipes.callbacks.trainer_facts import (
    check_optimizers,
    forgets,
    horizon_of,
    monitored,
    optimizer_names,
    set_accumulation,
)
from lr_recipes.horizon import Horizon, HorizonError
from lr_recipes.plan import GroupPlan, describe_plan
from lr_recipes.resume import POLICIES, ResumeError, rescaled_position
from lr_recipes.scheduler import (
    BoundSchedule,
    built_lrs,
    completed_updates,
    group_names,
    read_lrs,
    read_momentum,
    write_momentum,
)
from lr_recipes.schedules import Plateau, Schedule

INTERVALS = ("step", "epoch")
# More updates than any schedule's warmup: `fast_dev_run` trains one batch and must not fail over lengths.
_LONG_RUN = 10**6


class LearningRateScheduler(Callback):
    """Makes every optimizer update use ``base LR x factor(position)`` of each parameter group, and prints the plan.

    The base LR is what the optimizer was built with. Lengths are resolved once, when training starts, from what the
    Trainer then knows; the position counts the updates that really changed parameters.

    Args:
        schedule: what to follow. With several optimizers: one schedule that all of them follow, or a mapping from the
            optimizer's index or name (``"Adam"``, ``"Adam-1"``, ...) to its schedule; optimizers that the mapping
            leaves out are left alone.
        interval: how often the LR is refreshed, and nothing else: ``"step"``, every update; ``"epoch"``, at the start
            of each epoch, to be held until the next.
        resume: what to do when a checkpoint was made with another plan: ``"error"`` stops and shows both;
            ``"checkpoint"`` follows the old plan to its end; ``"config"`` follows the new one from the restored
            position on.
        total_steps: total number of updates, for runs whose end the Trainer does not know; with several optimizers
            also a mapping like that of ``schedule``.
        replace: take over from schedulers that the module itself returns. By default two owners are an error.

    Raises:
        TypeError: ``schedule`` is no schedule, or an optimizer is not torch's.
        ValueError: an argument is unknown, or the schedule does not fit the run (when training starts).

    Example:
        >>> from lr_recipes import LearningRateScheduler, schedules
        >>> from lightning.pytorch import Trainer
        >>> callback = LearningRateScheduler(schedules.Cosine(warmup="5 epochs", min_lr_ratio=0.01))
        >>> trainer = Trainer(max_epochs=90, callbacks=[callback], accelerator="cpu", logger=False)
    """

    def __init__(
        self,
        schedule: Schedule | Mapping[int | str, Schedule],
        interval: str = "step",
        resume: str = "error",
        *,
        total_steps: int | Mapping[int | str, int] | None = None,
        replace: bool = False,
    ) -> None:
        self.schedule = _checked_schedule(schedule)
        self.interval = _one_of("interval", interval, INTERVALS)
        self.resume = _one_of("resume", resume, POLICIES)
        self.total_steps = _checked_total(total_steps)
        self.replace = replace
        self.bound: dict[str, BoundSchedule] = {}
        self._base_lrs: list[list[float]] = []
        self._momenta: list[list[float | None]] = []
        self._state: dict[str, Any] = {}
        self._epoch, self._fit_begins = -1, False
        self._overrun_told = self._nan_told = False

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier run, unless this one goes on from it."""
        if forgets(trainer, stage):
            self._state = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the base LRs, before a checkpoint restores old ones; refuse a second owner."""
        self._release()
        check_optimizers(trainer)
        self._base_lrs = [built_lrs(optimizer) for optimizer in trainer.optimizers]
        self._momenta = [[read_momentum(group) for group in one.param_groups] for one in trainer.optimizers]
        self._become_owner(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resolve the plan and print it."""
        leave_out(self, LearningRateScheduler)
        self.bind(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Refresh the LR at an epoch's first batch: after every callback that writes one when an epoch starts.

        Also say once that the run has gone past its plan.

        Lightning starts no epoch when it goes on from the checkpoint of an epoch's last batch, so epochs are compared.
        """
        if self._fit_begins:
            self._fit_begins = False
            set_accumulation(trainer)
        if not self._overrun_told:
            self._tell_overrun(trainer)
        if trainer.current_epoch != self._epoch:
            self._epoch = trainer.current_epoch
            for bound in self.bound.values():
                bound.refresh()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide: once for each validation of the fit, and before a checkpoint is written.

        The sanity check comes before anything is bound, so it decides nothing.
        """
        if trainer.state.fn == "fit":
            self._observe(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide in a run without validation, on a metric of the training epoch."""
        if not trainer.enable_validation:
            self._observe(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop following the optimizers."""
        if not self._overrun_told:
            self._tell_overrun(trainer)
        self._state = self.state_dict()
        for bound in self.bound.values():
            bound.detach()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Keep the positions, should the same Trainer go on."""
        self._state = self.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Return each optimizer's position and plan, as plain values."""
        if not self.bound:
            return self._state
        return {"optimizers": {name: bound.state_dict() for name, bound in self.bound.items()}, "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's positions and plans until training starts."""
        self._state = state_dict

    # Binding

    def bind(self, trainer: Trainer) -> None:
        """Bind the schedule to the optimizers of the fit that is about to train; a second call does nothing.

        Called by ``on_train_start``, and by callbacks that need the plan and may come first in the list.
        """
        if self.bound:
            return
        names = optimizer_names(trainer.optimizers)
        chosen = _by_name(self.schedule, names, "schedule")
        totals = _by_name(self.total_steps, names, "total_steps")
        before = {name: read_lrs(trainer.optimizers[names.index(name)]) for name in chosen}
        debugging = trainer.fast_dev_run  # type: ignore[attr-defined]
        bound = {}
        for name, schedule in chosen.items():
            horizon = horizon_of(trainer, totals.get(name))
            bases = self._bases(trainer, names.index(name))
            bound[name] = _bind(schedule, trainer.optimizers[names.index(name)], horizon, bases, debugging)
        self.bound = bound
        differences = self._restore(trainer)
        self._overrun_told = self._nan_told = False
        for name, one in bound.items():
            one.attach(every_update=self.interval == "step")
            tell(trainer, _plan(name, one, differences.get(name, []), before[name]))

    def plan_of(self, optimizer: Any) -> BoundSchedule | None:
        """Return the schedule bound to ``optimizer``, if there is one."""
        return next((bound for bound in self.bound.values() if bound.optimizer is optimizer), None)

    def _bases(self, trainer: Trainer, index: int) -> list[float]:
        """Base LRs: as built. In a run that starts fresh an LR finder may have changed them since the fit began."""
        now = built_lrs(trainer.optimizers[index])
        if not trainer.ckpt_path:
            return now
        built = self._base_lrs[index]
        return built + now[len(built) :]  # a finetuning callback may have brought groups of the checkpoint back since

    def _restore(self, trainer: Trainer) -> dict[str, list[str]]:
        """Continue at the saved positions; return what differed, by optimizer."""
        self._epoch, self._fit_begins = -1, True
        saved = self._state.get("optimizers")  # looked at first: Lightning counts no step of a raw optimizer
        if saved is None:
            for bound in self.bound.values() if trainer.global_step else ():
                bound.position = _position_without_state(trainer, bound)
            return {}
        if set(saved) != set(self.bound):
            raise ResumeError(
                f"the checkpoint has schedules for {', '.join(saved)}, and this run for {', '.join(self.bound)}: "
                "resume with the same optimizers and the same mapping of schedules"
            )
        self._epoch = self._state["epoch"]
        differences = {name: bound.restore(saved[name], self.resume) for name, bound in self.bound.items()}
        if self.resume == "config":
            self._keep_share_of_data(trainer, saved)
            self._stop_cycling_momentum(trainer, saved)
        return differences

    def _keep_share_of_data(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Where updates now see another number of samples, go on at the same share of the epochs that end the run."""
        for name, bound in self.bound.items():
            if bound.horizon.total_steps != trainer.max_steps:  # `max_steps` counts the old updates as they are
                position = rescaled_position(saved[name], bound.horizon)
                if position != bound.position:
                    bound.position = position

    def _stop_cycling_momentum(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Where the checkpoint's schedule moved the momentum and this one does not, go back to what was built."""
        for name, bound in self.bound.items():
            if saved[name]["cycles_momentum"] and bound.curve.momentum is None:
                built = self._momenta[optimizer_names(trainer.optimizers).index(name)]
                for group, momentum in zip(bound.optimizer.param_groups, built, strict=False):
                    if momentum is not None:
                        write_momentum(group, momentum)

    def _release(self) -> None:
        for bound in self.bound.values():
            bound.detach()
        self.bound = {}

    def _become_owner(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse schedulers of the module's own on our optimizers, or remove them when that was asked for."""
        names = optimizer_names(trainer.optimizers)
        ours = [trainer.optimizers[names.index(name)] for name in _by_name(self.schedule, names, "schedule")]
        configs = trainer.strategy.lr_scheduler_configs
        theirs = [config for config in configs if any(config.scheduler.optimizer is one for one in ours)]
        if theirs and not self.replace:
            raise ValueError(
                f"two owners of one learning rate: {type(pl_module).__name__}.configure_optimizers() returns "
                f"{', '.join(type(config.scheduler).__name__ for config in theirs)}, and the Trainer has a "
                f"LearningRateScheduler({self.schedule!r}). Return the optimizer alone; or take over with "
                "LearningRateScheduler(..., replace=True); or keep the module's scheduler and only add a warmup, "
                "with LearningRateWarmup"
            )
        if any(isinstance(one, StochasticWeightAveraging) for one in trainer.callbacks):  # type: ignore[attr-defined]
            raise ValueError(
                "two owners of one learning rate: StochasticWeightAveraging brings a scheduler of its own (swa_lrs), "
                f"and the Trainer has a LearningRateScheduler({self.schedule!r}). Remove one of them; Lightning's "
                "WeightAveraging averages the weights and leaves the LR alone"
            )
        trainer.strategy.lr_scheduler_configs = [config for config in configs if config not in theirs]

    def _observe(self, trainer: Trainer) -> None:
        """Give each plateau the fresh value of its metric, the same on all processes."""
        for name, bound in self.bound.items():
            if not isinstance(bound.schedule, Plateau):
                continue
            value = monitored(trainer, bound.schedule.monitor)
            if math.isnan(value):
                self._warn_nan(trainer, bound.schedule.monitor)
            before = read_lrs(bound.optimizer)[0]
            if bound.observe(value):
                now = read_lrs(bound.optimizer)[0]
                tell(trainer, f"{name}: {bound.schedule.monitor} has stopped improving, LR {before:g} -> {now:g}")

    def _warn_nan(self, trainer: Trainer, metric: str) -> None:
        if not self._nan_told:
            self._nan_told = True
            warn(trainer, f"{metric} is not a number: this validation does not count for the plateau")

    def _tell_overrun(self, trainer: Trainer) -> None:
        for name, bound in self.bound.items():
            total = bound.horizon.total_steps
            if total is not None and bound.position > total:
                self._overrun_told = True
                tell(
                    trainer,
                    f"{name} has gone past the {total:,} updates of its plan: the LR stays at its floor "
                    f"({bound.curve.end:g} x peak)",
                )


def _bind(
    schedule: Schedule, optimizer: Any, horizon: Horizon, bases: list[float], debugging: int | bool
) -> BoundSchedule:
    try:
        return BoundSchedule(schedule, optimizer, horizon, bases)
    except HorizonError:
        raise
    except ValueError:
        if not debugging:
            raise
        # `fast_dev_run` only shows that the code runs; the lengths of the real run do not fit into one batch.
        long = Horizon(total_steps=_LONG_RUN, steps_per_epoch=1000, source="fast_dev_run is too short for this plan")
        return BoundSchedule(schedule, optimizer, long, bases)


def _position_without_state(trainer: Trainer, bound: BoundSchedule) -> int:
    """Updates so far, where no schedule has counted them: the optimizer's own count, else the Trainer's."""
    counted = completed_updates(bound.optimizer)
    if counted is not None:
        return counted
    if len(trainer.optimizers) == 1:
        return trainer.global_step
    raise ResumeError(
        f"the checkpoint holds no schedule, and {type(bound.optimizer).__name__} does not count its own updates, so "
        "the position of each optimizer is unknown: start a new run from the weights instead"
    )


def _plan(name: str, bound: BoundSchedule, differences: list[str], before: list[float]) -> str:
    floors = [base * bound.end_factor for base in bound.base_lrs]
    groups = [
        GroupPlan(group, base, floor)
        for group, base, floor in zip(group_names(bound.optimizer), bound.base_lrs, floors, strict=True)
    ]
    notes = [f"resumed at update {bound.position:,}"] if bound.position else []
    now = read_lrs(bound.optimizer)
    if differences and before != now:
        notes.append(f"LR at update {bound.position:,}: {before[0]:g} in the checkpoint, {now[0]:g} in this plan")
    notes += [f"checkpoint -> this run: {difference}" for difference in differences]
    return describe_plan(name, bound.curve, bound.horizon, groups, notes)


def _by_name(given: Any, names: list[str], what: str) -> dict[str, Any]:
    """Spread one value over all optimizers, or a mapping by index or name over those that it names."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    by_name = {}
    for key, value in given.items():
        known = key in names if isinstance(key, str) else isinstance(key, int) and 0 <= key < len(names)
        if not known:
            there = ", ".join(f"{index} or {name!r}" for index, name in enumerate(names))
            raise ValueError(f"{what} names the optimizer {key!r}, and the module has {there}")
        by_name[key if isinstance(key, str) else names[key]] = value
    return by_name


def _checked_schedule(given: Any) -> Schedule | dict[int | str, Schedule]:
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    for value in values:
        if not isinstance(value, Schedule):
            raise TypeError(
                f"schedule={value!r}: must be one of lr_recipes.schedules, as in schedules.Cosine(warmup='10%'), "
                "or a mapping from optimizers to schedules"
            )
    if not values:
        raise ValueError("schedule={}: the mapping names no optimizer, so no LR would be scheduled")
    return dict(given) if isinstance(given, Mapping) else given


def _checked_total(given: Any) -> Any:
    for value in given.values() if isinstance(given, Mapping) else [given]:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ValueError(f"total_steps={value!r}: must be a whole number of updates, at least 1, or None")
    return given


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(known)}")
    return value
