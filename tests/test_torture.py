"""Two hundred random runs against the closed form, each killed and resumed; more by `python -m tests.torture`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(600)
def test_random_runs_use_what_was_planned_and_resume_exactly() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", "--cases", "200"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "200 cases, 0 failures" in done.stdout
