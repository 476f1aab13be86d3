"""The way of rows to their file during a run: what cannot be written now waits, and is tried again.

A record must never end a training. So nothing here raises where a file cannot be written: it is said once, and what
was lost in the end can be counted, for ``LrCsv.count`` tells the rows that are there.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lr_recipes.checks import counted
from lr_recipes.report.lr_csv import Chunk, LrCsv, columns_of

_LIMIT = 64 * 2**20  # bytes of text that wait at most: about a million rows of one group
_REST = 20  # a try that failed is repeated after this many times its own length: no run is to wait for a disk


class Backlog:
    """Rows on their way to a file.

    Args:
        file: the file.
        tell: is given a sentence when rows have to wait, and when something is lost; once each.
    """

    def __init__(self, file: LrCsv, tell: Callable[[str], None]) -> None:
        self.file = file
        self._tell = tell
        self._waiting: deque[Chunk] = deque()
        self._size = 0
        self._retry_at = 0.0
        self._told: set[str] = set()

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """Write rows, or let them wait. Without any, put the file right if somebody has removed or changed it."""
        chunk = self.file.chunk(list(rows))
        if chunk.rows or not self._waiting:
            self._waiting.append(chunk)
            self._size += len(chunk.text)
        self.flush()
        if self._size > _LIMIT:
            self._size -= len(self._waiting.pop().text)
            self._say(
                "dropped",
                f"{_LIMIT / 2**20:.3g} MB of rows wait for {self.file.path}, and no more are kept: later ones are "
                "dropped; make room there, or put the folder back",
            )

    def add_groups(self, names: Mapping[str, Sequence[str]]) -> None:
        """Change to the columns for ``names``, for the rows to come."""
        self.file.add_columns(columns_of(names))

    def flush(self, now: bool = False) -> None:
        """Try to write what waits.

        Args:
            now: also where the last try has failed a moment ago.
        """
        began = time.monotonic()
        if began < self._retry_at and not now:
            return
        path, rows = self.file.path, self.file.rows
        try:
            while self._waiting:
                self.file.append(self._waiting[0])
                chunk = self._waiting.popleft()
                self._size -= len(chunk.text)
                rows += chunk.rows
        except OSError as error:
            self._retry_at = time.monotonic() + _REST * (time.monotonic() - began)
            self._say(
                "waiting",
                f"{path} cannot be written ({error.strerror or error}): training goes on, and what is recorded waits "
                "in memory and is tried again; make room there, or put the folder back",
            )
        if self.file.path != path:
            self._say(
                "moved",
                f"{path} was replaced by somebody else: the record goes on, with all of its rows, as "
                f"{self.file.path.name}; give each run a folder of its own",
            )
        if self.file.rows < rows:
            lost = counted(rows - self.file.rows, "row")
            self._say(
                "lost",
                f"{path} was changed by somebody else, which has cost {lost}: training goes on, and so does the "
                "record; let nobody else write there",
            )

    def close(self) -> None:
        """Write what still waits, if it can be, and close the file."""
        self.flush(now=True)
        self.file.close()

    def _say(self, what: str, sentence: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self._tell(sentence)
