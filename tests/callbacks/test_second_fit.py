"""A Trainer that fits again goes on where it stopped, whatever was tested, validated or restored in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from tests.callbacks.harness import PEAK, Oracle, Validated, loader, quiet_trainer

pytestmark = pytest.mark.filterwarnings("ignore:.*weights_only.*")


class WithTest(Validated):
    def test_step(self, batch: Any, batch_idx: int) -> None: ...


class Two(WithTest):
    """Two optimizers that do not count their own updates."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> list[Optimizer]:
        return [SGD([weight], lr=PEAK) for weight in self.weights]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


def decaying(parameters: list[Any]) -> Any:
    optimizer = SGD(parameters, lr=PEAK)
    return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}]


CASES: dict[str, tuple[Any, Any]] = {
    "plateau": (
        lambda: WithTest([1.0] * 20), lambda: LearningRateScheduler(schedules.Plateau(patience=0, factor=0.5))),
    "two optimizers": (Two, lambda: LearningRateScheduler(schedules.Cosine(), total_steps=16)),
    "a longer fit": (lambda: WithTest(), lambda: LearningRateScheduler(schedules.InverseSqrt(timescale=3, warmup=2))),
}  # fmt: skip


def used(between: str, case: str, folder: Path) -> list[list[tuple[float, ...]]]:
    """The LRs of two fits of four epochs, of every optimizer."""
    module, callback = CASES[case]
    oracle, keep = Oracle(), ModelCheckpoint(folder, save_last=True)
    trainer = quiet_trainer([callback(), oracle, keep], max_epochs=4)
    one: Any = module()
    trainer.fit(one, loader(2), loader(1))
    first = oracle.used
    if between == "test":
        trainer.test(one, loader(1), ckpt_path=keep.last_model_path, verbose=False)
    if between == "validate":
        trainer.validate(one, loader(1), ckpt_path=keep.best_model_path, verbose=False)
    trainer.fit_loop.max_epochs = 8
    trainer.fit(one, loader(2), loader(1))
    return [whole + rest for whole, rest in zip(first, oracle.used, strict=True)]


@pytest.mark.behaviour("B42")
@pytest.mark.parametrize("case", CASES)
def test_what_is_tested_in_between_changes_nothing(case: str, tmp_path: Path) -> None:
    expected = used("nothing", case, tmp_path / "nothing")
    assert all(len(lrs) == 16 for lrs in expected)
    for between in ("test", "validate"):
        assert used(between, case, tmp_path / between) == expected, between


@pytest.mark.behaviour("B42")
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_plateau_goes_on_after_a_fit_that_was_resumed(tmp_path: Path) -> None:
    """The second fit has no checkpoint: it goes on from what the first has ended with, not from what it began with."""
    plateau = schedules.Plateau(patience=0, factor=0.5)
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    first = quiet_trainer([LearningRateScheduler(plateau), keep], max_epochs=3)
    first.fit(WithTest([1.0] * 20), loader(2), loader(1))
    oracle, module = Oracle(), WithTest([1.0] * 20)
    trainer = quiet_trainer([LearningRateScheduler(plateau), oracle], max_epochs=5)
    trainer.fit(module, loader(2), loader(1), ckpt_path=tmp_path / "epoch=2.ckpt")
    lrs = [lr for (lr,) in oracle.used[0]]
    trainer.fit_loop.max_epochs = 7
    trainer.fit(module, loader(2), loader(1))
    lrs += [lr for (lr,) in oracle.used[0]]
    assert lrs[::2] == [PEAK / 4, PEAK / 8, PEAK / 16, PEAK / 32]


@pytest.mark.behaviour("B42")
def test_a_warmup_and_a_record_go_on_too(tmp_path: Path) -> None:
    """The warmup is over in the first fit; a test of a checkpoint from within it does not bring it back."""
    oracle, keep = Oracle(), ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [LearningRateWarmup(3), LearningRateLogger(tmp_path, plot=False), oracle, keep]
    trainer, module = quiet_trainer(callbacks, max_epochs=2), WithTest(build=decaying)
    trainer.fit(module, loader(4), loader(1))
    trainer.test(module, loader(1), ckpt_path=str(tmp_path / "step=2.ckpt"), verbose=False)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, loader(4), loader(1))
    assert [lr for (lr,) in oracle.used[0]] == pytest.approx([PEAK * 0.9**n for n in range(4)])  # a new scheduler
    steps = [line.split(",")[0] for line in (tmp_path / "lr.csv").read_text().splitlines()[1:]]
    assert steps == [str(n) for n in range(12)]


@pytest.mark.behaviour("B42")
def test_what_is_tested_is_not_what_is_saved_afterwards(tmp_path: Path) -> None:
    """A checkpoint that is written after a test holds the state of the fit, not of what was tested."""
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [LearningRateScheduler(schedules.Cosine()), LearningRateLogger(tmp_path, plot=False)]
    trainer, module = quiet_trainer([*callbacks, keep], max_epochs=2), WithTest()
    trainer.fit(module, loader(4), loader(1))
    ended = [callback.state_dict() for callback in callbacks]
    trainer.test(module, loader(1), ckpt_path=str(tmp_path / "step=2.ckpt"), verbose=False)
    assert [callback.state_dict() for callback in callbacks] == ended
    assert ended[0]["optimizers"]["SGD"]["position"] == 8


@pytest.mark.parametrize("make", [lambda: LearningRateScheduler(schedules.Linear()), lambda: LearningRateWarmup(3)])
def test_a_callback_that_is_given_to_another_trainer_begins_anew(make: Any, tmp_path: Path) -> None:
    callback, logger = make(), LearningRateLogger(tmp_path, plot=False)
    runs = []
    for _ in range(2):
        oracle = Oracle()
        quiet_trainer([callback, logger, oracle], max_epochs=1).fit(WithTest(), loader(8), loader(1))
        runs.append((oracle.used, (tmp_path / "lr.csv").read_text(), logger.state_dict()["audits"]))
    assert runs[0] == runs[1]
    assert len(runs[0][0][0]) == 8
