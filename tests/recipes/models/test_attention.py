"""The order of torch's attention kernels: what is asked for is what torch then goes by, and only for so long."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import _cur_sdpa_kernel_backends
from torch.nn.functional import scaled_dot_product_attention

from recipes.models.attention import ATTENTION_KERNELS, attending, attending_alone, attention_order


def in_effect() -> list[str]:
    words = [backend.name.removesuffix("_ATTENTION").lower() for backend in _cur_sdpa_kernel_backends(True)]
    return [word for word in words if word in ATTENTION_KERNELS]


@pytest.mark.parametrize("first", ATTENTION_KERNELS)
def test_torch_goes_by_the_order_while_it_is_asked_to(first: Any) -> None:
    before = in_effect()
    with attending(first):
        assert in_effect() == attention_order(first)
    assert in_effect() == before
    with attending(None):
        assert in_effect() == before


def test_one_kernel_alone_fails_where_it_cannot() -> None:
    query = torch.ones(1, 1, 4, 8)
    with attending_alone("math"):
        assert scaled_dot_product_attention(query, query, query).shape == query.shape
    with attending_alone("cudnn"), pytest.raises(RuntimeError):
        scaled_dot_product_attention(query, query, query)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="attention='fast' is unknown: set null or one of cudnn"):
        attention_order("fast")  # type: ignore[arg-type]
