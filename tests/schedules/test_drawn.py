"""Schedules that are drawn by hand, in a run: what is above the base LR is planned, used, drawn and resumed too."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lr_recipes import Horizon, preview
from lr_recipes.schedules import Custom, Piecewise, Ramp, Schedule
from tests.callbacks.harness import PEAK, fit, keep_all, messages, record_lrs

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)
ABOVE = [
    (Ramp(end=9), [1 + n / 2 for n in range(16)]),
    (Piecewise(milestones=[0, "50%"], factors=[1, 5]), [*(1 + n / 2 for n in range(8)), *[5.0] * 8]),
    (Custom(function=lambda p: 1 + 8 * p), [1 + n / 2 for n in range(16)]),
]


@pytest.mark.parametrize(("schedule", "factors"), ABOVE, ids=["ramp", "piecewise", "custom"])
def test_a_trainer_uses_what_is_above_the_base_lr(
    schedule: Schedule, factors: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run = fit(schedule, callbacks=[record_lrs(tmp_path), keep_all(tmp_path)], max_epochs=2)
    assert run.used == pytest.approx([PEAK * factor for factor in factors])
    assert "Learning rate: used = planned on 16 of 16 updates, schedule complete" in messages(caplog)
    assert f"base LR {PEAK:g}, LR {PEAK:g} -> " in messages(caplog)
    with (tmp_path / "lr.csv").open(newline="") as file:
        assert [float(row["planned_factor"]) for row in csv.DictReader(file)] == pytest.approx(factors)
    assert fit(schedule, ckpt_path=tmp_path / "step=5.ckpt", max_epochs=2).used == run.used[5:]


def test_its_picture_and_its_chart_reach_as_high_as_it_does() -> None:
    shown = preview(Ramp(end=10), Horizon(total_steps=91), lr=0.1)
    assert max(shown.plot().axes[0].lines[0].get_ydata()) == pytest.approx(0.1 * (1 + 9 * 90 / 91))
    assert "0.99" in shown.chart(plain=True)


@pytest.mark.parametrize("interpolation", ["cosine", ["cosine", "step"]])
def test_points_of_a_config_are_plain(interpolation: Any) -> None:
    knobs = {"milestones": [0, "50%", "75%"], "factors": [1, 0.5, 2], "interpolation": interpolation}
    made = instantiate(OmegaConf.create({"_target_": "lr_recipes.schedules.Piecewise", **knobs}))
    assert made == Piecewise(**knobs)
    assert json.loads(json.dumps(made.describe())) == {**Piecewise(**knobs).describe(), **knobs}
