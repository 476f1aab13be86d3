"""scikit-learn's digits, and wrong labels for any image data."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.data.seeded import InMemory, SeededData, at_least, hash_of, seeded
from recipes.data.task import ImageTask

DIGITS = 1257  # images for training; 270 more are for validation and 270 for the test


class DigitsData(SeededData):
    """scikit-learn's bundled digits: 1,797 real 8x8 images in 10 classes, split 1,257/270/270 by class.

    The split is fixed. Images are normalised with the mean and standard deviation of the training pixels. Wrong labels
    are drawn once from the seed and stay: an image with a wrong label has it in every epoch.

    Args:
        size: side of an image in pixels, at least 8; larger ones are interpolated.
        train_size: how many of the training images to use; fewer are some of the more.
        label_noise: share of training labels that are replaced by another class.
        batch_size, seed, num_workers: see `SeededData`.

    Raises:
        ValueError: an argument is out of range.
    """

    train: InMemory

    def __init__(
        self,
        *,
        size: int = 8,
        train_size: int = DIGITS,
        label_noise: float = 0.0,
        batch_size: int = 32,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, num_workers=num_workers, train_size=train_size)
        at_least(8, size=size)
        if train_size > DIGITS:
            raise ValueError(f"train_size={train_size}: there are {DIGITS:,} training images; set {DIGITS} or less")
        check_label_noise(label_noise)
        self.size, self.label_noise = size, label_noise

    @property
    def task(self) -> ImageTask:
        """Shape of the task."""
        return ImageTask(num_classes=10, channels=1, height=self.size, width=self.size)

    @property
    def data_hash(self) -> str:
        """SHA-256 of all images and labels as scikit-learn has them."""
        return hash_of(*_digits())

    def setup(self, stage: str) -> None:
        """Load and split the images."""
        images, labels = _digits()
        train, val, test = _split_digits(labels, self.train_size)
        # statistics of the training images alone: nothing of the others may be known in training
        images = (images - images[train].mean()) / images[train].std()
        if self.size != 8:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        self.train, self.val, self.test = (InMemory(images[part], labels[part]) for part in (train, val, test))
        self.train.labels = replaced(self.train.labels, self.label_noise, 10, seeded(self.seed, "digits", "noise"))


def _digits() -> tuple[Tensor, Tensor]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return torch.tensor(digits.images).float()[:, None], torch.tensor(digits.target)


def _split_digits(labels: Tensor, train_size: int) -> tuple[Any, Any, Any]:
    from sklearn.model_selection import train_test_split

    places, classes = range(len(labels)), labels.numpy()
    rest, test = train_test_split(places, test_size=270, stratify=classes, random_state=0)
    train, val = train_test_split(rest, test_size=270, stratify=classes[rest], random_state=0)
    return train[:train_size], val, test  # they are in random order already


def check_label_noise(label_noise: float) -> None:
    """Refuse a number that is not a share of wrong labels.

    Raises:
        ValueError: it is below 0, or 1 or more.
    """
    if not 0.0 <= label_noise < 1.0:
        raise ValueError(f"label_noise={label_noise}: must be at least 0 and below 1; 0.1 is ten percent")


def replaced(labels: Tensor, share: float, num_classes: int, generator: torch.Generator) -> Tensor:
    """Replace a share of labels, chosen at random, by another class; each other class is as likely.

    Args:
        labels: (batch,).
        share: probability of each label to be replaced.
        num_classes: labels are ``0 .. num_classes - 1``.
        generator: source of all randomness, on the device of ``labels``; not used where ``share`` is 0.
    """
    if share == 0.0:
        return labels
    # steps of 1 to num_classes - 1 around the circle of classes reach every other class once, and never the own one
    chosen = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    step = torch.randint(1, num_classes, labels.shape, generator=generator, device=labels.device)
    return torch.where(chosen, (labels + step) % num_classes, labels)
