"""Results on disk: nothing that was written is lost, and nothing that does not belong is used."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

import pytest

from recipes.reproduction.experiment import Result, Run
from recipes.reproduction.store import COLUMNS, ORIGIN, Store, line_of, parsed

HERE = {**dict.fromkeys(ORIGIN, "1"), "torch": "2.15", "python": "3.11", "machine": "2 cores"}
DONE = Result(Run("row", "cosine", 0.1 + 0.2, 1), "done", 1 / 3, 0.5, 2 / 3, 0.25, 600, 1.5, 1.25, 0.1, 0.2)


def origin(row: str, schedule: str) -> Mapping[str, str]:
    if schedule == "gone":
        raise KeyError(schedule)
    return HERE


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, told: list[str]) -> Store:
    return Store(tmp_path / "results", origin, told.append)


def test_numbers_come_back_exactly(store: Store, told: list[str]) -> None:
    diverged = Result(Run("row", "cosine", 9.0, 2), "diverged", updates=3, seconds=0.5)
    for result in (DONE, diverged):
        store.append(result)
    found = store.load("row")
    assert found[DONE.run] == DONE
    assert found[diverged.run].status == "diverged"
    assert math.isinf(found[diverged.run].loss("val"))
    assert told == []


def test_pandas_and_the_standard_library_read_the_file(store: Store) -> None:
    store.append(DONE)
    with store.path("row").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(COLUMNS)
    assert float(row["lr"]) == DONE.run.lr
    pandas = pytest.importorskip("pandas")
    assert pandas.read_csv(store.path("row")).test_loss[0] == DONE.test_loss


def test_what_others_write_is_read_and_left_alone(store: Store, told: list[str]) -> None:
    store.append(DONE)
    with store.path("row").open("a") as file:
        file.write(line_of(DONE, HERE)[:40])  # they are in the middle of a line
    before = store.path("row").read_text()
    assert list(store.load("row", tidy=False)) == [DONE.run]
    assert store.path("row").read_text() == before
    assert told == []


def test_a_torn_line_is_named_and_moved_aside(store: Store, told: list[str]) -> None:
    store.append(DONE)
    with store.path("row").open("a") as file:
        file.write(line_of(DONE, HERE)[:40])
    assert list(store.load("row")) == [DONE.run]
    assert len(told) == 1
    assert "1 line moved to row.unused.csv, to be run again: damaged (" in told[0]
    assert list(store.load("row")) == [DONE.run]
    assert len(told) == 1  # the file is whole again


def test_a_line_goes_on_after_a_torn_one_that_was_moved(store: Store) -> None:
    store.append(DONE)
    with store.path("row").open("a") as file:
        file.write("row,cosine,0.1")
    store.load("row")
    other = Result(Run("row", "cosine", 0.4, 1), "done", 1.0, 0.5, 1.0, 0.5, 10, 1.0)
    store.append(other)
    assert set(store.load("row")) == {DONE.run, other.run}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (line_of(DONE, {**HERE, "torch": "2.11"}), "of another origin (torch 2.11, now 2.15)"),
        (line_of(DONE, {**HERE, "config": "7"}), "of another origin (settings 7, now 1)"),
        (line_of(DONE, {**HERE, "data": "x"}), "of another origin (data x, now 1)"),
        (line_of(Result(Run("row", "gone", 0.1, 1), "done"), HERE), "of a schedule that the row no longer has (gone)"),
        (line_of(Result(Run("other", "cosine", 0.1, 1), "done"), HERE), "of another row (other)"),
        (line_of(Result(DONE.run, "failed: ValueError: no"), HERE), "failed: ValueError: no"),
        ("\x00\xff binary", "damaged"),
    ],
)
def test_lines_that_do_not_count_are_named_and_kept(store: Store, told: list[str], line: str, reason: str) -> None:
    store.append(DONE)
    with store.path("row").open("a") as file:
        file.write(line + "\n")
    assert list(store.load("row")) == [DONE.run]
    assert reason in told[0]
    assert line in (store.folder / "row.unused.csv").read_text()


def test_a_file_without_its_first_line_is_read_all_the_same(store: Store, told: list[str]) -> None:
    store.append(DONE)
    path = store.path("row")
    path.write_text(path.read_text().partition("\n")[2])
    assert list(store.load("row")) == [DONE.run]


def test_reasons_with_commas_and_quotes_survive() -> None:
    result = Result(DONE.run, 'failed: ValueError: "a", b\nc')
    assert parsed(line_of(result, HERE))[0].status == 'failed: ValueError: "a", b c'


def test_a_row_without_a_file_has_no_results(store: Store) -> None:
    assert store.load("row") == {}
