"""The notebook of ``examples/`` runs, and shows what is committed with it."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import nbformat
import pytest

from tests.notebook import NOTEBOOK, code_of, executed
from tests.report.test_shown import ink_in, parts_of

pytestmark = pytest.mark.behaviour("B65")
# Of the range test: what comes of a sum of many roundings is another processor's own.
_NUMBER = re.compile(r"[\d.]+(e-?\d+)?")


@pytest.fixture(scope="module")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """As it is committed, and as it comes out now."""
    return nbformat.read(NOTEBOOK, as_version=4), executed(NOTEBOOK, tmp_path_factory.mktemp("notebook"))


def texts(cell: Any) -> list[str]:
    """What a cell shows as text: of an output in HTML, its own text and that within the HTML."""
    found = []
    for output in cell.outputs:
        data = output.get("data", {})
        found += [output.get("text", ""), data.get("text/plain", "")]
        found += [parts_of(data["text/html"])[0]] if "<pre" in data.get("text/html", "") else []
    joined = "\n".join(found)
    return _NUMBER.sub("#", joined).split() if "range_test(" in cell.source else joined.splitlines()


def test_the_notebook_shows_what_is_committed_with_it(notebooks: tuple[Any, Any]) -> None:
    committed, now = map(code_of, notebooks)
    assert [cell.source for cell in now] == [cell.source for cell in committed]
    assert [texts(cell) for cell in now] == [texts(cell) for cell in committed]
    assert [cell.execution_count for cell in committed] == [*range(1, len(committed) + 1)]


def test_every_result_has_its_picture(notebooks: tuple[Any, Any]) -> None:
    for notebook in notebooks:
        shown = [output.data for cell in code_of(notebook) for output in cell.outputs if "data" in output]
        assert len(shown) == 6  # schedule, plan, comparison, range test, run, forecast
        for data in shown:
            png = re.search(r"base64,([^\"]+)", data["text/html"])
            assert png is not None
            assert ink_in(b64decode(png[1])) > 0.005


def test_the_run_says_its_plan_and_its_closing_line_and_then_shows_the_picture(notebooks: tuple[Any, Any]) -> None:
    _, now = notebooks
    (run,) = [cell for cell in code_of(now) if ".fit(" in cell.source]
    said, picture = run.outputs
    assert said.text.splitlines()[0] == "Learning-rate plan for AdamW: 285 updates (5 epochs of 57 updates)"
    assert said.text.splitlines()[-2:] == [
        "Learning rate: used = planned on 285 of 285 updates, schedule complete",
        "See notebook_run/lr.png, lr.csv",
    ]
    assert picture.data["text/plain"] == "<lr.png>"


def test_a_range_test_says_nothing_but_its_result(notebooks: tuple[Any, Any]) -> None:
    _, now = notebooks
    (cell,) = [cell for cell in code_of(now) if "range_test(" in cell.source]
    assert [output.output_type for output in cell.outputs] == ["execute_result"]


def test_nothing_of_a_machine_is_in_it() -> None:
    assert not re.search(r"/(home|work|tmp|Users|root)/|site-packages", NOTEBOOK.read_text(encoding="utf-8"))
