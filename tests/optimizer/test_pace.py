"""Progress by the clock, without a clock: whatever the updates take, it follows the time, smoothly, to its end."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lr_recipes.optimizer.pace import Pace

HOUR = 3_600_000
stable = settings(derandomize=True, deadline=None, max_examples=60)


class Done(NamedTuple):
    """A run: when each update began and its progress, how often the clock was looked at, and what says the pace."""

    updates: list[tuple[float, int]]
    looks: list[float]
    pace: Pace

    @property
    def total(self) -> int:
        return self.pace.total

    @property
    def steps(self) -> list[int]:
        return [after - before for (_, before), (_, after) in pairwise(self.updates)]


def run(total: int, takes: Callable[[int, float], float], pace: Pace | None = None, elapsed: float = 0.0) -> Done:
    """Do updates until the time is over, each of which takes its time."""
    pace, updates, looks, position = pace or Pace(total), [], [], 0
    while elapsed < total:
        if position >= pace.next:
            pace.turn(position, pace.estimate(position, elapsed))
            looks.append(elapsed)
        updates.append((elapsed, pace.at(position)))
        elapsed += takes(position, elapsed)
        position += 1
    assert pace.reached(position) <= total
    return Done(updates, looks, pace)


def lag(done: Done) -> float:
    """How far progress was from the clock at most, as a share of the run."""
    return max(abs(elapsed - progress) for elapsed, progress in done.updates) / done.total


def compiles(position: int, elapsed: float) -> float:
    return {0: 60_000.0, 1: 5_000.0}.get(position, 500.0)


# What an update takes, in milliseconds -> how far progress may be from the clock.
RUNS: dict[str, tuple[Callable[[int, float], float], float]] = {
    "steady": (lambda n, t: 500.0, 0.001),
    "a first update that compiles": (compiles, 0.006),
    "twice as fast from the middle on": (lambda n, t: 1000.0 if t < 2 * HOUR else 500.0, 0.03),
    "half as fast from the middle on": (lambda n, t: 500.0 if t < 2 * HOUR else 1000.0, 0.03),
    "long validations": (lambda n, t: 300_000.0 if n % 4000 == 3999 else 500.0, 0.03),
}


@pytest.mark.parametrize("name", RUNS)
def test_progress_follows_the_clock_to_its_end(name: str) -> None:
    takes, most = RUNS[name]
    done = run(4 * HOUR, takes)
    assert lag(done) < most
    assert min(done.steps) >= 0
    assert done.pace.reached(len(done.updates)) == 4 * HOUR
    assert done.total - done.updates[-1][1] < 2000
    mean = done.total / len(done.updates)
    assert max(done.steps[20:]) < 2 * mean  # no jump, whatever happens


def test_the_clock_is_looked_at_once_a_second_and_more_often_at_both_ends() -> None:
    done = run(HOUR, lambda n, t: 10.0)
    apart = [after - before for before, after in pairwise(done.looks)]
    assert max(apart) <= 1000
    assert apart[100] == 1000
    assert apart[0] == 10
    assert apart[5] < 200
    assert all(gap <= max((HOUR - at) / 20, 10) for at, gap in zip(done.looks, apart, strict=False))
    assert len(done.looks) < 0.02 * len(done.updates)


@stable
@given(seed=st.integers(0, 10**6), mean=st.floats(0.5, 500), total=st.integers(100, 60_000))
def test_whatever_updates_take(seed: int, mean: float, total: int) -> None:
    rng = random.Random(seed)
    done = run(total, lambda n, t: rng.expovariate(1 / mean) * (10 if rng.random() < 0.02 else 1))
    assert min(done.steps, default=0) >= 0
    assert all(0 <= progress < total for _, progress in done.updates)


def test_who_is_told_the_same_is_at_the_same_place() -> None:
    first, second = Pace(HOUR), Pace(HOUR)
    for position in range(1, 5000):
        assert (first.at(position), first.next) == (second.at(position), second.next)
        if position >= first.next:
            estimate = first.estimate(position, 7.0 * position)
            for pace in (first, second):
                pace.turn(position, estimate)
    assert second.updates_in_all(5000) is None  # who has not looked does not know


def test_about_how_many_updates_there_will_be() -> None:
    done = run(HOUR, lambda n, t: 100.0)
    assert done.pace.updates_in_all(len(done.updates)) == pytest.approx(36_000, abs=2)
    assert Pace(HOUR).updates_in_all(0) is None


def test_it_goes_on_from_a_saved_state() -> None:
    pace = Pace(HOUR)
    for position in range(1, 18_000):
        if position >= pace.next:
            pace.turn(position, pace.estimate(position, 100.0 * position))
    state = pace.state(18_000)
    assert state["progress"] == pytest.approx(HOUR / 2, rel=1e-3)
    assert state["increment"] == pytest.approx(100, rel=1e-3)
    other = Pace(HOUR)
    other.go_on(18_000, state)
    assert [other.at(n) for n in (18_000, 18_001)] == [pace.at(n) for n in (18_000, 18_001)]
    assert other.next == 18_001  # on a machine that may be another one
