"""Random runs, compared with formulas and with plain Lightning: `python -m tests.torture --cases 200`.

A case (``case.py``) is drawn from its seed alone: who owns the LR and with which schedule, the loop, what happens to
the optimizers meanwhile, how the run is stopped and where it goes on. It is run (``run.py``), and a module
(``module.py``) notes what every update used. That is compared (``check.py``) with formulas written apart from the
project's (``reference.py``), or with plain Lightning's own run of the same story. ``bind.py`` is a loop of plain torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

import tests.once  # noqa: F401
from tests.torture.bind import check_bound
from tests.torture.case import STOPS, draw
from tests.torture.check import Refused, check
from tests.torture.module import Stopped

_MOST_DRAWS = 50


class Result(NamedTuple):
    """What came out of one case; ``wrong`` is empty where nothing was."""

    seed: int
    wrong: str
    features: frozenset[str]
    refused: int


def run_one(seed: int, without: frozenset[str]) -> Result:
    """Check one case; one that is rightly refused is drawn again."""
    for attempt in range(_MOST_DRAWS):
        case = draw(seed, attempt, without)
        with tempfile.TemporaryDirectory() as folder:
            try:
                wrong = check_bound(case) if case.owner == "bind" else check(case, Path(folder))
            except Refused:
                continue
            except Exception as error:
                wrong = _in_short(error)
        return Result(seed, f"{case}\n    {wrong}" if wrong else "", frozenset(case.features), attempt)
    raise AssertionError(f"seed {seed}: {_MOST_DRAWS} cases were refused")


def _in_short(error: BaseException) -> str:
    """The error that came first, other than the one that a run was to be stopped by, and where it was raised."""
    while isinstance(error.__context__, Exception) and not isinstance(error.__context__, Stopped):
        error = error.__context__
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return "\n    ".join([*(f"{frame.filename}:{frame.lineno} {frame.line}" for frame in frames), repr(error)])


def _begin() -> None:
    torch.set_num_threads(1)  # a process with threads cannot be forked safely, and tiny tensors need none
    warnings.simplefilter("ignore")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200, help="how many random runs (default: 200)")
    parser.add_argument(
        "--first", type=int, default=0, help="seed of the first; a failing case is run again by its seed"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2)")
    parser.add_argument(
        "--minutes", type=float, default=None, help="stop after so many minutes, and say how many were done"
    )
    parser.add_argument("--without", default="", help="features that no case may have, as in 'rebuilt,left'")
    options = parser.parse_args(arguments)
    without = frozenset(name.strip() for name in options.without.split(",") if name.strip())
    started, results = time.monotonic(), list[Result]()
    seeds = range(options.first, options.first + options.cases)
    _begin()
    with multiprocessing.get_context("fork").Pool(options.workers) as pool:
        for result in pool.imap_unordered(partial(run_one, without=without), seeds):
            results.append(result)
            if result.wrong:
                print(f"case {result.seed}: {result.wrong}", flush=True)
            if sys.stderr.isatty():
                print(f"\r{len(results)} of {options.cases}", end="", file=sys.stderr)
            if options.minutes is not None and time.monotonic() - started > 60 * options.minutes:
                break
    print(_report(results, options.cases, time.monotonic() - started))
    return 1 if any(result.wrong for result in results) else 0


def _report(results: Sequence[Result], asked: int, seconds: float) -> str:
    features = Counter(name for result in results for name in result.features)
    stops = {name: features.pop(name) for name in STOPS if name in features}
    failures = sum(bool(result.wrong) for result in results)
    done = f"{len(results)} cases" if len(results) == asked else f"{len(results)} of {asked} cases, stopped by time"
    again = sum(result.refused for result in results)
    lines = [
        f"stopped and resumed: {_counts(stops)}",
        f"drawn: {_counts(features)}",
        f"refused, and drawn again: {again}",
        f"{done}, {failures} failures, {seconds:.0f} s",
    ]
    return "\n".join(lines)


def _counts(counter: Mapping[str, int]) -> str:
    named = sorted(counter.items(), key=lambda item: item[0].lower())
    return ", ".join(f"{name} {count}" for name, count in named) or "none"


if __name__ == "__main__":
    sys.exit(main())
