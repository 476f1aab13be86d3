"""Findings, each on numbers alone: a case that has it, and a neighbor that has not. The table is at the top.

Whether they are found in what people write, and nowhere else, is held by ``tests/foretold``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from lr_recipes.plan.series import Series, Ticked
from lr_recipes.report.findings import FINDINGS, Case, Finding, Reacting, of

PEAK = 0.1


def series(*groups: Iterable[float], names: tuple[str, ...] = (), first: int = 0) -> Series:
    made = Series(names or tuple(f"group{k}" for k in range(len(groups))), first)
    for lrs in zip(*groups, strict=True):
        made.add(list(lrs))
    return made


def case(lrs: Iterable[float], *schedulers: Ticked, onward: Iterable[float] | None = None, **more: Any) -> Case:
    made = series(list(lrs))
    past = None if onward is None else series(list(onward), first=made.end)
    return Case(made, schedulers=schedulers, onward=past, **more)


def per_update(kind: str, updates: int = 32, **settings: Any) -> Ticked:
    told = next((name for name in ("T_max", "total_steps", "total_iters") if name in settings), "")
    return Ticked(
        kind,
        "step",
        ticks=range(1, updates + 1),
        settings=settings,
        told=told,
        length=settings.get(told) if told else None,
    )


def per_epoch(kind: str, epochs: int = 4, batches: int = 8, **settings: Any) -> Ticked:
    one = per_update(kind, epochs, **settings)
    return one._replace(interval="epoch", ticks=[(n + 1) * batches for n in range(epochs)])


def cosine(length: int, updates: int = 32, first: int = 0) -> list[float]:
    return [PEAK * (1 + math.cos(math.pi * n / length)) / 2 for n in range(first, first + updates)]


def line(length: int, updates: int = 32, first: int = 0) -> list[float]:
    """Falls to 0 in so many updates, and stays there."""
    return [PEAK * max(1 - n / length, 0.0) for n in range(first, first + updates)]


def rise(length: int, updates: int = 32, first: int = 0) -> list[float]:
    return [PEAK * min((n + 1) / length, 1.0) for n in range(first, first + updates)]


def restarts(length: int, updates: int = 32, first: int = 0) -> list[float]:
    return [PEAK * (1 + math.cos(math.pi * (n % length) / length)) / 2 for n in range(first, first + updates)]


def powers(gamma: float, updates: int = 32, first: int = 0) -> list[float]:
    return [PEAK * gamma**n for n in range(first, first + updates)]


def t_max(length: int, **more: Any) -> Ticked:
    return per_update("CosineAnnealingLR", T_max=length, **more)


def plateau(**facts: Any) -> Case:
    told = {"monitor": "val_loss", "patience": 3, "decisions": 4, "cuts": True, **facts}
    return case([PEAK] * 32, per_epoch("ReduceLROnPlateau", patience=told["patience"]), plateaus=[Reacting(**told)])


WARM = per_update("CosineAnnealingWarmRestarts", T_0=10)._replace(restarts=True)


class Row(NamedTuple):
    """One row.

    Attributes:
        has: cases that have it.
        has_not: neighbors of these that have not.
        says: words of its sentence, in the first of the cases.
        update: where it shows there.
    """

    has: list[Callable[[], Case]]
    has_not: list[Callable[[], Case]]
    says: list[str]
    update: int | None


TABLE: dict[str, Row] = {
    "climbs_again": Row(
        [
            lambda: case(cosine(8), t_max(8), epochs=4, batches=8),
            lambda: case(cosine(20), t_max(20)),
            lambda: case([*line(16, 16), *line(16, 16)[::-1]]),  # a record, of whose scheduler nothing is known
        ],
        [
            lambda: case(cosine(32), t_max(32)),
            lambda: case(restarts(10, 30), WARM),
            lambda: case([*restarts(16)]),  # back in one leap: somebody has written that
            lambda: case([PEAK * (1 - abs(n % 16 - 8) / 8) for n in range(32)]),  # to and fro from the start
        ],
        ["from update 9 on climbs", "ends at", "is ticked 32 times, once an update, with T_max=8", "Give T_max=32"],
        9,
    ),
    "floor_not_reached": Row(
        [
            lambda: case(cosine(64), t_max(64), onward=cosine(64, 40, 32)),
            lambda: case(line(40), per_update("PolynomialLR", total_iters=40), onward=line(40, 20, 32)),
            lambda: case(rise(40), per_update("OneCycleLR", total_steps=100), onward=rise(40, 10, 32)),
        ],
        [
            lambda: case(cosine(33), t_max(33), onward=cosine(33, 40, 32)),
            lambda: case(line(32), per_update("PolynomialLR", total_iters=32), onward=line(32, 20, 32)),
            lambda: case(powers(0.95), per_update("ExponentialLR", gamma=0.95), onward=powers(0.95, 900, 32)),
            # until 32 bits cannot tell it from what is before it
            lambda: case(powers(0.9), per_update("ExponentialLR"), onward=[*powers(0.9, 950, 32), *[1e-45] * 50]),
            lambda: case([PEAK / math.sqrt(n + 1) for n in range(32)], onward=[PEAK / 6] * 0),
        ],
        ["ends at an LR of 0.0525, of a peak of 0.1", "32 times, once an update, with T_max=64", "Give T_max=32"],
        31,
    ),
    "peak_not_reached": Row(
        [
            lambda: case(rise(100), per_update("LambdaLR"), onward=rise(100, 90, 32)),
            lambda: case(rise(100)),
        ],
        [
            lambda: case(rise(32), per_update("LambdaLR"), onward=rise(32, 90, 32)),
            lambda: case(rise(100), whole=False),
            lambda: case(rise(32, 64), per_update("LambdaLR")),
        ],
        ["still rising when the run ends, at 0.032 of 0.1", "longer than the 32 ticks of LambdaLR"],
        31,
    ),
    "finished_early": Row(
        [lambda: case(line(16), per_update("PolynomialLR", total_iters=16)), lambda: case(line(20))],
        [
            lambda: case(line(28)),
            lambda: case(line(16), whole=False),
            lambda: case([max(lr, PEAK / 2) for lr in line(16)]),  # held high, as somebody may want
            lambda: case([PEAK] * 16 + [0.001] * 16),  # a cut
        ],
        ["has come down to 0 by update 16", "16 of 32 updates", "Give total_iters=32"],
        16,
    ),
    "ends_high": Row(
        [lambda: case(restarts(20), WARM, onward=restarts(20, 20, 32)), lambda: case(restarts(12), WARM)],
        [
            lambda: case(restarts(16), WARM, onward=restarts(16, 20, 32)),
            lambda: case(restarts(20), per_update("CyclicLR")._replace(restarts=True)),
            lambda: case(restarts(20), WARM, whole=False),
        ],
        ["the last cycle is not over", "its last update uses", "of 0.1"],
        31,
    ),
    "vanishes": Row(
        [lambda: case(powers(0.2), per_update("ExponentialLR", gamma=0.2)), lambda: case(powers(0.3))],
        [
            lambda: case(powers(0.5)),
            lambda: case(powers(0.2), whole=False),  # nobody knows of how many updates
            lambda: case([PEAK] * 32),
        ],
        ["below a millionth of its peak, 0.1, in 23 of 32 updates", "interval='epoch'"],
        9,
    ),
    "milestone_never_hit": Row(
        [
            lambda: case([PEAK] * 32, per_epoch("MultiStepLR", milestones=[2.5, 3])),
            lambda: case([PEAK] * 32, per_epoch("MultiStepLR", milestones=[2, 30])),
            lambda: case([PEAK] * 32, per_epoch("StepLR", step_size=10)),
            lambda: case([PEAK] * 32, per_epoch("StepLR", step_size=1.5)),
            lambda: case([PEAK] * 32, per_epoch("SequentialLR", milestones=[6])),
            lambda: case(
                [PEAK] * 32,
                per_epoch("ChainedScheduler")._replace(parts=[Ticked("StepLR", settings={"step_size": 9})]),
            ),
        ],
        [
            lambda: case([PEAK] * 32, per_epoch("MultiStepLR", milestones=[2.0, 3])),
            lambda: case([PEAK] * 32, per_epoch("MultiStepLR", milestones=[2, 4])),
            lambda: case([PEAK] * 32, per_epoch("StepLR", step_size=2)),
            lambda: case([PEAK] * 32, per_epoch("SequentialLR", milestones=[3])),
        ],
        ["milestone 2.5 of MultiStepLR is never hit", "int(...)"],
        0,
    ),
    "never_ticks": Row(
        [
            lambda: case([PEAK] * 32, unread=["StepLR"]),
            lambda: case([PEAK] * 32, Ticked("StepLR", "step", 12), batches=8),
            lambda: case([PEAK] * 32, Ticked("StepLR", "epoch", 9)),
            lambda: case([PEAK] * 32, Ticked("StepLR", "epoch")),
            lambda: case([PEAK] * 32, Ticked("StepLR", "step")),
        ],
        [lambda: case([PEAK] * 32, per_epoch("StepLR", 4, step_size=9)), lambda: case([PEAK] * 32, Ticked("StepLR"))],
        ["StepLR was built on this optimizer", "lr_scheduler"],
        0,
    ),
    "frequency_restarts": Row(
        [lambda: case([PEAK] * 28, Ticked("ExponentialLR", "step", 3, [3, 6, 10, 13, 17, 20, 24, 27]), batches=7)],
        [
            lambda: case([PEAK] * 28, Ticked("ExponentialLR", "step", 3, range(3, 28, 3)), batches=6),
            lambda: case([PEAK] * 6, Ticked("ExponentialLR", "step", 3, [3, 6]), batches=7),  # one epoch
            lambda: case(
                [PEAK] * 28,
                Ticked("CosineAnnealingLR", "step", 3, [3, 6, 10, 13, 17, 20, 24, 27], length=8, told="T_max"),
                batches=7,
            ),
        ],
        [
            "frequency=3",
            "ticked 2 times in each epoch of 7 batches, and not every 3 updates",
            "give one that divides 7",
        ],
        3,
    ),
    "frequency_with_accumulation": Row(
        [
            lambda: case([PEAK] * 8, Ticked("ExponentialLR", "step", 2, range(1, 9)), batches=8, accumulate=4),
            lambda: case([PEAK] * 16, Ticked("ExponentialLR", "step", 4, range(2, 17, 2)), batches=8, accumulate=2),
        ],
        [
            lambda: case([PEAK] * 8, Ticked("ExponentialLR", "step", 1, range(1, 9)), batches=8, accumulate=4),
            lambda: case([PEAK] * 8, Ticked("ExponentialLR", "step", 2, range(2, 9, 2)), batches=8),
        ],
        ["frequency=2 counts batches, and an update takes 4 of them", "is ticked 8 times, and not 4", "Leave"],
        1,
    ),
    "raises": Row(
        [lambda: case([PEAK] * 24, raised=(24, "ValueError: Tried to step 25 times"))],
        [lambda: case([PEAK] * 24)],
        ["the run stops before update 24 with an error: ValueError: Tried to step 25 times"],
        24,
    ),
    "negative_lr": Row(
        [
            lambda: case([PEAK * (1 - n / 20) for n in range(32)], per_update("LambdaLR")),
            lambda: case([*line(24, 24), -4e-7], per_update("OneCycleLR", 25, total_steps=24)),
        ],
        [lambda: case(line(32)), lambda: case([0.0] * 32)],
        ["update 21 uses an LR below 0, -0.005 in group0"],
        21,
    ),
    "ratio_changed": Row(
        [
            lambda: Case(series(line(32), line(32)), built=[0.01, 0.1], schedulers=[per_update("OneCycleLR")]),
        ],
        [
            lambda: Case(series([lr / 10 for lr in line(32)], line(32)), built=[0.01, 0.1]),
            lambda: Case(series(line(32), line(32)), built=[0.1, 0.1]),
            lambda: Case(
                series(line(32), line(32)), built=[0.01, 0.1], schedulers=[per_update("LambdaLR")._replace(apart=True)]
            ),
            lambda: Case(series(line(32), line(32))),  # it is not known what they were built with
        ],
        ["built with LRs 0.01 and 0.1, and OneCycleLR leads all of them to 0.1", "Give OneCycleLR a list of 2 values"],
        0,
    ),
    "group_rises": Row(
        [
            lambda: Case(
                series([0.0001 + n * 1e-5 for n in range(32)], line(33)),
                schedulers=[t_max(33, eta_min=0.001)],
            ),
        ],
        [
            lambda: Case(series([lr / 10 for lr in line(33)], line(33)), schedulers=[t_max(33)]),
            lambda: Case(
                series([0.0001 + n * 1e-5 for n in range(32)], line(33)),
                schedulers=[per_update("LambdaLR")._replace(apart=True)],
            ),
        ],
        ["group0 goes up, from 0.0001 to 0.00041, while others decay: eta_min=0.001 lies above it"],
        0,
    ),
    "first_updates_zero": Row(
        [
            lambda: case([0.0] * 8 + [PEAK] * 24),
            lambda: case([0.0, *rise(4, 31)]),
        ],
        [
            lambda: case(rise(8)),
            lambda: case([0.0] * 32),  # all of it: no warmup
            lambda: Case(series([0.0] * 8 + [PEAK] * 24, [PEAK] * 32)),  # a frozen group
            lambda: Case(series([0.0] * 8 + [PEAK] * 24, first=8)),  # a run that goes on
        ],
        ["updates 0 to 7 train nothing (8 of 32)", "(n + 1) / W in place of n / W"],
        0,
    ),
    "two_writers": Row(
        [lambda: case(line(32), undone=(8, 20, "OneCycleLR", "StepLR"))],
        [lambda: case(line(32))],
        ["OneCycleLR and StepLR", "from update 8 on, in 20 updates", "one LambdaLR", "a SequentialLR"],
        8,
    ),
    "replaced": Row(
        [lambda: case([*line(16, 16), *[0.05] * 16], replaced=(16, "StochasticWeightAveraging", "StepLR"))],
        [lambda: case(line(32))],
        ["StochasticWeightAveraging puts a scheduler of its own in the place of StepLR from update 16 on", "0.05"],
        16,
    ),
    "late_by_one": Row(
        [lambda: case(line(32), late=(8, "Give it current_epoch + 1"))],
        [lambda: case(line(32))],
        ["from update 8 on each epoch uses the LR of the epoch before", "Give it current_epoch + 1"],
        8,
    ),
    "plateau_cannot_cut": Row(
        [lambda: plateau(cuts=False, patience=10, decisions=8)],
        [lambda: plateau(cuts=True), lambda: plateau(cuts=False, decisions=0)],
        [
            "ReduceLROnPlateau is told val_loss 8 times, and with patience=10",
            "after 12 times at the earliest",
            "Give patience=5 or less",
        ],
        None,
    ),
    "plateau_stale": Row(
        [lambda: plateau(stale=6, decisions=32, validations=2)],
        [lambda: plateau(stale=None, decisions=4, validations=4)],
        ["is told val_loss 32 times, and there were 2 validations", "cuts the LR of update 6"],
        6,
    ),
    "total_unknown": Row(
        [
            lambda: case([PEAK] * 32, t_max(-1)),
            lambda: case([PEAK] * 32, per_update("PolynomialLR", total_iters=math.inf)),
            lambda: case([PEAK] * 32, Ticked("SequentialLR", "step", parts=[t_max(-1)], ticks=range(32))),
        ],
        [
            lambda: case(cosine(32), t_max(32)),
            lambda: case([PEAK] * 32, per_epoch("MultiStepLR", milestones=[-1])._replace(settings={"gamma": -1})),
        ],
        ["CosineAnnealingLR was given T_max=-1", "Give T_max the number of its ticks"],
        None,
    ),
    "other_length": Row(
        [lambda: case(cosine(32), t_max(32), lengths=[("CosineAnnealingLR", "T_max", 48, 32)])],
        [lambda: case(cosine(32), t_max(32))],
        ["the checkpoint has put back its own T_max=32", "was built with T_max=48 for this run", "scheduler.T_max"],
        0,
    ),
    "own_warmup": Row(
        [
            lambda: case([PEAK] * 32, own_warmup=("AdamWScheduleFree", "group0", 4)),
            lambda: case([], own_warmup=("AdamWScheduleFree", "group0", 4)),  # of manual optimization nothing is played
        ],
        [lambda: case([PEAK] * 32)],
        ["AdamWScheduleFree was built with warmup_steps=4", "its first 4 updates use less", "LearningRateWarmup(4)"],
        0,
    ),
}


def names_of(found: list[Finding]) -> list[str]:
    return [one.name for one in found]


def test_every_finding_has_its_row() -> None:
    assert set(TABLE) == set(FINDINGS)


@pytest.mark.parametrize(
    ("name", "make"),
    [pytest.param(name, make, id=f"{name}-{k}") for name, row in TABLE.items() for k, make in enumerate(row.has)],
)
def test_a_case_has_it(name: str, make: Callable[[], Case]) -> None:
    found = of(make())
    assert name in names_of(found)
    for one in found:
        assert one.message
        assert one.optimizer == 0


@pytest.mark.parametrize(
    ("name", "make"),
    [pytest.param(name, make, id=f"{name}-{k}") for name, row in TABLE.items() for k, make in enumerate(row.has_not)],
)
def test_its_neighbor_has_not(name: str, make: Callable[[], Case]) -> None:
    assert name not in names_of(of(make()))


@pytest.mark.parametrize("name", TABLE)
def test_the_sentence_has_the_update_the_values_and_what_to_change(name: str) -> None:
    row = TABLE[name]
    (finding,) = [one for one in of(row.has[0]()) if one.name == name]
    assert finding.update == row.update
    assert [words for words in row.says if words not in finding.message] == [], finding.message


# What only follows from another one is not said


def test_what_follows_from_a_finding_is_not_said_again() -> None:
    assert names_of(of(case(cosine(64), t_max(64), onward=cosine(64, 40, 32)))) == ["floor_not_reached"]
    unread = case(cosine(64), t_max(64), onward=cosine(64, 40, 32), unread=["StepLR"])
    assert names_of(of(unread)) == ["never_ticks"]


def test_two_that_do_not_follow_from_each_other_are_both_said() -> None:
    flat = Case(series(cosine(64), cosine(64)), built=[0.01, 0.1], schedulers=[t_max(64)])
    assert set(names_of(of(flat))) == {"ratio_changed", "floor_not_reached"}


@pytest.mark.parametrize("optimizer", [0, 2])
def test_a_finding_says_whose_it_is(optimizer: int) -> None:
    (one,) = of(replace(case([PEAK] * 24, raised=(24, "why")), optimizer=optimizer))
    assert one.optimizer == optimizer


@pytest.mark.parametrize(
    "lrs", [[], [PEAK], [0.0], [0.0] * 32, [PEAK] * 32, [math.inf] * 4, [PEAK, math.nan, PEAK], [-1.0] * 4]
)
def test_odd_numbers_end_in_no_error(lrs: list[float]) -> None:
    assert "climbs_again" not in names_of(of(case(lrs)))
    assert of(case(lrs, t_max(8), onward=lrs)) is not None


def test_many_groups() -> None:
    many = Case(series(*[[lr * (k + 1) for lr in cosine(8)] for k in range(100)]), schedulers=[t_max(8)])
    assert names_of(of(many)) == ["climbs_again"]
