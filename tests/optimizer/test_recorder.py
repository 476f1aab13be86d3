"""Rows of what each step used: when they are written, what stands in them, and what is compared with the plan."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from lr_recipes.optimizer import recorder as module
from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.follow import BoundSchedule
from lr_recipes.optimizer.recorder import LearningRateError, Recorder
from lr_recipes.report.audit import Audit
from lr_recipes.schedules import Fixed, Linear, OneCycle
from tests.optimizer.loops import RUN, parameter, sgd


class InMemory:
    """A file that keeps what it is given: rows, and ``("columns", names)`` where the columns change."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        self.lines += rows

    def add_groups(self, names: Mapping[str, Sequence[str]]) -> None:
        self.lines.append(("columns", {kind: list(of_kind) for kind, of_kind in names.items()}))


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, as a list of one: it passes when the test says so."""
    seconds = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: seconds[0])
    return seconds


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Tensor LRs are left on their device, as those of a GPU are; the list holds what was copied there."""
    copied: list[Tensor] = []

    def snapshot(lr: Any) -> Any:
        if isinstance(lr, Tensor):
            copied.append(lr.clone())
            return copied[-1]
        return lr

    monkeypatch.setattr(module, "snapshot", snapshot)
    return copied


def recorded(optimizer: Optimizer, schedule: Any = None, **options: Any) -> Recorder:
    """A recorder on an optimizer whose steps count; a schedule writes its LRs, if there is one."""
    clock = Clock(optimizer)
    if schedule is not None:
        BoundSchedule(schedule.plan(RUN, [float(group["lr"]) for group in optimizer.param_groups]), clock)
    recorder = Recorder(clock, Audit(), **{"epoch": lambda: 3, **options})
    recorder.file = InMemory()
    clock.witnesses.append(recorder)
    clock.start()
    return recorder


def steps(recorder: Recorder, count: int = 1) -> None:
    for _ in range(count):
        recorder.clock.optimizer.step()


def lines(recorder: Recorder) -> list[Any]:
    """What is in the file, once all is written."""
    recorder.flush()
    return recorder.file.lines  # type: ignore[attr-defined]


def written(recorder: Recorder) -> int:
    return len(recorder.file.lines)  # type: ignore[attr-defined]


# Rows


def test_a_row_is_the_update_its_place_and_what_it_used() -> None:
    """The update at position 1 is the second: when it is done, twice 32 samples are seen."""
    recorder = recorded(sgd(0.1, 0.01, weight_decay=0.5), Linear(warmup=2), samples_per_step=32)
    steps(recorder, 3)
    curve = Linear(warmup=2).resolve(RUN)
    assert lines(recorder) == [
        (n, 3, 32 * (n + 1), phase, curve(n), 0.1 * curve(n), 0.01 * curve(n), 0.9, 0.9, 0.5, 0.5)
        for n, phase in enumerate(["warmup", "warmup", "linear"])
    ]
    assert (recorder.audit.compared, recorder.audit.unplanned) == (3, 0)


def test_a_run_without_a_plan_has_rows_too() -> None:
    """What is not known is left out: phase, factor, samples."""
    recorder = recorded(SGD([parameter()], lr=0.1))
    steps(recorder)
    assert lines(recorder) == [(0, 3, None, "", None, 0.1, 0, 0)]
    assert (recorder.audit.compared, recorder.audit.unplanned) == (1, 1)


def test_the_momentum_that_the_step_used() -> None:
    recorder = recorded(sgd(0.1), OneCycle())
    steps(recorder, 3)
    curve = OneCycle().resolve(RUN)
    assert "momentum" in curve.beside
    assert [row[6] for row in lines(recorder)] == [curve.beside["momentum"](n) for n in range(3)]


def test_only_groups_that_have_a_momentum_have_a_column_for_it() -> None:
    recorder = recorded(torch.optim.Adagrad([parameter()], lr=0.1))
    assert recorder.names() == {"lr": ["group0"], "momentum": [], "weight_decay": ["group0"]}
    steps(recorder)
    assert lines(recorder) == [(0, 3, None, "", None, 0.1, 0)]


def test_a_step_that_changed_nothing_has_no_row() -> None:
    recorder = recorded(sgd(0.1), Fixed())
    steps(recorder, 2)
    recorder.clock.optimizer.zero_grad()
    steps(recorder, 3)
    assert [row[0] for row in lines(recorder)] == [0, 1]
    assert (recorder.audit.skipped, recorder.audit.skipped_at) == (3, 2)


def test_a_step_that_was_announced_and_did_not_come_was_skipped() -> None:
    """By a gradient scaler, which does not call the optimizer then."""
    recorder = recorded(sgd(0.1), Fixed())
    recorder.announce()
    steps(recorder)
    recorder.announce()  # skipped
    recorder.announce()  # skipped
    recorder.settle()
    recorder.settle()
    assert (recorder.audit.skipped, recorder.audit.skipped_at, recorder.audit.compared) == (2, 1, 1)


# Groups that join


def test_a_group_that_joins_has_columns_from_its_first_update_on() -> None:
    recorder = recorded(sgd(0.1), Fixed())
    steps(recorder, 2)
    recorder.clock.optimizer.add_param_group({"params": [parameter()], "lr": 7.0, "name": "head"})
    steps(recorder)
    *older, columns, row = lines(recorder)
    assert [one[5:] for one in older] == [(0.1, 0.9, 0)] * 2
    both = ["group0", "head"]
    assert columns == ("columns", {"lr": both, "momentum": both, "weight_decay": both})
    assert row[5:] == (0.1, 7.0, 0.9, 0.9, 0, 0)
    assert recorder.audit.late == {"head": 2}
    assert (recorder.groups, recorder.audit.different) == (both, 0)


@pytest.mark.behaviour("B75")
def test_ten_thousand_groups_are_replaced_and_joined_by_as_many_in_a_moment() -> None:
    optimizer = sgd(0.1)
    first = optimizer.param_groups[0]
    optimizer.param_groups += [{**first, "params": []} for _ in range(9_999)]
    recorder = recorded(optimizer)
    steps(recorder)
    optimizer.param_groups = [{**group} for _ in range(2) for group in optimizer.param_groups]
    begun = time.perf_counter()
    steps(recorder)
    assert time.perf_counter() - begun < 1.0
    assert (len(recorder.groups), len(recorder.audit.late), len(recorder.audit.left)) == (20_000, 10_000, 0)
    assert recorder.present == [f"group{n}" for n in range(20_000)]


# Compared with the plan


def test_the_first_foreign_lr_is_told_once() -> None:
    told: list[str] = []
    recorder = recorded(sgd(0.1), Fixed(), tell=told.append)
    for _ in range(3):
        recorder.clock.optimizer.param_groups[0]["lr"] = 0.3
        steps(recorder)
    assert told == [
        "update 0 used LR 0.3 in group 'group0', and the plan says 0.1: "
        "something else writes param_groups['lr'], which only the schedule should"
    ]
    assert [row[4:6] for row in lines(recorder)] == [(1.0, 0.3)] * 3
    assert recorder.audit.different == 3


def test_a_strict_one_stops_and_has_the_row() -> None:
    recorder = recorded(sgd(0.1), Fixed(), strict=True)
    steps(recorder)
    recorder.clock.optimizer.param_groups[0]["lr"] = 0.3
    with pytest.raises(LearningRateError, match=r"update 1 used LR 0.3 .*, and the plan says 0.1"):
        steps(recorder)
    assert [row[5] for row in lines(recorder)] == [0.1, 0.3]


def test_what_comes_after_an_update_can_ask_how_many_there_were() -> None:
    """After it was recorded, and before the LR of the next one is written."""
    seen: list[tuple[int, float]] = []
    recorder = recorded(sgd(0.1), Linear())
    recorder.after_update = lambda: seen.append((recorder.take_updates(), recorder.last_lrs[0]))
    steps(recorder)
    recorder.clock.optimizer.zero_grad()
    steps(recorder)
    recorder.clock.optimizer.param_groups[0]["params"][0].grad = torch.ones(1)
    recorder.after_update = None
    steps(recorder, 2)
    assert seen == [(1, 0.1)]
    assert (recorder.take_updates(), recorder.take_updates()) == (2, 0)


# When rows are written


def test_rows_are_written_once_a_second(now: list[float]) -> None:
    """The first at once, so that a file which cannot be written is known at once."""
    recorder = recorded(sgd(0.1), Fixed())
    steps(recorder)
    assert written(recorder) == 1
    steps(recorder, 5)
    now[0] += 0.99
    steps(recorder)
    assert written(recorder) == 1
    now[0] += 0.01
    steps(recorder)
    assert written(recorder) == 8
    steps(recorder, 2)
    assert written(recorder) == 8
    recorder.flush()
    assert written(recorder) == 10


def test_rows_are_written_when_they_are_many(now: list[float]) -> None:
    recorder = recorded(sgd(0.1))
    steps(recorder, 1000)
    assert written(recorder) == 1
    steps(recorder)
    assert written(recorder) == 1001
    assert [row[0] for row in lines(recorder)] == [*range(1001)]


# LRs on a device


def test_an_lr_on_a_device_is_read_when_its_row_is_written(now: list[float], on_a_device: list[Tensor]) -> None:
    """Each row has the LR of its own update, though the group's tensor is the same all the time."""
    recorder = recorded(sgd(torch.tensor(0.5)), Linear())
    steps(recorder, 4)
    assert written(recorder) == 1
    assert recorder.audit.compared == 1
    assert [row[5] for row in lines(recorder)] == pytest.approx([0.5, 0.475, 0.45, 0.425])
    assert all(type(row[5]) is float for row in lines(recorder))
    assert (recorder.audit.compared, recorder.audit.different, len(on_a_device)) == (4, 0, 4)


@pytest.mark.parametrize("first", [True, False], ids=["float first", "tensor first"])
def test_an_lr_on_a_device_beside_a_float_is_read_with_it(
    first: bool, now: list[float], on_a_device: list[Tensor]
) -> None:
    lrs = (0.25, torch.tensor(0.5)) if first else (torch.tensor(0.25), 0.5)
    recorder = recorded(sgd(*lrs), Linear())
    steps(recorder, 2)
    assert recorder.audit.compared == 1
    assert [row[5:7] for row in lines(recorder)] == [pytest.approx((0.25, 0.5)), pytest.approx((0.2375, 0.475))]
    assert all(type(lr) is float for row in lines(recorder) for lr in row[5:7])
    assert (recorder.audit.compared, recorder.audit.different) == (2, 0)


def test_a_strict_one_stops_when_it_reads_a_device(now: list[float], on_a_device: list[Tensor]) -> None:
    recorder = recorded(sgd(torch.tensor(0.5)), Fixed(), strict=True)
    steps(recorder)
    recorder.clock.optimizer.param_groups[0]["lr"].fill_(0.25)
    steps(recorder)
    with pytest.raises(LearningRateError, match=r"update 1 used LR 0.25 in group 'group0', and the plan says 0.5"):
        recorder.flush()
    assert [row[5] for row in lines(recorder)] == [0.5, 0.25]


def test_the_last_rows_are_written_without_stopping(now: list[float], on_a_device: list[Tensor]) -> None:
    told: list[str] = []
    recorder = recorded(sgd(torch.tensor(0.5)), Fixed(), strict=True, tell=told.append)
    steps(recorder)
    recorder.clock.optimizer.param_groups[0]["lr"].fill_(0.25)
    steps(recorder)
    recorder.flush(strict=False)
    assert (written(recorder), len(told)) == (2, 1)


@pytest.mark.behaviour("B67")
def test_what_is_wrong_is_raised_by_the_next_call_that_may(now: list[float], on_a_device: list[Tensor]) -> None:
    """Somebody saves a checkpoint in between, and is not to be kept from it."""
    told: list[str] = []
    recorder = recorded(sgd(torch.tensor(0.5)), Fixed(), strict=True, tell=told.append)
    recorder.clock.optimizer.param_groups[0]["lr"].fill_(0.25)
    recorder._flush_at = now[0] + 1
    steps(recorder)
    recorder.flush(strict=False)
    assert (written(recorder), len(told)) == (1, 1)
    with pytest.raises(LearningRateError, match=r"update 0 used LR 0.25 in group 'group0', and the plan says 0.5"):
        recorder.flush()


@pytest.mark.behaviour("B67")
def test_a_device_that_has_failed_hides_no_error(now: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """What it held is lost, and can be counted."""
    recorder = recorded(sgd(torch.tensor(0.5)), Fixed())
    steps(recorder)
    # A tensor without a value: reading it fails as reading one of a failed device does.
    monkeypatch.setattr(module, "snapshot", lambda lr: torch.empty((), device="meta"))
    steps(recorder, 2)
    recorder.flush(strict=False)
    assert (written(recorder), recorder.noted, recorder.audit.compared) == (1, 3, 1)
    steps(recorder)
    with pytest.raises(RuntimeError, match="meta"):
        recorder.flush()


def test_updates_are_counted_once() -> None:
    recorder = recorded(sgd(0.1))
    steps(recorder, 2)
    assert (recorder.take_updates(), recorder.noted) == (2, 2)
    steps(recorder)
    assert (recorder.noted, recorder.take_updates(), recorder.noted) == (3, 1, 3)
