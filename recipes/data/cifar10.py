"""CIFAR-10, kept as bytes until it is on the device; the only data that may need a download."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recipes.data.seeded import InMemory, SeededData, hash_of, seeded
from recipes.data.task import ImageTask


class StoredImages(NamedTuple):
    """A batch of stored images (batch, height, width, channels) uint8, to be prepared on the device."""

    images: Tensor
    labels: Tensor
    first: int | None  # first ticket of a training batch; None leaves the images as they are


class Stored(InMemory):
    """Stored images and labels; ``augmented`` batches carry their first ticket."""

    def __init__(self, images: Tensor, labels: Tensor, *, augmented: bool) -> None:
        super().__init__(images, labels)
        self.augmented = augmented

    def __getitems__(self, indices: list[int]) -> StoredImages:
        images, labels = super().__getitems__(indices)
        return StoredImages(images, labels, indices[0] if self.augmented else None)


def crop_and_flip(images: Tensor, margin: int, generator: torch.Generator) -> Tensor:
    """Shift every image by up to ``margin`` pixels (edges are mirrored) and turn half of them left to right.

    Args:
        images: (batch, height, width, channels), any type.
        margin: largest shift in pixels, in both directions.
        generator: source of all randomness, on the device of ``images``.
    """
    count, height, width, _ = images.shape
    shifts = torch.randint(-margin, margin + 1, (2, count, 1), generator=generator, device=images.device)
    flips = torch.rand((count, 1), generator=generator, device=images.device) < 0.5
    rows = _mirrored(torch.arange(height, device=images.device) + shifts[0], height)
    columns = _mirrored(torch.arange(width, device=images.device) + shifts[1], width)
    columns = torch.where(flips, columns.flip(1), columns)
    # one gather for the whole batch, with rows and columns of each image's own, in place of a loop over images
    samples = torch.arange(count, device=images.device)
    return images[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def _mirrored(places: Tensor, length: int) -> Tensor:
    last = length - 1  # the edge itself is not doubled: -1 becomes 1, last + 1 becomes last - 1
    return last - (last - places.abs()).abs()


CIFAR_FOLDER = "cifar-10-batches-py"


class CIFAR10Data(SeededData):
    """CIFAR-10 through torchvision: 45,000 training, 5,000 validation and 10,000 test images of 32x32 pixels.

    Images stay bytes until they are on the device, where they are cropped, flipped (training only) and
    normalised, a batch at a time. The split is fixed; the test set is the official one.

    Args:
        root: folder that holds, or shall hold, ``cifar-10-batches-py``.
        download: fetch the files if they are missing.
        batch_size, seed, num_workers: see `SeededData`.

    Raises:
        FileNotFoundError: the files are missing and ``download`` is off; says what to do.
    """

    def __init__(
        self,
        *,
        root: str = "data",
        download: bool = False,
        batch_size: int = 128,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers, train_size=45_000)
        self.root, self.download = root, download
        if not download and not Path(root, CIFAR_FOLDER).is_dir():
            raise FileNotFoundError(_how_to_get_cifar(root, "has no folder"))

    @property
    def task(self) -> ImageTask:
        """Shape of the task."""
        return ImageTask(num_classes=10, channels=3, height=32, width=32)

    @property
    def data_hash(self) -> str:
        """SHA-256 of the stored training images and labels."""
        return hash_of(*self._read(train=True))

    def prepare_data(self) -> None:
        """Fetch the files if that was asked for."""
        if self.download:
            self._read(train=True)

    def setup(self, stage: str) -> None:
        """Read and split the images."""
        images, labels = self._read(train=True)
        # not the run's seed: the split must be the same in all runs, or their validation losses could not be compared
        order = torch.randperm(len(labels), generator=seeded("cifar10", "split"))
        train, val = order[: self.train_size], order[self.train_size :]
        self.train = Stored(images[train], labels[train], augmented=True)
        self.val = Stored(images[val], labels[val], augmented=False)
        self.test = Stored(*self._read(train=False), augmented=False)

    def _read(self, *, train: bool) -> tuple[Tensor, Tensor]:
        try:
            from torchvision.datasets import CIFAR10
        except (ImportError, RuntimeError) as error:  # RuntimeError: a build for another torch
            raise ImportError(f"CIFAR10Data needs torchvision ({error}): install the extra 'recipes'") from error
        try:
            stored = CIFAR10(self.root, train=train, download=self.download)
        except RuntimeError as error:  # torchvision found files missing or damaged
            raise FileNotFoundError(_how_to_get_cifar(self.root, "has missing or damaged files in")) from error
        return torch.from_numpy(stored.data), torch.tensor(stored.targets)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Augment a training batch, and normalise any: ``(images, labels)`` with channels first."""
        return self._prepare(batch) if isinstance(batch, StoredImages) else batch

    def _prepare(self, batch: StoredImages) -> tuple[Tensor, Tensor]:
        images, labels, first = batch
        if first is not None:
            images = crop_and_flip(images, 4, seeded(self.seed, "cifar10", first, device=images.device))
        # mean and standard deviation of all training pixels and channels, of 255: about 0.473 and 0.251
        return ((images.float() - 120.7) / 64.1).permute(0, 3, 1, 2), labels


def _how_to_get_cifar(root: str, problem: str) -> str:
    return (
        f"root={root!r} {problem} {CIFAR_FOLDER!r}: set data.download=true where there is a network, "
        f"or put the CIFAR-10 python files there and set data.root to the folder that holds {CIFAR_FOLDER!r}"
    )
