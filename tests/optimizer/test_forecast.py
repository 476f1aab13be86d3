"""Any torch scheduler as a source of factors."""

from __future__ import annotations

import functools
import time
from typing import Any

import pytest
from torch.optim import lr_scheduler

from lr_recipes.optimizer.forecast import TorchFactors, treats_groups_alike


def test_torch_factors_in_any_order() -> None:
    factors = TorchFactors(functools.partial(lr_scheduler.ExponentialLR, gamma=0.5), [0.1])
    assert [factors.factor(n) for n in (3, 0, 2, 1)] == pytest.approx([0.125, 1, 0.25, 0.5])
    assert not factors.cycles_momentum


def test_torch_factors_are_of_the_peak() -> None:
    """An absolute floor is of the scale of the LR that the scheduler sees."""
    factory = functools.partial(lr_scheduler.CosineAnnealingLR, T_max=10, eta_min=0.02)
    assert TorchFactors(factory, [0.1]).factor(10) == pytest.approx(0.2)


def test_torch_factors_know_the_momentum() -> None:
    factory = functools.partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=10)
    factors = TorchFactors(factory, [0.1])
    assert factors.cycles_momentum
    assert (factors.momentum(0), factors.momentum(2)) == pytest.approx((0.95, 0.85))
    with pytest.raises(ValueError, match="OneCycleLR stops after 10 steps, and the run goes on"):
        factors.factor(11)


def test_torch_factors_of_several_groups() -> None:
    """Each of its own LR: absolute settings are what torch makes of them."""
    factors = TorchFactors(functools.partial(lr_scheduler.CosineAnnealingLR, T_max=10, eta_min=0.02), [0.1, 0.02])
    assert (factors.factor(10, 0), factors.factor(10, 1)) == pytest.approx((0.2, 1.0))
    with pytest.raises(ValueError, match="for 2 parameter groups: Expected 2 lr_lambdas, but got 1"):
        TorchFactors(functools.partial(lr_scheduler.LambdaLR, lr_lambda=[float]), [0.1, 0.02])


@pytest.mark.behaviour("B75")
def test_ten_thousand_groups_are_made_at_once() -> None:
    """torch compares each group that it is given with all before it, which takes many seconds for so many."""
    lrs, begun = [0.1] * 5000 + [0.5] * 5000, time.process_time()
    factors = TorchFactors(functools.partial(lr_scheduler.StepLR, step_size=1, gamma=0.5), lrs)
    assert (factors.factor(1), factors.factor(2, 9999)) == (0.5, 0.25)
    assert treats_groups_alike(functools.partial(lr_scheduler.StepLR, step_size=1), 10_000)
    assert time.process_time() - begun < 2


def test_torch_factors_of_parts_know_the_momentum_too() -> None:
    def chain(optimizer: Any) -> Any:
        return lr_scheduler.ChainedScheduler([lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, step_size_up=2)])

    factors = TorchFactors(chain, [0.1])
    assert factors.cycles_momentum
    assert [factors.momentum(n) for n in range(3)] == pytest.approx([0.9, 0.85, 0.8])


def test_an_lr_of_0_has_a_factor_as_long_as_it_stays() -> None:
    factors = TorchFactors(functools.partial(lr_scheduler.CosineAnnealingLR, T_max=10), [0.0, 0.1])
    assert (factors.factor(5, 0), factors.factor(5, 1)) == pytest.approx((0.0, 0.5))
    rising = TorchFactors(functools.partial(lr_scheduler.CosineAnnealingLR, T_max=10, eta_min=0.02), [0.0])
    with pytest.raises(ValueError, match=r"lr=0, and CosineAnnealingLR sets it to 0.000489435 after 1 step"):
        rising.factor(5)


PEAKS = [0.01, 0.1]


@pytest.mark.parametrize(
    ("factory", "alike"),
    [
        (functools.partial(lr_scheduler.StepLR, step_size=3), True),
        (functools.partial(lr_scheduler.LambdaLR, lr_lambda=float), True),
        (lambda optimizer: lr_scheduler.LambdaLR(optimizer, [float, abs]), False),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, PEAKS, total_steps=9), False),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9, base_momentum=[0.8, 0.7]), False),
        (lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [0.1, 0.1], total_steps=9), True),
        (lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.001, PEAKS), False),
        (lambda optimizer: lr_scheduler.CyclicLR(optimizer, PEAKS, 0.1), False),
        (lambda optimizer: lr_scheduler.CyclicLR(optimizer, 0.01, 0.1, max_momentum=[0.9, 0.95]), False),
        (
            lambda optimizer: lr_scheduler.SequentialLR(
                optimizer,
                [lr_scheduler.LinearLR(optimizer), lr_scheduler.LambdaLR(optimizer, [float, abs])],
                milestones=[2],
            ),
            False,
        ),
    ],
)
def test_what_tells_groups_apart(factory: Any, alike: bool) -> None:
    assert treats_groups_alike(factory, 2) is alike
