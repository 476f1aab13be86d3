"""Optimizers that wrap another one, or step in their own way: each real update counts once, or it is said."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from tests.callbacks.harness import PEAK, Tiny, loader, quiet_trainer

pytestmark = pytest.mark.behaviour("B46")
COSINE = [PEAK * (1 + math.cos(math.pi * n / 16)) / 2 for n in range(16)]


class Inner(SGD):
    """Notes what each of its steps uses: the optimizer that really changes the parameters."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.used: list[float] = []

    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.used.append(self.param_groups[0]["lr"])
        super().step()
        return loss


class Averaging(Optimizer):
    """Wraps another optimizer and leaves out ``Optimizer.__init__``: torch has not patched its class, nor given hooks.

    ``hooks``: the dicts that a careful author adds by hand.
    """

    def __init__(self, inner: Optimizer, hooks: bool) -> None:
        if hooks:
            for kind in ("step_pre", "step_post", "state_dict_pre", "state_dict_post"):
                setattr(self, f"_optimizer_{kind}_hooks", OrderedDict())
            self._optimizer_load_state_dict_pre_hooks: Any = OrderedDict()
            self._optimizer_load_state_dict_post_hooks: Any = OrderedDict()
        self.inner = inner
        self.param_groups, self.defaults, self.state = inner.param_groups, inner.defaults, defaultdict(dict)

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)

    def state_dict(self) -> dict[str, Any]:
        return self.inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.inner.load_state_dict(state_dict)
        self.param_groups = self.inner.param_groups


class TwoSteps(Optimizer):
    """Up the slope and down again, after SAM: only the second step is an update, and nobody may call ``step``."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self.inner = Inner(self.param_groups, lr=lr)
        self.param_groups = self.inner.param_groups

    @torch.no_grad()
    def first_step(self) -> None:
        for p in self._with_gradients():
            p.add_(p.grad, alpha=0.05)
            self.state[p]["up"] = 0.05 * p.grad
        self.zero_grad()

    @torch.no_grad()
    def second_step(self) -> None:
        for p in self._with_gradients():
            p.sub_(self.state[p]["up"])
        self.inner.step()
        self.zero_grad()

    def _with_gradients(self) -> list[Any]:
        return [p for group in self.param_groups for p in group["params"] if p.grad is not None]

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            loss = closure()
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()
        return loss


class Sharp(Tiny):
    """Steps a ``TwoSteps`` by hand, in two halves."""

    def __init__(self) -> None:
        super().__init__(lambda weights: TwoSteps(weights, PEAK))
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        for half in (optimizer.first_step, optimizer.second_step):
            self.manual_backward(self.loss(batch))
            half()


class SharpByClosure(Sharp):
    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        def closure() -> Tensor:
            loss = self.loss(batch)
            self.manual_backward(loss)
            return loss

        optimizer: Any = self.optimizers()
        optimizer.step(closure=closure)


MODULES = {
    "wraps, with hooks": lambda: Tiny(lambda weights: Averaging(Inner(weights, lr=PEAK), hooks=True)),
    "wraps, without hooks": lambda: Tiny(lambda weights: Averaging(Inner(weights, lr=PEAK), hooks=False)),
    "wraps a wrapper": lambda: Tiny(lambda w: Averaging(Averaging(Inner(w, lr=PEAK), hooks=True), hooks=True)),
    "calls the step of its parent": lambda: Tiny(lambda weights: Inner(weights, lr=PEAK)),
    "two halves": Sharp,
    "a closure, by hand": SharpByClosure,
}


def train(module: Tiny, *callbacks: Callback) -> list[float]:
    quiet_trainer(list(callbacks), max_epochs=2).fit(module, loader(8))
    optimizer: Any = module.trainer.optimizers[0]
    while not isinstance(optimizer, Inner):
        optimizer = optimizer.inner
    return optimizer.used


@pytest.mark.parametrize("case", MODULES)
@pytest.mark.parametrize("logged", [False, True])
def test_each_real_update_counts_once(case: str, logged: bool, tmp_path: Path) -> None:
    module = MODULES[case]()
    scheduler = LearningRateScheduler(schedules.Cosine(), total_steps=None if module.automatic_optimization else 16)
    log = LearningRateLogger(tmp_path, plot=False, audit="error")
    assert train(module, scheduler, *([log] if logged else [])) == pytest.approx(COSINE, rel=1e-15)
    if logged:
        (audit,) = log.state_dict()["audits"].values()
        assert (audit["compared"], audit["unplanned"], audit["skipped"]) == (16, 0, 0)


@pytest.mark.parametrize("case", MODULES)
def test_under_a_warmup(case: str) -> None:
    assert train(MODULES[case](), LearningRateWarmup(4)) == pytest.approx(
        [PEAK * min((n + 1) / 4, 1) for n in range(16)], rel=1e-15
    )


def test_a_parent_that_torch_has_patched_is_not_counted_twice() -> None:
    """torch patches the ``step`` of a class when one is built, and calls the hooks in each patched one."""

    class Child(AdamW):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    weight = nn.Parameter(torch.ones(1))
    AdamW([weight])
    optimizer = Child([weight], lr=PEAK)
    bound = schedules.Linear().bind(optimizer, Horizon(total_steps=10))
    bound.attach()
    for _ in range(5):
        weight.grad = torch.ones(1)
        optimizer.step()
    assert (bound.position, optimizer.param_groups[0]["lr"]) == (5, PEAK / 2)


@pytest.mark.parametrize("wrapped", [False, True])
def test_bind_in_a_plain_loop(wrapped: bool) -> None:
    """As with Accelerate, whose optimizer is one of torch's that holds another."""
    inner = Inner([nn.Parameter(torch.ones(1))], lr=PEAK)
    optimizer: Any = Averaging(inner, hooks=False) if wrapped else inner
    bound = schedules.Cosine().bind(optimizer, Horizon(total_steps=16))
    for _ in range(16):
        optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
        optimizer.step()
        bound.step()
    assert inner.used == pytest.approx(COSINE, rel=1e-15)


class Secret(Optimizer):
    """Changes parameters where nobody looks."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": PEAK})

    def step(self, closure: Any = None) -> Any:
        raise AssertionError("nobody calls it")

    @torch.no_grad()
    def update(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(group["lr"] * p.grad)


class Hidden(Tiny):
    def __init__(self, updates: bool = True) -> None:
        super().__init__(Secret)
        self.automatic_optimization, self.updates = False, updates

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        self.manual_backward(self.loss(batch))
        if self.updates:
            self.trainer.optimizers[0].update()  # type: ignore[attr-defined]


UNSEEN = "Secret changed parameters in this epoch, and 0 calls of step.. were seen"


@pytest.mark.parametrize(
    "callback", [lambda: LearningRateScheduler(schedules.Fixed(warmup=2)), lambda: LearningRateWarmup(2)]
)
def test_updates_that_nobody_can_count_are_an_error_after_the_first_epoch(callback: Any) -> None:
    module = Hidden()
    with pytest.raises(ValueError, match=UNSEEN):
        quiet_trainer([callback()], max_epochs=3).fit(module, loader(8))
    assert module.trainer.fit_loop.total_batch_idx == 7


def test_a_record_alone_says_so_once_and_ends_no_training(tmp_path: Path) -> None:
    module = Hidden()
    with pytest.warns(UserWarning, match=UNSEEN) as said:
        quiet_trainer([LearningRateLogger(tmp_path, plot=False)], max_epochs=3).fit(module, loader(8))
    assert len([one for one in said if "Secret changed" in str(one.message)]) == 1
    assert module.trainer.current_epoch == 3


def test_an_optimizer_that_rests_is_no_error() -> None:
    """Nothing has changed its parameters: it may be frozen for a while."""
    quiet_trainer([LearningRateScheduler(schedules.Fixed(warmup=2))], max_epochs=2).fit(
        Hidden(updates=False), loader(8)
    )
