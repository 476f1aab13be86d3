"""A few runs that are killed at random instants; more by `python -m tests.kills --kills 200`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.behaviour("B27")
@pytest.mark.timeout(300)
def test_runs_that_are_killed_go_on_as_if_they_had_not_been() -> None:
    command = [sys.executable, "-m", "tests.kills", "--kills", "3"]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout
