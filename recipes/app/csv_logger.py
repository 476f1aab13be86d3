"""metrics.csv for runs that go on in the folder of the run before."""

from __future__ import annotations

import csv
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter


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
            with self._fs.open(self.metrics_file_path, "r", newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])
