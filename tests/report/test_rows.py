"""Reading the file: the same rows as plainly written code finds in it, whatever it holds, in little memory."""

from __future__ import annotations

import csv
import itertools
import os
import random
import socket
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lr_recipes.report import rows
from lr_recipes.report.lr_csv import FIXED, LrCsv, columns_of
from lr_recipes.report.picture import draw
from lr_recipes.report.rows import read_columns, read_rows, sample_rows

pytestmark = pytest.mark.behaviour("B75")
COLUMNS = columns_of({"lr": ["body", 'the "head", new'], "momentum": ["body"]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lr.csv"


def row(step: int, phase: str = "cosine") -> list[Any]:
    return [step, step // 10, 32 * (step + 1), phase, 1 / (step + 1), step / 3, step / 7, 0.9]


def whole_file(steps: Sequence[int], path: Path, phases: Sequence[str] = ("warmup", "cosine")) -> bytes:
    """A file as it is written, with several phases."""
    file = LrCsv(path, COLUMNS)
    file.write([row(step, phases[place * len(phases) // len(steps)]) for place, step in enumerate(steps)])
    file.close()
    return path.read_bytes()


# What a plainly written reader makes of a file


class Kept(NamedTuple):
    rows: list[dict[str, str]]
    dropped: int


def values_of(line: bytes) -> list[str]:
    text = line.decode(errors="replace").rstrip("\r")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text]))
    except csv.Error:
        return []


def plainly_read(content: bytes) -> list[dict[str, str]]:
    """Every line as a row, an empty one where it is damaged; of two columns of a name the second has a number."""
    *lines, cut = content.split(b"\n")
    if not lines:
        return []
    header = values_of(lines[0])
    columns: list[str] = []
    for place, name in enumerate(header):
        kind = name.split("/")[0]
        before = [one for one in header[:place] if one.split("/")[0] == kind]
        while name in columns:
            name += f"-{len(before)}"
        columns.append(name)
    found = []
    for line in lines[1:]:
        values = [] if b"\0" in line else values_of(line)
        found.append(dict(zip(columns, values, strict=True)) if len(values) == len(columns) else {})
    return found + ([{}] if cut else [])


def plainly_kept(content: bytes, position: int) -> Kept:
    """Rows before ``position``, in order, each update once."""
    kept: list[dict[str, str]] = []
    dropped = 0
    for one in plainly_read(content):
        step = one.get("step", "")
        is_step = step != "" and all(digit in "0123456789" for digit in step) and len(step) < 19
        if is_step and int(step) < position and (not kept or int(step) > int(kept[-1]["step"])):
            kept.append(one)
        else:
            dropped += 1
    return Kept(kept, dropped)


# Every kind of damage


BYTES = [
    b",",
    b'"',
    b'""',
    b"\r",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"0",
    b"7",
    b"-",
    b" ",
    b"9" * 30,
]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content after a few of the things that happen to files, and some that do not."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
        at, length = chance.randrange(len(content) + 1), chance.choice([1, 1, 2, 9, 40, 200])
        lines = content.split(b"\n")
        line = chance.randrange(len(lines))
        match chance.randrange(8):
            case 0:
                content = content[:at]
            case 1:
                content = content[:at] + content[at + length :]
            case 2:
                content = content[:at] + b"\0" * len(content[at : at + length]) + content[at + length :]
            case 3 | 4:
                content = content[:at] + chance.choice(BYTES) + content[at + chance.choice([0, 1]) :]
            case 5:
                content = b"\n".join([*lines[:line], lines[line], *lines[line:]])
            case 6:
                content = b"\n".join([*lines[:line], *reversed(lines[line : line + 3]), *lines[line + 3 :]])
            case 7:
                content = content.replace(b"\n", b"\r\n")
    return content


@pytest.mark.parametrize("block", [1, 60, 2**15])
def test_of_damaged_files_the_same_is_kept_and_counted_as_by_plain_code(
    block: int, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand files for each size of the blocks that are read at once; the new file has these columns or others."""
    monkeypatch.setattr(rows, "_BLOCK", block)
    chance = random.Random(block)
    begins = [whole_file(range(20), path, ["a", "b"]), whole_file(range(3, 23), path, ["é", 'p"'])]
    others = columns_of({"lr": ["late", "body"], "weight_decay": ["body"]})
    for number in range(1000):
        content = damaged(chance.choice(begins), chance)
        path.write_bytes(content)
        position = chance.choice([1, 5, 12, 20, 23, 30])
        columns = others if number % 4 == 0 else COLUMNS
        assert list(read_rows(path)) == plainly_read(content), content
        kept, dropped = plainly_kept(content, position)
        file = LrCsv(path, columns, position)
        file.close()
        assert (file.kept, file.dropped) == (len(kept), dropped), content
        header = read_columns(path)
        assert header[: len(columns)] == columns
        path.read_bytes().decode()  # others can read it, too
        assert plainly_read(path.read_bytes()) == [{name: one.get(name, "") for name in header} for one in kept]


def test_numbers_of_a_sound_file_stay_to_the_byte(path: Path) -> None:
    """Over several blocks, with a cut before the end; a row that is damaged costs itself alone."""
    content = whole_file(range(20_000), path)
    lines = content.split(b"\n")
    assert len(content) > 4 * rows._BLOCK
    lines[7_001] = lines[7_001][:-3] + b"\0\0\0"
    lines[15_001], lines[15_002] = lines[15_002], lines[15_001]
    path.write_bytes(b"\n".join(lines))
    file = LrCsv(path, COLUMNS, position=19_000)
    file.close()
    assert path.read_bytes() == b"\n".join([*lines[:7_001], *lines[7_002:15_002], *lines[15_003:19_001], b""])
    assert (file.kept, file.dropped) == (18_998, 1_002)


def test_a_file_that_begins_in_mid_run_and_has_gaps(path: Path) -> None:
    steps = [*range(500, 9_000), *range(12_000, 15_000)]
    content = whole_file(steps, path)
    file = LrCsv(path, COLUMNS, position=20_000)
    file.close()
    assert path.read_bytes() == content
    assert (file.kept, file.dropped) == (len(steps), 0)


# Names of the columns


@pytest.mark.behaviour("B71")
def test_two_columns_of_one_name_are_two(path: Path) -> None:
    """As in a file of 0.1.0, for groups named "a-2", "a" and "a": each goes on with its own group."""
    old = ["lr/a-2", "lr/a", "lr/a-2"]
    path.write_text(f"{','.join([*FIXED, *old])}\n0,0,32,cosine,1.0,0.1,0.2,0.3\n")
    assert read_columns(path)[5:] == ["lr/a-2", "lr/a", "lr/a-2-2"]
    file = LrCsv(path, columns_of({"lr": ["a-2", "a", "a-2-2"]}), position=1)
    file.close()
    assert [*next(read_rows(path)).items()][5:] == [("lr/a-2", "0.1"), ("lr/a", "0.2"), ("lr/a-2-2", "0.3")]


@pytest.mark.behaviour("B71")
def test_a_column_of_a_line_break_from_before_is_kept(path: Path) -> None:
    """0.1.0 wrote a space for it, so two columns may bear one name: they stay, and the group gets its own."""
    path.write_text(f"{','.join([*FIXED, 'lr/a b', 'lr/a b'])}\n0,0,32,cosine,1.0,0.1,0.2\n")
    file = LrCsv(path, columns_of({"lr": ["a b", r"a\nb"]}), position=1)
    file.write([[1, 0, 64, "cosine", 1.0, 0.3, 0.4]])
    file.close()
    lrs = [[*one.values()][5:] for one in read_rows(path)]
    assert read_columns(path)[5:] == ["lr/a b", r"lr/a\nb", "lr/a b-1"]
    assert lrs == [["0.1", "", "0.2"], ["0.3", "0.4", ""]]


def test_reading_what_an_editor_has_saved(path: Path) -> None:
    """Windows line ends, quotes around everything."""
    path.write_bytes(b'"step","lr/a, b"\r\n"0","0.1"\r\n"1","0.2"\r\n')
    assert list(read_rows(path)) == [{"step": "0", "lr/a, b": "0.1"}, {"step": "1", "lr/a, b": "0.2"}]


@pytest.mark.parametrize("text", ["", "\n", "step,lr/a\n", '"', '"\rx",y\n'])
def test_a_file_without_rows(path: Path, text: str) -> None:
    path.write_text(text, newline="")
    assert list(read_rows(path)) == []
    assert sample_rows(path, 7) == []


# A sample


@pytest.mark.parametrize("count", [1, 2, 10, 100, 5_000])
@pytest.mark.parametrize("most", [2, 3, 10, 99, 2_000])
def test_a_sample_is_even_and_has_both_ends(count: int, most: int, path: Path) -> None:
    whole_file(range(count), path, ["cosine"])
    found = sample_rows(path, most)
    steps = [int(one["step"]) for one in found]
    assert (steps[0], steps[-1]) == (0, count - 1)
    assert steps == sorted(set(steps))
    assert len(steps) <= most + 2
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    assert max(gaps, default=1) <= max(3 * count / most, 2)
    assert found == [one for one in read_rows(path) if int(one["step"]) in steps]


def test_a_sample_of_a_few_rows_is_all_of_them(path: Path) -> None:
    whole_file(range(400), path)
    assert sample_rows(path, 8_000) == list(read_rows(path))


def test_a_sample_leaves_damaged_rows_out(path: Path) -> None:
    content = whole_file(range(200), path)
    for bad in (b"", b"199,0", b"\0" * 50, b"x" * 30 + b"\n" + b"5" * 90 + b",".join([b""] * len(COLUMNS))):
        path.write_bytes(content + bad)
        assert sample_rows(path, 8_000) == [one for one in read_rows(path) if one.get("step", "x").isdigit()][:200]


def test_of_very_many_columns_a_sample_has_fewer_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_file(range(3_000), path)
    assert len(sample_rows(path, 1_000)) > 900
    monkeypatch.setattr(rows, "_VALUES", 100 * len(COLUMNS))
    assert 90 < len(sample_rows(path, 1_000)) <= 101


# What is no lr.csv


def peak_memory(work: Callable[[], Any]) -> int:
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def everything(path: Path) -> Iterator[Callable[[], Any]]:
    """All that is done with a file that may be another than it should be."""
    yield lambda: [None for _ in read_rows(path)]
    yield lambda: sample_rows(path, 8_000)
    yield lambda: LrCsv(path.with_name("new.csv"), COLUMNS, 5, path).close()


@pytest.mark.behaviour("B71")
@pytest.mark.parametrize("before", [b"", b"step,lr/a\n0,0.1\n"], ids=["as the first line", "among the rows"])
def test_a_line_without_an_end_takes_little_memory(before: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred times what is held of a line, in a sparse file; what comes after it is read again."""
    monkeypatch.setattr(rows, "LONGEST", 2**20)
    with path.open("wb") as file:
        file.write(before + b"0,")
        file.seek(100 * 2**20, os.SEEK_CUR)
        file.write(b"\n1,0.2\n")
    assert max(map(peak_memory, everything(path))) < 6 * 2**20
    if before:
        assert [one for one in read_rows(path) if one] == [{"step": "0", "lr/a": "0.1"}, {"step": "1", "lr/a": "0.2"}]


@pytest.mark.behaviour("B71")
def test_very_many_columns(path: Path) -> None:
    """They are read, in no more memory than they need, and in time that grows with them."""
    count = 200_000
    path.write_text(f"step,{','.join(f'lr/{n}' for n in range(count))}\n" + f"0{',1' * count}\n" * 2)
    assert max(map(peak_memory, everything(path))) < 800 * count
    assert len(read_columns(path.with_name("new.csv"))) == len(COLUMNS) + count


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)  # the whole path may be too long for it


SPECIAL: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": bound_socket,
}


@pytest.mark.behaviour("B71")
@pytest.mark.parametrize("kind", SPECIAL)
def test_only_a_regular_file_is_read(kind: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it is refused; a run that goes on passes over it, and writes its own file."""
    monkeypatch.chdir(path.parent)
    SPECIAL[kind](path)
    doors: list[Callable[[], Any]] = [
        lambda: next(read_rows(path)),
        lambda: read_columns(path),
        lambda: sample_rows(path, 10),
        lambda: draw(path, path.with_suffix(".png")),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=r"lr\.csv is a folder, a device or a pipe"):
            door()
    new = path.with_name("new.csv")
    whole_file(range(3), new)
    replaced = kind in ("a pipe", "a link to a device")
    for target, kept in [(new, [0, 1, 2]), *([(path, list[int]())] if replaced else [])]:
        file = LrCsv(target, COLUMNS, 5, path)
        file.write([row(5)])
        file.close()
        assert (file.kept, file.dropped) == (len(kept), 0)
        assert [int(one["step"]) for one in read_rows(target)] == [*kept, 5]


def test_a_link_to_a_regular_file_is_followed(path: Path) -> None:
    whole_file(range(5), path.with_name("elsewhere.csv"))
    path.symlink_to(path.with_name("elsewhere.csv"))
    assert len(list(read_rows(path))) == 5
