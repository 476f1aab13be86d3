"""The callback that owns the LR of a Lightning run.

Here stands *when* things happen: who claims, when a plan is made, when an LR that is held is refreshed. What a plan is,
who writes it and who counts are the rooms below (``schedules/``, ``optimizer/``); what a Trainer says is the ``Fit``'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lr_recipes import checks
from lr_recipes.callbacks.base import Remembering, leave_out
from lr_recipes.callbacks.fit import Fit, advising, spread
from lr_recipes.callbacks.lightning import (
    Callback,
    LightningModule,
    StochasticWeightAveraging,
    Trainer,
    callbacks_of,
)
from lr_recipes.callbacks.telling import tell, warn
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import built_lrs, group_names, read_lrs, read_momentum, write_momentum
from lr_recipes.plan.horizon import Horizon, HorizonError
from lr_recipes.plan.plan import INTERVALS, Plan
from lr_recipes.plan.resume import POLICIES, Chosen, ResumeError, choose, rescaled_position
from lr_recipes.report.words import in_words
from lr_recipes.schedules import Schedule

# More updates than any schedule's warmup: `fast_dev_run` trains one batch and must not fail over lengths.
_LONG_RUN = 10**6
_HOW_TO_GIVE_THE_TOTAL = (
    "LearningRateScheduler(..., total_steps=...), or callbacks.learning_rate_scheduler.total_steps=... "
    "on a command line"
)


class LearningRateScheduler(Remembering):
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
        super().__init__()
        self.schedule = _checked_schedule(schedule)
        self.interval = checks.one_of("interval", interval, INTERVALS)
        self.resume = checks.one_of("resume", resume, POLICIES)
        self.total_steps = _checked_total(total_steps)
        self.replace = replace
        self.bound: dict[str, BoundSchedule] = {}
        self._base_lrs: dict[str, list[float]] = {}
        self._momenta: dict[str, list[float | None]] = {}
        self._epoch, self._fit_begins = -1, False
        self._overrun_told = self._nan_told = False

    # Hooks

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the base LRs, and refuse a second owner.

        Lightning has built the optimizers; it restores their state, with the old LRs in their groups, after this hook
        and before ``on_train_start``. So this is the last moment at which the groups hold what they were built with,
        and the first at which there is an optimizer to claim.
        """
        self.bound = {}  # before the sanity check, which validates and must not let an earlier run's plateau decide
        fit = Fit.of(trainer)
        self._base_lrs = {name: built_lrs(one) for name, one in fit.optimizers.items()}
        self._momenta = {
            name: [read_momentum(group) for group in one.param_groups] for name, one in fit.optimizers.items()
        }
        self._become_owner(fit, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resolve the plan, write the first LRs, and print it: now the data are set up and all state is restored.

        The first update is not far, but other callbacks read the LR before it, so it is written here.
        """
        leave_out(self, LearningRateScheduler)
        fit = Fit.of(trainer)
        fit.settle()  # a new run begins at position 0; the first LR is written for the position that is set here
        before = {name: read_lrs(optimizer) for name, optimizer in fit.optimizers.items()}  # the checkpoint's, perhaps
        # All plans stand before the first LR is written: one that does not fit leaves all optimizers alone.
        chosen = self._chosen(fit)
        self.bound = {name: BoundSchedule(one.plan, fit.clocks[name]) for name, one in chosen.items()}
        self._go_on(fit)
        self._overrun_told = self._nan_told = False
        for name, bound in self.bound.items():
            bound.every_update = self.interval == "step"
            tell(trainer, _opening(name, bound, chosen[name].differences, before[name]))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Refresh the LR at an epoch's first batch: after every callback that writes one when an epoch starts.

        Also say once that the run has gone past its plan.

        Lightning starts no epoch when it goes on from the checkpoint of an epoch's last batch, so epochs are compared.

        The batch is on the device and ``training_step`` has not run; with accumulation, perhaps no update ends it.
        """
        if self._fit_begins:
            self._fit_begins = False
            fit = Fit.of(trainer)
            fit.set_accumulation()
            fit.start()  # not in `on_train_start`: callbacks behind us may put their hooks on the optimizers there
        if not self._overrun_told:
            self._tell_overrun(trainer)
        # The saved epoch is that of the last refresh: a run that goes on within an epoch holds the LR that it held.
        if trainer.current_epoch != self._epoch:
            self._epoch = trainer.current_epoch
            for bound in self.bound.values():
                bound.refresh()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide: once for each validation of the fit, and before ModelCheckpoint writes.

        Lightning moves checkpoint callbacks behind all others, and has the metrics ready by now: in
        ``on_validation_epoch_end`` those of the module's own hook of that name would be missing. The sanity check comes
        before anything is bound, so it decides nothing.
        """
        if trainer.state.fn == "fit":  # `trainer.validate` calls the same hook
            self._observe(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide in a run without validation, on a metric of the training epoch.

        The epoch's metrics are computed by now, but the module's own ``on_train_epoch_end`` comes after this hook, so
        what is logged there cannot be monitored.
        """
        if not trainer.enable_validation:
            self._observe(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop following the optimizers.

        ModelCheckpoint may still save in its own ``on_train_end``, so the state stays what it is.
        """
        if not self._overrun_told:  # by one update only: then no further batch has said it
            self._tell_overrun(trainer)
        self.remember(trainer)

    def now(self) -> dict[str, Any]:
        """Return each optimizer's position and plan, as plain values."""
        if not self.bound:
            return {}
        return {"optimizers": {name: bound.state_dict() for name, bound in self.bound.items()}, "epoch": self._epoch}

    # Plans

    def _chosen(self, fit: Fit) -> dict[str, Chosen]:
        """The plan to follow on each optimizer that has a schedule: this run's, or by the policy the checkpoint's."""
        plans, saved = self._plans(fit), self._state.get("optimizers")
        if saved is None:
            for name in plans:
                fit.check_position(name)
            return {name: Chosen(plan, []) for name, plan in plans.items()}
        check_optimizers(saved, plans)
        return {name: choose(saved[name], plan, self.resume) for name, plan in plans.items()}

    def plans(
        self,
        base_lrs: Mapping[str, Sequence[float]],
        horizon: Callable[[int | None], Horizon],
        *,
        automatic: bool = True,
        fast_dev_run: bool = False,
    ) -> dict[str, Plan]:
        """Return the plan of each optimizer that has a schedule, by its name; asks no Trainer.

        Args:
            base_lrs: what the groups of each optimizer were built with, by the optimizer's name.
            horizon: makes the horizon, from the total or, where none is given, ``None``.
            automatic: whether the module leaves it to the Trainer when an optimizer steps.
            fast_dev_run: whether the run only shows that the code runs, however long the plan is.

        Raises:
            ValueError: a schedule does not fit the run, or an optimizer is named that there is not.
        """
        names = list(base_lrs)
        totals = spread(self.total_steps, names, "total_steps")
        plans = {}
        with advising(automatic, _HOW_TO_GIVE_THE_TOTAL):
            for name, schedule in spread(self.schedule, names, "schedule").items():
                plans[name] = _plan(schedule, horizon(totals.get(name)), base_lrs[name], fast_dev_run)
        return plans

    def _plans(self, fit: Fit) -> dict[str, Plan]:
        return self.plans(
            {name: self._bases(fit, name) for name in fit.optimizers},
            fit.horizon,
            automatic=fit.trainer.lightning_module.automatic_optimization,
            fast_dev_run=bool(fit.trainer.fast_dev_run),  # type: ignore[attr-defined]
        )

    def _bases(self, fit: Fit, name: str) -> list[float]:
        """Base LRs: as built. In a run that starts fresh an LR finder may have changed them since the fit began."""
        now = built_lrs(fit.optimizers[name])
        if not fit.trainer.ckpt_path:
            return now
        # Of a checkpoint's run the groups now hold the `initial_lr` of the checkpoint: what this run's settings say was
        # noted before that, and a peak that has changed is a difference to be told.
        built = self._base_lrs[name]
        return built + now[len(built) :]  # a finetuning callback may have brought groups of the checkpoint back since

    def _go_on(self, fit: Fit) -> None:
        """Go on where a checkpoint stopped, if there is one."""
        self._epoch, self._fit_begins = self._state.get("epoch", -1), True
        saved = self._state.get("optimizers", {})
        for name, state in saved.items():
            self.bound[name].go_on(state)
        if self.resume == "config":
            self._keep_share_of_data(fit.trainer, saved)
            self._stop_cycling_momentum(saved)

    def _keep_share_of_data(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Where updates now see another number of samples, go on at the same share of the epochs that end the run."""
        for name, state in saved.items():
            bound = self.bound[name]
            position = position_in(bound.horizon, state, trainer.max_steps)
            if position != bound.position:  # to set it also writes the LR, and an LR that is held must stay
                bound.position = position

    def _stop_cycling_momentum(self, saved: dict[str, Any]) -> None:
        """Where the checkpoint's schedule moved the momentum and this one does not, go back to what was built."""
        for name, state in saved.items():
            bound = self.bound[name]
            if state["cycles_momentum"] and not bound.plan.moves_momentum:
                for group, momentum in zip(bound.optimizer.param_groups, self._momenta[name], strict=False):
                    if momentum is not None:
                        write_momentum(group, momentum)

    # One owner

    def refuse_owners(self, module: Any, schedulers: Sequence[Any], callbacks: Iterable[Callback]) -> None:
        """Refuse a second owner of the LR; asks no Trainer.

        Args:
            module: the module that is trained.
            schedulers: those that it returns, on optimizers that have a schedule here.
            callbacks: all callbacks of the run.

        Raises:
            ValueError: there is one; names both.
        """
        if schedulers and not self.replace:
            raise ValueError(
                f"two owners of one learning rate: {type(module).__name__}.configure_optimizers() returns "
                f"{', '.join(type(one).__name__ for one in schedulers)}, and the Trainer has a "
                f"LearningRateScheduler({self.schedule!r}). Return the optimizer alone; or take over with "
                "LearningRateScheduler(..., replace=True); or keep the module's scheduler and only add a warmup, "
                "with LearningRateWarmup"
            )
        # It makes its scheduler when its epoch starts, so the module's list does not show it yet.
        if any(isinstance(one, StochasticWeightAveraging) for one in callbacks):
            raise ValueError(
                "two owners of one learning rate: StochasticWeightAveraging brings a scheduler of its own (swa_lrs), "
                f"and the Trainer has a LearningRateScheduler({self.schedule!r}). Remove one of them; Lightning's "
                "WeightAveraging averages the weights and leaves the LR alone"
            )

    def _become_owner(self, fit: Fit, pl_module: LightningModule) -> None:
        """Refuse schedulers of the module's own on our optimizers, or remove them when that was asked for."""
        # Lightning steps what is in `strategy.lr_scheduler_configs`, and saves and restores it: what is taken out of
        # the list now, before a checkpoint's schedulers are restored, is neither stepped nor given an old state.
        strategy, ours = fit.trainer.strategy, fit.chosen(self.schedule, "schedule")
        optimizers = [fit.optimizers[name] for name in ours]
        configs = strategy.lr_scheduler_configs
        theirs = [config for config in configs if any(config.scheduler.optimizer is one for one in optimizers)]
        self.refuse_owners(pl_module, [config.scheduler for config in theirs], callbacks_of(fit.trainer))
        strategy.lr_scheduler_configs = [config for config in configs if config not in theirs]
        for name in ours:
            # One that the module has bound by hand is in no list of Lightning's: without its clock it writes no more.
            if self.replace and fit.clocks[name].bound:
                fit.replace_clock(name)
            fit.clocks[name].claim(type(self).__name__)

    # Plateaus, and the end of the plan

    def _observe(self, trainer: Trainer) -> None:
        """Give each plateau the fresh value of its metric, the same on all processes."""
        for name, bound in self.bound.items():
            reaction = bound.plan.reaction
            if reaction is None:
                continue
            value = Fit.of(trainer).metric(reaction.monitor)
            if math.isnan(value):
                self._warn_nan(trainer, reaction.monitor)
            before = read_lrs(bound.optimizer)[0]
            if bound.observe(value):
                now = read_lrs(bound.optimizer)[0]
                tell(trainer, f"{name}: {reaction.monitor} has stopped improving, LR {before:g} -> {now:g}")

    def _warn_nan(self, trainer: Trainer, metric: str) -> None:
        if not self._nan_told:
            self._nan_told = True
            warn(trainer, f"{metric} is not a number: this validation does not count for the plateau")

    def _tell_overrun(self, trainer: Trainer) -> None:
        for name, bound in self.bound.items():
            total = bound.horizon.total_steps
            # At position `total` the plan is just complete; update `total` is the first past it, and moves it on by
            # one.
            if total is not None and bound.position > total:
                self._overrun_told = True
                tell(
                    trainer,
                    f"{name} has gone past the {total:,} updates of its plan: the LR stays at its floor "
                    f"({bound.curve.end:g} x peak)",
                )


def _plan(schedule: Schedule, horizon: Horizon, bases: Sequence[float], fast_dev_run: bool) -> Plan:
    try:
        return schedule.plan(horizon, bases)
    except HorizonError:  # a ValueError too, but one that a longer run would not mend
        raise
    except ValueError:
        if not fast_dev_run:
            raise
        # `fast_dev_run` only shows that the code runs; the lengths of the real run do not fit into one batch.
        long = Horizon(total_steps=_LONG_RUN, steps_per_epoch=1000, source="fast_dev_run is too short for this plan")
        return schedule.plan(long, bases)


def check_optimizers(saved: Iterable[str], ours: Iterable[str]) -> None:
    """Refuse a checkpoint that has schedules for other optimizers than this run.

    Raises:
        ResumeError: names those of both.
    """
    if set(saved) != set(ours):
        raise ResumeError(
            f"the checkpoint has schedules for {', '.join(saved)}, and this run for {', '.join(ours)}: "
            "resume with the same optimizers and the same mapping of schedules"
        )


def position_in(horizon: Horizon, saved: dict[str, Any], max_steps: int | None) -> int:
    """Return where a run that follows its own plan goes on: where updates see other data, at the same share of them.

    ``max_steps`` counts the old updates as they are, so a run that it ends goes on at the saved position.
    """
    position: int = saved["position"]
    ended_by_updates = horizon.total_steps is not None and horizon.total_steps == max_steps
    return position if ended_by_updates else rescaled_position(saved, horizon)


def _opening(name: str, bound: BoundSchedule, differences: list[str], before: list[float]) -> str:
    """The plan as it is printed before the first update."""
    notes = [f"resumed at update {bound.position:,}"] if bound.position else []
    now = read_lrs(bound.optimizer)
    if differences and before != now:
        notes.append(f"LR at update {bound.position:,}: {before[0]:g} in the checkpoint, {now[0]:g} in this plan")
    notes += [f"checkpoint -> this run: {difference}" for difference in differences]
    return in_words(bound.plan, name, group_names(bound.optimizer), notes)


def _checked_schedule(given: Any) -> Schedule | dict[int | str, Schedule]:
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    for value in values:
        if not isinstance(value, Schedule):
            raise TypeError(
                f"schedule={value!r}: must be one of lr_recipes.schedules, as in schedules.Cosine(warmup='10%'), "
                "or a mapping from optimizers to schedules; in the config of a Hydra application, add "
                "`- schedule: warmup_cosine` to the defaults list"
            )
    if not values:
        raise ValueError("schedule={}: the mapping names no optimizer, so no LR would be scheduled")
    return dict(given) if isinstance(given, Mapping) else given


def _checked_total(given: Any) -> Any:
    for value in given.values() if isinstance(given, Mapping) else [given]:
        if value is not None and not checks.is_whole(value):
            raise ValueError(f"total_steps={value!r}: must be a whole number of updates, at least 1, or None")
    return given
