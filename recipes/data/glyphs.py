"""Characters in matplotlib's fonts, distorted at random and streamed: as many images as a run asks for."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.data.digits import check_label_noise, replaced
from recipes.data.seeded import InMemory, SeededData, Ticketed, Tickets, at_least, hash_of, seeded
from recipes.data.task import ImageTask

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


def draws(count: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw what is random about images: eight numbers each, 0 to 1 (8, count), and noise (count, 1, size, size)."""
    numbers = torch.rand((8, count), generator=generator, device=generator.device)
    return numbers, torch.randn((count, 1, size, size), generator=generator, device=generator.device)


def distort(templates: Tensor, numbers: Tensor, noise: Tensor) -> Tensor:
    """Turn, scale, shear, shift, fade and add noise to glyphs; nothing in here is random, so that it can be compiled.

    Args:
        templates: values 0 to 1 (batch, height, width).
        numbers, noise: what `draws` has drawn; the noise has the shape of the images to make.

    Returns:
        Images (batch, 1, size, size) with mean about 0 and standard deviation about 1.
    """
    turn, stretch_x, stretch_y, shear, shift_x, shift_y, contrast, level = 2 * numbers - 1
    turn, shear = turn * math.radians(15), shear * 0.15
    x, y = 1 + 0.2 * stretch_x, 1 + 0.2 * stretch_y
    cos, sin = turn.cos(), turn.sin()
    first = torch.stack([x * cos, y * (shear * cos - sin), 0.2 * shift_x], dim=1)
    second = torch.stack([x * sin, y * (shear * sin + cos), 0.2 * shift_y], dim=1)
    grid = F.affine_grid(torch.stack([first, second], dim=1), list(noise.shape), align_corners=False)
    images: Tensor = F.grid_sample(templates[:, None], grid, align_corners=False)
    images = (images - 0.2) * (3 + contrast).view(-1, 1, 1, 1) + (0.5 * level).view(-1, 1, 1, 1)
    return images + 0.4 * noise


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
        compile: run the distortion of training images through ``torch.compile``: a GPU is then given a few kernels in
            place of about 45, which take longer to start than to run. Images may differ by rounding.
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
        compile: bool = False,
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
                f"num_classes={num_classes}: characters={characters} has {available}; "
                f"set num_classes={available} or less"
            )
        check_label_noise(label_noise)
        self.size, self.characters, self.num_classes = size, CHARACTER_SETS[characters][:num_classes], num_classes
        self.val_size, self.label_noise = val_size, label_noise
        self._distort = torch.compile(distort) if compile else distort

    @property
    def task(self) -> ImageTask:
        """Shape of the task."""
        return ImageTask(num_classes=self.num_classes, channels=1, height=self.size, width=self.size)

    @cached_property
    def _drawn(self) -> Tensor:
        # twice the final size: sampling every second pixel then averages two by two
        return render(self.characters, 2 * self.size)

    @property
    def data_hash(self) -> str:
        """SHA-256 of the rendered templates; changes with the versions of the fonts and of Pillow."""
        return hash_of(self._drawn)

    def setup(self, stage: str) -> None:
        """Render the templates and generate the fixed validation and test sets."""
        self._templates = self._drawn.float() / 255
        self.train = Tickets(self.train_size)  # `on_after_batch_transfer` makes images and labels of them
        self.val, self.test = (self._fixed_set(split) for split in ("val", "test"))

    def _fixed_set(self, split: str) -> InMemory:
        labels = torch.arange(self.val_size) % self.num_classes
        return InMemory(distort(*self._drawn_for(labels, seeded("glyphs", split))), labels)

    def _drawn_for(self, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `distort` takes: a template for each label, and what is random about its image."""
        fonts = torch.randint(len(FONTS), labels.shape, generator=generator, device=labels.device)
        return self._templates.to(labels.device)[labels, fonts], *draws(len(labels), self.size, generator)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Generate a training batch ``(images, labels)`` from its tickets; leave other batches alone."""
        return self._stream(batch) if isinstance(batch, Ticketed) else batch

    def _stream(self, batch: Ticketed) -> tuple[Tensor, Tensor]:
        device = batch.tickets.device
        self._templates = self._templates.to(device)  # copies once: the templates then stay there
        generator = seeded(self.seed, "glyphs", batch.first, device=device)
        labels = torch.randint(self.num_classes, batch.tickets.shape, generator=generator, device=device)
        images = self._distort(*self._drawn_for(labels, generator))
        return images, replaced(labels, self.label_noise, self.num_classes, generator)
