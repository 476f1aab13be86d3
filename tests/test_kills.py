"""A few runs that are killed at random instants; more by `python -m tests.kills --kills 200`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ready import run


@pytest.mark.behaviour("B27")
@pytest.mark.timeout(300)
def test_runs_that_are_killed_go_on_as_if_they_had_not_been() -> None:
    done = run(["-m", "tests.kills", "--kills", "3"], Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout
