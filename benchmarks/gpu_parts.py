"""What each part of the GPU run does, in a process of its own; `benchmarks.gpu` starts them and keeps the time.

To add a part: one more function in `PARTS` here, and its row in `benchmarks.gpu.PARTS`.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks import gpu_bench, gpu_callbacks, gpu_check, gpu_clock
from benchmarks.gpu_bench import Case, Result, case_of, kernel_seconds, measure
from benchmarks.gpu_check import Check
from benchmarks.gpu_device import NOMINAL, matmul_rate, memory_rate, prepare, setup_of
from benchmarks.gpu_notes import Notes, watch
from benchmarks.gpu_page import BY_SHEET, MEMORY, PRODUCTS

# What makes the training runs of train.py short on a CPU, where they only try this program out.
_FEW = ("trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "data.batch_size=16")
_SMALL = {
    "cnn": (*_FEW, "model.width=8", "data.train_size=512", "data.val_size=36"),
    "transformer": (*_FEW, "model.layers=1", "model.width=16", "data.context=16", "data.train_windows=512"),
}


def rates(notes: Notes, device: str) -> None:
    """What the device can do, measured and by its data sheet."""
    size, numbers = (8192, 2**28) if device == "cuda" else (256, 2**20)
    notes.figure(PRODUCTS, matmul_rate(device, size), "FLOP/s")
    notes.figure(MEMORY, memory_rate(device, numbers), "B/s")
    nominal = NOMINAL.get(notes.content["setup"]["device"])
    if nominal is not None:
        notes.figure(PRODUCTS + BY_SHEET, nominal.flops, "FLOP/s")
        notes.figure(MEMORY + BY_SHEET, nominal.bytes, "B/s")


def clock(notes: Notes, device: str) -> None:
    """Scalers, CUDA graphs, waits, compiled steps."""
    found = gpu_clock.checks(device)
    with tempfile.TemporaryDirectory() as folder:
        if device == "cuda":
            notes.attempt("added waits", partial(gpu_callbacks.added_waits, device, folder))
        for name, find in found.items():
            notes.attempt(name, find)


def bench(names: Sequence[str], notes: Notes, device: str) -> None:
    """Cases, each compiled once for both loops."""
    for name in names:
        case = case_of(name, device)
        notes.attempt(case.name, partial(_measured, case, notes, device))


def _measured(case: Case, notes: Notes, device: str) -> None:
    result = measure(case, device)
    notes.case(result.values(), str(result))
    for name, passed, words in verdicts(result):
        notes.check(f"{case.name}: {name}", passed, words)


def verdicts(result: Result) -> list[tuple[str, bool, str]]:
    """Return what must be so of a case that was measured: name, whether it is, and what was found."""
    losses = [one.loss for one in (*result.plain, *result.lightning)]
    found = [("losses", all(map(math.isfinite, losses)), f"{len(losses)} runs, the largest {max(losses):.3f}")]
    if "model.compile=false" not in result.case.overrides:
        found.append(("compiled once", result.graphs == 1, f"{result.graphs} graphs in {len(losses)} runs"))
    if result.case.goal is not None:
        found.append(("share", result.share >= result.case.goal, f"{result.share:.3f}, goal {result.case.goal:g}"))
    return found


def small_cnn(notes: Notes, device: str) -> None:
    """The shortest update: the host sets the pace, so what our callbacks do there would be seen."""
    case = case_of("small-cnn", device)
    with tempfile.TemporaryDirectory() as folder:
        notes.attempt("added kernels", partial(gpu_callbacks.added_kernels, case, device, folder))
    if device == "cuda":
        with tempfile.TemporaryDirectory() as folder:
            notes.attempt("no waits", partial(gpu_callbacks.no_waits, case, folder))
    bench(["small-cnn", "small-cnn-graphs"], notes, device)

    def stream() -> None:
        for name, rate in gpu_callbacks.glyph_rates(case, device, compile=True).items():
            notes.figure(f"glyphs {name}", rate, "images/s")

    notes.attempt("glyphs", stream)


def attention(notes: Notes, device: str) -> None:
    """The attention of GPT 124M by kernel: of one block, and in a whole update of the loop by hand."""
    case = case_of("gpt-124m", device)
    alone = kernel_seconds(case, device)
    for kernel, seconds in alone.items():
        notes.figure(f"attention of a block, {kernel}", 1e3 * seconds, "ms")

    def update(kernel: str) -> None:
        torch.compiler.reset()
        cfg = gpu_bench.config(case, device, f"model.attention={kernel}")
        model = gpu_bench.model_of(cfg, case).to(device)
        run = gpu_bench.plain_loop(model, cfg, case, gpu_bench.batches_of(case, device), device)
        notes.figure(f"an update, {kernel} first", 1e3 * run.seconds, "ms")

    for kernel in [one for one in alone if one in ("cudnn", "flash")]:
        notes.attempt(f"an update, {kernel} first", partial(update, kernel))


def train(checks: Callable[[str], Sequence[Check]], notes: Notes, device: str) -> None:
    """Training runs, as `train.py` does them."""
    for check in checks(device):
        small: tuple[str, ...] = ()
        if device == "cpu" and check.updates:
            small, check = _SMALL[check.name.partition(",")[0]], replace(check, updates=60, val_loss=math.inf)
        notes.attempt(check.name, partial(gpu_check.run_check, check, device, small))


PARTS: dict[str, Callable[[Notes, str], None]] = {
    "rates": rates,
    "clock": clock,
    "gpt-124m": partial(bench, ["gpt-124m"]),
    "resnet-512": partial(bench, ["resnet-512"]),
    "small-cnn": small_cnn,
    "gpt-10m": partial(bench, ["gpt-10m"]),
    "attention": attention,
    "trainings": partial(train, lambda device: gpu_check.CHECKS),
    "recipes": partial(train, gpu_check.recipes),
    "compiled": partial(train, lambda device: gpu_check.COMPILED),
    "resnet-1024": partial(bench, ["resnet-1024"]),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do one part; when its time is over, say where it is and end."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--into", type=Path, required=True, help="folder of what is found")
    parser.add_argument("--until", type=float, required=True, help="second of the epoch at which it ends")
    options = parser.parse_args(arguments)
    watch(options.until)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    prepare(options.device)
    notes = Notes(options.into, options.part, setup_of(options.device))
    notes.attempt(options.part, lambda: PARTS[options.part](notes, options.device))
    notes.end()
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
