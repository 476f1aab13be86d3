"""The GPU run, in one call: `make gpu`, or `python -m benchmarks.gpu`.

Its parts are processes of their own, in order of worth, each with a time limit. What a part finds is on disk at once,
in PART.json and PART.txt; one that fails or hangs loses only the rest of itself, and leaves its traceback. A second
call does what the first has not done: on the same device and with the same versions, a part that came to its end and
whose checks passed is not repeated. Then `python -m benchmarks.gpu_page` writes the figures into docs/speed.md.

`--device cpu` tries the program out with small models; its figures say nothing about a GPU.

On a machine without a network: beside torch, torchvision, lightning, scikit-learn and matplotlib this needs hydra-core,
omegaconf and antlr4-python3-runtime. Elsewhere, `pip wheel -w wheels hydra-core==1.3.8 omegaconf==2.3.1` makes the
three wheels (antlr4 is only published as source); there, `pip install --no-index --find-links wheels hydra-core`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu_notes import failures, noted, path_of
from benchmarks.gpu_page import RESULTS, ROOT, report

PROGRAM = "benchmarks.gpu_parts"
GRACE = 5  # seconds that a part has, after its limit, to say where it was


class Part(NamedTuple):
    """A part of the run.

    Args:
        name: of the part, and of its files.
        what: it does.
        seconds: it takes on an H100, about; with less time left it does not begin.
        limit: seconds after which it is ended.
    """

    name: str
    what: str
    seconds: int
    limit: int


PARTS = (
    Part("rates", "what the device can do: products and copies", 20, 40),
    Part("clock", "scalers, CUDA graph, waits, compiled step", 35, 60),
    Part("gpt-124m", "GPT 124M, 32 x 1024 tokens", 80, 130),
    Part("resnet-512", "ResNet-18, batch 512", 50, 90),
    Part("small-cnn", "small CNN, added kernels, waits, glyphs", 45, 90),
    Part("gpt-10m", "GPT 10.65M, 64 x 256 tokens", 45, 80),
    Part("attention", "GPT 124M by kernel of attention", 60, 100),
    Part("trainings", "both models by train.py: bf16, fp16, tensor LR", 40, 80),
    Part("recipes", "a recipe of each row of the table", 50, 90),
    Part("compiled", "both models by train.py, compiled and in CUDA graphs", 60, 110),
    Part("resnet-1024", "ResNet-18, batch 1024", 50, 80),
)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS, program: str = PROGRAM) -> int:
    """Run the parts and print what they found; return 0 if all came to their end and every check passed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in parts]
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try this program out, small")
    parser.add_argument("--only", nargs="+", metavar="PART", choices=names, default=names, help=", ".join(names))
    parser.add_argument("--minutes", type=float, default=9, help="for all parts together (default: 9)")
    parser.add_argument("--again", action="store_true", help="repeat what is done, too")
    parser.add_argument("--into", type=Path, help=f"folder of the results (default: {_short(RESULTS)}; runs/gpu_cpu)")
    options = parser.parse_args(arguments)
    folder: Path = options.into or (RESULTS if options.device == "cuda" else Path("runs", "gpu_cpu"))
    setup = setup_in_a_process(options.device)
    if setup is None:
        print("SKIPPED: no CUDA GPU here. On a machine with one: make gpu, or make gpu PYTHON=python3")
        return 0
    print(*(f"{name} {value}" for name, value in setup.items()), sep=", ", flush=True)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that a part ends with us
    folder.mkdir(parents=True, exist_ok=True)
    begun, chosen = time.monotonic(), [part for part in parts if part.name in options.only]
    for part in chosen:
        left = 60 * options.minutes - (time.monotonic() - begun)
        if is_done(folder, part.name, setup) and not options.again:
            print(f"\n== {part.name}: done before", flush=True)
        elif left < part.seconds:
            print(f"\n== {part.name}: not begun, {left:.0f} s are left and it takes about {part.seconds}", flush=True)
        else:
            print(f"\n== {part.name}: {part.what}", flush=True)
            limit = part.limit if options.device == "cuda" else 2 * part.limit  # C++ is compiled more slowly
            print(run(part, options.device, folder, min(limit, left), program), flush=True)
    print(f"\n{report(folder)}\n{time.monotonic() - begun:.0f} s; what was found is in {_short(folder)}")
    return 0 if all(is_done(folder, part.name, setup) for part in chosen) else 1


def setup_in_a_process(device: str) -> dict[str, str] | None:
    """Return what figures depend on, or ``None`` without such a device; this process itself leaves the device alone."""
    command = [sys.executable, "-m", "benchmarks.gpu_device", device]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 3:
        return None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    setup: dict[str, str] = json.loads(done.stdout)
    return setup


def is_done(folder: Path, name: str, setup: dict[str, str]) -> bool:
    """Whether a part has come to its end here, with these versions, and all its checks passed."""
    found = noted(folder, name)
    return found is not None and found["ended"] and found["setup"] == setup and not failures(found)


def run(part: Part, device: str, folder: Path, limit: float, program: str = PROGRAM) -> str:
    """Run a part in a process of its own, and return what it printed, with how it ended where it did not end well.

    Args:
        part: which one.
        device: "cuda" or "cpu".
        folder: where it keeps what it finds.
        limit: seconds that it has.
        program: the module that does it.
    """
    text = folder / f"{part.name}.txt"
    command = [sys.executable, "-u", "-m", program, part.name, "--device", device]
    command += ["--into", str(folder.resolve()), "--until", str(time.time() + limit)]
    how = ""
    path_of(folder, part.name).unlink(missing_ok=True)  # of a call before this one
    with text.open("w", encoding="utf-8") as out:
        # a session of its own: the compiler's workers end with the part
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True)
        try:
            status = process.wait(limit + GRACE)
            how = f"\n{part.name}: ended with status {status}" if status else ""
        except subprocess.TimeoutExpired:
            how = f"\n{part.name}: ended after {limit:.0f} s, its limit"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):  # a driver that hangs holds a process that is dead
                process.wait(GRACE)
    with text.open("a", encoding="utf-8") as out:
        out.write(f"{how}\n" if how else "")
    return text.read_text(encoding="utf-8", errors="replace").rstrip()


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    sys.exit(main())
