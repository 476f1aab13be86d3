"""The parameter groups of a torch optimizer: their names, and reading and writing their hyper-parameters.

Functions without a state. What is written, and when, is decided by whoever calls them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

Group = dict[str, Any]


def group_names(optimizer: Optimizer) -> list[str]:
    """Return a name for each group: its own ``name``, else ``group0``, ...; a repeated name gets a number."""
    names: list[str] = []
    for index, group in enumerate(optimizer.param_groups):
        name = str(group.get("name", f"group{index}"))  # torch keeps any further key that a group is given
        names.append(name if name not in names else f"{name}-{index}")
    return names


def read_lrs(optimizer: Optimizer) -> list[float]:
    """Return the LR of each group as a float."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def built_lrs(optimizer: Optimizer) -> list[float]:
    """Return the LR that each group was built with: ``initial_lr`` in torch, once a schedule has moved ``lr``."""
    # A scheduler of torch writes `initial_lr` when it is made, and some, such as LinearLR, change `lr` at once.
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def write_lr(group: Group, lr: Any) -> None:
    """Set a group's LR; a tensor is filled in place and stays the same object."""
    present = group["lr"]
    if isinstance(present, Tensor):
        present.fill_(lr)  # a compiled step or a CUDA graph reads this very tensor
    else:
        group["lr"] = lr


def read_momentum(group: Group) -> float | None:
    """Return SGD's momentum or Adam's beta1; ``None`` where the optimizer has neither."""
    if "betas" in group:  # first, as in torch's OneCycleLR: some optimizers have both
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def write_momentum(group: Group, momentum: float) -> None:
    """Set SGD's momentum or Adam's beta1."""
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def check_momentum(optimizer: Optimizer) -> None:
    """Refuse an optimizer whose momentum cannot be moved.

    Raises:
        ValueError: a group has neither momentum nor betas.
    """
    if any(read_momentum(group) is None for group in optimizer.param_groups):
        raise ValueError(
            f"cycle_momentum=True needs an optimizer with momentum or betas, and {type(optimizer).__name__} has "
            "neither: set cycle_momentum=False, or choose SGD with momentum or an Adam"
        )


def snapshot(lr: Any) -> Any:
    """Return the LR as it is now: a number, or where reading it would wait for a device, a copy on that device."""
    if not isinstance(lr, Tensor):
        return lr
    # A tensor is filled in place for the next update, so it is not enough to keep a reference to it.
    return float(lr) if lr.device.type == "cpu" else lr.clone()


def on_device(lr: Any) -> bool:
    """Whether what ``snapshot`` returned is still on a device."""
    return isinstance(lr, Tensor)


def copies(optimizer: Optimizer) -> list[Any]:
    """Return the LR of each group; a tensor is copied, since it will be filled."""
    lrs = [group["lr"] for group in optimizer.param_groups]
    return [lr.clone() if isinstance(lr, Tensor) else lr for lr in lrs]


def are_floats(optimizer: Optimizer) -> bool:
    """Whether the LR of every group is a float, so that it can be set without being looked at."""
    return all(type(group["lr"]) is float for group in optimizer.param_groups)


def joining_lrs(optimizer: Optimizer, bases: Sequence[float]) -> list[float]:
    """Return the base LR of each group beyond the ``bases`` of those that are known: the LR that it joins with."""
    known = list(bases)
    for group in optimizer.param_groups[len(bases) :]:
        known.append(_joining_lr(optimizer, group, known))
    return known[len(bases) :]


def _joining_lr(optimizer: Optimizer, group: Group, bases: Sequence[float]) -> float:
    """Base LR of a group that joined late; one that shares its tensor with an older group has that group's base."""
    for older, base in zip(optimizer.param_groups, bases, strict=False):
        if isinstance(group["lr"], Tensor) and older["lr"] is group["lr"]:
            return base
    return float(group["lr"])  # not `initial_lr`: a group copied from another would bring that one's along


def own_tensor_lrs(optimizer: Optimizer) -> None:
    """Give each group a tensor LR of its own: torch lets groups that set none share the optimizer's one tensor."""
    seen: set[int] = set()
    for group in optimizer.param_groups:
        # The first keeps the object: a compiled step or a captured graph may read it already. Filling one that two
        # groups share would give both the LR of the group that is written last.
        if isinstance(group["lr"], Tensor) and id(group["lr"]) in seen:
            group["lr"] = group["lr"].clone()
        seen.add(id(group["lr"]))
