"""Classifiers of images and signals: an MLP and small CNNs that suit a CPU, and ResNet-18."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from recipes.data.task import ImageTask, expect
from recipes.models.compiling import CompileMode, compile_in_place
from recipes.models.metrics import is_written
from recipes.models.parameter_groups import HEAD, lr_ratios, optimizer_of
from recipes.models.weight_modes import WithWeightModes


class _Stack(nn.Sequential):
    """Layers one after another; compiled as one: torch 2.11 compiles no ``forward`` of its own classes in place."""

    def forward(self, images: Tensor) -> Tensor:
        for layer in self:
            images = layer(images)
        return images


class MLP(_Stack):
    """Two hidden layers with ReLU and a linear layer, on the pixels in a row.

    Args:
        task: shape of the task.
        width: units of a hidden layer.
    """

    def __init__(self, task: ImageTask, width: int = 64) -> None:
        super().__init__(
            nn.Flatten(),
            _hidden(task.channels * task.height * task.width, width),
            _hidden(width, width),
            nn.Linear(width, task.num_classes),
        )

    def parts(self) -> dict[str, nn.Module]:
        """Return the trainable parts from input to output."""
        return {"hidden1": self[1], "hidden2": self[2], HEAD: self[3]}


def _hidden(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(inplace=True))


class SmallCNN(_Stack):
    """Three convolution stages, a global average and a linear layer; for images of 8x8 pixels and larger, and signals.

    Args:
        task: shape of the task.
        width: channels of the first stage; the second has twice, the third four times as many.
    """

    def __init__(self, task: ImageTask, width: int = 32) -> None:
        half = (1, 2) if task.height == 1 else (2, 2)  # the one row of a signal stays
        super().__init__(
            _stage(task.channels, width),
            nn.MaxPool2d(half),
            _stage(width, 2 * width),
            nn.MaxPool2d(half),
            _stage(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4 * width, task.num_classes),
        )

    def parts(self) -> dict[str, nn.Module]:
        """Return the trainable parts from input to output."""
        return {"stage1": self[0], "stage2": self[2], "stage3": self[4], HEAD: self[7]}


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    # batch normalisation has its own offset, so a bias would do nothing
    convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class SignalCNN(_Stack):
    """Three convolutions of stride 2 and a linear layer, on signals: images of one row.

    As large as the CNN of MNIST-1D (Greydanus and Kobak 2024) with 25 channels, and with batch normalisation.

    Args:
        task: shape of the task, with a height of 1.
        width: channels of each convolution.

    Raises:
        ValueError: the task has images of several rows.
    """

    def __init__(self, task: ImageTask, width: int = 25) -> None:
        if task.height != 1:
            raise ValueError(
                f"network=signal is for signals, the data gives images of {task.height}x{task.width} pixels: set "
                "network=small (model=cnn), or choose data with signals (like data=mnist1d)"
            )
        kernels, length = (5, 3, 3), task.width
        for kernel in kernels:
            length = (length + 2 - kernel) // 2 + 1
        super().__init__(
            *(_halving(width if n else task.channels, width, kernel) for n, kernel in enumerate(kernels)),
            nn.Flatten(),
            nn.Linear(width * length, task.num_classes),
        )

    def parts(self) -> dict[str, nn.Module]:
        """Return the trainable parts from input to output."""
        return {"stage1": self[0], "stage2": self[1], "stage3": self[2], HEAD: self[4]}


def _halving(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel_size=(1, kernel), stride=(1, 2), padding=(0, 1), bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class ResNet18(nn.Module):
    """torchvision's ResNet-18: with a stem that keeps small images whole, or with trained weights and their own stem.

    The ImageNet stem shrinks an image by four before the first block; a 3x3 convolution of stride 1 without
    max-pooling leaves 32x32 pixels for the blocks to work on (He et al. 2016, section 4.2).

    Args:
        task: shape of the task.
        pretrained: ``"IMAGENET1K_V1"``, or a file with a state dict of torchvision's ResNet-18. The head is new.

    Raises:
        ImportError: torchvision is missing or built for another torch; says how to get it.
        ValueError, OSError: ``pretrained`` is unknown, of another network, or cannot be read or fetched.
    """

    def __init__(self, task: ImageTask, pretrained: str | None = None) -> None:
        super().__init__()
        try:
            # imported here: it is slow, and the other networks do without
            from torchvision.models import resnet18
        except (ImportError, RuntimeError) as error:  # RuntimeError: a build for another torch
            raise ImportError(
                f"network=resnet18 needs torchvision ({error}): install the extra 'recipes', or set network=small"
            ) from error
        self.body = resnet18(num_classes=task.num_classes)
        if pretrained is None:
            self.body.conv1 = nn.Conv2d(task.channels, 64, kernel_size=3, padding=1, bias=False)
            self.body.maxpool = nn.Identity()
        else:
            self._load(torchvision_weights(pretrained), task.channels, f"pretrained={pretrained!r}")

    def _load(self, state: dict[str, Tensor], channels: int, name: str) -> None:
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
        if channels != 3 and "conv1.weight" in state:
            # as if the same grey value stood in each of the three channels
            self.body.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
            state["conv1.weight"] = state["conv1.weight"].sum(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels
        own = {key: value.shape for key, value in self.body.state_dict().items() if not key.startswith("fc.")}
        odd = [key for key in {**own, **state} if key not in state or own.get(key) != state[key].shape]
        if odd:
            more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
            raise ValueError(f"{name} is for another network: {odd[0]} does not fit{more}")
        self.body.load_state_dict(state, strict=False)  # but for the head, they are all there

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.body(images)
        return logits

    def parts(self) -> dict[str, nn.Module]:
        """Return the trainable parts from input to output."""
        body = self.body
        stages = {f"layer{n}": getattr(body, f"layer{n}") for n in (1, 2, 3, 4)}
        return {"stem": nn.ModuleList([body.conv1, body.bn1]), **stages, HEAD: body.fc}


def torchvision_weights(name: str) -> dict[str, Tensor]:
    """Read trained weights of ResNet-18: a file, or torchvision's by their name (fetched once, then kept).

    Raises:
        ValueError: torchvision does not know the name, or the file does not hold weights.
        OSError: they can be neither found nor fetched; says where to put the file.
    """
    if Path(name).is_file():
        try:
            state: dict[str, Tensor] = torch.load(name, map_location="cpu", weights_only=True)
            return {key: value for key, value in state.items() if isinstance(value, Tensor)}
        except Exception as error:  # torch raises a different one for each way in which a file can be damaged
            raise ValueError(f"pretrained={name!r} is damaged or not a state dict: {str(error)[:120]}") from error
    from torchvision.models import ResNet18_Weights as Weights

    if name not in Weights.__members__:
        raise ValueError(
            f"pretrained={name!r} is neither a file nor a name that torchvision knows: give a file, or "
            f"{', '.join(Weights.__members__)}"
        )
    url, folder = Weights[name].url, Path(torch.hub.get_dir(), "checkpoints")
    try:
        found: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, weights_only=True
        )
    except OSError as error:  # no network, or the address is gone
        raise OSError(
            f"pretrained={name!r} is not in {str(folder)!r} and cannot be fetched ({error}): put {Path(url).name} "
            "there, or set model.pretrained to the file"
        ) from error
    return found


class ImageClassifier(WithWeightModes):
    """Classify images with cross-entropy; the learning rate belongs to a callback.

    Logs ``train_loss`` and ``train_acc`` of the updates that the Trainer writes, and ``val_*`` and ``test_*`` as
    means over the epoch; losses are in nats.

    Args:
        optimizer: builds the optimizer when called with parameter groups.
        task: the data's `ImageTask`.
        network: ``"mlp"``, ``"small"``, ``"signal"`` or ``"resnet18"``.
        width: units of the MLP's hidden layers (64 if not given), channels of the small network's first stage (32), or
            of each convolution on signals (25); ResNet-18 has fixed widths.
        pretrained: trained weights for ResNet-18, see `ResNet18`.
        head_lr_ratio, layer_decay: see `lr_ratios`.
        label_smoothing: share of the target spread evenly over all classes, in training only.
        compile: run the network through ``torch.compile``; or one of its modes, such as ``"reduce-overhead"``.

    Raises:
        ValueError: the data holds no images, or an argument is out of range.
    """

    def __init__(
        self,
        *,
        optimizer: Callable[..., Optimizer],
        task: ImageTask,
        network: str = "small",
        width: int | None = None,
        pretrained: str | None = None,
        head_lr_ratio: float = 1.0,
        layer_decay: float = 1.0,
        label_smoothing: float = 0.0,
        compile: bool | CompileMode = False,
    ) -> None:
        super().__init__()
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(f"label_smoothing={label_smoothing}: must be at least 0 and below 1; 0.1 is usual")
        self.optimizer = optimizer
        self.label_smoothing = label_smoothing
        task = expect(ImageTask, task, model="ImageClassifier (model=cnn)")
        # convolutions run faster on channels-last memory, on CPUs and on tensor cores
        self.network = _build(network, task, width, pretrained).to(memory_format=torch.channels_last)
        self.lr_ratios = lr_ratios(list(self.network.parts()), head_lr_ratio, layer_decay)
        compile_in_place(self.network, compile)

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
        return optimizer_of(self.optimizer, self.network.parts(), self.lr_ratios)

    def head(self) -> nn.Module:
        """Return the layer that belongs to the classes: with other classes, it is new."""
        return self.network.parts()[HEAD]

    def _step(self, batch: tuple[Tensor, Tensor], stage: str, label_smoothing: float = 0.0) -> Tensor:
        images, labels = batch
        logits = self(images)
        loss = F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
        if stage == "train" and not is_written(self):
            return loss
        accuracy = (logits.argmax(dim=1) == labels).float().mean()
        self._report({f"{stage}_loss": loss, f"{stage}_acc": accuracy}, stage, len(labels))
        return loss

    def _report(self, metrics: dict[str, Any], stage: str, batch_size: int) -> None:
        # a step's metrics stay on their device; epoch means are taken over all devices
        self.log_dict(metrics, prog_bar=stage != "test", batch_size=batch_size, sync_dist=stage != "train")


def _build(
    network: str, task: ImageTask, width: int | None, pretrained: str | None
) -> MLP | SmallCNN | SignalCNN | ResNet18:
    if network == "resnet18":
        if width is not None:
            raise ValueError(f"width={width} belongs to other networks: leave it out, ResNet-18 has fixed widths")
        return ResNet18(task, pretrained)
    if network not in _WIDTHS:
        raise ValueError(f"network={network!r} is unknown: choose 'mlp', 'small', 'signal' or 'resnet18'")
    if pretrained is not None:
        raise ValueError(f"pretrained={pretrained!r} belongs to network=resnet18: leave it out, or set weights=<file>")
    build, usual = _WIDTHS[network]
    width = usual if width is None else width
    if width < 1:
        raise ValueError(f"width={width}: must be at least 1; {usual} suits a CPU")
    return build(task, width)


_WIDTHS: dict[str, tuple[type[MLP] | type[SmallCNN] | type[SignalCNN], int]] = {
    "mlp": (MLP, 64),
    "small": (SmallCNN, 32),
    "signal": (SignalCNN, 25),
}
