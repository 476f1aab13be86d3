"""The forecast before and in a run, of schedulers that misbehave and of runs of every kind: harmless, whatever comes.

Set-ups that people write are in ``tests/foretold``; here is what goes wrong, and what a Trainer can be given.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, StepLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, forecast, schedules
from lr_recipes.callbacks import foretelling
from lr_recipes.optimizer.recorder import LearningRateError
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import (
    PEAK,
    Endless,
    OwnRate,
    Run,
    Tiny,
    Validated,
    fit,
    go,
    keep_all,
    loader,
    messages,
    prepare,
    quiet_trainer,
    record_lrs,
)
from tests.foretold.test_in_a_run import compared


def per_step(make: Callable[[Any], Any], optimizer: Any = SGD, **config: Any) -> Callable[[Any], Any]:
    """A ``configure_optimizers`` whose scheduler is ticked after each update."""

    def build(weights: list[nn.Parameter]) -> Any:
        made = optimizer(weights, lr=PEAK)
        return {"optimizer": made, "lr_scheduler": {"scheduler": make(made), "interval": "step", **config}}

    return build


def decays(optimizer: Any) -> LRScheduler:
    return LambdaLR(optimizer, lambda n: 0.9**n)


DECAYS = [PEAK * 0.9**n for n in range(64)]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits of a forecast, smaller."""
    for name, seconds in {"SECONDS": 0.3, "_PLAY": 0.2, "_ONWARD": 0.05, "_AGAIN": 0.1}.items():
        monkeypatch.setattr(foretelling, name, seconds)


# Schedulers that misbehave


class Misbehaves(LRScheduler):
    """Decays by a tenth, and does something at a tick, or at each."""

    def __init__(self, optimizer: Any, deed: Callable[[Misbehaves], Any], at: int | None = None) -> None:
        self.deed, self.at = deed, at
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch and self.at in (None, self.last_epoch):
            self.deed(self)
        return [base * 0.9**self.last_epoch for base in self.base_lrs]


def misbehaves(deed: Callable[[Any], Any], at: int | None = None, **kept: Any) -> Callable[[Any], Any]:
    def make(optimizer: Any) -> Any:
        scheduler = Misbehaves(optimizer, deed, at)
        vars(scheduler).update(kept)
        return scheduler

    return make


COUNTED: list[int] = []


def raises(_: Any) -> None:
    raise ArithmeticError("no rate\nof any kind")


def speaks(_: Any) -> None:
    print("it prints")
    logging.getLogger("lightning.pytorch").warning("it logs")
    warnings.warn("it warns", stacklevel=2)


def draws(scheduler: Any) -> None:
    scheduler.drawn = float(torch.rand(1)) + random.random()


def counts(_: Any) -> None:
    COUNTED.append(1)


def sleeps(_: Any) -> None:
    time.sleep(60)


def computes(_: Any) -> None:
    while True:
        sum(range(100))


def computes_on(_: Any) -> None:
    while True:
        with suppress(Exception):
            computes(_)


def generated() -> Iterator[int]:
    yield from range(1000)


def told_of(make: Callable[[Any], Any], module: Any = Tiny, **options: Any) -> Any:
    return forecast(quiet_trainer([], **{"max_epochs": 1, **options}), module(per_step(make)), loader(8))


def test_one_that_raises_ends_the_run_at_its_own_tick_and_the_finding_says_where(tmp_path: Path) -> None:
    make = misbehaves(raises, at=3)
    (finding,) = told_of(make).findings
    assert (finding.name, finding.update) == ("raises", 3)
    assert "the run stops before update 3 with an error: ArithmeticError: no rate" in finding.message
    run = prepare(module=Tiny(per_step(make)), max_epochs=1, callbacks=[record_lrs(tmp_path, findings="off")])
    with pytest.raises(ArithmeticError):
        go(run)
    assert run.used == DECAYS[:3]


def test_one_that_raises_when_it_is_built_is_one_sentence_before_the_run_and_its_own_error_in_it() -> None:
    def build(_: Any) -> Any:
        raise ArithmeticError("no rate\nof any kind")

    with pytest.raises(
        ValueError, match=r"^the schedulers of Tiny cannot be built .*: ArithmeticError: no rate; let conf"
    ):
        forecast(quiet_trainer([], max_epochs=1), Tiny(build), loader(8))
    with pytest.raises(ArithmeticError):
        fit(module=Tiny(build), max_epochs=1)


def test_what_one_says_is_not_heard(capfd: Any, caplog: Any, recwarn: Any) -> None:
    told = told_of(misbehaves(speaks))
    assert [told.lr(n)[0] for n in range(8)] == DECAYS[:8]
    assert told.known_steps() == 8
    assert "it prints" not in capfd.readouterr().out
    assert "it logs" not in caplog.text
    assert [str(one.message) for one in recwarn if "it warns" in str(one.message)] == []


def test_one_that_draws_random_numbers_draws_those_that_it_would_have_drawn(tmp_path: Path) -> None:
    def drawn(*callbacks: Callback) -> Any:
        torch.manual_seed(1)
        random.seed(1)
        run = fit(module=Tiny(per_step(misbehaves(draws))), max_epochs=1, callbacks=callbacks)
        (config,) = run.trainer.lr_scheduler_configs
        return config.scheduler.drawn, torch.rand(1), random.random(), run.used  # type: ignore[union-attr]

    logger = record_lrs(tmp_path)
    assert drawn(logger) == drawn()
    assert logger.forecast is not None
    assert logger.forecast.known_steps() == 0
    assert "a scheduler draws random numbers" in str(logger.forecast)


def test_a_counter_of_the_users_is_not_moved(tmp_path: Path) -> None:
    COUNTED.clear()
    fit(module=Tiny(per_step(misbehaves(counts))), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert len(COUNTED) == 8


@pytest.mark.parametrize("deed", [sleeps, computes, computes_on])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.usefixtures("quick")
def test_one_that_never_ends_costs_a_sentence_and_a_moment(deed: Any, apart: bool) -> None:
    if apart and deed is sleeps:
        pytest.skip("in a thread what sleeps is not woken")
    said: list[Any] = []
    started = time.monotonic()

    def ask() -> None:
        said.append(told_of(misbehaves(deed, at=3)))

    if apart:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(20)
    else:
        ask()
    (told,) = said
    assert time.monotonic() - started < 10
    assert told.findings == []
    assert [one for one in told.caveats if "took more than 0.3 s, and was stopped" in one] != []
    assert told.known_steps() <= 4
    assert [told.lr(n)[0] for n in range(told.known_steps())] == DECAYS[: told.known_steps()]


@pytest.mark.usefixtures("quick")
def test_one_that_never_ends_past_the_end_of_the_run_does_no_harm(tmp_path: Path, caplog: Any) -> None:
    make = misbehaves(computes, at=9)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(make)), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    assert run.used == DECAYS[:8]
    assert compared(messages(caplog)) == 8


@pytest.mark.parametrize(
    ("kept", "what"), [(generated, "a generator"), (threading.Lock, "a lock")], ids=["generator", "lock"]
)
def test_one_that_cannot_be_copied_is_recorded_without_a_forecast(
    kept: Any, what: str, tmp_path: Path, caplog: Any
) -> None:
    logger = record_lrs(tmp_path)
    make = misbehaves(lambda one: None, held=kept())
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(make)), max_epochs=1, callbacks=[logger])
    assert run.used == DECAYS[:8]
    assert logger.forecast is not None
    assert logger.forecast.caveats == [f"the schedulers hold {what}, which cannot be copied to be ticked ahead"]
    assert f"Not foretold: the schedulers hold {what}" in messages(caplog)
    assert "recorded 8 updates, there is no plan to compare with" in messages(caplog)


class Reaches(Tiny):
    """Whatever a module may do when it ticks."""

    def __init__(self, build: Any, deed: Callable[[Any], Any]) -> None:
        super().__init__(build)
        self.deed, self.seen, self.count = deed, [0], 0
        self.register_buffer("ticked", torch.zeros(()))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        self.deed(self)
        scheduler.step()


def changes(module: Any) -> None:
    module.count += 1
    module.ticked += 1
    module.seen.append(module.count)


def test_what_a_module_does_at_its_ticks_is_done_in_the_run_alone(tmp_path: Path, caplog: Any) -> None:
    modules = [Reaches(per_step(decays), changes) for _ in range(2)]
    runs = [fit(module=modules[0], max_epochs=1)]
    with caplog.at_level("INFO"):
        runs.append(fit(module=modules[1], max_epochs=1, callbacks=[record_lrs(tmp_path)]))
    assert runs[0].used == runs[1].used == DECAYS[:8]
    assert compared(messages(caplog)) == 8
    assert [(one.count, one.ticked.item()) for one in modules] == [(8, 8.0)] * 2
    assert modules[0].seen == modules[1].seen


def test_a_module_that_asks_for_a_metric_is_known_up_to_there(tmp_path: Path, caplog: Any) -> None:
    def asks(module: Any) -> None:
        if module.trainer.global_step >= 4:
            module.seen.append(dict(module.trainer.callback_metrics))

    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Reaches(per_step(decays), asks), max_epochs=1, callbacks=[logger])
    assert run.used == DECAYS[:8]
    assert logger.forecast is not None
    assert logger.forecast.known_steps() == 4
    assert "asks for callback_metrics, which is not known before training" in str(logger.forecast)
    assert "used = forecast on 4 of 4 updates, nothing was known of 4 more" in messages(caplog)


def test_a_module_that_writes_a_file_at_its_ticks(tmp_path: Path) -> None:
    """A file is no attribute: what is written is there twice, once for each tick that was played."""
    path = tmp_path / "log"

    def writes(module: Any) -> None:
        with path.open("a") as file:
            file.write(f"{module.trainer.global_step}\n")

    told = forecast(quiet_trainer([], max_epochs=1), Reaches(per_step(decays), writes), loader(8))
    assert [told.lr(n)[0] for n in range(8)] == DECAYS[:8]


# Findings in a run


def climbs(optimizer: Any) -> LRScheduler:
    return CosineAnnealingLR(optimizer, 4)


def test_findings_are_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="climbs_again: the LR falls to .* is ticked 16 times, .* T_max=4"):
        fit(module=Tiny(per_step(climbs)), max_epochs=2, callbacks=[record_lrs(tmp_path)])


def test_findings_may_end_the_run_before_its_first_update(tmp_path: Path) -> None:
    run = prepare(module=Tiny(per_step(climbs)), max_epochs=2, callbacks=[record_lrs(tmp_path, findings="error")])
    with pytest.raises(LearningRateError, match="climbs_again"):
        go(run)
    assert run.used == []
    assert run.trainer.global_step == 0


def test_findings_may_be_left_unsaid(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path, findings="off")
    with caplog.at_level("INFO"):
        fit(module=Tiny(per_step(climbs)), max_epochs=2, callbacks=[logger])
    assert logger.forecast is not None
    assert [one.name for one in logger.forecast.findings] == ["climbs_again"]
    assert "climbs_again" not in caplog.text


def test_a_trial_run_says_nothing_about_lengths(tmp_path: Path) -> None:
    logger = record_lrs(tmp_path, findings="error")
    make: dict[str, Any] = {"module": Tiny(per_step(lambda o: CosineAnnealingLR(o, 1000))), "fast_dev_run": 3}
    fit(**make, callbacks=[logger])
    assert logger.forecast is not None
    assert logger.forecast.findings == []
    assert forecast(quiet_trainer([], fast_dev_run=3), make["module"], loader(8)).findings == []


# Somebody else writes


class Writes(Callback):
    """Writes the LR at update 5, in a way that nobody can read in its code."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            for group in trainer.optimizers[0].param_groups:
                dict.__setitem__(group, "lr", 0.5)


@pytest.mark.parametrize("first", [True, False])
def test_who_writes_in_mid_run_is_said_with_the_update(first: bool, tmp_path: Path, caplog: Any) -> None:
    callbacks: list[Any] = [record_lrs(tmp_path), Writes()]
    module = Tiny(per_step(lambda o: LambdaLR(o, lambda n: 0.9**n)))
    words = (
        r"update 5 used LR 0\.5 in group 'group0', and the forecast says 0\.059049: something else than the schedulers "
        r"writes param_groups\['lr'\], perhaps Oracle\._watch or Writes\.on_train_batch_start"
    )
    with caplog.at_level("INFO"), pytest.warns(UserWarning, match=words):
        run = fit(module=module, max_epochs=1, callbacks=callbacks if first else callbacks[::-1])
    assert run.used == [*DECAYS[:5], 0.5, *[pytest.approx(lr) for lr in DECAYS[6:8]]]
    assert "used = forecast on 7 of 8 updates, largest difference" in messages(caplog)


def test_it_may_end_the_run(tmp_path: Path) -> None:
    module = Tiny(per_step(lambda o: LambdaLR(o, lambda n: 0.9**n)))
    with pytest.raises(LearningRateError, match=r"update 5 used LR 0\.5"):
        fit(module=module, max_epochs=1, callbacks=[record_lrs(tmp_path, audit="error"), Writes()])


class WritesPlainly(Callback):
    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.5


def test_one_who_writes_plainly_is_known_before(tmp_path: Path) -> None:
    logger = record_lrs(tmp_path)
    module = Tiny(per_step(lambda o: LambdaLR(o, lambda n: 0.9**n)))
    fit(module=module, max_epochs=1, callbacks=[logger, WritesPlainly()])
    assert logger.forecast is not None
    assert logger.forecast.known_steps() == 0
    assert "the LR is written in WritesPlainly.on_train_batch_start too" in str(logger.forecast)


class Regroups(Callback):
    """A group joins, or leaves, before update 4."""

    def __init__(self, joins: bool) -> None:
        self.joins = joins

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        optimizer = trainer.optimizers[0]
        if trainer.global_step == 4 and self.joins:
            optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 7.0, "initial_lr": 7.0})
            trainer.lr_scheduler_configs[0].scheduler.base_lrs.append(7.0)  # type: ignore[union-attr]
            trainer.lr_scheduler_configs[0].scheduler.lr_lambdas.append(lambda n: 1.0)  # type: ignore[union-attr]
        elif trainer.global_step == 4:
            scheduler: Any = trainer.lr_scheduler_configs[0].scheduler
            for kept in (optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas):
                del kept[0]


def two_groups(weights: list[nn.Parameter]) -> Any:
    optimizer = SGD([{"params": [weights[0]], "lr": 0.01}, {"params": [weights[1]], "lr": PEAK}], lr=1.0)
    return [optimizer], [{"scheduler": LambdaLR(optimizer, lambda n: 0.9**n), "interval": "step"}]


@pytest.mark.parametrize("joins", [True, False])
def test_groups_that_join_or_leave_are_not_known_any_more(joins: bool, tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        fit(module=Tiny(two_groups), max_epochs=1, callbacks=[record_lrs(tmp_path, audit="error"), Regroups(joins)])
    said = "used = forecast on 8 of 8 updates" if joins else "on 4 of 4 updates, nothing was known of 4 more"
    assert said in messages(caplog)


# Runs of every kind


def known_run(logger: LearningRateLogger, run: Run, caplog: Any, first: int = 0) -> None:
    """The whole run was known, and was as foretold."""
    assert logger.forecast is not None
    used = [list(lrs) for lrs in run.groups()]
    assert [logger.forecast.lr(first + n) for n in range(len(used))] == used
    assert logger.forecast.known_steps() == logger.forecast.total_steps() == first + len(used)
    assert compared(messages(caplog)) == first + len(used)


@pytest.mark.usefixtures("quick")
def test_a_long_run_is_known_up_to_the_limit_and_compared_beyond_it(
    tmp_path: Path, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foretelling, "_PLAY", 0.02)
    monkeypatch.setattr(foretelling, "_CHUNK", 50)
    logger = record_lrs(tmp_path)

    class Stops(Callback):
        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            assert logger.forecast is not None
            played.append(logger.forecast.known_steps())
            trainer.should_stop = trainer.global_step >= played[0] + 120

    played: list[int] = []
    module = Tiny(per_step(lambda o: LambdaLR(o, lambda n: 0.9 ** (n % 7))))
    with caplog.at_level("INFO"):
        run = fit(module=module, batches=10**3, max_steps=10**6, callbacks=[logger, Stops()])
    assert logger.forecast is not None
    assert logger.forecast.total_steps() == 10**6
    assert 16 <= played[0] < 10**6
    assert len(run.used) == played[0] + 120 <= played[-1] < 10**6
    assert [logger.forecast.lr(n)[0] for n in range(len(run.used))] == run.used
    assert f"used = forecast on {len(run.used):,} of {len(run.used):,} updates" in messages(caplog)
    assert "the run is long: what comes after update" in messages(caplog)


def test_two_fits_of_one_trainer(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    run = prepare(module=Tiny(per_step(decays)), max_epochs=1, callbacks=[logger])
    with caplog.at_level("INFO"):
        go(run)
        known_run(logger, run, caplog)
        first = logger.forecast
        caplog.clear()
        run.trainer.fit_loop.max_epochs = 3
        go(run)
    assert logger.forecast is not first
    assert logger.forecast is not None
    assert logger.forecast.total_steps() == 24
    assert [logger.forecast.lr(8 + n)[0] for n in range(16)] == run.used
    assert compared(messages(caplog)) in (16, 24)


def test_a_fit_after_a_forecast_with_the_same_trainer_and_module(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    run = prepare(module=Tiny(per_step(decays)), max_epochs=2, callbacks=[logger])
    told = [forecast(run.trainer, run.module, loader(8)) for _ in range(2)]
    assert logger.forecast is None
    with caplog.at_level("INFO"):
        go(run)
    known_run(logger, run, caplog)
    assert [one.lr(n) for one in told for n in range(16)] == [list(lrs) for lrs in run.groups()] * 2
    # A run that is over: a second fit of its Trainer does nothing.
    assert forecast(run.trainer, run.module, loader(8)).total_steps() == 16


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("at", [8, 13])
def test_a_resumed_run(at: int, tmp_path: Path, caplog: Any) -> None:
    def options(*callbacks: Callback) -> dict[str, Any]:
        keep = keep_all(tmp_path)
        return {"module": Tiny(per_step(decays)), "max_epochs": 3, "callbacks": [*callbacks, keep]}

    whole = fit(**options(record_lrs(tmp_path / "lrs")))
    logger, path = record_lrs(tmp_path / "lrs"), tmp_path / f"step={at}.ckpt"
    told = forecast(quiet_trainer([], max_epochs=3), Tiny(per_step(decays)), loader(8), ckpt_path=path)
    caplog.clear()
    with caplog.at_level("INFO"):
        run = fit(**options(logger), ckpt_path=path)
    assert run.used == whole.used[at:]
    known_run(logger, run, caplog, first=at)
    assert told.known_steps() == told.total_steps() == 24
    assert [told.lr(n)[0] for n in range(at, 24)] == run.used
    with pytest.raises(IndexError, match=rf"update 0 is not one of updates {at} to 23"):
        told.lr(0)


def test_a_checkpoint_that_is_none_of_this_run(tmp_path: Path) -> None:
    fit(module=Tiny(per_step(decays)), max_epochs=1, callbacks=[keep_all(tmp_path, 8)])
    trainer, path = quiet_trainer([], max_epochs=2), tmp_path / "step=8.ckpt"
    with pytest.raises(
        ValueError, match=r"ckpt_path='.*step=8\.ckpt' is of another module or Trainer: ValueError: loaded"
    ):
        forecast(trainer, Tiny(two_groups), loader(8), ckpt_path=path)
    assert forecast(trainer, Tiny(two_groups), loader(8), ckpt_path="last").total_steps() == 16  # there is none to load
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="cannot be inspected: it was cut off"):
        forecast(trainer, Tiny(per_step(decays)), loader(8), ckpt_path=path)


class Data(LightningDataModule):
    """Says how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def setup(self, stage: str) -> None:
        self.asked.append(stage)

    def train_dataloader(self) -> Any:
        return loader(8)


class NeedsTheTrainer(Tiny):
    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.weights, lr=PEAK)
        total = int(self.trainer.estimated_stepping_batches)
        batches = len(self.trainer.datamodule.train_dataloader()) if self.trainer.datamodule else 8  # type: ignore[attr-defined]
        scheduler = LambdaLR(optimizer, lambda n: max(1 - n / total, 0) * batches / 8)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


def test_a_module_that_needs_the_trainer_and_its_data(tmp_path: Path) -> None:
    data, logger, module = Data(), record_lrs(tmp_path), NeedsTheTrainer()
    trainer = quiet_trainer([logger], max_epochs=2)
    told = forecast(trainer, module, datamodule=data)
    assert data.asked == []  # it was a view that was asked
    assert [told.lr(n) for n in range(16)] == [[PEAK * (1 - n / 16)] for n in range(16)]
    assert trainer.global_step == 0
    assert trainer.optimizers == []
    assert module._trainer is None
    trainer.fit(module, datamodule=data)
    assert data.asked == ["fit"]
    assert logger.forecast is not None
    assert [logger.forecast.lr(n) for n in range(16)] == [told.lr(n) for n in range(16)]


def test_the_data_are_asked_for_once() -> None:
    asked: list[int] = []

    def load() -> Any:
        asked.append(1)
        return loader(8)

    class Loads(NeedsTheTrainer):
        def train_dataloader(self) -> Any:
            return load()

    trainer = quiet_trainer([], max_epochs=2)
    assert forecast(trainer, Loads()).total_steps() == 16
    assert len(asked) == 1  # by `estimated_stepping_batches`, and not again


@pytest.mark.parametrize(
    "train",
    [
        lambda: CombinedLoader([loader(8), loader(3)], "max_size_cycle"),
        lambda: CombinedLoader({"a": loader(8), "b": loader(11)}, "min_size"),
        lambda: {"a": loader(8), "b": loader(3)},
        lambda: [loader(8), loader(5)],
    ],
    ids=["cycled", "smallest", "dict", "list"],
)
def test_loaders_of_several(train: Any, tmp_path: Path, caplog: Any) -> None:
    class Several(Tiny):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(torch.ones(1))

    logger, module = record_lrs(tmp_path), Several(per_step(decays))
    told = forecast(quiet_trainer([], max_epochs=2), module, train())
    with caplog.at_level("INFO"):
        run = fit(module=module, train=train(), max_epochs=2, callbacks=[logger])
    known_run(logger, run, caplog)
    assert told.total_steps() == len(run.used)


def endless(batches: int | None = None) -> Any:
    return torch.utils.data.DataLoader(Endless(batches))


def test_a_loader_without_a_length_in_a_run_with_one(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(decays)), train=endless(), max_steps=12, callbacks=[logger])
    known_run(logger, run, caplog)


def test_a_loader_without_a_length_in_a_run_without_one(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(decays)), train=endless(8), max_epochs=2, callbacks=[logger])
    assert logger.forecast is not None
    assert logger.forecast.total_steps() is None
    assert [logger.forecast.lr(n)[0] for n in range(16)] == run.used
    assert compared(messages(caplog)) == 16


def test_a_loader_without_a_length_and_epochs(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(decays, interval="epoch")), train=endless(8), max_epochs=2, callbacks=[logger])
    assert run.used == [PEAK] * 8 + [PEAK * 0.9] * 8
    assert logger.forecast is not None
    assert (logger.forecast.total_steps(), logger.forecast.known_steps()) == (None, 0)
    assert "the loader has no length, so it is not known when an epoch ends" in messages(caplog)


# Beside others of ours


def test_a_warmup_over_the_modules_scheduler_is_their_product(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(per_step(decays)), max_epochs=2, callbacks=[logger, LearningRateWarmup(4)])
    expected = [lr * min((n + 1) / 4, 1.0) for n, lr in enumerate(DECAYS[:16])]
    assert run.used == pytest.approx(expected, rel=1e-12)
    assert logger.forecast is not None
    assert [logger.forecast.lr(n)[0] for n in range(16)] == pytest.approx(expected, rel=1e-12)
    told = forecast(quiet_trainer([LearningRateWarmup(4)], max_epochs=2), Tiny(per_step(decays)), loader(8))
    assert [told.lr(n)[0] for n in range(16)] == pytest.approx(expected, rel=1e-12)


def test_beside_a_schedule_of_ours_there_is_nothing_to_forecast(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(schedules.Cosine(), max_epochs=2, callbacks=[logger])
    assert logger.forecast is None
    assert "forecast" not in messages(caplog)
    with pytest.raises(
        ValueError, match=r"a LearningRateScheduler owns the LR .*: .*preview\(schedule, ...\) shows it"
    ):
        forecast(quiet_trainer([LearningRateScheduler(schedules.Cosine())]), run.module, loader(8))


# Optimizers of every kind


class ByHand(Tiny):
    """Three optimizers, two schedulers."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        made = [SGD(self.weights, lr=lr) for lr in (0.1, 0.2, 0.3)]
        return made, [decays(made[0]), StepLR(made[1], 4)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        for scheduler in self.lr_schedulers():  # type: ignore[union-attr]
            scheduler.step()


def test_three_optimizers_by_hand(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        fit(module=ByHand(), max_epochs=1, callbacks=[logger])
    assert logger.forecast is not None
    for told in (logger.forecast, forecast(quiet_trainer([], max_epochs=1), ByHand(), loader(8))):
        assert [told.known_steps(o) for o in range(3)] == [0, 0, 0]
        assert [told.lr(0, o) for o in range(3)] == [[0.1], [0.2], [0.3]]
        assert told.findings == []
        assert "ByHand optimizes by hand" in str(told)
    assert messages(caplog).count("recorded 8 updates, there is no plan to compare with") == 3


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_lrs_that_are_tensors(kind: Any, tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    held: list[Any] = []

    def build(weights: list[nn.Parameter]) -> Any:
        optimizer = Adam(weights, lr=torch.tensor(PEAK, dtype=kind), foreach=False)
        held.append(optimizer.param_groups[0]["lr"])
        return [optimizer], [{"scheduler": decays(optimizer), "interval": "step"}]

    with caplog.at_level("INFO"):
        run = fit(module=Tiny(build), max_epochs=2, callbacks=[logger])
    known_run(logger, run, caplog)
    assert run.trainer.optimizers[0].param_groups[0]["lr"] is held[0]


def test_an_optimizer_that_computes_its_lr_itself(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        quiet_trainer([logger], max_epochs=1).fit(Tiny(OwnRate), loader(8))
    assert logger.forecast is None
    assert "No learning-rate forecast: ValueError: OwnRate has lr=None in group0" in messages(caplog)
    with pytest.raises(ValueError, match="OwnRate has lr=None in group0, and computes its LR itself"):
        forecast(quiet_trainer([], max_epochs=1), Tiny(OwnRate), loader(8))


@pytest.mark.filterwarnings("ignore:`LightningModule.configure_optimizers` returned `None`")
def test_a_module_without_an_optimizer(tmp_path: Path) -> None:
    logger, module = record_lrs(tmp_path), Tiny(lambda weights: None)
    fit(module=module, max_epochs=1, callbacks=[logger])
    assert logger.forecast is None
    with pytest.raises(ValueError, match=r"Tiny.configure_optimizers\(\) returns no optimizer, .*: return one"):
        forecast(quiet_trainer([], max_epochs=1), module, loader(8))


def test_an_optimizer_without_a_scheduler(tmp_path: Path, caplog: Any) -> None:
    logger = record_lrs(tmp_path)
    with caplog.at_level("INFO"):
        run = fit(module=Tiny(), max_epochs=1, callbacks=[logger])
    known_run(logger, run, caplog)
    assert logger.forecast is not None
    assert logger.forecast.findings == []
    assert "no scheduler" in str(logger.forecast)


def test_a_run_with_a_validation_and_a_record(tmp_path: Path) -> None:
    """What is foretold stands in the columns of the record that a plan of ours has."""
    fit(module=Validated(build=per_step(decays)), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    rows = list(read_rows(tmp_path / "lr.csv"))
    assert [float(row["planned_factor"]) for row in rows] == pytest.approx([0.9**n for n in range(8)], rel=1e-12)
    assert {row["phase"] for row in rows} == {"falls"}


def test_what_is_printed_before_the_first_update(tmp_path: Path, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        fit(module=Tiny(per_step(decays)), max_epochs=1, callbacks=[record_lrs(tmp_path)])
    (block,) = re.findall(r"(Learning-rate forecast for SGD: .*(?:\n  .*)*)", messages(caplog))
    assert block.splitlines() == [
        "Learning-rate forecast for SGD: 8 updates (1 epoch of 8 updates)",
        "  LambdaLR: 8 ticks, one an update",
        "  falls     updates 0 to 7   factor 1 -> 0.478",
        "  group0    peak LR 0.1, last 0.0478",
    ]
