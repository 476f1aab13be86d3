"""Sound set-ups in the proportions of real projects, as well-known recipes write them: a finding is a false alarm."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from lightning.pytorch.callbacks import BackboneFinetuning, EarlyStopping
from torch.optim import LBFGS, Adam, AdamW
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from tests.foretold import modules
from tests.foretold.oracle import Toy, loader
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd

real = functools.partial(setup, trained=False)


def one() -> Any:
    return loader(1)


# Classification: timm, torchvision's references, MAE, DINO, nanoGPT.


@real(epochs=90, batches=5, check=lambda m: near(m.lrs[-1], PEAK / 100))
def torchvision_step_30_of_90(m):
    """StepLR(30) over 90 epochs: two cuts, and a third that nobody sees."""
    opt = sgd(m, momentum=0.9, weight_decay=1e-4)
    return [opt], [StepLR(opt, step_size=30, gamma=0.1)]


@real(epochs=100, batches=5, check=lambda m: near(m.lrs[-1], PEAK / 1000))
def step_30_of_100(m):
    """StepLR(30) over 100 epochs: three cuts, the last ten epochs at a thousandth."""
    opt = sgd(m)
    return [opt], [StepLR(opt, 30)]


@real(epochs=90, batches=5)
def milestones_30_60_80_of_90(m):
    """MultiStepLR [30, 60, 80] over 90 epochs."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, [30, 60, 80])]


@real(epochs=90, batches=5)
def the_last_milestone_is_the_end(m):
    """MultiStepLR [30, 60, 90] over 90 epochs: the 90th tick comes, and no update after it; nobody loses anything."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, [30, 60, 90])]


@real(epochs=100, batches=5, check=lambda m: near(m.lrs[-1], PEAK / 1000))
def milestones_30_60_90_of_100(m):
    """MultiStepLR [30, 60, 90] over 100 epochs."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, [30, 60, 90])]


@real(epochs=100, batches=5)
def torchvision_warmup_then_cosine(m):
    """LinearLR(0.01) for 5 epochs, then a cosine of epochs - 5, in sequence."""
    opt = sgd(m)
    parts = [LinearLR(opt, start_factor=0.01, total_iters=5), CosineAnnealingLR(opt, T_max=95)]
    return [opt], [SequentialLR(opt, parts, milestones=[5])]


@real(epochs=60, batches=5)
def cosine_of_the_epochs_after_the_warmup(m):
    """Warm-up of 5 epochs by a lambda inside one function, cosine over the other 55 to a hundredth."""
    opt = AdamW(m.parameters(), lr=1e-3)

    def factor(epoch: int) -> float:
        if epoch < 5:
            return (epoch + 1) / 5
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (epoch - 5) / 55))

    return [opt], [LambdaLR(opt, factor)]


@real(epochs=50, batches=6, check=lambda m: m.lrs[-1] < 1.1e-6)
def cosine_whose_last_epoch_is_the_floor(m):
    """T_max = max_epochs - 1 and eta_min 1e-6: the last epoch uses the floor."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=m.trainer.max_epochs - 1, eta_min=1e-6)]


@real(epochs=100, batches=5)
def cosine_to_a_small_floor(m):
    """eta_min=1e-6 and T_max=max_epochs."""
    opt = Adam(m.parameters(), lr=1e-3)
    return {"optimizer": opt, "lr_scheduler": CosineAnnealingLR(opt, T_max=m.trainer.max_epochs, eta_min=1e-6)}


@real(epochs=40, batches=10)
def mae_per_iteration(m):
    """Half a cycle of cosine after a linear warm-up of 4 epochs, by the share of an epoch at each update."""
    opt, batches, warmup, epochs = AdamW(m.parameters(), lr=1.5e-4), 10, 4, 40

    def factor(update: int) -> float:
        epoch = (update + 1) / batches
        if epoch < warmup:
            return epoch / warmup
        return 0.5 * (1.0 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))

    return per_step(opt, LambdaLR(opt, factor))


@real(epochs=30, batches=12, check=lambda m: near(m.lrs[-1], 1e-6))
def dino_table_of_every_iteration(m):
    """A table of all updates: from 1e-6 up over 10 epochs, a cosine down to 1e-6 at the very last."""
    opt, total, warmup = AdamW(m.parameters(), lr=5e-4), 30 * 12, 10 * 12
    up = torch.linspace(1e-6, 5e-4, warmup).tolist()
    down = [
        1e-6 + (5e-4 - 1e-6) * 0.5 * (1 + math.cos(math.pi * n / (total - warmup - 1))) for n in range(total - warmup)
    ]
    table = [*up, *down]
    return per_step(opt, LambdaLR(opt, lambda n: table[min(n, total - 1)] / 5e-4))


class WritesEachBatch(Toy):
    """MAE's way: the LR is written before each update, and there is no scheduler."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        share = self.trainer.global_step / self.trainer.estimated_stepping_batches
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = 1e-3 * (1 - share)


@real(module=WritesEachBatch, epochs=10, batches=10, known=0)
def written_before_each_batch(m):
    """No scheduler, and a hook that writes: nothing is certain."""
    return AdamW(m.parameters(), lr=1e-3)


@real(epochs=1, batches=600, check=lambda m: near(m.lrs[-1], 6e-5) and len(m.lrs) == 600)
def nanogpt_one_epoch(m):
    """(it + 1) / (warmup + 1), a cosine to a tenth at 500, and the floor from there on, as long as it lasts."""
    opt, warmup, decay = AdamW(m.parameters(), lr=6e-4), 20, 500

    def factor(it: int) -> float:
        if it < warmup:
            return (it + 1) / (warmup + 1)
        if it > decay:
            return 0.1
        return 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * (it - warmup) / (decay - warmup)))

    return per_step(opt, LambdaLR(opt, factor))


# Detection and segmentation.


@real(epochs=300, batches=3, check=lambda m: near(m.lrs[-1], PEAK * (1 / 300 * 0.99 + 0.01)))
def yolo_linear(m):
    """(1 - x / epochs) * (1 - lrf) + lrf over 300 epochs."""
    opt, epochs, lrf = sgd(m), 300, 0.01
    return [opt], [LambdaLR(opt, lambda x: (1 - x / epochs) * (1.0 - lrf) + lrf)]


@real(epochs=300, batches=3)
def yolo_one_cycle_of_cosine(m):
    """The cosine twin: from 1 to lrf over 300 epochs."""
    opt, epochs, lrf = sgd(m), 300, 0.1
    return [opt], [LambdaLR(opt, lambda x: ((1 - math.cos(x * math.pi / epochs)) / 2) * (lrf - 1) + 1)]


class Poly(LRScheduler):
    """nnU-Net's: told the epoch, or counts by itself."""

    def __init__(self, optimizer: Any, initial_lr: float, max_steps: int, exponent: float = 0.9) -> None:
        self.initial_lr, self.max_steps, self.exponent, self.ctr = initial_lr, max_steps, exponent, 0
        super().__init__(optimizer)

    def step(self, current_step: Any = None) -> None:
        if current_step is None or current_step == -1:
            current_step = self.ctr
            self.ctr += 1
        for group in self.optimizer.param_groups:
            group["lr"] = self.initial_lr * (1 - current_step / self.max_steps) ** self.exponent


@real(epochs=100, batches=5)
def nnunet_poly(m):
    """Power 0.9 over 100 epochs, down to 0.7 % in the last one."""
    opt = sgd(m, momentum=0.99, nesterov=True, weight_decay=3e-5)
    return [opt], [Poly(opt, PEAK, m.trainer.max_epochs)]


@real(epochs=40, batches=10, check=lambda m: m.lrs[-1] > 1e-4)
def poly_with_a_floor(m):
    """open-mmlab's poly: power 0.9 down to min_lr=1e-4, at the last update."""
    opt, total = sgd(m), 400
    return per_step(opt, LambdaLR(opt, lambda n: (1 - 1e-3) * (1 - n / total) ** 0.9 + 1e-3))


@real(epochs=12, batches=30)
def detection_1x(m):
    """Warm-up over 50 updates inside the first two epochs, cuts at epochs 8 and 11, in one chain at each update."""
    opt = sgd(m, momentum=0.9)
    warmup = LinearLR(opt, start_factor=0.001, total_iters=50)
    return per_step(opt, ChainedScheduler([warmup, MultiStepLR(opt, [240, 330])], optimizer=opt))


@real(epochs=12, batches=30)
def warmup_per_update_and_cuts_per_epoch(m):
    """The same as two schedulers of different rhythm that multiply."""
    opt = sgd(m)
    warmup = {"scheduler": LinearLR(opt, start_factor=0.1, total_iters=20), "interval": "step"}
    return [opt], [warmup, MultiStepLR(opt, [8, 11])]


@real(epochs=20, batches=30)
def polynomial_power_two(m):
    """PolynomialLR of power 2 over all updates."""
    opt = AdamW(m.parameters(), lr=1e-4)
    return per_step(opt, PolynomialLR(opt, total_iters=m.trainer.estimated_stepping_batches, power=2.0))


# Self-supervision, bolts and NeMo.


class LinearWarmupCosine(LRScheduler):
    """Lightning bolts': the chainable form, which multiplies what is there."""

    def __init__(
        self,
        optimizer: Any,
        warmup_epochs: int,
        max_epochs: int,
        warmup_start_lr: float = 0.0,
        eta_min: float = 0.0,
    ) -> None:
        self.warmup_epochs, self.max_epochs = warmup_epochs, max_epochs
        self.warmup_start_lr, self.eta_min = warmup_start_lr, eta_min
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        n, warm, last = self.last_epoch, self.warmup_epochs, self.max_epochs
        groups = self.optimizer.param_groups
        if n == 0:
            return [self.warmup_start_lr] * len(self.base_lrs)
        if n < warm:
            rise = [(base - self.warmup_start_lr) / (warm - 1) for base in self.base_lrs]
            return [group["lr"] + step for step, group in zip(rise, groups, strict=True)]
        if n == warm:
            return list(self.base_lrs)
        if (n - 1 - last) % (2 * (last - warm)) == 0:
            turn = (1 - math.cos(math.pi / (last - warm))) / 2
            return [
                group["lr"] + (base - self.eta_min) * turn for base, group in zip(self.base_lrs, groups, strict=True)
            ]
        now = 1 + math.cos(math.pi * (n - warm) / (last - warm))
        before = 1 + math.cos(math.pi * (n - warm - 1) / (last - warm))
        return [now / before * (group["lr"] - self.eta_min) + self.eta_min for group in groups]


@real(epochs=100, batches=5)
def bolts_in_full_per_epoch(m):
    """Ten epochs up from 1e-4, ninety down."""
    opt = sgd(m)
    return [opt], [LinearWarmupCosine(opt, 10, 100, warmup_start_lr=1e-4)]


@real(epochs=20, batches=25)
def bolts_in_full_per_update(m):
    """Two epochs up and eighteen down, in updates, to a floor of 1e-6."""
    opt, each = sgd(m), m.trainer.estimated_stepping_batches // m.trainer.max_epochs
    return per_step(opt, LinearWarmupCosine(opt, 2 * each, 20 * each, warmup_start_lr=1e-6, eta_min=1e-6))


class HoldsThenDecays(LRScheduler):
    """NeMo's way: warm-up, a cosine, and a constant floor at the end."""

    def __init__(self, optimizer: Any, warmup: int, constant: int, max_steps: int, min_lr: float) -> None:
        self.warmup_steps, self.constant_steps, self.max_steps, self.min_lr = warmup, constant, max_steps, min_lr
        self.decay_steps = max_steps - constant - warmup
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        step = self.last_epoch
        if step <= self.warmup_steps:
            return [base * (step + 1) / (self.warmup_steps + 1) for base in self.base_lrs]
        if step >= self.max_steps - self.constant_steps:
            return [self.min_lr for _ in self.base_lrs]
        share = (step - self.warmup_steps) / self.decay_steps
        return [self.min_lr + (base - self.min_lr) * 0.5 * (1 + math.cos(math.pi * share)) for base in self.base_lrs]


@real(epochs=-1, max_steps=500, batches=60)
def nemo_cosine_with_a_constant_end(m):
    """500 updates by max_steps: 50 up, 400 down, the last 50 at the floor."""
    opt = AdamW(m.parameters(), lr=3e-4)
    return per_step(opt, HoldsThenDecays(opt, 50, 50, 500, min_lr=1e-5))


@real(epochs=20, batches=25, check=lambda m: near(m.lrs[49], 1e-3))
def warmup_stable_decay(m):
    """WSD: 50 up, 350 held, 100 linear down to a tenth."""
    opt = AdamW(m.parameters(), lr=1e-3)

    def factor(n: int) -> float:
        if n < 50:
            return (n + 1) / 50
        return 1.0 if n < 400 else 1 - 0.9 * (n - 400) / 100

    return per_step(opt, LambdaLR(opt, factor))


@real(epochs=1, batches=500)
def trapezoid_to_zero(m):
    """A tenth up, then flat, the last fifth to 0 in a single epoch of pretraining."""
    opt, total = AdamW(m.parameters(), lr=1e-3), m.trainer.estimated_stepping_batches
    return per_step(opt, LambdaLR(opt, lambda n: min((n + 1) / (0.1 * total), 1, (total - n) / (0.2 * total))))


@real(epochs=10, batches=50)
def noam_at_every_update(m):
    """The transformer's: up over 100 updates, then with the inverse root, which has no end."""
    opt, size, warmup = Adam(m.parameters(), lr=1.0, betas=(0.9, 0.98)), 512, 100
    return per_step(opt, LambdaLR(opt, lambda n: size**-0.5 * min((n + 1) ** -0.5, (n + 1) * warmup**-1.5)))


@real(epochs=10, batches=50, check=lambda m: near(m.lrs[-1], 1e-3))
def constant_after_a_warmup(m):
    """500 updates, 40 of them warm-up, and then constant."""
    opt = AdamW(m.parameters(), lr=1e-3)
    return per_step(opt, LambdaLR(opt, lambda n: min(1.0, (n + 1) / 40)))


@real(epochs=8, batches=25)
def warmup_that_ends_within_an_epoch(m):
    """30 updates up, a cosine over the other 170."""
    opt = sgd(m)
    parts = [LinearLR(opt, 0.01, total_iters=30), CosineAnnealingLR(opt, 170)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[30]))


# One cycle, cycles and restarts.


@real(epochs=10, batches=30)
def one_cycle_in_three_phases(m):
    """three_phase=True: up, down, and down to nearly nothing."""
    opt, total = sgd(m, momentum=0.9), m.trainer.estimated_stepping_batches
    return per_step(opt, OneCycleLR(opt, max_lr=PEAK, total_steps=total, three_phase=True))


@real(epochs=10, batches=30)
def one_cycle_by_epochs_and_their_length(m):
    """epochs= and steps_per_epoch=, as its documentation has it; fastai's figures."""
    opt = AdamW(m.parameters(), lr=1e-3)
    cycle = OneCycleLR(opt, max_lr=1e-3, epochs=10, steps_per_epoch=30, pct_start=0.25, div_factor=25.0)
    return per_step(opt, cycle)


@real(epochs=10, batches=30)
def one_cycle_for_a_backbone_and_a_head(m):
    """Lists of one value for each group."""
    opt = sgd(m, PEAK / 10, PEAK, momentum=0.9)
    return per_step(opt, OneCycleLR(opt, max_lr=[PEAK / 10, PEAK], total_steps=300, pct_start=0.1))


@real(epochs=16, batches=25)
def triangular_two(m):
    """CyclicLR with four cycles of 100 updates; Smith's 2 to 8 epochs a step."""
    opt = sgd(m, momentum=0.9)
    return per_step(opt, CyclicLR(opt, 1e-3, PEAK, step_size_up=50, mode="triangular2"))


@real(epochs=70, batches=4)
def restarts_that_double(m):
    """T_0=10, T_mult=2: cycles of 10, 20 and 40 epochs, which is the run."""
    opt = sgd(m)
    return [opt], [CosineAnnealingWarmRestarts(opt, T_0=10, T_mult=2, eta_min=1e-5)]


@real(epochs=7, batches=40)
def restarts_by_the_share_of_an_epoch(m):
    """T_0=40 updates, T_mult=2: cycles of 1, 2 and 4 epochs."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingWarmRestarts(opt, 40, 2))


# Decays without an end.


@real(epochs=20, batches=30)
def exponential_at_every_update(m):
    """0.999 at each of 600 updates: a half."""
    opt = Adam(m.parameters(), lr=1e-3)
    return per_step(opt, ExponentialLR(opt, gamma=0.999))


@real(epochs=100, batches=5)
def exponential_at_every_epoch(m):
    """0.95 at each of 100 epochs: a hundredth and less, and it goes on."""
    opt = Adam(m.parameters(), lr=1e-3)
    return [opt], [ExponentialLR(opt, 0.95)]


@real(epochs=200, batches=4)
def vits_exponential(m):
    """0.999875 at each epoch, nearly constant."""
    opt = AdamW(m.parameters(), lr=2e-4)
    return [opt], [ExponentialLR(opt, 0.999875)]


@real(epochs=100, batches=4)
def inverse_time_decay(m):
    """1 / (1 + epoch / 10)."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda epoch: 1 / (1 + epoch / 10))]


@real(epochs=50, batches=4)
def floor_within_a_lambda(m):
    """0.9 to the epoch, but not below 1 %: the floor comes at epoch 44 of 50."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda epoch: max(0.9**epoch, 0.01))]


# Plateaus.


@real(module=modules.Improves, val=one, epochs=100, batches=3, known=(3, 36))
def plateau_with_patience_10_of_100(m):
    """The defaults, in a run that is long enough."""
    opt = Adam(m.parameters(), lr=1e-3)
    return {"optimizer": opt, "lr_scheduler": ReduceLROnPlateau(opt), "monitor": "val_loss"}


@real(module=modules.Improves, val=one, epochs=15, batches=10, known=(10, 50))
def plateau_with_patience_3_of_15(m):
    """A short run, with a short patience."""
    opt = Adam(m.parameters(), lr=1e-3)
    return per_epoch(opt, ReduceLROnPlateau(opt, factor=0.2, patience=3, min_lr=1e-6), monitor="val_loss")


@real(module=modules.Improves, val=one, epochs=40, batches=10, known=(10, 70))
def plateau_after_a_warmup(m):
    """Linear over 30 updates, and a plateau of patience 5 from the first epoch on."""
    opt = sgd(m)
    warmup = {"scheduler": LinearLR(opt, 0.1, total_iters=30), "interval": "step"}
    return [opt], [warmup, {"scheduler": ReduceLROnPlateau(opt, patience=5), "monitor": "val_loss"}]


# Groups.


@real(epochs=10, batches=25)
def layer_wise_decay(m):
    """24 groups, each 0.75 of the one above, and one cosine for all of them."""
    extra = [torch.nn.Parameter(torch.zeros(1)) for _ in range(21)]
    groups = [{"params": [w], "lr": 1e-3 * 0.75 ** (23 - k)} for k, w in enumerate([*extra, *m.w])]
    opt, total = AdamW(groups, lr=1e-3), m.trainer.estimated_stepping_batches
    warmup = LinearLR(opt, 0.01, total_iters=25)
    return per_step(opt, SequentialLR(opt, [warmup, CosineAnnealingLR(opt, total - 25)], milestones=[25]))


@real(epochs=10, batches=25)
def groups_by_weight_decay(m):
    """Two groups of one LR, one without weight decay; linear to 0."""
    decay = [{"params": list(m.w)[:2], "weight_decay": 0.01}, {"params": list(m.w)[2:], "weight_decay": 0.0}]
    opt, total = AdamW(decay, lr=5e-5), m.trainer.estimated_stepping_batches
    return per_step(opt, LambdaLR(opt, lambda n: max(0.0, (total - n) / total)))


class Backbone(Toy):
    """Its first parameter is what a backbone is."""

    def __init__(self, configure: Any) -> None:
        super().__init__(configure)
        self.backbone = torch.nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return super().training_step(batch, batch_idx) + self.backbone(torch.ones(1, 1)).sum()


@real(module=Backbone, callbacks=lambda: [BackboneFinetuning(15, verbose=False)], epochs=10, batches=5)
def backbone_that_stays_frozen(m):
    """BackboneFinetuning that begins beyond the end, as in a first stage; a cosine for the head."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, m.trainer.max_epochs)]


@real(epochs=20, batches=10)
def backbone_frozen_for_five_epochs(m):
    """The backbone's LR is 0 in the first five epochs, by a lambda of its own; both come down to 0."""
    opt = sgd(m, PEAK / 10, PEAK)
    return [opt], [LambdaLR(opt, [lambda e: 0.0 if e < 5 else 1 - e / 20, lambda e: 1 - e / 20])]


# The loop.


@real(module=modules.ByHand, epochs=20, batches=5, known=0, total=False)
def gan_with_two_adam(m):
    """Two optimizers by hand, each with a linear decay from the middle on."""
    g, d = Adam([m.w[0]], lr=2e-4, betas=(0.5, 0.999)), Adam([m.w[1]], lr=2e-4, betas=(0.5, 0.999))
    decays = [LambdaLR(one, lambda n: 1 - max(0, n - 50) / 50) for one in (g, d)]
    return [g, d], decays


@real(epochs=10, batches=3)
def lbfgs(m):
    """LBFGS calls its closure many times in a step, and is one update all the same."""
    opt = LBFGS(m.parameters(), lr=0.1, max_iter=4)
    return [opt], [ExponentialLR(opt, 0.9)]


@real(
    module=modules.Improves,
    val=one,
    callbacks=lambda: [EarlyStopping("val_loss", patience=3)],
    epochs=200,
    batches=3,
)
def early_stopping_in_a_long_run(m):
    """max_epochs=200 with EarlyStopping that does not come, cosine over 200."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, 200)]


@real(epochs=20, overfit_batches=4, batches=20)
def overfits_four_batches(m):
    """overfit_batches=4 of 20: sized by the run's own count."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=m.trainer.estimated_stepping_batches, cycle_momentum=False))


@real(fast_dev_run=True, epochs=100, batches=20)
def one_batch_to_try(m):
    """fast_dev_run: one update, of a scheduler that is sized by the run's own count."""
    opt = sgd(m)
    return per_step(opt, LinearLR(opt, 1.0, 0.01, total_iters=m.trainer.estimated_stepping_batches))


@real(limit_train_batches=0.1, epochs=30, batches=100)
def a_tenth_of_the_batches(m):
    """limit_train_batches=0.1, and a cosine over the epochs."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, 30)]


@real(epochs=30, batches=10, accumulate_grad_batches=4)
def speech_with_accumulation(m):
    """Ragged windows: 3 updates an epoch, 90 in all; up over 9 and down over 81."""
    opt = AdamW(m.parameters(), lr=1e-3)
    total = m.trainer.estimated_stepping_batches
    parts = [LinearLR(opt, 0.1, total_iters=9), LinearLR(opt, 1.0, 0.0, total_iters=total - 9)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[9]))


@real(epochs=25, batches=10)
def constant_then_cosine(m):
    """Flat for three quarters, then a cosine: fastai's flat_cos."""
    opt = sgd(m)
    parts = [ConstantLR(opt, 1.0, total_iters=1), CosineAnnealingLR(opt, 60)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[190]))
