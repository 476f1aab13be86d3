"""The parameter groups of a torch optimizer: their names, and reading and writing their hyper-parameters.

What is written, and when, is decided by whoever calls this.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lr_recipes.optimizer import internals
from lr_recipes.plan.built import Built
from lr_recipes.plan.names import distinct

Group = dict[str, Any]

_BUILT = "initial_"  # before a number's name: what it was built with, as torch keeps `initial_lr`
_NOT_MOVED = ("params", "param_names", "lr", "lr_scale", "name", "max_lr", "min_lr", "max_momentum", "base_momentum")
_SECOND_NAME = {"betas[0]": "momentum"}  # SGD's momentum and Adam's beta1 go by one name
_PLACED = re.compile(r"(.+)\[(\d+)\]")  # of a tuple: "betas[1]"


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


def built_lrs(optimizer: Optimizer) -> Built:
    """Return the base LR of each group: the LR that it was built with, times its ``lr_scale`` where it has one.

    With them come the groups' names, and what else they were built with.

    Raises:
        ValueError: a group has no LR.
    """
    check_lrs(optimizer)
    scaled = honours_scales(optimizer)
    lrs = [_unscaled(group) * (_scale_of(group) if scaled else 1.0) for group in optimizer.param_groups]
    return Built(lrs, group_names(optimizer), _built_others(optimizer))


def _built_others(optimizer: Optimizer) -> dict[str, list[float | None]]:
    """What each group was built with beside the LR, number by number."""
    # Groups with the same entries of the same kinds, as nearly all are, hold the same numbers: of many, one is asked.
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for index, group in enumerate(optimizer.param_groups):
        made = [(key, value) for key, value in group.items() if isinstance(value, (tuple, list, Tensor))]
        parts = [_type_of(value) for key, value in made if key not in _NOT_MOVED]
        kinds.setdefault((*group, *map(type, group.values()), *parts), []).append(index)
    found: dict[str, list[float | None]] = {}
    for alike in kinds.values():
        groups = [optimizer.param_groups[index] for index in alike]
        for key in numbers_of(groups[0]):
            noted = f"{_BUILT}{key}"
            name, place = (noted, None) if noted in groups[0] else place_of(groups[0], key)
            values = [group[name] if place is None else group[name][place] for group in groups]
            column = found.setdefault(key, [None] * len(optimizer.param_groups))
            for index, value in zip(alike, values, strict=True):
                column[index] = float(value)
    return found


def _type_of(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_type_of, value))
    return _is_single_number(value) if isinstance(value, Tensor) else type(value)


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


def numbers_of(group: Group) -> dict[str, float]:
    """Return the numbers that a group holds beside its LR, under the names that plans have for them.

    Example:
        >>> numbers_of({"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "maximize": False})
        {'momentum': 0.9, 'betas[1]': 0.999, 'eps': 1e-08}
    """
    found: dict[str, float] = {}
    for key, value in group.items():
        if key in _NOT_MOVED or (key.startswith(_BUILT) and read_number(group, key.removeprefix(_BUILT)) is not None):
            continue
        if isinstance(value, (tuple, list)):
            found.update((_SECOND_NAME.get(f"{key}[{n}]", f"{key}[{n}]"), one) for n, one in enumerate(value))
        elif "betas" not in group or key != "momentum":
            found[key] = value
    return {key: float(value) for key, value in found.items() if _is_single_number(value)}


def _is_single_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and value.is_floating_point()
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def place_of(group: Group, key: str) -> tuple[str, int | None]:
    """Return where a group holds a number: under which key, and at which place of a tuple."""
    if key == "momentum" and "betas" in group:  # first, as in torch's OneCycleLR: some optimizers have both
        return "betas", 0
    return _parsed(key)


@functools.cache
def _parsed(key: str) -> tuple[str, int | None]:
    match = _PLACED.fullmatch(key)
    return (match[1], int(match[2])) if match else (key, None)


def read_number(group: Group, key: str) -> float | None:
    """Return a number that a group holds, under the name that plans have for it; ``None`` where there is none."""
    value = group.get(key)
    if type(value) is float and (key != "momentum" or "betas" not in group):  # nearly always, and at every update
        return value
    value = _held(group, key)
    # A whole number stays one, but for a momentum: so records have them since the first version.
    return float(value) if isinstance(value, Tensor) or (key == "momentum" and value is not None) else value


def _held(group: Group, key: str) -> Any:
    name, place = place_of(group, key)
    value = group.get(name)
    if place is None:
        return value
    return value[place] if isinstance(value, (tuple, list)) and place < len(value) else None


def write_number(group: Group, key: str, number: Any) -> None:
    """Set a number that a group holds, its LR too; a tensor is filled in place and stays the same object."""
    put(group, *place_of(group, key), number)


def put(group: Group, name: str, place: int | None, number: Any) -> None:
    """Do what ``write_number`` does, where ``place_of`` has been asked already."""
    held = group[name]
    present = held if place is None else held[place]
    if isinstance(present, Tensor):
        present.fill_(number)  # a compiled step or a CUDA graph reads this very tensor
    else:
        group[name] = number if place is None else (*held[:place], number, *held[place + 1 :])


def mark_of(group: Group, key: str) -> float:
    """Return what shows whether a number has been written since: itself, or how often its tensor was."""
    present = _held(group, key)
    return internals.version_of(present) if isinstance(present, Tensor) else float(present)


def note_number(group: Group, key: str, built: float) -> None:
    """Keep what a group was built with, where ``built_lrs`` looks for it: the number itself is going to move."""
    group[f"{_BUILT}{key}"] = built


def noted_numbers(group: Group) -> dict[str, float]:
    """Return what ``note_number`` has kept."""
    kept = {key.removeprefix(_BUILT): value for key, value in group.items() if key.startswith(_BUILT)}
    return {key: value for key, value in kept.items() if key != "lr" and read_number(group, key) is not None}


def let_go(group: Group, key: str, built: float) -> None:
    """Let a number be again what it was built with: nobody moves it any more."""
    write_number(group, key, built)
    del group[f"{_BUILT}{key}"]


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


def bases_of(optimizer: Optimizer, was: Sequence[int | None], bases: Sequence[float]) -> Built:
    """Return what each group was built with, where groups may have joined, left or been replaced.

    Args:
        optimizer: whose groups they are now.
        was: which of the groups before each of them is; ``None`` for a new one (``Roster.places``).
        bases: of the groups before.
    """
    built, bases = built_lrs(optimizer), Built.of(bases)
    if was and all(index is None for index in was):  # built anew
        return built
    scaled = honours_scales(optimizer)
    # A group that was copied from another has brought along what that one was built with.
    others = {
        key: _numbers_built(optimizer, key, was, bases.others.get(key), values) for key, values in built.others.items()
    }
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
    return Built(known, built.names, others)


def _numbers_built(
    optimizer: Optimizer,
    key: str,
    was: Sequence[int | None],
    before: Sequence[float | None] | None,
    now: Sequence[float | None],
) -> list[float | None]:
    """What each group was built with of a number; one that shares its tensor with an older group has that group's."""
    found: list[float | None] = []
    sharing: dict[int, float | None] = {}
    for group, index, value in zip(optimizer.param_groups, was, now, strict=True):
        held = _held(group, key)
        if index is None:
            value = sharing.get(id(held), read_number(group, key))
        elif before is not None:
            value = before[index]
        found.append(value)
        if isinstance(held, Tensor):
            sharing.setdefault(id(held), value)
    return found


def own_tensors(optimizer: Optimizer, keys: Iterable[str] = ("lr",)) -> None:
    """Give each group tensors of its own for the numbers that are moved.

    torch lets groups that set none, of the LR or the betas, share the optimizer's one tensor.
    """
    for key in keys:
        seen: set[int] = set()
        for group in optimizer.param_groups:
            present = _held(group, key)
            # The first keeps the object: a compiled step or a captured graph may read it already. Filling one that two
            # groups share would give both what the group that is written last shall use.
            if isinstance(present, Tensor) and id(present) in seen:
                name, place = place_of(group, key)
                held, own = group[name], present.clone()
                group[name] = own if place is None else (*held[:place], own, *held[place + 1 :])
            seen.add(id(present))
