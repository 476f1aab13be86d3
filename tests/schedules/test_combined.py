"""Schedules by group and for other numbers than the LR: planned, used, recorded, resumed."""

from __future__ import annotations

import copy
import math
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from lr_recipes import Horizon
from lr_recipes.optimizer.groups import read_number
from lr_recipes.plan.built import Built
from lr_recipes.plan.state import ResumeError
from lr_recipes.schedules import (
    ByGroup,
    Cosine,
    Fixed,
    Hyperparameters,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Sequence,
    Step,
    from_description,
)

T = 40
RUN = Horizon(total_steps=T, steps_per_epoch=10)


def adamw(**settings: Any) -> Optimizer:
    """Three groups: a body, a head and a norm without weight decay."""
    groups = [
        {"name": "body", "lr": 0.01},
        {"name": "head", "lr": 0.1, "betas": (0.8, 0.9)},
        {"name": "norm", "weight_decay": 0.0},
    ]
    for group in groups:
        group["params"] = [torch.nn.Parameter(torch.ones(2))]
    return AdamW(groups, **{"lr": 0.001, "weight_decay": 0.5, **settings})


def steps(optimizer: Optimizer) -> None:
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones(2)
    optimizer.step()


def used(schedule: Schedule, optimizer: Optimizer, keys: tuple[str, ...] = ("lr",), total: int = T) -> list[Any]:
    """What each update uses, read in the step itself."""
    bound = schedule.bind(optimizer, RUN)
    bound.attach()
    seen = read_in_steps(optimizer, keys, total)
    bound.detach()
    return seen


def read_in_steps(optimizer: Optimizer, keys: tuple[str, ...], count: int) -> list[Any]:
    seen: list[Any] = []
    hook = optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append([[read_number(g, key) for g in optimizer.param_groups] for key in keys])
    )
    for _ in range(count):
        steps(optimizer)
    hook.remove()
    return seen


def linear(t: int, warmup: int = 0, floor: float = 0.0) -> float:
    return (t + 1) / warmup if t < warmup else floor + (1 - floor) * (1 - (t - warmup) / (T - warmup))


def cosine(t: int, warmup: int = 0) -> float:
    return (t + 1) / warmup if t < warmup else (1 + math.cos(math.pi * (t - warmup) / (T - warmup))) / 2


# By group


def test_each_group_follows_its_own() -> None:
    schedule = ByGroup(groups={"head": Linear(warmup=4)}, default=Cosine(warmup="25%"))
    assert used(schedule, adamw()) == [
        [pytest.approx([0.01 * cosine(t, 10), 0.1 * linear(t, 4), 0.001 * cosine(t, 10)])] for t in range(T)
    ]


@pytest.mark.parametrize("key", ["head", 1, "1", "he.*", "h[aeiou]ad"])
def test_a_group_is_meant_by_name_index_or_expression(key: int | str) -> None:
    assert used(ByGroup(groups={key: Linear()}), adamw()) == [
        [pytest.approx([0.01, 0.1 * linear(t), 0.001])] for t in range(T)
    ]


def test_a_group_is_called_what_looks_like_an_index() -> None:
    plan = ByGroup(groups={"1": Linear()}).plan(RUN, Built([1.0, 1.0], ["1", "0"]))
    assert plan.lrs(20) == [0.5, 1.0]


def test_an_absolute_floor_is_of_the_groups_that_follow_it() -> None:
    schedule = ByGroup(groups={"head": Linear(min_lr=0.05), "body|norm": Linear(min_lr=0.001)})
    plan = schedule.plan(RUN, Built([0.01, 0.1, 0.001], ["body", "head", "norm"]))
    assert plan.lrs(T) == pytest.approx([0.001, 0.05, 0.0001])


def test_a_group_that_joins_late_follows_what_matches_its_name_and_moves_no_floor() -> None:
    optimizer = adamw()
    schedule = ByGroup(groups={"head": Fixed(), "(body|late).*": Linear(min_lr=0.001)}, default=Step(step_size=20))
    bound = schedule.bind(optimizer, RUN)
    bound.attach()
    for _ in range(10):
        steps(optimizer)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": 5.0, "name": "late"})
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": 3.0, "name": "other"})
    for _ in range(15):
        steps(optimizer)
    share = linear(25, floor=0.1)
    now = [group["lr"] for group in optimizer.param_groups]
    assert now == pytest.approx([0.01 * share, 0.1, 0.001 * 0.1, 5.0 * share, 3.0 * 0.1])

    saved, again = bound.state_dict(), adamw()
    for lr, name in ((5.0, "late"), (3.0, "other")):
        again.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr, "name": name})
    resumed = schedule.bind(again, RUN)
    resumed.load_state_dict(saved)
    assert [group["lr"] for group in again.param_groups] == now


def test_a_group_that_leaves_takes_nothing_with_it() -> None:
    optimizer = adamw()
    schedule = ByGroup(groups={0: Fixed(), 1: Linear()}, default=Cosine())
    bound = schedule.bind(optimizer, RUN)
    bound.attach()
    del optimizer.param_groups[0]
    steps(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1 * linear(1), 0.001 * cosine(1)])


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ({"hed": Linear()}, r"no group 'hed' \(did you mean 'head'\?\); groups are body, head, norm"),
        ({3: Linear()}, "no group 3; groups are body, head, norm"),
        ({"head": Linear(), 1: Cosine()}, r"two schedules for one group: head \(index 1\) is meant by 'head' and by 1"),
        ({"head": Linear(), ".*": Cosine()}, "two schedules for one group: head"),
        ({"he(ad": Linear()}, "'he[(]ad' is no regular expression"),
        ({-1: Linear()}, "-1 is no group: give its name, or its index from 0"),
        ({}, "groups={}: must name at least one group"),
        (["head"], r"groups=.'head'.: must be a mapping from groups to schedules"),
        ({"head": 0.1}, "must be a schedule"),
        ({"head": Plateau()}, "reacts to a metric decides for all groups"),
    ],
)
def test_what_is_no_schedule_by_group_is_refused(groups: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ByGroup(groups=groups).bind(adamw(), RUN)


def test_a_warmup_belongs_to_a_schedule_within() -> None:
    with pytest.raises(TypeError, match="ByGroup has no argument 'warmup'; it takes groups, default, late"):
        ByGroup(groups={0: Fixed()}, warmup=3)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="warmup=3: Hyperparameters has no warmup of its own"):
        Hyperparameters(lr=Fixed(), warmup=3)


# Other numbers


def test_each_number_follows_its_own_from_what_its_group_was_built_with() -> None:
    schedule = Hyperparameters(
        lr=Cosine(warmup=4),
        weight_decay=Linear(min_lr_ratio=0.5),
        momentum=Linear(min_lr_ratio=0.9),
        eps=Linear(),
        others={"betas[1]": Linear(min_lr_ratio=0.99)},
    )
    keys = ("lr", "weight_decay", "momentum", "betas[1]", "eps")
    for t, (lr, decay, momentum, beta2, eps) in enumerate(used(schedule, adamw(betas=(0.9, 0.999)), keys)):
        assert lr == pytest.approx([base * cosine(t, 4) for base in (0.01, 0.1, 0.001)])
        assert decay == pytest.approx([0.5 * linear(t, floor=0.5)] * 2 + [0.0])  # a group without one stays without
        assert momentum == pytest.approx([base * linear(t, floor=0.9) for base in (0.9, 0.8, 0.9)])
        assert beta2 == pytest.approx([base * linear(t, floor=0.99) for base in (0.999, 0.9, 0.999)])
        assert eps == pytest.approx([1e-8 * linear(t)] * 3)


@pytest.mark.parametrize("key", ["momentum", "betas[0]", "beta1"])
def test_momentum_and_beta1_are_one_number(key: str) -> None:
    assert Hyperparameters(**{key: Linear()}) == Hyperparameters(momentum=Linear())


def test_one_cycle_is_a_case_of_it() -> None:
    cycle = OneCycle(max_momentum=0.9, base_momentum=0.8)
    both = Hyperparameters(lr=cycle, weight_decay=Fixed())
    keys = ("lr", "momentum")
    assert used(both, adamw(), keys) == used(cycle, adamw(), keys)


def test_groups_may_have_other_numbers() -> None:
    """As those of one optimizer that does the work of two."""
    optimizer = SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.5)
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "betas": (0.9, 0.99)})
    Hyperparameters(others={"betas[1]": Linear(min_lr_ratio=0.5)}).bind(optimizer, RUN).position = 20
    assert "betas" not in optimizer.param_groups[0]
    assert optimizer.param_groups[1]["betas"] == (0.9, pytest.approx(0.99 * 0.75))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (
            lambda: Hyperparameters(wieght_decay=Linear()),
            r"no such number \(did you mean 'weight_decay'\?\); its groups",
        ),
        (lambda: Hyperparameters(momentum=Linear(), beta1=Linear()), "two schedules for one number: momentum is given"),
        (lambda: Hyperparameters(lr=OneCycle(), momentum=Linear()), "moves the momentum, and Linear.. is given for it"),
        (lambda: Hyperparameters(weight_decay=Plateau()), "reacts to a metric"),
        (lambda: Hyperparameters(weight_decay=0.1), "must be a schedule"),
        (lambda: Hyperparameters(lr=0.1), "must be a schedule"),
    ],
)
def test_what_is_no_schedule_of_a_number_is_refused(make: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make().bind(adamw(), RUN)


def test_a_tensor_is_filled_in_place() -> None:
    beta = torch.tensor(0.99)
    optimizer = AdamW([torch.nn.Parameter(torch.ones(2))], lr=torch.tensor(0.1), betas=(torch.tensor(0.9), beta))
    Hyperparameters(lr=Linear(), others={"betas[1]": Linear()}).bind(optimizer, RUN).position = 20
    assert optimizer.param_groups[0]["betas"][1] is beta
    assert float(beta) == pytest.approx(0.495)


def test_a_rebound_schedule_begins_at_what_the_optimizer_was_built_with() -> None:
    optimizer, schedule = adamw(), Hyperparameters(weight_decay=Linear())
    first = used(schedule, optimizer, ("weight_decay",), total=7)
    assert used(schedule, optimizer, ("weight_decay",), total=7) == first


# Both, and through a state

BOTH = Hyperparameters(
    lr=ByGroup(groups={"head": Linear(warmup=4), 0: OneCycle(cycle_momentum=False)}, default=Cosine()),
    weight_decay=ByGroup(groups={"body": Linear()}, default=Fixed()),
    others={"betas[1]": Linear(min_lr_ratio=0.9)},
)
MIXED = ByGroup(groups={"head": Hyperparameters(lr=Linear(), weight_decay=Cosine())}, default=OneCycle())
KEYS = ("lr", "weight_decay", "momentum", "betas[1]")


@pytest.mark.parametrize("schedule", [BOTH, MIXED], ids=["both", "mixed"])
def test_it_is_a_value(schedule: Schedule) -> None:
    assert from_description(schedule.describe()) == schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule == copy.deepcopy(schedule)
    assert hash(schedule) == hash(copy.deepcopy(schedule))
    names = {kind.__name__: kind for kind in (ByGroup, Cosine, Fixed, Hyperparameters, Linear, OneCycle)}
    assert eval(repr(schedule), names) == schedule


@pytest.mark.parametrize("cut", [0, 3, 17, 39])
@pytest.mark.parametrize("schedule", [BOTH, MIXED], ids=["both", "mixed"])
def test_a_resumed_run_uses_what_an_uninterrupted_one_does(schedule: Schedule, cut: int, tmp_path: Path) -> None:
    whole = used(schedule, adamw(), KEYS)
    optimizer = adamw()
    bound = schedule.bind(optimizer, RUN)
    bound.attach()
    for _ in range(cut):
        steps(optimizer)
    torch.save({"optimizer": optimizer.state_dict(), "schedule": bound.state_dict()}, tmp_path / "cut.ckpt")

    saved = torch.load(tmp_path / "cut.ckpt", weights_only=True)
    again = adamw()
    bound = schedule.bind(again, RUN)
    again.load_state_dict(saved["optimizer"])
    bound.load_state_dict(saved["schedule"])
    bound.attach()
    assert read_in_steps(again, KEYS, T - cut) == whole[cut:]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (ByGroup(groups={"head": Linear()}, default=Cosine()), "Hyperparameters"),
        (
            Hyperparameters(lr=BOTH.lr, weight_decay=Fixed(), others={"betas[1]": Linear(min_lr_ratio=0.9)}),
            r"weight_decay: ByGroup\(.* -> Fixed",
        ),
    ],
)
def test_another_plan_is_a_question(other: Schedule, said: str) -> None:
    saved = BOTH.bind(adamw(), RUN).state_dict()
    with pytest.raises(ResumeError, match=said):
        other.bind(adamw(), RUN).load_state_dict(saved)
    bound = other.bind(adamw(), RUN)
    bound.restore(saved, resume="checkpoint")
    assert bound.schedule == BOTH


def test_two_plans_differ_in_one_update_of_one_group() -> None:
    """Of a long run not every update is looked at, but the first of each phase of every curve is."""
    dip = Sequence(schedules=[Fixed(), Fixed(warmup=2, warmup_start_factor=0), Fixed()], milestones=[500_001, 500_003])
    run = Horizon(total_steps=1_000_000)
    plans = [ByGroup(groups={1: one}, default=Linear()) for one in (Fixed(), dip)]
    saved = plans[0].bind(adamw(), run).state_dict()
    with pytest.raises(ResumeError, match=r"groups\[1\]: Fixed\(\) -> Sequence"):
        plans[1].bind(adamw(), run).load_state_dict(saved)


def test_another_weight_decay_is_a_question_where_the_plan_moves_it() -> None:
    saved = BOTH.bind(adamw(), RUN).state_dict()
    with pytest.raises(ResumeError, match=r"weight_decay as built: \[0.5, 0.5, 0\] -> \[0.25, 0.25, 0\]"):
        BOTH.bind(adamw(weight_decay=0.25), RUN).load_state_dict(saved)


def test_so_it_is_where_the_optimizer_was_loaded_first() -> None:
    optimizer = adamw()
    bound = BOTH.bind(optimizer, RUN)
    bound.attach()
    steps(optimizer)
    saved, loaded = bound.state_dict(), optimizer.state_dict()
    again = adamw(weight_decay=0.25)
    bound = BOTH.bind(again, RUN)
    again.load_state_dict(loaded)
    with pytest.raises(ResumeError, match="weight_decay as built"):
        bound.load_state_dict(saved)
    bound.restore(saved, resume="config")
    assert again.param_groups[0]["weight_decay"] == pytest.approx(0.25 * linear(1))


def test_other_peaks_leave_the_groups_their_names() -> None:
    bound = BOTH.bind(adamw(), RUN)
    bound.base_lrs = [0.02, 0.2, 0.002]
    bound.refresh()
    assert bound.get_last_lr() == BOTH.plan(RUN, Built([0.02, 0.2, 0.002], ["body", "head", "norm"])).lrs(0)


@pytest.mark.parametrize("part", ["next_others", "built"])
def test_a_damaged_state_is_known_for_one(part: str) -> None:
    saved = BOTH.bind(adamw(), RUN).state_dict()
    of = saved[part]["others"] if part == "built" else saved[part]
    of["weight_decay"][0] *= 1.5
    with pytest.raises(ResumeError, match="damaged: next_others, weight_decay"):
        BOTH.bind(adamw(), RUN).load_state_dict(saved)
    saved = BOTH.bind(adamw(), RUN).state_dict()
    saved["built"]["names"].pop()
    with pytest.raises(ResumeError, match=r"damaged: built, names, is .*, and must be of 3 groups"):
        BOTH.bind(adamw(), RUN).load_state_dict(saved)


# Writing


def test_what_does_not_change_is_not_written_and_what_somebody_wrote_is_put_right() -> None:
    optimizer = adamw()
    bound = Step(step_size=20).bind(optimizer, RUN)
    bound.attach()
    objects = [group["lr"] for group in optimizer.param_groups]
    steps(optimizer)
    assert all(group["lr"] is lr for group, lr in zip(optimizer.param_groups, objects, strict=True))
    optimizer.param_groups[0]["lr"] = 7.0
    steps(optimizer)
    assert [group["lr"] for group in optimizer.param_groups] == [0.01, 0.1, 0.001]


def test_a_curve_is_asked_once_for_all_groups_that_follow_it() -> None:
    asked: list[int] = []

    class Counted(Linear):
        def shape(self, span: Any) -> Any:
            shape = super().shape(span)
            return shape._replace(factor=lambda t: asked.append(t) or shape.factor(t))

    groups = [{"name": f"{'ab'[n % 2]}{n}", "params": [torch.nn.Parameter(torch.ones(1))]} for n in range(50)]
    optimizer = SGD(groups, lr=0.1)
    bound = ByGroup(groups={"a.*": Counted(), "b.*": Counted()}).bind(optimizer, RUN)
    bound.attach()
    asked.clear()
    for group in optimizer.param_groups:
        group["params"][0].grad = torch.ones(1)
    optimizer.step()
    assert asked == [1, 1]
