"""docs/coming_from.md: its tables are what is measured, and what it calls exact is."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from torch.optim import SGD, lr_scheduler

from benchmarks.parity import PAGE, PROJECTS, TABLES, TORCH, Row, Table, written

TEXT = PAGE.read_text(encoding="utf-8")


def without_rounding(text: str) -> str:
    """The last digits of numbers depend on the machine, and of single precision on the version of optax."""
    return re.sub(r"\b[\d.]+e-(0[7-9]|[12]\d)\b", "rounding", text)


def test_the_tables_are_what_is_measured() -> None:
    assert TEXT.count("<!-- parity: ") == len(TABLES)
    assert without_rounding(written(TEXT)).splitlines() == without_rounding(TEXT).splitlines()


def test_all_but_what_is_called_not_native_is_equal() -> None:
    native, _, not_native = TEXT.partition("## Not native")
    lines = re.findall(r"^\| `.*`.* \| ([^|]*) \|$", native.partition("<!-- parity: torch -->")[2], re.MULTILINE)
    differences = [line for line in lines if not line.startswith("`")]  # the last column of other tables
    assert len(differences) > 50
    assert {without_rounding(one) for one in differences} == {"exact", "exact (rounding)", "rounding"}
    assert not_native.count("exact") == 0


def test_the_lines_that_it_begins_with_run() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    scope: dict[str, Any] = {}
    exec(block, scope)
    assert scope["optimizer"].param_groups[0]["lr"] == pytest.approx(0.1 / 100)  # update 0 of a warmup of 100


def test_the_new_scheduler_of_the_template_is_made() -> None:
    old, new = (yaml.safe_load(block)["scheduler"] for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert instantiate(old)(optimizer=optimizer).patience == 10
    scheduler = instantiate(new)(optimizer=optimizer, total_steps=100)  # in a Trainer, the Trainer's
    assert scheduler.get_last_lr() == [pytest.approx(0.1 / 5)]


@pytest.mark.parametrize(
    "row",
    [
        TORCH[3]._replace(new="Cosine(min_lr=1e-9)"),
        TORCH[0]._replace(new="Step(step_size=301, gamma=0.5)"),
        PROJECTS[0]._replace(new="Cosine(min_lr=0.1, warmup=100)"),
        PROJECTS[-1]._replace(total=999),
    ],
    ids=["a billionth", "one later", "another start", "another end"],
)
def test_a_difference_is_seen(row: Row) -> None:
    assert "exact" not in row.line(vars(lr_scheduler))


def test_the_rows_of_a_package_that_is_missing_stay() -> None:
    assert Table(TORCH, "no_such_package").written("| as it was |\n") == "| as it was |\n"
