"""Counts the updates of one optimizer: the only place where a position lives, and the only thing with hooks on it.

What is written into the groups is the owner's business (``follow.py``, ``warmup.py``), what is noted of them the
witnesses' (``recorder.py``); what is decided here is *when*, and which step counts. For one step of an optimizer torch
calls

1. the pre hooks: global ones, then the optimizer's own in their order. ``_before`` is the first of these;
2. the step itself. In Lightning's automatic optimization the closure, with ``training_step``, ``backward`` and
   ``on_before_optimizer_step``, runs *within* it, so the pre hooks see no gradients of this batch. Under a gradient
   scaler it has run before the step;
3. the post hooks: the optimizer's own in their order, then global ones. ``_look`` is the first of them; ``_after`` is
   the last of the optimizer's own that are there when the clock starts.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch.optim import Optimizer

from lr_recipes.optimizer import internals
from lr_recipes.optimizer.groups import Roster
from lr_recipes.plan.plan import Plan

# Where an optimizer keeps its clock. torch pickles and copies an optimizer's defaults, state and groups and no other
# attribute, so a copy has no clock: it is on its own.
_PLACE = "_lr_recipes_clock"


class Teller(Protocol):
    """Who says what the updates of an optimizer shall use.

    Attributes:
        plan: what they shall use.
        part: what the plan is of the run: the ``"schedule"``, a ``"warmup"`` over somebody else's, or the ``"run"``.
        total: updates of that part; ``None`` when it has no end.
        progress: where in the plan the next update lies: its position, or in a run that follows the clock the time.
        planned_factor: what the next update multiplies the base LRs by; ``None`` where nobody can say.
        planned_lrs: what the next update shall use, by group; ``None`` where nobody can say.
        planned_others: what it shall use of the hyper-parameters that move beside the LR, by name and group.
        roster: the groups that these are for; others may have joined or left within the step.
    """

    plan: Plan
    part: str
    roster: Roster

    @property
    def total(self) -> int | None: ...

    @property
    def progress(self) -> int: ...

    @property
    def planned_factor(self) -> float | None: ...

    @property
    def planned_lrs(self) -> list[Any] | None: ...

    @property
    def planned_others(self) -> dict[str, list[float | None]]: ...


class Owner(Teller, Protocol):
    """Who writes the groups of an optimizer; one at a time.

    Attributes:
        every_update: whether ``write`` is called after every update; else the LR is held until somebody calls it.
    """

    every_update: bool

    def write(self, position: int) -> None:
        """Write what the update at ``position`` shall use."""

    def adopt(self) -> None:
        """Take in groups that have joined, left or been replaced, before the next update."""


class Witness(Protocol):
    """Who looks at what each step uses."""

    def note(self, counts: bool) -> None:
        """Look at the groups right after a step: ``counts`` says whether it changed parameters.

        The groups still hold what the step used, and the clock the position of the update.
        """


class Clock:
    """Counts the completed updates of one optimizer; a new clock takes the place of an older one on it.

    Position ``n`` means that ``n`` updates are completed, and that the next one is update ``n``.

    Args:
        optimizer: a torch optimizer, or one of its classes that wraps another: the steps of the innermost are counted.

    Attributes:
        optimizer: whose groups are written and looked at.
        position: updates completed so far.
        owner: who writes the groups; ``None`` where nobody of ours does.
        foretold: who says then what the groups will hold, if anybody can.
        witnesses: who looks at what a step uses.
        counting: whether the optimizer's own steps move the position; else whoever calls ``go_to`` does.
        stepped: whether the optimizer has stepped since the hooks are there.
        bound: whether somebody has bound a schedule to the optimizer by hand, who is its owner then.

    Raises:
        TypeError: the optimizer is not torch's.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        check_kind(optimizer)
        self.position = 0
        self.owner: Owner | None = None
        self.foretold: Teller | None = None
        self.witnesses: list[Witness] = []
        self.counting = self.stepped = self.bound = False
        self._claim: tuple[str, str] | None = None
        self._open = self._counts = False
        self._handles: list[Any] = []
        self._settle_on(optimizer)

    def _settle_on(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        # Two clocks with hooks on one optimizer would have two owners write it, each after every update.
        older = Clock.on(optimizer)
        if older is not None and older is not self:
            older.stop()
            older.owner = None  # who sees by this that it writes no more
        for one in (optimizer, internals.innermost(optimizer)):
            setattr(one, _PLACE, self)

    @staticmethod
    def on(optimizer: Optimizer) -> Clock | None:
        """Return the clock of an optimizer, if it has one."""
        return getattr(internals.innermost(optimizer), _PLACE, None)

    def move_to(self, optimizer: Optimizer) -> None:
        """Go on, at the same position, with the optimizer that has taken the place of the old one.

        The owner takes its groups in before their first update; witnesses look at its steps. It may be the same object,
        should it have been built again in place.
        """
        counting = self.counting
        self.stop()
        for one in (self.optimizer, internals.innermost(self.optimizer)):
            vars(one).pop(_PLACE, None)
        self._settle_on(optimizer)
        self.start(counting)

    def watches(self, optimizer: Optimizer) -> bool:
        """Whether the hooks are on an optimizer; those of a clock that was stopped are nowhere, and not missed."""
        return self.optimizer is optimizer and (not self._handles or self.is_on(internals.innermost(optimizer)))

    def is_on(self, stepping: Optimizer) -> bool:
        """Whether the hooks are on the very optimizer that steps."""
        return bool(self._handles) and internals.has_hook(stepping, self._handles[0].id)

    # Who writes

    def claim(self, who: str, way_out: str = "") -> None:
        """Say that ``who`` will write the groups; to be called before anybody writes.

        Args:
            who: the name that the user knows it by.
            way_out: what the user can do instead, should there be a second one.

        Raises:
            ValueError: somebody else has said so; names both.
        """
        # A word before the deed: in Lightning all claims are made in `on_fit_start` and the first LR is written in
        # `on_train_start`, so a second owner is refused while the groups are as they were built.
        if self._claim is not None:
            first, its_way_out = self._claim
            raise ValueError(
                f"{first} and {who} would both write the LR: {way_out or its_way_out or 'keep one of them'}"
            )
        self._claim = (who, way_out)

    def take(self, owner: Owner) -> None:
        """Make ``owner`` the one that writes the groups."""
        self.owner = owner

    @property
    def teller(self) -> Teller | None:
        """Who says what the next update shall use: the owner, else a forecast."""
        return self.owner or self.foretold

    def go_to(self, position: int) -> None:
        """Set the position, and let the owner write what belongs there."""
        self.position = position
        owner = self.owner
        if owner is not None:
            owner.write(position)

    # The hooks

    def start(self, counting: bool = True) -> None:
        """Put the hooks on the optimizer; a second call puts them in their places again.

        Args:
            counting: let the optimizer's own steps move the position.
        """
        self.stop()  # a hook that is registered again moves to the end: behind those that were registered since
        self.counting = counting
        # Not earlier: a checkpoint that is restored may give a wrapper other groups than those of what it wraps.
        stepping = internals.innermost(self.optimizer)
        internals.let_hooks_see(stepping)
        if stepping is not self.optimizer:
            internals.let_hooks_see(self.optimizer, wraps=True)
        self._handles = [
            # Groups that have joined get their LR before anybody looks at what the step will use.
            internals.first(stepping.register_step_pre_hook(self._before)),
            # Read before any other hook can write the LR of the next update, and write it after all that are there: the
            # recorder then sees update n as it was, and update n + 1 uses what the plan says, whoever wrote in between.
            internals.first(stepping.register_step_post_hook(self._look)),
            stepping.register_step_post_hook(self._after),
        ]

    def stop(self) -> None:
        """Take the hooks off; the position stays."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.counting = [], False

    def owns(self, key: int) -> bool:
        """Whether a step hook, by its key, is one of this clock."""
        return any(handle.id == key for handle in self._handles)

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Let groups join: the step is not done yet, so update ``position`` is the first that they take part in."""
        self._open = True
        if self.owner is not None:
            self.owner.adopt()

    def _look(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Look right after the step. Not before it: a closure runs within the step, and may still write the LR."""
        # A class whose `step` calls that of its parent has torch call the hooks of both: the inner one is the update.
        if not self._open:
            self._counts = False
            return
        self._open = False
        # Asked once, here: a gradient scaler's verdict is there during the step only, and a later hook may clear the
        # gradients, which say whether there was a loss. A scaler that is given a wrapper leaves its verdict there.
        self._counts = took_effect(optimizer) and (optimizer is self.optimizer or took_effect(self.optimizer))
        for witness in self.witnesses:
            witness.note(self._counts)  # update `position` has just used what the groups hold

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Update ``position`` is completed: the next one is ``position + 1``, and uses what is written now."""
        self.stepped = True
        # A step that changed nothing leaves the position, so the next one uses the same LR: it is still that update.
        if self._counts and self.counting:
            self.position += 1
            owner = self.owner
            # Now, and not before the next step: whoever shows the LR between two updates sees what the next one uses.
            if owner is not None and owner.every_update:
                owner.write(self.position)


def is_watched(optimizer: Optimizer) -> bool:
    """Whether the hooks of a clock are on an optimizer; quick, for it is asked at every step."""
    clock: Clock | None = vars(optimizer).get(_PLACE)
    return clock is not None and clock.is_on(optimizer)


def check_kind(optimizer: Any) -> None:
    """Refuse what is no torch optimizer.

    Raises:
        TypeError: it is something else; names its class.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"{type(optimizer).__name__} is not a torch.optim.Optimizer: a schedule writes param_groups['lr']"
        )


def took_effect(optimizer: Optimizer) -> bool:
    """Tell, right after ``optimizer.step()``, whether it changed parameters.

    Two calls do not: one with no gradient at all (``training_step`` returned ``None``), and one of a fused optimizer
    whose gradient scaler found an overflow. A scaler does not call other optimizers in that case. ``found_inf`` lives
    on the device and is there only during a step under a scaler, so no other run pays for reading it.
    """
    # torch's GradScaler sets `found_inf` before the step of an optimizer that skips by itself (a fused one) and deletes
    # it afterwards; post hooks run in between. It is a tensor on the device: `bool` waits for it.
    overflow = getattr(optimizer, "found_inf", None)
    if overflow is not None and bool(overflow):
        return False
    # Ends at the first gradient, so it costs no more for many parameters. `zero_grad` sets gradients to None unless
    # told otherwise, so those of an earlier batch are not taken for this one's.
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def completed_updates(optimizer: Optimizer) -> int | None:
    """Return how many updates the optimizer itself has counted in its state; ``None`` where it does not count."""
    # Adam and its kin keep a count for each parameter, for their bias correction; SGD keeps none. The largest: a
    # parameter that was frozen for a while has fewer.
    steps = [int(state["step"]) for state in optimizer.state.values() if "step" in state]
    return max(steps, default=None)
