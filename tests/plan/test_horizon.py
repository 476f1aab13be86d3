"""Durations are read with their unit, and a run's facts make whole steps of them."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import pickle
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from lr_recipes.plan.horizon import Duration, Horizon, HorizonError

# The same examples in every run, so that a red test stays red.
stable = settings(derandomize=True, deadline=None, max_examples=200)

RUN = Horizon(total_steps=1000, steps_per_epoch=100, samples_per_step=32, tokens_per_sample=50)
UNEVEN = Horizon(total_steps=30, steps_per_epoch=[4, 2, 8])  # epochs begin at 0, 4, 6, 14, 22, 30
EMPTY = Horizon()


# Reading a duration

READ = {
    # A number alone is steps.
    500: (500, "steps"),
    0: (0, "steps"),
    "500": (500, "steps"),
    "1_000": (1000, "steps"),
    # Units, in full and short, one or many, in any case and spacing.
    "500 steps": (500, "steps"),
    "1 step": (1, "steps"),
    "500st": (500, "steps"),
    "500 updates": (500, "steps"),
    "1 update": (1, "steps"),
    "5 epochs": (5, "epochs"),
    "1 epoch": (1, "epochs"),
    "5ep": (5, "epochs"),
    "  5  Epochs ": (5, "epochs"),
    "10%": (10, "%"),
    "10 %": (10, "%"),
    "10 percent": (10, "%"),
    "100%": (100, "%"),
    "0%": (0, "%"),
    "64 samples": (64, "samples"),
    "1 sample": (1, "samples"),
    "64sa": (64, "samples"),
    "64 tokens": (64, "tokens"),
    "1 token": (1, "tokens"),
    "64tok": (64, "tokens"),
    "5 Tokens": (5, "tokens"),  # T is also a prefix
    "90s": (90, "seconds"),
    "30 minutes": (30, "minutes"),
    "5 Min": (5, "minutes"),  # M is also a prefix
    "8h": (8, "hours"),
    "1.5 days": (1.5, "days"),
    # Fractions need a unit.
    "0.5 epochs": (0.5, "epochs"),
    ".5 epochs": (0.5, "epochs"),
    "2.0 epochs": (2, "epochs"),
    "12.5%": (12.5, "%"),
    "1e3 steps": (1000, "steps"),
    "1e-1 epochs": (0.1, "epochs"),
    # Prefixes.
    "100k samples": (100_000, "samples"),
    "100 k samples": (100_000, "samples"),
    "100Ksamples": (100_000, "samples"),
    "1.5M samples": (1_500_000, "samples"),
    "2G samples": (2_000_000_000, "samples"),
    "500M tokens": (500_000_000, "tokens"),
    "10B tokens": (10_000_000_000, "tokens"),
    "1.5T tokens": (1_500_000_000_000, "tokens"),
    "2T Tokens": (2_000_000_000_000, "tokens"),
    "10k": (10_000, "steps"),
    # What was read before.
    Duration(5, "epochs"): (5, "epochs"),
}


@pytest.mark.parametrize(("given_value", "expected"), READ.items(), ids=[repr(key) for key in READ])
def test_read(given_value: Any, expected: tuple[float, str]) -> None:
    duration = Duration.parse(given_value)
    assert (duration.value, duration.unit) == expected
    assert type(duration.value) is type(expected[0])


@pytest.mark.parametrize("given_value", READ, ids=repr)
def test_printed_is_read_back(given_value: Any) -> None:
    duration = Duration.parse(given_value)
    assert Duration.parse(str(duration)) == duration


def test_printed_is_not_rounded() -> None:
    assert str(Duration.parse("12.3456789 epochs")) == "12.3456789 epochs"
    assert str(Duration.parse("12.3456789%")) == "12.3456789%"


# What the message must say about what was typed: the value, then the way out.
EXAMPLES = "'500 steps', '5 epochs', '10%', '100k samples', '500M tokens' or a whole number of steps"
UNREADABLE: dict[str, tuple[Any, list[str]]] = {
    "share": (0.1, ["0.1 of what? Write '10%'", EXAMPLES]),
    "share as a string": ("0.05", ["'0.05'", "0.05 of what? Write '5%'", EXAMPLES]),
    "float above 1": (2.5, ["2.5 of what? Write '2.5 epochs'", EXAMPLES]),
    "whole float": (500.0, ["500.0 of what? Write '500 steps'", EXAMPLES]),
    "exponent alone": ("1e3", ["1e3 of what? Write '1000 steps'", EXAMPLES]),
    "negative float": (-0.5, ["-0.5 of what? Write '10%'"]),
    "NaN": (math.nan, ["nan of what? Write '10%'"]),
    "infinite": (math.inf, ["inf of what? Write '10%'"]),
    "too large": ("1e999 steps", ["'1e999 steps'", "finite"]),
    "negative": (-5, ["=-5:", "zero or more", EXAMPLES]),
    "negative with a unit": ("-5 epochs", ["'-5 epochs'", "zero or more", EXAMPLES]),
    "over 100 %": ("101%", ["'101%'", "more than the whole run", "at most '100%'"]),
    "misspelt unit": (
        "5 epoks",
        [
            "unknown unit 'epoks'",
            "did you mean 'epochs'?",
            "units are steps, epochs, %, samples, tokens, seconds, minutes, hours, days",
        ],
    ),
    "another misspelt unit": ("5 smaples", ["unknown unit 'smaples'", "did you mean 'samples'?"]),
    "unknown unit": (
        "5 foo",
        ["unknown unit 'foo'; units are steps, epochs, %, samples, tokens, seconds, minutes, hours, days"],
    ),
    "unknown unit that begins like a prefix": ("5 Miles", ["unknown unit 'Miles'"]),
    "unit alone": ("epochs", ["'epochs' cannot be read", EXAMPLES]),
    "empty": ("", ["'' cannot be read", EXAMPLES]),
    "thousands": ("1,000 steps", ["'1,000 steps' cannot be read", EXAMPLES]),
    "two units": ("5 epochs 3 steps", ["cannot be read"]),
    "bool": (True, ["True is not a duration", EXAMPLES]),
    "None": (None, ["None is not a duration", EXAMPLES]),
    "list": ([5], ["[5] is not a duration", EXAMPLES]),
}


@pytest.mark.parametrize(("given_value", "parts"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_unreadable(given_value: Any, parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^warmup=") as caught:
        Duration.parse(given_value, "warmup")
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize("nothing", [0, "0", "0 epochs", "0%"])
def test_zero_where_a_length_is_needed(nothing: Any) -> None:
    assert Duration.parse(nothing).value == 0
    with pytest.raises(ValueError, match=f"step_size={nothing!r}: a length must be positive"):
        Duration.parse(nothing, "step_size", minimum=1)


# Steps

STEPS = [
    (RUN, 7, 7),
    (RUN, 0, 0),
    (RUN, "0%", 0),
    (RUN, "5 epochs", 500),
    (RUN, "0.5 epochs", 50),
    (RUN, "15 epochs", 1500),  # beyond the run
    (RUN, "10%", 100),
    (RUN, "100%", 1000),
    (RUN, "7%", 70),
    (RUN, "29%", 290),
    (RUN, "100k samples", 3125),
    (RUN, "160k tokens", 100),
    # Rounded half up, and a positive length lasts at least one.
    (RUN, "2.5 steps", 3),
    (RUN, "0.25%", 3),
    (RUN, "0.24%", 2),
    (RUN, "0.01%", 1),
    (RUN, "0.001 epochs", 1),
    (RUN, "1 sample", 1),
    (RUN, "33 samples", 1),
    (RUN, "48 samples", 2),
    (RUN, "1 token", 1),
    (RUN, "2399 tokens", 1),
    (RUN, "2400 tokens", 2),
    (Horizon(samples_per_step=4, tokens_per_sample=312.5), "10k tokens", 8),  # a mean
    (Horizon(steps_per_epoch=13), "0.5 epochs", 7),
    (Horizon(total_steps=750), "4.6%", 35),  # 34.5, and 34.49999999999999 in floats
    # Epochs of unequal length: the sum of the first ones; the last one goes on.
    (UNEVEN, "1 epoch", 4),
    (UNEVEN, "2 epochs", 6),
    (UNEVEN, "3 epochs", 14),
    (UNEVEN, "5 epochs", 30),
    (UNEVEN, "0.5 epochs", 2),
    (UNEVEN, "1.5 epochs", 5),
    (UNEVEN, "2.25 epochs", 8),
    (UNEVEN, "4.5 epochs", 26),
]


@pytest.mark.parametrize(("run", "duration", "steps"), STEPS)
def test_steps(run: Horizon, duration: Any, steps: int) -> None:
    found = run.steps(duration)
    assert found == steps
    assert type(found) is int


@stable
@given(total=st.integers(1, 10**6), tenths=st.integers(0, 1000))
def test_percent_has_no_float_error(total: int, tenths: int) -> None:
    rounded_half_up = (2 * total * tenths + 1000) // 2000
    assert Horizon(total_steps=total).steps(f"{tenths / 10}%") == (max(rounded_half_up, 1) if tenths else 0)


def test_steps_of_several_are_rounded_once() -> None:
    halves = Horizon(steps_per_epoch=13)
    assert [halves.steps("0.5 epochs", times=times) for times in (1, 2, 3, 4)] == [7, 13, 20, 26]


MISSING: dict[str, tuple[Horizon, str, list[str]]] = {
    "percent": (EMPTY, "10%", ["warmup='10%' needs to know how many updates", "Horizon(total_steps=1000)"]),
    "epochs": (
        EMPTY,
        "5 ep",
        ["warmup='5 epochs' needs steps_per_epoch", "steps_per_epoch=100", "in steps ('500 steps')"],
    ),
    "samples": (EMPTY, "64 samples", ["warmup='64 samples' needs samples_per_step", "samples_per_step=256"]),
    "tokens of samples": (EMPTY, "64 tokens", ["warmup='64 tokens' needs samples_per_step", "samples_per_step=256"]),
    "tokens": (
        Horizon(samples_per_step=8),
        "64 tokens",
        ["warmup='64 tokens' needs tokens_per_sample", "Horizon(tokens_per_sample=2048)", "in steps ('500 steps')"],
    ),
}


@pytest.mark.parametrize(("run", "duration", "parts"), MISSING.values(), ids=MISSING.keys())
def test_missing_fact(run: Horizon, duration: str, parts: list[str]) -> None:
    with pytest.raises(HorizonError) as caught:
        run.steps(duration, "warmup")
    assert [part for part in parts if part not in str(caught.value)] == []


def test_needing_a_total() -> None:
    assert RUN.need_total("Cosine") == 1000
    with pytest.raises(HorizonError) as caught:
        Horizon(source="max_epochs=-1").need_total("Cosine")
    message = str(caught.value)
    assert message.startswith("Cosine needs to know how many updates the run will do, and this run has no known end")
    assert message.endswith("(max_epochs=-1). Give it: Horizon(total_steps=1000)")


def test_an_error_carries_its_parts() -> None:
    """Whoever speaks to the user gives the advice; nobody takes the message apart."""
    with pytest.raises(HorizonError) as caught:
        Horizon().steps("5 epochs", "warmup")
    error = caught.value
    assert (error.who, error.fact, error.why) == ("warmup='5 epochs'", "steps_per_epoch", "")
    assert error.needs == "warmup='5 epochs' needs steps_per_epoch"
    other = pickle.loads(pickle.dumps(error.advised("Ask the loader")))
    assert str(other) == "warmup='5 epochs' needs steps_per_epoch, which this run does not have. Ask the loader"


# The clock

IN_TIME = Horizon(max_time="8h")
TIMES = [("30 minutes", 1_800_000), ("1.5 h", 5_400_000), ("90s", 90_000), ("1 day", 86_400_000), ("5%", 1_440_000),
         ("0.1 seconds", 100), (0, 0), ("0 epochs", 0)]  # fmt: skip


@pytest.mark.parametrize(("duration", "milliseconds"), TIMES)
def test_a_run_that_follows_the_clock_has_a_position_for_each_millisecond(duration: Any, milliseconds: int) -> None:
    assert IN_TIME.total_steps == 28_800_000
    assert IN_TIME.steps(duration) == milliseconds


@pytest.mark.parametrize("duration", [500, "500 steps", "3 epochs", "5 samples", "1B tokens"])
def test_what_counts_updates_is_no_time(duration: Any) -> None:
    with pytest.raises(ValueError, match=r"^warmup='.*' counts (steps|epochs|samples|tokens), and this run follows"):
        IN_TIME.steps(duration, "warmup")


@pytest.mark.parametrize("run", [RUN, EMPTY])
def test_what_counts_updates_has_no_time(run: Horizon) -> None:
    with pytest.raises(
        HorizonError, match="warmup='30 minutes' needs a run that follows the clock, and this run count"
    ):
        run.steps("30 minutes", "warmup")


def test_times_in_words() -> None:
    shown = {0: "0 s", 1: "0.001 s", 1500: "1.5 s", 65_000: "1 min 5 s", 3_600_500: "1 h 0.5 s", 28_800_000: "8 h",
             90_061_500: "1 d 1 h"}  # fmt: skip
    assert (
        {ticks: IN_TIME.mark(ticks) for ticks in shown} == {ticks: IN_TIME.in_words(ticks) for ticks in shown} == shown
    )
    assert (RUN.mark(1000), RUN.in_words(1000)) == ("1,000", "1,000 updates")


def test_a_time_is_a_run() -> None:
    assert Horizon.of("8h") == Horizon.of("480 min") == IN_TIME == Horizon(total_steps=28_800_000, timed=True)
    assert IN_TIME.part(5, 1000) == Horizon(total_steps=1000, timed=True)


# Every


EVERY = [
    # Equal lengths go on without end.
    (RUN, "1 epoch", [100, 200, 300]),
    (RUN, 7, [7, 14, 21]),
    (RUN, "10%", [100, 200, 300]),
    (RUN, "0.1 steps", [1, 2, 3]),
    (Horizon(steps_per_epoch=13), "2 epochs", [26, 52, 78]),
    # Each is rounded from the start: no drift.
    (Horizon(total_steps=39, steps_per_epoch=13), "0.5 epochs", [7, 13, 20, 26, 33, 39, 46]),
    (Horizon(steps_per_epoch=13), "0.5 epochs", [7, 13, 20, 26, 33, 39, 46]),
    (RUN, "100 samples", [3, 6, 9, 13, 16, 19, 22, 25]),
    (RUN, "5000 tokens", [3, 6, 9, 13, 16, 19, 22, 25]),
    # Epochs of unequal length.
    (UNEVEN, "1 epoch", [4, 6, 14, 22, 30, 38]),
    (UNEVEN, "1.5 epochs", [5, 14, 26]),
    (Horizon(steps_per_epoch=[4, 2, 8]), "1 epoch", [4, 6, 14, 22, 30, 38, 46]),
    (UNEVEN, "3 steps", [3, 6, 9]),
]


@pytest.mark.parametrize(("run", "duration", "marks"), EVERY)
def test_every(run: Horizon, duration: Any, marks: list[int]) -> None:
    assert list(itertools.islice(run.every(duration), len(marks))) == marks


def test_every_reaches_beyond_the_end() -> None:
    """So that a position is always between two marks, the last one of the run included."""
    assert list(UNEVEN.every("1 epoch")) == [4, 6, 14, 22, 30, 38]
    assert RUN.every("30%")[99] == 30_000


def test_every_of_a_whole_length_is_a_range() -> None:
    """Also where only float error keeps it from being whole: a range costs one division at each update."""
    assert Horizon(total_steps=51).every("17.647058823529413%") == range(9, 2**62, 9)


def test_every_nothing() -> None:
    with pytest.raises(ValueError, match="step_size=0: a length must be positive"):
        RUN.every(0, "step_size")


@stable
@given(
    steps_per_epoch=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    hundredths=st.integers(25, 300),
    total=st.none() | st.integers(1, 300),
)
def test_every_is_steps_of_so_many(steps_per_epoch: list[int], hundredths: int, total: int | None) -> None:
    run = Horizon(total_steps=total, steps_per_epoch=steps_per_epoch)
    duration = f"{hundredths / 100} epochs"
    for index, mark in enumerate(itertools.islice(run.every(duration), 40)):
        assert mark == run.steps(duration, times=index + 1)


# Epochs

EPOCHS_OF = [
    (RUN, {0: 0, 99: 0, 100: 1, 1999: 19}),
    (UNEVEN, {0: 0, 3: 0, 4: 1, 5: 1, 6: 2, 13: 2, 14: 3, 21: 3, 22: 4, 30: 5}),
    (EMPTY, {0: None, 99: None}),
]


@pytest.mark.parametrize(("run", "epochs"), EPOCHS_OF)
def test_epoch_of(run: Horizon, epochs: dict[int, int | None]) -> None:
    assert {position: run.epoch_of(position) for position in epochs} == epochs


def test_part() -> None:
    """A part's epochs are the run's, from the one that holds its start on."""
    assert UNEVEN.part(4, 10) == Horizon(total_steps=10, steps_per_epoch=[2, 8])
    assert UNEVEN.part(5, None) == Horizon(steps_per_epoch=[2, 8])
    assert UNEVEN.part(6, 10) == UNEVEN.part(29, 10) == Horizon(total_steps=10, steps_per_epoch=8)
    assert RUN.part(150, 10) == dataclasses.replace(RUN, total_steps=10)


def test_from_end() -> None:
    assert UNEVEN.from_end() == Horizon(total_steps=30, steps_per_epoch=[8, 8, 8, 2, 4])
    # A run that stops within an epoch: that epoch counts with its whole length, as it does from the start.
    assert Horizon(total_steps=5, steps_per_epoch=[4, 2, 8]).from_end().steps_per_epoch == (2, 4)
    assert RUN.from_end() == RUN
    assert Horizon(steps_per_epoch=[4, 2]).from_end() == Horizon(steps_per_epoch=[4, 2])


# Facts

TOTALS = [
    ("10B tokens", 9537),  # of 512 x 2048 tokens: 9536.7 updates
    ("1M samples", 1953),
    ("3 epochs", 300),
    ("2.5 epochs", 250),
    ("7k", 7000),
    ("40 steps", 40),
]


@pytest.mark.parametrize(("given_total", "total"), TOTALS)
def test_any_length_is_a_total(given_total: str, total: int) -> None:
    facts: dict[str, Any] = {"steps_per_epoch": 100, "samples_per_step": 512, "tokens_per_sample": 2048}
    run = Horizon(total_steps=f" {given_total} ", **facts)
    source = "" if given_total in ("7k", "40 steps") else given_total  # said by the number already
    assert run == Horizon(total_steps=total, source=source, **facts)
    assert Horizon(total_steps=Duration.parse(given_total), **facts).total_steps == total
    assert Horizon(total_steps=given_total, source="the paper", **facts).source == "the paper"
    assert dataclasses.replace(run, samples_per_step=1).total_steps == total  # made once


def test_a_total_may_have_epochs_of_several_lengths() -> None:
    assert Horizon(total_steps="3.5 epochs", steps_per_epoch=[4, 2, 8]).total_steps == 18


@pytest.mark.parametrize(("given_total", "parts"), [
    ("10%", ["total_steps='10%': percent of what?", "total_steps=1000", "total_steps='90 epochs'"]),
    ("0 epochs", ["total_steps='0 epochs': a length must be positive"]),
    ("0.5", ["total_steps='0.5': 0.5 of what?"]),
    ("3 epochs", ["total_steps='3 epochs' needs steps_per_epoch"]),
])  # fmt: skip
def test_what_is_no_total(given_total: str, parts: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^total_steps=") as caught:
        Horizon(total_steps=given_total, samples_per_step=4)
    assert [part for part in parts if part not in str(caught.value)] == []


def test_tokens_are_whole_where_they_can_be() -> None:
    """As a command line that takes fractions makes 2048.0 of them."""
    assert str(Horizon(tokens_per_sample=2048.0).tokens_per_sample) == "2048"
    assert Horizon(tokens_per_sample=np.float32(312.5)).tokens_per_sample == 312.5


@pytest.mark.parametrize("value", [0, -1, "10", True, math.inf, math.nan])
def test_bad_tokens(value: Any) -> None:
    with pytest.raises(ValueError, match=f"^tokens_per_sample={value!r}: must be .*above 0"):
        Horizon(tokens_per_sample=value)


def test_epochs_are_kept_up_to_their_last_change() -> None:
    """So a longer run of the same kind states the same fact."""
    assert Horizon(steps_per_epoch=[5, 5, 5]).steps_per_epoch == 5
    assert Horizon(steps_per_epoch=[4, 4, 8, 8, 8]).steps_per_epoch == (4, 4, 8)
    assert Horizon(steps_per_epoch=[4, 8, 4]).steps_per_epoch == (4, 8, 4)
    assert Horizon(steps_per_epoch=()).steps_per_epoch is None


@pytest.mark.parametrize(
    "run", [RUN, UNEVEN, EMPTY, Horizon(total_steps=3, source="max_steps=3"), Horizon(max_time="8h")]
)
def test_description_is_plain_and_complete(run: Horizon) -> None:
    saved = json.loads(json.dumps(run.describe()))
    assert saved == run.describe()
    assert Horizon(**saved) == run
    assert hash(Horizon(**saved)) == hash(run)


@pytest.mark.parametrize("name", ["total_steps", "steps_per_epoch", "samples_per_step"])
@pytest.mark.parametrize("value", [0, -1, 10.0, True, math.inf])
def test_bad_fact(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}={value!r}: must be a whole number of at least 1, or None"):
        Horizon(**{name: value})


@pytest.mark.parametrize("name", ["steps_per_epoch", "samples_per_step"])
def test_a_fact_is_no_text(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}='10': must be a whole number of at least 1, or None"):
        Horizon(**{name: "10"})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [["10", 5], [4, None], [4, 0.5], [(1, 2), 3]], ids=str)
def test_epochs_that_are_no_numbers(value: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"steps_per_epoch=\(.*must be a whole number of at least 1"):
        Horizon(steps_per_epoch=value)


def test_bad_epoch() -> None:
    with pytest.raises(ValueError, match=r"steps_per_epoch=\(4, 0, 8\): must be a whole number of at least 1"):
        Horizon(steps_per_epoch=[4, 0, 8])


@pytest.mark.parametrize("given", [1000, "1000", "1000 steps", "1k updates", np.int64(1000), Horizon(total_steps=1000)])
def test_a_number_of_updates_is_a_run(given: Any) -> None:
    assert Horizon.of(given) == Horizon(total_steps=1000)


@pytest.mark.parametrize("given", [1000.0, "0.5 steps", "5 epochs", "10%", True, None, {}])
def test_what_is_no_number_of_updates_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^horizon=.*: must be the facts about a run, .* or its number of updates"):
        Horizon.of(given)


@pytest.mark.parametrize("given", [0, -5, "0 steps", "-5", "soon", "1000.0"])
def test_a_run_has_a_whole_number_of_updates(given: Any) -> None:
    with pytest.raises(ValueError, match=r"^(horizon|total_steps)="):
        Horizon.of(given)
