"""The groups of an optimizer that is not there: what they are called and were built with."""

from __future__ import annotations

from typing import Any

import pytest

from lr_recipes.report.supposed import groups_meant, numbers_moved, supposed
from lr_recipes.schedules import ByGroup, Cosine, Fixed, Hyperparameters, Linear, OneCycle, Schedule

# fmt: off
MEANT: dict[str, tuple[Schedule, list[str]]] = {
    "no group": (Cosine(), ["group0"]),
    "names": (ByGroup(groups={"head": Linear(), "body": Fixed()}), ["head", "body", "others"]),
    "an expression by itself": (ByGroup(groups={"block.*": Linear()}, default=Fixed()), ["block.*", "others"]),
    "an expression of all": (ByGroup(groups={".*": Linear()}), [".*"]),
    "indices": (ByGroup(groups={0: Linear(), 1: Fixed()}), ["group0", "group1", "others"]),
    "an index further on": (ByGroup(groups={2: Linear()}, default=Fixed()), ["group0", "group1", "group2"]),
    "an index among names": (
        ByGroup(groups={1: Linear(), "a": Fixed(), "b": Fixed()}), ["a", "group1", "b", "others"]),
    "groups that join late": (ByGroup(groups={"a": Fixed()}, late={"b": Linear()}), ["a", "b", "others"]),
    "within numbers": (
        Hyperparameters(lr=ByGroup(groups={"a": Fixed()}), weight_decay=ByGroup(groups={"b": Linear(), "a": Linear()})),
        ["a", "b", "others"]),
    "within groups": (ByGroup(groups={"a": Hyperparameters(eps=ByGroup(groups={"a": Linear()}))}), ["a", "others"]),
}
# fmt: on


@pytest.mark.parametrize(("schedule", "names"), MEANT.values(), ids=MEANT.keys())
def test_groups_are_called_as_keys_mean_them(schedule: Schedule, names: list[str]) -> None:
    assert groups_meant(schedule) == names
    built, unknown = supposed(schedule, None, {})
    assert list(built.names) == names
    assert built == [1.0] * len(names)
    assert unknown == ["lr", *numbers_moved(schedule)]
    schedule.plan(100, built)  # each key has its group, and each group one key


@pytest.mark.parametrize(
    ("given", "values", "unknown"),
    [
        ({}, {"weight_decay": [1.0, 1.0], "eps": [1.0, 1.0]}, ["eps", "weight_decay"]),
        ({"weight_decay": 0.1}, {"weight_decay": [0.1, 0.1], "eps": [1.0, 1.0]}, ["eps"]),
        ({"weight_decay": {"body": 0}, "eps": 1e-8}, {"weight_decay": [None, 0.0], "eps": [1e-8, 1e-8]}, []),
    ],
)
def test_what_is_not_given_is_a_share(given: Any, values: dict[str, list[Any]], unknown: list[str]) -> None:
    schedule = Hyperparameters(lr=OneCycle(cycle_momentum=False), weight_decay=Linear(), others={"eps": Linear()})
    built, without = supposed(schedule, {"head": 0.1, "body": 0.2}, given)
    assert (built, built.names, built.others, without) == ([0.1, 0.2], ("head", "body"), values, unknown)


@pytest.mark.parametrize("name", ["beta1", "betas[0]", "momentum"])
def test_a_number_may_be_given_by_its_other_names(name: str) -> None:
    built, unknown = supposed(Hyperparameters(momentum=Linear()), 0.1, {name: 0.9})
    assert (built.others, unknown) == ({"momentum": [0.9]}, [])
