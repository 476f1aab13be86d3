"""Code that runs aside: it ends in time, wherever it runs, and leaves nothing behind."""

from __future__ import annotations

import logging
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy
import pytest
import torch

from lr_recipes.callbacks.aside import OutOfTime, aside, within

# The call to stop may come while something is collected, where Python ignores it, and says so; then it comes again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def sleeps() -> None:
    time.sleep(60)


def computes() -> None:
    while True:
        sum(range(100))


def catches_every_exception() -> None:
    while True:
        with suppress(Exception):
            computes()


def catches_all() -> None:
    try:
        computes()
    except:  # noqa: E722
        computes()


def cleans_up() -> None:
    try:
        computes()
    finally:
        sum(range(10**6))


def in_a_thread(function: Callable[[], None]) -> None:
    raised: list[BaseException] = []

    def target() -> None:
        try:
            function()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    for error in raised:
        raise error


def in_the_main_thread(function: Callable[[], None]) -> None:
    function()


EVERYWHERE = [computes, catches_every_exception, catches_all, cleans_up]


@pytest.mark.parametrize(
    ("where", "code"),
    [
        (in_the_main_thread, sleeps),
        *((where, code) for where in (in_the_main_thread, in_a_thread) for code in EVERYWHERE),
    ],
    ids=lambda one: one.__name__,
)
def test_what_never_ends_is_stopped(where: Any, code: Callable[[], None]) -> None:
    def limited() -> None:
        with within(0.05):
            code()

    started = time.monotonic()
    with pytest.raises(OutOfTime):
        where(limited)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("where", [in_the_main_thread, in_a_thread])
def test_what_ends_in_time_is_not_stopped_and_neither_is_what_follows(where: Any) -> None:
    done: list[str] = []

    def limited() -> None:
        for _ in range(20):
            with within(0.05):
                done.append("")
        until = time.monotonic() + 0.15
        while time.monotonic() < until:
            sum(range(100))
        done.append("over")

    where(limited)
    assert done == [*[""] * 20, "over"]


@pytest.mark.parametrize("where", [in_the_main_thread, in_a_thread])
def test_one_within_another(where: Any) -> None:
    said: list[str] = []

    def limited() -> None:
        with within(20):
            try:
                with within(0.05):
                    computes()
            except OutOfTime:
                said.append("inner")
            said.append("outer goes on")

    where(limited)
    assert said == ["inner", "outer goes on"]


def test_an_error_of_the_code_is_its_own() -> None:
    with pytest.raises(KeyError, match="its own"), within(5):
        raise KeyError("its own")


@pytest.fixture
def alarms() -> Iterator[list[int]]:
    """Counts the alarms of somebody else; pytest's own time limit is one, and is put back."""
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    timer = signal.setitimer(signal.ITIMER_REAL, 0)
    yield rung
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


@pytest.mark.parametrize("code", [computes, lambda: None])
def test_an_alarm_of_somebody_else_rings_all_the_same(code: Callable[[], None], alarms: list[int]) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    with suppress(OutOfTime), within(0.05):
        code()
    assert alarms == []
    time.sleep(0.3)
    assert alarms == [signal.SIGALRM]


def test_without_an_alarm_none_is_left(alarms: list[int]) -> None:
    with within(0.05):
        pass
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    time.sleep(0.1)
    assert alarms == []


@pytest.mark.parametrize("where", [in_the_main_thread, in_a_thread])
def test_a_call_that_comes_again_at_once_interrupts_no_tidying_up(where: Any, monkeypatch: Any) -> None:
    """As on a busy machine, where the time between two calls may go by anywhere."""
    monkeypatch.setattr("lr_recipes.callbacks.aside._ONCE_MORE", 0.0002)

    def limited() -> None:
        for _ in range(300):
            with suppress(OutOfTime), aside(), within(0.0005):
                computes()
            assert logging.root.manager.disable == logging.NOTSET

    timer, handler = signal.getitimer(signal.ITIMER_REAL), signal.getsignal(signal.SIGALRM)
    where(limited)
    assert bool(signal.getitimer(signal.ITIMER_REAL)[0]) is bool(timer[0])  # pytest's own time limit
    assert signal.getsignal(signal.SIGALRM) == handler


@pytest.mark.parametrize("ends", ["setitimer", "signal"])
def test_an_alarm_that_rings_while_it_is_switched_off_is_over(ends: str, monkeypatch: Any, alarms: list[int]) -> None:
    switch, before = getattr(signal, ends), signal.getsignal(signal.SIGALRM)

    def rings_first(*given: Any) -> Any:
        if given[1] in (0, before):  # not where it is switched on
            signal.raise_signal(signal.SIGALRM)
        return switch(*given)

    monkeypatch.setattr(f"lr_recipes.callbacks.aside.signal.{ends}", rings_first)
    with within(5):
        pass
    monkeypatch.undo()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    assert alarms == []


# What is said and drawn


def states() -> list[Any]:
    return [
        torch.get_rng_state().tolist(),
        random.getstate(),
        repr(numpy.random.get_state()),
        logging.root.manager.disable,
        torch.is_grad_enabled(),
        warnings.filters[:],
        sys.stdout,
        sys.stderr,
    ]


def speaks() -> None:
    print("printed")
    print("printed", file=sys.stderr)
    logging.getLogger("lightning.pytorch").error("logged")
    warnings.warn("warned of", stacklevel=1)
    warnings.simplefilter("error")
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("fails", [False, True])
def test_nobody_sees_what_is_said(fails: bool, capfd: Any, caplog: Any, recwarn: Any) -> None:
    before = states()
    with suppress(KeyError), aside() as found:
        speaks()
        if fails:
            raise KeyError
    assert states() == before
    assert not found.drew
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert len(recwarn) == 0


@pytest.mark.parametrize(
    "draw",
    [lambda: torch.rand(1), random.random, numpy.random.rand, lambda: torch.manual_seed(5)],
    ids=["torch", "random", "numpy", "seed"],
)
def test_random_numbers_are_put_back_and_it_is_known_that_some_were_drawn(draw: Callable[[], Any]) -> None:
    before = states()
    with aside() as found:
        draw()
    assert states() == before
    assert found.drew


def test_gradients_are_as_they_were() -> None:
    with aside():
        torch.set_grad_enabled(False)
    assert torch.is_grad_enabled()
