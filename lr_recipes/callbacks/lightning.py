"""The one door to Lightning: what is used of it, and every private part of it: a new version is checked here.

No other module of the package imports Lightning, and nothing is decided here.

Lightning is installed under two names, ``lightning`` and ``pytorch_lightning``, and the classes of the one are not
those of the other. What the user has imported is used, and nothing else is imported. So the classes here are for
``isinstance`` and for annotations, and mean both names; ``Callback`` is the one to derive from; and what has to be made
is of the library of the Trainer or the module that it is for.
"""

from __future__ import annotations

import importlib
import sys
from abc import ABCMeta
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.callbacks import (
        GradientAccumulationScheduler,
        RichProgressBar,
        StochasticWeightAveraging,
        TQDMProgressBar,
    )
    from lightning.pytorch.loggers.logger import DummyLogger
    from lightning.pytorch.strategies import ParallelStrategy
    from lightning.pytorch.utilities import CombinedLoader

__all__ = [
    "Callback",
    "CombinedLoader",
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
    "dummy_logger",
    "is_param_in_hook_signature",
    "rank_zero_info",
    "rank_zero_warn",
    "trainer_for",
    "twin_of_combined",
]

_LIBRARIES = {
    "lightning": "lightning.pytorch",
    "pytorch_lightning": "pytorch_lightning",
}  # package -> the library in it


def _imported() -> list[str]:
    """The libraries that are imported; where none is, the first that is installed."""
    there = [library for library in _LIBRARIES.values() if library in sys.modules]
    return there or [next((_LIBRARIES[package] for package in _LIBRARIES if find_spec(package)), "lightning.pytorch")]


def _library_of(one: Any) -> str:
    """The library that an object is of, or a class of the user's own that is derived from one of its classes."""
    packages = (kind.__module__.partition(".")[0] for kind in type(one).__mro__)
    return next((_LIBRARIES[package] for package in packages if package in _LIBRARIES), _imported()[0])


def _part(library: str, name: str) -> Any:
    module, _, attribute = f"{library}.{name}".rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _under_both_names(name: str) -> Any:
    """A class for ``isinstance``: an object is one of it that is one of Lightning's class of this name, or derived."""

    def is_derived(cls: type, kind: type) -> bool:
        return any(one.__name__ == name and one.__module__.partition(".")[0] in _LIBRARIES for one in kind.__mro__)

    return ABCMeta(name, (), {"__subclasshook__": classmethod(is_derived)})


if not TYPE_CHECKING:
    CombinedLoader, LightningDataModule, LightningModule, ParallelStrategy, Trainer = map(
        _under_both_names, ("CombinedLoader", "LightningDataModule", "LightningModule", "ParallelStrategy", "Trainer")
    )
    GradientAccumulationScheduler, RichProgressBar, StochasticWeightAveraging, TQDMProgressBar = map(
        _under_both_names,
        ("GradientAccumulationScheduler", "RichProgressBar", "StochasticWeightAveraging", "TQDMProgressBar"),
    )

    class Callback(*(_part(library, "Callback") for library in _imported())):
        """A callback for Trainers of both libraries: derived from the ``Callback`` of each that is imported."""

        def __new__(cls, *args: Any, **kwargs: Any) -> Callback:
            # The other library may have been imported since. Its Trainer calls the hooks of any object in its list, but
            # takes a callback without a list for one only if it is derived from its own class.
            known = Callback.__bases__
            late = [kind for kind in (_part(one, "Callback") for one in _imported()) if kind not in known]
            if late:
                Callback.__bases__ = (*known, *late)
            return super().__new__(cls)


# Plain functions, the same in both.
is_param_in_hook_signature = _part(_imported()[0], "utilities.signature_utils.is_param_in_hook_signature")
rank_zero_info = _part(_imported()[0], "utilities.rank_zero_info")
rank_zero_warn = _part(_imported()[0], "utilities.rank_zero_warn")


def trainer_for(module: Any, **options: Any) -> Trainer:
    """Return a new Trainer of the library that a module is of."""
    trainer: Trainer = _part(_library_of(module), "Trainer")(**options)
    return trainer


def dummy_logger(trainer: Trainer) -> DummyLogger:
    """Return a logger for a Trainer that takes any call and does nothing."""
    logger: DummyLogger = _part(_library_of(trainer), "loggers.logger.DummyLogger")()
    return logger


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Return the Trainer's callbacks, in the order in which their hooks are called."""
    # Set when the Trainer is built, and not declared there. Callbacks that write checkpoints have been moved to the
    # end.
    return trainer.callbacks  # type: ignore[attr-defined, no-any-return]


def batches_that_stepped(trainer: Trainer) -> int:
    """Return the x of Lightning's own metrics: batches so far in which an optimizer stepped, less this one."""
    # Moved on after `on_train_batch_end`. Not `global_step`, which counts the steps of all optimizers.
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def combined_loader(trainer: Trainer) -> CombinedLoader | None:
    """Return what the Trainer reads its training batches from; ``None`` before its data are set up."""
    return trainer.fit_loop._combined_loader


def twin_of_combined(combined: CombinedLoader, loaders: Sequence[Any]) -> CombinedLoader:
    """Return one that combines ``loaders`` as ``combined`` does its own."""
    # The structure (a loader, a list, a dict) is read from the iterables; then each is replaced, in the same order.
    twin = type(combined)(combined.iterables, combined._mode)
    twin.flattened = list(loaders)
    twin.limits = combined.limits  # of what is combined; the length of a pass is the Trainer's
    return twin


def before_batch_transfer(module: LightningModule, batch: Any) -> Any:
    """Do what Lightning does to a batch before it goes to the device."""
    # It calls the module's or the data module's hook of that name; the one after the transfer is in `batch_to_device`.
    return module._on_before_batch_transfer(batch, dataloader_idx=0)
