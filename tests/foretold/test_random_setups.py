"""A few dozen random set-ups; more by `python -m tests.foretold.random_setups --cases 1000`."""

from __future__ import annotations

import pytest

from tests.foretold.random_setups import draw, run_one

# Drawn at random, and what went wrong in earlier days: resumes at an epoch's last validation, at the end of an epoch
# with max_steps or with scheduled accumulation, plateaus before their first value, two errors, averaging at once.
SEEDS = [*range(24), 81, 131, 185, 295, 340, 1035, 160, 272, 501, 639, 32185]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_forecast_of_a_random_set_up_is_what_plain_lightning_does(seed: int) -> None:
    assert run_one(seed) == (seed, "")


def test_a_set_up_is_drawn_from_its_seed() -> None:
    assert [draw(seed).words for seed in range(20)] == [draw(seed).words for seed in range(20)]
    assert len({draw(seed).words for seed in range(20)}) == 20
