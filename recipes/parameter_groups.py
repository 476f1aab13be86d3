"""Which parameters get weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn


def parameter_groups(module: nn.Module) -> list[dict[str, Any]]:
    """Split the trainable parameters into two named optimizer groups: matrices decay, the rest does not.

    Matrices (two dimensions or more: linear, convolution and embedding weights) set the scale of activations,
    which weight decay is meant to bound. Biases and normalisation scales are vectors; decay only pulls them
    off their optimum.

    Args:
        module: any module. A tied parameter counts once, a frozen one not at all.

    Returns:
        ``[{"name": "decay", ...}, {"name": "no_decay", "weight_decay": 0.0, ...}]``, without a group that
        would be empty. No group sets a learning rate: both take the optimizer's.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": "decay", "params": [p for p in trainable if p.ndim >= 2]},
        {"name": "no_decay", "params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
