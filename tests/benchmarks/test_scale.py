"""Our callbacks make no collective call at an update, whatever the number of processes; a plateau makes one."""

from __future__ import annotations

from benchmarks.scale import CASES, VALIDATIONS, measure


def test_only_plateaus_communicate_and_only_at_validations() -> None:
    counts = measure(2)
    assert list(counts) == list(CASES)
    per_update = [one["long"] - one["short"] for one in list(counts.values())[:2]]
    assert per_update[0] == per_update[1] > 0  # Lightning's own
    per_validation = [(one["validated twice as often"] - one["validated"]) / VALIDATIONS for one in counts.values()]
    assert per_validation[0] == per_validation[1]
    assert per_validation[2] == per_validation[0] + 1
