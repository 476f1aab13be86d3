"""Rows on their way: what cannot be written waits, in order, up to a limit, and it is said once."""

from __future__ import annotations

import csv
import os
import random
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from lr_recipes.report import backlog as module
from lr_recipes.report.backlog import Backlog
from lr_recipes.report.lr_csv import LrCsv, columns_of, read_rows
from tests.report.test_appended_file import most_bytes

pytestmark = pytest.mark.behaviour("B67")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lr.csv"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def backlog(path: Path, told: list[str]) -> Backlog:
    return Backlog(LrCsv(path, columns_of({"lr": ["a"]})), told.append)


def rows(*steps: int, lrs: tuple[float, ...] = (0.1,)) -> list[tuple[Any, ...]]:
    return [(step, 0, 1, "cosine", 0.5, *lrs) for step in steps]


def steps(path: Path) -> list[int]:
    with path.open(newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def full(path: Path) -> Any:
    """There is room for a part of a row."""
    return most_bytes(path.stat().st_size + 5)


def test_rows_wait_for_room_and_are_written_in_order(path: Path, backlog: Backlog, told: list[str]) -> None:
    backlog.write(rows(0))
    with full(path):
        for step in range(1, 5):
            backlog.write(rows(step))
        assert (steps(path), backlog.file.rows) == ([0], 1)
    (sentence,) = told
    assert sentence.startswith(f"{path} cannot be written (File too large): training goes on")
    backlog.write(rows(5))
    backlog.close()
    assert (steps(path), backlog.file.rows) == (list(range(6)), 6)
    assert len(told) == 1


def test_columns_that_are_new_meanwhile(path: Path, backlog: Backlog, told: list[str]) -> None:
    backlog.write(rows(0))
    with full(path):
        backlog.write(rows(1))
        backlog.add_groups({"lr": ["a", "b"]})
        backlog.write(rows(2, lrs=(0.1, 0.2)))
        backlog.add_groups({"lr": ["a", "b", "c"]})
        backlog.write(rows(3, lrs=(0.1, 0.2, 0.3)))
    backlog.close()
    with path.open(newline="") as file:
        found = [(row["step"], row["lr/a"], row["lr/b"], row["lr/c"]) for row in csv.DictReader(file)]
    assert found == [("0", "0.1", "", ""), ("1", "0.1", "", ""), ("2", "0.1", "0.2", ""), ("3", "0.1", "0.2", "0.3")]
    assert len(told) == 1


def test_what_waits_has_a_limit(path: Path, backlog: Backlog, told: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is 21 bytes: three of them wait, and the later ones are dropped."""
    monkeypatch.setattr(module, "_LIMIT", 65)
    with full(path):
        for step in range(9):
            backlog.write(rows(step))
    assert len(told) == 2
    assert told[1].startswith(f"6.2e-05 MB of rows wait for {path}, and no more are kept: later ones are dropped")
    backlog.flush(now=True)
    backlog.write(rows(9))
    backlog.close()
    assert (steps(path), backlog.file.rows) == ([0, 1, 2, 9], 4)


def test_many_writes_without_rows_take_no_memory(path: Path, backlog: Backlog) -> None:
    with full(path):
        for _ in range(100):
            backlog.write([])
            backlog.write(rows(0))
            backlog.write([])
    assert len(backlog._waiting) == 100
    backlog.close()


def test_a_try_that_took_long_is_not_repeated_soon(
    path: Path, backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs for a second at each write must not halve the speed of the training."""
    tries: list[int] = []
    now = [100.0]
    append = backlog.file.append

    def slow(chunk: Any) -> None:
        tries.append(chunk.rows)
        now[0] += 1.0
        append(chunk)

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(backlog.file, "append", slow)
    with full(path):
        for step in range(100):
            backlog.write(rows(step))
            now[0] += 0.5
        assert len(tries) == 3
        backlog.flush(now=True)
        assert len(tries) == 4
    backlog.close()
    assert steps(path) == list(range(100))


def test_a_folder_that_is_gone_is_made_again(path: Path, backlog: Backlog, told: list[str]) -> None:
    backlog.write(rows(0, 1))
    shutil.rmtree(path.parent)
    backlog.write([])
    assert (steps(path), told) == ([0, 1], [])
    backlog.close()


def test_rows_that_somebody_has_cut_off_are_counted(path: Path, backlog: Backlog, told: list[str]) -> None:
    backlog.write(rows(*range(9)))
    for size in (120, 90):
        os.truncate(path, size)
        backlog.write(rows(size))
    backlog.close()
    assert steps(path) == [0, 1, 90]
    assert backlog.file.rows == 3
    (sentence,) = told
    assert sentence.startswith(f"{path} was changed by somebody else, which has cost 6 rows: training goes on")


def test_rows_of_a_file_that_cannot_be_put_right_are_counted(path: Path, backlog: Backlog) -> None:
    backlog.write(rows(*range(9)))
    os.truncate(path, 120)
    with most_bytes(10):
        backlog.write([])
        assert backlog.file.count() == len(list(filter(None, read_rows(path)))) == 3
    backlog.close()


def test_a_file_that_somebody_has_put_in_its_place_stays(path: Path, backlog: Backlog, told: list[str]) -> None:
    backlog.write(rows(0))
    path.unlink()
    path.write_text("theirs")
    backlog.write(rows(1))
    backlog.close()
    assert path.read_text() == "theirs"
    assert steps(path.with_name("lr.2.csv")) == [0, 1]
    (sentence,) = told
    assert sentence.startswith(f"{path} was replaced by somebody else: the record goes on, with all of its rows, as ")


# At random


def noise(rng: random.Random) -> bytes:
    """No part of it could be taken for a part of a row."""
    return b"\0" + bytes(rng.choices(b'\0\xff"ab\n', k=rng.randrange(200)))


def one_fault(path: Path, rng: random.Random) -> Any:
    """Do something to the file or its folder."""
    kinds: list[Any] = [
        lambda: shutil.rmtree(path.parent),
        lambda: (shutil.rmtree(path.parent), path.parent.write_text("a file")),
        path.unlink,
        lambda: os.truncate(path, rng.randrange(path.stat().st_size + 1)),
        lambda: path.write_bytes(path.read_bytes()[: rng.randrange(200)] + noise(rng)),
        lambda: path.write_bytes(path.read_bytes() + b"\0" + b"\n0,0,1,cosine,0.5,0.0" * rng.randrange(1, 4)),
        lambda: path.write_text("other,columns\n1,2\n" * rng.randrange(99)),
    ]
    return rng.choice(kinds)()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_each_row_is_there_once_or_counted(seed: int, path: Path, told: list[str]) -> None:
    """40 updates among faults of the disk, of the folder and of the file, and groups that join."""
    rng = random.Random(seed)
    groups = ["a"]
    backlog = Backlog(LrCsv(path, columns_of({"lr": groups})), told.append)
    room = None
    for step in range(40):
        if path.is_file() and rng.random() < 0.1:
            one_fault(path, rng)
        elif path.parent.is_file() and rng.random() < 0.5:
            path.parent.unlink()
        if rng.random() < 0.1:
            groups = [*groups, f"group{step}"]
            backlog.add_groups({"lr": groups})
        if rng.random() < 0.1 and path.is_file():
            room = rng.choice([None, path.stat().st_size + rng.randrange(30)])
        with most_bytes(resource.RLIM_INFINITY if room is None else room):
            backlog.write(rows(*[step] * (rng.random() < 0.9), lrs=tuple(step + n / 8 for n in range(len(groups)))))
            if rng.random() < 0.3:
                backlog.flush(now=True)
    if path.parent.is_file() and rng.random() < 0.5:
        path.parent.unlink()
    backlog.flush(now=True)
    there = list(filter(None, read_rows(path))) if path.is_file() else []
    assert backlog.file.count() == len(there)
    assert [int(one["step"]) for one in there] == sorted({int(one["step"]) for one in there})
    for one in there:
        lrs = [float(text) for name, text in one.items() if name.startswith("lr/") and text]
        assert lrs == [int(one["step"]) + n / 8 for n in range(len(lrs))]
    assert len(told) == len(set(told)) <= 4
    backlog.close()
    if path.parent.is_dir():
        assert {one.name for one in path.parent.iterdir()} <= {"lr.csv"}
