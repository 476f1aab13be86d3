"""The doors of the package through which messages come, and what cases of several tables share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor, nn
from torch.optim import SGD

from lr_recipes import Horizon, LearningRateWarmup, schedules
from lr_recipes.schedules import Schedule
from tests.callbacks.harness import PEAK, Tiny, fit, plan, record_lrs, sgd

Door = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """A message.

    Attributes:
        provoke: brings it up.
        says: words for the value and the limit.
        advice: each piece of it, in its own words, with a function that follows it.
        never: advice that would not help here.
    """

    provoke: Door
    says: Sequence[str]
    advice: Mapping[str, Door]
    never: Sequence[str] = ()


# The run of most cases: 2 epochs of 8 batches
RUN = Horizon(total_steps=16, steps_per_epoch=8, samples_per_step=1, tokens_per_sample=50)
COSINE = schedules.Cosine(warmup=4)
TOTAL: dict[str, Any] = {"options": {"total_steps": 16}}


@contextmanager
def without_module(name: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, name, None)
        yield


def without_matplotlib(door: Door) -> Door:
    def tried() -> None:
        with without_module("matplotlib.figure"):
            door()

    return tried


def curve(schedule: Schedule, horizon: Horizon = RUN, **options: Any) -> Any:
    return schedule.resolve(horizon, **options)


def bound(schedule: Schedule, optimizer: Any = None, horizon: Horizon = RUN) -> Any:
    return schedule.bind(optimizer or one_weight(), horizon)


def one_weight(kind: Any = SGD, **options: Any) -> Any:
    weight = nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    return kind([weight], **{"lr": PEAK, **options})


def trained(schedule: Schedule, total: int = 16, **arguments: Any) -> None:
    """Train 2 epochs of 8 batches, if nothing else is said; every update must use the LR of the closed form."""
    facts = {"steps_per_epoch": 8, "samples_per_step": 1}
    run = fit(schedule, **{"max_epochs": 2, "callbacks": [record_lrs(Path("lrs"))], **arguments})
    assert run.used == plan(schedule, total, **facts)


def warmed(
    length: int, factor: Callable[[int], float] = lambda n: 1.0, /, duration: Any = None, **arguments: Any
) -> None:
    """Train 2 epochs with a warmup of ``length`` updates over a schedule of the module's own; each LR must be right."""
    warmup = LearningRateWarmup(length if duration is None else duration)
    run = fit(callbacks=[warmup, StopAfter()], **{"max_epochs": 2, **arguments})
    assert run.used == pytest.approx([PEAK * factor(n) * min(1.0, (n + 1) / length) for n in range(16)])


def followed(schedule: Schedule = schedules.Linear(), **arguments: Any) -> None:  # noqa: B008 - it is frozen
    """Train for a fraction of a second, with a schedule that is complete when it is over."""
    options = {"progress": "time"}
    run = fit(schedule, options=options, **{"max_epochs": -1, "max_time": {"milliseconds": 150}, **arguments})
    assert run.used[-1] < 0.2 * PEAK


class StopAfter(Callback):
    """Ends a run after 16 updates that has no known end."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.should_stop = trainer.fit_loop.total_batch_idx + 1 >= 16


class Saves(Callback):
    """Writes ``run.ckpt`` when the first epoch ends."""

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 0:
            trainer.save_checkpoint("run.ckpt")


def saved(schedule: Any = COSINE, **arguments: Any) -> str:
    """The checkpoint of a run of 2 epochs after the first of them; without a schedule, of one that has none."""
    fit(schedule, callbacks=[Saves()], **{"max_epochs": 2, **arguments})
    return "run.ckpt"


def resumed(
    schedule: Schedule, policy: str = "error", *, first: Any = None, edit: Any = None, **arguments: Any
) -> list[float]:
    """Go on after update 7 with ``schedule``, perhaps from another one's checkpoint, or an edited one's."""
    path = saved(first or schedule)
    if edit is not None:
        checkpoint = torch.load(path, weights_only=True)
        (state,) = checkpoint["callbacks"]["LearningRateScheduler"]["optimizers"].values()
        edit(state["schedule"])
        torch.save(checkpoint, path)
    options = {"options": {"resume": policy}, "ckpt_path": path, "max_epochs": 2, **arguments}
    used = fit(schedule, **options).used
    assert len(used) == 8
    return used


class Manual(Tiny):
    automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.loss(batch))
        optimizer.step()


def two(weights: Any) -> Any:
    return [sgd(weights[:1]), sgd(weights[1:])]


class Both(Manual):
    """Two optimizers, stepped one after another."""

    def __init__(self) -> None:
        super().__init__(two)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        for optimizer in self.optimizers():  # type: ignore[union-attr]
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


class OwnAccumulation(SingleDeviceStrategy):
    """Accumulates by a rule of its own, as DeepSpeed does."""

    @property
    def handles_gradient_accumulation(self) -> bool:
        return True


class Packed:
    """A loader with a length that does not say how many samples are in a batch; or says that there is one."""

    def __init__(self, batch_size: int | None = None) -> None:
        self.batch_size = batch_size

    def __len__(self) -> int:
        return 8

    def __iter__(self) -> Iterator[Tensor]:
        yield from torch.ones(8, 1, 1)


def a_file() -> Path:
    Path("file").write_text("")
    return Path("file")
