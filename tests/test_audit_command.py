"""``lr-recipes audit``: what it prints, its exit status, and what it costs."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest

from lr_recipes import command_line, schedules
from lr_recipes.command_line import AUDIT_KEYS, AUDIT_USAGE, main
from lr_recipes.report.findings import FINDINGS, Case, Rule
from tests.callbacks.harness import fit, record_lrs
from tests.test_command_line import program

STATE = Path(__file__).parent / "data" / "records" / "trainer_state.json"
LINEAR = ("schedule=warmup_linear", "schedule.warmup=8", "schedule.warmup_start_factor=0")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    fit(schedules.Cosine(warmup=4), max_epochs=2, callbacks=[record_lrs(tmp_path)])
    return tmp_path / "lr.csv"


def test_a_run_that_used_what_was_planned(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(recorded), "schedule=cosine", "schedule.warmup=4", "total_steps=16", "lr=0.1"]) == 0
    out, err = capsys.readouterr()
    head, title, chart, plan, verdict = out.split("\n\n")
    assert err == ""
    assert head == f"{recorded}: written by LearningRateLogger"
    assert title == "Learning rate of lr: recorded 16 of 16 updates (updates 0 to 15)"
    assert chart.startswith("learning rate\n")
    assert plan.startswith("Learning-rate plan for lr: 16 updates\n")
    assert verdict == "used = planned on 16 of 16 updates, schedule complete\n"


def test_a_run_that_did_not(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(recorded), "schedule=cosine", "total_steps=16", "lr=0.1"]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "group group0: first at update 0, used 0.025, planned 0.1 (difference 0.075)"


def test_the_total_is_that_of_the_record_where_it_has_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(STATE), *LINEAR]) == 0
    out = capsys.readouterr().out
    assert "recorded 12 of 48 updates, every 4th (updates 3 to 47)" in out
    assert "48 updates (as the record says)" in out
    assert "used = planned on 12 of 12 updates, schedule complete" in out
    assert main(["audit", str(STATE), *LINEAR, "total_steps=60"]) == 1


def test_without_a_schedule_the_findings_are_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rules of this test: those of the package have tests of their own."""
    seen: list[Case] = []
    monkeypatch.setattr(command_line.audit_record.__globals__["findings"], "FINDINGS", FINDINGS)
    for name in list(FINDINGS):
        monkeypatch.delitem(FINDINGS, name)
    monkeypatch.setitem(FINDINGS, "test", Rule(lambda case: seen.append(case)))  # type: ignore[func-returns-value]
    assert main(["audit", str(STATE)]) == 0
    assert capsys.readouterr().out.endswith("nothing is out of order in the LRs above\n")
    monkeypatch.setitem(FINDINGS, "test", Rule(lambda case: (7, "it is Tuesday")))
    assert main(["audit", str(STATE)]) == 1
    assert capsys.readouterr().out.endswith("test: it is Tuesday\n")
    (case,) = seen
    assert (case.series.first, case.series.end, case.whole, case.spacing) == (3, 48, True, 4)
    assert [leg.name for leg in case.legs] == ["rises", "falls"]


def test_a_run_that_was_stopped_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wholes: list[bool] = []
    monkeypatch.setitem(FINDINGS, "test", Rule(lambda case: wholes.append(case.whole)))  # type: ignore[func-returns-value]
    state = json.loads(STATE.read_text())
    (tmp_path / "state").write_text(json.dumps({**state, "max_steps": 480}))
    main(["audit", str(tmp_path / "state")])
    main(["audit", str(STATE)])
    main(["audit", str(STATE), "total_steps=100"])
    assert wholes == [False, True, False]


def test_json_is_one_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "lr.png"
    assert main(["audit", str(STATE), "--as-json", f"picture={picture}", "schedule=cosine", "lr=0.001"]) == 1
    told = json.loads(capsys.readouterr().out)
    (one,) = told["optimizers"]
    assert (told["found"], one["recorded"], one["total"], one["compared"]) == (True, 12, 48, 12)
    assert one["apart"][0]["update"] == 3
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_help_has_every_key() -> None:
    assert {line.split()[0] for line in AUDIT_USAGE.splitlines() if line.startswith("  ")} >= set(AUDIT_KEYS)


# Files of strangers


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty: give"),
        (b" \n\n", "is empty: give"),
        (b"\x89PNG\r\n", "is a picture: give"),
        (b"PK\x03\x04...", "is an archive, such as a checkpoint, which lr-recipes inspect shows: give"),
        (b"\x80\x02ccopy_reg\n", "is a pickle, such as an old checkpoint, which lr-recipes inspect shows: give"),
        (bytes(range(256)), "is no text: give"),
        (b"step,loss\n0,1\n", "has no learning rates: there are 'step', 'loss'"),
        (b"{", "is damaged (Expecting property name"),
        (b"[" * 100_000, "is damaged (maximum recursion depth"),
        (b'{"log_history": [{"loss": 1}]}', "has no learning rates: there are 'loss'"),
        (b"step,lr\n0,\n", "has lr, and no LR of a single update"),
        (b"step,lr-\x1b[2J\n", r"has lr-\x1b[2J, and no LR"),
    ],
)
def test_no_record_is_one_sentence(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_bytes(content)
    assert main(["audit", str(tmp_path / "file")]) == 2
    out, err = capsys.readouterr()
    (line,) = err.splitlines()
    assert out == ""
    assert line.startswith(f"Error: {tmp_path / 'file'} {said}")
    assert line.isprintable()


def test_a_file_that_may_not_be_read_and_one_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(tmp_path / "gone")]) == 2
    assert "gone cannot be read (No such file or directory): give an lr.csv" in capsys.readouterr().err
    os.mkfifo(tmp_path / "pipe")
    assert main(["audit", str(tmp_path / "pipe")]) == 2
    assert "pipe is a device or a pipe: give" in capsys.readouterr().err


# What it costs


def test_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, lr_recipes.command_line as program\n"
        "status = program.main()\n"
        "print(*sorted({'torch', 'lightning', 'numpy', 'matplotlib', 'hydra', 'tensorboard'} & set(sys.modules)))\n"
        "sys.exit(status)\n"
    )
    done = program("audit", str(STATE), script=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == ""


def test_a_hundred_thousand_rows_take_a_second_or_so(tmp_path: Path) -> None:
    """A million takes ten times as long: what it costs for each is always the same."""
    path, count = tmp_path / "metrics.csv", 100_000
    with path.open("w") as file:
        file.write("epoch,lr-SGD,step\n")
        file.writelines(f",{0.05 * (1 + math.cos(math.pi * n / count))!r},{n}\n" for n in range(count))
    started = time.process_time()
    assert main(["audit", str(path), "schedule=cosine", f"total_steps={count}"]) == 0
    assert time.process_time() - started < 5
