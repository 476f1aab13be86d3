"""Schedules in a plain PyTorch loop: bound again, copied with their optimizer, and used where torch's own may be.

Where the interface means the same, what torch's own tests of its schedulers ask for is asked for here.
"""

from __future__ import annotations

import copy
import io
import pickle
import types
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.optim import LBFGS, Adam, Optimizer, lr_scheduler

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules import Cosine, Fixed, Linear, OneCycle, Plateau, Schedule, Step, TorchSchedule
from tests.optimizer.loops import RUN, Loop, attached, parameter, read_momenta, sgd, torch_style, watch

pytestmark = pytest.mark.behaviour("B59")

each_loop = pytest.mark.parametrize("loop", [torch_style, attached])


# Bound again


@each_loop
def test_a_second_one_takes_over(loop: Loop) -> None:
    """At its own position 0, from the peak that the optimizer was built with."""
    first = Linear().bind(sgd(0.1, 0.2), RUN)
    loop(first, 4)
    second = Cosine(warmup=5).bind(first.optimizer, RUN)
    curve = Cosine(warmup=5).resolve(RUN)
    assert loop(second, 8) == [[0.1 * curve(n), 0.2 * curve(n)] for n in range(8)]


WAYS_TO_WRITE: dict[str, Callable[[BoundSchedule], Any]] = {
    "step": lambda bound: bound.step(),
    "step to a position": lambda bound: bound.step(3),
    "position": lambda bound: setattr(bound, "position", 3),
    "refresh": lambda bound: bound.refresh(),
    "attach": lambda bound: bound.attach(),
    "observe": lambda bound: bound.observe(1.0),
    "load_state_dict": lambda bound: bound.load_state_dict(bound.state_dict()),
}


@pytest.mark.parametrize("write", WAYS_TO_WRITE.values(), ids=WAYS_TO_WRITE.keys())
@pytest.mark.parametrize("late_groups", [0, 1])
@pytest.mark.parametrize("was_attached", [False, True])
def test_the_first_says_that_it_writes_no_more(
    write: Callable[[BoundSchedule], Any], late_groups: int, was_attached: bool
) -> None:
    first = Plateau().bind(sgd(0.1), RUN)
    if was_attached:
        first.attach()
    for _ in range(late_groups):
        first.optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
    second = Linear(warmup=2).bind(first.optimizer, RUN)
    first.optimizer.step()
    with pytest.raises(
        RuntimeError, match=r"Plateau\(\) does not write the LR of this optimizer any more, since another"
    ):
        write(first)
    second.step()
    assert read_lrs(second.optimizer) == second.planned_lrs == [0.1, 0.5][: 1 + late_groups]


@pytest.mark.parametrize(
    ("schedule", "why"),
    [(Linear(warmup=21), "never be reached"), (OneCycle(), "moves the momentum, and Adagrad has none")],
)
def test_a_second_one_that_does_not_fit_leaves_the_first(schedule: Schedule, why: str) -> None:
    optimizer = torch.optim.Adagrad([parameter()], lr=0.1)  # which has no momentum to move
    first = Linear().bind(optimizer, RUN)
    with pytest.raises(ValueError, match=why):
        schedule.bind(optimizer, RUN)
    assert torch_style(first, 3) == [[0.1 * (1 - n / 20)] for n in range(3)]


def test_what_is_no_optimizer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"dict is not a torch.optim.Optimizer"):
        Linear().bind({"param_groups": []}, RUN)


def test_two_optimizers_have_a_schedule_each() -> None:
    one, other = Linear().bind(sgd(0.1), RUN), Linear(warmup=4).bind(sgd(0.2), RUN)
    torch_style(one, 5)
    torch_style(other, 2)
    assert (one.position, other.position) == (5, 2)
    assert (read_lrs(one.optimizer), read_lrs(other.optimizer)) == ([0.1 * 0.75], [0.2 * 0.75])


# Copied


def deep(pair: Any) -> Any:
    return with_gradients(copy.deepcopy(pair))


def pickled(pair: Any) -> Any:
    return with_gradients(pickle.loads(pickle.dumps(pair)))


def saved(pair: Any) -> Any:
    torch.save(pair, file := io.BytesIO())
    file.seek(0)
    return with_gradients(torch.load(file, weights_only=False))


def with_gradients(pair: Any) -> Any:
    """What was copied has no gradients, and a step without one is no update."""
    bound = pair if isinstance(pair, BoundSchedule) else pair[1]
    for group in bound.optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.ones_like(weight)
    return pair


each_copy = pytest.mark.parametrize("copied", [deep, pickled, saved])

SCHEDULES: dict[str, Schedule] = {
    "cosine": Cosine(warmup=5, min_lr=0.01),
    "step": Step(step_size=3, gamma=0.5),
    "one_cycle": OneCycle(),
    "plateau": Plateau(patience=0, factor=0.5),
    "torch": TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=3)),
    "torch with a list": TorchSchedule(
        factory=partial(lr_scheduler.OneCycleLR, max_lr=[0.1, 0.05], total_steps=21, base_momentum=[0.8, 0.5])
    ),
}


def go_on(bound: BoundSchedule, loop: Loop) -> list[Any]:
    seen: list[Any] = []
    handle = bound.optimizer.register_step_pre_hook(lambda one, args, kwargs: seen.append(read_momenta(one)))
    used = loop(bound, 10)
    handle.remove()
    return [used, seen, bound.position, bound.planned_lrs, bound.state_dict()]


@each_copy
@each_loop
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_copy_goes_on_as_the_original_does(copied: Callable[[Any], Any], loop: Loop, name: str) -> None:
    """On the copy of its optimizer, where the two are copied together or only the schedule is."""
    original = SCHEDULES[name].bind(sgd(0.1, 0.01), RUN)
    loop(original, 6)
    if name == "plateau":
        assert [original.observe(loss) for loss in (1.0, 1.0)] == [False, True]
    optimizer, bound = copied((original.optimizer, original))
    alone = copied(original)
    assert bound.optimizer is optimizer
    assert optimizer is not original.optimizer
    assert isinstance(bound, lr_scheduler.LRScheduler)
    before = read_lrs(original.optimizer)
    first, second = go_on(bound, loop), go_on(alone, loop)
    assert read_lrs(original.optimizer) == before  # nothing that a copy does reaches it
    assert first == second == go_on(original, loop)


@each_copy
def test_a_copy_of_one_that_writes_no_more_writes_no_more(copied: Callable[[Any], Any]) -> None:
    """In whatever order the two are copied, as attributes of a module are."""
    first = Linear().bind(sgd(0.1), RUN)
    torch_style(first, 3)
    second = Cosine(warmup=5).bind(first.optimizer, RUN)
    torch_style(second, 4)
    for order in ((first, second), (second, first)):
        pair = copied([*order])
        (new_first,) = (bound for bound in pair if bound.schedule == first.schedule)
        (new_second,) = (bound for bound in pair if bound.schedule == second.schedule)
        assert new_first.optimizer is new_second.optimizer
        with pytest.raises(RuntimeError, match="any more, since another schedule was bound"):
            new_first.step()
        assert torch_style(new_second, 5) == torch_style(copied(second), 5)


@each_copy
def test_a_copy_counts_if_the_original_does(copied: Callable[[Any], Any]) -> None:
    original = Linear().bind(sgd(0.1), RUN)
    original.attach()
    original.optimizer.step()
    bound = copied(original)
    for one in (original, bound):
        one.optimizer.step()
        one.step()  # does nothing
    assert (original.position, bound.position) == (2, 2)
    assert read_lrs(original.optimizer) == read_lrs(bound.optimizer) == [0.1 * 0.9]


@each_copy
def test_a_copy_holds_its_lr_as_the_original_does(copied: Callable[[Any], Any]) -> None:
    original = Linear().bind(sgd(0.1), RUN)
    original.attach(every_update=False)
    for _ in range(3):
        original.optimizer.step()
    bound = copied(original)
    bound.optimizer.step()
    assert (bound.position, read_lrs(bound.optimizer)) == (4, [0.1])
    bound.refresh()
    assert read_lrs(bound.optimizer) == [0.1 * 0.8]


@each_copy
def test_a_copy_has_the_groups_that_joined_late(copied: Callable[[Any], Any]) -> None:
    original = Linear(min_lr=0.01).bind(sgd(0.1), RUN)
    torch_style(original, 5)
    original.optimizer.add_param_group({"params": [parameter()], "lr": 0.5})
    bound = copied(original)
    assert bound.base_lrs == [0.1, 0.5]
    assert torch_style(bound, 4) == torch_style(original, 4)


@each_copy
def test_a_copy_of_a_tensor_lr_is_a_tensor(copied: Callable[[Any], Any]) -> None:
    original = Linear().bind(Adam([parameter()], lr=torch.tensor(0.1)), RUN)
    torch_style(original, 5)
    bound = copied(original)
    lr = bound.optimizer.param_groups[0]["lr"]
    assert isinstance(lr, torch.Tensor)
    assert torch_style(bound, 4) == torch_style(original, 4)
    assert bound.optimizer.param_groups[0]["lr"] is lr


@each_copy
def test_a_copy_between_the_optimizers_step_and_its_own_does_not_warn(copied: Callable[[Any], Any]) -> None:
    original = Linear().bind(sgd(0.1), RUN)
    original.optimizer.step()
    bound = copied(original)
    bound.step()
    assert (bound.position, read_lrs(bound.optimizer)) == (1, [0.1 * 0.95])


# As torch's own


@each_loop
def test_in_the_right_order_nothing_warns(loop: Loop) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(Cosine(warmup=5).bind(sgd(0.1), RUN), 35)


def test_in_the_wrong_order_it_warns_once() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    with pytest.warns(UserWarning, match=r"Call optimizer.step\(\) first"):
        bound.step()
    bound.step()


def test_the_last_lr_is_what_the_groups_hold() -> None:
    bound = Step(step_size=3, gamma=0.1).bind(sgd(0.1, 0.2), RUN)
    for n in range(10):
        factor = 0.1 ** (n // 3)
        assert bound.get_last_lr() == bound.get_lr() == read_lrs(bound.optimizer) == [0.1 * factor, 0.2 * factor]
        assert bound.last_epoch == n
        bound.optimizer.step()
        bound.step()


def test_the_same_position_has_the_same_lr() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    seen = set()
    for _ in range(5):
        bound.optimizer.step()
        bound.step(2)
        seen.update(bound.get_last_lr())
    assert seen == {0.1 * 0.9}


def test_a_step_that_somebody_has_replaced() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    step, calls = bound.optimizer.step, []

    def stepping(self: Optimizer, closure: Any = None) -> Any:
        calls.append(1)
        return step(closure)

    bound.optimizer.step = types.MethodType(stepping, bound.optimizer)  # type: ignore[method-assign]
    assert attached(bound, 3) == [[0.1 * (1 - n / 20)] for n in range(3)]
    assert len(calls) == 3


@each_loop
def test_a_step_with_a_closure_is_one_update(loop: Loop) -> None:
    weight = parameter()
    bound = Linear().bind(LBFGS([weight], lr=0.1, max_iter=3), RUN)

    def closure() -> Any:
        bound.optimizer.zero_grad()
        loss = (weight**2).sum()
        loss.backward()
        return loss

    used = watch(bound.optimizer)
    if loop is attached:
        bound.attach()
    for _ in range(4):
        bound.optimizer.step(closure)  # type: ignore[arg-type]
        bound.step()
    assert used == [[0.1 * (1 - n / 20)] for n in range(4)]
    assert bound.position == 4


def test_a_state_is_the_same_in_another_object() -> None:
    bound = Cosine(warmup=5).bind(sgd(0.1), RUN)
    torch_style(bound, 7)
    other = Cosine(warmup=5).bind(sgd(0.1), RUN)
    other.load_state_dict(bound.state_dict())
    assert other.state_dict() == bound.state_dict()
    assert other.get_last_lr() == bound.get_last_lr()


def in_sequence(first: Any, second: Any) -> Any:
    return lr_scheduler.SequentialLR(first.optimizer, [first, second], milestones=[3])


@pytest.mark.parametrize("ours_first", [True, False])
def test_no_part_of_torchs_sequence(ours_first: bool) -> None:
    """It writes the LR of its parts itself, past their position: refused when it is made."""
    bound = Linear().bind(sgd(0.1), RUN)
    theirs = lr_scheduler.StepLR(bound.optimizer, step_size=3)
    with pytest.raises(ValueError, match=r"SequentialLR.*cannot run this schedule: .*schedules.Sequence"):
        in_sequence(*((bound, theirs) if ours_first else (theirs, bound)))


@pytest.mark.parametrize("ours_first", [True, False])
def test_no_part_of_torchs_chain(ours_first: bool) -> None:
    """Each part multiplies what it finds, and ours would undo it: refused at its first step."""
    bound = Linear().bind(sgd(0.1), RUN)
    theirs = lr_scheduler.StepLR(bound.optimizer, step_size=3)
    chain = lr_scheduler.ChainedScheduler([bound, theirs] if ours_first else [theirs, bound])
    bound.optimizer.step()
    with pytest.raises(ValueError, match=r"Linear\(\) is stepped by a scheduler of torch.*schedules.Sequence"):
        chain.step()


@pytest.mark.parametrize("position", [-1, 0.5, None])
def test_what_is_not_a_position_is_no_last_epoch(position: Any) -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    with pytest.raises(ValueError, match=f"last_epoch={position}: a position is a whole number"):
        bound.last_epoch = position
    assert bound.position == 0


def test_the_one_that_is_bound_is_the_clocks_owner() -> None:
    bound = Fixed().bind(sgd(0.1), Horizon())
    clock = Clock.on(bound.optimizer)
    assert clock is bound.clock
    assert clock is not None
    assert clock.owner is bound
    assert clock.bound
