"""What a forecast says when there is none, and findings where they end a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, StepLR

from lr_recipes import LearningRateScheduler, forecast, preview
from tests.callbacks.harness import OwnRate, Tiny, fit, loader, quiet_trainer, record_lrs
from tests.messages.doors import COSINE, Case, Manual, saved


def cosine(t_max: int) -> Callable[[Any], Any]:
    def build(weights: Any) -> Any:
        optimizer = SGD(weights, lr=0.1)
        return [optimizer], [{"scheduler": CosineAnnealingLR(optimizer, t_max), "interval": "step"}]

    return build


def told(module: Any = None, *callbacks: Any, **more: Any) -> Any:
    """The forecast of a run of 2 epochs of 8 batches."""
    return forecast(quiet_trainer(list(callbacks), max_epochs=2), module or Tiny(cosine(16)), loader(8), **more)


def logged(t_max: int, findings: str) -> None:
    run = fit(module=Tiny(cosine(t_max)), max_epochs=2, callbacks=[record_lrs("lrs", findings=findings)])  # type: ignore[arg-type]
    assert len(run.used) == 16
    assert run.used[-1] == pytest.approx(0.1 * 0.00961, rel=1e-3)


def two_ways(weights: Any) -> Any:
    """A group decays and another one does not."""
    optimizer = SGD([{"params": [weight]} for weight in weights], lr=0.1)
    scheduler = LambdaLR(optimizer, [lambda n: 1 - n / 16, lambda n: 1.0])
    return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class Unready(Tiny):
    """Builds its scheduler from what a running fit makes, or from what ``setup`` makes."""

    def __init__(self, ready: bool) -> None:
        super().__init__()
        self.ready, self.cuts = ready, 0

    def setup(self, stage: str) -> None:
        self.cuts = 4 if self.ready else 0

    def configure_optimizers(self) -> Any:
        optimizer = SGD(self.weights, lr=0.1)
        return [optimizer], [StepLR(optimizer, 16 // self.cuts)]


FORECASTS: dict[str, Case] = {
    "beside a schedule of ours": Case(
        lambda: told(Tiny(), LearningRateScheduler(COSINE)),
        ["a LearningRateScheduler owns the LR"],
        {"lr_recipes.preview(schedule, ...)": lambda: preview(COSINE, 16)},
    ),
    "schedulers that cannot be built": Case(
        lambda: told(Unready(False)),
        ["the schedulers of Unready cannot be built before training: ZeroDivisionError"],
        {"only what __init__, setup and the Trainer give": lambda: told(Unready(True))},
    ),
    "a checkpoint of another": Case(
        lambda: told(Tiny(two_ways), ckpt_path=saved(None)),
        ["ckpt_path='run.ckpt' is of another module or Trainer: ValueError: loaded state dict"],
        {"give a checkpoint of this one": lambda: told(Tiny(two_ways), ckpt_path=saved(None, module=Tiny(two_ways)))},
    ),
    "no optimizer": Case(
        lambda: told(Tiny(lambda weights: None)),
        ["Tiny.configure_optimizers() returns no optimizer"],
        {"return one": told},
    ),
    "no LR": Case(
        lambda: told(Tiny(OwnRate)),
        ["OwnRate has lr=None in group0"],
        {"build it with a number as in lr=1e-3": lambda: told(Tiny(lambda weights: SGD(weights, lr=1e-3)))},
    ),
    "an update that is not there": Case(
        lambda: told().lr(16), ["update 16 is not one of"], {"updates 0 to 15": lambda: told().lr(15)}
    ),
    "nothing to draw": Case(
        lambda: told(Manual()).plot(),
        ["no LR of this run is known", "Manual optimizes by hand"],
        {"print the forecast": lambda: str(told(Manual()))},
    ),
    "groups that are others": Case(
        lambda: told(Tiny(two_ways)).outlooks[0].plan.regrouped([0.1, 0.1, 0.1]),
        ["of 2 parameter groups, and the optimizer now has 3", "a forecast is of the groups that there were"],
        {"ask for a new one": lambda: told(Tiny(two_ways))},
    ),
    "finding that ends a run": Case(
        lambda: logged(4, "error"),
        [
            "climbs_again: the LR falls to",
            "from update 5 on climbs",
            "is ticked 16 times, once an update, with T_max=4",
        ],
        {"Give T_max=16": lambda: logged(16, "error")},
    ),
    "finding": Case(
        lambda: logged(64, "warn"),
        ["floor_not_reached: the run ends at an LR of 0.087, of a peak of 0.1", "with T_max=64"],
        {"Give T_max=16": lambda: logged(16, "warn")},
    ),
}
