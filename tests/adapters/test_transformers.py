"""A Trainer of transformers follows a schedule: what every real update uses is the closed form."""

from __future__ import annotations

import csv
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback

from lr_recipes import Horizon, schedules
from lr_recipes.adapters.transformers import scheduled
from lr_recipes.plan.resume import ResumeError
from tests.adapters.trainers import DATA, PEAK, Net, follow, new_trainer, planned, run

COSINE = schedules.Cosine(warmup="1 epoch", min_lr_ratio=0.1)
RUN = Horizon(total_steps=6, steps_per_epoch=3, samples_per_step=8)
CLOSING = "Learning rate: used = planned on {0} of {0} updates, schedule complete"


@pytest.fixture(autouse=True, scope="module")
def _quick_collection() -> Iterator[None]:
    """A Trainer collects garbage when it begins, which takes half of its time beside all that is imported here."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows() -> list[dict[str, str]]:
    with Path("out/lr.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_update_uses_the_planned_lr(capsys: pytest.CaptureFixture[str]) -> None:
    """The Trainer's own groups, its log, and ``lr.csv`` say the same."""
    done = follow(COSINE)
    assert done.used == planned(COSINE, RUN)
    assert done.logged == [lrs[0] for lrs in done.used]
    assert [group["weight_decay"] for group in done.trainer.optimizer.param_groups] == [0.01, 0.0]
    assert [[float(row["lr/group0"]), float(row["lr/group1"])] for row in rows()] == done.used
    assert [(row["step"], row["epoch"], row["samples"]) for row in rows()][-1] == ("5", "1", "48")
    said = capsys.readouterr().out
    assert "Learning-rate plan for AdamW: 6 updates (2 epochs of 3 updates)\n  warmup    updates 0 to 2" in said
    assert CLOSING.format(6) in said


def test_its_two_groups_follow_a_schedule_each(capsys: pytest.CaptureFixture[str]) -> None:
    """They have no names: with and without weight decay they are ``group0`` and ``group1``."""
    lrs = schedules.ByGroup(groups={"group1": schedules.Linear()}, default=COSINE)
    done = follow(schedules.Hyperparameters(lr=lrs, weight_decay=schedules.Linear(min_lr_ratio=0.5)))
    first, second = planned(COSINE, RUN), planned(schedules.Linear(), RUN)
    assert done.used == [[one[0], other[1]] for one, other in zip(first, second, strict=True)]
    decays = [[float(row[f"weight_decay/group{n}"]) for n in (0, 1)] for row in rows()]
    assert decays == [[pytest.approx(0.01 * (1 - n / 12)), 0.0] for n in range(6)]
    assert CLOSING.format(6) in capsys.readouterr().out


RUNS: dict[str, tuple[dict[str, Any], Horizon]] = {
    "without accumulation": ({"gradient_accumulation_steps": 1}, Horizon(total_steps=10, steps_per_epoch=5)),
    "max_steps within an epoch": ({"max_steps": 7}, Horizon(total_steps=7, steps_per_epoch=3)),
    "max_steps beyond the epochs": ({"max_steps": 11}, Horizon(total_steps=11, steps_per_epoch=3)),
    "a part of an epoch": ({"num_train_epochs": 2.5}, Horizon(total_steps=8, steps_per_epoch=3)),
    "no last short batch": (
        {"per_device_train_batch_size": 6, "dataloader_drop_last": True},
        Horizon(total_steps=4, steps_per_epoch=2),
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_lengths_come_from_the_trainer(name: str) -> None:
    args, horizon = RUNS[name]
    done = follow(COSINE, **args)
    assert done.used == planned(COSINE, horizon)
    assert done.trainer.state.global_step == horizon.total_steps


def test_what_ends_a_training_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    class Stops(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(scheduled(new_trainer(options={"callbacks": [Stops()]}), COSINE))
    assert [int(row["step"]) for row in rows()] == [*range(4)]
    assert "used = planned on 4 of 4 updates, schedule ended at 66% (4 of 6), see out/lr.csv" in capsys.readouterr().out


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from DATA


def test_a_loader_without_a_length() -> None:
    schedule = schedules.Linear(warmup="20%")
    done = follow(schedule, data=Stream(), max_steps=5)
    assert done.used == planned(schedule, 5)
    assert [row["epoch"] for row in rows()] == [""] * 5


def test_it_goes_on_from_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    whole = follow(COSINE)
    done = follow(COSINE, checkpoint="out/checkpoint-4")
    assert done.used == whole.used[4:]
    assert done.logged == whole.logged
    assert [int(row["step"]) for row in rows()] == [*range(6)]
    said = capsys.readouterr().out
    assert "resumed at update 4" in said
    assert CLOSING.format(6) in said.splitlines()[-2] + said.splitlines()[-1]


CHANGES: dict[str, tuple[dict[str, Any], Horizon, tuple[float, float], str]] = {
    "total": (
        {"num_train_epochs": 4},
        Horizon(total_steps=12, steps_per_epoch=3),
        (PEAK, PEAK),
        "total_steps: 6 -> 12",
    ),
    "peak": ({"learning_rate": 0.2}, RUN, (0.2, 0.2), "peak LR: [0.1, 0.1] -> [0.2, 0.2]"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_plan_is_asked_about(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And each answer does what it says."""
    args, horizon, peaks, difference = CHANGES[name]
    total = horizon.total_steps or 0
    follow(COSINE)
    capsys.readouterr()
    with pytest.raises(ResumeError, match=difference.replace("[", r"\[")) as refused:
        follow(COSINE, checkpoint="out/checkpoint-4", **args)
    assert str(refused.value).splitlines()[-1] == "    scheduled(trainer, schedule, resume='checkpoint')"
    assert "used = planned" not in capsys.readouterr().out  # it has not trained
    answers = {
        "checkpoint": planned(COSINE, RUN, updates=range(4, total)),
        "config": planned(COSINE, horizon, peaks, range(4, total)),
    }
    if name == "total":  # else fewer updates are left than its warmup has
        answers["restart"] = planned(COSINE, Horizon(total_steps=total - 4, steps_per_epoch=3))
    for policy, expected in answers.items():
        capsys.readouterr()
        assert follow(COSINE, policy, "out/checkpoint-4", **args).used == expected
        said = capsys.readouterr().out
        assert f"checkpoint -> this run: {difference}" in said
        assert ("begins anew at update 0" in said) == (policy == "restart")


def test_what_began_anew_goes_on() -> None:
    follow(COSINE)
    anew = follow(COSINE, "restart", "out/checkpoint-4", num_train_epochs=4)
    assert Path("out/lr-until-4.csv").is_file()
    assert follow(COSINE, "restart", "out/checkpoint-8", num_train_epochs=4).used == anew.used[4:]
    assert [int(row["step"]) for row in rows()] == [*range(8)]


def test_a_checkpoint_of_the_trainers_own_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    """The position is the Trainer's, and the peak that of this run."""
    run(new_trainer(warmup_steps=2))
    done = follow(COSINE, checkpoint="out/checkpoint-4")
    assert done.used == planned(COSINE, RUN)[4:]
    assert "the checkpoint has no schedule of lr_recipes: this one goes on at update 4" in capsys.readouterr().out


def test_a_second_training_begins_anew() -> None:
    trainer = scheduled(new_trainer(), COSINE)
    both = run(trainer)
    trainer.train()
    assert both.used == 2 * planned(COSINE, RUN)


def test_a_second_schedule_takes_the_place_of_the_first() -> None:
    done = run(scheduled(scheduled(new_trainer(), COSINE), "linear"))
    assert done.used == planned(schedules.Linear(), RUN)


def test_a_plateau_is_given_its_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """It warms up too, and what it has seen is in the checkpoint."""
    plateau = schedules.Plateau(monitor="loss", patience=0, threshold=0.9, factor=0.5, warmup=2)
    args: dict[str, Any] = {"num_train_epochs": 3, "eval_strategy": "epoch", "save_steps": 3, "eval_on_start": True}
    done = follow(plateau, **args)
    factors = [0.5, 1, 1, 1, 1, 1, 0.5, 0.5, 0.5]  # the first value is the best; the second, after update 5, cuts
    assert done.used == [[PEAK * factor] * 2 for factor in factors]
    assert "eval_loss has stopped improving, LR 0.1 -> 0.05" in capsys.readouterr().out
    assert follow(plateau, checkpoint="out/checkpoint-6", **args).used == done.used[6:]


def test_a_plateau_on_one_of_several_data_sets() -> None:
    plateau = schedules.Plateau(monitor="eval_b_loss", patience=0, threshold=0.9)
    done = follow(plateau, eval_data={"a": DATA, "b": DATA}, num_train_epochs=3, eval_strategy="epoch")
    assert [lrs[0] for lrs in done.used] == pytest.approx([PEAK] * 6 + [PEAK / 10] * 3)


def test_optimizers_of_ones_own() -> None:
    """The Trainer wraps the optimizer and ticks the schedule; a schedule of each kind in its place."""
    model = Net()
    optimizer = torch.optim.SGD(
        [{"params": model.layers[0].parameters()}, {"params": model.layers[2].parameters(), "lr": 0.2}], lr=PEAK
    )
    scheduler = COSINE.bind(optimizer, RUN)
    trainer = new_trainer(options={"optimizers": (optimizer, scheduler)})
    trainer.model = trainer.model_wrapped = model
    used: list[list[float]] = []
    optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append([group["lr"] for group in optimizer.param_groups])
    )
    trainer.train()
    assert used == planned(COSINE, RUN, (PEAK, 0.2))


def test_create_scheduler_of_a_subclass() -> None:
    class Mine(Trainer):
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            self.lr_scheduler = COSINE_IN_STEPS.bind(self.optimizer, num_training_steps)
            return self.lr_scheduler

    COSINE_IN_STEPS = schedules.Cosine(warmup=3)
    done = run(new_trainer(Mine))
    assert done.used == planned(COSINE_IN_STEPS, 6)
    assert done.logged == [lrs[0] for lrs in done.used]
    again = run(new_trainer(Mine), resume_from_checkpoint="out/checkpoint-4")
    assert again.used == done.used[4:]
