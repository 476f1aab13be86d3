"""Hyper-parameters of parameter groups: names, what they were built with, floats and tensors."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Adagrad, Adam, Optimizer, lr_scheduler

from lr_recipes.optimizer.groups import (
    bases_of,
    built_lrs,
    copies,
    group_names,
    on_device,
    own_tensors,
    read_lrs,
    read_number,
    snapshot,
    write_number,
)
from tests.optimizer.loops import parameter, read_momenta, sgd


def test_group_names() -> None:
    names: list[dict[str, Any]] = [{"name": "body"}, {}, {"name": "body"}, {"name": 3}]
    optimizer = SGD([{"params": [parameter()], **name} for name in names], lr=0.1)
    assert group_names(optimizer) == ["body", "group1", "body-2", "3"]
    hostile = SGD([{"params": [parameter()], "name": name} for name in ("a-2", "a", "a", "b\n", None)], lr=0.1)
    assert group_names(hostile) == ["a-2", "a", "a-2-2", r"b\n", "None"]
    assert group_names(sgd(0.1, 0.1)) == ["group0", "group1"]


@pytest.mark.parametrize(
    ("optimizer", "momentum"),
    [
        (SGD([parameter()], momentum=0.8), 0.8),
        (Adam([parameter()], betas=(0.7, 0.9)), 0.7),
        (Adagrad([parameter()]), None),
    ],
    ids=["SGD", "Adam", "Adagrad"],
)
def test_read_momentum(optimizer: Optimizer, momentum: float | None) -> None:
    assert read_momenta(optimizer) == [momentum]


# What a group was built with


def test_built_lrs_are_those_before_any_schedule_moved_them() -> None:
    optimizer = sgd(0.1, torch.tensor(0.5))
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    assert read_lrs(optimizer) == [0.05, 0.25]
    assert built_lrs(optimizer) == [0.1, 0.5]
    assert all(type(lr) is float for lr in built_lrs(optimizer))


def test_a_group_that_joins_has_the_lr_that_it_joins_with() -> None:
    """Not one that a copied group brings along; where it shares a tensor, the base of the group it shares it with."""
    optimizer = Adam([parameter()], lr=torch.tensor(0.25))
    optimizer.add_param_group({"params": [parameter()]})
    optimizer.add_param_group({"params": [parameter()], "lr": 7.0, "initial_lr": 3.0})
    assert bases_of(optimizer, [0, None, None], [0.5]) == [0.5, 0.5, 7.0]
    assert bases_of(optimizer, [0, 1, None], [0.5, 0.1]) == [0.5, 0.1, 7.0]
    assert bases_of(optimizer, [2, 0, 1], [0.5, 0.1, 7.0]) == [7.0, 0.5, 0.1]


@pytest.mark.behaviour("B75")
def test_ten_thousand_groups_that_join_at_once_are_taken_in_at_once() -> None:
    optimizer = Adam([parameter()], lr=torch.tensor(0.25))
    first, shared = optimizer.param_groups[0], torch.tensor(0.5)
    optimizer.param_groups += [{**first, "lr": shared if n % 2 else 0.1} for n in range(10_000)]
    begun = time.perf_counter()
    bases = bases_of(optimizer, [0, *[None] * 10_000], [0.25])
    assert time.perf_counter() - begun < 0.5
    assert bases == [0.25, *[0.1 if n % 2 == 0 else 0.5 for n in range(10_000)]]


# Floats and tensors


def test_a_float_is_replaced_and_a_tensor_filled() -> None:
    tensor = torch.tensor(0.1)
    optimizer = sgd(0.1, tensor)
    for group in optimizer.param_groups:
        write_number(group, "lr", 0.5)
    assert read_lrs(optimizer) == [0.5, 0.5]
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert optimizer.param_groups[1]["lr"] is tensor


def test_a_snapshot_stays_what_it_was() -> None:
    """Also one of a tensor that lives on a device, which is copied there: reading it would wait for the device."""
    tensor = torch.tensor(0.5)
    taken = snapshot(tensor)
    tensor.fill_(0.25)
    assert (taken, type(taken)) == (0.5, float)
    assert snapshot(0.1) == 0.1
    far = torch.empty((), device="meta")
    assert on_device(snapshot(far))
    assert snapshot(far) is not far
    assert not on_device(taken)


def test_copies_stay_what_they_were() -> None:
    optimizer = sgd(0.1, torch.tensor(0.5))
    kept = copies(optimizer)
    for group in optimizer.param_groups:
        write_number(group, "lr", 0.25)
    assert kept == [0.1, 0.5]
    assert isinstance(kept[1], Tensor)


def test_groups_that_share_a_tensor_get_one_each() -> None:
    shared = torch.tensor(0.1)
    optimizer = Adam(
        [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}, {"params": [parameter()]}], shared
    )
    own_tensors(optimizer)
    first, middle, last = (group["lr"] for group in optimizer.param_groups)
    assert first is shared
    assert last is not shared
    assert (middle, last) == (0.5, shared)


# Momentum


def test_momentum_is_written_where_it_is_read() -> None:
    """Adam's beta2, and what else stands behind beta1, stays."""
    plain, adam = sgd(0.1).param_groups[0], Adam([parameter()], betas=(0.5, 0.99)).param_groups[0]
    for group in (plain, adam):
        write_number(group, "momentum", 0.75)
        assert read_number(group, "momentum") == 0.75
    assert (plain["momentum"], adam["betas"]) == (0.75, (0.75, 0.99))
