"""How long it takes until something happens: `python -m benchmarks.startup`.

Importing the package (every Hydra application of the environment does, through the search path plugin) and composing a
config, each in processes of their own; the start of Python itself is taken off.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT = "import lr_recipes"
COMPOSE = """
from recipes.app.config import composed
composed("recipe=transformer", "schedule=warmup_cosine", "output_dir=unused")
"""
_TIMED = "import time; begun = time.perf_counter()\n{code}\nprint(time.perf_counter() - begun)"
# What `composed` imports is not part of composing.
_BEFORE = {IMPORT: "", COMPOSE: "import recipes.app.config\n"}


def milliseconds(code: str, repeats: int) -> float:
    """Return the median time of some code in a new process."""
    script = _BEFORE[code] + _TIMED.format(code=code)
    times = []
    for _ in range(repeats):
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
        times.append(1000 * float(done.stdout.split()[-1]))
    return statistics.median(times)


def table(repeats: int) -> str:
    """Return both times as Markdown."""
    return "\n".join(
        [
            "| what | ms (median) |",
            "|---|---|",
            f"| `import lr_recipes` | {milliseconds(IMPORT, repeats):.1f} |",
            f"| composing a config | {milliseconds(COMPOSE, repeats):.0f} |",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="processes of each (default: 9)")
    print(table(parser.parse_args(arguments).repeats))


if __name__ == "__main__":
    main()
