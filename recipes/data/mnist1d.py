"""MNIST-1D: ten digits as signals of 40 values, made by the generator of its authors; nothing is downloaded."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from recipes.data.seeded import InMemory, SeededData, at_least, hash_of
from recipes.data.task import ImageTask

SIGNALS = 4000  # for training, of all ten classes; 1,000 more are for validation and 1,000 for the test
_OF_CLASS = (398, 396, 411, 394, 394, 402, 401, 404, 402, 398)  # how many of the 4,000 are 0, are 1, ...


class Mnist1DData(SeededData):
    """MNIST-1D (Greydanus and Kobak 2024): 4,000 training, 1,000 validation and 1,000 test signals in 10 classes.

    Each is the outline of a digit, padded, moved, sheared and noisy, so that a network has to look for its shape.
    Training and test set are those of the paper; the validation set comes from the same generator with another seed.
    A process makes them once, in about 2 seconds.

    Args:
        first_class, num_classes: which of the ten digits, such as 5 and 5 for 5 to 9; labels count from 0 again.
        train_size: how many of the training signals of these classes to use; fewer are some of the more.
        batch_size, seed, num_workers: see `SeededData`.

    Raises:
        ValueError: an argument is out of range.
        ImportError: the generator is missing, once signals are to be made.
    """

    def __init__(
        self,
        *,
        first_class: int = 0,
        num_classes: int = 10,
        train_size: int = SIGNALS,
        batch_size: int = 64,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers, train_size=train_size)
        at_least(0, first_class=first_class)
        at_least(2, num_classes=num_classes)
        if first_class + num_classes > 10:
            raise ValueError(
                f"num_classes={num_classes}: of the ten, from first_class={first_class} on there are "
                f"{max(10 - first_class, 0)}; set first_class={max(10 - num_classes, 0)} or less, or fewer classes"
            )
        self.classes = range(first_class, first_class + num_classes)
        there = sum(_OF_CLASS[first_class : self.classes.stop])
        if train_size > there:
            raise ValueError(
                f"train_size={train_size}: there are {there:,} training signals of the classes {first_class} to "
                f"{self.classes.stop - 1}; set {there} or less"
            )

    @property
    def task(self) -> ImageTask:
        """Shape of the task: a signal is an image of one row."""
        return ImageTask(num_classes=len(self.classes), channels=1, height=1, width=40)

    @property
    def data_hash(self) -> str:
        """SHA-256 of all signals and labels as the generator makes them, whichever are used."""
        return hash_of(*(tensor for part in _signals() for tensor in part))

    def setup(self, stage: str) -> None:
        """Make the signals and take those of the classes."""
        train, val, test = (self._of_the_classes(*part) for part in _signals())
        self.train = InMemory(train.images[: self.train_size], train.labels[: self.train_size])
        self.val, self.test = val, test

    def _of_the_classes(self, signals: Tensor, labels: Tensor) -> InMemory:
        chosen = (labels >= self.classes.start) & (labels < self.classes.stop)
        return InMemory(signals[chosen], labels[chosen] - self.classes.start)


@cache
def _signals() -> tuple[tuple[Tensor, Tensor], ...]:
    """Make signals (samples, 1, 1, 40) and labels for training, validation and test."""
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise ImportError(f"Mnist1DData needs the package mnist1d ({error}): install the extra 'recipes'") from error
    usual, other = get_dataset_args(), get_dataset_args()
    # All samples of a call share one mean and standard deviation, which it keeps to itself: the validation set has its
    # own, about half a percent from those of the others.
    other.seed, other.num_samples, other.train_split = usual.seed + 1, 1000, 1.0
    with isolate_rng(include_cuda=False):  # the generator seeds random and numpy for all
        made, more = make_dataset(usual), make_dataset(other)
    return tuple(
        (torch.from_numpy(x.astype(np.float32))[:, None, None], torch.from_numpy(y))
        for x, y in ((made["x"], made["y"]), (more["x"], more["y"]), (made["x_test"], made["y_test"]))
    )
