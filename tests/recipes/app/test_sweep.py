"""The end of a sweep: one table of its runs, the best first, one file and one picture."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from recipes.app.sweep import NotesFolder, as_text, end_of_sweep, labels

LR = "used = planned on 4 of 4 updates, schedule complete"


def noted(sweep: Path, number: int, value: float | None, *settings: str, **more: Any) -> dict[str, Any]:
    """Note a job, as its own process does; its LR falls to 1 / (its number + 1)."""
    job = sweep / str(number)
    job.mkdir(parents=True)
    rows = [f"{n},{1 - n / 3 * (1 - 1 / (number + 1))}" for n in range(4)]
    (job / "lr.csv").write_text("\n".join(["step,lr/group0", *rows, ""]))
    metrics = {} if value is None else {"val_loss": value, "val_acc": 1 - value}
    status = "failed" if value is None else "done"
    note = {
        "number": number, "settings": ["model.width=4", *settings], "folder": str(job), "objective": "val_loss",
        "highest_first": False, "metrics": metrics, "closing": [LR], "status": status, "why": "", "seconds": 1.5,
        **more,
    }  # fmt: skip
    (sweep / ".sweep").mkdir(exist_ok=True)
    (sweep / ".sweep" / f"{number}.json").write_text(json.dumps(note))
    return note


def ended(sweep: Path) -> None:
    NotesFolder().on_multirun_start(OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}}))
    end_of_sweep()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "sweep"


def test_the_best_is_first_and_what_came_to_no_end_is_last(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noted(place, 0, 0.5, "schedule=step")
    noted(place, 1, None, "schedule=plateau", why="metric 'x' is not logged\nand more")
    noted(place, 2, 0.25, "schedule=cosine")
    noted(place, 3, float("nan"), "schedule=linear")
    ended(place)
    assert capsys.readouterr().out.splitlines() == [
        "",
        "4 runs, the lowest val_loss first",
        "   run      val_loss  val_acc  last LR  learning rate",
        "1  cosine     0.2500   0.7500    0.333  used = planned (4 updates)",
        "2  step       0.5000   0.5000        1  used = planned (4 updates)",
        "3  linear        nan      nan     0.25  used = planned (4 updates)",
        "-  plateau                              failed: metric 'x' is not logged",
        "",
        "Written: sweep/sweep.csv",
        "Drawn: sweep/sweep.png",
    ]
    with (place / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["job"], row["schedule"], row["status"]) for row in rows] == [
        ("2", "cosine", "done"), ("0", "step", "done"), ("3", "linear", "done"), ("1", "plateau", "failed"),
    ]  # fmt: skip
    assert rows[0].keys() == {
        "job", "schedule", "val_loss", "val_acc", "last_lr", "learning_rate", "status", "why", "seconds", "folder",
    }  # fmt: skip
    assert rows[0]["learning_rate"] == LR
    assert (place / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert not (place / ".sweep").exists()


def test_more_may_be_better(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, value in enumerate((0.5, 0.25)):
        noted(place, number, value, f"seed={number}", objective="val_acc", highest_first=True)
    ended(place)
    _, title, _, best, *_ = capsys.readouterr().out.splitlines()
    assert title == "2 runs, the highest val_acc first"
    assert best.startswith("1  seed=1")


def test_an_interrupted_job_is_a_row_and_a_deviation_is_told_whole(place: Path) -> None:
    odd = "used differs from planned on 1 of 4 updates"
    first = noted(place, 0, 0.5, "seed=0", closing=[odd])
    second = noted(place, 1, None, "seed=1", status="interrupted")
    *_, done, interrupted = as_text([first, second]).splitlines()
    assert done.endswith(odd)
    assert interrupted.split() == ["-", "seed=1", "interrupted"]


def test_without_records_nothing_is_drawn(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noted(place, 0, 0.5, "seed=0")
    (place / "0" / "lr.csv").unlink()
    ended(place)
    assert "Drawn" not in capsys.readouterr().out
    assert not (place / "sweep.png").exists()


def test_a_sweep_that_noted_nothing_says_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As one of previews, and one that was refused before its first job."""
    ended(place)
    end_of_sweep()
    assert capsys.readouterr().out == ""


def test_jobs_that_nothing_sets_apart_have_their_numbers() -> None:
    assert labels([["seed=1"], ["seed=1"]], ["0", "1"]) == ["0: as it is", "1: as it is"]
