"""One ``trainer.fit`` as our callbacks see it: its optimizers, their clocks, the horizon, the metrics.

What is asked of a Trainer by more than one callback belongs here; how a loop counts is ``plan/loop.py``'s, and what an
optimizer is told is the clock's. A fit goes through Lightning in this order, and each step needs those before it:

1. ``setup``: no optimizer yet. An earlier fit of the same Trainer is forgotten.
2. A checkpoint gives the module its weights and the callbacks their state (with FSDP and DeepSpeed only after 3).
3. ``on_fit_start``: the optimizers are there, as ``configure_optimizers`` left them. Positions are handed over, and who
   will write is claimed.
4. The checkpoint's loops, optimizers and schedulers are restored: the groups now hold the LRs of the checkpoint.
5. The sanity check validates; then the training data are set up, so that an epoch has a length.
6. ``on_train_start``: ``settle()`` sets the clocks, plans are made, the LR of the next update is written.
7. The first ``on_train_batch_start``: ``start()`` puts the hooks on the optimizers, behind those of all others.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

from lr_recipes import checks
from lr_recipes.callbacks.lightning import GradientAccumulationScheduler, Trainer, callbacks_of
from lr_recipes.callbacks.telling import warn
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.clock import Clock, completed_updates
from lr_recipes.plan.horizon import Horizon, HorizonError
from lr_recipes.plan.loop import count_updates
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import ResumeError

# What Lightning takes, with a warning that is easily missed, when neither max_epochs nor max_steps is given.
_LIGHTNING_DEFAULT_EPOCHS = 1000
_NO_TOTAL_NEEDED = (
    "Schedules that need no total: fixed, warmup_constant, step in epochs or steps, plateau, inverse_sqrt with a "
    "warmup in epochs or steps"
)


class Fit:
    """One ``trainer.fit``. Our callbacks ask this one object, and never each other: their order means nothing.

    ``Fit.of(trainer)`` returns it, from ``on_fit_start`` on, when the optimizers exist and before a checkpoint restores
    their state.

    Attributes:
        optimizers: the optimizers by name.
        clocks: the clock of each; it counts from the first batch on, and stands at the right position from the first
            ``settle()`` on.
        group_counts: how many parameter groups each optimizer had at the ``settle()``; those beyond it joined later.

    Raises:
        TypeError: an optimizer is not torch's, such as a strategy's own.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = weakref.ref(trainer)  # the registry keeps a fit as long as its Trainer lives
        for optimizer in trainer.optimizers:
            _refuse_foreign(optimizer, type(trainer.strategy).__name__)
        self.optimizers = dict(zip(optimizer_names(trainer.optimizers), trainer.optimizers, strict=True))
        self.clocks = {name: _clock_for(optimizer) for name, optimizer in self.optimizers.items()}
        self.group_counts: dict[str, int] = {}
        self._saved: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._settled = self._started = False

    @classmethod
    def of(cls, trainer: Trainer) -> Fit:
        """Return the fit of a Trainer."""
        if trainer not in _FITS:
            _FITS[trainer] = cls(trainer)
        return _FITS[trainer]

    @staticmethod
    def forget(trainer: Trainer) -> None:
        """Forget an earlier fit; to be called in ``setup``, before the new one's optimizers exist."""
        earlier = _FITS.pop(trainer, None)
        if earlier is not None:
            earlier.end()

    @staticmethod
    def end_of(trainer: Trainer) -> None:
        """Stop the clocks of the fit that is over, if one had begun; their positions stay."""
        under_way = _FITS.get(trainer)
        if under_way is not None:
            under_way.end()

    @property
    def trainer(self) -> Trainer:
        """The Trainer; it keeps the fit alive and not the other way round."""
        trainer = self._trainer()
        assert trainer is not None
        return trainer

    # Names

    def key(self, given: Any, what: str) -> str:
        """Return the name of the optimizer that somebody means by its index or name.

        Raises:
            ValueError: there is no such optimizer; the message lists them, and names the argument ``what``.
        """
        names = list(self.optimizers)  # in the order in which `configure_optimizers` returned them: an index is of that
        if isinstance(given, str) and given in names:
            return given
        if checks.is_whole(given, least=0) and given < len(names):
            return names[int(given)]
        raise ValueError(f"{what} names the optimizer {given!r}, and the module has {self.listed()}")

    def listed(self) -> str:
        """The optimizers, as somebody may name them."""
        return ", ".join(f"{index} or {name!r}" for index, name in enumerate(self.optimizers))

    def chosen(self, given: Any, what: str) -> dict[str, Any]:
        """Spread one value over all optimizers, or a mapping by index or name over those that it names."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            return dict.fromkeys(self.optimizers, given)
        return {self.key(key, what): value for key, value in given.items()}

    # Positions

    def goes_on_at(self, positions: Mapping[str, int]) -> None:
        """Take positions that a callback has saved; whichever callback saved them, they are the clocks'."""
        self._saved.update(positions)

    def settle(self) -> None:
        """Set the clocks; to be called in ``on_train_start``, when all state is restored. A second call does nothing.

        A position is what was saved; else the optimizer's own count; else, where there is one optimizer, the Trainer's.
        """
        if self._settled:
            return
        self._settled = True
        # A finetuning callback brings the groups of a checkpoint back in `on_fit_start`, after this object was made:
        # those have not joined late.
        self.group_counts = {name: len(optimizer.param_groups) for name, optimizer in self.optimizers.items()}
        for name, clock in self.clocks.items():
            if not clock.bound:  # of a schedule that the module has bound, the position is its own
                clock.position = self._position_of(name)

    def _position_of(self, name: str) -> int:
        if name in self._saved:  # looked at first: Lightning counts no step of a raw optimizer
            return self._saved[name]
        if self.trainer.global_step == 0:
            return 0
        # The checkpoint of a run without our callbacks. The optimizer's count leaves out what a gradient scaler
        # skipped; Lightning's has every call.
        counted = completed_updates(self.optimizers[name])
        if counted is None and len(self.optimizers) > 1:
            self._unknown.add(name)  # the Trainer's count is the sum over its optimizers
        return self.trainer.global_step if counted is None else counted

    def check_position(self, name: str) -> None:
        """Refuse a position that is not known; to be called by whoever writes an LR that depends on it.

        Raises:
            ResumeError: nobody has counted the updates of this optimizer.
        """
        if name in self._unknown:
            raise ResumeError(
                f"the checkpoint holds no schedule, and {name} does not count its own updates, so the position of each "
                "optimizer is unknown: start a new run from the weights instead"
            )

    def start(self) -> None:
        """Let the clocks count; to be called at the first batch, when all other callbacks have hooks on the optimizers.

        A second call does nothing.
        """
        if self._started:
            return
        self._started = True
        # Every optimizer's, with and without an owner: the logger records those too that nobody of ours writes.
        for clock in self.clocks.values():
            clock.start()

    def end(self) -> None:
        """Stop the clocks."""
        for clock in self.clocks.values():
            clock.stop()

    # Plans

    def replace_clock(self, name: str) -> None:
        """Give an optimizer a clock without an owner: a schedule that the module has bound is not to write any more."""
        self.clocks[name] = Clock(self.optimizers[name])

    def plan(self, name: str) -> Plan | None:
        """Return the plan that is carried out on an optimizer, if somebody of ours does so."""
        owner = self.clocks[name].owner
        return None if owner is None else owner.plan

    def schedulers_on(self, name: str) -> list[Any]:
        """Return whatever may write the LR of an optimizer: schedulers that Lightning or the module itself steps."""
        optimizer = self.optimizers[name]
        # Lightning lists what `configure_optimizers` returned, of any class; one that a module keeps to itself and
        # steps by hand is in no list, and is found as an object of torch's class.
        configs = self.trainer.strategy.lr_scheduler_configs
        listed = [config.scheduler for config in configs if getattr(config.scheduler, "optimizer", None) is optimizer]
        # Compared with `is`: equality is the schedulers' own, and nothing is known of it.
        return [*listed, *(one for one in internals.schedulers_on(optimizer) if all(one is not it for it in listed))]

    # The horizon

    def horizon(self, total_steps: int | None = None) -> Horizon:
        """Return the horizon of the fit; from ``on_train_start`` on, when its data are set up.

        Args:
            total_steps: the total, where it is given and not taken from the Trainer.

        Raises:
            HorizonError: the number of updates cannot be told, and guessing would train with a wrong LR.
        """
        trainer = self.trainer
        if not trainer.lightning_module.automatic_optimization:
            return _manual_horizon(trainer, total_steps)
        if trainer.strategy.handles_gradient_accumulation and total_steps is None:  # DeepSpeed
            strategy = type(trainer.strategy).__name__
            why = f"{strategy} accumulates gradients by its own rule, so they cannot be counted from the loader"
            raise HorizonError("the schedule", "total_steps", why)
        batches, epochs, max_steps = _limits(trainer)
        accumulate = accumulation_of(trainer)
        counted, per_epoch = count_updates(batches=batches, epochs=epochs, max_steps=max_steps, accumulate=accumulate)
        source = _source(batches, epochs, max_steps, counted, per_epoch)
        # By now Lightning has put its default in the place of what was not given, so one cannot tell it from a choice.
        if total_steps is None and epochs == _LIGHTNING_DEFAULT_EPOCHS and max_steps is None:
            counted, source = None, _default_epochs(counted)
        return Horizon(
            total_steps=total_steps or counted or None,  # a run of 0 updates ends before anybody asks
            steps_per_epoch=per_epoch or None,
            samples_per_step=_samples_per_step(trainer, accumulate, range(len(per_epoch) or 1)),
            source=source if total_steps is None else f"total_steps={total_steps} was given; the Trainer: {source}",
        )

    def samples_per_step(self) -> int | None:
        """Return the samples that one update sees, where that is known and the same for all."""
        try:
            return self.horizon().samples_per_step
        except HorizonError:  # it needs no total
            return None

    @contextmanager
    def advising(self, total: str = "") -> Iterator[None]:
        """Put it into words that fit a Trainer when a fact about the run is missing.

        Args:
            total: how the total can be given to the callback that asks, where it can.
        """
        try:
            yield
        except HorizonError as error:
            raise error.advised(self._advice(error.fact, total)) from None

    def _advice(self, fact: str, total: str) -> str:
        automatic = self.trainer.lightning_module.automatic_optimization
        if fact == "total_steps":
            given = f"give the total: {total}" if total else "write the length in steps, as in '500 steps'"
            # There only the module knows when an optimizer steps, whatever the Trainer's limits are.
            if not automatic:
                return f"{given[0].upper()}{given[1:]}. {_NO_TOTAL_NEEDED}"
            limits = "Set Trainer(max_steps=...), or an integer limit_train_batches with max_epochs"
            return f"{limits}, or {given}. {_NO_TOTAL_NEEDED}"
        steps = "Write it in steps ('500 steps')"
        if not automatic:
            even = f"; or {total}, a multiple of max_epochs" if total and fact == "steps_per_epoch" else ""
            return f"{steps}: in manual optimization the Trainer does not know it{even}"
        return f"{steps}, or give the loader a {'length' if fact == 'steps_per_epoch' else 'batch_size'}"

    def set_accumulation(self) -> None:
        """Give the present epoch the accumulation that belongs to it.

        When Lightning resumes within an epoch it calls no ``on_train_epoch_start``, so its
        GradientAccumulationScheduler would not act before the next epoch, and the run would do more updates than one
        that was not interrupted.
        """
        trainer = self.trainer  # without such a callback this sets what is there already
        trainer.accumulate_grad_batches = accumulation_of(trainer)(trainer.current_epoch)

    # Metrics

    def metric(self, name: str) -> float:
        """Return the latest value of a logged metric, the same on all processes: where they differ, their mean.

        Raises:
            ValueError: no such metric was logged; the message lists those that were.
        """
        trainer, metrics = self.trainer, self.trainer.callback_metrics
        if name not in metrics:
            there = ", ".join(sorted(metrics)) or "none: log one with self.log(...) in validation_step"
            hint = checks.nearest(name, metrics)
            raise ValueError(f"monitor={name!r}{hint}: no such metric was logged; there are {there}")
        value = metrics[name]
        if trainer.world_size == 1:
            return float(value)
        # Without `sync_dist=True` each process has the metric of its own share of the data. If one of them cut its LR
        # and another did not, their weights would part.
        everywhere: Any = trainer.strategy.all_gather(value.float().to(trainer.strategy.root_device))
        # NaN is not equal to itself, so all NaN is asked for by name.
        if not bool((everywhere == everywhere[0]).all() | everywhere.isnan().all()):
            warn(
                trainer,
                f"{name} differs between processes: the plateau takes their mean. Log it with "
                f"self.log({name!r}, ..., sync_dist=True)",
            )
        return float(everywhere.mean())


# The fit of each Trainer that is alive; in a process that Lightning has spawned it is empty, and filled anew.
_FITS: weakref.WeakKeyDictionary[Trainer, Fit] = weakref.WeakKeyDictionary()


def starts_afresh(trainer: Trainer, stage: str) -> bool:
    """Tell, in ``setup``, whether the fit to come needs no memory of an earlier one: it starts, or has a checkpoint."""
    # The index of the last batch so far, over all epochs: -1 in a Trainer that has not trained yet.
    return stage == "fit" and (trainer.fit_loop.total_batch_idx < 0 or trainer.ckpt_path is not None)


def optimizer_names(optimizers: Sequence[Any]) -> list[str]:
    """Return a name for each optimizer: its class, numbered where several are of one class (``Adam``, ``Adam-1``)."""
    classes = [type(optimizer).__name__ for optimizer in optimizers]
    seen = [classes[:index].count(name) for index, name in enumerate(classes)]
    return [f"{name}-{count}" if count else name for name, count in zip(classes, seen, strict=True)]


def _refuse_foreign(optimizer: Any, strategy: str) -> None:
    """Refuse an optimizer whose steps torch's hooks do not see."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{strategy} trains with a {type(optimizer).__name__}, which is not a torch.optim.Optimizer: its updates "
            "cannot be counted, so its LR cannot be scheduled, recorded or swept here. Choose a strategy that keeps "
            "torch's optimizer, such as ddp or fsdp, or the strategy's own schedules"
        )


def _clock_for(optimizer: Optimizer) -> Clock:
    """A new clock; or the one that is there, where the module has bound a schedule to its optimizer."""
    there = Clock.on(optimizer)
    return there if there is not None and there.bound else Clock(optimizer)


# What a Trainer says about its run


def accumulation_of(trainer: Trainer) -> Callable[[int], int]:
    """Return epoch -> micro-batches in one update."""
    # The callback sets `trainer.accumulate_grad_batches` when an epoch starts, so the Trainer's own number is that of
    # the present epoch only. Lightning refuses one above 1 beside the callback.
    for callback in callbacks_of(trainer):
        if isinstance(callback, GradientAccumulationScheduler) and callback.going_to_accumulate_grad_batches():
            return callback.get_accumulate_grad_batches
    every = trainer.accumulate_grad_batches
    return lambda epoch: every


def _manual_horizon(trainer: Trainer, total_steps: int | None) -> Horizon:
    """In manual optimization only the module knows when an optimizer steps, so nothing is counted."""
    epochs = trainer.max_epochs
    even = total_steps is not None and epochs is not None and epochs > 0 and total_steps % epochs == 0
    return Horizon(
        total_steps=total_steps,
        steps_per_epoch=total_steps // epochs if even and total_steps and epochs else None,
        source="manual optimization: the module decides when an optimizer steps"
        if total_steps is None
        else f"total_steps={total_steps} was given",
    )


def _limits(trainer: Trainer) -> tuple[int | None, int | None, int | None]:
    """Micro-batches in an epoch, epochs, and limit on updates; ``None`` where there is no such limit."""
    # Lightning says "no limit" in three ways: an infinite number of batches, -1 epochs (or None), -1 steps. The batches
    # are those of this process, after `limit_train_batches` and its distributed sampler.
    batches, epochs, max_steps = trainer.num_training_batches, trainer.max_epochs, trainer.max_steps
    return (
        None if math.isinf(batches) else int(batches),
        None if epochs is None or epochs < 0 else epochs,
        None if max_steps < 0 else max_steps,
    )


def _default_epochs(counted: int | None) -> str:
    """Why a run of so many epochs has no known end, and how to say that they are meant."""
    meant = "" if counted is None else f"; if 1000 epochs are meant, give total_steps={counted}"
    return f"max_epochs is 1000, which is also what Lightning takes when nothing ends the run{meant}"


def _source(
    batches: int | None, epochs: int | None, max_steps: int | None, counted: int | None, per_epoch: Sequence[int]
) -> str:
    """Where the total came from, in words."""
    if batches is None:
        return f"max_steps={max_steps}" if max_steps is not None else "the loader has no length"
    if batches == 0:
        return "no batch in an epoch"
    if counted is None:
        return f"{batches:,} batches an epoch, but neither max_epochs nor max_steps ends the run"
    if epochs is None or (max_steps is not None and counted < sum(per_epoch)):
        return f"max_steps={max_steps}"
    if len(set(per_epoch)) == 1:
        return f"{checks.counted(epochs, 'epoch')} of {checks.counted(per_epoch[0], 'update')}"
    return f"{checks.counted(epochs, 'epoch')} of {min(per_epoch):,} to {max(per_epoch):,} updates"


def _samples_per_step(trainer: Trainer, accumulate: Callable[[int], int], epochs: Iterable[int]) -> int | None:
    """Samples in one full update, over all devices; ``None`` where the loader does not say or epochs differ."""
    # A DataLoader that was given a batch sampler has no batch size of its own; a dict of loaders has neither.
    loader = trainer.train_dataloader
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    windows = {accumulate(epoch) for epoch in epochs}
    if not isinstance(size, int) or len(windows) != 1:
        return None
    return size * windows.pop() * trainer.world_size
