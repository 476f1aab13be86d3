"""Lengths in tokens, and totals in any unit, in a Lightning run: by the data's word, the module's, or the argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule

from lr_recipes import LearningRateWarmup, lr_scheduler, schedules
from lr_recipes.plan.resume import ResumeError
from recipes.app.config import composed
from tests.callbacks.harness import Tiny, fit, loader, messages, plan, prepare, sgd
from tests.messages.doors import Both, Saves, StopAfter

# An update sees 2 batches of 4 samples of 50 tokens, which are 400.
RUN: dict[str, Any] = {"accumulate_grad_batches": 2, "max_epochs": 2}
WARMUP = schedules.Cosine(warmup="1.2k tokens")
EXPECTED = plan(schedules.Cosine(warmup=3), 8)


class Texts(LightningDataModule):
    def __init__(self, tokens_per_sample: Any = 50) -> None:
        super().__init__()
        self.tokens_per_sample = tokens_per_sample

    def train_dataloader(self) -> Any:
        return loader(8, batch_size=4)


class Reader(Tiny):
    tokens_per_sample: Any = 50


def read(schedule: Any = WARMUP, data: Any = None, ckpt_path: Any = None, **arguments: Any) -> Any:
    run = prepare(schedule, **{**RUN, **arguments})
    run.trainer.fit(run.module, datamodule=Texts(None) if data is None else data, ckpt_path=ckpt_path)
    return run


SAID = {
    "data": {"data": Texts()},
    "module": {"module": Reader()},
    "data before module": {"data": Texts(), "module": type("Other", (Reader,), {"tokens_per_sample": 7})()},
    "argument": {"options": {"tokens_per_sample": 50}},
    "a tensor": {"data": Texts(torch.tensor(50))},
}


@pytest.mark.parametrize("name", SAID)
def test_a_warmup_in_tokens(name: str) -> None:
    run = read(**SAID[name])
    assert run.used == EXPECTED
    assert run.horizon.tokens_per_sample == 50


def test_the_argument_wins_and_the_plan_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert read(data=Texts(7), options={"tokens_per_sample": 50}).used == EXPECTED
    said = "8 updates (2 epochs of 4 updates; tokens_per_sample=50 was given, and the data say 7)"
    assert said in messages(caplog)
    caplog.clear()
    read(data=Texts(), options={"tokens_per_sample": 50})
    assert "8 updates (2 epochs of 4 updates)\n" in messages(caplog)


@pytest.mark.parametrize("total", ["3200 tokens", "3.2k tokens", "64 samples", "2 epochs"])
def test_a_total_in_any_unit(total: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    options = {"total_steps": total}
    run = read(schedules.Linear(), Texts(), options=options, max_epochs=-1, callbacks=[StopAfter()])
    assert run.used == plan(schedules.Linear(), 8)
    assert f"8 updates (total_steps={total} was given; the Trainer: " in messages(caplog)


def test_totals_of_several_optimizers() -> None:
    """Each in tokens; in manual optimization the samples of an update are not known, so updates are counted."""
    options = {"total_steps": {0: "8 steps", "SGD-1": 16}}
    run = fit(schedules.Linear(), module=Both(), max_epochs=1, options=options)
    assert [lr for (lr,) in run.groups()] == plan(schedules.Linear(), 8)
    assert [lr for (lr,) in run.groups(1)] == plan(schedules.Linear(), 16)[:8]


def test_a_warmup_over_the_modules_own_scheduler() -> None:
    run = read(None, Texts(), callbacks=[LearningRateWarmup("1.2k tokens")])
    assert run.used == plan(schedules.Fixed(warmup=3), 8)


@pytest.mark.parametrize("facts", [{"tokens_per_sample": 50}, {"tokens_per_sample": 50, "total_steps": "3.2k tokens"}])
def test_a_schedule_of_the_modules_own(facts: dict[str, Any]) -> None:
    def build(weights: Any) -> Any:
        optimizer = sgd(weights)
        return [optimizer], [lr_scheduler.Cosine(optimizer, warmup="1.2k tokens", **facts)]

    assert read(None, module=Tiny(build)).used == EXPECTED


@pytest.mark.parametrize("tokens", [0, -1, "many", True])
def test_what_is_no_number_of_tokens(tokens: Any) -> None:
    with pytest.raises(ValueError, match=f"^Texts.tokens_per_sample={tokens!r}: must be"):
        read(data=Texts(tokens))
    with pytest.raises(ValueError, match=f"^tokens_per_sample={tokens!r}: must be"):
        read(options={"tokens_per_sample": tokens})


@pytest.mark.parametrize("schedule", [WARMUP, schedules.Cosine(warmup=3)], ids=["in tokens", "in updates"])
def test_other_tokens_are_another_plan_only_where_it_counts_them(
    schedule: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read(schedule, Texts(), callbacks=[Saves()])
    if schedule is WARMUP:
        with pytest.raises(ResumeError, match=r"\n    tokens_per_sample: 50 -> 100\n"):
            read(schedule, Texts(100), ckpt_path="run.ckpt")
    else:
        assert read(schedule, Texts(100), ckpt_path="run.ckpt").used == EXPECTED[4:]


def test_a_checkpoint_of_a_version_without_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    read(WARMUP, Texts(), callbacks=[Saves()])
    checkpoint = torch.load("run.ckpt", weights_only=True)
    (state,) = checkpoint["callbacks"]["LearningRateScheduler"]["optimizers"].values()
    assert state["horizon"].pop("tokens_per_sample") == 50
    state["schedule"]["warmup"] = 3
    torch.save(checkpoint, "run.ckpt")
    assert read(schedules.Cosine(warmup=3), ckpt_path="run.ckpt").used == EXPECTED[4:]


def test_the_config_takes_both() -> None:
    name = "callbacks.learning_rate_scheduler"
    config = composed(f"{name}.tokens_per_sample=50", f"{name}.total_steps=10B tokens")
    node = config.callbacks.learning_rate_scheduler
    assert (node.tokens_per_sample, node.total_steps) == (50, "10B tokens")
