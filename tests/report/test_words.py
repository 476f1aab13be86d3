"""What a run prints before its first update: whole blocks, to the letter."""

from __future__ import annotations

import textwrap
from collections import abc

import pytest

from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.words import in_words
from lr_recipes.schedules import (
    Cosine,
    CosineRestarts,
    Fixed,
    InverseSqrt,
    Linear,
    OneCycle,
    Plateau,
    Ramp,
    Schedule,
    Sequence,
    Step,
    WarmupStableDecay,
)

RUN = Horizon(total_steps=1000, steps_per_epoch=100, source="10 epochs of 100 updates")
ENDLESS = Horizon(steps_per_epoch=100, source="the loader has no length")

BLOCKS: dict[str, tuple[Schedule, Horizon, str]] = {
    "warmup and decay": (
        Cosine(warmup="5%", min_lr_ratio=0.01),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          warmup    updates 0 to 49     factor 0.02 -> 1
          cosine    updates 50 to 999   factor 1 -> 0.01
          group0    peak LR 0.1, floor 0.001
        """,
    ),
    "three phases, a long run": (
        WarmupStableDecay(warmup="1 epoch", decay_type="linear"),
        Horizon(total_steps=1_200_000, steps_per_epoch=12_000, source="max_steps=1200000"),
        """
        Learning-rate plan for AdamW: 1,200,000 updates (max_steps=1200000)
          warmup    updates 0 to 11,999            factor 8.33e-05 -> 1
          stable    updates 12,000 to 959,999      factor 1
          decay     updates 960,000 to 1,199,999   factor 1 -> 4.17e-06
          group0    peak LR 0.1, floor 0
        """,
    ),
    "above the base LR": (
        Ramp(end=10, length="50%", warmup="5%"),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          warmup    updates 0 to 49      factor 0.02 -> 1
          ramp      updates 50 to 549    factor 1 -> 9.98
          constant  updates 550 to 999   factor 10
          group0    base LR 0.1, LR 0.002 -> 1
        """,
    ),
    "up and down": (
        OneCycle(),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          up        updates 0 to 299     factor 0.04 -> 1
          down      updates 300 to 999   factor 1 -> 4e-06
          group0    peak LR 0.1, floor 4e-07
        """,
    ),
    "phases that the user wrote": (
        Sequence(schedules=[Fixed(warmup=10), Linear()], milestones=["5 epochs"]),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          warmup    updates 0 to 9       factor 0.1 -> 1
          constant  updates 10 to 499    factor 1
          linear    updates 500 to 999   factor 1 -> 0.002
          group0    peak LR 0.1, floor 0
        """,
    ),
    "no known end": (
        Step(step_size="3 epochs", warmup=10),
        ENDLESS,
        """
        Learning-rate plan for AdamW: no known end (the loader has no length)
          warmup    updates 0 to 9   factor 0.1 -> 1
          step      updates 10 on    factor from 1
          group0    peak LR 0.1, floor 0
        """,
    ),
    "a plateau": (
        Plateau(),
        ENDLESS,
        """
        Learning-rate plan for AdamW: no known end (the loader has no length)
          plateau   updates 0 on   factor from 1
          group0    peak LR 0.1, floor 0
        """,
    ),
    "a name longer than the column": (
        InverseSqrt(warmup=10),
        Horizon(),
        """
        Learning-rate plan for AdamW: no known end
          warmup        updates 0 to 9   factor 0.1 -> 1
          inverse_sqrt  updates 10 on    factor from 1
          group0        peak LR 0.1, floor 0
        """,
    ),
    "one update": (
        Cosine(),
        Horizon(total_steps=1),
        """
        Learning-rate plan for AdamW: 1 update
          cosine    update 0   factor 1
          group0    peak LR 0.1, floor 0
        """,
    ),
    "eight phases are all shown": (
        CosineRestarts(cycle=125),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          cycle 1   updates 0 to 124     factor 1 -> 0.000158
          cycle 2   updates 125 to 249   factor 1 -> 0.000158
          cycle 3   updates 250 to 374   factor 1 -> 0.000158
          cycle 4   updates 375 to 499   factor 1 -> 0.000158
          cycle 5   updates 500 to 624   factor 1 -> 0.000158
          cycle 6   updates 625 to 749   factor 1 -> 0.000158
          cycle 7   updates 750 to 874   factor 1 -> 0.000158
          cycle 8   updates 875 to 999   factor 1 -> 0.000158
          group0    peak LR 0.1, floor 0
        """,
    ),
    "more are shortened": (
        CosineRestarts(cycle=30, warmup=10),
        RUN,
        """
        Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)
          warmup    updates 0 to 9       factor 0.1 -> 1
          cycle 1   updates 10 to 39     factor 1 -> 0.00274
          cycle 2   updates 40 to 69     factor 1 -> 0.00274
          ... 30 more phases ...
          cycle 33  updates 970 to 999   factor 1 -> 0.00274
          group0    peak LR 0.1, floor 0
        """,
    ),
}


@pytest.mark.parametrize(("schedule", "run", "block"), BLOCKS.values(), ids=BLOCKS.keys())
def test_block(schedule: Schedule, run: Horizon, block: str) -> None:
    assert in_words(schedule.plan(run, [0.1]), "AdamW", ["group0"]) == textwrap.dedent(block).strip("\n")


def groups_and_notes(
    groups: dict[str, float],
    notes: abc.Sequence[str] = (),
    schedule: Schedule = Fixed(),  # noqa: B008 - it is frozen
) -> list[str]:
    """The lines after the title and the one phase."""
    return in_words(schedule.plan(RUN, [*groups.values()]), "SGD-1", [*groups], notes).splitlines()[2:]


def test_groups() -> None:
    """Peak and floor of each."""
    groups = {"decay": 0.002, "no_decay": 0.1 + 0.2, "head": 1e-7}
    assert groups_and_notes(groups, schedule=Linear(min_lr_ratio=0.01)) == [
        "  group decay     peak LR 0.002, floor 2e-05",
        "  group no_decay  peak LR 0.3, floor 0.003",
        "  group head      peak LR 1e-07, floor 1e-09",
    ]


def test_many_groups_are_shortened() -> None:
    groups = {f"layer{n}": 0.1 * 0.5**n for n in range(24)}
    assert groups_and_notes(groups, schedule=Linear()) == [
        "  group layer0   peak LR 0.1, floor 0",
        "  group layer1   peak LR 0.05, floor 0",
        "  group layer2   peak LR 0.025, floor 0",
        "  ... 20 more groups ...",
        "  group layer23  peak LR 1.19209e-08, floor 0",
    ]
    assert len(groups_and_notes(dict(list(groups.items())[:8]))) == 8


def test_notes_come_last() -> None:
    assert groups_and_notes({"group0": 0.1}, ["resumed at update 5", "warmup: 10 -> 20"])[1:] == [
        "  resumed at update 5",
        "  warmup: 10 -> 20",
    ]


def test_the_title() -> None:
    title = in_words(Fixed().plan(RUN, [0.1]), "Adam-1", ["group0"]).splitlines()[0]
    assert title == "Learning-rate plan for Adam-1: 1,000 updates (10 epochs of 100 updates)"
