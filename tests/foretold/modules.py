"""Modules of the set-ups that do more than return a scheduler, and home-made schedulers."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from tests.foretold.oracle import Toy, loader


class Validates(Toy):
    """Logs the same ``val_loss`` at every validation: the worst that a plateau can see."""

    value = 1.0

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", torch.tensor(self.value))


class Improves(Validates):
    """Logs a ``val_loss`` that is better than all before it; ``val_acc`` too."""

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("val_loss", 1.0 / (1 + self.trainer.global_step))
        self.log("val_acc", float(self.trainer.global_step))


class LogsLoss(Toy):
    """Logs ``train_loss`` of every batch and of the epoch."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss.detach(), on_step=True, on_epoch=True)
        return loss


class BringsItsLoader(Toy):
    def train_dataloader(self) -> Any:
        return loader(8)


class Data(LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader(8)


class SkipsSome(Toy):
    """Every fifth batch has no loss."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return None if batch_idx % 5 == 4 else super().training_step(batch, batch_idx)


class ByHand(Toy):
    """Manual optimization, every optimizer at every batch; ``tick`` comes after it."""

    def __init__(self, configure: Any) -> None:
        super().__init__(configure)
        self.automatic_optimization = False

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        for optimizer in self.each(self.optimizers()):
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()
        self.tick(batch_idx)

    @staticmethod
    def each(one_or_more: Any) -> list[Any]:
        return one_or_more if isinstance(one_or_more, list) else [one_or_more]

    def tick(self, batch_idx: int) -> None:
        for scheduler in self.each(self.lr_schedulers()):
            scheduler.step()


class ByHandPerEpoch(ByHand):
    def tick(self, batch_idx: int) -> None:
        if self.trainer.is_last_batch:
            super().tick(batch_idx)


class ByHandEveryFourth(ByHand):
    """Accumulates four batches by hand, and ticks at each of them."""

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizer: Any = self.optimizers()
        self.manual_backward(Toy.training_step(self, batch, batch_idx))
        if batch_idx % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
        self.tick(batch_idx)


class OnlyAtLastBatch(Toy):
    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if self.trainer.is_last_batch:
            scheduler.step()


class TellsNextEpoch(Toy):
    """As timm's schedulers want it: the epoch that begins."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step(epoch=self.current_epoch + 1)


class TellsThisEpoch(Toy):
    """As Lightning's documentation shows it: `current_epoch`, which is over when the scheduler is told."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step(epoch=self.current_epoch)


class TellsUpdates(Toy):
    """timm's way to tick per update."""

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        scheduler.step_update(num_updates=self.trainer.global_step)


class WarmsUpInOptimizerStep(Toy):
    """Five updates of warm-up, written before the update, as Lightning's documentation once had it."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        if self.trainer.global_step < 5:
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (self.trainer.global_step + 1) / 5
        optimizer.step(closure=optimizer_closure)


class TicksInOptimizerStep(Toy):
    """The module keeps its scheduler, and steps it after each update."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        optimizer.step(closure=optimizer_closure)
        self.kept.step()


class KeepsPerBatch(Toy):
    """The module keeps its scheduler, and steps it in a hook."""

    def on_train_batch_end(self, *_: Any) -> None:
        self.kept.step()


class KeepsPerEpoch(Toy):
    def on_train_epoch_end(self) -> None:
        self.kept.step()


class Stops(Callback):
    """Ends the run after so many updates, for a Trainer without an end."""

    def __init__(self, updates: int) -> None:
        self.updates = updates

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        trainer.should_stop = trainer.global_step >= self.updates


class WarmupCosine(LRScheduler):
    """Linear warm-up from an absolute LR, then half a cosine: a closed form, which goes on beyond its end."""

    def __init__(self, optimizer: Any, warmup: int, total: int, start: float = 0.0, floor: float = 0.0) -> None:
        self.warmup, self.total, self.start, self.floor = warmup, total, start, floor
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [self.at(self.last_epoch, base) for base in self.base_lrs]

    def at(self, n: int, base: Any) -> Any:
        if n < self.warmup:
            return self.start + (base - self.start) * n / self.warmup
        wave = 1 + math.cos(math.pi * (n - self.warmup) / (self.total - self.warmup))
        return self.floor + (base - self.floor) * wave / 2


class Chained(LRScheduler):
    """Multiplies what is there: a warm-up of ``warmup`` ticks from a fifth, then ``gamma`` at each tick."""

    def __init__(self, optimizer: Any, warmup: int, gamma: float) -> None:
        self.warmup, self.gamma = warmup, gamma
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        n, lrs = self.last_epoch, [group["lr"] for group in self.optimizer.param_groups]
        if n == 0:
            return [lr / 5 for lr in lrs]
        if n <= self.warmup:
            return [lr * (self.warmup + 4 * n) / (self.warmup + 4 * (n - 1)) for lr in lrs]
        return [lr * self.gamma for lr in lrs]


class OneForAll(LRScheduler):
    """A linear decay of one LR, which all groups get."""

    def __init__(self, optimizer: Any, lr: float, total: int) -> None:
        self.lr, self.total = lr, total
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [self.lr * (1 - self.last_epoch / self.total) for _ in self.base_lrs]


class Table(LRScheduler):
    """A factor for each tick, from a list."""

    def __init__(self, optimizer: Any, factors: list[float]) -> None:
        self.factors = factors
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        return [base * self.factors[self.last_epoch] for base in self.base_lrs]
