"""docs/guarantees.md: complete, up to date with the tests and the wording, and really measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import guarantees
from benchmarks.guarantees import PAGE, ROOT, main, marked_tests, measured_in, page, refreshed
from benchmarks.plain_runs import BEHAVIOURS

ROWS = [f"B{number}" for number in range(1, 76)]
TWO_TESTS = """
@pytest.mark.behaviour("B3", "B4")
@pytest.mark.parametrize("number", [1, 2])
def test_first(number): ...

def test_unmarked(): ...

@pytest.mark.slow
@pytest.mark.behaviour("B3")
@pytest.mark.behaviour("B5")
def test_second(): ...
"""


@pytest.fixture
def committed() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_behaviour_has_a_row_and_a_test() -> None:
    tests = marked_tests(ROOT / "tests")
    assert list(BEHAVIOURS) == list(tests) == ROWS
    assert [name for name, found in tests.items() if not found] == []


def test_page_is_up_to_date_with_tests_and_wording(committed: str) -> None:
    assert list(measured_in(committed)) == ROWS
    assert refreshed(committed, marked_tests(ROOT / "tests")) == committed, (
        "docs/guarantees.md: run `python -m benchmarks.guarantees`, or with --tests where only tests or words changed"
    )


def test_links_of_the_page_lead_to_files(committed: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", committed)
    assert links
    assert [link for link in links if not (PAGE.parent / link).is_file()] == []


def test_page_names_no_place_of_the_machine_that_made_it(committed: str) -> None:
    assert re.findall(r"(?<![\w.<])/\w+", committed) == []
    assert str(ROOT) not in committed
    assert str(Path.home()) not in committed


@pytest.mark.parametrize(
    "name", ["B3", "B11", "B15", "B24", "B33", "B40", "B43", "B48", "B54", "B61", "B66", "B70", "B72"]
)
def test_plain_cases_measure_what_the_page_says(name: str, committed: str) -> None:
    assert BEHAVIOURS[name].plain() == measured_in(committed)[name]


def test_tests_are_found_by_their_marks(tmp_path: Path) -> None:
    (tmp_path / "tests" / "callbacks").mkdir(parents=True)
    (tmp_path / "tests" / "callbacks" / "test_two.py").write_text(TWO_TESTS)
    found = marked_tests(tmp_path / "tests")
    first, second = (f"tests/callbacks/test_two.py::test_{name}" for name in ("first", "second"))
    assert {name: tests for name, tests in found.items() if tests} == {
        "B3": [first, second],
        "B4": [first],
        "B5": [second],
    }


def test_mark_without_a_row_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "test_wrong.py").write_text('@pytest.mark.behaviour("B99")\ndef test_it(): ...\n')
    with pytest.raises(ValueError, match=r"test_wrong\.py::test_it is marked 'B99', and rows are B1, .*B63"):
        marked_tests(tmp_path)


def test_row_without_a_test_is_an_error_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guarantees, "ROOT", tmp_path)
    monkeypatch.setattr(guarantees, "PAGE", tmp_path / "docs" / "guarantees.md")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_two.py").write_text(TWO_TESTS)
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code != 0
    assert "no test is marked with B1, B2, B6, B7" in capsys.readouterr().err
    assert not (tmp_path / "docs").exists()


def test_refreshing_keeps_what_was_measured_and_changes_the_tests() -> None:
    tests = {"B8": ["tests/test_new.py::test_one", "tests/test_new.py::test_two"]}
    old = page("# A page", {"B8": "Measured: 8."}, {"B8": ["tests/test_old.py::test_old"]})
    new = refreshed(old, tests)
    assert new == page("# A page", {"B8": "Measured: 8."}, tests)
    assert "<summary>2 tests</summary>" in new
    assert "[`tests/test_new.py::test_two`](../tests/test_new.py)" in new


def test_refreshing_enters_new_rows_in_their_place() -> None:
    measured = {"B8": "Measured: 8.", "B9": "Measured: 9.", "B10": "Measured: 10."}
    tests: dict[str, list[str]] = {name: [] for name in measured}
    old = page("# A page", {name: measured[name] for name in ("B8", "B10")}, tests)
    assert refreshed(old, tests, {"B9": measured["B9"]}) == page("# A page", measured, tests)


def test_some_rows_are_printed_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guarantees, "PAGE", tmp_path / "guarantees.md")
    main(["--only", "B6", "B3"])
    said = capsys.readouterr()
    assert re.fullmatch(r"B6: .*climbs.*\nB3: .*12 done.*\n", said.out)
    assert re.fullmatch(r"B6 run_goes_past_the_end: [\d.]+ s\nB3 accumulation_schedule: [\d.]+ s\n", said.err)
    assert list(tmp_path.iterdir()) == []
