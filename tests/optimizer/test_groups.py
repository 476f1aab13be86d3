"""Hyper-parameters of parameter groups: names, what they were built with, floats and tensors."""

from __future__ import annotations

from typing import Any

import pytest
from torch.optim import SGD, Adagrad, Adam, Optimizer

from lr_recipes.optimizer.groups import group_names
from tests.optimizer.loops import parameter, read_momenta, sgd


def test_group_names() -> None:
    names: list[dict[str, Any]] = [{"name": "body"}, {}, {"name": "body"}, {"name": 3}]
    optimizer = SGD([{"params": [parameter()], **name} for name in names], lr=0.1)
    assert group_names(optimizer) == ["body", "group1", "body-2", "3"]
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
