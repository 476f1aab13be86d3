"""One run: what `python train.py` would give, the same again, and a result also where it fails."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from recipes.app.training import run
from recipes.reproduction.experiment import Result, Run
from recipes.reproduction.worker import Job, measured_config, origin_of, train_once

ROOT = Path(__file__).parents[3]
RECIPES = sorted(path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml"))
SHORT = ("trainer=cpu", "trainer.max_steps=4", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2")
RUN = Run("small_experiment", "fixed", 0.05, 1)
SMALL = ("recipe=small_experiment", "schedule=fixed", *SHORT)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*log_every_n_steps"),
]


def short(recipe: str, folder: Path) -> tuple[str, ...]:
    """A few updates, after a pretraining of a few updates where there is one."""
    overrides = (f"recipe={recipe}", "schedule=fixed", "schedule.warmup=0", *SHORT, f"pretrained_dir={folder}")
    pretraining = measured_config((*overrides, "output_dir=unused")).pretraining
    if pretraining is None:
        return overrides
    before = [*OmegaConf.to_container(pretraining), "trainer.limit_train_batches=2", "trainer.limit_val_batches=1"]
    return (*overrides, "pretraining=[" + ",".join(f"'{one}'" for one in before) + "]")


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_numbers_and_another_one_others(recipe: str, tmp_path: Path) -> None:
    overrides = short(recipe, tmp_path / "pretrained")
    first, again, other = (train_once(Job(RUN._replace(seed=seed), overrides)) for seed in (1, 1, 2))
    assert first.status == "done"
    assert first.updates == 4
    assert (first.val_loss, first.test_loss, first.test_acc) == (again.val_loss, again.test_loss, again.test_acc)
    assert first.test_loss != other.test_loss


def test_it_is_what_train_py_gives(tmp_path: Path) -> None:
    more = ("optimizer.lr=0.05", "seed=1", f"output_dir={tmp_path}", "logger=none")
    metrics = run(measured_config((*SMALL, *more)))
    result = train_once(Job(RUN, SMALL))
    assert (result.val_loss, result.test_acc) == (metrics["val_loss"], metrics["test_acc"])


def test_all_schedules_begin_alike(tmp_path: Path) -> None:
    """Same seed, same first weights and same batches: the first loss does not depend on the schedule."""
    losses = []
    for schedule in ("fixed", "warmup_cosine"):
        curve = tmp_path / f"{schedule}.csv"
        overrides = ("recipe=small_experiment", f"schedule={schedule}", *SHORT, "trainer.log_every_n_steps=1")
        assert train_once(Job(RUN, overrides, curve)).status == "done"
        with curve.open(newline="") as file:
            losses.append(next(csv.DictReader(file))["train_loss"])
    assert losses[0] == losses[1]


def test_the_curve_holds_lr_and_loss(tmp_path: Path) -> None:
    curve = tmp_path / "curves" / "a.csv"
    overrides = (*SMALL, "schedule=linear", "trainer.log_every_n_steps=2")
    assert train_once(Job(RUN, overrides, curve)).status == "done"
    with curve.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["update"]) for row in rows] == [1, 3]
    assert [float(row["lr"]) for row in rows] == pytest.approx([0.05 * 3 / 4, 0.05 / 4])
    assert all(math.isfinite(float(row["train_loss"])) for row in rows)


def test_a_run_that_diverges_is_a_result() -> None:
    result = train_once(Job(RUN._replace(lr=1e30), SMALL))
    assert result.status == "diverged"
    assert math.isinf(result.loss("test"))


def test_a_run_that_fails_is_a_result_with_its_reason() -> None:
    result = train_once(Job(RUN, (*SMALL, "data.batch_size=-3")))
    assert isinstance(result, Result)
    assert result.status.startswith("failed: data: ")
    assert "batch_size=-3" in result.status
    assert "\n" not in result.status


def test_the_origin_changes_with_settings_and_data_but_not_with_lr_and_seed() -> None:
    def config(*more: str) -> Any:
        return origin_of((*SMALL, *more))["config"]

    assert config() == config()
    assert config() != config("schedule=cosine")
    assert config() != config("trainer.max_steps=5")
    assert config("optimizer.lr=3") == config("optimizer.lr=4") == config("seed=9")
    assert origin_of(SMALL)["data"] != origin_of(("recipe=classical_cnn",))["data"]
