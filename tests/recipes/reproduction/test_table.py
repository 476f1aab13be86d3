"""The rows: every one composes, and the six of the table are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.reproduction.further import CLAIMS, SAME
from recipes.reproduction.row import BASELINE, DEFAULT, DEFAULT_LR, Row
from recipes.reproduction.rows import ROWS, rows_of
from recipes.reproduction.worker import measured_config

ROOT = Path(__file__).parents[3]
SCHEDULES = [(row, schedule) for row in ROWS for schedule in row.all_schedules]
OF_THE_TABLE = [row for row in ROWS if row.part == "table"]


def test_every_recipe_has_its_row() -> None:
    folder = ROOT / "conf" / "recipe"
    recipes = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml")}
    assert {row.recipe or row.name for row in ROWS} == {one for one in recipes if not one.startswith("published/")}
    assert len(OF_THE_TABLE) == 6


def test_every_row_of_the_table_but_one_has_a_second_task() -> None:
    second = {row.of: row for row in ROWS if row.part == "second"}
    assert {row.name for row in OF_THE_TABLE} - set(second) == {"large_batch"}
    for row in OF_THE_TABLE:
        if row.name in second:
            assert set(second[row.name].recommended) == set(row.recommended)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_is_consistent(row: Row) -> None:
    assert row.baseline == (BASELINE if row.part in ("table", "second", "length") else "linear")
    assert set(row.recommended) <= set(row.schedules) - {row.baseline}
    assert {*row.warmup, *row.untuned} <= set(row.all_schedules)
    assert all(after == 2 * before for before, after in zip(row.lrs, row.lrs[1:], strict=False))
    assert row.seeds >= 10 or row.part == "warmup"
    assert row.tuning_seeds >= 3
    if row.part != "table":
        assert row.of in [one.name for one in ROWS]


def test_a_claim_is_of_schedules_that_are_trained() -> None:
    rows = {row.name: row for row in ROWS}
    assert len({(one.row, one.schedule, one.rival) for one in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        assert {claim.schedule, claim.rival} <= set(rows[claim.row].all_schedules)
        assert claim.margin in (0.0, SAME)
        assert not {claim.schedule, claim.rival} & set(rows[claim.row].untuned)


def test_the_practical_default_is_that_of_the_optimizers_own_file() -> None:
    cfg = measured_config(("optimizer=adamw", "schedule=warmup_cosine", "output_dir=unused"))
    for row in (row for row in ROWS if DEFAULT in row.also):
        own = measured_config((*row.overrides(DEFAULT), "output_dir=unused"))
        assert row.untuned[DEFAULT] == DEFAULT_LR == cfg.optimizer.lr
        assert own.schedule == cfg.schedule
        assert own.optimizer._target_ == cfg.optimizer._target_
        assert own.optimizer.weight_decay == cfg.optimizer.weight_decay


@pytest.mark.parametrize(("row", "schedule"), SCHEDULES, ids=lambda value: getattr(value, "name", value))
def test_every_schedule_composes_and_the_fixed_lr_has_no_warmup(row: Row, schedule: str) -> None:
    cfg = measured_config((*row.overrides(schedule), "output_dir=unused"))
    if schedule == BASELINE:
        assert cfg.schedule._target_.endswith(".Fixed")
        assert cfg.schedule.warmup == 0
    if schedule in row.warmup:
        assert (cfg.schedule.warmup != 0) is schedule.startswith("warmup")


@pytest.mark.parametrize("row", OF_THE_TABLE, ids=lambda row: row.name)
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
    for row in (row for row in ROWS if row.part in ("table", "second")):
        own = measured_config((f"recipe={row.recipe or row.name}", "output_dir=unused")).schedule
        named = [measured_config((*row.overrides(name), "output_dir=unused")).schedule for name in row.recommended]
        assert ({**own, "patience": 0}) in [
            {**one, "patience": 0} for one in named
        ]  # that of the plateau may be another


def test_rows_are_found_by_name_in_the_order_of_the_table() -> None:
    assert rows_of(["all"]) == list(ROWS)
    assert [row.name for row in rows_of(["transformer", "small_experiment"])] == ["small_experiment", "transformer"]
    with pytest.raises(ValueError, match=r"rows=transfomer is unknown \(did you mean 'transformer'"):
        rows_of(["transfomer"])
