"""A script of one's own, for test_telling.py to run in a terminal: runs that end, that fail, that sweep first."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, schedules
from lr_recipes.callbacks.telling import tell, warn
from tests.callbacks.harness import Validated, loader
from tests.callbacks.terminal import BARS, begin

FAILING = tuple(f"{bar}_failing" for bar in BARS)
SWEEPING = "rich_sweeping"
# Longer than any terminal, with what Rich would take for a colour, and in lines of their own.
LONG = "Told in mid-epoch: [red]as it is[/red]\n  " + " ".join(f"word{n}" for n in range(40))


class Talker(Callback):
    """Tells something while the training bar is on the screen, and while that of validation is there too."""

    def __init__(self, name: str) -> None:
        self.name, self.fails = name, name in FAILING

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 12:
            time.sleep(0.1)  # Rich draws now and then: let it
            tell(trainer, LONG)
        if self.fails and trainer.global_step == 20:
            time.sleep(0.1)
            raise ValueError("meant to fail")

    def on_validation_batch_end(self, trainer: Trainer, *rest: Any) -> None:
        if trainer.global_step == 8 and not trainer.sanity_checking:
            time.sleep(0.1)
            tell(trainer, f"Told in validation, batch {rest[3]}")
            warn(trainer, f"warned in {self.name}, batch {rest[3]}")


def own(name: str) -> None:
    """Train; Lightning's own log handler writes to the terminal, another one to a file."""
    bar = name.partition("_")[0]
    begin(name)
    callbacks: list[Callback] = [
        *([LearningRateRangeTest(dirpath=name, plot=False)] if name == SWEEPING else []),
        LearningRateScheduler(schedules.Cosine(warmup=2)),
        LearningRateLogger(name),
        Talker(name),
        ModelCheckpoint(name, monitor="val_loss"),
        *([TQDMProgressBar()] if bar == "tqdm" else []),
    ]
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=3,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=bar != "none",
        enable_model_summary=False,
    )
    with_log_file(f"{name}.log", lambda: trainer.fit(Slow(), loader(8), loader(2)))


class Slow(Validated):
    """Has a bar that is seen: Rich draws a hundred times in a second."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        time.sleep(0.03)
        super().validation_step(batch, batch_idx)


def with_log_file(path: str, action: Any) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger("lightning.pytorch").addHandler(handler)
    try:
        action()
    except ValueError as error:
        print("failed:", error)
    finally:
        logging.getLogger("lightning.pytorch").removeHandler(handler)


if __name__ == "__main__":
    for name in (*BARS, *FAILING, SWEEPING):
        own(name)
