"""What can be read in the code of a module and of callbacks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import BaseFinetuning, LearningRateFinder
from lightning.pytorch.demos.boring_classes import BoringModel
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from lr_recipes.callbacks.own_code import own_code

NAME = "their_name"


class Logs(LightningModule):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("train_loss", 1.0, on_step=True, on_epoch=True)
        self.log_dict({"train/acc": 1.0, f"train/{NAME}": 1.0})

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log(name="val_loss", value=1.0)

    def on_validation_epoch_end(self) -> None:
        for k in range(3):
            self.log(f"val/top{k}", 1.0)


class LogsMore(Logs):
    def on_train_epoch_end(self) -> None:
        self.log(NAME, 1.0)


class LogsThere(Callback):
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        pl_module.log("theirs", 1.0)


@pytest.mark.parametrize(
    ("name", "validated"),
    [
        ("train_loss", False),
        ("train_loss_epoch", False),
        ("train/acc", False),
        ("train/whatever", False),
        ("val_loss", True),
        ("val_loss/dataloader_idx_1", True),
        ("val/top2", True),
        ("theirs", True),
    ],
)
def test_a_metric_that_is_logged(name: str, validated: bool) -> None:
    code = own_code(Logs(), [LogsThere()])
    assert code.logs_metric(name) is True
    assert code.in_validation(name) is validated


@pytest.mark.parametrize(
    ("name", "validated"), [("valid_loss", True), ("train_accuracy", False), ("loss", None), ("val_los", True)]
)
def test_a_metric_that_nobody_logs(name: str, validated: bool | None) -> None:
    assert own_code(Logs(), []).logs_metric(name) is False
    assert own_code(LogsMore(), []).logs_metric(name) is None  # it may be what the name that cannot be read is
    assert own_code(Logs(), []).in_validation(name) is validated


def test_the_method_that_is_called_is_read_and_not_the_one_it_replaces() -> None:
    class Other(Logs):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("other", 1.0)

    code = own_code(Other(), [])
    assert code.logs_metric("other") is True
    assert code.logs_metric("train_loss") is False
    assert code.logs_metric("val_loss") is True


# LRs and schedulers


class Writes(Callback):
    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        for group in trainer.optimizers[0].param_groups:
            group["lr"] *= 0.5


class Updates(Callback):
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        trainer.optimizers[0].param_groups[0].update(lr=0.5)


class Touches(Callback):
    """Hides it."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        key = "".join(["l", "r"])
        for group in trainer.optimizers[0].param_groups:
            group[key] = 0.5


class Reads(Callback):
    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen = [scheduler.get_last_lr() for scheduler in pl_module.lr_schedulers()]


class Ticks(LightningModule):
    def on_train_batch_end(self, *_: Any) -> None:
        self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]


class Keeps(LightningModule):
    """Ticks a scheduler that it keeps under a name which says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.other = StepLR(SGD(self.layer.parameters(), lr=0.1), 3)

    def on_train_epoch_end(self) -> None:
        self.other.step()


class StepsItself(LightningModule):
    """By hand: an optimizer is no scheduler."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        opt = self.optimizers()
        opt.step()  # type: ignore[union-attr]


class Builds(LightningModule):
    """Writes an LR, and ticks, while it builds: that is no matter of the run."""

    def configure_optimizers(self) -> Any:
        optimizer = SGD([nn.Parameter(torch.ones(1))], lr=0.1)
        optimizer.param_groups[0]["lr"] = 0.2
        scheduler = StepLR(optimizer, 3)
        scheduler.step()
        return [optimizer], [scheduler]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step()
        scheduler.optimizer.param_groups[0]["lr"] = 0.3


class Skips(LightningModule):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if batch_idx % 2:
            optimizer.step(closure=optimizer_closure)


class Warms(LightningModule):
    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if self.trainer.global_step < 5:
            for group in optimizer.param_groups:
                group["lr"] = 0.1
        optimizer.step(closure=optimizer_closure)


@pytest.mark.parametrize(
    ("one", "writes", "ticks", "touches", "skips"),
    [
        (Writes(), ["Writes.on_train_batch_start"], [], ["Writes.on_train_batch_start"], False),
        (Updates(), ["Updates.on_train_epoch_end"], [], ["Updates.on_train_epoch_end"], False),
        (Touches(), [], [], ["Touches.on_train_batch_end"], False),
        (Reads(), [], [], [], False),
        (Ticks(), [], ["Ticks.on_train_batch_end"], [], False),
        (Keeps(), [], ["Keeps.on_train_epoch_end"], [], False),
        (StepsItself(), [], [], [], False),
        (Builds(), [], [], [], False),
        (Skips(), [], [], [], True),
        (Warms(), ["Warms.optimizer_step"], [], ["Warms.optimizer_step"], False),
        (BoringModel(), [], [], [], False),
        (LearningRateFinder(), [], [], [], False),
        (BaseFinetuning(), [], [], [], False),
    ],
    ids=lambda one: type(one).__name__ if isinstance(one, (Callback, LightningModule)) else "",
)
def test_who_writes_an_lr_who_ticks_and_who_skips(
    one: Any, writes: list[str], ticks: list[str], touches: list[str], skips: bool
) -> None:
    module, callbacks = (one, []) if isinstance(one, LightningModule) else (BoringModel(), [one])
    code = own_code(module, callbacks)
    assert (code.writes_lr, code.ticks, code.touches, code.skips_steps) == (writes, ticks, touches, skips)


def test_what_is_logged_elsewhere_is_not_known() -> None:
    class HandsOn(Logs):
        def on_train_epoch_end(self) -> None:
            isinstance(self, Logs)
            log_all(self)

    assert own_code(HandsOn(), []).logs_metric("whatever") is None
    assert own_code(HandsOn(), []).logs_metric("val_loss") is True


def log_all(module: Any) -> None: ...


def test_of_code_that_cannot_be_read_nothing_is_known() -> None:
    method = "def training_step(self, batch, batch_idx):\n        self.log('typed', 1.0)"
    space: dict[str, Any] = {"LightningModule": LightningModule, "__name__": "typed"}
    exec(f"class Typed(LightningModule):\n    {method}", space)
    code = own_code(space["Typed"](), [])
    assert code.logs_metric("typed") is None
    assert code.logs == {}
    assert code.writes_lr == code.ticks == []
