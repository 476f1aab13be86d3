"""The owner that warms up somebody else's schedule: it multiplies what a scheduler writes, while the warmup lasts.

A scheduler of torch reads ``group["lr"]`` to compute the next one, so what it reads must be its own; whoever looks at
the LR between two updates (a progress bar, ``LearningRateMonitor``) must see what the next update uses. Both are so
because the LR is exchanged around each ``step`` of the scheduler, and the scheduler stays the object that it is.
"""

from __future__ import annotations

import contextlib
import copyreg
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch.optim import Optimizer

from lr_recipes.checks import brief
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import Roster, copies, own_tensors, snapshot, write_number
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.state import COUNT, NUMBER, Entries, ListOf, equal_lrs

# What is saved of one optimizer; the two lists while the warmup lasts, and the first of them in 0.1.0 always.
WARMED = Entries({"position": COUNT}, {"lrs": ListOf(NUMBER), "next_lrs": ListOf(NUMBER)})

BENEATH = "_lr_recipes_beneath"  # where a class that hides the warmup keeps the one that it is made from


class WarmupOver:
    """Multiplies the LR that a foreign scheduler writes by a warmup's factor, and hides that from the scheduler.

    Between the optimizer's steps the groups hold what the next update uses, ``lr x factor``, where ``lr`` is the
    scheduler's own. While a scheduler steps, whoever calls it, they hold ``lr`` itself: as long as the warmup lasts,
    its object is of a class made for it whose ``step`` sees to this. When the warmup is over the groups hold ``lr``,
    the very value, the schedulers are of their own class again, and nothing more is written: what is left is to say
    what the scheduler wrote, for whoever compares.

    Args:
        plan: the warmup; its factor is 1 once it is over.
        clock: of the optimizer whose groups to warm up.
        schedulers: whatever may write the LR of this optimizer.
        lrs: what the scheduler wrote, by group; by default, and where the warmup is over, what the groups hold now.
    """

    planned_others: ClassVar[dict[str, list[float | None]]] = {}  # it moves the LR alone
    part = "warmup"

    def __init__(
        self, plan: Plan, clock: Clock, schedulers: Sequence[Any] = (), lrs: Sequence[float] | None = None
    ) -> None:
        self.plan, self.clock = plan, clock
        self.planned_factor, self.every_update = 1.0, True
        self._hidden = False
        self.roster = Roster(self.optimizer)
        own_tensors(self.optimizer)
        # A checkpoint of the warmup restores groups that hold lr x factor, so the scheduler's own LR comes from our own
        # state then. Past the warmup the groups hold that LR itself, and a saved one would be stale.
        self._own: list[Any] = copies(self.optimizer) if lrs is None or self.over else list(lrs)
        self._written = self._own
        self._classes: list[tuple[Any, type[Any]]] = []
        self.cover(schedulers)
        clock.take(self)
        self.write(clock.position)  # before any step: the next update uses what is written now

    def cover(self, schedulers: Sequence[Any]) -> None:
        """Multiply what these schedulers write, in place of those before."""
        self.let_go()
        self._schedulers = internals.without_parts(schedulers)
        # A checkpoint may hold what they wrote before a group left, or joined.
        said = [internals.last_lrs(one) for one in self._schedulers]
        self._outdated = [lrs for lrs in said if lrs is not None and [*map(float, lrs)] != [*map(float, self._own)]]
        if self.over:
            return
        # Another class, and not an attribute `step` on the object: torch saves all of a scheduler's attributes.
        self._classes = [(one, type(one)) for one in schedulers]
        for one, kind in self._classes:
            one.__class__ = _shielded(kind, self.hidden)

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer whose groups it writes."""
        return self.clock.optimizer

    @property
    def progress(self) -> int:
        """The position of the next update."""
        return self.clock.position

    @property
    def total(self) -> int:
        """Updates that the warmup lasts: update ``total - 1`` is its last."""
        return self.plan.curve.warmup

    @property
    def over(self) -> bool:
        """Whether the next update uses the scheduler's own LR."""
        return self.clock.position >= self.total  # update `total` is the first after the warmup

    @property
    def own_lrs(self) -> list[Any]:
        """What the scheduler has written, by group, without the warmup."""
        return list(self._own)

    @property
    def planned_lrs(self) -> list[Any] | None:
        """What the next update shall use, by group: a number, or where reading one would wait for a device, a tensor.

        The scheduler's word x the factor; ``None`` where nobody can say what the scheduler wrote.
        """
        words = self._words()
        return None if words is None else [lr * self.planned_factor for lr in words]

    def _words(self) -> list[Any] | None:
        """What the scheduler wrote last, by group; for groups that it does not know, what they joined with."""
        said = [internals.last_lrs(one) for one in self._schedulers]
        words = list(self._own)
        if all(lrs is not None for lrs in said):
            valid = [lrs for lrs in said if lrs is not None and all(lrs is not old for old in self._outdated)]
            for index, group in enumerate(self.optimizer.param_groups[: len(words)]):
                here = [lrs[index] for lrs in valid if index < len(lrs)]
                if here:  # with several on one optimizer the last to step has written: whose word the group holds
                    words[index] = next((word for word in here[1:] if word == group["lr"]), here[0])
        elif self.over:  # one writes by a step of its own, which only the warmup looks at
            return None
        return [snapshot(lr) for lr in words]

    def state(self) -> dict[str, Any]:
        """Return the position and, while the warmup lasts, the scheduler's own LRs, as plain values."""
        position = self.clock.position
        if self.over:
            return {"position": position}  # the optimizer's own state has the LR
        self.adopt()  # somebody may have written one since the last step
        lrs = [float(lr) for lr in self._own]
        # What follows from the others is saved too, so that a damaged state is known for one.
        factor = self.plan.curve.factor(position)
        return {"position": position, "lrs": lrs, "next_lrs": [lr * factor for lr in lrs]}

    def write(self, position: int) -> None:
        """Write what the update at ``position`` shall use; once the warmup is over, let go."""
        if self.roster.has_changed(self.optimizer):
            self._regroup()
        self.planned_factor = 1.0 if self.over else self.plan.curve.factor(position)
        # At a factor of 1 the very value: a product could be of another type, such as a float for a tensor.
        self._written = self._own if self.planned_factor == 1.0 else [lr * self.planned_factor for lr in self._own]
        self._write_all(self._written)
        if self.over:  # update `total - 1` is completed: from here on the scheduler alone writes
            self.let_go()
            self.every_update = False

    def adopt(self) -> None:
        """Take what was written past ``hidden()``, and groups that have joined or left, as the scheduler's word."""
        changed = self.roster.has_changed(self.optimizer)
        if changed:
            self._regroup()
        if self.over:
            return
        for index, (group, written) in enumerate(zip(self.optimizer.param_groups, self._written, strict=False)):
            # A tensor is not compared: that would wait for its device.
            if not isinstance(written, torch.Tensor) and group["lr"] != written:
                self._own[index] = group["lr"]
                changed = True
        if changed:
            self.write(self.clock.position)

    def _regroup(self) -> None:
        """Take what a group that is new holds as the scheduler's word; those that stayed keep theirs."""
        was, now = self.roster.places(self.optimizer), copies(self.optimizer)
        self.roster.look(self.optimizer)
        own, written = self._own, self._written
        # Whoever makes groups anew and puts back the LRs that it read there puts back ours, and has said nothing.
        there = {index for index in range(min(len(was), len(written))) if index not in was}
        was = [
            index if place is None and index in there and _same_number(lr, written[index]) else place
            for index, (place, lr) in enumerate(zip(was, now, strict=True))
        ]
        kept = [lr if index is None else own[index] for index, lr in zip(was, now, strict=True)]
        self._own = now if self.over else kept
        # What schedulers wrote is by the index of the groups before, until they step again.
        said = [internals.last_lrs(one) for one in self._schedulers]
        self._outdated = [lrs for lrs in said if lrs is not None]
        self._written = [lr if index is None else written[index] for index, lr in zip(was, now, strict=True)]
        own_tensors(self.optimizer)

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Show the scheduler its own LR, and take the one that it writes."""
        # One that is made of others steps them within its own step; and a step that somebody kept outlives the warmup.
        if self._hidden or self.over:
            yield
            return
        self.adopt()
        self._write_all(self._own)
        self._hidden = True
        try:
            yield
        finally:
            self._hidden = False
            self._own = copies(self.optimizer)  # of tensors too: the scheduler fills the group's own in place
            # The position has not moved: a scheduler that steps twice between two updates, or not at all, is its own.
            self.write(self.clock.position)

    def let_go(self) -> None:
        """Make the schedulers what they were; the LR stays as it is."""
        for one, kind in self._classes:
            one.__class__ = kind
        self._classes = []

    def _write_all(self, lrs: Sequence[Any]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=False):
            write_number(group, "lr", lr)


def _same_number(lr: Any, written: Any) -> bool:
    """Whether both are the same number; a tensor is not compared, for that would wait for its device."""
    return not isinstance(lr, torch.Tensor) and not isinstance(written, torch.Tensor) and lr == written


def oddity_of_warmup(saved: dict[str, Any], plan: Plan) -> str:
    """What in the state of a warmup does not follow from its plan, in words; nothing where all does."""
    position, total = saved["position"], plan.curve.warmup
    lasts = position < total
    if (lasts and "lrs" not in saved) or (not lasts and "next_lrs" in saved):
        there = "no LRs" if lasts else "LRs"
        return f"position is {position:,} of a warmup of {total:,}, and there are {there} of a scheduler beneath it"
    if "next_lrs" not in saved:  # of 0.1.0
        return ""
    lrs = [lr * plan.curve.factor(position) for lr in saved["lrs"]]
    same = equal_lrs(saved["next_lrs"], lrs, saved["lrs"])
    return "" if same else f"next_lrs is {brief(saved['next_lrs'])}, and by lrs and position {brief(lrs)}"


def _shielded(kind: type[Any], hidden: Callable[[], contextlib.AbstractContextManager[None]]) -> type[Any]:
    """A subclass of a scheduler's class, of the same name, that steps within ``hidden()``; copies are of the class."""

    def within(step: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(step)
        def stepping(self: Any, *args: Any, **kwargs: Any) -> Any:
            with hidden():
                return step(self, *args, **kwargs)

        return stepping

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        # A pickle names the class, and this one cannot be found by its name; a copy would stay shielded. So both are of
        # the class beneath, which stands first among what an object is made anew from.
        reduced: Any = kind.__reduce_ex__(self, protocol)  # type: ignore[call-arg] # the class is not known here
        make, given, *rest = reduced
        # With `__newobj__` a pickler insists on the class that the object has now.
        make = kind.__new__ if make is copyreg.__newobj__ else make  # type: ignore[attr-defined] # not in the stubs
        return (make, tuple(kind if one is type(self) else one for one in given), *rest)

    # `step`, and what other libraries call beside it, such as timm's `step_update`.
    names = [name for name in dir(kind) if name.startswith("step") and callable(getattr(kind, name))]
    steps = {name: within(getattr(kind, name)) for name in names}
    also = {"__module__": kind.__module__, "__reduce_ex__": __reduce_ex__, BENEATH: kind}
    return type(kind.__name__, (kind,), {**steps, **also})
