"""Image data: scikit-learn's digits, streamed glyphs and CIFAR-10; only the last may need a download."""

from __future__ import annotations

import hashlib
import math
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from recipes.data.seeded import Batches, SeededData, at_least, seeded
from recipes.data.task import ImageFacts


class InMemory(Batches):
    """Images and labels as two tensors; a batch is ``(images, labels)``."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitems__(self, indices: list[int]) -> Any:
        places = torch.tensor(indices) % len(self)  # a ticket is an index plus whole epochs
        return self.images[places], self.labels[places]


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
            raise ValueError(f"train_size={train_size}: there are {DIGITS:,} training images; set that or less")
        _check_label_noise(label_noise)
        self.size, self.label_noise = size, label_noise

    @property
    def facts(self) -> ImageFacts:
        """Shape of the task."""
        return ImageFacts(num_classes=10, channels=1, height=self.size, width=self.size)

    @property
    def data_hash(self) -> str:
        """SHA-256 of all images and labels as scikit-learn has them."""
        return _hash_of(*_digits())

    def setup(self, stage: str) -> None:
        """Load and split the images."""
        images, labels = _digits()
        train, val, test = _split_digits(labels, self.train_size)
        images = (images - images[train].mean()) / images[train].std()
        if self.size != 8:
            images = F.interpolate(images, size=(self.size, self.size), mode="bilinear", align_corners=False)
        self.train, self.val, self.test = (InMemory(images[part], labels[part]) for part in (train, val, test))
        self.train.labels = replaced(self.train.labels, self.label_noise, 10, seeded(self.seed, "digits", "noise"))

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the training images in a new order every epoch."""
        return self.train_loader(self.train)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load the 270 validation images."""
        return self.eval_loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Load the 270 test images."""
        return self.eval_loader(self.test)


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


def _hash_of(*parts: Tensor) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.numpy().tobytes())
    return digest.hexdigest()


def _check_label_noise(label_noise: float) -> None:
    if not 0.0 <= label_noise < 1.0:
        raise ValueError(f"label_noise={label_noise}: must be 0 or more, below 1; 0.1 is ten percent")


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
    chosen = torch.rand(labels.shape, generator=generator, device=labels.device) < share
    step = torch.randint(1, num_classes, labels.shape, generator=generator, device=labels.device)
    return torch.where(chosen, (labels + step) % num_classes, labels)


# Digits, then capitals, then small letters, without the twins that only size or a serif tells apart at 16x16
# pixels: I and l (1), O and o (0), S and s (5), Z and z (2), and small letters shaped like their capitals or
# like 6, 9 and q.
CHARACTERS = "0123456789ABCDEFGHJKLMNPQRTUVWXYadeh"
CHARACTER_SETS = {"all": CHARACTERS, "digits": CHARACTERS[:10], "letters": CHARACTERS[10:]}
# the text fonts among matplotlib's own: four faces each of three DejaVu families and of STIX
FONTS = (
    *(f"DejaVuSans{face}" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{face}" for face in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{face}" for face in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{face}" for face in ("", "Bol", "Italic", "BolIta")),
)


def render(characters: str, size: int) -> Tensor:
    """Draw every character in every font, centred, white on black.

    Args:
        characters: one class each.
        size: side of the square canvas in pixels.

    Returns:
        Grey values 0 to 255 (characters, fonts, size, size), uint8.
    """
    import matplotlib
    from PIL import ImageFont

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), round(0.85 * size)) for name in FONTS]
    drawn = [_draw(character, font, size) for character in characters for font in fonts]
    return torch.stack(drawn).view(len(characters), len(fonts), size, size)


def _draw(character: str, font: Any, size: int) -> Tensor:
    from PIL import Image, ImageDraw

    image = Image.new("L", (size, size))
    left, top, right, bottom = font.getbbox(character)
    corner = ((size - left - right) // 2, (size - top - bottom) // 2)
    ImageDraw.Draw(image).text(corner, character, font=font, fill=255)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(size, size)


def distort(templates: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Turn, scale, shear, shift, fade and add noise to glyphs, each at random and differently.

    Args:
        templates: values 0 to 1 (batch, height, width).
        size: side of the images to make, in pixels.
        generator: source of all randomness, on the device of ``templates``.

    Returns:
        Images (batch, 1, size, size) with mean about 0 and standard deviation about 1.
    """
    count, device = len(templates), templates.device
    turn, stretch_x, stretch_y, shear, shift_x, shift_y, contrast, level = (
        2 * torch.rand((8, count), generator=generator, device=device) - 1
    )
    turn, shear = turn * math.radians(15), shear * 0.15
    x, y = 1 + 0.2 * stretch_x, 1 + 0.2 * stretch_y
    cos, sin = turn.cos(), turn.sin()
    first = torch.stack([x * cos, y * (shear * cos - sin), 0.2 * shift_x], dim=1)
    second = torch.stack([x * sin, y * (shear * sin + cos), 0.2 * shift_y], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), [count, 1, size, size], align_corners=False)
    images: Tensor = F.grid_sample(templates[:, None], grid, align_corners=False)
    images = (images - 0.2) * (3 + contrast).view(-1, 1, 1, 1) + (0.5 * level).view(-1, 1, 1, 1)
    return images + 0.4 * torch.randn(images.shape, generator=generator, device=device)


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


class GlyphsData(SeededData):
    """Characters in matplotlib's bundled fonts, distorted at random: streamed, made on the device.

    The loader yields tickets; a training batch is generated on the device from ``(seed, first ticket)``, so
    that data never repeats, limits no GPU and is the same for any number of workers. Streams differ between
    kinds of device, for their random generators do. Validation and test sets are generated once on the CPU,
    with balanced clean labels, and depend neither on the seed nor on the device.

    Args:
        size: side of an image in pixels, at least 8.
        characters: ``"all"``, ``"digits"`` or ``"letters"``.
        num_classes: how many of them to use, from the first, at least 2.
        train_size: samples in an epoch.
        val_size: samples in the validation set; the test set has as many others.
        label_noise: share of training labels that are replaced by another class.
        batch_size, seed, num_workers: see `SeededData`.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        *,
        size: int = 16,
        characters: str = "all",
        num_classes: int = len(CHARACTERS),
        train_size: int = 12_288,
        val_size: int = 1800,
        label_noise: float = 0.0,
        batch_size: int = 128,
        seed: int = 1,
        num_workers: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size, seed=seed, num_workers=num_workers, train_size=train_size, shuffle=False
        )
        at_least(8, size=size)
        at_least(2, num_classes=num_classes)
        at_least(1, val_size=val_size)
        if characters not in CHARACTER_SETS:
            raise ValueError(f"characters={characters!r} is unknown: choose one of {', '.join(CHARACTER_SETS)}")
        available = len(CHARACTER_SETS[characters])
        if num_classes > available:
            raise ValueError(
                f"num_classes={num_classes}: there are {available} characters in characters={characters}; set 2 to that"
            )
        _check_label_noise(label_noise)
        self.size, self.characters, self.num_classes = size, CHARACTER_SETS[characters][:num_classes], num_classes
        self.val_size, self.label_noise = val_size, label_noise

    @property
    def facts(self) -> ImageFacts:
        """Shape of the task."""
        return ImageFacts(num_classes=self.num_classes, channels=1, height=self.size, width=self.size)

    @cached_property
    def _drawn(self) -> Tensor:
        # twice the final size: sampling every second pixel then averages two by two
        return render(self.characters, 2 * self.size)

    @property
    def data_hash(self) -> str:
        """SHA-256 of the rendered templates; changes with the versions of the fonts and of Pillow."""
        return _hash_of(self._drawn)

    def setup(self, stage: str) -> None:
        """Render the templates and generate the fixed validation and test sets."""
        self._templates = self._drawn.float() / 255
        self.val, self.test = (self._fixed_set(split) for split in ("val", "test"))

    def _fixed_set(self, split: str) -> InMemory:
        labels = torch.arange(self.val_size) % self.num_classes
        return InMemory(self._images(labels, seeded("glyphs", split)), labels)

    def _images(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        fonts = torch.randint(len(FONTS), labels.shape, generator=generator, device=labels.device)
        return distort(self._templates.to(labels.device)[labels, fonts], self.size, generator)

    def train_dataloader(self) -> DataLoader[Any]:
        """Load tickets; ``on_after_batch_transfer`` makes images and labels of them."""
        return self.train_loader(Tickets(self.train_size))

    def val_dataloader(self) -> DataLoader[Any]:
        """Load the fixed validation set."""
        return self.eval_loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Load the fixed test set."""
        return self.eval_loader(self.test)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Generate a training batch ``(images, labels)`` from its tickets; leave other batches alone."""
        return self._stream(batch) if isinstance(batch, Ticketed) else batch

    def _stream(self, batch: Ticketed) -> tuple[Tensor, Tensor]:
        device = batch.tickets.device
        self._templates = self._templates.to(device)  # copies once: the templates then stay there
        generator = seeded(self.seed, "glyphs", batch.first, device=device)
        labels = torch.randint(self.num_classes, batch.tickets.shape, generator=generator, device=device)
        images = self._images(labels, generator)
        return images, replaced(labels, self.label_noise, self.num_classes, generator)


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
    samples = torch.arange(count, device=images.device)
    return images[samples[:, None, None], rows[:, :, None], columns[:, None, :]]


def _mirrored(places: Tensor, length: int) -> Tensor:
    last = length - 1
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
    def facts(self) -> ImageFacts:
        """Shape of the task."""
        return ImageFacts(num_classes=10, channels=3, height=32, width=32)

    @property
    def data_hash(self) -> str:
        """SHA-256 of the stored training images and labels."""
        return _hash_of(*self._read(train=True))

    def prepare_data(self) -> None:
        """Fetch the files if that was asked for."""
        if self.download:
            self._read(train=True)

    def setup(self, stage: str) -> None:
        """Read and split the images."""
        images, labels = self._read(train=True)
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

    def train_dataloader(self) -> DataLoader[Any]:
        """Load the 45,000 training images in a new order every epoch."""
        return self.train_loader(self.train)

    def val_dataloader(self) -> DataLoader[Any]:
        """Load the 5,000 validation images."""
        return self.eval_loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """Load the 10,000 test images."""
        return self.eval_loader(self.test)

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
