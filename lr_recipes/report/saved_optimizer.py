"""Says what the state of an optimizer holds about its LRs, and which of torch's it was: Lightning saves no names.

No torch: a tensor is asked for what it has, and nothing of a state is taken for what it should be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from lr_recipes.plan.names import distinct
from lr_recipes.report.checkpoint_file import plain_of

# Class -> the settings that its groups have beside `_COMMON`.
_OPTIMIZERS = {
    "SGD": "momentum dampening nesterov weight_decay",
    "Adam": "betas eps amsgrad weight_decay",  # and AdamW, which is told by a flag where there is one
    "Adamax": "betas eps weight_decay",
    "RAdam": "betas eps weight_decay decoupled_weight_decay",
    "NAdam": "betas eps weight_decay momentum_decay decoupled_weight_decay",
    "RMSprop": "momentum alpha eps centered weight_decay",
    "Adagrad": "lr_decay eps initial_accumulator_value weight_decay",
    "Adadelta": "rho eps weight_decay",
    "ASGD": "lambd alpha t0 weight_decay",
    "Rprop": "etas step_sizes",
    "SparseAdam": "betas eps",
    "Adafactor": "beta2_decay eps d weight_decay",
    "LBFGS": "max_iter max_eval tolerance_grad tolerance_change history_size line_search_fn",
    "Muon": "momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn weight_decay",
}
_COMMON = {"params", "lr", "foreach", "maximize", "capturable", "differentiable", "fused"}
_WITHOUT_MAXIMIZE = {"LBFGS", "Muon"}
# What schedulers and people add to a group.
_ADDED = {
    "initial_lr",
    "max_lr",
    "min_lr",
    "base_momentum",
    "max_momentum",
    "swa_lr",
    "name",
    "param_names",
    "lr_scale",
}
# Of these parts of a parameter's state, torch's optimizers keep one as large as the parameter.
_AS_LARGE = ("exp_avg", "momentum_buffer", "square_avg", "sum", "prev", "ax")
_HYPER = ("momentum", "betas", "weight_decay")


@dataclass(frozen=True)
class SavedGroup:
    """A parameter group as it was saved.

    Attributes:
        name: its own name, else its number.
        lr: the LR that it holds; ``None`` if it has none.
        base_lr: that which it was built with, as a scheduler has noted it.
        max_lr: the peak, where ``OneCycleLR`` has noted one.
        hyper: momentum, betas and weight decay, where it has them.
        tensors: how many tensors it has.
        numbers: how many parameters these are together; ``None`` where the optimizer keeps nothing of their size.
    """

    name: str
    lr: Any
    base_lr: Any
    max_lr: Any
    hyper: dict[str, Any]
    tensors: int
    numbers: int | None


@dataclass(frozen=True)
class SavedOptimizer:
    """An optimizer as it was saved.

    Attributes:
        kind: the class of torch's that has such settings; ``None`` where none has.
        groups: its parameter groups.
    """

    kind: str | None
    groups: list[SavedGroup]


def saved_optimizer(state: Any) -> SavedOptimizer | None:
    """Return what an optimizer's state says; ``None`` where it is not what torch saves.

    Example:
        >>> group = {"lr": 0.1, "betas": (0.9, 0.99), "params": [0, 1]}
        >>> saved = saved_optimizer({"state": {}, "param_groups": [group]})
        >>> saved.kind, saved.groups[0].name, saved.groups[0].lr, saved.groups[0].tensors
        (None, 'group0', 0.1, 2)
    """
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(one, Mapping) for one in groups):
        return None
    seen = state.get("state")
    names = distinct(one.get("name", f"group{index}") for index, one in enumerate(groups))
    kept = seen if isinstance(seen, Mapping) else {}
    kinds = {_kind_of(one) for one in groups}
    return SavedOptimizer(kinds.pop() if len(kinds) == 1 else None, [*map(_group, names, groups, [kept] * len(groups))])


def _group(name: str, group: Mapping[Any, Any], state: Mapping[Any, Any]) -> SavedGroup:
    params = group.get("params")
    params = params if isinstance(params, (list, tuple)) else []
    sizes = [_size_of(state.get(one)) for one in params if isinstance(one, (int, str))]
    known = [size for size in sizes if size is not None]
    return SavedGroup(
        name,
        lr=plain_of(group.get("lr")),
        base_lr=plain_of(group.get("initial_lr")),
        max_lr=plain_of(group.get("max_lr")),
        hyper={key: plain_of(group[key]) for key in _HYPER if key in group},
        tensors=len(params),
        numbers=sum(known) if params and len(known) == len(params) else None,
    )


def _size_of(state: Any) -> int | None:
    kept = [state[key] for key in _AS_LARGE if key in state] if isinstance(state, Mapping) else []
    return next((prod(one.shape) for one in kept if hasattr(one, "shape")), None)


def _kind_of(group: Mapping[Any, Any]) -> str | None:
    own = {str(key) for key in group} - _COMMON - _ADDED
    decoupled = group.get("decoupled_weight_decay")
    if own - {"decoupled_weight_decay"} == {*_OPTIMIZERS["Adam"].split()}:
        kind: str | None = "Adam or AdamW" if decoupled is None else "AdamW" if decoupled is True else "Adam"
    else:
        kind = next((name for name, settings in _OPTIMIZERS.items() if own == {*settings.split()}), None)
    # Optimizers of others have the same settings; nearly all of torch's have this one too.
    return kind if "maximize" in group or kind in _WITHOUT_MAXIMIZE else None
