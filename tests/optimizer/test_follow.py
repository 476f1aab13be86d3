"""Plain PyTorch loops. The oracle is ``param_group["lr"]`` in a step pre-hook: what the optimizer really uses."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch.nn import Parameter
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop, lr_scheduler

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.groups import built_lrs, read_lrs
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.resume import ResumeError
from lr_recipes.schedules import Cosine, Fixed, Linear, OneCycle, Plateau
from tests.optimizer.loops import RUN, Loop, attached, parameter, read_momenta, sgd, torch_style, watch
from tests.schedules.test_catalogue import PEAK, TABLE, Row

LONG = 110  # longer than every run of the table
each_row = pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])
each_loop = pytest.mark.parametrize("loop", [torch_style, attached])


def planned(row: Row, peak: float, bases: Sequence[float], positions: Sequence[int]) -> list[list[float]]:
    curve = row.schedule.resolve(row.horizon, peak=peak)
    return [[base * curve(n) for base in bases] for n in positions]


# The one rule


@each_row
@each_loop
def test_used_is_base_times_factor(row: Row, loop: Loop) -> None:
    """Exactly, for every group, at every update, and past the end of the plan."""
    bases = (PEAK, PEAK / 100, 3e-5)
    bound = row.schedule.bind(sgd(*bases), row.horizon)
    assert loop(bound, LONG) == planned(row, PEAK, bases, range(LONG))
    assert bound.position == bound.last_epoch == LONG
    assert bound.get_lr() == bound.get_last_lr() == read_lrs(bound.optimizer)


@each_row
def test_groups_keep_their_ratio(row: Row) -> None:
    """Two groups 100:1, absolute floors included: the floor is of the largest peak."""
    bound = row.schedule.bind(sgd(PEAK / 100, PEAK), row.horizon)
    for small, large in attached(bound, LONG):
        assert 100 * small == pytest.approx(large, rel=1e-12, abs=0)


def test_absolute_floor_is_of_the_largest_peak() -> None:
    used = attached(Linear(min_lr=0.01).bind(sgd(0.001, 0.1), Horizon(total_steps=5)), 7)
    assert used[5:] == [pytest.approx([0.0001, 0.01])] * 2


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW, RMSprop, Adagrad], ids=lambda kind: kind.__name__)
def test_any_optimizer(kind: Any) -> None:
    bound = Cosine(warmup=5).bind(kind([parameter()], lr=0.1), RUN)
    curve = Cosine(warmup=5).resolve(RUN)
    assert attached(bound, 20) == [[0.1 * curve(n)] for n in range(20)]


def test_a_schedule_that_does_not_fit_leaves_the_optimizer_alone() -> None:
    optimizer = sgd(0.1)
    with pytest.raises(ValueError, match="the peak LR would never be reached"):
        Linear(warmup=21).bind(optimizer, RUN)
    assert read_lrs(optimizer) == [0.1]
    assert "initial_lr" not in optimizer.param_groups[0]
    assert not optimizer._optimizer_step_post_hooks


# The peak


def test_base_is_what_the_optimizer_was_built_with() -> None:
    """A torch scheduler has moved the LR before; it notes the first one as `initial_lr`."""
    optimizer = sgd(0.1, 0.01)
    before = lr_scheduler.StepLR(optimizer, step_size=1)
    optimizer.step()
    before.step()
    assert read_lrs(optimizer) == pytest.approx([0.01, 0.001])
    assert built_lrs(optimizer) == [0.1, 0.01]
    bound = Fixed().bind(optimizer, RUN)
    assert bound.base_lrs == [0.1, 0.01]
    assert attached(bound, 1) == [[0.1, 0.01]]


def test_base_is_there_for_others() -> None:
    """Under torch's name for it, so that a schedule that is bound after ours has the same peak."""
    optimizer = sgd(0.1, 0.01)
    Linear(warmup=10).bind(optimizer, RUN)
    assert [group["initial_lr"] for group in optimizer.param_groups] == [0.1, 0.01]
    assert Fixed().bind(optimizer, RUN).get_last_lr() == [0.1, 0.01]


def test_base_lrs_may_be_given() -> None:
    bound = BoundSchedule(Fixed(warmup=2).plan(RUN, [0.1, 0.2]), Clock(sgd(7.0, 7.0)))
    assert attached(bound, 2) == [[0.05, 0.1], [0.1, 0.2]]
    assert bound.peak == 0.2


# The clock


def test_the_first_lr_is_there_at_once() -> None:
    optimizer = sgd(0.1)
    Fixed(warmup=4).bind(optimizer, RUN)
    assert read_lrs(optimizer) == [0.025]


def test_step_to_a_position() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    bound.optimizer.step()
    bound.step(15)
    assert (bound.position, bound.get_last_lr()) == (15, [0.1 * 0.25])
    bound.position = 10
    assert bound.get_last_lr() == [0.1 * 0.5]


def test_detached_it_stays() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    attached(bound, 3)
    lrs = read_lrs(bound.optimizer)
    bound.optimizer.step()
    assert (bound.position, read_lrs(bound.optimizer)) == (3, lrs)


def test_attached_twice_counts_once() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach()
    attached(bound, 3)
    assert bound.position == 3


def test_the_lr_is_held_until_refresh() -> None:
    """As for an epoch: the position moves on, the LR does not, and it is the planned one."""
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach(every_update=False)
    used = watch(bound.optimizer)
    for n in range(10):
        if n % 5 == 0:
            bound.refresh()
        bound.optimizer.step()
        assert bound.planned_factor == bound.curve(n - n % 5)
    assert used == [[0.1]] * 5 + [[0.1 * 0.75]] * 5
    assert bound.position == 10


def test_somebody_elses_lr_lasts_until_the_next_update() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach()
    used = watch(bound.optimizer)
    bound.optimizer.param_groups[0]["lr"] = 7.0
    bound.optimizer.step()
    bound.optimizer.step()
    assert used == [[7.0], [0.1 * 0.95]]


@pytest.mark.behaviour("B59")
@pytest.mark.parametrize("position", [-1, 0.63, True, "3", None])
def test_what_is_not_a_position_is_refused(position: Any) -> None:
    """`None` moves on by one; a loss that was meant for a plateau is told which method takes it."""
    bound = Plateau().bind(sgd(0.1), RUN)
    bound.optimizer.step()
    if position is None:
        bound.step(position)
        assert bound.position == 1
        return
    with pytest.raises(ValueError, match=r"whole number of completed updates, at least 0; .* observe\(value\)"):
        bound.step(position)
    assert bound.position == 0


# The order of torch's own style


def test_schedule_before_optimizer_warns_once() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    with pytest.warns(UserWarning, match=r"Call optimizer.step\(\) first, then the schedule's step\(\)") as told:
        bound.step()
    assert told[0].filename == __file__  # the line that has to change
    for _ in range(3):
        bound.optimizer.step()
        bound.step()


@pytest.mark.parametrize("loop", [torch_style, attached])
def test_optimizer_before_schedule_does_not_warn(loop: Loop) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop(Linear().bind(sgd(0.1), RUN), 3)


# Torch's interface


def test_is_a_torch_scheduler() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    assert isinstance(bound, lr_scheduler.LRScheduler)
    assert bound.optimizer.param_groups[0]["lr"] == bound.get_last_lr()[0]


# Momentum


@pytest.mark.parametrize(
    "make", [lambda groups: SGD(groups, momentum=0.5), lambda groups: AdamW(groups, betas=(0.5, 0.99))]
)
def test_one_cycle_moves_the_momentum(make: Callable[[Any], Optimizer]) -> None:
    """The other way than the LR, the same for all groups; Adam's beta2 stays."""
    optimizer = make([{"params": [parameter()], "lr": lr} for lr in (0.1, 0.001)])
    schedule = OneCycle(max_momentum=0.9, base_momentum=0.7)
    bound = schedule.bind(optimizer, RUN)
    bound.attach()
    used: list[list[float | None]] = []
    optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: used.append(read_momenta(optimizer)))
    for _ in range(25):
        optimizer.step()
    momentum = schedule.resolve(RUN).beside["momentum"]
    assert used == [[momentum(n)] * 2 for n in range(25)]
    assert (used[0], used[5], used[19], used[24]) == ([0.9] * 2, [0.7] * 2, [0.9] * 2, [0.9] * 2)
    assert all(group["betas"][1] == 0.99 for group in optimizer.param_groups if "betas" in group)


def test_momentum_is_held_with_the_lr() -> None:
    bound = OneCycle().bind(sgd(0.1), RUN)
    bound.attach(every_update=False)
    bound.optimizer.step()
    bound.optimizer.add_param_group({"params": [parameter()], "lr": 0.1})
    bound.optimizer.step()
    assert read_momenta(bound.optimizer) == [0.95, 0.95]
    bound.refresh()
    momentum = bound.curve.beside["momentum"]
    assert read_momenta(bound.optimizer) == [momentum(2)] * 2 != [0.95] * 2


def test_without_cycle_momentum_it_stays() -> None:
    bound = OneCycle(cycle_momentum=False).bind(sgd(0.1), RUN)
    attached(bound, 10)
    assert read_momenta(bound.optimizer) == [0.9]


def test_an_optimizer_without_momentum() -> None:
    with pytest.raises(ValueError, match=r"moves the momentum, and Adagrad has none: .*cycle_momentum=False"):
        OneCycle().bind(Adagrad([parameter()], lr=0.1), RUN)
    used = attached(OneCycle(cycle_momentum=False).bind(Adagrad([parameter()], lr=0.1), RUN), 20)
    assert max(used) == [0.1]


# Tensor LRs


@each_row
@each_loop
def test_tensor_lr_is_filled_in_place(row: Row, loop: Loop) -> None:
    """The same objects before and after, and the values of the float run, as far as 32 bits hold them."""
    tensors = [torch.tensor(PEAK), torch.tensor(PEAK / 100)]
    bound = row.schedule.bind(sgd(*tensors), row.horizon)
    used = loop(bound, LONG)
    assert all(
        group["lr"] is tensor and tensor.shape == ()
        for group, tensor in zip(bound.optimizer.param_groups, tensors, strict=True)
    )
    for lrs, floats in zip(used, planned(row, PEAK, (PEAK, PEAK / 100), range(LONG)), strict=True):
        assert lrs == pytest.approx(floats, rel=1e-6, abs=1e-37)


def test_tensor_lr_keeps_its_type() -> None:
    lr = torch.tensor([0.1], dtype=torch.float64)
    bound = Linear().bind(SGD([parameter()], lr=lr), RUN)
    assert attached(bound, 3) == [[0.1], [0.1 * 0.95], [0.1 * 0.9]]
    assert bound.optimizer.param_groups[0]["lr"] is lr
    assert (lr.dtype, lr.shape) == (torch.float64, (1,))


def test_a_tensor_lr_beside_a_float_is_filled_too() -> None:
    tensor = torch.tensor(0.2)
    groups = [{"params": [Parameter(torch.zeros(1))], "lr": 0.1}, {"params": [Parameter(torch.zeros(1))], "lr": tensor}]
    bound = Linear().bind(torch.optim.SGD(groups, lr=0.1), Horizon(total_steps=4))
    bound.position = 2
    assert bound.optimizer.param_groups[0]["lr"] == 0.05
    assert bound.optimizer.param_groups[1]["lr"] is tensor
    assert float(tensor) == pytest.approx(0.1)


def test_groups_that_share_one_tensor_get_their_own() -> None:
    """A group that sets no LR holds the optimizer's one tensor object: filled for one group, it would be for all."""
    shared = torch.tensor(0.1)
    groups = [{"params": [parameter()]}, {"params": [parameter()], "lr": 0.5}, {"params": [parameter()]}]
    optimizer = Adam(groups, lr=shared)
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[2]["lr"]
    bound = Linear().bind(optimizer, RUN)
    first, middle, last = (group["lr"] for group in optimizer.param_groups)
    assert first is shared
    assert last is not shared
    assert type(middle) is float
    used = attached(bound, 3)
    assert used[2] == pytest.approx([0.09, 0.45, 0.09])
    assert [id(group["lr"]) for group in optimizer.param_groups[::2]] == [id(first), id(last)]


def test_late_group_that_shares_the_tensor_has_its_base() -> None:
    """Not what the tensor holds at that moment: the factor would count twice."""
    optimizer = Adam([parameter()], lr=torch.tensor(0.1))
    bound = Linear().bind(optimizer, RUN)
    bound.attach()
    used = watch(optimizer)
    for _ in range(10):
        optimizer.step()
    optimizer.add_param_group({"params": [parameter()]})
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[1]["lr"]
    optimizer.step()
    optimizer.step()
    assert used[-2:] == [pytest.approx([0.05, 0.05]), pytest.approx([0.045, 0.045])]
    assert optimizer.param_groups[0]["lr"] is not optimizer.param_groups[1]["lr"]


# Late groups


@each_row
def test_late_group_follows_from_its_first_update_on(row: Row) -> None:
    """Wherever it joins; the peak, and so an absolute floor, stays."""
    for position in (0, 1, 7, 50, 99, 100, 105):
        bound = row.schedule.bind(sgd(PEAK), row.horizon)
        bound.attach()
        bound.position = position
        used = watch(bound.optimizer)
        bound.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
        for _ in range(4):
            bound.optimizer.step()
        assert used == planned(row, PEAK, (PEAK, 7.0), range(position, position + 4))
        assert bound.base_lrs == [PEAK, 7.0]


def test_late_group_in_torchs_style() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    torch_style(bound, 10)
    bound.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    assert torch_style(bound, 2) == [[0.1 * bound.curve(n), 7.0 * bound.curve(n)] for n in (10, 11)]


def test_a_new_schedule_for_an_optimizer_with_a_new_group() -> None:
    """As when layers are unfrozen for a second phase: the schedule of the first one has nothing to say any more."""
    first = Linear().bind(sgd(0.1), RUN)
    torch_style(first, 20)
    first.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    assert torch_style(Fixed().bind(first.optimizer, RUN), 3) == [[0.1, 7.0]] * 3
    assert first.position == 20


def test_late_group_brings_no_peak_along() -> None:
    """A group made from another one's dict holds that one's `initial_lr`."""
    bound = Fixed(warmup=4).bind(sgd(0.1), RUN)
    bound.attach()
    bound.optimizer.add_param_group({**bound.optimizer.param_groups[0], "params": [parameter()], "lr": 0.2})
    used = watch(bound.optimizer)
    bound.optimizer.step()
    assert used == [[0.025, 0.05]]
    assert [group["initial_lr"] for group in bound.optimizer.param_groups] == [0.1, 0.2]


def test_late_group_while_the_lr_is_held() -> None:
    """It gets the held factor; no refresh happens for the others."""
    bound = Linear().bind(sgd(0.1), RUN)
    bound.attach(every_update=False)
    used = watch(bound.optimizer)
    for n in range(4):
        if n == 2:
            bound.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
        bound.optimizer.step()
    assert used == [[0.1], [0.1], [0.1, 7.0], [0.1, 7.0]]
    bound.refresh()
    assert bound.get_last_lr() == [0.1 * 0.8, 7.0 * 0.8]


# Plateau


def test_plateau_cuts_at_once_and_keeps_ratios() -> None:
    bound = Plateau(patience=1, factor=0.5, warmup=2, min_lr=0.03).bind(sgd(0.1, 0.001), RUN)
    bound.attach()
    used = watch(bound.optimizer)
    bound.optimizer.step()
    bound.optimizer.step()
    cuts = []
    for metric in (1.0, 1.0, 1.0, 1.0, 1.0):
        cuts.append(bound.observe(metric))
        bound.optimizer.step()
    assert cuts == [False, False, True, False, True]
    assert [one for one, _ in used] == pytest.approx([0.05, 0.1, 0.1, 0.1, 0.05, 0.05, 0.03])
    assert [one / other for one, other in used] == pytest.approx([100] * 7)
    assert (bound.scale, bound.end_factor) == pytest.approx((0.3, 0.3))


def test_another_peak_keeps_the_cuts_of_a_plateau() -> None:
    """What it has seen and what it multiplies by are one thing, here and in what is saved."""
    bound = Plateau(patience=0, factor=0.5).bind(sgd(0.1), RUN)
    bound.observe(1.0)
    bound.observe(1.0)
    bound.base_lrs = [0.2]
    bound.refresh()
    assert (bound.seen.reductions, bound.scale, bound.get_last_lr()) == (1, 0.5, [0.1])
    assert bound.state_dict()["plateau"]["reductions"] == 1


def test_a_plan_that_does_not_react_forgets_the_cuts() -> None:
    """As where the checkpoint's plan is followed by one that has already cut."""
    bound = Plateau(patience=0, factor=0.5).bind(sgd(0.1), RUN)
    bound.observe(1.0)
    bound.observe(1.0)
    bound.restore(Fixed().bind(sgd(0.1), RUN).state_dict(), resume="checkpoint")
    assert (bound.seen, bound.scale, bound.get_last_lr()) == (None, 1.0, [0.1])


def test_only_a_plateau_observes() -> None:
    bound = Linear().bind(sgd(0.1), RUN)
    assert [bound.observe(1.0) for _ in range(50)] == [False] * 50
    assert (bound.scale, bound.end_factor, bound.get_last_lr()) == (1.0, 0.0, [0.1])


# State


def saved_and_loaded(state: dict[str, Any]) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@each_row
def test_state_is_plain(row: Row) -> None:
    """What JSON and the safe loader of torch can hold, and the same after both."""
    bound = row.schedule.bind(sgd(PEAK, torch.tensor(0.5)), row.horizon)
    attached(bound, 3)
    state = bound.state_dict()
    assert state["position"] == 3
    assert json.loads(json.dumps(state, allow_nan=False)) == state
    assert saved_and_loaded(state) == state


@each_row
def test_continues_as_if_never_interrupted(row: Row) -> None:
    """From any position; the optimizer's own state brings the LRs of that moment along."""
    bases = (PEAK, PEAK / 100)
    for position in (0, 7, 105):
        first = row.schedule.bind(sgd(*bases), row.horizon)
        first.position = position
        first.observe(1.0)
        state, of_optimizer = saved_and_loaded(first.state_dict()), saved_and_loaded(first.optimizer.state_dict())
        second = row.schedule.bind(sgd(*bases), row.horizon)
        second.optimizer.load_state_dict(of_optimizer)
        second.load_state_dict(state)
        assert second.state_dict() == state
        expected = planned(row, PEAK, bases, range(position, position + 5))
        assert attached(second, 5) == attached(first, 5) == expected


def test_continues_after_a_late_group() -> None:
    first = Linear().bind(sgd(0.1), RUN)
    attached(first, 4)
    first.optimizer.add_param_group({"params": [parameter()], "lr": 7.0})
    attached(first, 4)
    second = Linear().bind(sgd(0.1, 7.0), RUN)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    assert (
        attached(second, 5)
        == attached(first, 5)
        == [[0.1 * first.curve(n), 7.0 * first.curve(n)] for n in range(8, 13)]
    )


def test_continues_a_plateau() -> None:
    """What it has seen is part of the state: the third equal metric cuts, whenever the run was interrupted."""
    for seen in range(4):
        first = Plateau(patience=1).bind(sgd(0.1), RUN)
        for _ in range(seen):
            first.observe(1.0)
        second = Plateau(patience=1).bind(sgd(0.1), RUN)
        second.load_state_dict(saved_and_loaded(first.state_dict()))
        for _ in range(seen, 4):
            second.observe(1.0)
        assert second.seen.reductions == 1
        assert attached(second, 1) == [[pytest.approx(0.01)]]


def test_continues_within_an_epoch_that_holds_its_lr() -> None:
    first = Linear().bind(sgd(0.1), RUN)
    first.attach(every_update=False)
    for n in range(8):
        if n % 5 == 0:
            first.refresh()
        first.optimizer.step()
    second = Linear().bind(sgd(0.1), RUN)
    second.load_state_dict(saved_and_loaded(first.state_dict()))
    assert second.position == 8
    assert second.planned_factor == 0.75
    assert read_lrs(second.optimizer) == [0.1 * 0.75]
    second.refresh()
    assert read_lrs(second.optimizer) == [0.1 * 0.6]


@pytest.mark.parametrize("state", [{}, lr_scheduler.StepLR(sgd(0.1), step_size=3).state_dict()], ids=["empty", "torch"])
def test_state_of_something_else(state: dict[str, Any]) -> None:
    """torch would merge any dict into its attributes."""
    with pytest.raises(ResumeError, match="this is not the state of a schedule of lr_recipes"):
        Linear().bind(sgd(0.1), RUN).load_state_dict(state)


def test_another_plan_is_an_error() -> None:
    first, second = Linear().bind(sgd(0.1), RUN), Cosine().bind(sgd(0.1), RUN)
    before = read_lrs(second.optimizer)
    with pytest.raises(ResumeError, match="schedule: Linear -> Cosine"):
        second.load_state_dict(first.state_dict())
    assert (second.position, read_lrs(second.optimizer)) == (0, before)


@pytest.mark.parametrize(("resume", "factor"), [("checkpoint", 0.75), ("config", 0.5)])
def test_restore_follows_the_chosen_plan(resume: str, factor: float) -> None:
    """From the saved position on: 10 of 40 updates in the checkpoint, 10 of 20 here."""
    first = Linear().bind(sgd(0.2), Horizon(total_steps=40))
    attached(first, 10)
    second = Linear().bind(sgd(0.1), RUN)
    differences = second.restore(first.state_dict(), resume)
    assert "peak LR: [0.2] -> [0.1]" in differences
    assert "total_steps: 40 -> 20" in differences
    base = 0.2 if resume == "checkpoint" else 0.1
    assert attached(second, 1) == [[base * factor]]
    assert (second.horizon, second.peak) == ((first.horizon, 0.2) if resume == "checkpoint" else (RUN, 0.1))
