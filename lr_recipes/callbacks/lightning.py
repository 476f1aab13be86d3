"""The one door to Lightning: what is used of it, and every private part of it: a new version is checked here.

No other module of the package imports Lightning, and nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    RichProgressBar,
    StochasticWeightAveraging,
    TQDMProgressBar,
)
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.utilities import CombinedLoader, rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

__all__ = [
    "Callback",
    "CombinedLoader",
    "DummyLogger",
    "GradientAccumulationScheduler",
    "LightningDataModule",
    "LightningModule",
    "ParallelStrategy",
    "RichProgressBar",
    "StochasticWeightAveraging",
    "TQDMProgressBar",
    "Trainer",
    "batches_that_stepped",
    "before_batch_transfer",
    "callbacks_of",
    "combined_loader",
    "is_param_in_hook_signature",
    "rank_zero_info",
    "rank_zero_warn",
    "steps_of_this_epoch",
    "twin_of_combined",
]


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the Trainer's callbacks, in the order in which their hooks are called."""
    # Set when the Trainer is built, and not declared there. Callbacks that write checkpoints have been moved to the
    # end.
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]


def batches_that_stepped(trainer: Trainer) -> int:
    """Return the x of Lightning's own metrics: batches so far in which an optimizer stepped, less this one."""
    # Moved on after `on_train_batch_end`. Not `global_step`, which counts the steps of all optimizers.
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def steps_of_this_epoch(trainer: Trainer) -> int:
    """Return the steps of optimizers that Lightning had counted in an epoch that goes on from a checkpoint.

    To be asked in ``on_train_start``; 0 where the fit begins with an epoch's first batch.
    """
    loop, epoch = trainer.fit_loop, trainer.fit_loop.epoch_loop
    # Of the checkpoint of an epoch's last batch Lightning has taken the epoch for completed by now.
    completed = epoch.restarted_on_train_batch_end and epoch.batch_progress.is_last_batch
    if not loop.restarted_mid_epoch or completed:
        return 0
    return epoch.automatic_optimization.optim_progress.optimizer.step.current.completed


def combined_loader(trainer: Trainer) -> CombinedLoader | None:
    """Return what the Trainer reads its training batches from; ``None`` before its data are set up."""
    return trainer.fit_loop._combined_loader


def twin_of_combined(combined: CombinedLoader, loaders: Sequence[Any]) -> CombinedLoader:
    """Return one that combines ``loaders`` as ``combined`` does its own."""
    # The structure (a loader, a list, a dict) is read from the iterables; then each is replaced, in the same order.
    twin = CombinedLoader(combined.iterables, combined._mode)
    twin.flattened = list(loaders)
    twin.limits = combined.limits  # of what is combined; the length of a pass is the Trainer's
    return twin


def before_batch_transfer(module: LightningModule, batch: Any) -> Any:
    """Do what Lightning does to a batch before it goes to the device."""
    # It calls the module's or the data module's hook of that name; the one after the transfer is in `batch_to_device`.
    return module._on_before_batch_transfer(batch, dataloader_idx=0)
