"""Schedulers of transformers and timm, where these are installed."""

from __future__ import annotations

import functools
from typing import Any

from tests.foretold import modules
from tests.foretold.oracle import loader
from tests.foretold.setups import PEAK, near, per_epoch, per_step, setup, sgd

hugging = functools.partial(setup, peer="transformers")
timm = functools.partial(setup, peer="timm")


def schedule(name: str, optimizer: Any, *args: Any, **options: Any) -> Any:
    import transformers

    return getattr(transformers, f"get_{name}")(optimizer, *args, **options)


def timed(name: str, optimizer: Any, **options: Any) -> Any:
    import timm.scheduler

    return getattr(timm.scheduler, f"{name}LRScheduler")(optimizer, **options)


# transformers, sound: none of them with a warm-up from 0, whose first update trains nothing.


@hugging(check=lambda m: near(m.lrs[8], PEAK * 0.75) and near(m.lrs[-1], PEAK / 32))
def linear_without_warmup(m):
    """Linear to 0 over the run."""
    opt = sgd(m)
    return per_step(opt, schedule("linear_schedule_with_warmup", opt, 0, m.trainer.estimated_stepping_batches))


@hugging(accumulate_grad_batches=2, check=lambda m: m.lrs[-1] < 0.001)
def cosine_without_warmup(m):
    """Half a cosine over the 16 updates that accumulation makes."""
    opt, total = sgd(m), m.trainer.estimated_stepping_batches
    return per_step(opt, schedule("cosine_schedule_with_warmup", opt, 0, num_training_steps=total))


@hugging(check=lambda m: near(m.lrs[16], PEAK) and m.lrs[-1] < 0.001)
def hard_restarts(m):
    """Two cycles, on purpose; the second ends with the run."""
    opt = sgd(m)
    return per_step(opt, schedule("cosine_with_hard_restarts_schedule_with_warmup", opt, 0, 32, num_cycles=2))


@hugging(check=lambda m: set(m.lrs) == {PEAK})
def constant(m):
    """Constant, as a scheduler."""
    opt = sgd(m)
    return per_step(opt, schedule("constant_schedule", opt))


@hugging(check=lambda m: m.lrs[-1] > 0.001)
def polynomial_to_a_floor(m):
    """Power 2 down to 1 % of the peak."""
    opt = sgd(m)
    return per_step(opt, schedule("polynomial_decay_schedule_with_warmup", opt, 0, 32, lr_end=0.001, power=2.0))


@hugging(check=lambda m: m.lrs[20] == PEAK and 0.01 < m.lrs[-1] < 0.02)
def stable_then_decay(m):
    """Constant for 24 updates, then down to a tenth."""
    opt = sgd(m)
    return per_step(opt, schedule("wsd_schedule", opt, 0, 8, num_stable_steps=24, min_lr_ratio=0.1))


@hugging(module=modules.Validates, val=lambda: loader(1), known=(8, 24))
def plateau_of_transformers(m):
    """Its plateau is torch's."""
    opt = sgd(m)
    return per_epoch(opt, schedule("reduce_on_plateau_schedule", opt, patience=1), monitor="val_loss")


# transformers, faults


@hugging("first_updates_zero", check=lambda m: m.lrs[0] == 0.0 and m.lrs[1] > 0 and m.lrs[4] == PEAK)
def linear_with_warmup(m):
    """A warm-up of 4 updates from 0: the first one trains nothing."""
    opt = sgd(m)
    return per_step(opt, schedule("linear_schedule_with_warmup", opt, 4, m.trainer.estimated_stepping_batches))


@hugging("first_updates_zero", epochs=8, batches=3, check=lambda m: set(m.lrs[:3]) == {0.0} and m.lrs[3] > 0)
def cosine_with_warmup_per_epoch(m):
    """Sized in epochs and ticked per epoch, but from 0: the whole first epoch trains nothing."""
    opt = sgd(m)
    return [opt], [schedule("cosine_schedule_with_warmup", opt, 1, m.trainer.max_epochs)]


@hugging("floor_not_reached", accumulate_grad_batches=4, check=lambda m: m.updates == 8 and m.lrs[-1] > 0.08)
def cosine_over_the_batches(m):
    """num_training_steps counts 32 batches, of which accumulation makes 8 updates."""
    opt = sgd(m)
    return per_step(opt, schedule("cosine_schedule_with_warmup", opt, 0, 8 * m.trainer.max_epochs))


@hugging("finished_early", may={"vanishes"}, epochs=6, check=lambda m: set(m.lrs[6:]) == {0.0})
def linear_over_the_epochs_per_update(m):  # Lightning-AI/pytorch-lightning#18570
    """num_training_steps counts 6 epochs, but it is ticked per update: 0 from update 6 of 48 on."""
    opt = sgd(m)
    return per_step(opt, schedule("linear_schedule_with_warmup", opt, 0, m.trainer.max_epochs))


@hugging("total_unknown", may={"first_updates_zero", "vanishes"}, check=lambda m: set(m.lrs) == {0.0})
def linear_over_max_steps_that_nobody_set(m):
    """num_training_steps=max_steps, which is -1 where nobody set it: 0 in all of the run."""
    opt = sgd(m)
    return per_step(opt, schedule("linear_schedule_with_warmup", opt, 0, m.trainer.max_steps))


@hugging("peak_not_reached", "first_updates_zero", check=lambda m: m.lrs[0] == 0 and near(m.lrs[-1], PEAK * 0.31))
def warmup_of_another_run(m):
    """A warm-up of 100 updates in a run of 32."""
    opt = sgd(m)
    return per_step(opt, schedule("constant_schedule_with_warmup", opt, 100))


# timm, sound: the module passes on what timm's schedulers want to be told.


@timm(module=modules.TellsNextEpoch, epochs=8, batches=3, check=lambda m: near(m.lrs[0], 0.01) and m.lrs[3] > 0.05)
def timm_cosine_per_epoch(m):
    """Two epochs of warm-up from 0.01, then a cosine to epoch 8, told the epoch that begins."""
    opt = sgd(m)
    return [opt], [timed("Cosine", opt, t_initial=8, lr_min=0.001, warmup_t=2, warmup_lr_init=0.01)]


@timm(module=modules.TellsUpdates, ticks=False, check=lambda m: m.lrs[-1] < 0.001)
def timm_cosine_per_update(m):
    """t_in_epochs=False, told the updates that are done."""
    opt = sgd(m)
    return per_step(opt, timed("Cosine", opt, t_initial=32, t_in_epochs=False, warmup_t=4, warmup_lr_init=0.01))


@timm(module=modules.TellsNextEpoch, epochs=6, batches=3, check=lambda m: near(m.lrs[-1], PEAK / 4))
def timm_steps(m):
    """Halved every second epoch."""
    opt = sgd(m)
    return [opt], [timed("Step", opt, decay_t=2, decay_rate=0.5)]


@timm(
    module=modules.TellsNextEpoch,
    epochs=6,
    batches=3,
    check=lambda m: near(m.lrs[3], PEAK / 10) and near(m.lrs[9], PEAK / 100),
)
def timm_milestones(m):
    """Milestones 2 and 4, which timm counts from 1: cut for the second epoch and for the fourth."""
    opt = sgd(m)
    return [opt], [timed("MultiStep", opt, decay_t=[2, 4], decay_rate=0.1)]


@timm(module=modules.TellsNextEpoch, epochs=10, batches=2, check=lambda m: near(m.lrs[-1], PEAK / 10))
def timm_polynomial(m):
    """Linear over the 10 epochs, as a polynomial."""
    opt = sgd(m)
    return [opt], [timed("Poly", opt, t_initial=10, power=1.0)]


# timm, faults


@timm("late_by_one", module=modules.TellsThisEpoch, epochs=8, batches=3, check=lambda m: m.lrs[3] == m.lrs[0])
def timm_told_the_epoch_that_is_over(m):  # facebookresearch/deit#145; the example on Lightning's page
    """Told `current_epoch`: each epoch has the LR of the one before, the first LR is used twice."""
    opt = sgd(m)
    return [opt], [timed("Cosine", opt, t_initial=8, lr_min=0.001, warmup_t=2, warmup_lr_init=0.01)]


@timm("first_updates_zero", module=modules.TellsNextEpoch, epochs=8, batches=3, check=lambda m: set(m.lrs[:3]) == {0.0})
def timm_warmup_from_zero(m):
    """warmup_lr_init is 0 where nobody sets it: the whole first epoch trains nothing."""
    opt = sgd(m)
    return [opt], [timed("Cosine", opt, t_initial=8, warmup_t=2)]


@timm("finished_early", module=modules.TellsUpdates, ticks=False, check=lambda m: set(m.lrs[6:]) == {0.002})
def timm_epochs_told_updates(m):
    """t_initial=4 epochs, but t_in_epochs=False: at the floor from update 4 of 32 on."""
    opt = sgd(m)
    return per_step(opt, timed("Cosine", opt, t_initial=m.trainer.max_epochs, lr_min=0.002, t_in_epochs=False))


@timm(
    "group_rises",
    may={"ratio_changed"},
    module=modules.TellsNextEpoch,
    epochs=6,
    batches=3,
    check=lambda m: m.used[0][-1][0] > 2 * m.used[0][0][0],
)
def timm_floor_above_a_group(m):
    """lr_min=0.01 for groups at 0.1 and 0.001: the second climbs to it."""
    opt = sgd(m, 0.001, PEAK)
    return [opt], [timed("Cosine", opt, t_initial=6, lr_min=0.01)]
