"""Which parameters get weight decay, and which parts of a network another learning rate than the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from recipes.models.muon import MuonWithAdamW

HEAD = "head"  # name of the part that maps features to classes; without one, the last part is the topmost


def parameter_groups(
    module: nn.Module, prefix: str = "", hidden: Collection[nn.Parameter] = ()
) -> list[dict[str, Any]]:
    """Split the trainable parameters into two named optimizer groups: matrices decay, the rest does not.

    Matrices (two dimensions or more: linear, convolution and embedding weights) set the scale of activations,
    which weight decay is meant to bound. Biases and normalisation scales are vectors; decay only pulls them
    off their optimum.

    Args:
        module: any module. A tied parameter counts once, a frozen one not at all.
        prefix: beginning of the groups' names.
        hidden: matrices that are in a group of their own, the first, with ``"hidden": True``: see `MuonWithAdamW`.

    Returns:
        ``[{"name": "decay", ...}, {"name": "no_decay", "weight_decay": 0.0, ...}]``, without a group that
        would be empty. No group sets a learning rate: all take the optimizer's.
    """
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups: list[dict[str, Any]] = [
        {"name": f"{prefix}hidden", "params": [p for p in trainable if p in hidden], "hidden": True},
        {"name": f"{prefix}decay", "params": [p for p in trainable if p.ndim >= 2 and p not in hidden]},
        {"name": f"{prefix}no_decay", "params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def optimizer_of(
    build: Callable[..., Optimizer], parts: Mapping[str, nn.Module], ratios: Mapping[str, float]
) -> Optimizer:
    """Build an optimizer in which each part of a network has the optimizer's LR times its own ratio.

    A schedule multiplies every group's own LR, so the ratios last. Where all are 1, the groups are ``decay`` and
    ``no_decay``; where only the head's differs, the other parts are one, the ``backbone``.

    Args:
        build: makes the optimizer when called with parameter groups.
        parts: modules by name, from input to output, which together hold every parameter once.
        ratios: of each part, as `lr_ratios` returns them.

    Raises:
        ValueError: the optimizer is `MuonWithAdamW`, and the network has no matrix for it.
    """
    hidden = _hidden_matrices(parts) if getattr(build, "func", build) is MuonWithAdamW else set()
    if set(ratios.values()) == {1.0}:
        return build(parameter_groups(_joined(parts), hidden=hidden))
    body = {name: part for name, part in parts.items() if name != HEAD}
    if {ratios[name] for name in body} == {1.0}:
        parts, ratios = {"backbone": _joined(body), HEAD: parts[HEAD]}, {"backbone": 1.0, HEAD: ratios[HEAD]}
    groups = [(group, ratios[name]) for name in parts for group in parameter_groups(parts[name], f"{name}_", hidden)]
    optimizer = build([group for group, _ in groups])
    for group, (_, ratio) in zip(optimizer.param_groups, groups, strict=True):
        group["lr"] = group["lr"] * ratio
    return optimizer


def _hidden_matrices(parts: Mapping[str, nn.Module]) -> set[nn.Parameter]:
    """Return the matrices between the part that reads the input and the one that writes the output."""
    between = [parameter for part in list(parts.values())[1:-1] for parameter in part.parameters()]
    found = {parameter for parameter in between if parameter.ndim == 2 and parameter.requires_grad}
    if not found:
        raise ValueError(
            f"MuonWithAdamW is for matrices of hidden layers, and of {', '.join(parts)} none between the first and the "
            "last has one (a convolution is no matrix): set optimizer=adamw, or train linear layers, as "
            "model=transformer"
        )
    return found


def _joined(parts: Mapping[str, nn.Module]) -> nn.Module:
    return nn.ModuleList(parts.values())


def lr_ratios(names: list[str], head_lr_ratio: float = 1.0, layer_decay: float = 1.0) -> dict[str, float]:
    """Return what the LR of each part is multiplied with.

    ``layer_decay ** (parts above it)``, and for the head ``head_lr_ratio`` (Clark et al. 2020, ELECTRA).

    Args:
        names: the parts from input to output; the last may be the ``"head"``.
        head_lr_ratio: LR of the head / LR of the rest (with ``layer_decay``, of a part at its level), above 0.
        layer_decay: LR of a part / LR of the one above it, above 0 and at most 1.

    Raises:
        ValueError: a ratio is out of range.

    Example:
        >>> lr_ratios(["stem", "block", "head"], head_lr_ratio=10.0, layer_decay=0.5)
        {'stem': 0.25, 'block': 0.5, 'head': 10.0}
    """
    if not 0.0 < head_lr_ratio < math.inf:
        raise ValueError(f"head_lr_ratio={head_lr_ratio}: must be above 0; 1 changes nothing, 10 suits a new head")
    if not 0.0 < layer_decay <= 1.0:
        raise ValueError(
            f"layer_decay={layer_decay}: must be above 0 and at most 1; 1 changes nothing, 0.65 to 0.9 are usual"
        )
    top = len(names) - 1
    return {name: head_lr_ratio if name == HEAD else layer_decay ** (top - n) for n, name in enumerate(names)}
