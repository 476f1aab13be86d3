"""The command itself, in processes of its own: killed, interrupted, and run to its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.reproduction.driver import _Progress, failures, job_of
from recipes.reproduction.experiment import Experiment, Result, Run
from recipes.reproduction.row import BASELINE
from recipes.reproduction.rows import ROWS

ROOT = Path(__file__).parents[3]
QUICK = ("quick=true", "rows=small_experiment", "overrides=['trainer.limit_val_batches=1']")
EXPECTED = 2 * 2 * 1 + 2 * 2  # two schedules at two LRs on one tuning seed, then both on two seeds


@pytest.fixture(autouse=True)
def _end_all() -> Iterator[None]:
    """A test that fails leaves no process behind."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


STARTED: list[subprocess.Popen[str]] = []


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "recipes.reproduction", f"folder={folder}/results", "workers=2", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    STARTED.append(process)
    return process


def lines(folder: Path) -> list[str]:
    path = folder / "results" / "small_experiment.csv"
    return path.read_text().splitlines()[1:] if path.exists() else []


def wait_for(condition: object, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_killed_it_leaves_no_process_and_goes_on_where_it_was(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK)
    wait_for(lambda: len(lines(tmp_path)) >= 2)
    workers = children(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = lines(tmp_path)
    assert 2 <= len(before) < EXPECTED
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=20)
    with (tmp_path / "results" / "small_experiment.csv").open("a") as file:
        file.write("small_experiment,fix")  # as if it had been killed within a line
    process = start(tmp_path, *QUICK)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, out
    assert "1 line moved to small_experiment.unused.csv" in out
    assert len(lines(tmp_path)) == len(set(lines(tmp_path))) == EXPECTED
    assert lines(tmp_path)[: len(before)] == before
    assert f"Written: {tmp_path}/README.md" in out
    assert f"{EXPECTED}/{EXPECTED} runs" in out


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(tmp_path: Path) -> None:
    process = start(tmp_path, *QUICK, "workers=1")
    wait_for(lambda: len(lines(tmp_path)) >= 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1, out
    assert re.search(rf"[0-9]+ runs? kept in {tmp_path}/results\. To go on: make reproduce ARGS=", out), out
    assert "Traceback" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rows=transfomer",), "rows=transfomer is unknown (did you mean 'transformer'"),
        (("seeds=0",), "seeds=0: must be a whole number, at least 2"),
        (("tuning_seeds=0",), "tuning_seeds=0: must be a whole number, at least 1"),
        (("workers=none",), "workers=none: must be auto, or a whole number, at least 1"),
        (("sedes=3",), "the config has no 'sedes' (did you mean 'seeds'?)"),
    ],
)
def test_mistakes_are_explained_in_a_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    process = start(tmp_path, *arguments)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert message in out
    assert "Traceback" not in out
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    process = start(tmp_path, *QUICK)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "cannot be written" in out
    assert "Traceback" not in out


def test_rows_launched_as_jobs_are_found_by_a_run_of_both(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    few = "overrides=['trainer.limit_val_batches=1','trainer.limit_test_batches=1']"
    process = start(
        tmp_path, "quick=true", "-m", "rows=small_experiment,fast_supervised", few, "hydra/launcher=joblib", "workers=1"
    )
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    files = {path.stem: path for path in (tmp_path / "results").glob("*.csv")}
    before = {name: path.read_text() for name, path in files.items()}
    assert {name: len(text.splitlines()) - 1 for name, text in before.items()} == {
        "small_experiment": EXPECTED,
        "fast_supervised": EXPECTED,
    }
    process = start(tmp_path, "quick=true", "rows=[small_experiment,fast_supervised]", few)
    out, _ = process.communicate(timeout=280)
    assert process.returncode == 0, out
    assert "failed" not in out
    assert {name: path.read_text() for name, path in files.items()} == before
    page = (tmp_path / "README.md").read_text()
    for row in (row for row in ROWS if row.part == "table"):
        made = row.name in files
        assert f"| {row.setting} | {'fixed' if made else 'not complete'}" in page
        assert (tmp_path / "results" / f"{row.name}.png").exists() is made


def test_only_the_first_seed_at_the_tuned_lr_keeps_its_curve(tmp_path: Path) -> None:
    experiment = Experiment(next(row for row in ROWS if row.name == "small_experiment"))
    results: dict[Run, Result] = {}
    for run in experiment.wanted({}):
        loss = 1 + abs(run.lr - 0.01)
        results[run] = Result(run, "done", loss, 0.5, loss, 0.5, 1, 1.0)
    jobs = [job_of(experiment, run, results, tmp_path) for run in experiment.wanted(results)]
    curves = {job.curve.name: job.run for job in jobs if job.curve is not None}
    assert set(curves) == {"small_experiment-fixed.csv", "small_experiment-plateau.csv"}
    assert {(run.lr, run.seed) for run in curves.values()} == {(0.01, 101)}


def test_failures_are_counted_by_reason() -> None:
    run = Run("row", BASELINE, 0.1, 1)
    results = {run._replace(seed=seed): Result(run._replace(seed=seed), "diverged") for seed in (1, 2)}
    results[run._replace(seed=3)] = Result(run._replace(seed=3), "done")
    results[run._replace(seed=4)] = Result(run._replace(seed=4), "failed: OSError: no")
    assert failures(results) == ["row: 2 runs diverged", "row: 1 run failed: OSError: no"]


def test_the_time_left_is_estimated_from_the_first_result_on() -> None:
    """A row without results is taken to be like the others; one that is complete needs no time."""
    experiments = [Experiment(row) for row in ROWS[:2]]
    run = experiments[0].wanted({})[0]
    results = {run: Result(run, "done", seconds=6.0)}
    missing = experiments[0].expected() - 1 + experiments[1].expected()
    assert _Progress(experiments, results, 2).minutes_left() == pytest.approx(missing * 6.0 / 2 / 60)
