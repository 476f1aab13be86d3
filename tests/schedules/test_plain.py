"""Numbers and strings of numpy, torch and enumerations are taken, and saved as plain ones: the very same numbers."""

from __future__ import annotations

import enum
import io
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch.optim.lr_scheduler import StepLR

from lr_recipes import Horizon, LearningRateScheduler, LearningRateWarmup, checks, schedules
from lr_recipes.schedules import Schedule, Shape, Span
from tests.callbacks.harness import Tiny, fit, keep_all, sgd
from tests.optimizer.loops import sgd as ready
from tests.optimizer.loops import torch_style

pytestmark = [
    pytest.mark.behaviour("B69"),
    pytest.mark.filterwarnings(
        "ignore:Be aware that when using `ckpt_path`",  # the resumed run saves nothing
        "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    ),
]


class Word(str, enum.Enum):
    LINEAR = "linear"
    COSINE = "cosine"
    LOSS = "val_loss"


class Count(enum.IntEnum):
    TWO = 2


class Text(str):
    """Somebody's own string."""

    def __str__(self) -> str:
        return "not what it is"


@dataclass(frozen=True, kw_only=True)
class Held(Schedule):
    """A schedule of somebody's own, whose field is not checked."""

    levels: Any

    def shape(self, span: Span) -> Shape:
        return Shape(lambda t: self.levels[min(t, 1)], self.levels[1], [("held", span.warmup)])


# fmt: off
TAKEN: dict[str, tuple[Schedule, Schedule]] = {
    "float32": (schedules.Step(step_size=3, gamma=np.float32(0.1)),
                schedules.Step(step_size=3, gamma=0.10000000149011612)),
    "float64": (schedules.Cosine(min_lr_ratio=np.float64(0.1)), schedules.Cosine(min_lr_ratio=0.1)),
    "float16": (schedules.Linear(min_lr=np.float16(0.01)), schedules.Linear(min_lr=float(np.float16(0.01)))),
    "longdouble": (schedules.Exponential(gamma=np.longdouble(0.5)), schedules.Exponential(gamma=0.5)),
    "fraction": (schedules.Exponential(gamma=Fraction(1, 3)), schedules.Exponential(gamma=1 / 3)),
    "int64": (schedules.Fixed(warmup=np.int64(4)), schedules.Fixed(warmup=4)),
    "tensor": (schedules.Polynomial(power=torch.tensor(1.5), warmup=torch.tensor(3)),
               schedules.Polynomial(power=1.5, warmup=3)),
    "bool": (schedules.OneCycle(three_phase=np.bool_(False)), schedules.OneCycle()),
    "string": (schedules.Cosine(warmup=np.str_("10%"), warmup_type=np.str_("cosine")),
               schedules.Cosine(warmup="10%", warmup_type="cosine")),
    "enumeration": (schedules.Plateau(monitor=Word.LOSS, warmup_type=Word.COSINE, patience=Count.TWO),
                    schedules.Plateau(monitor="val_loss", warmup_type="cosine", patience=2)),
    "own string": (schedules.Linear(warmup=Text("2 epochs")), schedules.Linear(warmup="2 epochs")),
    "array": (schedules.MultiStep(milestones=np.array([3, 9])), schedules.MultiStep(milestones=[3, 9])),
    "list of them": (schedules.MultiStep(milestones=[np.int32(3), np.str_("50%")]),
                     schedules.MultiStep(milestones=[3, "50%"])),
    "list of a config": (schedules.MultiStep(milestones=OmegaConf.create([3, "50%"])),
                         schedules.MultiStep(milestones=[3, "50%"])),
    "in a phase": (schedules.Sequence(schedules=[schedules.Fixed(warmup=np.int8(2)), schedules.Linear()],
                                      milestones=[np.int64(5)]),
                   schedules.Sequence(schedules=[schedules.Fixed(warmup=2), schedules.Linear()], milestones=[5])),
    "torch's": (schedules.TorchSchedule(factory=partial(StepLR, step_size=np.int64(3), gamma=np.float32(0.5))),
                schedules.TorchSchedule(factory=partial(StepLR, step_size=3, gamma=0.5))),
    "somebody's own": (Held(levels=np.array([1.0, 0.5], dtype=np.float32)), Held(levels=[1.0, 0.5])),
}
# fmt: on


def read_back(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def all_plain(value: Any) -> bool:
    if type(value) is dict:
        return all(type(key) in (str, int) and all_plain(one) for key, one in value.items())
    if type(value) is list:
        return all(map(all_plain, value))
    return value is None or type(value) in (bool, int, float, str)


@pytest.mark.parametrize(("given", "meant"), TAKEN.values(), ids=TAKEN)
def test_what_is_taken_is_saved_as_plain_values_and_planned_by_them(given: Schedule, meant: Schedule) -> None:
    run = Horizon(total_steps=np.int64(20), steps_per_epoch=np.array([4, 6]), source=np.str_("a table"))
    bound = given.bind(ready(0.1, 0.02), run)
    state = bound.state_dict()
    assert all_plain(state), state
    plain_run = Horizon(total_steps=20, steps_per_epoch=[4, 6], source="a table")
    assert (given.describe(), run) == (meant.describe(), plain_run)
    fresh = meant.bind(ready(0.1, 0.02), plain_run)
    fresh.load_state_dict(read_back(state))
    assert torch_style(bound, 20) == torch_style(fresh, 20)


def test_what_is_planned_is_the_number_that_is_saved() -> None:
    schedule = schedules.Step(step_size=5, gamma=np.float32(0.1))
    gamma = schedule.describe()["gamma"]
    assert (gamma, type(gamma)) == (float(np.float32(0.1)), float)
    assert schedule.resolve(Horizon(total_steps=10))(5) == gamma


@pytest.mark.parametrize("value", [np.float64(0.5), np.float32(0.5), torch.tensor(0.5), 1])
def test_metric_and_position(value: Any) -> None:
    bound = schedules.Plateau(patience=0).bind(ready(0.1), Horizon())
    bound.observe(value)
    bound.optimizer.step()
    bound.step(np.int64(3))
    bound.position = np.int32(4)
    bound.last_epoch = torch.tensor(5)
    assert all_plain(bound.state_dict())
    assert bound.position == 5


@pytest.mark.parametrize("lr", [np.float64(0.1), 1, torch.tensor(0.25)])
def test_lr_of_the_optimizer(lr: Any) -> None:
    bound = schedules.Cosine().bind(ready(lr), Horizon(total_steps=10))
    assert all_plain(bound.state_dict())
    assert bound.base_lrs == [float(lr)]


def test_arguments_of_callbacks(tmp_path: Path) -> None:
    """The names of optimizers that a mapping is made of are saved too."""
    arguments: dict[str, Any] = {"interval": np.str_("epoch"), "total_steps": {np.str_("SGD"): np.int64(16)}}
    scheduler = LearningRateScheduler({np.str_("SGD"): schedules.Linear(warmup=np.int64(2))}, **arguments)
    run = fit(module=Tiny(partial(sgd, lr=np.float64(0.25))), callbacks=[scheduler, keep_all(tmp_path)], max_epochs=2)
    state = torch.load(tmp_path / "step=11.ckpt", weights_only=True)["callbacks"]["LearningRateScheduler"]
    assert all_plain(state), state
    again = LearningRateScheduler(schedules.Linear(warmup=2), "epoch", total_steps=16)
    module = Tiny(partial(sgd, lr=0.25))
    resumed = fit(module=module, callbacks=[again], max_epochs=2, ckpt_path=tmp_path / "step=11.ckpt")
    assert resumed.used == run.used[11:]


def test_arguments_of_a_warmup(tmp_path: Path) -> None:
    warmup = LearningRateWarmup(np.int64(8), np.str_("cosine"), np.float32(0.1))
    fit(callbacks=[warmup, keep_all(tmp_path)], max_epochs=2)
    assert all_plain(torch.load(tmp_path / "step=5.ckpt", weights_only=True)["callbacks"]["LearningRateWarmup"])


def test_what_is_plain_stays_the_very_value() -> None:
    for value in (None, True, 3, 0.1, "text", b"bytes", schedules.Fixed(), print):
        assert checks.plain(value) is value
