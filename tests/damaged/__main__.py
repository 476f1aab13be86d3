"""Random damage to saved states: `python -m tests.damaged --cases 20000`.

A case is drawn from its seed alone. Some part of a real state is lost, exchanged or made another (``mutate.py``), and
the state is loaded: in a plain PyTorch loop (``loop.py``), or, in one of ten cases, as a checkpoint by a real Trainer
(``fits.py``). What must come out is the package's own error, with everything as it was before; or exactly the LRs that
the state claims, by formulas written apart from the project's.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from tests.damaged.fits import check_fit
from tests.damaged.loop import check_loop

_FITS = 10  # one case of so many is a Trainer's


class Outcome(NamedTuple):
    """What came out of a case; ``wrong`` is empty where nothing was."""

    seed: int
    story: str
    wrong: str


def check_one(seed: int) -> Outcome:
    rng = random.Random(seed)
    try:
        story, wrong = check_fit(rng) if seed % _FITS == 0 else check_loop(rng)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-5:]
        places = "\n    ".join(f"{frame.filename}:{frame.lineno} {frame.line}" for frame in frames)
        return Outcome(seed, "", f"{places}\n    {type(error).__name__}: {str(error)[:300]}")
    return Outcome(seed, story, wrong)


def quietly() -> None:
    """A thousand short runs in one process, without what Lightning and torch say about each."""
    torch.set_num_threads(1)  # a process with threads cannot be forked safely, and tiny tensors need none
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def outcomes(seeds: Sequence[int], workers: int) -> Iterator[Outcome]:
    with multiprocessing.get_context("fork").Pool(workers, quietly) as pool:
        yield from pool.imap_unordered(check_one, seeds, chunksize=20)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000, help="how many states are damaged (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first; a case is run again by its seed")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    options = parser.parse_args(arguments)
    quietly()
    started, done, wrong = time.monotonic(), 0, 0
    for outcome in outcomes(range(options.first, options.first + options.cases), options.workers):
        done, wrong = done + 1, wrong + bool(outcome.wrong)
        if outcome.wrong:
            print(f"case {outcome.seed}: {outcome.story[:600]}\n    {outcome.wrong[:1500]}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{done} of {options.cases}", end="", file=sys.stderr)
    print(f"{done:,} damaged states, {wrong} wrong, {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
