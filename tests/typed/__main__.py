"""Random command lines and random constructors, each of which must work or be refused in one sentence.

`python -m tests.typed --cases 20000`; a case again: `--first SEED --cases 1`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence

import torch

from tests.typed import built, lines


def _line(seed: int) -> str:
    program, typed = lines.draw(seed)
    wrong = lines.wrong_with(program, typed)
    return f"{program} {typed!r:.2000}\n    {wrong}" if wrong else ""


KINDS: dict[str, Callable[[int], str]] = {"lines": _line, "constructors": built.wrong_with}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="how many of each kind (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--only", choices=KINDS, default=None, help="one kind")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    failures = 0
    for kind in [options.only] if options.only else KINDS:
        started, wrong = time.monotonic(), 0
        for seed in range(options.first, options.first + options.cases):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)  # what is written goes with it
                said = KINDS[kind](seed)
                os.chdir("/")
            if said:
                wrong += 1
                print(f"{kind} {seed}: {said}".encode(errors="backslashreplace").decode(), flush=True)
        print(f"{options.cases} {kind}, {wrong} failures, {time.monotonic() - started:.0f} s")
        failures += wrong
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
