"""What is recorded, shown and said: every update once, under names that do not change, with what it really used."""

from __future__ import annotations

import csv
import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR
from torch.utils.data import DataLoader

from lr_recipes import LearningRateLogger, LearningRateWarmup, schedules
from lr_recipes.callbacks.learning_rate_logger import LearningRateError
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import (
    PEAK,
    SCHEDULES,
    Tiny,
    fit,
    go,
    keep_all,
    loader,
    messages,
    plan,
    prepare,
    record_lrs,
    sgd,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:`training_step` returned `None`",
    "ignore:train_dataloader yielded None",
)
COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
FIXED_COLUMNS = ["step", "epoch", "samples", "phase", "planned_factor"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(path: Path, name: str = "lr/group0") -> list[float]:
    return [float(row[name]) for row in read(path)]


def assert_records(path: Path, used: list[float]) -> None:
    """The file has each update once and in order, with the LR that it used."""
    assert column(path, "step") == list(range(len(used)))
    assert column(path) == used


# lr.csv


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("log_every_n_steps", [1, 50])
def test_thirty_rows_for_thirty_updates_without_a_logger(log_every_n_steps: int, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"accumulate_grad_batches": 2, "log_every_n_steps": log_every_n_steps}
    run = fit(COSINE, batches=20, max_epochs=3, callbacks=[record_lrs(tmp_path)], **arguments)
    assert len(run.used) == 30
    assert_records(tmp_path / "lr.csv", run.used)


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_rows_are_what_was_used_wherever_the_callback_stands(schedule: Schedule, first: bool, tmp_path: Path) -> None:
    run = prepare(schedule, max_epochs=2, callbacks=[record_lrs(tmp_path)])
    if first:
        run.trainer.callbacks.insert(0, run.trainer.callbacks.pop(1))  # type: ignore[attr-defined]
    go(run, batches=5)
    assert_records(tmp_path / "lr.csv", run.used)
    assert [PEAK * float(row["planned_factor"]) for row in read(tmp_path / "lr.csv")] == run.used


@pytest.mark.behaviour("B32")
def test_columns_and_what_they_hold(tmp_path: Path) -> None:
    def named(weights: list[nn.Parameter]) -> Any:
        groups = [
            {"params": weights[:1], "name": "decay", "weight_decay": 0.1},
            {"params": weights[1:], "name": "rest"},
        ]
        return AdamW(groups, lr=PEAK, betas=(0.8, 0.9), weight_decay=0.0)

    callbacks = [record_lrs(tmp_path)]
    fit(COSINE, module=Tiny(named), train=loader(4, 3), max_epochs=2, callbacks=callbacks)
    rows = read(tmp_path / "lr.csv")
    kinds = [f"{kind}/{name}" for kind in ("lr", "momentum", "weight_decay") for name in ("decay", "rest")]
    assert list(rows[0]) == FIXED_COLUMNS + kinds
    assert [row["epoch"] for row in rows] == ["0"] * 4 + ["1"] * 4
    assert [int(row["samples"]) for row in rows] == list(range(3, 27, 3))
    assert [row["phase"] for row in rows] == ["warmup"] * 2 + ["cosine"] * 6
    assert {(row["momentum/decay"], row["weight_decay/decay"], row["weight_decay/rest"]) for row in rows} == {
        ("0.8", "0.1", "0.0")
    }


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("build", [sgd, partial(Adam, lr=PEAK)])
def test_cycled_momentum_is_recorded_as_used(build: Any, tmp_path: Path) -> None:
    schedule = schedules.OneCycle()
    fit(schedule, module=Tiny(build), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    optimizer = build([nn.Parameter(torch.ones(1))])
    peer = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK, total_steps=8)
    expected = []
    for _ in range(8):
        group = optimizer.param_groups[0]
        expected.append(group["betas"][0] if "betas" in group else group["momentum"])
        optimizer.step()
        peer.step() if len(expected) < 8 else None
    assert column(tmp_path / "lr.csv", "momentum/group0") == pytest.approx(expected)


@pytest.mark.behaviour("B32")
def test_optimizer_without_momentum_has_no_such_column(tmp_path: Path) -> None:
    module = Tiny(lambda weights: torch.optim.Adagrad(weights, lr=PEAK))
    fit(COSINE, module=module, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert list(read(tmp_path / "lr.csv")[0]) == [*FIXED_COLUMNS, "lr/group0", "weight_decay/group0"]


class Joining(Callback):
    """Adds the second weight as a group of its own before some update."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.at and len(trainer.optimizers[0].param_groups) == 1:
            trainer.optimizers[0].add_param_group({"params": [pl_module.weights[1]], "lr": 0.03})


def test_a_group_that_joins_within_a_step_is_recorded_and_compared_from_the_next_one_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Unfreezes(Tiny):
        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if batch_idx == 3:
                self.optimizers().add_param_group({"params": [self.weights[1]], "lr": 0.03})  # type: ignore[union-attr]
            return super().training_step(batch, batch_idx)

    module = Unfreezes(lambda weights: sgd(weights[:1]))
    with caplog.at_level("INFO"):
        fit(COSINE, module=module, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    late = [row["lr/group1"] for row in read(tmp_path / "lr.csv")]
    assert late[:3] == [""] * 3
    assert late[3:] == ["0.03", *(repr(lr) for lr in plan(COSINE, 8, base=0.03)[4:])]
    assert (
        closing_line(caplog) == "used = planned on 8 of 8 updates, schedule complete, group group1 joined at update 3"
    )


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("at", [0, 3, 7])
def test_group_that_joins_changes_no_name(at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callbacks = [Joining(at), record_lrs(tmp_path)]
    with caplog.at_level("INFO"):
        run = fit(COSINE, module=Tiny(lambda weights: sgd(weights[:1])), max_epochs=1, callbacks=callbacks)
    assert_records(tmp_path / "lr.csv", run.used)
    late = [row["lr/group1"] for row in read(tmp_path / "lr.csv")]
    assert late == [""] * at + [repr(lrs[1]) for lrs in run.groups()[at:]]
    assert f"group group1 joined at update {at}" in closing_line(caplog)


class Gan(Tiny):
    """Two optimizers; the second steps three times in each batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [Adam([self.weights[0]], lr=0.1), Adam([self.weights[1]], lr=0.02)]

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[misc]
        for optimizer in (first, second, second, second):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        self.log("loss", 1.0)


GAN: dict[str, Any] = {"max_epochs": 2, "options": {"total_steps": {0: 16, 1: 48}}}


@pytest.mark.behaviour("B32")
def test_each_optimizer_has_a_file_of_its_own(tmp_path: Path) -> None:
    run = fit(COSINE, module=Gan(), callbacks=[record_lrs(tmp_path)], **GAN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lr-Adam-1.csv", "lr-Adam.csv"]
    assert_records(tmp_path / "lr-Adam.csv", [lr for (lr,) in run.groups(0)])
    assert_records(tmp_path / "lr-Adam-1.csv", [lr for (lr,) in run.groups(1)])
    assert len(run.groups(1)) == 48


@pytest.mark.behaviour("B32")
@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
@pytest.mark.parametrize("raw", [False, True])
def test_files_of_optimizers_without_a_plan_go_on_in_a_resumed_run(raw: bool, tmp_path: Path) -> None:
    class Sgds(Gan):
        def configure_optimizers(self) -> Any:
            return [SGD([weight], lr=lr) for weight, lr in zip(self.weights, (0.1, 0.02), strict=True)]

        def optimizers(self, use_pl_optimizer: bool = True) -> Any:
            return super().optimizers(use_pl_optimizer=not raw)

    saving = ModelCheckpoint(tmp_path, save_last=True)
    fit(module=Sgds(), max_epochs=1, callbacks=[record_lrs(tmp_path), saving])
    fit(module=Sgds(), max_epochs=2, callbacks=[record_lrs(tmp_path)], ckpt_path=tmp_path / "last.ckpt")
    assert_records(tmp_path / "lr-SGD.csv", [0.1] * 16)
    assert_records(tmp_path / "lr-SGD-1.csv", [0.02] * 48)


@pytest.mark.behaviour("B32")
def test_folder_is_the_loggers_or_the_default_root(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="mine")
    fit(COSINE, max_epochs=1, logger=logger, callbacks=[LearningRateLogger(plot=False)])
    assert (tmp_path / "mine" / "version_0" / "lr.csv").exists()
    fit(COSINE, max_epochs=1, default_root_dir=tmp_path, callbacks=[LearningRateLogger(plot=False)])
    assert (tmp_path / "lr.csv").exists()


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("tensor", [False, True])
def test_scheduler_of_the_module_is_recorded_with_its_forecast(
    tensor: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def with_step_lr(weights: list[nn.Parameter]) -> Any:
        optimizer = AdamW(weights, lr=torch.tensor(PEAK, dtype=torch.float64) if tensor else PEAK, foreach=False)
        return [optimizer], [{"scheduler": StepLR(optimizer, 3, 0.5), "interval": "step"}]

    with caplog.at_level("INFO"):
        run = fit(module=Tiny(with_step_lr), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert run.used == [0.1] * 3 + [0.05] * 3 + [0.025] * 2
    assert_records(tmp_path / "lr.csv", run.used)
    planned = [(row["phase"], float(row["planned_factor"])) for row in read(tmp_path / "lr.csv")]
    assert planned == [("holds", 1.0)] * 3 + [("holds", 0.5)] * 3 + [("holds", 0.25)] * 2
    assert closing_line(caplog) == "used = forecast on 8 of 8 updates"


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("first", [True, False])
def test_warmup_over_the_modules_scheduler_is_recorded_as_used(first: bool, tmp_path: Path) -> None:
    def with_cosine(weights: list[nn.Parameter]) -> Any:
        optimizer = sgd(weights)
        return [optimizer], [{"scheduler": CosineAnnealingLR(optimizer, 8), "interval": "step"}]

    callbacks = [record_lrs(tmp_path), LearningRateWarmup(4)]
    run = fit(module=Tiny(with_cosine), max_epochs=1, callbacks=callbacks[:: 1 if first else -1])
    assert run.used[0] == PEAK / 4
    assert_records(tmp_path / "lr.csv", run.used)


@pytest.mark.behaviour("B32")
def test_constant_lr_is_recorded_where_nothing_schedules_it(tmp_path: Path) -> None:
    run = fit(max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert_records(tmp_path / "lr.csv", [PEAK] * 8)
    assert run.used == [PEAK] * 8


# The same Trainer again, and exceptions


class Failing(Callback):
    """Raises once, in the batch ``at`` of the run."""

    def __init__(self, at: int, error: BaseException) -> None:
        self.at, self.error = at, error

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.fit_loop.total_batch_idx == self.at and self.error:
            error, self.error = self.error, None  # type: ignore[assignment]
            raise error


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize(("error", "raised"), [(RuntimeError("bad"), RuntimeError), (KeyboardInterrupt(), SystemExit)])
@pytest.mark.parametrize("at", [0, 1, 5])
def test_nothing_is_lost_by_an_exception(
    at: int, error: BaseException, raised: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = prepare(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path), Failing(at, error)])
    with caplog.at_level("INFO"), pytest.raises(raised):
        go(run)
    assert_records(tmp_path / "lr.csv", plan(COSINE, 8)[:at])
    updates = "update" if at == 1 else "updates"
    assert f"used = planned on {at} of {at} {updates}".removesuffix(updates) in closing_line(caplog)
    assert f"({at} of 8), see {tmp_path / 'lr.csv'}" in closing_line(caplog)


@pytest.mark.behaviour("B32")
def test_fit_after_an_exception_goes_on_in_the_same_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callbacks = [record_lrs(tmp_path), Failing(5, RuntimeError("bad"))]
    run = prepare(COSINE, max_steps=8, callbacks=callbacks)
    with pytest.raises(RuntimeError, match="bad"):
        go(run)
    with caplog.at_level("INFO"):
        go(run)
    assert_records(tmp_path / "lr.csv", plan(COSINE, 8))
    assert closing_line(caplog) == "used = planned on 8 of 8 updates, schedule complete"


class SaveOnException(Checkpoint):
    """Saves when an exception ends the run; Lightning calls it after all other callbacks."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        trainer.save_checkpoint(self.path)


@pytest.mark.behaviour("B32")
def test_checkpoint_that_an_exception_leaves_knows_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "failed.ckpt"
    callbacks = [SaveOnException(path), record_lrs(tmp_path / "a"), Failing(5, RuntimeError("bad"))]
    run = prepare(COSINE, max_epochs=1, callbacks=callbacks)
    with pytest.raises(RuntimeError, match="bad"):
        go(run)
    with caplog.at_level("INFO"):
        fit(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path / "b")], ckpt_path=path)
    assert_records(tmp_path / "b" / "lr.csv", plan(COSINE, 8))
    assert closing_line(caplog) == "used = planned on 8 of 8 updates, schedule complete"


@pytest.mark.behaviour("B32")
def test_fit_called_twice_goes_on_in_the_same_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    step = schedules.Step(step_size=3)
    run = prepare(step, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    go(run)
    run.trainer.fit_loop.max_epochs = 2
    with caplog.at_level("INFO"):
        go(run)
    assert_records(tmp_path / "lr.csv", plan(step, 16))
    assert closing_line(caplog) == "used = planned on 16 of 16 updates, schedule complete"


@pytest.mark.behaviour("B32")
def test_callback_that_is_used_again_in_another_trainer_starts_afresh(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logger = record_lrs(tmp_path)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO"):
            run = fit(COSINE, max_epochs=1, callbacks=[logger])
        assert_records(tmp_path / "lr.csv", run.used)
        assert closing_line(caplog) == "used = planned on 8 of 8 updates, schedule complete"


@pytest.mark.behaviour("B32")
def test_folder_that_cannot_be_written_ends_the_run_before_it_trains(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    run = prepare(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path / "file" / "runs")])
    with pytest.raises(OSError, match=r"dirpath='.*file/runs': lr\.csv cannot be written there .*can be written"):
        go(run)
    assert run.used == []


DAMAGES: dict[str, Any] = {
    "last line cut": lambda text: text[:-9],
    "last line without its end": lambda text: text.rstrip("\n"),
    "a line doubled": lambda text: text + text.splitlines()[-1] + "\n",
    "zeros": lambda text: text[:60] + "\0" * 40 + text[100:],
    "header only": lambda text: text.splitlines()[0] + "\n",
    "empty": lambda text: "",
    "no table at all": lambda text: "\ufffd\x01\x02,\n\n\n,,,,,\n",
    "shuffled": lambda text: "\n".join([text.splitlines()[0], *reversed(text.splitlines()[1:])]) + "\n",
}


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("damage", [*DAMAGES, "gone"])
def test_damaged_file_costs_no_more_than_its_damaged_lines(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "lr.csv"
    fit(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path), keep_all(tmp_path, 5)])
    whole = read(path)
    if damage == "gone":
        path.unlink()
    else:
        path.write_text(DAMAGES[damage](path.read_text()))
    fit(COSINE, max_epochs=1, callbacks=[record_lrs(tmp_path)], ckpt_path=tmp_path / "step=5.ckpt")
    rows = read(path)
    assert rows[-3:] == whole[-3:]
    assert [row for row in whole if row in rows] == rows
    assert len({row["step"] for row in rows}) == len(rows)


# Loggers


def logged_as(trainer_logger: Any, name: str) -> dict[int, float]:
    """Value by x of what a CSVLogger holds under a name."""
    rows = read(Path(trainer_logger.log_dir) / "metrics.csv")
    return {int(row["step"]): float(row[name]) for row in rows if row.get(name)}


class Logging(Tiny):
    """Logs a metric in every training step; has no loss in some batches, or one that is infinite."""

    def __init__(self, build: Any = sgd, lossless: set[int] = frozenset(), infinite: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        super().__init__(build)
        self.lossless, self.infinite = lossless, infinite

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        self.log("loss", 1.0)
        number = self.trainer.fit_loop.total_batch_idx
        if number in self.lossless:
            return None
        return self.loss(batch) * (float("inf") if number in self.infinite else 1)


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("every", [1, 2, 3, 7])
def test_loggers_get_the_lr_at_the_x_of_lightnings_own_metrics(every: int, accumulate: int, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    run = fit(
        COSINE,
        module=Logging(),
        max_epochs=3,
        logger=logger,
        log_every_n_steps=every,
        accumulate_grad_batches=accumulate,
        callbacks=[record_lrs(tmp_path)],
    )
    lrs = logged_as(logger, "lr/group0")
    assert list(lrs) == list(logged_as(logger, "loss"))
    assert lrs == {x: run.used[x] for x in range(every - 1, len(run.used), every)}


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.filterwarnings("ignore:the run ended at update")
@pytest.mark.parametrize("case", ["no_loss", "none", "overflow", "fused_overflow"])
def test_skipped_updates_do_not_move_the_x_apart(case: str, accumulate: int, tmp_path: Path) -> None:
    logger, arguments = CSVLogger(tmp_path), dict[str, Any](module=Logging())
    if case == "no_loss":
        arguments["module"] = Logging(lossless={4, 5})
    elif case == "none":
        arguments["train"] = DataLoader([None if n in {4, 5} else torch.ones(1) for n in range(12)], batch_size=None)  # type: ignore[arg-type]
    else:
        arguments["module"] = Logging(partial(SGD, lr=PEAK, fused=case == "fused_overflow"), infinite={4, 5})
        arguments["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=8.0))]
    run = fit(
        COSINE,
        batches=12,
        max_epochs=1,
        logger=logger,
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
        callbacks=[record_lrs(tmp_path)],
        **arguments,
    )
    lrs = logged_as(logger, "lr/group0")
    assert list(lrs.values()) == run.used
    missing = {4, 5} if accumulate == 1 else {2}
    assert set(lrs) == set(range(12 // accumulate)) - missing
    assert set(lrs) <= set(logged_as(logger, "loss"))


@pytest.mark.behaviour("B32")
def test_loggers_get_every_optimizer_at_the_x_of_lightnings_own_metrics(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    run = fit(COSINE, module=Gan(), logger=logger, log_every_n_steps=2, callbacks=[record_lrs(tmp_path)], **GAN)
    for name, (optimizer, ratio) in {"lr-Adam/group0": (0, 1), "lr-Adam-1/group0": (1, 3)}.items():
        lrs = logged_as(logger, name)
        assert list(lrs) == list(logged_as(logger, "loss"))
        assert lrs == {x: run.groups(optimizer)[(x + 1) * ratio - 1][0] for x in range(1, 16, 2)}


@pytest.mark.behaviour("B32")
@pytest.mark.parametrize("at", [3, 8, 11])
def test_loggers_of_a_resumed_run_go_on_at_the_same_x(at: int, tmp_path: Path) -> None:
    callbacks = [record_lrs(tmp_path), keep_all(tmp_path)]
    arguments: dict[str, Any] = {"module": Logging(), "max_epochs": 2, "log_every_n_steps": 2}
    whole = fit(COSINE, callbacks=callbacks, **arguments)
    logger = CSVLogger(tmp_path)
    path = tmp_path / f"step={at}.ckpt"
    fit(COSINE, callbacks=[record_lrs(tmp_path)], logger=logger, ckpt_path=path, **arguments)
    lrs = logged_as(logger, "lr/group0")
    assert list(lrs) == list(logged_as(logger, "loss"))
    assert lrs == {x: whole.used[x] for x in range(1, 16, 2) if x >= at}


@pytest.mark.behaviour("B32")
def test_tensorboard_gets_the_same(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    callbacks = [record_lrs(tmp_path)]
    run = fit(COSINE, module=Logging(), max_epochs=2, logger=logger, log_every_n_steps=3, callbacks=callbacks)
    events = EventAccumulator(logger.log_dir).Reload()
    lrs = {event.step: event.value for event in events.Scalars("lr/group0")}
    assert list(lrs) == [event.step for event in events.Scalars("loss")]
    assert lrs == pytest.approx({x: run.used[x] for x in range(2, 16, 3)})


@pytest.mark.behaviour("B32")
def test_several_loggers_get_the_same(tmp_path: Path) -> None:
    loggers = [CSVLogger(tmp_path, name="a"), CSVLogger(tmp_path, name="b")]
    fit(COSINE, max_epochs=1, logger=loggers, log_every_n_steps=1, callbacks=[record_lrs(tmp_path)])
    first, second = [logged_as(logger, "lr/group0") for logger in loggers]
    assert first == second
    assert len(first) == 8


# Progress bars


class Look(Callback):
    """Keeps what the progress bar shows after every batch."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        bar: Any = trainer.progress_bar_callback
        self.shown.append(bar.get_metrics(trainer, pl_module))


@pytest.mark.behaviour("B34")
@pytest.mark.parametrize("bar", [RichProgressBar, TQDMProgressBar])
@pytest.mark.parametrize("lr", [0.1, 3e-5])
def test_progress_bar_shows_the_used_lr_as_text(bar: Any, lr: float, tmp_path: Path) -> None:
    module, look, shown_in = Tiny(partial(sgd, lr=lr)), Look(), bar()
    run = fit(COSINE, module=module, max_epochs=1, callbacks=[record_lrs(tmp_path), shown_in, look], **BAR)
    assert [metrics["lr"] for metrics in look.shown] == [f"{used:.3g}" for used in run.used]
    assert "get_metrics" not in vars(shown_in)


BAR: dict[str, Any] = {"enable_progress_bar": True}


@pytest.mark.behaviour("B34")
def test_rich_prints_the_lr(tmp_path: Path) -> None:
    console = io.StringIO()
    options = {"file": console, "force_terminal": True, "width": 200, "color_system": None}
    bar = RichProgressBar(console_kwargs=options, refresh_rate=1)
    fit(
        schedules.Fixed(),
        module=Tiny(partial(sgd, lr=3e-5)),
        max_epochs=1,
        callbacks=[record_lrs(tmp_path), bar],
        **BAR,
    )
    assert "lr: 3e-05" in console.getvalue()


@pytest.mark.behaviour("B34")
def test_tqdm_prints_the_lr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Tiny(partial(sgd, lr=3e-5))
    fit(schedules.Fixed(), module=module, max_epochs=1, callbacks=[record_lrs(tmp_path), TQDMProgressBar()], **BAR)
    assert "lr=3e-05" in "".join(capsys.readouterr())


@pytest.mark.behaviour("B34")
def test_progress_bar_shows_every_optimizer(tmp_path: Path) -> None:
    look = Look()
    fit(COSINE, module=Gan(), callbacks=[record_lrs(tmp_path), TQDMProgressBar(), look], **BAR, **GAN)
    assert {"lr-Adam", "lr-Adam-1"} <= look.shown[0].keys()


# What it says


def closing_line(caplog: pytest.LogCaptureFixture) -> str:
    """What the last run said at its end."""
    lines = [line for line in messages(caplog).splitlines() if line.startswith("Learning rate: ")]
    return lines[-1].removeprefix("Learning rate: ")


class Overflowing(Tiny):
    """Has an infinite loss in the first four batches."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) * (float("inf") if batch_idx < 4 else 1)


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_closing_line_of_a_run_that_went_as_planned(
    accumulate: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, max_epochs=1, accumulate_grad_batches=accumulate, callbacks=[record_lrs(tmp_path)])
    updates = -(-8 // accumulate)
    assert closing_line(caplog) == f"used = planned on {updates} of {updates} updates, schedule complete"


@pytest.mark.behaviour("B10")
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("optimizer", [SGD, AdamW])
def test_closing_line_names_updates_that_a_gradient_scaler_skipped(
    optimizer: Any, fused: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = Overflowing(partial(optimizer, lr=PEAK, fused=fused))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="ended at update 4 of the 8"):
        run = fit(COSINE, module=module, max_epochs=1, callbacks=[record_lrs(tmp_path)], plugins=plugins)
    assert run.used == plan(COSINE, 8)[:4]
    assert_records(tmp_path / "lr.csv", run.used)
    line = (
        "used = planned on 4 of 4 updates, schedule ended at 50% (4 of 8), 4 skipped updates (the first at position 0)"
    )
    assert closing_line(caplog) == line


class OverflowingGan(Gan):
    """The second optimizer overflows in the second batch, the first in the last two."""

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[misc]
        for optimizer, infinite in ((first, batch_idx >= 6), *[(second, batch_idx == 1)] * 3):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch) * (float("inf") if infinite else 1))
            optimizer.step()


@pytest.mark.behaviour("B10")
def test_skipped_updates_are_those_of_their_optimizer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    arguments: dict[str, Any] = {"max_epochs": 1, "plugins": [MixedPrecision("16-mixed", "cpu", scaler=scaler)]}
    with caplog.at_level("INFO"):
        fit(schedules.Fixed(), module=OverflowingGan(), callbacks=[record_lrs(tmp_path)], **arguments)
    first, second = [line for line in messages(caplog).splitlines() if line.startswith("Learning rate-")]
    assert "on 6 of 6" in first
    assert first.endswith("2 skipped updates (the first at position 6)")
    assert "on 21 of 21" in second
    assert second.endswith("3 skipped updates (the first at position 3)")


@pytest.mark.behaviour("B11")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_closing_line_names_batches_without_a_loss(
    accumulate: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = Logging(lossless={4, 5})
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="ended at update"):
        fit(COSINE, module=module, max_epochs=1, accumulate_grad_batches=accumulate, callbacks=[record_lrs(tmp_path)])
    skipped = (
        "2 skipped updates (the first at position 4)"
        if accumulate == 1
        else "1 skipped update (the first at position 2)"
    )
    assert skipped in closing_line(caplog)


@pytest.mark.behaviour("B57")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.filterwarnings("ignore:the run ended at update")
def test_steps_that_were_skipped_before_the_first_update_are_counted_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Saves(Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.save_checkpoint(tmp_path / "at_1.ckpt")

    with caplog.at_level("INFO"):
        fit(COSINE, module=Logging(lossless={0, 1}), max_epochs=1, callbacks=[record_lrs(tmp_path / "whole"), Saves()])
        whole = closing_line(caplog)
        again = Logging(lossless={0, 1})
        fit(COSINE, module=again, max_epochs=1, callbacks=[record_lrs(tmp_path)], ckpt_path=tmp_path / "at_1.ckpt")
    assert whole.endswith("2 skipped updates (the first at position 0)")
    assert closing_line(caplog) == whole


class Writing(Callback):
    """Writes an LR of its own before some updates."""

    def __init__(self, updates: set[int], lr: float = 0.5, group: int = 0) -> None:
        self.updates, self.lr, self.group = updates, lr, group

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step in self.updates:
            trainer.optimizers[0].param_groups[self.group]["lr"] = self.lr


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize("at", [0, 3, 7])
def test_foreign_write_is_warned_of_with_its_update(at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    planned = plan(COSINE, 8)
    said = f"update {at} used LR 0.5 in group 'group0', and the plan says {planned[at]:.8g}: something else writes"
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="something else writes") as warned:
        run = fit(COSINE, max_epochs=1, callbacks=[Writing({at}), record_lrs(tmp_path)])
    assert run.used == [0.5 if n == at else lr for n, lr in enumerate(planned)]
    assert_records(tmp_path / "lr.csv", run.used)
    assert sum(said in str(warning.message) for warning in warned) == 1
    line = f"used = planned on 7 of 8 updates, largest difference {0.5 - planned[at]:g} in group group0 at update {at}"
    assert closing_line(caplog).startswith(line)


@pytest.mark.behaviour("B33")
def test_foreign_writes_are_warned_of_once_and_all_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="something else writes") as warned:
        fit(COSINE, max_epochs=1, callbacks=[Writing({2, 3, 6}), record_lrs(tmp_path)])
    assert sum("something else writes" in str(warning.message) for warning in warned) == 1
    assert "used = planned on 5 of 8 updates" in closing_line(caplog)
    assert "(the first at 2)" in closing_line(caplog)


@pytest.mark.behaviour("B33")
def test_foreign_write_while_the_lr_is_held_counts_until_the_epoch_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [Writing({1}), record_lrs(tmp_path)]
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="update 1 used LR 0.5"):
        fit(COSINE, batches=4, max_epochs=2, options={"interval": "epoch"}, callbacks=callbacks)
    assert "used = planned on 5 of 8 updates" in closing_line(caplog)


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize("at", [0, 3, 7])
def test_foreign_write_ends_the_run_where_that_is_asked_for(at: int, tmp_path: Path) -> None:
    run = prepare(COSINE, max_epochs=1, callbacks=[Writing({at}), record_lrs(tmp_path, audit="error")])
    with pytest.raises(LearningRateError, match=f"update {at} used LR 0.5 in group 'group0'"):
        go(run)
    assert column(tmp_path / "lr.csv") == [*plan(COSINE, 8)[:at], 0.5]


@pytest.mark.behaviour("B33")
def test_foreign_write_names_the_group(tmp_path: Path) -> None:
    def named(weights: list[nn.Parameter]) -> Any:
        return sgd([{"params": weights[:1], "name": "head"}, {"params": weights[1:], "name": "body"}])

    callbacks = [Writing({2}, group=1), record_lrs(tmp_path)]
    with pytest.warns(UserWarning, match="update 2 used LR 0.5 in group 'body'"):
        fit(COSINE, module=Tiny(named), max_epochs=1, callbacks=callbacks)


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize("audit", ["warn", "error"])
def test_plateau_and_tensor_lrs_are_as_planned(audit: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from tests.callbacks.harness import Validated

    module = Validated([1.0] * 9, lambda weights: AdamW(weights, lr=torch.tensor(0.003)))
    schedule = schedules.Plateau(factor=0.1, patience=0, warmup=2)
    with caplog.at_level("INFO"):
        fit(schedule, module=module, max_epochs=6, batches=2, callbacks=[record_lrs(tmp_path, audit=audit)])
    assert closing_line(caplog).startswith("used = planned on 12 of 12 updates, schedule")


@pytest.fixture
def on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat tensor LRs as if they lived on a device, where reading one waits: they are copied and read later."""
    copied = "lr_recipes.optimizer.recorder.snapshot"
    monkeypatch.setattr(copied, lambda lr: lr.clone() if isinstance(lr, Tensor) else lr)


def tensor_lr(weights: list[nn.Parameter]) -> Any:
    return AdamW(weights, lr=torch.tensor(PEAK, dtype=torch.float64), foreach=False)


class Filling(Callback):
    """Fills a tensor LR in place before an update."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == self.at:
            trainer.optimizers[0].param_groups[0]["lr"].fill_(0.5)


@pytest.mark.behaviour("B31")
@pytest.mark.usefixtures("on_a_device")
def test_lrs_on_a_device_are_all_compared_at_the_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callbacks = [Filling(6), record_lrs(tmp_path)]
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="update 6 used LR 0.5 in group 'group0'"):
        run = fit(COSINE, module=Tiny(tensor_lr), max_epochs=1, callbacks=callbacks)
    assert_records(tmp_path / "lr.csv", run.used)
    assert "used = planned on 7 of 8 updates, largest difference" in closing_line(caplog)


@pytest.mark.behaviour("B31")
@pytest.mark.usefixtures("on_a_device")
def test_lrs_on_a_device_end_the_run_with_all_rows_written(tmp_path: Path) -> None:
    callbacks = [Filling(3), record_lrs(tmp_path, audit="error")]
    with pytest.raises(LearningRateError, match=r"update 3 used LR 0\.5 in group 'group0'"):
        fit(COSINE, module=Tiny(tensor_lr), max_epochs=1, callbacks=callbacks)
    assert column(tmp_path / "lr.csv")[3] == 0.5
    assert column(tmp_path / "lr.csv", "step") == list(range(len(column(tmp_path / "lr.csv"))))


@pytest.mark.behaviour("B31")
@pytest.mark.usefixtures("on_a_device")
def test_checkpoint_counts_lrs_on_a_device_that_were_not_read_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callbacks = [Filling(3), record_lrs(tmp_path), keep_all(tmp_path)]
    with pytest.warns(UserWarning, match="update 3 used LR 0.5"):
        fit(COSINE, module=Tiny(tensor_lr), max_epochs=1, callbacks=callbacks)
    with caplog.at_level("INFO"):
        path = tmp_path / "step=5.ckpt"
        fit(COSINE, module=Tiny(tensor_lr), max_epochs=1, callbacks=[record_lrs(tmp_path)], ckpt_path=path)
    assert "used = planned on 7 of 8 updates" in closing_line(caplog)


@pytest.mark.behaviour("B5")
@pytest.mark.parametrize("stop_at", [1, 10, 18, 19, 20])
def test_run_that_ends_early_is_said_and_below_95_percent_warned_of(
    stop_at: int, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    class Stop(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = trainer.global_step >= stop_at

    with caplog.at_level("INFO"):
        fit(COSINE, batches=10, max_epochs=2, callbacks=[Stop(), record_lrs(tmp_path)])
    share = f"schedule ended at {5 * stop_at}% ({stop_at} of 20)" if stop_at < 20 else "schedule complete"
    assert share in closing_line(caplog)
    warned = [warning for warning in recwarn if "the run ended at update" in str(warning.message)]
    assert len(warned) == (1 if stop_at < 19 else 0)


@pytest.mark.behaviour("B5")
def test_loader_with_a_wrong_length_ends_early(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class TooLong(DataLoader[Any]):
        def __len__(self) -> int:
            return 12

    train = TooLong(loader(8).dataset)
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match="ended at update 16 of the 24"):
        fit(COSINE, train=train, max_epochs=2, callbacks=[record_lrs(tmp_path)])
    assert "schedule ended at 66% (16 of 24)" in closing_line(caplog)


@pytest.mark.behaviour("B6")
def test_closing_line_of_a_run_past_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, options={"total_steps": 5}, max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert closing_line(caplog) == "used = planned on 8 of 8 updates, schedule complete, 3 updates past its end"
    assert [row["phase"] for row in read(tmp_path / "lr.csv")][-4:] == ["cosine", "end", "end", "end"]


@pytest.mark.behaviour("B33")
def test_each_optimizer_has_a_closing_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fit(COSINE, module=Gan(), callbacks=[record_lrs(tmp_path)], **GAN)
    assert "Learning rate-Adam: used = planned on 16 of 16 updates, schedule complete" in messages(caplog)
    assert "Learning rate-Adam-1: used = planned on 48 of 48 updates, schedule complete" in messages(caplog)


@pytest.mark.behaviour("B33")
@pytest.mark.parametrize("plot", [True, False])
def test_picture_is_drawn_where_it_is_asked_for(plot: bool, tmp_path: Path) -> None:
    fit(COSINE, max_epochs=1, callbacks=[LearningRateLogger(tmp_path, plot=plot)])
    assert (tmp_path / "lr.png").exists() == plot


@pytest.mark.behaviour("B75")
@pytest.mark.parametrize("count", [8, 9])
def test_many_optimizers_share_a_picture(count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Many(Tiny):
        def configure_optimizers(self) -> Any:
            return [SGD([self.weights[0]], lr=0.1) for _ in range(count)]

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

    module = Many()
    module.automatic_optimization = False
    callbacks = [LearningRateLogger(tmp_path)]
    with caplog.at_level("INFO"):
        fit(COSINE, module=module, batches=6, max_epochs=1, options={"total_steps": 6}, callbacks=callbacks)
    names = ["SGD", *(f"SGD-{n}" for n in range(1, count))]
    pictures = ["lr.png"] if count == 9 else [f"lr-{name}.png" for name in names]
    assert {one.name for one in tmp_path.iterdir()} == {*pictures, *(f"lr-{name}.csv" for name in names)}
    see = messages(caplog).splitlines()[-1]
    assert see.startswith(f"See {tmp_path / pictures[0]}, ")
    assert "more files" in see


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"audit": "loud"}, "audit='loud': must be one of warn, error"),
        ({"dirpath": 3}, "dirpath=3: must be the path of a folder"),
    ],
)
def test_argument_that_cannot_be_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningRateLogger(**arguments)
