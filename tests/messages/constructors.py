"""What the torch-style constructors say: in a plain loop, and in a Lightning module."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch import nn
from torch.optim.lr_scheduler import ChainedScheduler, LinearLR

import lr_recipes
from lr_recipes import lr_scheduler, schedules
from tests.callbacks.harness import PEAK, Tiny, fit, loader, plan, quiet_trainer, sgd
from tests.messages.doors import Case, Manual, one_weight


def made(name: str = "Cosine", **given: Any) -> Any:
    return getattr(lr_scheduler, name)(one_weight(), **given)


def follows(schedule: Any, name: str = "Cosine", total: int = 16, **given: Any) -> None:
    """Every update must use the LR of the closed form."""
    scheduler, used = made(name, **given), []
    for _ in range(total):
        used += scheduler.get_last_lr()
        scheduler.optimizer.step()
    assert used == plan(schedule, total, steps_per_epoch=8)


def plotted() -> None:
    scheduler = lr_scheduler.Cosine(sgd([nn.Parameter(torch.ones(1))]), total_steps=16)
    for _ in range(16):
        scheduler.step()


def looked_at(look: Callable[[Any], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert look(made(total_steps=16))


def chained() -> None:
    optimizer = one_weight()
    both = ChainedScheduler([LinearLR(optimizer), lr_scheduler.Linear(optimizer, total_steps=16)])
    optimizer.step()
    both.step()


def phases() -> None:
    both = [schedules.TorchSchedule(factory=LinearLR), schedules.Linear()]
    follows(
        schedules.Sequence(schedules=both, milestones=[5]), "Sequence", schedules=both, milestones=[5], total_steps=16
    )


def net(module: Any = Tiny, name: str = "Cosine", **given: Any) -> Any:
    class Net(module):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self.weights)
            return [optimizer], [getattr(lr_scheduler, name)(optimizer, **given)]

    return Net()


def in_module(module: Any = Tiny, /, name: str = "Cosine", **given: Any) -> Callable[..., None]:
    """Trains a module whose ``configure_optimizers`` returns the schedule; every LR must be right."""

    def train(**arguments: Any) -> None:
        knobs = {name: value for name, value in given.items() if name != "total_steps"}
        run = fit(module=net(module, name, **given), **{"max_epochs": 2, **arguments})
        assert run.used == plan(getattr(schedules, name)(**knobs), 16, PEAK, steps_per_epoch=8)

    return train


CONSTRUCTORS = {
    "a misspelt knob": Case(
        lambda: made(warmpu=4, total_steps=16),
        ["Cosine has no argument 'warmpu'", "min_lr_ratio", "total_steps"],
        {"did you mean 'warmup'?": lambda: follows(schedules.Cosine(warmup=4), warmup=4, total_steps=16)},
    ),
    "a total without its name": Case(
        lambda: lr_scheduler.Cosine(one_weight(), 16),
        ["16 is given to Cosine without a name: if it is the total"],
        {"write Cosine(optimizer, total_steps=16)": lambda: follows(schedules.Cosine(), total_steps=16)},
    ),
    "a schedule that is given the optimizer": Case(
        lambda: schedules.Cosine(one_weight(), 16),  # type: ignore[misc]
        ["Cosine takes no optimizer"],
        {
            "write Cosine(...).bind(optimizer, 1000)": lambda: schedules.Cosine().bind(one_weight(), 16),
            "lr_recipes.lr_scheduler, as in lr_scheduler.Cosine(optimizer, total_steps=1000)": lambda: follows(
                schedules.Cosine(), total_steps=16
            ),
        },
    ),
    "a misspelt class": Case(
        lambda: made("Cosin", total_steps=16),
        ["no class 'Cosin'", "OneCycle"],
        {"did you mean 'Cosine'?": lambda: follows(schedules.Cosine(), total_steps=16)},
    ),
    "no total": Case(
        lambda: made(),
        ["Cosine needs to know how many updates"],
        {"lr_scheduler.Cosine(optimizer, ..., total_steps=1000)": lambda: follows(schedules.Cosine(), total_steps=16)},
    ),
    "no length of an epoch": Case(
        lambda: made("Step", step_size="1 epoch"),
        ["step_size='1 epoch' needs steps_per_epoch"],
        {
            "lr_scheduler.Step(optimizer, ..., steps_per_epoch=100)": lambda: follows(
                schedules.Step(step_size="1 epoch"), "Step", step_size="1 epoch", steps_per_epoch=8
            ),
            "write the length in steps ('500 steps')": lambda: follows(
                schedules.Step(step_size="8 steps"), "Step", step_size="8 steps"
            ),
        },
        never=["Horizon("],
    ),
    "last_epoch": Case(
        lambda: made(total_steps=16, last_epoch=-2),
        ["last_epoch=-2"],
        {"-1 for none": lambda: follows(schedules.Cosine(), total_steps=16, last_epoch=-1)},
    ),
    "plotted by ticks": Case(
        plotted,
        ["Cosine: step() was called twice, and the optimizer has not stepped"],
        {
            "lr_recipes.preview(scheduler.schedule, scheduler.horizon)": lambda: looked_at(
                lambda scheduler: lr_recipes.preview(scheduler.schedule, scheduler.horizon)
            ),
            "scheduler.curve(n)": lambda: looked_at(lambda scheduler: scheduler.curve(3)),
        },
    ),
    "chained": Case(
        chained,
        ["Linear()", "ChainedScheduler"],
        {"give the phases to schedules.Sequence, with those of torch as TorchSchedule(factory=...)": phases},
    ),
    "in a module: no end": Case(
        lambda: in_module()(max_epochs=-1),
        ["Cosine needs to know how many updates", "neither max_epochs nor max_steps"],
        {
            "Trainer(max_steps=...)": lambda: in_module()(max_epochs=-1, max_steps=16),
            "lr_scheduler.Cosine(optimizer, ..., total_steps=...)": lambda: in_module(total_steps=16)(),
        },
    ),
    "in a module: averaged": Case(
        lambda: in_module()(callbacks=[StochasticWeightAveraging(0.01, 1)]),
        ["StochasticWeightAveraging", "Net.configure_optimizers() makes a Cosine()"],
        {
            "Remove one of them": in_module(),
            "Lightning's WeightAveraging": lambda: in_module()(callbacks=[callbacks.WeightAveraging()]),
        },
    ),
    "in a module: a second owner": Case(
        lambda: in_module()(schedule=schedules.Cosine()),
        ["Net.configure_optimizers() returns Cosine", "LearningRateScheduler(Cosine())"],
        {
            "Return the optimizer alone": lambda: fit(schedules.Cosine(), max_epochs=2),
            "LearningRateScheduler(..., replace=True)": lambda: in_module()(
                schedule=schedules.Cosine(), options={"replace": True}
            ),
        },
    ),
    "in a module: a forecast": Case(
        lambda: lr_recipes.forecast(quiet_trainer([], max_epochs=2), net(), loader()),
        ["Cosine() owns the LR"],
        {"lr_recipes.preview(schedule, ...)": lambda: lr_recipes.preview(schedules.Cosine(), 16)},
    ),
    "in a module: by hand": Case(
        lambda: in_module(Manual)(),
        ["manual optimization"],
        {
            "Give the total: lr_scheduler.Cosine(optimizer, ..., total_steps=...)": lambda: in_module(
                Manual, total_steps=16
            )()
        },
    ),
}
