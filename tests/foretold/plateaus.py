"""ReduceLROnPlateau in every rhythm: certain up to its first decision, and at most up to its earliest cut."""

from __future__ import annotations

import torch
from torch.optim.lr_scheduler import LambdaLR, LinearLR, ReduceLROnPlateau

from tests.foretold import modules
from tests.foretold.oracle import Toy, loader
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd, stopped_after


def one() -> object:
    return loader(1)


class LogsAtTheEnd(Toy):
    """Logs a metric of its own when the epoch ends."""

    def on_train_epoch_end(self) -> None:
        self.log("own", torch.tensor(1.0))


class MisspellsIt(Toy):
    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/loss", torch.tensor(1.0))


# Sound: each decision is on a value of its own, and there are enough of them for a cut.


@setup(module=modules.Improves, val=one, epochs=6, known=(8, 24), check=lambda m: set(m.lrs) == {PEAK})
def validation_that_improves(m):
    """Patience 1, one validation per epoch: no cut, since each is better."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=1), monitor="val_loss")


@setup(module=modules.Validates, val=one, known=(8, 16), check=lambda m: near(m.lrs[16], PEAK / 2))
def validation_that_stays(m):
    """Patience 0 and a loss that stays: halved after epoch 1, and at each epoch from then on."""
    opt = sgd(m)
    return [opt], [{"scheduler": ReduceLROnPlateau(opt, factor=0.5, patience=0), "monitor": "val_loss"}]


@setup(module=modules.LogsLoss, known=(1, 5), check=lambda m: len(m.ticks[0]) == 32)
def training_loss_at_every_update(m):
    """Decides at every update on that update's loss."""
    opt = sgd(m)
    return per_step(opt, ReduceLROnPlateau(opt, patience=3), monitor="train_loss")


@setup(module=modules.LogsLoss, epochs=5, known=(8, 24))
def training_loss_of_the_epoch(m):
    """Decides on the epoch's mean, which is there when it is asked for."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=1), monitor="train_loss_epoch")


@setup(module=modules.Improves, val=one, val_check_interval=4, known=(4, 16), check=lambda m: m.ticks[0][:2] == [4, 8])
def validation_and_decision_every_four_batches(m):  # Lightning-AI/pytorch-lightning#2316
    """val_check_interval=4 and frequency=4: each decision follows a validation."""
    opt = sgd(m)
    return per_step(opt, ReduceLROnPlateau(opt, patience=2), monitor="val_loss", frequency=4)


@setup(module=modules.Validates, val=one, check_val_every_n_epoch=2, epochs=8, known=(16, 48))
def validation_and_decision_every_second_epoch(m):  # Lightning-AI/pytorch-lightning#10496, mended
    """check_val_every_n_epoch=2 and frequency=2: 4 decisions, the third may cut."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=1), monitor="val_loss", frequency=2)


@setup(module=modules.Improves, val=one, check_val_every_n_epoch=2, epochs=8, ticks=False, known=(8, 48))
def decisions_between_validations_within_the_patience(m):
    """strict=False, two decisions on each value, patience 3: a run that improves is never cut."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=3), monitor="val_loss", strict=False)


@setup(module=modules.Improves, val=one, known=(8, 16), check=lambda m: set(m.lrs) == {PEAK})
def accuracy_that_shall_grow(m):
    """mode='max', with a cooldown and a floor."""
    opt = sgd(m)
    plateau = ReduceLROnPlateau(opt, mode="max", factor=0.3, patience=0, cooldown=1, min_lr=1e-4)
    return per_epoch(opt, plateau, monitor="val_acc", interval="epoch")


@setup(module=modules.Validates, val=one, epochs=6, known=(8, 40), check=lambda m: near(m.lrs[-1], PEAK / 10))
def patience_that_just_fits(m):
    """Patience 3 in 6 epochs: the fifth decision may cut, and the last epoch uses it."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=3), monitor="val_loss")


@setup(module=LogsAtTheEnd, known=(8, 24))
def metric_logged_when_the_epoch_ends(m):
    """Logged in `on_train_epoch_end`: just in time for the decision."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=1), monitor="own")


@setup(module=modules.Validates, val=one, known=(8, 16), check=lambda m: near(m.lrs[16], PEAK / 10))
def warmup_then_plateau(m):
    """A linear warm-up over 5 updates, then what the plateau says: both multiply what is there."""
    opt = sgd(m)
    warmup = {"scheduler": LinearLR(opt, start_factor=0.2, total_iters=5), "interval": "step"}
    return [opt], [warmup, {"scheduler": ReduceLROnPlateau(opt, patience=0), "monitor": "val_loss"}]


@setup(module=modules.Validates, val=one, epochs=5, known=(8, 16), check=lambda m: near(m.used[0][-1][0], 0.002))
def floor_for_each_group(m):
    """Two groups, each with a floor of its own, at the same ratio."""
    opt = sgd(m, PEAK / 10, PEAK)
    plateau = ReduceLROnPlateau(opt, factor=0.5, patience=0, min_lr=[0.002, 0.02])
    return per_epoch(opt, plateau, monitor="val_loss")


@setup(
    module=modules.Validates,
    val=one,
    epochs=5,
    ckpt=stopped_after(1),
    known=(8, 16),
    check=lambda m: m.begun == 16 and m.lrs[15] == PEAK and near(m.lrs[16], PEAK / 2),
)
def resumed_without_the_last_decision(m):
    """Patience 1, gone on with after epoch 1, whose checkpoint was written before that epoch's decision."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, factor=0.5, patience=1), monitor="val_loss")


# plateau_cannot_cut


@setup(
    "plateau_cannot_cut",
    module=modules.Validates,
    val=one,
    check_val_every_n_epoch=2,
    epochs=8,
    known=(16, 64),
    check=lambda m: len(m.ticks[0]) == 4 and set(m.lrs) == {PEAK},
)
def patience_in_epochs_but_few_validations(m):
    """Patience 4 was meant as epochs; 4 decisions in 8 epochs."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=4), monitor="val_loss", frequency=2)


@setup(
    "plateau_cannot_cut",
    module=modules.Validates,
    val=one,
    val_check_interval=0.5,
    known=(4, 32),
    check=lambda m: len(m.ticks[0]) == 8 and set(m.lrs) == {PEAK},
)
def patience_in_updates_but_few_decisions(m):
    """Patience 20 was meant as updates; 8 decisions in 32."""
    opt = sgd(m)
    return per_step(opt, ReduceLROnPlateau(opt, patience=20), monitor="val_loss", frequency=4)


@setup("plateau_cannot_cut", module=modules.LogsLoss, epochs=6, batches=4, known=(4, 24))
def patience_that_nobody_set(m):
    """The default patience of 10, in a run of 6 epochs."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt), monitor="train_loss_epoch")


# plateau_stale


@setup(
    "plateau_stale",
    module=modules.Improves,
    val=one,
    check_val_every_n_epoch=3,
    epochs=9,
    batches=4,
    ticks=False,
    known=(4, 20),
    check=lambda m: m.lrs[19] == PEAK and near(m.lrs[20], PEAK / 10),
)
def three_decisions_on_one_validation(m):
    """Validated every third epoch, decided at each (strict=False): cut although each validation is better."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=1), monitor="val_loss", strict=False)


@setup(
    "plateau_stale",
    module=modules.Improves,
    val=one,
    ticks=False,
    known=(1, 11),
    check=lambda m: m.lrs[10] == PEAK and near(m.lrs[11], PEAK / 2),
)
def decisions_per_update_on_one_validation(m):  # Lightning-AI/pytorch-lightning#5943
    """Validated per epoch, decided at each update: cut three updates after the first validation."""
    opt = sgd(m)
    return per_step(opt, ReduceLROnPlateau(opt, factor=0.5, patience=2), monitor="val_loss", strict=False)


# raises


@setup(
    "raises",
    module=MisspellsIt,
    val=one,
    ticks=False,
    known=8,
    check=lambda m: m.updates == 8 and "val_loss" in m.error,
)
def monitor_that_nobody_logs(m):
    """'val_loss', but the module logs 'val/loss': the run ends with its first epoch."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=0), monitor="val_loss")


@setup("raises", ticks=False, known=8, check=lambda m: m.updates == 8 and "Misconfiguration" in m.error)
def monitor_without_a_validation(m):
    """No validation at all, and the default monitor of older versions."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, patience=0), monitor="val_loss")


@setup("raises", module=modules.Validates, val=one, ticks=False, known=1, check=lambda m: m.updates == 1)
def asked_before_the_first_validation(m):  # Lightning-AI/pytorch-lightning#1156
    """Decides at every update, but the first validation comes after 8: ends after the first."""
    opt = sgd(m)
    return per_step(opt, ReduceLROnPlateau(opt, patience=1), monitor="val_loss")


# two_writers


@setup(
    "two_writers",
    module=modules.Validates,
    val=one,
    known=(8, 16),
    check=lambda m: near(m.lrs[16], PEAK / 10) and near(m.lrs[17], PEAK),
)
def lambda_undoes_the_plateau(m):  # Lightning-AI/pytorch-lightning#8884
    """A warm-up as LambdaLR per update writes the full LR after each cut."""
    opt = sgd(m)
    warmup = {"scheduler": LambdaLR(opt, lambda n: min(1.0, (n + 1) / 5)), "interval": "step"}
    return [opt], [warmup, {"scheduler": ReduceLROnPlateau(opt, patience=0), "monitor": "val_loss"}]
