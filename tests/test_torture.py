"""Sixty random runs against formulas and plain Lightning; more by `python -m tests.torture --cases 5000`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ready import run
from tests.torture.case import draw

# What random runs find wrong today, by the name of the feature that leads there.
KNOWN_TO_FAIL: tuple[str, ...] = ()


@pytest.mark.timeout(600)
def test_random_runs_use_what_was_planned_and_resume_exactly() -> None:
    command = ["-m", "tests.torture", "--cases", "60", "--without", ",".join(KNOWN_TO_FAIL)]
    done = run(command, Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 cases, 0 failures" in done.stdout


def test_a_case_is_drawn_from_its_seed_alone() -> None:
    assert [repr(draw(seed)) for seed in range(20)] == [repr(draw(seed)) for seed in range(20)]
    assert len({repr(draw(seed)) for seed in range(20)}) == 20


def test_what_is_left_out_is_drawn_by_no_seed() -> None:
    without = frozenset(KNOWN_TO_FAIL)
    assert not any(draw(seed, without=without).features & without for seed in range(300))
    assert without <= {name for seed in range(1000) for name in draw(seed).features}
