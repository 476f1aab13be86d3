"""The runs whose checkpoints are kept: what trains, how its LR is scheduled, and when the checkpoint is written.

Names of modules, parameters and optimizers are in the checkpoints, so a case, once written, stays as it is. Only public
names of lr_recipes are used: any version can write these checkpoints and go on from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BackboneFinetuning, GradientAccumulationScheduler
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from lr_recipes import (
    Horizon,
    LearningRateLogger,
    LearningRateRangeTest,
    LearningRateScheduler,
    LearningRateWarmup,
    schedules,
)

Updates = list[dict[str, Any]]  # what each update used

PEAK = 0.1
WARMUP = 4  # updates that a LearningRateWarmup lasts

# Modules


def sgd(parameters: Iterable[Any], lr: Any = PEAK) -> Optimizer:
    return SGD(parameters, lr=lr, momentum=0.9)


def two_groups(weights: list[nn.Parameter]) -> Optimizer:
    return sgd([{"params": weights[:1], "lr": 1.0}, {"params": weights[1:], "lr": 0.01}])


def tensor_lr(weights: list[nn.Parameter]) -> Optimizer:
    return AdamW(weights, lr=torch.tensor(PEAK, dtype=torch.float64), foreach=False)


def scheduled(interval: str, weights: list[nn.Parameter]) -> Any:
    """An optimizer and a scheduler of the module's own, which halves the LR."""
    optimizer = sgd(weights)
    return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.5), "interval": interval}]


def with_plateau(weights: list[nn.Parameter]) -> Any:
    optimizer = sgd(weights)
    plateau = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    return [optimizer], [{"scheduler": plateau, "interval": "epoch", "monitor": "val_loss"}]


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

    def __init__(self, values: Sequence[float], build: Callable[[list[nn.Parameter]], Any] = sgd) -> None:
        super().__init__(build)
        self.values = values
        self.validations: Tensor
        self.register_buffer("validations", torch.zeros((), dtype=torch.long))

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        if not self.trainer.sanity_checking:
            self.log("val_loss", self.values[int(self.validations)])
            self.validations += 1


class Alternating(Tiny):
    """Two optimizers in manual optimization, each with a weight and perhaps a scheduler of its own.

    In each batch the first one steps once, the second three times, and their schedulers once.
    """

    def __init__(self, kinds: Sequence[Callable[..., Optimizer]] = (SGD, Adam), halve: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.kinds, self.halve = kinds, halve

    def configure_optimizers(self) -> Any:
        made = [kind([weight], lr=lr) for kind, weight, lr in zip(self.kinds, self.weights, (0.1, 0.02), strict=True)]
        return made, [ExponentialLR(optimizer, 0.5) for optimizer in made] if self.halve else []

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        first, second = self.optimizers()  # type: ignore[attr-defined]
        for optimizer in (first, second, second, second):
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        for scheduler in self.lr_schedulers() if self.halve else ():  # type: ignore[union-attr]
            scheduler.step()


class Transfer(Tiny):
    """A head, and a backbone that joins the optimizer later."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(1, 2)
        for parameter in self.backbone.parameters():
            nn.init.ones_(parameter)

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch) + self.backbone(batch).sum()


class Bowl(Tiny):
    """A parabola, on which a large LR diverges."""

    def loss(self, batch: Tensor) -> Tensor:
        return torch.stack([(weight * batch.mean()).square().sum() for weight in self.weights]).sum()


class ForeignWrite(Callback):
    """Writes an LR that no plan has, before update 3."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 3:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.5


# Cases


@dataclass(frozen=True, kw_only=True)
class Case:
    """A run of ``epochs`` x ``batches``, and the optimizer steps after which its checkpoint is written.

    Attributes:
        schedule: of a LearningRateScheduler; ``None`` for none.
        options: further arguments of it.
        warmup: updates of a LearningRateWarmup; 0 for none.
        callbacks: folder for files -> further callbacks.
        validation: write the checkpoint when a validation ends, else when a batch does.
        exact: the LRs are sums, products and quotients, the same floats everywhere; cosines and powers are the C
            library's, and may differ in the last bit.
    """

    schedule: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    warmup: int = 0
    module: Callable[[], LightningModule] = Tiny
    callbacks: Callable[[Path], list[Callback]] = lambda folder: []
    batches: int = 8
    epochs: int = 2
    at: int = 5
    validation: bool = False
    exact: bool = True


COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
LINEAR = schedules.Linear(warmup=2, min_lr_ratio=0.25)
TWO_TOTALS = {"total_steps": {0: 16, 1: 48}}

# Every kind of schedule, for runs of 16 updates in two epochs.
SCHEDULES: dict[str, schedules.Schedule] = {
    "fixed": schedules.Fixed(warmup=8),
    "step": schedules.Step(step_size=3, gamma=0.5, warmup=2),
    "multistep": schedules.MultiStep(milestones=[3, "75%"], gamma=0.5, warmup="1 step"),
    "exponential": schedules.Exponential(gamma=0.9, every=2, warmup=2),
    "cosine": schedules.Cosine(warmup="25%", min_lr_ratio=0.1),
    "linear": schedules.Linear(warmup="1 epoch", warmup_type="exponential", warmup_start_factor=0.01),
    "polynomial": schedules.Polynomial(power=2, warmup=2, warmup_type="constant"),
    "inverse_sqrt": schedules.InverseSqrt(timescale=3, warmup=2),
    "warmup_stable_decay": schedules.WarmupStableDecay(decay="75%", decay_type="1-sqrt", warmup=2),
    "cosine_restarts": schedules.CosineRestarts(cycle=3, cycle_decay=0.5, warmup=1, warmup_type="cosine"),
    "one_cycle": schedules.OneCycle(),
    "torch_schedule": schedules.TorchSchedule(factory=partial(StepLR, step_size=3, gamma=0.5), warmup=2),
    "sequence": schedules.Sequence(
        schedules=[schedules.Fixed(), schedules.Linear(min_lr_ratio=0.5)], milestones=["25%"], warmup=1
    ),
}
EXACT = ("fixed", "step", "multistep", "sequence")

SCHEDULERS: dict[str, Case] = {
    **{name: Case(schedule=schedule, exact=name in EXACT) for name, schedule in SCHEDULES.items()},
    # held since update 4, where epoch 1 began
    "interval_epoch": Case(schedule=LINEAR, options={"interval": "epoch"}, batches=4, epochs=4, at=6),
    # cut by the third validation, then left alone by two; the checkpoint is between those
    "plateau_in_cooldown": Case(
        schedule=schedules.Plateau(factor=0.5, patience=1, cooldown=2, warmup=2),
        module=partial(Validated, [0.9] + [0.95] * 11),
        batches=2,
        epochs=12,
        at=9,
    ),
    # cut by the fourth validation; two more were bad, and the next cuts again
    "plateau_in_patience": Case(
        schedule=schedules.Plateau(factor=0.5, patience=2, min_lr_ratio=0.2),
        module=partial(Validated, [0.9] + [0.95] * 11),
        batches=2,
        epochs=12,
        at=13,
    ),
    "plateau_at_validation_end": Case(
        schedule=schedules.Plateau(factor=0.5, patience=0, mode="max", threshold=0.01, threshold_mode="abs"),
        module=partial(Validated, [0.5, 0.6, 0.605, 0.7, 0.6, 0.6]),
        batches=2,
        epochs=6,
        at=6,
        validation=True,
    ),
    # epochs of 2, 4, 4 and 8 updates
    "step_in_epochs_of_different_lengths": Case(
        schedule=schedules.Step(step_size="1 epoch", gamma=0.5),
        callbacks=lambda folder: [GradientAccumulationScheduler({0: 4, 1: 2, 3: 1})],
        epochs=4,
        at=4,
    ),
    "one_cycle_betas": Case(schedule=schedules.OneCycle(), module=partial(Tiny, partial(AdamW, lr=PEAK)), exact=False),
    # positions 5 and 15
    "two_optimizers": Case(schedule={0: COSINE, 1: LINEAR}, options=TWO_TOTALS, module=Alternating, at=20, exact=False),
    "two_optimizers_of_a_kind": Case(
        schedule=LINEAR, options=TWO_TOTALS, module=partial(Alternating, (Adam, Adam)), at=20
    ),
    "one_of_two_optimizers": Case(schedule={"Adam": LINEAR}, options={"total_steps": 48}, module=Alternating, at=20),
    "two_groups": Case(schedule=schedules.Linear(warmup=2, min_lr=0.1), module=partial(Tiny, two_groups)),
    # the backbone joins at update 4
    "late_group": Case(
        schedule=LINEAR,
        module=Transfer,
        callbacks=lambda folder: [BackboneFinetuning(1, backbone_initial_lr=0.02, should_align=False)],
        batches=4,
        epochs=4,
        at=6,
    ),
    "tensor_lr": Case(schedule=LINEAR, module=partial(Tiny, tensor_lr)),
    "range_test": Case(
        schedule=LINEAR,
        module=Bowl,
        callbacks=lambda folder: [LearningRateRangeTest(1e-4, 100.0, 60, dirpath=folder, plot=False)],
    ),
}

STEPWISE, EPOCHWISE = (partial(Tiny, partial(scheduled, interval)) for interval in ("step", "epoch"))
WARMUPS: dict[str, Case] = {
    "warmup_before_its_end": Case(warmup=WARMUP, module=STEPWISE, at=2),
    "warmup_at_its_end": Case(warmup=WARMUP, module=STEPWISE, at=4),
    "warmup_after_its_end": Case(warmup=WARMUP, module=STEPWISE, at=7),
    "warmup_by_epoch_before_its_end": Case(warmup=WARMUP, module=EPOCHWISE, batches=3, epochs=4, at=2),
    "warmup_by_epoch_at_its_end": Case(warmup=WARMUP, module=EPOCHWISE, batches=3, epochs=4, at=4),
    "warmup_by_epoch_after_its_end": Case(warmup=WARMUP, module=EPOCHWISE, batches=3, epochs=4, at=7),
    # In a run that goes on, Lightning passes over the plateau at the end of the first epoch, with a warmup or without:
    # the validation of that epoch, 0.8, is one that changes no LR.
    "warmup_plateau_before_its_end": Case(
        warmup=8,
        module=partial(Validated, [0.9, 0.95, 0.8, 0.95, 0.95, 0.95, 0.95, 0.95], with_plateau),
        batches=2,
        epochs=8,
        at=5,
    ),
    "warmup_plateau_after_its_end": Case(
        warmup=3,
        module=partial(Validated, [0.9, 0.95, 0.95, 0.95, 0.8, 0.95, 0.95, 0.95], with_plateau),
        batches=2,
        epochs=8,
        at=9,
    ),
    # positions 1 and 3; then 2 and 6, where the second optimizer's warmup is over
    "warmup_two_optimizers": Case(warmup=WARMUP, module=partial(Alternating, halve=True), epochs=1, at=4),
    "warmup_two_optimizers_one_over": Case(warmup=WARMUP, module=partial(Alternating, halve=True), epochs=1, at=8),
}


def recording(folder: Path) -> list[Callback]:
    return [LearningRateLogger(folder, plot=False)]


LOGGERS: dict[str, Case] = {
    "logger": Case(module=STEPWISE, callbacks=recording),
    # positions 5 and 15, which neither the trainer's 20 steps nor the state of an SGD tell
    "logger_of_two_optimizers": Case(module=Alternating, callbacks=recording, at=20),
    "logger_with_scheduler": Case(schedule=LINEAR, callbacks=recording),
    "logger_with_foreign_write": Case(schedule=LINEAR, callbacks=lambda folder: [ForeignWrite(), *recording(folder)]),
    "logger_with_two_optimizers": Case(
        schedule={0: LINEAR, 1: schedules.Fixed(warmup=24)},
        options=TWO_TOTALS,
        module=Alternating,
        callbacks=recording,
        at=20,
    ),
    "logger_with_late_group": Case(
        schedule=LINEAR,
        module=Transfer,
        callbacks=lambda folder: [
            BackboneFinetuning(1, backbone_initial_lr=0.02, should_align=False),
            *recording(folder),
        ],
        batches=4,
        epochs=4,
        at=6,
    ),
}
CASES = {**SCHEDULERS, **WARMUPS, **LOGGERS}


# Runs


def ones(batches: int) -> DataLoader[Any]:
    samples: Any = torch.ones(batches, 1)
    return DataLoader(samples)


def runs_of(version: str) -> Path:
    """Where the runs of a version wrote their files: checkpoints of a LearningRateLogger hold the absolute path."""
    return Path("/tmp") / f"lr_recipes_{version}"  # says nothing about a machine


class Used(Callback):
    """What each update of each optimizer uses, read when the optimizer steps."""

    def __init__(self) -> None:
        self.updates: list[Updates] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.updates = [[] for _ in trainer.optimizers]
        for optimizer, updates in zip(trainer.optimizers, self.updates, strict=True):
            optimizer.register_step_pre_hook(lambda one, *_, updates=updates: updates.append(read(one)))


def read(optimizer: Optimizer) -> dict[str, list[float]]:
    """LR and momentum (SGD's, or Adam's beta1) of each group."""
    groups = optimizer.param_groups
    momenta = [group["betas"][0] if "betas" in group else group["momentum"] for group in groups]
    return {"lr": [float(group["lr"]) for group in groups], "momentum": momenta}


def train(
    case: Case,
    folder: Path,
    *,
    schedule: Any = None,
    options: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    ckpt_path: Path | None = None,
) -> list[Updates]:
    """Train to the end, and return what each update of each optimizer used.

    Args:
        case: the run.
        folder: for files.
        schedule: instead of the case's.
        options: of the LearningRateScheduler or LearningRateWarmup, beside the case's.
        callbacks: beside the case's; they come last.
        ckpt_path: checkpoint to go on from.
    """
    used, module, options = Used(), case.module(), {**case.options, **(options or {})}
    owners: list[Callback] = [LearningRateWarmup(case.warmup, **options)] if case.warmup else []
    if case.schedule is not None:
        owners.append(LearningRateScheduler(schedule or case.schedule, **options))
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        max_epochs=case.epochs,
        callbacks=[*owners, *case.callbacks(folder), used, *callbacks],
    )
    validation = ones(1) if isinstance(module, Validated) else None
    trainer.fit(module, ones(case.batches), validation, ckpt_path=ckpt_path)
    return used.updates


# Schedules in a plain PyTorch loop

EPOCHS_OF_TWO_LENGTHS = Horizon(total_steps=16, steps_per_epoch=[4, 6], samples_per_step=32)
BOUND: dict[str, tuple[schedules.Schedule, Horizon]] = {
    **{name: (schedule, Horizon(total_steps=16, steps_per_epoch=8)) for name, schedule in SCHEDULES.items()},
    "plateau": (schedules.Plateau(factor=0.5, patience=1, cooldown=2, warmup=2), Horizon()),
    "step_in_epochs_of_different_lengths": (schedules.Step(step_size="1 epoch", gamma=0.5), EPOCHS_OF_TWO_LENGTHS),
    "warmup_in_samples": (schedules.Linear(warmup="200 samples", min_lr=0.001), EPOCHS_OF_TWO_LENGTHS),
}


def two_weights() -> Optimizer:
    """The optimizer that they are bound to."""
    return two_groups([nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))])


def step_on(optimizer: Optimizer, bound: Any, count: int) -> Updates:
    """Do so many updates, and return what each used."""
    updates = []
    for _ in range(count):
        updates.append(read(optimizer))
        optimizer.step()
        bound.step()
    return updates
