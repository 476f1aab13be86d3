from __future__ import annotations

import csv
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from recipes.app import csv_logger
from recipes.app.csv_logger import AppendingCSVLogger
from tests.report.test_appended_file import most_bytes


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


# Faults


def log(one: AppendingCSVLogger, *steps: int, **metrics: float) -> list[str]:
    """Log, save after each, as a Trainer does, and return what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in steps:
            one.log_metrics({"loss": 0.5, **metrics}, step=step)
            one.save()
    return [str(warning.message) for warning in caught]


def saved(folder: Path) -> list[int]:
    return [int(row["step"]) for row in rows(folder)]


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


@pytest.mark.behaviour("B67")
@pytest.mark.parametrize("room", [0, 3])
def test_a_full_disk_ends_no_training_and_leaves_whole_rows(room: int, tmp_path: Path) -> None:
    one = logger(tmp_path)
    assert log(one, 0, 1) == []
    with most_bytes((tmp_path / "metrics.csv").stat().st_size + room):
        (said,) = log(one, 2, 3, 4)
        assert saved(tmp_path) == [0, 1]
        assert log(one, 5, acc=0.25) == []  # a longer header: the whole file has to be written
        assert (saved(tmp_path), names(tmp_path)) == ([0, 1], ["metrics.csv"])
    assert said.startswith(f"{tmp_path}/metrics.csv cannot be written (File too large): training goes on")
    assert log(one, 6, acc=0.5) == []
    assert saved(tmp_path) == list(range(7))
    assert [row["acc"] for row in rows(tmp_path)] == [""] * 5 + ["0.25", "0.5"]
    assert [row["loss"] for row in rows(tmp_path)] == ["0.5"] * 7
    assert names(tmp_path) == ["metrics.csv"]


@pytest.mark.behaviour("B67")
def test_no_room_for_the_first_row(tmp_path: Path) -> None:
    one = logger(tmp_path)
    with most_bytes(3):
        assert len(log(one, 0)) == 1
        assert names(tmp_path) == []
    assert log(one, 1) == []
    assert saved(tmp_path) == [0, 1]


@pytest.mark.behaviour("B67")
@pytest.mark.parametrize("fault", ["a folder in its place", "a file in place of the folder", "no folder"])
def test_a_file_that_cannot_be_written(fault: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    one = logger(folder)
    log(one, 0)
    shutil.rmtree(folder)
    if fault == "a folder in its place":
        (folder / "metrics.csv").mkdir(parents=True)
    elif fault == "a file in place of the folder":
        folder.write_text("")
    assert len(log(one, 1, 2)) == (fault != "no folder")
    if fault == "a folder in its place":
        (folder / "metrics.csv").rmdir()
    elif fault == "a file in place of the folder":
        folder.unlink()
    log(one, 3)
    assert saved(folder) == [1, 2, 3]  # the first row has gone with its folder


@pytest.mark.behaviour("B67")
def test_rows_in_memory_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_logger, "_MOST_ROWS", 3)
    one: Any = logger(tmp_path)
    with most_bytes(3):
        (said,) = log(one, *range(20))
        assert len(one.experiment.metrics) == 3
    assert "the last 3 rows are kept in memory" in said
    log(one, 20)
    assert saved(tmp_path) == [17, 18, 19, 20]
