"""Schedules that follow the clock, in real runs of a fraction of a second: complete when the time is, and recorded."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import Timer

from lr_recipes import LearningRateScheduler, schedules
from lr_recipes.command_line import main
from lr_recipes.plan.horizon import HorizonError
from lr_recipes.plan.resume import ResumeError, Undecided
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import PEAK, Run, fit, loader, messages, record_lrs
from tests.messages.doors import Both

pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:the run ended at 0.[0-9]* s of the 0.5 s",  # by a few updates, of the few that a busy machine does in it
)
LINEAR = schedules.Linear()
SECONDS = 0.5


class Paced(Callback):
    """Lets each update take its time, and notes when it was done; may save, and be killed."""

    def __init__(self, takes: Any = lambda share: 0.004, saves_at: float = 2.0) -> None:
        self.takes, self.saves_at, self.at = takes, saves_at, []  # type: ignore[var-annotated]

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        (self.timer,) = (one for one in trainer.callbacks if isinstance(one, Timer))

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        self.at.append(self.timer.time_elapsed() / SECONDS)

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        time.sleep(self.takes(self.at[-1]))
        if self.at[-1] > self.saves_at:
            trainer.save_checkpoint("run.ckpt")
            raise RuntimeError("killed")


def timed(schedule: Schedule = LINEAR, paced: Paced | None = None, seconds: float = SECONDS, **arguments: Any) -> Run:
    options = {"progress": "time", **arguments.pop("options", {})}
    callbacks = [paced or Paced(), *arguments.pop("callbacks", [])]
    given = {"max_time": timedelta(seconds=seconds), "train": loader(20), "max_epochs": -1, **arguments}
    return fit(schedule, options=options, callbacks=callbacks, **given)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")


TAKES = {
    "steady": lambda share: 0.004,
    "slower and slower": lambda share: 0.002 + 0.008 * share,
    "a pause": lambda share: 0.1 if 0.4 < share < 0.45 else 0.003,
}


@pytest.mark.parametrize("name", TAKES)
def test_a_schedule_is_complete_when_the_time_is(name: str, caplog: pytest.LogCaptureFixture) -> None:
    paced = Paced(TAKES[name])
    run = timed(paced=paced, callbacks=[record_lrs(Path())])
    used, at = run.used, paced.at
    assert len(used) == len(at) > 20
    assert used[:2] == [PEAK, PEAK]
    assert used == sorted(used, reverse=True)
    assert used[-1] < 0.1 * PEAK
    # An update is where the time is, but for a pause that is not caught up with yet, and a machine that is busy.
    off = sorted(abs(lr / PEAK - (1 - share)) for lr, share in zip(used, at, strict=True))
    assert off[len(off) // 2] < 0.15
    said = messages(caplog)
    assert (
        "Learning-rate plan for SGD: 0.5 s (by the clock, as max_time)\n  linear    0 s to 0.5 s   factor 1 -> 0.002"
        in said
    )
    assert "SGD: about " in said
    assert f"Learning rate: used = planned on {len(used)} of {len(used)} updates, schedule complete" in said
    rows = list(read_rows(Path("lr.csv")))
    assert [float(row["lr/group0"]) for row in rows] == used
    assert [PEAK * float(row["planned_factor"]) for row in rows] == used
    assert {row["phase"] for row in rows} == {"linear"}


def test_lengths_are_times_and_shares() -> None:
    paced = Paced()
    run = timed(schedules.MultiStep(milestones=["0.2 seconds", "80%"], gamma=0.5), paced)
    levels = sorted(set(run.used), reverse=True)
    assert levels == [PEAK, PEAK / 2, PEAK / 4]
    cuts = [paced.at[run.used.index(lr)] for lr in levels[1:]]
    assert cuts == [pytest.approx(0.4, abs=0.15), pytest.approx(0.8, abs=0.15)]


def test_phases_are_those_of_the_time() -> None:
    paced = Paced()
    run = timed(schedules.Fixed(warmup="0.2 seconds"), paced, callbacks=[record_lrs(Path())])
    phases = [row["phase"] for row in read_rows(Path("lr.csv"))]
    first = phases.index("constant")
    assert phases == ["warmup"] * first + ["constant"] * (len(phases) - first)
    assert run.used[: first + 1] == sorted(run.used[: first + 1])
    assert set(run.used[first:]) == {PEAK}
    assert paced.at[first] == pytest.approx(0.4, abs=0.15)


def test_an_lr_is_held_for_an_epoch_and_for_accumulated_batches() -> None:
    run = timed(options={"interval": "epoch"}, train=loader(6), callbacks=[record_lrs(Path(), audit="error")])
    epochs = [run.used[n : n + 6] for n in range(0, len(run.used), 6)]
    assert [len(set(one)) for one in epochs] == [1] * len(epochs)
    assert [one[0] for one in epochs] == sorted((one[0] for one in epochs), reverse=True)
    run = timed(accumulate_grad_batches=4, callbacks=[record_lrs(Path("four"), audit="error")])
    assert run.used[-1] < 0.2 * PEAK


def test_each_optimizer_has_its_own_updates(caplog: pytest.LogCaptureFixture) -> None:
    run = timed(module=Both(), callbacks=[record_lrs(Path(), audit="error")])
    assert run.groups(0) == run.groups(1)
    assert messages(caplog).count("schedule complete") == 2


def test_a_run_goes_on_with_the_time_that_is_left(caplog: pytest.LogCaptureFixture) -> None:
    first = Paced(saves_at=0.5)
    with pytest.raises(RuntimeError, match="killed"):
        timed(paced=first, callbacks=[record_lrs(Path())])
    begun = time.monotonic()
    run = timed(ckpt_path="run.ckpt", callbacks=[record_lrs(Path())])
    assert time.monotonic() - begun < 0.5 * SECONDS + 2  # with what a run needs beside its updates
    rows = list(read_rows(Path("lr.csv")))
    used = [float(row["lr/group0"]) for row in rows]
    assert used[len(first.at) :] == run.used
    assert used == sorted(used, reverse=True)
    assert used[len(first.at)] == pytest.approx(used[len(first.at) - 1], abs=0.15 * PEAK)  # no jump
    assert used[-1] < 0.1 * PEAK
    assert f"used = planned on {len(used)} of {len(used)} updates, schedule complete" in messages(caplog)


def test_a_held_lr_is_held_after_a_resume() -> None:
    given: dict[str, Any] = {"options": {"interval": "epoch"}, "train": loader(8)}
    first = Paced(saves_at=0.5)
    with pytest.raises(RuntimeError, match="killed"):
        timed(paced=first, callbacks=[record_lrs(Path())], **given)
    timed(ckpt_path="run.ckpt", callbacks=[record_lrs(Path(), audit="error")], **given)
    epochs: dict[str, set[str]] = {}
    for row in read_rows(Path("lr.csv")):
        epochs.setdefault(row["epoch"], set()).add(row["lr/group0"])
    assert [len(lrs) for lrs in epochs.values()] == [1] * len(epochs)


def test_a_checkpoint_shows_the_time(capsys: pytest.CaptureFixture[str]) -> None:
    saved()
    assert main(["inspect", "run.ckpt"]) == 0
    said = capsys.readouterr().out
    assert "Learning-rate plan for SGD: 0.5 s (by the clock, as max_time)" in said
    assert re.search(r"done: 0\.1\d+ s of 0\.5 s \(3\d%\), \d+ updates; the next is in phase linear", said), said


def saved(**arguments: Any) -> dict[str, Any]:
    with pytest.raises(RuntimeError, match="killed"):
        timed(paced=Paced(saves_at=0.3), **arguments)
    return torch.load("run.ckpt", weights_only=True)  # type: ignore[no-any-return]


def test_more_time_is_another_plan(caplog: pytest.LogCaptureFixture) -> None:
    saved()
    with pytest.raises(Undecided, match=r"\n    total_steps: 0\.5 s -> 0\.7 s\n"):
        timed(ckpt_path="run.ckpt", seconds=0.7)
    followed = timed(ckpt_path="run.ckpt", seconds=0.7, options={"resume": "config"})
    assert followed.used[-1] < 0.1 * PEAK
    caplog.clear()
    begun = timed(ckpt_path="run.ckpt", seconds=0.7, options={"resume": "restart"})
    assert begun.used[0] == PEAK
    assert begun.used[-1] < 0.1 * PEAK
    assert 350 < begun.horizon.total_steps < 550  # of 700 ms some 200 were over
    assert "begins anew at update 0" in messages(caplog)


def test_a_run_that_has_begun_anew_goes_on_so() -> None:
    saved()
    with pytest.raises(RuntimeError, match="killed"):
        timed(paced=Paced(saves_at=0.8), ckpt_path="run.ckpt", seconds=0.7, options={"resume": "restart"})
    run = timed(ckpt_path="run.ckpt", seconds=0.7, options={"resume": "restart"})
    assert run.used[0] < 0.9 * PEAK
    assert run.used[-1] < 0.1 * PEAK


@pytest.mark.parametrize("part", ["progress", "increment", "held", "pace", "began"])
def test_a_damaged_state_is_known_for_one(part: str) -> None:
    checkpoint = saved()
    state = checkpoint["callbacks"]["LearningRateScheduler"]
    (of_optimizer,) = state["optimizers"].values()
    if part == "began":
        state["began"] = 100.0
    elif part == "pace":
        del of_optimizer["pace"]
    else:
        of_optimizer["pace"][part] = of_optimizer["pace"][part] * 0.5 if part == "increment" else 3
    torch.save(checkpoint, "run.ckpt")
    with pytest.raises(ResumeError, match=r"in the checkpoint is damaged: "):
        timed(ckpt_path="run.ckpt")


def test_time_alone_changes_nothing() -> None:
    """``max_time`` without the word for it is a run without a known end."""
    with pytest.raises(HorizonError, match="Linear needs to know how many updates"):
        timed(options={"progress": "updates"})
    scheduler = LearningRateScheduler(LINEAR)
    assert scheduler.progress == "updates"


def test_a_run_that_ends_early_says_how_far_it_came(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.warns(UserWarning, match=r"the run ended at [0-9.]+ (s|min)[0-9. s]* of the 1 h that its schedule"):
        timed(seconds=3600, max_epochs=2, callbacks=[record_lrs(Path())], train=loader(5))
    assert "schedule ended at 0% (0." in messages(caplog)
