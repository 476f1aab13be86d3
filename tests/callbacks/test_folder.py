"""Where a run's files go when its folder is a URL: where Lightning puts the checkpoints."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lr_recipes import LearningRateLogger, LearningRateRangeTest, range_test, schedules
from lr_recipes.callbacks.folder import Folder
from lr_recipes.callbacks.learning_rate_range_test import FILES
from lr_recipes.callbacks.telling import shortest
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import Run, fit, messages
from tests.callbacks.test_learning_rate_range_test import Net, data

pytestmark = [
    pytest.mark.behaviour("B56"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),  # some resumed runs save nothing
]
COSINE = schedules.Cosine(warmup=2)
PNG = b"\x89PNG"


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither in the present folder nor, once files have been copied, among temporary ones."""
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    fsspec.filesystem("memory").store.clear()
    assert list(here.iterdir()) == []
    assert list(temporary.iterdir()) == []


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return "memory://bucket/run" if request.param == "memory" else f"file://{tmp_path}/bucket/run"


def content(url: str) -> bytes:
    with fsspec.open(url, "rb") as file:
        return file.read()


def steps(url: str) -> list[int]:
    lines = content(url).decode().splitlines()
    return [int(line.partition(",")[0]) for line in lines[1:]]


def recorded(url: str, *callbacks: Any, **arguments: Any) -> Run:
    saving = ModelCheckpoint(filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = (LearningRateLogger(**arguments.pop("logger_options", {})), saving, *callbacks)
    return fit(COSINE, callbacks=callbacks, default_root_dir=url, **{"max_epochs": 1, **arguments})


def test_record_and_picture_land_where_the_checkpoints_do(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    recorded(url)
    assert content(f"{url}/checkpoints/step=8.ckpt")
    assert steps(f"{url}/lr.csv") == list(range(8))
    assert content(f"{url}/lr.png").startswith(PNG)
    place = url if url.startswith("memory") else url.removeprefix("file://")
    assert f"{place}/lr.png, lr.csv" in messages(caplog).replace("../", "/").replace("See /bucket", f"See {place[:-4]}")


def test_resumed_run_goes_on_in_the_same_file(url: str) -> None:
    recorded(url)
    whole = content(f"{url}/lr.csv")
    recorded(url, ckpt_path=f"{url}/checkpoints/step=3.ckpt", logger_options={"plot": False})
    assert content(f"{url}/lr.csv") == whole


class Stop(Exception):
    """A run is stopped, and not in order."""


def test_the_record_is_there_with_each_checkpoint(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class Watching(ModelCheckpoint):
        def on_train_batch_end(self, *args: Any) -> None:
            super().on_train_batch_end(*args)
            seen.append(steps("memory://bucket/run/lr.csv"))

    saving = Watching(tmp_path / "checkpoints", every_n_train_steps=3, save_top_k=-1)
    fit(
        COSINE,
        callbacks=[LearningRateLogger(plot=False), saving],
        default_root_dir="memory://bucket/run",
        max_epochs=1,
    )
    assert seen == [[], [], *[[0, 1, 2]] * 3, *[list(range(6))] * 3]


@pytest.mark.filterwarnings("ignore:The dirpath has changed from")
def test_record_of_a_folder_on_this_machine_is_taken_along(tmp_path: Path) -> None:
    recorded(str(tmp_path / "local"))
    recorded("memory://bucket/run", ckpt_path=tmp_path / "local" / "checkpoints" / "step=3.ckpt")
    assert content("memory://bucket/run/lr.csv") == (tmp_path / "local" / "lr.csv").read_bytes()
    recorded(str(tmp_path / "back"), ckpt_path="memory://bucket/run/checkpoints/step=5.ckpt")
    assert [row["step"] for row in read_rows(tmp_path / "back" / "lr.csv")] == [str(n) for n in range(8)]


@pytest.mark.parametrize("by", ["dirpath", "logger"])
def test_url_of_the_callback_and_of_a_logger(by: str) -> None:
    if by == "dirpath":
        place, arguments = "memory://other", {"logger_options": {"dirpath": "memory://other/"}}
    else:
        place, arguments = "memory://logs/name/version_1", {"logger": CSVLogger("memory://logs", "name", version=1)}
    recorded("memory://bucket/run", **arguments)
    assert steps(f"{place}/lr.csv") == list(range(8))


def test_nothing_of_the_run_is_lost_by_an_exception(url: str, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(ModelCheckpoint):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 5:
                raise Stop

    caplog.set_level("INFO")
    with pytest.raises(Stop):
        fit(COSINE, callbacks=[LearningRateLogger(), Failing()], default_root_dir=url, max_epochs=1)
    assert steps(f"{url}/lr.csv") == list(range(5))
    assert "lr.csv" in messages(caplog)


def test_files_of_a_range_test(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    fit(
        COSINE,
        module=Net(),
        train=data(),
        val=data(shuffle=False),
        callbacks=[LearningRateRangeTest()],
        default_root_dir=url,
        max_epochs=1,
    )
    assert all(content(f"{url}/{name}") for name in FILES)
    assert content(f"{url}/range_test.png").startswith(PNG)
    assert "range_test.png" in messages(caplog)
    range_test(Net(), data(), dirpath=f"{url}/alone", accelerator="cpu", enable_progress_bar=False)
    assert all(content(f"{url}/alone/{name}") for name in FILES)


# The folder by itself


def test_folder_that_cannot_be_written_keeps_the_files_here(tmp_path: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/taken", b"a file")
    told: list[str] = []
    folder = Folder("memory://taken/run", told.append)
    (folder.path / "lr.csv").write_text("rows")
    folder.close()
    (sentence,) = told
    assert sentence.startswith("memory://taken/run cannot be written (")
    assert sentence.endswith(f": the files are in {folder.path}")
    assert (folder.path / "lr.csv").read_text() == "rows"
    (folder.path / "lr.csv").unlink()
    folder.path.rmdir()


@pytest.mark.parametrize("form", ["{}", "file://{}", "file:{}"])
def test_folder_on_this_machine(form: str, tmp_path: Path) -> None:
    with Folder(form.format(tmp_path / "run"), pytest.fail) as folder:
        assert folder.path == tmp_path / "run"
        assert folder.address("lr.csv") == str(tmp_path / "run" / "lr.csv")
        assert folder.earlier(None, "lr.csv") is None
        assert folder.publish()


# Faults


class Unreliable(MemoryFileSystem):
    """A file system that fails from some moment on."""

    protocol = "unreliable"
    store = MemoryFileSystem.store
    pseudo_dirs = MemoryFileSystem.pseudo_dirs
    fails, hides = False, "nothing"

    def put_file(self, *args: Any, **kwargs: Any) -> None:
        if type(self).fails:
            raise TimeoutError("no connection")
        super().put_file(*args, **kwargs)

    def exists(self, *args: Any, **kwargs: Any) -> bool:
        if type(self).fails or type(self).hides in str(args):
            raise TimeoutError("no connection")
        return bool(super().exists(*args, **kwargs))


@pytest.fixture
def unreliable(monkeypatch: pytest.MonkeyPatch) -> type[Unreliable]:
    fsspec.register_implementation("unreliable", Unreliable, clobber=True)
    monkeypatch.setattr(Unreliable, "fails", False)
    monkeypatch.setattr(Unreliable, "hides", "nothing")
    return Unreliable


@pytest.mark.behaviour("B67")
@pytest.mark.parametrize("comes_back", [False, True])
def test_url_that_fails_in_mid_run_is_said_once_and_ends_nothing(
    comes_back: bool, unreliable: type[Unreliable], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            unreliable.fails = trainer.global_step >= 3 and not (comes_back and trainer.global_step == 7)

    saving = ModelCheckpoint(tmp_path / "checkpoints", every_n_train_steps=1)
    logger = LearningRateLogger("unreliable://run", plot=False)
    caplog.set_level("INFO")
    with pytest.warns(UserWarning, match="no connection") as caught:
        run = fit(COSINE, callbacks=[Fails(), logger, saving], max_epochs=1)
    assert len(run.used) == 8
    (said,) = [str(one.message) for one in caught if "no connection" in str(one.message)]
    assert said.startswith("unreliable://run cannot be written (TimeoutError: no connection): the files are in ")
    see = messages(caplog).splitlines()[-1]
    if comes_back:
        assert see == "See unreliable://run/lr.csv"
        return
    kept = Path(said.partition(": the files are in ")[2])
    assert see == f"See {shortest(kept / 'lr.csv')}"
    assert len((kept / "lr.csv").read_text().splitlines()) == 9
    shutil.rmtree(kept)


@pytest.mark.behaviour("B67")
def test_record_that_cannot_be_fetched_is_not_taken_along(unreliable: type[Unreliable], tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path / "checkpoints", filename="{step}", every_n_train_steps=5)
    fit(COSINE, callbacks=[LearningRateLogger("unreliable://bucket/run", plot=False), saving], max_epochs=1)
    unreliable.hides = "/run/"
    with pytest.warns(UserWarning, match=r"bucket/run/lr\.csv cannot be read .TimeoutError: no connection"):
        run = fit(
            COSINE,
            callbacks=[LearningRateLogger("unreliable://bucket/new", plot=False)],
            ckpt_path=tmp_path / "checkpoints" / "step=5.ckpt",
            max_epochs=1,
        )
    assert len(run.used) == 3
    assert steps("unreliable://bucket/new/lr.csv") == [5, 6, 7]


@pytest.mark.behaviour("B72")
def test_two_runs_at_one_url_have_a_record_each(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Within(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step == 4:
                fit(schedules.Linear(), callbacks=[LearningRateLogger("memory://bucket/run")], max_epochs=2)

    saving = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    first = [Within(), LearningRateLogger("memory://bucket/run"), saving]
    caplog.set_level("INFO")
    with pytest.warns(UserWarning, match="another run writes to memory://bucket/run: this one's files") as caught:
        fit(COSINE, callbacks=first, max_epochs=1)
    assert sum("another run writes" in str(one.message) for one in caught) == 1
    assert steps("memory://bucket/run/lr.csv") == list(range(16))
    assert steps("memory://bucket/run/lr.2.csv") == list(range(8))
    assert content("memory://bucket/run/lr.png").startswith(PNG)
    assert content("memory://bucket/run/lr.2.png").startswith(PNG)
    assert "See memory://bucket/run/lr.2.png, lr.2.csv" in messages(caplog)
    whole = content("memory://bucket/run/lr.2.csv")
    again = [LearningRateLogger("memory://bucket/run", plot=False)]
    fit(COSINE, callbacks=again, max_epochs=1, ckpt_path=tmp_path / "step=6.ckpt")
    assert content("memory://bucket/run/lr.2.csv") == whole
    assert steps("memory://bucket/run/lr.csv") == list(range(16))
