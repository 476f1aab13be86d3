"""A curve bound to a torch optimizer: the clock, the parameter groups, and the state that is saved.

The one rule: the LR that update ``n`` of group ``g`` uses is ``base(g) * factor(n)``. The base LR is what the
optimizer was built with, per group. Everything here follows from the position, so the state is one integer and the
plain facts that say which plan it belongs to.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lr_recipes.horizon import Horizon
from lr_recipes.resume import chosen_plan
from lr_recipes.schedules import Curve, Plateau, PlateauState, Schedule

Group = dict[str, Any]


class BoundSchedule(LRScheduler):
    """A schedule that writes the LR of a torch optimizer, with torch's ``LRScheduler`` interface.

    On construction the groups get the LR of update 0. Call ``step()`` after each ``optimizer.step()``, or ``attach()``
    once and let the optimizer's own hooks count the updates that really happened.

    Args:
        schedule: what to follow.
        optimizer: whose groups to write; a float LR stays a float, a tensor LR is filled in place.
        horizon: the facts about the run.
        base_lrs: the peak of each group; by default what ``built_lrs`` reads.

    Attributes:
        curve: the resolved schedule.
        last_epoch: the position, under torch's name for it: updates completed so far.
        base_lrs: the peak of each group; also in each group as ``initial_lr``, torch's name for it.
        peak: the largest base LR at the start; an absolute floor is measured against it.
        planned_factor: the factor that the next update shall use: of its own position, or of the epoch's start while
            the LR is held.

    Raises:
        TypeError: the optimizer is not torch's.
        ValueError: the schedule cycles momentum and the optimizer has none, or the schedule does not fit the run.
    """

    def __init__(
        self,
        schedule: Schedule,
        optimizer: Optimizer,
        horizon: Horizon,
        base_lrs: Sequence[float] | None = None,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(optimizer).__name__} is no torch.optim.Optimizer: a schedule writes param_groups['lr']"
            )
        self.optimizer = optimizer
        bases = built_lrs(optimizer) if base_lrs is None else base_lrs
        self.base_lrs: list[float] = list(bases)  # type: ignore[assignment] # torch allows tensors
        self.plateau = PlateauState()
        self.last_epoch = self._refreshed_at = 0
        self.planned_factor = 1.0
        self.observers: list[Callable[[bool], None]] = []
        self._handles: list[Any] = []
        self._stepped = False
        self._order_check: Any = optimizer.register_step_post_hook(self._note_step)
        self._follow(schedule, horizon, max(self.base_lrs))
        self._adopt_late_groups()
        self.refresh()

    def _follow(self, schedule: Schedule, horizon: Horizon, peak: float) -> None:
        self.schedule, self.horizon, self.peak = schedule, horizon, peak
        self.curve: Curve = schedule.resolve(horizon, peak=peak)
        if self.curve.momentum is not None:
            _check_momentum(self.optimizer)

    @property
    def position(self) -> int:
        """Updates completed so far: the position of the next update."""
        return self.last_epoch

    @position.setter
    def position(self, position: int) -> None:
        self.last_epoch = position
        self.refresh()

    @property
    def scale(self) -> float:
        """What a plateau's cuts so far multiply the curve by; 1 for every other schedule."""
        return self.schedule.scale(self.plateau, self.peak) if isinstance(self.schedule, Plateau) else 1.0

    @property
    def end_factor(self) -> float:
        """The factor that the plan ends at; of a plateau, the one below which it never cuts."""
        if isinstance(self.schedule, Plateau):
            return self.schedule.scale(PlateauState(reductions=10**6), self.peak)
        return self.curve.end

    def refresh(self) -> None:
        """Write the LR (and momentum) of the present position into every group."""
        self._refreshed_at = self.last_epoch
        self.planned_factor = self.curve.factor(self.last_epoch) * self.scale
        self._write_factor()

    def _write_factor(self) -> None:
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            self._adopt_late_groups()
        factor = self.planned_factor
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            _write(group, base * factor)
        if self.curve.momentum is not None:
            momentum = self.curve.momentum(self._refreshed_at)
            for group in self.optimizer.param_groups:
                _write_momentum(group, momentum)

    def step(self, epoch: int | None = None) -> None:
        """Move on by one update, or to position ``epoch``; to be called after ``optimizer.step()``."""
        self._check_order()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self.refresh()

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped = True

    def _check_order(self) -> None:
        """Warn, at the first step of the schedule only, when the optimizer has not stepped before it."""
        if self._order_check is None:
            return
        if not self._stepped:
            warnings.warn(
                "the schedule stepped before the optimizer: update 0 would not use the first LR of the plan. "
                "Call optimizer.step() first, then the schedule's step()",
                UserWarning,
                stacklevel=3,
            )
        self._order_check.remove()
        self._order_check = None

    def observe(self, value: float) -> bool:
        """Take one fresh validation result; return whether it cut the LR. Only a ``Plateau`` asks for it."""
        if not isinstance(self.schedule, Plateau):
            return False
        before = self.plateau.reductions
        self.plateau = self.schedule.observe(self.plateau, value)
        self.refresh()
        return self.plateau.reductions > before

    def get_lr(self) -> list[float]:  # type: ignore[override]
        """Return the planned LR of each group for the next update."""
        return [base * self.planned_factor for base in self.base_lrs]

    def get_last_lr(self) -> list[float]:  # type: ignore[override]
        """Return the LR that each group has now."""
        return read_lrs(self.optimizer)

    def attach(self, every_update: bool = True) -> None:
        """Let the optimizer's own step hooks move the position, one for each update that changed parameters.

        Each of ``observers`` is then called after every step, with whether it changed parameters, before the position
        moves: the groups still hold what the step used.

        Args:
            every_update: refresh the LR after every update; else only the position moves, and the LR is held until
                ``refresh()``.
        """

        if self._order_check is not None:
            self._order_check.remove()
            self._order_check = None

        def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            if len(optimizer.param_groups) != len(self.base_lrs):
                self._write_factor()

        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            counts = took_effect(optimizer)
            for observe in self.observers:
                observe(counts)
            if counts:
                self.last_epoch += 1
                if every_update:
                    self.refresh()

        self._handles = [
            self.optimizer.register_step_pre_hook(before),
            self.optimizer.register_step_post_hook(after),
        ]

    def detach(self) -> None:
        """Stop following the optimizer's updates."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _adopt_late_groups(self) -> None:
        """Take the LR that a group joins with as its base; from its first update on it follows the curve."""
        late = self.optimizer.param_groups[len(self.base_lrs) :]
        self.base_lrs += [_joining_lr(self.optimizer, group, self.base_lrs) for group in late]
        _own_tensor_lrs(self.optimizer)
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["initial_lr"] = base

    def state_dict(self) -> dict[str, Any]:
        """Return the position and the plan it belongs to, as plain numbers, strings, lists and dicts."""
        return {
            "position": self.last_epoch,
            "refreshed_at": self._refreshed_at,
            "schedule": self.schedule.describe(),
            "base_lrs": list(self.base_lrs),
            "peak": self.peak,
            "horizon": self.horizon.describe(),
            "plateau": dataclasses.asdict(self.plateau) if isinstance(self.schedule, Plateau) else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue at a saved position of the same plan; another plan is an error (see ``restore``)."""
        self.restore(state_dict, resume="error")

    def restore(self, state_dict: dict[str, Any], resume: str) -> list[str]:
        """Continue at a saved position.

        Args:
            state_dict: what ``state_dict()`` returned.
            resume: what to do when the saved plan differs from this one: ``"error"``, follow the ``"checkpoint"``, or
                follow the ``"config"`` from the saved position on.

        Returns:
            What differed, a line each.

        Raises:
            ResumeError: the plans differ and ``resume`` is ``"error"``.
        """
        plan = chosen_plan(state_dict, self.state_dict(), resume)
        self.base_lrs = list(plan.base_lrs)
        self._follow(plan.schedule, plan.horizon, plan.peak)
        if state_dict["plateau"] and isinstance(self.schedule, Plateau):
            self.plateau = PlateauState(**state_dict["plateau"])
        self.position = state_dict["refreshed_at"]  # where an epoch that holds its LR began
        self.last_epoch = state_dict["position"]
        return plan.differences


def took_effect(optimizer: Optimizer) -> bool:
    """Tell, right after ``optimizer.step()``, whether it changed parameters.

    Two calls do not: one with no gradient at all (``training_step`` returned ``None``), and one of a fused optimizer
    whose gradient scaler found an overflow. A scaler does not call other optimizers in that case. ``found_inf`` lives
    on the device and is there only during a step under a scaler, so no other run pays for reading it.
    """
    overflow = getattr(optimizer, "found_inf", None)
    if overflow is not None and bool(overflow):
        return False
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def completed_updates(optimizer: Optimizer) -> int | None:
    """Return how many updates the optimizer itself has counted in its state; ``None`` where it does not count."""
    steps = [int(state["step"]) for state in optimizer.state.values() if "step" in state]
    return max(steps, default=None)


def group_names(optimizer: Optimizer) -> list[str]:
    """Return a name for each group: its own ``name``, else ``group0``, ...; a repeated name gets a number."""
    names: list[str] = []
    for index, group in enumerate(optimizer.param_groups):
        name = str(group.get("name", f"group{index}"))
        names.append(name if name not in names else f"{name}-{index}")
    return names


def read_lrs(optimizer: Optimizer) -> list[float]:
    """Return the LR of each group as a float."""
    return [float(group["lr"]) for group in optimizer.param_groups]


def read_momentum(group: Group) -> float | None:
    """Return SGD's momentum or Adam's beta1; ``None`` where the optimizer has neither."""
    if "betas" in group:
        return float(group["betas"][0])
    return float(group["momentum"]) if "momentum" in group else None


def built_lrs(optimizer: Optimizer) -> list[float]:
    """Return the LR that each group was built with: ``initial_lr`` in torch, once a schedule has moved ``lr``."""
    return [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]


def _write(group: Group, lr: float) -> None:
    present = group["lr"]
    if isinstance(present, torch.Tensor):
        present.fill_(lr)
    else:
        group["lr"] = lr


def _write_momentum(group: Group, momentum: float) -> None:
    if "betas" in group:
        group["betas"] = (momentum, *group["betas"][1:])
    else:
        group["momentum"] = momentum


def _check_momentum(optimizer: Optimizer) -> None:
    if any(read_momentum(group) is None for group in optimizer.param_groups):
        raise ValueError(
            f"cycle_momentum=True needs an optimizer with momentum or betas, and {type(optimizer).__name__} has "
            "neither: set cycle_momentum=False, or choose SGD with momentum or an Adam"
        )


def _joining_lr(optimizer: Optimizer, group: Group, bases: Sequence[float]) -> float:
    """Base LR of a group that joined late; one that shares its tensor with an older group has that group's base."""
    for older, base in zip(optimizer.param_groups, bases, strict=False):
        if isinstance(group["lr"], torch.Tensor) and older["lr"] is group["lr"]:
            return base
    return float(group["lr"])  # not `initial_lr`: a group copied from another would bring that one's along


def _own_tensor_lrs(optimizer: Optimizer) -> None:
    """Give each group a tensor LR of its own: groups that set none share the optimizer's one tensor object."""
    seen: set[int] = set()
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor) and id(group["lr"]) in seen:
            group["lr"] = group["lr"].clone()
        seen.add(id(group["lr"]))
