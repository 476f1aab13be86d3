"""What an optimizer was built with, where a scheduler of torch has written over it.

Most schedulers note the LR that they find as ``initial_lr`` before they change it. Two do not: ``OneCycleLR`` and
``CyclicLR`` write an LR of their own into the groups when they are made, as ``initial_lr`` too, and a momentum. Whoever
takes over from them has to know what was there before.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CyclicLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from lr_recipes.optimizer.groups import Group, built_lrs, write_number
from lr_recipes.optimizer.internals import with_parts

_OVERWRITERS = (OneCycleLR, CyclicLR)
_THEIRS = ("initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")  # what they add to a group
_MOMENTA = ("momentum", "betas")

# What the groups of an optimizer held before the first of them was made on it.
_NOTED: weakref.WeakKeyDictionary[Optimizer, list[Group]] = weakref.WeakKeyDictionary()


# The kinds of scheduler that were made on it, in their order: one that is made of others comes after them.
_MADE: weakref.WeakKeyDictionary[Optimizer, list[str]] = weakref.WeakKeyDictionary()
_ENTRANCES = (LRScheduler, ReduceLROnPlateau, SequentialLR, ChainedScheduler, *_OVERWRITERS)
_INITS: dict[type, Any] = {}  # as they are, while somebody notes
_noting = 0


@contextmanager
def noting() -> Iterator[None]:
    """Note what is made on every optimizer, and what its groups hold before."""
    # torch has no hook on the construction of an optimizer or a scheduler. Several may note at once, and end in any
    # order.
    global _noting
    _noting += 1
    if _noting == 1:
        _INITS.update((kind, kind.__init__) for kind in _ENTRANCES)
        for kind, init in _INITS.items():
            kind.__init__ = _noting_first(init)  # type: ignore[misc]
    try:
        yield
    finally:
        _noting -= 1
        if not _noting:
            for kind, init in _INITS.items():
                kind.__init__ = init  # type: ignore[misc]
            _INITS.clear()


def _noting_first(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def noting_init(self: Any, *args: Any, **kwargs: Any) -> None:
        on = next(_optimizers_in([*args, *kwargs.values()]), None)
        if on is not None:  # else torch says so
            if isinstance(self, _OVERWRITERS):
                _NOTED.setdefault(on, [_copied(group) for group in on.param_groups])
            kinds = _MADE.setdefault(on, [])
            if not kinds or kinds[-1] != type(self).__name__:  # a class of torch's own calls the one beneath it
                kinds.append(type(self).__name__)
        init(self, *args, **kwargs)

    return noting_init


def _optimizers_in(given: Iterable[Any]) -> Iterator[Optimizer]:
    """The optimizer that a scheduler is given; ChainedScheduler is given schedulers, and may be given nothing else."""
    for one in given:
        if isinstance(one, (list, tuple)):
            yield from (part.optimizer for part in one if isinstance(getattr(part, "optimizer", None), Optimizer))
        elif isinstance(one, Optimizer):
            yield one


def made_on(optimizer: Optimizer) -> list[str]:
    """Return the kinds of scheduler that were made on an optimizer while somebody noted it, in their order."""
    return list(_MADE.get(optimizer, ()))


def lrs_before(optimizer: Optimizer) -> list[float]:
    """Return the LR that each group was built with, where ``OneCycleLR`` or ``CyclicLR`` has written its own too."""
    noted = _NOTED.get(optimizer, [])
    lrs = built_lrs(optimizer)
    before: list[Any] = [group.get("initial_lr", group["lr"]) for group in noted]
    return [*map(float, before), *lrs[len(noted) :]]


def _copied(group: Group) -> Group:
    kept = {key: group[key] for key in ("lr", *_MOMENTA, *_THEIRS) if key in group}
    return {key: value.clone() if isinstance(value, Tensor) else value for key, value in kept.items()}


def give_back(optimizer: Optimizer, schedulers: Sequence[Any] = ()) -> None:
    """Write into the groups what they held before ``OneCycleLR`` or ``CyclicLR``; where there was none, nothing.

    Args:
        optimizer: whose groups to write; a tensor LR is filled in place.
        schedulers: those that were on it, as far as they are known.
    """
    noted = _NOTED.pop(optimizer, None)
    known = bool(_overwriters(optimizer, schedulers))
    for index, group in enumerate(optimizer.param_groups):
        if noted is not None and index < len(noted):
            was = noted[index]
        elif known or "max_lr" in group or momentum_is_theirs(group):
            # Nobody has looked: what is left is the optimizer's own argument, which a group may have had another of.
            keys = ("lr", *_MOMENTA) if momentum_is_theirs(group) else ("lr",)
            was = {key: optimizer.defaults[key] for key in keys if key in optimizer.defaults}
        else:
            continue
        for key in _THEIRS:
            group.pop(key, None)
        write_number(group, "lr", float(was["lr"]))
        group.update({key: value for key, value in was.items() if key != "lr"})


def momentum_is_theirs(group: Group) -> bool:
    """Whether one of these schedulers moves, or has moved, the momentum of a group."""
    return "base_momentum" in group


def note_peak(optimizer: Optimizer, peak: float) -> None:
    """Make ``peak`` the largest LR that ``give_back`` will write; the others keep their ratio to it."""
    noted = _NOTED.get(optimizer, [])
    lrs = [float(group["initial_lr" if "initial_lr" in group else "lr"]) for group in noted]
    for group, lr in zip(noted, lrs, strict=True):
        group.update(dict.fromkeys({"lr", "initial_lr"} & set(group), peak * (lr / max(lrs))))


def peak_lrs(optimizer: Optimizer, schedulers: Sequence[Any]) -> list[float]:
    """Return the LR of each group at the peak of the schedulers on it: as built, where these two are not among them."""
    for one in _overwriters(optimizer, schedulers):
        lrs = one.max_lrs if isinstance(one, CyclicLR) else [group["max_lr"] for group in optimizer.param_groups]
        return [float(lr) for lr in lrs]
    return built_lrs(optimizer)


def _overwriters(optimizer: Optimizer, schedulers: Sequence[Any]) -> list[Any]:
    return [one for one in with_parts(schedulers) if isinstance(one, _OVERWRITERS) and one.optimizer is optimizer]
