"""Trains on the GPU as `train.py` does and compares the LRs that updates used with the plan.

    python -m benchmarks.gpu_check

Then `benchmarks.gpu_clock` looks at scalers, compiled steps and CUDA graphs. To add a run: one more `Check` in
`CHECKS`.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks import gpu_clock
from lr_recipes import Horizon
from recipes.app.config import composed
from recipes.app.training import run

_HEADER = f"{'check':<14}{'updates':>8}{'largest |used - planned| / peak':>34}{'seconds':>9}  metrics"


@dataclass(frozen=True)
class Check:
    """One training run.

    Args:
        name: what is special about it.
        overrides: what to type after ``python train.py``.
        updates: length of the run.
        val_loss: what its validation loss must stay below; a model that learns passes easily.
    """

    name: str
    overrides: tuple[str, ...]
    updates: int = 300
    val_loss: float = math.inf


CHECKS = (
    Check("cnn", ("model=cnn", "data=glyphs", "optimizer=sgd", "schedule=one_cycle"), val_loss=1.0),
    Check("transformer", ("model=transformer", "data=topics", "schedule=warmup_linear"), val_loss=2.6),
)


@dataclass(frozen=True)
class Result:
    """What a check found."""

    check: Check
    updates: int
    difference: float
    seconds: float
    metrics: dict[str, float]

    @property
    def passed(self) -> bool:
        """All updates were made, each with the planned LR, and the model learned."""
        return (
            self.updates == self.check.updates
            and self.difference == 0
            and self.metrics["val_loss"] < self.check.val_loss
        )

    def __str__(self) -> str:
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        verdict = "" if self.passed else "  FAILED"
        return f"{self.check.name:<14}{self.updates:>8}{self.difference:>34.1e}{self.seconds:>9.1f}  {metrics}{verdict}"


class UsedLearningRates(Callback):
    """Reads the LR of every group at the moment the optimizer really steps; one list for each update."""

    def __init__(self) -> None:
        self.updates: list[list[float]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch every optimizer."""
        for optimizer in trainer.optimizers:
            optimizer.register_step_pre_hook(self._read)

    def _read(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self.updates.append([float(group["lr"]) for group in optimizer.param_groups])


def run_check(check: Check, overrides: Sequence[str]) -> Result:
    """Train as ``python train.py`` would, and compare."""
    used = UsedLearningRates()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        limits = [f"trainer.max_steps={check.updates}", "trainer.max_epochs=-1", f"output_dir={folder}"]
        cfg = composed(*check.overrides, *limits, *overrides)
        metrics = run(cfg, [used])
    curve = instantiate(cfg.schedule).resolve(Horizon(total_steps=check.updates), peak=cfg.optimizer.lr)
    difference = max(
        (abs(lr - cfg.optimizer.lr * curve(n)) for n, lrs in enumerate(used.updates) for lr in lrs), default=math.inf
    )
    return Result(check, len(used.updates), difference / cfg.optimizer.lr, time.perf_counter() - started, metrics)


def main(arguments: Sequence[str] | None = None, checks: Sequence[Check] = CHECKS) -> int:
    """Run the checks and print a row for each; return 0 if all pass, or if there is no GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help="cpu: only to try this program out")
    device = parser.parse_args(arguments).device
    if device == "gpu" and not torch.cuda.is_available():
        print("SKIPPED: no CUDA GPU here. On a machine with one: make gpu-check, or make gpu-check PYTHON=python3")
        return 0
    name = torch.cuda.get_device_name() if device == "gpu" else "CPU"
    quiet = ["trainer.enable_model_summary=false", "trainer.enable_progress_bar=false"]
    results = [run_check(check, [f"trainer={device}", *quiet]) for check in checks]
    print(f"{name}, torch {torch.__version__}", _HEADER, *results, sep="\n")
    clock_is_right = check_clock("cuda" if device == "gpu" else "cpu")
    return 0 if clock_is_right and all(result.passed for result in results) else 1


def check_clock(device: str) -> bool:
    """Run the checks of `benchmarks.gpu_clock`, print a row for each, and tell whether all pass."""
    passed_all = True
    print("\nclock")
    with tempfile.TemporaryDirectory() as folder:
        for name, find in gpu_clock.checks(device, folder).items():
            try:
                passed, words = find()
            except Exception as error:  # a check that cannot run has failed; the others still tell something
                passed, words = False, f"{type(error).__name__}: {error}"
            passed_all &= passed
            print(f"{name:<14}{words}{'' if passed else '  FAILED'}")
    return passed_all


if __name__ == "__main__":
    sys.exit(main())
