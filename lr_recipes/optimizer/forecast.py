"""Runs a torch scheduler ahead on a stand-in optimizer, to know beforehand what it will do to the LR.

torch's schedulers compute an LR from the one before, so the only way to know the LR of update n is to take n steps. The
user's own optimizer and scheduler are not touched. What is made of the factors is the caller's business.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lr_recipes.checks import counted
from lr_recipes.optimizer.follow import BoundSchedule


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
        # One parameter without a gradient, so a step changes nothing. SGD with a momentum, for those that move it too.
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
        self._record()  # as made: torch writes the LR of update 0 when a scheduler is constructed

    def factor(self, count: int) -> float:
        """Return the factor after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._factors[count]

    def momentum(self, count: int) -> float:
        """Return the momentum after ``count`` steps of the scheduler."""
        self._run_to(count)
        return self._momenta[count]

    def _run_to(self, count: int) -> None:
        if count < len(self._factors):  # entry n is what n steps of the scheduler lead to
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's SequentialLR warns of its own calls
            while count >= len(self._factors):
                self._optimizer.step()  # torch warns of a scheduler that steps before its optimizer
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
        (group,) = self._optimizer.param_groups
        self._factors.append(float(group["lr"]) / self._peak)
        self._momenta.append(float(group["momentum"]))


def _check_torch_scheduler(scheduler: Any) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError("ReduceLROnPlateau waits for a metric, so it is not a function of the position: use Plateau")
    if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, BoundSchedule):
        raise ValueError(
            f"factory made a {type(scheduler).__name__}, which is not a torch.optim.lr_scheduler: give one without its "
            "optimizer, as in functools.partial(torch.optim.lr_scheduler.StepLR, step_size=30)"
        )
