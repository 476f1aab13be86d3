"""Reads records of LRs from CSV files: ``lr.csv``, Lightning's ``metrics.csv``, exports of W&B, and others'. No torch.

Which column has the updates and which the LRs follows from the first line. A sparse row, as loggers write, lacks some.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lr_recipes.checks import counted
from lr_recipes.report.lr_csv import FIXED
from lr_recipes.report.recorded import Record, RecordError, Track, chosen_names, listed
from lr_recipes.report.rows import read_rows

# Columns of updates, the better first. W&B counts in `_step`, which its page calls Step, what was logged.
_STEPS = ("trainer/global_step", "train/global_step", "global_step", "step", "update", "iteration", "iter", "_step")
_WANDB = "__MIN"  # an export of a chart has it beside each value
_LOG_CALLS = (
    "Step is what W&B counts itself: calls of log(), and not updates where a Trainer logs; choose global_step as the X "
    "axis of the chart, and export it again"
)
_SEPARATORS = ",;\t"


class _Column(NamedTuple):
    """Where in a row there is the LR of a group."""

    lr: int
    step: int
    low: int = -1
    high: int = -1


def read_table(path: Path, encoding: str, column: str | None) -> Record:
    """Return the record in a CSV file.

    Raises:
        RecordError: it has no column of LRs, or none of updates.
    """
    with path.open(encoding=encoding, errors="replace", newline="") as file:
        first = file.readline(2**20)
        separator = max(_SEPARATORS, key=first.count)
        names = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        if tuple(names[: len(FIXED)]) == FIXED and any(name.startswith("lr/") for name in names) and column is None:
            return _own(path, names)
        metric = {name: name.rpartition(" - ")[2] for name in names if " - " in name}
        found = chosen_names(str(path), names, column, metric)
        places = {name: _place(str(path), names, name) for name in found}
        tracks = {name: Track(name) for name in found}
        damaged = _fill_tracks([(tracks[name], places[name]) for name in found], file, separator, len(names))
    used = {names[place.step].lower().rpartition(" - ")[2] for place in places.values()}
    writer, early = _writer(names, found, used)
    record = Record(writer, list(tracks.values()), early=early)
    exported = any(name.endswith(_WANDB) for name in names) or "_timestamp" in names
    if exported and used & {"step", "_step"}:
        record.notes.append(_LOG_CALLS)
    if damaged:
        record.notes.append(f"{counted(damaged, 'line')} left out: damaged")
    return record


def _own(path: Path, names: Sequence[str]) -> Record:
    """What ``LearningRateLogger`` wrote: read as a resumed run does, line by line."""
    tracks = {name: Track(name.removeprefix("lr/"), path.stem) for name in names if name.startswith("lr/")}
    damaged = 0
    for row in read_rows(path):
        if not row:
            damaged += 1
            continue
        step = _real_of(row["step"])
        for name, track in tracks.items():
            if text := row[name]:
                track.add(step, _real_of(text))
    record = Record("LearningRateLogger", list(tracks.values()))
    if damaged:
        record.notes.append(f"{counted(damaged, 'line')} left out: damaged")
    return record


def _place(where: str, names: Sequence[str], name: str) -> _Column:
    """Where in a row the LR of a column is, and its update: one of all runs, or that of its own."""
    run = name.rpartition(" - ")[0]
    lowered = [one.lower() for one in names]
    for step in _STEPS:
        for candidate in (f"{run} - {step}".lower() if run else step, step):
            if candidate in lowered:
                low, high = (names.index(end) if end in names else -1 for end in (f"{name}__MIN", f"{name}__MAX"))
                return _Column(names.index(name), lowered.index(candidate), low, high)
    raise RecordError(
        f"{where} does not say which update a row is of: there are {listed(names)}; name the column of updates step, "
        "or choose Step or global_step as the X axis of a chart that is exported"
    )


def _fill_tracks(wanted: Sequence[tuple[Track, _Column]], lines: Iterator[str], separator: str, count: int) -> int:
    """Give the rows to their tracks; return how many lines are damaged."""
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    damaged = 0
    for row in csv.reader((line.replace("\0", "") for line in lines), delimiter=separator):
        if len(row) != count:
            damaged += bool(row)
            continue
        for track, (lr, step, low, high) in wanted:
            text = row[lr]
            if not text:
                continue
            if low >= 0 and high >= 0 and row[low] != row[high]:
                track.mixed += 1
            else:
                track.add(_real_of(row[step]), _real_of(text))
    return damaged


def _writer(names: Sequence[str], found: Sequence[str], steps: set[str]) -> tuple[str, tuple[int, ...]]:
    """Who wrote a file, and by how many updates the LR of a step may be early."""
    if "train/global_step" in steps:
        return "W&B, of transformers' Trainer", (1, 0)
    if any(name.endswith(_WANDB) for name in names):
        return "W&B", (0, 1)
    if "step" in names and any(name.startswith("lr-") for name in found):
        return "Lightning's CSVLogger and LearningRateMonitor", (0,)  # at the start of a batch: its own LR
    return "a CSV file", (0, 1)


def _real_of(text: str) -> float:
    """The number that a text is, not a number where it is none."""
    try:
        return float(text)
    except ValueError:
        return float("nan")
