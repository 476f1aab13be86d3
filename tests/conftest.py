"""What holds for all tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest

import tests.once  # noqa: F401
from tests.old_versions import leave_out

# Before torch is imported, here and in every child. Tensors of a few numbers need no threads, and those of two workers
# wait for each other on the same cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Programs that a shell has put into the background ignore Ctrl-C, and so would all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    leave_out(items)


@pytest.fixture(autouse=True)
def _loggers_speak_again() -> Iterator[None]:
    """A benchmark that silences Lightning silences it for its own test only."""
    levels = {name: logging.getLogger(name).level for name in ("lightning", "lightning.pytorch")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(autouse=True)
def _ctrl_c_ends_what_a_test_starts() -> Iterator[None]:
    """A fit that is interrupted ignores every later Ctrl-C, and so would the children of the tests after it."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
