"""Updates are counted as a training loop counts them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.loop import count_updates

# The same examples in every run, so that a red test stays red.
stable = settings(derandomize=True, deadline=None, max_examples=200)


def window(*sizes: int) -> Callable[[int], int]:
    """Micro-batches in an update, epoch by epoch; the last size goes on."""
    return lambda epoch: sizes[min(epoch, len(sizes) - 1)]


COUNTS = {
    "no accumulation": ((10, 3, None, window(1)), 30, (10, 10, 10)),
    "the last window may be partial": ((7, 3, None, window(2)), 12, (4, 4, 4)),
    "an epoch shorter than the window": ((3, 2, None, window(8)), 2, (1, 1)),
    "the window changes": ((8, 4, None, window(4, 4, 2)), 12, (2, 2, 4, 4)),
    "max_steps below the epochs": ((10, 3, 25, window(1)), 25, (10, 10, 10)),
    "max_steps above the epochs": ((10, 3, 99, window(1)), 30, (10, 10, 10)),
    "max_steps alone": ((10, None, 25, window(1)), 25, (10, 10, 10)),
    "max_steps alone, at the end of an epoch": ((10, None, 20, window(1)), 20, (10, 10)),
    "max_steps alone, the window changes": ((8, None, 7, window(4, 4, 2)), 7, (2, 2, 4)),
    "no length, max_steps": ((None, 3, 25, window(1)), 25, ()),
    "no length, epochs": ((None, 3, None, window(1)), None, ()),
    "no batches": ((0, 3, None, window(1)), 0, ()),
    "no batches, max_steps": ((0, None, 25, window(1)), 0, ()),
    "no epochs": ((10, 0, None, window(1)), 0, ()),
}


def counted(batches: int | None, epochs: int | None, max_steps: int | None, accumulate: Callable[[int], int]) -> Any:
    return count_updates(batches=batches, epochs=epochs, max_steps=max_steps, accumulate=accumulate)


@pytest.mark.parametrize(("limits", "total", "per_epoch"), COUNTS.values(), ids=COUNTS.keys())
def test_count(limits: Any, total: int | None, per_epoch: tuple[int, ...]) -> None:
    assert counted(*limits) == (total, per_epoch)


def test_count_without_an_end_sees_the_window_change() -> None:
    total, per_epoch = counted(8, None, None, window(4, 4, 2))
    assert total is None
    assert Horizon(steps_per_epoch=per_epoch).steps_per_epoch == (2, 2, 4)


def simulated(batches: int, epochs: int | None, max_steps: int | None, sizes: list[int]) -> tuple[int, list[int]]:
    """Run the loop batch by batch and return its updates, and those of each epoch that it finished."""
    done, finished = 0, []
    for epoch in itertools.count() if epochs is None else range(epochs):
        before = done
        for batch in range(1, batches + 1):
            if done == max_steps:
                return done, finished
            if batch % window(*sizes)(epoch) == 0 or batch == batches:
                done += 1
        finished.append(done - before)
    return done, finished


limits_that_end = st.tuples(st.none() | st.integers(1, 6), st.none() | st.integers(1, 60)).filter(any)


@stable
@given(
    batches=st.integers(1, 12),
    limits=limits_that_end,
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=4),
)
def test_count_equals_a_loop(batches: int, limits: tuple[int | None, int | None], sizes: list[int]) -> None:
    epochs, max_steps = limits
    total, per_epoch = counted(batches, epochs, max_steps, window(*sizes))
    done, finished = simulated(batches, epochs, max_steps, sizes)
    assert total == done
    assert list(per_epoch[: len(finished)]) == finished
    assert sum(per_epoch) >= done
