"""The one position of an optimizer: which steps count, who looks at them, and who writes the groups when."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import LBFGS, SGD, AdamW, Optimizer

from lr_recipes.optimizer.clock import completed_updates, took_effect
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.schedules import Cosine, Fixed, Linear
from tests.optimizer.loops import RUN, parameter, sgd, watch


def test_something_else_than_an_optimizer() -> None:
    with pytest.raises(TypeError, match=r"list is not a torch.optim.Optimizer: a schedule writes param_groups\['lr'\]"):
        Fixed().bind([parameter()], RUN)


def test_no_gradient_is_no_update() -> None:
    optimizer = sgd(0.1, 0.01)
    bound = Linear().bind(optimizer, RUN)
    bound.attach()
    optimizer.zero_grad()  # to None, as after a `training_step` that returned None
    optimizer.step()
    assert bound.position == 0
    parameter_of_last = optimizer.param_groups[1]["params"][0]
    parameter_of_last.grad = torch.ones(1)
    optimizer.step()
    assert bound.position == 1


def test_gradients_of_zero_are_an_update() -> None:
    """Momentum and weight decay change parameters then."""
    optimizer = sgd(0.1)
    bound = Linear().bind(optimizer, RUN)
    bound.attach()
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()
    assert bound.position == 1


@pytest.mark.parametrize("clip", [False, True], ids=["", "unscaled before"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
@pytest.mark.parametrize("kind", [SGD, AdamW], ids=lambda kind: kind.__name__)
def test_overflow_under_a_gradient_scaler_is_no_update(kind: Any, fused: bool, clip: bool) -> None:
    """A scaler does not call a plain optimizer; a fused one is called always and skips inside its kernel."""
    weight = Parameter(torch.ones(1))
    optimizer = kind([weight], lr=0.1, fused=fused)
    bound = Linear().bind(optimizer, RUN)
    bound.attach()
    used, calls = [], watch(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    overflows = [True, True, False, True, False, False]
    for overflow in overflows:
        optimizer.zero_grad()
        scaler.scale(weight.sum()).backward()
        if overflow:
            weight.grad = torch.full((1,), torch.inf)
        if clip:
            scaler.unscale_(optimizer)
        before, lrs = weight.item(), read_lrs(optimizer)
        scaler.step(optimizer)
        scaler.update()
        assert (weight.item() == before) is overflow
        if not overflow:
            used.append(lrs)
    curve = Linear().resolve(RUN)
    assert used == [[0.1 * curve(n)] for n in range(3)]
    assert bound.position == 3
    assert len(calls) == (6 if fused else 3)


def test_lbfgs_evaluates_often_and_updates_once() -> None:
    weight = Parameter(torch.tensor([3.0, -2.0]))
    optimizer = LBFGS([weight], lr=0.1, max_iter=5)
    bound = Linear().bind(optimizer, RUN)
    bound.attach()
    used, evaluations = watch(optimizer), []

    def closure() -> float:
        optimizer.zero_grad()
        loss = (weight**4).sum()
        loss.backward()
        evaluations.append(optimizer.param_groups[0]["lr"])
        return loss.item()

    for _ in range(3):
        optimizer.step(closure)
    assert used == [[0.1], [0.1 * 0.95], [0.1 * 0.9]]
    assert bound.position == 3
    assert evaluations == [lr for (lr,) in used for _ in range(5)]


def test_only_its_own_optimizer_counts() -> None:
    """Two optimizers, one stepping five times as often: each on its own curve, over its own updates."""
    one, other = sgd(0.1), sgd(0.2)
    slow, fast = Linear().bind(one, RUN), Cosine().bind(other, RUN)
    slow.attach()
    fast.attach()
    used_slow, used_fast = watch(one), watch(other)
    for n in range(20):
        other.step()
        if n % 5 == 0:
            one.step()
    assert used_slow == [[0.1 * slow.curve(n)] for n in range(4)]
    assert used_fast == [[0.2 * fast.curve(n)] for n in range(20)]


def test_witnesses_see_what_the_step_used() -> None:
    """After the step, before the position and the LR move; also of a step that changed nothing."""
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach()
    seen: list[tuple[bool, int, list[float], float]] = []

    class Seen:
        def note(self, counts: bool) -> None:
            seen.append((counts, bound.position, read_lrs(bound.optimizer), bound.planned_factor))

    bound.clock.witnesses.append(Seen())
    bound.optimizer.step()
    bound.optimizer.step()
    bound.optimizer.zero_grad()
    bound.optimizer.step()
    factors = [bound.curve(n) for n in range(3)]
    assert seen == [
        (True, 0, [0.1 * factors[0]], factors[0]),
        (True, 1, [0.1 * factors[1]], factors[1]),
        (False, 2, [0.1 * factors[2]], factors[2]),
    ]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))])
def test_a_copy_of_the_optimizer_is_on_its_own(copied: Callable[[Optimizer], Optimizer]) -> None:
    """It has the LR of the moment; its steps move neither clock."""
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach()
    bound.optimizer.step()
    twin = copied(bound.optimizer)
    twin.step()
    assert bound.position == 1
    assert read_lrs(twin) == read_lrs(bound.optimizer) == [0.1 * 0.95]


def test_took_effect() -> None:
    optimizer = sgd(0.1, 0.1)
    assert took_effect(optimizer)
    optimizer.found_inf = torch.tensor(1.0)  # type: ignore[attr-defined]
    assert not took_effect(optimizer)
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
    assert took_effect(optimizer)
    optimizer.zero_grad()
    assert not took_effect(optimizer)


def test_completed_updates() -> None:
    counting, other = AdamW([parameter()], lr=0.1), sgd(0.1)
    assert completed_updates(counting) is None
    for optimizer in (counting, counting, counting, other):
        optimizer.step()
    assert completed_updates(counting) == 3
    assert completed_updates(other) is None
    counting.add_param_group({"params": [parameter()]})
    counting.step()
    assert completed_updates(counting) == 4
