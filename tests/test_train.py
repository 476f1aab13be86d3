"""`python train.py` as a command: what a run leaves, how it goes on, and how mistakes end."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.ready import Program

ROOT = Path(__file__).parents[1]
SCHEDULES = sorted(path.stem for path in (ROOT / "conf" / "schedule").glob("*.yaml"))
SMALL = [
    "trainer=cpu", "trainer.limit_train_batches=7", "trainer.log_every_n_steps=1", "trainer.num_sanity_val_steps=0",
    "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "model.width=4",
]  # fmt: skip


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


# A process each, so as much as possible is looked at in each; ready ones where that is possible


def outside(**environment: str) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name not in ("HYDRA_FULL_ERROR", "LOCAL_RANK")}
    return {**found, "OMP_NUM_THREADS": "1", **environment}


def alone(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """As a person starts it."""
    typed = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(typed, cwd=cwd, env=outside(), capture_output=True, text=True, check=False)


def started(*arguments: str, cwd: Path, **environment: str) -> Program:
    return Program([ROOT / "train.py", *arguments], cwd, outside(**environment))


def command(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return started(*arguments, cwd=cwd, **environment).wait()


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def first(place: Path) -> subprocess.CompletedProcess[str]:
    """A whole run, short."""
    return alone(*SMALL, "trainer.max_epochs=2", "schedule=one_cycle", "optimizer.lr=0.01", cwd=place)


def test_a_run_prints_its_plan_its_metrics_and_the_closing_line(first: subprocess.CompletedProcess[str]) -> None:
    assert (first.returncode, first.stderr) == (0, "")
    for text in ("Learning-rate plan for AdamW: 14 updates", "used = planned on 14 of 14 updates, schedule complete",
                 "metrics of runs/"):  # fmt: skip
        assert first.stdout.count(text) == 1, text
    assert [line.split()[0] for line in first.stdout.splitlines()[-2:]] == ["val", "test"]
    assert "Tip" not in first.stdout


def test_a_run_leaves_these_files(first: subprocess.CompletedProcess[str], place: Path) -> None:
    folder = only(place / "runs")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    hydra = {".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml"}
    files = {
        "hparams.yaml",
        "lr.csv",
        "lr.png",
        "metrics.csv",
        "train.log",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    }
    assert found == files | hydra
    log = (folder / "train.log").read_text()
    assert "Learning-rate plan" in log
    assert "schedule complete" in log
    assert "metrics of" in log
    assert OmegaConf.load(folder / ".hydra" / "config.yaml").optimizer.lr == 0.01
    assert OmegaConf.load(folder / ".hydra" / "overrides.yaml") == [
        *SMALL, "trainer.max_epochs=2", "schedule=one_cycle", "optimizer.lr=0.01",
    ]  # fmt: skip
    for name in ("best", "last"):
        torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_longer_plan_is_refused_until_one_is_chosen(first: subprocess.CompletedProcess[str], place: Path) -> None:
    folder = only(place / "runs")
    settings = {path.name: path.read_text() for path in (folder / ".hydra").iterdir()}
    longer = [f"ckpt_path=runs/{folder.name}/checkpoints/last.ckpt", "trainer.max_epochs=3"]

    refused = command(*longer, cwd=place)
    assert refused.returncode == 2
    assert "Error: the checkpoint (at update 14) and this run plan different learning rates" in refused.stderr
    assert "Traceback" not in refused.stderr
    command_that_goes_on = " ".join(["    python train.py", *longer, "resume=checkpoint"])
    assert command_that_goes_on in refused.stderr.splitlines()
    assert {path.name: path.read_text() for path in (folder / ".hydra").iterdir()} == settings
    assert len(rows(folder / "lr.csv")) == 14

    went_on = command(*longer, "resume=checkpoint", cwd=place)
    assert went_on.returncode == 0, went_on.stderr
    assert "schedule=one_cycle optimizer.lr=0.01" in went_on.stdout.splitlines()[0]
    assert only(place / "runs") == folder
    assert [int(row["step"]) for row in rows(folder / "lr.csv")] == list(range(21))
    assert OmegaConf.load(folder / ".hydra" / "config.yaml").trainer.max_epochs == 3


def test_the_jobs_of_a_sweep_are_kept_apart_and_a_mistake_ends_only_its_own(tmp_path: Path) -> None:
    """Here in processes of their own, which run at the same time."""
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    done = alone("-m", *SMALL, "schedule.warmup=1,50", "seed=2", "trainer.max_epochs=1", *parallel, cwd=tmp_path)
    assert done.returncode == 2
    assert "Error: warmup=50 is 50 updates, and the run does 7" in done.stderr
    assert "Traceback" not in done.stderr
    sweep = only(tmp_path / "runs")
    (job,) = (path for path in sweep.iterdir() if path.is_dir())
    assert job.name.startswith("0_")
    assert (job / "lr.csv").exists()
    # A line for each, and one table of all
    *lines, title, _, best, failed, _, written, drawn = [*done.stdout.splitlines()]
    assert sorted(line.partition(":")[0] for line in lines if line) == [
        "[1/2] schedule.warmup=1", "[2/2] schedule.warmup=50",
    ]  # fmt: skip
    assert title == "2 runs, the lowest val_loss first"
    assert best.split()[:2] == ["1", "schedule.warmup=1"]
    assert best.endswith("used = planned (7 updates)")
    assert failed.split()[:3] == ["-", "schedule.warmup=50", "failed:"]
    assert (written, drawn) == (f"Written: runs/{sweep.name}/sweep.csv", f"Drawn: runs/{sweep.name}/sweep.png")
    assert [(row["schedule.warmup"], row["status"]) for row in rows(sweep / "sweep.csv")] == [
        ("1", "done"), ("50", "failed"),
    ]  # fmt: skip


def test_an_interrupted_sweep_ends_with_the_table_of_what_is_done(tmp_path: Path) -> None:
    process = started("-m", *SMALL, "trainer.max_epochs=1,9999", f"output_dir={tmp_path}/s", cwd=tmp_path)
    try:
        limit = time.monotonic() + 120
        while not list(tmp_path.glob("s/1_*/checkpoints/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        done = process.wait(timeout=60)
    finally:
        process.kill()
    assert done.returncode == 1
    assert "\n1  trainer.max_epochs=1 " in done.stdout
    assert "\n-  trainer.max_epochs=9999 " in done.stdout
    assert [row["status"] for row in rows(tmp_path / "s" / "sweep.csv")] == ["done", "interrupted"]


ODD = 'my run\'s (1), été = [a] 50% "x"'


@pytest.mark.behaviour("B73")
def test_a_run_goes_where_it_is_told_and_goes_on_there(tmp_path: Path) -> None:
    """The path is typed as people write it, and nothing is left where one works, which may be read-only."""
    here, there = tmp_path / "here", tmp_path / ODD
    here.mkdir(mode=0o555)
    done = command(*SMALL, "trainer.max_epochs=1", f"output_dir={there}", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in there.iterdir()} == {
        ".hydra", "checkpoints", "hparams.yaml", "lr.csv", "lr.png", "metrics.csv", "train.log",
    }  # fmt: skip
    went_on = command(f"ckpt_path={there}/checkpoints/last.ckpt", "trainer.max_epochs=2", "resume=checkpoint", cwd=here)
    assert (went_on.returncode, went_on.stderr) == (0, "")
    assert [int(row["step"]) for row in rows(there / "lr.csv")] == list(range(14))
    assert list(here.iterdir()) == []


@pytest.mark.behaviour("B73")
def test_the_jobs_of_a_sweep_go_there_too(tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    done = command("-m", "task=preview", "seed=1,2", f"output_dir={tmp_path}/été (1)", cwd=here)
    assert (done.returncode, done.stderr) == (0, "")
    jobs = [path for path in (tmp_path / "été (1)").iterdir() if path.is_dir()]
    assert sorted(job.name for job in jobs) == ["0_seed-1_task-preview", "1_seed-2_task-preview"]
    assert all({"train.log", "preview.csv"} <= {path.name for path in job.iterdir()} for job in jobs)
    assert list(here.iterdir()) == []


def test_an_interrupted_run_says_how_it_goes_on(tmp_path: Path) -> None:
    arguments = [*SMALL, "trainer.max_epochs=100000", "hydra.run.dir=run", "callbacks=[checkpoint]"]
    process = started(*arguments, cwd=tmp_path)
    try:
        waited = time.monotonic()
        while not (tmp_path / "run" / "checkpoints" / "last.ckpt").exists():
            assert process.poll() is None
            assert time.monotonic() - waited < 120
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        done = process.wait(timeout=60)
    finally:
        process.kill()  # one that does not listen would train for days
    assert done.returncode == 1
    assert "Interrupted. Go on with:\n    python train.py ckpt_path=run/checkpoints/last.ckpt" in done.stderr
    assert "Traceback" not in done.stderr


def test_several_processes_train_as_one(tmp_path: Path) -> None:
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.max_epochs=1"]
    small = [one for one in SMALL if one != "trainer=cpu"]
    done = alone(*small, *ddp, "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("used = planned on 7 of 7 updates") == 1
    assert done.stdout.count("metrics of") == 1
    assert rows(tmp_path / "run" / "lr.csv")[-1]["samples"] == str(7 * 2 * 32)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["schedule=cosin"],
            "Error: schedule=cosin is unknown (did you mean 'cosine'?); choose one of by_group, cosine,",
        ),
        (["schedule.warmpu=3"], "Error: schedule has no 'warmpu' (did you mean 'warmup'?); it has warmup,"),
        (["+schedule.warmpu=3"], "Error: schedule has no 'warmpu' (did you mean 'warmup'?); it has warmup,"),
        (["schedule.warmup=5 parsecs"], "Error: schedule: warmup='5 parsecs': unknown unit 'parsecs'"),
        (["hydra.run.dir=/proc/x"], "Error: /proc/x cannot be used (No such file or directory): free it, or set out"),
        (["hydra.run.dir=file"], "Error: file cannot be used (File exists): free it, or set output_dir"),
        (["data=text_file"], "Error: data.path has no value yet"),
        (["--sheduel"], "Error: unrecognized arguments: --sheduel: --help shows what"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(message)
    left = [path for path in tmp_path.rglob("*") if path.name not in ("file", "runs")]
    assert left == []


def test_whoever_asks_for_tracebacks_gets_them(tmp_path: Path) -> None:
    for mistake in ("schedule=cosin", "schedule.warmup=1 parsec"):
        done = command(mistake, cwd=tmp_path, HYDRA_FULL_ERROR="1")
        assert done.returncode == 1
        assert "Traceback" in done.stderr


def test_help_shows_groups_and_examples_without_loading_torch(tmp_path: Path) -> None:
    program = (
        "import runpy, sys, atexit\n"
        "atexit.register(lambda: print('torch' in sys.modules, 'lightning' in sys.modules))\n"
        "sys.argv = ['train.py', '--help']\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(ROOT / 'train.py')!r}, run_name='__main__')\n"
    )
    shown = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = shown.stdout.splitlines()
    assert f"schedule: {', '.join(SCHEDULES)}" in lines
    assert sum(line.startswith("  python train.py") for line in lines) == 7
    assert lines[-1] == "False False"
