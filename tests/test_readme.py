"""The README and the pages of docs/: their commands compose, their code runs, their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from recipes.app.config import composed
from recipes.app.validation import check

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def commands(text: str) -> list[list[str]]:
    """What is typed after `python train.py` in the indented blocks; runs that must exist first are left out."""
    joined = text.replace("\\\n", " ")
    lines = re.findall(r"^ {4}python train\.py ?(.*)$", joined, flags=re.MULTILINE)
    typed = [shlex.split(line, comments=True) for line in lines]
    return [words for words in typed if not any("<run>" in word for word in words) and "--help" not in words]


COMMANDS = [words for page in PAGES for words in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_compose(words: list[str]) -> None:
    overrides = [word for word in words if word != "-m"]
    first_of_each = [word.split(",")[0] if "-m" in words else word for word in overrides]
    check(composed(*first_of_each, "output_dir=x"))


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 6


def test_the_table_names_every_recipe() -> None:
    named = set(re.findall(r"`recipe=(\w+)`", README))
    assert named == {path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")}


def test_the_extras_that_are_named_exist() -> None:
    named = {extra for found in re.findall(r"'\.\[([\w,-]+)\]'", README) for extra in found.split(",")}
    declared = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    assert named >= {"lightning", "pytorch-lightning", "hydra"}
    assert named <= set(re.findall(r"^([\w-]+) = \[", declared.partition("\n[")[0], re.MULTILINE))


def test_the_readme_counts_the_guarantees() -> None:
    rows = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8").count("\n| B")
    assert f"lists {rows} situations" in README


def test_the_script_builds_a_trainer() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    scope: dict[str, object] = {}
    exec(block, scope)
    assert len(scope["trainer"].callbacks) > 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).is_file()] == []


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {name for page in PAGES for name in re.findall(r"^ {4}make (\S+)", page.read_text(encoding="utf-8"), re.M)}
    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()
