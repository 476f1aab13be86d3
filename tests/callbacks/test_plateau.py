"""Plateaus in a real run: one decision for each fresh validation, before the checkpoint is written, and torch's own."""

from __future__ import annotations

import contextlib
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lr_recipes import LearningRateScheduler, schedules
from lr_recipes.schedules import Plateau
from tests.callbacks.harness import (
    PEAK,
    Preempted,
    Tiny,
    Validated,
    fit,
    go,
    keep_all,
    loader,
    messages,
    plan,
    prepare,
    sgd,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)
FLAT = [1.0] * 50


def halving(**options: Any) -> Plateau:
    return Plateau(**{"factor": 0.5, "patience": 0, **options})


def cuts(*lengths: int, base: float = PEAK, factor: float = 0.5) -> list[float]:
    """LRs of updates that are cut after ``lengths[0]``, then after ``lengths[1]`` more updates, and so on."""
    return [base * factor**index for index, length in enumerate(lengths) for _ in range(length)]


def improving(count: int = 50) -> list[float]:
    return [1.0 / (1 + n) for n in range(count)]


# When it decides


@pytest.mark.behaviour("B16")
def test_one_decision_for_each_validation() -> None:
    run = fit(halving(), module=Validated(FLAT), batches=3, max_epochs=4)
    assert run.used == cuts(6, 3, 3)


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize("every", [2, 3])
def test_epochs_without_validation_count_nothing(every: int) -> None:
    run = fit(halving(), module=Validated(FLAT), batches=2, max_epochs=9, check_val_every_n_epoch=every)
    first, rest = 4 * every, 18 - 4 * every
    expected = cuts(first, *[2 * every] * 9)[:18]
    assert rest > 0
    assert run.used == expected


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize("every", [1, 2])
def test_metric_that_always_improves_never_cuts(every: int) -> None:
    module = Validated(improving())
    run = fit(halving(), module=module, batches=2, max_epochs=8, check_val_every_n_epoch=every)
    assert run.used == [PEAK] * 16


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize(("interval", "every"), [(0.5, 2), (0.25, 1), (2, 2), (3, 3)])
def test_several_validations_in_an_epoch_are_several_decisions(interval: float, every: int) -> None:
    run = fit(halving(), module=Validated(FLAT), batches=4, max_epochs=3, val_check_interval=interval)
    lengths = [3, 4, 4, 4] if every == 3 else [every] * 20
    lengths[:2] = [lengths[0] + lengths[1]]
    assert run.used == cuts(*lengths)[:12]


@pytest.mark.behaviour("B16")
def test_validations_that_run_across_epochs_are_decisions_too() -> None:
    rhythm: dict[str, Any] = {"val_check_interval": 5, "check_val_every_n_epoch": None}
    run = fit(halving(), module=Validated(FLAT), batches=3, max_epochs=6, **rhythm)
    assert run.used == cuts(10, 5, 3)


@pytest.mark.behaviour("B16")
def test_sanity_check_is_no_decision() -> None:
    class AlsoInSanityCheck(Validated):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("val_loss", 0.0 if self.trainer.sanity_checking else 1.0)

    run = fit(halving(patience=1), module=AlsoInSanityCheck(), batches=2, max_epochs=4, num_sanity_val_steps=2)
    assert run.used == cuts(6, 2)


@pytest.mark.behaviour("B16")
def test_trainer_validate_between_two_fits_is_no_decision() -> None:
    run = prepare(halving(patience=1), module=Validated(FLAT), max_epochs=2)
    first = go(run, batches=2).used
    assert run.scheduler is not None
    state = run.scheduler.state_dict()
    for _ in range(3):
        run.trainer.validate(run.module, loader(1), verbose=False)
    assert run.scheduler.state_dict() == state
    run.trainer.fit_loop.max_epochs = 4
    assert first + go(run, batches=2).used == cuts(6, 2)


@pytest.mark.behaviour("B16")
def test_run_without_validation_decides_on_a_metric_of_the_training_epoch() -> None:
    class Trained(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            self.log("train_loss", 1.0, on_step=False, on_epoch=True)
            return self.loss(batch)

    run = fit(halving(monitor="train_loss"), module=Trained(), batches=2, max_epochs=4)
    assert run.used == cuts(4, 2, 2)


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_accumulation_and_interval_do_not_move_the_decisions(accumulate: int, interval: str) -> None:
    arguments: dict[str, Any] = {"accumulate_grad_batches": accumulate, "options": {"interval": interval}}
    run = fit(halving(), module=Validated(FLAT), batches=4, max_epochs=4, **arguments)
    updates = 4 // accumulate
    assert run.used == cuts(2 * updates, updates, updates)


# What it decides


RANDOM = random.Random(0)
METRICS = {
    "flat": FLAT,
    "improving": improving(),
    "noisy": [1 / (1 + n) + RANDOM.uniform(0, 0.2) for n in range(50)],
    "worse": [float(n) for n in range(50)],
    "up_and_down": [1.0, 0.95, 0.8, 0.8, 2.0, 0.7, 0.7, 0.7, 0.6999, 0.6, 0.9, 0.5],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "patience_0": {"patience": 0},
    "patience_2": {"patience": 2},
    "max": {"mode": "max", "patience": 1},
    "cooldown": {"patience": 0, "cooldown": 2},
    "absolute": {"patience": 1, "threshold": 0.1, "threshold_mode": "abs"},
    "relative": {"patience": 1, "threshold": 0.1},
}


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("values", METRICS.values(), ids=METRICS)
def test_decisions_are_those_of_torch(values: list[float], options: dict[str, Any]) -> None:
    run = fit(halving(**options), module=Validated(values), batches=1, max_epochs=12)
    optimizer = sgd([torch.nn.Parameter(torch.ones(1))])
    peer, expected = ReduceLROnPlateau(optimizer, factor=0.5, **options), []
    for value in values[:12]:
        expected.append(optimizer.param_groups[0]["lr"])
        peer.step(torch.tensor(value))
    assert run.used == pytest.approx(expected, rel=1e-12)


@pytest.mark.behaviour("B16")
@pytest.mark.parametrize("floor", [{"min_lr_ratio": 0.3}, {"min_lr": 0.03}])
def test_cuts_stop_at_the_floor(floor: dict[str, float]) -> None:
    run = fit(halving(**floor), module=Validated(FLAT), batches=1, max_epochs=6)
    assert run.used == pytest.approx([0.1, 0.1, 0.05, 0.03, 0.03, 0.03])


@pytest.mark.behaviour("B14")
def test_warmup_rises_and_then_cuts_follow() -> None:
    run = fit(halving(warmup=4, patience=1), module=Validated(FLAT), batches=2, max_epochs=6)
    assert run.used == [PEAK / 4, PEAK / 2, PEAK * 3 / 4, *cuts(3, 4, 2)]


@pytest.mark.behaviour("B19")
@pytest.mark.parametrize("values", [[math.nan] * 6, [1.0, math.nan, math.nan, 0.9, math.nan, 0.8]])
def test_nan_counts_as_no_validation_and_is_warned_of_once(values: list[float]) -> None:
    scheduler = LearningRateScheduler(halving())
    for _ in range(2):  # once in each fit
        run = prepare(module=Validated(values), callbacks=[scheduler], max_epochs=6)
        with pytest.warns(UserWarning, match="val_loss is not a number") as warned:
            go(run, batches=2)
        assert run.used == [PEAK] * 12
        assert sum("not a number" in str(warning.message) for warning in warned) == 1


@pytest.mark.behaviour("B19")
def test_bad_validations_around_a_nan_still_add_up() -> None:
    with pytest.warns(UserWarning, match="val_loss is not a number"):
        run = fit(halving(patience=1), module=Validated([1.0, 1.0, math.nan, 1.0, 1.0]), batches=1, max_epochs=5)
    assert run.used == cuts(4, 1)


@pytest.mark.behaviour("B19")
def test_infinity_is_a_bad_validation() -> None:
    run = fit(halving(), module=Validated([1.0, math.inf, 1.0, 1.0]), batches=1, max_epochs=3)
    assert run.used == cuts(2, 1)


@pytest.mark.behaviour("B16")
def test_cut_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(halving(), module=Validated(FLAT), batches=1, max_epochs=3)
    assert messages(caplog).count("SGD: val_loss has stopped improving, LR 0.1 -> 0.05") == 1
    assert messages(caplog).count("SGD: val_loss has stopped improving, LR 0.05 -> 0.025") == 1


# The metric


@pytest.mark.behaviour("B20")
def test_misspelt_metric_is_an_error_at_the_first_validation_with_its_neighbours() -> None:
    run = prepare(halving(monitor="val_los"), module=Validated(FLAT), max_epochs=2)
    with pytest.raises(ValueError, match=r"monitor='val_los' \(did you mean 'val_loss'\?\).*there are val_loss"):
        go(run, batches=3)
    assert len(run.used) == 3


@pytest.mark.behaviour("B20")
def test_metric_is_waited_for_until_the_first_validation() -> None:
    run = fit(halving(), module=Validated(FLAT), batches=2, max_epochs=6, check_val_every_n_epoch=3)
    assert run.used == cuts(12)


@pytest.mark.behaviour("B20")
def test_module_that_logs_nothing_is_told_what_to_log() -> None:
    class Mute(Tiny):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            pass

    run = prepare(halving(), module=Mute(), max_epochs=2)
    with pytest.raises(ValueError, match=r"there are none: log one with self\.log"):
        go(run, val=loader(1))


@pytest.mark.behaviour("B20")
def test_metric_of_the_end_of_a_validation_epoch_is_seen() -> None:
    class AtTheEnd(Tiny):
        def validation_step(self, batch: Tensor, batch_idx: int) -> None:
            pass

        def on_validation_epoch_end(self) -> None:
            self.log("val_loss", 1.0)

    run = prepare(halving(), module=AtTheEnd(), max_epochs=3)
    assert go(run, batches=1, val=loader(1)).used == cuts(2, 1)


# Checkpoints


@pytest.mark.behaviour("B18")
@pytest.mark.parametrize("options", [{}, {"save_on_train_epoch_end": True}, {"save_on_train_epoch_end": False}])
def test_run_that_is_preempted_in_every_epoch_decides_like_one_that_is_not(
    options: dict[str, Any], tmp_path: Path
) -> None:
    schedule = halving(patience=1, warmup=3, cooldown=1)
    values = [1.0, 0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8]
    arguments: dict[str, Any] = {"module": Validated(values), "max_epochs": 8}
    whole = fit(schedule, batches=2, **arguments).used
    assert len(set(whole)) == 5
    parts: list[float] = []
    for epoch in range(8):
        saving = ModelCheckpoint(tmp_path, save_last=True, **options)
        run = prepare(schedule, module=Validated(values), max_epochs=8, callbacks=[saving, Preempted()])
        with pytest.raises(RuntimeError, match="preempted") if epoch < 7 else contextlib.nullcontext():
            go(run, batches=2, ckpt_path=tmp_path / "last.ckpt" if epoch else None)
        parts += run.used
    assert parts == whole


@pytest.mark.behaviour("B18")
@pytest.mark.parametrize("monitor", [None, "val_loss"])
def test_checkpoint_of_a_validation_holds_its_decision(monitor: str | None, tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, filename="{epoch}", monitor=monitor, save_top_k=-1)
    fit(halving(), module=Validated(FLAT), batches=2, max_epochs=3, callbacks=[saving])
    lrs = []
    for epoch in range(3):
        saved = torch.load(tmp_path / f"epoch={epoch}.ckpt", weights_only=True)
        lrs.append(saved["optimizer_states"][0]["param_groups"][0]["lr"])
    assert lrs == [0.1, 0.05, 0.025]


@pytest.mark.behaviour("B18")
@pytest.mark.parametrize("at", range(1, 12))
def test_plateau_resumes_at_every_update(at: int, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"batches": 4, "max_epochs": 3, "val_check_interval": 2}
    schedule = halving(patience=1)
    whole = fit(schedule, module=Validated(FLAT), callbacks=[keep_all(tmp_path)], **arguments)
    resumed = fit(schedule, module=Validated(FLAT), ckpt_path=tmp_path / f"step={at}.ckpt", **arguments)
    assert whole.used == [lr_after(n // 2) for n in range(12)]
    # When Lightning goes on from the last batch before a validation, it leaves that validation out.
    left_out = 1 if at % 2 == 0 else 0
    assert resumed.used == [lr_after(n // 2 - left_out) for n in range(at, 12)]


def lr_after(validations: int) -> float:
    """LR after some validations with the same result, where two bad ones cut."""
    return PEAK * 0.5 ** (max(validations - 1, 0) // 2)


class Failing(Callback):
    """Raises once, when the third epoch starts."""

    healthy = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == 2 and not self.healthy:
            self.healthy = True
            raise RuntimeError("a bad epoch")


@pytest.mark.behaviour("B18")
def test_cuts_are_kept_when_fit_goes_on_after_an_exception() -> None:
    run = prepare(halving(), module=Validated(FLAT), max_epochs=4, callbacks=[Failing()])
    with pytest.raises(RuntimeError, match="a bad epoch"):
        go(run, batches=2)
    first = run.used
    go(run, batches=2)
    assert first == cuts(4)
    assert run.used[:2] == cuts(0, 2)


@pytest.mark.behaviour("B16")
def test_plateau_and_other_schedules_of_two_optimizers_decide_apart() -> None:
    class Two(Validated):
        def __init__(self) -> None:
            super().__init__(FLAT)
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [sgd([self.weights[0]]), sgd([self.weights[1]])]

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

    linear = schedules.Linear()
    run = fit({0: halving(), 1: linear}, module=Two(), batches=2, max_epochs=4, options={"total_steps": 8})
    assert [lr for (lr,) in run.groups(0)] == cuts(4, 2, 2)
    assert [lr for (lr,) in run.groups(1)] == plan(linear, 8)
