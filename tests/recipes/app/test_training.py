"""What `python train.py` runs: every update uses the planned LR, the best weights are measured, and runs go on."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

from benchmarks.gpu_check import UsedLearningRates
from lr_recipes import Horizon
from recipes.app import config
from recipes.app.config import CONF
from recipes.app.messages import explain
from recipes.app.training import build, run, table

SCHEDULES = sorted(path.stem for path in (CONF / "schedule").glob("*.yaml"))
SMALL = [
    "trainer=cpu", "trainer.limit_train_batches=7", "trainer.log_every_n_steps=1", "trainer.num_sanity_val_steps=0",
    "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "model.width=4",
]  # fmt: skip


def composed(*overrides: str) -> DictConfig:
    return config.composed(*SMALL, *overrides)


def small_run(
    folder: Path, *overrides: str, more: Sequence[Callback] = ()
) -> tuple[dict[str, float], list[list[float]]]:
    """Metrics, and the LR of each group at every update."""
    used = UsedLearningRates()
    metrics = run(composed(f"output_dir={folder}", *overrides), [used, *more])
    return metrics, used.updates


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as opened:
        return list(csv.DictReader(opened))


# Lengths that make something happen within four short epochs; the others' own do.
LENGTHS = {"step": ["schedule.step_size=1 epoch"], "warmup_step": ["schedule.warmup=2", "schedule.step_size=30%"]}
# A metric that never improves, so that the first cut comes after the second validation, and one after each other.
FLAT = ["schedule.patience=0", "schedule.threshold_mode=abs", "schedule.threshold=100"]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_update_uses_the_planned_lr(name: str, accumulate: int, tmp_path: Path) -> None:
    per_epoch = {1: 7, 3: 3}[accumulate]
    more = [f"trainer.accumulate_grad_batches={accumulate}", "trainer.max_epochs=4", *LENGTHS.get(name, [])]
    more += FLAT if "plateau" in name else []
    _, used = small_run(tmp_path, f"schedule={name}", "callbacks=[learning_rate_scheduler]", "logger=none", *more)
    schedule = instantiate(composed(f"schedule={name}", *more).schedule)
    plan = schedule.plan(Horizon(total_steps=4 * per_epoch, steps_per_epoch=per_epoch), [0.002] * 2)
    cuts = [max(n // per_epoch - 1, 0) if "plateau" in name else 0 for n in range(4 * per_epoch)]
    assert used == [[lr * 0.1**cut for lr in plan.lrs(n)] for n, cut in enumerate(cuts)]


class AtEpoch(Callback):
    """Does something to the weights, or to the run, when an epoch begins."""

    def __init__(self, epoch: int, action: Callable[[LightningModule], None]) -> None:
        self.epoch, self.action = epoch, action

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            self.action(pl_module)


def forget(module: LightningModule) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def crash(module: LightningModule) -> None:
    raise RuntimeError("crash")


def test_the_best_checkpoint_is_measured_and_not_the_last(tmp_path: Path) -> None:
    metrics, _ = small_run(tmp_path, "trainer.max_epochs=4", more=[AtEpoch(3, forget)])
    losses = [float(row["val_loss"]) for row in rows(tmp_path / "metrics.csv") if row["val_loss"]]
    assert losses[3] > losses[2]  # the forgetful one
    assert metrics["val_loss"] == losses[-1] == pytest.approx(losses[2], rel=1e-5)


def test_a_run_goes_on_where_it_was_and_keeps_its_history(tmp_path: Path) -> None:
    options = ["trainer.max_epochs=4", "schedule=one_cycle"]
    with pytest.raises(RuntimeError, match="crash"):
        small_run(tmp_path, *options, more=[AtEpoch(2, crash)])
    _, used = small_run(tmp_path, *options, f"ckpt_path={tmp_path}/checkpoints/last.ckpt")
    curve = instantiate(composed(*options).schedule).resolve(Horizon(total_steps=28))
    assert used == [[0.002 * curve(n)] * 2 for n in range(14, 28)]
    assert [int(row["step"]) for row in rows(tmp_path / "lr.csv")] == list(range(28))
    trained = [int(row["step"]) for row in rows(tmp_path / "metrics.csv") if row["train_loss"]]
    assert trained == list(range(28))


def test_weights_start_a_new_run_with_a_new_schedule(tmp_path: Path) -> None:
    metrics, _ = small_run(tmp_path / "first", "trainer.max_epochs=6", "optimizer.lr=0.05")
    weights = f"weights={tmp_path}/first/checkpoints/best.ckpt"
    own = ["recipe=fine_tuning", weights, "data.size=8", "trainer.max_epochs=1", f"pretrained_dir={tmp_path}/none"]
    tuned, used = small_run(tmp_path / "second", *own, "optimizer.lr=0.0002", "schedule.warmup=0")
    assert used[0] == [0.0002, 0.0002, 0.002, 0.002]  # the first update of a new plan; ten times as much for the head
    assert abs(tuned["val_loss"] - metrics["val_loss"]) < 0.1 < 1 < 2.3 - metrics["val_loss"]  # 2.3: a guess
    assert not (tmp_path / "none").exists()  # own weights take the place of pretraining


def test_weights_of_other_classes_start_all_but_the_head(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    letters = ["data=glyphs", "data.size=8", "data.characters=letters", "data.num_classes=26", "data.val_size=26"]
    small_run(tmp_path / "first", *letters, "trainer.max_epochs=1")
    with caplog.at_level(logging.INFO):
        build(composed(f"output_dir={tmp_path}", f"weights={tmp_path}/first/checkpoints/best.ckpt"))
    (said,) = (message for message in caplog.messages if message.startswith("weights:"))
    assert said.endswith("the head is new, because the classes differ (network.7.weight, network.7.bias)")
    with pytest.raises(ValueError, match="was made by another model"):
        build(composed(f"output_dir={tmp_path}", f"weights={tmp_path}/first/checkpoints/best.ckpt", "model.width=5"))


@pytest.mark.parametrize("name", ["weights", "ckpt_path"])
def test_a_checkpoint_of_another_model_is_refused_before_training(name: str, tmp_path: Path) -> None:
    small_run(tmp_path, "trainer.max_epochs=1")
    with pytest.raises(ValueError, match=f"{name}='.*last.ckpt' was made by another model"):
        small_run(tmp_path / "other", f"{name}={tmp_path}/checkpoints/last.ckpt", "model.width=8")
    assert not (tmp_path / "other").exists()
    if name == "ckpt_path":
        with pytest.raises(ValueError, match=r"ckpt_path='.*last.ckpt' was made with another optimizer: SGD needs"):
            small_run(tmp_path / "other", f"{name}={tmp_path}/checkpoints/last.ckpt", "optimizer=sgd")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=topics"], "needs images, the data gives text"),
        (["data=cifar10", "data.root=nowhere"], "set data.download=true where there is a network"),
        (["model=transformer"], None),  # model.width=4 and 4 heads fit, and the data gives images
        (["schedule.warmup=5 epochs", "trainer.max_epochs=2"], "is 35 updates, and the run does 14: the peak"),
        (["trainer.max_epochs=-1"], "needs to know how many updates the run will do"),
        (["trainer.accelerator=tpu"], "trainer"),
    ],
)
def test_what_cannot_be_built_or_trained_is_refused(overrides: list[str], message: str | None, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message or "needs text, the data gives images") as caught:
        small_run(tmp_path, *overrides)
    assert explain(caught.value)
    assert not (tmp_path / ".hydra").exists()


@pytest.mark.parametrize(
    "overrides",
    [["callbacks=none", "logger=none"], ["logger=tensorboard"], ["schedule=fixed", "trainer.fast_dev_run=true"]],
    ids=lambda overrides: "+".join(overrides),
)
def test_other_choices_train_too(overrides: list[str], tmp_path: Path) -> None:
    metrics, used = small_run(tmp_path, "trainer.max_epochs=1", *overrides)
    assert len(used) == (1 if "trainer.fast_dev_run=true" in overrides else 7)
    assert set(metrics) == {"val_loss", "val_acc", "test_loss", "test_acc"}


def test_without_validation_and_test_there_is_nothing_to_measure(tmp_path: Path) -> None:
    none = ["trainer.limit_val_batches=0", "trainer.limit_test_batches=0", "callbacks=[learning_rate_scheduler]"]
    metrics, used = small_run(tmp_path, "trainer.max_epochs=1", *none)
    assert (metrics, len(used)) == ({}, 7)


def test_equal_seeds_give_equal_runs(tmp_path: Path) -> None:
    first, again, other = (
        small_run(tmp_path / name, "trainer.max_epochs=1", f"seed={seed}")[0]
        for name, seed in [("first", 1), ("again", 1), ("other", 2)]
    )
    assert first == again != other


def test_the_table_has_a_row_for_each_data_set() -> None:
    text = table({"val_loss": 0.5, "val_acc": 0.75, "test_loss": 0.25, "test_top_5": 1.0}, "best.ckpt")
    assert [line.split() for line in text.splitlines()] == [
        ["metrics", "of", "best.ckpt"],
        ["loss", "acc", "top_5"],
        ["val", "0.5000", "0.7500"],
        ["test", "0.2500", "1.0000"],
    ]


@pytest.mark.parametrize(
    ("key", "target", "message"),
    [
        ("model", "builtins.dict", r"^model._target_='builtins.dict' makes a dict: it must be a LightningModule$"),
        ("data", "builtins.dict", r"^data._target_='builtins.dict' makes a dict: it must be a LightningDataModule$"),
        ("data", "lightning.pytorch.LightningDataModule", r"has no task, which the model is built for: give it one$"),
    ],
)
def test_a_target_of_another_kind_is_refused(key: str, target: str, message: str) -> None:
    cfg = composed("output_dir=unused")
    cfg[key] = {"_target_": target}
    with pytest.raises(ValueError, match=message):
        build(cfg)


@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # of a branch; train.py does not show it either
def test_a_finished_run_says_what_to_type_to_train_longer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ["trainer.max_epochs=1", "logger=none"]
    small_run(tmp_path, *options)
    path = f"ckpt_path={tmp_path}/checkpoints/last.ckpt"
    with caplog.at_level(logging.INFO):
        metrics, used = small_run(tmp_path, *options, path)
    assert used == []
    assert "val_loss" in metrics  # of the best checkpoint: the run is whole
    (said,) = (message for message in caplog.messages if message.startswith("To train longer"))
    command = said.splitlines()[-1].strip()
    assert command == f"python train.py {path} trainer.max_epochs=2 resume=config"
    _, used = small_run(tmp_path / "longer", *options, *command.split()[2:])
    assert len(used) == 7
