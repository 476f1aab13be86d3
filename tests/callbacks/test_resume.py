"""Going on from a checkpoint: exactly, or with a question; and what a checkpoint holds."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR

from lr_recipes import schedules
from lr_recipes.plan.resume import ResumeError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import (
    PEAK,
    SCHEDULES,
    Run,
    Tiny,
    Validated,
    factors,
    fit,
    go,
    keep_all,
    messages,
    plan,
    prepare,
    record_lrs,
    sgd,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:Using ModelCheckpoint with manual optimization",
)
COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def saved_run(folder: Path, schedule: Any = COSINE, *, callbacks: Any = (), **arguments: Any) -> Run:
    """Train two epochs of eight updates, unless told otherwise, with a checkpoint after each."""
    return fit(schedule, callbacks=[*callbacks, keep_all(folder)], **{"max_epochs": 2, **arguments})


def resume(folder: Path, at: int, schedule: Any = COSINE, **arguments: Any) -> Run:
    return fit(schedule, ckpt_path=folder / f"step={at}.ckpt", **{"max_epochs": 2, **arguments})


# Without a difference: exactly the uninterrupted run


class Unfreezes(Callback):
    """Adds the module's second weight as a group of its own before a batch, and saves before the next update."""

    def __init__(self, at: int, lr: float, path: Path | None = None) -> None:
        self.at, self.lr, self.path = at, lr, path

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.at and self.path is not None:
            trainer.optimizers[0].add_param_group({"params": [pl_module.weights[1]], "lr": self.lr})
            trainer.save_checkpoint(self.path)


def both_groups(weights: list[nn.Parameter]) -> Any:
    """As a script that is resumed builds them: the group that joined is among the others."""
    return sgd([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.5}])


@pytest.mark.behaviour("B49", "B50")
@pytest.mark.parametrize("schedule", [COSINE, schedules.Linear(min_lr=0.02)], ids=["ratio", "absolute floor"])
def test_a_checkpoint_between_a_joining_group_and_its_first_update(schedule: Schedule, tmp_path: Path) -> None:
    """The group is above the first peak, against which an absolute floor stays measured."""
    path = tmp_path / "joined.ckpt"
    module = Tiny(lambda weights: sgd(weights[:1]))
    whole = fit(schedule, module=module, callbacks=[Unfreezes(3, 0.5, path)], max_epochs=1)
    resumed = fit(schedule, module=Tiny(both_groups), max_epochs=1, ckpt_path=path)
    assert resumed.groups() == whole.groups()[3:]
    assert [len(lrs) for lrs in resumed.groups()] == [2] * 5


@pytest.mark.behaviour("B27")
@each_schedule
def test_resumed_run_is_the_uninterrupted_one(schedule: Schedule, tmp_path: Path) -> None:
    whole = saved_run(tmp_path, schedule)
    for at in (1, 5, 8, 9, 15):
        assert resume(tmp_path, at, schedule).used == whole.used[at:]
    assert whole.used == plan(schedule, 16, steps_per_epoch=8)


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("at", range(1, 12))
def test_interval_epoch_resumes_at_every_update(at: int, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"options": {"interval": "epoch"}, "batches": 4, "max_epochs": 3}
    whole = saved_run(tmp_path, **arguments)
    assert len(set(whole.used)) == 3
    assert resume(tmp_path, at, **arguments).used == whole.used[at:]


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("when", ["train_end", "validation_end"])
def test_interval_epoch_resumes_from_checkpoints_of_an_epochs_end(when: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"options": {"interval": "epoch"}, "batches": 4, "max_epochs": 3}
    saving = ModelCheckpoint(
        tmp_path,
        filename="{epoch}",
        save_top_k=-1,
        save_on_train_epoch_end=when == "train_end",
    )
    whole = fit(COSINE, module=Validated(), callbacks=[saving], **arguments)
    for epoch in (0, 1):
        path = tmp_path / f"epoch={epoch}.ckpt"
        resumed = fit(COSINE, module=Validated(), ckpt_path=path, **arguments)
        assert resumed.used == whole.used[4 * (epoch + 1) :]


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulation_resumes_within_an_epoch(accumulate: int, interval: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"options": {"interval": interval}, "accumulate_grad_batches": accumulate}
    whole = saved_run(tmp_path, **arguments)
    assert len(whole.used) == 2 * math.ceil(8 / accumulate)
    for at in range(1, len(whole.used)):
        assert resume(tmp_path, at, **arguments).used == whole.used[at:]


@pytest.mark.behaviour("B27")
def test_schedule_of_the_accumulation_resumes_within_an_epoch(tmp_path: Path) -> None:
    def windows() -> list[Callback]:
        return [GradientAccumulationScheduler({0: 4, 1: 2, 3: 1})]

    whole = saved_run(tmp_path, max_epochs=4, callbacks=windows())
    assert whole.used == plan(COSINE, 2 + 4 + 4 + 8)
    for at in range(1, 18):
        assert resume(tmp_path, at, max_epochs=4, callbacks=windows()).used == whole.used[at:]


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("val_check_interval", [0.5, 3])
def test_validations_within_an_epoch_do_not_disturb(val_check_interval: float, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"val_check_interval": val_check_interval}
    whole = saved_run(tmp_path, module=Validated(), **arguments)
    for at in range(1, 16):
        assert resume(tmp_path, at, module=Validated(), **arguments).used == whole.used[at:]


class Overflowing(Tiny):
    """Has an infinite loss in every third batch."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) * (math.inf if self.trainer.fit_loop.total_batch_idx % 3 == 1 else 1)


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("fused", [False, True])
def test_updates_that_a_gradient_scaler_skipped_stay_uncounted(fused: bool, tmp_path: Path) -> None:
    def scaled() -> dict[str, Any]:
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
        return {"plugins": plugins, "module": Overflowing(partial(AdamW, lr=PEAK, fused=fused))}

    whole = saved_run(tmp_path, **scaled())
    assert whole.used == plan(COSINE, 16)[:11]
    for steps, updates in ((1, 1), (2, 1), (6, 4), (11, 7)):
        assert resume(tmp_path, steps, **scaled()).used == whole.used[updates:]


@pytest.mark.behaviour("B31")
def test_tensor_lr_resumes(tmp_path: Path) -> None:
    def module() -> Tiny:
        return Tiny(lambda weights: AdamW(weights, lr=torch.tensor(PEAK, dtype=torch.float64), foreach=False))

    whole = saved_run(tmp_path, module=module())
    for at in (1, 8, 13):
        assert resume(tmp_path, at, module=module()).used == whole.used[at:]


def two_groups(weights: list[nn.Parameter]) -> Any:
    return sgd([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.01}])


@pytest.mark.behaviour("B29")
@each_schedule
def test_groups_keep_their_ratio_in_a_resumed_run(schedule: Schedule, tmp_path: Path) -> None:
    saved_run(tmp_path, schedule, module=Tiny(two_groups))
    planned = factors(schedule, 16, base=1.0, steps_per_epoch=8)
    resumed = resume(tmp_path, 5, schedule, module=Tiny(two_groups))
    assert resumed.groups() == [(1.0 * factor, 0.01 * factor) for factor in planned[5:]]


class Gan(Tiny):
    """Two optimizers; the second steps three times in each batch."""

    def __init__(self, kinds: Any = (Adam, Adam), raw: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.kinds, self.raw = kinds, raw

    def configure_optimizers(self) -> Any:
        return [kind([weight], lr=lr) for kind, weight, lr in zip(self.kinds, self.weights, (0.1, 0.02), strict=True)]

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers(use_pl_optimizer=not self.raw)  # type: ignore[misc]
        for optimizer in (first, second, second, second):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


GAN: dict[str, Any] = {"options": {"total_steps": {0: 16, 1: 48}}}


def keep_batches(folder: Path) -> ModelCheckpoint:
    """A checkpoint after every batch of a module whose optimizers step four times in it."""
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=4, save_top_k=-1)


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("batch", [1, 5, 8, 15])
def test_two_optimizers_resume_at_positions_of_their_own(batch: int, tmp_path: Path) -> None:
    schedule = {0: COSINE, 1: schedules.Linear(warmup=4)}
    whole = fit(schedule, module=Gan(), callbacks=[keep_batches(tmp_path)], max_epochs=2, **GAN)
    resumed = fit(schedule, module=Gan(), ckpt_path=tmp_path / f"step={4 * batch}.ckpt", max_epochs=2, **GAN)
    assert len(whole.groups(1)) == 48
    assert resumed.groups(0) == whole.groups(0)[batch:]
    assert resumed.groups(1) == whole.groups(1)[3 * batch :]


@pytest.mark.behaviour("B27")
def test_optimizers_whose_steps_lightning_does_not_count_resume_too(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, save_last=True)
    first = fit(COSINE, module=Gan(raw=True), callbacks=[saving], max_epochs=1, **GAN)
    second = fit(COSINE, module=Gan(raw=True), ckpt_path=tmp_path / "last.ckpt", max_epochs=2, **GAN)
    assert second.trainer.global_step == 0
    assert [lr for (lr,) in first.groups(0) + second.groups(0)] == plan(COSINE, 16, base=0.1)
    assert [lr for (lr,) in first.groups(1) + second.groups(1)] == plan(COSINE, 48, base=0.02)


# lr.csv


@pytest.mark.behaviour("B27")
@pytest.mark.parametrize("folder", ["a", "b"])
@pytest.mark.parametrize("at", [1, 8, 11])
def test_lr_csv_has_every_update_once(at: int, folder: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = saved_run(tmp_path, callbacks=[record_lrs(tmp_path / "a")])
    before = list(read_rows(tmp_path / "a" / "lr.csv"))
    with caplog.at_level("INFO"):
        resume(tmp_path, at, callbacks=[record_lrs(tmp_path / folder)])
    rows = list(read_rows(tmp_path / folder / "lr.csv"))
    assert rows == before
    assert [float(row["lr/group0"]) for row in rows] == whole.used
    assert "Learning rate: used = planned on 16 of 16 updates, schedule complete" in messages(caplog).splitlines()


@pytest.mark.behaviour("B27")
def test_rows_that_were_never_recorded_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved_run(tmp_path)
    with caplog.at_level("INFO"):
        resume(tmp_path, 5, callbacks=[record_lrs(tmp_path)])
    assert "has rows for 0 of the 5 updates before this one" in messages(caplog)
    assert [int(row["step"]) for row in read_rows(tmp_path / "lr.csv")] == list(range(5, 16))


@pytest.mark.behaviour("B27")
def test_foreign_write_before_the_checkpoint_is_still_in_the_closing_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Write(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 3:
                trainer.optimizers[0].param_groups[0]["lr"] = 0.5

    with pytest.warns(UserWarning, match="update 3 used LR 0.5"):
        saved_run(tmp_path, callbacks=[Write(), record_lrs(tmp_path)])
    with caplog.at_level("INFO"):
        resume(tmp_path, 5, callbacks=[record_lrs(tmp_path)])
    assert "Learning rate: used = planned on 15 of 16 updates, largest difference" in messages(caplog)


# With a difference: a question, and its answers


@pytest.mark.behaviour("B21")
@pytest.mark.parametrize(
    ("arguments", "total"), [({"max_epochs": 4}, 32), ({"max_steps": 12}, 12), ({"batches": 9}, 18)]
)
@pytest.mark.parametrize("schedule", [COSINE, schedules.Linear(), schedules.OneCycle()], ids=lambda s: type(s).__name__)
def test_another_horizon_is_asked_about(
    schedule: Schedule, arguments: dict[str, Any], total: int, tmp_path: Path
) -> None:
    saved_run(tmp_path, schedule)
    arguments = dict(arguments)
    batches = arguments.pop("batches", 8)
    run = prepare(schedule, **{"max_epochs": 2, **arguments})
    with pytest.raises(ResumeError) as error:
        go(run, batches=batches, ckpt_path=tmp_path / "step=5.ckpt")
    message = str(error.value)
    assert f"total_steps: 16 -> {total}" in message
    assert "at update 5" in message
    for choice in ("resume='checkpoint'", "resume='config'", "make this run's settings equal"):
        assert choice in message
    assert run.used == []


@pytest.mark.behaviour("B21")
@each_schedule
def test_policy_checkpoint_follows_the_old_plan_and_then_its_floor(schedule: Schedule, tmp_path: Path) -> None:
    saved_run(tmp_path, schedule)
    resumed = resume(tmp_path, 5, schedule, max_epochs=4, options={"resume": "checkpoint"})
    assert resumed.used == plan(schedule, 16, count=32, steps_per_epoch=8)[5:]


@pytest.mark.behaviour("B21")
@each_schedule
def test_policy_config_follows_the_new_plan_from_the_position_on(schedule: Schedule, tmp_path: Path) -> None:
    saved_run(tmp_path, schedule)
    resumed = resume(tmp_path, 5, schedule, max_epochs=4, options={"resume": "config"})
    assert resumed.used == plan(schedule, 32, steps_per_epoch=8)[5:]


@pytest.mark.behaviour("B21")
def test_policy_config_prints_the_jump(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved_run(tmp_path)
    with caplog.at_level("INFO"):
        resume(tmp_path, 8, max_epochs=4, options={"resume": "config"})
    old, new = plan(COSINE, 16)[8], plan(COSINE, 32)[8]
    assert "resumed at update 8" in messages(caplog)
    assert f"LR at update 8: {old:g} in the checkpoint, {new:g} in this plan" in messages(caplog)
    assert "checkpoint -> this run: total_steps: 16 -> 32" in messages(caplog)


@pytest.mark.behaviour("B21")
def test_run_that_was_resumed_by_a_policy_can_be_resumed_again(tmp_path: Path) -> None:
    saved_run(tmp_path)
    longer = saved_run(tmp_path, max_epochs=4, options={"resume": "config"}, ckpt_path=tmp_path / "step=5.ckpt")
    assert resume(tmp_path, 20, max_epochs=4).used == longer.used[15:]
    with pytest.raises(ResumeError, match="total_steps: 32 -> 24"):
        resume(tmp_path, 20, max_epochs=3)


@pytest.mark.behaviour("B21")
def test_stable_checkpoint_branches_into_a_decay(tmp_path: Path) -> None:
    stable = schedules.WarmupStableDecay(decay=8, warmup=2)
    saved_run(tmp_path, stable, max_steps=40, max_epochs=-1)
    branch = resume(tmp_path, 10, stable, max_steps=20, max_epochs=-1, options={"resume": "config"})
    assert branch.used == plan(stable, 20)[10:]
    assert branch.used[:2] == [PEAK] * 2
    whole = fit(stable, max_steps=20, max_epochs=-1)
    assert all(map(torch.equal, branch.module.parameters(), whole.module.parameters()))


@pytest.mark.behaviour("B21")
@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Fixed(warmup=2),
        schedules.Step(step_size="1 epoch", gamma=0.5),
        schedules.MultiStep(milestones=[3, "1 epoch"], gamma=0.5),
        schedules.Exponential(gamma=0.9, every="1 epoch"),
        schedules.InverseSqrt(timescale=3, warmup=2),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_longer_run_of_a_schedule_without_a_total_asks_nothing(schedule: Schedule, tmp_path: Path) -> None:
    saved_run(tmp_path, schedule)
    resumed = resume(tmp_path, 5, schedule, max_epochs=4)
    assert resumed.used == plan(schedule, 32, steps_per_epoch=8)[5:]


@pytest.mark.behaviour("B21")
def test_same_plan_in_other_words_asks_nothing(tmp_path: Path) -> None:
    whole = saved_run(tmp_path, schedules.Cosine(warmup="50%"))
    assert resume(tmp_path, 5, schedules.Cosine(warmup="1 epoch")).used == whole.used[5:]
    assert resume(tmp_path, 5, schedules.Cosine(warmup=8, min_lr=0.0), max_steps=16).used == whole.used[5:]


CHANGES: dict[str, Any] = {
    "warmup": (schedules.Cosine(warmup=4, min_lr_ratio=0.1), "warmup: 2 -> 4"),
    "floor": (schedules.Cosine(warmup=2, min_lr_ratio=0.2), "min_lr_ratio: 0.1 -> 0.2"),
    "absolute floor": (schedules.Cosine(warmup=2, min_lr=0.05), "min_lr: none -> 0.05"),
    "warmup_type": (
        schedules.Cosine(warmup=2, warmup_type="constant", min_lr_ratio=0.1),
        "warmup_type: linear -> constant",
    ),
}


@pytest.mark.behaviour("B22")
@pytest.mark.parametrize(("schedule", "line"), CHANGES.values(), ids=CHANGES)
def test_changed_setting_is_asked_about(schedule: Schedule, line: str, tmp_path: Path) -> None:
    saved_run(tmp_path)
    with pytest.raises(ResumeError) as error:
        resume(tmp_path, 5, schedule)
    assert line in str(error.value)
    assert resume(tmp_path, 5, schedule, options={"resume": "config"}).used == plan(schedule, 16)[5:]
    assert resume(tmp_path, 5, schedule, options={"resume": "checkpoint"}).used == plan(COSINE, 16)[5:]


@pytest.mark.behaviour("B22")
@pytest.mark.parametrize("build", [sgd, partial(AdamW, lr=PEAK)])
def test_changed_peak_is_asked_about(build: Any, tmp_path: Path) -> None:
    saved_run(tmp_path, module=Tiny(build))
    doubled = partial(build, lr=2 * PEAK)
    with pytest.raises(ResumeError, match=r"peak LR: \[0\.1\] -> \[0\.2\]"):
        resume(tmp_path, 5, module=Tiny(doubled))
    followed = resume(tmp_path, 5, module=Tiny(doubled), options={"resume": "config"})
    assert followed.used == plan(COSINE, 16, base=2 * PEAK)[5:]
    kept = resume(tmp_path, 5, module=Tiny(doubled), options={"resume": "checkpoint"})
    assert kept.used == plan(COSINE, 16)[5:]


@pytest.mark.behaviour("B22")
@pytest.mark.parametrize("change", [{"patience": 3}, {"factor": 0.1}, {"threshold": 0.1}, {"monitor": "loss"}])
def test_changed_plateau_is_asked_about(change: dict[str, Any], tmp_path: Path) -> None:
    old = {"factor": 0.5, "patience": 0}
    saved_run(tmp_path, schedules.Plateau(**old), module=Validated(), batches=2, max_epochs=4)
    ((name, value),) = change.items()
    with pytest.raises(ResumeError, match=f"{name}: .* -> {value}"):
        resume(tmp_path, 4, schedules.Plateau(**{**old, **change}), module=Validated(), batches=2, max_epochs=4)


@pytest.mark.behaviour("B22")
@pytest.mark.parametrize(("policy", "last"), [("checkpoint", PEAK * 0.25), ("config", PEAK * 0.01)])
def test_changed_plateau_keeps_its_cuts(policy: str, last: float, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"module": Validated(), "batches": 2, "max_epochs": 3}
    saved_run(tmp_path, schedules.Plateau(factor=0.5, patience=0), **arguments)
    changed = schedules.Plateau(factor=0.1, patience=0)
    arguments["max_epochs"] = 4
    resumed = resume(tmp_path, 6, changed, options={"resume": policy}, **arguments)
    # The validation of the third epoch is left out by Lightning: it was to follow the checkpoint's own batch.
    assert resumed.used == pytest.approx([2 * last] * 2 if policy == "checkpoint" else [10 * last] * 2)


@pytest.mark.behaviour("B23")
@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Linear(warmup=2, min_lr_ratio=0.1),
        schedules.Step(step_size=3),
        schedules.OneCycle(),
        schedules.Fixed(),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_another_schedule_is_asked_about(schedule: Schedule, tmp_path: Path) -> None:
    saved_run(tmp_path)
    with pytest.raises(ResumeError, match=f"Cosine -> {type(schedule).__name__}"):
        resume(tmp_path, 5, schedule)
    followed = resume(tmp_path, 5, schedule, options={"resume": "config"})
    assert followed.used == plan(schedule, 16, steps_per_epoch=8)[5:]
    kept = resume(tmp_path, 5, schedule, options={"resume": "checkpoint"})
    assert kept.used == plan(COSINE, 16)[5:]


@pytest.mark.behaviour("B23")
def test_policy_checkpoint_follows_the_old_momentum_too(tmp_path: Path) -> None:
    saved_run(tmp_path, schedules.OneCycle(), callbacks=[record_lrs(tmp_path / "old")])
    resume(tmp_path, 5, options={"resume": "checkpoint"}, callbacks=[record_lrs(tmp_path / "new")])
    old, new = [[row["momentum/group0"] for row in read_rows(tmp_path / name / "lr.csv")] for name in ("old", "new")]
    assert len(set(old)) > 5
    assert new == old


@pytest.mark.behaviour("B23")
def test_policy_config_goes_back_to_the_built_momentum(tmp_path: Path) -> None:
    saved_run(tmp_path, schedules.OneCycle(), callbacks=[record_lrs(tmp_path / "old")])
    resume(tmp_path, 5, options={"resume": "config"}, callbacks=[record_lrs(tmp_path / "new")])
    new = [row["momentum/group0"] for row in read_rows(tmp_path / "new" / "lr.csv")]
    assert set(new[5:]) == {"0.9"}
    assert len(set(new[:5])) > 1


@pytest.mark.behaviour("B24")
@pytest.mark.parametrize("policy", ["error", "checkpoint", "config"])
@pytest.mark.parametrize(("old", "new"), [({0: COSINE, 1: COSINE}, {1: COSINE}), ({0: COSINE}, {0: COSINE, 1: COSINE})])
def test_another_set_of_optimizers_is_refused_with_both_sets(
    old: dict[int, Schedule], new: dict[int, Schedule], policy: str, tmp_path: Path
) -> None:
    names = {0: "Adam", 1: "Adam-1"}
    totals = {"total_steps": dict.fromkeys((0, 1), 48)}
    fit(old, module=Gan(), callbacks=[keep_batches(tmp_path)], max_epochs=2, options={"total_steps": 48})
    there, here = [", ".join(names[index] for index in mapping) for mapping in (old, new)]
    options = {**totals, "resume": policy}
    with pytest.raises(ResumeError, match=f"the checkpoint has schedules for {there}, and this run for {here}:"):
        fit(new, module=Gan(), ckpt_path=tmp_path / "step=8.ckpt", max_epochs=2, options=options)


# Checkpoints without a schedule


@pytest.mark.behaviour("B25")
@pytest.mark.parametrize("at", [1, 5, 8])
@pytest.mark.parametrize("build", [sgd, partial(AdamW, lr=PEAK)])
def test_checkpoint_without_a_schedule_starts_at_its_position(build: Any, at: int, tmp_path: Path) -> None:
    saved_run(tmp_path, None, module=Tiny(build))
    assert resume(tmp_path, at, module=Tiny(build)).used == plan(COSINE, 16)[at:]


@pytest.mark.behaviour("B25")
def test_checkpoint_of_the_modules_own_scheduler_starts_at_its_position(tmp_path: Path) -> None:
    def with_cosine(weights: list[nn.Parameter]) -> Any:
        optimizer = sgd(weights)
        return [optimizer], [{"scheduler": CosineAnnealingLR(optimizer, 16), "interval": "step"}]

    saved_run(tmp_path, None, module=Tiny(with_cosine))
    assert resume(tmp_path, 5).used == plan(COSINE, 16)[5:]


@pytest.mark.behaviour("B25")
def test_checkpoint_without_a_schedule_knows_the_updates_that_adam_counted(tmp_path: Path) -> None:
    saving = keep_batches(tmp_path)
    fit(None, module=Gan(), callbacks=[saving], max_epochs=2)
    resumed = fit(COSINE, module=Gan(), ckpt_path=tmp_path / "step=20.ckpt", max_epochs=2, **GAN)
    assert [lr for (lr,) in resumed.groups(0)] == plan(COSINE, 16, base=0.1)[5:]
    assert [lr for (lr,) in resumed.groups(1)] == plan(COSINE, 48, base=0.02)[15:]


@pytest.mark.behaviour("B25")
def test_positions_that_nobody_counted_are_not_guessed(tmp_path: Path) -> None:
    fit(None, module=Gan((SGD, SGD)), callbacks=[keep_batches(tmp_path)], max_epochs=2)
    with pytest.raises(ResumeError, match="SGD does not count its own updates"):
        fit(
            COSINE,
            module=Gan((SGD, SGD)),
            ckpt_path=tmp_path / "step=20.ckpt",
            max_epochs=2,
            options={"total_steps": 48},
        )


# Parameter groups that joined before the checkpoint


class Transfer(Tiny):
    """A head, and a backbone that Lightning's BackboneFinetuning unfreezes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 2)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) + self.backbone(batch).sum()

    def configure_optimizers(self) -> Any:
        return sgd(self.weights)


@pytest.mark.behaviour("B30")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at", [2, 5, 8, 11])
def test_backbone_follows_base_x_factor_in_a_resumed_run(at: int, first: bool, tmp_path: Path) -> None:
    def run(*more: Callback) -> Run:
        finetuning = BackboneFinetuning(1, backbone_initial_lr=0.02, should_align=False)
        made = prepare(COSINE, module=Transfer(), max_epochs=4, callbacks=[finetuning, *more])
        if first:
            made.trainer.callbacks.insert(0, made.trainer.callbacks.pop(1))  # type: ignore[attr-defined]
        return made

    go(run(keep_all(tmp_path)), batches=4)
    resumed = go(run(), batches=4, ckpt_path=tmp_path / f"step={at}.ckpt")
    planned = list(enumerate(factors(COSINE, 16)))
    assert resumed.groups() == [(PEAK * f, 0.02 * f) if n >= 4 else (PEAK * f,) for n, f in planned[at:]]


# What is saved


EVERYTHING = {**SCHEDULES, "plateau": schedules.Plateau(warmup=2), "torch": None}


@pytest.mark.behaviour("B28")
@pytest.mark.parametrize("name", EVERYTHING)
def test_checkpoint_is_plain(name: str, tmp_path: Path) -> None:
    schedule = EVERYTHING[name] or schedules.TorchSchedule(factory=partial(CosineAnnealingLR, T_max=4))
    module = Validated(build=partial(AdamW, lr=torch.tensor(PEAK), foreach=False))
    saved_run(tmp_path, schedule, module=module, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    saved = torch.load(tmp_path / "step=5.ckpt", weights_only=True)
    state = saved["callbacks"]["LearningRateScheduler"]
    assert state["optimizers"]["AdamW"]["position"] == 5
    assert _is_plain([state, saved["callbacks"]["LearningRateLogger"]])


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(type(key) is str and _is_plain(one) for key, one in value.items())
    if type(value) in (list, tuple):
        return all(map(_is_plain, value))
    return value is None or type(value) in (int, float, str, bool)


@pytest.mark.behaviour("B28")
def test_checkpoint_of_two_optimizers_is_plain(tmp_path: Path) -> None:
    fit({0: COSINE, 1: schedules.Fixed()}, module=Gan(), callbacks=[keep_batches(tmp_path)], max_epochs=2, **GAN)
    saved = torch.load(tmp_path / "step=20.ckpt", weights_only=True)
    optimizers = saved["callbacks"]["LearningRateScheduler"]["optimizers"]
    assert {name: state["position"] for name, state in optimizers.items()} == {"Adam": 5, "Adam-1": 15}


@pytest.mark.behaviour("B28")
def test_size_of_the_state_does_not_grow_with_the_run(tmp_path: Path) -> None:
    sizes = []
    for epochs in (1, 40):
        folder = tmp_path / str(epochs)
        saving = ModelCheckpoint(folder, save_last=True)
        fit(COSINE, max_epochs=epochs, callbacks=[saving, record_lrs(tmp_path)])
        saved = torch.load(folder / "last.ckpt", weights_only=True)["callbacks"]
        sizes.append(len(repr([saved["LearningRateScheduler"], saved["LearningRateLogger"]])))
    assert sizes[1] < sizes[0] + 50


# Nothing left to do


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"max_epochs": 2}, "ends at max_epochs=2. To train longer, give the Trainer max_epochs=3 or more"),
        (
            {"max_steps": 12, "max_epochs": -1},
            "ends at max_steps=12. To train longer, give the Trainer max_steps=13",
        ),
    ],
)
def test_a_finished_run_says_once_that_nothing_was_left_to_do(
    end: dict[str, int], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        saved_run(tmp_path, callbacks=[record_lrs(tmp_path)], **end)
        assert "Nothing was left" not in messages(caplog)
        last = max(tmp_path.glob("step=*.ckpt"), key=lambda path: int(path.stem.partition("=")[2]))
        run = fit(COSINE, ckpt_path=last, callbacks=[record_lrs(tmp_path)], **end)
    assert run.used == []
    text = messages(caplog)
    assert text.count("Nothing was left to do: the checkpoint is of a run that has done its 1") == 1
    assert said in text


def test_what_goes_on_is_not_called_finished(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved_run(tmp_path)
    with caplog.at_level("INFO"):
        resume(tmp_path, 8)
        fit(COSINE, max_epochs=2, options={"resume": "config"}, ckpt_path=tmp_path / "step=8.ckpt")
        fit(COSINE, max_epochs=0)
    assert "Nothing was left" not in messages(caplog)
