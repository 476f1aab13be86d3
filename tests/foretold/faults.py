"""Set-ups that do not do what their author meant, by the name of what happens."""

from __future__ import annotations

import math

import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler, StochasticWeightAveraging
from torch.optim.lr_scheduler import (
    ChainedScheduler,
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
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd, stopped, stopped_after

# climbs_again


@setup("climbs_again", epochs=8, check=lambda m: m.lrs[8] < 1e-9 and m.lrs[15] > 0.09)
def sequence_in_epochs_ticked_per_update(m):
    """Warm-up of 2 epochs and cosine of 6, but ticked per update: down and up every 12 updates."""
    opt, epochs = sgd(m), m.trainer.max_epochs
    parts = [LinearLR(opt, 0.1, total_iters=2), CosineAnnealingLR(opt, T_max=epochs - 2)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[2]))


@setup("climbs_again", epochs=10, check=lambda m: m.lrs[10] < 1e-9 and near(m.lrs[18], PEAK))
def bolts_cosine_in_epochs_ticked_per_update(m):  # Lightning-Universe/lightning-bolts#716, second half of the thread
    """A home-made closed form of 2 + 8 epochs, ticked per update: 5 waves instead of one."""
    opt = sgd(m)
    return per_step(opt, modules.WarmupCosine(opt, warmup=2, total=10, start=0.01))


@setup("climbs_again", epochs=20, batches=2, check=lambda m: near(m.lrs[-1], PEAK * math.cos(math.pi / 20) ** 2))
def lambda_wave_half_as_long(m):
    """A cosine of a constant 10 epochs in a run of 20: back at the peak at the end."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda epoch: 0.5 * (1 + math.cos(math.pi * epoch / 10)))]


@setup("climbs_again", epochs=12, batches=2, check=lambda m: m.lrs[8] < 1e-9 and near(m.lrs[16], PEAK))
def chain_with_a_short_cosine(m):
    """A chain of warm-up and cosine whose T_max=4 is of an older, shorter run."""
    opt = sgd(m)
    parts = [LinearLR(opt, 0.5, total_iters=2), CosineAnnealingLR(opt, T_max=4)]
    return [opt], [ChainedScheduler(parts, optimizer=opt)]


# floor_not_reached


@setup("floor_not_reached", accumulate_grad_batches=2, check=lambda m: near(m.lrs[-1], PEAK * 17 / 32))
def polynomial_over_the_batches(m):
    """Linear to 0 over 32 batches, but accumulation makes 16 updates of them: ends at half of the LR."""
    opt = sgd(m)
    return per_step(opt, PolynomialLR(opt, total_iters=m.trainer.max_epochs * 8))


@setup("floor_not_reached", epochs=5, check=lambda m: near(m.lrs[-1], PEAK * (1 - 0.99 * 4 / 40)))
def linear_over_the_updates_ticked_per_epoch(m):
    """40 updates down to a hundredth, but ticked per epoch: 4 of 40 ticks."""
    opt = sgd(m)
    return [opt], [LinearLR(opt, 1.0, 0.01, total_iters=m.trainer.estimated_stepping_batches)]


@setup("floor_not_reached", limit_train_batches=3, check=lambda m: m.updates == 12 and m.lrs[-1] > 0.07)
def cosine_over_the_whole_loader(m):
    """T_max counts all batches of the loader, limit_train_batches takes 3 of 8."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=8 * m.trainer.max_epochs, eta_min=1e-4))


@setup("floor_not_reached", epochs=12, batches=2, check=lambda m: m.lrs[-1] > 0.08)
def t_max_of_another_config(m):
    """A constant T_max=50 with 12 epochs."""
    opt = sgd(m)
    return per_epoch(opt, CosineAnnealingLR(opt, T_max=50), monitor="val/loss")


@setup("floor_not_reached", max_steps=20, epochs=9, check=lambda m: m.updates == 20 and near(m.lrs[0], 0.01))
def bolts_cosine_cut_off(m):
    """Nine epochs of warm-up and cosine, but max_steps ends the run in epoch 2."""
    opt = sgd(m)
    return per_step(opt, modules.WarmupCosine(opt, warmup=8, total=72, start=0.01))


@setup(
    "floor_not_reached",
    callbacks=lambda: [GradientAccumulationScheduler({1: 4})],
    check=lambda m: m.updates == 14 and m.lrs[-1] > 0.06,
)
def cosine_sized_before_the_accumulation_changes(m):
    """`estimated_stepping_batches` does not know that the callback accumulates 4 from epoch 1 on: 32, not 14."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


# peak_not_reached


@setup("peak_not_reached", epochs=5, check=lambda m: m.lrs == sorted(m.lrs) and m.lrs[-1] < 0.02)
def warmup_of_a_hundred_ticked_per_epoch(m):
    """Warm-up over 100 updates, but ticked per epoch: 14 % of the LR at the end."""
    opt = sgd(m)
    return [opt], [LinearLR(opt, start_factor=0.1, total_iters=100)]


@setup("peak_not_reached", check=lambda m: m.lrs == sorted(m.lrs) and m.lrs[-1] < 0.01)
def cyclic_with_its_default_step(m):
    """step_size_up is 2000 when nobody says it, and the run has 32 updates."""
    opt = sgd(m)
    return per_step(opt, CyclicLR(opt, base_lr=0.001, max_lr=PEAK, cycle_momentum=False))


@setup("peak_not_reached", accumulate_grad_batches=4, check=lambda m: near(m.lrs[-1], PEAK * 8 / 10))
def warmup_longer_than_the_run(m):
    """10 updates of warm-up, but accumulation leaves 8."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: min(1.0, (n + 1) / 10)))


# finished_early


@setup("finished_early", epochs=5, check=lambda m: near(m.lrs[5], PEAK / 50) and near(m.lrs[-1], PEAK / 50))
def linear_over_the_epochs_ticked_per_update(m):
    """Down to 2 % over 5 epochs, but ticked per update: there at update 5 of 40."""
    opt = sgd(m)
    return per_step(opt, LinearLR(opt, 1.0, 0.02, total_iters=m.trainer.max_epochs))


@setup("finished_early", epochs=6, check=lambda m: near(m.lrs[6], 0.001) and near(m.lrs[-1], 0.001))
def lambda_over_the_epochs_ticked_per_update(m):
    """Linear to a hundredth in 6 epochs, but ticked per update: 42 of 48 updates at the floor."""
    opt, epochs = sgd(m), m.trainer.max_epochs
    return per_step(opt, LambdaLR(opt, lambda n: max(0.01, 1 - n / epochs)))


@setup("finished_early", may={"vanishes"}, epochs=5, check=lambda m: m.lrs[5] == 0.0 == m.lrs[-1])
def polynomial_over_the_epochs_ticked_per_update(m):
    """Power 0.9 over 5 epochs, but ticked per update: 0 from update 5 of 40 on."""
    opt = sgd(m)
    return per_step(opt, PolynomialLR(opt, total_iters=m.trainer.max_epochs, power=0.9))


# ends_high


@setup("ends_high", epochs=10, batches=2, check=lambda m: m.lrs[-1] == PEAK)
def restart_in_the_last_epoch(m):
    """Cycles of 3 epochs in a run of 10: the last epoch is at the peak."""
    opt = sgd(m)
    return [opt], [CosineAnnealingWarmRestarts(opt, T_0=3)]


@setup("ends_high", epochs=None, max_steps=52, check=lambda m: m.lrs[-1] > 0.09)
def restarts_cut_off_by_max_steps(m):
    """Warm-up of 8, cycles of 20 updates: the run ends 4 updates into the third."""
    opt = sgd(m)
    parts = [LinearLR(opt, 0.1, total_iters=8), CosineAnnealingWarmRestarts(opt, T_0=20, eta_min=1e-4)]
    return per_step(opt, SequentialLR(opt, parts, milestones=[8]))


@setup("ends_high", epochs=7, batches=8, check=lambda m: m.lrs[-1] > 0.08)
def doubling_cycles_sized_in_updates(m):
    """Cycles of 2, 4, 8 epochs in a run of 7: an eighth into the third."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingWarmRestarts(opt, T_0=16, T_mult=2, eta_min=0.001))


# vanishes


@setup("vanishes", epochs=5, check=lambda m: near(m.lrs[8], PEAK * 0.2**8) and m.lrs[-1] < 1e-20)
def exponential_of_epochs_ticked_per_update(m):
    """A gamma of 0.2 for epochs, but ticked per update: below a millionth after 9 of 40."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.2))


@setup("vanishes", epochs=20, batches=2, check=lambda m: m.lrs[16] < 1e-7)
def tenth_at_every_epoch(m):
    """Meant to be a tenth now and then, but at every of 20 epochs."""
    opt = sgd(m)
    return [opt], [MultiplicativeLR(opt, lambda epoch: 0.1)]


@setup("vanishes", epochs=6, check=lambda m: m.lrs[24] < 1e-9)
def step_size_in_epochs_ticked_per_update(m):
    """step_size=2 is epochs, but ticked per update: 23 cuts."""
    opt = sgd(m)
    return per_step(opt, StepLR(opt, step_size=2, gamma=0.1))


# milestone_never_hit


@setup("milestone_never_hit", epochs=5, check=lambda m: near(m.lrs[-1], PEAK / 10))
def milestones_that_are_not_whole(m):
    """60 % and 85 % of 5 epochs: 3.0 is hit, 4.25 never."""
    opt, epochs = sgd(m), m.trainer.max_epochs
    return [opt], [MultiStepLR(opt, milestones=[0.6 * epochs, 0.85 * epochs])]


@setup("milestone_never_hit", epochs=6, check=lambda m: set(m.lrs) == {PEAK})
def milestones_as_shares(m):  # Pointcept/Pointcept writes shares, for a class of its own
    """Shares of the run, which torch takes for ticks: never hit."""
    opt = sgd(m)
    return per_step(opt, MultiStepLR(opt, milestones=[0.5, 0.75], gamma=0.1))


@setup("milestone_never_hit", accumulate_grad_batches=2, check=lambda m: near(m.lrs[-1], PEAK / 5))
def milestones_in_batches(m):
    """Batches 12 and 24 of 32; with accumulation the run has 16 ticks, and the second is beyond."""
    opt = sgd(m)
    return per_step(opt, MultiStepLR(opt, milestones=[12, 24], gamma=0.2))


@setup("milestone_never_hit", epochs=4, check=lambda m: near(m.lrs[-1], PEAK / 2))
def milestone_within_a_chain_beyond_the_run(m):
    """A chain of warm-up and steps; the step at 90 comes long after the run's 32 ticks."""
    opt = sgd(m)
    parts = [LinearLR(opt, 0.5, total_iters=3), MultiStepLR(opt, [20, 90], gamma=0.5)]
    return per_step(opt, ChainedScheduler(parts, optimizer=opt))


# never_ticks


@setup("never_ticks", check=lambda m: set(m.lrs) == {PEAK} and not m.ticks)
def key_in_the_plural(m):
    """'lr_schedulers' is no key of Lightning's: it has no scheduler."""
    opt = sgd(m)
    return {"optimizer": opt, "lr_schedulers": [{"scheduler": PolynomialLR(opt, 32), "interval": "step"}]}


@setup("never_ticks", batches=10, check=lambda m: m.ticks == [[]] and set(m.lrs) == {PEAK})
def frequency_longer_than_the_epoch(m):
    """Every 25 updates, but batches are counted from the epoch's beginning, and it has 10."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.5), frequency=25)


@setup("never_ticks", check=lambda m: m.ticks == [])
def scheduler_not_returned(m):
    """The scheduler is built and forgotten."""
    opt = sgd(m)
    StepLR(opt, step_size=1, gamma=0.5)
    return opt


@setup("never_ticks", epochs=5, check=lambda m: m.ticks == [[]])
def frequency_longer_than_the_run(m):
    """Every 10 epochs, in a run of 5."""
    opt = sgd(m)
    return per_epoch(opt, ExponentialLR(opt, gamma=0.1), frequency=10)


@setup("never_ticks", epochs=None, max_steps=15, batches=20, check=lambda m: m.ticks == [[]] and m.updates == 15)
def first_epoch_cut_off(m):
    """Ticked per epoch, but max_steps ends the run within the first."""
    opt = sgd(m)
    return [opt], [ExponentialLR(opt, gamma=0.9)]


# frequency_restarts


@setup("frequency_restarts", batches=7, check=lambda m: m.ticks[0] == [3, 6, 10, 13, 17, 20, 24, 27])
def every_third_update_of_seven(m):
    """Every 3 updates: after 3, 6, 9 ...; but it begins anew in each epoch of 7."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.9), frequency=3)


@setup("frequency_restarts", epochs=5, batches=11, check=lambda m: m.ticks[0] == [10, 21, 32, 43, 54])
def every_tenth_update_of_eleven(m):
    """Half of the LR every 10 updates, but the eleventh batch of an epoch is not counted on."""
    opt = sgd(m)
    return per_step(opt, MultiplicativeLR(opt, lambda n: 0.5), frequency=10)


# frequency_with_accumulation


@setup("frequency_with_accumulation", accumulate_grad_batches=4, check=lambda m: m.ticks[0] == list(range(1, 9)))
def every_second_update_with_accumulation(m):
    """frequency=2 with an accumulation of 4: every update comes at an even batch, so each ticks."""
    opt = sgd(m)
    return per_step(opt, ExponentialLR(opt, gamma=0.8), frequency=2)


@setup("frequency_with_accumulation", accumulate_grad_batches=2, check=lambda m: m.ticks[0] == list(range(2, 17, 2)))
def every_fourth_update_with_accumulation(m):
    """frequency=4 with an accumulation of 2: counted in batches, it ticks at every second update."""
    opt = sgd(m)
    return per_step(opt, StepLR(opt, step_size=1, gamma=0.9), frequency=4)


# raises


@setup("raises", "negative_lr", check=lambda m: m.updates == 25 and m.lrs[-1] < 0)
def one_cycle_one_short(m):
    """A linear OneCycleLR over 24 of 32 updates: the 25th is negative, and the tick after it ends the run."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=24, anneal_strategy="linear", cycle_momentum=False))


@setup("raises", epochs=5, batches=3, check=lambda m: m.updates == 12 and "IndexError" in m.error)
def table_too_short(m):
    """A factor for each of 4 epochs, in a run of 5."""
    opt = sgd(m)
    return [opt], [modules.Table(opt, [1.0, 0.5, 0.2, 0.1])]


@setup("raises", check=lambda m: m.updates == 21 and m.lrs[-1] > 0)
def one_cycle_of_fewer_epochs(m):
    """A cosine OneCycleLR over 20 of 32 updates: the LR stays above 0, the run ends after update 20."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, epochs=4, steps_per_epoch=5, cycle_momentum=False))


# negative_lr


@setup("negative_lr", check=lambda m: near(m.lrs[-1], PEAK * (1 - 31 / 20)))
def linear_without_a_clamp(m):
    """1 - n/20 in a run of 32 updates: negative from update 21 on, and nothing stops it."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: 1 - n / 20))


@setup("negative_lr", epochs=9, batches=2, check=lambda m: m.lrs[-1] < -0.01)
def home_made_without_a_clamp(m):
    """A home-made line over 6 epochs, in a run of 9."""
    opt = sgd(m)
    return [opt], [modules.OneForAll(opt, PEAK, total=6)]


# ratio_changed


@setup("ratio_changed", epochs=5, check=lambda m: all(a == b for a, b in m.used[0]))
def cyclic_flattens_the_groups(m):  # Lightning-AI/pytorch-lightning#4983
    """Groups 1:10, but one base and one maximum for both: alike in every update."""
    opt = sgd(m, PEAK / 10, PEAK)
    return per_step(opt, CyclicLR(opt, 0.001, PEAK, step_size_up=20, cycle_momentum=False))


@setup("ratio_changed", check=lambda m: all(a == b for a, b in m.used[0]))
def home_made_for_all_groups(m):
    """Groups 1:10, but a home-made class gives one LR to all."""
    opt = sgd(m, PEAK / 10, PEAK)
    return per_step(opt, modules.OneForAll(opt, PEAK, total=32))


# group_rises


@setup("group_rises", may={"ratio_changed"}, check=lambda m: m.used[0][-1][0] > 0.0009 > m.used[0][0][0])
def floor_above_a_group(m):
    """eta_min=0.001 for a head at 0.1 and a backbone at 0.0001, which climbs tenfold."""
    opt = sgd(m, PEAK / 1000, PEAK)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches, eta_min=0.001))


@setup("group_rises", may={"ratio_changed"}, epochs=6, batches=3, check=lambda m: m.used[0][3][1] > m.used[0][0][1])
def floor_of_restarts_above_a_group(m):
    """Two cycles of three epochs, and a floor of 0.01 above the embedding's 0.002."""
    opt = sgd(m, PEAK, 0.002)
    return [opt], [CosineAnnealingWarmRestarts(opt, T_0=3, eta_min=0.01)]


# first_updates_zero


@setup("first_updates_zero", epochs=8, batches=3, check=lambda m: set(m.lrs[:3]) == {0.0} and m.lrs[3] > 0)
def bolts_warmup_from_zero_per_epoch(m):
    """Warm-up of two epochs from the default 0: the whole first epoch trains nothing."""
    opt = sgd(m)
    return [opt], [modules.WarmupCosine(opt, warmup=2, total=8)]


@setup("first_updates_zero", check=lambda m: m.lrs[0] == 0.0 and near(m.lrs[1], PEAK / 4))
def warmup_divides_by_its_length(m):
    """n / 4 for a warm-up of 4 updates: the first one uses 0."""
    opt = sgd(m)
    return per_step(opt, LambdaLR(opt, lambda n: min(n / 4, (32 - n) / 28)))


# two_writers


@setup("two_writers", check=lambda m: m.lrs[9] > m.lrs[8])
def one_cycle_and_steps(m):
    """OneCycleLR per update writes what it has planned, and undoes the cut at each epoch."""
    opt = sgd(m)
    cycle = {"scheduler": OneCycleLR(opt, PEAK, total_steps=32, cycle_momentum=False), "interval": "step"}
    return [opt], [cycle, {"scheduler": StepLR(opt, step_size=1, gamma=0.1)}]


@setup("two_writers", epochs=6, check=lambda m: near(m.lrs[4], PEAK) and m.lrs[-1] > PEAK * 0.99)
def two_lambdas(m):
    """Warm-up per update and decay per epoch, both as factors of the first LR: the decay holds for one update."""
    opt = sgd(m)
    warmup = {"scheduler": LambdaLR(opt, lambda n: min(1.0, (n + 1) / 5)), "interval": "step"}
    return [opt], [warmup, LambdaLR(opt, lambda epoch: 0.5**epoch)]


# replaced


@setup(
    "replaced",
    epochs=6,
    batches=4,
    ticks=False,
    known=(12, 24),
    callbacks=lambda: [StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=4, annealing_epochs=1)],
    check=lambda m: near(m.lrs[-1], 0.05) and m.lrs[8] < 0.03,
)
def averaging_after_steps(m):
    """A fifth at each epoch, but from epoch 3 on the callback's scheduler leads up to 0.05."""
    opt = sgd(m)
    return [opt], [StepLR(opt, step_size=1, gamma=0.2)]


@setup(
    "replaced",
    epochs=8,
    batches=4,
    ticks=False,
    known=(12, 32),
    may={"floor_not_reached"},
    callbacks=lambda: [StochasticWeightAveraging(0.03, swa_epoch_start=0.5, annealing_strategy="linear")],
    check=lambda m: m.lrs[-1] > 0.025,
)
def averaging_within_a_cycle(m):
    """One cycle over the run, but from epoch 3 of 8 on the callback's scheduler has its place."""
    opt = sgd(m)
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=32, cycle_momentum=False))


# late_by_one


@setup("late_by_one", epochs=6, batches=3, check=lambda m: near(m.lrs[3], PEAK) and near(m.lrs[6], PEAK * 5 / 6))
def lambda_reads_the_epoch_that_is_over(m):
    """Linear over the epochs, read from `current_epoch` at the tick: the second epoch repeats the first."""
    opt = sgd(m)
    return [opt], [LambdaLR(opt, lambda _: 1 - m.current_epoch / 6)]


@setup("late_by_one", module=modules.TellsThisEpoch, epochs=6, batches=3, check=lambda m: m.lrs[3] == m.lrs[0])
def step_told_the_epoch_that_is_over(m):
    """`lr_scheduler_step` passes `current_epoch`, as Lightning's page shows it: one epoch late."""
    opt = sgd(m)
    return [opt], [ExponentialLR(opt, gamma=0.5)]


# total_unknown


@setup(
    "total_unknown",
    epochs=-1,
    total=False,
    callbacks=lambda: [modules.Stops(20)],
    check=lambda m: m.updates == 20 and set(m.lrs) == {PEAK},
)
def cosine_over_an_endless_run(m):
    """max_epochs=-1: `estimated_stepping_batches` is infinite, and the LR constant."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=m.trainer.estimated_stepping_batches))


@setup(
    "total_unknown",
    epochs=-1,
    total=False,
    callbacks=lambda: [modules.Stops(20)],
    check=lambda m: m.updates == 20 and set(m.lrs) == {PEAK},
)
def polynomial_over_an_endless_run(m):
    """The same with PolynomialLR: an infinite total_iters never comes nearer."""
    opt = sgd(m)
    return per_step(opt, PolynomialLR(opt, total_iters=m.trainer.estimated_stepping_batches))


@setup("total_unknown", may={"climbs_again", "ends_high"}, check=lambda m: min(m.lrs) < 1e-9 and max(m.lrs) > 0.09)
def cosine_over_max_steps_that_nobody_set(m):
    """T_max=max_steps, which is -1 where nobody set it: up and down at every update."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, T_max=m.trainer.max_steps))


# other_length


@setup(
    "other_length",
    may={"climbs_again", "first_updates_zero"},
    ckpt=stopped_after(2, max_epochs=3),
    epochs=6,
    check=lambda m: m.begun == 24,
)
def cosine_resumed_for_longer(m):
    """Built for 48 updates, but the checkpoint says T_max=24: it climbs from there on."""
    opt = sgd(m)
    return per_step(opt, CosineAnnealingLR(opt, m.trainer.estimated_stepping_batches))


@setup(
    "other_length",
    may={"finished_early", "vanishes"},
    ckpt=stopped_after(1, max_epochs=3),
    epochs=9,
    batches=4,
    check=lambda m: m.begun == 8 and m.lrs[-1] == 0.0,
)
def polynomial_resumed_for_longer(m):
    """Built for 9 epochs, but the checkpoint says 3: 0 from epoch 3 on."""
    opt = sgd(m)
    return [opt], [PolynomialLR(opt, total_iters=m.trainer.max_epochs)]


@setup(
    "other_length",
    "raises",
    ckpt=stopped(10, max_epochs=2),
    epochs=4,
    check=lambda m: m.begun == 10 and m.updates == 7 and m.lrs[-1] > 0,
)
def one_cycle_resumed_for_longer(m):
    """Built for 32 updates, but the checkpoint says 16: the run ends after update 16."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=total, cycle_momentum=False))


# Two at once.


@setup("ratio_changed", "floor_not_reached", accumulate_grad_batches=2, check=lambda m: m.used[0][-1][0] > 0.05)
def one_cycle_flat_and_cut_off(m):
    """One maximum for groups 1:10, and sized in batches: alike, and only half of the cycle is used."""
    opt = sgd(m, PEAK / 10, PEAK)
    return per_step(opt, OneCycleLR(opt, PEAK, total_steps=32, cycle_momentum=False))


@setup("first_updates_zero", "peak_not_reached", batches=3, check=lambda m: m.lrs[0] == 0.0 and near(m.lrs[-1], 0.015))
def warmup_from_zero_ticked_per_epoch(m):
    """20 updates of warm-up from 0, ticked per epoch: an epoch at 0, and 15 % at the end."""
    opt = sgd(m, torch.tensor(PEAK, dtype=torch.float64))
    return [opt], [LambdaLR(opt, lambda n: min(1.0, n / 20))]


@setup(
    "first_updates_zero",
    "floor_not_reached",
    epochs=10,
    batches=8,
    accumulate_grad_batches=4,
    check=lambda m: m.lrs[0] == 0 and m.lrs[-1] > PEAK / 2,
)
def batches_not_known_yet(m):
    """Batches are not known while it is built, so it begins at 0; and they are counted, where four are one update."""
    opt = sgd(m)

    def factor(n):
        warmup = 2 * m.trainer.num_training_batches
        total = 10 * m.trainer.num_training_batches
        return (n + 1) / warmup if n < warmup else 1 - (n - warmup) / (total - warmup)

    return per_step(opt, LambdaLR(opt, factor))
