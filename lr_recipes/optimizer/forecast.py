"""Runs a torch scheduler ahead on a stand-in optimizer, to know beforehand what it will do to the LR.

torch's schedulers compute an LR from the one before, so the only way to know the LR of update n is to take n steps. The
user's own optimizer and scheduler are not touched. What is made of the factors is the caller's business.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lr_recipes.checks import brief, counted
from lr_recipes.optimizer import internals
from lr_recipes.optimizer.follow import BoundSchedule

_MOST_STEPS = 10**8  # some ten minutes, and some gigabytes of factors
Factory = Callable[[Optimizer], Any]

# The lists in which torch's schedulers keep what they were told, an entry for each group.
_TOLD_BY_GROUP = ("lr_lambdas", "base_lrs", "max_lrs", "base_momentums", "max_momentums")


class TorchFactors:
    """Runs a torch scheduler on an optimizer of its own and remembers what it did to the LR of each group.

    Args:
        factory: optimizer -> ``torch.optim.lr_scheduler`` object.
        lrs: of the groups that it is run on; absolute settings, such as ``eta_min``, are of this scale.

    Attributes:
        cycles_momentum: whether the scheduler moves the momentum too.

    Raises:
        ValueError: ``factory`` makes something else than a scheduler for these groups, or one that waits for a metric;
            or it writes an LR where there was none to multiply.
    """

    def __init__(self, factory: Factory, lrs: Sequence[float]) -> None:
        self._optimizer, self._scheduler = _made(factory, lrs)
        self._lrs = lrs
        self.cycles_momentum = any(
            getattr(part, "cycle_momentum", False) for part in internals.with_parts([self._scheduler])
        )
        self._factors: list[list[float]] = []
        self._momenta: list[list[float]] = []
        self._record()  # as made: torch writes the LR of update 0 when a scheduler is constructed

    def factor(self, count: int, group: int = 0) -> float:
        """Return a group's factor after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._factors[count][group]

    def momentum(self, count: int, group: int = 0) -> float:
        """Return a group's momentum after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._momenta[count][group]

    def _run_to(self, count: int) -> None:
        if count < len(self._factors):  # entry n is what n steps of the scheduler lead to
            return
        if count > _MOST_STEPS:
            raise ValueError(
                f"{type(self._scheduler).__name__} would be run for {count:,} steps, one after another, to know the LR "
                f"of the last, and at most {_MOST_STEPS:,} are: a schedule of lr_recipes knows it from a formula"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's SequentialLR warns of its own calls
            if len(self._factors) == 1:
                self._optimizer.step()  # torch warns, once, of a scheduler that steps before its optimizer
            while count >= len(self._factors):
                self._step()
                self._record()

    def _step(self) -> None:
        try:
            self._scheduler.step()
        except ValueError as error:  # OneCycleLR knows its total, and refuses to go past it
            raise ValueError(
                f"{type(self._scheduler).__name__} stops after {counted(len(self._factors) - 1, 'step')}, and the run "
                f"goes on: {error}"
            ) from error

    def _record(self) -> None:
        groups = self._optimizer.param_groups
        self._factors.append([self._share(float(group["lr"]), lr) for group, lr in zip(groups, self._lrs, strict=True)])
        if self.cycles_momentum:
            self._momenta.append([float(group["momentum"]) for group in groups])

    def _share(self, lr: float, base: float) -> float:
        if base:
            return lr / base
        if lr:
            raise ValueError(
                f"the optimizer was built with lr=0, and {type(self._scheduler).__name__} sets it to {lr:g} after "
                f"{counted(len(self._factors), 'step')}: a schedule multiplies the LR that the optimizer was built "
                "with, and no factor makes that of 0. Build it with the LR that is to be the peak"
            )
        return 0.0


def treats_groups_alike(factory: Factory, count: int) -> bool:
    """Tell whether a scheduler has the same settings for each of ``count`` equal groups; it is made and not run.

    torch's schedulers tell groups apart by lists, and a factory may make them as long as its optimizer needs them.
    """
    optimizer, scheduler = _made(factory, [1.0] * count)
    groups, parts = optimizer.param_groups, internals.with_parts([scheduler])
    told: list[Sequence[Any]] = [getattr(part, name, ()) for part in parts for name in _TOLD_BY_GROUP]
    told += [[group[key] for group in groups] for key in groups[0] if key != "params"]  # OneCycleLR keeps it there
    return all(value is values[0] or value == values[0] for values in told for value in values)


def _made(factory: Factory, lrs: Sequence[float]) -> tuple[Optimizer, Any]:
    """A stand-in optimizer with a group for each LR, and the scheduler that is made for it."""
    # One parameter without a gradient, so a step changes nothing. SGD with a momentum, for those that move it too.
    first = {"params": [torch.nn.Parameter(torch.zeros(()))], "lr": lrs[0]}
    optimizer = torch.optim.SGD([first], momentum=0.9)
    # torch compares the parameters of a group that it is given with those of all others, and these have none.
    optimizer.param_groups += [{**optimizer.param_groups[0], "params": [], "lr": lr} for lr in lrs[1:]]
    try:
        scheduler = factory(optimizer)
    except (TypeError, ValueError, LookupError) as error:  # the last of a factory that looks for a second group
        raise ValueError(
            f"factory={brief(factory)} cannot make a scheduler for {counted(len(lrs), 'parameter group')}: {error}"
        ) from error
    _check_torch_scheduler(scheduler)
    return optimizer, scheduler


def _check_torch_scheduler(scheduler: Any) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau waits for a metric, so it is not a function of the position: use Plateau")
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, BoundSchedule):
        raise ValueError(
            f"factory made a {type(scheduler).__name__}, which is not a torch.optim.lr_scheduler: give one without its "
            "optimizer, as in functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)"
        )
