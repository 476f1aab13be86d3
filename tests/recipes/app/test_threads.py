from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from recipes.app import config
from recipes.app.threads import SMALL, check_threads, on_threads
from recipes.app.training import run

FEW, MANY = torch.nn.Linear(9, 10), torch.nn.Linear(SMALL, 1)


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Any:
    """As on a machine with two cores where nobody has said how many."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.behaviour("B74")
@pytest.mark.parametrize(
    ("threads", "model", "used"),
    [("auto", FEW, 1), ("auto", MANY, 2), (None, FEW, 2), (1, MANY, 1), (3, FEW, 3)],
)
def test_a_small_network_takes_one_thread_unless_told_otherwise(threads: Any, model: Any, used: int) -> None:
    with on_threads(threads, model):
        assert torch.get_num_threads() == used
        # what processes that are started here begin with
        assert os.environ.get("OMP_NUM_THREADS") == (None if used == 2 else str(used))
    assert torch.get_num_threads() == 2
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.behaviour("B74")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_the_environment_wins_over_the_setting_that_nobody_typed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "2")
    with on_threads("auto", FEW):
        assert torch.get_num_threads() == 2
    with on_threads(1, FEW):
        assert torch.get_num_threads() == 1
    assert os.environ[name] == "2"


def test_threads_that_cannot_be_are_refused() -> None:
    cores = os.cpu_count() or 1
    for threads in (0, -1, cores + 1):
        with pytest.raises(ValueError, match=rf"^threads={threads}: must be from 1 to {cores}, the cores"):
            check_threads(threads)
    for right in ("auto", None, 1, cores):
        check_threads(right)


class Watch(Callback):
    def __init__(self) -> None:
        self.threads: set[int] = set()

    def on_train_batch_start(self, *_: Any) -> None:
        self.threads.add(torch.get_num_threads())


@pytest.mark.behaviour("B74")
def test_a_run_takes_one_thread(tmp_path: Path) -> None:
    watch = Watch()
    small = ["trainer=cpu", "trainer.fast_dev_run=true", "trainer.enable_progress_bar=false", "logger=none"]
    run(config.composed(f"output_dir={tmp_path}", *small, "schedule.warmup=0"), [watch])
    assert watch.threads == {1}
    assert torch.get_num_threads() == 2
