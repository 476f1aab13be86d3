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

from lr_recipes.optimizer.clock import Clock, completed_updates, took_effect
from lr_recipes.optimizer.groups import Roster, read_lrs
from lr_recipes.optimizer.internals import step_hooks_of
from lr_recipes.schedules import Cosine, Fixed, Linear
from tests.optimizer.loops import RUN, parameter, sgd, watch


class Writes:
    """An owner that writes ``0.1 + position``, and notes what it was asked for."""

    plan: Any = None
    part = "schedule"
    total = planned_lrs = None
    planned_factor = 1.0

    def __init__(self, clock: Clock, every_update: bool = True) -> None:
        self.clock, self.every_update, self.roster = clock, every_update, Roster(clock.optimizer)
        self.written: list[int] = []
        clock.take(self)

    def write(self, position: int) -> None:
        self.written.append(position)
        for group in self.clock.optimizer.param_groups:
            group["lr"] = 0.1 + position

    def adopt(self) -> None:
        for group in self.clock.optimizer.param_groups[1:]:
            group["lr"] = 0.1 + self.clock.position


class Sees:
    """A witness: position, LRs, and whether the step counts."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seen: list[tuple[int, list[float], bool]] = []
        clock.witnesses.append(self)

    def note(self, counts: bool) -> None:
        self.seen.append((self.clock.position, read_lrs(self.clock.optimizer), counts))


def writing(lr: float) -> Callable[..., None]:
    """A step hook that writes an LR."""

    def hook(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            group["lr"] = lr

    return hook


def step(clock: Clock, count: int = 1) -> None:
    for _ in range(count):
        clock.optimizer.step()


# The position


def test_it_counts_from_its_start_to_its_stop() -> None:
    clock = Clock(sgd(0.1))
    step(clock)
    assert (clock.position, clock.counting) == (0, False)
    clock.start()
    step(clock, 3)
    assert (clock.position, clock.counting) == (3, True)
    clock.stop()
    step(clock)
    assert (clock.position, clock.counting) == (3, False)


def test_moved_by_hand_it_only_looks() -> None:
    """Whoever calls ``go_to`` counts; that the optimizer has stepped is known all the same."""
    clock = Clock(sgd(0.1))
    clock.start(counting=False)
    sees, owner = Sees(clock), Writes(clock)
    assert not clock.stepped
    step(clock)
    assert (clock.position, clock.stepped, owner.written) == (0, True, [])
    clock.go_to(7)
    step(clock)
    assert (clock.position, owner.written) == (7, [7])
    assert sees.seen == [(0, [0.1], True), (7, [7.1], True)]


def test_its_position_can_be_set_without_an_owner() -> None:
    clock = Clock(sgd(0.1))
    clock.go_to(5)
    clock.start()
    step(clock)
    assert (clock.position, read_lrs(clock.optimizer)) == (6, [0.1])


def test_started_twice_it_counts_once() -> None:
    clock = Clock(sgd(0.1))
    clock.start()
    clock.start()
    step(clock)
    assert clock.position == 1
    assert [len(hooks) for hooks in step_hooks_of(clock.optimizer)] == [1, 2]


def test_a_second_clock_takes_the_place_of_the_first() -> None:
    first = Clock(sgd(0.1))
    first.start()
    step(first, 2)
    second = Clock(first.optimizer)
    assert Clock.on(first.optimizer) is second
    second.start()
    step(second)
    assert (first.position, first.counting, second.position) == (2, False, 1)
    assert [len(hooks) for hooks in step_hooks_of(first.optimizer)] == [1, 2]


def test_an_optimizer_without_a_clock() -> None:
    assert Clock.on(sgd(0.1)) is None


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda optimizer: pickle.loads(pickle.dumps(optimizer))],
    ids=["", "deep", "pickle"],
)
def test_a_copy_of_the_optimizer_has_no_clock(copied: Callable[[Optimizer], Optimizer]) -> None:
    clock = Clock(sgd(0.1))
    clock.start()
    twin = copied(clock.optimizer)
    assert Clock.on(clock.optimizer) is clock
    assert Clock.on(twin) is None
    assert [len(hooks) for hooks in step_hooks_of(twin)] == [0, 0]


def test_it_knows_its_own_hooks() -> None:
    clock = Clock(sgd(0.1))
    foreign = clock.optimizer.register_step_post_hook(writing(0.5))
    clock.start()
    keys = [key for hooks in step_hooks_of(clock.optimizer) for key in hooks]
    assert [clock.owns(key) for key in keys] == [key != foreign.id for key in keys]
    assert sum(clock.owns(key) for key in keys) == 3
    clock.stop()
    assert not any(clock.owns(key) for key in keys)
    assert step_hooks_of(clock.optimizer)[1].keys() == {foreign.id}


# Who writes


@pytest.mark.parametrize(
    ("first", "second", "way_out"),
    [
        ("remove the one", "", "remove the one"),
        ("remove the one", "remove the other", "remove the other"),
        ("", "", "keep one of them"),
    ],
)
def test_a_second_claim_names_both_and_a_way_out(first: str, second: str, way_out: str) -> None:
    clock = Clock(sgd(0.1))
    clock.claim("ExponentialLR", first)
    with pytest.raises(ValueError, match=f"^ExponentialLR and Warmup would both write the LR: {way_out}$"):
        clock.claim("Warmup", second)


def test_the_owner_writes_what_the_next_update_uses() -> None:
    clock = Clock(sgd(0.1))
    sees, owner = Sees(clock), Writes(clock)
    clock.start()
    step(clock, 3)
    assert owner.written == [1, 2, 3]
    assert sees.seen == [(0, [0.1], True), (1, [1.1], True), (2, [2.1], True)]


def test_an_owner_that_holds_the_lr_is_asked_by_hand_only() -> None:
    clock = Clock(sgd(0.1))
    owner = Writes(clock, every_update=False)
    clock.start()
    step(clock, 3)
    assert (clock.position, owner.written) == (3, [])
    clock.go_to(3)
    assert owner.written == [3]


def test_a_step_that_changed_nothing_moves_nothing() -> None:
    clock = Clock(sgd(0.1))
    sees, owner = Sees(clock), Writes(clock)
    clock.start()
    clock.optimizer.zero_grad()
    step(clock)
    assert (clock.position, clock.stepped, owner.written) == (0, True, [])
    assert sees.seen == [(0, [0.1], False)]


# Before, within and after a step


@pytest.mark.parametrize("late", [False, True], ids=["registered before", "registered after"])
def test_witnesses_see_what_the_step_used_whatever_other_hooks_write(late: bool) -> None:
    """A hook that comes after the owner's has the last word: then that is what the next step uses, and what is seen."""
    clock = Clock(sgd(0.1))
    used, sees = watch(clock.optimizer), Sees(clock)
    Writes(clock)
    if not late:
        clock.optimizer.register_step_post_hook(writing(9.0))
    clock.start()
    if late:
        clock.optimizer.register_step_post_hook(writing(9.0))
    step(clock, 3)
    assert [lrs for _, lrs, _ in sees.seen] == used
    assert used == ([[0.1], [9.0], [9.0]] if late else [[0.1], [1.1], [2.1]])


def test_witnesses_see_what_a_pre_hook_wrote() -> None:
    clock = Clock(sgd(0.1))
    sees = Sees(clock)
    Writes(clock)
    clock.start()
    clock.optimizer.register_step_pre_hook(writing(9.0))
    step(clock, 2)
    assert [lrs for _, lrs, _ in sees.seen] == [[9.0], [9.0]]


def test_witnesses_see_what_a_closure_wrote_within_the_step() -> None:
    """It runs after the pre hooks, and the optimizer then moves the weights with what the closure has written."""
    weight = parameter()
    clock = Clock(SGD([weight], lr=0.1))
    sees = Sees(clock)
    Writes(clock)
    clock.start()

    def closure() -> float:
        clock.optimizer.param_groups[0]["lr"] = 0.5
        return 1.0

    clock.optimizer.step(closure)
    assert weight.item() == 1 - 0.5
    assert sees.seen == [(0, [0.5], True)]
    assert read_lrs(clock.optimizer) == [1.1]


@pytest.mark.parametrize("again", [False, True], ids=["", "started again"])
def test_the_owner_writes_after_all_hooks_that_are_there(again: bool) -> None:
    """Those too that came between its start and the next one."""
    clock = Clock(sgd(0.1))
    Writes(clock)
    clock.optimizer.register_step_post_hook(writing(8.0))
    clock.start()
    if again:
        clock.optimizer.register_step_post_hook(writing(9.0))
        clock.start()
    step(clock)
    assert read_lrs(clock.optimizer) == [1.1]


@pytest.mark.parametrize("late", [False, True], ids=["registered before", "registered after"])
def test_groups_that_join_have_their_lr_before_others_look(late: bool) -> None:
    clock = Clock(sgd(0.1))
    Writes(clock)
    seen: list[list[float]] = [] if late else watch(clock.optimizer)
    clock.start()
    if late:
        seen = watch(clock.optimizer)
    clock.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    step(clock, 2)
    assert seen == [[0.1, 0.1], [1.1, 1.1]]


def test_a_witness_that_stops_the_run_leaves_the_position() -> None:
    """The update is not counted as completed, and nothing is written for the next one."""
    clock = Clock(sgd(0.1))
    owner = Writes(clock)

    class Stops:
        def note(self, counts: bool) -> None:
            raise RuntimeError("stop")

    clock.witnesses.append(Stops())
    clock.start()
    with pytest.raises(RuntimeError, match="stop"):
        step(clock)
    assert (clock.position, owner.written) == (0, [])


# What is an update


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
