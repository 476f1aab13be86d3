"""Random runs, compared with the closed form, killed with SIGKILL and resumed: `python -m tests.torture --cases 200`.

A case is drawn from its seed alone: schedule, warmup, units, accumulation, validation rhythm, limits, steps that a
gradient scaler skips, batches without a loss, a group that joins late. It is run three times: to the end; again, until
it is killed at a random update; and on from its last checkpoint. The LR of every update, read when the optimizer steps,
must equal base x factor at the position, and `lr.csv` must hold every update once, in the first and the resumed run.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, schedules
from lr_recipes.plan.horizon import HorizonError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules.base import WARMUP_TYPES

LATE_LR, LRS = 0.005, (0.1, 0.001)


@dataclass
class Case:
    """One random run."""

    seed: int
    schedule: schedules.Schedule
    interval: str = "step"
    batches: int = 6
    epochs: int = 3
    accumulate: int = 1
    accumulate_by_epoch: dict[int, int] = field(default_factory=dict)
    limit: int | float = 1.0
    max_steps: int = -1
    val_check_interval: float = 1.0
    overflow: frozenset[int] = frozenset()
    lossless: frozenset[int] = frozenset()
    late_at: int | None = None
    save_every: int = 2
    kill_after: int = 5
    tensor_lr: bool = False


def draw(seed: int, attempt: int = 0) -> Case:
    """Return the case that belongs to ``seed``; another one where the plan of that one was refused."""
    rng = random.Random(1000 * seed + attempt)
    epochs, batches = rng.randint(2, 4), rng.randint(3, 9)
    case = Case(seed=seed, schedule=_draw_schedule(rng, epochs), epochs=epochs, batches=batches)
    case.interval = rng.choice(["step", "step", "epoch"])
    if rng.random() < 0.3:
        case.accumulate_by_epoch = {0: rng.randint(1, 4), 1: rng.randint(1, 3)}
    else:
        case.accumulate = rng.randint(1, 4)
    case.limit = rng.choice([1.0, 1.0, rng.randint(2, batches), rng.choice([0.5, 0.75])])
    case.val_check_interval = rng.choice([1.0, 1.0, 0.5])
    case.max_steps = rng.choice([-1, -1, rng.randint(8, 30)])
    everything = range(batches * epochs)
    if rng.random() < 0.3:
        case.overflow = frozenset(rng.sample(everything, 2))
    elif rng.random() < 0.3:
        case.lossless = frozenset(rng.sample(everything, 2))
    if rng.random() < 0.25:
        case.late_at = rng.randint(1, 6)
    case.tensor_lr = rng.random() < 0.2
    case.save_every, case.kill_after = rng.randint(1, 3), rng.randint(2, 12)
    return case


def _draw_schedule(rng: random.Random, epochs: int) -> schedules.Schedule:
    cut = rng.choice(["1 epoch", "2ep", "40%", 3])
    kinds: list[Any] = [
        schedules.Fixed,
        functools.partial(schedules.Step, step_size=cut, gamma=0.5),
        functools.partial(schedules.MultiStep, milestones=["40%", "80%"], gamma=0.3),
        functools.partial(schedules.Exponential, gamma=0.7, every=cut),
        functools.partial(schedules.Cosine, min_lr_ratio=rng.choice([None, 0.1])),
        functools.partial(schedules.Cosine, min_lr=0.001),
        schedules.Linear,
        functools.partial(schedules.Polynomial, power=2),
        functools.partial(schedules.InverseSqrt, timescale=4),
        functools.partial(schedules.WarmupStableDecay, decay="30%", decay_type=rng.choice(["linear", "1-sqrt"])),
        functools.partial(schedules.CosineRestarts, cycle=4, cycle_mult=1.5, cycle_decay=0.8),
        schedules.OneCycle,
        functools.partial(schedules.Plateau, patience=0, factor=0.5),
        functools.partial(
            schedules.TorchSchedule, factory=functools.partial(torch.optim.lr_scheduler.StepLR, step_size=3, gamma=0.5)
        ),
        functools.partial(schedules.Sequence, schedules=[schedules.Fixed(), schedules.Linear()], milestones=["50%"]),
    ]
    warmup = rng.choice([0, 1, 2, "10%", "20%", "0.5 epochs", f"{100 // (2 * epochs)}%", "4 samples"])
    kind = rng.choice(kinds)
    return kind(warmup=warmup, warmup_type=rng.choice(WARMUP_TYPES))  # type: ignore[no-any-return]


class Module(LightningModule):
    """Two groups (and a third that may join late); notes the LRs that every effective update used."""

    def __init__(self, case: Case, used: Path) -> None:
        super().__init__()
        self.case, self.used = case, used
        self.weights = torch.nn.ParameterList([torch.nn.Parameter(torch.ones(2)) for _ in range(3)])
        self.groups = 2

    def configure_optimizers(self) -> torch.optim.Optimizer:
        lrs = [*LRS, LATE_LR]
        if self.case.tensor_lr:
            lrs = [torch.tensor(lr) for lr in lrs]  # type: ignore[misc]
        groups = [{"params": [w], "lr": lr} for w, lr in zip(self.weights[: self.groups], lrs, strict=False)]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        optimizer.register_step_post_hook(self._note)
        return optimizer

    def _note(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Registered before anything else, so it sees what the step used; a step without gradients is no update."""
        if optimizer.param_groups[0]["params"][0].grad is None:
            return
        with self.used.open("a") as file:
            file.write(" ".join(repr(float(group["lr"])) for group in optimizer.param_groups) + "\n")
        if sum(1 for _ in self.used.open()) == self.case.kill_after and os.environ.get("TORTURE_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.trainer.optimizers[0]
        late = self.case.late_at is not None and self.trainer.fit_loop.total_batch_idx >= self.case.late_at
        if late and len(optimizer.param_groups) == 2:
            lr = torch.tensor(LATE_LR) if self.case.tensor_lr else LATE_LR
            optimizer.add_param_group({"params": [self.weights[2]], "lr": lr})
            self.groups = 3

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor | None:
        index = self.trainer.fit_loop.total_batch_idx
        if index in self.case.lossless:
            return None
        loss = sum((w * batch.mean()).sum() for w in self.weights[: self.groups]) * 1e-3
        return loss * float("inf") if index in self.case.overflow else loss

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(float(self.trainer.global_step // 5 % 3)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["groups"] = self.groups

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.groups = checkpoint["groups"]


def fit(case: Case, folder: Path, resume: Path | None = None) -> LearningRateScheduler:
    """Train the case in ``folder``; the LRs go to ``used.txt``, beside ``lr.csv`` and the checkpoints."""
    scheduler = LearningRateScheduler(case.schedule, interval=case.interval)
    # Lightning does not catch up on a validation that a checkpoint came just before, so a plateau saves after them.
    every = None if isinstance(case.schedule, schedules.Plateau) else case.save_every
    saver = ModelCheckpoint(
        folder, filename="{step}", save_top_k=-1, every_n_train_steps=every, save_on_train_epoch_end=False
    )
    callbacks = [scheduler, LearningRateLogger(folder, audit="error", plot=False), saver]
    if case.accumulate_by_epoch:
        callbacks.append(GradientAccumulationScheduler(dict(case.accumulate_by_epoch)))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=case.epochs,
        max_steps=case.max_steps,
        accumulate_grad_batches=case.accumulate if not case.accumulate_by_epoch else 1,
        limit_train_batches=case.limit,
        val_check_interval=case.val_check_interval,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)] if case.overflow else [],
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    loader = DataLoader(torch.ones(2 * case.batches, 2), batch_size=2)
    trainer.fit(Module(case, folder / "used.txt"), loader, DataLoader(torch.ones(2, 2)), ckpt_path=resume)
    return scheduler


def expected(case: Case, scheduler: LearningRateScheduler, folder: Path) -> list[list[float]]:
    """LRs by the closed form; none for a plateau, whose path depends on its metric (the resumed run must repeat it)."""
    if isinstance(case.schedule, schedules.Plateau):
        return []
    (bound,) = scheduler.bound.values()
    curve = case.schedule.resolve(Horizon(**bound.horizon.describe()), peak=max(LRS))
    positions = [(int(row["epoch"]), int(row["step"])) for row in read_rows(folder / "lr.csv")]
    first = dict(reversed(positions))
    held = case.interval == "epoch"
    return [[base * curve(first[e] if held else n) for base in (*LRS, LATE_LR)] for e, n in positions]


def check(case: Case, folder: Path) -> str:
    """Run the case; return what was wrong, or nothing."""
    whole, killed = folder / "whole", folder / "killed"
    whole.mkdir(), killed.mkdir()
    scheduler = fit(case, whole)
    reference = _used(whole)
    for n, (used, planned) in enumerate(zip(reference, expected(case, scheduler, whole), strict=False)):
        plan = planned[: len(used)]
        if any(abs(a - b) > 1e-6 * abs(b) for a, b in zip(used, plan, strict=True)):
            return f"update {n} used {used}, the plan says {plan}"
    _killed_run(case, killed)
    checkpoints = sorted(killed.glob("*.ckpt"), key=lambda path: path.stat().st_mtime)
    kept = 0
    if checkpoints:
        saved = torch.load(checkpoints[-1], weights_only=True)["callbacks"]["LearningRateScheduler"]
        kept = saved["optimizers"]["SGD"]["position"]
    before = _used(killed)[:kept]
    (killed / "used.txt").unlink(missing_ok=True)
    fit(case, killed, checkpoints[-1] if checkpoints else None)
    resumed = before + _used(killed)
    if resumed != reference:
        first = next((n for n, (a, b) in enumerate(zip(resumed, reference, strict=False)) if a != b), "the length")
        return f"resumed at {kept}: {len(resumed)} updates, {len(reference)} without a kill; first difference: {first}"
    for place in (whole, killed):
        steps = [int(row["step"]) for row in read_rows(place / "lr.csv")]
        if steps != list(range(len(reference))):
            return f"{place.name}/lr.csv has updates {steps}, the run did {len(reference)}"
    return ""


def _used(folder: Path) -> list[list[float]]:
    path = folder / "used.txt"
    return [[float(lr) for lr in line.split()] for line in path.read_text().splitlines()] if path.exists() else []


def _killed_run(case: Case, folder: Path) -> None:
    """Train in a child process that kills itself after a random update; a short run may end before."""
    child = os.fork()
    if child == 0:
        os.environ["TORTURE_KILL"] = "1"
        try:
            fit(case, folder)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("the run that was to be killed failed, see above")


def run_one(seed: int) -> tuple[int, str]:
    """Check one case; return its seed and what was wrong. A plan that cannot be right is refused, and drawn again."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    for attempt in itertools.count():
        case = draw(seed, attempt)
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = check(case, Path(folder))
            except ValueError as error:
                if (attempt < 9 and isinstance(error, HorizonError)) or "updates" in str(error):
                    continue
                wrong = traceback.format_exc()
            except Exception:
                wrong = traceback.format_exc()
        return seed, f"{case}\n    {wrong}" if wrong else ""
    raise AssertionError("unreachable")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="how many random runs (default: 200)")
    parser.add_argument(
        "--first", type=int, default=0, help="seed of the first; a failing case is run again by its seed"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes")
    options = parser.parse_args(arguments)
    started, failures = time.monotonic(), 0
    seeds = range(options.first, options.first + options.cases)
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        for done, (seed, wrong) in enumerate(pool.imap_unordered(run_one, seeds), 1):
            if wrong:
                failures += 1
                print(f"case {seed}: {wrong}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{done} of {options.cases}", end="", file=sys.stderr)
    print(f"{options.cases} cases, {failures} failures, {time.monotonic() - started:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
