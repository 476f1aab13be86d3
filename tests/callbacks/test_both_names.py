"""Lightning is installed under two names: a Trainer of either is served alike, and none is imported unasked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.ready import run

ROOT = Path(__file__).parents[2]
LIGHTNING, OTHER = "lightning.pytorch", "pytorch_lightning"
# Set-up -> the names that may be imported at its end.
SETUPS = {
    f"{LIGHTNING}+@{LIGHTNING}": {"lightning"},
    f"{OTHER}+@{OTHER}": {OTHER},
    f"+{OTHER}@{OTHER}": {"lightning", OTHER},  # the order of sorted imports: something must be derived from before
    f"{LIGHTNING},{OTHER}+@{LIGHTNING}": {"lightning", OTHER},
    f"{LIGHTNING},{OTHER}+@{OTHER}": {"lightning", OTHER},
    f"{LIGHTNING}+{OTHER}@{OTHER}": {"lightning", OTHER},
    f"{OTHER}+{LIGHTNING}@{LIGHTNING}": {"lightning", OTHER},
    f"not lightning+@{OTHER}": {OTHER},
}


def results(setup: str, folder: Path) -> dict[str, Any]:
    done = run(["-m", "tests.callbacks.either_name", setup, folder], ROOT, timeout=240)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def of_lightning(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return results(f"{LIGHTNING}+@{LIGHTNING}", tmp_path_factory.mktemp("lightning"))


@pytest.mark.behaviour("B51")
@pytest.mark.parametrize("setup", SETUPS)
def test_both_names_are_served_in_the_same_way(setup: str, tmp_path: Path, of_lightning: dict[str, Any]) -> None:
    found = dict(of_lightning) if setup == f"{LIGHTNING}+@{LIGHTNING}" else results(setup, tmp_path)
    assert set(found.pop("imported")) == SETUPS[setup]
    assert found.pop("cli", 16) == 16
    assert "StepLR" in found["forecast"]
    # 8 batches: two updates of four in epoch 0 and four of two in epoch 1. A linear decay over 6 updates.
    assert found["accumulated"] == pytest.approx([0.1 * (1 - n / 6) for n in range(6)])
    assert "StochasticWeightAveraging brings a scheduler of its own" in found["averaged"]
    assert "two owners of one learning rate: Model" in found["two owners"]
    assert found["warmup"][4:] == pytest.approx([0.1 * 0.5 ** (n // 3) for n in range(4, 16)])
    assert found["plateau"][::8] == pytest.approx([0.1, 0.1, 0.05, 0.025])
    assert found["resumed"] == pytest.approx([0.1 * (1 - n / 16) for n in range(11, 16)])
    assert found["peak"] == pytest.approx(1)
    assert found["function"] == 100
    assert found["alone"] == 8
    assert found["is a callback"]
    assert found == {name: value for name, value in of_lightning.items() if name != "imported"}
