"""The table of what Lightning costs: every variant trains, and what it adds is against the plain loop."""

from __future__ import annotations

from typing import Any

from benchmarks.lightning_overhead import PLAIN, VARIANTS, main, table


def test_all_variants_are_measured(capsys: Any) -> None:
    main(["--updates", "3", "--repeats", "1"])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == ["what", PLAIN, *VARIANTS]


def test_what_is_added_is_the_median_of_the_pairs() -> None:
    lines = table({PLAIN: [1e-6, 5e-6, 9e-6], "x": [2e-6, 9e-6, 11e-6]}).splitlines()
    assert lines[-1] == "| x | 9 | 2 |"
