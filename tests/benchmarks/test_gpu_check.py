from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from benchmarks import gpu_clock
from benchmarks.gpu_check import CHECKS, Check, Result, check_clock, main, run_check

SMALL = ("model.width=8", "data.train_size=512", "data.val_size=36", "data.batch_size=64")
CNN = Check("cnn", ("model=cnn", "data=glyphs", "optimizer=sgd", "schedule=one_cycle", *SMALL), updates=12)
QUIET = ["trainer=cpu", "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false"]


@pytest.fixture(scope="module")
def result() -> Result:
    return run_check(CNN, QUIET)


def test_used_equals_planned(result: Result) -> None:
    assert (result.updates, result.difference, result.passed) == (12, 0, True)
    assert set(result.metrics) == {"val_loss", "val_acc", "test_loss", "test_acc"}
    assert str(result).split()[:3] == ["cnn", "12", "0.0e+00"]


def test_a_difference_a_missing_update_and_a_model_that_learns_nothing_fail(result: Result) -> None:
    wrong = [
        replace(result, difference=1e-9),
        replace(result, updates=11),
        replace(result, check=replace(CNN, val_loss=0.001)),
        replace(result, metrics={**result.metrics, "val_loss": math.nan}),
    ]
    assert [one.passed for one in wrong] == [False] * 4
    assert all(str(one).endswith("FAILED") for one in wrong)


def test_a_foreign_lr_is_seen() -> None:
    # the plan is that of the config, and another schedule drives the run
    other = "callbacks.learning_rate_scheduler.schedule={_target_:lr_recipes.schedules.Fixed}"
    assert run_check(CNN, [*QUIET, other]).difference > 0.01


def test_the_table_has_a_row_for_each_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_clock, "checks", lambda device, folder: {"clock of": lambda: (True, device)})
    text = (
        "data=topics",
        "data.context=16",
        "data.train_windows=64",
        "data.batch_size=16",
        "trainer.limit_val_batches=1",
    )
    transformer = Check("transformer", ("model=transformer", "model.layers=1", "model.width=16", *text), updates=4)
    assert main(["--device", "cpu"], [CNN, transformer]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-7:-3]] == ["CPU,", "check", "cnn", "transformer"]
    assert lines[-3:] == ["", "clock", "clock of      cpu"]
    assert main(["--device", "cpu"], [replace(CNN, val_loss=0.0)]) == 1


def test_a_clock_that_is_wrong_or_stops_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"right": lambda: (True, "x"), "wrong": lambda: (False, "y"), "stops": lambda: 1 / 0}
    monkeypatch.setattr(gpu_clock, "checks", lambda device, folder: found)
    assert not check_clock("cpu")
    rows = capsys.readouterr().out.splitlines()[2:]
    assert rows[:2] == ["right         x", "wrong         y  FAILED"]
    assert rows[2].startswith("stops         ZeroDivisionError")


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("SKIPPED")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu() -> None:
    assert main([], [replace(check, updates=50, val_loss=math.inf) for check in CHECKS]) == 0
