"""The file ``lr.csv``: one row per update, in order, each update once, whatever stopped the run before.

The first columns are ``step,epoch,samples,phase,planned_factor``; then ``lr/<group>``, ``momentum/<group>`` and
``weight_decay/<group>``. ``step`` is the position of the update, counted from 0; ``samples`` is the number seen when it
is done. A value that is not known is empty. No torch.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

FIXED = ("step", "epoch", "samples", "phase", "planned_factor")
KINDS = ("lr", "momentum", "weight_decay")


def columns_of(groups: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the columns for the group names of each kind.

    Example:
        >>> columns_of({"lr": ["decay", "no_decay"], "momentum": ["decay"]})[5:]
        ['lr/decay', 'lr/no_decay', 'momentum/decay']
    """
    return [*FIXED, *(f"{kind}/{name}" for kind in KINDS for name in groups.get(kind, ()))]


class LrCsv:
    """A file of rows that is written as a stream.

    Args:
        path: the file; its folder is made when missing.
        columns: names of the columns, in order.
        position: the first update that this run will do; older rows are kept, the others dropped.
        history: the file of the run before this one, perhaps in another folder, whose rows this one begins with.

    Attributes:
        kept: rows that were kept.
        dropped: lines that were dropped because they were damaged or belong to updates that are done again.

    Raises:
        OSError: the folder or the file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str], position: int = 0, history: Path | None = None) -> None:
        self.path = path
        self.columns = list(columns)
        self.kept = self.dropped = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        older = history if history is not None and history.exists() else path
        old_rows = self._older_rows(older, position) if position and older.exists() else []
        self._rewrite(old_rows)
        self._file: TextIO = path.open("a", newline="", encoding="utf-8")

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Append rows and hand them to the operating system, so that they outlive this process."""
        self._file.writelines(",".join(map(_text, row)) + "\n" for row in rows)
        self._file.flush()

    def add_columns(self, columns: Sequence[str]) -> None:
        """Change to ``columns``, which hold the present ones; older rows get empty values for the new ones."""
        self._file.close()
        old = list(read_rows(self.path))
        self.columns = list(columns)
        self._rewrite(old)
        self._file = self.path.open("a", newline="", encoding="utf-8")

    def close(self) -> None:
        """Close the file; nothing more can be written."""
        self._file.close()

    def _older_rows(self, older: Path, position: int) -> Iterator[dict[str, str]]:
        """Rows of updates before ``position``, each once; counts what it leaves out."""
        last = -1
        for row in read_rows(older):
            step = _step(row)
            if step is None or not last < step < position:
                self.dropped += 1
                continue
            last = step
            self.kept += 1
            yield row

    def _rewrite(self, rows: Iterable[dict[str, str]]) -> None:
        """Replace the file by the header and ``rows`` in one move, so that a crash leaves the old or the new one."""
        fresh = self.path.with_suffix(f".{os.getpid()}.tmp")
        with fresh.open("w", newline="", encoding="utf-8") as file:
            file.write(",".join(self.columns) + "\n")
            file.writelines(",".join(row.get(name) or "" for name in self.columns) + "\n" for row in rows)
        os.replace(fresh, self.path)


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Yield the rows of a file as text by column; a line with another number of values yields an empty row."""
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = csv.reader(line.replace("\0", "") for line in file)
        columns = next(lines, [])
        for values in lines:
            yield dict(zip(columns, values, strict=True)) if len(values) == len(columns) else {}


def _step(row: dict[str, str]) -> int | None:
    step = row.get("step", "")
    return int(step) if step.isdigit() else None


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else repr(value)
