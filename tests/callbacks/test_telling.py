"""What a person sees in a terminal: plan, bar, closing line."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import RichProgressBar

from lr_recipes.callbacks.telling import end_bar, shortest, tell, warn
from tests.callbacks.harness import Validated, loader, messages, quiet_trainer
from tests.callbacks.terminal import BARS, places_of, run_in_terminal
from tests.callbacks.terminal_own import FAILING, LONG, SWEEPING

ROOT = Path(__file__).parents[2]
OURS = ("LR range", "Learning", "See ", "Told in ")  # how our messages begin
EPOCH = re.compile(r"^Epoch \d")


def in_terminal(script: str, columns: int, folder: Path) -> dict[str, list[str]]:
    """Run the script in a terminal; return the lines that it left there, run by run."""
    lines = run_in_terminal(
        ["-m", f"tests.callbacks.terminal_{script}"], folder, columns, PYTHONPATH=str(ROOT), OMP_NUM_THREADS="1"
    )
    begins = [at for at, line in enumerate(lines) if line.startswith("begins: ")]
    ends = [*begins[1:], len(lines)]
    return {lines[a].removeprefix("begins: "): lines[a + 1 : b] for a, b in zip(begins, ends, strict=True)}


def told(log_file: Path) -> list[str]:
    """Our messages in a log file; those of several lines are one."""
    records = re.split(r"^\d{4}-\d\d-\d\d \S+ [A-Z]+ ", log_file.read_text(), flags=re.MULTILINE)
    return [record.rstrip("\n") for record in records if record.startswith(OURS)]


def assert_whole(messages: Sequence[str], lines: Sequence[str], columns: int) -> list[range]:
    """Each message stands whole and once on the screen, one after the other; return where."""
    screen = "\n".join(lines)
    places = [places_of(message, lines, columns) for message in messages]
    assert [len(found) for found in places] == [1] * len(messages), f"{messages}\n{screen}"
    found = [place for (place,) in places]
    assert found == sorted(found, key=lambda place: place.start), screen
    assert all(screen.count(message.splitlines()[0][:40]) == 1 for message in messages), screen
    return found


def epochs(lines: Sequence[str]) -> list[str]:
    """Rows of the training bar."""
    return [line for line in lines if EPOCH.match(line)]


@pytest.mark.behaviour("B64")
@pytest.mark.parametrize("columns", [80, 120])
def test_all_stands_whole_in_a_script_of_ones_own(columns: int, tmp_path: Path) -> None:
    runs = in_terminal("own", columns, tmp_path)
    assert list(runs) == [*BARS, *FAILING, SWEEPING]
    sweep = runs.pop(SWEEPING)
    assert_whole(told(tmp_path / f"{SWEEPING}.log"), sweep, columns)
    assert "%|" not in "".join(sweep)  # nothing is left of the sweep's own bar
    for name, lines in runs.items():
        expected = told(tmp_path / f"{name}.log")
        starts = ["Learning-rate plan for SGD", "Told in validation, batch 0", "Told in validation, batch 1", LONG]
        starts += ["Learning rate: used = planned on ", *([] if name in FAILING else [f"See {name}/lr.png, lr.csv"])]
        assert [len(expected), *map(str.startswith, expected, starts)] == [len(starts)] + [True] * len(starts), expected
        places = assert_whole(expected, lines, columns)
        closing = places[4]
        assert "".join(lines).count(f"UserWarning: warned in {name}, batch 0") == 1
        assert bool(epochs(lines[places[3].stop : closing.start])) == (not name.startswith("none"))  # it went on
        assert epochs(lines[closing.stop :]) == []


@pytest.mark.behaviour("B64")
@pytest.mark.parametrize("columns", [80, 120])
def test_all_stands_whole_in_train_py(columns: int, tmp_path: Path) -> None:
    runs = in_terminal("train", columns, tmp_path)
    assert list(runs) == [*BARS]
    for name, lines in runs.items():
        expected = told(tmp_path / name / "train.log")
        assert [message.split()[0] for message in expected] == ["Learning-rate", "Learning", "See"]
        assert expected[2] == f"See {name}/lr.png, lr.csv"
        plan, closing, _ = assert_whole(expected, lines, columns)
        assert bool(epochs(lines[plan.stop : closing.start])) == (name != "none")
        assert epochs(lines[closing.stop :]) == []
        front = [line for line in lines[: plan.start] if line]
        assert [line.split()[0] for line in front] == ["GPU", "Model:"], front


@pytest.mark.filterwarnings("ignore:install .ipywidgets. for Jupyter support")
def test_notebook_keeps_its_bar(caplog: pytest.LogCaptureFixture) -> None:
    """A cell has a place of its own for the bar: nothing needs to be moved."""
    bar = RichProgressBar(console_kwargs={"force_jupyter": True})

    class Talker(Validated):
        def on_train_epoch_end(self) -> None:
            tell(self.trainer, "Told in a notebook")
            end_bar(self.trainer)
            assert bar.progress is not None
            assert bar.progress.live.is_started

    with caplog.at_level(logging.INFO):
        trainer = quiet_trainer([bar], enable_progress_bar=True, max_epochs=1)
        trainer.fit(Talker(), loader(2), loader(1))
    assert messages(caplog).count("Told in a notebook") == 1


def test_record_names_the_place_that_told(caplog: pytest.LogCaptureFixture) -> None:
    trainer = quiet_trainer([])
    tell(trainer, "told")
    with pytest.warns(UserWarning, match="warned") as warnings:
        warn(trainer, "warned")
    assert [record.filename for record in caplog.records if record.message == "told"] == [Path(__file__).name]
    assert [Path(one.filename).name for one in warnings] == [Path(__file__).name]


def test_path_is_as_short_as_it_can_be_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert shortest(tmp_path / "here" / "lr.csv") == "lr.csv"
    assert shortest(Path("runs") / "lr.csv") == "runs/lr.csv"
    assert shortest(tmp_path / "lr.csv") == str(tmp_path / "lr.csv")
