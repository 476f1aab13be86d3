"""Does a long ``lr.csv`` stay quick and small? `python -m benchmarks.rows`; `--rows 10000000` for more.

Files of a tenth of the rows and of all of them, as a run of two groups with momentum makes them: written as the logger
does, read, drawn, and gone on with in another folder, with the same groups and with one more. Printed: time of the
processor, and the largest memory of the process so far.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lr_recipes import Horizon, schedules
from lr_recipes.report.lr_csv import LrCsv, columns_of
from lr_recipes.report.picture import draw
from lr_recipes.report.rows import read_rows

GROUPS = ["decay", "no_decay"]
A_WRITE = 1000  # rows that the logger writes at once, where updates are fast
COLUMNS = columns_of({"lr": GROUPS, "momentum": GROUPS})
MORE = columns_of({"lr": [*GROUPS, "head"], "momentum": GROUPS})


class Measured(NamedTuple):
    """What was done with a file of so many rows, and what it took."""

    what: str
    rows: int
    seconds: float
    megabytes: float  # the process's largest memory so far


def of_run(rows: int) -> Iterator[list[Any]]:
    """Rows as the recorder makes them."""
    curve = schedules.Cosine(warmup="5%").resolve(Horizon(total_steps=rows))
    for n in range(rows):
        factor = curve(n)
        yield [n, n // 1000, 32 * (n + 1), curve.phase(n), factor, 0.002 * factor, 0.001 * factor, 0.9, 0.9]


def write(path: Path, rows: int) -> None:
    file, made, some = LrCsv(path, COLUMNS), of_run(rows), list[list[Any]]()
    for row in made:
        some.append(row)
        if len(some) == A_WRITE:
            file.write(some)
            some = []
    file.write(some)
    file.close()


def read(path: Path, rows: int) -> None:
    assert sum(1 for row in read_rows(path) if row) == rows


def resume(path: Path, rows: int, columns: Sequence[str] = COLUMNS) -> None:
    file = LrCsv(path.with_name("resumed.csv"), columns, rows, history=path)
    file.close()
    assert file.kept == rows


DEEDS: dict[str, Callable[[Path, int], None]] = {
    "written, with the schedule's values": write,
    "read, each row": read,
    "resumed": resume,
    "resumed with another group": lambda path, rows: resume(path, rows, MORE),
    "drawn": lambda path, rows: draw(path, path.with_suffix(".png")),
}


def measure(rows: int) -> list[Measured]:
    """Return what files of a tenth of the rows, and of all of them, take."""
    found = []
    for count in (max(rows // 10, 1), rows):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "lr.csv")
            for what, deed in DEEDS.items():
                begun = time.process_time()
                deed(path, count)
                seconds = time.process_time() - begun
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                found.append(Measured(what, count, seconds, memory / (2**20 if sys.platform == "darwin" else 2**10)))
    return found


def table(found: Sequence[Measured]) -> str:
    """Return what was measured as Markdown."""
    lines = ["| `lr.csv` | rows | s | us per row | largest memory of the process (MB) |", "|---|---|---|---|---|"]
    for one in found:
        each = 1e6 * one.seconds / one.rows
        lines.append(f"| {one.what} | {one.rows:,} | {one.seconds:.2f} | {each:.2f} | {one.megabytes:,.0f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the larger file (default: 1,000,000)")
    options = parser.parse_args(arguments)
    if options.rows < 1:
        parser.error(f"--rows {options.rows}: must be at least 1")
    print(table(measure(options.rows)))


if __name__ == "__main__":
    main()
