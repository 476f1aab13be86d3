"""Which hooks Lightning still calls at every update, and that a subclass keeps its own."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.profilers import Profiler

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.callbacks.base import PER_UPDATE, leave_out


class Calls(Profiler):
    """Counts what Lightning calls of callbacks."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def start(self, action_name: str) -> None:
        self.calls[action_name] += 1

    def stop(self, action_name: str) -> None:
        pass


def calls_of(callback: Callback, tmp_path: Path, **options: Any) -> dict[str, int]:
    """How often each hook of the callback was called at the updates of a run of 5."""
    profiler = Calls()
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    settings: dict[str, Any] = {"logger": False, **quiet, **options, "limit_val_batches": 0, "accelerator": "cpu"}
    others = [] if isinstance(callback, (LearningRateScheduler, LearningRateWarmup)) else [scheduler()]
    trainer = Trainer(
        max_steps=5, callbacks=[*others, callback], profiler=profiler, default_root_dir=tmp_path, **settings
    )
    trainer.fit(BoringModel())
    start = f"[Callback]{callback.state_key}."
    named = {name.removeprefix(start): count for name, count in profiler.calls.items() if name.startswith(start)}
    return {name: named[name] for name in PER_UPDATE if name in named}


def scheduler() -> LearningRateScheduler:
    return LearningRateScheduler(schedules.Cosine(), replace=True)


def test_lightning_calls_every_hook_of_a_plain_callback(tmp_path: Path) -> None:
    assert calls_of(Callback(), tmp_path) == dict.fromkeys(PER_UPDATE, 5)


def test_the_scheduler_is_called_once_at_an_update(tmp_path: Path) -> None:
    assert calls_of(scheduler(), tmp_path) == {"on_train_batch_start": 5}


def test_the_logger_is_called_at_the_first_batch_alone_where_nothing_is_logged(tmp_path: Path) -> None:
    assert calls_of(LearningRateLogger(tmp_path, plot=False), tmp_path) == {"on_train_batch_start": 1}


def test_with_loggers_too_for_it_logs_when_the_optimizer_has_stepped(tmp_path: Path) -> None:
    found = calls_of(
        LearningRateLogger(tmp_path, plot=False), tmp_path, logger=CSVLogger(tmp_path), log_every_n_steps=1
    )
    assert found == {"on_train_batch_start": 1}
    with (tmp_path / "lightning_logs" / "version_0" / "metrics.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file) if row["lr/group0"]] == [0, 1, 2, 3, 4]


def test_the_logger_of_an_optimizer_without_a_plan_watches_from_the_first_batch_on(tmp_path: Path) -> None:
    callback = LearningRateLogger(tmp_path, plot=False, findings="off")
    trainer = Trainer(
        max_steps=3,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(BoringModel())
    assert len((tmp_path / "lr.csv").read_text().splitlines()) == 1 + 3


@pytest.mark.parametrize(
    ("callback", "calls"),
    [(LearningRateRangeTest(epoch=None), {}), (LearningRateWarmup(2), {"on_train_batch_start": 1})],
    ids=lambda one: type(one).__name__,
)
def test_the_others_are_called_once_at_the_most(callback: Callback, calls: dict[str, int], tmp_path: Path) -> None:
    assert calls_of(callback, tmp_path) == calls


def test_a_subclass_keeps_its_hooks_and_what_they_call(tmp_path: Path) -> None:
    seen: list[str] = []

    class Mine(LearningRateLogger):
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            seen.append("end")
            super().on_train_batch_end(*args, **kwargs)

        def on_after_backward(self, trainer: Any, pl_module: Any) -> None:
            seen.append("backward")
            super().on_after_backward(trainer, pl_module)

    found = calls_of(Mine(tmp_path, plot=False), tmp_path)
    assert found == {"on_train_batch_start": 1, "on_after_backward": 5, "on_train_batch_end": 5}
    assert seen == ["backward", "end"] * 5


def test_what_was_left_out_of_one_run_comes_back_in_the_next() -> None:
    callback = LearningRateLogger()
    leave_out(callback, LearningRateLogger, "on_train_batch_end", "on_train_batch_start")
    assert callback.on_train_batch_end is None
    leave_out(callback, LearningRateLogger)
    assert callable(callback.on_train_batch_end)
    assert callback.on_after_backward is None
