"""Do our callbacks communicate more with more processes? `python -m benchmarks.scale`.

Trains a tiny module with one and with two processes (DDP, gloo, on the CPU), with and without `LearningRateScheduler`
and `LearningRateLogger`, and counts every collective call that Python makes of `torch.distributed`, in a short and in a
long run. What the long run has more is what grows with the updates.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules

ROOT = Path(__file__).parents[1]
SHORT, LONG = 20, 220  # updates
VALIDATIONS = 5
COLLECTIVES = (
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "reduce",
    "scatter",
)
CASES: dict[str, Callable[[Path], list[Callback]]] = {
    "none": lambda folder: [],
    "scheduler + logger": lambda folder: [
        LearningRateScheduler(schedules.Cosine(warmup=5)),
        LearningRateLogger(folder, plot=False),
    ],
    "plateau + logger": lambda folder: [
        LearningRateScheduler(schedules.Plateau(monitor="val_loss")),
        LearningRateLogger(folder, plot=False),
    ],
}


class Tiny(LightningModule):
    """A linear layer with a validation loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any) -> Tensor:
        loss: Tensor = self.layer(batch[0]).pow(2).mean()
        return loss

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", self.layer(batch[0]).pow(2).mean(), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Counter:
    """Counts the collective calls that Python makes."""

    def __init__(self) -> None:
        self.count = 0
        for name in COLLECTIVES:
            setattr(torch.distributed, name, self._counted(getattr(torch.distributed, name)))

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return call(*args, **kwargs)

        return counted


def train(case: str, processes: int, updates: int, validations: int, folder: Path) -> None:
    """Train once."""
    ddp: dict[str, Any] = {"strategy": "ddp", "devices": 2} if processes == 2 else {"devices": 1}
    trainer = Trainer(
        accelerator="cpu",
        max_steps=updates,
        max_epochs=-1,
        val_check_interval=updates // validations if validations else None,
        limit_val_batches=1 if validations else 0,
        num_sanity_val_steps=0,
        check_val_every_n_epoch=None if validations else 1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=CASES[case](folder),
        **ddp,
    )
    data = DataLoader(TensorDataset(torch.ones(updates * processes, 4)), batch_size=1)
    trainer.fit(Tiny(), data, data)


def work(processes: int, folder: Path) -> None:
    """Count in all cases in this process; the first process writes what it found."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    counter, found = Counter(), dict[str, Any]()
    for case in CASES:
        for name, updates, validations in (
            ("short", SHORT, 0),
            ("long", LONG, 0),
            ("validated", SHORT, VALIDATIONS),
            ("validated twice as often", SHORT, 2 * VALIDATIONS),
        ):
            if validations == 0 and case.startswith("plateau"):
                continue  # it needs a metric
            before = counter.count
            train(case, processes, updates, validations, folder)
            found.setdefault(case, {})[name] = counter.count - before
    if os.environ.get("LOCAL_RANK", "0") == "0":
        (folder / "found.json").write_text(json.dumps(found))


def measure(processes: int) -> dict[str, dict[str, int]]:
    """Start so many processes, and return the calls that the first of them counted, by case and run."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scale", "--work", str(processes), folder]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{processes} processes ended with code {done.returncode}:\n{done.stderr[-3000:]}")
        found: dict[str, dict[str, int]] = json.loads(Path(folder, "found.json").read_text())
        return found


def table() -> str:
    """Measure with one and two processes, and return it as Markdown."""
    lines = ["| processes | callbacks | collectives per update | per validation |", "|---|---|---|---|"]
    for processes in (1, 2):
        for case, counts in measure(processes).items():
            updates = f"{(counts['long'] - counts['short']) / (LONG - SHORT):g}" if "long" in counts else "-"
            validations = (counts["validated twice as often"] - counts["validated"]) / VALIDATIONS
            lines.append(f"| {processes} | {case} | {updates} | {validations:g} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        work(int(options.work[0]), Path(options.work[1]))
        return
    print(table())
    print(f"\ntorch {torch.__version__}")


if __name__ == "__main__":
    main()
