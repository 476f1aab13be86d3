"""Hydra applications of others, that have groups of the same names: theirs stay theirs, and ours are there by name."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import schedules
from tests.callbacks.harness import fit, plan

pytest.importorskip("lr_recipes.conf", reason="the package is not installed: no application sees its groups")
pytestmark = pytest.mark.behaviour("B63")

TEMPLATE = Path(__file__).parent / "template"
OURS, TORCHS = "lr_recipes.schedules.", "torch.optim.lr_scheduler."


def composed(configs: Path, *overrides: str, name: str = "train") -> DictConfig:
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose(name, list(overrides))


@pytest.mark.parametrize(
    ("overrides", "schedule", "callbacks"),
    [
        ([], TORCHS + "ReduceLROnPlateau", ["timer", "summary"]),
        (["schedule=cosine", "callbacks=timer"], TORCHS + "CosineAnnealingLR", ["timer"]),
        (["callbacks=none"], TORCHS + "ReduceLROnPlateau", []),
        (["schedule=warmup_cosine"], OURS + "Cosine", ["timer", "summary"]),
        (["callbacks=learning_rate_warmup"], TORCHS + "ReduceLROnPlateau", ["learning_rate_warmup"]),
        (
            ["schedule=one_cycle", "callbacks=[default,learning_rate_scheduler]"],
            OURS + "OneCycle",
            ["timer", "summary", "learning_rate_scheduler"],
        ),
        (
            ["experiment=planned"],
            OURS + "Cosine",
            ["timer", "summary", "learning_rate_scheduler", "learning_rate_logger"],
        ),
        (
            ["experiment=planned", "schedule=cosine", "callbacks=none"],
            TORCHS + "CosineAnnealingLR",
            ["learning_rate_logger"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_groups_of_the_same_name(overrides: list[str], schedule: str, callbacks: list[str]) -> None:
    cfg = composed(TEMPLATE / "configs", *overrides)
    assert cfg.schedule._target_ == schedule
    assert list(cfg.callbacks) == callbacks


def application(folder: Path, **files: str) -> Path:
    """A folder of configs; ``__`` in a name is a subfolder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


CHOOSES = "defaults: [_self_, {schedule: cosine}]\n"
THEIRS = "lr: 0.1\n"


def test_a_file_on_the_search_path_of_the_application_wins(tmp_path: Path) -> None:
    shared = application(tmp_path / "shared", schedule__cosine=THEIRS)
    main = application(tmp_path / "main", train=f"{CHOOSES}hydra: {{searchpath: ['file://{shared}']}}", other=CHOOSES)
    assert composed(main).schedule == {"lr": 0.1}
    typed = composed(main, f"hydra.searchpath=['file://{shared}']", name="other")
    assert typed.schedule == {"lr": 0.1}
    assert composed(main, "schedule=linear").schedule._target_ == f"{OURS}Linear"


def test_a_config_of_the_applications_store_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigStore.instance(), "repo", {**ConfigStore.instance().repo})
    ConfigStore.instance().store(group="schedule", name="cosine", node={"lr": 0.1})
    main = application(tmp_path, train=CHOOSES)
    assert composed(main).schedule == {"lr": 0.1}
    assert composed(main, "schedule=linear").schedule._target_ == f"{OURS}Linear"


@pytest.mark.parametrize(
    ("name", "value", "typed"),
    [("schedule", "daily", "weekly"), ("callbacks", "[a]", "[b]"), ("schedule", "1", "2"), ("callbacks", "a", "null")],
)
def test_a_value_of_the_name_of_a_group_is_a_value(name: str, value: str, typed: str, tmp_path: Path) -> None:
    main = application(tmp_path, train=f"{name}: {value}", draft="[not: yaml", listed="[1, 2]")
    assert str(composed(main, f"{name}={typed}")[name]) == {"null": "None", "[b]": "['b']"}.get(typed, typed)


def test_values_over_a_group_are_no_value_of_its_name(tmp_path: Path) -> None:
    main = application(
        tmp_path,
        train="defaults: [{schedule: cosine}, _self_]\nschedule: {warmup: 7}",
        old="schedule: daily",
        nested="defaults: [{override /schedule@schedule: linear}]",
    )
    cfg = composed(main, "schedule=one_cycle")
    assert (cfg.schedule._target_, cfg.schedule.warmup) == (f"{OURS}OneCycle", 7)


def test_ours_stands_under_another_name_beside_a_schedule_of_another_meaning() -> None:
    more = ["callbacks=learning_rate_scheduler", "callbacks.learning_rate_scheduler.schedule=${plan}"]
    cfg = composed(TEMPLATE / "configs", "+schedule@plan=warmup_cosine", *more)
    assert cfg.schedule._target_ == f"{TORCHS}ReduceLROnPlateau"
    assert instantiate(cfg.callbacks.learning_rate_scheduler).schedule == schedules.Cosine(warmup="5%")


def test_the_template_trains_as_planned(tmp_path: Path) -> None:
    """A real process; a directory that is given by hand has a schedule of the name of ours, which wins."""
    folder = shutil.copytree(TEMPLATE, tmp_path / "template")
    application(tmp_path / "mine", schedule__warmup_cosine="_target_: lr_recipes.schedules.Linear\nwarmup: 0")
    command = [sys.executable, "train.py", "experiment=planned", "--config-dir", str(tmp_path / "mine")]
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "used = planned on 16 of 16 updates, schedule complete" in done.stderr
    with (folder / "lr.csv").open() as file:
        used = [float(row["lr/group0"]) for row in csv.DictReader(file)]
    assert used == pytest.approx([0.1 * (t + 1) / 4 if t < 4 else 0.1 * (1 - (t - 4) / 12) for t in range(16)])


def test_the_templates_module_takes_a_schedule_by_its_path_in_place_of_torchs() -> None:
    """What is given to the module as its `_partial_` scheduler; the length of the run comes from the Trainer."""
    by_path = "{_target_: lr_recipes.lr_scheduler.Cosine, _partial_: true, warmup: 25%}"
    cfg = composed(TEMPLATE / "configs", f"model.scheduler={by_path}", "model._target_=tests.template.train.Net")
    data = DataLoader(TensorDataset(torch.ones(8, 1)))
    run = fit(module=instantiate(cfg.model), train=data, max_epochs=2)
    assert run.used == pytest.approx(plan(schedules.Cosine(warmup="25%"), 16))
