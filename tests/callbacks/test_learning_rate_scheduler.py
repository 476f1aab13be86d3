"""The LR of every update, in all kinds of runs: base x factor of the position, and the position counts real updates."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, EarlyStopping, StochasticWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adagrad, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.utils.data import DataLoader

from lr_recipes import LearningRateScheduler, schedules
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import (
    PEAK,
    SCHEDULES,
    Oracle,
    Tiny,
    Validated,
    factors,
    fit,
    go,
    loader,
    messages,
    plan,
    prepare,
    quiet_trainer,
    sgd,
)

COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
each_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


# Updates and nothing else move the schedule


@pytest.mark.behaviour("B9")
@pytest.mark.parametrize("accumulate", [1, 3])
@each_schedule
def test_one_tick_for_each_update(schedule: Schedule, accumulate: int) -> None:
    per_epoch = math.ceil(8 / accumulate)
    run = fit(schedule, max_epochs=2, accumulate_grad_batches=accumulate)
    assert run.used == plan(schedule, 2 * per_epoch, steps_per_epoch=per_epoch)


SAME_LENGTHS: dict[str, Callable[[Any, Any], Schedule]] = {
    "warmup": lambda short, _: schedules.Cosine(warmup=short),
    "step": lambda short, _: schedules.Step(step_size=short, gamma=0.5),
    "multistep": lambda short, long: schedules.MultiStep(milestones=[short, long], gamma=0.5),
    "exponential": lambda short, _: schedules.Exponential(every=short, gamma=0.5),
    "warmup_stable_decay": lambda short, long: schedules.WarmupStableDecay(decay=long, warmup=short),
    "cosine_restarts": lambda short, _: schedules.CosineRestarts(cycle=short),
    "inverse_sqrt": lambda short, long: schedules.InverseSqrt(timescale=long, warmup=short),
}


@pytest.mark.behaviour("B8")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("build", SAME_LENGTHS.values(), ids=SAME_LENGTHS)
def test_steps_epochs_percent_and_samples_give_the_same_lrs(
    build: Callable[[Any, Any], Schedule], accumulate: int
) -> None:
    lengths: list[tuple[Any, Any]] = [(4, 8), ("1 epoch", "2 epochs"), ("25%", "50%"), ("8 samples", "16 samples")]
    if accumulate == 2:
        lengths[-1] = ("16 samples", "32 samples")
    used = [
        fit(
            build(*pair),
            train=loader(4 * accumulate, 2),
            max_epochs=4,
            accumulate_grad_batches=accumulate,
        ).used
        for pair in lengths
    ]
    assert len(used[0]) == 16
    assert len(set(used[0])) > 2
    assert used[1:] == used[:1] * 3


@pytest.mark.behaviour("B8")
@each_schedule
def test_interval_epoch_holds_the_lr_and_changes_no_length(schedule: Schedule) -> None:
    run = fit(schedule, options={"interval": "epoch"}, batches=4, max_epochs=3)
    whole = plan(schedule, 12, steps_per_epoch=4)
    assert run.used == [lr for epoch in range(3) for lr in [whole[4 * epoch]] * 4]


@pytest.mark.behaviour("B8")
def test_interval_epoch_with_accumulation_that_does_not_divide_the_epoch() -> None:
    run = fit(COSINE, options={"interval": "epoch"}, batches=7, max_epochs=3, accumulate_grad_batches=3)
    whole = plan(COSINE, 9)
    assert run.used == [lr for first in (0, 3, 6) for lr in [whole[first]] * 3]


class Skipping(Tiny):
    """Skips some batches, by their number from the start of the run, in one of the ways that Lightning knows."""

    def __init__(self, how: str, which: set[int]) -> None:
        super().__init__()
        self.how, self.which = how, which
        self.seen = -1

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        self.seen += 1
        return -1 if self.how == "stop_epoch" and self.seen in self.which else None

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return None if self.how == "no_loss" and self.seen in self.which else self.loss(batch)


no_loss = pytest.mark.filterwarnings("ignore:`training_step` returned `None`")


@pytest.mark.behaviour("B11")
@no_loss
@pytest.mark.parametrize("which", [{0}, {3, 4}, {7}, {0, 1, 2, 3, 4, 5, 6, 7}])
def test_batch_without_a_loss_is_no_update(which: set[int]) -> None:
    run = fit(COSINE, module=Skipping("no_loss", which), max_epochs=1)
    assert run.used == plan(COSINE, 8)[: 8 - len(which)]
    assert run.position == 8 - len(which)


@pytest.mark.behaviour("B11")
@no_loss
@pytest.mark.parametrize(("which", "updates"), [({1}, 4), ({5}, 4), ({10, 11}, 4), ({3, 4, 5}, 3), ({9, 10, 11}, 3)])
def test_window_is_an_update_if_one_of_its_batches_has_a_loss(which: set[int], updates: int) -> None:
    run = fit(COSINE, module=Skipping("no_loss", which), batches=12, max_epochs=1, accumulate_grad_batches=3)
    assert run.used == plan(COSINE, 4)[:updates]


@pytest.mark.behaviour("B11")
def test_epoch_that_a_hook_ends_is_as_long_as_its_updates() -> None:
    run = fit(COSINE, module=Skipping("stop_epoch", {5, 6}), max_epochs=2)
    assert run.used == plan(COSINE, 16)[:5]


@pytest.mark.behaviour("B11")
@pytest.mark.filterwarnings("ignore:train_dataloader yielded None")
@pytest.mark.parametrize("missing", [{0}, {2, 3}, {7}])
def test_batch_of_none_is_no_update(missing: set[int]) -> None:
    rows: Any = [None if index in missing else torch.ones(1) for index in range(8)]
    run = fit(COSINE, train=DataLoader(rows, batch_size=None), max_epochs=1)
    assert run.used == plan(COSINE, 8)[: 8 - len(missing)]


# fp16


class Overflowing(Tiny):
    """Has an infinite loss in the first ``count`` batches."""

    def __init__(self, count: int, build: Any = sgd) -> None:
        super().__init__(build)
        self.count = count

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) * (math.inf if self.trainer.fit_loop.total_batch_idx < self.count else 1)


def scaled() -> dict[str, Any]:
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}


OPTIMIZERS: dict[str, Any] = {
    "sgd": sgd,
    "sgd_fused": partial(SGD, lr=PEAK, momentum=0.9, fused=True),
    "adamw": partial(AdamW, lr=PEAK),
    "adamw_fused": partial(AdamW, lr=PEAK, fused=True),
    "adagrad_fused": partial(Adagrad, lr=PEAK, fused=True),
}


@pytest.mark.behaviour("B10")
@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_update_that_the_gradient_scaler_skips_does_not_count(build: Any) -> None:
    run = fit(COSINE, module=Overflowing(4, build), max_epochs=1, **scaled())
    assert run.used == plan(COSINE, 8)[:4]
    assert run.position == 4
    assert run.trainer.global_step == 8


@pytest.mark.behaviour("B10")
@pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_run_under_a_gradient_scaler_that_skips_nothing_is_complete(build: Any) -> None:
    run = fit(COSINE, module=Overflowing(0, build), max_epochs=1, accumulate_grad_batches=2, **scaled())
    assert run.used == plan(COSINE, 4)


# fit, validate and test, in all orders


@pytest.mark.behaviour("B9")
def test_validate_and_test_move_nothing() -> None:
    class Tested(Validated):
        def test_step(self, batch: Tensor, batch_idx: int) -> None:
            pass

    run = prepare(COSINE, module=Tested(), max_epochs=1)
    run.trainer.validate(run.module, loader(2), verbose=False)
    go(run)
    run.trainer.test(run.module, loader(2), verbose=False)
    run.trainer.validate(run.module, loader(2), verbose=False)
    assert run.used == plan(COSINE, 8)
    assert run.position == 8


@pytest.mark.behaviour("B9")
def test_fit_called_twice_goes_on_where_the_first_ended() -> None:
    run = prepare(schedules.Step(step_size=3, gamma=0.5), module=Validated(), max_epochs=1)
    first = go(run).used
    run.trainer.validate(run.module, loader(1), verbose=False)
    run.trainer.fit_loop.max_epochs = 3
    second = go(run).used
    assert first + second == plan(schedules.Step(step_size=3, gamma=0.5), 24)


@pytest.mark.behaviour("B9")
def test_fit_called_twice_on_a_plan_that_its_new_length_changes_asks_what_to_do() -> None:
    run = prepare(COSINE, max_epochs=1)
    go(run)
    run.trainer.fit_loop.max_epochs = 2
    with pytest.raises(ValueError, match="total_steps: 8 -> 16"):
        go(run)
    assert len(run.used) == 8


@pytest.mark.behaviour("B9")
@pytest.mark.parametrize(("resume", "total"), [("config", 16), ("checkpoint", 8)])
def test_fit_called_twice_follows_the_policy(resume: str, total: int) -> None:
    run = prepare(COSINE, max_epochs=1, options={"resume": resume})
    go(run)
    run.trainer.fit_loop.max_epochs = 2
    assert go(run).used == plan(COSINE, total, count=16)[8:]


@pytest.mark.behaviour("B9")
def test_fit_called_again_after_the_end_does_nothing() -> None:
    run = prepare(COSINE, max_epochs=1)
    go(run)
    go(run)
    assert run.used == plan(COSINE, 8)
    assert run.scheduler is not None
    assert run.scheduler.state_dict()["optimizers"]["SGD"]["position"] == 8


class Failing(Callback):
    """Raises once, in the fourth batch."""

    healthy = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 3 and not self.healthy:
            self.healthy = True
            raise RuntimeError("a bad batch")


@pytest.mark.behaviour("B9")
def test_fit_goes_on_after_an_exception_in_the_one_before() -> None:
    run = prepare(COSINE, max_steps=8, callbacks=[Failing()])
    with pytest.raises(RuntimeError, match="a bad batch"):
        go(run)
    first = run.used
    assert first + go(run).used == plan(COSINE, 8)


@pytest.mark.behaviour("B9")
def test_fit_of_two_optimizers_goes_on_after_an_exception_in_the_one_before() -> None:
    run = prepare(COSINE, module=Gan(2), max_epochs=2, callbacks=[Failing()], options={"total_steps": {0: 10, 1: 20}})
    with pytest.raises(RuntimeError, match="a bad batch"):
        go(run)
    first = [run.groups(0), run.groups(1)]
    go(run)
    for index, (total, base) in enumerate([(10, 0.1), (20, 0.02)]):
        used = [lr for (lr,) in [*first[index], *run.groups(index)]]
        assert used == plan(COSINE, total, base=base, count=len(used))
        assert len(used) > total / 2


@pytest.mark.behaviour("B9")
def test_callback_that_is_used_again_in_another_trainer_starts_afresh() -> None:
    scheduler, module = LearningRateScheduler(COSINE), Tiny()
    for _ in range(2):
        oracle = Oracle()
        quiet_trainer([scheduler, oracle], max_epochs=1).fit(module, loader(8))
        assert [lrs[0] for lrs in oracle.used[0]] == plan(COSINE, 8)


@pytest.mark.behaviour("B9")
@pytest.mark.parametrize("fast_dev_run", [True, 3])
def test_fast_dev_run_uses_a_plan_of_its_own_length(fast_dev_run: int) -> None:
    run = fit(schedules.Linear(min_lr_ratio=0.1), fast_dev_run=fast_dev_run, max_epochs=50)
    assert run.used == plan(schedules.Linear(min_lr_ratio=0.1), int(fast_dev_run))


# Runs that end early or late


@pytest.mark.behaviour("B5")
@pytest.mark.parametrize("stop_at", [1, 3])
def test_early_stopping_ends_the_schedule_where_it_is(stop_at: int) -> None:
    worse = [1.0] * stop_at + [2.0] * 9
    stopping = EarlyStopping("val_loss", patience=1)
    run = fit(COSINE, module=Validated(worse), max_epochs=10, callbacks=[stopping], batches=4)
    assert len(run.used) < 40
    assert run.used == plan(COSINE, 40)[: len(run.used)]


@pytest.mark.behaviour("B5")
def test_max_time_ends_the_schedule_where_it_is() -> None:
    run = fit(COSINE, max_epochs=500, batches=50, max_time=timedelta(seconds=0.3))
    assert 0 < len(run.used) < 25_000
    assert run.used == plan(COSINE, 25_000)[: len(run.used)]


@pytest.mark.behaviour("B6")
@each_schedule
def test_lr_stays_at_the_floor_past_the_end(schedule: Schedule) -> None:
    run = fit(schedule, options={"total_steps": 8}, max_epochs=2)
    assert run.used == plan(schedule, 8, count=16, steps_per_epoch=8)
    assert len(set(run.used[8:])) == 1


@pytest.mark.behaviour("B6")
def test_overrun_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, options={"total_steps": 5}, max_epochs=2)
    assert messages(caplog).count("gone past the 5 updates of its plan") == 1
    assert "has come to (0.1 x base LR)" in messages(caplog)


@pytest.mark.behaviour("B6")
def test_run_of_just_the_planned_length_is_no_overrun(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, options={"total_steps": 16}, max_epochs=2)
    assert "gone past" not in messages(caplog)


# Parameter groups


def two_groups(weights: list[nn.Parameter]) -> Optimizer:
    return sgd([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.01}])


@pytest.mark.behaviour("B29")
@each_schedule
def test_groups_keep_their_ratio(schedule: Schedule) -> None:
    run = fit(schedule, module=Tiny(two_groups), max_epochs=1)
    planned = factors(schedule, 8, base=1.0, steps_per_epoch=8)
    assert run.groups() == [(1.0 * factor, 0.01 * factor) for factor in planned]


@pytest.mark.behaviour("B31")
@each_schedule
def test_tensor_lr_stays_the_same_object_and_follows_the_schedule(schedule: Schedule) -> None:
    module = Tiny(lambda weights: AdamW(weights, lr=torch.tensor(PEAK, dtype=torch.float64), foreach=False))
    run = prepare(schedule, module=module, max_epochs=1)
    seen: list[Any] = []

    class Look(Callback):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    run.trainer.callbacks.append(Look())  # type: ignore[attr-defined]
    go(run)
    assert run.trainer.optimizers[0].param_groups[0]["lr"] is seen[0]
    assert run.used == plan(schedule, 8, steps_per_epoch=8)


@pytest.mark.behaviour("B31")
def test_tensor_lr_of_32_bits_is_the_rounded_plan() -> None:
    run = fit(COSINE, module=Tiny(lambda weights: AdamW(weights, lr=torch.tensor(PEAK))), max_epochs=1)
    base = float(torch.tensor(PEAK))
    assert run.used == [float(torch.tensor(lr)) for lr in plan(COSINE, 8, base=base)]


@pytest.mark.behaviour("B31")
def test_tensor_lr_that_groups_share_is_taken_apart() -> None:
    def shared(weights: list[nn.Parameter]) -> Optimizer:
        lr = torch.tensor(PEAK, dtype=torch.float64)
        return AdamW([{"params": weights[:1]}, {"params": weights[1:]}], lr=lr)

    run = fit(COSINE, module=Tiny(shared), max_epochs=1)
    assert run.groups() == [(lr, lr) for lr in plan(COSINE, 8)]
    first, second = run.trainer.optimizers[0].param_groups
    assert first["lr"] is not second["lr"]


class Joining(Callback):
    """Adds the module's second weight as a group of its own, before a batch or when an epoch starts."""

    def __init__(self, at_batch: int | None = None, at_epoch: int | None = None, lr: float = 0.03) -> None:
        self.at_batch, self.at_epoch, self.lr = at_batch, at_epoch, lr

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.total_batch_idx == self.at_batch:
            self._join(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.current_epoch == self.at_epoch:
            self._join(trainer, pl_module)

    def _join(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.optimizers[0].add_param_group({"params": [pl_module.weights[1]], "lr": self.lr})


@pytest.mark.behaviour("B30")
@pytest.mark.parametrize("at", [0, 1, 5, 7])
@pytest.mark.parametrize("first", [True, False])
@each_schedule
def test_group_that_joins_late_follows_base_x_factor(schedule: Schedule, at: int, first: bool) -> None:
    module = Tiny(lambda weights: sgd(weights[:1]))
    run = prepare(schedule, module=module, max_epochs=1, callbacks=[Joining(at_batch=at)])
    if first:
        run.trainer.callbacks.insert(0, run.trainer.callbacks.pop(1))  # type: ignore[attr-defined]
    go(run)
    planned = factors(schedule, 8, steps_per_epoch=8)
    expected = [(PEAK * f, 0.03 * f) if n >= at else (PEAK * f,) for n, f in enumerate(planned)]
    assert run.groups() == expected


@pytest.mark.behaviour("B30")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("at_epoch", [0, 1, 2])
def test_group_that_joins_when_an_epoch_starts(at_epoch: int, interval: str) -> None:
    module = Tiny(lambda weights: sgd(weights[:1]))
    callbacks, options = [Joining(at_epoch=at_epoch)], {"interval": interval}
    run = fit(COSINE, module=module, batches=4, max_epochs=3, callbacks=callbacks, options=options)
    planned = factors(COSINE, 12)
    if interval == "epoch":
        planned = [planned[4 * (n // 4)] for n in range(12)]
    expected = [(PEAK * f, 0.03 * f) if n >= 4 * at_epoch else (PEAK * f,) for n, f in enumerate(planned)]
    assert run.groups() == expected


class Transfer(Tiny):
    """A head, and a backbone that Lightning's BackboneFinetuning unfreezes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 2)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) + self.backbone(batch).sum()

    def configure_optimizers(self) -> Any:
        return SGD(self.weights, lr=PEAK, momentum=0.9)


@pytest.mark.behaviour("B30")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at_epoch", [1, 2])
def test_backbone_that_lightning_unfreezes_follows_base_x_factor(at_epoch: int, first: bool) -> None:
    finetuning = BackboneFinetuning(at_epoch, backbone_initial_lr=0.02, should_align=False)
    run = prepare(COSINE, module=Transfer(), max_epochs=4, callbacks=[finetuning])
    if first:
        run.trainer.callbacks.insert(0, run.trainer.callbacks.pop(1))  # type: ignore[attr-defined]
    go(run, batches=4)
    planned = factors(COSINE, 16)
    expected = [(PEAK * f, 0.02 * f) if n >= 4 * at_epoch else (PEAK * f,) for n, f in enumerate(planned)]
    assert run.groups() == expected


# Manual optimization


class Gan(Tiny):
    """Two optimizers; in each batch the discriminator steps ``ratio`` times, the generator once."""

    def __init__(self, ratio: int = 5, raw: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.ratio, self.raw = ratio, raw

    def configure_optimizers(self) -> Any:
        return [Adam([self.weights[0]], lr=0.1), Adam([self.weights[1]], lr=0.02)]

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        generator, discriminator = self.optimizers(use_pl_optimizer=not self.raw)  # type: ignore[misc]
        for optimizer in [*[discriminator] * self.ratio, generator]:
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


@pytest.mark.behaviour("B12")
@pytest.mark.parametrize("raw", [False, True])
def test_a_second_fit_of_two_optimizers_goes_on(raw: bool) -> None:
    """Lightning counts no step of a raw optimizer, so its `global_step` cannot tell a second fit from a first."""
    run = prepare(COSINE, module=Gan(raw=raw), max_epochs=1, options={"total_steps": {0: 16, 1: 80}})
    first = go(run).groups(0)
    run.trainer.fit_loop.max_epochs = 2
    assert [lr for (lr,) in first + go(run).groups(0)] == plan(COSINE, 16)


@pytest.mark.behaviour("B12")
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("ratio", [1, 5])
def test_each_of_two_optimizers_has_its_own_clock(ratio: int, raw: bool) -> None:
    totals = {0: 8, 1: 8 * ratio}
    run = fit(COSINE, module=Gan(ratio, raw), max_epochs=1, options={"total_steps": totals})
    assert [lr for (lr,) in run.groups(0)] == plan(COSINE, 8, base=0.1)
    assert [lr for (lr,) in run.groups(1)] == plan(COSINE, 8 * ratio, base=0.02)


@pytest.mark.behaviour("B12")
@pytest.mark.parametrize("keys", [(0, 1), ("Adam", "Adam-1"), ("Adam", 1)])
def test_each_of_two_optimizers_may_have_its_own_schedule(keys: tuple[Any, Any]) -> None:
    linear = schedules.Linear(min_lr_ratio=0.1)
    totals = {"Adam": 16, "Adam-1": 80}
    run = fit(
        dict(zip(keys, (COSINE, linear), strict=True)), module=Gan(), max_epochs=2, options={"total_steps": totals}
    )
    assert [lr for (lr,) in run.groups(0)] == plan(COSINE, 16, base=0.1)
    assert [lr for (lr,) in run.groups(1)] == plan(linear, 80, base=0.02)


@pytest.mark.behaviour("B12")
def test_optimizer_that_the_mapping_leaves_out_is_left_alone() -> None:
    run = fit({1: COSINE}, module=Gan(2), max_epochs=1, options={"total_steps": {1: 16}})
    assert run.groups(0) == [(0.1,)] * 8
    assert [lr for (lr,) in run.groups(1)] == plan(COSINE, 16, base=0.02)


@pytest.mark.behaviour("B12")
def test_schedule_that_needs_no_total_needs_none_in_manual_optimization() -> None:
    step = schedules.Step(step_size=10, gamma=0.5)
    run = fit(step, module=Gan(), max_epochs=1)
    assert [lr for (lr,) in run.groups(0)] == plan(step, None, base=0.1, count=8)
    assert [lr for (lr,) in run.groups(1)] == plan(step, None, base=0.02, count=40)


@pytest.mark.behaviour("B12")
def test_total_is_asked_for_in_manual_optimization() -> None:
    run = prepare(COSINE, module=Gan(), max_epochs=1)
    with pytest.raises(ValueError, match=r"manual optimization.*total_steps=\.\.\."):
        go(run)
    assert run.oracle.used == []


@pytest.mark.behaviour("B12")
@pytest.mark.parametrize("key", [2, -1, "SGD", "adam"])
@pytest.mark.parametrize("what", ["schedule", "total_steps"])
def test_mapping_that_names_no_optimizer_is_refused(what: str, key: Any) -> None:
    schedule, options = ({key: COSINE}, {}) if what == "schedule" else (COSINE, {"total_steps": {key: 5}})
    with pytest.raises(ValueError, match=rf"{what} names the optimizer {key!r}.* 0 or 'Adam', 1 or 'Adam-1'"):
        fit(schedule, module=Gan(), max_epochs=1, options=options)


@pytest.mark.behaviour("B12")
def test_manual_accumulation_counts_updates() -> None:
    class EveryThird(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.manual_backward(self.loss(batch))
            if batch_idx % 3 == 2:
                self.optimizers().step()  # type: ignore[union-attr]
                self.optimizers().zero_grad()  # type: ignore[union-attr]

    run = fit(COSINE, module=EveryThird(), batches=12, max_epochs=1, options={"total_steps": 4})
    assert run.used == plan(COSINE, 4)


class ManualLbfgs(Tiny):
    def __init__(self) -> None:
        super().__init__(partial(LBFGS, lr=PEAK, max_iter=4))
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = (self.loss(batch) ** 2).sum()
            self.manual_backward(loss)
            return loss

        optimizer.step(closure=closure)


@pytest.mark.behaviour("B12")
@pytest.mark.parametrize("manual", [False, True])
def test_closure_that_is_evaluated_several_times_is_one_update(manual: bool) -> None:
    class Lbfgs(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return (self.loss(batch) ** 2).sum()

    module = ManualLbfgs() if manual else Lbfgs(partial(LBFGS, lr=PEAK, max_iter=4))
    run = fit(COSINE, module=module, max_epochs=1, options={"total_steps": 8})
    assert run.used == plan(COSINE, 8)


# Owners


def with_step_lr(weights: list[nn.Parameter]) -> Any:
    optimizer = sgd(weights)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1), "interval": "step"}}


@pytest.mark.behaviour("B13")
def test_two_owners_of_one_lr_are_refused() -> None:
    run = prepare(COSINE, module=Tiny(with_step_lr), max_epochs=1)
    with pytest.raises(ValueError, match=r"two owners.*Tiny.*StepLR.*Cosine") as error:
        go(run)
    assert "replace=True" in str(error.value)
    assert "LearningRateWarmup" in str(error.value)
    assert run.used == []


@pytest.mark.behaviour("B13")
def test_replace_takes_over_from_the_module() -> None:
    run = fit(COSINE, module=Tiny(with_step_lr), max_epochs=2, options={"replace": True})
    assert run.used == plan(COSINE, 16)


@pytest.mark.behaviour("B13")
def test_replace_takes_the_peak_that_the_optimizer_was_built_with() -> None:
    def with_warmup(weights: list[nn.Parameter]) -> Any:
        optimizer = sgd(weights)
        return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 0.01)]

    run = fit(COSINE, module=Tiny(with_warmup), max_epochs=1, options={"replace": True})
    assert run.used == plan(COSINE, 8)


@pytest.mark.behaviour("B13")
def test_scheduler_of_another_optimizer_is_no_second_owner() -> None:
    class Half(Gan):
        def configure_optimizers(self) -> Any:
            generator, discriminator = super().configure_optimizers()
            return [generator, discriminator], [CosineAnnealingLR(generator, 10)]

    with pytest.raises(ValueError, match="two owners"):
        fit({0: COSINE}, module=Half(), max_epochs=1, options={"total_steps": {0: 8}})
    run = fit({1: COSINE}, module=Half(), max_epochs=1, options={"total_steps": {1: 40}})
    assert [lr for (lr,) in run.groups(1)] == plan(COSINE, 40, base=0.02)
    assert len(run.trainer.lr_scheduler_configs) == 1


@pytest.mark.behaviour("B13")
@pytest.mark.parametrize("replace", [False, True])
def test_weight_averaging_with_a_scheduler_of_its_own_is_refused(replace: bool) -> None:
    averaging = StochasticWeightAveraging(swa_lrs=0.5, swa_epoch_start=1)
    with pytest.raises(ValueError, match=r"two owners.*StochasticWeightAveraging.*Cosine"):
        fit(COSINE, max_epochs=4, callbacks=[averaging], options={"replace": replace})


@pytest.mark.behaviour("B13")
def test_two_schedulers_in_one_trainer_are_refused() -> None:
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `LearningRateScheduler`"):
        quiet_trainer([LearningRateScheduler(COSINE), LearningRateScheduler(COSINE)], max_epochs=1)


# The plan that is printed


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize(
    ("arguments", "source"),
    [
        ({"max_epochs": 2}, "16 updates (2 epochs of 8 updates)"),
        ({"max_epochs": 1}, "8 updates (1 epoch of 8 updates)"),
        ({"max_steps": 6}, "6 updates (max_steps=6)"),
        ({"max_epochs": 2, "max_steps": 10}, "10 updates (max_steps=10)"),
        ({"max_epochs": 2, "options": {"total_steps": 20}}, "20 updates (total_steps=20 was given"),
    ],
)
def test_plan_says_where_the_total_came_from(
    arguments: dict[str, Any], source: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, **arguments)
    assert f"Learning-rate plan for SGD: {source}" in messages(caplog)


@pytest.mark.behaviour("B33")
def test_plan_is_printed_before_the_first_update_with_every_group(caplog: pytest.LogCaptureFixture) -> None:
    class Told(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if batch_idx == 0:
                assert "Learning-rate plan" in messages(caplog)
            return self.loss(batch)

    with caplog.at_level("INFO"):
        fit(COSINE, module=Told(two_groups), max_epochs=1)
    text = messages(caplog)
    assert "warmup    updates 0 to 1" in text
    assert "group0    peak LR 1, floor 0.1" in text
    assert "group1    peak LR 0.01, floor 0.001" in text


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": 0.1}, r"schedule=0\.1: must be one of lr_recipes\.schedules"),
        ({"schedule": schedules.Cosine}, "schedule=<class"),
        ({"schedule": {0: 3}}, "schedule=3"),
    ],
)
def test_what_is_no_schedule_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        LearningRateScheduler(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"schedule": {}}, "names no optimizer"),
        ({"interval": "batch"}, "interval='batch': must be one of step, epoch"),
        ({"resume": "yes"}, "resume='yes': must be one of error, checkpoint, config"),
        ({"total_steps": 0}, "total_steps=0: must be a whole number"),
        ({"total_steps": 1.5}, r"total_steps=1\.5"),
        ({"total_steps": True}, "total_steps=True"),
        ({"total_steps": {0: -1}}, "total_steps=-1"),
    ],
)
def test_argument_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningRateScheduler(**{"schedule": COSINE, **arguments})


def test_cycled_momentum_needs_an_optimizer_with_momentum() -> None:
    module = Tiny(partial(Adagrad, lr=PEAK))
    with pytest.raises(ValueError, match="moves the momentum, and Adagrad has none"):
        fit(schedules.OneCycle(), module=module, max_epochs=1)
