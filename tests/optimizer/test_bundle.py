"""Several curves on one optimizer, in a plain loop: what is moved, what is left alone, and what is given back."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from lr_recipes.optimizer import internals
from lr_recipes.optimizer.groups import built_lrs, read_lrs, read_number
from lr_recipes.schedules import ByGroup, Cosine, Fixed, Hyperparameters, Linear, OneCycle, Ramp, Schedule, Step
from tests.optimizer.loops import attached, parameter, sgd


def named(kind: Any, names: str, **settings: Any) -> Any:
    """An optimizer with a group for each letter."""
    return kind([{"params": [parameter()], "name": name} for name in names], **settings)


def numbers(optimizer: Optimizer, key: str) -> list[float | None]:
    return [read_number(group, key) for group in optimizer.param_groups]


def test_groups_that_share_tensor_betas_get_their_own() -> None:
    betas: Any = (torch.tensor(0.9), torch.tensor(0.99))
    optimizer = named(AdamW, "ab", lr=torch.tensor(0.1), betas=betas, foreach=False)
    attached(ByGroup(groups={"a": Hyperparameters(momentum=Linear())}).bind(optimizer, 10), 3)
    assert numbers(optimizer, "momentum") == pytest.approx([0.9 * 0.7, 0.9])
    assert optimizer.param_groups[0]["betas"][0] is betas[0]


@pytest.mark.parametrize("theirs", [0.5, torch.tensor(0.5)])
def test_a_group_in_the_middle_that_is_given_another_tensor_follows_on(theirs: Any) -> None:
    optimizer = named(AdamW, "abc", lr=torch.tensor(0.1), foreach=False)
    bound = Linear().bind(optimizer, 10)
    attached(bound, 1)
    optimizer.param_groups[1]["lr"] = copy.copy(theirs)
    assert attached(bound, 2)[1] == pytest.approx([0.08] * 3)


def test_a_position_that_is_set_is_written_to_every_group() -> None:
    """A factor that stays is not written at every update, and a stranger in the middle is not looked for."""
    bound = Fixed().bind(sgd(0.1, 0.2, 0.3), 10)
    attached(bound, 1)
    ways: list[Callable[[], Any]] = [lambda: setattr(bound, "position", 3), lambda: bound.step(4), bound.refresh]
    for go in ways:
        bound.optimizer.param_groups[1]["lr"] = 7.0
        go()
        assert read_lrs(bound.optimizer) == [0.1, 0.2, 0.3]


def moving(schedule: Schedule) -> tuple[Optimizer, Any]:
    optimizer = named(SGD, "ab", lr=0.1, momentum=0.9, weight_decay=0.01)
    bound = schedule.bind(optimizer, 10)
    attached(bound, 5)
    return optimizer, bound


MOVING = [OneCycle(), Hyperparameters(momentum=Ramp(end=0.5), weight_decay=Ramp(end=10))]


@pytest.mark.parametrize("schedule", MOVING)
def test_the_next_schedule_gives_back_what_it_leaves_alone(schedule: Schedule) -> None:
    optimizer, _ = moving(schedule)
    Cosine().bind(optimizer, 10)
    assert numbers(optimizer, "momentum") == [0.9, 0.9]
    assert numbers(optimizer, "weight_decay") == [0.01, 0.01]


@pytest.mark.parametrize("schedule", MOVING)
def test_a_resumed_loop_gives_back_what_its_own_schedule_leaves_alone(schedule: Schedule) -> None:
    optimizer, bound = moving(schedule)
    saved = copy.deepcopy((optimizer.state_dict(), bound.state_dict()))
    optimizer, bound = moving(ByGroup(groups={"a": Hyperparameters(weight_decay=Ramp(end=3))}))
    optimizer.load_state_dict(saved[0])
    bound.restore(saved[1], "config")
    assert numbers(optimizer, "momentum") == [0.9, 0.9]
    assert numbers(optimizer, "weight_decay") == pytest.approx([0.02, 0.01])


def test_a_late_copy_of_a_group_is_built_as_it_says() -> None:
    optimizer = named(AdamW, "a", lr=0.1, weight_decay=0.01)
    bound = ByGroup(groups={"a": Hyperparameters(weight_decay=Ramp(end=10))}).bind(optimizer, 10)
    attached(bound, 5)
    late = {**optimizer.param_groups[0], "params": [parameter()], "name": "b", "weight_decay": 0.3}
    optimizer.add_param_group(late)
    attached(bound, 1)
    assert numbers(optimizer, "weight_decay") == pytest.approx([0.064, 0.3])


def test_a_run_goes_on_whose_first_group_has_left() -> None:
    schedule = ByGroup(groups={"b": Linear()}, default=Cosine(min_lr_ratio=0.5))
    bound = schedule.bind(named(SGD, "ab", lr=0.1), 10)
    attached(bound, 2)
    del bound.optimizer.param_groups[0]
    attached(bound, 1)
    assert bound.end_factor == 0
    other = schedule.bind(named(SGD, "b", lr=0.1), 10)
    other.load_state_dict(bound.state_dict())
    assert read_lrs(other.optimizer) == pytest.approx([0.07])


def test_groups_may_hold_tuples_of_other_kinds() -> None:
    kinds = [(1.0, 2.0, 3.0), (1.0,), (None, 5.0)]
    groups = [{"params": [parameter()], "odd": odd} for odd in kinds]
    assert built_lrs(SGD(groups, lr=0.1)).others["odd[1]"] == [2.0, None, 5.0]


def test_a_late_group_that_shares_tensor_betas_has_their_base() -> None:
    """A group that sets none takes the optimizer's own, and the first group's tensors are those."""
    betas: Any = (torch.tensor(0.9), torch.tensor(0.99))
    optimizer = named(AdamW, "a", lr=torch.tensor(0.1), betas=betas, foreach=False)
    bound = Hyperparameters(momentum=Linear()).bind(optimizer, 10)
    attached(bound, 5)
    optimizer.add_param_group({"params": [parameter()], "name": "b"})
    attached(bound, 1)
    assert numbers(optimizer, "momentum") == pytest.approx([0.36, 0.36])


def test_many_tensors_are_filled_in_two_calls() -> None:
    """As those of a device are; each stays the object that it is."""
    tensors = [torch.tensor(0.5), torch.tensor(float("nan")), torch.tensor(3.0)]
    internals.fill_all(tensors, [0.1, 0.2, 0.3])
    assert [float(one) for one in tensors] == [float(torch.tensor(value)) for value in (0.1, 0.2, 0.3)]


def test_a_tensor_is_not_filled_while_its_factor_stays_and_put_right_where_somebody_fills_it() -> None:
    lr = torch.tensor(0.5)
    optimizer = sgd(lr)
    bound = Step(step_size=10).bind(optimizer, 20)
    bound.attach()
    versions = []
    for _ in range(6):
        optimizer.step()
        versions.append(lr._version)
    assert versions[1:] == [versions[1]] * 5  # marked the second time that it is written
    lr.fill_(7.0)
    optimizer.step()
    assert float(lr) == 0.5
