"""A forecast as numbers, words and pictures: a plan like ours, of whatever was played."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any

import pytest
from matplotlib.image import imread

from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.series import Series, Ticked
from lr_recipes.report.findings import Case
from lr_recipes.report.foretold import Forecast, Outlook

EXPONENTIAL = Ticked("ExponentialLR", "step", 1, range(1, 9))


def outlook(
    *groups: Iterable[float],
    name: str = "SGD",
    bases: Sequence[float] = (),
    total: int | None = None,
    known: int | None = None,
    first: int = 0,
    schedulers: Sequence[Ticked] = (EXPONENTIAL,),
    **more: Any,
) -> Outlook:
    held = [list(lrs) for lrs in groups]
    series = Series([f"group{k}" for k in range(len(held))], first)
    for lrs in zip(*held, strict=True):
        series.add(list(lrs))
    bases = bases or [max(lrs) for lrs in held]
    total = series.end if total is None else total
    known = series.end if known is None else known
    horizon = Horizon(total_steps=total, source="max_steps=8")
    return Outlook(
        name, Case(series, schedulers=schedulers), horizon, known, bases, [lrs[0] for lrs in held], total=total, **more
    )


def forecast(*outlooks: Outlook, caveats: Sequence[str] = ()) -> Forecast:
    ticks = [one.ticks for outlook in outlooks for one in outlook.case.schedulers]
    return Forecast.of(outlooks, ticks, caveats)


FALLS = [0.1 * (1 - n / 8) for n in range(8)]
TOOTH = [0.1, 0.05, 0.02, 0.05, 0.1, 0.05, 0.02, 0.05]


def test_numbers() -> None:
    told = forecast(outlook(FALLS, known=5), outlook([0.2] * 8, name="Adam", schedulers=[]))
    assert (told.total_steps(), told.known_steps()) == (8, 5)
    assert (told.total_steps(1), told.known_steps(1)) == (8, 8)
    assert [told.lr(n) for n in range(8)] == [[lr] for lr in FALLS]
    assert told.lr(3, optimizer=1) == [0.2]
    assert told.ticks() == list(range(1, 9))
    with pytest.raises(IndexError, match="update 8 is not one of updates 0 to 7"):
        told.lr(8)
    with pytest.raises(IndexError):
        told.total_steps(2)


def test_words() -> None:
    told = forecast(outlook(FALLS, [lr / 10 for lr in FALLS]), caveats=["EarlyStopping may end the run before"])
    assert str(told).splitlines() == [
        "Learning-rate forecast for SGD: 8 updates (max_steps=8)",
        "  ExponentialLR: 8 ticks, one an update",
        "  falls     updates 0 to 7   factor 1 -> 0.125",
        "  group0    peak LR 0.1, last 0.0125",
        "  group1    peak LR 0.01, last 0.00125",
        "  Not foretold: EarlyStopping may end the run before",
    ]
    assert repr(told) == str(told) == told.table


def test_words_of_a_finding() -> None:
    told = forecast(outlook(TOOTH))
    assert [one.name for one in told.findings] == ["climbs_again"]
    (line,) = [line for line in str(told).splitlines() if "climbs_again" in line]
    assert line == f"  climbs_again: {told.findings[0].message}"
    assert "climbs_again" not in told.in_words(with_findings=False)


def test_words_of_groups_that_go_ways_of_their_own() -> None:
    told = forecast(outlook(FALLS, [0.01] * 8))
    assert str(told).splitlines()[2:6] == [
        "  group0    peak LR 0.1, last 0.0125",
        "    falls   updates 0 to 7   factor 1 -> 0.125",
        "  group1    peak LR 0.01, last 0.01",
        "    holds   updates 0 to 7   factor 1",
    ]
    assert not told.outlooks[0].plan.uniform


@pytest.mark.parametrize(
    ("ticked", "words"),
    [
        (Ticked("StepLR", "epoch", 1, [8, 16]), "StepLR: 2 ticks, one an epoch"),
        (Ticked("StepLR", "epoch", 2, [16]), "StepLR: 1 tick, one every 2 epochs"),
        (Ticked("StepLR", "step", 3, [3, 6]), "StepLR: 2 ticks, one every 3 batches"),
        (Ticked("StepLR"), "StepLR"),
    ],
)
def test_words_of_a_rhythm(ticked: Ticked, words: str) -> None:
    assert f"\n  {words}\n" in str(forecast(outlook(FALLS, schedulers=[ticked])))


def test_words_of_no_scheduler_and_of_two() -> None:
    assert "no scheduler" in str(forecast(outlook([0.1] * 8, schedulers=[])))
    assert "\n  ExponentialLR: 8 ticks, one an update\n  StepLR\n" in str(
        forecast(outlook(FALLS, schedulers=[EXPONENTIAL, Ticked("StepLR")]))
    )


def test_words_where_nothing_was_played() -> None:
    empty = Outlook(
        "SGD", Case(Series(["a", "b"]), schedulers=[Ticked("StepLR")]), Horizon(), 0, [0.1, 0.2], [0.1, 0.2]
    )
    told = forecast(empty, caveats=["StepLR took more than 4 s, and was stopped"])
    assert str(told).splitlines() == [
        "Learning-rate forecast for SGD: StepLR",
        "  Not foretold: StepLR took more than 4 s, and was stopped",
    ]
    assert (told.total_steps(), told.known_steps(), told.lr(0), told.lr(1000)) == (None, 0, [0.1, 0.2], [0.1, 0.2])
    assert told.previews() == []
    assert told.chart() == ""
    assert re.fullmatch(f"<pre[^>]*>{re.escape(str(told))}</pre>", told._repr_html_())
    with pytest.raises(ValueError, match=r"no curve to draw: print the forecast \(StepLR took more than 4 s"):
        told.plot()


# The plan


@pytest.mark.parametrize("groups", [[FALLS], [FALLS, [lr / 10 for lr in FALLS]], [FALLS, TOOTH], [[0.0] * 8, FALLS]])
def test_the_plan_has_the_lrs(groups: list[list[float]]) -> None:
    plan = outlook(*groups).plan
    assert [plan.lrs(n) for n in range(8)] == [pytest.approx([lrs[n] for lrs in groups], rel=1e-12) for n in range(8)]
    assert plan.total_steps == 8


def test_the_plan_has_a_phase_for_each_leg() -> None:
    plan = outlook(TOOTH).plan
    assert [(one.name, one.first, one.last) for one in plan.curve.phases] == [
        ("falls", 0, 2),
        ("rises", 3, 4),
        ("falls", 5, 6),
        ("rises", 7, 7),
    ]


def test_very_many_legs_are_no_more_phases_than_can_be_shown() -> None:
    long = outlook([0.1, 0.05] * 200)
    assert len(long.plan.curve.phases) == 40
    assert long.plan.curve.phases[-1].last == 399
    assert len(str(forecast(long)).splitlines()) < 12


def test_a_run_that_goes_on_keeps_its_numbers() -> None:
    later = outlook(FALLS, first=100)
    assert later.plan.lrs(100) == [0.1]
    assert later.plan.lrs(107) == pytest.approx([FALLS[-1]])
    assert later.known_lrs(99) is None
    assert later.known_lrs(100) == [0.1]
    assert later.is_known
    with pytest.raises(IndexError, match="update 0 is not one of updates 100 to 107"):
        forecast(later).lr(0)


def test_an_unknown_total_has_no_end() -> None:
    endless = outlook(FALLS)
    endless.total = None
    told = forecast(endless)
    assert told.total_steps() is None
    assert "Learning-rate forecast for SGD: no known end" in str(told)
    assert endless.plan.lrs(1000) == pytest.approx([FALLS[-1]])


def test_a_warmup_multiplies() -> None:
    def ramp(update: int) -> float:
        return min((update + 1) / 4, 1.0)

    warmed = outlook(FALLS, factor=ramp)
    told = forecast(warmed)
    assert [told.lr(n)[0] for n in range(8)] == [lr * ramp(n) for n, lr in enumerate(FALLS)]
    assert [one.name for one in warmed.plan.curve.phases] == ["rises", "falls"]
    assert warmed.plan.lrs(1) == pytest.approx([FALLS[1] / 2])


# Runs that are too long to be played at once


def long_run(asked: list[int], stops_at: int = 10**6) -> Outlook:
    one = outlook([0.1] * 8, total=10**6, known=8)

    def play_on(update: int) -> None:
        asked.append(update)
        while one.case.series.end <= min(update, stops_at - 1):
            one.case.series.add([0.1 / (1 + one.case.series.end)])
        one.known = one.case.series.end

    one.play_on = play_on
    return one


def test_a_long_run_is_played_on_when_it_is_asked() -> None:
    asked: list[int] = []
    one = long_run(asked)
    assert one.known_lrs(7) == [0.1]
    assert asked == []
    assert one.known_lrs(20) == [0.1 / 21]
    assert forecast(one).known_steps() == 21
    assert asked == [20]
    assert one.known_lrs(15) == [0.1 / 16]
    assert asked == [20]


def test_to_be_shown_it_is_not_played_on() -> None:
    asked: list[int] = []
    told = forecast(long_run(asked))
    assert "  not played  updates 8 to 999,999" in str(told)
    assert told.previews() != []
    assert asked == []


def test_what_could_not_be_played_is_not_known() -> None:
    one = long_run([], stops_at=30)
    assert one.known_lrs(100) is None
    with pytest.raises(IndexError, match="update 100 is not one of updates 0 to 29"):
        forecast(one).lr(100)
    assert one.known_lrs(29) == [0.1 / 30]


# Pictures


@pytest.mark.parametrize(
    "make",
    [
        lambda: forecast(outlook(FALLS)),
        lambda: forecast(outlook(FALLS, TOOTH)),
        lambda: forecast(outlook(FALLS), outlook(TOOTH, name="Adam")),
        lambda: forecast(outlook([0.1] * 8, schedulers=[])),
        lambda: forecast(long_run([])),
    ],
    ids=["one group", "two ways", "two optimizers", "constant", "long"],
)
def test_pictures(make: Callable[[], Forecast]) -> None:
    told = make()
    assert told.chart(plain=True).strip()
    html = told._repr_html_()
    (png,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    assert imread(BytesIO(base64.b64decode(png))).shape[2] in (3, 4)
    assert re.match("<pre[^>]*>Learning-rate forecast for SGD", html)


def test_a_preview_for_each_optimizer_that_is_known() -> None:
    unplayed = Outlook("Adam", Case(Series(["a"]), optimizer=1), Horizon(), 0, [0.1], [0.1])
    told = forecast(outlook(TOOTH), unplayed)
    (preview,) = told.previews()
    assert "climbs_again" in repr(preview)
    assert told.lr(0, optimizer=1) == [0.1]


def test_an_lr_that_is_no_number_is_shown_all_the_same() -> None:
    assert "forecast for SGD" in str(forecast(outlook([0.1, math.nan, 0.1])))
