"""A training loop, in torch's own style and with the optimizer's hooks; what a step uses is read in a pre hook."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import Parameter
from torch.optim import SGD, Optimizer

from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import read_lrs, read_number
from lr_recipes.plan.horizon import Horizon

RUN = Horizon(total_steps=20, steps_per_epoch=5)
Loop = Callable[[BoundSchedule, int], list[list[float]]]


def parameter() -> Parameter:
    weight = Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    return weight


def sgd(*lrs: Any, **settings: Any) -> SGD:
    """An optimizer with a group for each LR, ready to step; with momentum, which one-cycle asks for."""
    return SGD([{"params": [parameter()], "lr": lr} for lr in lrs], momentum=0.9, **settings)


def watch(optimizer: Optimizer) -> list[list[float]]:
    """The LRs that each step uses, by group."""
    used: list[list[float]] = []
    optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: used.append(read_lrs(optimizer)))
    return used


def torch_style(bound: BoundSchedule, updates: int) -> list[list[float]]:
    used = watch(bound.optimizer)
    for _ in range(updates):
        bound.optimizer.step()
        bound.step()
    return used


def attached(bound: BoundSchedule, updates: int) -> list[list[float]]:
    bound.attach()
    used = watch(bound.optimizer)
    for _ in range(updates):
        bound.optimizer.step()
    bound.detach()
    return used


def read_momenta(optimizer: Optimizer) -> list[float | None]:
    return [read_number(group, "momentum") for group in optimizer.param_groups]
