"""The rows: every one composes, and the six of the table are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.reproduction.table import BASELINE, ROWS, Row, rows_of
from recipes.reproduction.worker import measured_config

ROOT = Path(__file__).parents[3]
SCHEDULES = [(row, schedule) for row in ROWS for schedule in row.schedules]


def test_every_recipe_has_its_row() -> None:
    recipes = {path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml")}
    rows = {row.name for row in ROWS if not row.extra}
    assert rows == recipes - {"fine_tuning_text"}  # the second of two recipes for one row
    assert len(rows) == 6


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_consistent(row: Row) -> None:
    assert next(iter(row.schedules)) == BASELINE
    assert set(row.recommended) <= set(row.schedules) - {BASELINE}
    assert set(row.warmup) <= set(row.schedules)
    assert all(after == 2 * before for before, after in zip(row.lrs, row.lrs[1:], strict=False))
    assert row.seeds >= 5


@pytest.mark.parametrize(("row", "schedule"), SCHEDULES, ids=lambda value: getattr(value, "name", value))
def test_every_schedule_composes_and_the_fixed_lr_has_no_warmup(row: Row, schedule: str) -> None:
    cfg = measured_config((*row.overrides(schedule), "output_dir=unused"))
    if schedule == BASELINE:
        assert cfg.schedule._target_.endswith(".Fixed")
        assert cfg.schedule.warmup == 0
    if row.warmup:
        assert (cfg.schedule.warmup != 0) is schedule.startswith("warmup")


@pytest.mark.parametrize("row", [row for row in ROWS if not row.extra], ids=lambda row: row.name)
def test_the_published_settings_keep_their_length_and_their_lr_is_amid_the_grid(row: Row) -> None:
    own = measured_config((f"recipe=published/{row.name}", "output_dir=unused"))
    if row.name == "large_batch":  # there the LR follows the batch
        scaling = own.batch_scaling
        lr = scaling.base_lr * own.data.batch_size / scaling.base_batch_size
    else:
        lr = own.optimizer.lr
    assert row.published().lrs[1] == pytest.approx(lr)
    for schedule in row.schedules:
        cfg = measured_config((*row.published().overrides(schedule), "output_dir=unused"))
        assert cfg.trainer.max_epochs == own.trainer.max_epochs


def test_the_recipes_own_schedule_is_among_those_that_are_measured() -> None:
    for row in ROWS:
        own = measured_config((f"recipe={row.recipe or row.name}", "output_dir=unused")).schedule
        assert own in [
            measured_config((*row.overrides(name), "output_dir=unused")).schedule for name in row.recommended
        ]


def test_rows_are_found_by_name_in_the_order_of_the_table() -> None:
    assert rows_of(["all"]) == list(ROWS)
    assert [row.name for row in rows_of(["transformer", "small_experiment"])] == ["small_experiment", "transformer"]
    with pytest.raises(ValueError, match=r"rows=transfomer is unknown \(did you mean 'transformer'"):
        rows_of(["transfomer"])
