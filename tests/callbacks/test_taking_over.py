"""LearningRateScheduler(replace=True) over schedulers of torch that write over what the optimizer was built with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CyclicLR, OneCycleLR, SequentialLR, StepLR

from lr_recipes import LearningRateRangeTest, schedules
from tests.callbacks.harness import Run, Tiny, fit, keep_all, plan
from tests.callbacks.test_learning_rate_range_test import Net, data, seed

pytestmark = [
    pytest.mark.behaviour("B54"),
    pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using 'interval'. 'epoch'"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
]
COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
THEIRS: dict[str, Callable[[Optimizer], Any]] = {
    "one_cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=1.0, total_steps=99),
    "cyclic": lambda optimizer: CyclicLR(optimizer, base_lr=0.3, max_lr=1.0),
    "cyclic without momentum": lambda optimizer: CyclicLR(optimizer, 0.3, 1.0, cycle_momentum=False),
    "sequence": lambda optimizer: SequentialLR(
        optimizer, [StepLR(optimizer, 3), OneCycleLR(optimizer, max_lr=1.0, total_steps=9)], milestones=[5]
    ),
}


class Momenta(Callback):
    """What every update used: SGD's momentum or Adam's beta1, of each group."""

    def __init__(self) -> None:
        self.used: list[list[float]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.optimizers[0].register_step_pre_hook(lambda one, *_: self.used.append(momenta(one)))


def momenta(optimizer: Optimizer) -> list[float]:
    return [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]


def two_groups(weights: list[nn.Parameter], kind: Any = SGD, tensors: bool = False) -> Optimizer:
    """One group has an LR and a momentum of its own, the other those of the optimizer."""
    lrs = [torch.tensor(lr) for lr in (0.01, 0.1)] if tensors else [0.01, 0.1]
    own, shared = [{"momentum": m} if kind is SGD else {"betas": (m, 0.99)} for m in (0.5, 0.8)]
    return kind([{"params": weights[:1], "lr": lrs[0], **own}, {"params": weights[1:]}], lr=lrs[1], **shared)


def taken_over(
    make: Callable[[Optimizer], Any], *callbacks: Callback, build: Any = two_groups, **arguments: Any
) -> Run:
    def both(weights: list[nn.Parameter]) -> Any:
        optimizer = build(weights)
        return [optimizer], [make(optimizer)]

    options = {"replace": True, **arguments.pop("options", {})}
    return fit(COSINE, module=Tiny(both), callbacks=callbacks, options=options, **{"max_epochs": 1, **arguments})


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("kind", [SGD, Adam])
@pytest.mark.parametrize("tensors", [False, True])
def test_peak_and_momentum_are_the_optimizers_own(name: str, kind: Any, tensors: bool) -> None:
    seen = Momenta()
    run = taken_over(THEIRS[name], seen, build=lambda weights: two_groups(weights, kind, tensors))
    expected = list(zip(plan(COSINE, 8, base=0.01), plan(COSINE, 8, base=0.1), strict=True))
    assert run.groups() == [pytest.approx(lrs) for lrs in expected]
    assert seen.used == [[0.5, 0.8]] * 8
    assert run.trainer.lr_scheduler_configs == []


def test_torch_is_as_it_was_after_a_fit_and_after_one_that_fails() -> None:
    inits = OneCycleLR.__init__, CyclicLR.__init__
    taken_over(THEIRS["one_cycle"])
    assert inits == (OneCycleLR.__init__, CyclicLR.__init__)
    with pytest.raises(ValueError, match="max_lr"):
        taken_over(lambda optimizer: OneCycleLR(optimizer, max_lr=[1.0], total_steps=99))
    assert inits == (OneCycleLR.__init__, CyclicLR.__init__)


def test_an_optimizer_that_the_module_builds_before_is_known_too() -> None:
    class Early(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.optimizer = two_groups(list(self.weights))

        def configure_optimizers(self) -> Any:
            return [self.optimizer], [OneCycleLR(self.optimizer, max_lr=1.0, total_steps=99)]

    run = fit(COSINE, module=Early(), max_epochs=1, options={"replace": True})
    assert [lrs[0] for lrs in run.groups()] == plan(COSINE, 8, base=0.01)


def test_a_scheduler_that_the_module_builds_before_leaves_the_optimizers_arguments() -> None:
    class Earlier(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.optimizer = SGD(self.weights, lr=0.1, momentum=0.8)
            self.scheduler = OneCycleLR(self.optimizer, max_lr=1.0, total_steps=99)

        def configure_optimizers(self) -> Any:
            return [self.optimizer], [self.scheduler]

    seen = Momenta()
    run = fit(COSINE, module=Earlier(), callbacks=[seen], max_epochs=1, options={"replace": True})
    assert run.used == plan(COSINE, 8, base=0.1)
    assert seen.used == [[0.8]] * 8


def test_each_of_two_optimizers() -> None:
    class Two(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(self.loss(batch))
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

        def configure_optimizers(self) -> Any:
            first, second = (SGD([weight], lr=lr) for weight, lr in zip(self.weights, (0.1, 0.02), strict=True))
            made = [OneCycleLR(one, max_lr=1.0, total_steps=99, cycle_momentum=False) for one in (first, second)]
            return [first, second], made

    run = fit(COSINE, module=Two(), max_epochs=1, options={"replace": True, "total_steps": 8})
    assert [lr for (lr,) in run.groups(0)] == plan(COSINE, 8, base=0.1)
    assert [lr for (lr,) in run.groups(1)] == plan(COSINE, 8, base=0.02)


@pytest.mark.parametrize("name", THEIRS)
def test_resumed_run(name: str, tmp_path: Path) -> None:
    whole, seen = taken_over(THEIRS[name], keep_all(tmp_path)), Momenta()
    resumed = taken_over(THEIRS[name], seen, ckpt_path=tmp_path / "step=3.ckpt")
    assert resumed.groups() == whole.groups()[3:]
    assert seen.used == [[0.5, 0.8]] * 5


def test_resumed_run_of_a_checkpoint_that_torchs_scheduler_made(tmp_path: Path) -> None:
    def both(weights: list[nn.Parameter]) -> Any:
        optimizer = two_groups(weights)
        return [optimizer], [{"scheduler": OneCycleLR(optimizer, max_lr=1.0, total_steps=99), "interval": "step"}]

    fit(module=Tiny(both), callbacks=[keep_all(tmp_path)], max_epochs=1)
    seen = Momenta()
    run = taken_over(THEIRS["one_cycle"], seen, ckpt_path=tmp_path / "step=3.ckpt")
    assert [lrs[1] for lrs in run.groups()] == pytest.approx(plan(COSINE, 8, base=0.1)[3:])
    assert seen.used == [[0.5, 0.8]] * 5


def test_the_peak_that_a_range_test_has_found(tmp_path: Path) -> None:
    def build(weights: Any) -> Any:
        optimizer = Adam(weights, lr=1e-3)
        return [optimizer], [OneCycleLR(optimizer, max_lr=1.0, total_steps=99)]

    def run(ckpt_path: Any = None) -> tuple[Run, LearningRateRangeTest]:
        seed()
        test = LearningRateRangeTest(dirpath=tmp_path, plot=False)
        return fit(
            COSINE,
            module=Net(build),
            train=data(),
            val=data(shuffle=False),
            callbacks=[test, keep_all(tmp_path)],
            options={"replace": True},
            max_epochs=1,
            ckpt_path=ckpt_path,
        ), test

    whole, test = run()
    assert test.result is not None
    assert test.result.suggestion is not None
    assert whole.used == pytest.approx(plan(COSINE, 8, base=test.result.suggestion))
    resumed, _ = run(tmp_path / "step=3.ckpt")
    assert resumed.used == whole.used[3:]
