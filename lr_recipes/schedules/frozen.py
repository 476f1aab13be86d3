"""What every schedule is beneath its fields: a value that never changes, and that other libraries may pass around.

A frozen dataclass alone is not enough for three of them. jsonargparse takes classes made from a dataclass only where
something in their line is none, as ``Frozen`` is. Lightning writes every field of a hyper-parameter back before it logs
it, which the ``__setattr__`` of a frozen dataclass refuses even where nothing changes. And ``torch.load`` reads with
``weights_only=True``, its default, only classes that it was told of.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError
from typing import Any, TypeVar

from lr_recipes.checks import explains_arguments
from lr_recipes.plan.sight import Sight

Kind = TypeVar("Kind")


def _optimizer(who: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """What to say of ``Cosine(optimizer, 1000)``, which is how torch's schedulers are made."""
    if not any(hasattr(value, "param_groups") for value in (*args, *kwargs.values())):
        return None
    return (
        f"{who} takes no optimizer: write {who}(...).bind(optimizer, 1000), or take the class of this name in "
        f"lr_recipes.lr_scheduler, as in lr_scheduler.{who}(optimizer, total_steps=1000)"
    )


class _KeepsSetattr(ABCMeta):  # abstract, so that a class made from a schedule and an `abc.ABC` has no two metaclasses
    """Keeps ``@dataclass(frozen=True)`` from giving a class its own ``__setattr__``: that of ``Frozen`` holds.

    And lets the ``__init__`` that it makes say which fields there are, where it is given others.
    """

    def __setattr__(cls, name: str, value: Any) -> None:
        if name not in ("__setattr__", "__delattr__"):
            super().__setattr__(name, explains_arguments(value, _optimizer) if name == "__init__" else value)


class Frozen(Sight, metaclass=_KeepsSetattr):
    """A value that never changes once it is made."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        let_torch_read(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if not hasattr(self, name) or not self.equal(getattr(self, name), value):
            raise FrozenInstanceError(
                f"cannot assign to field {name!r} of {self!r}, which never changes: make another one, as with "
                f"dataclasses.replace(schedule, {name}=...)"
            )

    @staticmethod
    def equal(value: Any, other: Any) -> bool:
        """Whether two values of a field are one and the same setting."""
        return bool(value == other)

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(
            f"cannot delete field {name!r} of {self!r}, which never changes: make another one, as with "
            f"{type(self).__name__}(...)"
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the fields of a copy or of a pickle, and check them: a checkpoint may come from anywhere."""
        vars(self).update(state)
        self.__post_init__()

    def __post_init__(self) -> None:
        # Once more, and not only where the class was made: torch may have been imported since.
        let_torch_read(*kinds_of(Frozen))


def kinds_of(kind: type[Kind]) -> list[type[Kind]]:
    """Return the class and all that are made from it, a user's own included."""
    return [kind, *(found for below in kind.__subclasses__() for found in kinds_of(below))]


def let_torch_read(*kinds: type[Any]) -> None:
    """Allow classes in ``torch.load(weights_only=True)``, unless torch, which takes seconds to import, is not here.

    What they are built from is checked as if somebody had written it, and none of them calls what a file names.
    """
    if "torch" in sys.modules:
        from torch.serialization import add_safe_globals

        add_safe_globals(list(kinds))
