"""Plateaus on any metric of the run: one decision for each fresh value, wherever and whenever it is logged."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from torchmetrics import MeanMetric

from lr_recipes.callbacks.lightning import AfterHook
from lr_recipes.schedules import Plateau
from tests.callbacks.harness import Endless, Preempted, Run, Tiny, go, keep_all, loader, messages, prepare, sgd

pytestmark = pytest.mark.filterwarnings(
    "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
)
BATCHES = 4
# The mean of an epoch, and how far its first batch is below and its last one above that: the last batch, and the mean
# of a part of the epoch, lead to other decisions than the epoch's mean.
MEANS = [1.0, 0.9, 0.9, 0.8, 0.85, 0.85, 0.7, 0.7]
SPREADS = [0.0, 2.0, 0.5, 3.0, 0.1, 4.0, 0.0, 1.0]
LAST = [mean + spread for mean, spread in zip(MEANS, SPREADS, strict=True)]
MONITOR = "loss"


class Logging(Tiny):
    """Logs ``loss`` in the way that ``how`` says, and ``val_loss`` in its validations."""

    def __init__(self, how: str, build: Callable[[list[Any]], Any] = sgd) -> None:
        super().__init__(build)
        self.how, self.mean = how, MeanMetric()

    @property
    def epoch(self) -> int:
        """Not ``current_epoch``: Lightning counts an epoch twice that ``max_steps`` has ended within."""
        return self.trainer.fit_loop.total_batch_idx // BATCHES

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        value = MEANS[self.epoch] + {0: -1, BATCHES - 1: 1}.get(batch_idx, 0) * SPREADS[self.epoch]
        if self.how in ("epoch", "both", "step"):
            self.log(MONITOR, value, on_step=self.how != "epoch", on_epoch=self.how != "step")
        if self.how == "max":  # of the epoch: its last batch
            self.log(MONITOR, value, on_step=False, on_epoch=True, reduce_fx="max")
        if self.how == "metric":
            self.mean.update(value)
            self.log(MONITOR, self.mean, on_step=False, on_epoch=True)
        if self.how == "first batch" and batch_idx == 0:
            self.log(MONITOR, MEANS[self.epoch], on_step=False, on_epoch=True)
        return self.loss(batch)

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", 1.0)

    def on_train_epoch_end(self) -> None:
        if self.how == "end" or (self.how == "every second" and self.epoch % 2 == 0):
            self.log(MONITOR, MEANS[self.epoch])


class LogsAtTheEnd(Callback):
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        pl_module.log(MONITOR, MEANS[trainer.fit_loop.total_batch_idx // BATCHES])


def halving(**options: Any) -> Plateau:
    return Plateau(**{"monitor": MONITOR, "factor": 0.5, "patience": 0, **options})


def decided_on(values: Sequence[float | None], updates: int = BATCHES) -> list[float]:
    """LRs of epochs that end with these values, by torch's own scheduler, fed by hand."""
    optimizer = sgd([torch.nn.Parameter(torch.ones(1))])
    scheduler, used = ReduceLROnPlateau(optimizer, factor=0.5, patience=0), []
    for value in values:
        used += [optimizer.param_groups[0]["lr"]] * updates
        if value is not None:
            scheduler.step(torch.tensor(value))
    return used


def by_lightning(how: str, **arguments: Any) -> list[float]:
    """LRs of plain Lightning."""

    def build(parameters: list[Any]) -> Any:
        optimizer = sgd(parameters)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": MONITOR}}

    return train(None, how, build=build, **arguments).used


def train(schedule: Any, how: str, *, build: Any = sgd, ckpt_path: Any = None, **arguments: Any) -> Run:
    if how == "callback":
        arguments["callbacks"] = [*arguments.get("callbacks", []), LogsAtTheEnd()]
    module = Logging(how, build)
    limits: dict[str, Any] = {} if "max_steps" in arguments else {"max_epochs": len(MEANS)}
    run = prepare(schedule, module=module, **{**limits, **arguments})
    return go(run, batches=BATCHES, val=loader(1), ckpt_path=ckpt_path)


RHYTHMS: dict[str, dict[str, Any]] = {
    "no validation": {"limit_val_batches": 0},
    "each epoch": {},
    "no sanity check": {"num_sanity_val_steps": 0},
    "every 2 epochs": {"check_val_every_n_epoch": 2},
    "twice an epoch": {"val_check_interval": 0.5},
    "across epochs": {"val_check_interval": 3, "check_val_every_n_epoch": None},
}
VALUES = {
    "epoch": MEANS,
    "both": MEANS,
    "step": LAST,
    "max": LAST,
    "metric": MEANS,
    "first batch": MEANS,
    "end": MEANS,
    "callback": MEANS,
}


# When it decides


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
@pytest.mark.parametrize("how", VALUES)
def test_metric_of_the_training_epoch_decides_once_an_epoch(how: str, rhythm: dict[str, Any]) -> None:
    expected = decided_on(VALUES[how])
    assert len(set(expected)) > 2
    assert train(halving(), how, **rhythm).used == expected == by_lightning(how, **rhythm)


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_names_of_the_step_and_of_the_epoch_have_values_of_their_own(rhythm: dict[str, Any]) -> None:
    assert train(halving(monitor="loss_epoch"), "both", **rhythm).used == decided_on(MEANS)
    assert train(halving(monitor="loss_step"), "both", **rhythm).used == decided_on(LAST)


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_metric_that_is_not_logged_in_every_epoch_decides_only_when_it_is(rhythm: dict[str, Any]) -> None:
    values = [None if epoch % 2 else value for epoch, value in enumerate(MEANS)]
    assert train(halving(), "every second", **rhythm).used == decided_on(values)


# Resuming


class Saver(Callback):
    """Saves in all hooks in which somebody may, and keeps the order of the checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.saved = folder, list[Path]()

    def save(self, trainer: Trainer, when: str) -> None:
        path = self.folder / f"{len(self.saved):02} {when} {trainer.fit_loop.total_batch_idx + 1}.ckpt"
        trainer.save_checkpoint(path)
        self.saved.append(path)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.save(trainer, "batch")

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.save(trainer, "validation")

    def on_train_epoch_end(self, trainer: Trainer, *_: Any) -> None:
        self.save(trainer, "epoch")

    def on_train_end(self, trainer: Trainer, *_: Any) -> None:
        self.save(trainer, "end")


class LateSaver(Saver, ModelCheckpoint):
    """The same where ModelCheckpoint saves: after the module's own hook of the end of an epoch."""

    def __init__(self, folder: Path) -> None:
        ModelCheckpoint.__init__(self, folder, save_top_k=0)
        Saver.__init__(self, folder)


def batches_done(path: Path) -> int:
    return int(path.stem.split()[-1])


RESUMED = [
    *((how, rhythm) for how in ("epoch", "end") for rhythm in ("no validation", "each epoch", "every 2 epochs")),
    *((how, "twice an epoch") for how in VALUES),
]


def goes_on(path: Path, how: str, rhythm: str, arguments: dict[str, Any]) -> bool:
    """Whether Lightning itself goes on from a checkpoint where the run was."""
    when, batches = path.stem.split()[1:]
    # It does not call the hook of an epoch's end any more, so what is logged there is lost.
    if when == "batch" and int(batches) % BATCHES == 0 and how in ("end", "callback"):
        return False
    # What a metric object has seen of an epoch is in no checkpoint.
    if how == "metric" and (when == "batch" or int(batches) % BATCHES):
        return False
    # With `max_steps` it puts a further batch behind an epoch that is over and has no validation at its end.
    if "max_steps" in arguments and rhythm in ("no validation", "every 2 epochs"):
        return when not in ("epoch", "end")
    return True


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("limits", [{"max_epochs": 2}, {"max_steps": 2 * BATCHES}], ids=["max_epochs", "max_steps"])
@pytest.mark.parametrize(("how", "rhythm"), RESUMED)
def test_every_checkpoint_goes_on_as_if_nothing_had_stopped_the_run(
    how: str, rhythm: str, limits: dict[str, int], tmp_path: Path
) -> None:
    saving, expected = LateSaver(tmp_path), decided_on(VALUES[how][:4])
    assert train(halving(), how, callbacks=[saving], **RHYTHMS[rhythm], **limits).used == expected[: 2 * BATCHES]
    longer = {name: 2 * limit for name, limit in limits.items()}
    resumed = {
        path.stem: train(halving(), how, ckpt_path=path, **RHYTHMS[rhythm], **longer).used
        for path in saving.saved
        if goes_on(path, how, rhythm, limits)
    }
    assert len(resumed) >= 5
    assert resumed == {path.stem: expected[batches_done(path) :] for path in saving.saved if path.stem in resumed}


@pytest.mark.behaviour("B41")
def test_checkpoint_of_a_callback_at_the_end_of_an_epoch_comes_before_the_decision(tmp_path: Path) -> None:
    saving, expected = Saver(tmp_path), decided_on(MEANS[:4])
    train(halving(), "epoch", callbacks=[saving], max_epochs=2)
    for path in saving.saved:
        assert train(halving(), "epoch", ckpt_path=path, max_epochs=4).used == expected[batches_done(path) :]


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", [{}, {"limit_val_batches": 0}])
def test_metric_that_is_logged_now_and_then_is_known_after_a_resume(rhythm: dict[str, Any], tmp_path: Path) -> None:
    expected = decided_on([None if epoch % 2 else value for epoch, value in enumerate(MEANS)])
    saving = LateSaver(tmp_path)
    train(halving(), "every second", callbacks=[saving], max_epochs=2, **rhythm)
    for path in saving.saved:
        if batches_done(path) > BATCHES:  # the second epoch, which logs nothing, is still to end
            assert train(halving(), "every second", ckpt_path=path, **rhythm).used == expected[batches_done(path) :]


@pytest.mark.behaviour("B41")
def test_what_waits_is_saved_as_plain_values_and_may_be_missing(tmp_path: Path) -> None:
    saving = LateSaver(tmp_path)
    train(halving(), "both", callbacks=[saving], max_epochs=1)
    path = saving.saved[1]
    saved = torch.load(path, weights_only=True)
    (state,) = (state for name, state in saved["callbacks"].items() if name.startswith("LearningRateScheduler"))
    metrics = state.pop("metrics")
    del state["checksum"]
    assert metrics["waiting"] == {MONITOR: {"how": "mean", "total": 2 * MEANS[0], "weight": 2.0}}
    torch.save(saved, path)  # as an older version has written it
    assert train(halving(), "both", ckpt_path=path, max_epochs=3).used == decided_on(MEANS[:3])[2:]


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("options", [{}, {"save_on_train_epoch_end": True}, {"save_on_train_epoch_end": False}])
@pytest.mark.parametrize("how", ["epoch", "both", "metric", "end"])
def test_run_that_is_preempted_in_every_epoch_decides_like_one_that_is_not(
    how: str, options: dict[str, Any], tmp_path: Path
) -> None:
    used: list[float] = []
    for epoch in range(len(MEANS)):
        saving = ModelCheckpoint(tmp_path, save_last=True, **options)
        callbacks, last = [saving, Preempted()], tmp_path / "last.ckpt"
        with contextlib.suppress(RuntimeError):
            run = prepare(halving(), module=Logging(how), max_epochs=len(MEANS), callbacks=callbacks)
            go(run, batches=BATCHES, val=loader(1), ckpt_path=last if epoch else None)
        used += run.used
    assert used == decided_on(MEANS)


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("how", ["epoch", "step", "end"])
def test_epoch_that_max_steps_ends_within_decides_when_it_is_whole(how: str, tmp_path: Path) -> None:
    saving, expected = LateSaver(tmp_path), decided_on(VALUES[how][:4])
    assert train(halving(), how, callbacks=[saving], max_steps=6).used == expected[:6]
    late = [path for path in saving.saved if batches_done(path) > BATCHES]
    assert {path.stem.split()[1] for path in late} == {"batch", "epoch", "end"}
    for path in late:
        assert train(halving(), how, ckpt_path=path, max_steps=16).used == expected[batches_done(path) :]


class Interrupted(Callback):
    """Raises once, in a hook of the end of the sixth epoch."""

    def __init__(self, hook: str) -> None:
        self.healthy = False
        setattr(self, hook, self.interrupt)

    def interrupt(self, trainer: Trainer, *_: Any) -> None:
        last = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if trainer.current_epoch == 5 and last and not self.healthy:
            self.healthy = True
            raise RuntimeError("interrupted")


@pytest.mark.behaviour("B41")
@pytest.mark.filterwarnings("ignore:Found .* in eval mode at the start of training")
@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_validation_end", "on_train_batch_end"])
def test_epoch_whose_end_was_interrupted_counts_once(hook: str) -> None:
    """After an error at its end Lightning goes on behind it; after one before that, it repeats the epoch."""
    module = Logging("epoch")
    run = prepare(halving(), module=module, max_epochs=7, callbacks=[Interrupted(hook)])
    with pytest.raises(RuntimeError, match="interrupted"):
        go(run, batches=BATCHES, val=loader(1))
    assert "on_train_epoch_end" not in vars(module)
    used = go(run, batches=BATCHES, val=loader(1)).used
    assert run.scheduler is not None
    values = MEANS[:7] if hook == "on_train_epoch_end" else [*MEANS[:5], *MEANS[6:]]
    expected = decided_on([*values, None])
    assert used == expected[:-BATCHES][-len(used) :]
    (bound,) = run.scheduler.bound.values()
    assert bound.get_last_lr() == expected[-1:]


# Metrics that are not there


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_name_that_is_logged_nowhere_is_an_error_by_the_end_of_the_first_epoch(rhythm: dict[str, Any]) -> None:
    run = prepare(halving(monitor="los"), module=Logging("epoch"), max_epochs=8, **rhythm)
    with pytest.raises(ValueError, match=r"monitor='los' \(did you mean 'loss'\?\).*there are loss"):
        go(run, batches=BATCHES, val=loader(1))
    assert len(run.used) == (2 if rhythm.get("check_val_every_n_epoch") else 1) * 4


@pytest.mark.behaviour("B41")
def test_metric_that_comes_later_is_not_a_number_until_then() -> None:
    class Later(Logging):
        def on_train_epoch_end(self) -> None:
            self.log(MONITOR, MEANS[self.epoch] if self.epoch > 1 else float("nan"))

    run = prepare(halving(), module=Later(""), max_epochs=len(MEANS))
    with pytest.warns(UserWarning, match="loss is not a number: this value does not count"):
        go(run, batches=BATCHES, val=loader(1))
    assert run.used == decided_on([None, None, *MEANS[2:]])


@pytest.mark.behaviour("B41")
def test_metric_that_no_validation_within_the_epoch_has_logged_is_waited_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        train(halving(), "end", val_check_interval=1)
    assert messages(caplog).count("was logged so far: the plateau waits for it until the epoch ends") == 1


@pytest.mark.behaviour("B41")
def test_metric_that_is_missing_in_an_epoch_without_a_known_end_is_warned_of() -> None:
    run = prepare(halving(monitor="val_los"), module=Logging("epoch"), max_steps=4, val_check_interval=2)
    with (
        pytest.warns(UserWarning, match=r"no val_los \(did you mean 'val_loss'\?\) was logged so far"),
        pytest.raises(ValueError, match="monitor='val_los'"),
    ):
        go(run, train=DataLoader(Endless(), batch_size=1), val=loader(1))


# One name in two loops


class LogsOneNameTwice(Logging):
    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log(MONITOR, 1.0)


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", [{}, {"check_val_every_n_epoch": 2}, {"val_check_interval": 2}])
def test_what_a_validation_logs_too_is_the_validations(rhythm: dict[str, Any]) -> None:
    values = Logging("epoch"), LogsOneNameTwice("epoch")
    run = prepare(halving(), module=values[1], max_epochs=8, **rhythm)
    alone = prepare(halving(monitor="val_loss"), module=values[0], max_epochs=8, **rhythm)
    used = go(run, batches=BATCHES, val=loader(1)).used
    assert used == go(alone, batches=BATCHES, val=loader(1)).used
    assert len(set(used)) > 2


@pytest.mark.behaviour("B41")
def test_loaders_of_a_validation_have_metrics_of_their_own() -> None:
    class TwoLoaders(Tiny):
        def validation_step(self, batch: Tensor, batch_idx: int, dataloader_idx: int = 0) -> None:
            self.log("val_loss", MEANS[self.current_epoch] if dataloader_idx else 1.0)

    run = prepare(halving(monitor="val_loss/dataloader_idx_1"), module=TwoLoaders(), max_epochs=len(MEANS))
    assert go(run, batches=BATCHES, val=[loader(1), loader(1)]).used == decided_on(MEANS)


@pytest.mark.behaviour("B41")
def test_metric_object_that_is_updated_after_the_validation_keeps_its_value() -> None:
    class UpdatedLate(Logging):
        def on_train_epoch_end(self) -> None:
            self.mean.update(100.0)

    seen = []
    for schedule in (halving(), None):
        run = go(prepare(schedule, module=UpdatedLate("metric"), max_epochs=2), batches=BATCHES, val=loader(1))
        seen.append(run.trainer.callback_metrics[MONITOR])
    assert seen[0] == seen[1] > 10


# Several optimizers, by hand


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("rhythm", RHYTHMS.values(), ids=RHYTHMS)
def test_each_optimizer_decides_on_its_own_metric_in_manual_optimization(rhythm: dict[str, Any]) -> None:
    class ByHand(Logging):
        def __init__(self) -> None:
            super().__init__("")
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            return [sgd([self.weights[0]]), sgd([self.weights[1]])]

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            self.log("a", MEANS[self.epoch], on_step=True, on_epoch=True)
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()

        def on_train_epoch_end(self) -> None:
            self.log("b", MEANS[-1 - self.epoch])

    plateaus = {0: halving(monitor="a"), 1: halving(monitor="b")}
    run = prepare(plateaus, module=ByHand(), max_epochs=len(MEANS), **rhythm)
    go(run, batches=BATCHES, val=loader(1))
    assert [lr for (lr,) in run.groups(0)] == decided_on(MEANS)
    assert [lr for (lr,) in run.groups(1)] == decided_on(MEANS[::-1])


# The module's own hook


class Ends(Tiny):
    """Counts the calls of its hook."""

    ends = 0

    def on_train_epoch_end(self) -> None:
        self.ends += 1


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copy_of_a_module_has_its_own_hook(copied: Callable[[Ends], Ends]) -> None:
    module, calls = Ends(), []
    AfterHook(module, "on_train_epoch_end", lambda: calls.append(module.ends))
    twin = copied(module)
    twin.on_train_epoch_end()
    assert (twin.ends, module.ends, calls) == (1, 0, [])
    for _ in range(2):
        module.on_train_epoch_end()
    assert (twin.ends, module.ends, calls) == (1, 2, [1])
    assert "on_train_epoch_end" not in vars(module)


@pytest.mark.behaviour("B41")
@pytest.mark.parametrize("own", [None, list], ids=["none", "another"])
def test_module_whose_hook_is_none_or_put_on_it_alone_decides_too(own: Any) -> None:
    module: Any = Logging("epoch")
    module.on_train_epoch_end = own
    run = prepare(halving(), module=module, max_epochs=len(MEANS))
    assert go(run, batches=BATCHES, val=loader(1)).used == decided_on(MEANS)
    assert vars(module)["on_train_epoch_end"] is own


# A checkpoint between a batch and its validation

TOO_EARLY = "a checkpoint was written with the batch before the"


def told(caplog: pytest.LogCaptureFixture, metric: str, how: str, saving: Callback, **arguments: Any) -> list[str]:
    """What is said about checkpoints in a run of two epochs."""
    caplog.clear()
    with caplog.at_level("INFO"):
        train(halving(monitor=metric), how, callbacks=[saving], max_epochs=2, **arguments)
    return [line for line in messages(caplog).splitlines() if TOO_EARLY in line]


@pytest.mark.behaviour("B61")
@pytest.mark.parametrize("rhythm", [{}, {"val_check_interval": 0.5}])
def test_checkpoint_with_the_batch_of_a_validation_is_said_once_and_the_advice_helps(
    rhythm: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = told(caplog, "val_loss", "", keep_all(tmp_path), **rhythm)
    assert line.startswith(f"SGD: {TOO_EARLY} validation that logs val_loss.")
    assert "give ModelCheckpoint save_on_train_epoch_end=False and neither every_n_train_steps nor" in line
    whole = train(halving(monitor="val_loss"), "", max_epochs=4, **rhythm).used
    assert resumed(tmp_path / "step=4.ckpt", "val_loss", "", **rhythm) != whole[4:]
    advised = ModelCheckpoint(tmp_path / "advised", filename="{step}", save_top_k=-1, save_on_train_epoch_end=False)
    assert told(caplog, "val_loss", "", advised, **rhythm) == []
    paths = list((tmp_path / "advised").iterdir())
    assert len(paths) == (4 if rhythm else 2)
    for path in paths:
        step = int(path.stem.removeprefix("step="))
        assert resumed(path, "val_loss", "", **rhythm) == whole[step:]


@pytest.mark.behaviour("B61")
def test_checkpoint_with_the_last_batch_is_said_where_the_epochs_end_logs_the_metric(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (line,) = told(caplog, MONITOR, "end", keep_all(tmp_path))
    assert line.startswith(f"SGD: {TOO_EARLY} end of the epoch that logs loss.")
    advised = ModelCheckpoint(tmp_path / "advised", filename="{step}", save_top_k=-1, save_on_train_epoch_end=True)
    assert told(caplog, MONITOR, "end", advised) == []
    for step in (4, 8):
        assert resumed(tmp_path / "advised" / f"step={step}.ckpt", MONITOR, "end") == decided_on(MEANS)[step:16]


def resumed(path: Path, metric: str, how: str, **arguments: Any) -> list[float]:
    return train(halving(monitor=metric), how, ckpt_path=path, max_epochs=4, **arguments).used


@pytest.mark.behaviour("B61")
@pytest.mark.parametrize("validation", ["on_validation_end", "on_train_epoch_end", "batch"])
@pytest.mark.parametrize("metric", ["val_loss", MONITOR])
def test_other_checkpoints_are_not_spoken_of(
    metric: str, validation: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of a training metric the checkpoint has what the batches have logged, and three steps are no validation's."""
    options = (
        {"every_n_train_steps": 3}
        if validation == "batch"
        else {"save_on_train_epoch_end": validation == "on_train_epoch_end"}
    )
    saving = ModelCheckpoint(tmp_path, save_top_k=-1, **options)
    how = "epoch" if validation == "batch" else "end"
    assert told(caplog, metric, how, saving) == []
    assert told(caplog, MONITOR, "epoch", keep_all(tmp_path)) == []


@pytest.mark.behaviour("B61")
def test_accumulation_does_not_mistake_an_earlier_batch_for_that_of_the_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    arguments: dict[str, Any] = {"accumulate_grad_batches": 2, "val_check_interval": 3}
    assert told(caplog, "val_loss", "", keep_all(tmp_path), **arguments) == []
