"""Parts of a network with learning rates of their own, and the groups with and without weight decay."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from recipes.data.task import ImageTask, TextTask
from recipes.models.cnn import ImageClassifier
from recipes.models.parameter_groups import lr_ratios, parameter_groups
from recipes.models.transformer import LanguageModel

DIGITS = ImageTask(num_classes=10, channels=1, height=8, width=8)
adamw = partial(torch.optim.AdamW, lr=0.5, weight_decay=0.1)


def ids(parameters: Any) -> list[int]:
    return [id(parameter) for parameter in parameters]


def lrs(**options: Any) -> dict[str, float]:
    """LR of each group of a classifier."""
    model = ImageClassifier(optimizer=adamw, task=DIGITS, **options)
    groups = model.configure_optimizers().param_groups
    every = [parameter for group in groups for parameter in group["params"]]
    assert sorted(ids(every)) == sorted(ids(model.parameters()))  # each once
    return {group["name"]: group["lr"] for group in groups}


def test_matrices_decay_and_vectors_do_not() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    decay, no_decay = parameter_groups(network)
    assert decay["name"] == "decay"
    assert ids(decay["params"]) == ids([network[0].weight, network[2].weight])
    assert (no_decay["name"], no_decay["weight_decay"]) == ("no_decay", 0.0)
    vectors = [network[0].bias, network[1].weight, network[1].bias, network[2].bias]
    assert ids(no_decay["params"]) == ids(vectors)
    assert set(decay) == {"name", "params"}
    assert set(no_decay) == {"name", "params", "weight_decay"}


def test_tied_parameters_count_once_frozen_ones_never_and_empty_groups_go() -> None:
    first, tied, frozen = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 3)
    tied.weight = first.weight
    frozen.requires_grad_(False)
    (only,) = parameter_groups(nn.ModuleList([first, tied, frozen]))
    assert only["name"] == "decay"
    assert ids(only["params"]) == ids([first.weight])


@pytest.mark.parametrize("network", ["mlp", "small", "resnet18"])
def test_without_ratios_there_are_two_groups(network: str) -> None:
    assert lrs(network=network) == {"decay": 0.5, "no_decay": 0.5}


def test_the_head_may_have_an_lr_of_its_own() -> None:
    assert lrs(head_lr_ratio=10.0) == {
        "backbone_decay": 0.5, "backbone_no_decay": 0.5, "head_decay": 5.0, "head_no_decay": 5.0,
    }  # fmt: skip


def test_layers_may_have_lower_lrs_the_lower_they_are() -> None:
    found = lrs(network="mlp", layer_decay=0.5, head_lr_ratio=2.0)
    assert found == {
        "hidden1_decay": 0.125, "hidden1_no_decay": 0.125, "hidden2_decay": 0.25, "hidden2_no_decay": 0.25,
        "head_decay": 1.0, "head_no_decay": 1.0,
    }  # fmt: skip
    assert list(lrs(network="resnet18", layer_decay=0.5).values())[:2] == [0.5 * 0.5**5] * 2  # stem, below 4 layers


def test_blocks_of_a_transformer_too() -> None:
    sizes = {"layers": 2, "heads": 2, "width": 8}
    model = LanguageModel(optimizer=adamw, task=TextTask(vocab_size=5, context=4), layer_decay=0.5, **sizes)
    groups = model.configure_optimizers().param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    assert {group["name"].partition("_")[0]: group["lr"] for group in groups} == {
        "embeddings": 0.0625, "block1": 0.125, "block2": 0.25, "norm": 0.5,
    }  # fmt: skip


def test_weight_decay_stays_with_the_matrices() -> None:
    model = ImageClassifier(optimizer=adamw, task=DIGITS, head_lr_ratio=10.0)
    decays = {group["name"]: group["weight_decay"] for group in model.configure_optimizers().param_groups}
    assert decays == {"backbone_decay": 0.1, "backbone_no_decay": 0.0, "head_decay": 0.1, "head_no_decay": 0.0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_lr_ratio": 0.0}, r"head_lr_ratio=0.0: must be above 0; 1 changes nothing, 10 suits a new head"),
        ({"head_lr_ratio": float("inf")}, r"head_lr_ratio=inf: must be above 0"),
        ({"layer_decay": 0.0}, r"layer_decay=0.0: must be above 0 and at most 1"),
        ({"layer_decay": 1.5}, r"layer_decay=1.5: must be above 0 and at most 1"),
    ],
)
def test_refuses(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lr_ratios(["body", "head"], **options)
