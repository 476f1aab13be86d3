"""Writes checkpoints of the version that is here: `python -m tests.data.checkpoints.make [version case ...]`.

Run it at the root of a checkout of the version whose checkpoints are wanted, after copying this module and `cases.py`
there; it needs that version's public names, torch and lightning. It writes the folder
`tests/data/checkpoints/<version>`, in the middle of each case's run:

    <case>.ckpt        the checkpoint
    <case>/then/*.csv  what a LearningRateLogger had recorded when the checkpoint was written
    <case>/end/*.csv   what it had recorded at the end, when nothing interrupted the run
    bound.json         states of schedules in a plain PyTorch loop
    expected.json      what every update after the checkpoint uses, when nothing interrupts the run

A released version's folder is never written again: it is what users have. That of a version in between has some cases
only, which are named, and its own name: `0.2.0.dev0` is what was there before states were checked.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

import lr_recipes
from lr_recipes import schedules
from tests.data.checkpoints.cases import BOUND, CASES, Case, Updates, Used, runs_of, step_on, train, two_weights

VERSION, NAMES = (sys.argv[1], sys.argv[2:]) if sys.argv[1:] else (lr_recipes.__version__, [*CASES, *BOUND])
RUNS = runs_of(VERSION)
BOUND_AT, BOUND_UPDATES = 5, 16
PLATEAU_VALUES = (0.9, 0.95, 0.95, 0.95)  # cut by the third; the fourth is the first of the cooldown's two


class Save(Callback):
    """Writes the checkpoint, once, and notes how many updates each optimizer has done by then."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case, self.path = case, path
        self.done: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if not self.case.validation:
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.case.validation and not trainer.sanity_checking:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if trainer.global_step != self.case.at or self.done:  # batches that only accumulate come after the first
            return
        (used,) = [one for one in trainer.callbacks if isinstance(one, Used)]  # type: ignore[attr-defined]
        self.done = [len(updates) for updates in used.updates]
        trainer.save_checkpoint(self.path)
        keep_records(trainer.default_root_dir, self.path.with_suffix("") / "then")


def keep_records(source: Path | str, folder: Path) -> None:
    """Copy what a LearningRateLogger has written, if there is one."""
    for record in Path(source).glob("lr*.csv"):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(record, folder)


def write_case(name: str, case: Case, folder: Path) -> list[Updates]:
    """Write the checkpoint and the whole records; return what every update of each optimizer uses, and its number."""
    runs, saving = RUNS / name, Save(case, folder / f"{name}.ckpt")
    used = train(case, runs, callbacks=[saving])
    keep_records(runs, folder / name / "end")
    if case.warmup:
        assert used == warmed_up(case), f"{name}: the run that nothing interrupts is not the warmup's closed form"
    return [numbered(updates, done) for updates, done in zip(used, saving.done, strict=True)]


def warmed_up(case: Case) -> list[Updates]:
    """What the module's own schedulers give alone, times the factor of a linear warmup."""
    alone = train(replace(case, warmup=0), RUNS)
    for updates in alone:
        for n, update in enumerate(updates[: case.warmup]):
            update["lr"] = [lr * ((n + 1) / case.warmup) for lr in update["lr"]]
    return alone


def write_bound(folder: Path) -> dict[str, list[Updates]]:
    """Write states of schedules in a plain loop; return what the updates after them use."""
    states, expected = {}, {}
    for name, (schedule, horizon) in ((name, BOUND[name]) for name in BOUND if name in NAMES):
        optimizer = two_weights()
        bound = schedule.bind(optimizer, horizon)
        before = step_on(optimizer, bound, BOUND_AT)
        for value in PLATEAU_VALUES if isinstance(schedule, schedules.Plateau) else ():
            bound.observe(value)
        states[name] = bound.state_dict()
        expected[name] = [numbered(before + step_on(optimizer, bound, BOUND_UPDATES - BOUND_AT), BOUND_AT)]
    (folder / "bound.json").write_text(json.dumps(states, indent=1) + "\n", encoding="utf-8")
    return expected


def numbered(updates: Updates, done: int) -> Updates:
    """The updates after the first ``done``, each with its number."""
    return [{"update": n, **update} for n, update in enumerate(updates)][done:]


def as_text(expected: dict[str, dict[str, list[Updates]]]) -> str:
    """JSON with a line for each update."""
    parts = []
    for part, cases in expected.items():
        runs = []
        for name, optimizers in cases.items():
            lists = [",\n".join(f"    {json.dumps(update)}" for update in updates) for updates in optimizers]
            runs.append(f'  "{name}": [[\n' + "\n   ], [\n".join(lists) + "\n  ]]")
        parts.append(f' "{part}": {{\n' + ",\n".join(runs) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    folder = Path(__file__).parent / VERSION
    if folder.exists():
        sys.exit(f"{folder} exists, and what a released version wrote stays as it is; move it away to write another")
    folder.mkdir()
    shutil.rmtree(RUNS, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        checkpoints = {name: write_case(name, case, folder) for name, case in CASES.items() if name in NAMES}
    expected = {"checkpoints": checkpoints, "bound": write_bound(folder)}
    (folder / "expected.json").write_text(as_text(expected), encoding="utf-8")
    shutil.rmtree(RUNS)


if __name__ == "__main__":
    main()
