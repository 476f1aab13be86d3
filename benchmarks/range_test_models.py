"""Trains the reference models at the suggested peak and over a grid of peaks: `python -m benchmarks.range_test_models`.

Both with linear warmup and cosine decay. The grid has a factor of 2 and does not know of the suggestion. What counts is
the loss at the end (nats, mean of the validation and the test set, of the last weights) beside that of the best peak of
the grid.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from recipes.app import range_test, training
from recipes.app.config import composed

QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "logger=none")
# Of the last weights: the best checkpoint would hide a peak that is too high.
LAST = ("callbacks=[learning_rate_scheduler]", "trainer.enable_checkpointing=false")


@dataclass(frozen=True)
class Case:
    """A model on its data, and the peaks to try."""

    name: str
    overrides: tuple[str, ...]
    epochs: int
    grid: Sequence[float]


CASES = (
    Case("CNN on glyphs", ("model=cnn", "data=glyphs"), 6, [0.002 * 2**n for n in range(8)]),
    Case(
        "transformer on topics",
        ("model=transformer", "data=topics", "trainer.gradient_clip_val=1.0"),
        6,
        [0.0005 * 2**n for n in range(6)],
    ),
)


def config(case: Case, folder: str, *overrides: str) -> DictConfig:
    """Compose what one would type after ``python train.py``."""
    more = ("schedule=warmup_cosine", f"trainer.max_epochs={case.epochs}", f"output_dir={folder}", *QUIET, *LAST)
    return composed(*case.overrides, *more, *overrides)


def suggested(case: Case, seed: int) -> float:
    """Return the peak that a range test suggests."""
    with tempfile.TemporaryDirectory() as folder:
        return range_test.run(config(case, folder, "task=range_test", f"seed={seed}"))["suggested_lr"]


def final_loss(case: Case, lr: float, seed: int) -> float:
    """Train and return the loss at the end."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = training.run(config(case, folder, f"optimizer.lr={lr}", f"seed={seed}"))
    return (metrics["val_loss"] + metrics["test_loss"]) / 2


def measure(case: Case, seed: int) -> None:
    """Print the losses over the grid and at the suggestion."""
    begun = time.monotonic()
    peak = suggested(case, seed)
    losses = {}
    for lr in case.grid:
        losses[lr] = final_loss(case, lr, seed)
        print(f"  peak {lr:<8g} loss {losses[lr]:.4f}", flush=True)
    best, found = min(losses, key=losses.__getitem__), final_loss(case, peak, seed)
    print(
        f"{case.name}, {case.epochs} epochs, seed {seed}: suggested {peak:g}, loss {found:.4f}; best of the grid "
        f"{best:g}, loss {losses[best]:.4f}; ratio {found / losses[best]:.3f} ({time.monotonic() - begun:.0f} s)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["cnn", "transformer"], help="one of the two models")
    parser.add_argument("--seed", type=int, default=1, help="of weights, data and range test (default: 1)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(2)
    for case in CASES:
        if options.case is None or options.case in case.name.lower():
            measure(case, options.seed)


if __name__ == "__main__":
    main()
