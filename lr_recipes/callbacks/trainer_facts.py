"""What a Trainer that is about to train says about its run: the horizon, and a name for each optimizer."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch.optim import Optimizer

from lr_recipes.callbacks.telling import warn
from lr_recipes.horizon import Horizon, HorizonError, count_updates

# What Lightning takes, with a warning that is easily missed, when neither max_epochs nor max_steps is given.
_LIGHTNING_DEFAULT_EPOCHS = 1000


def horizon_of(trainer: Trainer, total_steps: int | None = None) -> Horizon:
    """Return the horizon of the fit that is about to train; from ``on_train_start`` on its data are set up.

    Args:
        trainer: whose limits, loaders and gradient accumulation are read.
        total_steps: the total, where it is given and not taken from the Trainer.

    Raises:
        HorizonError: the number of updates cannot be told, and guessing would train with a wrong LR.
    """
    module = trainer.lightning_module
    if not module.automatic_optimization:
        return _manual_horizon(trainer, total_steps)
    if trainer.strategy.handles_gradient_accumulation and total_steps is None:
        raise HorizonError(
            f"{type(trainer.strategy).__name__} accumulates gradients by its own rule, so the number of updates cannot "
            "be counted from the loader: give it, LearningRateScheduler(..., total_steps=...)"
        )
    batches, epochs, max_steps = _limits(trainer)
    accumulate = accumulation_of(trainer)
    counted, per_epoch = count_updates(batches=batches, epochs=epochs, max_steps=max_steps, accumulate=accumulate)
    source = _source(batches, epochs, max_steps, counted, per_epoch)
    if total_steps is None and epochs == _LIGHTNING_DEFAULT_EPOCHS and max_steps is None:
        counted, source = None, _default_epochs(counted)
    return Horizon(
        total_steps=total_steps or counted or None,
        steps_per_epoch=per_epoch or None,
        samples_per_step=_samples_per_step(trainer, accumulate, range(len(per_epoch) or 1)),
        source=source if total_steps is None else f"total_steps={total_steps} was given; the Trainer: {source}",
    )


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


def accumulation_of(trainer: Trainer) -> Callable[[int], int]:
    """Return epoch -> micro-batches in one update."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, GradientAccumulationScheduler) and callback.going_to_accumulate_grad_batches():
            return callback.get_accumulate_grad_batches
    every = trainer.accumulate_grad_batches
    return lambda epoch: every


def forgets(trainer: Trainer, stage: str) -> bool:
    """Tell, in ``setup``, whether the fit to come needs no memory of an earlier one: it is new, or has a checkpoint."""
    return stage == "fit" and (trainer.fit_loop.total_batch_idx < 0 or trainer.ckpt_path is not None)


def set_accumulation(trainer: Trainer) -> None:
    """Give the present epoch the accumulation that belongs to it.

    When Lightning resumes within an epoch it calls no ``on_train_epoch_start``, so its GradientAccumulationScheduler
    would not act before the next epoch, and the run would do more updates than one that was not interrupted.
    """
    trainer.accumulate_grad_batches = accumulation_of(trainer)(trainer.current_epoch)


def _limits(trainer: Trainer) -> tuple[int | None, int | None, int | None]:
    """Micro-batches in an epoch, epochs, and limit on updates; ``None`` where there is no such limit."""
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
        return f"{epochs:,} epochs of {per_epoch[0]:,} updates"
    return f"{epochs:,} epochs of {min(per_epoch):,} to {max(per_epoch):,} updates"


def _samples_per_step(trainer: Trainer, accumulate: Callable[[int], int], epochs: Iterable[int]) -> int | None:
    """Samples in one full update, over all devices; ``None`` where the loader does not say or epochs differ."""
    loader = trainer.train_dataloader
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    windows = {accumulate(epoch) for epoch in epochs}
    if not isinstance(size, int) or len(windows) != 1:
        return None
    return size * windows.pop() * trainer.world_size


def check_optimizers(trainer: Trainer) -> None:
    """Refuse optimizers whose steps torch's hooks do not see.

    Raises:
        TypeError: an optimizer is not torch's, such as a strategy's own.
    """
    for optimizer in trainer.optimizers:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(trainer.strategy).__name__} trains with a {type(optimizer).__name__}, which is no "
                "torch.optim.Optimizer: its updates cannot be counted, so its LR cannot be scheduled or recorded here. "
                "Choose a strategy that keeps torch's optimizer, such as ddp or fsdp, or the strategy's own schedules"
            )


def optimizer_names(optimizers: Sequence[Any]) -> list[str]:
    """Return a name for each optimizer: its class, numbered where several are of one class (``Adam``, ``Adam-1``)."""
    classes = [type(optimizer).__name__ for optimizer in optimizers]
    seen = [classes[:index].count(name) for index, name in enumerate(classes)]
    return [f"{name}-{count}" if count else name for name, count in zip(classes, seen, strict=True)]


def monitored(trainer: Trainer, metric: str) -> float:
    """Return the latest value of a logged metric, the same on all processes: where they differ, their mean.

    Raises:
        ValueError: no such metric was logged; the message lists those that were.
    """
    metrics = trainer.callback_metrics
    if metric not in metrics:
        near = difflib.get_close_matches(metric, metrics, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        there = ", ".join(sorted(metrics)) or "none: log one with self.log(...) in validation_step"
        raise ValueError(f"monitor={metric!r}{hint}: no such metric was logged; there are {there}")
    value = metrics[metric]
    if trainer.world_size == 1:
        return float(value)
    everywhere: Any = trainer.strategy.all_gather(value.float().to(trainer.strategy.root_device))
    if not bool((everywhere == everywhere[0]).all() | everywhere.isnan().all()):
        warn(
            trainer,
            f"{metric} differs between processes: the plateau takes their mean. Log it with "
            f"self.log({metric!r}, ..., sync_dist=True)",
        )
    return float(everywhere.mean())
