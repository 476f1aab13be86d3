"""Used against planned: what counts as a difference, and what is said of it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from lr_recipes.report.audit import Audit, share_of

NAMES = ["body", "head"]
BASES = [0.001, 0.1]


def run_of(*used: tuple[float, float], factor: float = 0.5) -> tuple[Audit, list[str]]:
    """An audit of updates 0, 1, ... that all should use ``BASES x factor``, and what it said at each."""
    audit = Audit()
    planned = [base * factor for base in BASES]
    said = [audit.compare(position, lrs, planned, NAMES) for position, lrs in enumerate(used)]
    return audit, said


GOOD = (0.0005, 0.05)


def test_all_as_planned() -> None:
    audit, said = run_of(GOOD, GOOD, GOOD)
    assert said == ["", "", ""]
    assert (audit.compared, audit.different, audit.worst) == (3, 0, 0.0)
    assert audit.closing_line(3, 3) == "used = planned on 3 of 3 updates, schedule complete"


@pytest.mark.behaviour("B67")
def test_what_the_record_lacks_comes_last() -> None:
    audit, _ = run_of(GOOD, GOOD)
    audit.skip(1)
    line = "used = planned on 2 of 2 updates, schedule complete, 1 skipped update (the first at position 1)"
    assert audit.closing_line(2, 2, missing=1) == f"{line}, the record lacks 1 update"
    assert Audit(compared=3).closing_line(3, None, planned=False, missing=1200) == (
        "recorded 3 updates, there is no plan to compare with, the record lacks 1,200 updates"
    )


def test_the_first_difference_is_said_once() -> None:
    audit, said = run_of(GOOD, (0.0005, 0.07), (0.0009, 0.05), GOOD)
    assert said == [
        "",
        "update 1 used LR 0.07 in group 'head', and the plan says 0.05: "
        "something else writes param_groups['lr'], which only the schedule should",
        "",
        "",
    ]
    assert (audit.compared, audit.different, audit.first_at) == (4, 2, 1)


def test_first_and_largest_difference_may_be_two() -> None:
    audit, _ = run_of(GOOD, (0.0006, 0.05), GOOD, (0.0005, 0.08), (0.0005, 0.06))
    assert (audit.first_at, audit.worst_at, audit.worst_group) == (1, 3, "head")
    assert audit.worst == pytest.approx(0.03)
    assert audit.closing_line(5, 5) == (
        "used = planned on 2 of 5 updates, largest difference 0.03 in group head at update 3 (the first at 1), "
        "schedule complete"
    )


def test_of_two_wrong_groups_the_further_one_is_named() -> None:
    audit, said = run_of((0.0006, 0.06))
    assert "in group 'head'" in said[0]
    assert audit.worst_group == "head"


def test_a_group_within_the_tolerance_is_not_named() -> None:
    """However large its rounding error is beside a wrong but tiny LR."""
    audit = Audit()
    said = audit.compare(7, [1000.0 * (1 + 5e-7), 2e-5], [1000.0, 1e-5], ["large", "tiny"])
    assert said.startswith("update 7 used LR 2e-05 in group 'tiny', and the plan says 1e-05")


@pytest.mark.parametrize("factor", [1.0, 1 / 3, 0.123456789, 1e-9, 1e-30, 1e-38, 1e-42, 1e-50, 0.0])
def test_32_bits_are_no_difference(factor: float) -> None:
    """A tensor LR holds the planned value rounded to 32 bits; what is too small for them becomes coarse, then 0."""
    base = float(torch.tensor(0.1))
    used = float(torch.tensor(base * factor))
    audit = Audit()
    assert audit.compare(0, [used], [base * factor], ["group0"]) == ""
    assert audit.different == 0


@pytest.mark.parametrize("used", [0.05 * (1 + 2e-6), 0.05 * (1 - 2e-6), 0.0, -0.05, math.inf])
def test_more_than_rounding_is_a_difference(used: float) -> None:
    audit, said = run_of((0.0005, used))
    assert audit.different == 1
    assert said[0]


def test_both_numbers_can_be_told_apart() -> None:
    _, said = run_of((0.0005, 0.05 * (1 + 2e-6)))
    assert "used LR 0.0500001 in" in said[0]
    assert "says 0.05:" in said[0]


def test_an_lr_that_is_not_a_number_is_the_largest_difference() -> None:
    audit, said = run_of(GOOD, (math.nan, 0.06), (0.0005, 0.08))
    assert said[1].startswith("update 1 used LR nan in group 'body', and the plan says 0.0005")
    assert (audit.worst, audit.worst_at, audit.worst_group, audit.different) == (math.inf, 1, "body", 2)


def test_skipped_updates() -> None:
    audit = Audit(compared=10)
    audit.skip(0)
    assert audit.closing_line(10, 10) == (
        "used = planned on 10 of 10 updates, schedule complete, 1 skipped update (the first at position 0)"
    )
    audit.skip(7, 1233)
    assert audit.closing_line(10, 10).endswith("1,234 skipped updates (the first at position 0)")


def test_late_groups() -> None:
    audit = Audit(compared=10, late={"layer4": 1200, "layer3": 3})
    assert audit.closing_line(10, 10) == (
        "used = planned on 10 of 10 updates, schedule complete, group layer4 joined at update 1,200, "
        "group layer3 joined at update 3"
    )


@pytest.mark.behaviour("B75")
def test_of_very_many_late_groups_a_few_are_named() -> None:
    late = {f"g{n}": 3 for n in range(10_000)}
    line = Audit(compared=10, late=late, left={"g1": 7}).closing_line(10, 10)
    assert line.endswith("group g7 joined at update 3, 9,992 more groups joined, group g1 left at update 7")
    assert line.count("joined at") == 8


def test_without_a_plan() -> None:
    assert Audit(compared=1).closing_line(1, None, planned=False) == (
        "recorded 1 update, there is no plan to compare with"
    )
    assert Audit(compared=1234).closing_line(1234, None, planned=False).startswith("recorded 1,234 updates, ")


@pytest.mark.parametrize(
    ("position", "total", "said"),
    [
        (0, 1000, "schedule ended at 0% (0 of 1,000)"),
        (370, 1000, "schedule ended at 37% (370 of 1,000)"),
        (999, 1000, "schedule ended at 99% (999 of 1,000)"),  # and not 100
        (29, 100, "schedule ended at 29% (29 of 100)"),  # 28.999999999999996 in floats
        (10**18 - 1, 10**18, "schedule ended at 99% (999,999,999,999,999,999 of 1,000,000,000,000,000,000)"),
        (1000, 1000, "schedule complete"),
        (1001, 1000, "schedule complete, 1 update past its end"),
        (2500, 1000, "schedule complete, 1,500 updates past its end"),
        (5, None, "schedule has no end"),
    ],
)
def test_share_of(position: int, total: int | None, said: str) -> None:
    assert share_of("schedule", position, total) == said


def test_state_is_plain_and_complete() -> None:
    """What a checkpoint keeps: a resumed run goes on counting, and says a known difference no second time."""
    audit, _ = run_of(GOOD, (0.0005, 0.07))
    audit.skip(1)
    audit.late["late"] = 1
    state = json.loads(json.dumps(audit.state_dict()))
    resumed = Audit(**state)
    assert resumed == audit
    assert resumed.compare(2, (0.0005, 0.07), [0.0005, 0.05], NAMES) == ""
    assert resumed.closing_line(3, 3).startswith("used = planned on 1 of 3 updates, largest difference 0.02")


def test_groups_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        Audit().compare(0, [0.1], BASES, NAMES)
