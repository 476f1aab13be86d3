"""What a range test costs beside the same updates of plain training: `python -m benchmarks.range_test_cost`.

Both begin with a new Trainer and the same weights, and end when it is done; the range test also keeps the state of
training and puts it back. Repetitions take turns, so that a machine that changes its speed favours neither.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import statistics
import time
import warnings
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer

from lr_recipes import range_test
from recipes.app.config import composed
from recipes.app.training import model_and_data

CASES = {
    "CNN on glyphs": ("model=cnn", "data=glyphs"),
    "transformer on topics": ("model=transformer", "data=topics"),
    "CNN on digits": ("model=cnn", "data=digits"),
}
QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}


def build(overrides: tuple[str, ...], seed: int) -> tuple[LightningModule, Any]:
    """Return a model and its data."""
    return model_and_data(composed(*overrides, "output_dir=unused", f"seed={seed}"))


def plain(model: LightningModule, data: Any, updates: int) -> None:
    """Train for some updates; nothing is saved, logged or validated."""
    trainer = Trainer(
        max_steps=updates, max_epochs=-1, logger=False, enable_checkpointing=False, limit_val_batches=0, **QUIET
    )
    trainer.fit(model, datamodule=data)
    assert trainer.global_step == updates


def swept(model: LightningModule, data: Any, updates: int) -> None:
    """Make a range test that does not stop before its end."""
    result = range_test(model, data, num_training_steps=updates, max_lr=1e-3, divergence=1e9, **QUIET)
    assert len(result.losses) == updates


def seconds(what: Any, overrides: tuple[str, ...], updates: int, seed: int) -> float:
    """Return how long one run takes."""
    model, data = build(overrides, seed)
    gc.collect()
    begun = time.perf_counter()
    what(model, data, updates)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=100, help="updates of a run (default: 100)")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default: 5)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print(f"| {options.updates} updates of | plain training (s) | range test (s) | ratio |\n|---|---|---|---|")
    for name, overrides in CASES.items():
        run = partial(seconds, overrides=overrides, updates=options.updates)
        run(plain, seed=0)  # to warm up
        pairs = [(run(plain, seed=seed), run(swept, seed=seed)) for seed in range(1, options.repeats + 1)]
        ratio = statistics.median(after / before for before, after in pairs)
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} |", flush=True)
    print(f"\nPython {platform.python_version()}, torch {torch.__version__}, lightning {lightning.__version__}")


if __name__ == "__main__":
    main()
