"""docs/seeing.md: what stands below its code is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.seeing_page import PAGE, Shown, written

TEXT = PAGE.read_text(encoding="utf-8")


def of_any_version(text: str) -> str:
    return re.sub(r"Lightning \d[\w.+]*,", "Lightning,", text)


@pytest.mark.filterwarnings("default")
def test_what_stands_below_the_code_is_what_happens(tmp_path: Path) -> None:
    assert of_any_version(written(TEXT, tmp_path)).splitlines() == of_any_version(TEXT).splitlines()
    named = re.findall(r"\]\((\S+\.png)\)", TEXT)
    assert sorted(named) == sorted(path.name for path in tmp_path.iterdir())
    assert all((PAGE.parent / picture).is_file() for picture in named)


def test_every_mark_has_something_below_it() -> None:
    marks = re.findall(r"<!-- seeing: (\w+) -->\n\n(.*)\n", TEXT)
    assert len(marks) == 9
    assert all(hasattr(Shown, name) and first.startswith("    ") for name, first in marks)
