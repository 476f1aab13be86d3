"""Keeps the results of runs as CSV, a file for each row of the table and a line for each run.

A line is written and synced when its run is done, so a crash loses nothing but the runs under way. A line counts if it
can be read and was made with the same settings, versions and data; others are moved to a file beside it and named.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lr_recipes.checks import counted, one_line
from recipes.reproduction.experiment import Result, Run

METRICS = ("val_loss", "val_acc", "test_loss", "test_acc", "edge_lr", "valley_lr")
# What must be as it is now for a line to count; with the words that say what differs.
ORIGIN = {
    "lr_recipes": "lr_recipes",
    "torch": "torch",
    "lightning": "lightning",
    "data": "data",
    "config": "settings",
}
_TIMES = ("seconds", "cpu_seconds")
COLUMNS = ("row", "schedule", "lr", "seed", "status", *METRICS, "updates", *_TIMES, *ORIGIN, "python", "machine")


@dataclass(frozen=True)
class Store:
    """The results in a folder.

    Args:
        folder: of the CSV files.
        origin: for a row and a schedule, what `ORIGIN` names, ``python`` and ``machine``.
        tell: called with a line for the user where something was moved aside.
    """

    folder: Path
    origin: Callable[[str, str], Mapping[str, str]]
    tell: Callable[[str], None] = print

    def path(self, row: str) -> Path:
        """Return the file of a row."""
        return self.folder / f"{row}.csv"

    def load(self, row: str, tidy: bool = True) -> dict[Run, Result]:
        """Return the results of a row that count; where ``tidy``, move the other lines aside, and say why."""
        path = self.path(row)
        if not path.is_file():
            return {}
        results: dict[Run, Result] = {}
        good, others = [], []
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines[1:] if lines and lines[0] == ",".join(COLUMNS) else lines:
            try:
                result, origin = parsed(line)
                different = self._differs(row, result.run, origin)
            except ValueError as error:
                different = f"damaged ({error})"
            if different or result.status.startswith("failed"):
                others.append((line, different or result.status))
            else:
                results[result.run] = result
                good.append(line)
        if others and tidy:
            self._move_aside(path, good, others)
        return results

    def _differs(self, row: str, run: Run, origin: Mapping[str, str]) -> str | None:
        if run.row != row:
            return f"of another row ({run.row})"
        try:
            here = self.origin(run.row, run.schedule)
        except KeyError:
            return f"of a schedule that the row no longer has ({run.schedule})"
        words = [f"{word} {origin[key]}, now {here[key]}" for key, word in ORIGIN.items() if origin[key] != here[key]]
        return f"of another origin ({words[0]})" if words else None

    def _move_aside(self, path: Path, good: list[str], others: list[tuple[str, str]]) -> None:
        aside = path.with_suffix(".unused.csv")
        with aside.open("a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line, _ in others)
        written = path.with_suffix(".new")
        written.write_text("\n".join([",".join(COLUMNS), *good]) + "\n", encoding="utf-8")
        os.replace(written, path)
        reasons = dict.fromkeys(reason for _, reason in others)
        shown = "; ".join(list(reasons)[:3]) + ("; ..." if len(reasons) > 3 else "")
        moved = f"{counted(len(others), 'line')} moved to {aside.name}, to be run again"
        self.tell(f"{path}: {moved}: {one_line(shown)}")

    def append(self, result: Result) -> None:
        """Write a result, so that it is there whatever happens next."""
        path = self.path(result.run.row)
        self.folder.mkdir(parents=True, exist_ok=True)
        new = not path.exists() or path.stat().st_size == 0
        with path.open("a", encoding="utf-8", newline="") as file:
            if new:
                file.write(",".join(COLUMNS) + "\n")
            file.write(line_of(result, self.origin(result.run.row, result.run.schedule)) + "\n")
            file.flush()
            os.fsync(file.fileno())


def line_of(result: Result, origin: Mapping[str, str]) -> str:
    """Return the line of a result; numbers in full."""
    run = result.run
    values = [run.row, run.schedule, repr(run.lr), run.seed, result.status]
    values += [repr(getattr(result, name)) for name in METRICS]
    values += [result.updates, f"{result.seconds:.2f}", f"{result.cpu_seconds:.2f}"]
    values += [*(origin[key] for key in (*ORIGIN, "python", "machine"))]
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(values)
    return text.getvalue().replace("\n", " ")


def parsed(line: str) -> tuple[Result, dict[str, str]]:
    """Return the result and the origin of a line.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        values = next(csv.reader([line]), [])
    except csv.Error as error:  # Python 3.10 reads no NUL
        raise ValueError(error) from error
    if len(values) != len(COLUMNS):
        raise ValueError(f"{len(values)} values in place of {len(COLUMNS)}")
    one = dict(zip(COLUMNS, values, strict=True))
    run = Run(one["row"], one["schedule"], float(one["lr"]), int(one["seed"]))
    metrics = {name: float(one[name]) for name in METRICS}
    times = {name: float(one[name]) for name in _TIMES}
    result = Result(run, one["status"], **metrics, updates=int(one["updates"]), **times)
    return result, one
