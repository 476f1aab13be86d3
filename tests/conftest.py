"""What holds for all tests."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.old_versions import leave_out


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    leave_out(items)


@pytest.fixture(autouse=True)
def _loggers_speak_again() -> Iterator[None]:
    """A benchmark that silences Lightning silences it for its own test only."""
    levels = {name: logging.getLogger(name).level for name in ("lightning", "lightning.pytorch")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
