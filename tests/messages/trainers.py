"""Facts that a Trainer does not know: whoever asks for them is told how to give them, in words that fit the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from lr_recipes import LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.schedules import Schedule
from recipes.app.config import composed
from tests.callbacks.harness import PEAK, Run, Tiny, Validated, factors, fit, go, loader, plan, prepare
from tests.messages.doors import (
    COSINE,
    TOTAL,
    Case,
    Door,
    Manual,
    OwnAccumulation,
    Packed,
    Saves,
    StopAfter,
    followed,
    trained,
    warmed,
)


class Unsized(IterableDataset[Tensor]):
    """Eight ones without a length."""

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.ones(8, 1)


class ManualValidated(Manual, Validated):
    pass


def endless(schedule: Schedule, module: Any = Validated) -> None:
    """Train 16 updates of a run without a known end: as the schedule says, with no total to say it for."""
    run = fit(schedule, module=module(), callbacks=[StopAfter()], max_epochs=-1)
    assert run.used == [PEAK * factor for factor in factors(schedule, None, count=16, steps_per_epoch=8)]


def changing() -> GradientAccumulationScheduler:
    return GradientAccumulationScheduler({0: 2, 1: 1})


def begun(**arguments: Any) -> None:
    """Train the first 16 updates of a run of 8000."""
    assert fit(COSINE, callbacks=[StopAfter()], **arguments).used == plan(COSINE, 8000)[:16]


def needing_no_total(module: Any, units: str = "epochs or steps") -> dict[str, Door]:
    """The schedules that a message names because they need no total."""
    return {
        "fixed": lambda: endless(schedules.Fixed(), module),
        "warmup_constant": lambda: endless(schedules.Fixed(warmup=4), module),
        f"step in {units}": lambda: endless(schedules.Step(step_size=4), module),
        "plateau": lambda: endless(schedules.Plateau(), module),
        f"inverse_sqrt with a warmup in {units}": lambda: endless(schedules.InverseSqrt(warmup=4), module),
    }


def from_the_command_line() -> None:
    config = composed("callbacks.learning_rate_scheduler.total_steps=16").callbacks.learning_rate_scheduler
    assert config.total_steps == 16


class Texts(LightningDataModule):
    tokens_per_sample = 50

    def train_dataloader(self) -> Any:
        return loader(8)


class Reader(Tiny):
    tokens_per_sample = 50


def tokens_read(data: Any = None, **arguments: Any) -> None:
    """Train 2 epochs of 8 batches of 50 tokens, with a warmup of 200 of them."""
    run = prepare(TOKENS, max_epochs=2, **arguments)
    run.trainer.fit(run.module, None if data else loader(8), datamodule=data)
    assert run.used == plan(schedules.Cosine(warmup=4), 16)


def run_in_time(milliseconds: int = 100, **arguments: Any) -> Run:
    time = {"max_time": {"milliseconds": milliseconds}, "max_epochs": -1}
    return fit(schedules.Linear(), options={"progress": "time"}, **time, **arguments)


def in_time_saved() -> str:
    run_in_time(400, callbacks=[Saves(), StopAfter()])
    return "run.ckpt"


TOKENS = schedules.Cosine(warmup="200 tokens")
EPOCH, FOUR = schedules.Cosine(warmup="1 epoch"), schedules.Cosine(warmup="4 samples")
UNSIZED: dict[str, Any] = {"train": DataLoader(Unsized())}
TRAINERS: dict[str, Case] = {
    "total of a loader without length": Case(
        lambda: fit(COSINE, max_epochs=2, **UNSIZED),
        ["Cosine needs to know how many updates", "the loader has no length"],
        {
            "Trainer(max_steps=...)": lambda: trained(COSINE, max_steps=16, max_epochs=-1, **UNSIZED),
            "an integer limit_train_batches with max_epochs": lambda: trained(COSINE, limit_train_batches=8, **UNSIZED),
            "LearningRateScheduler(..., total_steps=...)": lambda: trained(COSINE, **TOTAL, **UNSIZED),
            "callbacks.learning_rate_scheduler.total_steps=... on a command line": from_the_command_line,
            **needing_no_total(Validated),
            "step in epochs or": lambda: endless(schedules.Step(step_size="1 epoch")),
            "warmup in epochs or": lambda: endless(schedules.InverseSqrt(warmup="1 epoch")),
        },
    ),
    "total of a run without end": Case(
        lambda: fit(COSINE, max_epochs=-1),
        ["Cosine needs to know how many updates", "neither max_epochs nor max_steps ends the run"],
        {
            "Trainer(max_steps=...)": lambda: trained(COSINE, max_steps=16, max_epochs=-1),
            "an integer limit_train_batches with max_epochs": lambda: trained(COSINE, limit_train_batches=8),
            "give the total": lambda: trained(COSINE, max_epochs=-1, callbacks=[StopAfter()], **TOTAL),
        },
    ),
    "total of 1000 epochs": Case(
        lambda: fit(COSINE, max_epochs=1000),
        ["max_epochs is 1000", "what Lightning takes when nothing ends the run"],
        {
            "give max_steps=8000": lambda: begun(max_epochs=1000, max_steps=8000),
            "Trainer(max_steps=...)": lambda: trained(COSINE, max_epochs=1000, max_steps=16),
            "give the total": lambda: begun(max_epochs=1000, options={"total_steps": 8000}),
        },
    ),
    "epochs of a loader without length": Case(
        lambda: fit(EPOCH, max_epochs=2, **TOTAL, **UNSIZED),
        ["warmup='1 epoch' needs steps_per_epoch"],
        {
            "in steps ('500 steps')": lambda: trained(schedules.Cosine(warmup="8 steps"), **TOTAL, **UNSIZED),
            "give the loader a length": lambda: trained(EPOCH, train=loader()),
        },
    ),
    "samples of a loader without batch size": Case(
        lambda: fit(FOUR, max_epochs=2, train=Packed()),
        ["warmup='4 samples' needs samples_per_step"],
        {
            "in steps ('500 steps')": lambda: trained(schedules.Cosine(warmup="4 steps"), train=Packed()),
            "give the loader a batch_size": lambda: trained(FOUR, train=Packed(1)),
        },
    ),
    "tokens of data that do not say": Case(
        lambda: fit(TOKENS, max_epochs=2),
        ["warmup='200 tokens' needs tokens_per_sample"],
        {
            "in steps ('500 steps')": lambda: trained(schedules.Cosine(warmup="4 steps")),
            "LearningRateScheduler(..., tokens_per_sample=...)": lambda: tokens_read(options={"tokens_per_sample": 50}),
            "callbacks.learning_rate_scheduler.tokens_per_sample=... on a command line": lambda: composed(
                "callbacks.learning_rate_scheduler.tokens_per_sample=50"
            ),
            "an attribute tokens_per_sample of the data module": lambda: tokens_read(data=Texts()),
            "or the LightningModule": lambda: tokens_read(module=Reader()),
        },
        never=["total_steps"],
    ),
    "warmup's tokens of data that do not say": Case(
        lambda: fit(callbacks=[LearningRateWarmup("200 tokens")], max_epochs=2),
        ["warmup='200 tokens' needs tokens_per_sample"],
        {
            "in steps ('500 steps')": lambda: warmed(4, duration="4 steps"),
            "an attribute tokens_per_sample of the data module or the LightningModule": lambda: warmed(
                4, duration="200 tokens", module=Reader()
            ),
        },
        never=["total_steps", "(...", "command line"],
    ),
    "time in a run that counts updates": Case(
        lambda: fit(schedules.Linear(warmup="1 minute"), max_epochs=2),
        ["warmup='1 minute' needs a run that follows the clock"],
        {
            "LearningRateScheduler(..., progress='time') and Trainer(max_time=...)": lambda: followed(
                schedules.Linear(warmup="0.02 seconds")
            ),
            "in steps ('500 steps')": lambda: trained(schedules.Linear(warmup="5 steps")),
        },
        never=["total_steps"],
    ),
    "no time that ends the run": Case(
        lambda: followed(max_time=None, max_epochs=1),
        ["progress='time' needs a time that ends the run"],
        {
            "Trainer(max_time='00:08:00:00')": lambda: followed(),
            "leave progress out": lambda: trained(COSINE),
        },
    ),
    "total beside the time": Case(
        lambda: LearningRateScheduler(COSINE, progress="time", total_steps=16),
        ["total_steps=16 with progress='time'"],
        {"leave total_steps out": lambda: followed(), "leave progress out": lambda: trained(COSINE, **TOTAL)},
    ),
    "second fit of a Trainer that follows the clock": Case(
        lambda: go(run_in_time()),
        ["progress='time' in a second fit of one Trainer"],
        {
            "make a new Trainer, and go on with trainer.fit(..., ckpt_path=...)": lambda: fit(
                schedules.Linear(),
                options={"progress": "time"},
                max_time={"milliseconds": 400},
                max_epochs=-1,
                ckpt_path=in_time_saved(),
            )
        },
    ),
    "total in manual optimization": Case(
        lambda: fit(COSINE, max_epochs=2, module=Manual()),
        ["Cosine needs to know how many updates", "the module decides when an optimizer steps"],
        {
            "LearningRateScheduler(..., total_steps=...)": lambda: trained(COSINE, module=Manual(), **TOTAL),
            "callbacks.learning_rate_scheduler.total_steps=... on a command line": from_the_command_line,
            **needing_no_total(ManualValidated, "steps"),
        },
        never=["max_steps", "limit_train_batches", "epochs"],
    ),
    "epochs in manual optimization": Case(
        lambda: fit(EPOCH, max_epochs=2, module=Manual(), options={"total_steps": 15}),
        ["warmup='1 epoch' needs steps_per_epoch", "the Trainer does not decide when an optimizer steps"],
        {
            "in steps ('500 steps')": lambda: trained(
                schedules.Cosine(warmup="7 steps"), 15, module=Manual(), options={"total_steps": 15}, max_steps=15
            ),
            "total_steps=... on a command line, a multiple of Trainer(max_epochs=...)": lambda: trained(
                EPOCH, module=Manual(), **TOTAL
            ),
        },
        never=["max_steps", "limit_train_batches", "loader"],
    ),
    "samples in manual optimization": Case(
        lambda: fit(FOUR, max_epochs=2, module=Manual(), **TOTAL),
        ["warmup='4 samples' needs samples_per_step", "the Trainer does not decide when an optimizer steps"],
        {"in steps ('500 steps')": lambda: trained(schedules.Cosine(warmup="4 steps"), module=Manual(), **TOTAL)},
        never=["max_steps", "limit_train_batches", "loader", "total_steps"],
    ),
    "total of a strategy that accumulates": Case(
        lambda: fit(COSINE, max_epochs=2, strategy=OwnAccumulation()),
        ["OwnAccumulation accumulates gradients by its own rule"],
        {
            "LearningRateScheduler(..., total_steps=...)": lambda: trained(COSINE, strategy=OwnAccumulation(), **TOTAL),
            "step in steps": lambda: fit(schedules.Step(step_size=4), max_epochs=2, strategy=OwnAccumulation()),
        },
        never=["max_steps", "limit_train_batches", "epochs"],
    ),
    "warmup's total of a strategy that accumulates": Case(
        lambda: fit(callbacks=[LearningRateWarmup("25%")], max_epochs=2, strategy=OwnAccumulation()),
        ["OwnAccumulation accumulates gradients by its own rule"],
        {"'500 steps'": lambda: warmed(4, duration="4 steps", strategy=OwnAccumulation())},
        never=["max_steps", "limit_train_batches", "epochs", "total_steps"],
    ),
    "samples where the accumulation changes": Case(
        lambda: fit(FOUR, max_epochs=2, callbacks=[changing()]),
        ["warmup='4 samples' needs samples_per_step"],
        {
            "in steps ('500 steps')": lambda: fit(COSINE, max_epochs=2, callbacks=[changing()]),
            "in epochs ('2 epochs')": lambda: fit(EPOCH, max_epochs=2, callbacks=[changing()]),
        },
        never=["batch_size"],
    ),
    "total of a loader that is made anew": Case(
        lambda: fit(COSINE, max_epochs=2, reload_dataloaders_every_n_epochs=1),
        ["the loader is made anew every epoch", "if each keeps its 8 batches, the total is 16"],
        {
            "Trainer(max_steps=...) and leave out max_epochs": lambda: trained(
                COSINE, max_steps=16, max_epochs=-1, reload_dataloaders_every_n_epochs=1
            ),
            "LearningRateScheduler(..., total_steps=...)": lambda: trained(
                COSINE, reload_dataloaders_every_n_epochs=1, **TOTAL
            ),
        },
        never=["limit_train_batches"],
    ),
    "warmup's total of a loader without length": Case(
        lambda: fit(callbacks=[LearningRateWarmup("25%")], max_epochs=2, **UNSIZED),
        ["warmup='25%' needs to know how many updates", "the loader has no length"],
        {
            "Trainer(max_steps=...)": lambda: warmed(4, duration="25%", max_steps=16, max_epochs=-1, **UNSIZED),
            "an integer limit_train_batches with max_epochs": lambda: warmed(
                4, duration="25%", limit_train_batches=8, **UNSIZED
            ),
            "'500 steps'": lambda: warmed(4, duration="4 steps", **UNSIZED),
        },
        never=["total_steps"],
    ),
    "warmup's total of 1000 epochs": Case(
        lambda: fit(callbacks=[LearningRateWarmup("0.05%")], max_epochs=1000),
        ["warmup='0.05%' needs to know how many updates", "max_epochs is 1000"],
        {"give max_steps=8000": lambda: warmed(4, duration="0.05%", max_epochs=1000, max_steps=8000)},
        never=["total_steps"],
    ),
    "warmup's epochs of a loader without length": Case(
        lambda: fit(callbacks=[LearningRateWarmup("1 epoch")], max_epochs=2, **UNSIZED),
        ["warmup='1 epoch' needs steps_per_epoch"],
        {
            "'500 steps'": lambda: warmed(8, duration="8 steps", **UNSIZED),
            "give the loader a length": lambda: warmed(8, duration="1 epoch"),
        },
        never=["total_steps"],
    ),
    "warmup's total in manual optimization": Case(
        lambda: fit(callbacks=[LearningRateWarmup("25%")], max_epochs=2, module=Manual()),
        ["warmup='25%' needs to know how many updates", "the module decides when an optimizer steps"],
        {"'500 steps'": lambda: warmed(4, duration="4 steps", module=Manual())},
        never=["max_steps", "limit_train_batches", "total_steps"],
    ),
    "warmup's epochs in manual optimization": Case(
        lambda: fit(callbacks=[LearningRateWarmup("1 epoch")], max_epochs=2, module=Manual()),
        ["warmup='1 epoch' needs steps_per_epoch", "the Trainer does not decide when an optimizer steps"],
        {"'500 steps'": lambda: warmed(8, duration="8 steps", module=Manual())},
        never=["max_steps", "limit_train_batches", "total_steps", "loader"],
    ),
}
