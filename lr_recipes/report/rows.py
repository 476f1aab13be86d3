"""Reading ``lr.csv``, whatever has become of it, line by line in little memory; no torch.

Damaged is a line with another number of values, one with bytes that the disk never got (NULs), one without its end, as
a number that was cut in half still looks like a number, and one that is longer than any row.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from operator import methodcaller
from pathlib import Path
from typing import Any, BinaryIO

from lr_recipes.plan.curve import FOREVER
from lr_recipes.plan.names import numbered

LONGEST = 2**24  # bytes of a line, about: rows of 10,000 groups are a thirtieth of it
_BLOCK = 2**15  # bytes that are read at once; more are no quicker
_VALUES = 2_000_000  # values that a sample holds, about: of very many columns there are fewer rows
_DIGITS = 18  # of a step: of thousands of digits Python makes no number
_NUL = b"\0"
# A line that consists of these, but for its commas and its end, has its values between its commas.
_ORDINARY = bytes(set(range(256)) - set(b'\0\r",\n'))


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file as text by column; a damaged line yields an empty row.

    Raises:
        ValueError: it is no regular file.
    """
    with opened(path) as file:
        yield from _rows(_columns(file.readline(LONGEST)), _blocks(file))


def sample_rows(path: Path, most: int) -> list[dict[str, str]]:
    """Return sound rows from all over a file, the first and the last among them: ``most`` or all, or one more.

    Of a large file only what is returned is read, but for its end.

    Raises:
        ValueError: it is no regular file.
    """
    with opened(path) as file:
        columns = _columns(file.readline(LONGEST))
        most = max(min(most, _VALUES // max(len(columns), 1)), 2)
        rows = list[dict[str, str]]()
        begin, size = file.tell(), os.fstat(file.fileno()).st_size
        end = begin  # of the line that was read last
        for place in range(begin, size, max(math.ceil((size - begin) / most), 1)):
            if place > end:
                file.seek(place - 1)
                file.readline(LONGEST)  # to the end of a line, perhaps of the one before this place
            line = file.readline(LONGEST)
            if not line:
                break
            end = file.tell()
            rows += filter(_has_step, _rows(columns, [line]))
        file.seek(end)
        rows += deque(filter(_has_step, _rows(columns, _blocks(file))), maxlen=1)
    return rows


def read_columns(path: Path) -> list[str]:
    """Return the names of a file's columns; none where its first line is damaged.

    Raises:
        ValueError: it is no regular file.
    """
    with opened(path) as file:
        first = file.readline(LONGEST)
    return _columns(first) if first.endswith(b"\n") and _NUL not in first else []


class Continued:
    """The rows of a file as lines of another one that goes on with them: the sound ones, in order, each update once.

    Args:
        path: the file that they are in.
        columns: of the other file; values are matched by the names of their columns.
        position: only updates before it.

    Attributes:
        kept: rows that have been yielded.
        dropped: lines that have been left out.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = FOREVER) -> None:
        self.path, self.columns, self.position = path, list(columns), position
        self.kept = self.dropped = 0

    def __iter__(self) -> Iterator[bytes]:
        """Yield lines, many together."""
        self.kept = self.dropped = 0
        self._last = -1  # the last update that was kept
        with opened(self.path) as file:
            had = _columns(file.readline(LONGEST))
            same, places = had == self.columns, {name: place for place, name in enumerate(had)}
            for block in _blocks(file):
                count = block.count(b"\n")
                # Update `position` is the first that the other file will get: the last row to keep is that of
                # `position - 1`. A run that was killed has often gone on past its last checkpoint.
                if self._last == self.position - 1:
                    self.dropped += count
                elif same and self._goes_on(block, count):
                    self._last += count
                    self.kept += count
                    yield block
                else:
                    self.dropped += count
                    yield lines_of(self._chosen(block, places))

    def _goes_on(self, block: bytes, count: int) -> bool:
        """Whether these are the very next ``count`` updates, in lines that stay as they are.

        As nearly always, so it must be quick.
        """
        first = self._last + 1
        if first + count > self.position or block.translate(None, _ORDINARY) != self._commas * count:
            return False
        text = block.decode(errors="replace")
        steps = [line.partition(",")[0] for line in text.split("\n")[:-1]]
        return steps == list(map(str, range(first, first + count))) and text.encode() == block

    @property
    def _commas(self) -> bytes:
        return b"," * (len(self.columns) - 1) + b"\n"

    def _chosen(self, block: bytes, places: dict[str, int]) -> Iterator[list[str]]:
        """Values for the other file's columns, of the rows that are kept."""
        picked = [places.get(name, -1) for name in self.columns]
        for values in _values(block):
            step = _step(values[places["step"]]) if len(values) == len(places) and "step" in places else -1
            if self._last < step < self.position:
                self._last = step
                self.kept, self.dropped = self.kept + 1, self.dropped - 1
                values.append("")  # at -1: of a column that the file has not
                yield [values[place] for place in picked]


def opened(path: Path) -> BinaryIO:
    """Open a regular file: a device has no end, and a pipe nobody who writes.

    Raises:
        ValueError: it is something else.
    """
    if path.exists() and not path.is_file():
        raise ValueError(
            f"{path} is a folder, a device or a pipe: give the path of a file, such as the lr.csv of a run"
        )
    return path.open("rb")


def lines_of(rows: Iterable[Sequence[Any]]) -> bytes:
    """Return rows as lines; all at once, so they are to be few."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "backslashreplace")


def _columns(first: bytes) -> list[str]:
    """Names in the first line; a repeated one gets the number of its group, for each name is one column's."""
    names = _split(first.decode(errors="replace"))
    if len(set(names)) == len(names):
        return names
    columns: dict[str, None] = {}
    counts = Counter[str]()
    for name in names:
        kind = name.partition("/")[0]
        columns[numbered(name, columns, counts[kind])] = None
        counts[kind] += 1
    return list(columns)


def _rows(columns: Sequence[str], blocks: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """The rows in blocks of lines; an empty one for a damaged line."""
    count = len(columns)
    for block in blocks:
        for values in _values(block):
            yield dict(zip(columns, values, strict=False)) if len(values) == count else {}


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The lines from here on, many together; in place of one without an end, or without any end in sight, a NUL."""
    begun = b""  # a line whose end is still to come
    while read := file.read(_BLOCK):
        whole, end, begun = (begun + read).rpartition(b"\n")
        if end:
            yield whole + end
        if len(begun) > LONGEST or begun.startswith(_NUL):
            begun = _NUL  # it is damaged, however it goes on
    if begun:
        yield _NUL + b"\n"


def _values(block: bytes) -> Iterator[list[str]]:
    """Values of each line, none of one with NULs; by itself, for a stray quote must not swallow the lines after it."""
    lines = block.decode(errors="replace").split("\n")[:-1]
    if any(one in block for one in (b'"', b"\r", _NUL)):  # hardly any block has one
        return (_split(line) if "\0" not in line else [] for line in lines)
    return map(methodcaller("split", ","), lines)


def _split(line: str) -> list[str]:
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line])) if '"' in line else line.split(",")
    except csv.Error:
        return []


def _has_step(row: dict[str, str]) -> bool:
    return _step(row.get("step", "")) >= 0


def _step(text: str) -> int:
    """The number of an update; -1 where it is none."""
    return int(text) if len(text) <= _DIGITS and text.isascii() and text.isdigit() else -1
