"""The program of the GPU run: parts that hang, die or fail lose only themselves, and what is done is not done again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_parts
from benchmarks.gpu import PARTS, ROOT, Part, main, run
from benchmarks.gpu_notes import Notes, described, failures, noted

PROGRAM = "tests.benchmarks.gpu_parts_that_fail"


def part(name: str, seconds: int = 0) -> Part:
    return Part(name, f"what {name} does", seconds, 20)


def is_running(process: float) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True


def test_every_part_has_a_function_and_the_run_fits_into_ten_minutes() -> None:
    assert [one.name for one in PARTS] == list(gpu_parts.PARTS)
    assert all(one.seconds < one.limit for one in PARTS)
    assert sum(one.seconds for one in PARTS) < 600


@pytest.mark.parametrize(
    ("name", "last"),
    [("hangs", "hangs: ended with status 1"), ("stuck", "stuck: ended after 2 s, its limit")],
    ids=["it ends itself", "it cannot even do that"],
)
def test_a_part_that_hangs_keeps_what_it_found_and_is_ended(
    name: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "GRACE", 1)
    begun = time.monotonic()
    text = run(part(name), "cpu", tmp_path, 2, PROGRAM)
    assert time.monotonic() - begun < 10
    assert text.splitlines()[-1] == last
    assert (tmp_path / f"{name}.txt").read_text().strip() == text
    assert ("gpu_parts_that_fail.py" in text) == (name == "hangs")  # where it was
    found = noted(tmp_path, name)
    assert found is not None
    assert not found["ended"]
    assert not is_running(found["figures"][0]["value"])


def test_a_part_that_dies_says_how(tmp_path: Path) -> None:
    assert run(part("dies"), "cpu", tmp_path, 20, PROGRAM).endswith("dies: ended with status 7")
    assert noted(tmp_path, "dies")["figures"]  # type: ignore[index]


def test_the_part_that_runs_ends_with_the_program(tmp_path: Path) -> None:
    code = (
        "from benchmarks.gpu import *\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))\n"
        f"run(Part('stuck', '', 0, 0), 'cpu', Path({str(tmp_path)!r}), 60, {PROGRAM!r})"
    )
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    end = time.monotonic() + 30
    while not (found := noted(tmp_path, "stuck")) or not found["figures"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    program.wait(20)
    assert not is_running(found["figures"][0]["value"])


def test_the_short_forms_are_all_of_it() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = " ".join(re.findall(r"benchmarks\.gpu --only (.*) \$\(ARGS\)", makefile)).split()
    assert sorted(named) == sorted(one.name for one in PARTS)


def test_a_second_call_does_what_the_first_has_not_done(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = {"device": "a card", "torch": "2.15"}
    monkeypatch.setattr(gpu, "setup_in_a_process", lambda device: setup)  # it would import torch each time
    (tmp_path / "setup").write_text(json.dumps(setup))
    parts = [part("good"), part("dies"), part("wrong"), part("long", seconds=60)]
    words = ["--device", "cpu", "--into", str(tmp_path), "--minutes", "0.5"]
    assert main(words, parts, PROGRAM) == 1
    out = capsys.readouterr().out
    assert "== long: not begun, " in out
    assert "| a check | as it was found **FAILED** |" in out
    assert "1 of 2 checks passed" in out
    assert "Broken off: dies." in out
    before = (tmp_path / "good.json").read_text(), (tmp_path / "wrong.json").read_text()
    assert main([*words, "--only", "good", "wrong"], parts, PROGRAM) == 1
    assert "== good: done before" in capsys.readouterr().out
    assert (tmp_path / "good.json").read_text() == before[0]
    assert (tmp_path / "wrong.json").read_text() != before[1]
    assert not gpu.is_done(tmp_path, "good", {**setup, "torch": "1.0"})
    assert not gpu.is_done(tmp_path, "long", setup)


def test_a_part_that_is_broken_off_does_not_count_by_what_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "nothing.json").write_text("{}")
    run(part("nothing"), "cpu", tmp_path, 20, "tests.benchmarks.no_such_module")
    assert noted(tmp_path, "nothing") is None


def test_the_device_is_asked_in_another_process() -> None:
    found = gpu.setup_in_a_process("cpu")
    assert found is not None
    assert found["torch"] == torch.__version__


def test_without_a_gpu_it_says_so(capsys: Any) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("SKIPPED")


def test_an_unknown_part_lists_the_known_ones_and_help_says_how_to_carry_wheels(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "BERT"])
    assert "gpt-124m" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert "pip wheel -w wheels hydra-core==1.3.8 omegaconf==2.3.1" in out
    assert "antlr4-python3-runtime" in out


# What a part does


def test_an_error_without_text_is_a_check_that_failed_and_the_part_goes_on(tmp_path: Path, capsys: Any) -> None:
    notes = Notes(tmp_path, "part", {})

    def fails() -> Any:
        raise AssertionError

    notes.attempt("fails", fails)
    notes.attempt("passes", lambda: (True, "well"))
    notes.end()
    found = noted(tmp_path, "part")
    assert found is not None
    assert [(check["name"], check["passed"], check["words"]) for check in found["checks"]] == [
        ("fails", False, "AssertionError"),
        ("passes", True, "well"),
    ]
    assert "in fails\n    raise AssertionError" in found["checks"][0]["traceback"]
    assert "raise AssertionError" in capsys.readouterr().out
    assert failures(found) == ["fails"]
    assert described(ValueError("one\ntwo")) == "ValueError: one"


def test_the_rates_are_a_part(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:
        gpu_parts.main(["rates", "--device", "cpu", "--into", str(tmp_path), "--until", str(time.time() + 60)])
    finally:
        torch.set_num_threads(threads)
    found = noted(tmp_path, "rates")
    assert found is not None
    assert found["ended"]
    assert [one["name"] for one in found["figures"]] == ["bfloat16 products", "memory"]
