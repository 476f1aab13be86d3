"""The file ``lr.csv``: one row per update, in order, each update once, whatever stopped the run before.

The first columns are ``step,epoch,samples,phase,planned_factor``; then ``lr/<group>``, ``momentum/<group>``,
``weight_decay/<group>``, and the same of any other hyper-parameter that the plan moves, such as ``betas[1]/<group>``.
``step`` is the position of the update, counted from 0; ``samples`` is the number seen when it is done. A value that is
not known is empty; numbers are written in full, so reading them gives the same floats back.
A row is a line, in UTF-8: a name with a comma or a quote in it stands in quotes. Each group has a column of its own,
under the name that it has everywhere (``plan/names.py``): what cannot be seen, such as a line break, is written as its
escape, and a repeated name has a number.
No torch. The format is public, and its columns are known by their names, not by their places.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lr_recipes.plan.names import distinct
from lr_recipes.report.appended_file import AppendedFile
from lr_recipes.report.chart import Point
from lr_recipes.report.rows import Continued, lines_of, read_columns
from lr_recipes.report.rows import read_rows as read_rows  # here too, for whoever looks for it beside the format

FIXED = ("step", "epoch", "samples", "phase", "planned_factor")
_FIRST = ("lr", "momentum", "weight_decay")  # kinds of columns; others follow
_MANY_ROWS = 250


def columns_of(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns for the group names of each kind.

    Example:
        >>> columns_of({"lr": ["decay", "no_decay"], "momentum": ["decay"]})[5:]
        ['lr/decay', 'lr/no_decay', 'momentum/decay']
    """
    others = [kind for kind in groups if kind not in _FIRST]
    return [*FIXED, *(f"{kind}/{name}" for kind in [*_FIRST, *others] for name in groups.get(kind, ()))]


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
        older = history if history is not None and history.is_file() else path
        goes_on = bool(position) and older.is_file()  # a device or a pipe is passed over, and the file takes its place
        if goes_on:
            groups = [name for name in read_columns(older) if "/" in name]
            self._gone = _without(groups, self.columns)
        self._columns_wanted = [*self.columns, *self._gone]
        self._begin(self._columns_wanted, Continued(older, self._columns_wanted, position) if goes_on else None)

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
        text = lines_of([*row, *empty] if empty else row for row in rows)
        return Chunk(self._columns_wanted, text, len(rows))

    def append(self, chunk: Chunk) -> None:
        """Append rows, all or none; a file with other columns, or that somebody has removed or changed, is put right.

        Raises:
            OSError: they cannot be written.
        """
        if chunk.columns is not self._columns_there or not self._file.is_whole():
            self._begin(chunk.columns, Continued(self._file.source(), chunk.columns))
        self._file.append(chunk.text)
        self.rows += chunk.rows

    def count(self) -> int:
        """Return how many rows are there, whatever somebody has done to the file since it was last written."""
        if self._file.is_whole():
            return self.rows
        if self._file.source() != self.path:
            return 0
        rows = Continued(self.path, self._columns_there)
        with suppress(OSError):
            deque(rows, maxlen=0)
        return rows.kept

    def add_columns(self, columns: Sequence[str]) -> None:
        """Change to ``columns``, which hold the present ones, for the rows to come; older ones get empty values."""
        self.columns = list(columns)
        self._gone = _without(self._gone, self.columns)
        self._columns_wanted = [*self.columns, *self._gone]

    def close(self) -> None:
        """Close the file; nothing more can be written."""
        self._file.close()

    def _begin(self, columns: list[str], rows: Continued | None) -> None:
        """Replace the file by the header and ``rows`` in one move, so that a crash leaves the old or the new one."""
        self._file.begin(itertools.chain([lines_of([columns])], rows or ()))
        self.kept, self.dropped = (rows.kept, rows.dropped) if rows is not None else (0, 0)
        self._columns_there, self.rows = columns, self.kept


def _without(names: Iterable[str], others: Iterable[str]) -> list[str]:
    left_out = set(others)
    return [name for name in names if name not in left_out]


# Other files


def write_several(path: Path, curves: Mapping[str, Sequence[Point]]) -> None:
    """Write a row for each update that a curve has and a column ``lr/<name>`` for each curve, empty past its end."""
    by_step: dict[int, dict[str, float]] = {}
    for name, curve in curves.items():
        for step, lr in curve:
            by_step.setdefault(step, {})[name] = lr

    header = ["step", *(f"lr/{name}" for name in distinct(curves))]
    rows = ([step, *(lrs.get(name) for name in curves)] for step, lrs in sorted(by_step.items()))
    with_replacement(path, lambda target: target.write_bytes(lines_of([header, *rows])))


def with_replacement(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file beside ``path`` that then takes its place, so that nobody finds half of one."""
    # One name for all processes: what one that was killed has left behind is written over, and so goes.
    fresh = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(fresh)
            _move(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # under the name that was asked for


def _move(fresh: Path, path: Path) -> None:
    try:
        os.replace(fresh, path)
    except FileNotFoundError:
        if not path.exists():  # else another process wrote it too, and has just moved it there
            raise
