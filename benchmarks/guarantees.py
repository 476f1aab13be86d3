"""Writes docs/guarantees.md: `python -m benchmarks.guarantees`.

A row for each thing that can happen to the learning rate of a run: what Lightning and torch alone do then, measured by
training a tiny module; what happens here; and the tests that hold it, found by their mark, as in
`@pytest.mark.behaviour("B1")`. A row without a test is an error. `--only B3 B17` measures some rows, prints them and
writes nothing; `--tests` keeps what was measured, measures the rows that are new, and brings the rest up to date.
"""

from __future__ import annotations

import argparse
import ast
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import lightning
import torch

from benchmarks import plain_cases, plain_faults, plain_paths  # noqa: F401 - each enters its rows, in their order
from benchmarks.plain_runs import BEHAVIOURS

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "guarantees.md"
SECTIONS = {
    "B1": "The length of the run",
    "B8": "What makes the schedule go on",
    "B16": "Plateau",
    "B21": "Resuming",
    "B29": "Parameter groups",
    "B32": "Seeing it",
    "B35": "The LR range test",
    "B40": "Every path through a run",
    "B58": "Messages, loops of one's own, other front doors",
    "B66": "Strangers, faults and scale",
}
HEAD = """# Guarantees

What can happen to the learning rate of a run, and the tests that hold what happens here. Made by

    python -m benchmarks.guarantees

with Python {python}, torch {torch} and lightning {lightning}. The column *plain Lightning + torch, measured* is quoted
from nowhere: for each row the command trains a tiny module without lr_recipes and reads the LR when the optimizer
steps. Unless a row says otherwise, the peak is 0.1 and an epoch is 8 batches. "No message" means that no warning and no
log line of the run spoke of the learning rate or a schedule. Numbers in brackets are issues of the projects that they
follow. A test is run as `pytest` and its name."""
TABLE = """
## {section}

| # | situation | plain Lightning + torch, measured | lr_recipes | tests |
|---|---|---|---|---|"""


def marked_tests(folder: Path) -> dict[str, list[str]]:
    """Return the tests that hold each row, as ``tests/test_x.py::test_y``, in the order of files and lines.

    Raises:
        ValueError: a test is marked with a row that there is not.
    """
    found: dict[str, list[str]] = {name: [] for name in BEHAVIOURS}
    for path in sorted(folder.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        functions = (node for node in module.body if isinstance(node, ast.FunctionDef))
        for test in (one for one in functions if one.name.startswith("test")):
            node_id = f"{path.relative_to(folder.parent).as_posix()}::{test.name}"
            for name in [*_marks(test.decorator_list), *_marks(_of_module(module))]:
                if name not in found:
                    raise ValueError(f"{node_id} is marked {name!r}, and rows are {', '.join(found)}")
                found[name].append(node_id)
    return found


def _of_module(module: ast.Module) -> list[ast.expr]:
    """Return the marks of all tests of a file: its ``pytestmark``, one or a list of them."""
    given = [node.value for node in module.body if isinstance(node, ast.Assign) and _assigns(node, "pytestmark")]
    return [mark for one in given for mark in (one.elts if isinstance(one, ast.List) else [one])]


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _marks(given: Sequence[ast.expr]) -> list[str]:
    """Return the arguments of each ``pytest.mark.behaviour(...)``."""
    calls = [node for node in given if isinstance(node, ast.Call)]
    marks = [call for call in calls if ast.unparse(call.func) == "pytest.mark.behaviour"]
    return [ast.literal_eval(name) for mark in marks for name in mark.args]


def head() -> str:
    """Return what stands above the tables of a page that is measured now."""
    return HEAD.format(python=platform.python_version(), torch=torch.__version__, lightning=lightning.__version__)


def page(head: str, measured: dict[str, str], tests: dict[str, list[str]]) -> str:
    """Return the page, given the sentence that each plain case has returned."""
    lines = [head]
    for name in measured:
        lines += [TABLE.format(section=SECTIONS[name])] if name in SECTIONS else []
        lines.append(line_of(name, measured[name], tests[name]))
    return "\n".join(lines) + "\n"


def line_of(name: str, measured: str, tests: Sequence[str]) -> str:
    """Return a row of the page."""
    links = "<br>".join(f"[`{test}`](../{test.partition('::')[0]})" for test in tests)
    count = f"{len(tests)} test{'s' if len(tests) != 1 else ''}"
    cells = [name, BEHAVIOURS[name].situation, measured, BEHAVIOURS[name].here]
    return f"| {' | '.join(cells)} | <details><summary>{count}</summary>{links}</details> |"


def measured_in(text: str) -> dict[str, str]:
    """Return the measured sentence of each row of a page."""
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| B")]
    return {cells[0].removeprefix("| "): cells[2] for cells in rows}


def refreshed(text: str, tests: dict[str, list[str]], new: dict[str, str] | None = None) -> str:
    """Return a page with the present tests and wording, with what was measured when it was made, and with new rows."""
    known = {**measured_in(text), **(new or {})}
    measured = {name: known[name] for name in BEHAVIOURS if name in known}
    return page(text.partition("\n\n## ")[0], measured, tests)


def measure(names: Iterable[str]) -> dict[str, str]:
    """Run plain cases, with a line of progress for each."""
    measured = {}
    for name in names:
        begun = time.monotonic()
        measured[name] = BEHAVIOURS[name].plain()
        print(f"{name} {BEHAVIOURS[name].plain.__name__}: {time.monotonic() - begun:.1f} s", file=sys.stderr)
    return measured


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=BEHAVIOURS, metavar="ROW", help="print some rows, write nothing")
    parser.add_argument("--tests", action="store_true", help="keep what was measured; measure new rows only")
    parser.add_argument("--allow-missing", action="store_true", help="write the page though some rows have no test")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.only:
        for name, sentence in measure(options.only).items():
            print(f"{name}: {sentence}")
        return
    tests = marked_tests(ROOT / "tests")
    missing = [name for name, found in tests.items() if not found]
    if missing and not options.allow_missing:
        parser.error(f"no test is marked with {', '.join(missing)}, as in @pytest.mark.behaviour({missing[0]!r})")
    if options.tests:
        old = PAGE.read_text(encoding="utf-8")
        text = refreshed(old, tests, measure(name for name in BEHAVIOURS if name not in measured_in(old)))
    else:
        text = page(head(), measure(BEHAVIOURS), tests)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
