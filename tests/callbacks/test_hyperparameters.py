"""A module that takes a schedule and calls ``save_hyperparameters()``: loggers, checkpoints, and back from them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from lr_recipes import LearningRateScheduler
from lr_recipes.schedules import Cosine, Plateau, Schedule, TorchSchedule
from tests import ready

from .harness import SCHEDULES, Validated, fit, keep_all, plan

pytestmark = pytest.mark.behaviour("B55")


class Net(Validated):
    """Its schedule is an argument, and its callback is made from it."""

    def __init__(self, schedule: Schedule, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.schedule = schedule

    def configure_callbacks(self) -> list[Callback]:
        return [LearningRateScheduler(self.schedule)]


LOGGERS: dict[str, Callable[[Path], Logger]] = {
    "csv": lambda folder: CSVLogger(folder, name="", version=""),
    "tensorboard": lambda folder: TensorBoardLogger(folder, name="", version=""),
}
STEP_LR = TorchSchedule(factory=partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5), warmup=2)
EVERY = {**SCHEDULES, "plateau": Plateau(warmup=2), "torch": STEP_LR}


@pytest.mark.parametrize("logger", LOGGERS.values(), ids=LOGGERS.keys())
@pytest.mark.parametrize("schedule", EVERY.values(), ids=EVERY.keys())
def test_trains_logs_and_comes_back(schedule: Schedule, logger: Callable[[Path], Logger], tmp_path: Path) -> None:
    keep = keep_all(tmp_path, every=8)
    made = fit(module=Net(schedule), callbacks=[keep], logger=logger(tmp_path), max_epochs=1, log_every_n_steps=8)
    if schedule.reaction() is None:
        assert made.used == plan(schedule, 8)

    written = (tmp_path / "hparams.yaml").read_text()
    assert "width: 3" in written
    assert type(schedule).__name__ in written
    knobs = {name: value for name, value in schedule.describe().items() if isinstance(value, (int, float, str))}
    assert [name for name, value in knobs.items() if f"  {name}: {value}".lower() not in written.lower()] == []

    checkpoint = tmp_path / "step=8.ckpt"
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"] == {"schedule": schedule, "width": 3}
    again = Net.load_from_checkpoint(checkpoint)
    assert again.schedule == again.hparams.schedule == schedule


def test_the_file_of_hyperparameters_is_plain(tmp_path: Path) -> None:
    schedule = Cosine(warmup="25%", min_lr_ratio=0.1)
    fit(module=Net(schedule), logger=LOGGERS["csv"](tmp_path), max_epochs=1, log_every_n_steps=8)
    assert yaml.safe_load((tmp_path / "hparams.yaml").read_text())["schedule"] == schedule.describe()


FRESH = """
import sys, torch
from lightning.pytorch import LightningModule
from torch import nn
from lr_recipes.schedules import Schedule

class Net(LightningModule):
    def __init__(self, schedule: Schedule, width: int):
        super().__init__()
        self.save_hyperparameters()
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])
        self.register_buffer("validations", torch.tensor(0))

for path in sys.argv[1:]:
    print(repr(Net.load_from_checkpoint(path).hparams.schedule))
"""


def test_comes_back_in_a_fresh_process(tmp_path: Path) -> None:
    checkpoints = []
    for name, schedule in EVERY.items():
        fit(module=Net(schedule), callbacks=[keep_all(tmp_path / name, every=8)], max_epochs=1)
        checkpoints.append(tmp_path / name / "step=8.ckpt")
    program = tmp_path / "fresh.py"
    program.write_text(FRESH)
    done = ready.run([program, *checkpoints], tmp_path)
    assert done.stdout.splitlines() == [repr(schedule) for schedule in EVERY.values()], done.stderr


def test_code_of_ones_own_stays_code() -> None:
    """Nothing but torch's own schedulers can be told in words; a pickle holds the rest as it is."""
    own = TorchSchedule(factory=halving)
    assert pickle.loads(pickle.dumps(own)).factory is halving
    assert copy.deepcopy(own).factory is halving
    assert copy.deepcopy(STEP_LR) == pickle.loads(pickle.dumps(STEP_LR)) == STEP_LR


def halving(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
