"""metrics.csv for runs that go on in the folder of the run before, and that a full disk does not end."""

from __future__ import annotations

import csv
import os
from contextlib import suppress
from functools import partial
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_warn

_MOST_ROWS = 100_000  # rows that are kept in memory at most where they cannot be written: some 50 MB

_LONGEST_LINE = 1 << 20  # characters that are read at once


class AppendingCSVLogger(CSVLogger):
    """Lightning's ``CSVLogger``, but an existing metrics.csv is continued; the original deletes it.

    Updates that a crash made a run do twice stand there twice. What cannot be written is kept, and tried again.

    Args: those of ``CSVLogger``.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The writer of metrics.csv."""
        if self._experiment is None:
            self._experiment = _AppendingWriter(log_dir=self.log_dir)
        return self._experiment


class _AppendingWriter(ExperimentWriter):
    _told = False

    def _check_log_dir_exists(self) -> None:
        # The original warns of every folder that is not empty, and deletes the file here. The writer must know the
        # columns that are there: it rewrites the whole file, with a longer header, when a metric is new.
        self.metrics_keys = []
        if self._fs.isfile(self.metrics_file_path):
            with self._fs.open(self.metrics_file_path, "r", newline="", errors="replace") as file:
                self.metrics_keys = _values_of(file.readline(_LONGEST_LINE))
                empty = not file.tell()
            if "step" not in self.metrics_keys and not empty:
                raise ValueError(
                    f"{self.metrics_file_path} cannot be continued, for its first line does not name its columns: move "
                    "it away, or set logger=none"
                )

    def save(self) -> None:
        """Write the rows; a file that cannot be written is left as it was, and they wait for the next time."""
        try:
            # What a failed write has left of a row is cut off again.
            self._sound = self._fs.size(self.metrics_file_path) if self._fs.isfile(self.metrics_file_path) else 0
            self._fs.makedirs(self.log_dir, exist_ok=True)
            super().save()
        except OSError as error:
            self._undo()
            if not self._told:
                self._told = True
                rank_zero_warn(
                    f"{self.metrics_file_path} cannot be written ({error.strerror or error}): training goes on, and "
                    f"the last {_MOST_ROWS:,} rows are kept in memory and tried again; make room there"
                )

    def _undo(self) -> None:
        del self.metrics[:-_MOST_ROWS]
        with suppress(OSError):
            os.truncate(self.metrics_file_path, self._sound) if self._sound else os.unlink(self.metrics_file_path)
        with suppress(OSError):
            self._check_log_dir_exists()

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        # The original holds the whole file in memory, and all of one line, however long; and it overwrites the file,
        # whose rows would be lost if there was no room for all of them. Each line by itself, and what is not a row of
        # the file is left out.
        fresh = f"{self.metrics_file_path}.new"
        try:
            with (
                self._fs.open(self.metrics_file_path, "r", newline="", errors="replace") as old,
                self._fs.open(fresh, "w", newline="") as new,
            ):
                lines = map(_values_of, iter(partial(old.readline, _LONGEST_LINE), ""))
                columns = next(lines, [])
                rows = (dict(zip(columns, values, strict=True)) for values in lines if len(values) == len(columns))
                writer = csv.DictWriter(new, fieldnames=fieldnames)
                writer.writeheader()
                writer.writerows(rows)
            self._sound = self._fs.size(fresh)
            self._fs.mv(fresh, self.metrics_file_path)
        finally:
            with suppress(OSError):
                self._fs.rm_file(fresh)


def _values_of(line: str) -> list[str]:
    """The values of a line; none where it is none of ours."""
    try:
        return next(csv.reader([line]), []) if line.endswith("\n") and "\0" not in line else []
    except csv.Error:
        return []
