"""The config tree without a command line, and command lines that Hydra can read."""

from __future__ import annotations

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from recipes.app.config import CONF, composed, readable


def test_a_composed_config_is_that_of_train_py() -> None:
    cfg = composed("output_dir=unused", "recipe=large_batch", "schedule=step")
    assert cfg.schedule._target_ == "lr_recipes.schedules.Step"
    assert cfg.optimizer.lr == 3.2  # 1.6 x 512 / 256, by the tree's own function
    assert cfg.checkpoint_dir == "unused/checkpoints"


@pytest.mark.parametrize("override", ["seed=2", "schedule=unknown"])
def test_a_program_composes_while_it_runs_on_hydra_itself(override: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        if override == "seed=2":
            assert composed(override).seed == 2
        else:
            with pytest.raises(HydraException):
                composed(override)
        assert GlobalHydra.instance().hydra is running
    assert not GlobalHydra.instance().is_initialized()


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["seed=1", "-m", "schedule=step,cosine"], ["-m", "seed=1", "schedule=step,cosine"]),
        (["b=1", "a=2", "--multirun"], ["--multirun", "b=1", "a=2"]),
        (["seed=1", "--help"], ["seed=1", "--help"]),
        ([], []),
    ],
)
def test_multirun_comes_first_and_the_rest_keeps_its_order(typed: list[str], read: list[str]) -> None:
    assert readable(typed) == read
