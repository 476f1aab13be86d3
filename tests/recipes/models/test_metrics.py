"""Metrics of training are computed at the updates that the Trainer writes, and at no others."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric import Fabric
from omegaconf import DictConfig

from recipes.app.config import composed
from recipes.app.training import build
from recipes.models.metrics import is_written

MODELS = {"cnn": ("model=cnn_tiny", "data=digits"), "transformer": ("model=transformer_tiny", "data=topics")}


def config(name: str, folder: Path, *more: str) -> DictConfig:
    short = (
        "trainer=cpu",
        "trainer.max_steps=12",
        "trainer.limit_val_batches=0",
        "callbacks=none",
        f"output_dir={folder}",
    )
    quiet = (
        "trainer.enable_progress_bar=false",
        "trainer.enable_model_summary=false",
        "trainer.enable_checkpointing=false",
    )
    return composed(*MODELS[name], *short, *quiet, *more)


def fit(cfg: DictConfig) -> list[int]:
    """Return the updates at which the module logged."""
    parts = build(cfg)
    logged: list[int] = []
    log = parts.model.log_dict

    def log_dict(*args: Any, **kwargs: Any) -> None:
        logged.append(parts.trainer.global_step)
        log(*args, **kwargs)

    parts.model.log_dict = log_dict  # type: ignore[method-assign]
    parts.trainer.fit(parts.model, datamodule=parts.data)
    return logged


@pytest.mark.parametrize("fabric", [False, True])
def test_without_a_trainer_all_are_computed(fabric: bool, tmp_path: Path) -> None:
    model = build(config("cnn", tmp_path)).model
    if fabric:
        model.fabric = Fabric(accelerator="cpu", devices=1)
    assert is_written(model)


def rows_of(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("every", "written"), [(5, [4, 9]), (1, list(range(12))), (0, []), (50, [])])
def test_the_module_logs_what_is_written_and_nothing_else(
    name: str, every: int, written: list[int], tmp_path: Path
) -> None:
    cfg = config(name, tmp_path, f"trainer.log_every_n_steps={every}")
    assert fit(cfg) == written
    rows = rows_of(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if row.get("train_loss")] == written
    assert all(0 <= float(row["train_acc"]) <= 1 for row in rows if row.get("train_acc"))


def test_with_accumulation_too(tmp_path: Path) -> None:
    cfg = config("cnn", tmp_path, "trainer.log_every_n_steps=5", "trainer.accumulate_grad_batches=2")
    fit(cfg)
    rows = rows_of(tmp_path / "metrics.csv")
    assert [int(row["step"]) for row in rows if row.get("train_loss")] == [4, 9]
