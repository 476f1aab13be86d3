"""What threads do to the small recipes, alone and beside other programs: `python -m benchmarks.threads`.

Each recipe trains some updates on the CPU with one thread and with as many as there are cores, first with nobody beside
it but who is there already, then beside processes that keep every core busy, as on a shared machine.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback

from recipes.app.config import composed
from recipes.app.threads import on_threads
from recipes.app.training import build

RECIPES = ("classical_cnn", "transformer", "small_experiment", "fast_supervised", "large_batch")
_QUIET = (
    "trainer=cpu", "logger=none", "callbacks=[learning_rate_scheduler]", "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false", "trainer.limit_val_batches=0", "trainer.num_sanity_val_steps=0",
)  # fmt: skip
_SKIP = 3  # updates before the first that is measured


class _Watch(Callback):
    """Seconds between the first batches, which load things, and the last."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.perf_counter())

    @property
    def milliseconds(self) -> float:
        return 1000 * (self.ends[-1] - self.ends[_SKIP - 1]) / (len(self.ends) - _SKIP)


def milliseconds_per_update(recipe: str, threads: int, updates: int) -> float:
    """Train so many updates of a recipe, and return how long one took."""
    with tempfile.TemporaryDirectory() as folder:
        limits = (f"trainer.max_steps={updates + _SKIP}", "trainer.max_epochs=-1", f"output_dir={folder}")
        watch = _Watch()
        parts = build(composed(f"recipe={recipe}", *_QUIET, *limits), [watch])
        with on_threads(threads, parts.model):
            parts.trainer.fit(parts.model, datamodule=parts.data)
    return watch.milliseconds


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep so many cores busy meanwhile."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield others
    finally:
        for other in others:
            other.kill()
            other.wait()


def table(recipes: Sequence[str], updates: int, repeats: int) -> str:
    """Return the milliseconds of an update by recipe, number of threads and company."""
    cores = os.cpu_count() or 1
    lines = [
        f"| recipe | 1 thread | {cores} threads | times as long | 1, beside {cores} busy processes | {cores} | times |",
        "|---|---|---|---|---|---|---|",
    ]
    for recipe in recipes:
        found: dict[tuple[int, int], list[float]] = {}
        for _ in range(repeats):
            for others in (0, cores):
                with busy(others):
                    for threads in (1, cores):
                        taken = milliseconds_per_update(recipe, threads, updates)
                        found.setdefault((others, threads), []).append(taken)
        row = [f"| {recipe}"]
        for others in (0, cores):
            one, many = (statistics.median(found[others, threads]) for threads in (1, cores))
            row += [f"{one:.3g}", f"{many:.3g}", f"{many / one:.2g}"]
        lines.append(" | ".join(row) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=200, help="of each run (default: 200)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind (default: 3)")
    parser.add_argument("--recipes", nargs="*", default=RECIPES, help="some of them")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    print("Milliseconds of one update:\n")
    print(table(options.recipes, options.updates, options.repeats))


if __name__ == "__main__":
    main()
