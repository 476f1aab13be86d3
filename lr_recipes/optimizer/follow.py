"""The owner that follows a plan: it writes the groups of a torch optimizer, and is saved as one integer.

The one rule: the LR that update ``n`` of group ``g`` uses is ``base(g) * factor(n)``. The base LR is what the optimizer
was built with, per group. Everything here follows from the clock's position, so the state is that integer and the plain
facts that say which plan it belongs to.

What a plan says is not known here, nor which schedule it came from; and which step counts is the clock's to say.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lr_recipes import checks
from lr_recipes.checks import brief, plain
from lr_recipes.optimizer.bundle import Bundle, bundles_of
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import (
    Roster,
    bases_of,
    let_go,
    note_base,
    note_number,
    noted_numbers,
    numbers_of,
    own_tensors,
    read_lrs,
    read_number,
    refuse_own_warmup,
)
from lr_recipes.optimizer.pace import Pace
from lr_recipes.plan.curve import Curve
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan, Source
from lr_recipes.plan.resume import BEGIN_ANEW, Chosen, choose
from lr_recipes.plan.state import BOUND, ResumeError, damaged

_ACCELERATE = "accelerate.scheduler"  # the module of Accelerate's wrapper of a scheduler
_POSITIONS = 1000  # positions of a curve that are looked at
_PHASES = "give the phases to schedules.Sequence, with those of torch as TorchSchedule(factory=...)"


class BoundSchedule(LRScheduler):
    """A plan that is carried out on a torch optimizer, with torch's ``LRScheduler`` interface.

    On construction the groups get the LR of the clock's position. Call ``step()`` after each ``optimizer.step()``, or
    ``attach()`` once and let the optimizer's own hooks count the updates that really happened.

    Args:
        plan: what to follow.
        clock: of the optimizer whose groups to write; a float LR stays a float, a tensor LR is filled in place.

    Attributes:
        plan: what it follows; groups that join late are added to it.
        pace: where each update lies in a run that follows the clock; ``None`` in one that counts updates.
        scale: what a plateau's cuts so far multiply the curve by; 1 for every other schedule.
        seen: what a plateau has seen; ``None`` for every other schedule.
        differences: what was other in the state that was loaded last, a line each.
        loaded_over: the LRs that the groups had then.
        planned_factor: the factor that the next update shall use: of its own position, or of the epoch's start while
            the LR is held; where each group has a curve of its own, that of the first.

    Raises:
        ValueError: the plan moves the momentum and the optimizer has none.
    """

    def __init__(self, plan: Plan, clock: Clock) -> None:
        # LRScheduler.__init__ is not called: it would wrap `optimizer.step` and write an LR of its own. It is the base
        # class so that whoever asks `isinstance(..., LRScheduler)` takes this for what it is.
        self.clock, self.every_update = clock, True
        self.planned_factor = 1.0
        self.differences: list[str] = []
        self.loaded_over: list[float] = []
        self.pace: Pace | None = None
        self._held_from = self._held_at = clock.position
        self._order_checked = False
        self.roster = Roster(clock.optimizer)
        self._follow(plan)
        self._bound_to = plan.base_lrs
        clock.take(self)
        self.refresh()  # before any step: the next update, update 0 of a new run, uses what is written now
        clock.start(counting=False)  # the hooks see late groups and early calls of `step()`; `attach()` lets them count

    part = "schedule"

    @classmethod
    def by_hand(cls, plan: Plan, optimizer: Optimizer) -> BoundSchedule:
        """Bind a plan to an optimizer, in the place of whatever was bound to it before.

        Raises:
            TypeError, ValueError: the optimizer cannot follow the plan; what was bound before stays then.
        """
        bound = cls.__new__(cls)
        bound.bind_to(optimizer, plan)
        return bound

    def bind_to(self, optimizer: Optimizer, plan: Plan) -> None:
        """Become the owner of an optimizer; see ``by_hand``. A class of its own may be constructed otherwise."""
        check_plan(plan, optimizer)
        clock = Clock(optimizer)
        clock.bound = True
        clock.claim(f"{plan.schedule!r}, which is bound to the optimizer,")
        BoundSchedule.__init__(self, plan, clock)

    def _follow(self, plan: Plan) -> None:
        check_plan(plan, self.optimizer)
        self.plan, self.scale = plan, 1.0
        total = plan.total_steps or 0
        if not plan.horizon.timed:
            self.pace = None
        elif self.pace is None or self.pace.total != total:
            self.pace = Pace(total)
        self.seen = None if plan.reaction is None else plan.reaction.seen()
        self._note_groups()

    def follow(self, plan: Plan) -> None:
        """Follow another plan from here on; what a plateau has seen stays. The next LR is written by ``refresh()``."""
        seen = self.seen
        self._follow(plan)
        self._set_seen(seen)

    # What it follows, under the names that people know

    @property
    def optimizer(self) -> Optimizer:  # type: ignore[override] # a mere attribute, in torch
        """The optimizer whose groups it writes."""
        return self.clock.optimizer

    @property
    def total(self) -> int | None:
        """Updates in the plan; ``None`` when it has no end."""
        return self.plan.total_steps

    @property
    def schedule(self) -> Source:
        """The schedule that the plan was made from."""
        return self.plan.schedule

    @property
    def horizon(self) -> Horizon:
        """The run that the plan is for."""
        return self.plan.horizon

    @property
    def curve(self) -> Curve:
        """The factor of the LR at each position."""
        return self.plan.curve

    @property  # type: ignore[override] # a list of floats or tensors, in torch
    def base_lrs(self) -> Sequence[float]:
        """The peak of each group; also in each group as ``initial_lr``, torch's name for it."""
        return self.plan.base_lrs

    @base_lrs.setter
    def base_lrs(self, base_lrs: Sequence[float]) -> None:
        self.follow(self.plan.schedule.plan(self.plan.horizon, self.plan.built.with_lrs(base_lrs)))
        self._bound_to = self.plan.base_lrs

    @property
    def planned_lrs(self) -> list[float]:
        """What the next update shall use, by group."""
        return self._planned_by(self._bundles)

    @property
    def planned_others(self) -> dict[str, list[float | None]]:
        """What the next update shall use of the hyper-parameters that move beside the LR, by name and group."""
        return {key: self._planned_by(bundles) for key, bundles in self._others.items()}

    def _planned_by(self, bundles: Sequence[Bundle]) -> list[Any]:
        if len(bundles) == 1 and len(bundles[0].bases) == len(self._list):  # all groups, in their order
            factor = bundles[0].factor
            return [base * factor for base in bundles[0].bases]
        planned: list[Any] = [None] * len(self._list)
        for one in bundles:
            one.planned(planned)
        return planned

    @property
    def peak(self) -> float:
        """The largest base LR at the start."""
        return self.plan.peak

    @property
    def end_factor(self) -> float:
        """The factor that the plan ends at; of a plateau, the one below which it never cuts."""
        return self.plan.end_factor

    @property
    def position(self) -> int:
        """Updates completed so far, which is the position of the next update."""
        return self.clock.position

    @position.setter
    def position(self, position: int) -> None:
        self._jump(_checked_position(f"position={brief(position)}", position))

    def _jump(self, position: int) -> None:
        self.clock.position = position
        self.refresh()

    @property
    def progress(self) -> int:
        """Where the next update lies in the plan: its position, or in a run that follows the clock the time."""
        return self.clock.position if self.pace is None else self.pace.at(self.clock.position)

    @property
    def reached(self) -> int:
        """How far the plan was carried out, should the run end here."""
        return self.clock.position if self.pace is None else self.pace.reached(self.clock.position)

    @property
    def last_epoch(self) -> int:
        """The position, under torch's name for it."""
        return self.clock.position

    @last_epoch.setter
    def last_epoch(self, position: int) -> None:
        also = f". torch's SequentialLR sets it to -1, and cannot run this schedule: {_PHASES}"
        # Nothing is written: with torch's schedulers too it is a mere attribute.
        self.clock.position = _checked_position(f"last_epoch={brief(position)}", position, also)

    # Writing

    def refresh(self) -> None:
        """Write the LR, and what moves beside it, of the present position into every group."""
        self._check_bound()
        for bundle in self._all:
            bundle.write_anew()
        self.write(self.clock.position)

    def write(self, position: int, progress: int | None = None) -> None:
        """Write what the update at ``position`` shall use; while the LR is held, it is held from there on.

        Args:
            position: of the update.
            progress: where it lies in the plan, where that is known already.
        """
        if progress is None:
            progress = position if self.pace is None else self.pace.at(position)
        self._held_from, self._held_at = position, progress
        # Most changes of the groups are seen by this; the others by `adopt`, before the next step, and until then the
        # groups of before are written: a new one keeps the LR that it was built with, which is its base.
        groups = self.clock.optimizer.param_groups
        if groups is not self._list or len(groups) != self._count:
            self._regroup()
        # Position n is that of the next update: it is update n that uses the factor of n, or of the time that it has.
        scale = self.scale
        for bundle in self._bundles:
            bundle.write(progress, scale)
        self.planned_factor = self._bundles[0].factor
        if self._others:
            for bundle in self._all[len(self._bundles) :]:
                bundle.write(progress)

    def adopt(self) -> None:
        """Take in groups that have joined, left or been replaced, before the next update."""
        self._take_in()

    def _take_in(self) -> None:
        if self.roster.has_changed(self.clock.optimizer):
            self._regroup()
            # Not at the clock's position: where the LR is held for an epoch, a late group holds it with the others.
            self.write(self._held_from, self._held_at)

    def _regroup(self) -> None:
        """Let groups that have joined follow the curve from the LR that they have now."""
        was = self.roster.places(self.optimizer)
        self.roster.look(self.optimizer)
        self.plan = self.plan.regrouped(bases_of(self.optimizer, was, self.plan.base_lrs), was)
        check_plan(self.plan, self.optimizer)
        self._note_groups()

    def _note_groups(self) -> None:
        """Keep what every update needs at hand."""
        own_tensors(self.optimizer, ("lr", *self.plan.moves))
        self._list = self.optimizer.param_groups
        self._count = len(self._list)
        for group, base in zip(self._list, self.plan.base_lrs, strict=True):
            note_base(group, base)
        for line in self.plan.others:
            if line.key in self.plan.built.others:
                note_number(self._list[line.group], line.key, self.plan.built.value(line.key, line.group))
        self._let_go()
        self._all = bundles_of(sorted(self.plan.lines, key=lambda line: line.key != "lr"), self._list)
        self._bundles = [one for one in self._all if one.key == "lr"]
        for one in self._bundles:
            one.factor = self.planned_factor  # until it is written anew
        self._others: dict[str, list[Bundle]] = {}
        for one in self._all[len(self._bundles) :]:
            self._others.setdefault(one.key, []).append(one)

    def _let_go(self) -> None:
        """Give back what another plan has moved and this one leaves alone, as `refresh` does with the LR."""
        moved, others = {(line.group, line.key) for line in self.plan.others}, self.plan.built.others
        for index, group in enumerate(self._list):
            for key, noted in noted_numbers(group).items():
                if (index, key) not in moved:
                    # What a group that has joined brought along may be the note of the one that it was copied from.
                    built = others[key][index] if key in others else noted
                    let_go(group, key, noted if built is None else built)

    # Torch's interface

    def step(self, epoch: int | None = None) -> None:
        """Move on by one update, or to position ``epoch``; to be called after ``optimizer.step()``.

        Where the clock counts the optimizer's own steps, it has moved on already, and there is nothing to do.

        Raises:
            RuntimeError: another schedule was bound to the optimizer since.
            ValueError: ``epoch`` is no position, or a scheduler of torch steps this one as a part of its own.
        """
        clock = self.clock
        if epoch is None and clock.counting:
            return
        if clock.owner is not self:
            self._check_bound()
        if not self._order_checked:
            self._check_caller()
            if epoch is None and clock.counting and not clock.stepped:
                return  # a tick of Accelerate's within the first window of accumulation
        if epoch is None:
            clock.position += 1  # update `position` was just done, also where the clock counts from here on
            self.write(clock.position)
        else:
            self._jump(
                _checked_position(f"step({brief(epoch)})", epoch, "; a plateau takes a metric with observe(value)")
            )

    def _check_caller(self) -> None:
        """See to it, at the first step of the schedule, that it comes after the optimizer's and from the loop."""
        self._order_checked = True
        # A ChainedScheduler asks nothing of its parts before it steps them: who has called `step` is looked up.
        here: Any = inspect.currentframe()
        caller = here.f_back.f_back.f_globals.get("__name__")
        if caller == _ACCELERATE:
            self.clock.start()  # it ticks once for each process, or after each batch: so the updates are counted
        elif not self.clock.stepped:
            warnings.warn(
                "the schedule stepped before the optimizer: update 0 would not use the first LR of the plan. "
                "Call optimizer.step() first, then the schedule's step()",
                UserWarning,
                stacklevel=3,
            )
        self._refuse_torch(caller)

    def _refuse_torch(self, caller: str | None) -> None:
        """Refuse to be a part of a scheduler of torch: ``caller`` is the module that has called ``step``."""
        if caller == LRScheduler.__module__:
            raise ValueError(
                f"{self.schedule!r} is stepped by a scheduler of torch, such as ChainedScheduler, whose parts multiply "
                f"the LR that they find, and this one writes the LR of its plan: {_PHASES}"
            )

    def _check_bound(self) -> None:
        """Refuse to write what another owner writes by now."""
        if self.clock.owner is not self:
            raise RuntimeError(
                f"{self.schedule!r} does not write the LR of this optimizer any more, since another schedule was bound "
                "to it later: use that one, or bind this one anew"
            )

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """Return the planned LR of each group for the next update."""
        return self.planned_lrs

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """Return the LR that each group has now."""
        return read_lrs(self.optimizer)

    # The clock

    def attach(self, every_update: bool = True) -> None:
        """Let the optimizer's own steps move the position, by one for each update that changed parameters.

        Args:
            every_update: refresh the LR after every update; else only the position moves, and the LR is held until
                ``refresh()``.
        """
        self._check_bound()
        self.every_update, self._order_checked = every_update, True
        self.clock.start()

    def detach(self) -> None:
        """Stop following the optimizer's updates."""
        self.clock.stop()

    # A metric

    def observe(self, value: float) -> bool:
        """Take one fresh value of the metric; return whether it cut the LR. Only a ``Plateau`` asks for it."""
        reaction = self.plan.reaction
        if reaction is None:
            return False
        self._check_bound()
        before = self.scale
        self._set_seen(reaction.observe(self.seen, value))
        # A metric comes between two updates: the next one uses the cut LR, at the position that it has anyway.
        self.write(self._held_from, self._held_at)
        return self.scale < before

    def _set_seen(self, seen: Any) -> None:
        reaction = self.plan.reaction
        if reaction is not None:
            self.seen, self.scale = seen, reaction.scale(seen, self.plan.peak)

    # The state

    def state_dict(self) -> dict[str, Any]:
        """Return the position and the plan it belongs to, as plain numbers, strings, lists and dicts."""
        self._take_in()  # a group may have joined since the last step, and the optimizer's own state already holds it
        position = self.clock.position
        # They differ where the LR is held, or where somebody has set `last_epoch`, which writes nothing.
        held = at = position if self.every_update else min(self._held_from, position)
        paced = {}
        if self.pace is not None:
            at = self.progress if self.every_update else self._held_at
            paced = {"pace": {**self.pace.state(position), "held": at}}
        return {
            "position": position,
            "refreshed_at": held,
            **self.plan.state(),
            "plateau": None if self.seen is None else dataclasses.asdict(self.seen),
            # What follows from the above is saved too, so that a damaged state is known for one.
            "every_update": self.every_update,
            "next_lrs": [lr * self.scale for lr in self.plan.lrs(at)],
            "end_factor": self.plan.end_factor,
            **({"next_others": {key: self.plan.values(key, at) for key in self._others}} if self._others else {}),
            **paced,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position of the same plan; another plan is an error (see ``restore``)."""
        self.restore(state_dict, resume="error")

    def restore(self, state_dict: dict[str, Any], resume: str) -> list[str]:
        """Continue at a saved position.

        Args:
            state_dict: what ``state_dict()`` returned.
            resume: what to do when the saved plan differs from this one: ``"error"``, follow the ``"checkpoint"``,
                follow the ``"config"`` from the saved position on, or ``"restart"``, which begins it at position 0.

        Returns:
            What differed, a line each.

        Raises:
            ResumeError: the plans differ and ``resume`` is ``"error"``; or the state is damaged, or of something else.
                Nothing is changed then.
        """
        # In a plain loop this is torch's `load_state_dict`, and any scheduler's state may be given to it.
        if not isinstance(state_dict, dict) or not {"refreshed_at", "schedule"} & set(state_dict):
            raise ResumeError(
                f"this is not the state of a schedule of lr_recipes; it has {_names_in(state_dict)}: load "
                "the state that a schedule of lr_recipes has saved, or start at its position with step(position)"
            )
        self._check_bound()
        self._take_in()
        fault = BOUND.fault(state_dict)
        if fault and resume != "restart":
            raise damaged(fault, "state", BEGIN_ANEW)
        configured = self._configured()
        plan, differences = Chosen(configured, [fault]) if fault else self._choose(state_dict, configured, resume)
        begins = resume == "restart" and bool(differences)
        # A plan that fails there does so before it is followed.
        plan.lrs(0 if begins or plan.horizon.timed else state_dict["refreshed_at"])
        self.differences, self.loaded_over = differences, read_lrs(self.optimizer)
        self._follow(plan)
        if begins:
            self.clock.go_to(0)
        else:
            self.go_on(state_dict)
        return differences

    def _configured(self) -> Plan:
        """The plan with the peaks that this run has given: an optimizer that is loaded before brings its own along."""
        bases = self._bound_to
        now = self.plan.built
        same = bases.equals(now, self.plan.moves) or len(bases) != len(now)  # groups have joined or left since
        return self.plan if same else self.plan.regrouped(bases)

    def _choose(self, state_dict: dict[str, Any], configured: Plan, resume: str) -> Chosen:
        return choose(state_dict, configured, resume, argument=self.how_to_choose())

    def how_to_choose(self) -> str:
        """Return how ``resume`` is given, where two plans are to be chosen between."""
        return "scheduler.restore(state, resume='checkpoint')"

    def go_on(self, state_dict: dict[str, Any]) -> None:
        """Take over the position of a saved state, and what a plateau has seen; the plan is followed already."""
        reaction = self.plan.reaction
        if state_dict["plateau"] and reaction is not None:
            self._set_seen(reaction.seen(state_dict["plateau"]))  # before anything is written: the cuts are part of it
        # Where the LR is held for an epoch, it is written as of the position at which that epoch began, and then the
        # position is set without writing; else the two are the same.
        if self.pace is None:
            self.clock.go_to(state_dict["refreshed_at"])
            self.clock.position = state_dict["position"]
        else:
            self._go_on_in_time(state_dict)

    def _go_on_in_time(self, state: dict[str, Any]) -> None:
        assert self.pace is not None
        self.clock.position, pace = state["position"], state.get("pace")
        if pace is not None:  # of a run that counted updates only the position is known: it begins when the time does
            self.pace.go_on(state["position"], pace)
        self.write(state["refreshed_at"], None if pace is None else pace["held"])

    # Copies

    def __reduce__(self) -> tuple[Any, ...]:
        if self.clock.owner is not self:  # the copy of one that writes no more does not write either
            return _idle_again, (
                type(self),
                {name: fact for name, fact in vars(self).items() if name not in ("_all", "_bundles", "_others")},
            )
        # With hooks on its optimizer, and curves that are functions, it cannot be copied attribute by attribute: a copy
        # is bound to the copy of the optimizer, and goes on at the same position.
        clock, state = self.clock, self.state_dict()  # which takes in groups that have joined: the plan has them then
        state["refreshed_at"] = self._held_from  # what the groups of the copy hold
        told = (clock.counting, clock.stepped, self._order_checked, self.every_update)
        return _bound_again, (type(self), self.further(), self.plan, self.optimizer, state, *told)

    def further(self) -> dict[str, Any]:
        """Return the attributes of a class of its own, which a copy is to have too."""
        return {}


def _idle_again(kind: type[BoundSchedule], facts: dict[str, Any]) -> BoundSchedule:
    bound = kind.__new__(kind)
    vars(bound).update(facts)
    return bound


def _bound_again(
    kind: type[BoundSchedule],
    further: dict[str, Any],
    plan: Plan,
    optimizer: Optimizer,
    state: dict[str, Any],
    counting: bool,
    stepped: bool,
    order_checked: bool,
    every_update: bool,
) -> BoundSchedule:
    bound = kind.by_hand(plan, optimizer)
    vars(bound).update(further)
    bound.go_on(state)
    if counting:
        bound.attach(every_update)
    bound._order_checked, bound.clock.stepped = order_checked, stepped
    return bound


def _checked_position(written: str, given: Any, also: str = "") -> int:
    """A position as a plain number; ``written`` is how it was given."""
    position: int = plain(given)
    if not checks.is_whole(position, least=0):
        raise ValueError(f"{written}: a position is a whole number of completed updates, at least 0{also}")
    return position


def _names_in(state: Any) -> str:
    return (", ".join(map(brief, state)) or "nothing") if isinstance(state, dict) else brief(state)


def check_plan(plan: Plan, optimizer: Optimizer) -> None:
    """Refuse a plan for what an optimizer's groups do not have, cannot hold, or would not use.

    Raises:
        ValueError: the plan moves a number that a group does not have; or a momentum to 1 or above; or the optimizer
            has a warmup of its own.
    """
    refuse_own_warmup(optimizer)
    for line in plan.others:
        group = optimizer.param_groups[line.group]
        if read_number(group, line.key) is None:
            raise ValueError(
                f"{plan.schedule!r} moves the {line.key}, and {type(optimizer).__name__} has none: its groups have "
                f"{', '.join(['lr', *numbers_of(group)])}. Leave it out (of OneCycle with cycle_momentum=False), or "
                "choose an optimizer that has it"
            )
    for key in plan.moves:
        if key == "momentum" or key.startswith("betas["):
            _check_below_one(plan, key)


def _check_below_one(plan: Plan, key: str) -> None:
    """Refuse a decay rate that would come to 1: nothing would be forgotten any more, or a division be by 0."""
    largest: dict[Curve, float] = {}
    for line in plan.others:
        if line.key == key and line.base != 1.0:  # where it is 1, the curve says the values, which are checked there
            largest[line.curve] = max(line.base, largest.get(line.curve, 0.0))
    for curve, base in largest.items():
        last = (plan.total_steps or _POSITIONS) - 1
        positions = {
            *range(0, last, max(last // _POSITIONS, 1)),
            *(phase.first for phase in curve.phases[:_POSITIONS]),
            last,
        }
        top = max(positions, key=curve.factor)
        if base * curve.factor(top) >= 1:
            raise ValueError(
                f"{plan.schedule!r} would move the {key} to {base * curve.factor(top):g} at update {top:,}, from the "
                f"{base:g} that it was built with: it must stay below 1, so lower the factor"
            )
