"""Lets somebody's code run aside: for a limited time, and without a word, a warning or a random number that shows."""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from types import FrameType

import torch

_ONCE_MORE = 0.05  # seconds until code that was not stopped, or has caught the call, is called again


class OutOfTime(BaseException):
    """The time is over. No code that catches every ``Exception`` is to catch it."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise ``OutOfTime`` when the time is over, whatever is running.

    In the main thread of a system with signals what sleeps is woken, too; elsewhere what computes is stopped.
    """
    main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    with _by_signal(seconds) if main else _by_thread(seconds):
        yield


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        if _may_be_stopped(frame):
            raise OutOfTime

    begun = time.monotonic()
    before = signal.signal(signal.SIGALRM, stop)
    left, again = signal.setitimer(signal.ITIMER_REAL, seconds, _ONCE_MORE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # somebody else's alarm
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), _ONCE_MORE), again)


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    # The public way to stop another thread is to ask it; code that never ends does not listen.
    number, over = threading.get_ident(), threading.Event()
    thread = ctypes.c_ulong(number)

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            if _may_be_stopped(sys._current_frames().get(number)):
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(OutOfTime))
            wait = _ONCE_MORE

    watching = threading.Thread(target=watch, daemon=True)

    def end() -> None:
        over.set()
        watching.join()
        ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, None)  # one that has not been raised yet

    watching.start()
    try:
        try:
            yield
        finally:
            end()
    finally:
        end()  # once more: the thread may have gone on to the first one after it was looked at


def _may_be_stopped(frame: FrameType | None) -> bool:
    """Whether a thread may be stopped where it is: not while this module changes something, or puts it back."""
    if frame is not None and frame.f_code.co_filename == contextlib.__file__:
        return False  # on its way into one of these contexts, or out of it
    while frame is not None:
        if frame.f_code.co_filename == _may_be_stopped.__code__.co_filename:
            return False
        frame = frame.f_back
    return True


class Aside:
    """Whether the code that ran aside drew random numbers."""

    drew = False


@contextlib.contextmanager
def aside() -> Iterator[Aside]:
    """Let nobody see what is printed, logged and warned of meanwhile, and put the random numbers back."""
    found, numpy = Aside(), sys.modules.get("numpy")
    before = torch.get_rng_state(), random.getstate(), None if numpy is None else numpy.random.get_state()
    level, grad = logging.root.manager.disable, torch.is_grad_enabled()
    quiet = io.StringIO()
    try:
        logging.disable(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            yield found
    finally:
        logging.disable(level)
        torch.set_grad_enabled(grad)
        found.drew = not torch.equal(torch.get_rng_state(), before[0]) or random.getstate() != before[1]
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        if numpy is not None:
            found.drew = found.drew or repr(numpy.random.get_state()) != repr(before[2])
            numpy.random.set_state(before[2])
