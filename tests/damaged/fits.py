"""A checkpoint whose part of one of our callbacks is damaged: a real Trainer refuses it, or trains as was planned."""

from __future__ import annotations

import functools
import math
import random
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch.optim.lr_scheduler import StepLR

from lr_recipes import LearningRateLogger, LearningRateRangeTest, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.plan.resume import ResumeError
from tests.callbacks.harness import Oracle, Tiny, Validated, loader, quiet_trainer, sgd
from tests.damaged.mutate import HARMLESS, mutated
from tests.torture import reference
from tests.torture.reference import Facts, PlateauCuts

BATCHES, EPOCHS = 4, 3
TOTAL = BATCHES * EPOCHS
LRS = (0.1, 0.02)
METRIC = (0.9, 0.95, 0.95, 0.95)


def in_two_groups(weights: Any) -> Any:
    return sgd([{"params": [weight], "lr": lr} for weight, lr in zip(weights, LRS, strict=True)])


def two_weights() -> Tiny:
    return Tiny(in_two_groups)


def with_steps(weights: Any) -> Any:
    optimizer = in_two_groups(weights)
    return [optimizer], [{"scheduler": StepLR(optimizer, 2, 0.5), "interval": "step"}]


class Falling(Tiny):
    """A curve on which a range test finds something."""

    def loss(self, batch: Any) -> Any:
        return torch.stack([(weight * batch.mean()).square().sum() for weight in self.weights]).sum()


class Save(Callback):
    """Writes the checkpoint after some updates."""

    def __init__(self, at: int, path: Path) -> None:
        self.at, self.path = at, path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == self.at:
            trainer.save_checkpoint(self.path)


@dataclass(frozen=True)
class Story:
    """A run, and the update after which its checkpoint is written."""

    callbacks: Callable[[Path], list[Any]]
    module: Callable[[], Any] = two_weights
    at: int = 6
    schedule: Any = None
    interval: str = "step"
    warmup: int = 0


LINEAR = schedules.Linear(warmup=3, min_lr_ratio=0.2)
PLATEAU = schedules.Plateau(factor=0.5, patience=0, cooldown=1, warmup=2)


def _recorded(folder: Path) -> LearningRateLogger:
    return LearningRateLogger(folder, plot=False)


STORIES: dict[str, Story] = {
    "step": Story(lambda folder: [LearningRateScheduler(LINEAR), _recorded(folder)], schedule=LINEAR),
    "at the end of an epoch": Story(lambda folder: [LearningRateScheduler(LINEAR)], at=8, schedule=LINEAR),
    "held": Story(lambda folder: [LearningRateScheduler(LINEAR, "epoch")], schedule=LINEAR, interval="epoch"),
    "plateau": Story(
        lambda folder: [LearningRateScheduler(PLATEAU)],
        functools.partial(Validated, METRIC, in_two_groups),
        at=9,
        schedule=PLATEAU,
    ),
    "warmup": Story(lambda folder: [LearningRateWarmup(8), _recorded(folder)], lambda: Tiny(with_steps), warmup=8),
    "after a warmup": Story(lambda folder: [LearningRateWarmup(4)], lambda: Tiny(with_steps), warmup=4),
    "range test": Story(
        lambda folder: [
            LearningRateRangeTest(1e-4, 100.0, 30, dirpath=folder, plot=False),
            LearningRateScheduler(LINEAR),
        ],
        lambda: Falling(in_two_groups),
        schedule=LINEAR,
    ),
}


@functools.cache
def _made(name: str) -> tuple[dict[str, Any], list[tuple[float, ...]]]:
    """The checkpoint, and what the updates after it use when nothing is stopped."""
    story = STORIES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.ckpt"
        oracle = _train(story, Path(folder), [Save(story.at, path)])
        return torch.load(path, weights_only=True), oracle.used[0][story.at :]


def _train(story: Story, folder: Path, further: list[Callback], ckpt_path: Path | None = None) -> Oracle:
    oracle, module = Oracle(), story.module()
    trainer = quiet_trainer([*story.callbacks(folder), oracle, *further], max_epochs=EPOCHS, default_root_dir=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validation = loader(1) if isinstance(module, Validated) else None
        trainer.fit(module, loader(BATCHES), validation, ckpt_path=ckpt_path)
    return oracle


def check_fit(rng: random.Random) -> tuple[str, str]:
    """Damage a checkpoint and go on from it; return what was done, and what was wrong then, or nothing."""
    name = rng.choice(list(STORIES))
    story, (good, uninterrupted) = STORIES[name], _made(name)
    key = rng.choice([one for one in good["callbacks"] if one.startswith("LearningRate")])
    state, done = mutated(good["callbacks"][key], rng)
    told = f"{name}, {key}: {'; '.join(done)}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.ckpt"
        checkpoint = {**good, "callbacks": {**good["callbacks"], key: state}}
        try:
            torch.save(checkpoint, path)
            torch.load(path, weights_only=True)
        except Exception:  # no such file can be there, or torch refuses it
            return told, ""
        try:
            used = _train(story, Path(folder), [], path).used[0]
        except ResumeError as error:
            return told, f"refused, though nothing is wrong: {error}" if set(done) == {HARMLESS} else ""
    expected = _expected(story, key, state, uninterrupted)
    if len(used) == len(expected) and all(map(_near, used, expected)):
        return told, ""
    return told, f"used {used}, and should have used {expected}"


def _near(some: Any, others: Any) -> bool:
    return all(math.isclose(one, other, rel_tol=1e-7, abs_tol=1e-12) for one, other in zip(some, others, strict=True))


def _expected(story: Story, key: str, state: Any, uninterrupted: list[tuple[float, ...]]) -> list[tuple[float, ...]]:
    """What a state claims: by formulas where it is the owner's, else nothing that is an LR."""
    if not state or key not in ("LearningRateScheduler", "LearningRateWarmup"):
        return uninterrupted
    one, left = state["optimizers"]["SGD"], range(story.at, TOTAL)
    if story.warmup:
        ramp = reference.warmup_factor("linear", None, story.warmup)
        halved = [0.5 ** (n // 2) for n in left]
        lrs = one.get("lrs") if one["position"] < story.warmup else None
        own = lrs or [lr * halved[0] for lr in LRS]
        return [
            tuple(lr * share / halved[0] * ramp(one["position"] + n) for lr in own) for n, share in enumerate(halved)
        ]
    factor = reference.factor(story.schedule, Facts(TOTAL, (BATCHES,), 1, one["peak"]))
    position, held, expected = one["position"], one["refreshed_at"], list[tuple[float, ...]]()
    cuts = PlateauCuts(story.schedule) if story.schedule is PLATEAU else None
    if cuts:
        seen = one["plateau"] or {"best": None, "bad": 0, "cooldown": 0, "reductions": 0}
        cuts.best = math.inf if seen["best"] is None else seen["best"]
        cuts.bad, cuts.rest, cuts.cuts = seen["bad"], seen["cooldown"], seen["reductions"]
    for n, update in enumerate(left):
        if update % BATCHES == 0 and (n or story.at % BATCHES == 0):
            if cuts and n:
                cuts.see(METRIC[update // BATCHES - 1])
            held = position + n
        at = held if story.interval == "epoch" or n == 0 else position + n
        scale = cuts.scale(Facts(TOTAL, peak=one["peak"])) if cuts else 1.0
        expected.append(tuple(base * factor(at) * scale for base in one["base_lrs"]))
    return expected
