"""Runs of test_both_names.py, each set-up in a process of its own: `python -m tests.callbacks.either_name SETUP OUT`.

No name of Lightning's is imported at the top: which are imported, and when, is what is tried. A set-up is the names
that are imported before ours, ``+``, those that are imported after it, ``@``, and the one whose Trainer is used. The
results go to stdout as JSON.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader

from tests.absent import without


def _imported(names: str) -> None:
    for name in filter(None, names.split(",")):
        importlib.import_module(name)


def main(setup: str, folder: Path) -> dict[str, Any]:
    names, _, used = setup.partition("@")
    before, _, after = names.partition("+")
    if before == "not lightning":
        without("lightning")
        before = ""
    _imported(before)
    from lr_recipes import (
        LearningRateLogger,
        LearningRateRangeTest,
        LearningRateScheduler,
        LearningRateWarmup,
        forecast,
        range_test,
        schedules,
    )

    _imported(after)
    pl = importlib.import_module(used)
    callbacks = importlib.import_module(f"{used}.callbacks")
    loggers = importlib.import_module(f"{used}.loggers")

    class Model(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, step_lr: bool = False) -> None:
            super().__init__()
            self.step_lr, self.layer = step_lr, nn.Linear(4, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            batch = batch["one"] if isinstance(batch, dict) else batch
            return ((self.layer(batch) - batch.sum(1, keepdim=True)) ** 2).mean()

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.log("val_loss", 1.0)

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.parameters(), lr=0.1)
            if not self.step_lr:
                return optimizer
            return [optimizer], [{"scheduler": StepLR(optimizer, 3, 0.5), "interval": "step"}]

    class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
        def train_dataloader(self) -> Any:
            return data

    class Used(callbacks.Callback):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.lrs: list[float] = []

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            (optimizer,) = trainer.optimizers
            optimizer.register_step_pre_hook(lambda *_: self.lrs.append(float(optimizer.param_groups[0]["lr"])))

    data = DataLoader(torch.rand(8, 4, generator=torch.Generator().manual_seed(1)))

    def fit(
        *given: Any, model: Any = None, val: Any = None, train: Any = data, ckpt_path: Any = None, **options: Any
    ) -> list[float]:
        used = Used()
        quiet = {
            "accelerator": "cpu",
            "default_root_dir": folder,
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        torch.manual_seed(1)
        trainer = pl.Trainer(callbacks=[*given, used], **{**quiet, "max_epochs": 2, **options})
        trainer.fit(model or Model(), train, val, ckpt_path=ckpt_path)
        return used.lrs

    def error(*given: Any, **options: Any) -> str:
        try:
            fit(*given, **options)
        except ValueError as one:
            return str(one)
        return ""

    linear = schedules.Linear()
    found: dict[str, Any] = {}
    accumulation = callbacks.GradientAccumulationScheduler({0: 4, 1: 2})
    found["accumulated"] = fit(LearningRateScheduler(linear), accumulation)
    found["averaged"] = error(LearningRateScheduler(linear), callbacks.StochasticWeightAveraging(swa_lrs=0.01))
    found["warmup"] = fit(LearningRateWarmup(4), model=Model(step_lr=True))
    found["two owners"] = error(LearningRateScheduler(linear), model=Model(step_lr=True))
    found["plateau"] = fit(LearningRateScheduler(schedules.Plateau(patience=0, factor=0.5)), val=data, max_epochs=4)

    csv = loggers.CSVLogger(folder, version="csv")
    bar = callbacks.TQDMProgressBar()
    fit(
        LearningRateScheduler(linear),
        LearningRateLogger(),
        bar,
        logger=csv,
        enable_progress_bar=True,
        log_every_n_steps=4,
    )
    found["record"] = (Path(csv.log_dir) / "lr.csv").read_text()
    found["metrics"] = (Path(csv.log_dir) / "metrics.csv").read_text()
    fit(
        LearningRateScheduler(linear), LearningRateLogger(folder), callbacks.RichProgressBar(), enable_progress_bar=True
    )

    saving = callbacks.ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    fit(LearningRateScheduler(linear), saving)
    found["resumed"] = fit(LearningRateScheduler(linear), ckpt_path=folder / "step=11.ckpt")

    test = LearningRateRangeTest(dirpath=folder, plot=False)
    found["peak"] = fit(test, LearningRateScheduler(linear), train={"one": data})[0] / test.result.suggestion
    found["suggestions"] = test.result.suggestions
    torch.manual_seed(1)
    found["function"] = len(
        range_test(
            Model(), Data(), max_lr=0.01, accelerator="cpu", enable_progress_bar=False, default_root_dir=folder
        ).lrs
    )

    alone = LearningRateScheduler(linear)
    pl.Trainer(callbacks=alone, accelerator="cpu", barebones=True, max_epochs=1, default_root_dir=folder).fit(
        Model(), data
    )
    found["alone"] = alone.bound["SGD"].position
    found["is a callback"] = isinstance(alone, callbacks.Callback) and isinstance(alone, pl.Callback)

    plain = pl.Trainer(accelerator="cpu", barebones=True, max_epochs=2, default_root_dir=folder)
    found["forecast"] = str(forecast(plain, Model(step_lr=True), data))
    if setup.startswith("not lightning"):  # the two command lines are one code
        typed = ["--callbacks=lr_recipes.LearningRateScheduler", "--callbacks.schedule=Cosine", "--max_epochs=2"]
        more = ["--accelerator=cpu", "--barebones=true", f"--default_root_dir={folder}"]
        cli = importlib.import_module(f"{used}.cli").LightningCLI(
            Model, Data, args=["fit", *(f"--trainer.{one.removeprefix('--')}" for one in [*typed, *more])]
        )
        (ours,) = [one for one in cli.trainer.callbacks if isinstance(one, LearningRateScheduler)]
        found["cli"] = ours.bound["SGD"].position

    found["imported"] = sorted({"lightning", "pytorch_lightning"} & set(sys.modules))
    return found


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # the library that is asked about warns as the other does
    logging.disable(logging.INFO)
    print("\n" + json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
