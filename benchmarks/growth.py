"""Does the record of a long run stay as quick and small as that of a short one? `python -m benchmarks.growth`.

A real Trainer with `LearningRateScheduler` and `LearningRateLogger` makes a million updates of an optimizer with ten
groups, many to a batch (manual optimization), so that little else is measured. Printed: time of the processor for an
update and memory of the process, part by part.
"""

from __future__ import annotations

import argparse
import logging
import resource
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules

PARTS = 10
A_BATCH = 1000  # updates of a batch


class Part(NamedTuple):
    """What a part of the run took."""

    updates: int
    microseconds: float  # of an update
    megabytes: float  # the process's largest memory so far


class Many(LightningModule):
    """Makes many updates of ten groups at each batch, and notes time and memory."""

    def __init__(self, updates: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(1)) for _ in range(10)])
        self.updates, self.done, self.parts = updates, 0, list[Part]()
        self.begun = 0.0

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [{"params": [weight]} for weight in self.weights]
        return SGD(groups, lr=0.1, foreach=False)

    def on_train_start(self) -> None:
        for weight in self.weights:
            weight.grad = torch.zeros(1)
        self.begun = time.process_time()

    def training_step(self, batch: Any) -> None:
        optimizer: Any = self.optimizers()
        for _ in range(A_BATCH):
            optimizer.optimizer.step()  # torch's own: Lightning's wrapper costs more than all that is measured
        self.done += A_BATCH
        if self.done % (self.updates // PARTS) == 0:
            now = time.process_time()
            megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
            self.parts.append(Part(self.done, 1e6 * PARTS * (now - self.begun) / self.updates, megabytes))
            self.begun = now


def measure(updates: int, record: bool = True) -> list[Part]:
    """Train, and return what each part took.

    Args:
        updates: a multiple of 10,000.
        record: whether the logger is there.
    """
    with tempfile.TemporaryDirectory() as folder:
        callbacks: list[Any] = [LearningRateScheduler(schedules.Cosine(), total_steps=updates)]
        callbacks += [LearningRateLogger(folder, plot=False)] if record else []
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Many(updates)
        trainer.fit(module, DataLoader(TensorDataset(torch.zeros(updates // A_BATCH)), batch_size=None))
        if record:
            with Path(folder, "lr.csv").open("rb") as file:
                assert sum(1 for _ in file) == updates + 1
    return module.parts


def table(parts: Sequence[Part]) -> str:
    """Return the parts as Markdown."""
    lines = ["| updates so far | us per update in this part | largest memory of the process (MB) |", "|---|---|---|"]
    lines += [f"| {part.updates:,} | {part.microseconds:.1f} | {part.megabytes:,.0f} |" for part in parts]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=1_000_000, help="a multiple of 10,000 (default: 1,000,000)")
    options = parser.parse_args(arguments)
    if options.updates < 1 or options.updates % (PARTS * A_BATCH):
        parser.error(f"--updates {options.updates}: must be a multiple of {PARTS * A_BATCH:,}")
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print(table(measure(options.updates)))


if __name__ == "__main__":
    main()
