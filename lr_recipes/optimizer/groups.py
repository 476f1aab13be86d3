"""The parameter groups of a torch optimizer: their names, and reading and writing their hyper-parameters.

What is written, and when, is decided by whoever calls this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lr_recipes.plan.names import distinct

Group = dict[str, Any]


class Roster:
    """The groups of an optimizer as they were when they were last looked at: what has joined, left or been replaced.

    Args:
        optimizer: whose groups to look at first.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.look(optimizer)

    def has_changed(self, optimizer: Optimizer) -> bool:
        """Whether there may be other groups now; asked at every update, so not each group is looked at."""
        now, then = optimizer.param_groups, self._groups
        # Whoever adds, removes or loads groups changes their list, their number, or the first or last of them.
        if now is not self._list or len(now) != len(then):
            return True
        return bool(now) and (now[0] is not then[0] or now[-1] is not then[-1])

    def places(self, optimizer: Optimizer) -> list[int | None]:
        """Return which of the groups that were there each group is; ``None`` for a new one."""
        # By identity: `load_state_dict` makes new groups too, which hold what was loaded.
        before = {id(group): index for index, group in enumerate(self._groups)}
        return [before.get(id(group)) for group in optimizer.param_groups]

    def look(self, optimizer: Optimizer) -> None:
        """Note the groups that are there now."""
        self._list, self._groups = optimizer.param_groups, list(optimizer.param_groups)


def group_names(optimizer: Optimizer) -> list[str]:
    """Return a name for each group, and for each another: its own ``name``, else ``group0``, ..., as it is shown."""
    groups = optimizer.param_groups  # torch keeps any further key that a group is given
    return distinct(group.get("name", f"group{index}") for index, group in enumerate(groups))


def read_lrs(optimizer: Optimizer) -> list[float]:
    """Return the LR of each group as a float."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def built_lrs(optimizer: Optimizer) -> list[float]:
    """Return the base LR of each group: the LR that it was built with, times its ``lr_scale`` where it has one.

    Raises:
        ValueError: a group has no LR.
    """
    check_lrs(optimizer)
    scaled = honours_scales(optimizer)
    return [_unscaled(group) * (_scale_of(group) if scaled else 1.0) for group in optimizer.param_groups]


def _unscaled(group: Group) -> float:
    # A scheduler of torch writes `initial_lr` when it is made, and some, such as LinearLR, change `lr` at once.
    built: Any = group.get("initial_lr", group["lr"])
    return float(built)


def _scale_of(group: Group) -> float:
    return float(group.get("lr_scale", 1.0))


def honours_scales(optimizer: Optimizer) -> bool:
    """Whether groups have an ``lr_scale`` that their LR is still to be multiplied by.

    It is the word of timm, MAE and BEiT for the share that a layer has of the LR, which is applied by the schedule. A
    group that keeps it beside an LR that has been multiplied already is left as it is.
    """
    groups = optimizer.param_groups
    if all(_scale_of(group) == 1.0 for group in groups):
        return False
    lrs = [_unscaled(group) for group in groups]
    multiplied = [lr / _scale_of(group) for lr, group in zip(lrs, groups, strict=True) if _scale_of(group)]
    # All LRs over their scales are one LR, and the LRs themselves are not: somebody has multiplied.
    return len(set(lrs)) == 1 or not _nearly_equal(multiplied)


def _nearly_equal(values: Sequence[float]) -> bool:
    return max(values, default=0.0) - min(values, default=0.0) <= 1e-6 * max(values, default=0.0)


def note_base(group: Group, base: float) -> None:
    """Keep the base LR of a group where torch looks for it.

    torch's schedulers take their base LRs from ``initial_lr`` where it is there, and ``built_lrs`` does too: else one
    that is made later would take the LR of this moment, within the warmup, for the peak.
    """
    scale = _scale_of(group)
    if scale == 1.0:
        group["initial_lr"] = base
    elif "initial_lr" not in group:  # before its scale: who multiplies later would do so twice
        group["initial_lr"] = float(group["lr"])


def check_lrs(optimizer: Optimizer) -> None:
    """Refuse an optimizer without an LR that could be scheduled.

    Raises:
        ValueError: it has no groups, or the LR of one is not a number.
    """
    who, groups = type(optimizer).__name__, optimizer.param_groups
    if not groups:
        raise ValueError(f"{who} has no parameter groups, so there is no LR to schedule: give it parameters")
    for index, group in enumerate(groups):
        lr = group.get("lr")
        if not isinstance(lr, (int, float, Tensor)):
            raise ValueError(
                f"{who} has lr={lr!r} in {group_names(optimizer)[index]}, so there is no LR to schedule: build it "
                "with a number as in lr=1e-3 (an Adafactor with relative_step=False too), or leave the schedule out"
            )


def warms_up_itself(optimizer: Optimizer) -> tuple[str, str, int] | None:
    """Return the optimizer's class, a group whose LR it warms up by itself, and over how many updates; else ``None``.

    Schedule-free optimizers do: their step multiplies ``lr`` on its way to the parameters and leaves it in the group as
    it is, where the product is not to be seen.
    """
    for name, group in zip(group_names(optimizer), optimizer.param_groups, strict=True):
        updates = group.get("warmup_steps") or 0
        if updates > group.get("k", 0):  # how many they have done
            return type(optimizer).__name__, name, updates
    return None


def refuse_own_warmup(optimizer: Optimizer) -> None:
    """Refuse an optimizer that multiplies the LR that it is given by a warmup of its own.

    Raises:
        ValueError: it does; says how to build it.
    """
    found = warms_up_itself(optimizer)
    if found is not None:
        who, name, updates = found
        raise ValueError(
            f"{who} has warmup_steps={updates} in {name}: its own step multiplies the LR of its "
            f"first {updates} updates, so they would use less than is planned. Build it with warmup_steps=0, and let "
            f"the schedule warm up, as in schedules.Fixed(warmup={updates}), which comes to the same LRs"
        )


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
    groups = optimizer.param_groups
    return bool(groups) and all(type(group["lr"]) is float for group in groups)


def bases_of(optimizer: Optimizer, was: Sequence[int | None], bases: Sequence[float]) -> list[float]:
    """Return the base LR of each group, where groups may have joined, left or been replaced.

    Args:
        optimizer: whose groups they are now.
        was: which of the groups before each of them is; ``None`` for a new one (``Roster.places``).
        bases: of the groups before.
    """
    if was and all(index is None for index in was):  # built anew
        return built_lrs(optimizer)
    scaled = honours_scales(optimizer)
    known: list[float] = []
    sharing: dict[int, float] = {}  # base LR of the first group with a tensor, by the tensor's id
    for group, index in zip(optimizer.param_groups, was, strict=True):
        if index is None:
            # One that shares its tensor with an older group has that group's base. Not `initial_lr`: a group copied
            # from another would bring that one's along.
            lr = sharing.get(id(group["lr"]), group["lr"])
            known.append(float(lr) * _scale_of(group) if scaled else float(lr))
        else:
            known.append(bases[index])
        if isinstance(group["lr"], Tensor):
            sharing.setdefault(id(group["lr"]), known[-1])
    return known


def own_tensor_lrs(optimizer: Optimizer) -> None:
    """Give each group a tensor LR of its own: torch lets groups that set none share the optimizer's one tensor."""
    seen: set[int] = set()
    for group in optimizer.param_groups:
        # The first keeps the object: a compiled step or a captured graph may read it already. Filling one that two
        # groups share would give both the LR of the group that is written last.
        if isinstance(group["lr"], Tensor) and id(group["lr"]) in seen:
            group["lr"] = group["lr"].clone()
        seen.add(id(group["lr"]))
