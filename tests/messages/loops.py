"""What is said in a plain loop, and of optimizers."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adagrad
from torch.optim.lr_scheduler import ChainedScheduler, SequentialLR, StepLR

from lr_recipes import schedules
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import PEAK, plan
from tests.messages.doors import COSINE, Case, bound, one_weight


def stepped(schedule: Schedule, optimizer: Any) -> None:
    """A plain loop of 16 updates, as the closed form says."""
    scheduler, used = bound(schedule, optimizer), []
    for _ in range(16):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert used == plan(schedule, 16)


def by_group() -> Any:
    return SGD([{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}], lr=PEAK)


def after_an_update(scheduler: Any) -> Any:
    scheduler.optimizer.step()
    return scheduler


def warming_up_itself(updates: int) -> Any:
    """An optimizer of which nothing but its groups is asked; schedule-free ones: tests/callbacks/test_averaging.py."""
    optimizer = one_weight()
    optimizer.param_groups[0]["warmup_steps"] = updates
    return optimizer


PLATEAU = schedules.Plateau(warmup=4)


def goes_on(plan_of: Schedule = COSINE, policy: str = "error", at: int = 8, **damage: Any) -> None:
    """Go on from a state of update 8 that was damaged; a sound one and a new schedule must train as planned."""
    first, scheduler = after_an_update(bound(plan_of)), bound(plan_of)
    first.step(8)
    scheduler.restore({**first.state_dict(), **damage}, policy)
    used = []
    for _ in range(8):
        used.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    assert used == [PEAK * scheduler.curve(n) for n in range(at, at + 8)]


TWO = schedules.Sequence(
    schedules=[COSINE, schedules.TorchSchedule(factory=partial(StepLR, step_size=4))], milestones=[8]
)


def chained(optimizer: Any) -> None:
    both = ChainedScheduler([bound(COSINE, optimizer), StepLR(optimizer, 4)])
    optimizer.step()
    both.step()


def bound_twice(which: int, anew: bool = False) -> None:
    """Step one of two schedules that were bound to one optimizer, perhaps after it was bound anew."""
    optimizer = one_weight()
    both = [bound(schedule, optimizer) for schedule in (COSINE, schedules.Linear())]
    scheduler = bound(COSINE, optimizer) if anew else both[which]
    optimizer.step()
    scheduler.step()


PLAIN: dict[str, Case] = {
    "optimizer that is none": Case(
        lambda: bound(COSINE, [one_weight()]),
        ["list is not a torch.optim.Optimizer"],
        {"a schedule writes param_groups['lr']": lambda: stepped(COSINE, one_weight())},
    ),
    "optimizer without momentum": Case(
        lambda: bound(schedules.OneCycle(), one_weight(Adagrad)),
        ["moves the momentum", "Adagrad has none"],
        {
            "cycle_momentum=False": lambda: stepped(schedules.OneCycle(cycle_momentum=False), one_weight(Adagrad)),
            "an optimizer that has it": lambda: stepped(schedules.OneCycle(), one_weight(SGD, momentum=0.9)),
        },
    ),
    "optimizer that warms up itself": Case(
        lambda: bound(COSINE, warming_up_itself(4)),
        ["SGD has warmup_steps=4 in group0", "its first 4 updates", "less than is planned"],
        {
            "Build it with warmup_steps=0": lambda: stepped(COSINE, warming_up_itself(0)),
            "schedules.Fixed(warmup=4)": lambda: stepped(schedules.Fixed(warmup=4), warming_up_itself(0)),
        },
    ),
    "position that is none": Case(
        lambda: after_an_update(bound(schedules.Plateau())).step(0.63),
        ["step(0.63)", "a whole number of completed updates, at least 0"],
        {"observe(value)": lambda: bound(schedules.Plateau()).observe(0.63)},
    ),
    "schedule before the optimizer": Case(
        lambda: bound(COSINE).step(),
        ["the schedule stepped before the optimizer", "update 0"],
        {"Call optimizer.step() first": lambda: stepped(COSINE, one_weight())},
    ),
    "part of a SequentialLR": Case(
        lambda: SequentialLR(optimizer := one_weight(), [bound(COSINE, optimizer), StepLR(optimizer, 4)], [8]),
        ["last_epoch=-1", "at least 0", "SequentialLR"],
        {"schedules.Sequence, with those of torch as TorchSchedule(factory=...)": lambda: stepped(TWO, one_weight())},
    ),
    "part of a ChainedScheduler": Case(
        lambda: chained(one_weight()),
        ["Cosine(warmup=4) is stepped by a scheduler of torch, such as ChainedScheduler"],
        {"schedules.Sequence, with those of torch as TorchSchedule(factory=...)": lambda: stepped(TWO, one_weight())},
    ),
    "schedule whose place another took": Case(
        lambda: bound_twice(0),
        ["Cosine(warmup=4) does not write the LR of this optimizer any more"],
        {"use that one": lambda: bound_twice(1), "bind this one anew": lambda: bound_twice(0, anew=True)},
    ),
    "state of another scheduler": Case(
        lambda: bound(COSINE).load_state_dict(StepLR(one_weight(), 3).state_dict()),
        ["not the state of a schedule of lr_recipes", "step_size"],
        {
            "the state that a schedule of lr_recipes has saved": lambda: bound(COSINE).load_state_dict(
                bound(COSINE).state_dict()
            ),
            "step(position)": lambda: after_an_update(bound(COSINE)).step(3),
        },
    ),
    "state of another number of groups": Case(
        lambda: bound(COSINE, by_group()).load_state_dict(bound(COSINE).state_dict()),
        ["the checkpoint has 1 parameter group and this run has 2"],
        {
            "resume with the optimizer that the checkpoint was made with": lambda: bound(
                COSINE, by_group()
            ).load_state_dict(bound(COSINE, by_group()).state_dict())
        },
    ),
    "damaged state": Case(
        lambda: goes_on(refreshed_at=float("nan")),
        ["the state is damaged", "refreshed_at is nan", "a whole number from 0 to"],
        {
            "Take another checkpoint": goes_on,
            "begin a new schedule at position 0 with resume='restart'": lambda: goes_on(
                policy="restart", at=0, refreshed_at=float("nan")
            ),
        },
    ),
    "state whose position is not that of its LRs": Case(
        lambda: goes_on(position=9, refreshed_at=9),
        ["next_lrs is [0.0", "its plan gives [0.0", "at update 9"],
        {
            "Take another checkpoint": goes_on,
            "follow this run's plan from the saved position on with resume='config'": lambda: goes_on(
                policy="config", at=9, position=9, refreshed_at=9
            ),
            "resume='restart'": lambda: goes_on(policy="restart", at=0, position=9, refreshed_at=9),
        },
    ),
    "saved plan that cannot be made": Case(
        lambda: goes_on(policy="checkpoint", schedule={**COSINE.describe(), "warmup": 0.1}),
        ["the checkpoint's plan cannot be made", "0.1 of what?"],
        {
            "follow this run's plan from the saved position on with resume='config'": lambda: goes_on(
                policy="config", schedule={**COSINE.describe(), "warmup": 0.1}
            )
        },
    ),
    "damaged memory of a plateau": Case(
        lambda: goes_on(PLATEAU, "config", schedule={"schedule": "Elsewhere"}, plateau={"best": 1.0}),
        ["plateau.bad is missing"],
        {
            "Take another checkpoint": lambda: goes_on(PLATEAU, "config", schedule={"schedule": "Elsewhere"}),
            "resume='restart'": lambda: goes_on(PLATEAU, "restart", 0, plateau={"best": 1.0}),
        },
    ),
}
