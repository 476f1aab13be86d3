"""Any torch scheduler as a source of factors."""

from __future__ import annotations

import functools

import pytest
from torch.optim import lr_scheduler

from lr_recipes.optimizer.forecast import TorchFactors


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
