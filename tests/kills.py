"""Runs that are killed at random instants, again and again, and go on: `python -m tests.kills --kills 200`.

A story is drawn from its seed: a schedule, how often a checkpoint is written, a validation, a picture. It is trained in
a process of its own, once to its end, and once with `kill -9` at a random instant, whatever it is doing then: opening
the record, writing a row or a checkpoint, drawing. Killed, it goes on from the newest checkpoint that can be read, or
begins again where there is none, and is killed again. In the end its ``lr.csv`` is that of the run which nobody killed,
byte for byte, and that one has the LRs of the formula.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from lr_recipes import LearningRateLogger, schedules
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import Validated, fit, plan

UPDATES, EPOCHS = 57, 3  # no checkpoint of a story falls on the end of an epoch: see `draw`
_SLOW = 0.004  # seconds that an update takes at least, so that instants are spread over all of them
_MOST_KILLS = 4  # of one story
PLATEAU = schedules.Plateau(factor=0.5, patience=0)
SCHEDULES: dict[str, Schedule] = {
    "cosine": schedules.Cosine(warmup=7, min_lr_ratio=0.1),
    "step": schedules.Step(step_size="1 epoch", gamma=0.5, warmup=3),
    "one_cycle": schedules.OneCycle(),
    "plateau": PLATEAU,
}
FLAT = [1.0] * EPOCHS


class Story(NamedTuple):
    """What is trained, and how often it is saved."""

    schedule: str
    every: int
    plot: bool

    @property
    def lrs(self) -> list[float]:
        """What every update uses, by the formula; the flat metric of the plateau is the best only once."""
        if self.schedule == "plateau":
            return [0.1] * 38 + [0.05] * 19
        return plan(SCHEDULES[self.schedule], UPDATES, steps_per_epoch=UPDATES // EPOCHS)


class Slow(Callback):
    """Gives every update some time, and tells when training begins."""

    def on_train_batch_end(self, *_: object) -> None:
        time.sleep(_SLOW)


def draw(seed: int) -> Story:
    """Return the story of a seed."""
    # Lightning counts the epochs anew where a run goes on, for the second time, from the last batch of an epoch: it
    # then trains one more. So no checkpoint is written there.
    chance = random.Random(seed)
    return Story(chance.choice(list(SCHEDULES)), chance.randint(4, 9), chance.random() < 0.3)


def train(story: Story, folder: Path, ckpt: Path | None) -> None:
    """Train a story in this process, from a checkpoint or from the start."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    record = LearningRateLogger(folder, plot=story.plot)
    saving = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=story.every, save_on_exception=False)
    fit(
        SCHEDULES[story.schedule],
        module=Validated(FLAT),
        batches=UPDATES // EPOCHS,
        max_epochs=EPOCHS,
        callbacks=[record, saving, Slow()],
        ckpt_path=ckpt,
    )


def newest(folder: Path) -> tuple[Path | None, int]:
    """Return the checkpoint of the latest update that can be read, and how many later ones cannot."""
    broken = 0
    found = [(int(match[1]), path) for path in folder.glob("*.ckpt") if (match := re.match(r"step=(\d+)", path.stem))]
    for _, path in sorted(found, key=lambda one: (one[0], one[1].stat().st_mtime), reverse=True):
        try:
            torch.load(path, weights_only=True)
        except Exception:  # torch has a different error for each way in which a file can be cut off
            broken += 1
        else:
            return path, broken
    return None, broken


def run_one(seed: int) -> tuple[str, Counter[str]]:
    """Kill a story until it has been killed often enough, and let it end; return what is wrong, and what was met."""
    story, chance, met = draw(seed), random.Random(f"instants {seed}"), Counter[str]()
    with tempfile.TemporaryDirectory() as place:
        whole, killed = Path(place, "whole"), Path(place, "killed")
        begun = time.monotonic()
        _wait_for(_begin(story, whole, None))
        took = time.monotonic() - begun
        while met["kills"] < _MOST_KILLS:
            ckpt, broken = newest(killed)
            met["half-written checkpoints"] += broken
            process = _begin(story, killed, ckpt)
            process.join(chance.uniform(0, took))
            if not process.is_alive():
                _wait_for(process)
                break
            os.kill(process.pid or 0, signal.SIGKILL)
            process.join()
            met["kills"] += 1
            met["before the first checkpoint"] += ckpt is None
        _wait_for(_begin(story, killed, newest(killed)[0]))
        return _wrong(story, whole, killed), met


def _begin(story: Story, folder: Path, ckpt: Path | None) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=train, args=(story, folder, ckpt))
    process.start()
    return process


def _wait_for(process: multiprocessing.process.BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"a run that nobody killed ended with status {process.exitcode}")


def _wrong(story: Story, whole: Path, killed: Path) -> str:
    """Say what differs between the run that was killed, the whole one, and the formula."""
    used = [float(row["lr/group0"]) for row in read_rows(whole / "lr.csv")]
    if used != story.lrs:
        return f"the whole run used {used}"
    if (killed / "lr.csv").read_bytes() != (whole / "lr.csv").read_bytes():
        return f"the record of the killed run:\n{(killed / 'lr.csv').read_text()}"
    left = sorted(path.name for path in killed.iterdir() if path.suffix not in (".ckpt", ".csv", ".png"))
    return f"files stay behind: {', '.join(left)}" if left else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="go on until so many were made (default: 200)")
    parser.add_argument("--first", type=int, default=0, help="seed of the first story")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a process with threads cannot be forked safely
    warnings.simplefilter("ignore")
    met, failures, seed = Counter[str](), 0, options.first
    started = time.monotonic()
    while met["kills"] < options.kills:
        wrong, one = run_one(seed)
        met += one
        failures += bool(wrong)
        if wrong:
            print(f"story {seed}: {draw(seed)}\n    {wrong}", flush=True)
        if sys.stderr.isatty():
            print(f"\r{met['kills']} of {options.kills}", end="", file=sys.stderr)
        seed += 1
    more = ", ".join(f"{count} {name}" for name, count in met.items() if name != "kills")
    stories = seed - options.first
    print(f"{met['kills']} kills of {stories} runs, {failures} failures, {time.monotonic() - started:.0f} s ({more})")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
