from __future__ import annotations

import logging
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from recipes.app.run_folder import (
    OfInterest,
    discard,
    folder_of,
    how_to_go_on,
    is_new,
    run_folder,
    save_settings,
    sweep_subfolder,
    with_settings_of_the_run,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a checkpoint and the overrides that it was started with."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    (tmp_path / ".hydra").mkdir()
    overrides = ["schedule=step", "schedule.step_size=5 epochs", "optimizer.lr=0.1", "resume=checkpoint"]
    OmegaConf.save(OmegaConf.create(overrides), tmp_path / ".hydra" / "overrides.yaml")
    return tmp_path


def test_a_run_goes_on_in_its_folder_and_a_branch_gets_its_own(run: Path) -> None:
    last = str(run / "checkpoints" / "last.ckpt")
    assert run_folder(last, "error", "now") == run_folder(last, "checkpoint", "now") == str(run)
    assert run_folder(last, "restart", "now") == "runs/now"
    assert run_folder(last, "config", "now") == run_folder(None, "error", "now") == "runs/now"


def test_a_checkpoint_elsewhere_or_missing_belongs_to_no_run(run: Path) -> None:
    (run / "copy.ckpt").touch()
    for path in (str(run / "copy.ckpt"), str(run / "checkpoints" / "other.ckpt"), "", None):
        assert folder_of(path) is None


@pytest.mark.parametrize(
    ("typed", "taken_over"),
    [
        ([], ["schedule=step", "schedule.step_size=5 epochs", "optimizer.lr=0.1"]),
        (["optimizer.lr=0.2"], ["schedule=step", "schedule.step_size=5 epochs"]),
        (["schedule=cosine"], ["optimizer.lr=0.1"]),
        (["++schedule.step_size=3"], ["schedule=step", "optimizer.lr=0.1"]),
        (["resume=config"], ["schedule=step", "schedule.step_size=5 epochs", "optimizer.lr=0.1"]),
    ],
)
def test_a_continued_run_takes_over_what_is_not_typed_anew(run: Path, typed: list[str], taken_over: list[str]) -> None:
    arguments = [f"ckpt_path={run}/checkpoints/last.ckpt", *typed]
    assert with_settings_of_the_run(arguments).arguments == [*taken_over, *arguments]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-m", "seed=1,2"], ["ckpt_path=missing.ckpt"], ["ckpt_path="]])
def test_other_command_lines_stay_as_they_are(arguments: list[str]) -> None:
    assert with_settings_of_the_run(arguments) == (arguments, "")


def test_a_path_in_quotes_is_understood(run: Path) -> None:
    arguments = [f"ckpt_path='{run}/checkpoints/last.ckpt'"]
    assert "schedule=step" in with_settings_of_the_run(arguments).arguments


def test_the_folder_of_a_job_can_be_typed_without_quotes() -> None:
    name = sweep_subfolder(12, "schedule.warmup='5 epochs',trainer.devices=[0,1],ckpt_path=a/b.ckpt," + "x" * 200)
    assert name.startswith("12_schedule.warmup-5-epochs_trainer.devices-0_1_ckpt_path-a-b.ckpt_xxx")
    assert len(name) <= 100


def test_settings_are_written_as_hydra_writes_them(tmp_path: Path) -> None:
    save_settings(OmegaConf.create({"seed": 1, "data": {"seed": "${seed}"}}), tmp_path)
    assert (tmp_path / ".hydra" / "config.yaml").read_text() == "seed: 1\ndata:\n  seed: ${seed}\n"


def test_a_run_that_never_began_leaves_no_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "train.log").touch()
    assert not is_new(folder, log="train.log")
    assert discard(folder)
    assert not folder.exists()


def test_a_run_that_began_keeps_its_folder(run: Path) -> None:
    assert not discard(run)
    assert (run / "checkpoints" / "last.ckpt").exists()


def test_the_folder_that_one_works_in_is_never_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.log").touch()
    assert is_new(Path(), log="train.log")
    discard(Path())
    assert tmp_path.exists()


def test_only_the_log_file_makes_a_folder_new(tmp_path: Path) -> None:
    (tmp_path / "train.log").touch()
    assert is_new(tmp_path, log="train.log")
    (tmp_path / "notes.txt").touch()
    assert not is_new(tmp_path, log="train.log")
    assert not is_new(tmp_path / "missing", log="train.log")


def test_an_interrupted_run_says_how_it_goes_on(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parent)
    assert f"python train.py ckpt_path={run.name}/checkpoints/last.ckpt" in how_to_go_on(run)
    assert "nothing to go on from" in how_to_go_on(run / "checkpoints")


def test_a_path_that_hydra_would_not_read_is_quoted(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = run.rename(run.parent / "a run, with=signs")
    monkeypatch.chdir(odd.parent)
    assert """'ckpt_path="a run, with=signs/checkpoints/last.ckpt"'""" in how_to_go_on(odd)


@pytest.mark.parametrize(
    ("level", "message", "shown"),
    [
        (logging.INFO, "Learning-rate plan", True),
        (logging.WARNING, "careful", True),
        (logging.ERROR, "Error", False),
        (logging.INFO, "💡 Tip: buy", False),
        (logging.INFO, "Restoring states from the checkpoint path at x", False),
        (logging.INFO, "`Trainer.fit` stopped: `max_epochs=20` reached.", False),
        (logging.INFO, "\nDetected KeyboardInterrupt, attempting graceful shutdown ...", False),
    ],
)
def test_the_console_shows_what_is_of_interest(level: int, message: str, shown: bool) -> None:
    record = logging.LogRecord("name", level, "path", 1, message, None, None)
    assert OfInterest().filter(record) is shown
