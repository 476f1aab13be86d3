"""Spares Lightning the hooks that do nothing: each costs some microseconds at every update, for every callback."""

from __future__ import annotations

from lightning.pytorch import Callback

# What Lightning calls at every update.
PER_UPDATE = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


def leave_out(callback: Callback, owner: type[Callback], *names: str) -> None:
    """Let Lightning pass over hooks of a callback: it calls only what can be called.

    Besides ``names``, all hooks of ``PER_UPDATE`` that ``owner`` does not define are left out. A hook that a subclass
    of ``owner`` defines stays, and finds what it calls through ``super()``. A second call forgets what the first did.

    Args:
        callback: the callback.
        owner: the class whose hooks may be left out.
        names: hooks that have nothing to do in this run.
    """
    for name in PER_UPDATE:
        vars(callback).pop(name, None)
        implementation = getattr(type(callback), name)
        idle = name in names and implementation is getattr(owner, name)
        if idle or implementation is getattr(Callback, name):
            setattr(callback, name, None)
