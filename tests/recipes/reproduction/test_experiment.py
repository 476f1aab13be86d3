"""Which runs are wanted, from results that are made up: a loss that is known at every LR."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from recipes.reproduction.experiment import FIRST_TUNING_SEED, Experiment, Result, Run
from recipes.reproduction.row import BASELINE, Row

ROW = Row(
    "row",
    "A setting",
    {BASELINE: ("schedule=fixed",), "cosine": ("schedule=cosine",), "warmup_cosine": ("schedule=warmup_cosine",)},
    recommended=("cosine",),
    lrs=(0.1, 0.2, 0.4),
    published_lr=0.1,
    seeds=5,
    tuning_seeds=2,
    why="",
)


def valley(best: float) -> Callable[[Run], float]:
    """A loss that is 1 at the best LR, and more by its distance in factors of 2."""
    return lambda run: 1 + abs(math.log2(run.lr / best))


def made(run: Run, loss: float) -> Result:
    if math.isinf(loss):
        return Result(run, "diverged")
    return Result(run, "done", val_loss=loss, val_acc=0.5, test_loss=loss, test_acc=0.5, updates=10, seconds=1.0)


def all_results(experiment: Experiment, loss: Callable[[Run], float]) -> dict[Run, Result]:
    """Make the runs that are wanted until none is."""
    results: dict[Run, Result] = {}
    while wanted := experiment.wanted(results):
        results |= {run: made(run, loss(run)) for run in wanted}
        assert len(results) < 1000
    return results


def lrs_tried(results: dict[Run, Result], schedule: str, seeds: list[int]) -> list[float]:
    return sorted({run.lr for run in results if run.schedule == schedule and run.seed in seeds})


def test_it_begins_with_the_grid_of_every_schedule_on_the_tuning_seeds() -> None:
    experiment = Experiment(ROW)
    wanted = experiment.wanted({})
    assert len(wanted) == len(set(wanted)) == 3 * 3 * 2
    assert {run.seed for run in wanted} == {FIRST_TUNING_SEED, FIRST_TUNING_SEED + 1}
    assert {run.lr for run in wanted} == set(ROW.lrs)


def test_tuning_and_evaluation_seeds_are_disjoint() -> None:
    experiment = Experiment(ROW)
    assert not set(experiment.seeds) & set(experiment.tuning_seeds)
    assert experiment.seeds == [101, 102, 103, 104, 105]


def test_a_schedule_is_evaluated_at_its_own_best_lr_and_nothing_else() -> None:
    experiment = Experiment(ROW)
    results = all_results(experiment, lambda run: valley(0.2 if run.schedule == "cosine" else 0.1)(run))
    assert lrs_tried(results, "cosine", experiment.seeds) == [0.2]
    assert experiment.tuned("cosine", results).best == 0.2


@pytest.mark.parametrize(("best", "tried"), [(0.8, [0.1, 0.2, 0.4, 0.8, 1.6]), (0.05, [0.025, 0.05, 0.1, 0.2, 0.4])])
def test_a_grid_grows_while_its_best_lr_is_on_an_edge(best: float, tried: list[float]) -> None:
    experiment = Experiment(ROW)
    results = all_results(experiment, valley(best))
    assert lrs_tried(results, "cosine", experiment.tuning_seeds) == pytest.approx(tried)
    assert experiment.tuned("cosine", results).best == best


def test_a_grid_does_not_grow_for_ever() -> None:
    experiment = Experiment(ROW)
    results = all_results(experiment, lambda run: -math.log(run.lr))
    assert len(lrs_tried(results, "cosine", experiment.tuning_seeds)) == 3 + 10
    assert experiment.tuned("cosine", results).best == max(lrs_tried(results, "cosine", experiment.tuning_seeds))


def test_lrs_at_which_a_run_diverged_are_not_chosen() -> None:
    experiment = Experiment(ROW)
    results = all_results(experiment, lambda run: math.inf if run.lr > 0.1 else valley(0.1)(run))
    assert experiment.tuned("cosine", results).best == 0.1


def test_the_fixed_lr_is_tuned_on_the_evaluation_seeds_too() -> None:
    """Its best LR there is another one than on the tuning seeds, two steps away."""
    experiment = Experiment(ROW)
    results = all_results(experiment, lambda run: valley(0.8 if run.seed in experiment.seeds else 0.2)(run))
    assert experiment.tuned(BASELINE, results).best == 0.2
    assert experiment.hindsight(results).best == 0.8
    assert lrs_tried(results, BASELINE, experiment.seeds) == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


def test_where_warmup_is_compared_both_schedules_go_far_beyond_the_best_lr() -> None:
    experiment = Experiment(Row(**{**vars(ROW), "warmup": ("cosine", "warmup_cosine")}))
    results = all_results(experiment, valley(0.2))
    for schedule in ("cosine", "warmup_cosine"):
        assert lrs_tried(results, schedule, experiment.tuning_seeds) == pytest.approx([0.1 * 2**n for n in range(6)])
    assert experiment.robustness(results) == pytest.approx([0.1 * 2**n for n in range(6)])


@pytest.mark.parametrize("row", [replace(ROW, part="length"), ROW.plain()], ids=["a length", "the short form"])
def test_only_a_row_of_the_table_in_the_long_form_is_judged_in_hindsight(row: Row) -> None:
    experiment = Experiment(row)
    results = all_results(experiment, valley(0.2))
    assert lrs_tried(results, BASELINE, experiment.seeds) == [0.2]
    assert len(results) == experiment.expected() == 3 * 3 * 2 + 3 * 5


def test_what_is_taken_as_it_is_has_no_tuning_runs() -> None:
    experiment = Experiment(replace(ROW, also={"default": ("schedule=cosine",)}, untuned={"default": 0.003}))
    results = all_results(experiment, valley(0.2))
    runs = [run for run in results if run.schedule == "default"]
    assert {run.lr for run in runs} == {0.003}
    assert [run.seed for run in runs] == experiment.seeds
    assert len(results) == experiment.expected()


def test_a_part_of_a_longer_run_takes_its_lr_from_there() -> None:
    """Asked for alone, the shorter row makes the runs that tune the longer one, and no others of it."""
    whole = replace(ROW, name="whole")
    part = replace(ROW, part="length", tuned_in=(whole, ("cosine",)))
    experiment = Experiment(part)
    results = all_results(experiment, lambda run: valley(0.4 if run.row == "whole" else 0.1)(run))
    assert experiment.tuned("cosine", results).best == 0.4
    assert lrs_tried(results, "cosine", experiment.seeds) == [0.4]
    assert {run.schedule for run in results if run.row == "whole"} == {"cosine"}
    assert not {run.seed for run in results if run.row == "whole"} & set(experiment.seeds)
    assert {run for run in results if run.row == "row" and run.schedule == "cosine"} == set(
        experiment.runs("cosine", 0.4, experiment.seeds)
    )


def test_without_growth_nothing_is_added() -> None:
    experiment = Experiment(ROW, grow=False)
    results = all_results(experiment, valley(10))
    assert experiment.tuned("cosine", results).best == 0.4
    assert len(results) == experiment.expected() == 3 * 3 * 2 + 3 * 5


def test_what_is_expected_is_what_is_made_if_no_grid_grows() -> None:
    for row in (ROW, Row(**{**vars(ROW), "warmup": ("cosine", "warmup_cosine")})):
        experiment = Experiment(row)
        assert len(all_results(experiment, valley(0.2))) == experiment.expected()


def test_a_complete_row_wants_nothing_and_one_missing_result_is_wanted_again() -> None:
    experiment = Experiment(ROW)
    results = all_results(experiment, valley(0.2))
    lost = Run("row", "cosine", 0.2, 103)
    del results[lost]
    assert experiment.wanted(results) == [lost]
