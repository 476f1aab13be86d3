"""What the state of an optimizer says: which of torch's it was, its groups, their LRs and sizes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lr_recipes.report.saved_optimizer import SavedGroup, saved_optimizer

KINDS = sorted(
    name
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer
)


def stepped(kind: Any, **options: Any) -> Any:
    """The state of an optimizer of 6 parameters that has done an update."""
    weight = nn.Parameter(torch.ones(2, 3))
    optimizer = kind([weight], lr=0.1, **options)
    weight.grad = torch.ones(2, 3)
    if kind.__name__ == "SparseAdam":
        weight.grad = weight.grad.to_sparse()
    optimizer.step(lambda: weight.sum())
    return optimizer.state_dict()


@pytest.mark.parametrize("name", KINDS)
def test_each_optimizer_of_torch_is_known_by_its_settings(name: str) -> None:
    saved = saved_optimizer(stepped(getattr(torch.optim, name)))
    assert saved is not None
    # before torch 2.7, say, nothing in a state tells AdamW from Adam
    assert saved.kind in (name, "Adam or AdamW") if name in ("Adam", "AdamW") else saved.kind == name
    (group,) = saved.groups
    assert (group.name, group.lr, group.tensors) == ("group0", 0.1, 1)
    assert group.numbers in (6, None)


@pytest.mark.parametrize("more", [{"bias_correction": True}, {"decoupled": False}])
def test_an_optimizer_of_somebody_else_has_no_name(more: dict[str, Any]) -> None:
    state = stepped(Adam)
    state["param_groups"][0].update(more)
    saved = saved_optimizer(state)
    assert saved is not None
    assert saved.kind is None
    del state["param_groups"][0]["maximize"], state["param_groups"][0][next(iter(more))]
    assert saved_optimizer(state).kind is None  # type: ignore[union-attr]


def test_what_schedulers_and_people_add_to_a_group_changes_nothing() -> None:
    weights = [nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(5))]
    groups = [{"params": weights[:1], "name": "body", "lr_scale": 0.5}, {"params": weights[1:], "lr": 0.02}]
    optimizer = SGD(groups, lr=0.1, momentum=0.9)
    torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, 10)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    saved = saved_optimizer(optimizer.state_dict())
    assert saved is not None
    assert saved.kind == "SGD"
    assert [(one.name, one.max_lr, one.numbers) for one in saved.groups] == [("body", 1.0, 4), ("group1", 1.0, 5)]
    assert [one.base_lr for one in saved.groups] == [0.04, 0.04]


def test_a_tensor_lr_is_a_number() -> None:
    saved = saved_optimizer(AdamW([nn.Parameter(torch.ones(1))], lr=torch.tensor(0.25)).state_dict())
    assert saved is not None
    expected = SavedGroup("group0", 0.25, None, None, {"betas": [0.9, 0.999], "weight_decay": 0.01}, 1, None)
    assert saved.groups == [expected]


@pytest.mark.parametrize("state", [None, [], {}, {"param_groups": 5}, {"param_groups": [5]}])
def test_what_is_none_is_not_taken_for_one(state: Any) -> None:
    assert saved_optimizer(state) is None


def test_a_group_may_hold_anything() -> None:
    odd = {"lr": torch.ones(3), "params": None, "momentum": {1}, "name": "a\nb", "betas": ("x", None)}
    saved = saved_optimizer({"param_groups": [odd], "state": 5})
    assert saved is not None
    hyper = {"momentum": "{1}", "betas": ["x", None]}
    assert saved.groups == [SavedGroup("a\\nb", "<Tensor of 3>", None, None, hyper, 0, None)]
