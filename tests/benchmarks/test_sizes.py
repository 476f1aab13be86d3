"""What epochs, groups and optimizers cost, in real runs: linear at most, and little beside what torch takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.sizes import SIZES, VARIANTS, Size, Took, main, measure, table, took
from tests.benchmarks.test_bench import holds

pytestmark = [
    pytest.mark.filterwarnings("ignore:The `training_step` returned"),
    # the schedulers of the module go on in a run that is over after a few updates
    pytest.mark.filterwarnings("ignore:.*more than half of the run is warmup"),
]
BARE, *_, OURS, BOTH = VARIANTS


def added(name: str, size: Size, folder: Path) -> Took:
    """What a variant adds to a run without any, in milliseconds."""
    one, bare = (took(VARIANTS[variant], size, str(folder)) for variant in (name, BARE))
    return Took(*(ours - without for ours, without in zip(one, bare, strict=True)))


@pytest.mark.behaviour("B68")
@pytest.mark.parametrize("name", [OURS, BOTH])
def test_a_million_epochs_start_at_once(name: str, tmp_path: Path) -> None:
    """The Trainer's limit is an idiom where a number of updates ends the run."""
    assert holds(lambda: added(name, Size(epochs=1_000_000, updates=10), tmp_path).start < 100)


@pytest.mark.behaviour("B75")
def test_ten_thousand_groups_start_in_half_a_second_and_take_less_than_torchs(tmp_path: Path) -> None:
    def goal() -> bool:
        size = Size(groups=10_000, updates=8)
        bare, torchs, monitor, ours, both = (took(variant, size, str(tmp_path)) for variant in VARIANTS.values())
        starts = both.start - bare.start < 500 and both.end - bare.end < 500
        return starts and ours.update < torchs.update and both.update < monitor.update

    assert holds(goal)


@pytest.mark.behaviour("B75")
@pytest.mark.parametrize(
    ("few", "many"),
    [
        (Size(groups=500, updates=8), Size(groups=5000, updates=8)),
        (Size(optimizers=10, updates=8), Size(optimizers=100, updates=8)),
    ],
    ids=["groups", "optimizers"],
)
def test_ten_times_as_many_cost_ten_times_as_much(few: Size, many: Size, tmp_path: Path) -> None:
    """At most thirty times, for a busy machine; what grows with the square would take a hundred times as much."""

    def goal() -> bool:
        small, large = (sum(added(BOTH, size, tmp_path)) for size in (few, many))
        return large < 30 * max(small, 3.0)

    assert holds(goal)


def test_it_prints_a_row_for_each_size(capsys: Any) -> None:
    lines = table(measure([Size(optimizers=2, updates=8)], 1)).splitlines()
    assert len(lines) == 2 + 1
    assert lines[2].startswith("| 1 / 1 / 2 |")
    assert {line.count("|") for line in lines} == {len(VARIANTS) + 2}
    assert [str(size) for size in SIZES][1::2] == ["1,000,000 / 1 / 1", "1 / 10,000 / 1"]
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "groups and optimizers cost" in capsys.readouterr().out
