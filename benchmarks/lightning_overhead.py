"""What Lightning costs on the host at every update, and what removes it: `python -m benchmarks.lightning_overhead`.

The small CNN on tiny images, so that the network is as short as it can be, on one CPU thread: what is added to a plain
loop of the same network is the time in which a GPU with a short step would wait for the host. All variants take turns.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from typing import Any

import lightning
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import DictConfig
from torch.utils.data import DataLoader

from benchmarks import gpu_bench
from benchmarks.gpu_bench import CASES, Case, Clock, OnDevice, batches_of, config, model_of, plain_loop

PLAIN = "plain PyTorch loop"
# Name -> settings of the Trainer, whether the module logs, whether our callbacks are there.
Variant = tuple[dict[str, Any], bool, bool]
_QUIET: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
}
_LOGGING = {**_QUIET, "logger": True}
VARIANTS: dict[str, Variant] = {
    "Lightning, barebones": ({"barebones": True}, False, False),
    "Lightning, nothing logged": (_QUIET, False, False),
    "... + scheduler and logger of the LR": (_QUIET, False, True),
    "... + the module's metrics, written every 50 updates": ({**_LOGGING, "log_every_n_steps": 50}, True, True),
    "... written every 10": ({**_LOGGING, "log_every_n_steps": 10}, True, True),
    "... written at every update": ({**_LOGGING, "log_every_n_steps": 1}, True, True),
    "... written every 10, and a progress bar": (
        {**_LOGGING, "log_every_n_steps": 10, "enable_progress_bar": True},
        True,
        True,
    ),
}


def lightning_loop(model: LightningModule, cfg: DictConfig, case: Case, variant: Variant) -> float:
    """Train with Lightning, and return the seconds of an update."""
    settings, module_logs, with_ours = variant
    clock, updates = Clock("cpu"), cfg.trainer.max_steps
    loader = DataLoader(OnDevice(batches_of(case, "cpu"), updates), batch_size=None)
    if not module_logs:
        model.log_dict = _nothing  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        callbacks = [*(gpu_bench.ours(cfg, folder) if with_ours else []), clock]
        with redirect_stdout(nowhere), redirect_stderr(nowhere):
            trainer = Trainer(
                accelerator="cpu",
                precision="bf16-mixed",
                max_steps=updates,
                max_epochs=-1,
                default_root_dir=folder,
                callbacks=callbacks,
                **settings,
            )
            trainer.fit(model, loader)
    vars(model).pop("log_dict", None)
    return clock.seconds / case.updates


def _nothing(*args: Any, **kwargs: Any) -> None:
    """Take the place of ``self.log_dict``."""


def measure(updates: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of an update for every variant and repetition."""
    case = replace(CASES["small-cnn"].reduced(), updates=updates)
    cfg = config(case, "cpu", "trainer.precision=bf16-mixed")
    model, batches = model_of(cfg, case), batches_of(case, "cpu")
    calls: dict[str, Callable[[], float]] = {PLAIN: lambda: plain_loop(model, cfg, case, batches, "cpu").seconds}
    for name, variant in VARIANTS.items():
        calls[name] = lambda variant=variant: lightning_loop(model, cfg, case, variant)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            gc.collect()
            times[name].append(call())
    return times


def table(times: dict[str, list[float]]) -> str:
    """Return the medians, and what each variant adds to the plain loop of its repetition, as Markdown."""
    lines = ["| what | us per update (median) | added to the plain loop |", "|---|---|---|"]
    for name, values in times.items():
        added = statistics.median(value - plain for value, plain in zip(values, times[PLAIN], strict=True))
        lines.append(f"| {name} | {1e6 * statistics.median(values):,.0f} | {1e6 * added:,.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--updates", type=int, default=300, help="updates of a run (default: 300)")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each variant (default: 7)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    begun = time.monotonic()
    print(table(measure(options.updates, options.repeats)))
    print(
        f"\n{time.monotonic() - begun:.0f} s. Python {platform.python_version()}, torch {torch.__version__}, "
        f"lightning {lightning.__version__}"
    )


if __name__ == "__main__":
    main()
