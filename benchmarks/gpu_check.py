"""Trains on the GPU as `train.py` does, and compares the LRs that updates used with the plan.

To add a run: one more `Check` in `CHECKS` or `COMPILED`. The recipes of the table are checked as they are.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.gpu_notes import Finding
from lr_recipes import Horizon
from lr_recipes.report.rows import read_rows
from recipes.app.config import composed
from recipes.app.training import run
from recipes.reproduction.rows import ROWS

INIT_SCALE = 2.0**32  # of a gradient scaler: the first steps overflow in fp16
_QUIET = ("trainer.enable_model_summary=false", "trainer.enable_progress_bar=false")
_ROUNDING = 1e-6  # of a tensor LR, which is float32


@dataclass(frozen=True)
class Check:
    """One training run.

    Args:
        name: what is special about it.
        overrides: what to type after ``python train.py``.
        updates: length of the run; ``None`` as the config has it.
        val_loss: what its validation loss must stay below; a model that learns passes easily.
        scaler: train in fp16 with a gradient scaler whose first steps overflow.
        tensor_lr: give the optimizer its LR as a tensor on the device.
    """

    name: str
    overrides: tuple[str, ...]
    updates: int | None = 300
    val_loss: float = math.inf
    scaler: bool = False
    tensor_lr: bool = False


_CNN = ("model=cnn", "data=glyphs", "optimizer=sgd", "schedule=one_cycle")
_TEXT = ("model=transformer", "data=topics", "schedule=warmup_linear")
_FUSED = "optimizer.fused=true"
CHECKS = (
    Check("cnn", _CNN, val_loss=1.0),
    Check("transformer", _TEXT, val_loss=2.6),
    Check("cnn, fp16", (*_CNN, "optimizer.foreach=true"), val_loss=1.0, scaler=True),
    Check("transformer, fp16, fused", (*_TEXT, _FUSED), val_loss=2.6, scaler=True),
    Check("transformer, tensor LR", (*_TEXT, _FUSED), val_loss=2.6, tensor_lr=True),
)
COMPILED = (
    Check("cnn, compiled", (*_CNN, "model.compile=true"), val_loss=1.0),
    Check("transformer, CUDA graphs", (*_TEXT, "model.compile=reduce-overhead"), val_loss=2.6),
)


def recipes(device: str) -> list[Check]:
    """Return a run of each row of the table; on a CPU one of a few updates, without pretraining."""
    less = ("pretraining=null",) if device == "cpu" else ()
    return [
        Check(row.name, (*row.overrides(row.recommended[0]), *(row.short if less else ()), *less), updates=None)
        for row in ROWS
        if row.part == "table"
    ]


class UsedLearningRates(Callback):
    """Reads the LR of every group at the moment the optimizer really steps; one list for each update."""

    def __init__(self, *, scaled: bool = False) -> None:
        self.updates: list[list[float]] = []
        self.bases: list[float] = []
        self.total = self.per_epoch = self.skipped = 0
        self._scaled = scaled

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Watch the optimizer, and see in another one what it was built with."""
        (optimizer,) = trainer.optimizers
        optimizer.register_step_pre_hook(self._read)
        built: Any = pl_module.configure_optimizers()
        self.bases = [float(group["lr"]) for group in built.param_groups]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how many updates are to come."""
        self.total, self.per_epoch = int(trainer.estimated_stepping_batches), int(trainer.num_training_batches)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """See from the scale, which is halved each time, how many steps have overflowed."""
        scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None:
            self.skipped = round(math.log2(INIT_SCALE / scaler.get_scale()))

    def _read(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        # a fused optimizer is called where gradients have overflowed too, and leaves the parameters as they are
        gradients = (p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
        if not self._scaled or all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.updates.append([float(group["lr"]) for group in optimizer.param_groups])


class _TensorLR(Callback):
    """Lets the module build its optimizer with a tensor on the device."""

    def __init__(self, lr: float, device: str) -> None:
        self.lr, self.device = lr, device

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            module: Any = pl_module
            module.optimizer = partial(module.optimizer, lr=torch.tensor(self.lr, device=self.device))


def run_check(check: Check, device: str, more: Sequence[str] = ()) -> Finding:
    """Train as ``python train.py`` would, and compare each LR that was used with the plan's.

    Args:
        check: what to train.
        device: "cuda" or "cpu".
        more: to type after the others.
    """
    used, begun = UsedLearningRates(scaled=check.scaler), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        words = [f"trainer={'gpu' if device == 'cuda' else device}", *_QUIET]
        words += [f"output_dir={folder}", f"pretrained_dir={folder}/pretrained"]
        if check.updates is not None:
            words += [f"trainer.max_steps={check.updates}", "trainer.max_epochs=-1"]
        cfg = composed(*check.overrides, *words, *(_scaler(device) if check.scaler else ()), *more)
        callbacks = [used, *([_TensorLR(cfg.optimizer.lr, device)] if check.tensor_lr else ())]
        metrics = run(cfg, callbacks)
        factors = planned_factors(cfg.schedule, used, Path(folder), cfg.optimizer.lr)
    difference = max(
        (
            abs(lr - base * factor) / base
            for lrs, factor in zip(used.updates, factors, strict=False)
            for lr, base in zip(lrs, used.bases, strict=True)
        ),
        default=math.inf,
    )
    whole = len(used.updates) + used.skipped == used.total == (check.updates or used.total) > 0
    told = len(factors) >= len(used.updates)
    limit = _ROUNDING if check.tensor_lr else 0.0
    learned = metrics["val_loss"] < check.val_loss
    passed = whole and told and difference <= limit and learned and (used.skipped > 0) == check.scaler
    return passed, (
        f"{len(used.updates)} of {used.total} updates, {used.skipped} overflowed, used and planned differ by "
        f"{difference:.1e} of the peak, val_loss {metrics['val_loss']:.4f}, {time.perf_counter() - begun:.1f} s"
    )


def planned_factors(node: Any, used: UsedLearningRates, folder: Path, peak: float) -> list[float]:
    """Return the factor of each update: of the schedule alone, or as ``lr.csv`` has it where it follows a metric."""
    schedule = instantiate(node)
    if schedule.reaction() is not None:
        return [float(row["planned_factor"]) for row in read_rows(folder / "lr.csv")]
    curve = schedule.resolve(Horizon(total_steps=used.total, steps_per_epoch=used.per_epoch), peak=peak)
    return [curve(n) for n in range(used.total)]


def _scaler(device: str) -> tuple[str, ...]:
    scaler = f"{{_target_: torch.amp.GradScaler, device: {device}, init_scale: {INIT_SCALE}, growth_interval: 100000}}"
    plugin = "_target_: lightning.pytorch.plugins.MixedPrecision, precision: 16-mixed"
    return "trainer.precision=null", f"+trainer.plugins=[{{{plugin}, device: {device}, scaler: {scaler}}}]"
