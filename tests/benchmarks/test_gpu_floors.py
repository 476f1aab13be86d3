"""The floors of a training step, beside ones worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.gpu_floors import Floors, floors_of, transformer_flops
from recipes.models.transformer import GPT


def linear(inputs: int, outputs: int) -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False))


def test_a_linear_layer_multiplies_forward_and_once_for_the_gradient_of_its_weights() -> None:
    found = floors_of(linear(8, 16), torch.empty(4, 8, device="meta"), "SGD")
    assert found.flops == 2 * (2 * 4 * 8 * 16)  # the first layer's input needs no gradient
    weights, outputs = 8 * 16, 4 * 16
    assert found.bytes == weights * (4 + 2 + 4 + 8 + 5 * 4) + outputs * 8


def test_adamw_moves_more_than_sgd() -> None:
    batch = torch.empty(4, 8, device="meta")
    sgd, adamw = (floors_of(linear(8, 16), batch, name).bytes for name in ("SGD", "AdamW"))
    assert adamw - sgd == 2 * 4 * 8 * 16


def test_the_larger_floor_is_a_matter_of_the_device() -> None:
    assert Floors(flops=6e12, bytes=3e9).seconds(flops_per_second=2e12, bytes_per_second=1e9) == (3.0, 3.0)


def test_the_formula_of_a_transformer_is_near_what_its_matrix_products_count() -> None:
    layers, width, context, batch = 4, 64, 32, 2
    with torch.device("meta"):
        network = GPT(512, context, layers, 4, width)
        tokens = torch.zeros(batch, context, dtype=torch.long)
    numbers = sum(p.numel() for p in network.parameters()) - network.positions.weight.numel()
    formula = transformer_flops(numbers, layers, width, context, batch * context)
    assert floors_of(network, tokens, "AdamW").flops == pytest.approx(formula, rel=0.05)
    assert floors_of(network, tokens, "AdamW", formula).flops == formula
