"""Runs of transformers' Trainer: 20 samples, batches of 4, windows of 2: 3 updates an epoch, the last one short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from lr_recipes.adapters.transformers import scheduled
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.schedules import Schedule

PEAK = 0.1
DATA: Any = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(20)]


class Net(nn.Module):
    """With parameters that decay, and such that do not."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 1))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        y = self.layers(x)
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}


def new_trainer(
    kind: Any = Trainer, *, data: Any = DATA, eval_data: Any = DATA, options: Any = None, **args: Any
) -> Any:
    """Of 2 epochs, if nothing else is said, in the folder ``out``."""
    given = {
        "output_dir": "out",
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": PEAK,
        "weight_decay": 0.01,
        "logging_steps": 1,
        "save_steps": 4,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **args,
    }
    arguments = TrainingArguments(**given)
    return kind(model=Net(), args=arguments, train_dataset=data, eval_dataset=eval_data, **(options or {}))


@dataclass
class Run:
    """What the updates of a run used, by group, and what its Trainer logged of it."""

    trainer: Any
    used: list[list[float]]

    @property
    def logged(self) -> list[float]:
        return [entry["learning_rate"] for entry in self.trainer.state.log_history if "learning_rate" in entry]


def run(trainer: Any, **how: Any) -> Run:
    """Train, and read what each step of the real optimizer uses."""
    used: list[list[float]] = []
    create = trainer.create_optimizer

    def create_optimizer(*given: Any) -> Any:
        fresh = trainer.optimizer is None
        optimizer = create(*given)
        if fresh:
            optimizer.register_step_pre_hook(lambda optimizer, *_: used.append(read_lrs(optimizer)))
        return optimizer

    trainer.create_optimizer = create_optimizer
    trainer.train(**how)
    return Run(trainer, used)


def follow(schedule: Schedule, resume: str = "error", checkpoint: str | Path | None = None, **args: Any) -> Run:
    """Train with a schedule, perhaps from a checkpoint on."""
    trainer = scheduled(new_trainer(**args), schedule, resume)
    return run(trainer, resume_from_checkpoint=None if checkpoint is None else str(checkpoint))


def planned(
    schedule: Schedule, horizon: Any, peaks: Sequence[float] = (PEAK, PEAK), updates: range | None = None
) -> Any:
    """The closed form: what each group is to use at each update."""
    curve = schedule.resolve(horizon, peak=max(peaks))
    return [[peak * curve(n) for peak in peaks] for n in updates or range(curve.total_steps or 0)]
