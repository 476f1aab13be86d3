"""Trains a few updates while the LR sweeps upwards, on the Trainer's strategy and precision, and undoes all of it.

A small loop of its own: Lightning's is not entered, so none of its counters, callbacks, metrics and loggers moves, and
no limit of the run, such as ``max_epochs``, cuts the sweep short. What is kept and put back is ``training_state.py``'s,
what the losses say ``sweep/``'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lr_recipes.callbacks.fit import Fit, accumulation_of, optimizer_names
from lr_recipes.callbacks.lightning import (
    CombinedLoader,
    LightningModule,
    ParallelStrategy,
    Trainer,
    before_batch_transfer,
    callbacks_of,
    combined_loader,
    dummy_logger,
    is_param_in_hook_signature,
    twin_of_combined,
)
from lr_recipes.callbacks.training_state import TrainingState
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.as_built import peak_lrs
from lr_recipes.optimizer.clock import Clock, took_effect
from lr_recipes.optimizer.groups import write_number
from lr_recipes.sweep.result import DivergenceWatch, RangeTest, Sweep

# Batches (in accumulation: windows of them) without an update, in a row, that say that there will be none.
_PATIENCE = 100


class SweepError(ValueError):
    """The sweep cannot be made with this module, optimizer or data; says what to change."""


def run_sweep(
    trainer: Trainer,
    sweep: Sweep,
    watch: DivergenceWatch,
    optimizer: Optimizer,
    *,
    before_hooks: Iterable[str] = (),
    module_hooks: Collection[int] = (),
    progress: Callable[[float, float], None] = lambda lr, loss: None,
) -> RangeTest:
    """Sweep the LR of ``optimizer``; the Trainer must be in its training stage.

    Args:
        trainer: whose module, data, strategy and precision are used, and left as they were.
        sweep: the LRs; they are those of the group with the largest LR, the other groups keep their ratio to it.
        watch: says when the loss has diverged.
        optimizer: one of the Trainer's; the others go on at their own LR.
        before_hooks: the module's own hooks that Lightning has not yet called, such as ``on_train_start``.
        module_hooks: what ``step_hooks`` returned when only the module had registered any; all others rest.
        progress: called after each update with its LR and loss.

    Raises:
        SweepError: this module or these data cannot be swept.
    """
    loop = _SweepLoop(trainer, sweep, watch, optimizer, progress)
    # `_undone` is outermost: it takes the hooks of others off first, and puts everything back when ours are off again.
    with Fit.resting(trainer), _undone(trainer, module_hooks), loop.attached(), torch.enable_grad():
        try:
            for hook in before_hooks:  # within what is undone: Lightning calls them once more, for the run itself
                getattr(trainer.lightning_module, hook)()
            stop = loop.run()
        except KeyboardInterrupt:
            stop = "interrupted"
    return RangeTest(sweep, tuple(loop.losses), stop)


@contextmanager
def _undone(trainer: Trainer, module_hooks: Collection[int]) -> Iterator[None]:
    """Put everything back at the end, whatever the end was; callbacks and loggers see nothing in between."""
    # Everything is kept before anything is changed: `put_back` goes through it from the last to the first.
    module, state = trainer.lightning_module, TrainingState()
    callbacks, loggers, stopping = callbacks_of(trainer), trainer.loggers, trainer.should_stop
    state.keep_random_numbers()
    state.keep(module)
    for one in (*trainer.optimizers, *schedulers_of(trainer)):
        state.keep(one)
    state.keep(getattr(trainer.precision_plugin, "scaler", None))
    for loader in (*_combined(trainer).flattened, trainer.datamodule):  # type: ignore[attr-defined]
        state.keep_data(loader)
    try:
        trainer.callbacks = []  # type: ignore[attr-defined]
        # As many as there were, for a module may name one by its index; a dummy takes any call and does nothing.
        trainer.loggers = [dummy_logger(trainer) for _ in loggers]
        module.log = module.log_dict = _log_nothing  # type: ignore[method-assign]
        for optimizer in trainer.optimizers:
            _rest(optimizer, module_hooks)
        yield
    finally:
        trainer.callbacks, trainer.loggers, trainer.should_stop = callbacks, loggers, stopping  # type: ignore[attr-defined]
        state.put_back()


def _log_nothing(*args: Any, **kwargs: Any) -> None:
    """Take the place of ``self.log``, whose metrics would stay in the Trainer."""


def step_hooks(trainer: Trainer) -> frozenset[int]:
    """Return the keys of the step hooks on the Trainer's optimizers; no two hooks have the same key."""
    return frozenset(
        key for optimizer in trainer.optimizers for hooks in internals.step_hooks_of(optimizer) for key in hooks
    )


def _rest(optimizer: Optimizer, module_hooks: Collection[int]) -> None:
    """Take off an optimizer all step hooks but the module's own: others belong to callbacks, which notice nothing.

    A schedule that the module has bound rests too: the LR is the sweep's. They come back with the optimizer's state.
    """
    clock = Clock.on(optimizer)
    for hooks in internals.step_hooks_of(optimizer):
        for key in list(hooks):
            if key not in module_hooks or (clock is not None and clock.owns(key)):
                del hooks[key]


class _SweepLoop:
    """The loop itself: batches in, a loss for each update out.

    Attributes:
        losses: loss of each update: the mean over its batches and over all devices.
    """

    def __init__(
        self,
        trainer: Trainer,
        sweep: Sweep,
        watch: DivergenceWatch,
        optimizer: Optimizer,
        progress: Callable[[float, float], None],
    ) -> None:
        self.trainer, self.sweep, self.watch, self.optimizer, self.progress = trainer, sweep, watch, optimizer, progress
        self.module: LightningModule = trainer.lightning_module
        bases = peak_lrs(optimizer, schedulers_of(trainer))
        if not max(bases) > 0:
            raise SweepError(f"every group of {type(optimizer).__name__} has an LR of 0: give it one, such as lr=0.001")
        self.ratios = [base / max(bases) for base in bases]
        self.losses: list[float] = []
        self._batches_done = 0
        self._window: dict[int, Tensor] = {}  # batch -> loss, since the last step of an optimizer
        self._updates: list[Tensor | None] = []  # loss of updates that are done but not yet looked at
        # In manual optimization a module accumulates by itself, if at all.
        self._every = accumulation_of(trainer)(trainer.current_epoch) if self.module.automatic_optimization else 1
        step = self.module.training_step
        if is_param_in_hook_signature(step, "dataloader_iter", explicit=True):
            raise SweepError("training_step takes a dataloader_iter: a range test needs one that takes a batch")
        if trainer.strategy.handles_gradient_accumulation:
            raise SweepError(
                f"{type(trainer.strategy).__name__} steps its optimizer by itself, so its LR cannot be swept: make the "
                "range test with another strategy"
            )
        self._takes_index = is_param_in_hook_signature(step, "batch_idx", min_args=2)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Write the LR just before each step, where nobody can overwrite it, and see which steps were updates."""
        # The last pre hook: what the module's own hooks write comes before it. Post hooks on all optimizers, for the
        # loss of an update is what went backward since the last step of any of them.
        handles = [self.optimizer.register_step_pre_hook(self._before_step)]
        handles += [one.register_step_post_hook(self._after_step) for one in self.trainer.optimizers]
        manual_backward = self.module.manual_backward

        def backward(loss: Tensor, *args: Any, **kwargs: Any) -> None:
            self._window[len(self._window)] = loss.detach()
            manual_backward(loss, *args, **kwargs)

        if not self.module.automatic_optimization:
            self.module.manual_backward = backward  # type: ignore[method-assign]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def run(self) -> str:
        """Do the updates and return why they ended."""
        advance = self._automatic if self.module.automatic_optimization else self._manual
        idle = 0
        with closing(self._batches()) as batches:
            for index, batch in enumerate(batches):
                if batch is not None and self.module.on_train_batch_start(batch, index) != -1:
                    output = advance(batch, index)
                    self.module.on_train_batch_end(_as_lightning_passes(output), batch, index)
                idle = 0 if self._updates else idle + 1
                stop = self._look_at_updates()
                if idle == _PATIENCE * self._every:
                    stop = self._give_up(idle)
                if stop is not None:
                    return stop
        raise AssertionError("the batches have no end")

    def _look_at_updates(self) -> str | None:
        updates, self._updates = self._updates, []
        for loss in updates:
            if loss is None:
                raise SweepError(
                    f"{type(self.module).__name__}.training_step returned no loss, and did not call "
                    "self.manual_backward: return the loss, or a dict with it under 'loss'"
                )
            value = float(self.trainer.strategy.reduce(loss.float(), reduce_op="mean"))
            stop = self.watch.observe(value)
            if stop != "not finite":
                self.losses.append(value)
                self.progress(self.sweep.lr(len(self.losses) - 1), value)
            if stop is None and len(self.losses) == self.sweep.num_training_steps:
                stop = "max_lr"
            if stop is not None:
                return stop
        return None

    def _give_up(self, idle: int) -> str:
        if self.losses:  # it did work at lower LRs
            return "diverged"
        name = optimizer_names(self.trainer.optimizers)[self.trainer.optimizers.index(self.optimizer)]
        raise SweepError(
            f"{idle} batches and not one update of {name}: {type(self.module).__name__}.training_step must return the "
            "loss (a tensor, or a dict with it under 'loss'), and in manual optimization step the optimizer"
        )

    # One batch

    def _automatic(self, batch: Any, index: int) -> Any:
        """As Lightning does it: accumulate, and let the module's own ``optimizer_step`` step at the window's end."""
        strategy, module, output = self.trainer.strategy, self.module, None
        begins, ends = self._batches_done % self._every == 0, (self._batches_done + 1) % self._every == 0
        self._batches_done += 1

        def closure() -> Tensor | None:
            nonlocal output
            output = self._training_step(batch, index)
            loss = _loss_in(output)
            if begins:
                module.on_before_zero_grad(self.optimizer)
                module.optimizer_zero_grad(self.trainer.current_epoch, index, self.optimizer)
            if loss is None:
                return None
            self._window.setdefault(index, loss.detach())  # LBFGS asks several times
            strategy.backward(loss / self._every, self.optimizer)
            return loss.detach()

        if not ends:
            # Gradients of several processes are only exchanged at the window's last batch.
            with strategy.block_backward_sync() if isinstance(strategy, ParallelStrategy) else nullcontext():
                closure()
            return output
        # `module.optimizers()` is Lightning's wrapper, whose step goes through strategy and precision: scaler and
        # clipping.
        module.optimizer_step(self.trainer.current_epoch, index, module.optimizers(), closure)  # type: ignore[arg-type]
        self._window.clear()  # a scaler may have skipped the step, and then no post hook has cleared it
        return output

    def _manual(self, batch: Any, index: int) -> Any:
        """The module steps by itself; the loss of a step is what went backward before it, else what is returned."""
        output = self._training_step(batch, index)
        returned = output.get("loss") if isinstance(output, Mapping) else output
        if isinstance(returned, Tensor):
            self._updates = [returned.detach() if loss is None else loss for loss in self._updates]
        return output

    def _training_step(self, batch: Any, index: int) -> Any:
        return self.trainer.strategy.training_step(*((batch, index) if self._takes_index else (batch,)))

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        # Update n of the sweep, counted from 0, is the one after n that are done, whether looked at yet or not; a batch
        # of manual optimization may do several, and go past the last one.
        lr = self.sweep.lr(min(len(self.losses) + len(self._updates), self.sweep.num_training_steps - 1))
        for group, ratio in zip(optimizer.param_groups, self.ratios, strict=True):
            write_number(group, "lr", lr * ratio)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Note an update, if it is one: a batch without a loss and one that a gradient scaler skips are none."""
        losses = list(self._window.values())
        if optimizer is self.optimizer and took_effect(optimizer):
            self._updates.append(torch.stack([loss.mean() for loss in losses]).mean() if losses else None)
        self._window.clear()

    # Data

    def _batches(self) -> Generator[Any, None, None]:
        """Batches on the device, pass after pass, from iterators of their own: the fit's are not touched."""
        # Lightning has begun to read the fit's loader when it set up the data; another reader of it would take its
        # batches.
        trainer, combined = self.trainer, _combined(self.trainer)
        twin = twin_of_combined(combined, [_twin(loader) for loader in combined.flattened])
        limit = None if trainer.num_training_batches == float("inf") else int(trainer.num_training_batches)
        try:
            for number in itertools.count():
                _set_epoch(twin.flattened, trainer.current_epoch + number)  # a pass is an epoch: each in its own order
                empty = True
                for batch, _, _ in twin if limit is None else itertools.islice(twin, limit):
                    empty = False
                    # The same three steps, in the same order, as in Lightning's loop.
                    batch = trainer.precision_plugin.convert_input(batch)
                    batch = before_batch_transfer(self.module, batch)
                    yield trainer.strategy.batch_to_device(batch, dataloader_idx=0)
                if empty:
                    raise SweepError("the training data gave no batch: check the loader, and limit_train_batches")
        finally:
            twin.reset()  # ends the workers of the twins


def schedulers_of(trainer: Trainer) -> list[Any]:
    """Return the schedulers that the module itself returned."""
    return [config.scheduler for config in trainer.strategy.lr_scheduler_configs]


def _combined(trainer: Trainer) -> CombinedLoader:
    combined = combined_loader(trainer)
    if combined is None:
        raise SweepError("the Trainer has no training data yet: make the range test while it trains")
    return combined


def _twin(loader: Any) -> Any:
    """A loader of the same data in the same order that starts iterators, and workers, of its own."""
    if isinstance(loader, DataLoader):
        return internals.twin_of(loader)
    if iter(loader) is loader:  # an iterator: what the sweep reads of it, the fit would miss
        raise SweepError(
            f"the training data ({type(loader).__name__}) can be read only once, and a range test would use them up: "
            "give a DataLoader, or another object that starts anew when it is iterated"
        )
    return loader


def _set_epoch(loaders: Iterable[Any], epoch: int) -> None:
    """Tell samplers the epoch, which sets their order, as Lightning does before each of its epochs."""
    for loader in loaders:
        batch_sampler = getattr(loader, "batch_sampler", None)
        samplers: list[Any] = [getattr(owner, "sampler", None) for owner in (loader, batch_sampler)]
        for sampler in (*samplers, batch_sampler):
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(epoch)


def _loss_in(output: Any) -> Tensor | None:
    """The loss of a training step in automatic optimization, under Lightning's rules."""
    loss = output.get("loss") if isinstance(output, Mapping) else output
    if loss is None and not (isinstance(output, Mapping) and output):
        return None
    if not isinstance(loss, Tensor):
        found = f"a dict with {', '.join(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__
        raise SweepError(
            f"training_step returned {found}, which holds no loss: return a tensor, or a dict with one under 'loss'"
        )
    return loss


def _as_lightning_passes(output: Any) -> Any:
    """A training step's output in the form in which ``on_train_batch_end`` gets it."""
    if isinstance(output, Tensor):
        output = {"loss": output}
    return {name: one.detach() if name == "loss" else one for name, one in (output or {}).items()}
