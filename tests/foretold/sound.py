"""Sound set-ups: any finding here is a false alarm."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
    StepLR,
)

from tests.foretold import modules
from tests.foretold.oracle import Unsized, loader
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd, stopped, stopped_after

# The 15 schedulers of torch.


@setup(check=lambda m: near(m.lrs[16], PEAK * 0.5**0.9))
def poly_lambda_over_the_run(m):  # open-mmlab/mmsegmentation's poly policy
    """Power 0.9 over all updates: as meant."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches
    return per_step(opt, LambdaLR(opt, lambda n: (1 - n / total) ** 0.9))


@setup(epochs=6, check=lambda m: near(m.lrs[-1], PEAK * 0.95**5))
def multiplicative_per_epoch(m):
    """5 % less at every epoch, without a floor: as meant."""
    opt = sgd(m)
    return [opt], [MultiplicativeLR(opt, lambda epoch: 0.95)]


@setup(check=lambda m: near(m.lrs[9], PEAK) and near(m.lrs[30], PEAK / 1000))
def step_per_update(m):
    """A cut every 10 updates: as meant, three cuts."""
    opt = sgd(m)
    return per_step(opt, StepLR(opt, step_size=10, gamma=0.1))


@setup(epochs=8, check=lambda m: near(m.lrs[32], PEAK / 10) and near(m.lrs[-1], PEAK / 100))
def milestones_are_whole_floats(m):  # cornellius-gp/gpytorch's DKL example: 0.5 * n_epochs, 0.75 * n_epochs
    """Milestones 4.0 and 6.0: they are hit, since 4.0 == 4."""
    opt, epochs = sgd(m), m.trainer.max_epochs
    return [opt], [MultiStepLR(opt, milestones=[0.5 * epochs, 0.75 * epochs])]


@setup(check=lambda m: near(m.lrs[0], PEAK / 3) and m.lrs[-1] == PEAK)
def constant_factor_then_full(m):
    """A third of the LR for one epoch, then all of it to the end."""
    opt = sgd(m)
    return [opt], [ConstantLR(opt, total_iters=1)]


@setup(check=lambda m: near(m.lrs[0], PEAK / 10) and near(m.lrs[-1], PEAK))
def linear_warmup_then_constant(m):
    """Warm-up over 10 updates, and no decay: constant schedules have no floor."""
    opt = sgd(m)
    return per_step(opt, LinearLR(opt, start_factor=0.1, total_iters=10))


@setup(epochs=6, check=lambda m: near(m.lrs[-1], PEAK * 0.9**5))
def exponential_per_epoch(m):
    """0.9 at each epoch: has no end of its own."""
    opt = sgd(m)
    return per_epoch(opt, ExponentialLR(opt, gamma=0.9))


@setup(check=lambda m: near(m.lrs[10], PEAK) and m.lrs[-1] < PEAK / 10)
def warmup_hold_decay_in_sequence(m):
    """Three parts over 32 updates, the last one to 5 % of the peak at the end."""
    opt = sgd(m)
    parts = [LinearLR(opt, 0.2, total_iters=4), ConstantLR(opt, 1.0, total_iters=8), LinearLR(opt, 1.0, 0.05, 20)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[4, 12]))


@setup(accumulate_grad_batches=2, check=lambda m: m.updates == 16 and 0.001 < m.lrs[-1] < 0.003)
def cosine_to_a_floor_with_accumulation(m):
    """Sized by `estimated_stepping_batches`, which knows the accumulation: down to eta_min."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches, eta_min=0.001))


@setup(check=lambda m: near(m.lrs[0], PEAK / 4) and m.lrs[4] > m.lrs[5])
def chained_warmup_and_decay(m):
    """Warm-up over 4 updates times a decay at each update."""
    opt = sgd(m)
    parts = [LinearLR(opt, start_factor=0.25, total_iters=4), ExponentialLR(opt, gamma=0.97)]
    return per_step(opt, ChainedScheduler(parts, optimizer=opt))


@setup(epochs=10, batches=2, check=lambda m: near(m.lrs[-1], PEAK * 0.1))
def polynomial_over_the_epochs(m):
    """Linear over 10 epochs; the last one uses 10 % of the peak, since 0 is written after it."""
    opt = sgd(m)
    return [opt], [PolynomialLR(opt, total_iters=m.trainer.max_epochs)]


@setup(epochs=6, batches=3, check=lambda m: near(m.lrs[6], PEAK) and m.lrs[-1] < 0.016)
def restarts_at_epochs(m):
    """Cycles of 2 and 4 epochs: climbs on purpose, and the second ends with the run."""
    opt = sgd(m)
    return [opt], [CosineAnnealingWarmRestarts(opt, T_0=2, T_mult=2)]


@setup(epochs=5, check=lambda m: near(m.lrs[5], PEAK) and near(m.lrs[15], PEAK / 2 + 0.001) and m.lrs[-1] < 0.006)
def triangles_that_shrink(m):
    """Four triangles of 10 updates, on purpose; the momentum goes the other way."""
    opt = sgd(m, momentum=0.9)
    return per_step(opt, CyclicLR(opt, base_lr=0.002, max_lr=PEAK, step_size_up=5, mode="triangular2"))


@setup(check=lambda m: 0.0099 < max(m.lrs) <= PEAK / 10 and m.lrs[-1] < 1e-4 and min(m.momentum[0]) < 0.86)
def one_cycle_with_a_peak_for_each_group(m):
    """Groups 1:10, and peaks 1:10: one cycle over the run."""
    opt, total = sgd(m, PEAK / 10, PEAK, momentum=0.9), m.trainer.estimated_stepping_batches
    return per_step(opt, OneCycleLR(opt, max_lr=[PEAK / 10, PEAK], total_steps=total))


@setup(epochs=10, batches=3)
def cosine_over_the_epochs(m):
    """T_max is the number of epochs; the last one uses 2.4 % of the peak."""
    opt = AdamW(m.parameters(), lr=PEAK)
    return {"optimizer": opt, "lr_scheduler": CosineAnnealingLR(opt, T_max=m.trainer.max_epochs)}


# What people write with them.


@setup()
def no_scheduler(m):
    """An optimizer alone: constant."""
    return Adam(m.parameters(), lr=1e-3)


@setup(epochs=6)
def steps_in_a_list_of_dictionaries(m):
    """A list with one dictionary; cut every second epoch."""
    opt = sgd(m)
    return [{"optimizer": opt, "lr_scheduler": {"scheduler": StepLR(opt, 2), "name": "lr", "monitor": "val_loss"}}]


@setup(epochs=6, batches=4)
def hold_then_linear_to_zero(m):  # junyanz/pytorch-CycleGAN-and-pix2pix
    """Constant for three epochs, then linear; never 0 within the run."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda epoch: 1 - max(0, epoch - 2) / 4)]


@setup(epochs=10, batches=3, check=lambda m: near(m.lrs[0], 0.01) and near(m.lrs[6], PEAK))
def bolts_warmup_cosine_per_epoch(m):  # Lightning-Universe/lightning-bolts
    """A home-made closed form: two epochs of warm-up from 0.01, eight of cosine."""
    opt = sgd(m)
    return [opt], [modules.WarmupCosine(opt, warmup=2, total=10, start=0.01)]


@setup(check=lambda m: m.lrs[-1] < 0.001)
def bolts_warmup_cosine_per_update(m):  # vturrisi/solo-learn: epochs times updates of an epoch
    """The same class, sized in updates and ticked per update."""
    opt, each = sgd(m), m.trainer.estimated_stepping_batches // m.trainer.max_epochs
    return per_step(opt, modules.WarmupCosine(opt, warmup=1 * each, total=4 * each, start=1e-4))


@setup(check=lambda m: near(m.lrs[0], PEAK / 5) and near(m.lrs[5], PEAK))
def home_made_that_multiplies(m):
    """A home-made class that multiplies what is there: warm-up over 5 updates, then 2 % less at each."""
    opt = sgd(m)
    return per_step(opt, modules.Chained(opt, warmup=5, gamma=0.98))


@setup(check=lambda m: near(m.lrs[-1], PEAK * (8 / 32) ** 0.5))
def inverse_square_root(m):
    """Noam without its constant: ends at half of the peak, and has no floor."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: min((n + 1) / 8, (8 / (n + 1)) ** 0.5)))


@setup(epochs=5, check=lambda m: near(m.lrs[-1], 0.02))
def lambda_reads_the_epoch(m):
    """Linear over the epochs, read from `current_epoch`: one more than the epoch that is over at a tick."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda n: 1 - (m.current_epoch + 1 if n else 0) / 5)]


@setup(check=lambda m: near(m.lrs[8], PEAK * 0.75))
def lambda_reads_the_updates(m):
    """Linear over the updates, read from `global_step`, which is the next update's number at a tick."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda _: 1 - m.trainer.global_step / 32))


@setup(accumulate_grad_batches=4, check=lambda m: near(m.lrs[-1], PEAK / 8))
def lambda_asks_for_the_total(m):
    """The total is asked for at every tick."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: 1 - n / m.trainer.estimated_stepping_batches))


# Neighbors of what a forecast finds.


@setup(epochs=6, batches=3, check=lambda m: near(m.lrs[-1], 0.001))
def cosine_with_its_floor_in_the_last_epoch(m):  # ZJCV/ZCls2
    """T_max is one less than the epochs, so that the last of them uses eta_min."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=m.trainer.max_epochs - 1, eta_min=0.001)]


@setup(check=lambda m: m.updates == 32 and m.lrs[-1] < 0.001)
def one_cycle_with_a_tick_to_spare(m):
    """One tick more than the run has, as people do who have seen the error."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches + 1
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=total, cycle_momentum=False))


@setup(epochs=6, batches=3, check=lambda m: near(m.lrs[-1], PEAK * 1e-5))
def a_tenth_at_each_of_six_epochs(m):
    """Five cuts, to a hundred thousandth: small, and meant."""
    opt = sgd(m)
    return [opt], [StepLR(opt, step_size=1)]


@setup(check=lambda m: m.ticks[0] == [8, 16, 24, 32])
def frequency_as_long_as_the_epoch(m):
    """frequency=8 in epochs of 8 batches: a tick at the last batch of each."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.5), frequency=8)


@setup(check=lambda m: m.lrs[29] > 0 and m.lrs[30] == m.lrs[31] == 0.0)
def linear_with_a_clamp(m):
    """Linear over 30 updates and clamped at 0; the run has 32."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: max(0.0, 1 - n / 30)))


@setup(epochs=7, batches=3, check=lambda m: near(m.lrs[-1], PEAK / 8))
def the_same_milestone_twice(m):
    """A milestone that counts twice: a quarter at once, and half of it later."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, milestones=[2, 2, 5], gamma=0.5)]


@setup(train=lambda: None, module=modules.BringsItsLoader)
def module_with_its_own_loader(m):
    """`train_dataloader` is the module's."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(data=modules.Data, accumulate_grad_batches=2)
def data_module(m):
    """The loader is a data module's; linear over the 16 updates."""
    opt = sgd(m)
    return per_step(opt, PolynomialLR(opt, m.trainer.estimated_stepping_batches))


# Groups and kinds of LRs.


@setup(check=lambda m: m.used[0][0][0] == m.used[0][-1][0] == 0.0 and near(m.used[0][0][1], PEAK))
def frozen_group(m):
    """A list of lambdas: the backbone is frozen by 0, the head decays."""
    opt = sgd(m, PEAK / 10, PEAK)
    return [opt], [LambdaLR(opt, [lambda epoch: 0.0, lambda epoch: 0.9**epoch])]


@setup(epochs=6, check=lambda m: m.used[0][8][0] == 0.0 and near(m.used[0][-1][0], PEAK / 10))
def backbone_thawed_later(m):
    """A list of lambdas: the backbone begins at epoch 2."""
    opt = sgd(m, PEAK / 10, PEAK)
    return [opt], [LambdaLR(opt, [lambda epoch: float(epoch >= 2), lambda epoch: 1.0])]


@setup(check=lambda m: near(m.used[0][16][0], PEAK / 2) and near(m.used[0][16][1], PEAK * 0.98**16))
def a_curve_for_each_group(m):
    """A list of lambdas that changes the ratio on purpose."""
    opt = sgd(m, PEAK, PEAK)
    return per_step(opt, LambdaLR(opt, [lambda n: 1 - n / 32, lambda n: 0.98**n]))


@setup(check=lambda m: abs(m.used[0][16][1] / m.used[0][16][0] - 10) < 0.001)
def ratio_down_to_a_tiny_floor(m):
    """Groups 1:10, and eta_min=1e-6 for both: the ratio is kept as long as it matters."""
    opt = sgd(m, PEAK / 10, PEAK)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches, eta_min=1e-6))


@setup(check=lambda m: all(near(20 * a, b) for a, b in m.used[0]))
def encoder_at_a_twentieth(m):
    """Three milestones, two groups: the ratio stays."""
    opt = sgd(m, PEAK / 20, PEAK)
    return per_step(opt, MultiStepLR(opt, [8, 16, 24], gamma=0.3))


@setup(check=lambda m: len(m.lrs) == 32)
def lr_in_a_tensor(m):
    """The LR is a tensor of 32 bits, and stays that tensor."""
    opt = sgd(m, torch.tensor(PEAK))
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(epochs=6)
def lrs_in_tensors_of_64_bits(m):
    """Two groups with tensors, cut at epochs 2 and 4."""
    opt = sgd(m, torch.tensor(0.01, dtype=torch.float64), torch.tensor(PEAK, dtype=torch.float64))
    return [opt], [StepLR(opt, step_size=2, gamma=0.5)]


# Rhythms.


@setup(accumulate_grad_batches=3, check=lambda m: m.updates == 12 and m.ticks[0] == list(range(1, 13)))
def ragged_last_window(m):
    """8 batches and an accumulation of 3: the last window of an epoch is smaller, and ticks too."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(
    callbacks=lambda: [GradientAccumulationScheduler({0: 4, 2: 1})],
    check=lambda m: m.updates == 20 and near(m.lrs[-1], PEAK * 0.8**3),
)
def accumulation_that_changes(m):
    """Accumulates 4 for two epochs, then 1; the decay is per epoch and does not mind."""
    opt = sgd(m)
    return [opt], [ExponentialLR(opt, gamma=0.8)]


@setup(
    callbacks=lambda: [GradientAccumulationScheduler({0: 2, 3: 4})],
    check=lambda m: m.updates == 14 and near(m.lrs[-1], PEAK * 0.97**13),
)
def accumulation_that_changes_per_update(m):
    """Accumulates 2, then 4; a decay per update without an end."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.97))


@setup(epochs=6, check=lambda m: m.ticks[0] == [16, 32, 48])
def every_second_epoch(m):
    """frequency=2 with epochs: a tick at the end of epochs 1, 3 and 5."""
    opt = sgd(m)
    return per_epoch(opt, ExponentialLR(opt, gamma=0.5), frequency=2)


@setup(batches=10, check=lambda m: m.ticks[0] == [5, 10, 15, 20, 25, 30, 35, 40])
def every_fifth_update_of_ten(m):
    """frequency=5 in epochs of 10 batches: begins anew in each, and nobody sees it."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.8), frequency=5)


@setup(epochs=1, batches=31, check=lambda m: m.ticks[0] == [4, 8, 12, 16, 20, 24, 28])
def frequency_in_a_single_epoch(m):
    """frequency=4 of 31 batches, and no second epoch in which it could begin anew."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.8), frequency=4)


@setup(accumulate_grad_batches=4, epochs=8, check=lambda m: m.ticks[0] == list(range(1, 17)) and m.lrs[-1] < 0.002)
def frequency_equal_to_accumulation(m):
    """Meant: a tick for each update, of 4 batches. That is what happens, and what the cosine is sized for."""
    opt = sgd(m)
    cosine = CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches)
    return per_step(opt, cosine, frequency=m.trainer.accumulate_grad_batches)


@setup(epochs=None, max_steps=20, check=lambda m: m.updates == 20 and m.lrs[-1] < 0.001)
def sized_by_max_steps(m):
    """20 updates, however many epochs that is; the cosine is as long."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=m.trainer.max_steps))


@setup(epochs=9, max_steps=30, check=lambda m: m.updates == 30 and near(m.lrs[-1], PEAK / 8))
def ends_within_an_epoch(m):
    """max_steps ends the run in epoch 3; halved at each epoch until then, without an end of its own."""
    opt = sgd(m)
    return [opt], [StepLR(opt, step_size=1, gamma=0.5)]


@setup(limit_train_batches=0.5, check=lambda m: m.updates == 16 and m.lrs[-1] < 0.002)
def half_of_the_batches(m):
    """`estimated_stepping_batches` knows limit_train_batches."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(
    epochs=None,
    max_steps=20,
    train=lambda: torch.utils.data.DataLoader(Unsized(8)),
    known=(1, 20),
    total=False,
    check=lambda m: m.updates == 20,
)
def loader_without_a_length(m):
    """A loader that does not say its length, and max_steps: a cosine over these."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=20))


@setup(val_check_interval=0.25, module=modules.Improves, val=lambda: loader(1))
def validates_four_times_an_epoch(m):
    """Validation has no part in a cosine per update."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(check_val_every_n_epoch=None, val_check_interval=7, module=modules.Improves, val=lambda: loader(1))
def validates_every_seven_batches(m):
    """Across the epochs; the steps are per epoch."""
    opt = sgd(m)
    return [opt], [MultiStepLR(opt, milestones=[2, 3], gamma=0.2)]


@setup(check_val_every_n_epoch=3, module=modules.Validates, val=lambda: loader(1), epochs=7)
def monitor_of_a_scheduler_that_has_none(m):
    """`monitor` beside a StepLR is not looked at."""
    opt = sgd(m)
    return per_epoch(opt, StepLR(opt, 3), monitor="val_loss", strict=True)


@setup(module=modules.SkipsSome, check=lambda m: len(m.ticks[0]) == 32 and m.lrs[-1] < 0.001)
def some_batches_without_a_loss(m):
    """`training_step` returns None now and then: these batches tick all the same."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


# Several schedulers, several optimizers, ticks of the module's own.


@setup(check=lambda m: near(m.lrs[12], PEAK * 0.99**12 * 0.5))
def two_that_multiply(m):
    """1 % less per update, and half at each epoch: both multiply what is there."""
    opt = sgd(m)
    fine = {"scheduler": ExponentialLR(opt, gamma=0.99), "interval": "step"}
    return [opt], [fine, MultiplicativeLR(opt, lambda epoch: 0.5)]


@setup(batches=6, check=lambda m: near(m.lrs[8], PEAK / 2) and near(m.lrs[0], PEAK / 2))
def warmup_and_steps_that_agree(m):
    """A linear warm-up per update, and cuts per epoch."""
    opt = sgd(m)
    warmup = {"scheduler": LinearLR(opt, start_factor=0.5, total_iters=5), "interval": "step"}
    return [opt], [warmup, {"scheduler": StepLR(opt, step_size=1, gamma=0.5)}]


@setup(module=modules.OnlyAtLastBatch, epochs=5, check=lambda m: m.ticks[0] == [8, 16, 24, 32, 40])
def ticks_only_at_the_last_batch(m):  # an overridden hook from a music tagger on GitHub
    """Interval step, but the module's `lr_scheduler_step` ticks once an epoch: T_max in epochs is right."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=5, eta_min=1e-4))


@setup(module=modules.TellsNextEpoch, epochs=6, batches=3, check=lambda m: near(m.lrs[3], PEAK / 2))
def step_told_the_epoch_that_begins(m):
    """`lr_scheduler_step` passes `current_epoch + 1`: each epoch has its own LR."""
    opt = sgd(m)
    return [opt], [ExponentialLR(opt, gamma=0.5)]


@setup(module=modules.ByHandPerEpoch, known=0, total=False, check=lambda m: [len(u) for u in m.used] == [32, 32, 32])
def three_optimizers_by_hand(m):
    """Manual optimization, three optimizers, ticked at the last batch: each with a scheduler of its own."""
    opts = [Adam([w], lr=lr) for w, lr in zip(m.w, (0.1, 0.01, 0.001), strict=True)]
    return opts, [StepLR(opts[0], 2), ExponentialLR(opts[1], 0.9), LambdaLR(opts[2], lambda epoch: 1 - epoch / 4)]


@setup(module=modules.ByHand, known=0, total=False, check=lambda m: m.ticks[0] == list(range(1, 33)))
def one_optimizer_by_hand(m):
    """Manual optimization, ticked after each update; the interval says epoch and is not looked at."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=32)]


@setup(module=modules.ByHand, known=0, total=False)
def two_optimizers_by_hand_one_scheduler(m):  # a WGAN on GitHub: a scheduler for the critic only
    """Manual optimization, the second optimizer has no scheduler."""
    opts = [Adam([m.w[0]], lr=1e-3), Adam([m.w[1]], lr=1e-4)]
    return opts, [ExponentialLR(opts[0], gamma=0.99)]


@setup(module=modules.WarmsUpInOptimizerStep, known=0, check=lambda m: near(m.lrs[0], 0.02) and near(m.lrs[-1], 0.1))
def warmup_in_optimizer_step(m):
    """No scheduler; the module warms up before its updates."""
    return sgd(m)


@setup(module=modules.TicksInOptimizerStep, known=0, check=lambda m: m.lrs[-1] < 0.001)
def ticked_in_optimizer_step(m):
    """The module keeps the scheduler and steps it after each update."""
    opt = sgd(m)
    m.kept = CosineAnnealingLR(opt, T_max=32)
    return opt


@setup(module=modules.KeepsPerBatch, known=(0, 1), check=lambda m: m.lrs[-1] < 0.001)
def kept_and_ticked_in_a_hook(m):
    """The module keeps the scheduler and steps it in `on_train_batch_end`."""
    opt = sgd(m)
    m.kept = CosineAnnealingLR(opt, T_max=32)
    return opt


@setup(module=modules.KeepsPerEpoch, known=(0, 8), check=lambda m: near(m.lrs[-1], PEAK / 8))
def kept_and_ticked_per_epoch(m):
    """The module keeps the scheduler and steps it in `on_train_epoch_end`."""
    opt = sgd(m)
    m.kept = StepLR(opt, step_size=1, gamma=0.5)
    return {"optimizer": opt}


# Weight averaging.


@setup(
    ticks=False,
    known=(8, 32),
    check=lambda m: near(m.lrs[-1], 0.02),
    callbacks=lambda: [StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=2, annealing_epochs=1)],
)
def averaging_without_a_scheduler(m):
    """The callback brings its own scheduler, and takes no other's place."""
    return sgd(m)


@setup(callbacks=lambda: [StochasticWeightAveraging(swa_lrs=0.02, swa_epoch_start=9)], check=lambda m: m.lrs[-1] < 0.02)
def averaging_that_never_begins(m):
    """Begins at epoch 9 of a run of 4: the scheduler keeps its place."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=4)]


# Runs that go on.


@setup(ckpt=stopped_after(1), check=lambda m: m.begun == 16 and near(m.lrs[0], PEAK / 2) and m.updates == 16)
def resumed_after_an_epoch(m):
    """A cosine over the run, gone on with after epoch 1 of 4."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(ckpt=stopped(13), check=lambda m: m.begun == 13 and m.updates == 19 and near(m.lrs[0], PEAK * 19 / 32))
def resumed_within_an_epoch(m):
    """A linear decay, gone on with at update 13 of 32."""
    opt = sgd(m)
    return per_step(opt, PolynomialLR(opt, total_iters=32))


@setup(ckpt=stopped(10), accumulate_grad_batches=2, epochs=5, check=lambda m: m.begun == 10 and m.updates == 10)
def resumed_per_epoch_with_accumulation(m):
    """A cosine over the epochs, gone on with at update 10 of 20, within epoch 2."""
    opt = sgd(m)
    return [opt], [CosineAnnealingLR(opt, T_max=5, eta_min=1e-3)]


@setup(ckpt=stopped_after(3, max_epochs=4), epochs=6, check=lambda m: m.begun == 32 and near(m.lrs[-1], PEAK / 4))
def resumed_for_longer_without_an_end(m):
    """Four epochs, then two more; the steps have no length that could be another."""
    opt = sgd(m)
    return [opt], [StepLR(opt, step_size=2, gamma=0.5)]


@setup(ckpt=stopped(12), check=lambda m: m.begun == 12 and m.updates == 20)
def resumed_one_cycle(m):
    """The same OneCycleLR, built again as long as it was."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=32, cycle_momentum=False))
