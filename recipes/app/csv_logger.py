"""metrics.csv for runs that go on in the folder of the run before."""

from __future__ import annotations

import csv
from functools import partial
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

_LONGEST_LINE = 1 << 20  # characters that are read at once


class AppendingCSVLogger(CSVLogger):
    """Lightning's ``CSVLogger``, but an existing metrics.csv is continued; the original deletes it.

    Updates that a crash made a run do twice stand there twice.

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
    def _check_log_dir_exists(self) -> None:
        # The original warns of every folder that is not empty, and deletes the file here. The writer must know the
        # columns that are there: it rewrites the whole file, with a longer header, when a metric is new.
        if self._fs.isfile(self.metrics_file_path):
            with self._fs.open(self.metrics_file_path, "r", newline="", errors="replace") as file:
                self.metrics_keys = _values_of(file.readline(_LONGEST_LINE))
                empty = not file.tell()
            if "step" not in self.metrics_keys and not empty:
                raise ValueError(
                    f"{self.metrics_file_path} cannot be continued, for its first line does not name its columns: move "
                    "it away, or set logger=none"
                )

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        # The original holds the whole file in memory, and all of one line, however long. Each line by itself, and what
        # is not a row of the file is left out.
        fresh = f"{self.metrics_file_path}.new"
        with (
            self._fs.open(self.metrics_file_path, "r", newline="", errors="replace") as old,
            self._fs.open(fresh, "w", newline="") as new,
        ):
            lines = map(_values_of, iter(partial(old.readline, _LONGEST_LINE), ""))
            columns = next(lines, [])
            writer = csv.DictWriter(new, fieldnames=fieldnames)
            writer.writeheader()
            writer.writerows(dict(zip(columns, values, strict=True)) for values in lines if len(values) == len(columns))
        self._fs.mv(fresh, self.metrics_file_path)


def _values_of(line: str) -> list[str]:
    """The values of a line; none where it is none of ours."""
    try:
        return next(csv.reader([line]), []) if line.endswith("\n") and "\0" not in line else []
    except csv.Error:
        return []
