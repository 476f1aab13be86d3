"""Groups with any names at all: each has one column, one key in the loggers and one word, and goes on with its own."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.optim import SGD, Optimizer

from lr_recipes import LearningRateLogger, preview, schedules
from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.rows import read_columns, read_rows
from lr_recipes.schedules import Schedule, Shape, Span
from tests.callbacks.harness import Tiny, fit, keep_all, messages

pytestmark = [
    pytest.mark.behaviour("B71"),
    pytest.mark.filterwarnings(
        "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
        "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    ),
]
NAMES: dict[str, list[Any]] = {
    "a number that a repeated name would get": ["a-2", "a", "a"],
    "the same with a break and a space": ["a b", "a\nb", r"a\nb", "a\r\nb", "a\x0bb"],
    "all the same": ["head"] * 4,
    "empty": ["", "", "-1"],
    "commas and quotes": ["a,b", '"a"', 'a"', "'a',", ",", '"'],
    "escapes of a terminal": ["\x1b[31mred", "\x1b]0;title\x07", "\x00", "\u202egnp"],
    "no text": ["\udc80", "\ud800", 3, None, "3"],
    "very long": ["x, " * 70_000, "x, " * 80_000, "y"],
    "of other alphabets": ["größe", "学习率", "🙂", "\u2028"],
    "the first columns": ["step", "lr/step", "../../lr", "epoch"],
}
LINEAR = schedules.Linear()


def build_of(names: list[Any]) -> Callable[[list[nn.Parameter]], Optimizer]:
    """An optimizer with a group for each name, each with another LR and momentum."""

    def build(weights: list[nn.Parameter]) -> Optimizer:
        parameters = [*weights, *(nn.Parameter(torch.ones(1)) for _ in names[2:])]
        groups: list[dict[str, Any]] = [
            {"params": [one], "name": name, "lr": 0.1 / (n + 1)}
            for n, (one, name) in enumerate(zip(parameters, names, strict=False))
        ]
        return SGD(groups, momentum=0.9)

    return build


def train(
    names: list[Any],
    folder: Path,
    schedule: Schedule = LINEAR,
    others: Sequence[Callback] = (),
    plot: bool = False,
    **arguments: Any,
) -> list[tuple[float, ...]]:
    """Eight updates; the LRs that were used."""
    log = LearningRateLogger(folder, plot=plot, audit="error")
    return fit(schedule, callbacks=[log, *others], module=Tiny(build_of(names)), max_epochs=1, **arguments).groups()


@pytest.mark.parametrize("kind", NAMES)
def test_each_group_has_its_column_also_after_a_resume(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Resumed at update 3 of 8."""
    names = NAMES[kind]
    logger = CSVLogger(tmp_path, "csv", "0")
    first = train(names, tmp_path, others=[keep_all(tmp_path, 3)], logger=logger, log_every_n_steps=1)
    with caplog.at_level("INFO"):
        second = train(names, tmp_path, ckpt_path=tmp_path / "step=3.ckpt")
    used = [*first[:3], *second]
    columns = [name for name in read_columns(tmp_path / "lr.csv") if name.startswith("lr/")]
    assert len(set(columns)) == len(columns) == len(names)
    rows = list(read_rows(tmp_path / "lr.csv"))
    assert [tuple(float(row[name]) for name in columns) for row in rows] == used
    with (tmp_path / "csv" / "0" / "metrics.csv").open(newline="") as file:
        logged = list(csv.DictReader(file))
    assert [tuple(float(row[name]) for name in columns) for row in logged] == first
    # Another reader agrees; every row is a line.
    text = (tmp_path / "lr.csv").read_bytes().decode()
    assert next(csv.reader([text.partition("\n")[0]])) == read_columns(tmp_path / "lr.csv")
    assert len(text.splitlines()) == 1 + 8
    assert all(line.isprintable() for line in messages(caplog).splitlines())
    assert "used = planned on 8 of 8 updates" in messages(caplog)


class Joins(Callback):
    """Groups of these names join before the third update; the first one leaves before the second."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            del trainer.optimizers[0].param_groups[0]
        for name in self.names if batch_idx == 2 else ():
            trainer.optimizers[0].add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.7, "name": name})


def test_groups_that_join_under_the_names_of_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also under the one that a repeated name has got; a group that has left gives its column to one of its name."""
    with caplog.at_level("INFO"):
        used = train(["a", "a-3", "b\n"], tmp_path, plot=True, others=[Joins("a-3", "a", r"b\n", "b\n")])
    rows = list(read_rows(tmp_path / "lr.csv"))
    columns = [name for name in rows[0] if name.startswith("lr/")]
    assert columns == ["lr/a", "lr/a-3", r"lr/b\n", "lr/a-3-2", r"lr/b\n-4", r"lr/b\n-5"]
    lrs = [[float(row[name]) if row[name] else None for name in columns] for row in rows]
    assert lrs[0] == [*used[0], None, None, None]
    assert lrs[1] == [None, *used[1], None, None, None]
    a3, b, joined_a3, joined_a, b4, b5 = used[2]
    assert lrs[2] == [joined_a, a3, b, joined_a3, b4, b5]
    assert r"group b\n-4 joined at update 2" in messages(caplog)
    assert (tmp_path / "lr.png").exists()


def test_a_group_that_joins_where_both_of_its_names_are_others(tmp_path: Path) -> None:
    """The first has left, so it is the fourth now, as the last one was; and the fifth that there has been."""
    used = train(["x", "a", "a-3-4", "a"], tmp_path, others=[Joins("a")])
    rows = list(read_rows(tmp_path / "lr.csv"))
    header = (tmp_path / "lr.csv").read_text().partition("\n")[0].split(",")
    columns = [name for name in header if name.startswith("lr/")]
    assert columns == ["lr/x", "lr/a", "lr/a-3-4", "lr/a-3", "lr/a-3-4-4"]
    assert [float(rows[2][name]) for name in columns[1:]] == [*used[2]]


class Strange(Schedule):
    """A schedule of one's own whose phase has two lines."""

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: 1.0, 1.0, [("up\nthen, \x1b[2J", span.warmup)])


def test_a_phase_with_a_line_break_is_one_line(tmp_path: Path) -> None:
    used = train(["a", "b"], tmp_path, schedule=Strange())
    rows = list(read_rows(tmp_path / "lr.csv"))
    assert [float(row["lr/a"]) for row in rows] == [lr for lr, _ in used]
    assert {row["phase"] for row in rows} == {r"up\nthen, \x1b[2J"}


def test_a_preview_shows_the_names_that_the_run_will(tmp_path: Path) -> None:
    shown = preview(schedules.Linear(), Horizon(total_steps=8), lr={"a\nb": 0.1, r"a\nb": 0.2, "c": 0.3})
    assert list(shown.base_lrs) == [r"a\nb", r"a\nb-1", "c"]
    shown.to_csv(tmp_path / "preview.csv")
    assert [*next(read_rows(tmp_path / "preview.csv"))][5:] == [r"lr/a\nb", r"lr/a\nb-1", "lr/c"]
    preview({"a\nb": schedules.Linear(), "c": schedules.Fixed()}, Horizon(total_steps=8)).to_csv(tmp_path / "two.csv")
    assert read_columns(tmp_path / "two.csv") == ["step", r"lr/a\nb", "lr/c"]
