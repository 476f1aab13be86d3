"""Faults of the disk: no record ends a training, keeps another callback from its hook or hides an error."""

from __future__ import annotations

import csv
import os
import resource
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from lr_recipes import LearningRateLogger, LearningRateRangeTest, range_test, schedules
from lr_recipes.optimizer import recorder
from lr_recipes.report import backlog
from tests.callbacks.harness import Run, fit, go, keep_all, loader, messages, plan, prepare, record_lrs
from tests.messages.sweeps import Falling

pytestmark = [
    pytest.mark.behaviour("B67"),
    pytest.mark.filterwarnings("ignore"),  # a warning must not end these runs; what is said is looked at
]
COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
UPDATES = 8
FIRST = 3  # of a resumed run


@pytest.fixture(autouse=True)
def _written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row by itself: these runs take no second."""
    monkeypatch.setattr(recorder, "_FLUSH_SECONDS", 0.0)


@pytest.fixture(autouse=True)
def _no_limit_stays() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def steps(path: Path) -> list[int]:
    """The updates of the sound rows."""
    with path.open(newline="", errors="replace") as file:
        return [int(row["step"]) for row in csv.DictReader(file) if None not in row.values() and row["lr/group0"]]


# Faults of a folder, or of the lr.csv in it; and what mends them


def full(path: Path) -> None:
    """There is room for a part of a row in the file, and no room for a new one."""
    most_bytes(path.stat().st_size + 5)


def most_bytes(size: int | None) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


def folder_becomes_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def edited(path: Path, edit: Callable[[str], str]) -> None:
    path.write_text(edit(path.read_text()))


def exchanged(path: Path) -> None:
    other = path.with_name("other")
    other.write_text("theirs")
    os.replace(other, path)


Mend = Callable[[Path], Any]
# name -> what happens; what mends it; rows of the record that are lost for good
FAULTS: dict[str, tuple[Callable[[Path], Any], Mend | None]] = {
    "disk full": (full, lambda path: most_bytes(None)),
    "folder becomes a file": (folder_becomes_a_file, lambda path: path.parent.unlink()),
    "folder disappears": (lambda path: shutil.rmtree(path.parent), None),
    "folder is moved": (lambda path: path.parent.rename(path.parent.with_name("moved")), None),
    "folder is read-only": (lambda path: path.parent.chmod(0o555), lambda path: path.parent.chmod(0o755)),
    "file disappears": (Path.unlink, None),
    "file is read-only": (lambda path: path.chmod(0o444), None),
    "file becomes a folder": (lambda path: (path.unlink(), path.mkdir()), None),
    "file becomes a loop": (lambda path: (path.unlink(), path.symlink_to(path)), None),
    "file is exchanged": (exchanged, None),
    "file is emptied": (lambda path: os.truncate(path, 0), None),
    "file is cut within a row": (lambda path: os.truncate(path, path.stat().st_size - 9), None),
    "file gets a line more": (lambda path: edited(path, lambda text: f"{text}foreign\n"), None),
    "file gets half a line more": (lambda path: edited(path, lambda text: f"{text}foreign"), None),
    "file gets other content": (lambda path: edited(path, lambda text: "foreign\n" * 100), None),
}
LOSES = {"file is emptied", "file is cut within a row", "file gets other content"}


class Breaks(Callback):
    """Breaks something at a moment, and mends it at a later one. Stands before the logger."""

    def __init__(self, path: Path, fault: str, at: str, mends: bool) -> None:
        self.path, self.at, self.mends = path, at, mends
        self.fault, self.mend = FAULTS[fault]

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if self.at == "during" and trainer.global_step == 5:
            self.fault(self.path)
        if self.mends and self.mend and trainer.global_step == 6:
            self.mend(self.path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.at == "at the end":
            self.fault(self.path)


class Last(Checkpoint):
    """Notes that its hooks are called: a callback that writes checkpoints, which Lightning puts behind all others."""

    def __init__(self) -> None:
        self.called: list[str] = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.called.append("end")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.called.append(repr(exception))


def closing_line(caplog: pytest.LogCaptureFixture) -> str:
    return [line for line in messages(caplog).splitlines() if line.startswith("Learning rate: ")][-1]


def lacks(line: str) -> int:
    """The updates that the record lacks, as the closing line says."""
    _, found, rest = line.partition("the record lacks ")
    return int(rest.split()[0]) if found else 0


def ours(caught: list[warnings.WarningMessage]) -> list[str]:
    said = [str(one.message) for one in caught]
    return [one for one in said if any(words in one for words in ("lr.csv", "the record", "cannot be"))]


def left_over(folder: Path) -> list[str]:
    return [one.name for one in folder.rglob("*") if one.suffix in (".tmp", ".new")]


@pytest.mark.parametrize("mends", [False, True], ids=["stays", "mended"])
@pytest.mark.parametrize("at", ["during", "at the end"])
@pytest.mark.parametrize("resumed", [False, True], ids=["fresh", "resumed"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_no_run_and_what_is_missing_is_counted(
    fault: str, resumed: bool, at: str, mends: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if mends and (at == "at the end" or FAULTS[fault][1] is None):
        return  # there is no later moment, or nothing to do
    folder = tmp_path / "run"
    path, last = folder / "lr.csv", Last()
    if resumed:
        fit(COSINE, max_epochs=1, callbacks=[record_lrs(folder), keep_all(tmp_path, FIRST)])
    breaks = Breaks(path, fault, at, mends)
    run = prepare(COSINE, max_epochs=1, callbacks=[breaks, record_lrs(folder), last])
    with caplog.at_level("INFO"), warned() as caught:
        go(run, ckpt_path=tmp_path / f"step={FIRST}.ckpt" if resumed else None)
    most_bytes(None)
    assert run.used == plan(COSINE, UPDATES)[FIRST if resumed else 0 :]
    assert last.called == ["end"]
    files = [one for one in (path, path.with_name("lr.2.csv")) if one.is_file() and b"step" in one.read_bytes()]
    found = steps(files[0]) if files else []
    missing = [update for update in range(UPDATES) if update not in found]
    assert found == sorted(set(found))
    assert lacks(closing_line(caplog)) == len(missing)
    assert len(ours(caught)) == len(set(ours(caught))) <= 1, ours(caught)
    assert len(ours(caught)) == 1 or not missing
    stays = FAULTS[fault][1] is not None and not mends and at == "during" and fault != "folder is read-only"
    assert bool(missing) == (stays or fault in LOSES or (fault == "folder becomes a file" and not mends))
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_hides_no_error(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And whoever saves a checkpoint then is not kept from it."""

    class Fails(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 7:
                raise ZeroDivisionError("the model's own")

    class Saves(Last):
        def on_exception(self, trainer: Trainer, *args: Any) -> None:
            super().on_exception(trainer, *args)
            most_bytes(None)
            trainer.save_checkpoint(tmp_path / "failed.ckpt")

    saves, path = Saves(), tmp_path / "run" / "lr.csv"
    callbacks = [Breaks(path, fault, "during", mends=False), record_lrs(path.parent), Fails(), saves]
    run = prepare(COSINE, max_epochs=1, callbacks=callbacks)
    with caplog.at_level("INFO"), pytest.raises(ZeroDivisionError, match="the model's own"):
        go(run)
    assert saves.called == ['ZeroDivisionError("the model\'s own")']
    assert torch.load(tmp_path / "failed.ckpt", weights_only=True)["global_step"] == 7
    assert "used = planned on 7 of 7 updates" in closing_line(caplog)
    assert left_over(tmp_path) == []


@pytest.mark.parametrize("fault", ["folder becomes a file", "file becomes a folder", "folder disappears"])
def test_checkpoints_are_saved_meanwhile(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "run" / "lr.csv"
    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_last=True)
    fit(
        COSINE,
        max_epochs=1,
        callbacks=[Breaks(path, fault, "during", mends=False), LearningRateLogger(path.parent), saving],
    )
    assert {f"step={n}.ckpt" for n in range(1, 9)} | {"last.ckpt"} <= {one.name for one in tmp_path.iterdir()}
    run = fit(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path / "new")], ckpt_path=tmp_path / "step=7.ckpt")
    assert run.used == plan(COSINE, UPDATES)[7:]


@pytest.mark.parametrize("fault", ["disk full", "folder becomes a file", "file is exchanged"])
def test_a_run_that_was_faulty_is_resumed(fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """From a checkpoint that was saved meanwhile: it knows which file is the record."""
    path = tmp_path / "run" / "lr.csv"

    class Saves(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 7:
                trainer.save_checkpoint(tmp_path / "7.ckpt")

    breaks = Breaks(path, fault, "during", mends=True)
    fit(COSINE, max_epochs=1, callbacks=[breaks, record_lrs(path.parent), Saves()])
    fit(COSINE, max_epochs=1, callbacks=[record_lrs(path.parent)], ckpt_path=tmp_path / "7.ckpt")
    record = path.with_name("lr.2.csv") if fault == "file is exchanged" else path
    assert steps(record) == list(range(UPDATES))
    assert fault != "file is exchanged" or path.read_text() == "theirs"


def test_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(backlog, "_LIMIT", 100)
    path = tmp_path / "run" / "lr.csv"
    breaks = Breaks(path, "folder becomes a file", "during", mends=True)
    breaks.mend = None
    with caplog.at_level("INFO"), warned() as caught:
        fit(COSINE, max_epochs=1, batches=40, callbacks=[breaks, record_lrs(path.parent)])
    assert len(ours(caught)) == 2
    assert any("MB of rows wait for" in said for said in ours(caught))
    assert lacks(closing_line(caplog)) == 40


def test_the_working_folder_disappears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The record has a relative path, and there is no place any more that it is relative to."""

    class Leaves(Callback):
        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 5:
                shutil.rmtree(tmp_path / "here")

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with caplog.at_level("INFO"):
        fit(COSINE, max_epochs=1, callbacks=[Leaves(), LearningRateLogger("run"), last := Last()])
    assert last.called == ["end"]
    assert steps(tmp_path / "here" / "run" / "lr.csv") == list(range(UPDATES))
    assert messages(caplog).endswith(f"See {tmp_path}/here/run/lr.png, lr.csv")


# Before the first update


@pytest.mark.parametrize("resumed", [False, True], ids=["fresh", "resumed"])
@pytest.mark.parametrize("kind", ["a file in place of the folder", "a folder in place of the file", "no room"])
def test_a_folder_that_cannot_be_written_is_an_error_before_the_first_update(
    kind: str, resumed: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    if resumed:
        fit(COSINE, max_epochs=1, callbacks=[record_lrs(folder), keep_all(tmp_path, FIRST)])
        shutil.rmtree(folder)
    if kind == "a file in place of the folder":
        folder.write_text("")
    elif kind == "a folder in place of the file":
        (folder / "lr.csv").mkdir(parents=True)
    run = prepare(COSINE, max_epochs=1, callbacks=[record_lrs(folder), last := Last()])
    if kind == "no room":
        most_bytes(10)
    with pytest.raises(OSError, match=r"lr\.csv cannot be written there .*give LearningRateLogger a folder that can"):
        go(run, ckpt_path=tmp_path / f"step={FIRST}.ckpt" if resumed else None)
    most_bytes(None)
    assert run.used == []
    assert len(last.called) == 1
    assert left_over(tmp_path) == []


# The picture


def png_is_a_folder(path: Path) -> None:
    path.with_suffix(".png").mkdir()


def no_room_for_a_picture(path: Path) -> None:
    most_bytes(5000)


def all_rows_are_gone(path: Path) -> None:
    edited(path, lambda text: text.splitlines()[0] + "\n")


@pytest.mark.parametrize("fault", [png_is_a_folder, no_room_for_a_picture])
def test_a_picture_that_cannot_be_drawn(
    fault: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Faulty(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            fault(tmp_path / "lr.csv")

    last = Last()
    with caplog.at_level("INFO"), warned() as caught:
        fit(COSINE, max_epochs=1, callbacks=[Faulty(), LearningRateLogger(tmp_path), last])
    most_bytes(None)
    assert last.called == ["end"]
    (said,) = ours(caught)
    assert said.startswith("the record cannot be drawn: lr.png (")
    assert messages(caplog).splitlines()[-1].startswith("See ")
    assert messages(caplog).splitlines()[-1].endswith("lr.csv")
    assert "lr.png" not in messages(caplog).splitlines()[-1]
    assert steps(tmp_path / "lr.csv") == list(range(UPDATES))
    assert left_over(tmp_path) == []


def test_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with warned() as caught:
        fit(COSINE, max_epochs=1, callbacks=[LearningRateLogger(tmp_path), last := Last()])
    assert last.called == ["end"]
    assert "the record is not drawn as lr.png: a picture needs matplotlib, which is not there (" in ours(caught)[0]


# The range test


@pytest.mark.parametrize("alone", [False, True])
def test_a_sweep_that_is_made_is_not_lost_because_its_files_cannot_be_written(
    alone: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "range_test.png").mkdir()
    with caplog.at_level("INFO"), warned() as caught:
        if alone:
            result = range_test(
                Falling(), loader(), dirpath=tmp_path, accelerator="cpu", devices=1, enable_progress_bar=False
            )
        else:
            test = LearningRateRangeTest(dirpath=tmp_path)
            fit(COSINE, module=Falling(), callbacks=[test], max_epochs=1)
            assert test.result is not None
            result = test.result
            assert "range_test.png" not in messages(caplog)
            assert "LR range test: the peak LR is now" in messages(caplog)
    assert result.suggestion
    assert sum("the files of the range test cannot be written (" in said for said in ours(caught)) == 1
    assert left_over(tmp_path) == []


# Two runs in one folder


class RunsWithin(Callback):
    """Another run, in the same folder, while this one is under way."""

    def __init__(self, *callbacks: Callback, at: int = 2, **arguments: Any) -> None:
        self.callbacks, self.at, self.arguments = list(callbacks), at, arguments
        self.run: Run | None = None

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.at and self.run is None:
            self.run = fit(schedules.Linear(), max_epochs=1, callbacks=self.callbacks, **self.arguments)


def lrs(path: Path) -> list[float]:
    with path.open(newline="") as file:
        return [float(row["lr/group0"]) for row in csv.DictReader(file)]


@pytest.mark.behaviour("B72")
def test_two_runs_in_one_folder_have_a_record_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run, checkpoints = tmp_path / "run", tmp_path / "second"
    within = RunsWithin(LearningRateLogger(run), keep_all(checkpoints, 5))
    with caplog.at_level("INFO"), warned() as caught:
        first = fit(COSINE, max_epochs=1, callbacks=[within, LearningRateLogger(run)])
    (said,) = ours(caught)
    assert "another run records into" in said
    assert "this one's record is lr.2.csv; give each run a folder of its own" in said
    assert sorted(one.name for one in run.iterdir()) == ["lr.2.csv", "lr.2.png", "lr.csv", "lr.png"]
    assert within.run is not None
    assert lrs(run / "lr.csv") == first.used == plan(COSINE, UPDATES)
    assert lrs(run / "lr.2.csv") == within.run.used == plan(schedules.Linear(), UPDATES)
    assert "lr.2.png, lr.2.csv" in messages(caplog)
    # The second one's checkpoint goes on in the second one's record.
    before = (run / "lr.csv").read_bytes()
    again = fit(schedules.Linear(), max_epochs=1, callbacks=[record_lrs(run)], ckpt_path=checkpoints / "step=5.ckpt")
    assert again.used == plan(schedules.Linear(), UPDATES)[5:]
    assert (run / "lr.csv").read_bytes() == before
    assert lrs(run / "lr.2.csv") == plan(schedules.Linear(), UPDATES)
    # So it does where the folder has been moved, and a new run begins where the first did.
    run.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    fit(schedules.Linear(), max_epochs=1, callbacks=[record_lrs(moved)], ckpt_path=checkpoints / "step=5.ckpt")
    assert ((moved / "lr.csv").read_bytes(), lrs(moved / "lr.2.csv")) == (before, plan(schedules.Linear(), UPDATES))
    fit(schedules.Fixed(), max_epochs=1, callbacks=[record_lrs(moved)])
    assert lrs(moved / "lr.csv") == plan(schedules.Fixed(), UPDATES)


@pytest.mark.behaviour("B72")
def test_a_second_run_that_goes_on_from_the_first_ones_checkpoint_takes_its_rows_along(tmp_path: Path) -> None:
    run = tmp_path / "run"
    within = RunsWithin(record_lrs(run), at=6, ckpt_path=tmp_path / "step=5.ckpt")
    with warned() as caught:
        fit(schedules.Linear(), max_epochs=1, callbacks=[within, record_lrs(run), keep_all(tmp_path, 5)])
    assert len(ours(caught)) == 1
    assert lrs(run / "lr.csv") == lrs(run / "lr.2.csv") == plan(schedules.Linear(), UPDATES)


@pytest.mark.behaviour("B72")
def test_a_fit_that_another_callback_has_kept_from_its_end_is_closed_by_the_next_one(tmp_path: Path) -> None:
    class Rude(Callback):
        def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            raise ZeroDivisionError

        def on_exception(self, trainer: Trainer, *_: Any) -> None:
            raise ZeroDivisionError

    logger = record_lrs(tmp_path)
    with pytest.raises(ZeroDivisionError):
        fit(COSINE, max_epochs=1, callbacks=[Rude(), logger])
    run = fit(COSINE, max_epochs=1, callbacks=[logger])
    assert [one.name for one in tmp_path.iterdir()] == ["lr.csv"]
    assert lrs(tmp_path / "lr.csv") == run.used
