"""Every set-up of the table: the forecast of it against a plain run, and the plain run after a forecast."""

from __future__ import annotations

import importlib
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import lr_recipes
from tests.foretold.modules import Improves
from tests.foretold.oracle import Measured, measured, silence
from tests.foretold.setups import FINDINGS, SETUPS, Setup, plain

for subject in ("reported", "sound", "faults", "plateaus", "peers", "realistic"):
    importlib.import_module(f"tests.foretold.{subject}")

each = pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in SETUPS.items() if row.trained])
real = pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in SETUPS.items() if not row.trained])


@cache
def foretold(name: str) -> tuple[Any, Measured]:
    """The forecast of a set-up, and the plain run that came after it with the same Trainer and module."""
    made: list[Any] = []

    def forecast(*fit: Any, **loaders: Any) -> None:
        made.append(lr_recipes.forecast(*fit, **loaders))

    with TemporaryDirectory() as folder:
        run = measured(SETUPS[name], Path(folder), before=forecast)
    return made[0], run


def test_the_table_has_two_guises_of_everything_and_as_many_sound_ones() -> None:
    named = Counter(name for row in SETUPS.values() for name in row.expected)
    assert {name for name in FINDINGS if named[name] < 2} == set()
    sound = sum(row.sound for row in SETUPS.values())
    assert len(SETUPS) >= 92
    assert sound >= len(SETUPS) / 2


@each
def test_the_sentence_is_what_plain_lightning_does(row: Setup) -> None:
    run = plain(row.name)
    assert run.apart == [], "an update did not use the LR that was read before it"
    assert (run.error is not None) == ("raises" in row.expected), run.error
    assert run.updates > 0
    assert row.check is None or row.check(run), (run.lrs, run.ticks, run.error)


@each
def test_the_forecast_is_what_plain_lightning_does(row: Setup) -> None:
    run, (forecast, _) = plain(row.name), foretold(row.name)
    for o, used in enumerate(run.used):
        first = first_update(row, forecast.total_steps(o), len(used), run.begun)
        known = min(forecast.known_steps(o) - first, len(used))
        least, most = certain(row, len(used))
        assert least <= known <= most
        same = len(used) if row.sound and row.module is Improves else known
        assert [tuple(forecast.lr(first + n, o)) for n in range(same)] == used[:same]
    if row.known != 0 and row.ticks:
        for s, ticks in enumerate(run.ticks):
            sure = len(ticks) - (run.error is not None)  # the tick that raised may be said or not
            said = [n - first for n in forecast.ticks(s) if n - first <= len(used)]
            assert said[:sure] == ticks[:sure]
            assert run.error is not None or len(said) == sure
    found = {finding.name for finding in forecast.findings}
    assert row.expected <= found <= row.expected | row.may, str(forecast)


@each
def test_the_run_after_a_forecast_is_the_run_without(row: Setup) -> None:
    assert foretold(row.name)[1] == plain(row.name)


@real
def test_a_real_recipe_has_no_finding(row: Setup) -> None:
    trainer, module, loaders = row.build()
    with silence():
        forecast = lr_recipes.forecast(trainer, module, **loaders)
    total = forecast.total_steps()
    assert (total is not None) == row.total
    updates = 0 if total is None else total
    least, most = certain(row, updates)
    assert least <= forecast.known_steps() <= most
    assert forecast.findings == [], str(forecast)
    run = Measured(used=[[tuple(forecast.lr(n)) for n in range(updates)]])
    assert row.check is None or row.check(run), run.lrs


def first_update(row: Setup, total: int | None, updates: int, begun: int) -> int:
    """The number of this fit's first update: a resumed run may be counted from its beginning or from here."""
    if total is None:
        assert not row.total
        return 0
    if "raises" in row.expected:  # the total may be the one that was meant
        return begun if total >= begun + updates else 0
    assert total in {updates, begun + updates}
    return total - updates


def certain(row: Setup, updates: int) -> tuple[int, int]:
    """The least and the most first updates that can be certain."""
    if row.known is None:
        return updates, updates
    least, most = row.known if isinstance(row.known, tuple) else (row.known, row.known)
    return min(least, updates), min(most, updates)
