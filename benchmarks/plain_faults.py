"""Rows B64 to B75 of docs/guarantees.md: what is seen, full disks, strangers, damaged states, and very large runs.

Like ``plain_cases.py``: a function does without lr_recipes what a user would do, and returns the sentence of its row.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pty
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.tuner.tuning import Tuner
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, CyclicLR, ExponentialLR, LinearLR, OneCycleLR, StepLR

from benchmarks import plain_paths  # noqa: F401 - its rows stand before these
from benchmarks.plain_cases import recorded, recording
from benchmarks.plain_runs import (
    PEAK,
    ROOT,
    Do,
    Run,
    Tiny,
    code,
    cosine,
    error_of,
    fit,
    listening,
    loader,
    quoted,
    row,
    sgd,
    stepped,
)


@row(
    "B64",
    "In a terminal, a callback says something under Lightning's bar.",
    "Plan and closing line stand whole on the screen, at 80 and at 120 columns, with Rich's bar, tqdm's and none.",
)
def last_word() -> str:
    said = []
    for bar in ("RichProgressBar", "TQDMProgressBar"):
        lines = _screen_of(bar)
        stands = {word: _standing(f"the {word} word", lines) for word in ("first", "last")}
        said.append(f"with `{bar}` the first {stands['first']}, the last {stands['last']}")
    return f"Lines that are printed in `on_train_start` and in `on_train_end`: {'; '.join(said)}."


def _standing(text: str, lines: Sequence[str]) -> str:
    found = [line.strip() for line in lines if text in line]
    return "is erased" if not found else "stands whole" if found == [text] else "is glued to the bar"


def _screen_of(bar: str) -> list[str]:
    """What is on the screen of a terminal, and what has scrolled out of it, when a run under a bar has ended."""
    import pyte  # of the tests' packages

    mine, its = pty.openpty()
    run = f"from benchmarks import plain_faults\nplain_faults.speak_under({bar!r})"
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [sys.executable, "-c", run],
        env={**environment, "TERM": "xterm-256color"},
        stdin=its,
        stdout=its,
        stderr=its,
        cwd=ROOT,
    )
    os.close(its)
    screen = pyte.HistoryScreen(80, 24, history=1000)
    stream = pyte.ByteStream(screen)
    with contextlib.suppress(OSError):  # the other end is closed: the program has ended
        while data := os.read(mine, 4096):
            stream.feed(data)
    process.wait()
    scrolled = ["".join(line[column].data for column in range(80)) for line in screen.history.top]
    return [*scrolled, *screen.display]


class Speaks(Callback):
    """Says something at the start and at the end of training."""

    def on_train_start(self, *_: Any) -> None:
        print("the first word")

    def on_train_end(self, *_: Any) -> None:
        print("the last word")


def speak_under(bar: str) -> None:
    shown = {"RichProgressBar": RichProgressBar, "TQDMProgressBar": TQDMProgressBar}[bar]()
    callbacks = [Speaks(), shown]
    fit(
        cosine(8),
        max_epochs=2,
        metrics=[1.0, 1.0],
        callbacks=callbacks,
        enable_progress_bar=True,
        num_sanity_val_steps=2,
    )


@row(
    "B65",
    "The first thing one types: what does a schedule, or the result of a range test, look like?",
    "`preview(schedules.Cosine(), 1000)` draws the curve; previews and results of a range test show as a table in a "
    "terminal and as a picture in a notebook.",
)
def first_look() -> str:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK)
    quiet = contextlib.redirect_stderr(io.StringIO())  # `lr_find` has a bar of its own
    with tempfile.TemporaryDirectory() as folder, listening(), quiet:
        trainer = Trainer(
            accelerator="cpu", max_epochs=1, default_root_dir=folder, logger=False, enable_progress_bar=False
        )
        found = Tuner(trainer).lr_find(Tiny(sgd), loader(200))
    shown = [re.sub(r" at 0x\w+", "", repr(one)) for one in (CosineAnnealingLR(optimizer, 1000), found)]
    return f"They show as {code(shown)}."


@row(
    "B66",
    "A run goes on from a folder or a checkpoint of somebody else's.",
    "Of a run folder only the settings of this application are taken, and said; options, paths of configs, resolvers "
    "and `_target_` are left out; a checkpoint is read with `weights_only`.",
)
def stranger() -> str:
    with tempfile.TemporaryDirectory() as folder:
        trap = Path(folder, "trap")
        Path(folder, "job.pickle").write_bytes(pickle.dumps(Trap(str(trap))))
        application = Path(folder, "app.py")
        application.write_text(
            "import hydra\n@hydra.main(version_base='1.3', config_path=None)\ndef main(cfg): pass\nmain()\n"
        )
        command = [sys.executable, str(application), f"--experimental-rerun={folder}/job.pickle"]
        subprocess.run(command, cwd=folder, capture_output=True, check=False)
        hydra = trap.exists()
        trap.unlink(missing_ok=True)
        torch.save({"state_dict": {}, "callbacks": Trap(str(trap))}, f"{folder}/run.ckpt")
        error = error_of(lambda: fit(cosine(8), max_epochs=1, ckpt_path=f"{folder}/run.ckpt"))
        lightning = trap.exists()
    return (
        f"Hydra's `--experimental-rerun` of a file that holds code {'runs' if hydra else 'does not run'} it. "
        f"`trainer.fit(ckpt_path=...)` of a checkpoint that holds code {'runs' if lightning else 'does not run'} it "
        f"({error.partition(':')[0]})."
    )


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mknod, (self.path,)


@row(
    "B67",
    "The disk is full, or the folder of the record is gone, in the middle of a run or at its end.",
    "Training ends as it would have: one warning, the rows are kept and tried again, the closing line says what is "
    "missing, and every other callback has its hooks. Before the first update it is an error.",
)
def disk_is_full() -> str:
    def breaks(at: int) -> str:
        last = Last()
        with tempfile.TemporaryDirectory() as folder:

            def full(trainer: Trainer) -> None:
                logs = Path(str(trainer.log_dir))
                logs.rename(f"{folder}/gone")
                logs.write_text("in the way")

            options = recording(folder, Do(at, full), last)
            error = error_of(lambda: done.append(len(fit(cosine(16), max_epochs=2, **options).used)))
        return f"{error.partition(':')[0]}, `on_train_end` of a later callback: {'called' if last.ended else 'not'}"

    done: list[int] = []
    return f"`CSVLogger`'s folder is lost after update 6 of 16: {breaks(6)}; after 15: {breaks(15)}."


class Last(Callback):
    """The last callback of a list, such as one that saves what came out."""

    ended = False

    def on_train_end(self, *_: Any) -> None:
        self.ended = True


@row(
    "B68",
    "`max_epochs=1_000_000` beside another limit; cycles of one update over 20 million.",
    "What a plan costs does not grow with epochs or cycles: a million epochs are planned in less than 0.1 s.",
)
def million_epochs() -> str:
    def estimated(module: Tiny) -> Any:
        module.estimate = module.trainer.estimated_stepping_batches
        return cosine(module.estimate)(module)

    took = {}
    for epochs in (10, 10**6):
        begun = time.perf_counter()
        fit(estimated, max_epochs=epochs, max_steps=3)
        took[epochs] = time.perf_counter() - begun
    more = "less" if took[10**6] - took[10] < 0.1 else "more"
    return f"`estimated_stepping_batches` and 3 updates: a million epochs take {more} than 0.1 s longer than 10."


@row(
    "B69",
    "A schedule is given NumPy numbers or strings.",
    "Whatever is taken is saved as plain numbers and strings, and loads with `weights_only`.",
)
def numpy_numbers() -> str:
    three: Any = np.int64(3)
    made: dict[str, Callable[[Optimizer], Any]] = {
        "StepLR": partial(StepLR, step_size=three, gamma=np.float64(0.5)),
        "CosineAnnealingLR": partial(CosineAnnealingLR, T_max=three, eta_min=np.float64(0.001)),
        "ExponentialLR": partial(ExponentialLR, gamma=np.float64(0.9)),
        "LinearLR": partial(LinearLR, start_factor=np.float64(0.25)),
        "OneCycleLR": partial(OneCycleLR, max_lr=np.float64(PEAK), total_steps=8),
    }

    def load(factory: Callable[[Optimizer], Any]) -> str:
        run = fit(stepped(factory, optimizer=lambda module: SGD(module.parameters(), PEAK, momentum=0.9)), max_epochs=1)
        with tempfile.TemporaryDirectory() as folder:
            run.trainer.save_checkpoint(f"{folder}/run.ckpt", weights_only=False)
            return error_of(lambda: torch.load(f"{folder}/run.ckpt", weights_only=True))

    outcomes = {name: load(factory) for name, factory in made.items()}
    bad = [name for name, outcome in outcomes.items() if outcome != "no error"]
    return f"{len(bad)} of {len(made)} torch schedulers ({code(bad)}) do not load: {outcomes[bad[0]]}."


@row(
    "B70",
    "The saved state of a schedule is damaged, or another one's.",
    "It is checked as a whole before anything of it is used: an error of this package, and nothing half restored; or "
    "exactly the right LRs.",
)
def damaged_states() -> str:
    def after(**damage: Any) -> str:
        optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK)
        scheduler = CosineAnnealingLR(optimizer, 8)
        state = {**scheduler.state_dict(), "last_epoch": 2, **damage}

        def go_on() -> None:
            scheduler.load_state_dict({key: value for key, value in state.items() if value is not None})
            optimizer.step()
            scheduler.step()

        error = error_of(go_on).replace("integer division or modulo", "integer modulo")  # Python 3.10's words
        return f"LR {scheduler.get_last_lr()[0]:.3g}, no message" if error == "no error" else error

    return (
        f"`CosineAnnealingLR`: without `base_lrs` {after(base_lrs=None)}; `last_epoch` not a number: "
        f"{after(last_epoch=float('nan'))}; `T_max='8'`: {after(T_max='8')}; `T_max=0`: {after(T_max=0)}; "
        f"`base_lrs=[5.0]`: {after(base_lrs=[5.0])}."
    )


@row(
    "B71",
    "Names of groups hold line breaks or terminal escapes, or are equal; a class is named with `../`.",
    "Each group has one column under a name that can be shown, each optimizer a file in the folder; a record that a "
    "checkpoint names is read if it is one.",
)
def odd_names() -> str:
    def groups(module: Tiny, names: Sequence[str]) -> Optimizer:
        return SGD([{"params": [w], "name": name} for w, name in zip(module.weights, names, strict=True)], lr=PEAK)

    def header(*names: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            build = stepped(partial(StepLR, step_size=4), optimizer=partial(groups, names=names))
            error = error_of(lambda: fit(build, max_epochs=1, **recording(folder)))
            if error != "no error":
                return error
            text = next(Path(folder).rglob("metrics.csv")).read_bytes()
        return "an escape sequence is in the file as it is" if b"\x1b" in text else repr(text.splitlines()[0])

    escaped = header("\x1b[31ma", "b")
    return (
        f"`LearningRateMonitor` and `CSVLogger`: two groups `a`: {header('a', 'a')}; one with a terminal escape in its "
        f"name: {escaped}."
    )


@row(
    "B72",
    "Two processes record into one folder.",
    "It is said at the start, and both records are whole.",
)
def two_in_one_folder() -> str:
    # One after the other has begun, in one process: so it comes out alike every time.
    with tempfile.TemporaryDirectory() as folder:

        def record(*callbacks: Callback) -> Run:
            logger = CSVLogger(folder, name="logs", version=0, flush_logs_every_n_steps=5)
            monitor = LearningRateMonitor("step")
            return fit(cosine(24), max_epochs=3, logger=logger, log_every_n_steps=1, callbacks=[monitor, *callbacks])

        second: list[Run] = []
        record(Do(12, lambda trainer: second.append(record())))
        rows = len(recorded(folder))
    told = next((quoted(text) for text in second[0].said if "exists" in text), "")
    return (
        f"A second `CSVLogger(version=0)` begins in update 13 of 24 of the first: {rows} rows of 48 are left"
        f"{', ' + told.replace(folder, 'FOLDER') if told else ''}."
    )


@row(
    "B73",
    "Wrong values: numbers of 300 digits, text or lists where a number belongs, a config that is no such thing.",
    "One sentence each with the value, the limit and what to change, no traceback; exit status 2 on the command line.",
)
def wrong_values() -> str:
    wrong: dict[str, Callable[[Optimizer], Any]] = {
        "StepLR(step_size=0)": partial(StepLR, step_size=0),
        "StepLR(step_size=10**300)": partial(StepLR, step_size=10**300),
        "StepLR(step_size='3')": partial(StepLR, step_size="3"),  # type: ignore[arg-type]
        "ExponentialLR(gamma=nan)": partial(ExponentialLR, gamma=float("nan")),
        "CosineAnnealingLR(T_max=0)": partial(CosineAnnealingLR, T_max=0),
        "CosineAnnealingLR(T_max=10**400)": partial(CosineAnnealingLR, T_max=10**400),
        "OneCycleLR(max_lr=[1, 2])": partial(OneCycleLR, max_lr=[1, 2], total_steps=8),
        "OneCycleLR(total_steps=-1)": partial(OneCycleLR, max_lr=PEAK, total_steps=-1),
        "CyclicLR(step_size_up=0)": partial(CyclicLR, base_lr=0.01, max_lr=PEAK, step_size_up=0, cycle_momentum=False),
        "LinearLR(start_factor=inf)": partial(LinearLR, start_factor=float("inf")),
    }
    refused, late = [], []
    for name, factory in wrong.items():
        optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK, momentum=0.9)
        if error_of(partial(factory, optimizer)) != "no error":
            refused.append(name)
        elif error_of(lambda factory=factory: fit(stepped(factory), max_epochs=1)) != "no error":  # type: ignore[misc]
            late.append(name)
    return (
        f"Of {len(wrong)} such calls of torch's schedulers, {len(refused)} are refused when they are made, {len(late)} "
        f"end in an error at an update ({code(late)}), and {len(wrong) - len(refused) - len(late)} train."
    )


@row(
    "B74",
    "A small model trains on the CPU of a machine that others use too.",
    "The small recipes take one thread unless told otherwise.",
)
def threads() -> str:
    command = "import torch, os; print(torch.get_num_threads() == len(os.sched_getaffinity(0)))"
    unset = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = subprocess.run([sys.executable, "-c", command], env=unset, capture_output=True, text=True, check=True)
    return f"torch takes as many threads as there are cores: {process.stdout.strip().lower()}."


@row(
    "B75",
    "Ten thousand parameter groups, a hundred optimizers, a record of a million rows.",
    "What it costs grows linearly with groups, optimizers and rows.",
)
def very_many() -> str:
    def cost(groups: int) -> float:
        """Seconds for each group of a run of 8 updates with a monitor, beyond a run without one."""
        weights = [nn.Parameter(torch.ones(1)) for _ in range(groups)]

        class Wide(Tiny):
            def configure_optimizers(self) -> Any:
                return StepLR(SGD([{"params": [w]} for w in weights], lr=PEAK), 100).optimizer

            def training_step(self, batch: Any, batch_idx: int) -> Any:
                return weights[0].sum() * batch.mean()

        def seconds(callbacks: Sequence[Callback], folder: str) -> float:
            begun = time.perf_counter()
            fit(sgd, module=Wide(sgd), max_epochs=1, callbacks=callbacks, logger=CSVLogger(folder), log_every_n_steps=1)
            return time.perf_counter() - begun

        with tempfile.TemporaryDirectory() as folder:
            return (seconds([LearningRateMonitor("step")], folder) - seconds([], folder)) / groups

    few, many = cost(300), cost(3000)
    return (
        f"`LearningRateMonitor` with `CSVLogger`, 8 updates: a group of 3,000 costs "
        f"{'as much as' if many < 3 * few else 'more than 3 times as much as'} one of 300."
    )
