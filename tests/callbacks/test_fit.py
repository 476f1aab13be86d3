"""What a Trainer says about its run, against what it then does: the horizon is the number of updates done, and where
that cannot be told no update is done."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim import SGD, Adam

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.callbacks.fit import optimizer_names
from lr_recipes.plan.horizon import HorizonError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import Endless, Tiny, Validated, fit, go, loader, plan, prepare, record_lrs

COSINE = schedules.Cosine(warmup="25%", min_lr_ratio=0.1)
NEED_NO_TOTAL: dict[str, Schedule] = {
    "fixed": schedules.Fixed(),
    "warmup_constant": schedules.Fixed(warmup=3),
    "step": schedules.Step(step_size=2, gamma=0.5),
    "multistep": schedules.MultiStep(milestones=[1, 3], gamma=0.5),
    "exponential": schedules.Exponential(gamma=0.9, every=1),
    "inverse_sqrt": schedules.InverseSqrt(timescale=2, warmup=1),
}
NEED_TOTAL: dict[str, Schedule] = {
    "cosine": schedules.Cosine(),
    "linear": schedules.Linear(warmup=1),
    "polynomial": schedules.Polynomial(power=2),
    "warmup_stable_decay": schedules.WarmupStableDecay(decay=2),
    "one_cycle": schedules.OneCycle(),
    "percent": schedules.Step(step_size="10%", gamma=0.5),
}


class StopAfter(Callback):
    """Asks the Trainer to stop once some updates are done."""

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.updates


# The number of updates


@st.composite
def set_ups(draw: st.DrawFn) -> dict[str, Any]:
    """A loader, and the Trainer arguments that decide how many updates are done with it."""
    full, batch_size = draw(st.integers(1, 7)), draw(st.integers(1, 2))
    extra, drop_last = draw(st.integers(0, batch_size - 1)), draw(st.booleans())
    batches = full if drop_last else full + extra
    fractions = st.integers(1, batches).map(lambda count: min((count + 0.5) / batches, 1.0))
    end = draw(st.sampled_from(["max_epochs", "max_steps", "both"]))
    arguments: dict[str, Any] = {
        "train": loader(full, batch_size, extra, drop_last=drop_last),
        "limit_train_batches": draw(st.one_of(st.none(), st.integers(1, 9), fractions)),
        "max_epochs": draw(st.integers(1, 4)) if end != "max_steps" else -1,
        "max_steps": draw(st.integers(1, 12)) if end != "max_epochs" else -1,
    }
    if draw(st.booleans()):
        windows = draw(st.dictionaries(st.integers(0, 3), st.integers(1, 5), min_size=1))
        return {**arguments, "callbacks": [GradientAccumulationScheduler(windows)]}
    return {**arguments, "accumulate_grad_batches": draw(st.integers(1, 6))}


@pytest.mark.behaviour("B4")
@given(set_ups())
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_horizon_is_the_number_of_updates_done(set_up: dict[str, Any]) -> None:
    schedule = schedules.Linear(min_lr_ratio=0.1)
    run = fit(schedule, **set_up)
    assert run.horizon.total_steps == len(run.used)
    assert run.used == plan(schedule, len(run.used))


@pytest.mark.behaviour("B3")
@pytest.mark.parametrize(
    ("windows", "per_epoch"),
    [
        ({0: 4, 2: 2}, [2, 2, 4, 4]),
        ({0: 3}, [3, 3, 3, 3]),
        ({1: 16}, [8, 1, 1, 1]),
        ({0: 8, 3: 1}, [1, 1, 1, 8]),
    ],
)
def test_horizon_follows_a_schedule_of_the_accumulation(windows: dict[int, int], per_epoch: list[int]) -> None:
    run = fit(COSINE, max_epochs=4, callbacks=[GradientAccumulationScheduler(windows)])
    assert run.used == plan(COSINE, sum(per_epoch))


class OwnRule(GradientAccumulationScheduler):
    """One micro-batch more in each epoch, whatever its list says."""

    def get_accumulate_grad_batches(self, epoch: int) -> int:
        return epoch + 1


@pytest.mark.behaviour("B68")
def test_horizon_follows_a_rule_of_the_accumulation() -> None:
    """Its list does not say where it changes, so each epoch is asked for."""
    run = fit(COSINE, max_epochs=4, callbacks=[OwnRule({0: 2})])
    assert run.used == plan(COSINE, 8 + 4 + 3 + 2)


@pytest.mark.behaviour("B3")
def test_lengths_in_epochs_follow_a_schedule_of_the_accumulation() -> None:
    schedule = schedules.MultiStep(milestones=["1 epoch", "3 epochs"], gamma=0.5)
    run = fit(schedule, max_epochs=4, callbacks=[GradientAccumulationScheduler({0: 4, 2: 2})])
    assert run.used == [0.1] * 2 + [0.05] * 6 + [0.025] * 4


@pytest.mark.behaviour("B3")
def test_max_steps_cuts_a_schedule_of_the_accumulation_short() -> None:
    run = fit(COSINE, max_steps=9, max_epochs=4, callbacks=[GradientAccumulationScheduler({0: 4, 2: 2})])
    assert run.used == plan(COSINE, 9)


@pytest.mark.behaviour("B4")
@pytest.mark.parametrize("overfit_batches", [3, 0.25])
def test_overfit_batches_shortens_the_horizon(overfit_batches: float) -> None:
    per_epoch = 3 if overfit_batches == 3 else 2
    run = fit(COSINE, max_epochs=3, overfit_batches=overfit_batches)
    assert run.used == plan(COSINE, 3 * per_epoch)


@pytest.mark.behaviour("B4")
@pytest.mark.parametrize("val_check_interval", [1.0, 0.5, 3])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_validations_within_an_epoch_do_not_change_the_horizon(val_check_interval: float, accumulate: int) -> None:
    run = fit(
        COSINE,
        module=Validated(),
        max_epochs=2,
        val_check_interval=val_check_interval,
        accumulate_grad_batches=accumulate,
        num_sanity_val_steps=1,
    )
    assert run.used == plan(COSINE, 2 * math.ceil(8 / accumulate))


@pytest.mark.behaviour("B4")
def test_min_epochs_does_not_lengthen_a_run_that_max_steps_ends() -> None:
    run = fit(COSINE, max_steps=5, min_epochs=2, max_epochs=4)
    assert run.used == plan(COSINE, 5)


# Runs whose end the Trainer does not know


@pytest.mark.behaviour("B1")
@pytest.mark.parametrize("schedule", NEED_TOTAL.values(), ids=NEED_TOTAL)
def test_loader_without_length_and_only_max_epochs_is_refused(schedule: Schedule) -> None:
    run = prepare(schedule, max_epochs=2)
    with pytest.raises(HorizonError) as error:
        go(run, train=loader_without_length())
    for way_out in ("Trainer(max_steps=...)", "limit_train_batches", "total_steps=..."):
        assert way_out in str(error.value)
    assert run.used == []


@pytest.mark.behaviour("B1")
@pytest.mark.parametrize("schedule", NEED_TOTAL.values(), ids=NEED_TOTAL)
def test_limit_train_batches_gives_a_loader_without_length_its_length(schedule: Schedule) -> None:
    limited = fit(schedule, max_epochs=3, limit_train_batches=5, train=loader_without_length())
    sized = fit(schedule, max_epochs=3, train=loader(5))
    assert limited.used == sized.used
    assert len(limited.used) == 15


@pytest.mark.behaviour("B1")
@pytest.mark.parametrize(
    ("arguments", "options"),
    [({"max_steps": 7}, {}), ({"max_steps": 7, "max_epochs": 3}, {}), ({"max_epochs": 1}, {"total_steps": 7})],
)
def test_loader_without_length_trains_where_the_total_is_given(
    arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    run = fit(COSINE, options=options, train=loader_without_length(7), **arguments)
    assert run.used == plan(COSINE, 7)


@pytest.mark.behaviour("B1")
def test_lengths_in_epochs_need_a_loader_with_a_length() -> None:
    with pytest.raises(HorizonError, match="step_size='1 epoch' needs steps_per_epoch"):
        fit(schedules.Step(step_size="1 epoch"), max_steps=7, train=loader_without_length())


def loader_without_length(count: int | None = None) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(Endless(count))


ENDLESS: dict[str, dict[str, Any]] = {
    "max_epochs": {"max_epochs": -1},
    "max_time": {"max_time": timedelta(hours=1)},
    "nothing": {"max_epochs": None},
}


@pytest.mark.behaviour("B2")
@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
@pytest.mark.parametrize("schedule", NEED_TOTAL.values(), ids=NEED_TOTAL)
@pytest.mark.parametrize("end", ENDLESS)
def test_run_without_a_known_end_is_refused(end: str, schedule: Schedule) -> None:
    run = prepare(schedule, callbacks=[StopAfter(5)], **ENDLESS[end])
    with pytest.raises(HorizonError, match=r"no known end|1000"):
        go(run)
    assert run.used == []


@pytest.mark.behaviour("B2")
@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
@pytest.mark.parametrize("schedule", NEED_NO_TOTAL.values(), ids=NEED_NO_TOTAL)
@pytest.mark.parametrize("end", ENDLESS)
def test_schedule_that_needs_no_total_trains_without_a_known_end(end: str, schedule: Schedule) -> None:
    run = fit(schedule, callbacks=[StopAfter(5)], **ENDLESS[end])
    assert run.used == plan(schedule, None, count=5)


@pytest.mark.behaviour("B2")
@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
@pytest.mark.parametrize("end", ENDLESS)
def test_total_may_be_given_where_the_run_has_no_known_end(end: str) -> None:
    run = fit(COSINE, options={"total_steps": 10}, callbacks=[StopAfter(10)], **ENDLESS[end])
    assert run.used == plan(COSINE, 10)


@pytest.mark.behaviour("B2")
@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
@pytest.mark.parametrize("max_epochs", [None, 1000])
def test_the_silent_thousand_epochs_are_named(max_epochs: int | None) -> None:
    with pytest.raises(HorizonError, match="1000 epochs") as error:
        fit(COSINE, max_epochs=max_epochs)
    assert "max_steps=8000" in str(error.value)


@pytest.mark.behaviour("B2")
def test_max_steps_ends_a_run_of_a_thousand_epochs() -> None:
    run = fit(COSINE, max_epochs=1000, max_steps=6)
    assert run.used == plan(COSINE, 6)


class OwnAccumulation(SingleDeviceStrategy):
    """Accumulates by a rule of its own, as DeepSpeed does."""

    @property
    def handles_gradient_accumulation(self) -> bool:
        return True


@pytest.mark.behaviour("B4")
def test_strategy_that_accumulates_by_its_own_rule_is_asked_for_the_total() -> None:
    with pytest.raises(HorizonError, match=r"OwnAccumulation accumulates .* total_steps=\.\.\."):
        fit(COSINE, strategy=OwnAccumulation(), max_epochs=1)
    run = fit(COSINE, strategy=OwnAccumulation(), max_epochs=1, options={"total_steps": 8})
    assert run.used == plan(COSINE, 8)


# Warmups that do not fit


@pytest.mark.behaviour("B7")
@pytest.mark.parametrize("warmup", [9, 100, "3 epochs"])
def test_warmup_longer_than_the_run_is_refused(warmup: Any) -> None:
    run = prepare(schedules.Cosine(warmup=warmup), max_epochs=1)
    with pytest.raises(ValueError, match=r"warmup=.*\b8\b"):
        go(run)
    assert run.used == []


@pytest.mark.behaviour("B7")
def test_warmup_above_half_of_the_run_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"warmup.*\b5\b.*\b8\b"):
        run = fit(schedules.Cosine(warmup=5), max_epochs=1)
    assert max(run.used) == 0.1


@pytest.mark.behaviour("B7")
def test_warmup_of_half_of_the_run_is_fine() -> None:
    run = fit(schedules.Cosine(warmup=4), max_epochs=1)
    assert run.used.index(0.1) == 3


@pytest.mark.behaviour("B7")
@pytest.mark.parametrize("fast_dev_run", [True, 2])
def test_fast_dev_run_is_not_refused_over_lengths_of_the_real_run(fast_dev_run: int, tmp_path: Path) -> None:
    schedule = schedules.Cosine(warmup=500, min_lr_ratio=0.1)
    run = fit(schedule, fast_dev_run=fast_dev_run, callbacks=[record_lrs(tmp_path)])
    assert run.used == pytest.approx([0.1 * (n + 1) / 500 for n in range(int(fast_dev_run))])


# Samples


@pytest.mark.parametrize(("accumulate", "samples"), [(1, [4, 8, 12, 16]), (3, [12, 24])])
def test_samples_of_an_update_are_those_of_its_whole_window(
    accumulate: int, samples: list[int], tmp_path: Path
) -> None:
    arguments = {"train": loader(len(samples) * accumulate, 4), "accumulate_grad_batches": accumulate}
    run = fit(schedules.Fixed(warmup="8 samples"), max_epochs=1, callbacks=[record_lrs(tmp_path)], **arguments)
    assert [int(row["samples"]) for row in read_rows(tmp_path / "lr.csv")] == samples
    assert run.used == plan(schedules.Fixed(warmup=-(-8 // (4 * accumulate))), len(samples))


def test_samples_are_unknown_where_epochs_accumulate_differently(tmp_path: Path) -> None:
    callbacks = [record_lrs(tmp_path), GradientAccumulationScheduler({1: 2})]
    fit(schedules.Fixed(), max_epochs=2, callbacks=callbacks)
    assert {row["samples"] for row in read_rows(tmp_path / "lr.csv")} == {""}


# Names


def test_optimizers_of_one_class_are_numbered() -> None:
    weights = list(Tiny().weights)
    optimizers = [Adam(weights), SGD(weights), Adam(weights), Adam(weights)]
    assert optimizer_names(optimizers) == ["Adam", "SGD", "Adam-1", "Adam-2"]


class NotTorchs:
    """All that Lightning asks of an optimizer; a strategy's own is such a thing."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.param_groups, self.state, self.defaults = optimizer.param_groups, optimizer.state, optimizer.defaults

    def step(self, closure: Any = None) -> Any:
        return self.optimizer.step(closure)

    def state_dict(self) -> Any:
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Any) -> None:
        self.optimizer.load_state_dict(state)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)


@pytest.mark.parametrize(
    "callback", [LearningRateScheduler(COSINE), LearningRateWarmup(2), LearningRateLogger(plot=False)], ids=type
)
def test_optimizer_that_is_not_torchs_is_refused(callback: Any) -> None:
    module = Tiny(lambda parameters: NotTorchs(SGD(parameters, lr=0.1)))
    with pytest.raises(TypeError, match=r"SingleDeviceStrategy trains with a NotTorchs, which is not a torch\.optim"):
        fit(module=module, callbacks=[callback], max_epochs=1)


# What is left when a fit is over


@pytest.mark.parametrize(
    "owner",
    [
        lambda: LearningRateScheduler(COSINE),
        lambda: LearningRateScheduler(schedules.Plateau()),
        lambda: LearningRateWarmup(2),
    ],
    ids=["schedule", "plateau", "warmup"],
)
def test_a_trainer_and_its_module_are_freed(owner: Callable[[], Callback], tmp_path: Path) -> None:
    def ended() -> list[weakref.ref[Any]]:
        run = fit(module=Validated(), callbacks=[owner(), record_lrs(tmp_path)], max_epochs=1)
        return [weakref.ref(run.trainer), weakref.ref(run.module)]

    left = ended()
    gc.collect()
    assert [one() for one in left] == [None, None]
