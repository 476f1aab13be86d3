"""Makes one run, as `python train.py` does, in a process that has loaded torch and Lightning once."""

from __future__ import annotations

import atexit
import csv
import gc
import hashlib
import json
import logging
import math
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig, OmegaConf

from lr_recipes.report.rows import read_rows
from recipes.app.config import composed
from recipes.app.messages import explain
from recipes.reproduction.experiment import Result, Run
from recipes.reproduction.row import RANGE_TEST

# The LR of every update is compared with the plan, and a difference ends the run. Measured are the last weights: the
# best checkpoint would hide what a schedule does to the end of a run.
_MEASURED = (
    "callbacks=[learning_rate_scheduler,learning_rate_logger]",
    "callbacks.learning_rate_logger.audit=error",
    "callbacks.learning_rate_logger.plot=false",
    "trainer.enable_checkpointing=false",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "trainer.num_sanity_val_steps=0",
    "threads=null",  # as many as `prepare` has set: a core each
)
_NEVER = 1_000_000  # epochs; validation and test come after training


@dataclass(frozen=True)
class Job:
    """A run, and how to make it.

    Args:
        run: which run.
        overrides: what to type after ``python train.py``, but for LR and seed.
        curve: file for the LR and the training loss over the updates; ``None``: none is wanted.
    """

    run: Run
    overrides: tuple[str, ...]
    curve: Path | None = None


def prepare(threads: int) -> None:
    """Set up a worker process: quiet, on so many threads, and never longer there than the process that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the first process decides what happens
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import lightning.pytorch  # noqa: F401
    import torch

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    gc.freeze()  # what these modules hold stays to the end; to look through it takes a second each time
    atexit.register(gc.unfreeze)  # or triton's bindings, which torch loads, say at the end that all of it has leaked


def _end_with(parent: Any) -> None:
    # a pool's process would wait for work for ever if the first process was killed and could not end the pool
    parent.join()
    os._exit(1)


def train_once(job: Job) -> Result:
    """Do what the job's settings say, and measure; a run that fails is a result too."""
    begun, cpu_begun = time.perf_counter(), time.process_time()
    try:
        found, updates = _run_quietly(job)
    except Exception as error:
        reason = " ".join(f"failed: {explain(error) or f'{type(error).__name__}: {error}'}".split())[:300]
        return Result(job.run, reason, seconds=time.perf_counter() - begun)
    times = {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu_begun}
    if job.run.schedule != RANGE_TEST and not all(map(math.isfinite, found.values())):
        return Result(job.run, "diverged", updates=updates, **times)
    return Result(job.run, "done", **found, updates=updates, **times)


def _run_quietly(job: Job) -> tuple[dict[str, float], int]:
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        more = (f"optimizer.lr={job.run.lr!r}", f"seed={job.run.seed}", f"output_dir={folder}")
        logger = "logger=csv" if job.curve else "logger=none"
        cfg = measured_config((*job.overrides, *more, logger))
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            logging.getLogger("lightning.pytorch").setLevel(logging.CRITICAL)
            found = get_method(cfg.task.function)(cfg)
        if job.run.schedule == RANGE_TEST:
            return suggestions(Path(folder))
        updates = largest_lrs(Path(folder))
        if job.curve:
            write_curve(job.curve, updates, Path(folder))
    return {name: found[name] for name in ("val_loss", "val_acc", "test_loss", "test_acc")}, len(updates)


def suggestions(folder: Path) -> tuple[dict[str, float], int]:
    """Return what a range test suggests by two rules, NaN where it is nothing, and how many updates it took."""
    found = json.loads((folder / "range_test.json").read_text(encoding="utf-8"))
    by_rule = found["suggestions"]
    lrs = {f"{rule}_lr": by_rule.get(rule, math.nan) for rule in ("edge", "valley")}
    return lrs, int(found["updates"])


def measured_config(overrides: Sequence[str]) -> DictConfig:
    """Return the config of a run that is measured: what `python train.py` would be given, but quiet and audited."""
    cfg = composed(*_MEASURED, *overrides)
    if not cfg.schedule._target_.endswith(".Plateau"):  # no other schedule looks at the validation
        cfg.trainer.check_val_every_n_epoch = _NEVER
    return cfg


def largest_lrs(folder: Path) -> list[float]:
    """Return the largest LR of the groups at each update, from ``lr.csv``."""
    rows = read_rows(folder / "lr.csv")
    return [max(float(value) for name, value in row.items() if name.startswith("lr/") and value) for row in rows]


def write_curve(path: Path, lrs: list[float], folder: Path) -> None:
    """Write LR and training loss where the loss was logged."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        losses = {int(row["step"]): row["train_loss"] for row in csv.DictReader(file) if row.get("train_loss")}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["update", "lr", "train_loss"])
        writer.writerows((update, repr(lrs[update]), loss) for update, loss in losses.items() if update < len(lrs))


def origin_of(overrides: tuple[str, ...]) -> dict[str, str]:
    """Return what the results of a schedule depend on but for LR and seed: settings, versions, data."""
    import platform

    import lightning
    import torch
    from hydra.utils import instantiate

    import lr_recipes

    cfg = measured_config((*overrides, "optimizer.lr=1.0", "seed=0", "output_dir=unused"))
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    del settings["threads"]  # how fast, and not what
    return {
        "lr_recipes": lr_recipes.__version__,
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "data": instantiate(cfg.data).data_hash[:12],
        "config": hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12],
        "python": platform.python_version(),
        "machine": machine(str(cfg.trainer.accelerator)),
    }


def machine(accelerator: str) -> str:
    """Return the name of what trains."""
    import torch

    if accelerator != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores ({_processor()})"


def _processor() -> str:
    import platform

    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip().replace(",", " ")
    return platform.machine()
