"""Set-ups of public reports and configs, rebuilt small; half of them are in everybody's first script."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.optim import Adam
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.optim.sgd import SGD

from tests.foretold import modules
from tests.foretold.oracle import Toy, loader
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd


class LogsAccuracy(Toy):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/acc", 0.5)


class WarmsUpBeforeTheFirstCut(Toy):
    """Six updates of warm-up in `optimizer_step`, over before the scheduler's first cut."""

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        done = self.trainer.global_step
        if done < 6:
            for group in optimizer.param_groups:
                group["lr"] = PEAK * (done + 1) / 6
        optimizer.step(closure=optimizer_closure)


# Faults


@setup("climbs_again", check=lambda m: m.lrs[4] < 1e-9 and near(m.lrs[8], PEAK))
def cosine_over_epochs_ticked_per_update(m):  # Lightning-Universe/lightning-bolts#716
    """One decay over 4 epochs was meant; T_max=4 is updates here: down and up four times."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=m.trainer.max_epochs))


@setup("floor_not_reached", check=lambda m: max(m.lrs) < 0.031)
def one_cycle_ticked_per_epoch(m):  # Lightning-AI/pytorch-lightning#3869
    """A cycle of 32 updates without an interval: 4 ticks, and not a third of the peak."""
    opt = sgd(m)
    cycle = OneCycleLR(opt, PEAK, epochs=m.trainer.max_epochs, steps_per_epoch=8, cycle_momentum=False)
    return [opt], [{"scheduler": cycle, "name": "learning_rate"}]


@setup("floor_not_reached", accumulate_grad_batches=4, check=lambda m: m.updates == 8 and m.lrs == sorted(m.lrs))
def one_cycle_over_the_batches(m):  # Lightning-AI/pytorch-lightning#1476, #12894
    """A cycle of 32 batches; accumulation makes 8 updates of them, all within the rise."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, epochs=4, steps_per_epoch=8, cycle_momentum=False))


@setup("milestone_never_hit", check=lambda m: set(m.lrs) == {PEAK})
def milestones_in_updates_ticked_per_epoch(m):  # XPixelGroup/BasicSR#731
    """Cuts at updates 16 and 24 were meant; there are 4 ticks."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, [16, 24])]


@setup("never_ticks", check=lambda m: m.ticks == [] and set(m.lrs) == {PEAK})
def key_without_its_prefix(m):  # Lightning-AI/pytorch-lightning#5066
    """'scheduler' beside 'optimizer' is not read."""
    opt = sgd(m)
    return {"optimizer": opt, "scheduler": CosineAnnealingLR(opt, 32), "interval": "step"}


@setup("ratio_changed", epochs=2, check=lambda m: all(a == b for a, b in m.used[0]))
def one_cycle_flattens_the_groups(m):  # shariqfarooq123/AdaBins#44
    """A backbone at a tenth; one max_lr for all: alike in every update."""
    opt, total = sgd(m, PEAK / 10, PEAK), m.trainer.estimated_stepping_batches
    return per_step(opt, OneCycleLR(opt, max_lr=PEAK, total_steps=total, cycle_momentum=False))


@setup("peak_not_reached", epochs=5, batches=16, check=lambda m: near(m.lrs[-1], PEAK * 5 / 16))
def warmup_of_updates_ticked_per_epoch(m):  # ace-step/ACE-Step#198
    """16 updates of warm-up, then decay; ticked 5 times: ends at 31 % of the LR."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches
    return [opt], [LambdaLR(opt, lambda n: (n + 1) / 16 if n < 16 else (total - n) / (total - 16))]


@setup(
    "frequency_with_accumulation",
    "floor_not_reached",
    epochs=3,
    batches=26,
    accumulate_grad_batches=4,
    check=lambda m: m.ticks[0] == [3, 6, 10, 13, 17, 20],
)
def every_third_update_with_accumulation(m):  # Lightning-AI/pytorch-lightning#21491
    """7 ticks in 21 updates were meant; counted in batches, with accumulation, there are 6."""
    opt = sgd(m)
    cosine = CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches // 3)
    return per_step(opt, cosine, frequency=3)


@setup(
    "plateau_cannot_cut",
    epochs=10,
    batches=2,
    module=modules.Validates,
    val=lambda: loader(1),
    known=(2, 20),
    check=lambda m: set(m.lrs) == {PEAK} and len(m.ticks[0]) == 10,
)
def patience_as_long_as_the_run(m):  # the defaults of ashleve/lightning-hydra-template
    """Patience 10 in 10 epochs: a cut needs 12 decisions."""
    opt = sgd(m)
    plateau = ReduceLROnPlateau(opt, mode="min", factor=0.1, patience=10)
    return per_epoch(opt, plateau, monitor="val_loss", interval="epoch", frequency=1)


@setup(
    "raises",
    epochs=6,
    batches=4,
    check_val_every_n_epoch=2,
    module=LogsAccuracy,
    val=lambda: loader(1),
    ticks=False,
    known=4,
    check=lambda m: m.updates == 4 and m.error.startswith("Misconfiguration"),
)
def asked_in_an_epoch_without_validation(m):  # Lightning-AI/pytorch-lightning#10496
    """Validated every second epoch, asked after the first."""
    opt = sgd(m)
    return per_epoch(opt, ReduceLROnPlateau(opt, mode="max"), monitor="val/acc")


@setup("two_writers", epochs=6, batches=4, check=lambda m: m.lrs[8] < 0.011 and m.lrs[9] > 0.099)
def warmup_lambda_undoes_the_steps(m):  # Lightning-AI/pytorch-lightning#8884
    """Cuts at epochs 2 and 4, each of which holds for one update: the warm-up's lambda writes over it."""
    opt = sgd(m)
    warmup = {"scheduler": LambdaLR(opt, lambda n: min(1.0, (n + 1) / 6)), "interval": "step"}
    return [opt], [warmup, {"scheduler": MultiStepLR(opt, [2, 4]), "interval": "epoch"}]


@setup("floor_not_reached", epochs=6, batches=10, max_steps=25, check=lambda m: m.updates == 25 and m.lrs[-1] > 0.06)
def cosine_cut_off_by_max_steps(m):  # vllm-project/speculators#1104
    """T_max is that of 6 epochs, max_steps ends the run in the third."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=60))


@setup("ends_high", epochs=14, batches=2, check=lambda m: m.lrs[-1] > 0.098)
def restarts_without_regard_to_the_end(m):
    """Cycles of 4, 8, 16 epochs in a run of 14: two epochs into the third."""
    opt = sgd(m)
    return [opt], [CosineAnnealingWarmRestarts(opt, T_0=4, T_mult=2)]


@setup(
    "replaced",
    epochs=8,
    batches=4,
    ticks=False,
    known=(20, 32),
    check=lambda m: m.lrs[-1] > 0.045,
    callbacks=lambda: [StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=0.75, annealing_epochs=2)],
)
def averaging_replaces_the_cosine(m):  # Lightning-AI/pytorch-lightning#6963
    """A cosine to 0, until the callback's scheduler takes its place at epoch 5 and leads up to 0.05."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup("first_updates_zero", epochs=6, batches=10, check=lambda m: set(m.lrs[:10]) == {0.0} and m.lrs[10] > 0)
def warmup_of_epochs_from_zero(m):
    """Two epochs of warm-up, the first of which is at 0."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda epoch: epoch / 2 if epoch < 2 else (6 - epoch) / 4)]


@setup("climbs_again", epochs=18, batches=2, check=lambda m: m.lrs[8] < 1e-9 and near(m.lrs[16], PEAK))
def t_max_a_fifth_of_the_epochs(m):  # configs of IBM/terratorch
    """T_max of the config's first version, max_epochs of another: 4.5 half waves."""
    opt = sgd(m)
    return per_epoch(opt, CosineAnnealingLR(opt, T_max=4), monitor="val/loss", interval="epoch")


# Sound


@setup(epochs=6, batches=4, check=lambda m: m.lrs[7] == PEAK and near(m.lrs[8], PEAK / 10))
def cuts_every_second_epoch(m):
    """A tenth at epochs 2 and 4."""
    opt = sgd(m)
    return [opt], [StepLR(opt, step_size=2)]


@setup(batches=10, check=lambda m: m.lrs[-1] < PEAK * 0.003)
def warmup_then_cosine_in_sequence(m):
    """Warm-up of 5 updates, cosine for the rest: the last update uses what is one tick before 0."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches
    parts = [LinearLR(opt, start_factor=1e-3, total_iters=5), CosineAnnealingLR(opt, T_max=total - 5)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[5]))


@setup(epochs=6, batches=6, check=lambda m: near(m.lrs[12], PEAK) and m.lrs[-1] < 0.001)
def restarts_that_end_with_the_run(m):
    """Cycles of 2 and 4 epochs, in updates: climbs on purpose."""
    opt, each = sgd(m), m.trainer.estimated_stepping_batches // m.trainer.max_epochs
    return per_step(opt, CosineAnnealingWarmRestarts(opt, T_0=2 * each, T_mult=2, eta_min=1e-4))


@setup(
    epochs=6,
    batches=3,
    module=modules.ByHandPerEpoch,
    known=0,
    total=False,
    check=lambda m: len(m.used) == 2 and near(m.lrs[-1], 2e-4 / 3),
)
def two_optimizers_by_hand(m):  # junyanz/pytorch-CycleGAN-and-pix2pix, ported
    """Two optimizers in manual optimization: constant for 3 epochs, then linear, ticked by hand."""
    opts = [Adam([m.w[0]], lr=2e-4), Adam([m.w[1]], lr=1e-4)]
    return opts, [LambdaLR(opt, lambda epoch: 1 - max(0, epoch - 3) / 3) for opt in opts]


@setup(epochs=10, batches=3, check=lambda m: 0.002 < m.lrs[-1] < 0.003)
def cosine_per_epoch(m):  # mllam/neural-lam#693
    """As in most scripts for CIFAR: the last epoch uses 2.4 % of the peak."""
    opt = sgd(m)
    return {"optimizer": opt, "lr_scheduler": CosineAnnealingLR(opt, T_max=m.trainer.max_epochs)}


@setup(epochs=5, batches=4, check=lambda m: near(m.lrs[-1], 0.02))
def lambda_over_the_trainer(m):
    """Linear, read from the Trainer's epoch: the epoch that is over plus one, but 0 when it is built."""
    opt, total = sgd(m), m.trainer.max_epochs
    return [opt], [LambdaLR(opt, lambda n: 1 - (m.trainer.current_epoch + 1 if n else 0) / total)]


@setup(batches=10, check=lambda m: near(m.lrs[-1], 0.01 * (8 / 40) ** 0.5))
def noam(m):  # chemprop/chemprop, CUNY-CL/yoyodyne
    """Warm-up over 8 updates, then the inverse square root: ends at 45 % of the peak, and has no floor."""
    opt = Adam(m.parameters(), lr=0.01)
    return per_step(opt, LambdaLR(opt, lambda n: min((n + 1) / 8, (8 / (n + 1)) ** 0.5)))


@setup(
    epochs=6,
    batches=4,
    module=WarmsUpBeforeTheFirstCut,
    known=0,
    check=lambda m: near(m.lrs[0], PEAK / 6) and near(m.lrs[-1], PEAK / 10),
)
def warmup_in_optimizer_step_then_steps(m):  # Lightning-AI/pytorch-lightning#4902
    """The module warms up over 6 updates; cut at epoch 3."""
    opt = SGD([m.w[0]], lr=PEAK)
    return [opt], [StepLR(opt, step_size=3)]


@setup(batches=6, check=lambda m: near(m.lrs[6], PEAK / 2) and near(m.lrs[-1], PEAK / 8))
def two_writers_that_agree(m):  # Lightning-Universe/lightning-bolts#650
    """Warm-up per update times half per epoch: both multiply what is there."""
    opt = sgd(m)
    warmup = {"scheduler": LinearLR(opt, start_factor=0.25, total_iters=4), "interval": "step"}
    return [opt], [warmup, {"scheduler": ExponentialLR(opt, gamma=0.5), "interval": "epoch"}]


@setup(
    batches=16,
    module=modules.ByHandEveryFourth,
    known=0,
    total=False,
    check=lambda m: len(m.ticks[0]) == 64 and m.updates == 16,
)
def ticked_by_hand_at_every_batch(m):  # Lightning-AI/pytorch-lightning#12284
    """Ticked four times for each update, by the module: a fault that no forecast can see, so it finds nothing."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=m.trainer.estimated_stepping_batches // 4)]
