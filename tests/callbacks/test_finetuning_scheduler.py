"""finetuning-scheduler beside our callbacks: it frees layers in phases, and restores the best of a phase."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint, FTSEarlyStopping
from lightning.pytorch import Callback, LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import StepLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules

from .harness import Run, fit, loader, plan

pytestmark = pytest.mark.behaviour("B52")
HEAD, BODY, UPDATES, JOINED = 0.01, 0.001, 40, 16


class Transfer(LightningModule):
    """A head, and a body that is freed after two of five epochs."""

    def __init__(self, build: Callable[[Optimizer], Any] | None = None) -> None:
        super().__init__()
        self.build = build
        self.body, self.head = nn.Linear(1, 2), nn.Linear(2, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.head(self.body(batch)).square().mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.parameters(), lr=HEAD)
        return ([optimizer], [{"scheduler": self.build(optimizer), "interval": "step"}]) if self.build else optimizer


def trained(folder: Path, owner: Callback, module: LightningModule, restore: bool) -> Run:
    phases = {0: {"params": ["head.*"], "max_transition_epoch": 2}, 1: {"params": ["body.*"], "lr": BODY}}
    theirs = [
        FinetuningScheduler(ft_schedule=phases, restore_best=restore),
        FTSCheckpoint(folder, monitor="val_loss"),
        FTSEarlyStopping(monitor="val_loss", patience=UPDATES),
    ]
    callbacks = [*theirs, owner, LearningRateLogger(dirpath=folder, plot=False, audit="error")]
    return fit(
        module=module,
        train=loader(8),
        val=loader(1),
        callbacks=callbacks,
        max_epochs=5,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


@pytest.mark.parametrize("restore", [False, True], ids=["goes on", "restores the best"])
def test_layers_that_are_freed_follow_the_plan(restore: bool, tmp_path: Path) -> None:
    schedule = schedules.Cosine(warmup=20)
    run = trained(tmp_path, LearningRateScheduler(schedule), Transfer(), restore)
    head, body = plan(schedule, UPDATES, HEAD), plan(schedule, UPDATES, BODY)
    assert [lrs[0] for lrs in run.groups()] == pytest.approx(head)
    assert [lrs[1:] for lrs in run.groups()[:JOINED]] == [()] * JOINED
    assert [lrs[1] for lrs in run.groups()[JOINED:]] == pytest.approx(body[JOINED:])


@pytest.mark.parametrize("restore", [False, True], ids=["goes on", "restores the best"])
def test_a_warmup_of_their_scheduler_lasts_over_a_phase(restore: bool, tmp_path: Path) -> None:
    """They read the LRs of the groups, load a checkpoint, and write back what they read: the warmup's, not StepLR's."""
    run = trained(tmp_path, LearningRateWarmup(20), Transfer(lambda one: StepLR(one, 10, 0.5)), restore)
    warmup = [min((t + 1) / 20, 1) for t in range(UPDATES)]
    head = [HEAD * 0.5 ** (t // 10) * warmup[t] for t in range(UPDATES)]
    body = [BODY * 0.5 ** (t // 10 - 1) * warmup[t] for t in range(JOINED, UPDATES)]
    assert [lrs[0] for lrs in run.groups()] == pytest.approx(head)
    assert [lrs[1] for lrs in run.groups()[JOINED:]] == pytest.approx(body)
