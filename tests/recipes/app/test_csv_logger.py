from __future__ import annotations

import csv
from pathlib import Path

from recipes.app.csv_logger import AppendingCSVLogger


def logger(folder: Path) -> AppendingCSVLogger:
    return AppendingCSVLogger(folder, name="", version="")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_metrics_stand_directly_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "train.log").touch()  # no warning that the folder is not empty
    one = logger(tmp_path)
    one.log_metrics({"loss": 0.5}, step=0)
    one.save()
    assert rows(tmp_path) == [{"loss": "0.5", "step": "0"}]


def test_a_run_that_goes_on_keeps_its_history(tmp_path: Path) -> None:
    first = logger(tmp_path)
    first.log_metrics({"loss": 0.5, "acc": 0.25}, step=0)
    first.save()
    second = logger(tmp_path)
    assert second.experiment  # as the Trainer does when a fit begins
    assert len(rows(tmp_path)) == 1
    second.log_metrics({"loss": 0.25, "lr": 0.1}, step=1)
    second.save()
    assert rows(tmp_path) == [
        {"acc": "0.25", "loss": "0.5", "lr": "", "step": "0"},
        {"acc": "", "loss": "0.25", "lr": "0.1", "step": "1"},
    ]
