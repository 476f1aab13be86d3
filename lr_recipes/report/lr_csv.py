"""The file ``lr.csv``: one row per update, in order, each update once, whatever stopped the run before.

The first columns are ``step,epoch,samples,phase,planned_factor``; then ``lr/<group>``, ``momentum/<group>`` and
``weight_decay/<group>``. ``step`` is the position of the update, counted from 0; ``samples`` is the number seen when it
is done. A value that is not known is empty; numbers are written in full, so reading them gives the same floats back.
A row is a line: a name with a comma or a quote in it stands in quotes, and line breaks in names become spaces.
No torch. The format is public, and its columns are known by their names, not by their places.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lr_recipes.report.appended_file import AppendedFile
from lr_recipes.report.chart import Point

FIXED = ("step", "epoch", "samples", "phase", "planned_factor")
KINDS = ("lr", "momentum", "weight_decay")
_MANY_ROWS = 250


def columns_of(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns for the group names of each kind.

    Example:
        >>> columns_of({"lr": ["decay", "no_decay"], "momentum": ["decay"]})[5:]
        ['lr/decay', 'lr/no_decay', 'momentum/decay']
    """
    return [*FIXED, *(f"{kind}/{' '.join(name.splitlines())}" for kind in KINDS for name in groups.get(kind, ()))]


class Chunk(NamedTuple):
    """Rows as they will stand in a file with these columns."""

    columns: list[str]
    text: bytes
    rows: int


class LrCsv:
    """A file of rows that is written as a stream, and by one run only: see ``AppendedFile``.

    Args:
        path: the file; its folder is made when missing.
        columns: names of the columns, in order.
        position: the first update that this run will do; older rows are kept, the others dropped.
        history: the file of the run before this one, perhaps in another folder, whose rows this one begins with.

    Attributes:
        rows: rows that have been written to the file, and are still there as far as is known.
        kept: rows that were kept when the file was begun, or had to be put right.
        dropped: lines that were dropped then because they were damaged or belong to updates that are done again.

    Raises:
        OSError: the folder or the file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = 0, history: Path | None = None) -> None:
        self._file = AppendedFile(path)
        self.columns = list(columns)
        self._gone: list[str] = []  # columns of groups that were there before: they are kept, and stay empty
        self.kept = self.dropped = 0
        # The checkpoint knows which file its run wrote; one that lies here already may be another run's.
        older = history if history is not None and history.exists() else path
        goes_on = bool(position) and older.exists()
        if goes_on:
            groups = [name for name in read_columns(older) if name.partition("/")[0] in KINDS]
            self._gone = [name for name in groups if name not in self.columns]
        self._columns_wanted = [*self.columns, *self._gone]
        self._begin(self._older_rows(older, position) if goes_on else [], self._columns_wanted)

    @property
    def path(self) -> Path:
        """Where the file is: under another name than was asked for, where another run writes that one."""
        return self._file.path

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows and hand them to the operating system, so that they outlive this process."""
        rows = iter(rows)
        while some := list(itertools.islice(rows, _MANY_ROWS)):
            self.append(self.chunk(some))

    def chunk(self, rows: Sequence[Sequence[Any]]) -> Chunk:
        """Return rows, with values for the present columns, as text."""
        empty = [""] * len(self._gone)
        text = _text([*row, *empty] if empty else row for row in rows)
        return Chunk(self._columns_wanted, b"".join(text), len(rows))

    def append(self, chunk: Chunk) -> None:
        """Append rows, all or none; a file with other columns, or that somebody has removed or changed, is put right.

        Raises:
            OSError: they cannot be written.
        """
        if chunk.columns is not self._columns_there or not self._file.is_whole():
            self._begin(self._older_rows(self._file.source(), sys.maxsize), chunk.columns)
        self._file.append(chunk.text)
        self.rows += chunk.rows

    def count(self) -> int:
        """Return how many rows are there, whatever somebody has done to the file since it was last written."""
        if self._file.is_whole():
            return self.rows
        if self._file.source() != self.path:
            return 0
        try:
            return sum(1 for _ in self._older_rows(self.path, sys.maxsize))
        except OSError:
            return 0

    def add_columns(self, columns: Sequence[str]) -> None:
        """Change to ``columns``, which hold the present ones, for the rows to come; older ones get empty values."""
        self.columns = list(columns)
        self._gone = [name for name in self._gone if name not in self.columns]
        self._columns_wanted = [*self.columns, *self._gone]

    def close(self) -> None:
        """Close the file; nothing more can be written."""
        self._file.close()

    def _older_rows(self, older: Path, position: int) -> Iterator[dict[str, str]]:
        """Rows of updates before ``position``, each once; counts what it leaves out."""
        last = -1
        for row in read_rows(older):
            step = row.get("step", "")
            # Update `position` is the first that this run does: the last row to keep is that of `position - 1`. A run
            # that was killed has often gone on past its last checkpoint.
            if not step.isdecimal() or not last < int(step) < position:
                self.dropped += 1
                continue
            last = int(step)
            self.kept += 1
            yield row

    def _begin(self, rows: Iterable[dict[str, str]], columns: list[str]) -> None:
        """Replace the file by the header and ``rows`` in one move, so that a crash leaves the old or the new one."""
        count = 0

        def lines() -> Iterator[Sequence[str]]:
            nonlocal count
            yield columns
            for row in rows:
                count += 1
                yield [row.get(name, "") for name in columns]

        self._file.begin(_text(lines()))
        self._columns_there, self.rows = columns, count


def read_rows(path: Path, stride: int = 1) -> Iterator[dict[str, str]]:
    """Yield every ``stride``-th row of a file, and the last one, as text by column; a damaged line yields an empty row.

    Damaged is a line with another number of values, one with bytes that the disk never got (NULs), and one without its
    end: a number that was cut in half still looks like a number.
    """
    # A bare carriage return within a damaged line must not end it, and bytes that are no text must not end the reading.
    with path.open(newline="\n", encoding="utf-8", errors="replace") as file:
        columns = _values(next(file, ""))
        index, line = 0, ""
        for index, line in enumerate(file):
            if index % stride == 0:
                yield _row(columns, line)
        if index % stride:
            yield _row(columns, line)


def read_columns(path: Path) -> list[str]:
    """Return the names of a file's columns; none where its first line is damaged."""
    with path.open(newline="\n", encoding="utf-8", errors="replace") as file:
        first = next(file, "")
    return _values(first) if _is_complete(first) else []


def _is_complete(line: str) -> bool:
    return line.endswith("\n") and "\0" not in line


def _row(columns: list[str], line: str) -> dict[str, str]:
    values = _values(line) if _is_complete(line) else []
    return dict(zip(columns, values, strict=True)) if len(values) == len(columns) else {}


def _values(line: str) -> list[str]:
    """Values of one line, each line by itself: a stray quote must not swallow the lines after it."""
    line = line.rstrip("\r\n")
    try:
        return next(csv.reader([line])) if '"' in line else line.split(",")  # nearly all lines have no quote
    except csv.Error:
        return []


def _text(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Text of rows, many at a time, but not all at once."""
    rows = iter(rows)
    while True:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(itertools.islice(rows, _MANY_ROWS))
        if not text.tell():
            return
        yield text.getvalue().encode("utf-8", "backslashreplace")


# Other files


def write_several(path: Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Write a row for each update that a curve has and a column ``lr/<name>`` for each curve, empty past its end."""
    by_step: dict[int, dict[str, float]] = {}
    for name, curve in curves.items():
        for step, lr in curve:
            by_step.setdefault(step, {})[name] = lr

    def write(target: Path) -> None:
        with target.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["step", *(f"lr/{name}" for name in curves)])
            writer.writerows([step, *(lrs.get(name) for name in curves)] for step, lrs in sorted(by_step.items()))

    with_replacement(path, write)


def with_replacement(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file beside ``path`` that then takes its place, so that nobody finds half of one."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(fresh)
            os.replace(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # under the name that was asked for
