"""Image classifiers: a small CNN that suits a CPU, and ResNet-18 with a stem for small images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes.facts import ImageFacts, expect
from recipes.parameter_groups import parameter_groups


class SmallCNN(nn.Sequential):
    """Three convolution stages, a global average and a linear layer; for images of 8x8 pixels and larger.

    Args:
        facts: shape of the task.
        width: channels of the first stage; the second has twice, the third four times as many.
    """

    def __init__(self, facts: ImageFacts, width: int = 32) -> None:
        super().__init__(
            _stage(facts.channels, width),
            nn.MaxPool2d(2),
            _stage(width, 2 * width),
            nn.MaxPool2d(2),
            _stage(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, facts.num_classes),
        )


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    # batch normalisation has its own offset, so a bias would do nothing
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def resnet18(facts: ImageFacts) -> nn.Module:
    """Build torchvision's ResNet-18 with a stem that keeps small images whole.

    The ImageNet stem shrinks an image by four before the first block; a 3x3 convolution of stride 1 without
    max-pooling leaves 32x32 pixels for the blocks to work on (He et al. 2016, section 4.2).

    Args:
        facts: shape of the task.

    Raises:
        ImportError: torchvision is missing or built for another torch; says how to get it.
    """
    try:
        # imported here: it is slow, and the small network does without
        from torchvision.models import resnet18 as build
    except (ImportError, RuntimeError) as error:  # RuntimeError: a build for another torch
        raise ImportError(
            f"network=resnet18 needs torchvision ({error}): install the extra 'recipes', or set network=small"
        ) from error
    network: nn.Module = build(num_classes=facts.num_classes)
    network.conv1 = nn.Conv2d(facts.channels, 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()
    return network


class ImageClassifier(LightningModule):
    """Classify images with cross-entropy; the learning rate belongs to a callback.

    Logs ``train_loss`` and ``train_acc`` per step, ``val_*`` and ``test_*`` as means over the epoch; losses
    are in nats.

    Args:
        optimizer: builds the optimizer when called with parameter groups.
        facts: the data's `ImageFacts`.
        network: ``"small"`` or ``"resnet18"``.
        width: channels of the small network's first stage (32 if not given); ResNet-18 has fixed widths.
        label_smoothing: share of the target spread evenly over all classes, in training only.
        compile: run the network through ``torch.compile``.

    Raises:
        ValueError: the data holds no images, or an argument is out of range.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        facts: ImageFacts,
        network: str = "small",
        width: int | None = None,
        label_smoothing: float = 0.0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={label_smoothing}: must be 0 or more, below 1; 0.1 is usual")
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        facts = expect(ImageFacts, facts, model="ImageClassifier (model=cnn)")
        # convolutions run faster on channels-last memory, on CPUs and on tensor cores
        self.network = _build(network, facts, width).to(memory_format=torch.channels_last)
        if compile:
            self.network.compile()  # in place: the names in the state dict stay as they are

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, height, width)."""
        logits: Tensor = self.network(images.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Return the loss of a batch: images, and labels (batch,)."""
        return self._step(batch, "train", self.label_smoothing)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log loss and accuracy."""
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor]) -> None:
        """Log loss and accuracy."""
        self._step(batch, "test")

    def configure_optimizers(self) -> Optimizer:
        """Return the optimizer alone: a callback owns the learning rate."""
        return self.optimizer(parameter_groups(self))

    def _step(self, batch: tuple[Tensor, Tensor], stage: str, label_smoothing: float = 0.0) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self._report({f"{stage}_loss": loss, f"{stage}_acc": accuracy}, stage, len(labels))
        return loss

    def _report(self, metrics: dict[str, Any], stage: str, batch_size: int) -> None:
        # a step's metrics stay on their device; epoch means are taken over all devices
        self.log_dict(metrics, prog_bar=stage != "test", batch_size=batch_size, sync_dist=stage != "train")


def _build(network: str, facts: ImageFacts, width: int | None) -> nn.Module:
    if network == "small":
        width = 32 if width is None else width
        if width < 1:
            raise ValueError(f"width={width}: must be at least 1; 32 suits a CPU")
        return SmallCNN(facts, width)
    if network != "resnet18":
        raise ValueError(f"network={network!r} is unknown: choose 'small' or 'resnet18'")
    if width is not None:
        raise ValueError(f"width={width} belongs to network=small: leave it out, ResNet-18 has fixed widths")
    return resnet18(facts)
