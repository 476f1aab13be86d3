"""The module of a random run, and the record of what happened in it.

The record is what the checks go by. It is made by the module itself, in a hook that it puts on each optimizer when it
builds it, before anybody else can; and it is in a file, so that it outlives a process that is killed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Timer
from torch.utils.data import DataLoader

from lr_recipes import LearningRateRangeTest
from tests.torture.case import GROUPS, LRS, MODULE_SCHEDULERS, SHARES, Case, monitor, optimizer_class


class Update(NamedTuple):
    """What one update of an optimizer used, by the name of the group."""

    optimizer: int
    epoch: int
    lrs: dict[str, float]


class Fact(NamedTuple):
    """Anything else that the checks need, with a number.

    ``metric``, a fresh value; ``rebuilt``, what the LRs are multiplied by then; ``peak``, found by a range test;
    ``fit``, the second fit begins, with that epoch (-1: with that of its checkpoint).
    """

    name: str
    value: float


class Record:
    """Lines of what happened, in order; written at once, and cut back when a checkpoint is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.on = False  # only from the beginning of training on: a range test undoes its updates
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)

    @property
    def length(self) -> int:
        return os.lseek(self._file, 0, os.SEEK_END)

    def cut(self, length: int) -> None:
        os.ftruncate(self._file, length)

    def update(self, optimizer: int, epoch: int, groups: list[dict[str, Any]]) -> None:
        if self.on:
            lrs = " ".join(f"{group['name']} {float(group['lr'])!r}" for group in groups)
            os.write(self._file, f"update {optimizer} {epoch} {lrs}\n".encode())

    def fact(self, name: str, value: float) -> None:
        os.write(self._file, f"{name} {value!r}\n".encode())

    def close(self) -> None:
        os.close(self._file)

    @staticmethod
    def read(path: Path) -> list[Update | Fact]:
        return [_line(*line.split()) for line in path.read_text().splitlines()]


def _line(name: str, *words: str) -> Update | Fact:
    if name != "update":
        return Fact(name, float(words[0]))
    return Update(int(words[0]), int(words[1]), dict(zip(words[2::2], map(float, words[3::2]), strict=True)))


class Stopped(Exception):
    """The exception that a run is stopped by."""


class Module(LightningModule):
    """Two groups for each optimizer, and a third that may join; changes itself and stops itself as its case says."""

    def __init__(self, case: Case, record: Record) -> None:
        super().__init__()
        self.case, self.record = case, record
        self.automatic_optimization = not case.manual
        count = len(case.optimizers)
        self.weights = torch.nn.ParameterDict(
            {f"{name}{index}": torch.nn.Parameter(torch.ones(2)) for index in range(count) for name in GROUPS}
        )
        self.names = ["a", "b"]  # of the groups that are there
        self.scale = 1.0  # of the LRs that optimizers are built with
        self.done: list[str] = []  # which of the changes have been made
        self.stops = False
        self.epoch_values: list[float] = []
        self.saved_values: tuple[int, list[float]] = (0, [])  # an epoch, and what it had logged in a checkpoint

    # Optimizers

    def configure_optimizers(self) -> Any:
        optimizers = [self.build(index) for index in range(len(self.case.optimizers))]
        if not self.case.module_scheduler:
            return optimizers
        return optimizers, [self._scheduler(optimizer) for optimizer in optimizers]

    def build(self, index: int, watched: bool = True) -> torch.optim.Optimizer:
        """Return a new optimizer with the groups of the moment."""
        optimizer = optimizer_class(self.case.optimizers[index])(self.groups(index))
        if watched:
            self.watch(index, optimizer)
        return optimizer

    def groups(self, index: int) -> list[dict[str, Any]]:
        return [self._group(name, index) for name in self.names]

    def _group(self, name: str, index: int) -> dict[str, Any]:
        lr = LRS[name] * SHARES[index] * self.scale
        return {
            "params": [self.weights[f"{name}{index}"]],
            "name": name,
            "lr": torch.tensor(lr) if self.case.tensor_lr else lr,
        }

    def watch(self, index: int, optimizer: torch.optim.Optimizer) -> None:
        """Note what each step uses; one without gradients is no update."""

        def note(*_: Any) -> None:
            if any(weight.grad is not None for group in optimizer.param_groups for weight in group["params"]):
                self.record.update(index, self.trainer.current_epoch, optimizer.param_groups)
            self.maybe_stop("step")

        optimizer.register_step_post_hook(note)

    def _scheduler(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        case = self.case
        scheduler = MODULE_SCHEDULERS[case.module_scheduler](optimizer, 100)
        return {
            "scheduler": scheduler,
            "interval": case.interval,
            "frequency": case.frequency,
            "monitor": monitor(case),
        }

    # Training

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor | None:
        self.maybe_stop("training_step")
        self._log_metric(batch_idx)
        index = self._batch()
        if self.case.manual:
            self._manual_step(batch, index)
            return None
        if index in self.case.lossless and self.record.on:
            return None
        loss = self._loss(batch, 0)
        return loss * float("inf") if index in self.case.overflow and self.record.on else loss

    def _loss(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        # Nearly all of it is of "a", whose LR is the largest: so it falls and explodes in a range test.
        losses = {name: (self.weights[f"{name}{index}"] ** 2).sum() for name in self.names}
        return sum(loss if name == "a" else loss * 1e-3 for name, loss in losses.items()) * batch.mean()

    def _manual_step(self, batch: torch.Tensor, index: int) -> None:
        optimizers: Any = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for k, optimizer in enumerate(optimizers):
            if index % self.case.every[k]:
                continue
            optimizer.zero_grad()
            if index not in self.case.lossless:
                self.manual_backward(self._loss(batch, k))
            optimizer.step()
            if self.case.module_scheduler and self.case.interval == "step":
                self._schedulers()[k].step()

    def _schedulers(self) -> list[Any]:
        schedulers: Any = self.lr_schedulers()
        return schedulers if isinstance(schedulers, list) else [schedulers]

    def _batch(self) -> int:
        return self.trainer.fit_loop.total_batch_idx

    # Metrics: they are functions of the position, so that a resumed run sees the same

    def _log_metric(self, batch_idx: int) -> None:
        if not self.case.metric.startswith("train"):
            return
        both = self.case.metric.endswith("of both")
        value = self._value(self.current_epoch) + (batch_idx % 2 if both else 0)
        self.log("train_loss", value, on_step=both, on_epoch=True, batch_size=1)
        self.epoch_values.append(value)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.maybe_stop("validation_step")
        if self.case.metric == "val_loss":
            value = self._value(self.trainer.global_step)
            self.log("val_loss", value, batch_size=1)
            if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
                self.metric_at_end = value

    def test_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("test_loss", 1.0, batch_size=1)

    def on_validation_epoch_end(self) -> None:
        value, self.metric_at_end = getattr(self, "metric_at_end", None), None
        if value is not None:
            self.record.fact("metric", value)

    def on_train_start(self) -> None:
        epoch, values = self.saved_values
        # Lightning never ends the epoch of a checkpoint that was written with its last batch; a plateau decides on it.
        whole = len(values) >= self.trainer.num_training_batches
        if epoch < self.trainer.current_epoch and whole:
            self.record.fact("metric", sum(values) / len(values))
        self.epoch_values = values if epoch == self.trainer.current_epoch else []  # if it is the epoch that goes on
        self.saved_values = (0, [])

    def on_train_epoch_start(self) -> None:
        self.epoch_values = []
        self.maybe_change("on_train_epoch_start")

    def on_train_epoch_end(self) -> None:
        if self.case.metric == "metric at epoch end":
            self.epoch_values = [self._value(self.current_epoch)]
            self.log("train_loss", self.epoch_values[0])
        batches = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready
        if self.epoch_values and batches >= self.trainer.num_training_batches:  # else it was stopped: no value
            self.record.fact("metric", sum(self.epoch_values) / len(self.epoch_values))
        self.epoch_values = []
        if self.case.manual and self.case.module_scheduler and self.case.interval == "epoch":
            for scheduler in self._schedulers():
                plateau = self.case.module_scheduler == "ReduceLROnPlateau"
                scheduler.step(*([self._value(self.current_epoch)] if plateau else []))

    def _value(self, number: int) -> float:
        return self.case.metric_values[number % len(self.case.metric_values)]

    # Changes

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.maybe_change("on_train_batch_start")

    def on_train_batch_end(self, *_: Any) -> None:
        if self.record.on and self.case.savers.get("slurm", -1) == self._batch() and self.stops:
            self.trainer.save_checkpoint(self.record.path.parent / "slurm.ckpt")
        self.maybe_change("on_train_batch_end")
        self.maybe_stop("batch_end")

    def maybe_change(self, hook: str) -> None:
        """Make the changes that are due; in an epoch's first hook, those of its first batch."""
        if hook != self.case.changes_in or not self.record.on:
            return
        batch = self._batch() + (hook == "on_train_epoch_start")
        changes = {"joins": self.case.joins_at, "leaves": -1, "rebuilt": -1}
        changes.update({} if self.case.leaves is None else {"leaves": self.case.leaves[0]})
        changes.update({} if self.case.rebuilt is None else {"rebuilt": self.case.rebuilt[0]})
        for change, at in changes.items():
            if 0 <= at <= batch and change not in self.done:
                self.done.append(change)
                getattr(self, f"_{change}")()

    def _joins(self) -> None:
        self.names.append("c")
        for index, optimizer in enumerate(self.trainer.optimizers):
            optimizer.add_param_group(self._group("c", index))

    def _leaves(self) -> None:
        place = self.names.index(self.case.leaves[1])
        del self.names[place]
        for optimizer in self.trainer.optimizers:
            for weight in optimizer.param_groups[place]["params"]:
                weight.grad = None
                optimizer.state.pop(weight, None)  # else torch cannot save the optimizer
            del optimizer.param_groups[place]

    def _rebuilt(self) -> None:
        _, way, self.scale = self.case.rebuilt
        trainer = self.trainer
        if way == "setup":
            trainer.strategy.setup_optimizers(trainer)
        elif way == "assign":
            trainer.optimizers = [self.build(index) for index in range(len(trainer.optimizers))]
        for index, optimizer in enumerate(trainer.optimizers):
            if way == "in place":  # torch makes the dicts of hooks anew, so ours is put there again
                kind: Any = optimizer_class(self.case.optimizers[index])
                optimizer.__init__(self.groups(index), **getattr(kind, "keywords", {}))
                self.watch(index, optimizer)
            if way == "load":
                optimizer.load_state_dict(self.build(index, watched=False).state_dict())
        self.record.fact("rebuilt", self.scale)

    # Ends

    def maybe_stop(self, place: str) -> None:
        stop = self.case.stop
        if not self.stops or not self.record.on or stop is None or place != stop[1] or self._batch() < stop[2]:
            return
        if self.trainer.state.fn != "fit" or self.trainer.sanity_checking:
            return
        if stop[0] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if stop[0] == "should_stop":
            self.trainer.should_stop = True
        elif stop[0] != "time":
            raise KeyboardInterrupt if stop[0] == "ctrl_c" else Stopped

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["torture"] = [self.record.length, list(self.names), self.scale, list(self.done)]
        checkpoint["torture_values"] = [self.current_epoch, list(self.epoch_values)]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.trainer.state.fn == "fit":  # what is only tested is not gone on from
            length, self.names, self.scale, self.done = checkpoint["torture"]
            self.saved_values = tuple(checkpoint["torture_values"])
            self.record.cut(length)
            self.record.fact("fit", -1)

    # Data

    def train_dataloader(self) -> DataLoader[Any]:
        case = self.case
        epoch = min(self.trainer.current_epoch, len(case.loaders) - 1)
        return ones(case.loaders[epoch] if case.loaders else case.batches, 2)

    def val_dataloader(self) -> DataLoader[Any]:
        return ones(1, 2)

    def test_dataloader(self) -> DataLoader[Any]:
        return ones(1, 2)


def ones(batches: int, batch_size: int) -> DataLoader[Any]:
    return DataLoader(torch.ones(batches * batch_size, 1), batch_size=batch_size)  # type: ignore[arg-type]


class Begin(Callback):
    """Lets the record begin when all other callbacks have begun, and notes the peak that a range test has found."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        record: Record = pl_module.record  # type: ignore[assignment]
        if not record.on:
            found = [one.result for one in trainer.callbacks if isinstance(one, LearningRateRangeTest)]  # type: ignore[attr-defined]
            for result in found:
                if result is not None and result.suggestion is not None:
                    record.fact("peak", result.suggestion)
        record.on = True


class CountedTime(Timer):
    """Lightning's Timer on a clock that goes on by a second with every batch."""

    def __init__(self, module: Module, batches: int) -> None:
        super().__init__(duration={"seconds": batches})
        self.module = module

    def time_elapsed(self, stage: str = "train") -> float:
        return self.module.trainer.fit_loop.total_batch_idx + 1 if self.module.record.on else 0
