"""``schedule.bind`` in a plain PyTorch loop, stopped and gone on with from its state."""

from __future__ import annotations

import math
from typing import Any

import torch

from lr_recipes import Horizon
from tests.torture import reference
from tests.torture.case import LRS, Case, optimizer_class
from tests.torture.check import RIGHTLY_REFUSED, Refused
from tests.torture.reference import Facts, PlateauCuts


def check_bound(case: Case) -> str:
    """Run the loop; return what was wrong, or nothing."""
    length, total = case.batches, case.batches * case.epochs
    horizon = Horizon(total_steps=total, steps_per_epoch=length, samples_per_step=2)
    (schedule,) = case.schedules
    loop = _Loop(case)
    try:
        scheduler = loop.bind(horizon)
    except ValueError as error:
        if any(words in str(error) for words in RIGHTLY_REFUSED):
            raise Refused(str(error)) from error
        raise
    facts = Facts(total, [length], 2, LRS["a"])
    factor = reference.factor(schedule, facts)
    cuts = PlateauCuts(schedule) if type(schedule).__name__ == "Plateau" else None
    done, scale = 0, 1.0
    stop = case.stop[2] if case.story == "resumed" and case.stop else -1
    for batch in range(total):
        if batch == stop:  # in a new process there would be new objects, and the old states
            states = loop.optimizer.state_dict(), scheduler.state_dict()
            scheduler = loop.again(horizon, states)
        loop.change(batch)
        counts = loop.step(batch)
        planned = {name: LRS[name] * factor(done) * scale for name in loop.names}
        tolerance = 1e-6 if case.tensor_lr else 1e-9
        close = (math.isclose(loop.used[name], lr, rel_tol=tolerance, abs_tol=1e-15) for name, lr in planned.items())
        if counts and not all(close):
            return f"update {done} (batch {batch}) used {loop.used}, and should have used {planned}"
        done += counts
        if case.by_step and counts:
            scheduler.step()
        if cuts and (batch + 1) % length == 0:
            value = case.metric_values[batch // length]
            cuts.see(value)
            scheduler.observe(value)
            scale = cuts.scale(facts)
    return "" if scheduler.position == done else f"position {scheduler.position} after {done} updates"


class _Loop:
    """An optimizer with two groups, and a third that may join."""

    def __init__(self, case: Case) -> None:
        self.case, self.names = case, ["a", "b"]
        self.used: dict[str, float] = {}
        self.weights = {name: torch.nn.Parameter(torch.ones(2)) for name in LRS}
        self.optimizer = self._build()

    def _build(self) -> torch.optim.Optimizer:
        optimizer = optimizer_class(self.case.optimizers[0])([self._group(name) for name in self.names])
        optimizer.register_step_post_hook(lambda *_: self.used.update(_lrs(optimizer)))
        return optimizer

    def _group(self, name: str) -> dict[str, Any]:
        lr = torch.tensor(LRS[name]) if self.case.tensor_lr else LRS[name]
        return {"params": [self.weights[name]], "name": name, "lr": lr}

    def bind(self, horizon: Horizon) -> Any:
        scheduler = self.case.schedules[0].bind(self.optimizer, horizon)
        if not self.case.by_step:
            scheduler.attach()
        return scheduler

    def again(self, horizon: Horizon, states: tuple[Any, Any]) -> Any:
        """Do what somebody does in a new process: build, bind, load."""
        self.optimizer = self._build()
        scheduler = self.bind(horizon)
        self.optimizer.load_state_dict(states[0])
        scheduler.load_state_dict(states[1])
        return scheduler

    def change(self, batch: int) -> None:
        if batch == self.case.joins_at:
            self.names.append("c")
            self.optimizer.add_param_group(self._group("c"))
        if self.case.leaves is not None and batch == self.case.leaves[0]:
            place = self.names.index(self.case.leaves[1])
            for weight in self.optimizer.param_groups[place]["params"]:
                self.optimizer.state.pop(weight, None)  # else torch cannot save the optimizer
            del self.names[place], self.optimizer.param_groups[place]

    def step(self, batch: int) -> bool:
        """Step, and return whether that was an update; what it used is in ``used``."""
        self.used.clear()
        self.optimizer.zero_grad()
        counts = batch not in self.case.lossless
        if counts:
            torch.stack([(self.weights[name] ** 2).sum() for name in self.names]).sum().backward()
        self.optimizer.step()
        return counts


def _lrs(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
