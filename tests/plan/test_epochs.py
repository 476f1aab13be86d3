"""Epochs are kept as runs, and marks are worked out when asked for: compared with the same rules written out plainly.

The plain rules here walk a list of all epochs and of all marks, as a run of a million epochs could not.
"""

from __future__ import annotations

import copy
import math
import pickle
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lr_recipes.plan.curve import FOREVER
from lr_recipes.plan.epochs import Epochs
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.loop import Limits, Start
from lr_recipes.report.preview import preview
from lr_recipes.schedules import (
    Cosine,
    CosineRestarts,
    Exponential,
    InverseSqrt,
    MultiStep,
    OneCycle,
    Schedule,
    Step,
    WarmupStableDecay,
)
from lr_recipes.schedules import Sequence as Phases

# The same examples in every run, so that a red test stays red.
stable = settings(derandomize=True, deadline=None, max_examples=100)
lengths_of_epochs = st.lists(st.integers(1, 9) | st.sampled_from([1, 4, 4]), min_size=1, max_size=12)


# A sequence of numbers


@stable
@given(lengths=lengths_of_epochs, first=st.integers(0, 14), count=st.integers(0, 14))
def test_epochs_are_a_tuple_kept_as_runs(lengths: list[int], first: int, count: int) -> None:
    epochs = Epochs.of(lengths)
    assert epochs == tuple(lengths) == tuple(epochs)
    assert epochs != (*lengths, 1)
    assert hash(epochs) == hash(tuple(lengths))
    assert (len(epochs), epochs.updates, epochs[-1], epochs[1:]) == (
        len(lengths), sum(lengths), lengths[-1], tuple(lengths[1:]))  # fmt: skip
    assert all(one[1] != other[1] for one, other in zip(epochs.runs, epochs.runs[1:], strict=False))
    on = lengths + [lengths[-1]] * 30  # the last one goes on
    after = first + count
    assert epochs.between(first, after) == tuple(on[first:after])
    assert [epochs.epoch_of(n) for n in range(60)] == [plain_epoch_of(lengths, n) for n in range(60)]


def test_epochs_can_be_copied_and_shown() -> None:
    million = Epochs([(10**6, 4), (0, 5), (1, 4), (1, 8)])
    assert million.runs == ((1_000_001, 4), (1, 8))
    for again in (copy.deepcopy(million), pickle.loads(pickle.dumps(million)), eval(repr(million))):
        assert (again, again.updates) == (million, million.updates)
    assert repr(Epochs.of([4, 2])) == "(4, 2)"
    assert Epochs([]) == ()
    with pytest.raises(IndexError):
        million[1_000_002]


# Plainly


def plain_until(lengths: Sequence[int], epochs: float) -> float:
    """Updates in so many epochs, of which the last goes on."""
    listed = min(math.floor(epochs), len(lengths) - 1)
    return sum(lengths[:listed]) + (epochs - listed) * lengths[listed]


def plain_epoch_of(lengths: Sequence[int], position: int) -> int:
    epoch = 0
    while position >= lengths[min(epoch, len(lengths) - 1)]:
        position -= lengths[min(epoch, len(lengths) - 1)]
        epoch += 1
    return epoch


def plain_marks(lengths: Sequence[int], each: float, growth: float, end: int) -> list[int]:
    """Ends of stretches of ``each`` epochs, growing, up to the first beyond ``end``; sums without error."""
    marks: list[int] = []
    times = Fraction(0)
    while not marks or marks[-1] <= end:
        times += Fraction(growth) ** len(marks)
        exact = plain_until(lengths, each * float(times))
        marks.append(min(max(math.floor(round(exact, 6) + 0.5), math.floor(times)), FOREVER))
    return marks


runs = st.fixed_dictionaries(
    {
        "lengths": lengths_of_epochs,
        "each": st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.7]),
        "growth": st.sampled_from([1.0, 1.0, 1.0000001, 1.001, 1.1, 1.5, 2.0, 3.0, 1e15]),
        "total": st.integers(1, 150),
    }
)


def horizon_of(run: dict[str, Any], known: bool = True) -> Horizon:
    return Horizon(total_steps=run["total"] if known else None, steps_per_epoch=run["lengths"])


def marks_of(run: dict[str, Any]) -> list[int]:
    return plain_marks(run["lengths"], run["each"], run["growth"], run["total"])


@stable
@given(run=runs, positions=st.lists(st.integers(0, 150), max_size=8))
def test_marks_are_those_of_a_list(run: dict[str, Any], positions: list[int]) -> None:
    """One after another and in any order."""
    marks = horizon_of(run).every(f"{run['each']} epochs", growth=run["growth"])
    plain = marks_of(run)
    if isinstance(marks, range):
        assert [*marks[: len(plain)]] == plain
        return
    assert [min(mark, FOREVER) for mark in marks] == plain
    for t in [*range(run["total"]), *positions]:
        t = min(t, run["total"])
        k = bisect_right(plain, t)
        count, since, until = marks.around(t)
        assert (count, since, min(until, FOREVER)) == (k, plain[k - 1] if k else 0, plain[k])
    endless = horizon_of(run, known=False).every(f"{run['each']} epochs", growth=run["growth"])
    assert [min(endless[k], FOREVER) for k in range(len(plain))] == plain
    assert len(endless) == FOREVER


@stable
@given(run=runs)
def test_schedules_on_uneven_epochs_are_the_plain_formulas(run: dict[str, Any]) -> None:
    horizon, total = horizon_of(run), run["total"]
    each, marks = f"{run['each']} epochs", marks_of({**run, "growth": 1.0})
    cycles = marks_of(run)
    step = Step(step_size=each, gamma=0.5).resolve(horizon)
    exponential = Exponential(gamma=0.5, every=each).resolve(horizon)
    restarts = CosineRestarts(cycle=each, cycle_mult=run["growth"], cycle_decay=0.9, min_lr_ratio=0.1).resolve(horizon)
    for t in range(total):
        k, j = bisect_right(marks, t), bisect_right(cycles, t)
        since, start = marks[k - 1] if k else 0, cycles[j - 1] if j else 0
        assert step(t) == 0.5**k
        even = isinstance(horizon.every(each), range)
        passed = t / marks[0] if even else k + (t - since) / (marks[k] - since)
        assert exponential(t) == 0.5**passed
        share = (t - start) / (cycles[j] - start)
        assert restarts(t) == 0.1 + (max(0.9**j, 0.1) - 0.1) * (1 + math.cos(math.pi * share)) / 2
        assert restarts.phase(t) == f"cycle {j + 1}"


@stable
@given(run=runs)
def test_epochs_from_the_end(run: dict[str, Any]) -> None:
    horizon, last = horizon_of(run), plain_epoch_of(run["lengths"], run["total"] - 1)
    on = [run["lengths"][min(epoch, len(run["lengths"]) - 1)] for epoch in range(last + 1)]
    assert horizon.from_end() == Horizon(total_steps=run["total"], steps_per_epoch=on[::-1])


# The loop


@stable
@given(
    batches=st.integers(1, 12),
    epochs=st.none() | st.integers(4, 12),
    max_steps=st.none() | st.integers(1, 60),
    windows=st.dictionaries(st.integers(1, 14), st.integers(1, 5), max_size=3),
    lengths=st.dictionaries(st.integers(0, 14), st.integers(1, 9), max_size=3),
    start=st.integers(0, 3),
)
def test_known_changes_are_all_that_counts(
    batches: int,
    epochs: int | None,
    max_steps: int | None,
    windows: dict[int, int],
    lengths: dict[int, int],
    start: int,
) -> None:
    """The horizon is the same as where each epoch is asked for."""

    def window(epoch: int) -> int:
        return windows[max(begun)] if (begun := [one for one in windows if one <= epoch]) else 2

    limits = Limits(batches, epochs, max_steps, window, lengths=lengths, batch_size=8)
    done = sum(limits.updates_in(epoch) or 0 for epoch in range(start - 1)) + 1
    if start and done <= (max_steps or done):  # a schedule that begins anew
        limits = limits._replace(start=Start(start - 1, done, in_epoch=1))
    assert limits._replace(changes=[*windows]).horizon() == limits.horizon()


def test_samples_are_those_of_the_epochs_that_are_left() -> None:
    """A new schedule that begins where the accumulation is another one."""
    limits = Limits(8, 10, None, lambda epoch: 4 if epoch < 8 else 1, batch_size=4, changes=[8])
    assert limits.horizon().samples_per_step is None
    begun = limits._replace(start=Start(epoch=8, updates=16))
    assert begun.horizon().samples_per_step == 4


def test_a_late_change_of_accumulation_counts_without_a_known_end() -> None:
    limits = Limits(8, None, None, lambda epoch: 4 if epoch < 5000 else 1, changes=[5000])
    assert limits.horizon().steps_per_epoch == Epochs([(5000, 2), (1, 8)])


# What a plan costs

MILLION = 10**6
LONG: dict[str, Schedule] = {
    "cosine": Cosine(warmup="10 epochs"),
    "step": Step(step_size="1 epoch", gamma=0.999),
    "step of half epochs": Step(step_size="0.5 epochs", gamma=0.999),
    "step of one update": Step(step_size=1, gamma=0.999),
    "step of samples": Step(step_size="100 samples", gamma=0.999),
    "multistep": MultiStep(milestones=["20 epochs", "10%", "90%"]),
    "exponential": Exponential(gamma=0.999, every="0.5 epochs"),
    "inverse sqrt": InverseSqrt(warmup="10 epochs"),
    "warmup, stable, decay": WarmupStableDecay(warmup="10 epochs", decay="1000 epochs"),
    "cycles of one update": CosineRestarts(cycle=1),
    "cycles of an epoch": CosineRestarts(cycle="1 epoch", warmup="10 epochs"),
    "cycles of half an epoch": CosineRestarts(cycle="0.5 epochs"),
    "cycles that hardly grow": CosineRestarts(cycle=2, cycle_mult=1.0000001, cycle_decay=0.5),
    "cycles that grow": CosineRestarts(cycle="1 epoch", cycle_mult=2),
    "one cycle": OneCycle(),
    "phases": Phases(
        schedules=[Cosine(), CosineRestarts(cycle=1), Step(step_size="0.5 epochs"), CosineRestarts(cycle="1.5 epochs")],
        milestones=["10 epochs", "1000 epochs", "50%"],
    ),
}


def long_run(epochs: int) -> Horizon:
    """A run in which the accumulation changes in the middle."""
    half = epochs // 2
    limits = Limits(7, epochs, None, lambda epoch: 4 if epoch < half else 1, batch_size=8, changes=[half])
    return limits.horizon()


def seconds(call: Callable[[], Any]) -> float:
    """The least time of some calls: other processes only make things slower."""

    def once() -> float:
        begun = time.perf_counter()
        call()
        return time.perf_counter() - begun

    return min(once() for _ in range(5))


@pytest.mark.behaviour("B68")
@pytest.mark.parametrize("schedule", LONG.values(), ids=LONG.keys())
def test_a_plan_costs_the_same_however_many_epochs(schedule: Schedule) -> None:
    def planned(epochs: int) -> Any:
        horizon = long_run(epochs)
        if "samples" in str(schedule):  # which are not known where the accumulation changes
            horizon = Horizon(total_steps=horizon.total_steps, samples_per_step=64)
        plan = schedule.plan(horizon, [0.1])
        return plan, [plan.lrs(n) for n in (0, 1000, (horizon.total_steps or 0) - 1)]

    short, long = (seconds(lambda epochs=epochs: planned(epochs)) for epochs in (20_000, MILLION))  # type: ignore[misc]
    assert long < 0.02
    assert long < 3 * short or long < 0.001


@pytest.mark.behaviour("B68")
@pytest.mark.parametrize("schedule", [LONG["cycles of one update"], LONG["phases"]])
def test_twenty_million_cycles_are_shown_in_a_moment(schedule: Schedule) -> None:
    horizon = Horizon(total_steps=20 * MILLION, steps_per_epoch=20)
    assert seconds(lambda: preview(schedule, horizon, lr=0.1).table) < 0.1


@pytest.mark.behaviour("B68")
def test_very_many_cycles_are_one_phase() -> None:
    few, many = (CosineRestarts(cycle=1, warmup=5).resolve(Horizon(total_steps=n)) for n in (10_005, 10_006))
    assert (few.phase(4), few.phase(5), few.phase(10_004)) == ("warmup", "cycle 1", "cycle 10000")
    assert [tuple(phase) for phase in many.phases] == [("warmup", 0, 4), ("cycles", 5, 10_005)]
