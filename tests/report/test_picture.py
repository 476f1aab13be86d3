"""The picture: what is drawn, read from the figure; and that real files come out of real ``lr.csv`` files."""

from __future__ import annotations

import itertools
import math
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.lr_csv import LrCsv, columns_of, read_rows
from lr_recipes.report.picture import COLOURS, STYLES, draw, draw_many, figure_of, figure_together
from lr_recipes.schedules import Cosine, CosineRestarts, Fixed, Linear, OneCycle, Schedule, Sequence, WarmupStableDecay
from tests.report.test_appended_file import most_bytes


def recorded(
    path: Path,
    schedule: Schedule,
    updates: int,
    bases: Mapping[str, float],
    *,
    joins: Mapping[str, int] | None = None,
    used: Mapping[int, float] | None = None,
) -> Path:
    """An ``lr.csv`` of a run with these base LRs; ``joins``: late groups; ``used``: LRs that somebody else wrote."""
    curve = schedule.resolve(Horizon(total_steps=updates, steps_per_epoch=10), peak=max(bases.values()))
    file = LrCsv(path, columns_of({"lr": list(bases), "momentum": list(bases)}))
    for n in range(updates):
        there = {name: n >= (joins or {}).get(name, 0) for name in bases}
        momentum = 0.9 if "momentum" not in curve.beside else curve.beside["momentum"](n)
        lrs = [(used or {}).get(n, base * curve(n)) if there[name] else None for name, base in bases.items()]
        momenta = [momentum if there[name] else None for name in bases]
        file.write([[n, n // 10, n * 32, curve.phase(n), curve(n), *lrs, *momenta]])
    file.close()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lr.csv"


def figure(path: Path, peaks: Mapping[str, float] | None = None, title: str = "AdamW") -> Figure:
    return figure_of(list(read_rows(path)), title, peaks or {})


def used_lines(drawn: Figure) -> list[Any]:
    return [line for line in drawn.axes[0].lines if line.get_zorder() > 1]


def planned_lines(drawn: Figure) -> list[Any]:
    return [line for line in drawn.axes[0].lines if line.get_zorder() == 1]


def legend(drawn: Figure) -> list[str]:
    return [text.get_text() for text in drawn.legends[0].get_texts()]


def ticks(axis: Any) -> list[Text]:
    """The tick labels that are in sight; matplotlib keeps more."""
    axis.figure.draw_without_rendering()
    labels = []
    for one in (axis.xaxis, axis.yaxis):
        low, high = one.get_view_interval()
        labels += [tick.label1 for tick in one.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for label in labels if label.get_text()]


def updates_shown(drawn: Figure) -> list[str]:
    axis = drawn.axes[0]
    return [label.get_text() for label in ticks(axis) if label in axis.get_xticklabels()]


# Files


SCENES: dict[str, tuple[Schedule, int, dict[str, float], dict[str, Any]]] = {
    "one group": (Cosine(warmup=20), 200, {"group0": 0.001}, {}),
    "two groups 100:1": (Cosine(warmup=20), 200, {"body": 0.001, "head": 0.1}, {}),
    "momentum": (OneCycle(), 200, {"decay": 0.1, "no_decay": 0.1}, {}),
    "many phases": (CosineRestarts(cycle=10), 200, {"group0": 0.001}, {}),
    "many groups": (Linear(), 50, {f"layer{n}": 0.1 * 0.7**n for n in range(30)}, {}),
    "late groups": (Linear(), 100, {"head": 0.1, "body": 0.01}, {"joins": {"body": 40}}),
    "a late group of one update": (Linear(), 100, {"head": 0.1, "body": 0.01}, {"joins": {"body": 99}}),
    "one row": (Fixed(), 1, {"group0": 0.1}, {}),
    "LR 0": (Fixed(), 5, {"group0": 0.0}, {}),
    "LR 0 beside another": (Fixed(), 5, {"frozen": 0.0, "head": 0.1}, {}),
    "0 on a logarithmic axis": (Linear(warmup=5, warmup_start_factor=0), 50, {"body": 0.001, "head": 0.1}, {}),
    "not a number": (Fixed(), 5, {"group0": 0.1}, {"used": {3: math.nan}}),
    "infinite": (Fixed(), 5, {"group0": 0.1}, {"used": {3: math.inf}}),
    "negative": (Fixed(), 5, {"body": 0.001, "head": 0.1}, {"used": {3: -1.0}}),
    "names": (
        Fixed(),
        5,
        {"_a": 0.1, "b$": 0.2, "$c_1$": 0.3, "a, b": 0.4, "d" * 200: 0.5, "": 0.6, r"\frac": 0.7},
        {},
    ),
}


@pytest.mark.parametrize(("schedule", "updates", "bases", "more"), SCENES.values(), ids=SCENES.keys())
def test_a_real_file(
    path: Path, schedule: Schedule, updates: int, bases: dict[str, float], more: dict[str, Any]
) -> None:
    """Drawn without a warning; 960 pixels wide, higher where the momentum moves."""
    target = path.with_suffix(".png")
    draw(recorded(path, schedule, updates, bases, **more), target, "AdamW: $100 of 100 updates, 50% _", bases)
    content = target.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", content[16:24]) == (960, 672 if isinstance(schedule, OneCycle) else 504)
    assert 5_000 < len(content) < 300_000


@pytest.mark.parametrize("text", ["", "step,epoch,samples,phase,planned_factor,lr/a\n"])
def test_no_rows(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ValueError, match=r"lr\.csv has no rows to draw"):
        draw(path, path.with_suffix(".png"))
    assert not path.with_suffix(".png").exists()


def test_a_damaged_row_is_left_out(path: Path) -> None:
    recorded(path, Linear(), 30, {"group0": 0.1})
    path.write_bytes(path.read_bytes().replace(b"\n7,0,", b"\n7,\0,"))
    draw(path, path.with_suffix(".png"))
    assert path.with_suffix(".png").stat().st_size > 5_000


def test_a_million_rows_are_thinned(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To what a picture can show, the last one included."""
    drawn: list[Any] = []
    monkeypatch.setattr("lr_recipes.report.picture.figure_of", lambda rows, *rest: drawn.append(rows) or Figure())
    with path.open("w") as file:
        file.write("step,epoch,samples,phase,planned_factor,lr/a\n")
        file.writelines(f"{n},0,0,cosine,1.0,0.1\n" for n in range(100_000))
    draw(path, path.with_suffix(".png"))
    assert 4000 <= len(drawn[0]) < 8000
    assert [int(row["step"]) for row in (drawn[0][0], drawn[0][-1])] == [0, 99_999]


# Lines


def test_used_and_planned(path: Path) -> None:
    """The used LR is a thin line on the broad, light band of the planned one, so that leaving it shows."""
    drawn = figure(recorded(path, Linear(), 20, {"group0": 0.1}, used={5: 0.05}), {"group0": 0.1})
    (used,), (planned,) = used_lines(drawn), planned_lines(drawn)
    expected = [0.1 * (1 - n / 20) for n in range(20)]
    assert list(planned.get_ydata()) == pytest.approx(expected)
    assert list(used.get_ydata()) == pytest.approx([*expected[:5], 0.05, *expected[6:]])
    assert list(used.get_xdata()) == list(planned.get_xdata()) == list(range(20))
    assert planned.get_linewidth() > 2 * used.get_linewidth()
    assert float(planned.get_color()) > 0.75
    assert planned.get_zorder() < used.get_zorder()
    assert legend(drawn) == ["group0", "planned"]


def test_without_a_plan(path: Path) -> None:
    drawn = figure(recorded(path, Linear(), 20, {"group0": 0.1}))
    assert planned_lines(drawn) == []
    assert legend(drawn) == ["group0"]


def test_groups_that_share_a_curve_share_a_line(path: Path) -> None:
    bases = {"a": 0.1, "b": 0.2, **{f"c{n}": 0.1 for n in range(4)}}
    drawn = figure(recorded(path, Linear(), 20, bases), bases)
    assert len(used_lines(drawn)) == len(planned_lines(drawn)) == 2
    assert legend(drawn) == ["a, c0, c1 and 2 more", "b", "planned"]


def test_lines_are_told_apart_without_colour(path: Path) -> None:
    bases = {f"g{n}": 0.1 + n / 100 for n in range(12)}
    looks = [
        (line.get_color(), line.get_linestyle()) for line in used_lines(figure(recorded(path, Linear(), 5, bases)))
    ]
    assert len(set(looks)) == 12
    assert [style for _, style in looks[:4]] == list(STYLES)
    assert [colour for colour, _ in looks[:6]] == list(COLOURS)


def contrast(colour: str) -> float:
    """Relative luminance as in WCAG: 0 for black, 1 for white."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_every_colour_shows_on_the_band_in_print() -> None:
    band = 0.83**2.2
    assert all((band + 0.05) / (contrast(colour) + 0.05) > 1.4 for colour in COLOURS)


def test_many_curves_are_not_all_named(path: Path) -> None:
    bases = {f"layer{n}": 0.1 * 0.7**n for n in range(13)}
    drawn = figure(recorded(path, Linear(), 20, bases), bases)
    assert len(used_lines(drawn)) == 13
    assert legend(drawn) == ["layer0", "layer1", "layer2", "... 9 more ...", "layer12", "planned"]


def test_names_that_matplotlib_would_change(path: Path) -> None:
    """A first underscore hides a name from the legend, and dollars make a formula of it."""
    drawn = figure(recorded(path, Linear(), 5, {"_hidden": 0.1, "$x$": 0.2, "": 0.3}))
    assert legend(drawn) == [" _hidden", r"\$x\$", " "]


@pytest.mark.parametrize("length", [1, 10, 20, 40, 43, 500])
def test_names_of_any_length_fit(path: Path, length: int) -> None:
    """Of very long ones the middle is left out; fewer share a line then."""
    bases = {f"{n}{'e' * length}{n}": 0.1 + n / 100 for n in range(8)}
    drawn = figure(recorded(path, Linear(), 5, bases), bases)
    drawn.draw_without_rendering()
    box = drawn.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= drawn.bbox.x1
    assert all(name[0] == name[-1] == str(n) for n, name in enumerate(legend(drawn)[:8]))


def test_few_updates_are_dots(path: Path) -> None:
    assert used_lines(figure(recorded(path, Linear(), 60, {"a": 0.1})))[0].get_marker() == "."
    assert used_lines(figure(recorded(path, Linear(), 61, {"a": 0.1})))[0].get_marker() == ""


def test_one_update(path: Path) -> None:
    drawn = figure(recorded(path, Fixed(), 1, {"a": 0.1}), {"a": 0.1})
    assert used_lines(drawn)[0].get_marker() == "."
    assert planned_lines(drawn)[0].get_marker() == "o"
    assert updates_shown(drawn) == ["0"]


def test_late_group_begins_where_it_joined(path: Path) -> None:
    """Used and planned."""
    bases = {"head": 0.1, "body": 0.05}
    drawn = figure(recorded(path, Linear(), 100, bases, joins={"body": 40}), bases)
    for line in (used_lines(drawn)[1], planned_lines(drawn)[1]):
        values = dict(zip(line.get_xdata(), line.get_ydata(), strict=True))
        assert [n for n, value in values.items() if not math.isnan(value)] == list(range(40, 100))


def test_late_groups_that_share_a_curve_share_a_line(path: Path) -> None:
    bases = {"head": 0.1, "a": 0.01, "b": 0.01}
    drawn = figure(recorded(path, Linear(), 100, bases, joins={"a": 40, "b": 40}), bases)
    assert legend(drawn) == ["head", "a, b", "planned"]
    assert len(planned_lines(drawn)) == 2


# Axes


def test_axis_titles(path: Path) -> None:
    drawn = figure(recorded(path, OneCycle(), 50, {"a": 0.1}))
    assert [axis.get_ylabel() for axis in drawn.axes] == ["learning rate", "momentum"]
    assert [axis.get_xlabel() for axis in drawn.axes] == ["", "optimizer update"]


@pytest.mark.parametrize("joins", [{}, {"b": 40}])
def test_momentum_that_does_not_move_is_left_out(path: Path, joins: dict[str, int]) -> None:
    drawn = figure(recorded(path, Linear(), 100, {"a": 0.1, "b": 0.05}, joins=joins))
    assert len(drawn.axes) == 1
    assert tuple(drawn.get_size_inches()) == (8, 4.2)


def test_momentum_of_late_groups(path: Path) -> None:
    drawn = figure(recorded(path, OneCycle(), 100, {"a": 0.1, "b": 0.1}, joins={"b": 40}))
    first, second = (line for line in drawn.axes[1].lines if len(line.get_xdata()) > 2)
    assert first.get_linestyle() != second.get_linestyle()


@pytest.mark.parametrize(("ratio", "scale"), [(1, "linear"), (10, "linear"), (20, "log"), (100, "log")])
def test_groups_far_apart_have_a_logarithmic_axis(path: Path, ratio: float, scale: str) -> None:
    drawn = figure(recorded(path, Linear(), 100, {"body": 0.1 / ratio, "head": 0.1}, joins={"body": 10}))
    assert drawn.axes[0].get_yscale() == scale


def test_linear_axis_begins_at_zero(path: Path) -> None:
    drawn = figure(recorded(path, Fixed(), 100, {"a": 0.1}))
    bottom, top = drawn.axes[0].get_ylim()
    assert bottom == 0
    assert top > 0.1


def test_logarithmic_axis_ends_where_it_is_of_use(path: Path) -> None:
    """A decay to 0, or a warmup from it, has no bottom on such an axis: three decades are shown."""
    to_zero = Cosine(warmup=10, warmup_start_factor=0)
    drawn = figure(recorded(path, to_zero, 2000, {"body": 0.001, "head": 0.1}))
    assert drawn.axes[0].get_ylim() == pytest.approx((1e-6, 0.15))
    drawn = figure(recorded(path, Cosine(min_lr_ratio=0.1), 2000, {"body": 0.001, "head": 0.1}))
    assert drawn.axes[0].get_ylim() == pytest.approx((1e-4 / 1.5, 0.15), rel=1e-4)


def test_thousands_are_separated(path: Path) -> None:
    with path.open("w") as file:
        file.write("step,epoch,samples,phase,planned_factor,lr/a\n")
        file.writelines(f"{n},0,0,cosine,1.0,0.1\n" for n in range(0, 120_000, 100))
    drawn = figure(path)
    assert updates_shown(drawn) == ["0", "20,000", "40,000", "60,000", "80,000", "100,000", "120,000"]


def test_ticks_are_whole_updates(path: Path) -> None:
    drawn = figure(recorded(path, Linear(), 3, {"a": 0.1}))
    assert updates_shown(drawn) == ["0", "1", "2"]


# Phases and title


def phase_names(drawn: Figure) -> dict[str, float]:
    """Names above the picture and where their middle is."""
    return {text.get_text(): text.get_position()[0] for text in drawn.axes[0].texts}


def boundaries(axis: Any) -> list[float]:
    return [line.get_xdata()[0] for line in axis.lines if line.get_zorder() == 0]


def test_phases(path: Path) -> None:
    """A line where one begins, on both axes; the name in the middle of each."""
    drawn = figure(recorded(path, WarmupStableDecay(warmup=200, decay=200), 1000, {"a": 0.1}))
    assert phase_names(drawn) == {"warmup": 100, "stable": 500, "decay": 899.5}
    assert boundaries(drawn.axes[0]) == [200, 800]
    drawn = figure(recorded(path, OneCycle(), 100, {"a": 0.1}))
    assert [boundaries(axis) for axis in drawn.axes] == [[30], [30]]


def test_a_name_without_room_is_left_out(path: Path) -> None:
    phases = Sequence(schedules=[Fixed(), Linear(), Cosine()], milestones=[10, 100])
    drawn = figure(recorded(path, phases, 1000, {"a": 0.1}))
    assert phase_names(drawn) == {"constant": 5, "cosine": 549.5}
    assert boundaries(drawn.axes[0]) == [10, 100]


def test_the_end_of_the_plan_is_a_phase(path: Path) -> None:
    recorded(path, Linear(), 100, {"a": 0.1})
    with path.open("a") as file:
        file.writelines(f"{n},0,0,end,0.0,0.0,0.9\n" for n in range(100, 200))
    drawn = figure(path)
    assert phase_names(drawn) == {"linear": 50, "end": 149.5}
    assert boundaries(drawn.axes[0]) == [100]


def test_very_many_phases_are_not_marked(path: Path) -> None:
    assert len(boundaries(figure(recorded(path, CosineRestarts(cycle=10), 80, {"a": 0.1})).axes[0])) == 7
    drawn = figure(recorded(path, CosineRestarts(cycle=10), 90, {"a": 0.1}))
    assert (phase_names(drawn), boundaries(drawn.axes[0])) == ({}, [])


@pytest.mark.parametrize("warmup", [2, 20, 100, 500])
def test_nothing_overlaps(path: Path, warmup: int) -> None:
    """Neither phase names with each other, nor names, title, axis titles and legend among themselves."""
    bases = {"decay": 0.1, "no_decay": 0.001}
    title = (
        "AdamW: used = planned on 1,800 of 2,000 updates, largest difference 0.00036 in group decay at update 800, " * 2
    )
    drawn = figure(recorded(path, WarmupStableDecay(warmup=warmup, decay=30), 1000, bases), bases, title)
    axis = drawn.axes[0]
    texts = [*axis.texts, drawn.texts[0], axis.xaxis.label, axis.yaxis.label, drawn.legends[0]]
    texts += ticks(axis)
    boxes = [text.get_window_extent() for text in texts]
    assert not [(a, b) for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
    whole = drawn.bbox
    assert all(box.x0 >= 0 and box.x1 <= whole.x1 and box.y0 >= 0 and box.y1 <= whole.y1 for box in boxes)
    assert len(axis.texts) >= 2


def test_a_long_title_is_wrapped(path: Path) -> None:
    drawn = figure(recorded(path, Fixed(), 5, {"a": 0.1}), title="word " * 60 + "\nsecond $5")
    assert [len(line) <= 110 for line in drawn.texts[0].get_text().splitlines()] == [True] * 4
    assert drawn.texts[0].get_text().endswith("\nsecond \\$5")


def test_no_global_state(path: Path) -> None:
    """A picture at the end of training must not touch somebody's own figures or backend."""
    import matplotlib

    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(recorded(path, Fixed(), 5, {"a": 0.1}), path.with_suffix(".png"))
    assert dict(matplotlib.rcParams) == before


# Many optimizers in one picture


@pytest.mark.behaviour("B75")
def test_many_records_share_a_picture(tmp_path: Path) -> None:
    """A line for all that used the same LRs at the same updates; a file of several groups names them."""
    lrs = (0.1, 0.2, 0.3)
    curves = {f"SGD-{n}": ((0, 1, 2), lrs) for n in range(5)}
    curves |= {"Adam a": ((0, 1, 2), (0.1, math.nan, 0.4)), "Adam b": ((0, 1), (0.1, 0.2))}
    drawn = figure_together(curves, "7 optimizers")
    lines = [([*map(int, line.get_xdata())], [*line.get_ydata()]) for line in drawn.axes[0].lines]
    assert lines == [
        ([0, 1, 2], [0.1, 0.2, 0.3]),
        ([0, 1, 2], pytest.approx([0.1, math.nan, 0.4], nan_ok=True)),
        ([0, 1], [0.1, 0.2]),
    ]
    assert legend(drawn) == ["SGD-0, SGD-1, SGD-2 and 2 more", "Adam a", "Adam b"]
    assert drawn.texts[0].get_text() == "7 optimizers"


@pytest.mark.behaviour("B75")
def test_files_of_a_picture_of_many(tmp_path: Path) -> None:
    sources = {
        f"SGD-{n}": recorded(
            tmp_path / f"lr-SGD-{n}.csv", Cosine(), 50, {"a": 0.1 * (n + 1)} | ({"b": 1.0} if n else {})
        )
        for n in range(3)
    }
    target = tmp_path / "lr.png"
    draw_many(sources, target, "3 optimizers")
    assert target.read_bytes().startswith(b"\x89PNG")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["lr-SGD-0.csv", "lr-SGD-1.csv", "lr-SGD-2.csv", "lr.png"]


@pytest.mark.behaviour("B67")
def test_a_picture_is_whole_or_not_there(path: Path) -> None:
    target = path.with_suffix(".png")
    target.write_bytes(b"an older one")
    recorded(path, Cosine(), 50, {"a": 0.1})
    with most_bytes(5000), pytest.raises(OSError, match="File too large"):
        draw(path, target)
    assert target.read_bytes() == b"an older one"
    assert sorted(one.name for one in path.parent.iterdir()) == ["lr.csv", "lr.png"]
