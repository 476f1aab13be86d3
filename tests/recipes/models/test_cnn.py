"""The image classifiers: shapes, parameter groups, messages, what is logged and saved, learning."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf
from torch import Tensor

from recipes.data.digits import DigitsData
from recipes.data.task import ImageTask, TextTask
from recipes.models.cnn import MLP, ImageClassifier, ResNet18, SignalCNN, SmallCNN

CONF = Path(__file__).parents[3] / "conf"
DIGITS = ImageTask(num_classes=10, channels=1, height=8, width=8)
SIGNALS = ImageTask(num_classes=10, channels=1, height=1, width=40)
adamw = partial(torch.optim.AdamW, lr=2e-3, weight_decay=0.1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("build", [MLP, SmallCNN, ResNet18])
def test_networks_take_small_images_of_any_channels(build: Any, side: int, channels: int) -> None:
    network = build(ImageTask(num_classes=7, channels=channels, height=side, width=side))
    assert network(torch.randn(2, channels, side, side)).shape == (2, 7)


@pytest.mark.parametrize("build", [MLP, SmallCNN, SignalCNN, ResNet18])
def test_every_network_takes_signals(build: Any) -> None:
    network = build(SIGNALS)
    assert network(torch.randn(2, 1, 1, 40)).shape == (2, 10)
    parts = [parameter for part in network.parts().values() for parameter in part.parameters()]
    assert sorted(map(id, parts)) == sorted(map(id, network.parameters()))


@pytest.mark.parametrize("length", [8, 39, 40, 41])
def test_the_cnn_on_signals_computes_as_convolutions_along_a_line(length: int) -> None:
    task = ImageTask(num_classes=3, channels=2, height=1, width=length)
    network = SignalCNN(task, 4)
    for layer in network.modules():  # so that normalisation has work to do
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(layer.weight), torch.nn.init.normal_(layer.bias)
    signals = values = torch.randn(5, 2, length)
    for convolution, norm, _ in list(network)[:3]:
        values = torch.conv1d(values, convolution.weight[:, :, 0], stride=2, padding=1)
        values = torch.nn.functional.batch_norm(values, None, None, norm.weight, norm.bias, training=True).relu()
    assert torch.allclose(network(signals[:, :, None]), network[-1](values.flatten(1)), atol=1e-5)


def test_resnet_stem_keeps_every_pixel() -> None:
    network: Any = ResNet18(ImageTask(num_classes=10, channels=3, height=32, width=32))
    seen: list[torch.Size] = []
    network.body.layer1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    network(torch.randn(1, 3, 32, 32))
    assert seen == [(1, 64, 32, 32)]


def torchvision_file(folder: Path, **changes: Tensor) -> tuple[str, dict[str, Tensor]]:
    """A state dict as torchvision's files hold it, for 1,000 classes."""
    from torchvision.models import resnet18

    state = {**resnet18().state_dict(), **changes}
    torch.save(state, folder / "resnet18.pth")
    return str(folder / "resnet18.pth"), state


@pytest.mark.parametrize("channels", [1, 3])
def test_trained_weights_bring_their_own_stem_and_leave_the_head_new(channels: int, tmp_path: Path) -> None:
    file, state = torchvision_file(tmp_path)
    task = ImageTask(num_classes=7, channels=channels, height=32, width=32)
    network = ResNet18(task, file)
    own = network.body.state_dict()
    assert {key for key in state if not torch.equal(own[key], state[key])} == {"fc.weight", "fc.bias"} | (
        {"conv1.weight"} if channels == 1 else set()
    )
    assert network(torch.randn(2, channels, 32, 32)).shape == (2, 7)
    grey = torch.randn(2, 1, 32, 32).expand(2, channels, 32, 32)
    assert torch.allclose(
        network.body.conv1(grey), torch.conv2d(grey[:, :1].expand(2, 3, 32, 32), state["conv1.weight"], None, 2, 3),
        atol=1e-4,
    )  # fmt: skip


def test_weights_that_do_not_fit_or_cannot_be_had_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # where nothing is kept
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # where nobody answers
    file, _ = torchvision_file(tmp_path, **{"layer1.0.bn1.weight": torch.ones(3)})
    (tmp_path / "half.pth").write_bytes(Path(file).read_bytes()[:1000])
    refused: list[tuple[str, type[Exception], str]] = [
        (file, ValueError, "is for another network: layer1.0.bn1.weight does not fit$"),
        (str(tmp_path / "half.pth"), ValueError, "is damaged or not a state dict"),
        ("IMAGENET", ValueError, "is neither a file nor a name that torchvision knows: give a file, or IMAGENET1K_V1"),
        ("IMAGENET1K_V1", OSError, "cannot be fetched .*: put resnet18-.*pth there, or set model.pretrained"),
    ]
    for pretrained, kind, message in refused:
        with pytest.raises(kind, match=message):
            ResNet18(DIGITS, pretrained)


def test_configures_an_optimizer_and_no_scheduler() -> None:
    optimizer = ImageClassifier(optimizer=adamw, task=DIGITS).configure_optimizers()
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [(g["name"], g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        ("decay", 2e-3, 0.1),
        ("no_decay", 2e-3, 0.0),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": TextTask(vocab_size=5, context=8)},
            "needs images, the data gives text: choose a model for text",
        ),
        ({"network": "resnet19"}, "network='resnet19' is unknown: choose 'mlp', 'small', 'signal' or 'resnet18'"),
        (
            {"network": "signal"},
            r"is for signals, the data gives images of 8x8 pixels: set network=small \(model=cnn\)",
        ),
        ({"network": "signal", "task": SIGNALS, "width": 0}, "width=0: must be at least 1; 25 suits a CPU"),
        ({"network": "resnet18", "width": 64}, "width=64 belongs to other networks: leave it out"),
        ({"pretrained": "IMAGENET1K_V1"}, "pretrained='IMAGENET1K_V1' belongs to network=resnet18"),
        ({"layer_decay": 2.0}, "layer_decay=2.0: must be above 0 and at most 1"),
        ({"width": 0}, "width=0: must be at least 1"),
        ({"label_smoothing": 1.0}, "label_smoothing=1.0: must be at least 0 and below 1"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImageClassifier(**{"optimizer": adamw, "task": DIGITS, **options})


def test_training_step_never_waits_for_the_device() -> None:
    """Tensors on the meta device hold no values: reading one back, as ``.item()`` does, raises."""
    model = ImageClassifier(optimizer=adamw, task=DIGITS).to("meta")
    logged: dict[str, Tensor] = {}
    model.log_dict = lambda metrics, **options: logged.update(metrics)  # type: ignore[method-assign]
    images, labels = torch.empty(4, 1, 8, 8, device="meta"), torch.empty(4, dtype=torch.long, device="meta")
    assert model.training_step((images, labels)).is_meta
    assert set(logged) == {"train_loss", "train_acc"}


def test_label_smoothing_raises_the_training_loss_only() -> None:
    batch = torch.randn(8, 1, 8, 8), torch.arange(8)
    losses = {}
    for smoothing in (0.0, 0.5):
        torch.manual_seed(0)
        model = ImageClassifier(optimizer=adamw, task=DIGITS, label_smoothing=smoothing)
        logged: dict[str, Tensor] = {}
        model.log_dict = lambda metrics, logged=logged, **options: logged.update(metrics)  # type: ignore[method-assign]
        model.training_step(batch)
        model.validation_step(batch)
        losses[smoothing] = logged
    assert losses[0.0]["val_loss"] == losses[0.5]["val_loss"]
    assert losses[0.0]["train_loss"] != losses[0.5]["train_loss"]


@pytest.mark.parametrize("name", ["mlp", "cnn", "cnn_wide", "signal", "resnet18"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_configs_build(name: str, optimizer: str) -> None:
    build = hydra.utils.instantiate(OmegaConf.load(CONF / "optimizer" / f"{optimizer}.yaml"))
    config = OmegaConf.load(CONF / "model" / f"{name}.yaml")
    model = hydra.utils.instantiate(config, optimizer=build, task=SIGNALS if name == "signal" else DIGITS)
    assert [group["name"] for group in model.configure_optimizers().param_groups] == ["decay", "no_decay"]


# torch 2.11's compiler warns of what it does itself
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compile_keeps_the_names_in_the_state_dict() -> None:
    plain, compiled = (ImageClassifier(optimizer=adamw, task=DIGITS, compile=flag) for flag in (False, True))
    assert list(plain.state_dict()) == list(compiled.state_dict())
    assert compiled.network._compiled_call_impl is not None


def test_learns_digits_logs_and_saves_plainly(tmp_path: Path) -> None:
    torch.manual_seed(1)
    data = DigitsData(seed=1)
    model = ImageClassifier(optimizer=adamw, task=data.task, width=16)
    trainer = Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        callbacks=[ModelCheckpoint(tmp_path, save_last=True)],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
    )
    trainer.fit(model, datamodule=data)
    assert set(trainer.callback_metrics) == {"train_loss", "train_acc", "val_loss", "val_acc"}
    (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    assert set(metrics) == {"test_loss", "test_acc"}
    assert metrics["test_acc"] > 0.93
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4 * (1257 // 32)
    assert "hyper_parameters" not in saved
