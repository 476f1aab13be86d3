"""A curve bound to a torch optimizer: the clock, the parameter groups, and the state that is saved.

The one rule: the LR that update ``n`` of group ``g`` uses is ``base(g) * factor(n)``. The base LR is what the
optimizer was built with, per group. Everything here follows from the position, so the state is one integer and the
plain facts that say which plan it belongs to.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lr_recipes.horizon import Horizon
from lr_recipes.resume import ResumeError, chosen_plan
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
        scale: what a plateau's cuts so far multiply the curve by; 1 for every other schedule.
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
        self.plateau, self.scale = PlateauState(), 1.0
        self.last_epoch = self._refreshed_at = 0
        self.planned_factor = 1.0
        self.observers: list[Callable[[bool], None]] = []
        self._stepped = False
        self._order_checked = False
        self._follow(schedule, horizon, max(self.base_lrs))
        self._adopt_late_groups()
        self.refresh()
        _release(optimizer)
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._note_step),
        ]

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
    def end_factor(self) -> float:
        """The factor that the plan ends at; of a plateau, the one below which it never cuts."""
        if isinstance(self.schedule, Plateau):
            return self.schedule.lowest(self.peak)
        return self.curve.end

    def refresh(self) -> None:
        """Write the LR (and momentum) of the present position into every group."""
        self._refreshed_at = self.last_epoch
        self._write()

    def _write(self) -> None:
        """Write the LR (and momentum) of the position that the LR is held from."""
        self.planned_factor = self.curve.factor(self._refreshed_at) * self.scale
        if len(self.optimizer.param_groups) != len(self.base_lrs):
            self._adopt_late_groups()
        groups, factor = self.optimizer.param_groups, self.planned_factor
        if self._floats and type(groups[0]["lr"]) is float:  # nearly always; asking each group takes as long as writing
            for group, base in zip(groups, self.base_lrs, strict=True):
                group["lr"] = base * factor
        else:
            for group, base in zip(groups, self.base_lrs, strict=True):
                write_lr(group, base * factor)
        if self.curve.momentum is not None:
            momentum = self.curve.momentum(self._refreshed_at)
            for group in self.optimizer.param_groups:
                write_momentum(group, momentum)

    def step(self, epoch: int | None = None) -> None:
        """Move on by one update, or to position ``epoch``; to be called after ``optimizer.step()``."""
        if not self._order_checked:
            self._check_order()
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        self.refresh()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Take in groups that have joined, before their first update."""
        if len(optimizer.param_groups) != len(self.base_lrs):
            self._write()

    def _note_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._stepped = True

    def _check_order(self) -> None:
        """Warn, at the first step of the schedule, when the optimizer has not stepped before it."""
        if not self._stepped:
            warnings.warn(
                "the schedule stepped before the optimizer: update 0 would not use the first LR of the plan. "
                "Call optimizer.step() first, then the schedule's step()",
                UserWarning,
                stacklevel=3,
            )
        self._order_checked = True
        self._handles.pop().remove()

    def observe(self, value: float) -> bool:
        """Take one fresh validation result; return whether it cut the LR. Only a ``Plateau`` asks for it."""
        if not isinstance(self.schedule, Plateau):
            return False
        before = self.plateau.reductions
        self._set_plateau(self.schedule.observe(self.plateau, value))
        self._write()
        return self.plateau.reductions > before

    def _set_plateau(self, state: PlateauState) -> None:
        self.plateau = state
        if isinstance(self.schedule, Plateau):
            self.scale = self.schedule.scale(state, self.peak)

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

        def after(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            counts = took_effect(optimizer)
            for observe in self.observers:
                observe(counts)
            if counts:
                self.last_epoch += 1
                if every_update:
                    self.refresh()

        self.detach()
        self._order_checked = True
        self._handles = [
            self.optimizer.register_step_pre_hook(self._before_step),
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
        self._floats = all(type(group["lr"]) is float for group in self.optimizer.param_groups)

    def state_dict(self) -> dict[str, Any]:
        """Return the position and the plan it belongs to, as plain numbers, strings, lists and dicts."""
        return {
            "position": self.last_epoch,
            "refreshed_at": self._refreshed_at,
            "schedule": self.schedule.describe(),
            "base_lrs": list(self.base_lrs),
            "peak": self.peak,
            "horizon": self.horizon.describe(),
            "cycles_momentum": self.curve.momentum is not None,
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
        if "base_lrs" not in state_dict or "schedule" not in state_dict:
            raise ResumeError(
                f"this is not the state of a schedule of lr_recipes; it has {', '.join(state_dict) or 'nothing'}: load "
                "the state that a schedule of lr_recipes has saved, or start at its position with step(position)"
            )
        plan = chosen_plan(state_dict, self.state_dict(), resume, self.schedule)
        self.base_lrs = list(plan.base_lrs)
        self._follow(plan.schedule, plan.horizon, plan.peak)
        if state_dict["plateau"] and isinstance(self.schedule, Plateau):
            self._set_plateau(PlateauState(**state_dict["plateau"]))
        self.position = state_dict["refreshed_at"]  # where an epoch that holds its LR began
        self.last_epoch = state_dict["position"]
        return plan.differences


def _release(optimizer: Optimizer) -> None:
    """Detach a schedule that was bound before: one owner per optimizer, and the newest is it."""
    for hook in list(optimizer._optimizer_step_pre_hooks.values()):
        owner = getattr(hook, "__self__", None)
        if isinstance(owner, BoundSchedule):
            owner.detach()


class WarmupOver:
    """Multiplies the LR that somebody else's scheduler writes by a warmup's factor, and hides that from the scheduler.

    Between the optimizer's steps the groups hold ``lr x factor``, where ``lr`` is what the scheduler wrote; inside
    ``hidden()`` they hold ``lr`` itself. When the warmup is over they hold ``lr``, the very value, and nothing more is
    done.

    Args:
        curve: the warmup; its factor is 1 once it is over.
        length: updates that the warmup lasts.
        optimizer: whose groups to warm up.
        position: updates completed so far.
        lrs: what the scheduler wrote, by group; by default what the groups hold now.
    """

    def __init__(
        self, curve: Curve, length: int, optimizer: Optimizer, position: int = 0, lrs: Sequence[float] | None = None
    ) -> None:
        self.curve, self.length, self.optimizer, self.position = curve, length, optimizer, position
        _own_tensor_lrs(optimizer)
        self.lrs: list[Any] = self._present() if lrs is None else list(lrs)
        self._written: list[Any] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]
        self._apply()

    @property
    def over(self) -> bool:
        """Whether the next update uses the scheduler's own LR."""
        return self.position >= self.length

    def detach(self) -> None:
        """Stop warming up; the LR stays as it is."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """Show the scheduler its own LR, and take the one that it writes."""
        if self.over:
            yield
            return
        self._write_all(self.lrs)
        try:
            yield
        finally:
            self.lrs = self._present()
            self._apply()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Take an LR that was written past ``hidden()``, and groups that have joined, as the scheduler's word."""
        if self.over:
            return
        groups = optimizer.param_groups
        changed = len(groups) != len(self.lrs)
        for index, (group, written) in enumerate(zip(groups, self._written, strict=False)):
            # A tensor is not compared: that would wait for its device.
            if not isinstance(written, torch.Tensor) and group["lr"] != written:
                self.lrs[index] = group["lr"]
                changed = True
        if changed:
            self.lrs += self._present()[len(self.lrs) :]
            self._apply()

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.over or not took_effect(optimizer):
            return
        self.position += 1
        self._apply()

    def _apply(self) -> None:
        factor = 1.0 if self.over else self.curve.factor(self.position)
        self._written = self.lrs if factor == 1.0 else [lr * factor for lr in self.lrs]
        self._write_all(self._written)

    def _present(self) -> list[Any]:
        """The LR of each group; a tensor is copied, since it will be filled."""
        lrs = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, torch.Tensor) else lr for lr in lrs]

    def _write_all(self, lrs: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=False):
            write_lr(group, lr)


class TorchFactors:
    """Runs a torch scheduler on an optimizer of its own and remembers what it did to the peak.

    Args:
        factory: optimizer -> ``torch.optim.lr_scheduler`` object.
        peak: LR of the optimizer that it is run on; absolute settings, such as ``eta_min``, are of this scale.

    Attributes:
        cycles_momentum: whether the scheduler moves the momentum too.

    Raises:
        ValueError: ``factory`` makes something else than a scheduler, or one that waits for a metric.
    """

    def __init__(self, factory: Callable[[Optimizer], Any], peak: float) -> None:
        self._optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=peak, momentum=0.9)
        self._peak = peak
        try:
            self._scheduler = factory(self._optimizer)
        except (TypeError, ValueError) as error:
            raise ValueError(f"factory={factory!r} cannot make a scheduler: {error}") from error
        _check_torch_scheduler(self._scheduler)
        self.cycles_momentum = bool(getattr(self._scheduler, "cycle_momentum", False))
        self._factors: list[float] = []
        self._momenta: list[float] = []
        self._record()

    def factor(self, count: int) -> float:
        """Return the factor after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._factors[count]

    def momentum(self, count: int) -> float:
        """Return the momentum after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._momenta[count]

    def _run_to(self, count: int) -> None:
        if count < len(self._factors):
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's SequentialLR warns of its own calls
            while count >= len(self._factors):
                self._optimizer.step()
                self._step()
                self._record()

    def _step(self) -> None:
        try:
            self._scheduler.step()
        except ValueError as error:
            raise ValueError(
                f"{type(self._scheduler).__name__} stops after {len(self._factors) - 1:,} steps, and the run goes on: "
                f"{error}"
            ) from error

    def _record(self) -> None:
        (group,) = self._optimizer.param_groups
        self._factors.append(float(group["lr"]) / self._peak)
        self._momenta.append(float(group["momentum"]))


def _check_torch_scheduler(scheduler: Any) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau waits for a metric, so it is no function of the position: use Plateau")
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, BoundSchedule):
        raise ValueError(
            f"factory made a {type(scheduler).__name__}, which is no torch.optim.lr_scheduler: give one without its "
            "optimizer, as in functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)"
        )


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


def write_lr(group: Group, lr: Any) -> None:
    """Set a group's LR; a tensor is filled in place and stays the same object."""
    present = group["lr"]
    if isinstance(present, torch.Tensor):
        present.fill_(lr)
    else:
        group["lr"] = lr


def write_momentum(group: Group, momentum: float) -> None:
    """Set SGD's momentum or Adam's beta1."""
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
