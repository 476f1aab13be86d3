"""What a forecast costs before the first update: `python -m benchmarks.forecast_cost`.

A real Trainer begins, once plainly and once with a `LearningRateLogger`, in turns; each number is the median time from
the call of ``fit`` to the first batch. A run has 100 batches an epoch and ends by ``max_steps``.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.utils.data import DataLoader

from lr_recipes import LearningRateLogger

BATCHES = 100  # of an epoch
UPDATES = (1_000, 10_000, 100_000)


def _sequence(optimizer: Optimizer, ticks: int) -> SequentialLR:
    warmup = ticks // 10
    parts = [LinearLR(optimizer, 0.1, total_iters=warmup), CosineAnnealingLR(optimizer, ticks - warmup)]
    return SequentialLR(optimizer, parts, milestones=[warmup])


class Kind(NamedTuple):
    """A scheduler for so many ticks, when it is ticked, and the groups of its optimizer."""

    make: Callable[[Optimizer, int], Any]
    interval: str = "step"
    groups: int = 1


KINDS = {
    "CosineAnnealingLR, one tick an epoch": Kind(CosineAnnealingLR, "epoch"),
    "CosineAnnealingLR, one tick an update": Kind(CosineAnnealingLR),
    "SequentialLR of a warmup and a cosine": Kind(_sequence),
    "CosineAnnealingLR, 20 groups": Kind(CosineAnnealingLR, groups=20),
}


class Net(LightningModule):
    def __init__(self, kind: Kind, updates: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(kind.groups))
        self.kind, self.ticks = kind, updates if kind.interval == "step" else updates // BATCHES

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return torch.stack(list(self.weights)).sum()

    def configure_optimizers(self) -> Any:
        optimizer = SGD([{"params": [one]} for one in self.weights], lr=0.1)
        scheduler = self.kind.make(optimizer, self.ticks)
        return [optimizer], [{"scheduler": scheduler, "interval": self.kind.interval}]


class Enough(Exception):
    """The first batch has begun."""


class Began(Callback):
    """Notes when the first batch begins, and ends the run there."""

    at = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.at = time.perf_counter()
        raise Enough


def seconds(kind: Kind, updates: int, recorded: bool) -> float:
    """Return how long it takes to the first batch."""
    began = Began()
    with tempfile.TemporaryDirectory() as folder:
        recorder = [LearningRateLogger(folder, plot=False)] if recorded else []
        trainer = Trainer(
            max_steps=updates,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[*recorder, began],
        )
        loader: DataLoader[Any] = DataLoader(torch.ones(BATCHES, 1))  # type: ignore[arg-type]
        started = time.perf_counter()
        with suppress(Enough):
            trainer.fit(Net(kind, updates), loader)
    return began.at - started


def table(updates: Sequence[int] = UPDATES, repeats: int = 5) -> str:
    """Return the times as Markdown."""
    lines = [
        "| scheduler | updates | ms to the first batch | with `LearningRateLogger` | times as long | us per tick |",
        "|---|---|---|---|---|---|",
    ]
    for name, kind in KINDS.items():
        for count in updates:
            pairs = [
                (seconds(kind, count, recorded=False), seconds(kind, count, recorded=True)) for _ in range(repeats)
            ]
            plain, ours = (1000 * statistics.median(one) for one in zip(*pairs, strict=True))
            ticks = count if kind.interval == "step" else count // BATCHES
            each = 1000 * (ours - plain) / ticks
            lines.append(f"| {name} | {count:,} | {plain:.3g} | {ours:,.3g} | {ours / plain:.2g} | {each:.2g} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: 5)")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(table(repeats=parser.parse_args(arguments).repeats))


if __name__ == "__main__":
    main()
