"""Every set-up of the table with a logger in the run: the run is as without it, and is what was foretold."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import LightningModule, Trainer

from lr_recipes import LearningRateLogger, forecast
from tests.foretold.oracle import measured
from tests.foretold.setups import SETUPS, Setup, plain

for subject in ("reported", "sound", "faults", "plateaus", "peers"):
    importlib.import_module(f"tests.foretold.{subject}")

SAID_BY = "lightning.pytorch.utilities.rank_zero"


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in SETUPS.items() if row.trained])
def test_the_run_with_a_logger_is_the_run_without(row: Setup, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logger, made = LearningRateLogger(tmp_path, plot=False), []

    def join(trainer: Trainer, module: LightningModule, **fit: Any) -> None:
        made.append(forecast(trainer, module, **fit))
        trainer.callbacks.append(logger)  # type: ignore[attr-defined]

    with caplog.at_level("INFO", logger=SAID_BY):
        run = measured(row, tmp_path, before=join)
    (before,), there, without = made, logger.forecast, plain(row.name)
    assert there is not None
    told = [f"{one.name}: {one.message}" for one in there.findings]
    assert run.warned == sorted([*without.warned, *told])
    run.warned = without.warned
    assert run == without
    # In the run it says what was said before it.
    assert (there.findings, there.caveats) == (before.findings, before.caveats)
    for o, used in enumerate(run.used):
        first, known = there.outlooks[o].case.series.first, there.known_steps(o)
        assert (there.total_steps(o), known) == (before.total_steps(o), before.known_steps(o))
        assert [there.lr(n, o) for n in range(first, known)] == [before.lr(n, o) for n in range(first, known)]
        if known - first >= len(used) and run.error is None:
            assert compared(caplog.text) == len(used)


def compared(text: str) -> int:
    """Updates that used what was foretold, and those that changed nothing; none must have used something else."""
    found = re.search(r"used = forecast on (\d+) of (\d+) updates?(?:, (\d+) skipped updates?)?", text)
    assert found is not None, text
    used, known, skipped = (int(number or 0) for number in found.groups())
    assert used == known
    return used + skipped
