"""docs/speed.md: the figures of a GPU are those of the result files, or it says that there are none."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from benchmarks.gpu_bench import CASES, Result, Timed, floors_table
from benchmarks.gpu_floors import Floors
from benchmarks.gpu_notes import Notes
from benchmarks.gpu_page import HEADS, NONE_YET, PAGE, RESULTS, row_of, written

TEXT = PAGE.read_text(encoding="utf-8")
CARD = {"device": "NVIDIA H100 PCIe", "torch": "2.11.0"}


def test_the_page_has_the_figures_of_the_files() -> None:
    assert written(TEXT) == TEXT
    assert (NONE_YET in TEXT) == (not list(RESULTS.glob("*.json")))


def test_without_a_file_it_says_so(tmp_path: Path) -> None:
    assert NONE_YET in written(TEXT, tmp_path)


def test_figures_stand_below_the_name_of_the_card(tmp_path: Path, capsys: Any) -> None:
    notes = Notes(tmp_path, "rates", CARD)
    notes.figure("bfloat16 products", 5e14, "FLOP/s")
    notes.figure("memory", 2e12, "B/s")
    notes.figure("bfloat16 products, data sheet", 7.5e14, "FLOP/s")
    notes.end()
    runs = [Timed(0.1, 0.5)] * 3
    result = Result(CASES["gpt-124m"], runs, runs, Floors(2.5e13, 4e10), 1, 45_000_000_000, "cudnn")
    notes = Notes(tmp_path, "gpt-124m", CARD)
    notes.case(result.values(), str(result))
    notes.check("a check", False, "a | b")
    Notes(tmp_path, "clock", {**CARD, "torch": "2.15.0"})
    page = written(TEXT, tmp_path)
    assert NONE_YET not in page
    assert page.startswith(TEXT.partition("<!-- figures of a GPU -->")[0])
    assert page.endswith(TEXT.partition("<!-- end of the figures -->")[2])
    first, second = re.findall(r"^NVIDIA H100 PCIe \(torch (.*)\), \d{4}-\d\d-\d\d:$", page, re.M)
    assert (first, second) == ("2.11.0", "2.15.0")
    row = "GPT 124M, 32 x 1024 tokens | 50 | 20 | 100 | 100 | 50% | 33.3% | 327,680 tokens/s | 1.000 | 0.98 | cudnn"
    assert f"| {row} | 45.0 |" in page
    assert "| a check | a \\| b **FAILED** |" in page
    assert "Broken off: gpt-124m." in page
    assert "Broken off: clock." in page


def test_what_is_not_known_is_left_empty() -> None:
    runs = [Timed(0.1, 0.5)] * 3
    cells = row_of(Result(CASES["small-cnn"], runs, runs, Floors(1.0, 1.0), 1, 0).values(), {})
    assert len(cells) == len(HEADS)
    assert [cells[place] for place in (1, 2, 5, 6, 9, 10)] == ["-"] * 6


def test_the_floors_on_the_page_are_those_of_the_command() -> None:
    heads, _, *rows = floors_table([CASES["gpt-124m"], CASES["small-cnn"]]).splitlines()
    assert {heads, *rows} <= set(TEXT.splitlines())
