"""What the settings say about the length of a run: read from the config and the data, without a Trainer.

What Lightning makes of a Trainer's arguments is in `lr_recipes.plan.loop`; here is what it makes of a loader.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.utilities import CombinedLoader
from omegaconf import DictConfig
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler
from torch.utils.data.distributed import DistributedSampler

from lr_recipes.callbacks.fit import accumulation_by, batch_size_of, changes_of_accumulation
from lr_recipes.callbacks.in_time import ending, horizon_by
from lr_recipes.checks import brief, plain
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.loop import Limits, batches_on_each, ends_of, limit_of, limited
from recipes.app.batch_scaling import devices_of
from recipes.data.seeded import SeededData, Tickets


def limits_of_run(
    trainer: DictConfig,
    data: LightningDataModule,
    callbacks: Sequence[Callback],
    *,
    automatic: bool = True,
    tokens_per_sample: float | None = None,
) -> Limits:
    """Return what the training loop will go by.

    Args:
        trainer: the config of the Trainer.
        data: the data; those of a `SeededData` are not loaded.
        callbacks: all callbacks of the run; some change what counts.
        automatic: whether the module leaves it to the Trainer when an optimizer steps.
        tokens_per_sample: tokens in a sample, where that is known.

    Raises:
        ValueError: a setting is out of range, or no update would be done.
    """
    fast_dev_run, timed = trainer.get("fast_dev_run", False), trainer.get("max_time") is not None
    epochs, max_steps = ends_of(
        trainer.get("max_epochs"),
        trainer.get("max_steps", -1),
        fast_dev_run,
        timed or any(isinstance(one, Timer) for one in callbacks),
    )
    devices = _processes(trainer)
    loader = _training_loader(data, devices)
    limits = Limits(
        batches=_batches(loader, trainer, devices),
        epochs=epochs,
        max_steps=max_steps,
        accumulate=accumulation_by(callbacks, trainer.get("accumulate_grad_batches", 1)),
        devices=devices,
        batch_size=batch_size_of(loader.iterables if isinstance(loader, CombinedLoader) else loader),
        automatic=automatic,
        changes=changes_of_accumulation(callbacks),
        tokens_per_sample=tokens_per_sample,
    )
    _refuse_none(limits, trainer)
    return limits


def time_of_run(trainer: DictConfig, callbacks: Sequence[Callback]) -> Horizon:
    """Return the horizon of a run whose schedule follows the clock.

    Raises:
        ValueError: no time ends the run.
    """
    timers = [one for one in callbacks if isinstance(one, Timer)]
    if trainer.get("max_time") is not None:
        timers.append(Timer(plain(trainer.max_time)))
    return horizon_by(ending(one for one in timers if one.time_remaining() is not None))


def _processes(trainer: DictConfig) -> int:
    devices, nodes = devices_of(trainer), trainer.get("num_nodes", 1)
    if devices * nodes < 1:
        raise ValueError(
            f"trainer.devices={brief(trainer.devices)}: training needs a device; set trainer.devices=1 or more"
        )
    count: int = devices * nodes
    return count


def _refuse_none(limits: Limits, trainer: DictConfig) -> None:
    if limits.batches == 0 and trainer.get("limit_train_batches") != 0:
        raise ValueError(
            f"the training data make no batch in an epoch (on {limits.devices} devices): training would end before "
            "its first update. Lower data.batch_size"
        )
    limit = {"limit_train_batches": limits.batches, "max_epochs": limits.epochs, "max_steps": limits.max_steps}
    for name, value in limit.items():
        if value == 0:
            raise ValueError(f"trainer.{name}=0: training would end before its first update")


# Loaders


def _training_loader(data: LightningDataModule, devices: int) -> Any:
    """The training loader; of several, Lightning's combination of them."""
    # all that a loader may want of a Trainer is how many share the data
    data.trainer = SimpleNamespace(world_size=devices, global_rank=0, local_rank=0)  # type: ignore[assignment]
    if isinstance(data, SeededData):
        data.num_workers = 0
        data.train = Tickets(data.train_size)  # as many samples, none of which has to be made
    else:
        data.prepare_data()
        data.setup("fit")
    loader: Any = data.train_dataloader()
    return CombinedLoader(loader, "max_size_cycle") if isinstance(loader, (list, tuple, dict)) else loader


def _batches(loader: Any, trainer: DictConfig, devices: int) -> int | None:
    """Batches that a process takes in an epoch."""
    several = loader.flattened if isinstance(loader, CombinedLoader) else [loader]
    overfit = trainer.get("overfit_batches", 0.0)
    limit = limit_of(trainer.get("limit_train_batches"), overfit, trainer.get("fast_dev_run", False))
    samplers = [one.sampler for one in several if hasattr(one, "sampler")]
    in_order = overfit > 0 and not all(isinstance(one, SequentialSampler) for one in samplers)
    shared = devices if trainer.get("use_distributed_sampler", True) else 1
    each = [limited(_length(one, shared, in_order), limit) for one in several]
    if not isinstance(loader, CombinedLoader):
        return each[0]
    loader.limits = [math.inf if one is None else one for one in each]
    return _size(iter(loader))  # how it combines lengths it says only once it is read


def _length(loader: Any, devices: int, in_order: bool) -> int | None:
    """Batches of a loader on each device; ``None`` where it has no length.

    Lightning makes a loader anew in two cases: where several devices share its data and it does not see to that itself,
    and where it is not in order and the same batches are to be overfitted.
    """
    if not isinstance(loader, DataLoader) or isinstance(loader.dataset, IterableDataset):
        return _size(loader)
    if not in_order and (devices == 1 or isinstance(loader.sampler, DistributedSampler)):
        return _size(loader)
    plain = in_order or isinstance(loader.sampler, (RandomSampler, SequentialSampler))
    samples = _size(loader.dataset if plain else loader.sampler)
    if samples is None or loader.batch_sampler is None:
        return samples if samples is None else batches_on_each(samples, devices, 1, drop_last=False)
    if loader.batch_size is None:  # the batches are the sampler's own
        raise ValueError(
            f"the training loader has a {type(loader.batch_sampler).__name__} of its own, of which Lightning makes "
            f"another one for {devices} devices, and only training can tell its length: look at trainer.devices=1"
        )
    return batches_on_each(samples, devices, loader.batch_size, loader.drop_last)


def _size(loader: Any) -> int | None:
    try:
        return len(loader)
    except (TypeError, NotImplementedError):
        return None
