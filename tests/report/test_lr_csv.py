"""The file: a stream of rows, each update once and in order, whatever happened to the file before."""

from __future__ import annotations

import csv
import math
import random
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lr_recipes.report.lr_csv import FIXED, LrCsv, columns_of, with_replacement
from lr_recipes.report.rows import read_rows

COLUMNS = columns_of({"lr": ["body", "head"]})


def row(step: int, *lrs: float | None) -> list[Any]:
    return [step, step // 10, 32 * (step + 1), "cosine", 0.5, *(lrs or (step / 3, step / 7))]


def written(path: Path, steps: Sequence[int], **settings: Any) -> LrCsv:
    """A closed file with rows of ``steps``."""
    file = LrCsv(path, COLUMNS, **settings)
    file.write([row(step) for step in steps])
    file.close()
    return file


def steps(path: Path) -> list[int]:
    """The steps of the rows; every row whole and as it was written."""
    rows = list(read_rows(path))
    found = [int(one["step"]) for one in rows]
    assert [list(one.values()) for one in rows] == [list(map(str, row(step))) for step in found]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lr.csv"


# Columns and rows


def test_columns() -> None:
    """Fixed ones first, then kind by kind; a kind has the groups that have it."""
    assert columns_of({"weight_decay": ["a"], "momentum": ["b"], "lr": ["a", "b"]}) == [
        *("step", "epoch", "samples", "phase", "planned_factor"),
        *("lr/a", "lr/b", "momentum/b", "weight_decay/a"),
    ]
    assert columns_of({}) == list(FIXED)


def test_text_of_a_file(path: Path) -> None:
    file = LrCsv(path, COLUMNS)
    file.write([[0, 0, 32, "warmup", 0.1, 1e-4, None], [1, 0, None, "", None, 0.1 + 0.2, 3]])
    file.close()
    assert path.read_bytes() == (
        b"step,epoch,samples,phase,planned_factor,lr/body,lr/head\n"
        b"0,0,32,warmup,0.1,0.0001,\n"
        b"1,0,,,,0.30000000000000004,3\n"
    )


def test_numbers_come_back_exactly(path: Path) -> None:
    numbers = [random.Random(0).uniform(0, 1) * 10.0**-n for n in range(330)] + [math.inf, 1 / 3]
    file = LrCsv(path, COLUMNS)
    file.write(row(n, number, -number) for n, number in enumerate(numbers))
    file.close()
    read = list(read_rows(path))
    assert [float(one["lr/body"]) for one in read] == numbers
    assert [float(one["lr/head"]) for one in read] == [-number for number in numbers]


NAMES = ["plain", "with, comma", 'with "quotes"', "ünï→code", " spaces ", "", "a/b", "'", '"', ",", "1e-3", "=1+1"]


def test_any_group_name_is_safe(path: Path) -> None:
    """Names go into the header as they are, in quotes where needed."""
    columns = columns_of({"lr": NAMES})
    values = [n / 7 for n in range(len(NAMES))]
    file = LrCsv(path, columns)
    file.write([row(0, *values)])
    file.add_columns([*columns, "momentum/,"])
    file.write([[*row(1, *values), 0.9]])
    file.close()
    again = LrCsv(path, [*columns, "momentum/,"], position=2)
    again.close()
    assert again.kept == 2
    expected = {f"lr/{name}": value for name, value in zip(NAMES, values, strict=True)}
    for one in read_rows(path):
        assert {name: float(text) for name, text in one.items() if name.startswith("lr/")} == expected
    with path.open(newline="") as plain:  # other readers agree
        assert next(csv.reader(plain)) == [*FIXED, *expected, "momentum/,"]


def test_phase_names_are_safe(path: Path) -> None:
    file = LrCsv(path, COLUMNS)
    file.write([[0, 0, 32, 'up, "then" down', 1.0, 0.1, 0.1]])
    file.close()
    assert next(read_rows(path))["phase"] == 'up, "then" down'


# A stream


def test_rows_are_on_disk_at_once(path: Path) -> None:
    file = LrCsv(path, COLUMNS)
    for step in range(5):
        file.write([row(step)])
        assert steps(path) == list(range(step + 1))
    file.close()


def test_an_empty_write_and_a_generator(path: Path) -> None:
    file = LrCsv(path, COLUMNS)
    file.write([])
    file.write(row(step) for step in range(3))
    file.close()
    assert steps(path) == [0, 1, 2]


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    written(tmp_path / "a" / "b" / "lr.csv", range(2))
    assert steps(tmp_path / "a" / "b" / "lr.csv") == [0, 1]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LrCsv(tmp_path / "file" / "lr.csv", COLUMNS)


def test_nothing_else_is_left_in_the_folder(path: Path) -> None:
    written(path, range(5))
    file = LrCsv(path, COLUMNS, position=5)
    file.add_columns([*COLUMNS, "lr/late"])
    file.close()
    assert [one.name for one in path.parent.iterdir()] == ["lr.csv"]


def peak_memory(work: Iterator[Any]) -> int:
    tracemalloc.start()
    for _ in work:
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_many_rows_take_no_memory(path: Path) -> None:
    """Writing, continuing, adding columns and reading go row by row: 50,000 rows are 3 MB on disk."""
    updates = 50_000

    def work() -> Iterator[Any]:
        file = LrCsv(path, COLUMNS)
        file.write(row(step) for step in range(updates))
        yield file.close()
        file = LrCsv(path, COLUMNS, position=updates)
        assert file.kept == updates
        yield file.add_columns([*COLUMNS, "lr/late"])
        yield file.close()
        yield from read_rows(path)

    assert peak_memory(work()) < 500_000
    assert path.stat().st_size > 2_500_000


# Going on


def test_a_new_run_begins_a_new_file(path: Path) -> None:
    written(path, range(10))
    file = written(path, range(3))
    assert (file.kept, file.dropped) == (0, 0)
    assert steps(path) == [0, 1, 2]


def test_goes_on_from_a_position(path: Path) -> None:
    """Rows of updates that are done again are dropped."""
    written(path, range(10))
    file = written(path, range(6, 12), position=6)
    assert (file.kept, file.dropped) == (6, 4)
    assert steps(path) == list(range(12))


def test_goes_on_in_another_folder(tmp_path: Path) -> None:
    """It begins with the rows of the run before, whose file stays as it is."""
    old, new = tmp_path / "first" / "lr.csv", tmp_path / "second" / "lr.csv"
    written(old, range(10))
    before = old.read_bytes()
    file = written(new, range(8, 12), position=8, history=old)
    assert (file.kept, file.dropped) == (8, 2)
    assert steps(new) == list(range(12))
    assert old.read_bytes() == before


def test_history_may_be_the_file_itself(path: Path) -> None:
    written(path, range(10))
    written(path, range(8, 12), position=8, history=path)
    assert steps(path) == list(range(12))


def test_without_its_history_the_file_itself_is_taken(path: Path) -> None:
    """As when a folder was moved to another machine."""
    written(path, range(10))
    written(path, range(8, 12), position=8, history=path.parent / "gone" / "lr.csv")
    assert steps(path) == list(range(12))


def test_going_on_without_any_file(path: Path) -> None:
    file = written(path, range(8, 12), position=8)
    assert (file.kept, file.dropped) == (0, 0)
    assert steps(path) == [8, 9, 10, 11]


def test_going_on_with_other_columns(path: Path) -> None:
    """Columns are matched by name: new ones are empty above, those of groups that are gone are empty below."""
    written(path, range(2))
    file = LrCsv(path, columns_of({"lr": ["head", "late"], "momentum": ["head"]}), position=2)
    file.write([[2, 0, 96, "cosine", 0.5, 0.1, 0.2, 0.9]])
    file.close()
    rows = [{name: text for name, text in one.items() if name not in FIXED} for one in read_rows(path)]
    assert rows == [
        {"lr/head": "0.0", "lr/late": "", "momentum/head": "", "lr/body": "0.0"},
        {"lr/head": str(1 / 7), "lr/late": "", "momentum/head": "", "lr/body": str(1 / 3)},
        {"lr/head": "0.1", "lr/late": "0.2", "momentum/head": "0.9", "lr/body": ""},
    ]


def test_columns_added_on_the_way(path: Path) -> None:
    file = LrCsv(path, COLUMNS)
    file.write([row(0)])
    file.add_columns([*COLUMNS, "lr/late"])
    file.write([row(1, 0.1, 0.2, 0.3)])
    file.add_columns([*COLUMNS, "lr/late", "lr/later"])
    file.write([row(2, 0.1, 0.2, 0.3, 0.4)])
    file.close()
    rows = list(read_rows(path))
    assert [(one["lr/late"], one["lr/later"]) for one in rows] == [("", ""), ("0.3", ""), ("0.3", "0.4")]
    assert [one["step"] for one in rows] == ["0", "1", "2"]


# What a crash leaves


def test_any_cut_leaves_whole_rows(path: Path) -> None:
    """Wherever the file was cut: a number that was cut in half still looks like a number, and is not kept."""
    written(path, range(5))
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        file = written(path, [5], position=5)
        ends = whole[:length].count(b"\n")  # of the header and of whole rows
        assert steps(path) == [*range(max(ends - 1, 0)), 5]
        assert file.kept == max(ends - 1, 0)


def test_a_cut_line_is_counted(path: Path) -> None:
    written(path, range(5))
    path.write_bytes(path.read_bytes()[:-1])
    file = written(path, [], position=5)
    assert (file.kept, file.dropped) == (4, 1)


WHOLE = b"3,0,128,cosine,0.5,1.0,0.42857142857142855"
# fmt: off
DAMAGE = {
    "NULs for the end of a number": (WHOLE, b"3,0,128,cosine,0.5,1.0,0.42\0\0\0"),
    "NULs for a row": (WHOLE, b"\0" * 40),
    "NULs before a row": (b"\n3,0,128", b"\n\0\0\0\0\0\0003,0,128"),
    "an empty line": (WHOLE, b""),
    "too few values": (b"3,0,128,cosine,0.5,1.0,", b"3,0,128,cosine,0.5,1.0"),
    "too many values": (b"3,0,128,", b"3,0,128,,"),
    "an open quote": (b"3,0,128,cosine", b'3,0,128,"cosine'),
    "a carriage return within quotes": (b"3,0,128,cosine", b'3,0,128\r"x",cosine'),
    "no step": (b"\n3,0,128", b"\n,0,128"),
    "a step that is no number": (b"\n3,0,128", b"\nthree,0,128"),
    "a negative step": (b"\n3,0,128", b"\n-3,0,128"),
    "a step with an exponent": (b"\n3,0,128", "\n3²,0,128".encode()),
    "bytes that are no text": (b"\n3,0,128", b"\n\xff\xfe,0,128"),
    "a step from before": (b"\n3,0,128", b"\n1,0,128"),
    "a step from after": (b"\n3,0,128", b"\n7,0,128"),
}
# fmt: on


@pytest.mark.parametrize(("sound", "damaged"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_row_is_dropped_alone(path: Path, sound: bytes, damaged: bytes) -> None:
    written(path, range(6))
    text = path.read_bytes()
    assert text.count(sound) == 1
    path.write_bytes(text.replace(sound, damaged))
    file = written(path, [6], position=6)
    assert (file.kept, file.dropped) == (5, 1)
    assert steps(path) == [0, 1, 2, 4, 5, 6]


@pytest.mark.parametrize("header", [b"\0" * 20, b"", b"step", b'"', b"other,columns"])
def test_a_damaged_header_leaves_no_rows(path: Path, header: bytes) -> None:
    written(path, range(3))
    path.write_bytes(header + path.read_bytes()[path.read_bytes().index(b"\n") :])
    file = written(path, [3], position=3)
    assert (file.kept, file.dropped) == (0, 3)
    assert steps(path) == [3]


def test_each_update_once_and_in_order(path: Path) -> None:
    """Repeated rows and rows out of order are dropped."""
    written(path, [0, 1, 1, 2, 5, 3, 4, 2, 6, 6, 0])
    file = written(path, [7], position=7)
    assert steps(path) == [0, 1, 2, 5, 6, 7]
    assert (file.kept, file.dropped) == (5, 6)


@pytest.mark.behaviour("B67")
def test_what_a_killed_process_has_left_behind_goes_with_the_next_file(tmp_path: Path) -> None:
    (tmp_path / "lr.png.new").write_bytes(b"half of a picture, and longer than the next one")
    with_replacement(tmp_path / "lr.png", lambda target: target.write_bytes(b"whole"))
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"lr.png": b"whole"}


@pytest.mark.behaviour("B72")
def test_two_that_write_one_file_at_once_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "lr.png"

    def write_while_another_does(target: Path) -> None:
        target.write_bytes(b"first")
        with_replacement(path, lambda its: its.write_bytes(b"second"))

    with_replacement(path, write_while_another_does)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"lr.png": b"second"}


def test_a_file_that_cannot_be_made_is_said_though_an_older_one_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lr.png"
    path.write_bytes(b"older")
    with pytest.raises(FileNotFoundError):
        with_replacement(path, lambda target: Path(tmp_path, "missing").rename(target))
    assert path.read_bytes() == b"older"
