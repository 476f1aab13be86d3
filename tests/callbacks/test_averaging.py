"""Schedules beside averaged weights and schedule-free optimizers: the record stays right, and resuming is exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from schedulefree import AdamWScheduleFree, AdamWScheduleFreeClosure, SGDScheduleFree
from torch import Tensor, nn
from torch.optim.lr_scheduler import StepLR

from examples.schedule_free import ScheduleFree
from lr_recipes import LearningRateScheduler, LearningRateWarmup, forecast, schedules
from lr_recipes.callbacks.learning_rate_range_test import LearningRateRangeTest
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import PEAK, Tiny, fit, keep_all, loader, messages, plan, quiet_trainer, record_lrs

pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
COSINE, WARMUP = schedules.Cosine(warmup=4), schedules.Fixed(warmup=4)


class Bowl(Tiny):
    """A loss that has a minimum, so that each update depends on those before it; validates what it trains."""

    def loss(self, batch: Tensor) -> Tensor:
        return torch.stack([((weight - 3) ** 2 * batch.mean()).sum() for weight in self.weights]).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class Free(ScheduleFree, Bowl):
    pass


AVERAGES: dict[str, Callable[[], Callback]] = {
    "mean": WeightAveraging,
    "ema": lambda: EMAWeightAveraging(decay=0.9),
}


def trained(folder: Path, module: Any, schedule: Any, *callbacks: Callback, **arguments: Any) -> Any:
    """Train 2 epochs of 8 batches that validate twice an epoch; every update must use what was planned."""
    callbacks = (*callbacks, keep_all(folder), record_lrs(folder))
    options = {"max_epochs": 2, "val_check_interval": 0.5, "val": loader(2), **arguments}
    run = fit(schedule, module=module, callbacks=callbacks, **options)
    assert [float(row["lr/group0"]) for row in read_rows(folder / "lr.csv")] == pytest.approx(plan(schedule, 16))
    return run


def weights(module: LightningModule) -> list[Tensor]:
    return [one.detach() for one in module.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(map(torch.equal, one, other))


def of_checkpoint(path: Path) -> list[Tensor]:
    return [*torch.load(path, weights_only=True)["state_dict"].values()]


# Averages


@pytest.mark.parametrize("average", AVERAGES.values(), ids=AVERAGES)
def test_the_weights_are_averaged_and_the_lr_is_the_planned_one(
    average: Callable[[], Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    callback, plain = average(), trained(tmp_path / "plain", Bowl(), COSINE)
    whole = trained(tmp_path / "whole", Bowl(), COSINE, callback)
    assert whole.used == plain.used == plan(COSINE, 16)  # validating on the average changes no update
    assert int(callback._average_model.n_averaged) == 16
    assert messages(caplog).count("used = planned on 16 of 16 updates, schedule complete") == 2
    seen = [of_checkpoint(tmp_path / "plain" / f"step={n}.ckpt") for n in range(1, 17)]
    expected = seen[0]
    for n, now in enumerate(seen[1:], 1):
        share = 1 / (n + 1) if average is WeightAveraging else 0.1
        expected = [old + share * (new - old) for old, new in zip(expected, now, strict=True)]
    torch.testing.assert_close(weights(whole.module), expected)


@pytest.mark.parametrize("average", AVERAGES.values(), ids=AVERAGES)
def test_an_average_goes_on_from_a_checkpoint(average: Callable[[], Any], tmp_path: Path) -> None:
    whole = trained(tmp_path, Bowl(), COSINE, average())
    for step in (5, 8):
        resumed = trained(tmp_path, Bowl(), COSINE, average(), ckpt_path=tmp_path / f"step={step}.ckpt")
        assert same(weights(resumed.module), weights(whole.module))


def test_a_range_test_leaves_no_trace_in_the_average(tmp_path: Path) -> None:
    average = EMAWeightAveraging(decay=0.9)
    sweep = LearningRateRangeTest(num_training_steps=20, apply=False, plot=False, dirpath=tmp_path)
    swept = trained(tmp_path, Bowl(), COSINE, sweep, average)
    assert int(average._average_model.n_averaged) == 16
    assert same(weights(swept.module), weights(trained(tmp_path, Bowl(), COSINE, EMAWeightAveraging(decay=0.9)).module))


class Two(Bowl):
    """Muon for a matrix and AdamW for a vector, stepped together."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))])

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        both: Any = self.optimizers()
        for optimizer in both:
            optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        for optimizer in both:
            optimizer.step()

    def configure_optimizers(self) -> Any:
        matrix, vector = self.weights
        return [torch.optim.Muon([matrix], lr=0.02), torch.optim.AdamW([vector], lr=0.003)]


# A momentum that warms up from 0.85 to 0.95, and a weight decay that falls to 0: as nanochat trains with Muon.
MUON = schedules.Hyperparameters(
    lr=COSINE,
    momentum=schedules.Fixed(warmup=4, warmup_start_factor=0.85 / 0.95),
    weight_decay=schedules.Linear(),
)
BOTH: dict[str, Any] = {"schedule": {"Muon": MUON, "AdamW": WARMUP}, "options": {"total_steps": 16}}


def test_muon_beside_adamw_is_recorded_and_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    callbacks = [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1), record_lrs(tmp_path)]
    options = {**BOTH, "max_epochs": 2, "val": loader(2), "callbacks": callbacks}
    whole = fit(module=Two(), **options)
    resumed = fit(module=Two(), **options, ckpt_path=tmp_path / "epoch=0.ckpt")
    assert same(weights(resumed.module), weights(whole.module))
    assert messages(caplog).count("used = planned on 16 of 16 updates, schedule complete") == 4
    muon, adamw = ([*read_rows(tmp_path / f"lr-{name}.csv")] for name in BOTH["schedule"])
    assert [float(row["lr/group0"]) for row in muon] == pytest.approx(plan(COSINE, 16, base=0.02))
    assert [float(row["lr/group0"]) for row in adamw] == pytest.approx(plan(WARMUP, 16, base=0.003))
    shares = [min(n / 4, 1) for n in range(16)]
    momenta = [(1 - share) * 0.85 + share * 0.95 for share in shares]
    assert [float(row["momentum/group0"]) for row in muon] == pytest.approx(momenta)
    assert [float(row["weight_decay/group0"]) for row in muon] == pytest.approx([0.1 * (1 - n / 16) for n in range(16)])


@pytest.mark.parametrize(("every", "averaged"), [(1, 16), (2, 0)])
def test_an_average_counts_the_steps_of_all_muon_s_neighbours(every: int, averaged: int) -> None:
    average = EMAWeightAveraging(decay=0.9, update_every_n_steps=every)
    fit(module=Two(), **BOTH, max_epochs=2, val=loader(2), callbacks=[average])
    assert average._average_model is not None
    assert int(average._average_model.n_averaged) == averaged


# Schedule-free

FREE: dict[str, Any] = {"adamw": AdamWScheduleFree, "sgd": SGDScheduleFree, "closure": AdamWScheduleFreeClosure}


@pytest.mark.parametrize("kind", FREE.values(), ids=FREE)
def test_a_schedule_free_run_is_saved_and_resumed_at_what_it_validates(kind: Any, tmp_path: Path) -> None:
    def module() -> Any:
        return (Bowl if kind is AdamWScheduleFreeClosure else Free)(lambda p: kind(p, lr=PEAK))

    whole = trained(tmp_path, module(), WARMUP)
    saved = [torch.load(tmp_path / f"step={n}.ckpt", weights_only=True) for n in range(1, 17)]
    # What is validated is the mean of the sequence z that the gradients move, each weighted by the largest LR so far,
    # squared.
    total, mean = 0.0, [torch.zeros(2), torch.zeros(2)]
    for checkpoint, lr in zip(saved, plan(WARMUP, 16), strict=True):
        moved = [one["z"] for one in checkpoint["optimizer_states"][0]["state"].values()]
        total += lr**2
        mean = [old + lr**2 / total * (z - old) for old, z in zip(mean, moved, strict=True)]
        torch.testing.assert_close([*checkpoint["state_dict"].values()], mean)
    for step in (5, 8):
        resumed = trained(tmp_path, module(), WARMUP, ckpt_path=tmp_path / f"step={step}.ckpt")
        assert same(weights(resumed.module), weights(whole.module))


def test_a_range_test_leaves_the_modes_as_they_are(tmp_path: Path) -> None:
    def module() -> Any:
        return Free(lambda p: AdamWScheduleFree(p, lr=PEAK))

    sweep = LearningRateRangeTest(num_training_steps=20, apply=False, plot=False, dirpath=tmp_path)
    swept = trained(tmp_path, module(), WARMUP, sweep)
    assert sweep.result is not None
    assert same(weights(swept.module), weights(trained(tmp_path, module(), WARMUP).module))


@pytest.mark.parametrize("kind", [AdamWScheduleFree, SGDScheduleFree])
def test_our_warmup_is_theirs(kind: Any, tmp_path: Path) -> None:
    ours = trained(tmp_path, Free(lambda p: kind(p, lr=PEAK)), WARMUP)
    theirs = fit(module=Free(lambda p: kind(p, lr=PEAK, warmup_steps=4)), max_epochs=2, val=loader(2))
    assert same(weights(ours.module), weights(theirs.module))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_those_that_need_no_hooks_are_right_without_accumulation(accumulate: int) -> None:
    options: dict[str, Any] = {"max_epochs": 2, "val": loader(2), "accumulate_grad_batches": accumulate}
    hooks = fit(WARMUP, module=Free(lambda p: AdamWScheduleFree(p, lr=PEAK)), **options)
    none = fit(WARMUP, module=Bowl(lambda p: AdamWScheduleFreeClosure(p, lr=PEAK)), **options)
    assert hooks.used == none.used
    near = [torch.allclose(*both) for both in zip(weights(hooks.module), weights(none.module), strict=True)]
    assert near == [accumulate == 1] * 2


OWN = Callable[[], Callback]
OWNERS: dict[str, OWN] = {
    "schedule": lambda: LearningRateScheduler(WARMUP),
    "warmup": lambda: LearningRateWarmup(4),
    "range test": LearningRateRangeTest,
}


def warms_up_itself(weights: list[nn.Parameter]) -> Any:
    return AdamWScheduleFree(weights, lr=PEAK, warmup_steps=4)


@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS)
def test_a_second_warmup_is_refused(owner: OWN) -> None:
    with pytest.raises(ValueError, match=r"AdamWScheduleFree has warmup_steps=4 in group0: .* warmup_steps=0"):
        quiet_trainer([owner()], max_epochs=1).fit(Free(warms_up_itself), loader(8), loader(2))


def test_a_warmup_that_is_over_is_no_matter(tmp_path: Path) -> None:
    keep = keep_all(tmp_path)
    fit(module=Free(warms_up_itself), callbacks=[keep], max_epochs=1, val=loader(2))
    schedule = schedules.Linear()
    resumed = fit(
        schedule,
        module=Free(warms_up_itself),
        callbacks=[keep],
        ckpt_path=tmp_path / "step=8.ckpt",
        max_epochs=2,
        val=loader(2),
        options={"resume": "config"},
    )
    assert resumed.used == plan(schedule, 16)[8:]


def test_a_warmup_within_the_step_is_foretold() -> None:
    def scheduled(weights: list[nn.Parameter]) -> Any:
        optimizer = warms_up_itself(weights)
        return [optimizer], [StepLR(optimizer, 1)]

    for build in (warms_up_itself, scheduled):
        found = forecast(quiet_trainer([], max_epochs=2), Free(build), loader(8)).findings
        assert [(one.name, one.update) for one in found] == [("own_warmup", 0)]
