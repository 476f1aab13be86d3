"""A saved state is checked as a whole before anything of it is used: what is refused, and what is not."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, LearningRateWarmup
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.state import SAID_TWICE, ResumeError
from lr_recipes.schedules import Cosine, Fixed, Linear, OneCycle, Plateau, Schedule, TorchSchedule
from tests.callbacks.harness import Validated, fit, keep_all, record_lrs
from tests.optimizer.loops import sgd, torch_style

pytestmark = pytest.mark.behaviour("B70")

RUN = Horizon(total_steps=20, steps_per_epoch=5, samples_per_step=2)
COSINE = Cosine(warmup=4, min_lr=0.01)
PLATEAU = Plateau(warmup=2, patience=1, cooldown=2, factor=0.5)


def saved(schedule: Schedule = COSINE, updates: int = 7, values: tuple[float, ...] = ()) -> dict[str, Any]:
    """The state of a loop after some updates."""
    bound = schedule.bind(sgd(0.1, 0.02), RUN)
    torch_style(bound, updates)
    for value in values:
        bound.observe(value)
    return bound.state_dict()


def without(state: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in names}


def deep(state: dict[str, Any], *path: Any, value: Any) -> dict[str, Any]:
    state = copy.deepcopy(state)
    *before, last = path
    part: Any = state
    for key in before:
        part = part[key]
    part[last] = value
    return state


STATE, SEEN = saved(), saved(PLATEAU, values=(1.0, 1.0, 1.0))
NESTED: Any = 0
for _ in range(5000):
    NESTED = [NESTED]
# What was done -> the state, and words of the message.
DAMAGED: dict[str, tuple[dict[str, Any], str]] = {
    "position missing": (without(STATE, "position"), "position is missing"),
    "no tokens": (deep(STATE, "horizon", "tokens_per_sample", value=0), "horizon.tokens_per_sample is 0, and must be"),
    "plan missing": (without(STATE, "base_lrs"), "base_lrs is missing"),
    "total missing": (deep(STATE, "horizon", value=without(STATE["horizon"], "total_steps")), "horizon.total_steps is"),
    "position of no kind": (deep(STATE, "position", value=None), "position is None, and must be a whole number"),
    "position as text": (deep(STATE, "position", value="7"), "position is '7'"),
    "position true": (deep(STATE, "position", value=True), "position is True"),
    "position below 0": (deep(STATE, "position", value=-1), "position is -1"),
    "position of 400 digits": (deep(STATE, "position", value=10**400), r"position is 1000.* \(401 characters\)"),
    "position of 5000 digits": (deep(STATE, "position", value=10**5000), "position is <int>"),
    "held from nowhere": (deep(STATE, "refreshed_at", value=math.nan), "refreshed_at is nan"),
    "held from later": (deep(STATE, "refreshed_at", value=8), "refreshed_at is 8, and must be at most the position, 7"),
    "held where nothing is": (deep(STATE, "refreshed_at", value=5), "refreshed_at is 5, and must be the position, 7"),
    "another position": (deep(deep(STATE, "position", value=8), "refreshed_at", value=8), "next_lrs is"),
    "another first peak": (deep(STATE, "peak", value=0.2), "end_factor is 0.1, and its plan ends at 0.05"),
    "another next LR": (deep(STATE, "next_lrs", 0, value=0.1), "next_lrs is"),
    "a next LR too few": (deep(STATE, "next_lrs", value=[0.1]), "next_lrs is"),
    "said twice but for one": (without(STATE, "next_lrs"), "next_lrs is missing"),
    "peak not finite": (deep(STATE, "base_lrs", 0, value=math.inf), r"base_lrs\[0\] is inf"),
    "peak beyond 32 bits": (
        deep(STATE, "base_lrs", 0, value=1e39),
        r"base_lrs\[0\] is 1e\+39, and must be a number of",
    ),
    "peaks by number": (deep(STATE, "base_lrs", value={0: 0.1, 1: 0.02}), "base_lrs is {0: 0.1, 1: 0.02}, and must be"),
    "peak that is a tensor": (deep(STATE, "base_lrs", 0, value=torch.tensor(0.1)), r"base_lrs\[0\] is tensor"),
    "schedule of no kind": (deep(STATE, "schedule", "schedule", value=3), "schedule is .*description of a schedule"),
    "schedule nested too deep": (deep(STATE, "schedule", "min_lr", value=NESTED), "schedule is .*as plain values"),
    "empty epochs": (deep(STATE, "horizon", "steps_per_epoch", value=[]), r"horizon.steps_per_epoch is \[\]"),
    "momentum that is not moved": (deep(STATE, "cycles_momentum", value=True), "its plan says False"),
    "momentum that is moved": (deep(saved(OneCycle()), "cycles_momentum", value=False), "its plan says True"),
    "a metric of nothing": (deep(STATE, "plateau", value=SEEN["plateau"]), "its plan reacts to no metric"),
    "nothing of a metric": (deep(SEEN, "plateau", value=None), "its plan reacts to a metric"),
    "cuts": (deep(SEEN, "plateau", "reductions", value=2), "next_lrs is"),
    "cuts of 400 digits": (deep(SEEN, "plateau", "reductions", value=10**400), "plateau.reductions is"),
    "best of none": (deep(SEEN, "plateau", "best", value=math.nan), "plateau.best is nan"),
    "patience that is over": (deep(saved(PLATEAU), "plateau", "bad", value=2), "no values of a metric lead there"),
    "bad in a cooldown": (deep(SEEN, "plateau", "bad", value=1), "no values of a metric lead there"),
}


@pytest.mark.parametrize(("state", "words"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_state_is_refused_and_nothing_is_changed(state: dict[str, Any], words: str) -> None:
    schedule = {"Plateau": PLATEAU, "OneCycle": OneCycle()}.get(state["schedule"]["schedule"], COSINE)
    bound = schedule.bind(sgd(0.1, 0.02), RUN)
    undisturbed = schedule.bind(sgd(0.1, 0.02), RUN)
    assert torch_style(bound, 3) == torch_style(undisturbed, 3)
    before, groups = bound.state_dict(), copy.deepcopy(bound.optimizer.state_dict()["param_groups"])
    with pytest.raises(ResumeError, match=words):
        bound.load_state_dict(state)
    assert bound.state_dict() == before
    assert bound.optimizer.state_dict()["param_groups"] == groups
    assert torch_style(bound, 17) == torch_style(undisturbed, 17)


@pytest.mark.parametrize("value", [None, [], 3, {}, {"step_size": 3, "base_lrs": [0.1]}])
def test_what_is_no_state_of_a_schedule_is_refused(value: Any) -> None:
    with pytest.raises(ResumeError, match="this is not the state of a schedule of lr_recipes"):
        COSINE.bind(sgd(0.1), RUN).load_state_dict(value)


SOUND: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "as it is": lambda state: state,
    "of 0.1.0": lambda state: without(state, *SAID_TWICE),
    "of a later version": lambda state: {**state, "later": object(), "horizon": {**state["horizon"], "later": 3}},
    "tuples": lambda state: {**state, "base_lrs": tuple(state["base_lrs"]), "next_lrs": tuple(state["next_lrs"])},
    "rounded by another library": lambda state: {**state, "next_lrs": [lr * (1 + 1e-15) for lr in state["next_lrs"]]},
}


@pytest.mark.parametrize("changed", SOUND.values(), ids=SOUND)
def test_sound_state_goes_on(changed: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    bound, whole = COSINE.bind(sgd(0.1, 0.02), RUN), COSINE.bind(sgd(0.1, 0.02), RUN)
    bound.load_state_dict(changed(STATE))
    assert torch_style(bound, 13) == torch_style(whole, 20)[7:]


@pytest.mark.parametrize("state", [deep(STATE, "position", value=None), deep(STATE, "next_lrs", value=[9.0, 9.0])])
def test_restart_needs_nothing_of_a_damaged_state(state: dict[str, Any]) -> None:
    bound, whole = COSINE.bind(sgd(0.1, 0.02), RUN), COSINE.bind(sgd(0.1, 0.02), RUN)
    torch_style(bound, 3)
    assert bound.restore(state, resume="restart") != []
    assert torch_style(bound, 20) == torch_style(whole, 20)


def test_config_follows_this_runs_plan_from_an_odd_position_and_says_so() -> None:
    """Its own curve may have changed, such as that of a schedule of somebody's own: that is no damage."""
    bound = COSINE.bind(sgd(0.1, 0.02), RUN)
    (told,) = bound.restore(deep(STATE, "next_lrs", value=[9.0, 9.0]), resume="config")
    assert "next_lrs is [9.0, 9.0]" in told
    assert torch_style(bound, 13) == torch_style(COSINE.bind(sgd(0.1, 0.02), RUN), 20)[7:]


def test_plan_that_ends_before_the_position_changes_nothing() -> None:
    """It fails where it is asked for the position, and before it is followed."""
    short = TorchSchedule(factory=partial(OneCycleLR, max_lr=0.1, total_steps=5))
    state = without(saved(Fixed()), *SAID_TWICE)
    bound = short.bind(sgd(0.1, 0.02), Horizon())
    groups = copy.deepcopy(bound.optimizer.state_dict()["param_groups"])
    with pytest.raises(ValueError, match="OneCycleLR stops after 5 steps"):
        bound.restore({**state, "horizon": Horizon().describe()}, resume="config")
    assert (bound.position, bound.optimizer.state_dict()["param_groups"]) == (0, groups)


# What the callbacks save

PARTS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "LearningRateScheduler": (lambda folder: LearningRateScheduler(Plateau()), {"module": Validated}),
    "LearningRateWarmup": (lambda folder: LearningRateWarmup(4), {}),
    "LearningRateRangeTest": (lambda folder: LearningRateRangeTest(epoch=None), {}),
    "LearningRateLogger": (record_lrs, {}),
}


@pytest.mark.parametrize("key", PARTS)
def test_every_part_that_is_missing_or_of_another_kind_is_refused(key: str, tmp_path: Path) -> None:
    make, options = PARTS[key]
    module = options.get("module")
    fit(module=module and module(), callbacks=[make(tmp_path), keep_all(tmp_path)], max_epochs=1)
    state = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["callbacks"][key]
    make(tmp_path).load_state_dict(state)
    make(tmp_path).load_state_dict({**state, "of a later version": object()})
    for name in state:
        for value in (object(), [[3]], "text", 3.5, torch.ones(2)):
            with pytest.raises(ResumeError, match=f"the state of {key} in the checkpoint is damaged"):
                make(tmp_path).load_state_dict({**state, name: value})
    needed = [name for name in state if name not in ("metrics", "checksum", "groups", "before")]
    for name in needed:
        with pytest.raises(ResumeError, match=f"{name} is missing"):
            make(tmp_path).load_state_dict(without(state, name))


def test_a_state_is_not_looked_at_where_it_changes_nothing() -> None:
    """A checkpoint that is only tested may hold anything."""
    callback = LearningRateLogger()
    callback._stage = "test"
    callback.load_state_dict({"files": 3})
    assert callback.state_dict() == {}


@pytest.mark.parametrize("part", ["epoch", "metrics", "plateau"])
def test_what_no_lr_follows_from_is_summed_up(part: str, tmp_path: Path) -> None:
    scheduler = LearningRateScheduler(Plateau())
    fit(module=Validated([1.0]), callbacks=[scheduler, keep_all(tmp_path)], max_epochs=1)
    state = torch.load(tmp_path / "step=3.ckpt", weights_only=True)["callbacks"]["LearningRateScheduler"]
    if part == "epoch":
        state["epoch"] = 1
    elif part == "metrics":
        state["metrics"]["done_up_to"] = 0
    else:
        state["optimizers"]["SGD"]["plateau"]["best"] = 0.5
    with pytest.raises(ResumeError, match="checksum is"):
        LearningRateScheduler(Plateau()).load_state_dict(state)


def test_saved_plan_is_read_without_its_warnings() -> None:
    """More than half of that run is warmup, which was said when it was made."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = Linear(warmup=15).bind(sgd(0.1), RUN).state_dict()
    with pytest.raises(ResumeError, match="warmup: 15 -> 4"):
        Linear(warmup=4).bind(sgd(0.1), RUN).load_state_dict(state)
