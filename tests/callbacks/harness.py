"""A tiny module, a quiet Trainer, and the oracle of these tests: what every update of the raw optimizer really used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader, IterableDataset

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, schedules
from lr_recipes.schedules import Schedule

PEAK = 0.1

# Every schedule that is a function of the position alone, with a warmup, for runs of at least 6 updates.
SCHEDULES: dict[str, Schedule] = {
    "fixed": schedules.Fixed(warmup=2),
    "step": schedules.Step(step_size=3, gamma=0.5, warmup=2),
    "multistep": schedules.MultiStep(milestones=[2, "75%"], gamma=0.5, warmup=1),
    "exponential": schedules.Exponential(gamma=0.9, every=2, warmup=2),
    "cosine": schedules.Cosine(warmup=2, min_lr_ratio=0.1),
    "cosine_min_lr": schedules.Cosine(warmup="25%", warmup_type="cosine", min_lr=0.02),
    "linear": schedules.Linear(warmup=2, warmup_type="exponential"),
    "polynomial": schedules.Polynomial(power=2, warmup=2, warmup_type="constant"),
    "inverse_sqrt": schedules.InverseSqrt(timescale=3, warmup=2),
    "warmup_stable_decay": schedules.WarmupStableDecay(decay="30%", warmup=2),
    "cosine_restarts": schedules.CosineRestarts(cycle=3, warmup=1),
    "one_cycle": schedules.OneCycle(),
    "sequence": schedules.Sequence(schedules=[schedules.Fixed(), schedules.Linear()], milestones=["50%"], warmup=1),
}


def sgd(parameters: Iterable[Any], lr: Any = PEAK) -> Optimizer:
    return SGD(parameters, lr=lr, momentum=0.9)


class OwnRate(Optimizer):
    """Computes its LR itself, after Adafactor."""

    def __init__(self, weights: Any) -> None:
        super().__init__(weights, {"lr": None})

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            return closure()


class Tiny(LightningModule):
    """Two weights and a constant gradient; ``build`` makes the optimizer (or what else Lightning takes) from them."""

    def __init__(self, build: Callable[[list[nn.Parameter]], Any] = sgd) -> None:
        super().__init__()
        self.build = build
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch)

    def loss(self, batch: Tensor) -> Tensor:
        return torch.stack([(weight * batch.mean()).sum() for weight in self.weights]).sum()

    def configure_optimizers(self) -> Any:
        return self.build(list(self.weights))


class Validated(Tiny):
    """Logs, at its n-th validation, the n-th of ``values`` as ``val_loss``; nothing in the sanity check."""

    def __init__(self, values: Iterable[float] = (), build: Callable[[list[nn.Parameter]], Any] = sgd) -> None:
        super().__init__(build)
        self.values = list(values)
        self.validations: Tensor
        self.register_buffer("validations", torch.zeros((), dtype=torch.long))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if batch_idx == 0 and not self.trainer.sanity_checking:
            self.log("val_loss", self.values[int(self.validations)] if self.values else 1.0)
            self.validations += 1


class Endless(IterableDataset[Tensor]):
    """Ones without end and without a length; or ``count`` of them."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def __iter__(self) -> Iterator[Tensor]:
        done = 0
        while self.count is None or done < self.count:
            yield torch.ones(1)
            done += 1


def loader(batches: int = 8, batch_size: int = 1, extra: int = 0, **options: Any) -> DataLoader[Any]:
    """A loader of ``batches`` full batches, and ``extra`` samples that do not fill one."""
    samples: Any = torch.ones(batches * batch_size + extra, 1)
    return DataLoader(samples, batch_size=batch_size, **options)


class Oracle(Callback):
    """Reads every group's LR when a raw optimizer steps, and keeps it if the step changed weights.

    A step with an LR of 0 changes none; it is kept if it had a gradient.
    """

    def __init__(self) -> None:
        self.used: list[list[tuple[float, ...]]] = []
        self._handles: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_train_end()
        self.used = [[] for _ in trainer.optimizers]
        for optimizer, used in zip(trainer.optimizers, self.used, strict=True):
            self._watch(optimizer, used)

    def on_train_end(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _watch(self, optimizer: Optimizer, used: list[tuple[float, ...]]) -> None:
        seen: list[Any] = []

        def before(*_: Any) -> None:
            seen[:] = [tuple(float(group["lr"]) for group in optimizer.param_groups), _weights(optimizer)]

        def after(*_: Any) -> None:
            lrs, weights = seen
            if not all(map(torch.equal, weights, _weights(optimizer))) or (not any(lrs) and _has_gradient(optimizer)):
                used.append(lrs)

        self._handles += [optimizer.register_step_pre_hook(before), optimizer.register_step_post_hook(after)]


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


def _has_gradient(optimizer: Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


class Preempted(Callback):
    """Ends the run without warning when its second epoch starts."""

    epochs = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs += 1
        if self.epochs == 2:
            raise RuntimeError("preempted")


@dataclass
class Run:
    """A fit that is over (or was stopped): ``groups(i)`` has the used LRs of optimizer i's groups, update by update."""

    trainer: Trainer
    module: LightningModule
    scheduler: LearningRateScheduler | None
    oracle: Oracle

    @property
    def used(self) -> list[float]:
        """Used LR of the first group of the first optimizer."""
        return [lrs[0] for lrs in self.groups()]

    def groups(self, optimizer: int = 0) -> list[tuple[float, ...]]:
        return self.oracle.used[optimizer] if self.oracle.used else []

    @property
    def position(self) -> int:
        assert self.scheduler is not None
        (bound,) = self.scheduler.bound.values()
        return bound.position

    @property
    def horizon(self) -> Horizon:
        assert self.scheduler is not None
        (bound,) = self.scheduler.bound.values()
        return bound.horizon


def prepare(
    schedule: Any = None,
    *,
    module: LightningModule | None = None,
    callbacks: Sequence[Callback] = (),
    options: dict[str, Any] | None = None,
    **trainer_arguments: Any,
) -> Run:
    """Return a run that has not begun: ``callbacks`` come after the scheduler, the oracle comes last."""
    scheduler = None if schedule is None else LearningRateScheduler(schedule, **(options or {}))
    oracle = Oracle()
    before = [] if scheduler is None else [scheduler]
    trainer = quiet_trainer([*before, *callbacks, oracle], **trainer_arguments)
    return Run(trainer, module or Tiny(), scheduler, oracle)


def quiet_trainer(callbacks: list[Callback], **arguments: Any) -> Trainer:
    keep = any(isinstance(one, Checkpoint) for one in callbacks)
    quiet: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": keep,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=callbacks, **{**quiet, **arguments})


def fit(
    schedule: Any = None,
    *,
    batches: int = 8,
    train: Any = None,
    val: Any = None,
    ckpt_path: Any = None,
    **arguments: Any,
) -> Run:
    """Train, and return what was used.

    Args:
        schedule: for a LearningRateScheduler; ``None`` for none.
        batches: micro-batches in an epoch; or give a loader as ``train``.
        val: loader of a module that validates; by default two batches.
        ckpt_path: checkpoint to go on from.
        arguments: see ``prepare``; further ones are the Trainer's.
    """
    run = prepare(schedule, **arguments)
    return go(run, batches=batches, train=train, val=val, ckpt_path=ckpt_path)


def go(run: Run, *, batches: int = 8, train: Any = None, val: Any = None, ckpt_path: Any = None) -> Run:
    """Train a prepared run, perhaps again."""
    if val is None and isinstance(run.module, Validated):
        val = loader(2)
    train = loader(batches) if train is None else train
    run.trainer.fit(run.module, train, val, ckpt_path=ckpt_path)
    return run


def plan(schedule: Schedule, total: int | None, base: float = PEAK, **facts: Any) -> list[float]:
    """The LRs that a plan of ``total`` updates gives, from the closed form."""
    return [base * factor for factor in factors(schedule, total, base=base, **facts)]


def factors(
    schedule: Schedule, total: int | None, *, base: float = PEAK, count: int | None = None, **facts: Any
) -> list[float]:
    """The factors of a plan of ``total`` updates, or of its first ``count``."""
    curve = schedule.resolve(Horizon(total_steps=total, **facts), peak=base)
    return [curve(n) for n in range(count if count is not None else total or 0)]


def keep_all(folder: Path, every: int = 1, **options: Any) -> ModelCheckpoint:
    """A callback that keeps a checkpoint ``step=<n>.ckpt`` every few updates."""
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=every, save_top_k=-1, **options)


def messages(caplog: Any) -> str:
    """Everything that was told at the level of information."""
    return "\n".join(record.getMessage() for record in caplog.records)


def record_lrs(folder: Path, **options: Any) -> LearningRateLogger:
    """A logger that draws nothing: a picture takes longer than the run."""
    return LearningRateLogger(folder, plot=False, **options)
