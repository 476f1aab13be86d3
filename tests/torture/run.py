"""How a case is run: its fits, how the first is stopped, and from where the second goes on.

The same story is run with the project's callbacks and, as ``plain``, without them: then it is Lightning's own run.
"""

from __future__ import annotations

import os
import random
import signal
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.plugins import MixedPrecision

from benchmarks.heard import heard
from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, LearningRateWarmup
from lr_recipes.plan.resume import ResumeError
from tests.torture.case import Case
from tests.torture.module import Begin, CountedTime, Fact, Module, Record, Stopped, Update


@dataclass
class Outcome:
    """What came out of a run.

    Attributes:
        events: the updates and what else was noted, in order; of a resumed run, as one.
        asked: what the second fit asked, if it did.
        told: what was told.
        went_on_from: the name of the checkpoint that the second fit went on from; ``""`` for none.
        trained: whether the last fit did any update; else its files are as they were.
    """

    folder: Path
    events: list[Update | Fact] = field(default_factory=list)
    asked: str = ""
    told: list[str] = field(default_factory=list)
    went_on_from: str = ""

    @property
    def trained(self) -> bool:
        begun = [n for n, one in enumerate(self.events) if isinstance(one, Fact) and one.name == "fit"] or [0]
        return any(isinstance(one, Update) for one in self.events[begun[-1] :])

    def updates(self, optimizer: int = 0) -> list[Update]:
        return [one for one in self.events if isinstance(one, Update) and one.optimizer == optimizer]


class FirstFitRefused(Exception):
    """The first fit of a case raised an error before its first update."""


def run(case: Case, folder: Path, plain: bool = False) -> Outcome:
    """Run a case in an empty folder."""
    folder.mkdir()
    outcome, record = Outcome(folder), Record(folder / "record.txt")
    try:
        with heard() as outcome.told:
            {"whole": _whole, "resumed": _resumed, "again": _again}[case.story](case, record, plain, outcome)
    finally:
        record.close()
        outcome.events = Record.read(record.path)
    return outcome


def _whole(case: Case, record: Record, plain: bool, outcome: Outcome) -> None:
    _first_fit(*_prepared(case, record, plain, first=True), record)


def _resumed(case: Case, record: Record, plain: bool, outcome: Outcome) -> None:
    """Stop a run, and go on in another Trainer from one of the checkpoints that it wrote."""
    _until_stopped(case, record, plain)
    record.on = False
    checkpoints = sorted(record.path.parent.glob("*.ckpt"))
    chosen = checkpoints[case.pick % len(checkpoints)] if checkpoints else None
    outcome.went_on_from = chosen.name if chosen else ""
    if chosen is None:
        record.cut(0)
        record.fact("fit", 0)
    trainer, module = _prepared(case, record, plain, first=False)
    _go_on(trainer, module, chosen, outcome)


def _again(case: Case, record: Record, plain: bool, outcome: Outcome) -> None:
    """Fit twice with one Trainer, and test or validate in between."""
    trainer, module = _prepared(case, record, plain, first=True)
    _first_fit(trainer, module, record)
    checkpoints = sorted(record.path.parent.glob("*.ckpt"))
    chosen = checkpoints[case.pick % len(checkpoints)] if checkpoints else None
    for what in case.between:
        check = trainer.test if what.startswith("test") else trainer.validate
        there = chosen is not None and chosen.exists()  # OnExceptionCheckpoint takes its own away after a test
        check(module, ckpt_path=chosen if what.endswith("checkpoint") and there else None, verbose=False)
    module.stops = False
    trainer.fit_loop.max_epochs = case.epochs + case.more_epochs
    record.fact("fit", trainer.current_epoch)
    outcome.went_on_from = chosen.name if case.from_checkpoint and chosen else ""
    _go_on(trainer, module, chosen if case.from_checkpoint else None, outcome)


def _first_fit(trainer: Trainer, module: Module, record: Record) -> None:
    try:
        trainer.fit(module)
    except (Stopped, SystemExit):  # Lightning makes a SystemExit of Ctrl-C, and ignores the signal from then on
        signal.signal(signal.SIGINT, signal.default_int_handler)
    except Exception as error:
        if record.length == 0:
            raise FirstFitRefused(str(error)) from error
        raise


def _until_stopped(case: Case, record: Record, plain: bool) -> None:
    """Run until the case's stop; in a process of its own if it is killed."""
    prepared = _prepared(case, record, plain, first=True)
    if case.stop[0] != "kill":
        return _first_fit(*prepared, record)
    child = os.fork()
    if child == 0:
        try:
            _first_fit(*prepared, record)
        except BaseException as error:
            refused = isinstance(error, FirstFitRefused)
            (record.path.parent / "error.txt").write_text(str(error) if refused else traceback.format_exc())
            os._exit(2 if refused else 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        text = (record.path.parent / "error.txt").read_text()
        raise (FirstFitRefused if os.WEXITSTATUS(status) == 2 else RuntimeError)(text)
    return None


def _go_on(trainer: Trainer, module: Module, checkpoint: Path | None, outcome: Outcome) -> None:
    try:
        trainer.fit(module, ckpt_path=checkpoint)
    except ResumeError as error:
        outcome.asked = str(error)


def _prepared(case: Case, record: Record, plain: bool, first: bool) -> tuple[Trainer, Module]:
    """Return a Trainer and a module; the first run of a case is the one that saves and stops."""
    folder = record.path.parent
    module = Module(case, record)
    module.stops = first and case.stop is not None
    callbacks = [] if plain else _ours(case, folder)
    if case.accumulate_by_epoch:
        callbacks.append(GradientAccumulationScheduler(dict(case.accumulate_by_epoch)))
    if first:
        callbacks += _savers(case, folder)
    if module.stops and case.stop[0] == "time":
        callbacks.append(CountedTime(module, case.stop[2] + 1))
    random.Random(case.order).shuffle(callbacks)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=case.epochs + (0 if first else case.more_epochs),
        max_steps=case.max_steps,
        accumulate_grad_batches=case.accumulate,
        limit_train_batches=case.limit,
        val_check_interval=case.val_check_interval,
        check_val_every_n_epoch=max(case.validates, 1),
        limit_val_batches=1.0 if case.validates else 0,
        reload_dataloaders_every_n_epochs=1 if case.loaders else 0,
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)] if case.overflow else [],
        callbacks=[*callbacks, Begin()],
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=any(isinstance(one, ModelCheckpoint | OnExceptionCheckpoint) for one in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=1,
    )
    return trainer, module


def _ours(case: Case, folder: Path) -> list[Callback]:
    callbacks: list[Callback] = [LearningRateLogger(folder, audit="error", plot=False)]
    if case.owner == "warmup":
        callbacks.append(LearningRateWarmup(case.warmup, case.warmup_type, resume=case.policy))
    if case.owner == "scheduler":
        callbacks.append(
            LearningRateScheduler(schedule_argument(case), case.interval, case.policy, total_steps=total_argument(case))
        )
    if case.range_test:
        callbacks.append(LearningRateRangeTest(1e-4, 10.0, 40, dirpath=folder, plot=False))
    return callbacks


def schedule_argument(case: Case) -> Any:
    """Return what the callback is given: one schedule for all optimizers, or a mapping by index."""
    if not case.mapped:
        return case.schedules[0]
    return {index: schedule for index, schedule in enumerate(case.schedules) if schedule is not None}


def total_argument(case: Case) -> Any:
    """Return the total that the callback is given: of the whole story, which in a second fit is that of both."""
    if not case.total_given:
        return None
    totals = {index: given_total(case, index) for index, one in enumerate(case.schedules) if one is not None}
    return totals if len(case.schedules) > 1 else totals[0]


def given_total(case: Case, optimizer: int) -> int:
    return max(case.total(case.epochs + case.more_epochs, optimizer), 1)


def _savers(case: Case, folder: Path) -> list[Callback]:
    callbacks: list[Callback] = []
    if not case.savers:
        return callbacks
    keep: dict[str, Any] = {"dirpath": folder, "save_top_k": -1}
    if case.savers["epoch"] != "":
        at_end = case.savers["epoch"]
        callbacks.append(ModelCheckpoint(filename="epoch-{step}", save_on_train_epoch_end=at_end, **keep))
    if case.savers["step"]:
        callbacks.append(ModelCheckpoint(filename="step-{step}", every_n_train_steps=case.savers["step"], **keep))
    if case.savers["exception"]:
        callbacks.append(OnExceptionCheckpoint(folder, "exception"))
    return callbacks
