"""Which plan a resumed run follows: on the plain states that checkpoints hold."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest
from torch.optim import lr_scheduler

from lr_recipes.plan.built import Built
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import Chosen, ResumeError, choose, rescaled_position
from lr_recipes.schedules import (
    ByGroup,
    Cosine,
    CosineRestarts,
    Exponential,
    Fixed,
    Hyperparameters,
    InverseSqrt,
    Linear,
    MultiStep,
    OneCycle,
    Plateau,
    Polynomial,
    Schedule,
    Sequence,
    Step,
    TorchSchedule,
    WarmupStableDecay,
    from_description,
)
from tests.schedules.test_catalogue import PEAK, TABLE, Row

RUN = Horizon(total_steps=100, steps_per_epoch=10, samples_per_step=32, source="10 epochs of 10 updates")


def state(
    schedule: Schedule, horizon: Horizon = RUN, lrs: tuple[float, ...] = (0.1, 0.001), position: int = 50
) -> dict[str, Any]:
    """What a checkpoint holds."""
    return {
        "position": position,
        "refreshed_at": position,
        "schedule": schedule.describe(),
        "base_lrs": list(lrs),
        "peak": max(lrs),
        "horizon": horizon.describe(),
        "plateau": None,
    }


def plan_of(state: dict[str, Any], schedule: Schedule | None = None) -> Plan:
    """The plan that a state describes, of ``schedule`` where words cannot build it."""
    source = schedule or from_description(state["schedule"])
    return source.plan(Horizon(**state["horizon"]), state["base_lrs"], state["peak"])


def one_cycle(peaks: Any, momenta: Any = 0.85) -> Any:
    return functools.partial(lr_scheduler.OneCycleLR, max_lr=peaks, total_steps=101, base_momentum=momenta)


def run(total: int | None = 100, epoch: int | None = 10, samples: int | None = 32) -> Horizon:
    return Horizon(total_steps=total, steps_per_epoch=epoch, samples_per_step=samples)


# The same plan


@pytest.mark.parametrize("resume", ["error", "checkpoint", "config"])
@pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])
def test_the_same_plan_goes_on(row: Row, resume: str) -> None:
    same = state(row.schedule, row.horizon, (PEAK, PEAK / 100))
    plan, differences = choose(same, plan_of(same, row.schedule), resume)
    assert (plan.schedule, plan.base_lrs, plan.peak, plan.horizon) == (
        row.schedule, [PEAK, PEAK / 100], PEAK, row.horizon)  # fmt: skip
    assert differences == []


# fmt: off
OTHER_WORDS = {
    "steps for epochs": (state(Cosine(warmup="2 epochs")), state(Cosine(warmup=20))),
    "percent for steps": (state(Step(step_size="30%")), state(Step(step_size=30))),
    "samples for epochs": (state(MultiStep(milestones=["640 samples"])), state(MultiStep(milestones=["2 epochs"]))),
    "a ratio for an absolute floor": (state(Linear(min_lr=0.025)), state(Linear(min_lr_ratio=0.25))),
    "another class": (state(Polynomial(power=1)), state(Linear())),
    "a sequence of one curve": (
        state(Sequence(schedules=[Fixed(), Fixed()], milestones=[10])), state(Fixed())),
    "epochs that count for nothing": (state(Cosine()), state(Cosine(), run(epoch=25))),
    "samples that count for nothing": (state(Cosine()), state(Cosine(), run(samples=64))),
    "another source of the total": (state(Cosine()), state(Cosine(), run())),
    "a fixed LR for longer": (state(Fixed(warmup=5)), state(Fixed(warmup=5), run(total=500))),
    "a fixed LR without end": (state(Fixed(warmup=5)), state(Fixed(warmup=5), run(total=None))),
    "steps for longer": (state(Step(step_size="2 epochs")), state(Step(step_size="2 epochs"), run(total=500))),
    "steps for a shorter time": (state(Step(step_size=20)), state(Step(step_size=20), run(total=60))),
    "milestones, the last after the end": (
        state(MultiStep(milestones=[30, 60])), state(MultiStep(milestones=[30, 60, 200]))),
    "exponential for longer": (state(Exponential(gamma=0.9)), state(Exponential(gamma=0.9), run(total=500))),
    "a list of equal peaks": (
        state(TorchSchedule(factory=one_cycle(0.1)), lrs=(0.1, 0.1)),
        state(TorchSchedule(factory=one_cycle([0.1, 0.1])), lrs=(0.1, 0.1))),
    "inverse sqrt without end": (state(InverseSqrt(warmup=9)), state(InverseSqrt(warmup=9), run(total=None))),
}
# fmt: on


@pytest.mark.parametrize("resume", ["error", "checkpoint", "config"])
@pytest.mark.parametrize(("saved", "configured"), OTHER_WORDS.values(), ids=OTHER_WORDS.keys())
def test_the_same_curve_in_other_words(saved: dict[str, Any], configured: dict[str, Any], resume: str) -> None:
    """No difference as far as both plans go; what follows is the configured one's, except where told otherwise."""
    plan, differences = choose(saved, plan_of(configured), resume)
    assert differences == []
    followed = saved if resume == "checkpoint" else configured
    assert plan.schedule.describe() == followed["schedule"]
    assert plan.horizon.describe() == followed["horizon"]


# Another plan


# fmt: off
DIFFERENT: dict[str, Any] = {
    "peak": (
        state(Cosine(), lrs=(0.1, 0.001)), state(Cosine(), lrs=(0.2, 0.001)),
        ["peak LR: [0.1, 0.001] -> [0.2, 0.001]"]),
    "peak of another group": (
        state(Cosine(), lrs=(0.1, 0.001)), state(Cosine(), lrs=(0.1, 0.0011)),
        ["peak LR: [0.1, 0.001] -> [0.1, 0.0011]"]),
    "schedule": (state(Cosine()), state(Linear()), ["schedule: Cosine -> Linear"]),
    "warmup": (state(Cosine(warmup="10%")), state(Cosine(warmup=5)), ["warmup: 10% -> 5"]),
    "warmup_type": (
        state(Cosine(warmup=20)), state(Cosine(warmup=20, warmup_type="cosine")), ["warmup_type: linear -> cosine"]),
    "a floor": (
        state(Linear(min_lr_ratio=0.1)), state(Linear(min_lr=0.001)),
        ["min_lr_ratio: 0.1 -> none", "min_lr: none -> 0.001"]),
    "gamma": (state(Step(step_size=30)), state(Step(step_size=30, gamma=0.2)), ["gamma: 0.1 -> 0.2"]),
    "step_size": (state(Step(step_size=30)), state(Step(step_size="29%")), ["step_size: 30 -> 29%"]),
    "milestones": (
        state(MultiStep(milestones=["30%", 60])), state(MultiStep(milestones=["31%", 60])),
        ["milestones: [30%, 60] -> [31%, 60]"]),
    "decay": (
        state(WarmupStableDecay()), state(WarmupStableDecay(decay="2 epochs", decay_type="linear")),
        ["decay: 20% -> 2 epochs", "decay_type: 1-sqrt -> linear"]),
    "cycle": (state(CosineRestarts(cycle=50)), state(CosineRestarts(cycle=25)), ["cycle: 50 -> 25"]),
    "pct_start": (state(OneCycle()), state(OneCycle(pct_start=0.4)), ["pct_start: 0.3 -> 0.4"]),
    "patience of a plateau": (state(Plateau()), state(Plateau(patience=3)), ["patience: 10 -> 3"]),
    "metric of a plateau": (state(Plateau()), state(Plateau(monitor="acc")), ["monitor: val_loss -> acc"]),
    "a plateau for a fixed LR": (
        state(Fixed()), state(Plateau(patience=3)),
        ["schedule: Fixed -> Plateau", "monitor: none -> val_loss", "patience: none -> 3"]),
    "a larger total": (state(Cosine()), state(Cosine(), run(total=1_000)), ["total_steps: 100 -> 1,000"]),
    "a smaller total": (state(Linear()), state(Linear(), run(total=60)), ["total_steps: 100 -> 60"]),
    "no known end": (
        state(InverseSqrt(warmup="9%")), state(InverseSqrt(warmup=10), run(total=None)),
        ["warmup: 9% -> 10", "total_steps: 100 -> none"]),
    "a larger total, percent": (
        state(Step(step_size="50%")), state(Step(step_size="50%"), run(total=200)), ["total_steps: 100 -> 200"]),
    "longer epochs": (
        state(Step(step_size="2 epochs")), state(Step(step_size="2 epochs"), run(epoch=20)),
        ["steps_per_epoch: 10 -> 20"]),
    "epochs of unequal length": (
        state(Step(step_size="2 epochs")),
        state(Step(step_size="2 epochs"), Horizon(total_steps=100, steps_per_epoch=[10, 5])),
        ["steps_per_epoch: 10 -> [10, 5]"]),
    "a larger batch": (
        state(Cosine()), state(Cosine(), run(total=50, epoch=5, samples=64)),
        ["total_steps: 100 -> 50", "steps_per_epoch: 10 -> 5", "samples_per_step: 32 -> 64"]),
    "a larger batch, lengths in samples": (
        state(Fixed(warmup="640 samples")), state(Fixed(warmup="640 samples"), run(samples=64)),
        ["samples_per_step: 32 -> 64"]),
    "momentum": pytest.param(
        state(OneCycle()), state(OneCycle(max_momentum=0.9)), ["max_momentum: 0.95 -> 0.9"]),
    "momentum no more cycled": pytest.param(
        state(OneCycle()), state(OneCycle(cycle_momentum=False)), ["cycle_momentum: True -> False"]),
    "a cut moved by one update in a long run": pytest.param(
        state(MultiStep(milestones=[30_001]), run(total=60_000)),
        state(MultiStep(milestones=[30_002]), run(total=60_000)),
        ["milestones: [30,001] -> [30,002]"]),
    "a torch scheduler": (
        state(TorchSchedule(factory=functools.partial(lr_scheduler.StepLR, step_size=30))),
        state(TorchSchedule(factory=functools.partial(lr_scheduler.StepLR, step_size=40))), ["factory: "]),
    "one peak of a list": pytest.param(
        state(TorchSchedule(factory=one_cycle([0.1, 0.2])), lrs=(0.1, 0.1)),
        state(TorchSchedule(factory=one_cycle([0.1, 0.3])), lrs=(0.1, 0.1)),
        ["factory: OneCycleLR(max_lr=[0.1, 0.2], total_steps=101, base_momentum=0.85) -> OneCycleLR(max_lr=[0.1, 0.3]"],
        marks=pytest.mark.behaviour("B47")),
    "one momentum of a list": pytest.param(
        state(TorchSchedule(factory=one_cycle([0.1, 0.2], [0.8, 0.85])), lrs=(0.1, 0.1)),
        state(TorchSchedule(factory=one_cycle([0.1, 0.2], [0.8, 0.7])), lrs=(0.1, 0.1)),
        ["factory: OneCycleLR(max_lr=[0.1, 0.2], total_steps=101, base_momentum=[0.8, 0.85]) -> "],
        marks=pytest.mark.behaviour("B47")),
    "a phase": (
        state(Sequence(schedules=[Fixed(), Linear()], milestones=["50%"])),
        state(Sequence(schedules=[Fixed(), Cosine()], milestones=["50%"])),
        ["schedules: "]),
}
# fmt: on

each_difference = pytest.mark.parametrize(("saved", "configured", "lines"), DIFFERENT.values(), ids=DIFFERENT.keys())


@each_difference
def test_a_difference_asks(saved: dict[str, Any], configured: dict[str, Any], lines: list[str]) -> None:
    """Old and new side by side, and the four ways on."""
    with pytest.raises(ResumeError) as caught:
        choose(saved, plan_of(configured), "error")
    message = str(caught.value)
    missing = [line for line in lines if f"\n    {line}" not in message]
    assert not missing, message
    assert "at update 50" in message
    assert "resume='checkpoint' follows the checkpoint's plan to its end" in message
    assert "resume='config' follows this run's plan from update 50 on" in message
    assert "resume='restart' begins a new schedule at position 0" in message
    assert "make this run's settings equal to the checkpoint's" in message
    assert message.endswith(". For the first:\n    LearningRateScheduler(..., resume='checkpoint')")
    assert str(pickle.loads(pickle.dumps(caught.value))) == message


@each_difference
def test_config_follows_this_run(saved: dict[str, Any], configured: dict[str, Any], lines: list[str]) -> None:
    followed(choose(saved, plan_of(configured), "config"), configured, lines)


@each_difference
def test_checkpoint_follows_the_checkpoint(saved: dict[str, Any], configured: dict[str, Any], lines: list[str]) -> None:
    followed(choose(saved, plan_of(configured), "checkpoint"), saved, lines)


def followed(found: Chosen, chosen: dict[str, Any], lines: list[str]) -> None:
    """The whole plan is the chosen one's, and every difference is told."""
    plan, differences = found
    assert plan.schedule.describe() == chosen["schedule"]
    assert plan.horizon.describe() == chosen["horizon"]
    assert (plan.base_lrs, plan.peak) == (chosen["base_lrs"], chosen["peak"])
    assert all(any(told.startswith(line) for told in differences) for line in lines)


@pytest.mark.behaviour("B75")
def test_of_very_many_groups_the_first_that_differs_is_told() -> None:
    saved, lrs = state(Cosine(), lrs=(0.1,) * 10_000), [0.1] * 10_000
    lrs[5000] = lrs[9000] = 0.05
    differences = choose(saved, plan_of(state(Cosine(), lrs=tuple(lrs))), "config").differences
    assert differences == ["peak LR: 0.1 -> 0.05 in entry 5,000; 2 of 10,000 differ"]


def test_only_what_differs_is_told() -> None:
    saved, configured = state(Cosine(warmup=10)), state(Cosine(warmup=20, min_lr_ratio=0.1), run(total=200))
    assert choose(saved, plan_of(configured), "config").differences == [
        "warmup: 10 -> 20",
        "min_lr_ratio: none -> 0.1",
        "total_steps: 100 -> 200",
    ]


BUILT = Built([0.1, 0.01, 1.0], ["head", "body", "norm"], {"weight_decay": [0.1, 0.1, 0.0], "eps": [1e-8] * 3})
HEAD_ALONE = ByGroup(groups={"head": Linear()})
OF_HEAD = ByGroup(groups={"head": Linear(warmup=4), "norm": Fixed()}, default=Cosine())
WITHIN: dict[str, tuple[Schedule, Schedule, list[str]]] = {
    "of a group": (
        OF_HEAD,
        ByGroup(groups={"head": Cosine(), "norm": Fixed()}, default=Cosine()),
        ["groups['head']: Linear(warmup=4) -> Cosine()"],
    ),
    "of the groups that are named": (
        OF_HEAD,
        ByGroup(groups={"head": Linear(warmup=4), 1: Fixed(), 2: Linear()}),
        ["groups['norm']: Fixed() -> none", "groups[1]: none -> Fixed()", "groups[2]: none -> Linear()",
         "default: Cosine() -> none"],
    ),
    "of a number": (
        Hyperparameters(lr=OF_HEAD, weight_decay=Linear()),
        Hyperparameters(lr=OF_HEAD, weight_decay=Cosine(), others={"eps": Linear()}),
        ["weight_decay: Linear() -> Cosine()", "eps: none -> Linear()"],
    ),
    "of a group in a number": (
        Hyperparameters(lr=OF_HEAD, weight_decay=ByGroup(groups={"body": Linear(), 0: Fixed()})),
        Hyperparameters(lr=OF_HEAD, weight_decay=ByGroup(groups={"body": Cosine(), 0: Fixed()})),
        ["weight_decay.groups['body']: Linear() -> Cosine()"],
    ),
    "of a number in a group": (
        ByGroup(groups={"head": Hyperparameters(lr=Linear(), weight_decay=Linear())}),
        ByGroup(groups={"head": Hyperparameters(lr=Linear(), weight_decay=Cosine())}),
        ["groups['head'].weight_decay: Linear() -> Cosine()"],
    ),
    "of the LR in one way and another": (
        Hyperparameters(lr=Cosine(), weight_decay=Linear()),
        Hyperparameters(lr=HEAD_ALONE, weight_decay=Linear()),
        [f"lr: Cosine() -> {HEAD_ALONE!r}"],
    ),
    "of another kind": (Cosine(warmup=10), HEAD_ALONE, [f"schedule: Cosine(warmup=10) -> {HEAD_ALONE!r}"]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "lines"), WITHIN.values(), ids=WITHIN.keys())
def test_of_schedules_within_those_that_differ_are_told(old: Schedule, new: Schedule, lines: list[str]) -> None:
    saved = {**old.plan(RUN, BUILT).state(), "position": 50}
    configured = new.plan(RUN, BUILT)
    assert choose(saved, configured, "config").differences == lines
    assert choose(saved, configured, "checkpoint").plan.schedule == old
    assert choose(saved, old.plan(RUN, BUILT), "error").differences == []


@pytest.mark.parametrize("resume", ["error", "checkpoint", "config"])
def test_another_number_of_groups(resume: str) -> None:
    """Whatever the policy: nobody knows which group is which."""
    with pytest.raises(ResumeError, match="the checkpoint has 2 parameter groups and this run has 1: resume with"):
        choose(state(Fixed()), plan_of(state(Fixed(), lrs=(0.1,))), resume)


def test_a_schedule_that_is_not_known_here() -> None:
    """It can be left, and not followed."""
    saved = {**state(Fixed()), "schedule": {"schedule": "Mystery", "warmup": 0}}
    with pytest.raises(ResumeError, match="schedule: Mystery -> Cosine"):
        choose(saved, plan_of(state(Cosine())), "error")
    plan, differences = choose(saved, plan_of(state(Cosine())), "config")
    assert (plan.schedule, differences[0]) == (Cosine(), "schedule: Mystery -> Cosine")
    with pytest.raises(ValueError, match="schedule='Mystery' is not known here: import the module"):
        choose(saved, plan_of(state(Cosine())), "checkpoint")


UNREADABLE: dict[str, dict[str, Any]] = {
    "a kind that is not known here": {**Fixed().describe(), "schedule": "Mystery"},
    "such a kind as a phase": {
        **Sequence(schedules=[Fixed(), Fixed()], milestones=[10]).describe(),
        "schedules": [Fixed().describe(), {"schedule": "Mystery", "knob": 0.5}],
    },
    "a knob that is gone": {**Fixed().describe(), "knob": 0.5},
    "a value that is refused now": {**Linear().describe(), "min_lr_ratio": 2},
    "a length that is refused now": {**Linear().describe(), "warmup": 101},
}


@pytest.mark.parametrize("description", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_saved_schedule_that_cannot_be_built_leaves_the_way_of_this_run(description: dict[str, Any]) -> None:
    """The question can be asked, and answered with this run's plan; the checkpoint's cannot be followed."""
    saved, here = {**state(Fixed()), "schedule": description}, plan_of(state(Cosine()))
    with pytest.raises(ResumeError, match=r"(?s)plan different learning rates.*schedules?: "):
        choose(saved, here, "error")
    plan, differences = choose(saved, here, "config")
    assert plan is here
    assert differences
    with pytest.raises(ValueError, match=r"not known here|cannot be built|must be at least 0|the run does 100"):
        choose(saved, here, "checkpoint")


def test_a_phase_that_is_not_known_here_is_shown_by_its_knobs() -> None:
    saved = {**state(Fixed()), "schedule": UNREADABLE["such a kind as a phase"]}
    differences = choose(saved, plan_of(state(Cosine())), "config").differences
    assert "schedules: [Fixed(), Mystery(knob=0.5)] -> none" in differences


def test_a_factory_that_words_cannot_build() -> None:
    """The configured schedule itself is taken where the descriptions are equal."""
    schedule = TorchSchedule(factory=lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=30))
    same = state(schedule)
    assert choose(same, plan_of(same, schedule), "error").plan.schedule is schedule
    shorter = plan_of(state(schedule, run(total=60)), schedule)
    assert choose(same, shorter, "checkpoint").plan.horizon == RUN
    other = plan_of(state(Cosine()))
    assert choose(same, other, "config").plan.schedule == Cosine()
    with pytest.raises(ValueError, match="cannot be built from a checkpoint: give the same one in the settings"):
        choose(same, other, "checkpoint")


# The same share of the data


@pytest.mark.parametrize(
    ("before", "now", "position"),
    [(32, 32, 101), (32, 64, 51), (64, 32, 202), (32, 48, 67), (None, 64, 101), (32, None, 101)],
)
def test_rescaled_position(before: int | None, now: int | None, position: int) -> None:
    """Rounded half up; unchanged where a number of samples is not known."""
    assert rescaled_position(state(Fixed(), run(samples=before), position=101), run(samples=now)) == position
