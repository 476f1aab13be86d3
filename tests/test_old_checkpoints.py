"""Checkpoints of older versions still load, and the run goes on exactly as it would have gone on without a stop.

`tests/data/checkpoints/make.py` has written them; `cases.py` beside it says what trained.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lr_recipes import schedules
from tests.data.checkpoints import cases
from tests.data.checkpoints.cases import BOUND, CASES, LOGGERS, Case, Updates, runs_of, step_on, train

FOLDER = Path(cases.__file__).parent
EXPECTED = {path.parent.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*/expected.json"))}
ANOTHER = schedules.Linear(min_lr_ratio=0.75)

# Lightning warns of a state in the checkpoint that no callback of the run asks for. That stays an error: the names of
# the states must not change.
pytestmark = [
    # the batches are all alike, so it does not matter which come after a resume
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    # an environment may have an older Lightning than the one that wrote the checkpoints
    pytest.mark.filterwarnings("ignore:The loaded checkpoint was produced with Lightning"),
]


def each(part: str, wanted: Callable[[str], bool] = lambda name: True) -> pytest.MarkDecorator:
    """Parametrise over what the versions have written."""
    found = [(version, name) for version, parts in EXPECTED.items() for name in parts[part] if wanted(name)]
    return pytest.mark.parametrize(("version", "name"), found, ids=map("-".join, found))


def checkpoint(version: str, name: str) -> Path:
    return FOLDER / version / f"{name}.ckpt"


def assert_used(used: list[Updates], expected: list[Updates], exact: bool) -> None:
    """Every update that was left used the expected LRs and momenta."""
    assert [len(updates) for updates in used] == [len(updates) for updates in expected]
    for updates, wanted in zip(used, expected, strict=True):
        for update, one in zip(updates, wanted, strict=True):
            for kind in ("lr", "momentum"):
                values = one[kind] if exact else pytest.approx(one[kind], rel=1e-12, abs=0)
                assert update[kind] == values, f"{kind} of update {one['update']}"


# Checkpoints of Lightning


@each("checkpoints")
def test_run_goes_on_as_if_nothing_had_stopped_it(version: str, name: str, tmp_path: Path) -> None:
    used = train(CASES[name], tmp_path, ckpt_path=checkpoint(version, name))
    assert_used(used, EXPECTED[version]["checkpoints"][name], CASES[name].exact)


@pytest.mark.parametrize(("part", "known"), [("checkpoints", CASES), ("bound", BOUND)])
def test_every_case_has_been_written(part: str, known: dict[str, Any]) -> None:
    assert {name for parts in EXPECTED.values() for name in parts[part]} == set(known)


@each("checkpoints")
def test_checkpoint_is_plain(version: str, name: str) -> None:
    state = torch.load(checkpoint(version, name), weights_only=True)
    assert any(one.startswith("LearningRate") for one in state["callbacks"])


def changed(case: Case) -> tuple[Case, Any]:
    """The case with another warmup, or another schedule for each optimizer that has one."""
    if case.warmup:
        return replace(case, warmup=case.warmup - 1), None
    return case, dict.fromkeys(case.schedule, ANOTHER) if isinstance(case.schedule, dict) else ANOTHER


with_plan = each("checkpoints", lambda name: bool(CASES[name].warmup or CASES[name].schedule))


@with_plan
def test_another_plan_is_asked_about(version: str, name: str, tmp_path: Path) -> None:
    case, schedule = changed(CASES[name])
    with pytest.raises(ValueError, match="resume='checkpoint'"):
        train(case, tmp_path, schedule=schedule, ckpt_path=checkpoint(version, name))


@with_plan
def test_policy_checkpoint_follows_the_plan_of_the_checkpoint(version: str, name: str, tmp_path: Path) -> None:
    case, schedule = changed(CASES[name])
    options = {"resume": "checkpoint"}
    used = train(case, tmp_path, schedule=schedule, options=options, ckpt_path=checkpoint(version, name))
    assert_used(used, EXPECTED[version]["checkpoints"][name], case.exact)


# Records


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def stop_after(then: Path, end: Path, path: Path) -> None:
    """Write the record of a run that was stopped two updates and a half after its checkpoint."""
    lines = end.read_text(encoding="utf-8").splitlines(keepends=True)
    done = len(rows(then)) + 1
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(lines[: done + 2]) + lines[done + 2][:8], encoding="utf-8")


def with_files_in(folder: Path, version: str, name: str, path: Path) -> Path:
    """Write the checkpoint as if the run had had its files in ``folder``."""

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: moved(one) for key, one in value.items()}
        return value.replace(str(runs_of(version) / name), str(folder)) if isinstance(value, str) else value

    state = torch.load(checkpoint(version, name), weights_only=True)
    torch.save({**state, "callbacks": moved(state["callbacks"])}, path)
    assert str(folder) in str(torch.load(path, weights_only=True)["callbacks"])
    return path


@each("checkpoints", lambda name: name in LOGGERS)
@pytest.mark.parametrize("where", ["same folder", "another folder", "moved with the run", "lost"])
def test_record_has_every_update_once(version: str, name: str, where: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    then, end = [sorted((FOLDER / version / name / part).glob("*.csv")) for part in ("then", "end")]
    assert then
    for before, whole in zip(then, end, strict=True):
        if where != "lost":
            stop_after(before, whole, (new if where == "moved with the run" else old) / whole.name)
    path = checkpoint(version, name)  # the file that it names is not there
    if where in ("same folder", "another folder"):
        path = with_files_in(old, version, name, tmp_path / "moved.ckpt")
    now = old if where == "same folder" else new
    train(CASES[name], now, ckpt_path=path)
    for before, whole in zip(then, end, strict=True):
        expected = rows(whole)[len(rows(before)) if where == "lost" else 0 :]
        found = [{key: row[key] for key in expected[0]} for row in rows(now / whole.name)]
        for row, one in zip(found, expected, strict=True):
            if not one["phase"]:  # there was no plan, and there is a forecast now
                row.update(phase="", planned_factor="")
        assert found == expected


@each("checkpoints", lambda name: name == "logger_with_foreign_write")
def test_foreign_write_before_the_checkpoint_is_still_told(
    version: str, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        train(CASES[name], tmp_path, ckpt_path=checkpoint(version, name))
    assert "used = planned on 15 of 16 updates" in caplog.text
    assert "at update 3" in caplog.text


# States of schedules in a plain PyTorch loop


@each("bound")
def test_state_in_a_plain_loop_goes_on(version: str, name: str) -> None:
    state = json.loads((FOLDER / version / "bound.json").read_text())[name]
    (expected,) = EXPECTED[version]["bound"][name]
    schedule, horizon = BOUND[name]
    optimizer = cases.two_weights()
    bound = schedule.bind(optimizer, horizon)
    bound.load_state_dict(state)
    assert bound.last_epoch == expected[0]["update"]
    used = step_on(optimizer, bound, len(expected))
    assert_used([used], [expected], exact=False)


@each("bound")
def test_state_of_another_plan_is_refused_in_a_plain_loop(version: str, name: str) -> None:
    state = json.loads((FOLDER / version / "bound.json").read_text())[name]
    bound = ANOTHER.bind(cases.two_weights(), BOUND[name][1] if name != "plateau" else BOUND["fixed"][1])
    with pytest.raises(ValueError, match="resume='checkpoint'"):
        bound.load_state_dict(state)
