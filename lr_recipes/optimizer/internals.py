"""The private parts of torch that this package leans on, all of them: a new version of torch is checked here.

A part that torch makes public leaves this file; what only uses public names does not belong in it.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader


def first(handle: Any) -> Any:
    """Let a hook that has just been registered run before those that are there; return its handle."""
    # The handle holds the OrderedDict of the hooks, which torch walks in order. For hooks on a state_dict there is
    # `prepend=True`; for those on a step torch has no argument for the order.
    hooks = handle.hooks_dict_ref()
    hooks.move_to_end(handle.id, last=False)
    return handle


def innermost(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that does the steps: one that wraps another shares its groups, and lets it step.

    So do Lookahead and SAM, as they are usually written, Accelerate's optimizer, and Lightning's.
    """
    # Whatever the wrapper calls its own methods: where the parameters change, the innermost one has stepped.
    for held in vars(optimizer).values():
        if isinstance(held, Optimizer) and held is not optimizer and _share_groups(held, optimizer):
            return innermost(held)
    return optimizer


def _share_groups(one: Optimizer, other: Optimizer) -> bool:
    ours, theirs = one.param_groups, other.param_groups
    return len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))


def let_hooks_see(optimizer: Optimizer, wraps: bool = False) -> None:
    """Let torch call step hooks of an optimizer, should its class have left out ``Optimizer.__init__``.

    One that wraps another needs none; but where torch has patched its class, it could not step without.
    """
    # torch patches the class, and another of that class that has no hooks fails in its step from then on: so a wrapper
    # of a class that is not patched, as Accelerate's, is left as it is.
    patched = getattr(type(optimizer).step, "hooked", False)
    if not hasattr(optimizer, "_optimizer_step_post_hooks") if patched else not wraps:
        Optimizer.__setstate__(optimizer, {})  # what torch does for one that is unpickled, and has no hooks either


def has_hook(optimizer: Optimizer, key: int) -> bool:
    """Whether a pre hook, by its key, is on the steps of an optimizer."""
    return key in optimizer._optimizer_step_pre_hooks


def versions_of(optimizer: Optimizer) -> list[tuple[Any, int]]:
    """Return each parameter of an optimizer, and how often it has been changed."""
    # torch counts for each tensor how often it was written in place, to find gradients that would be wrong.
    return [(p, p._version) for group in optimizer.param_groups for p in group["params"]]


def have_changed(versions: Sequence[tuple[Any, int]]) -> bool:
    """Whether somebody has changed a parameter since ``versions_of``."""
    return any(p._version != version for p, version in versions)


def version_of(value: Any) -> int:
    """Return how often a tensor has been written in place; 0 of a number, which is another object then."""
    return value._version if isinstance(value, Tensor) and not value.is_inference() else 0


def fill_all(tensors: list[Tensor], numbers: list[float]) -> None:
    """Fill tensors of one device, each with its number, in two calls in place of one for each."""
    torch._foreach_zero_(tensors)
    torch._foreach_add_(tensors, numbers)


def step_hooks_of(optimizer: Any) -> list[dict[int, Any]]:
    """Return the pre hooks and the post hooks of an optimizer's steps, by their keys; no two hooks share a key."""
    # The keys come from one counter for all handles of a process.
    return [getattr(optimizer, f"_optimizer_step_{when}_hooks", {}) for when in ("pre", "post")]


def parts_of(scheduler: Any) -> list[Any]:
    """Return the schedulers that one runs, one after another or together; they may be of that kind again."""
    return list(getattr(scheduler, "_schedulers", ()))


def joints_of(scheduler: Any) -> list[int] | None:
    """Return the ticks at which a SequentialLR goes from one of its parts to the next; ``None`` of another class."""
    return getattr(scheduler, "_milestones", None)


def with_parts(schedulers: Sequence[Any]) -> list[Any]:
    """Return schedulers, and those that they run one after another or together."""
    return [part for one in schedulers for part in (one, *with_parts(parts_of(one)))]


def without_parts(schedulers: Sequence[Any]) -> list[Any]:
    """Return the schedulers that are not run by another of them."""
    parts = [part for one in schedulers for part in with_parts([one])[1:]]
    return [one for one in schedulers if all(one is not part for part in parts)]


def last_lrs(scheduler: Any) -> list[Any] | None:
    """Return what a scheduler wrote when it stepped last; ``None`` where its class has a step that is not torch's."""
    # Nothing but torch's own step is known to keep it. `functools.wraps` keeps the module of what it wraps.
    step = getattr(type(scheduler), "step", None)  # Lightning steps any object, by the module's own rule
    own = getattr(step, "__module__", "") != LRScheduler.__module__
    return None if own else scheduler._last_lr


# The lists in which torch's schedulers keep LRs, a number for each group. `_last_lr` is what `get_last_lr()` returns;
# `max_lrs` is CyclicLR's.
LR_LISTS = ("base_lrs", "max_lrs", "_last_lr")


# What torch's schedulers save under private names -> what it is called here; nothing for what says nothing of the LR.
SAVED_AS = {
    "_last_lr": "last_lrs",
    "_schedulers": "schedulers",  # of SequentialLR and ChainedScheduler
    "_milestones": "milestones",  # of SequentialLR
    "_schedule_phases": "phases",  # of OneCycleLR
    "_anneal_func_type": "anneal_strategy",  # of OneCycleLR, and in the next row of SWALR
    "_anneal_strategy": "anneal_strategy",
    **dict.fromkeys(("_step_count", "_is_initial", "_get_lr_called_within_step"), ""),
    **dict.fromkeys(("_scale_fn_custom", "_scale_fn_ref"), ""),  # of CyclicLR
}


def twin_of(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Return a loader of the same data in the same order that starts iterators, and workers, of its own."""
    # A new DataLoader would need every argument that the old one was given; a copy shares data set and sampler.
    twin = copy.copy(loader)
    twin._iterator = None  # persistent workers belong to the original
    return twin


def all_schedulers() -> list[LRScheduler]:
    """Return all schedulers of torch in the process, those too that only a module knows.

    A scheduler holds its optimizer, and nothing that can be reached from the optimizer holds the scheduler: so all
    objects are looked at, which takes some hundredths of a second. Their types are, not they themselves: to ask a lazy
    object for its class may load it. One whose construction has not come to its optimizer is left out, and one of ours
    that waits for its Trainer.
    """
    found = [one for one in gc.get_objects() if issubclass(type(one), LRScheduler)]
    return [one for one in found if {"optimizer", "clock"} & vars(one).keys()]
