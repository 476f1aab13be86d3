"""Schedules that are constructed as torch's are: in a plain loop, in a Lightning module, by dotted path."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BatchSizeFinder, GradientAccumulationScheduler
from omegaconf import OmegaConf
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from lr_recipes import Horizon, lr_scheduler, schedules
from lr_recipes.plan.state import ResumeError
from lr_recipes.report.checkpoint import inspect_checkpoint
from lr_recipes.schedules import Schedule

from .callbacks.harness import (
    PEAK,
    SCHEDULES,
    Endless,
    Run,
    Tiny,
    Validated,
    fit,
    go,
    messages,
    plan,
    prepare,
    record_lrs,
    sgd,
)
from .messages.doors import Both

# What is saved here within an epoch is saved for the schedule alone.
pytestmark = pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended")

TOTAL = 20
ALL: dict[str, Schedule] = {
    **SCHEDULES,
    "torch": schedules.TorchSchedule(factory=partial(StepLR, step_size=3), warmup=2),
    "plateau": schedules.Plateau(warmup=3),
}


def one_weight(**options: Any) -> Optimizer:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    return SGD([weight], **{"lr": PEAK, "momentum": 0.9, **options})


def knobs(schedule: Schedule) -> dict[str, Any]:
    """The keyword arguments that make a schedule."""
    return {one.name: getattr(schedule, one.name) for one in dataclasses.fields(schedule) if one.init}


def made(schedule: Schedule, optimizer: Any, **facts: Any) -> Any:
    """The schedule as a framework constructs it from a name and keyword arguments."""
    return getattr(lr_scheduler, type(schedule).__name__)(optimizer, **knobs(schedule), **facts)


def used(optimizer: Optimizer, count: int, tick: Callable[[], Any] = lambda: None) -> list[float]:
    """What the next updates use."""
    lrs = []
    for _ in range(count):
        lrs.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        tick()
    return lrs


# A plain loop


@pytest.mark.parametrize("ticks", [0, 1, 3])
@pytest.mark.parametrize("name", ALL)
def test_every_update_uses_the_closed_form_whoever_ticks(name: str, ticks: int) -> None:
    optimizer = one_weight()
    scheduler = made(ALL[name], optimizer, total_steps=TOTAL)
    assert isinstance(scheduler, LRScheduler)
    lrs = used(optimizer, TOTAL, lambda: [scheduler.step() for _ in range(ticks)])
    assert lrs == plan(ALL[name], TOTAL)


@pytest.mark.parametrize("name", ALL)
def test_goes_on_from_what_was_saved(name: str) -> None:
    whole, first = plan(ALL[name], TOTAL), one_weight()
    scheduler = made(ALL[name], first, total_steps=TOTAL)
    used(first, 7)
    file = io.BytesIO()
    torch.save([first.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    second = one_weight()
    again = made(ALL[name], second, total_steps=TOTAL)
    second.load_state_dict(states[0])
    again.load_state_dict(states[1])
    assert used(second, TOTAL - 7) == whole[7:]
    assert used(first, TOTAL - 7) == whole[7:]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
@pytest.mark.parametrize("name", ["cosine", "one_cycle", "plateau"])
def test_a_copy_goes_on_by_itself(name: str, copied: Callable[[Any], Any]) -> None:
    optimizer = one_weight()
    scheduler = made(ALL[name], optimizer, total_steps=TOTAL, resume="config")
    used(optimizer, 7)
    other, twin = copied((optimizer, scheduler))
    assert type(twin) is type(scheduler)
    assert twin.resume == "config"
    other.param_groups[0]["params"][0].grad = torch.ones(1)
    assert used(other, TOTAL - 7) == plan(ALL[name], TOTAL)[7:]
    assert scheduler.position == 7


def test_facts_of_the_run_are_keyword_arguments() -> None:
    optimizer = one_weight()
    scheduler = lr_scheduler.Step(
        optimizer, step_size="2 epochs", warmup="64 samples", steps_per_epoch=5, samples_per_step=32
    )
    assert used(optimizer, 25) == pytest.approx([PEAK * min(1, (n + 1) / 2) * 0.1 ** (n // 10) for n in range(25)])
    assert scheduler.horizon == Horizon(steps_per_epoch=5, samples_per_step=32)


def test_tokens_are_a_fact_and_a_total() -> None:
    optimizer, facts = one_weight(), {"samples_per_step": 32, "tokens_per_sample": 50}
    scheduler = lr_scheduler.Linear(optimizer, warmup="3.2k tokens", total_steps="16k tokens", **facts)
    assert scheduler.horizon == Horizon(total_steps=10, source="16k tokens", **facts)
    assert used(optimizer, 10) == plan(schedules.Linear(warmup=2), 10)
    with pytest.raises(ValueError, match=r"warmup='3200 tokens' needs samples_per_step.*samples_per_step=256\)"):
        lr_scheduler.Linear(one_weight(), warmup="3.2k tokens", total_steps=10)


def test_last_epoch_is_the_last_update_that_is_done() -> None:
    optimizer = one_weight()
    lr_scheduler.Cosine(optimizer, total_steps=TOTAL, last_epoch=6)
    assert used(optimizer, TOTAL - 7) == plan(schedules.Cosine(), TOTAL)[7:]


# In a Lightning module


def returns(schedule: Schedule, form: str = "lists", **facts: Any) -> Callable[[Any], Any]:
    """``configure_optimizers`` of a module that returns its own schedule."""

    def build(weights: Any) -> Any:
        optimizer = sgd(weights)
        scheduler = made(schedule, optimizer, **facts)
        return {
            "lists": ([optimizer], [scheduler]),
            "dict": {"optimizer": optimizer, "lr_scheduler": scheduler},
            "step": {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}},
            "untold": optimizer,
        }[form]

    return build


@pytest.mark.parametrize("form", ["lists", "dict", "step", "untold"])
def test_the_total_comes_from_the_trainer(form: str) -> None:
    run = fit(module=Tiny(returns(SCHEDULES["cosine"], form)), max_epochs=2)
    assert run.used == plan(SCHEDULES["cosine"], 16)


# The shapes of runs, each as the callback has it


RUNS: dict[str, tuple[dict[str, Any], int]] = {
    "accumulation": ({"max_epochs": 2, "accumulate_grad_batches": 3}, 6),
    "a changing accumulation": ({"max_epochs": 3, "callbacks": [GradientAccumulationScheduler({1: 2, 2: 4})]}, 14),
    "limited batches": ({"max_epochs": 2, "limit_train_batches": 5}, 10),
    "max_steps within an epoch": ({"max_epochs": 2, "max_steps": 11}, 11),
    "max_steps alone": ({"max_epochs": -1, "max_steps": 13}, 13),
    "max_time and max_steps": ({"max_time": "00:01:00:00", "max_steps": 13}, 13),
    "no length": ({"max_epochs": 2, "train": DataLoader(Endless()), "limit_train_batches": 4}, 8),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_total_is_that_of_the_run(name: str) -> None:
    arguments, total = RUNS[name]
    assert fit(module=Tiny(returns(schedules.Linear())), **arguments).used == plan(schedules.Linear(), total)


@pytest.mark.parametrize("name", ["step", "plateau", "torch", "sequence"])
def test_lengths_in_epochs_and_samples_come_from_the_trainer(name: str) -> None:
    schedule = dataclasses.replace(ALL[name], warmup="0.5 epochs")
    run = fit(module=Tiny(returns(schedule, "untold")), max_epochs=2)
    assert run.used == plan(schedule, 16, steps_per_epoch=8)


def test_two_optimizers_by_hand() -> None:
    def build(weights: Any) -> Any:
        one, other = sgd(weights[:1]), sgd(weights[1:], 0.3)
        facts = {"total_steps": 16}
        return [one, other], [lr_scheduler.Cosine(one, **facts), lr_scheduler.Linear(other, warmup=4, **facts)]

    module = Both()
    module.build = build
    run = fit(module=module, max_epochs=2)
    assert [lrs[0] for lrs in run.groups(0)] == plan(schedules.Cosine(), 16)
    assert [lrs[0] for lrs in run.groups(1)] == plan(schedules.Linear(warmup=4), 16, 0.3)


def test_a_plateau_takes_the_metric_as_torchs_does() -> None:
    def build(kind: Any, weights: Any) -> Any:
        optimizer = sgd(weights)
        return {"optimizer": optimizer, "lr_scheduler": kind(optimizer, patience=1), "monitor": "val_loss"}

    runs = [
        fit(module=Validated([1.0, 0.5, 0.5, 0.5, 0.5], partial(build, kind)), max_epochs=5, batches=2).used
        for kind in (lr_scheduler.Plateau, ReduceLROnPlateau)
    ]
    assert runs[0] == runs[1]
    assert runs[0][-1] == pytest.approx(PEAK / 10)


def test_a_further_fit_of_a_trainer_is_planned_over_what_is_left() -> None:
    run = fit(module=Tiny(returns(schedules.Cosine())), max_epochs=1)
    assert run.used == plan(schedules.Cosine(), 8)
    run.trainer.fit_loop.max_epochs = 3
    assert go(run).used == plan(schedules.Cosine(), 16)


class FindsItsBatches(Tiny):
    """Has a batch size, for a ``BatchSizeFinder`` to change when the optimizers are built already."""

    batch_size = 1

    def train_dataloader(self) -> Any:
        return DataLoader(torch.ones(16, 1), batch_size=self.batch_size)

    val_dataloader = train_dataloader

    def validation_step(self, batch: Any, index: int) -> None:
        pass


def test_a_batch_size_that_is_found_later_makes_another_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = FindsItsBatches(returns(schedules.Linear(warmup="1 epoch")))
    finder = BatchSizeFinder(max_trials=2, steps_per_trial=2)
    with caplog.at_level("INFO"):
        run = prepare(module=module, max_epochs=3, callbacks=[finder, record_lrs(tmp_path)], default_root_dir=tmp_path)
        run.trainer.fit(module)
    assert module.batch_size == 4
    assert run.used[-12:] == plan(schedules.Linear(warmup="1 epoch"), 12, steps_per_epoch=4)
    assert "12 updates (3 epochs of 4 updates)" in messages(caplog)


# The record


def test_the_record_knows_the_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(module=Tiny(returns(schedules.Cosine(warmup=4))), max_epochs=2, callbacks=[record_lrs(tmp_path)])
    told = messages(caplog)
    assert "Learning-rate plan for SGD: 16 updates (2 epochs of 8 updates)\n  warmup    updates 0 to 3" in told
    assert "used = planned on 16 of 16 updates, schedule complete" in told
    assert "forecast" not in told
    rows = [line.split(",") for line in (tmp_path / "lr.csv").read_text().splitlines()[1:]]
    assert [row[3] for row in rows] == ["warmup"] * 4 + ["cosine"] * 12
    assert [float(row[4]) for row in rows] == plan(schedules.Cosine(warmup=4), 16, 1.0)


def test_the_record_tells_ours_from_a_strangers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def build(weights: Any) -> Any:
        one, other = sgd(weights[:1]), sgd(weights[1:])
        return [one, other], [lr_scheduler.Cosine(one, total_steps=8), StepLR(other, 2)]

    module = Both()
    module.build = build
    with caplog.at_level("INFO"):
        fit(module=module, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    told = messages(caplog)
    assert "Learning-rate plan for SGD: 8 updates" in told
    assert "Learning-rate forecast for SGD-1: StepLR" in told
    assert "forecast for SGD:" not in told
    assert "SGD: used = planned on 8 of 8 updates" in told


# Checkpoints


class Keeps(Callback):
    """Saves a checkpoint after each batch, and nothing of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of each update of a run of 2 epochs."""
    folder = tmp_path_factory.mktemp("saved")
    fit(module=Tiny(returns(schedules.Cosine(warmup=2))), max_epochs=2, callbacks=[Keeps(folder)])
    return folder


def resumed(saved: Path, at: int, peak: float = PEAK, epochs: int = 2, **arguments: Any) -> Run:
    def build(weights: Any) -> Any:
        optimizer = sgd(weights, peak)
        return [optimizer], [lr_scheduler.Cosine(optimizer, warmup=2, **arguments)]

    return fit(module=Tiny(build), max_epochs=epochs, ckpt_path=saved / f"step={at}.ckpt")


WHOLE, LONGER = plan(schedules.Cosine(warmup=2), 16), plan(schedules.Cosine(warmup=2), 24)


@pytest.mark.parametrize("at", [1, 5, 8])
def test_a_resumed_run_goes_on(at: int, saved: Path) -> None:
    assert resumed(saved, at).used == WHOLE[at:]


def test_a_longer_run_is_asked_about(saved: Path) -> None:
    with pytest.raises(ResumeError, match=r"total_steps: 16 -> 24(.|\n)*Cosine\(optimizer, ..., resume='checkpoint'\)"):
        resumed(saved, 5, epochs=3)
    assert resumed(saved, 5, epochs=3, resume="checkpoint").used == [*WHOLE[5:], *[0.0] * 8]
    assert resumed(saved, 5, epochs=3, resume="config").used == LONGER[5:]


def test_another_peak_is_asked_about(saved: Path) -> None:
    with pytest.raises(ResumeError, match=r"peak LR: \[0.1\] -> \[0.2\]"):
        resumed(saved, 5, peak=0.2)
    assert resumed(saved, 5, peak=0.2, resume="checkpoint").used == WHOLE[5:]
    assert resumed(saved, 5, peak=0.2, resume="config").used == [2 * lr for lr in WHOLE[5:]]


@pytest.mark.parametrize("at", [5, 8])
def test_a_schedule_begun_anew_spans_what_is_left(at: int, saved: Path) -> None:
    assert resumed(saved, at, epochs=3, resume="restart").used == plan(schedules.Cosine(warmup=2), 24 - at)


def test_one_that_was_begun_anew_goes_on(saved: Path, tmp_path: Path) -> None:
    module = Tiny(returns(schedules.Cosine(warmup=2), resume="restart"))
    fit(module=module, max_epochs=3, ckpt_path=saved / "step=5.ckpt", callbacks=[Keeps(tmp_path)])
    for policy in ("restart", "error"):
        assert resumed(tmp_path, 9, epochs=3, resume=policy).used == plan(schedules.Cosine(warmup=2), 19)[4:]


def test_inspected(saved: Path) -> None:
    told = str(inspect_checkpoint(saved / "step=5.ckpt"))
    assert "Learning-rate plan for SGD: 16 updates" in told
    assert "done: 5 of 16 updates (31%); the next is in phase cosine" in told
    assert "by the plan below" in told
    assert "Scheduler:" not in told


# Ways in


def test_a_new_schedule_has_its_class_by_itself() -> None:
    kinds = [getattr(schedules, name) for name in schedules.__all__]
    named = [one.__name__ for one in kinds if issubclass(one, Schedule) and one not in (Schedule, schedules.ToFloor)]
    assert sorted(named) == lr_scheduler.__all__


@pytest.mark.parametrize("name", lr_scheduler.__all__)
def test_signature_and_docstring_are_the_schedules(name: str) -> None:
    kind, schedule = getattr(lr_scheduler, name), getattr(schedules, name)
    parameters = inspect.signature(kind).parameters
    first, *others = parameters
    assert first == "optimizer"
    assert parameters[first].annotation is Optimizer
    knobs = {name for name, one in inspect.signature(schedule).parameters.items() if one.kind is one.KEYWORD_ONLY}
    facts = {"total_steps", "steps_per_epoch", "samples_per_step", "tokens_per_sample"}
    assert set(others) == knobs | facts | {"resume", "last_epoch"}
    assert kind.__init__.__annotations__.keys() == parameters.keys()
    assert inspect.getdoc(kind).startswith(inspect.getdoc(schedule).splitlines()[0])
    assert [one for one in parameters if f"\n    {one}: " not in inspect.getdoc(kind)] == []


def test_by_group_and_for_other_numbers() -> None:
    optimizer = one_weight()
    lr_scheduler.ByGroup(optimizer, total_steps=TOTAL, groups={0: "linear"})
    assert used(optimizer, TOTAL) == plan(schedules.Linear(), TOTAL)
    optimizer = one_weight()
    bound = lr_scheduler.Hyperparameters(optimizer, total_steps=TOTAL, lr="linear", momentum="cosine")
    assert used(optimizer, TOTAL // 2) == plan(schedules.Linear(), TOTAL)[: TOTAL // 2]
    assert bound.optimizer.param_groups[0]["momentum"] == pytest.approx(0.9 * 0.5)


@pytest.mark.parametrize("is_partial", [True, False])
def test_hydra(is_partial: bool) -> None:
    config = {"_target_": "lr_recipes.lr_scheduler.MultiStep", "milestones": ["50%", 15], "total_steps": TOTAL}
    optimizer = one_weight()
    if is_partial:
        instantiate(OmegaConf.create({**config, "_partial_": True}))(optimizer)
    else:
        instantiate(OmegaConf.create(config), optimizer=optimizer)
    assert used(optimizer, TOTAL) == plan(schedules.MultiStep(milestones=["50%", 15]), TOTAL)


def test_an_optimizer_wrapped_by_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    raw = one_weight()
    optimizer = accelerate.Accelerator(cpu=True).prepare(raw)
    lr_scheduler.Cosine(optimizer, total_steps=TOTAL)
    assert used(optimizer, TOTAL) == plan(schedules.Cosine(), TOTAL)


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"list is not a torch.optim.Optimizer"):
        lr_scheduler.Cosine([1], total_steps=TOTAL)  # type: ignore[arg-type]


def test_it_needs_no_docstrings() -> None:
    code = "from lr_recipes import lr_scheduler; assert 0, 'not optimized'; print(len(lr_scheduler.__all__) > 10)"
    done = subprocess.run([sys.executable, "-OO", "-c", code], check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("True\n", "")


# The page that says it

PAGE = (Path(__file__).parents[1] / "docs" / "by_path.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page() -> None:
    first, module, plateau, own = blocks("python")
    scope: dict[str, Any] = {"optimizer": one_weight(), "torch": torch}
    exec(first, scope)
    wanted = schedules.Cosine(warmup="5%", min_lr_ratio=0.1)
    assert used(scope["optimizer"], 1000) == plan(wanted, 1000)
    scope["optimizer"] = one_weight()
    exec(own, scope)
    assert used(scope["optimizer"], 1000) == plan(schedules.WarmupStableDecay(decay="20%"), 1000)
    in_module = {module: (schedules.Cosine(warmup="5%"), 40), plateau: (schedules.Plateau(warmup=20), 40)}
    for block, (schedule, total) in in_module.items():
        exec(block, scope)
        net = type("Net", (Validated,), {"configure_optimizers": scope["configure_optimizers"]})
        assert fit(module=net(), max_epochs=2, batches=total // 2).used == plan(schedule, total, 1e-3)
    hydra, _ = map(yaml.safe_load, blocks("yaml"))
    optimizer = one_weight()
    instantiate(OmegaConf.create(hydra["lr_scheduler"]))(optimizer, total_steps=100)
    assert used(optimizer, 100) == plan(wanted, 100)
