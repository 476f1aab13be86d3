"""A damaged state is loaded in a plain PyTorch loop, and what the updates after it use is compared with formulas.

The oracle reads a state by itself and uses nothing of the project but schedules from words: it says what the state
claims, or that it claims nothing that could be true.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.optim import SGD, lr_scheduler

from lr_recipes import Horizon, schedules
from lr_recipes.plan.resume import ResumeError
from tests.callbacks.harness import SCHEDULES
from tests.damaged.mutate import HARMLESS, mutated
from tests.torture import reference
from tests.torture.reference import Facts

PLANS: dict[str, Any] = {
    **SCHEDULES,
    "step_in_epochs": schedules.Step(step_size="1 epoch", gamma=0.5),
    "samples": schedules.Linear(warmup="12 samples", min_lr=0.001),
    "torch": schedules.TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=3, gamma=0.5), warmup=2),
    "plateau": schedules.Plateau(factor=0.5, patience=1, cooldown=2, warmup=2, min_lr_ratio=0.1),
    "endless": schedules.InverseSqrt(warmup=4),
    "beside": schedules.Hyperparameters(
        lr=schedules.Cosine(warmup=2), weight_decay=schedules.Linear(min_lr_ratio=0.5), momentum=schedules.Linear()
    ),
    "by group": schedules.Hyperparameters(lr="cosine", weight_decay=schedules.ByGroup(groups={0: schedules.Linear()})),
}
DECAY = 0.25  # of each group, as built
RUNS = (
    Horizon(total_steps=20, steps_per_epoch=5, samples_per_step=2, source="4 epochs of 5 updates"),
    Horizon(total_steps=20, steps_per_epoch=[3, 7, 5], samples_per_step=2),
)
BASES = ([0.1], [0.1, 0.001], [1.0, 0.01, 0.5])
POLICIES = ("error",) * 7 + ("checkpoint", "config", "restart")
AFTER = 8  # updates that are looked at
_MOST = 10**15
_FAR = 10**4  # positions up to here are compared; the formulas count stretches one by one


class Claim(NamedTuple):
    """What a state says, where that can be true."""

    position: int
    held: int
    scale: float
    bases: list[float]
    factor: Any
    total: int | None
    decays: Any = None  # position -> the weight decay of each group


def check_loop(rng: random.Random) -> tuple[str, str]:
    """Damage a state and load it; return what was done, and what was wrong then, or nothing."""
    name = rng.choice(list(PLANS))
    schedule, horizon, bases = PLANS[name], rng.choice(RUNS), rng.choice(BASES)
    if name == "endless":
        horizon = Horizon()
    good = _saved(schedule, horizon, bases, rng)
    state, done = mutated(good, rng)
    policy = rng.choice(POLICIES)
    story = f"{name}, {horizon}, {bases}, resume={policy!r}: {'; '.join(done)}"

    loop = _Loop(schedule, horizon, bases)
    loop.train(rng.choice([0, 3]))
    before = loop.look()
    try:
        differences = loop.bound.restore(state, resume=policy)
    except ResumeError as error:
        if all(one == HARMLESS for one in done):
            return story, f"refused, though nothing is wrong: {error}"
        if loop.look() != before:
            return story, f"half restored: {before} became {loop.look()}"
        return story, loop.goes_on_from(before)
    claim = _claim(state, good, schedule, horizon, strict=policy not in ("config", "restart"))
    if policy == "restart" and differences:
        return story, loop.uses(_configured(schedule, horizon, bases, 0, 0, 1.0))
    if claim is None:
        return story, "taken, though it cannot be true"
    # 0.1.0 saved nothing that tells of a wrong first peak, which an absolute floor is measured against.
    peak = None if "end_factor" in state else state["peak"]
    own = _configured(schedule, horizon, bases, claim.position, claim.held, claim.scale, peak)
    if policy == "error" and not _alike(claim, own):
        return story, "taken, though it is another plan"
    return story, loop.uses(claim if policy == "checkpoint" else own)


def _saved(schedule: Any, horizon: Horizon, bases: list[float], rng: random.Random) -> dict[str, Any]:
    """The state of a loop that has come to some update; in some the LR is held for five of them."""
    loop, held = _Loop(schedule, horizon, bases), rng.random() < 0.3
    updates = rng.randrange(0, 19)
    if held:
        loop.bound.attach(every_update=False)
    for update in range(updates):
        if held and update % 5 == 0:
            loop.bound.refresh()
        if update % 3 == 2:
            loop.bound.observe(rng.choice([1.0, 0.9, 0.5]))
        loop.train(1)
    state = loop.bound.state_dict()
    if rng.random() < 0.15 and "built" not in state:  # what 0.1.0 saved
        for key in ("every_update", "next_lrs", "end_factor"):
            del state[key]
    return state


class _Loop:
    def __init__(self, schedule: Any, horizon: Horizon, bases: list[float]) -> None:
        weights = [torch.nn.Parameter(torch.ones(1)) for _ in bases]
        for weight in weights:
            weight.grad = torch.ones(1)
        groups = [{"params": [weight], "lr": lr} for weight, lr in zip(weights, bases, strict=True)]
        self.optimizer = SGD(groups, momentum=0.9, weight_decay=DECAY)
        self.bound = schedule.bind(self.optimizer, horizon)
        self.schedule, self.horizon, self.bases = schedule, horizon, bases

    def train(self, updates: int) -> list[list[float]]:
        used = []
        for _ in range(updates):
            groups = self.optimizer.param_groups
            used.append([float(group[key]) for key in ("lr", "weight_decay") for group in groups])
            self.optimizer.step()
            self.bound.step()
        return used

    def look(self) -> Any:
        """Everything that a state could have changed."""
        groups = [
            {key: value for key, value in group.items() if key != "params"} for group in self.optimizer.param_groups
        ]
        bound = self.bound
        return copy.deepcopy((groups, bound.position, bound.scale, bound.seen, bound.plan.state(), bound.state_dict()))

    def goes_on_from(self, before: Any) -> str:
        """Go on after a state that was refused: as if there had been none."""
        position = before[1]
        return self.uses(_configured(self.schedule, self.horizon, self.bases, position, position, 1.0))

    def uses(self, expected: Claim) -> str:
        """Train on, and compare."""
        if self.bound.position != expected.position:
            return f"it is at {self.bound.position}, and should be at {expected.position}"
        positions = [expected.held, *(expected.position + n for n in range(1, AFTER))]
        used = self.train(AFTER)
        for position, numbers in zip(positions, used, strict=True):
            if position > _FAR and expected.total is None:
                continue
            planned = [base * expected.factor(position) * expected.scale for base in expected.bases]
            planned += expected.decays(position)
            if not _near(numbers, planned):
                return f"update {position} used {numbers}, and should have used {planned}"
        return ""


def _near(some: Any, others: Any) -> bool:
    return len(some) == len(others) and all(
        math.isclose(one, other, rel_tol=1e-7, abs_tol=1e-11) for one, other in zip(some, others, strict=True)
    )


def _configured(
    schedule: Any,
    horizon: Horizon,
    bases: list[float],
    position: int,
    held: int,
    scale: float,
    peak: float | None = None,
) -> Claim:
    facts = _facts(horizon, max(bases) if peak is None else peak)
    decays = _decays(schedule, facts, [DECAY] * len(bases))
    return Claim(position, held, scale, bases, reference.factor(schedule, facts), horizon.total_steps, decays)


def _decays(schedule: Any, facts: Facts, built: list[float]) -> Any:
    """Position -> the weight decay of each group, from what it was built with."""
    one = getattr(schedule, "others", {}).get("weight_decay")
    if one is None:
        return lambda n: built
    by_group = type(one).__name__ == "ByGroup"  # of the first group, here
    at = reference.factor(one.groups[0] if by_group else one, facts)
    return lambda n: [value * (at(n) if group == 0 or not by_group else 1.0) for group, value in enumerate(built)]


def _facts(horizon: Horizon, peak: float) -> Facts:
    epochs: Any = horizon.steps_per_epoch
    listed = () if epochs is None else (epochs,) if isinstance(epochs, int) else epochs
    return Facts(
        horizon.total_steps, listed, horizon.samples_per_step, abs(peak) or 1.0
    )  # torch's factors are the same at any LR


def _alike(claim: Claim, own: Claim) -> bool:
    """Whether two plans give the same LRs as far as both go."""
    shared = min(claim.total or 100, own.total or 100)
    return claim.bases == own.bases and all(
        _near([claim.factor(n), *claim.decays(n)], [own.factor(n), *own.decays(n)]) for n in range(shared)
    )


def _claim(state: dict[str, Any], good: dict[str, Any], schedule: Any, horizon: Horizon, strict: bool) -> Claim | None:
    """Read a state; ``None`` where what it says cannot be true. Not strict: where the configured plan is followed."""
    try:
        return _read(state, good, schedule, horizon, strict)
    except Exception:
        return None


def _whole(value: Any) -> int:
    assert type(value) is int
    assert 0 <= value <= _MOST
    return value


def _number(value: Any) -> float:
    assert type(value) in (int, float)
    return float(value)


def _read(state: dict[str, Any], good: dict[str, Any], schedule: Any, horizon: Horizon, strict: bool) -> Claim:
    position, held = _whole(state["position"]), _whole(state["refreshed_at"])
    assert held <= position
    if "every_update" in state:
        assert type(state["every_update"]) is bool
        assert held == position or not state["every_update"]
    bases, peak = [_number(one) for one in state["base_lrs"]], _number(state["peak"])
    assert all(map(math.isfinite, [*bases, peak]))
    assert type(state["cycles_momentum"]) is bool
    said = {part: state[part] for part in ("schedule", "horizon", "base_lrs", "peak")}
    followed, run = schedule, horizon
    if strict and said != {part: good[part] for part in said}:
        followed, run = _other_plan(state, good, schedule)
    facts = _facts(run, peak)
    factor = reference.factor(followed, facts) if strict else (lambda n: math.nan)
    scale = _scale(state["plateau"], followed, facts, strict)
    if strict:
        moves = "momentum" in getattr(followed, "others", {})
        assert state["cycles_momentum"] == (
            moves or (type(followed).__name__ == "OneCycle" and followed.cycle_momentum)
        )
        assert (state["plateau"] is None) == (type(followed).__name__ != "Plateau") or "next_lrs" not in state
        if "next_lrs" in state:
            assert _near([_number(one) for one in state["next_lrs"]], [base * factor(held) * scale for base in bases])
        if "end_factor" in state and run.total_steps is not None and type(followed).__name__ != "Plateau":
            assert _near([_number(state["end_factor"])], [factor(run.total_steps)])
    built = [DECAY] * len(bases)
    if strict and getattr(followed, "others", {}):
        built = [_number(one) for one in state["built"]["others"]["weight_decay"]]
        assert [len(one) for one in (built, state["built"]["names"])] == [len(bases)] * 2
    decays = _decays(followed, facts, built) if strict else (lambda n: [math.nan])
    if strict and getattr(followed, "others", {}):
        moved = state["next_others"]["weight_decay"]
        known = [(one, other) for one, other in zip(moved, decays(held), strict=True) if one is not None]
        assert _near([_number(one) for one, _ in known], [other for _, other in known])
    return Claim(position, held, scale, bases, factor, run.total_steps, decays)


def _other_plan(state: dict[str, Any], good: dict[str, Any], schedule: Any) -> tuple[Any, Horizon]:
    said = state["horizon"]
    facts = {name: said[name] for name in ("total_steps", "steps_per_epoch", "samples_per_step", "source")}
    facts["tokens_per_sample"] = said.get("tokens_per_sample")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        same = state["schedule"] == good["schedule"]  # 1.0 is the same as 1, here and for whoever reads it
        return schedule if same else schedules.from_description(state["schedule"]), Horizon(**facts)


def _scale(seen: Any, schedule: Any, facts: Facts, strict: bool) -> float:
    if seen is None or type(schedule).__name__ != "Plateau":
        return 1.0
    bad, rest, cuts = _whole(seen["bad"]), _whole(seen["cooldown"]), _whole(seen["reductions"])
    assert seen["best"] is None or not math.isnan(_number(seen["best"]))
    if strict:
        assert bad <= schedule.patience
        assert rest <= schedule.cooldown
        assert not rest or (cuts and not bad)
    return max(schedule.factor ** min(cuts, 10**6), schedule.min_lr_ratio or 0.0)
