"""Updates are counted as a training loop counts them.

What Lightning makes of a Trainer's arguments is compared with Lightning in `tests/recipes/app/test_limits.py`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.loop import Limits, batches_on_each, count_updates, ends_of, limit_of, limited

# The same examples in every run, so that a red test stays red.
stable = settings(derandomize=True, deadline=None, max_examples=200)


def shown(value: Any) -> str:
    """A test's name without the places of functions in memory, which are others in each process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


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


# The horizon that follows


def limits(**given: Any) -> Limits:
    return Limits(**{"batches": 7, "epochs": 3, "max_steps": None, "accumulate": lambda epoch: 2, **given})


@pytest.mark.parametrize(("given", "total", "per_epoch", "source"), [
    ({}, 12, 4, "3 epochs of 4 updates"),
    ({"max_steps": 12}, 12, 4, "3 epochs of 4 updates"),
    ({"max_steps": 11}, 11, 4, "max_steps=11"),
    ({"epochs": None, "max_steps": 9}, 9, 4, "max_steps=9"),
    ({"epochs": None}, None, 4, "7 batches an epoch, but neither max_epochs nor max_steps ends the run"),
    ({"accumulate": lambda epoch: epoch + 1}, 14, (7, 4, 3), "3 epochs of 3 to 7 updates"),
    ({"batches": None}, None, None, "the loader has no length"),
    ({"batches": None, "max_steps": 9}, 9, None, "max_steps=9"),
    ({"batches": 0}, None, None, "no batch in an epoch"),
    ({"epochs": 0}, None, None, "0 epochs of 0 to 0 updates"),
    ({"epochs": 1000}, None, 4, "max_epochs is 1000, which is also what Lightning takes when nothing ends the run; "
     "if 1000 epochs are meant, give max_steps=4000"),
    ({"epochs": 1000, "max_steps": 5000}, 4000, 4, "1,000 epochs of 4 updates"),
    ({"automatic": False}, None, None, "manual optimization: the module decides when an optimizer steps"),
], ids=shown)  # fmt: skip
def test_horizon(given: dict[str, Any], total: int | None, per_epoch: Any, source: str) -> None:
    assert limits(**given).horizon() == Horizon(total_steps=total, steps_per_epoch=per_epoch, source=source)


@pytest.mark.parametrize(("given", "per_epoch", "source"), [
    ({}, 4, "total_steps=30 was given; the Trainer: 3 epochs of 4 updates"),
    ({"epochs": 1000}, 4, "total_steps=30 was given; the Trainer: 1,000 epochs of 4 updates"),
    ({"automatic": False}, 10, "total_steps=30 was given"),
    ({"automatic": False, "epochs": 4}, None, "total_steps=30 was given"),
    ({"automatic": False, "epochs": None}, None, "total_steps=30 was given"),
], ids=shown)  # fmt: skip
def test_horizon_of_a_given_total(given: dict[str, Any], per_epoch: int | None, source: str) -> None:
    assert limits(**given).horizon(30) == Horizon(total_steps=30, steps_per_epoch=per_epoch, source=source)


@pytest.mark.parametrize(("given", "samples"), [
    ({"batch_size": 8, "devices": 3}, 48),
    ({"batch_size": None, "devices": 3}, None),
    ({"batch_size": 8, "accumulate": lambda epoch: epoch + 1}, None),
    ({"batch_size": 8, "batches": None}, 16),
], ids=shown)  # fmt: skip
def test_samples_of_an_update(given: dict[str, Any], samples: int | None) -> None:
    assert limits(**given).horizon().samples_per_step == samples


# What Lightning makes of the arguments of a Trainer


@pytest.mark.parametrize(("arguments", "ends"), [
    ((20, -1), (20, None)),
    ((20, 9), (20, 9)),
    ((-1, 9), (None, 9)),
    ((-1, -1), (None, None)),
    ((None, -1), (1000, None)),
    ((None, 9), (None, 9)),
    ((None, 0), (None, 0)),
    ((None, -1, False, True), (None, None)),
    ((20, -1, False, True), (20, None)),
    ((20, 99, True), (1, 1)),
    ((-1, 2, 5), (1, 5)),
], ids=shown)  # fmt: skip
def test_ends(arguments: Any, ends: tuple[int | None, int | None]) -> None:
    assert ends_of(*arguments) == ends


@pytest.mark.parametrize(("arguments", "limit"), [
    ((None,), None),
    ((7,), 7),
    ((1,), 1),
    ((0.5,), 0.5),
    ((5.0,), 5),
    ((0,), 0),
    ((7, 0.0, 3), 3),
    ((None, 0.0, True), 1),
    ((7, 2, 3), 2),
    ((7, 0.5), 0.5),
], ids=shown)  # fmt: skip
def test_limit(arguments: Any, limit: float | None) -> None:
    found = limit_of(*arguments)
    assert (found, type(found)) == (limit, type(limit))


@pytest.mark.parametrize(("batches", "limit", "taken"), [
    (39, None, 39),
    (39, 1.0, 39),
    (39, 1, 1),
    (39, 0, 0),
    (39, 99, 39),
    (39, 0.25, 9),
    (39, 2.0, 39),
    (0, 0.25, 0),
    (0, 7, 0),
    (None, None, None),
    (None, 1.0, None),
    (None, 7, 7),
], ids=shown)  # fmt: skip
def test_limited(batches: int | None, limit: float | None, taken: int | None) -> None:
    assert limited(batches, limit) == taken


@pytest.mark.parametrize(("batches", "limit", "message"), [
    (39, 0.01, "limit_train_batches=0.01 of 39 batches is less than one: give a larger share"),
    (None, 0.5, "limit_train_batches=0.5 is a share, and the loader has no length"),
])  # fmt: skip
def test_shares_that_cannot_be_taken(batches: int | None, limit: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        limited(batches, limit)


@pytest.mark.parametrize("arguments", [(-2, -1), (20, -2), (1.5, -1), (True, -1)], ids=shown)
def test_ends_that_cannot_be(arguments: Any) -> None:
    with pytest.raises(ValueError, match="must be a whole number, or -1 for no limit"):
        ends_of(*arguments)


@stable
@given(st.integers(0, 60), st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_every_process_has_as_many_batches(samples: int, devices: int, batch_size: int, drop_last: bool) -> None:
    dealt = [*range(samples), *[0] * (-samples % devices)]
    found = batches_on_each(samples, devices, batch_size, drop_last)
    for rank in range(devices):
        share = len(dealt[rank::devices])
        assert found == (share // batch_size if drop_last else math.ceil(share / batch_size))
