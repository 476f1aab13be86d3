"""docs/forecast.md and the README: what stands below their code is what is measured and printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.forecast_pages import DOCS, written
from lr_recipes.report.findings import FINDINGS

PAGE = (DOCS / "forecast.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("default")
def test_what_stands_below_the_code_is_what_happens() -> None:
    assert PAGE.count("Plain Lightning uses") == 5
    assert written(PAGE) == PAGE


def test_the_readme_shows_the_first_of_them() -> None:
    readme = Path(DOCS.parent, "README.md").read_text(encoding="utf-8")
    (said,) = [line for line in PAGE.splitlines() if line.startswith("    climbs_again: ")]
    assert said in readme.splitlines()


def test_every_finding_has_its_line() -> None:
    assert [name for name in FINDINGS if PAGE.count(f"| `{name}` |") != 1] == []
