"""Three hundred random command lines and as many constructors; more by `python -m tests.typed --cases 20000`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ready import run
from tests.typed import built, lines


@pytest.mark.behaviour("B73")
@pytest.mark.timeout(600)
def test_whatever_is_typed_or_given_works_or_is_refused_in_a_sentence() -> None:
    done = run(["-m", "tests.typed", "--cases", "300"], Path(__file__).parents[1])
    assert done.returncode == 0, done.stdout + done.stderr
    for kind in ("lines", "constructors"):
        assert f"300 {kind}, 0 failures" in done.stdout


def test_a_case_is_drawn_from_its_seed_alone() -> None:
    assert [lines.draw(seed) for seed in range(40)] == [lines.draw(seed) for seed in range(40)]
    assert [built.draw(seed)[0] for seed in range(40)] == [built.draw(seed)[0] for seed in range(40)]


def test_what_once_ended_in_a_traceback_comes_first() -> None:
    assert [lines.draw(seed) for seed in range(len(lines.ONCE))] == lines.ONCE


def test_every_program_and_every_constructor_is_drawn() -> None:
    assert {lines.draw(seed)[0] for seed in range(100)} == {"train.py", "lr-recipes"}
    assert {built.draw(seed)[0] for seed in range(1000)} == set(built.PUBLIC)


def test_an_error_of_somebody_elses_is_found() -> None:
    def fails(one: int) -> int:
        return 1 // one

    with pytest.raises(ZeroDivisionError) as caught:
        fails(0)
    assert "ZeroDivisionError" in built.not_ours(caught.value)
    assert "is not one sentence" in lines.wrong_in(
        lines.Answer(2, "", "Traceback (most recent call last):\nError: x\n")
    )
    assert "ended with 1" in lines.wrong_in(lines.Answer(1, "", ""))
    assert lines.wrong_in(lines.Answer(2, "", "Error: seed='abc': should be a valid integer\n")) == ""
