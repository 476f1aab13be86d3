"""What scheduling and recording the LR cost, all in one run: `make bench`, or `python -m benchmarks.bench`.

Each part is a module of its own and runs alone too: `schedule_cost`, `trainer_cost`, `growth`, `sizes`, `rows`,
`startup`, `graphs`.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import time
import warnings
from collections.abc import Callable, Sequence

import lightning
import torch

from benchmarks import graphs, growth, rows, schedule_cost, sizes, startup, trainer_cost

# Name -> the part, at its full size or quick.
PARTS: dict[str, Callable[[bool], str]] = {
    "One update of a schedule": lambda quick: schedule_cost.table(3 if quick else 100),
    "One update of several curves": lambda quick: schedule_cost.table_of_more(1 if quick else 30),
    "A training step in a Trainer": lambda quick: trainer_cost.table(
        trainer_cost.measure(100 if quick else 1000, 1 if quick else 15)
    ),
    "A million updates": lambda quick: growth.table(growth.measure(10_000 if quick else 1_000_000)),
    "Epochs, groups, optimizers": lambda quick: sizes.table(
        sizes.measure([sizes.Size(updates=10)], 1) if quick else sizes.measure()
    ),
    "A million rows": lambda quick: rows.table(rows.measure(10_000 if quick else 1_000_000)),
    "Starting": lambda quick: startup.table(1 if quick else 9),
    "Compiled steps": lambda quick: graphs.table(),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds, to see that it works; the numbers say little"
    )
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    begun = time.monotonic()
    for name, part in PARTS.items():
        print(f"## {name}\n\n{part(options.quick)}\n", flush=True)
    print(
        f"{time.monotonic() - begun:.0f} s on {os.cpu_count()} cores; Python {platform.python_version()}, "
        f"torch {torch.__version__}, lightning {lightning.__version__}"
    )


if __name__ == "__main__":
    main()
