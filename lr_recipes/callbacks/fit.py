"""One ``trainer.fit`` as our callbacks see it: its optimizers, their clocks, the horizon, the metrics.

What is asked of a Trainer by more than one callback belongs here; how a loop counts is ``plan/loop.py``'s, and what an
optimizer is told is the clock's. A fit goes through Lightning in this order, and each step needs those before it:

1. ``setup``: no optimizer yet. An earlier fit of the same Trainer is forgotten.
2. A checkpoint gives the module its weights and the callbacks their state (with FSDP and DeepSpeed only after 3).
3. ``on_fit_start``: the optimizers are there, as ``configure_optimizers`` left them, and who will write is claimed.
4. The checkpoint's loops, optimizers and schedulers are restored: the groups now hold the LRs of the checkpoint.
5. The sanity check validates; then the training data are set up, so that an epoch has a length.
6. ``on_train_start``: ``settle()`` asks for the saved positions and sets the clocks, plans are made, and the LR of the
   next update is written.
7. The first ``on_train_batch_start``: ``start()`` puts the hooks on the optimizers, behind those of all others.
8. Each ``on_train_epoch_start``: ``begin_epoch()`` notes where the epoch began.
"""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lr_recipes import checks
from lr_recipes.callbacks.lightning import (
    Callback,
    GradientAccumulationScheduler,
    Trainer,
    accumulates_by_list,
    callbacks_of,
    reloads,
    steps_of_this_epoch,
)
from lr_recipes.callbacks.telling import warn
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.clock import Clock, completed_updates, is_watched
from lr_recipes.plan.horizon import Horizon, HorizonError, read_tokens
from lr_recipes.plan.loop import Limits, Start
from lr_recipes.plan.state import ResumeError, damaged

_LONGEST_NAME = 150  # bytes; file systems take 255 with what is put before and behind it
_IN_STEPS = "it in steps ('500 steps')"
_NO_TOTAL_NEEDED = "fixed, warmup_constant, step in {0}, plateau, inverse_sqrt with a warmup in {0}"


class Recalls:
    """A callback that can go on from a checkpoint or an earlier fit, and knows the positions then."""

    def recall(self, fit: Fit, origin: str) -> dict[str, int]:
        """Take up the state that a fit goes on from, and return how many updates each optimizer had completed.

        Called once in each fit, by whichever callback of ours comes first in ``on_train_start``.

        Args:
            fit: the fit that goes on.
            origin: see ``goes_on_from``.
        """
        raise NotImplementedError

    def loop(self) -> dict[str, Any]:
        """Return what the state holds of the run's loop; see ``Fit.loop``."""
        raise NotImplementedError


class Fit:
    """One ``trainer.fit``. Our callbacks ask this one object, and never each other: their order means nothing.

    ``Fit.of(trainer)`` returns it, from ``on_fit_start`` on, when the optimizers exist and before a checkpoint restores
    their state.

    Attributes:
        optimizers: the optimizers by name.
        clocks: the clock of each; it counts from the first batch on, and stands at the right position from the first
            ``settle()`` on.
        group_counts: how many parameter groups each optimizer had at the ``settle()``; those beyond it joined later.
        begun_anew: the position that each optimizer had been at when it began a new schedule at 0.
        on_rebuilt: called with the name of an optimizer that has been rebuilt, before its first step.

    Raises:
        TypeError: an optimizer is not torch's, such as a strategy's own.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = weakref.ref(trainer)  # the registry keeps a fit as long as its Trainer lives
        optimizers = _optimizers_of(trainer)
        self.optimizers = dict(zip(optimizer_names(optimizers), optimizers, strict=True))
        self.clocks = {name: _clock_for(optimizer) for name, optimizer in self.optimizers.items()}
        self.group_counts: dict[str, int] = {}
        self.begun_anew: dict[str, int] = {}
        self.on_rebuilt: list[Callable[[str], None]] = []
        self._saved: dict[str, int] = {}
        self._unknown: set[str] = set()
        self._settled = self._started = self._resting = False
        self._begins: dict[str, int] = {}  # where each optimizer was when training began
        self._lengths: dict[int, int] = {}  # updates of epochs, where the loader is made anew between them
        self._repeats: dict[int, int] = {}  # and of attempts at an epoch that were broken off
        self._start = Start()
        self._epoch_began = (0, 0)  # the present epoch, and the updates that the loop had counted before it
        self._versions: dict[str, list[tuple[Any, int]]] = {}
        self._known = 0  # optimizers, with those that have joined and been told of
        self._global_hook: Any = None

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
            under_way.look_for_rebuilt()  # a checkpoint may yet be written, as by OnExceptionCheckpoint
            under_way.end()

    @staticmethod
    def repeated_by(trainer: Trainer) -> dict[int, int]:
        """Return the updates of the present epoch that a second fit repeats, should this one be broken off now."""
        under_way = _FITS.get(trainer)
        return {} if under_way is None else under_way._repeated()

    @staticmethod
    @contextmanager
    def resting(trainer: Trainer) -> Iterator[None]:
        """Look at no optimizer meanwhile: somebody takes the hooks off on purpose, and puts them back."""
        under_way = _FITS.get(trainer)
        if under_way is None:
            yield
            return
        under_way._resting = True
        try:
            yield
        finally:
            under_way._resting = False

    @property
    def trainer(self) -> Trainer:
        """The Trainer; it keeps the fit alive and not the other way round."""
        trainer = self._trainer()
        assert trainer is not None
        return trainer

    # Names

    def key(self, given: Any, what: str) -> str:
        """Return the name of the optimizer that somebody means by its index or name; as `optimizer_key`."""
        return optimizer_key(given, list(self.optimizers), what)

    def listed(self) -> str:
        """The optimizers, as somebody may name them."""
        return _listed(list(self.optimizers))

    def chosen(self, given: Any, what: str) -> dict[str, Any]:
        """Spread one value over all optimizers, or a mapping by index or name over those that it names."""
        return spread(given, list(self.optimizers), what)

    # Positions

    def settle(self) -> None:
        """Set the clocks; to be called in ``on_train_start``, when all state is restored. A second call does nothing.

        A position is what was saved, whichever callback saved it; else the optimizer's own count; else, where there is
        one optimizer, the Trainer's.
        """
        if self._settled:
            return
        self._settled = True
        # Not earlier: strategies that shard the model restore the callbacks' state after `on_fit_start`.
        origin = goes_on_from(self.trainer)
        for callback in callbacks_of(self.trainer):
            if isinstance(callback, Recalls):
                self._note_saved(callback.recall(self, origin), callback)
                self._take(callback.loop())
        self._note_epoch(steps_of_this_epoch(self.trainer))
        # Lightning begins no epoch where a fit goes on within one, or after its last batch.
        self._note_length(known=True)
        # A finetuning callback brings the groups of a checkpoint back in `on_fit_start`, after this object was made:
        # those have not joined late.
        self.group_counts = {name: len(optimizer.param_groups) for name, optimizer in self.optimizers.items()}
        for name, clock in self.clocks.items():
            if not clock.bound:  # of a schedule that the module has bound, the position is its own
                clock.position = self._position_of(name)

        self._begins = {name: clock.position for name, clock in self.clocks.items()}

    @property
    def moved(self) -> bool:
        """Whether an optimizer has done an update since training began."""
        return any(clock.position != self._begins.get(name) for name, clock in self.clocks.items())

    def _note_saved(self, positions: Mapping[str, int], callback: Any) -> None:
        """Note the positions that a callback has saved; all have counted by the same clocks."""
        who = callback.state_key
        for name, position in positions.items():
            known = self._saved.setdefault(name, position)
            if known != position:
                raise damaged(
                    f"{name} is at update {known:,}, and by {who} at {position:,}",
                    ways=f"take one of the two out of it, as in del checkpoint['callbacks'][{who!r}]",
                )

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

    def begin_anew(self, names: Iterable[str]) -> None:
        """Let new schedules begin here, at position 0."""
        epoch, counted = self._epoch_began
        done = self.trainer.global_step
        self._start = Start(epoch, done, done - counted)
        for name in names:
            self.begun_anew[name] = self.clocks[name].position
            self.clocks[name].position = 0
            self._unknown.discard(name)

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
        self._versions = {name: internals.versions_of(clock.optimizer) for name, clock in self.clocks.items()}
        # Called before any optimizer of the process steps, and before that optimizer's own hooks.
        self._global_hook = register_optimizer_step_pre_hook(_looking_for_rebuilt(weakref.ref(self)))

    def end(self) -> None:
        """Stop the clocks."""
        for clock in self.clocks.values():
            clock.stop()
        if self._global_hook is not None:
            self._global_hook.remove()
            self._global_hook = None
        self.on_rebuilt = []  # callbacks may hold the Trainer, which is not to be kept alive from here
        self._versions = {}

    # Optimizers that are rebuilt in mid-run: to reset their moments, to unfreeze a layer, to change their kind

    def look_for_rebuilt(self) -> None:
        """Let the clock of an optimizer that has been replaced, or built again in place, go on with the new one."""
        if self._resting or self._global_hook is None:
            return
        now = _optimizers_of(self.trainer)
        for (name, clock), optimizer in zip(self.clocks.items(), now, strict=False):
            if not clock.watches(optimizer):
                self.optimizers[name] = optimizer
                clock.move_to(optimizer)
                for rebuilt in self.on_rebuilt:
                    rebuilt(name)
        if len(now) > max(len(self.clocks), self._known):
            self._known = len(now)
            unknown = ", ".join(optimizer_names(now)[len(self.clocks) :])
            found = (
                f"the Trainer has {len(now)} optimizers now, and had {len(self.clocks)} when training began: {unknown} "
                "has no schedule and no record. Return all optimizers from configure_optimizers"
            )
            if any(clock.owner is not None for clock in self.clocks.values()):
                raise ValueError(found)
            warn(self.trainer, found)  # a record alone must not end a training

    def uncounted(self) -> str:
        """Say which optimizer changes its parameters in a way that nobody can count; nothing where all is well.

        To be asked when an epoch has ended.
        """
        unseen = [
            name
            for name, clock in self.clocks.items()
            if not clock.stepped and internals.have_changed(self._versions.get(name, []))
        ]
        if not unseen:
            return ""
        return (
            f"{' and '.join(unseen)} changed parameters in this epoch, and 0 calls of step() were seen: its updates "
            "cannot be counted, so its LR is neither scheduled nor recorded. Call its step(), or let the class that "
            "wraps another torch optimizer keep that one in an attribute and share its param_groups"
        )

    # Plans

    def replace_clock(self, name: str) -> None:
        """Give an optimizer a clock without an owner: a schedule that the module has bound is not to write any more."""
        self.clocks[name] = Clock(self.optimizers[name])

    def schedulers(self) -> dict[str, list[Any]]:
        """Return, by optimizer, whatever may write its LR: schedulers that Lightning or the module itself steps."""
        # Lightning lists what `configure_optimizers` returned, of any class; one that a module keeps to itself and
        # steps by hand is in no list, and is found as an object of torch's class. All at once: the search takes its
        # time.
        listed = [config.scheduler for config in self.trainer.strategy.lr_scheduler_configs]
        # Compared by identity: equality is the schedulers' own, and nothing is known of it.
        found = {id(one): one for one in (*listed, *internals.all_schedulers())}
        theirs: dict[int, list[Any]] = {}
        for one in found.values():
            theirs.setdefault(id(getattr(one, "optimizer", None)), []).append(one)
        return {name: theirs.get(id(optimizer), []) for name, optimizer in self.optimizers.items()}

    # The horizon

    def horizon(self, total_steps: int | str | None = None, **given: Any) -> Horizon:
        """Return the horizon of the fit; from ``on_train_start`` on, when its data are set up.

        Args:
            total_steps: the total, where it is given and not taken from the Trainer.
            given: other facts that are given; what is ``None`` is the Trainer's.

        Raises:
            HorizonError: the number of updates cannot be told, and guessing would train with a wrong LR.
        """
        return horizon_of(self.trainer, self._limits(), total_steps, **given)

    @property
    def automatic(self) -> bool:
        """Whether it is the Trainer that decides when an optimizer steps, and not the module or the strategy."""
        return is_automatic(self.trainer)

    def samples_per_step(self) -> int | None:
        """Return the samples that one update sees, where that is known and the same for all."""
        try:
            return self.horizon().samples_per_step
        except HorizonError:  # it needs no total
            return None

    def advising(self, how: str = "") -> AbstractContextManager[None]:
        """Put it into words that fit the Trainer when a fact about the run is missing; see ``advising_for``."""
        return advising_for(self.trainer, how)

    # Lengths of epochs that do not follow from the loader's

    @property
    def reloads(self) -> bool:
        """Whether the loader is made anew between epochs, and may then have another length."""
        return reloads(self.trainer)

    @property
    def batches(self) -> float:
        """Batches of the loader that there is now; infinite where it does not say."""
        return self.trainer.num_training_batches

    def loop(self) -> dict[str, Any]:
        """Return what a run that goes on must know of the loop, as plain values: nothing in most runs."""
        facts = {"lengths": dict(self._lengths), "repeats": dict(self._repeats), "start": list(self._start)}
        return {name: value for name, value in facts.items() if value and value != list(Start())}

    def _take(self, facts: Mapping[str, Any]) -> None:
        self._lengths.update(facts.get("lengths", {}))
        self._repeats.update(facts.get("repeats", {}))
        self._start = Start(*facts.get("start", self._start))

    def begin_epoch(self) -> None:
        """Note that an epoch begins, and how long it is; its data are set up."""
        self._note_epoch()
        self._note_length()

    def _note_length(self, known: bool = False) -> None:
        """Keep the length of the present epoch where loaders change; with ``known``, one that is known stays."""
        epoch = self.trainer.current_epoch
        length = limits_of(self.trainer).updates_in(epoch)
        if self.reloads and length is not None and not (known and epoch in self._lengths):
            self._lengths[epoch] = length

    def _note_epoch(self, done: int = 0) -> None:
        """Note the epoch that goes on now, of which the loop has counted so many updates."""
        trainer = self.trainer
        done += self._repeats.get(trainer.current_epoch, 0)
        self._epoch_began = (trainer.current_epoch, trainer.global_step - done)

    def _repeated(self) -> dict[int, int]:
        # A Trainer that fits again begins an epoch that was broken off from its first batch.
        epoch, counted = self._epoch_began
        done = self.trainer.global_step - counted
        # An epoch that has been completed, and whose end failed, is not begun again.
        return {epoch: done} if self._started and done and epoch == self.trainer.current_epoch else {}

    def _limits(self) -> Limits:
        limits = limits_of(self.trainer)._replace(lengths=self._lengths, start=self._start)
        repeated = {epoch: done + (limits.updates_in(epoch) or 0) for epoch, done in self._repeats.items()}
        return limits._replace(lengths={**self._lengths, **repeated})

    def set_accumulation(self) -> None:
        """Give the present epoch the accumulation that belongs to it.

        When Lightning resumes within an epoch it calls no ``on_train_epoch_start``, so its
        GradientAccumulationScheduler would not act before the next epoch, and the run would do more updates than one
        that was not interrupted.
        """
        trainer = self.trainer  # without such a callback this sets what is there already
        trainer.accumulate_grad_batches = accumulation_of(trainer)(trainer.current_epoch)

    # Metrics

    def metric(self, name: str, value: Any) -> float | None:
        """Return a metric as one number, the same on all processes: where they differ, the mean.

        All processes have to ask, also those that have logged none.

        Args:
            name: what it is called.
            value: what this process has logged, a tensor; ``None`` for nothing.

        Returns:
            The number; ``None`` where no process has logged one.
        """
        trainer = self.trainer
        if trainer.world_size == 1:
            return None if value is None else float(value)
        # Without `sync_dist=True` each process has the metric of its own share of the data. If one of them cut its LR
        # and another did not, their weights would part.
        mine = torch.tensor([0.0, 0.0] if value is None else [1.0, float(value)], device=trainer.strategy.root_device)
        everywhere: Any = trainer.strategy.all_gather(mine)
        values = everywhere[everywhere[:, 0] == 1, 1]
        if not len(values):
            return None
        # NaN is not equal to itself, so all NaN is asked for by name.
        if not bool((values == values[0]).all() | values.isnan().all()):
            warn(
                trainer,
                f"{name} differs between processes: the plateau takes their mean. Log it with "
                f"self.log({name!r}, ..., sync_dist=True)",
            )
        return float(values.mean())


# The fit of each Trainer that is alive; in a process that Lightning has spawned it is empty, and filled anew.
_FITS: weakref.WeakKeyDictionary[Trainer, Fit] = weakref.WeakKeyDictionary()


def goes_on_from(trainer: Trainer) -> str:
    """Tell what a fit goes on from: ``"checkpoint"``, ``"earlier fit"`` of the same Trainer, or ``"nothing"``.

    Not to be asked in ``setup``, where Lightning's ``ckpt_path`` is still that of the run before, such as a test.
    """
    if trainer.ckpt_path is not None:
        return "checkpoint"
    # The index of the last batch so far, over all epochs: -1 in a Trainer that has not trained yet.
    return "earlier fit" if trainer.fit_loop.total_batch_idx >= 0 else "nothing"


def optimizer_names(optimizers: Sequence[Any]) -> list[str]:
    """Return a name for each optimizer: its class, numbered where several are of one class (``Adam``, ``Adam-1``).

    Files bear these names, so each is a part of a path, and differs from the others in more than capitals.
    """
    names: dict[str, str] = {}
    numbers: dict[str, int] = {}  # the last one of each class
    for optimizer in optimizers:
        kind = name = _as_file_name(type(optimizer).__name__)
        while name.casefold() in names:
            numbers[kind] = numbers.get(kind, 0) + 1
            name = f"{kind}-{numbers[kind]}"
        names[name.casefold()] = name
    return list(names.values())


def _as_file_name(name: str) -> str:
    """A name of which nothing leads out of a folder, cannot be seen, or is too long for a file system."""
    plain = re.sub(r"^\.|[^\w.-]", "_", name).encode()[:_LONGEST_NAME].decode(errors="ignore")
    return plain or "optimizer"


def optimizer_key(given: Any, names: Sequence[str], what: str) -> str:
    """Return the name of the optimizer that somebody means by its index or name.

    Raises:
        ValueError: there is no such optimizer; the message lists them, and names the argument ``what``.
    """
    # An index is of the order in which `configure_optimizers` returned them.
    if isinstance(given, str) and given in names:
        return given
    if checks.is_whole(given, least=0) and given < len(names):
        return names[int(given)]
    raise ValueError(f"{what} names the optimizer {given!r}, and the module has {_listed(names)}")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"{index} or {name!r}" for index, name in enumerate(names))


def spread(given: Any, names: Sequence[str], what: str) -> dict[str, Any]:
    """Spread one value over all optimizers, or a mapping by index or name over those that it names."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return dict.fromkeys(names, given)
    return {optimizer_key(key, names, what): value for key, value in given.items()}


def refuse_foreign(optimizer: Any, trainer: str) -> None:
    """Refuse an optimizer whose steps torch's hooks do not see.

    Raises:
        TypeError: it is not torch's; says who, ``trainer``, would train with it.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{trainer} trains with a {type(optimizer).__name__}, which is not a torch.optim.Optimizer: its updates "
            "cannot be counted, so its LR cannot be scheduled, recorded or swept here. Return one of torch's from "
            "configure_optimizers, and choose a strategy that keeps it, such as ddp or fsdp, or its own schedules"
        )


def _optimizers_of(trainer: Trainer) -> list[Optimizer]:
    """Return the Trainer's optimizers: none where ``configure_optimizers`` returns none.

    Raises:
        TypeError: one is not torch's.
    """
    for optimizer in trainer.optimizers:
        refuse_foreign(optimizer, type(trainer.strategy).__name__)
    # Lightning puts a stand-in without groups in the place of none; torch lets nobody build one without.
    return [optimizer for optimizer in trainer.optimizers if optimizer.param_groups]


def _looking_for_rebuilt(fit: weakref.ref[Fit]) -> Callable[..., None]:
    """A hook on the steps of all optimizers of the process, which must not keep a fit alive that is over."""

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if not is_watched(optimizer):
            under_way = fit()
            if under_way is not None:
                under_way.look_for_rebuilt()

    return before


def _clock_for(optimizer: Optimizer) -> Clock:
    """A new clock; or the one that is there, where the module has bound a schedule to its optimizer."""
    there = Clock.on(optimizer)
    return there if there is not None and there.bound else Clock(optimizer)


# What a Trainer says about its run


def limits_of(trainer: Trainer) -> Limits:
    # Lightning says "no limit" in three ways: an infinite number of batches, -1 epochs (or None), -1 steps. The batches
    # are those of this process, after `limit_train_batches` and its distributed sampler.
    batches, epochs, max_steps = trainer.num_training_batches, trainer.max_epochs, trainer.max_steps
    return Limits(
        batches=None if math.isinf(batches) else int(batches),
        epochs=None if epochs is None or epochs < 0 else epochs,
        max_steps=None if max_steps < 0 else max_steps,
        accumulate=accumulation_of(trainer),
        devices=trainer.world_size,
        batch_size=batch_size_of(trainer.train_dataloader),
        automatic=trainer.lightning_module.automatic_optimization,
        reload_every=trainer.reload_dataloaders_every_n_epochs,  # type: ignore[attr-defined]
        changes=changes_of_accumulation(callbacks_of(trainer)),
        tokens_per_sample=tokens_per_sample_of(getattr(trainer, "datamodule", None), trainer.lightning_module),
    )


def horizon_of(trainer: Trainer, limits: Limits, total_steps: int | str | None = None, **given: Any) -> Horizon:
    """Return the horizon that follows from the limits of a Trainer; see ``Fit.horizon``."""
    horizon = limits._replace(automatic=is_automatic(trainer)).horizon(total_steps, **given)
    if total_steps is None and _accumulates_by_itself(trainer):
        own = f"{type(trainer.strategy).__name__} accumulates gradients by its own rule"
        return replace(horizon, source=f"{own}, so updates cannot be counted from the loader")
    return horizon


def is_automatic(trainer: Trainer) -> bool:
    """Whether it is the Trainer that decides when an optimizer steps, and not the module or the strategy."""
    return trainer.lightning_module.automatic_optimization and not _accumulates_by_itself(trainer)


def _accumulates_by_itself(trainer: Trainer) -> bool:
    automatic = trainer.lightning_module.automatic_optimization
    return automatic and bool(trainer.strategy.handles_gradient_accumulation)


def accumulation_of(trainer: Trainer) -> Callable[[int], int]:
    """Return epoch -> micro-batches in one update."""
    return accumulation_by(callbacks_of(trainer), trainer.accumulate_grad_batches)


def accumulation_by(callbacks: Iterable[Callback], every: int) -> Callable[[int], int]:
    """Return epoch -> micro-batches in one update, where a Trainer has these callbacks and else takes ``every``."""
    # The callback sets `trainer.accumulate_grad_batches` when an epoch starts, so the Trainer's own number is that of
    # the present epoch only.
    callback = _accumulating(callbacks)
    return (lambda epoch: every) if callback is None else callback.get_accumulate_grad_batches


def changes_of_accumulation(callbacks: Iterable[Callback]) -> Iterable[int] | None:
    """Return the epochs at which the accumulation may change; ``None`` where only asking each epoch can tell."""
    callback = _accumulating(callbacks)
    if callback is None:
        return ()
    return callback.epochs if accumulates_by_list(callback) else None


def _accumulating(callbacks: Iterable[Callback]) -> GradientAccumulationScheduler | None:
    # Lightning refuses a number above 1 of the Trainer's own beside the callback.
    for callback in callbacks:
        if isinstance(callback, GradientAccumulationScheduler) and callback.going_to_accumulate_grad_batches():
            return callback
    return None


def batch_size_of(loader: Any) -> int | None:
    """Return the samples in a batch of a loader; ``None`` where it does not say."""
    # A DataLoader that was given a batch sampler has no batch size of its own; a dict of loaders has neither.
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    return size if isinstance(size, int) else None


def tokens_per_sample_of(data: Any, module: Any) -> float | None:
    """Return the tokens in a sample, as the data module says, or else the LightningModule; ``None`` where neither does.

    Raises:
        ValueError: what it says is no positive number.
    """
    for one in (data, module):
        said = read_tokens(f"{type(one).__name__}.tokens_per_sample", getattr(one, "tokens_per_sample", None))
        if said is not None:
            return said
    return None


def advising_for(trainer: Trainer, how: str = "") -> AbstractContextManager[None]:
    """Put it into words that fit a Trainer when a fact about the run is missing.

    Args:
        trainer: the Trainer, whose training data are set up.
        how: as in ``advising``.
    """
    sized = batch_size_of(trainer.train_dataloader) is not None
    return advising(is_automatic(trainer), how, reloads(trainer), sized)


@contextmanager
def advising(automatic: bool, how: str = "", reloads: bool = False, sized: bool = False) -> Iterator[None]:
    """Put it into words that fit a Trainer when a fact about the run is missing.

    Args:
        automatic: whether it is the Trainer that decides when an optimizer steps.
        how: how a fact can be given to the callback that asks, where it can, with ``{}`` in the place of its name.
        reloads: whether the Trainer makes its loader anew between epochs.
        sized: whether the loader says how large a batch is.
    """
    try:
        yield
    except HorizonError as error:
        raise error.advised(_advice(automatic, error.fact, how, reloads, sized)) from None


def _advice(automatic: bool, fact: str, how: str, reloads: bool, sized: bool) -> str:
    if fact == "max_time":
        return f"Give LearningRateScheduler(..., progress='time') and Trainer(max_time=...), or write {_IN_STEPS}"
    total = how.format("total_steps")
    if fact == "total_steps":
        given = f"give the total: {total}" if total else "write the length in steps, as in '500 steps'"
        # Without a total to give, a length is asked for, and not a schedule. Where epochs have no known length either,
        # schedules in epochs are no way out.
        units = "epochs or steps" if automatic else "steps"
        others = f". Schedules that need no total: {_NO_TOTAL_NEEDED.format(units)}" if total else ""
        if not automatic:  # there only the module knows when an optimizer steps, whatever the Trainer's limits are
            return f"{given[0].upper()}{given[1:]}{others}"
        limits = "Set Trainer(max_steps=...), or an integer limit_train_batches with max_epochs"
        if reloads:  # a limit on the batches of an epoch is no promise that there will be so many
            limits = "Set Trainer(max_steps=...) and leave out max_epochs"
        return f"{limits}, or {given}{others}"
    steps = f"Write {_IN_STEPS}"
    if not automatic:
        even = f"; or {total}, a multiple of Trainer(max_epochs=...)" if total and fact == "steps_per_epoch" else ""
        return f"{steps}: the Trainer does not decide when an optimizer steps{even}"
    if fact == "tokens_per_sample":
        argument = how and f"{how.format(fact)}, or "
        return f"{steps}, or say it: {argument}an attribute {fact} of the data module or the LightningModule"
    if fact == "samples_per_step" and sized:  # the loader has one, and the accumulation differs between epochs
        return f"{steps}, or in epochs ('2 epochs')"
    return f"{steps}, or give the loader a {'length' if fact == 'steps_per_epoch' else 'batch_size'}"
