"""What schedules of others say: those by group, and those of other numbers than the LR."""

from __future__ import annotations

from typing import Any

import torch
from hydra.utils import instantiate
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from lr_recipes import preview, schedules
from lr_recipes.schedules import ByGroup, Cosine, Hyperparameters, Linear, OneCycle, Plateau, Schedule
from tests.messages.doors import RUN, Case, bound, one_weight


def two_groups() -> Optimizer:
    groups = [{"params": [nn.Parameter(torch.ones(1))], "name": name} for name in ("body", "head")]
    return SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.5)


def on_two(schedule: Schedule) -> Any:
    return bound(schedule, two_groups())


def joining(schedule: Schedule) -> None:
    scheduler = on_two(schedule)
    scheduler.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "name": "late"})
    scheduler.attach()
    scheduler.optimizer.step()
    assert scheduler.planned_lrs[2] == 0.1 * Linear().resolve(RUN)(scheduler.position)


def within(one: Any) -> Schedule:
    return ByGroup(groups={"head": one})


def instantiated(**further: str) -> Schedule:
    path = "lr_recipes.schedules"
    head = {"_target_": f"{path}.Linear", "warmup": 3}
    made: Any = instantiate({"_target_": f"{path}.ByGroup", "groups": {"head": head}, **further})
    return made  # type: ignore[no-any-return]


OTHER = Hyperparameters(weight_decay=Linear())
COMBINED: dict[str, Case] = {
    "no group at all": Case(
        ByGroup,
        ["groups={}"],
        {
            "must name at least one group": lambda: on_two(within(Linear())),
            "as in {'head': Linear(), 0: Cosine()}": lambda: on_two(ByGroup(groups={"head": Linear(), 0: Cosine()})),
        },
    ),
    "groups in a list": Case(
        lambda: ByGroup(groups=["head"]),  # type: ignore[arg-type]
        ["groups=['head']"],
        {"must be a mapping from groups to schedules": lambda: on_two(within(Linear()))},
    ),
    "a key that is no group": Case(
        lambda: ByGroup(groups={-1: Linear()}),
        ["-1 is no group"],
        {
            "give its name": lambda: on_two(within(Linear())),
            "or its index from 0": lambda: on_two(ByGroup(groups={1: Linear()})),
        },
    ),
    "a key that is no expression": Case(
        lambda: ByGroup(groups={"he(ad": Linear()}),
        ["'he(ad' is no regular expression"],
        {
            "write a group's name": lambda: on_two(within(Linear())),
            "put a \\ before what is to stand for itself": lambda: ByGroup(groups={r"he\(ad": Linear()}),
        },
    ),
    "an unknown group": Case(
        lambda: on_two(ByGroup(groups={"hed": Linear()})),
        ["no group 'hed'"],
        {
            "did you mean 'head'?": lambda: on_two(within(Linear())),
            "groups are body, head": lambda: on_two(ByGroup(groups={"body": Linear()})),
            "given as late={'hed': ...}": lambda: on_two(ByGroup(late={"hed": Linear()})),
        },
    ),
    "a group that joins later": Case(
        lambda: joining(ByGroup(groups={"late": Linear()})),
        ["no group 'late'"],
        {"One that joins later is given as late=": lambda: joining(ByGroup(late={"late": Linear()}))},
    ),
    "two schedules for one group": Case(
        lambda: on_two(ByGroup(groups={"head": Linear(), ".*": Cosine()})),
        ["head (index 1) is meant by 'head' and by '.*'"],
        {"narrow one of them": lambda: on_two(ByGroup(groups={"head": Linear(), "b.*": Cosine()}))},
    ),
    "no schedule for a group": Case(
        lambda: within(0.1),
        ["groups['head']=0.1"],
        {"must be a schedule, as in Cosine(warmup='5%')": lambda: on_two(within(Cosine(warmup="10%")))},
    ),
    "a config for a group": Case(
        instantiated,
        ["groups['head']={", "must be a schedule"],
        {"in Hydra's YAML add `_convert_: all` to the outermost": lambda: instantiated(_convert_="all")},
    ),
    "a plateau for a group": Case(
        lambda: within(Plateau()),
        ["groups['head']=Plateau()"],
        {
            "give it as the one schedule": lambda: on_two(Plateau()),
            "as lr=... of Hyperparameters": lambda: on_two(Hyperparameters(lr=Plateau())),
        },
    ),
    "one curve of several": Case(
        lambda: within(Linear()).resolve(RUN),
        ["has a curve for each group"],
        {
            "plan(horizon, lrs)": lambda: ByGroup(groups={0: Linear()}).plan(RUN, [0.1, 0.1]),
            "or preview(...)": lambda: preview(within(Linear()), RUN, lr={"body": 0.1, "head": 0.1}),
        },
    ),
    "by group, without groups": Case(
        lambda: within(Linear()).plan(RUN, []),
        ["there are no groups here"],
        {"give one schedule for all": lambda: Linear().plan(RUN, [])},
    ),
    "no schedule for the LR": Case(
        lambda: Hyperparameters(lr=0.1),  # type: ignore[arg-type]
        ["lr=0.1"],
        {"must be a schedule, as in Cosine(warmup='5%')": lambda: on_two(Hyperparameters(lr=Cosine(warmup="10%")))},
    ),
    "a warmup of none": Case(
        lambda: Hyperparameters(lr=Cosine(), warmup=3),
        ["warmup=3", "has no warmup of its own"],
        {"as in lr=Cosine(warmup='5%')": lambda: on_two(Hyperparameters(lr=Cosine(warmup="10%")))},
    ),
    "other numbers in a list": Case(
        lambda: Hyperparameters(others=["eps"]),  # type: ignore[arg-type]
        ["others=['eps']"],
        {"must be a mapping from numbers to schedules": lambda: Hyperparameters(others={"eps": Linear()})},
    ),
    "a number without a name": Case(
        lambda: Hyperparameters(others={1: Linear()}),  # type: ignore[dict-item]
        ["1 is no number of a group"],
        {"give its name, as in 'betas[1]'": lambda: Hyperparameters(others={"betas[1]": Linear()})},
    ),
    "a preview of another number": Case(
        lambda: preview(OTHER, RUN, built=0.1),  # type: ignore[arg-type]
        ["built=0.1", "must be a mapping from numbers to what the groups are built with"],
        {"as in {'weight_decay': 0.1}": lambda: preview(OTHER, RUN, built={"weight_decay": 0.1})},
    ),
    "a number is given twice": Case(
        lambda: Hyperparameters(momentum=Linear(), beta1=Linear()),
        ["momentum is given twice, at last as 'beta1'"],
        {"two schedules for one number": lambda: on_two(Hyperparameters(momentum=Linear()))},
    ),
    "a number that the LR's schedule moves": Case(
        lambda: on_two(Hyperparameters(lr=OneCycle(), momentum=Linear())),
        ["OneCycle() moves the momentum, and Linear() is given for it"],
        {
            "leave one out": lambda: on_two(Hyperparameters(lr=OneCycle())),
            "of OneCycle with cycle_momentum=False": lambda: on_two(
                Hyperparameters(lr=OneCycle(cycle_momentum=False), momentum=Linear())
            ),
        },
    ),
    "a number that the optimizer has not": Case(
        lambda: on_two(Hyperparameters(wieght_decay=Linear())),
        ["wieght_decay=Linear()", "the optimizer has no such number"],
        {
            "did you mean 'weight_decay'?": lambda: on_two(Hyperparameters(weight_decay=Linear())),
            "its groups have lr, momentum, dampening, weight_decay": lambda: on_two(
                Hyperparameters(others={key: Linear() for key in ("momentum", "dampening", "weight_decay")})
            ),
        },
    ),
    "a momentum that one group has not": Case(
        lambda: bound(OneCycle(), one_weight(torch.optim.Adagrad)),
        ["OneCycle() moves the momentum, and Adagrad has none", "its groups have lr, lr_decay"],
        {
            "OneCycle with cycle_momentum=False": lambda: bound(
                OneCycle(cycle_momentum=False), one_weight(torch.optim.Adagrad)
            ),
            "choose an optimizer that has it": lambda: bound(OneCycle(), one_weight(AdamW)),
        },
    ),
    "a momentum of 1": Case(
        lambda: on_two(Hyperparameters(momentum=schedules.Ramp(end=2))),
        ["would move the momentum to 1", "from the 0.9 that it was built with", "must stay below 1"],
        {"lower the factor": lambda: on_two(Hyperparameters(momentum=schedules.Ramp(end=1.05)))},
    ),
}
