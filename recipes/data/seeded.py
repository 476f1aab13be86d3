"""What the data modules share: argument checks, seeded generators, tickets and loaders.

Reproducibility rests on one idea. Every training sample of a run has a **ticket**: ``epoch * size + index``.
The sampler hands tickets out; whatever is random about a batch (crops, distortions, window positions) comes
from a generator seeded with the run's seed and the batch's first ticket. So a batch depends neither on the
number of workers nor on what was drawn before it, never repeats in a later epoch, differs between devices,
and comes back the same after a resume.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

Batch = TypeVar("Batch")


def at_least(limit: int, **values: int) -> None:
    """Refuse numbers that are not whole or lie below ``limit``.

    Raises:
        ValueError: with the name, the value and the limit.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < limit:
            raise ValueError(f"{name}={value!r}: must be a whole number; set {name}={limit} or more")


def seeded(*key: int | str, device: torch.device | str = "cpu") -> torch.Generator:
    """Make a generator whose stream depends on the ``key`` (seed, purpose, number) and on nothing else."""
    # a hash and not a sum, in which (1, 2) and (2, 1) would be the same seed; 63 bits of it, which every device takes
    digest = hashlib.sha256(repr(key).encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def hash_of(*parts: Tensor) -> str:
    """Return the SHA-256 of the tensors' bytes, one after another."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


class Batches(Dataset[Any]):
    """A data set that gathers a whole batch at once, so that no Python code runs per sample."""

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitems__(self, indices: list[int]) -> Any:
        raise NotImplementedError

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])


class InMemory(Batches):
    """Images and labels as two tensors; a batch is ``(images, labels)``."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Any:
        places = torch.tensor(indices) % len(self)  # a ticket is an index plus whole epochs
        return self.images[places], self.labels[places]


class Ticketed(NamedTuple):
    """What identifies a batch that is still to be made: its tickets, and the first of them on the host."""

    tickets: Tensor
    first: int  # a plain number survives the transfer as it is, so that seeding needs no device synchronisation


class Tickets(Batches):
    """A data set of tickets alone."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitems__(self, indices: list[int]) -> Ticketed:
        return Ticketed(torch.tensor(indices), indices[0])


class TicketSampler(DistributedSampler[int]):
    """Hands out the tickets of an epoch; the first ticket of epoch ``e`` is ``e * size``.

    It is a ``DistributedSampler`` for two reasons: Lightning calls its ``set_epoch`` before every epoch, after a resume
    too; and with several devices it puts no sampler of its own around this one, which would hide the epoch from it.

    Args:
        size: samples in an epoch.
        seed: the run's seed; fixes the order of every epoch.
        shuffle: order an epoch at random, a new order in each.
        devices: number of processes that share an epoch.
        rank: which of them this one is.
    """

    def __init__(self, size: int, *, seed: int, shuffle: bool, devices: int = 1, rank: int = 0) -> None:
        places: Any = range(size)  # all that the base class wants of a data set is its length
        super().__init__(places, num_replicas=devices, rank=rank, shuffle=shuffle, seed=seed)
        self.size = size

    def __iter__(self) -> Iterator[int]:
        order = self._order()
        # rank r gets places r, r + devices, ...; the base class has rounded `total_size` up to a multiple of the
        # devices, and places past the end wrap: no rank runs out of batches while the others wait for it
        places = torch.arange(self.rank, self.total_size, self.num_replicas)
        return iter((order[places % self.size] + self.epoch * self.size).tolist())

    def _order(self) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=seeded(self.seed, "order", self.epoch))


class SeededData(LightningDataModule):
    """Base of the data modules: checked arguments, and loaders that are the same under a seed.

    A data module sets ``train``, ``val`` and ``test`` in `setup`, which Lightning calls in every process before it asks
    for a loader; the three loaders are made here.

    Args:
        batch_size: samples in a batch on each device.
        seed: fixes everything random about training; validation and test sets do not depend on it.
        num_workers: loader processes; 0 is right here, for a batch is one gather from memory.
        train_size: samples in an epoch.
        shuffle: whether the training order is random.
    """

    train: Batches
    val: Batches
    test: Batches

    def __init__(self, *, batch_size: int, seed: int, num_workers: int, train_size: int, shuffle: bool = True) -> None:
        super().__init__()
        at_least(1, batch_size=batch_size, train_size=train_size)
        at_least(0, seed=seed, num_workers=num_workers)
        if batch_size > train_size:
            raise ValueError(
                f"batch_size={batch_size}: larger than the {train_size} training samples of an epoch, "
                f"so that no batch would be full; set batch_size={train_size} or less"
            )
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self.train_size, self.shuffle = train_size, shuffle

    @property
    def data_hash(self) -> str:
        """SHA-256 of what the data module reads or draws from, whatever it makes of it; versions may change it."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        """Load training batches, all of them full: a short last one would give its samples more weight."""
        trainer = self.trainer  # None in a notebook that asks for the loader itself
        devices, rank = (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)
        sampler = TicketSampler(self.train_size, seed=self.seed, shuffle=self.shuffle, devices=devices, rank=rank)
        return self._loader(self.train, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load validation batches: every sample once, in order."""
        return self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Load test batches: every sample once, in order."""
        return self._loader(self.test)

    def _loader(self, dataset: Batches, **options: Any) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            collate_fn=_as_is,  # a Batches data set returns whole batches
            pin_memory=torch.cuda.is_available(),  # copies to a GPU can then overlap with computation
            # without a generator of its own, the loader draws from the global one every epoch, which would change
            # whatever is drawn after it, such as dropout
            generator=seeded(self.seed, "workers"),
            **options,
        )


def _as_is(batch: Batch) -> Batch:
    return batch
