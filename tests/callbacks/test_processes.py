"""Runs that are killed, and runs on two processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lr_recipes.report.lr_csv import read_rows
from tests import ready
from tests.callbacks.harness import PEAK, fit, plan
from tests.callbacks.process_runs import COSINE, killed_run

ROOT = Path(__file__).parents[2]


RUNS = ["-m", "tests.callbacks.process_runs"]


@pytest.mark.behaviour("B27")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("at", [5, 14])
def test_run_that_was_killed_goes_on_as_if_it_had_not_been(at: int, tmp_path: Path) -> None:
    whole = killed_run(tmp_path / "whole")
    killed = ready.run([*RUNS, "killed", tmp_path / "killed", at], ROOT, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = killed_run(tmp_path / "killed", ckpt_path=tmp_path / "killed" / "last.ckpt")
    checkpoint = (at - 1) // 3 * 3  # the last one before the update that was cut short
    assert whole.used == plan(COSINE, 24)
    assert resumed.used == whole.used[checkpoint:]
    text = (tmp_path / "killed" / "lr.csv").read_text()
    assert text == (tmp_path / "whole" / "lr.csv").read_text()
    assert len(text.splitlines()) == 25


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("two")
    return folder, ready.run_two([*RUNS, "two", folder], ROOT)


def of_both(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_use_the_lrs_of_one_with_as_many_updates(two_processes: tuple[Path, str]) -> None:
    first, second = of_both(two_processes[0], "cosine")
    assert first == second
    assert first["total"] == 16
    assert first["used"] == fit(COSINE, batches=8, max_epochs=2).used


def test_two_processes_write_one_file_with_every_update_once(two_processes: tuple[Path, str]) -> None:
    rows = list(read_rows(two_processes[0] / "lr.csv"))
    assert [float(row["lr/group0"]) for row in rows] == plan(COSINE, 16)
    assert [int(row["step"]) for row in rows] == list(range(16))
    assert [int(row["samples"]) for row in rows] == list(range(4, 68, 4))  # 2 processes, 2 batches each


def test_two_processes_that_follow_the_clock_use_the_same_lrs(two_processes: tuple[Path, str]) -> None:
    """Each has a clock of its own, and the first one's counts."""
    first, second = of_both(two_processes[0], "in-time")
    assert first == second
    assert first["total"] == 400
    assert first["used"] == sorted(first["used"], reverse=True)
    assert first["used"][-1] < 0.2 * PEAK


def test_two_processes_speak_once(two_processes: tuple[Path, str]) -> None:
    _, told = two_processes
    assert told.count("Learning-rate plan for SGD") == 11
    assert told.count("used = planned on 16 of 16 updates, schedule complete") == 4


def test_the_loggers_of_the_first_process_alone_are_told(two_processes: tuple[Path, str]) -> None:
    first, second = of_both(two_processes[0], "heard")
    plan = ["lr_recipes/schedule", "lr_recipes/plan"]
    outcome = ["lr_recipes/closing_line", "lr_recipes/used_is_planned"]
    assert first["calls"] == [*plan, "lr/group0", "lr/group0", *plan, *outcome]
    assert second["calls"] == []


def test_two_processes_are_foretold_alike_and_said_once(two_processes: tuple[Path, str]) -> None:
    folder, told = two_processes
    first, second = of_both(folder, "forecast")
    assert first == second
    assert first["said"] == first["used"] == [0.1 * 0.9 ** (n // 2) for n in range(16)]
    assert first["total"] == 16
    assert told.count("Learning-rate forecast for SGD: 16 updates") == 1
    assert told.count("used = forecast on 16 of 16 updates") == 1


@pytest.mark.behaviour("B27")
def test_two_processes_resume(two_processes: tuple[Path, str]) -> None:
    folder, _ = two_processes
    first, second = of_both(folder, "resumed")
    assert first == second
    assert first["used"] == plan(COSINE, 16)[5:]
    assert (folder / "resumed" / "lr.csv").read_text() == (folder / "lr.csv").read_text()


def test_two_processes_follow_other_schedules_by_group_and_for_the_weight_decay(
    two_processes: tuple[Path, str],
) -> None:
    folder, _ = two_processes
    for name in ("groups", "groups resumed"):
        first, second = of_both(folder, name)
        assert first == second
    rows = list(read_rows(folder / "groups" / "lr.csv"))
    assert [float(row["lr/body"]) for row in rows] == plan(COSINE, 16)
    assert [float(row["lr/head"]) for row in rows] == pytest.approx([0.1 * (1 - n / 16) for n in range(16)])
    decay = pytest.approx([0.5 * (1 - n / 32) for n in range(16)])
    assert [float(row["weight_decay/body"]) for row in rows] == decay
    assert (folder / "groups resumed" / "lr.csv").read_text() == (folder / "groups" / "lr.csv").read_text()


@pytest.mark.behaviour("B17")
@pytest.mark.parametrize("name", ["apart", "synced"])
def test_plateau_decides_alike_in_both_processes(name: str, two_processes: tuple[Path, str]) -> None:
    first, second = of_both(two_processes[0], name)
    assert first == second
    assert first["used"] == [0.1] * 4 + [0.05] * 4 + [0.025] * 2


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("name", ["trained-apart", "trained-synced"])
def test_plateau_on_a_metric_of_the_training_epoch_decides_alike_and_resumes(
    name: str, two_processes: tuple[Path, str]
) -> None:
    expected = [0.1] * 4 + [0.05] * 4 + [0.025] * 2
    for done, run in ((0, name), (4, f"{name}-4"), (8, f"{name}-8")):
        first, second = of_both(two_processes[0], run)
        assert first == second
        assert first["used"] == expected[done:]


@pytest.mark.behaviour("B17")
def test_metric_that_differs_between_processes_is_named(two_processes: tuple[Path, str]) -> None:
    _, told = two_processes
    assert told.count("val_loss differs between processes: the plateau takes their mean") == 1
    assert "self.log('val_loss', ..., sync_dist=True)" in told
