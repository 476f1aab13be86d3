"""The callback that owns the LR of a Lightning run.

Here stands *when* things happen: who claims, when a plan is made, when an LR that is held is refreshed. What a plan is,
who writes it and who counts are the rooms below (``schedules/``, ``optimizer/``); what a Trainer says is the ``Fit``'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from torch.optim import Optimizer

from lr_recipes import checks
from lr_recipes.callbacks.base import LOOP, Remembering, leave_out
from lr_recipes.callbacks.fit import Fit, advising, goes_on_from, spread
from lr_recipes.callbacks.fresh_metric import OBSERVED, FreshMetrics
from lr_recipes.callbacks.in_time import Timekeeper, ending
from lr_recipes.callbacks.lightning import (
    AfterHook,
    Callback,
    LightningModule,
    StochasticWeightAveraging,
    Trainer,
    callbacks_of,
    timers_of,
)
from lr_recipes.callbacks.telling import as_typed, tell, warn
from lr_recipes.optimizer import as_built
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import (
    built_lrs,
    group_names,
    honours_scales,
    read_lrs,
    write_number,
)
from lr_recipes.plan.built import Built
from lr_recipes.plan.horizon import Horizon, HorizonError, read_tokens, read_total
from lr_recipes.plan.plan import INTERVALS, Plan
from lr_recipes.plan.resume import BEGIN_ANEW, POLICIES, Chosen, choose, rescaled_position
from lr_recipes.plan.state import (
    BOUND,
    COUNT,
    MILLISECONDS,
    TEXT,
    ByName,
    Entries,
    ResumeError,
    checksum_of,
    damaged,
    whole,
)
from lr_recipes.report.words import in_words
from lr_recipes.schedules import Schedule
from lr_recipes.schedules.named import Name, as_schedule

# More updates than any schedule's warmup: `fast_dev_run` trains one batch and must not fail over lengths.
_LONG_RUN = 10**6
PROGRESS = ("updates", "time")
_HOW_TO_GIVE = "LearningRateScheduler(..., {0}=...), or callbacks.learning_rate_scheduler.{0}=... on a command line"


def _checksum_of_rest(state: dict[str, Any]) -> int:
    """Of what follows from nothing else in a state, but decides on later LRs: a damaged one could not be told."""
    seen = {name: one["plateau"] for name, one in state["optimizers"].items()}
    paces = [one["pace"] for one in state["optimizers"].values() if "pace" in one]
    timed = [paces, state.get("began")] if paces else []
    return checksum_of([seen, *(state.get(part) for part in ("epoch", "loop", "metrics")), *timed])


def _checksum_agrees(state: dict[str, Any]) -> str:
    if "checksum" not in state or state["checksum"] == _checksum_of_rest(state):  # 0.1.0 has none
        return ""
    return f"checksum is {state['checksum']}, which is not that of epoch, loop, metrics and what plateaus have seen"


@checks.explains_arguments
class LearningRateScheduler(Remembering):
    """Makes every optimizer update use ``base LR x factor(position)`` of each parameter group, and prints the plan.

    The base LR is what the optimizer was built with. Lengths are resolved once, when training starts, from what the
    Trainer then knows; the position counts the updates that really changed parameters.

    Args:
        schedule: what to follow: a schedule, or the name of one, such as ``"warmup_cosine"``. With several optimizers:
            one schedule that all of them follow, or a mapping from the optimizer's index or name (``"Adam"``,
            ``"Adam-1"``, ...) to its schedule; optimizers that the mapping leaves out are left alone.
        interval: how often the LR is refreshed, and nothing else: ``"step"``, every update; ``"epoch"``, at the start
            of each epoch, to be held until the next.
        resume: what to do when a checkpoint, or an earlier fit of the same Trainer, was made with another plan:
            ``"error"`` stops and shows both; ``"checkpoint"`` follows the old plan to its end; ``"config"`` follows the
            new one from the restored position on; ``"restart"`` begins a new one at position 0, over what is left of
            the run, and does so in each further fit of a Trainer.
        total_steps: total number of updates, or a length such as ``"10B tokens"``, for runs whose end the Trainer does
            not know; with several optimizers also a mapping like that of ``schedule``.
        tokens_per_sample: tokens in a sample (their mean, where samples differ), for lengths in tokens; by default what
            the data module, or else the LightningModule, has as an attribute of this name.
        progress: what moves the schedule: ``"updates"``, or ``"time"`` in a run that ``max_time`` ends, so that the
            schedule is complete when the time is, however many updates that makes (``docs/lengths.md``).
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

    form = Entries(
        {"optimizers": ByName(TEXT, BOUND), "epoch": whole(-1)},
        {"loop": LOOP, "metrics": OBSERVED, "checksum": COUNT, "began": MILLISECONDS},
        _checksum_agrees,
    )
    begins_anew, ways = True, BEGIN_ANEW

    def __init__(
        self,
        schedule: Schedule | Name | Mapping[int | str, Schedule | Name],
        interval: str = "step",
        resume: str = "error",
        *,
        total_steps: int | str | Mapping[int | str, int | str] | None = None,
        tokens_per_sample: float | None = None,
        progress: str = "updates",
        replace: bool = False,
    ) -> None:
        super().__init__()
        self.schedule = _checked_schedule(schedule)
        self.interval = checks.one_of("interval", interval, INTERVALS)
        self.resume = checks.one_of("resume", resume, POLICIES)
        self.total_steps = _checked_total(total_steps)
        self.tokens_per_sample = read_tokens("tokens_per_sample", tokens_per_sample)
        self.progress = checks.one_of("progress", progress, PROGRESS)
        if progress == "time" and total_steps is not None:
            raise ValueError(
                f"total_steps={checks.brief(total_steps)} with progress='time': how long the run is says "
                "Trainer(max_time=...), so leave total_steps out; or leave progress out"
            )
        checks.flag("replace", replace)
        self.replace = replace
        self.bound: dict[str, BoundSchedule] = {}
        self._built: dict[str, Built] = {}
        self._built_before: dict[str, list[float]] = {}  # base LRs at the start, of optimizers that have been rebuilt
        self._noting = ExitStack()
        self._epoch, self._fit_begins = -1, False
        self._batches: float = 0  # of an epoch, as the plan has it
        self._overrun_told = self._nan_told = self._early_told = False
        self._metrics: FreshMetrics | None = None  # of the plateaus of this fit, where it has any
        self._time: Timekeeper | None = None  # of a fit that follows the clock
        self._module_hook: AfterHook | None = None

    # Hooks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Watch until ``on_fit_start`` what the module's schedulers find when they are made."""
        super().setup(trainer, pl_module, stage)
        self._noting.close()
        if stage == "fit":
            self._noting.enter_context(as_built.noting())

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse a second owner, and note the base LRs.

        Lightning has built the optimizers; it restores their state, with the old LRs in their groups, after this hook
        and before ``on_train_start``. So this is the last moment at which the groups hold what they were built with,
        and the first at which there is an optimizer to claim.
        """
        self.bound, self._time = {}, None
        self._metrics = None  # before the sanity check, which validates: it is no earlier run's
        self._noting.close()
        fit = Fit.of(trainer)
        if not fit.optimizers:
            raise ValueError(
                f"{type(pl_module).__name__}.configure_optimizers() returns no optimizer, so there is no LR to "
                "schedule: return one, or remove the LearningRateScheduler"
            )
        if self.progress == "time":
            self._check_time(trainer)
        self._become_owner(fit, pl_module)
        self._built = {name: built_lrs(one) for name, one in fit.optimizers.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Resolve the plan, write the first LRs, and print it: now the data are set up and all state is restored.

        The first update is not far, but other callbacks read the LR before it, so it is written here.
        """
        leave_out(self, LearningRateScheduler)
        fit = Fit.of(trainer)
        fit.settle()  # a new run begins at position 0; the first LR is written for the position that is set here
        self._batches = fit.batches
        if self.progress == "time":
            self._time = Timekeeper(trainer, self._state.get("began", 0.0))
        earlier = self._state.get("optimizers", {})
        before = {name: read_lrs(optimizer) for name, optimizer in fit.optimizers.items()}  # the checkpoint's, perhaps
        # All plans stand before the first LR is written: one that does not fit leaves all optimizers alone.
        chosen = self._chosen(fit)
        self.bound = {name: BoundSchedule(one.plan, fit.clocks[name]) for name, one in chosen.items()}
        self._go_on(fit, earlier)
        fit.on_rebuilt.append(partial(self._go_on_rebuilt, fit))
        self._overrun_told = self._nan_told = self._early_told = False
        self._go_on_observing(trainer)
        for name, bound in self.bound.items():
            bound.every_update = self.interval == "step"
            notes = opening_notes(fit, name, bound, chosen[name].differences, before[name])
            tell(trainer, in_words(bound.plan, name, group_names(bound.optimizer), notes))

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
        if self._time is not None:
            self._time.keep(self.bound)
        if not self._overrun_told:
            self._tell_overrun(trainer)
        # The saved epoch is that of the last refresh: a run that goes on within an epoch holds the LR that it held.
        if trainer.current_epoch != self._epoch:
            self._epoch = trainer.current_epoch
            for bound in self.bound.values():
                bound.refresh()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Where the loader has been made anew, let the plan have the epoch's real length."""
        super().on_train_epoch_start(trainer, pl_module)
        fit = Fit.of(trainer)
        if fit.reloads and fit.batches != self._batches:  # else it is as long as the plan took it to be
            self._plan_anew(fit)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide on what the validation has logged, before ModelCheckpoint writes.

        Lightning moves checkpoint callbacks behind all others, and has the metrics ready by now: in
        ``on_validation_epoch_end`` those of the module's own hook of that name would be missing. The sanity check comes
        before anything is bound, so it decides nothing.
        """
        if self._metrics is not None and trainer.state.fn == "fit":  # `trainer.validate` calls the same hook
            self._observe(trainer, self._metrics.after_validation())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let plateaus decide on what the epoch of training has logged, once the module's own hook has logged too.

        That hook comes next, and ModelCheckpoint's after it.
        """
        super().on_train_epoch_end(trainer, pl_module)
        if self._time is not None:
            self._time.say_how_many(self.bound)
        if self._metrics is not None:
            metrics = self._metrics
            self._module_hook = AfterHook(
                pl_module, "on_train_epoch_end", lambda: self._observe(trainer, metrics.after_training_epoch())
            )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop following the optimizers.

        ModelCheckpoint may still save in its own ``on_train_end``, so the state stays what it is.
        """
        if not self._overrun_told:  # by one update only: then no further batch has said it
            self._tell_overrun(trainer)
        self.remember(trainer)

    def remember(self, trainer: Trainer, ended: bool = True) -> None:
        """Keep the state that a run ends with, and let go of its module and its metrics."""
        super().remember(trainer, ended)
        self._noting.close()
        self._time = None  # it holds the Trainer
        if self._metrics is not None:
            self._metrics.end()
        if self._module_hook is not None:  # the run was stopped just before the module's own hook
            self._module_hook.undo()
            self._module_hook = None

    def now(self) -> dict[str, Any]:
        """Return each optimizer's position and plan, as plain values; and what plateaus know of their metrics."""
        if not self.bound:
            return {}
        saved = {name: bound.state_dict() for name, bound in self.bound.items()}
        for name, bases in self._built_before.items():
            saved[name]["built_lrs"] = bases
        metrics = {} if self._metrics is None else {"metrics": self._metrics.state()}
        began = {} if self._time is None else {"began": self._time.began}
        state = {"optimizers": saved, "epoch": self._epoch, **self.loop_now(), **metrics, **began}
        return {**state, "checksum": _checksum_of_rest(state)}

    # Plans

    def _chosen(self, fit: Fit) -> dict[str, Chosen]:
        """The plan to follow on each optimizer that has a schedule: this run's, or by the policy the checkpoint's."""
        self._check_batches(fit)
        plans, saved = self._plans(fit), self._state.get("optimizers")
        if self.resume == "restart" and self._begins_anew(fit, plans, saved or {}):
            fit.begin_anew(plans)
            self._state = {}
            if self._time is not None:
                self._time.begin_anew()
            return {name: Chosen(plan, []) for name, plan in self._plans(fit).items()}
        if saved is None:
            for name in plans:
                fit.check_position(name)
            return {name: Chosen(plan, []) for name, plan in plans.items()}
        check_optimizers(saved, plans, self._origin)
        return {name: self._choose(fit, saved[name], plan) for name, plan in plans.items()}

    def _check_time(self, trainer: Trainer) -> None:
        """Refuse to follow a clock that there is not, or that has stopped."""
        ending(timers_of(trainer))
        if goes_on_from(trainer) == "earlier fit":
            raise ValueError(
                "progress='time' in a second fit of one Trainer, whose Timer has counted the first one and does not "
                "go on: make a new Trainer, and go on with trainer.fit(..., ckpt_path=...)"
            )

    def _check_batches(self, fit: Fit) -> None:
        """Refuse a state of metrics that have been dealt with up to a batch that is still to come."""
        done, batch = self._state.get("metrics", {}).get("done_up_to", -1), fit.trainer.fit_loop.total_batch_idx
        if self._origin == "checkpoint" and self.resume != "restart" and done > batch:
            raise damaged(f"metrics.done_up_to is {done}, and the last batch was {batch}", self._origin, BEGIN_ANEW)

    def _choose(self, fit: Fit, saved: dict[str, Any], plan: Plan) -> Chosen:
        if saved.get("built_lrs") == plan.base_lrs:  # the settings are the same, and then it was rebuilt with others
            plan = plan.schedule.plan(plan.horizon, Built.read(saved["base_lrs"], saved.get("built")), saved["peak"])
        # How long an epoch was is no setting: what is known by now is right.
        argument = as_typed("LearningRateScheduler", "LearningRateScheduler(..., resume='checkpoint')")
        return choose(saved, plan, self.resume, self._origin, reloads=fit.reloads, argument=argument)

    def _begins_anew(self, fit: Fit, plans: Mapping[str, Plan], saved: Mapping[str, Any]) -> bool:
        """Whether a new schedule is to begin here, should that be the policy."""
        if self._origin == "earlier fit":
            return True
        # From a checkpoint only where the plans differ: a run that has begun anew, and was killed, goes on.
        if set(saved) != set(plans):
            return self._origin != "nothing"
        return any(self._choose(fit, saved[name], plan).differences for name, plan in plans.items())

    def _plan_anew(self, fit: Fit) -> None:
        """Follow the same schedules over the lengths that epochs are now known to have."""
        self._batches = fit.batches
        for bound in self.bound.values() if self._time is None else ():
            bound.adopt()
            plan, total = bound.plan, bound.horizon.total_steps
            horizon = replace(plan.horizon, steps_per_epoch=fit.horizon(total).steps_per_epoch)
            if horizon != plan.horizon:
                bound.follow(plan.over(horizon))
                if bound.every_update:  # else the LR is held until the epoch's first batch
                    bound.refresh()

    def plans(
        self,
        base_lrs: Mapping[str, Sequence[float]],
        horizon: Callable[..., Horizon],
        *,
        automatic: bool = True,
        advised: AbstractContextManager[None] | None = None,
        fast_dev_run: bool = False,
    ) -> dict[str, Plan]:
        """Return the plan of each optimizer that has a schedule, by its name; asks no Trainer.

        Args:
            base_lrs: what the groups of each optimizer were built with, by the optimizer's name.
            horizon: makes the horizon, from the total and other facts by name, which are ``None`` where none is given.
            automatic: whether it is the Trainer that decides when an optimizer steps.
            advised: puts it into words when a fact about the run is missing; by default, in those for any Trainer.
            fast_dev_run: whether the run only shows that the code runs, however long the plan is.

        Raises:
            ValueError: a schedule does not fit the run, or an optimizer is named that there is not.
        """
        names = list(base_lrs)
        built = {name: Built.of(lrs) for name, lrs in base_lrs.items()}
        totals = spread(self.total_steps, names, "total_steps")
        plans = {}
        with advised or advising(automatic, _HOW_TO_GIVE):
            chosen = spread(self.schedule, names, "schedule")
            for name, schedule in chosen.items():
                # A schedule by group may be meant for the groups of another optimizer that follows it too.
                others = [built[other].names for other, one in chosen.items() if other != name and one is schedule]
                run = horizon(totals.get(name), tokens_per_sample=self.tokens_per_sample)
                plans[name] = plan_for(schedule, run, built[name].beside(others), fast_dev_run)
        return plans

    def _plans(self, fit: Fit) -> dict[str, Plan]:
        return self.plans(
            {name: self._bases(fit, name) for name in fit.optimizers},
            fit.horizon if self._time is None else self._time.horizon,
            advised=fit.advising(_HOW_TO_GIVE),
            fast_dev_run=bool(fit.trainer.fast_dev_run),  # type: ignore[attr-defined]
        )

    def _bases(self, fit: Fit, name: str) -> Built:
        """Base LRs: as built. In a run that starts fresh an LR finder may have changed them since the fit began."""
        now = built_lrs(fit.optimizers[name])
        if not fit.trainer.ckpt_path:
            return now
        # Of a checkpoint's run the groups now hold the `initial_lr` of the checkpoint: what this run's settings say was
        # noted before that, and a peak that has changed is a difference to be told.
        # A finetuning callback may have brought groups of the checkpoint back since.
        return self._built[name].followed_by(now)

    def _go_on(self, fit: Fit, earlier: dict[str, Any]) -> None:
        """Go on where a checkpoint or an earlier fit stopped, if there is one, unless a new schedule begins here."""
        self._epoch, self._fit_begins = self._state.get("epoch", -1), True
        saved = self._state.get("optimizers", {})
        self._built_before = {name: state["built_lrs"] for name, state in saved.items() if "built_lrs" in state}
        for name, state in saved.items():
            self.bound[name].go_on(state)
        if self.resume == "config":
            self._keep_share_of_data(fit.trainer, saved)
        self._stop_cycling_momentum(earlier)

    def _go_on_rebuilt(self, fit: Fit, name: str) -> None:
        """Follow the plan on an optimizer that has been rebuilt, from the LRs that it was built with."""
        if name not in self.bound:
            return
        bound = self.bound[name]
        self._built_before.setdefault(name, [*bound.base_lrs])
        as_built.give_back(bound.optimizer, self._take_out(fit.trainer, [bound.optimizer]))
        bound.adopt()
        tell(
            fit.trainer,
            f"{name} was rebuilt: it goes on in the plan at update {bound.position:,}, with "
            f"LR {read_lrs(bound.optimizer)[0]:g} ({bound.base_lrs[0]:g} x {bound.planned_factor:g})",
        )

    def _keep_share_of_data(self, trainer: Trainer, saved: dict[str, Any]) -> None:
        """Where updates now see another number of samples, go on at the same share of the epochs that end the run."""
        for name, state in saved.items():
            bound = self.bound[name]
            position = position_in(bound.horizon, state, trainer.max_steps)
            if position != bound.position:  # to set it also writes the LR, and an LR that is held must stay
                bound.position = position

    def _stop_cycling_momentum(self, saved: dict[str, Any]) -> None:
        """Give the momentum back where nobody has noted what was built: 0.1.0 did not, nor do schedulers of torch."""
        for name, bound in self.bound.items():
            ours = self.resume in ("config", "restart") and saved.get(name, {}).get("cycles_momentum", False)
            momenta = () if "momentum" in bound.plan.moves else self._built[name].others.get("momentum", ())
            for group, momentum in zip(bound.optimizer.param_groups, momenta, strict=False):
                if momentum is not None and (ours or as_built.momentum_is_theirs(group)):
                    write_number(group, "momentum", momentum)

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
        refuse_averaging(f"the Trainer has a LearningRateScheduler({self.schedule!r})", callbacks)

    def _become_owner(self, fit: Fit, pl_module: LightningModule) -> None:
        """Refuse schedulers of the module's own on our optimizers, or remove them when that was asked for."""
        ours = fit.chosen(self.schedule, "schedule")
        theirs = self._take_out(fit.trainer, [fit.optimizers[name] for name in ours])
        self.refuse_owners(pl_module, theirs, callbacks_of(fit.trainer))
        for name in ours:
            # One that the module has bound by hand is in no list of Lightning's: without its clock it writes no more.
            if self.replace and fit.clocks[name].bound:
                fit.replace_clock(name)
            fit.clocks[name].claim(type(self).__name__)
            as_built.give_back(fit.optimizers[name], theirs)

    def _take_out(self, trainer: Trainer, optimizers: Sequence[Optimizer]) -> list[Any]:
        """Take the module's schedulers on these optimizers out of Lightning's list, and return them."""
        # Lightning steps what is in the list, and saves and restores it: what is taken out before a checkpoint's
        # schedulers are restored is neither stepped nor given an old state.
        strategy = trainer.strategy
        configs = strategy.lr_scheduler_configs
        ours = {id(one) for one in optimizers}
        strategy.lr_scheduler_configs = [config for config in configs if id(config.scheduler.optimizer) not in ours]
        return [config.scheduler for config in configs if id(config.scheduler.optimizer) in ours]

    # Plateaus, and the end of the plan

    def _go_on_observing(self, trainer: Trainer) -> None:
        """Look out for the metrics of plateaus; decide on one that a checkpoint has and Lightning has passed over."""
        reactions = [bound.plan.reaction for bound in self.bound.values()]
        monitors = [reaction.monitor for reaction in reactions if reaction is not None]
        if monitors:
            # The epoch that is saved is that of the last update: the checkpoint's may be over by now.
            self._metrics = FreshMetrics(trainer, monitors, self._state.get("metrics", {}), self._epoch)
            self._observe(trainer, self._metrics.left)

    def _observe(self, trainer: Trainer, fresh: Mapping[str, float]) -> None:
        """Give each plateau the fresh value of its metric, if there is one: the same on all processes."""
        for name, bound in self.bound.items():
            reaction = bound.plan.reaction
            if reaction is None or reaction.monitor not in fresh:
                continue
            value = fresh[reaction.monitor]
            if math.isnan(value):
                self._warn_nan(trainer, reaction.monitor)
            self._tell_early(trainer, name, reaction.monitor)
            before = read_lrs(bound.optimizer)[0]
            if bound.observe(value):
                now = read_lrs(bound.optimizer)[0]
                metric = checks.one_line(reaction.monitor)
                tell(trainer, f"{name}: {metric} has stopped improving, LR {before:g} -> {now:g}")

    def _warn_nan(self, trainer: Trainer, metric: str) -> None:
        if not self._nan_told:
            self._nan_told = True
            shown = checks.one_line(metric)
            warn(trainer, f"{shown} is not a number: this value does not count for the plateau, which waits for one")

    def _tell_early(self, trainer: Trainer, name: str, metric: str) -> None:
        """Say once that a checkpoint was written before a decision that a run resumed from it cannot make."""
        assert self._metrics is not None
        if not self._early_told and self._metrics.saved_too_early(metric):
            self._early_told = True
            validation = self._metrics.of_validation(metric)
            place = "validation" if validation else "end of the epoch"
            tell(
                trainer,
                f"{name}: a checkpoint was written with the batch before the {place} that logs "
                f"{checks.one_line(metric)}. Lightning does not repeat it when it resumes from there, so a resumed run "
                f"has one decision of the plateau less. To avoid that, give ModelCheckpoint "
                f"save_on_train_epoch_end={not validation} and neither every_n_train_steps nor train_time_interval",
            )

    def _tell_overrun(self, trainer: Trainer) -> None:
        for name, bound in self.bound.items():
            total = bound.horizon.total_steps
            # At position `total` the plan is just complete; update `total` is the first past it, and moves it on by
            # one.
            if bound.pace is None and total is not None and bound.position > total:
                self._overrun_told = True
                end = f" ({bound.curve.end:g} x base LR)" if bound.plan.uniform else ""
                tell(
                    trainer,
                    f"{name} has gone past the {total:,} updates of its plan: the LR stays where it has come to{end}",
                )


def plan_for(schedule: Schedule, horizon: Horizon, bases: Sequence[float], fast_dev_run: bool) -> Plan:
    """Return the plan of a schedule; in a ``fast_dev_run`` one that fits, whatever the lengths."""
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


def refuse_averaging(owner: str, callbacks: Iterable[Callback]) -> None:
    """Refuse StochasticWeightAveraging beside an owner of the LR.

    Raises:
        ValueError: it is among the callbacks; names both.
    """
    # It makes its scheduler when its epoch starts, so the module's list does not show it yet.
    if any(isinstance(one, StochasticWeightAveraging) for one in callbacks):
        raise ValueError(
            "two owners of one learning rate: StochasticWeightAveraging brings a scheduler of its own (swa_lrs), "
            f"and {owner}. Remove one of them; Lightning's WeightAveraging averages the weights and leaves the LR alone"
        )


def check_optimizers(saved: Iterable[str], ours: Iterable[str], origin: str = "checkpoint") -> None:
    """Refuse a checkpoint that has schedules for other optimizers than this run.

    Raises:
        ResumeError: names those of both.
    """
    if set(saved) != set(ours):
        raise ResumeError(
            f"the {origin} has schedules for {checks.one_line(', '.join(saved))}, and this run for {', '.join(ours)}: "
            "go on with the same optimizers and the same mapping of schedules, or begin new schedules at position 0 "
            "with resume='restart'"
        )


def position_in(horizon: Horizon, saved: dict[str, Any], max_steps: int | None) -> int:
    """Return where a run that follows its own plan goes on: where updates see other data, at the same share of them.

    ``max_steps`` counts the old updates as they are, so a run that it ends goes on at the saved position.
    """
    position: int = saved["position"]
    ended_by_updates = horizon.total_steps is not None and horizon.total_steps == max_steps
    return position if ended_by_updates else rescaled_position(saved, horizon)


def opening_notes(
    fit: Fit, name: str, bound: BoundSchedule, differences: Sequence[str], before: Sequence[float]
) -> list[str]:
    """What there is to say beside the plan, before the first update."""
    notes = [f"resumed at update {bound.position:,}"] if bound.position else []
    if name in fit.begun_anew:
        notes.append(f"begins anew at update 0: the schedule before had come to update {fit.begun_anew[name]:,}")
    if honours_scales(bound.optimizer):
        notes.append("the lr_scale of each group is part of its peak")
    now = read_lrs(bound.optimizer)
    if differences and before != now:
        notes.append(f"LR at update {bound.position:,}: {before[0]:g} in the checkpoint, {now[0]:g} in this plan")
    return [*notes, *(f"checkpoint -> this run: {difference}" for difference in differences)]


def _checked_schedule(given: Any) -> Schedule | dict[int | str, Schedule]:
    if isinstance(given, Mapping):
        given = {key: as_schedule(one, f"schedule of optimizer {checks.brief(key)}") for key, one in given.items()}
    else:
        given = as_schedule(given)
    values = list(given.values()) if isinstance(given, Mapping) else [given]
    for value in values:
        if not isinstance(value, Schedule):
            raise TypeError(
                f"schedule={checks.brief(value)}: must be one of lr_recipes.schedules, as in "
                "schedules.Cosine(warmup='10%'), the name of one, as in 'warmup_cosine', or a mapping from optimizers "
                "to schedules; in the config of a Hydra application, add `- schedule: warmup_cosine` to the defaults "
                "list"
            )
    if not values:
        raise ValueError("schedule={}: the mapping names no optimizer, so no LR would be scheduled")
    # What an optimizer is called by is saved.
    return {checks.plain(key): one for key, one in given.items()} if isinstance(given, Mapping) else given


def _checked_total(given: Any) -> Any:
    given = checks.plain(given)
    for value in given.values() if isinstance(given, Mapping) else [given]:
        read_total(value)
    return given
