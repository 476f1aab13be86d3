"""Reads the record of LRs in ``trainer_state.json`` of transformers. No torch.

Its Trainer counts the step first and logs then: what it logs at step 10 is the LR that update 9, the tenth, has used.
Older versions had also ticked the scheduler by then, and logged the LR of update 10.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lr_recipes.checks import is_whole
from lr_recipes.report.recorded import Record, RecordError, Track, chosen_names

EARLY = (1, 0)


def read_state(path: Path, encoding: str, column: str | None) -> Record:
    """Return the record in a state of transformers' Trainer.

    Raises:
        RecordError: it is another JSON file, a damaged one, or has no LRs.
    """
    try:
        state: Any = json.loads(path.read_text(encoding=encoding, errors="replace"))
        history = state.get("log_history") if isinstance(state, dict) else None
        fault = "" if isinstance(history, list) else "has no log_history"
    except (ValueError, RecursionError) as error:
        history, fault = None, f"is damaged ({str(error).partition(':')[0]})"
    if fault or not isinstance(history, list):
        raise RecordError(f"{path} {fault}: give the trainer_state.json that transformers' Trainer has written")
    rows = [row for row in history if isinstance(row, dict)]
    names = dict.fromkeys(str(key) for row in rows for key in row)
    tracks = [Track(name) for name in chosen_names(str(path), names, column, {})]
    for row in rows:
        for track in tracks:
            if track.name in row:
                track.add(_as_float(row.get("step")), _as_float(row[track.name]))
    total = state.get("max_steps")
    return Record("transformers' Trainer", tracks, total if is_whole(total) else None, EARLY)


def _as_float(value: Any) -> float:
    """A number as it is; anything else is none."""
    try:
        return float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, OverflowError):
        return float("nan")
