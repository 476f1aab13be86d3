"""Runs of test_processes.py in processes of their own: `python -m tests.callbacks.process_runs killed|two FOLDER`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from lr_recipes import schedules
from tests.callbacks.harness import Run, Tiny, Validated, fit, keep_all, record_lrs, sgd

COSINE = schedules.Cosine(warmup=3, min_lr_ratio=0.1)
PLATEAU = schedules.Plateau(factor=0.5, patience=0)


OTHERS = schedules.Hyperparameters(
    lr=schedules.ByGroup(groups={"head": schedules.Linear()}, default=COSINE),
    weight_decay=schedules.Linear(min_lr_ratio=0.5),
)


def by_group(weights: Any) -> Any:
    return AdamW(
        [{"params": weights[:1], "name": "body"}, {"params": weights[1:], "name": "head"}], lr=0.1, weight_decay=0.5
    )


class Killed(Callback):
    """Sends SIGKILL to its own process once some updates are done."""

    def __init__(self, after: int) -> None:
        self.after = after

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.done = trainer.global_step
        trainer.optimizers[0].register_step_post_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.done += 1
        if self.done == self.after:
            os.kill(os.getpid(), signal.SIGKILL)


def killed_run(folder: Path, *callbacks: Callback, ckpt_path: Path | None = None) -> Run:
    """24 updates, a checkpoint after every third; ``callbacks`` may end them."""
    saving = ModelCheckpoint(folder, save_last=True, every_n_train_steps=3)
    return fit(
        COSINE,
        module=Validated(),
        batches=16,
        max_epochs=3,
        accumulate_grad_batches=2,
        callbacks=[record_lrs(folder), saving, *callbacks],
        ckpt_path=ckpt_path,
    )


# Each process alone would decide otherwise: the first never cuts. The mean is 1, 1.1, 0.9, 1.15, 0.8.
APART = ([1.0, 0.9, 0.8, 0.7, 0.6], [1.0, 1.3, 1.0, 1.6, 1.0])


class Apart(Validated):
    """Logs a metric that is another one in each process."""

    def __init__(self, sync: bool) -> None:
        super().__init__()
        self.sync = sync

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        value = APART[self.trainer.global_rank][self.trainer.current_epoch]
        self.log("val_loss", value, sync_dist=self.sync)


class Heard(Logger):
    """Keeps what its own process tells it."""

    name, version = "heard", 0

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls += metrics

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.calls += params


class TrainedApart(Apart):
    """The same, of the epoch of training."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        value = APART[self.trainer.global_rank][self.trainer.current_epoch]
        self.log("loss", value, on_step=False, on_epoch=True, sync_dist=self.sync)
        return self.loss(batch)


def by_batches(weights: Any) -> Any:
    """A scheduler that is ticked at every fourth batch of each process."""
    optimizer = sgd(weights)
    scheduler = {"scheduler": LambdaLR(optimizer, lambda n: 0.9**n), "interval": "step", "frequency": 4}
    return [optimizer], [scheduler]


def two_processes(folder: Path) -> None:
    """Several fits on two CPU processes; what each process used goes to ``<folder>/<name>-<rank>.json``."""
    ddp: dict[str, Any] = {"strategy": "ddp", "devices": 2, "num_sanity_val_steps": 0}
    long: dict[str, Any] = {"batches": 32, "max_epochs": 2, "accumulate_grad_batches": 2, **ddp}
    heard = Heard()
    run = fit(COSINE, callbacks=[record_lrs(folder), keep_all(folder, 5)], logger=heard, log_every_n_steps=8, **long)
    save(folder, "cosine", run)
    (folder / f"heard-{run.trainer.global_rank}.json").write_text(json.dumps({"calls": heard.calls}))
    path = folder / "step=5.ckpt"
    save(folder, "resumed", fit(COSINE, callbacks=[record_lrs(folder / "resumed")], ckpt_path=path, **long))
    logger = record_lrs(folder / "forecast")
    run = fit(module=Tiny(by_batches), callbacks=[logger], **long)
    assert logger.forecast is not None
    said = [logger.forecast.lr(n)[0] for n in range(logger.forecast.known_steps())]
    facts = {"used": run.used, "said": said, "total": logger.forecast.total_steps()}
    (folder / f"forecast-{run.trainer.global_rank}.json").write_text(json.dumps(facts))
    groups: dict[str, Any] = {"module": Tiny(by_group), **long}
    run = fit(OTHERS, callbacks=[record_lrs(folder / "groups"), keep_all(folder / "groups", 5)], **groups)
    save(folder, "groups", run)
    record, path = record_lrs(folder / "groups resumed"), folder / "groups" / "step=5.ckpt"
    save(folder, "groups resumed", fit(OTHERS, callbacks=[record], ckpt_path=path, **groups))
    for name, sync in (("apart", False), ("synced", True)):
        save(folder, name, fit(PLATEAU, module=Apart(sync), batches=4, max_epochs=5, **ddp))
        plateau, where = schedules.Plateau(monitor="loss", factor=0.5, patience=0), folder / f"trained-{name}"
        after = ModelCheckpoint(where, filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
        trained: dict[str, Any] = {"module": TrainedApart(sync), "batches": 4, "max_epochs": 5, **ddp}
        save(folder, f"trained-{name}", fit(plateau, callbacks=[after], **trained))
        for step in (4, 8):
            resumed = fit(plateau, ckpt_path=where / f"step={step}.ckpt", **trained)
            save(folder, f"trained-{name}-{step}", resumed)

    in_time: dict[str, Any] = {"options": {"progress": "time"}, "max_time": {"milliseconds": 400}, "max_epochs": -1}
    save(folder, "in-time", fit(schedules.Linear(), callbacks=[Unequal()], batches=64, **in_time, **ddp))


class Unequal(Callback):
    """Keeps its process up, each for another time."""

    def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
        time.sleep(0.001 + 0.003 * trainer.global_rank)


def save(folder: Path, name: str, run: Run) -> None:
    weights = [weight.tolist() for weight in run.module.parameters()]
    facts = {"used": run.used, "weights": weights, "total": run.horizon.total_steps}
    (folder / f"{name}-{run.trainer.global_rank}.json").write_text(json.dumps(facts))


def main(name: str, folder: str, *rest: str) -> None:
    torch.set_num_threads(1)
    if name == "killed":
        killed_run(Path(folder), Killed(int(rest[0])))
    else:
        two_processes(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
