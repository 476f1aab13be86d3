"""Whether an average takes the place of a decay: the command works, and the page has a row for each way to train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.averaging import main

PAGE = (Path(__file__).parents[2] / "docs" / "averaging.md").read_text(encoding="utf-8")


def ways(table: str) -> list[str]:
    """The first two columns, without how long an average is."""
    begin = table.index("| labels |")
    rows = table[begin:].partition("\n\n")[0].splitlines()[2:]
    return [row.split("|")[1] + row.split("|")[2].partition("EMA")[0] for row in rows]


def test_the_command_prints_the_table_of_the_page(capsys: Any) -> None:
    main(["--quick"])
    assert ways(capsys.readouterr().out) == ways(PAGE)
