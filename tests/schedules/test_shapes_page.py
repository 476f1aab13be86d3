"""docs/shapes.md: every line of it is a schedule, every schedule is there, and what is named is that."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import pytest
from torch.optim.lr_scheduler import StepLR

from lr_recipes import Horizon, schedules
from lr_recipes.schedules import Schedule
from lr_recipes.schedules.named import NAMED

PAGE = (Path(__file__).parents[2] / "docs" / "shapes.md").read_text(encoding="utf-8")
LINES = re.findall(r"`([A-Z]\w+\([^`]*\))`", PAGE)
SCOPE = {**vars(schedules), "math": math, "partial": partial, "StepLR": StepLR}
RUN = Horizon(total_steps=10_000, steps_per_epoch=100)


def made(line: str) -> Schedule:
    found = eval(line.replace("my_module.late", "math.cos"), SCOPE)
    assert isinstance(found, Schedule)
    return found


@pytest.mark.parametrize("line", [line for line in LINES if not line.startswith("LearningRateScheduler")])
def test_a_line_is_a_schedule_that_fits_a_run(line: str) -> None:
    curve = made(line).resolve(RUN, peak=0.1)
    assert all(curve(n) >= 0 for n in range(0, 10_001, 500))


def test_every_schedule_and_every_name_is_there() -> None:
    kinds = {type(made(line)).__name__ for line in LINES if not line.startswith("LearningRateScheduler")}
    assert kinds == set(schedules.__all__) - {"Schedule", "Shape", "Span", "ToFloor"}
    rows = re.findall(r"^\| (`.*?`) \| .* \| (`.*`) \|$", PAGE, re.MULTILINE)
    named = {name: line for line, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert set(named) == set(NAMED)
    assert [name for name, line in named.items() if type(made(line.split("`")[1])) is not type(NAMED[name])] == []


def factors(line: str, total: int = 200) -> list[float]:
    curve = made(line).resolve(total)
    return [curve(n) for n in range(total)]


def test_what_has_no_name_is_what_is_read_of() -> None:
    """The papers' formulas, written out."""
    (anytime,) = re.findall(r"anytime .* \| `(.*)` \|", PAGE)
    assert factors(anytime) == pytest.approx([math.sqrt(1000 / (n + 1000)) for n in range(200)])
    (slanted,) = re.findall(r"slanted .* \| `(.*)` \|", PAGE)
    share = [n / 20 if n < 20 else 1 - (n - 20) / (20 * (1 / 0.1 - 1)) for n in range(200)]
    assert factors(slanted) == pytest.approx([(1 + p * (32 - 1)) / 32 for p in share])
    (infinite,) = re.findall(r"infinite .* \| `(.*)` \|", PAGE)
    cooldown = [0.5 + 0.25 * (1 + math.cos(math.pi * (n - 2) / 48)) for n in range(2, 50)]
    anneal = [0.5 * (0.05 / 0.5) ** ((n - 170) / 30) for n in range(170, 200)]
    assert factors(infinite) == pytest.approx([0.5, 1, *cooldown, *[0.5] * 120, *anneal])
