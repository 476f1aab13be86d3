"""What a run prints before its first update: whole blocks, to the letter."""

from __future__ import annotations

import textwrap
from collections import abc

import pytest

from lr_recipes.plan.built import Built
from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.words import in_words
from lr_recipes.schedules import (
    ByGroup,
    Cosine,
    CosineRestarts,
    Fixed,
    Hyperparameters,
    InverseSqrt,
    Linear,
    OneCycle,
    Plateau,
    Ramp,
    Schedule,
    Sequence,
    Shape,
    Span,
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
          momentum  0.95 -> 0.85 -> 0.95
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


BUILT = Built(
    [0.01, 0.1, 0.001, 0.02],
    ["body", "head", "norm", "frozen"],
    {"weight_decay": [0.5, 0.5, 0.0, 0.5], "momentum": [0.9] * 4, "betas[1]": [0.999] * 4},
)
NAMED = ByGroup(groups={"head": Linear(), "body|norm": Cosine(warmup="5%")})
PHASES_OF_NAMED = """
          group body    peak LR 0.01, floor 0
          group norm    peak LR 0.001, floor 0
            warmup      updates 0 to 49     factor 0.02 -> 1
            cosine      updates 50 to 999   factor 1 -> 2.73e-06
          group head    peak LR 0.1, floor 0
            linear      updates 0 to 999    factor 1 -> 0.001
          group frozen  stays at LR 0.02: no schedule names it"""
SEVERAL: dict[str, tuple[Schedule, str]] = {
    "by group": (NAMED, PHASES_OF_NAMED),
    "groups whose phases are the same stand together": (
        ByGroup(groups={"head": Linear(), "body": Linear(), "norm": Cosine(), "frozen": Cosine()}),
        """
          group body    peak LR 0.01, floor 0
          group head    peak LR 0.1, floor 0
            linear      updates 0 to 999   factor 1 -> 0.001
          group norm    peak LR 0.001, floor 0
          group frozen  peak LR 0.02, floor 0
            cosine      updates 0 to 999   factor 1 -> 2.47e-06""",
    ),
    "another number": (
        Hyperparameters(lr=NAMED, weight_decay=Linear(min_lr_ratio=0.5), momentum=Fixed()),
        f"""{PHASES_OF_NAMED}
          momentum      0.9 (constant)
          weight_decay  body, head, frozen: 0.5 -> 0.25 (linear)
          weight_decay  norm: stays at 0""",
    ),
    "other numbers by group": (
        Hyperparameters(
            lr=Linear(),
            weight_decay=ByGroup(groups={"head|norm": Linear(min_lr_ratio=0.5, warmup=100)}),
            others={"betas[1]": Linear(min_lr_ratio=0.99)},
        ),
        """
          linear        updates 0 to 999     factor 1 -> 0.001
          group body    peak LR 0.01, floor 0
          group head    peak LR 0.1, floor 0
          group norm    peak LR 0.001, floor 0
          group frozen  peak LR 0.02, floor 0
          betas[1]      0.999 -> 0.989 (linear)
          weight_decay  body, frozen: stays at 0.5: no schedule names it
          weight_decay  head: 0.005 -> 0.5 -> 0.25
            warmup      updates 0 to 99      factor 0.01 -> 1
            linear      updates 100 to 999   factor 1 -> 0.501
          weight_decay  norm: stays at 0""",
    ),
    "one that moves another number beside it": (
        ByGroup(groups={"head": OneCycle()}, default=Linear()),
        """
          group body    peak LR 0.01, floor 0
          group norm    peak LR 0.001, floor 0
          group frozen  peak LR 0.02, floor 0
            linear      updates 0 to 999     factor 1 -> 0.001
          group head    peak LR 0.1, floor 4e-07
            up          updates 0 to 299     factor 0.04 -> 1
            down        updates 300 to 999   factor 1 -> 4e-06
          momentum      0.95 -> 0.85 -> 0.95""",
    ),
}


@pytest.mark.parametrize(("schedule", "block"), SEVERAL.values(), ids=SEVERAL.keys())
def test_block_of_several_curves(schedule: Schedule, block: str) -> None:
    told = in_words(schedule.plan(RUN, BUILT), "AdamW", BUILT.names)
    head = "Learning-rate plan for AdamW: 1,000 updates (10 epochs of 100 updates)"
    assert told.splitlines() == [head, *(line[8:] for line in block.splitlines()[1:])]


def test_of_very_many_curves_a_few_are_shown() -> None:
    names = [f"layer{n}" for n in range(24)]
    schedule = ByGroup(groups={name: Linear(warmup=10 * n + 10) for n, name in enumerate(names)})
    lines = in_words(schedule.plan(RUN, Built([0.1] * 24, names)), "SGD", names).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("  group")] == [
        "layer0", "layer1", "layer2", "layer23"
    ]  # fmt: skip
    assert lines[10] == "  ... 20 more curves ..."


def test_where_only_factors_are_known_these_are_shown() -> None:
    schedule = Hyperparameters(lr=NAMED, weight_decay=Linear(min_lr_ratio=0.5))
    plan = schedule.plan(RUN, Built([1.0] * 4, BUILT.names))
    lines = in_words(plan, "AdamW", BUILT.names, shares=["lr", "weight_decay"]).splitlines()
    assert [line for line in lines if line.startswith(("  group", "  weight"))] == [
        "  groups body, norm",
        "  group head",
        "  group frozen  stays as built: no schedule names it",
        "  weight_decay  factor 1 -> 0.5 (linear)",
    ]


class Points(Schedule):
    """Through points at equal distances, in straight lines."""

    def __init__(self, *points: float) -> None:
        super().__init__()
        object.__setattr__(self, "points", points)

    def shape(self, span: Span) -> Shape:
        length = span.after_warmup("Points") / (len(self.points) - 1)

        def factor(t: int) -> float:
            place = min(int(t / length), len(self.points) - 2)
            low, high = self.points[place : place + 2]
            return low + (high - low) * (t / length - place)

        return Shape(factor, self.points[-1], [("points", 0)])


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ((0.1, 1, 0.05), "peak LR 0.2, floor 0.01"),
        ((1, 0, 1, 0), "peak LR 0.2, floor 0"),
        ((1, 10), "base LR 0.2, LR 0.2 -> 2"),
        ((0.5, 2, 0.5), "base LR 0.2, LR 0.1 -> 0.4 -> 0.1"),
        ((0.5, 0.1), "base LR 0.2, LR 0.1 -> 0.02"),
        ((1, 0, 0.5), "base LR 0.2, LR 0.2 -> 0 -> 0.1"),
        ((0.5, 1.5, 0.1, 0.2), "base LR 0.2, LR 0.1 -> 0.3 -> 0.02 -> 0.04"),
    ],
)
def test_peak_and_floor_are_said_where_they_are(points: tuple[float, ...], words: str) -> None:
    run = Horizon(total_steps=60 * (len(points) - 1))
    assert in_words(Points(*points).plan(run, [0.2]), "SGD", ["group0"]).endswith(f"  group0    {words}")


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
