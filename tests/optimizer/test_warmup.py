"""A warmup over somebody else's scheduler: what the groups hold, what the scheduler sees, and what is left of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import Adam, Optimizer, lr_scheduler

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.optimizer.warmup import WarmupOver
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules import Fixed
from tests.optimizer.loops import parameter, sgd, watch


def warmed(optimizer: Optimizer, *schedulers: Any, length: int = 4, position: int = 0, **start: Any) -> WarmupOver:
    clock = Clock(optimizer)
    clock.position = position
    warmup = WarmupOver(Fixed(warmup=length).plan(Horizon(), [], peak=1.0), clock, schedulers, **start)
    clock.start()
    return warmup


def torch_loop(optimizer: Optimizer, scheduler: Any, updates: int = 8) -> list[list[float]]:
    used = watch(optimizer)
    for _ in range(updates):
        optimizer.step()
        scheduler.step()
    return used


def test_warmup_multiplies_what_a_scheduler_writes() -> None:
    """And from its end on the optimizer uses the scheduler's own value, to the last bit."""
    alone, optimizer = sgd(0.1, 0.001), sgd(0.1, 0.001)
    factory = partial(lr_scheduler.ExponentialLR, gamma=0.9)
    expected = torch_loop(alone, factory(alone))
    scheduler = factory(optimizer)
    warmup = warmed(optimizer, scheduler)
    used = watch(optimizer)
    for _ in range(8):
        optimizer.step()
        scheduler.step()
    assert used[:4] == [
        [lr * factor for lr in lrs] for lrs, factor in zip(expected, (0.25, 0.5, 0.75, 1), strict=False)
    ]
    assert used[4:] == expected[4:]
    assert warmup.over
    assert type(scheduler) is lr_scheduler.ExponentialLR
    assert warmup.planned_lrs == [group["lr"] for group in optimizer.param_groups]


def test_warmup_does_not_count_a_step_without_gradients() -> None:
    optimizer = sgd(0.1)
    warmup = warmed(optimizer)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    assert (warmup.clock.position, read_lrs(optimizer)) == (1, [0.05])


def test_warmup_takes_an_lr_written_past_it_as_the_schedulers() -> None:
    optimizer = sgd(0.1, 0.01)
    warmed(optimizer)
    used = watch(optimizer)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.8
    optimizer.step()
    assert used == [[0.1 * 0.25, 0.01 * 0.25], [0.8 * 0.5, 0.01 * 0.5]]


def test_warmup_takes_late_groups() -> None:
    optimizer = sgd(0.1)
    warmed(optimizer)
    used = watch(optimizer)
    optimizer.step()
    optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    optimizer.step()
    assert used == [[0.1 * 0.25], [0.1 * 0.5, 7.0 * 0.5]]


def test_warmup_of_a_tensor_lr() -> None:
    shared = torch.tensor(0.1)
    optimizer = Adam([{"params": [parameter()]}, {"params": [parameter()]}], lr=shared)
    warmed(optimizer)
    used = watch(optimizer)
    for _ in range(5):
        optimizer.step()
    assert [lr for lr, _ in used] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])
    assert all(one == other for one, other in used)
    assert optimizer.param_groups[0]["lr"] is shared
    assert optimizer.param_groups[1]["lr"] is not shared


def test_warmup_goes_on_where_it_was() -> None:
    optimizer = sgd(0.025)  # what a checkpoint restores: already multiplied
    warmed(optimizer, position=1, lrs=[0.1])
    used = watch(optimizer)
    optimizer.step()
    assert used == [[0.1 * 0.5]]


def test_warmup_that_was_over_keeps_what_the_groups_hold() -> None:
    """Whatever the scheduler's LRs were while it lasted."""
    optimizer = sgd(0.3)
    warmed(optimizer, position=4, lrs=[0.1])
    assert read_lrs(optimizer) == [0.3]


def test_warmup_ends_with_the_very_value() -> None:
    """From its last update on: a product would make a float of a whole number."""
    optimizer = sgd(1)
    warmed(optimizer, length=1)
    lrs = [optimizer.param_groups[0]["lr"]]
    optimizer.step()
    lrs.append(optimizer.param_groups[0]["lr"])
    assert [type(lr) for lr in lrs] == [int, int]


def test_a_scheduler_goes_on_from_an_lr_that_was_written_past_it() -> None:
    optimizer = sgd(0.8)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    warmed(optimizer, scheduler)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.6
    scheduler.step()
    assert read_lrs(optimizer) == [0.3 * 0.5]


def test_warmup_that_is_over_leaves_the_lr_alone() -> None:
    optimizer = sgd(0.1)
    warmup = warmed(optimizer, position=4)
    optimizer.step()
    with warmup.hidden():
        optimizer.param_groups[0]["lr"] = 0.3
    optimizer.step()
    assert (warmup.clock.position, read_lrs(optimizer)) == (6, [0.3])


# Schedulers of all kinds, stepped by hand


def sequential(optimizer: Optimizer) -> Any:
    parts = [lr_scheduler.LinearLR(optimizer, 0.5, 1, 3), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.SequentialLR(optimizer, parts, milestones=[3])


def chained(optimizer: Optimizer) -> Any:
    parts = [lr_scheduler.ConstantLR(optimizer, 0.5, 2), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.ChainedScheduler(parts)


class Plateau(lr_scheduler.ReduceLROnPlateau):
    """Cuts at every second step."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer, factor=0.5, patience=0)
        self.given = 0

    def step(self, metrics: Any = None, epoch: Any = None) -> None:
        self.given += 1
        super().step(self.given // 2 * -1.0)


KINDS: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 0.9**n),
    "MultiplicativeLR": partial(lr_scheduler.MultiplicativeLR, lr_lambda=lambda n: 0.9),
    "StepLR": partial(lr_scheduler.StepLR, step_size=2, gamma=0.5),
    "MultiStepLR": partial(lr_scheduler.MultiStepLR, milestones=[1, 3], gamma=0.5),
    "LinearLR": partial(lr_scheduler.LinearLR, start_factor=0.5, total_iters=3),
    "ExponentialLR": partial(lr_scheduler.ExponentialLR, gamma=0.9),
    "PolynomialLR": partial(lr_scheduler.PolynomialLR, total_iters=20),
    "CosineAnnealingLR": partial(lr_scheduler.CosineAnnealingLR, T_max=16, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=3),
    "CyclicLR": partial(lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=3),
    "OneCycleLR": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=40),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
    "ReduceLROnPlateau": Plateau,
}
LENGTH = 4
FACTORS = [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]

each_kind = pytest.mark.parametrize("kind", KINDS)
pytestmark = pytest.mark.filterwarnings("ignore:The epoch parameter in .scheduler.step")  # torch's own SequentialLR


def with_parts(scheduler: Any) -> list[Any]:
    return [scheduler, *getattr(scheduler, "_schedulers", ())]


@each_kind
def test_between_two_updates_the_groups_hold_what_the_next_one_uses(kind: str) -> None:
    """Whoever looks, at any moment; and each update uses what the scheduler would have given it, times the factor."""
    alone, optimizer = sgd(0.1, 0.05), sgd(0.1, 0.05)
    expected = torch_loop(alone, KINDS[kind](alone))
    scheduler = KINDS[kind](optimizer)
    warmed(optimizer, *with_parts(scheduler), length=LENGTH)
    used, between = watch(optimizer), [read_lrs(optimizer)]
    for _ in range(8):
        optimizer.step()
        scheduler.step()
        between.append(read_lrs(optimizer))
    products = [[lr * factor for lr in lrs] for lrs, factor in zip(expected, FACTORS, strict=True)]
    assert used == between[:-1]
    assert used == [pytest.approx(lrs, rel=1e-12) for lrs in products]
    assert used[LENGTH:] == expected[LENGTH:]


@pytest.mark.behaviour("B52")
@each_kind
def test_a_scheduler_is_the_very_same_object_of_its_own_kind(kind: str) -> None:
    """During the warmup its class has the same name and is the same for ``isinstance``; after it, it is the class."""
    optimizer = sgd(0.1)
    scheduler = KINDS[kind](optimizer)
    every, classes = with_parts(scheduler), [type(one) for one in with_parts(scheduler)]
    keys = [set(one.state_dict()) for one in every]
    warmed(optimizer, *every, length=2)
    for _ in range(2):
        for one, own, had in zip(every, classes, keys, strict=True):
            assert isinstance(one, own)
            assert (type(one).__name__, type(one).__module__) == (own.__name__, own.__module__)
            assert set(one.state_dict()) == had
        optimizer.step()
        scheduler.step()
    assert [type(one) for one in every] == classes
    assert [set(one.state_dict()) for one in every] == keys
    assert with_parts(scheduler) == every


@pytest.mark.behaviour("B53")
@each_kind
def test_a_scheduler_knows_nothing_of_the_warmup(kind: str) -> None:
    """Its state is the one that it has alone, whenever it is saved; all of it but for the last bits of an LR."""
    alone, optimizer = sgd(0.1), sgd(0.1)
    expected, scheduler = KINDS[kind](alone), KINDS[kind](optimizer)
    warmed(optimizer, *with_parts(scheduler), length=LENGTH)
    for _ in range(6):
        for one in (optimizer, alone):
            one.step()
        expected.step()
        scheduler.step()
        assert plain(scheduler.state_dict()) == plain(expected.state_dict())


def plain(state: dict[str, Any]) -> dict[str, Any]:
    """What can be compared of a scheduler's state."""
    kept = (int, float, bool, str, list)
    return {key: value for key, value in state.items() if isinstance(value, kept) and key != "_schedulers"}


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("kind", ["ExponentialLR", "OneCycleLR", "CyclicLR", "ReduceLROnPlateau", "SequentialLR"])
def test_a_copy_that_is_made_during_the_warmup_is_of_the_class_itself(kind: str, copied: Callable[[Any], Any]) -> None:
    optimizer = sgd(0.1)
    scheduler = KINDS[kind](optimizer)
    every, classes = with_parts(scheduler), [type(one) for one in with_parts(scheduler)]
    warmed(optimizer, *every, length=4)
    optimizer.step()
    twin = copied(scheduler)
    if copied is not copy.copy:  # a flat copy has the parts themselves
        assert [type(one) for one in with_parts(twin)] == classes
    assert type(twin) is classes[0]
    assert twin.state_dict().keys() == scheduler.state_dict().keys()


def test_a_copy_of_one_that_says_itself_how_it_is_made_anew() -> None:
    optimizer = sgd(0.1)
    scheduler = Rebuilt(optimizer, 0.5)
    warmed(optimizer, scheduler)
    twin = copy.copy(scheduler)
    assert type(twin) is Rebuilt
    assert (twin.optimizer, twin.gamma) == (optimizer, 0.5)


class Rebuilt(lr_scheduler.ExponentialLR):
    def __reduce__(self) -> Any:
        return rebuilt, (self.optimizer, self.gamma)


def rebuilt(optimizer: Optimizer, gamma: float) -> Rebuilt:
    return Rebuilt(optimizer, gamma)


def test_a_scheduler_that_steps_another_shows_both_their_own_lr() -> None:
    """Both are warmed up by name; the factor counts once."""
    seen: list[float] = []

    class Outer(lr_scheduler.ExponentialLR):
        def step(self, epoch: Any = None) -> None:
            if hasattr(self, "inner"):
                seen.append(self.optimizer.param_groups[0]["lr"])
                self.inner.step()
                seen.append(self.optimizer.param_groups[0]["lr"])
            super().step()

    optimizer = sgd(0.8)
    inner, outer = lr_scheduler.ExponentialLR(optimizer, 0.5), Outer(optimizer, 0.5)
    outer.inner = inner  # type: ignore[attr-defined]
    warmed(optimizer, outer, inner)
    optimizer.step()
    outer.step()
    assert seen == [0.8, 0.4]
    assert read_lrs(optimizer) == [0.2 * 0.5]


def test_a_scheduler_that_raises_leaves_what_the_next_update_uses() -> None:
    """What it had written until then is its word."""

    class Raises(lr_scheduler.ExponentialLR):
        def step(self, epoch: Any = None) -> None:
            super().step()
            if self.last_epoch:
                raise RuntimeError("no more")

    optimizer = sgd(0.8)
    scheduler = Raises(optimizer, 0.5)
    warmed(optimizer, scheduler)
    optimizer.step()
    with pytest.raises(RuntimeError, match="no more"):
        scheduler.step()
    assert read_lrs(optimizer) == [0.4 * 0.5]
    with pytest.raises(RuntimeError, match="no more"):
        scheduler.step()
    assert read_lrs(optimizer) == [0.2 * 0.5]


class PerUpdate:
    """Like a scheduler of timm: no relative of torch's, with a second kind of step."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.saw: list[float] = []

    def step(self, epoch: int) -> None:
        self.step_update(epoch)

    def step_update(self, num_updates: int, metric: float | None = None) -> str:
        self.saw += read_lrs(self.optimizer)
        self.optimizer.param_groups[0]["lr"] = 0.8 / 2**num_updates
        return "done"


def test_other_kinds_of_step_are_within_the_warmup_too() -> None:
    optimizer = sgd(0.8)
    scheduler = PerUpdate(optimizer)
    warmed(optimizer, scheduler)
    used = watch(optimizer)
    for update in range(1, 6):
        optimizer.step()
        assert scheduler.step_update(num_updates=update) == "done"
    assert used == [[0.8 * 0.25], [0.4 * 0.5], [0.2 * 0.75], [0.1], [0.05]]
    assert scheduler.saw == [0.8, 0.4, 0.2, 0.1, 0.05]
    assert type(scheduler) is PerUpdate


def test_a_step_that_somebody_has_kept_is_an_ordinary_one_after_the_warmup() -> None:
    """Also of a tensor LR, which is not compared with what the warmup has written."""
    optimizer = sgd(torch.tensor(0.8))
    kept_one, other = lr_scheduler.ExponentialLR(optimizer, 0.5), lr_scheduler.ExponentialLR(optimizer, 0.5)
    warmed(optimizer, kept_one, other, length=1)
    kept = kept_one.step
    optimizer.step()
    other.step()
    kept()
    assert read_lrs(optimizer) == pytest.approx([0.2])


def test_let_go_in_the_middle_it_leaves_the_lr() -> None:
    optimizer = sgd(0.8)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    warmup = warmed(optimizer, scheduler)
    optimizer.step()
    warmup.let_go()
    assert type(scheduler) is lr_scheduler.ExponentialLR
    assert read_lrs(optimizer) == [0.8 * 0.5]


def test_what_is_saved_is_the_schedulers_own_lr_while_the_warmup_lasts() -> None:
    optimizer = sgd(0.8)
    warmup = warmed(optimizer, length=2)
    optimizer.step()
    assert warmup.state() == {"position": 1, "lrs": [0.8], "next_lrs": [0.8]}
    optimizer.param_groups[0]["lr"] = 0.4
    assert warmup.state() == {"position": 1, "lrs": [0.4], "next_lrs": [0.4]}
    optimizer.step()
    assert warmup.state() == {"position": 2}
