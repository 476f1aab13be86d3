"""A thousand damaged states: the package's own error, or exactly the right LRs.

More by `python -m tests.damaged --cases 20000`.
"""

from __future__ import annotations

import random

import pytest

from tests.damaged.__main__ import check_one
from tests.damaged.fits import check_fit
from tests.damaged.loop import check_loop

pytestmark = [
    pytest.mark.behaviour("B70"),
    pytest.mark.filterwarnings("ignore"),  # Lightning's and torch's, of a thousand short runs
]


@pytest.mark.parametrize("part", range(10))
def test_damaged_states_are_refused_or_give_what_they_say(part: int) -> None:
    outcomes = [check_one(seed) for seed in range(100 * part, 100 * part + 100)]
    assert [(one.seed, one.story, one.wrong) for one in outcomes if one.wrong] == []


def test_a_case_is_drawn_from_its_seed_alone() -> None:
    assert [check_loop(random.Random(seed)) for seed in range(5)] == [
        check_loop(random.Random(seed)) for seed in range(5)
    ]
    assert check_fit(random.Random(0)) == check_fit(random.Random(0))
