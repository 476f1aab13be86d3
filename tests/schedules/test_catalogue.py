"""Every schedule as rows of one table: exact factors, general promises, independent references, bad input.

A new schedule needs one row in ``TABLE``; all checks that take a ``row`` then run over it.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import decimal
import inspect
import itertools
import json
import math
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import hypothesis.strategies as st
import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from omegaconf import OmegaConf
from torch.optim import SGD, Adam, Optimizer, lr_scheduler

from lr_recipes import schedules
from lr_recipes.plan.horizon import Duration, Horizon, HorizonError
from lr_recipes.schedules import (
    Cosine,
    CosineRestarts,
    Curve,
    Custom,
    Cyclic,
    Exponential,
    Fixed,
    InverseSqrt,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    Phase,
    Piecewise,
    Plateau,
    PlateauState,
    Polynomial,
    Power,
    Product,
    Ramp,
    Rex,
    Schedule,
    Sequence,
    Step,
    TorchSchedule,
    WarmupStableDecay,
    from_description,
)
from lr_recipes.schedules.base import WARMUP_TYPES

PEAK = 0.1
RUN = Horizon(total_steps=100, steps_per_epoch=10, samples_per_step=32)
ENDLESS = Horizon(steps_per_epoch=10, samples_per_step=32)
UNEVEN = Horizon(total_steps=30, steps_per_epoch=[4, 2, 8])  # epochs begin at 0, 4, 6, 14, 22
FAR = 10**9

# The same examples in every run, so that a red test stays red; few of them where every row of the table takes them.
many = settings(derandomize=True, deadline=None, max_examples=200)
few = settings(many, max_examples=10, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


class Row(NamedTuple):
    """A schedule on a run, and what some updates must use; the last three say what its shape may do."""

    id: str
    schedule: Schedule
    horizon: Horizon
    factors: dict[int, float]
    jumps: bool = False  # between two updates it may change at once
    rises: bool = False  # it may go up again after the warmup
    top: float = 1  # it never goes above

    @property
    def curve(self) -> Curve:
        return self.schedule.resolve(self.horizon, peak=PEAK)


# fmt: off
TABLE = [
    Row("fixed", Fixed(), RUN, {0: 1, 99: 1, 100: 1, FAR: 1}),
    Row("fixed: needs no total", Fixed(), Horizon(), {0: 1, FAR: 1}),

    # Warmup: W updates 0..W-1.
    Row("linear warmup: update 0 uses 1/W, update W-1 the peak", Fixed(warmup=4), RUN,
        {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1}),
    Row("linear warmup from 0: update W is the first at the peak", Fixed(warmup=4, warmup_start_factor=0), RUN,
        {0: 0, 1: 0.25, 3: 0.75, 4: 1}),
    Row("linear warmup from a half", Fixed(warmup=4, warmup_start_factor=0.5), RUN,
        {0: 0.5, 2: 0.75, 3: 0.875, 4: 1}),
    Row("cosine warmup", Fixed(warmup=4, warmup_type="cosine"), RUN, {0: (1 - 0.5**0.5) / 2, 1: 0.5, 3: 1, 4: 1}),
    Row("cosine warmup from 0.2", Fixed(warmup=4, warmup_type="cosine", warmup_start_factor=0.2), RUN,
        {0: 0.2, 2: 0.6, 4: 1}),
    Row("exponential warmup, from 1/W", Fixed(warmup=4, warmup_type="exponential"), RUN,
        {0: 0.25**0.75, 1: 0.5, 3: 1, 4: 1}),
    Row("exponential warmup from 0.01", Fixed(warmup=8, warmup_type="exponential", warmup_start_factor=0.01), RUN,
        {0: 0.01, 4: 0.1, 8: 1}),
    Row("constant warmup, at 1/3", Fixed(warmup=4, warmup_type="constant"), RUN, {0: 1 / 3, 3: 1 / 3, 4: 1},
        jumps=True),
    Row("constant warmup at a half", Fixed(warmup=4, warmup_type="constant", warmup_start_factor=0.5), RUN,
        {0: 0.5, 3: 0.5, 4: 1}, jumps=True),
    Row("a warmup of one update changes nothing", Fixed(warmup=1), RUN, {0: 1, 1: 1}),
    Row("warmup in epochs", Fixed(warmup="2 epochs"), RUN, {0: 0.05, 19: 1, 20: 1}),
    Row("warmup in percent", Fixed(warmup="5%"), RUN, {0: 0.2, 4: 1}),
    Row("warmup in samples", Fixed(warmup="128 samples"), RUN, {0: 0.25, 3: 1}),
    Row("warmup in epochs of unequal length", Fixed(warmup="1.5 epochs"), UNEVEN, {0: 0.2, 4: 1}),

    Row("step: update step_size is the first with the lower LR", Step(step_size=30), RUN,
        {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 90: 0.001, 99: 0.001, FAR: 0.001}, jumps=True),
    Row("step: gamma, epochs", Step(step_size="2 epochs", gamma=0.5), RUN, {19: 1, 20: 0.5, 40: 0.25}, jumps=True),
    Row("step: no cut at the end of the run", Step(step_size="50%"), RUN, {99: 0.1, 100: 0.1, FAR: 0.1}, jumps=True),
    Row("step: counts from the start of training, warmup included", Step(step_size=10, warmup=20), RUN,
        {9: 0.5, 10: 0.055, 19: 0.1, 20: 0.01}, jumps=True),
    Row("step: half epochs of 13 do not drift", Step(step_size="0.5 epochs"),
        Horizon(total_steps=39, steps_per_epoch=13), {6: 1, 7: 0.1, 12: 0.1, 13: 0.01, 20: 0.001, 26: 1e-4},
        jumps=True),
    Row("step: half epochs of 13, needs no total", Step(step_size="0.5 epochs"), Horizon(steps_per_epoch=13),
        {6: 1, 7: 0.1, 12: 0.1, 13: 0.01, 20: 0.001, 26: 1e-4, 13 * 50: 1e-100, FAR: 0}, jumps=True),
    Row("step: epochs of unequal length", Step(step_size="1 epoch"), UNEVEN,
        {3: 1, 4: 0.1, 5: 0.1, 6: 0.01, 13: 0.01, 14: 0.001, 22: 1e-4, 29: 1e-4, 30: 1e-4}, jumps=True),
    Row("step: epochs of unequal length, needs no total", Step(step_size="1 epoch"), Horizon(steps_per_epoch=[4, 2, 8]),
        {3: 1, 4: 0.1, 5: 0.1, 6: 0.01, 13: 0.01, 14: 0.001, 22: 1e-4, 30: 1e-5}, jumps=True),

    Row("step: min_lr_ratio is a floor, not an offset", Step(step_size=30, min_lr_ratio=0.05), RUN,
        {29: 1, 30: 0.1, 60: 0.05, 90: 0.05, FAR: 0.05}, jumps=True),
    Row("step: half epochs of 13, min_lr", Step(step_size="0.5 epochs", min_lr=0.002),
        Horizon(total_steps=39, steps_per_epoch=13), {6: 1, 7: 0.1, 13: 0.02, 20: 0.02, 39: 0.02}, jumps=True),

    Row("multistep: a milestone is the first update with the lower LR", MultiStep(milestones=[30, 60]), RUN,
        {0: 1, 29: 1, 30: 0.1, 59: 0.1, 60: 0.01, 100: 0.01, FAR: 0.01}, jumps=True),
    Row("multistep: units may be mixed; gamma",
        MultiStep(milestones=["20 steps", "5 epochs", "75%", "2880 samples"], gamma=0.5), RUN,
        {19: 1, 20: 0.5, 49: 0.5, 50: 0.25, 75: 0.125, 89: 0.125, 90: 0.0625}, jumps=True),
    Row("multistep: count from the start of training, warmup included", MultiStep(milestones=[10], warmup=20), RUN,
        {9: 0.5, 10: 0.055, 19: 0.1, 20: 0.1}, jumps=True),
    Row("multistep: a milestone at or after the end is never reached", MultiStep(milestones=[50, 100, 500]), RUN,
        {99: 0.1, 100: 0.1, FAR: 0.1}, jumps=True),
    Row("multistep: epochs of unequal length", MultiStep(milestones=["1 epoch", "2.5 epochs"]), UNEVEN,
        {3: 1, 4: 0.1, 9: 0.1, 10: 0.01}, jumps=True),

    Row("multistep: min_lr", MultiStep(milestones=[30, 60], min_lr=0.005), RUN, {30: 0.1, 60: 0.05, FAR: 0.05},
        jumps=True),

    Row("exponential: gamma after each `every`, smooth between", Exponential(gamma=0.25, every=20), RUN,
        {0: 1, 10: 0.5, 20: 0.25, 40: 0.0625, 100: 0.25**5, FAR: 0.25**5}),
    Row("exponential: every epoch by default", Exponential(gamma=0.25), RUN, {5: 0.5, 10: 0.25, 20: 0.0625}),
    Row("exponential: counts from the start of training, warmup included", Exponential(gamma=0.25, warmup=10), RUN,
        {0: 0.1, 4: 0.25**0.4 / 2, 10: 0.25}),
    Row("exponential: each epoch of unequal length takes one gamma", Exponential(gamma=0.25), UNEVEN,
        {2: 0.5, 4: 0.25, 5: 0.125, 6: 0.0625, 10: 0.25**2.5, 14: 0.25**3, 30: 0.25**5}),
    Row("exponential: half epochs of 13, needs no total", Exponential(gamma=0.25, every="0.5 epochs"),
        Horizon(steps_per_epoch=13), {0: 1, 7: 0.25, 10: 0.25**1.5, 13: 0.0625}),

    Row("exponential: min_lr_ratio", Exponential(gamma=0.25, every=20, min_lr_ratio=0.2), RUN,
        {10: 0.5, 20: 0.25, 30: 0.2, 100: 0.2, FAR: 0.2}),

    Row("cosine: update T is the first at the floor", Cosine(), RUN,
        {0: 1, 25: (1 + 0.5**0.5) / 2, 50: 0.5, 99: (1 + math.cos(math.pi * 0.99)) / 2, 100: 0, FAR: 0}),
    Row("cosine: updates W-1 and W both use the peak", Cosine(warmup=20), RUN,
        {0: 0.05, 19: 1, 20: 1, 60: 0.5, 100: 0}),
    Row("cosine: min_lr_ratio", Cosine(min_lr_ratio=0.2), RUN, {0: 1, 50: 0.6, 100: 0.2, FAR: 0.2}),
    Row("cosine: min_lr is that LR for the largest peak", Cosine(min_lr=0.001), RUN, {50: 0.505, 100: 0.01}),
    Row("cosine: a run of one update", Cosine(), Horizon(total_steps=1), {0: 1, 1: 0}),

    Row("linear", Linear(), RUN, {0: 1, 25: 0.75, 50: 0.5, 99: 0.01, 100: 0, FAR: 0}),
    Row("linear: warmup, min_lr_ratio", Linear(warmup="20%", min_lr_ratio=0.1), RUN,
        {19: 1, 20: 1, 60: 0.55, 100: 0.1}),

    Row("polynomial: power 2 by default", Polynomial(), RUN, {0: 1, 50: 0.25, 90: 0.01, 100: 0}),
    Row("polynomial: power, warmup, min_lr", Polynomial(power=3, warmup=20, min_lr=0.02), RUN,
        {19: 1, 20: 1, 60: 0.2 + 0.8 / 8, 100: 0.2}),
    Row("polynomial: power below 1", Polynomial(power=0.5), RUN, {75: 0.5, 100: 0}),

    Row("rex: (1 - p) / (1 / 2 + (1 - p) / 2)", Rex(), RUN,
        {0: 1, 50: 0.5 / 0.75, 75: 0.25 / 0.625, 99: 0.01 / 0.505, 100: 0, FAR: 0}),
    Row("rex: warmup, min_lr_ratio", Rex(warmup=20, min_lr_ratio=0.1), RUN, {19: 1, 20: 1, 60: 0.7, 100: 0.1}),
    Row("rex: beta", Rex(beta=0.25), RUN, {50: 0.8, 90: 0.1 / 0.325, 100: 0}),

    Row("inverse_sqrt: the timescale is the warmup's length, update W the first of the decay", InverseSqrt(warmup=25),
        RUN, {0: 0.04, 24: 1, 25: 1, 50: 0.5**0.5, 100: 0.5, FAR: 0.5}),
    Row("inverse_sqrt: needs no total", InverseSqrt(warmup=25), ENDLESS, {24: 1, 25: 1, 100: 0.5, 250000: 0.01}),
    Row("inverse_sqrt: timescale without warmup", InverseSqrt(timescale="1 epoch"), RUN, {0: 1, 30: 0.5}),
    Row("inverse_sqrt: timescale and warmup", InverseSqrt(timescale=10, warmup=20), RUN, {19: 1, 20: 1, 50: 0.5}),

    Row("inverse_sqrt: min_lr_ratio", InverseSqrt(warmup=25, min_lr_ratio=0.6), RUN, {50: 0.5**0.5, 100: 0.6}),
    Row("inverse_sqrt: anytime, sqrt(a / (t + a))", InverseSqrt(timescale=20), ENDLESS, {0: 1, 60: 0.5, 1980: 0.1}),

    Row("inverse_time: half after the timescale, update W the first of the decay", InverseTime(timescale=30, warmup=10),
        RUN, {0: 0.1, 9: 1, 10: 1, 40: 0.5, 70: 1 / 3, 100: 0.25, FAR: 0.25}),
    Row("inverse_time: the timescale is the warmup's length; needs no total", InverseTime(warmup="1 epoch"), ENDLESS,
        {9: 1, 10: 1, 20: 0.5, 100: 0.1}),
    Row("inverse_time: min_lr", InverseTime(timescale=10, min_lr=0.02), RUN, {10: 0.5, 40: 0.2, 99: 0.2, FAR: 0.2}),

    Row("power: the peak up to the timescale, then (s / t)^exponent", Power(timescale=25, exponent=0.5), RUN,
        {0: 1, 25: 1, 50: 0.5**0.5, 100: 0.5, FAR: 0.5}),
    Row("power: needs no total; a shorter run is the beginning of a longer one", Power(timescale="1 epoch", exponent=2),
        ENDLESS, {10: 1, 20: 0.25, 100: 0.01}),
    Row("power: counts from the start, a long warmup leads to what is left", Power(timescale=5, exponent=1, warmup=20),
        RUN, {0: 0.0125, 19: 0.25, 20: 0.25, 50: 0.1}),
    Row("power: a last decay from what is left", Power(timescale=20, exponent=1, decay="20%", decay_type="linear"), RUN,
        {40: 0.5, 80: 0.25, 90: 0.125, 100: 0, FAR: 0}),
    Row("power: a last decay to a floor",
        Power(timescale=20, exponent=1, decay=20, decay_type="exponential", min_lr_ratio=0.01), RUN,
        {80: 0.25, 90: 0.05, 100: 0.01}),
    Row("power: not below the floor", Power(timescale=10, exponent=1, min_lr_ratio=0.2), RUN, {40: 0.25, 99: 0.2}),

    Row("warmup_stable_decay: update T - decay is the last at the peak", WarmupStableDecay(), RUN,
        {0: 1, 79: 1, 80: 1, 85: 0.5, 99: 1 - 0.95**0.5, 100: 0, FAR: 0}),
    Row("warmup_stable_decay: warmup, decay, min_lr_ratio",
        WarmupStableDecay(warmup=10, decay="40 steps", min_lr_ratio=0.2), RUN, {9: 1, 10: 1, 60: 1, 70: 0.6, 100: 0.2}),
    Row("warmup_stable_decay: linear", WarmupStableDecay(decay_type="linear"), RUN, {80: 1, 85: 0.75, 100: 0}),
    Row("warmup_stable_decay: cosine", WarmupStableDecay(decay_type="cosine"), RUN,
        {80: 1, 85: (1 + 0.5**0.5) / 2, 90: 0.5, 100: 0}),
    Row("warmup_stable_decay: square", WarmupStableDecay(decay_type="square"), RUN, {80: 1, 90: 0.75, 100: 0}),
    Row("warmup_stable_decay: exponential", WarmupStableDecay(decay_type="exponential", min_lr_ratio=0.01), RUN,
        {80: 1, 90: 0.1, 100: 0.01}),
    Row("warmup_stable_decay: the last epoch, of unequal length",
        WarmupStableDecay(decay="1 epoch", decay_type="linear"), UNEVEN, {22: 1, 26: 0.5, 30: 0}),

    Row("cosine_restarts: update `cycle` is at the peak again", CosineRestarts(cycle=40), RUN,
        {0: 1, 20: 0.5, 39: (1 + math.cos(math.pi * 39 / 40)) / 2, 40: 1, 60: 0.5, 80: 1, 100: 0.5, FAR: 0.5},
        jumps=True, rises=True),
    Row("cosine_restarts: a cycle that ends with the run ends at the floor", CosineRestarts(cycle="50%"), RUN,
        {50: 1, 75: 0.5, 100: 0, FAR: 0}, jumps=True, rises=True),
    Row("cosine_restarts: cycle_mult", CosineRestarts(cycle=10, cycle_mult=2), RUN,
        {5: 0.5, 10: 1, 20: 0.5, 30: 1, 50: 0.5, 70: 1}, jumps=True, rises=True),
    Row("cosine_restarts: a fractional cycle_mult gives whole updates", CosineRestarts(cycle=10, cycle_mult=1.5), RUN,
        {10: 1, 25: 1, 47: (1 + math.cos(math.pi * 22 / 23)) / 2, 48: 1}, jumps=True, rises=True),  # from 47.5 on
    Row("cosine_restarts: cycle_decay", CosineRestarts(cycle=10, cycle_decay=0.5), RUN,
        {0: 1, 5: 0.5, 10: 0.5, 15: 0.25, 20: 0.25, 30: 0.125}, jumps=True, rises=True),
    Row("cosine_restarts: no cycle starts below the floor", CosineRestarts(cycle=10, cycle_decay=0.5, min_lr_ratio=0.4),
        RUN, {0: 1, 5: 0.7, 10: 0.5, 15: 0.45, 20: 0.4, 25: 0.4}, jumps=True, rises=True),
    Row("cosine_restarts: cycles count from the end of the warmup", CosineRestarts(cycle=40, warmup=20), RUN,
        {0: 0.05, 19: 1, 20: 1, 40: 0.5, 60: 1, 100: 0}, jumps=True, rises=True),
    Row("cosine_restarts: needs no total", CosineRestarts(cycle="1 epoch"), ENDLESS,
        {5: 0.5, 10: 1, FAR: 1, FAR + 5: 0.5}, jumps=True, rises=True),

    Row("cosine_restarts: cycles fill the run, also where they are no whole updates", CosineRestarts(cycles=3), RUN,
        {0: 1, 33: 1, 66: (1 + math.cos(math.pi * 33 / 34)) / 2, 67: 1, 100: 0, FAR: 0}, jumps=True, rises=True),
    Row("cosine_restarts: cycles fill the run after the warmup", CosineRestarts(cycles=2, warmup=20, min_lr_ratio=0.2),
        RUN, {20: 1, 40: 0.6, 60: 1, 80: 0.6, 100: 0.2}, jumps=True, rises=True),
    Row("cosine_restarts: cycles that grow", CosineRestarts(cycles=3, cycle_mult=2), Horizon(total_steps=140),
        {0: 1, 10: 0.5, 20: 1, 40: 0.5, 60: 1, 100: 0.5, 140: 0}, jumps=True, rises=True),

    Row("cyclic: starts at the floor", Cyclic(cycle=40, min_lr_ratio=0.2), RUN,
        {0: 0.2, 10: 0.6, 20: 1, 30: 0.6, 40: 0.2, 60: 1, 80: 0.2, 99: 0.96, 100: 1, FAR: 1}, rises=True),
    Row("cyclic: triangular2", Cyclic(cycle=40, mode="triangular2", min_lr=0.02), RUN,
        {20: 1, 40: 0.2, 60: 0.6, 100: 0.4}, rises=True),
    Row("cyclic: exp_range", Cyclic(cycle=40, mode="exp_range", gamma=0.99), RUN,
        {0: 0, 20: 0.99**20, 30: 0.99**30 / 2}, rises=True),
    Row("cyclic: pct_start", Cyclic(cycle=40, pct_start=0.25), RUN, {5: 0.5, 10: 1, 25: 0.5, 40: 0, 50: 1}, rises=True),
    Row("cyclic: straight up, and down at once", Cyclic(cycle=40, pct_start=1), RUN, {0: 0, 30: 0.75, 40: 0, 70: 0.75},
        jumps=True, rises=True),
    Row("cyclic: cycles fill the run and end at the floor", Cyclic(cycles=3, min_lr_ratio=0.1), Horizon(total_steps=90),
        {0: 0.1, 15: 1, 30: 0.1, 45: 1, 90: 0.1, FAR: 0.1}, rises=True),
    Row("cyclic: counts from the start, a warmup multiplies; needs no total",
        Cyclic(cycle="2 epochs", min_lr_ratio=0.5, warmup=10), ENDLESS, {0: 0.05, 9: 0.95, 10: 1, 20: 0.5, 30: 1},
        rises=True),

    # Up until update pct_start * T - 1, where the peak is.
    Row("one_cycle: the last update has the lowest LR", OneCycle(), RUN,
        {0: 0.04, 29: 1, 64: (1 + 4e-6) / 2, 99: 4e-6, 100: 4e-6, FAR: 4e-6}, rises=True),
    Row("one_cycle: linear, pct_start", OneCycle(pct_start=0.5, anneal_strategy="linear"), RUN,
        {0: 0.04, 49: 1, 74: (1 + 4e-6) / 2, 99: 4e-6}, rises=True),
    Row("one_cycle: div_factor, final_div_factor", OneCycle(div_factor=10, final_div_factor=100), RUN,
        {0: 0.1, 29: 1, 99: 0.001}, rises=True),
    Row("one_cycle: three_phase is back at the first LR after 2 * pct_start", OneCycle(three_phase=True), RUN,
        {0: 0.04, 29: 1, 58: 0.04, 99: 4e-6}, rises=True),
    Row("one_cycle: a warmup multiplies", OneCycle(warmup=10, cycle_momentum=False), RUN,
        {0: 0.004, 29: 1, 99: 4e-6}, rises=True),

    Row("ramp: update T is the first at its end", Ramp(end=0.2), RUN, {0: 1, 50: 0.6, 99: 0.208, 100: 0.2, FAR: 0.2}),
    Row("ramp: above 1", Ramp(end=10, shape="cosine"), RUN, {0: 1, 25: 5.5 - 4.5 * 0.5**0.5, 50: 5.5, 100: 10, FAR: 10},
        rises=True, top=10),
    Row("ramp: exponential", Ramp(start=0.01, end=100, shape="exponential"), RUN,
        {0: 0.01, 25: 0.1, 50: 1, 75: 10, 100: 100}, rises=True, top=100),
    Row("ramp: 1-sqrt, from above 1", Ramp(start=4, end=2, shape="1-sqrt"), RUN, {0: 4, 25: 3, 64: 2.4, 100: 2}, top=4),
    Row("ramp: square", Ramp(start=0, end=1, shape="square"), RUN, {0: 0, 50: 0.25, 90: 0.81, 100: 1}, rises=True),
    Row("ramp: a warmup leads to its start, update W-1 and W use it", Ramp(start=0.5, end=0.1, warmup=20), RUN,
        {0: 0.025, 9: 0.25, 19: 0.5, 20: 0.5, 60: 0.3, 100: 0.1}),
    Row("ramp: length, from the end of the warmup on", Ramp(end=2, length="4 epochs", warmup="1 epoch"), RUN,
        {9: 1, 10: 1, 30: 1.5, 49: 1.975, 50: 2, 99: 2, FAR: 2}, rises=True, top=2),
    Row("ramp: length, needs no total", Ramp(end=0.5, length="1 epoch"), ENDLESS, {0: 1, 5: 0.75, 10: 0.5, FAR: 0.5}),
    Row("ramp: a length beyond the run is not reached", Ramp(end=0, length=200), RUN, {50: 0.75, 100: 0.5, FAR: 0.5}),
    Row("ramp: a run of one update", Ramp(end=3), Horizon(total_steps=1), {0: 1, 1: 3}, rises=True, top=3),

    Row("piecewise: a milestone uses its factor; flat before the first and after the last",
        Piecewise(milestones=[20, "60%"], factors=[1, 0.2]), RUN, {0: 1, 20: 1, 40: 0.6, 60: 0.2, 99: 0.2, FAR: 0.2}),
    Row("piecewise: above 1, a warmup multiplies; needs no total",
        Piecewise(milestones=[0, "1 epoch", "3 epochs"], factors=[1, 2, 1], warmup=5), ENDLESS,
        {0: 0.2, 4: 1.4, 5: 1.5, 10: 2, 20: 1.5, 30: 1, FAR: 1}, rises=True, top=2),
    Row("piecewise: step", Piecewise(milestones=[0, 30, 70], factors=[1, 0.5, 0.7], interpolation="step"), RUN,
        {0: 1, 29: 1, 30: 0.5, 69: 0.5, 70: 0.7, FAR: 0.7}, jumps=True, rises=True),
    Row("piecewise: no step at the end of the run",
        Piecewise(milestones=[0, 100], factors=[1, 0.5], interpolation="step"), RUN, {99: 1, 100: 1}, jumps=True),
    Row("piecewise: a milestone beyond the run is not reached", Piecewise(milestones=[0, 400], factors=[1, 0]), RUN,
        {99: 0.7525, 100: 0.75, FAR: 0.75}),
    Row("piecewise: an infinite schedule",
        Piecewise(milestones=["10%", "30%", "80%", "100%"], factors=[1, 0.4, 0.4, 0.1], warmup="10%",
                  interpolation=["cosine", "linear", "exponential"]), RUN,
        {0: 0.1, 9: 1, 10: 1, 20: 0.7, 30: 0.4, 60: 0.4, 80: 0.4, 90: 0.2, 100: 0.1, FAR: 0.1}),
    Row("sequence: the same infinite schedule",
        Sequence(schedules=[Cosine(warmup=10, min_lr_ratio=0.4), Ramp(start=0.4, end=0.4),
                            Ramp(start=0.4, end=0.1, shape="exponential")], milestones=["30%", "80%"]), RUN,
        {0: 0.1, 9: 1, 10: 1, 20: 0.7, 30: 0.4, 60: 0.4, 80: 0.4, 90: 0.2, 100: 0.1, FAR: 0.1}, rises=True),

    Row("custom: a function of the progress", Custom(function=math.cos), RUN,
        {0: 1, 50: math.cos(0.5), 99: math.cos(0.99), 100: math.cos(1), FAR: math.cos(1)}),
    Row("custom: a warmup leads to its start; min_lr_ratio", Custom(function="math.exp", warmup=20, min_lr_ratio=0.5),
        RUN, {0: 0.05, 19: 1, 20: 1, 60: 0.5 + math.exp(0.5) / 2, 100: 0.5 + math.e / 2}, rises=True, top=math.e),
    Row("custom: a run of one update", Custom(function=math.cos), Horizon(total_steps=1), {0: 1, 1: math.cos(1)}),

    Row("product: all hold at the same time", Product(schedules=[Linear(), Step(step_size="50%")]), RUN,
        {0: 1, 25: 0.75, 49: 0.51, 50: 0.05, 75: 0.025, 100: 0, FAR: 0}, jumps=True),
    Row("product: each has its own warmup, and so has the product; min_lr",
        Product(schedules=[Cosine(warmup=10), Fixed(warmup=20), Ramp(end=0.5)], warmup=5, min_lr=0.001), RUN,
        {0: 0.002, 9: 0.955 * 0.5, 19: (1 + math.cos(math.pi / 10)) / 2 * 0.905, 55: 0.3625, 99: 0.01, FAR: 0.01},
        rises=True),
    Row("product: needs no total", Product(schedules=[InverseSqrt(timescale=10), InverseSqrt(timescale=10)]), ENDLESS,
        {0: 1, 10: 0.5, 90: 0.1}),

    # A plateau's cuts come from metrics, not from positions.
    Row("plateau", Plateau(), ENDLESS, {0: 1, FAR: 1}),
    Row("plateau: warmup", Plateau(warmup=4), RUN, {0: 0.25, 3: 1, 100: 1}),

    Row("sequence: a milestone is update 0 of the next phase", Sequence(schedules=[Fixed(), Linear()], milestones=[60]),
        RUN, {59: 1, 60: 1, 80: 0.5, 100: 0, FAR: 0}),
    Row("sequence: percent, and what is past the end, is of the phase",
        Sequence(schedules=[Linear(), Step(step_size="50%"), Fixed()], milestones=["20%", "60%"]), RUN,
        {0: 1, 10: 0.5, 19: 0.05, 20: 1, 39: 1, 40: 0.1, 59: 0.1, 60: 1, 100: 1}, jumps=True, rises=True),
    Row("sequence: a phase may be all warmup", Sequence(schedules=[Fixed(warmup="100%"), Cosine()], milestones=[20]),
        RUN, {0: 0.05, 19: 1, 20: 1, 60: 0.5, 100: 0}, rises=True),
    Row("sequence: the epochs of a phase are the run's from there on",
        Sequence(schedules=[Fixed(), Step(step_size="1 epoch")], milestones=["2 epochs"]), UNEVEN,
        {5: 1, 6: 1, 13: 1, 14: 0.1, 21: 0.1, 22: 0.01, 30: 0.01}, jumps=True),
    Row("sequence: the last phase needs no total", Sequence(schedules=[Linear(), Fixed()], milestones=["1 epoch"]),
        ENDLESS, {5: 0.5, 10: 1, FAR: 1}, jumps=True, rises=True),
    Row("sequence: in a sequence, and a warmup over all",
        Sequence(
            schedules=[Fixed(), Sequence(schedules=[Linear(), Fixed()], milestones=["50%"])], milestones=[20], warmup=10
        ), RUN, {0: 0.1, 9: 1, 19: 1, 40: 0.5, 59: 0.025, 60: 1}, jumps=True, rises=True),

    Row("torch_schedule: one step() for each update", TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=30)),
        RUN, {29: 1, 30: 0.1, 99: 0.001, 100: 0.001, FAR: 0.001}, jumps=True),
    Row("torch_schedule: one step() for each epoch, of unequal length",
        TorchSchedule(factory=partial(lr_scheduler.ExponentialLR, gamma=0.5), interval="epoch"), UNEVEN,
        {3: 1, 4: 0.5, 5: 0.5, 6: 0.25, 14: 0.125, 29: 0.0625, FAR: 0.0625}, jumps=True),
    Row("torch_schedule: a warmup multiplies; needs no total",
        TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=10), warmup=20), ENDLESS,
        {0: 0.05, 9: 0.5, 10: 0.055, 19: 0.1, 20: 0.01}, jumps=True),
]
# fmt: on

each_row = pytest.mark.parametrize("row", TABLE, ids=[row.id for row in TABLE])


# The table


@each_row
def test_factors(row: Row) -> None:
    assert {n: row.curve(n) for n in row.factors} == pytest.approx(row.factors, rel=1e-12, abs=1e-12)


def test_every_public_schedule_is_in_the_table() -> None:
    public = {getattr(schedules, name) for name in schedules.__all__}
    made_of = {
        schedules.ByGroup,
        schedules.Hyperparameters,
        schedules.Schedule,
        schedules.ToFloor,
        schedules.Shape,
        schedules.Span,
    }
    assert {type(row.schedule) for row in TABLE} == public - made_of


# What holds for every row


@each_row
def test_is_a_value(row: Row) -> None:
    """Comparable, picklable, hashable, printable as the call that makes it."""
    schedule = row.schedule
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert dataclasses.replace(schedule, warmup="50 steps") != schedule
    if not isinstance(schedule, TorchSchedule):  # whose factory may be any callable
        assert hash(pickle.loads(pickle.dumps(schedule))) == hash(schedule)
        assert eval(repr(schedule), vars(schedules)) == schedule


@each_row
def test_is_frozen_and_keyword_only(row: Row) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.schedule.warmup = 3  # type: ignore[misc]
    kinds = {parameter.kind for parameter in inspect.signature(type(row.schedule)).parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}


@each_row
def test_description_is_plain_and_complete(row: Row) -> None:
    saved = json.loads(json.dumps(row.schedule.describe(), allow_nan=False))
    assert saved == row.schedule.describe()
    if not isinstance(row.schedule, Custom):  # whose function is somebody's own code, which no checkpoint may name
        assert from_description(saved) == row.schedule


def test_description_of_numpy_floats_and_durations_is_plain() -> None:
    """A checkpoint with a numpy scalar or an object of ours in it would not load with weights_only=True."""
    half = torch.tensor(0.5).double().numpy()[()]
    described = MultiStep(milestones=[Duration.parse("2 ep")], gamma=half, warmup=Duration(1.5, "epochs")).describe()
    assert type(half).__module__ == "numpy"
    assert type(described["gamma"]) is float
    assert described["milestones"] == ["2 epochs"]
    assert described["warmup"] == "1.5 epochs"


def test_description_of_a_users_own_schedule() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
    class Mine(Fixed):
        knob: int = 3

    assert from_description(Mine(knob=4).describe()) == Mine(knob=4)


@each_row
def test_any_order_of_evaluation(row: Row) -> None:
    curve = row.curve
    forward = [curve(n) for n in range(120)]
    assert [curve(n) for n in reversed(range(120))] == forward[::-1]
    assert [row.curve(n) for n in (77, 3)] == [forward[77], forward[3]]


@each_row
def test_past_the_end_it_stays(row: Row) -> None:
    total = row.horizon.total_steps
    if total is not None:
        assert {row.curve(n) for n in (total, total + 1, 3 * total, FAR)} == {row.curve.end}


@each_row
def test_groups_share_the_factor(row: Row) -> None:
    """Without an absolute floor the factor does not know the peak, so groups keep their ratio."""
    if getattr(row.schedule, "min_lr", None) is None:
        one, other = (row.schedule.resolve(row.horizon, peak=peak) for peak in (1e-5, 10.0))
        assert [one(n) for n in range(120)] == pytest.approx([other(n) for n in range(120)], rel=1e-12)


@each_row
def test_phases_cover_the_run(row: Row) -> None:
    """One after another, without a gap, to the last update; ``phase(n)`` names the one that holds update n."""
    phases, total = row.curve.phases, row.horizon.total_steps
    assert phases[0].first == 0
    assert [phase.first for phase in phases[1:]] == [(phase.last or 0) + 1 for phase in phases[:-1]]
    assert phases[-1].last == (None if total is None else total - 1)
    assert all(row.curve.phase(phase.first) == phase.name for phase in phases)
    assert row.curve.phase(FAR) == (phases[-1].name if total is None else "end")


@each_row
def test_continuous(row: Row) -> None:
    """No jump at the end of the warmup, between phases, or at the end: a change is of the size of its neighbours."""
    if row.jumps:
        return
    values = [row.curve(n) for n in range((row.horizon.total_steps or 200) + 3)]
    changes = [abs(after - before) for before, after in itertools.pairwise(values)]
    for before, change, after in zip(changes, changes[1:], changes[2:], strict=False):
        assert change <= 3 * max(before, after) + 1e-9


runs = st.builds(
    Horizon,
    total_steps=st.integers(100, 300),
    steps_per_epoch=st.integers(1, 40) | st.lists(st.integers(1, 40), min_size=2, max_size=4),
    samples_per_step=st.integers(1, 64),
)


@contextlib.contextmanager
def another_example_if_it_does_not_fit() -> Iterator[None]:
    try:
        yield
    except (ValueError, UserWarning):
        reject()


@each_row
@few
@given(run=runs, warmup=st.integers(0, 50), warmup_type=st.sampled_from(WARMUP_TYPES))
def test_factor_on_any_run(row: Row, run: Horizon, warmup: int, warmup_type: str) -> None:
    """In [0, 1], or as far up as it says; never rising after the warmup where it must not; constant from the end on."""
    with another_example_if_it_does_not_fit():
        schedule = dataclasses.replace(row.schedule, warmup=warmup, warmup_type=warmup_type, warmup_start_factor=None)
        curve = schedule.resolve(run, peak=PEAK)
    total = run.total_steps or 0
    values = [curve(n) for n in range(total + 3)]
    assert all(0 <= value <= row.top for value in values)
    assert values[total:] == [curve.end] * 3
    if not row.rises:
        assert all(
            after <= before + 1e-12 for before, after in zip(values[warmup:], values[warmup + 1 :], strict=False)
        )


def in_unit(schedule: Schedule, unit: str, run: Horizon) -> Schedule:
    """The same schedule with its whole steps written in another unit."""
    steps_in = {
        "steps": 1,
        "epochs": run.steps_per_epoch,
        "%": run.total_steps / 100,
        "samples": 1 / run.samples_per_step,
    }

    def written(length: Any) -> Any:
        if isinstance(length, tuple):
            return tuple(written(each) for each in length)
        return length if length is None else f"{RUN.steps(length) / steps_in[unit]!r} {unit}"

    fields = dataclasses.fields(schedule)
    lengths = {"warmup", *(field.name for field in fields if "Length" in str(field.type))}
    return dataclasses.replace(schedule, **{name: written(getattr(schedule, name)) for name in lengths})


@each_row
@few
@given(total=st.integers(100, 600), steps_per_epoch=st.integers(1, 100), samples_per_step=st.integers(1, 1000))
def test_units_do_not_matter(row: Row, total: int, steps_per_epoch: int, samples_per_step: int) -> None:
    """A schedule given in steps, epochs, percent or samples is the identical list."""
    run = Horizon(total_steps=total, steps_per_epoch=steps_per_epoch, samples_per_step=samples_per_step)
    with another_example_if_it_does_not_fit():
        curves = [in_unit(row.schedule, unit, run).resolve(run, PEAK) for unit in ("steps", "epochs", "%", "samples")]
    lists = [[curve(n) for n in range(total + 1)] for curve in curves]
    assert lists.count(lists[0]) == 4


@many
@given(warmup=st.integers(1, 1000))
def test_warmup_is_exact(warmup: int) -> None:
    curve = Fixed(warmup=warmup).resolve(Horizon())
    assert curve(0) == 1 / warmup
    assert curve(warmup - 1) == 1
    assert [curve(n) for n in range(warmup)] == [(n + 1) / warmup for n in range(warmup)]


@pytest.mark.parametrize("kind", [Cosine, Linear, Polynomial, Rex, WarmupStableDecay], ids=lambda kind: kind.__name__)
@many
@given(floor=st.floats(0, 1), total=st.integers(10, 10**6), warmup=st.integers(0, 40))
def test_floor_is_reached_exactly_and_kept(kind: Any, floor: float, total: int, warmup: int) -> None:
    curve = kind(min_lr_ratio=floor, warmup=f"{warmup}%").resolve(Horizon(total_steps=total))
    assert curve(total - 1) >= floor
    assert [curve(n) for n in (total, total + 1, FAR)] == [floor] * 3


@pytest.mark.behaviour("B60")
@pytest.mark.parametrize(
    "kind", [Cosine, CosineRestarts, InverseTime, Linear, Polynomial, Plateau, Rex], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("start", [None, 0.3])
@pytest.mark.parametrize(("warmup_type", "end"), [("linear", 1), ("cosine", 1), ("exponential", 1), ("constant", None)])
def test_a_run_that_is_all_warmup_ends_where_the_warmup_leads(
    kind: Any, start: float | None, warmup_type: str, end: float | None
) -> None:
    knobs = {"cycle": 3} if kind is CosineRestarts else {}
    schedule = kind(warmup="100%", warmup_type=warmup_type, warmup_start_factor=start, **knobs)
    with pytest.warns(UserWarning, match="more than half of the run is warmup"):
        curve = schedule.resolve(Horizon(total_steps=10))
    wanted = curve(9) if end is None else end
    assert [curve(10), curve(FAR), curve.end] == [wanted] * 3
    assert curve(9) == wanted or start is not None  # who gives a start is one step below the peak at the last update


@pytest.mark.behaviour("B60")
@pytest.mark.parametrize("length", [None, "5 steps"])
def test_a_ramp_of_a_run_that_is_all_warmup_ends_at_its_start(length: str | None) -> None:
    with pytest.warns(UserWarning, match="more than half of the run is warmup"):
        curve = Ramp(start=2, end=5, length=length, warmup="100%").resolve(Horizon(total_steps=10))
    assert [curve(0), curve(9), curve(10), curve(FAR)] == [0.2, 2, 2, 2]


@pytest.mark.behaviour("B60")
def test_a_staircase_that_is_all_warmup_keeps_its_cuts() -> None:
    with pytest.warns(UserWarning, match="more than half of the run is warmup"):
        curve = Step(step_size=4, warmup=10, warmup_type="constant").resolve(Horizon(total_steps=10))
    assert curve(9) == curve(10) == pytest.approx(0.01 / 3, abs=1e-15)


@pytest.mark.behaviour("B60")
@many
@given(
    power=st.floats(0.05, 20),
    floor=st.floats(0, 1),
    total=st.integers(10, 10**7),
    warmup=st.integers(0, 40),
    back=st.integers(1, 10**7),
)
def test_polynomial_is_exact_up_to_its_last_update(
    power: float, floor: float, total: int, warmup: int, back: int
) -> None:
    """Against fifty digits, at any update after the warmup, most of them near the end."""
    curve = Polynomial(power=power, min_lr_ratio=floor, warmup=f"{warmup}%").resolve(Horizon(total_steps=total))
    position = max(total - back, curve.warmup)
    with decimal.localcontext() as context:
        context.prec = 50
        left = decimal.Decimal(total - position) / (total - curve.warmup)
        exact = decimal.Decimal(floor) + (1 - decimal.Decimal(floor)) * left ** decimal.Decimal(power)
        assert abs(decimal.Decimal(curve(position)) - exact) < 1e-15


def cycles(schedule: CosineRestarts, run: Horizon) -> list[Phase]:
    return [phase for phase in schedule.resolve(run).phases if phase.name.startswith("cycle")]


@pytest.mark.behaviour("B60")
@many
@given(
    total=st.integers(20, 10**6),
    count=st.integers(1, 9),
    warmup=st.integers(0, 40),
    mult=st.sampled_from([1, 1.1, 1.5, 2]),
    unit=st.sampled_from(["%", "epochs"]),
)
def test_cycles_that_fill_the_run_are_as_many_as_fill_it(
    total: int, count: int, warmup: int, mult: float, unit: str
) -> None:
    """Whatever the rounding: the last update is the last of the last cycle, and no cycle begins at it."""
    run = Horizon(total_steps=total, steps_per_epoch=7)
    share = (100 - warmup) / sum(mult**k for k in range(count))  # of the first cycle, in percent
    first = share * total / 100
    if first < 1:
        reject()  # a cycle lasts an update at least
    cycle = f"{share!r}%" if unit == "%" else f"{first / 7!r} epochs"
    found = cycles(CosineRestarts(cycle=cycle, cycle_mult=mult, warmup=f"{warmup}%"), run)
    assert len(found) == count
    assert found[-1].last == total - 1
    lengths = [phase.last - phase.first + 1 for phase in found]
    assert all(abs(length - first * mult**k) <= 1.5 for k, length in enumerate(lengths))


@pytest.mark.behaviour("B60")
def test_a_third_of_463_updates_makes_three_cycles() -> None:
    found = cycles(CosineRestarts(cycle="33.3333%"), Horizon(total_steps=463))
    assert [(phase.first, phase.last) for phase in found] == [(0, 153), (154, 308), (309, 462)]


@pytest.mark.behaviour("B60")
def test_cycles_of_an_epoch_are_the_epochs_after_the_warmup() -> None:
    found = cycles(CosineRestarts(cycle="1 epoch", warmup="1 epoch"), UNEVEN)
    assert [phase.first for phase in found] == [4, 6, 14, 22]


def test_the_schedules_alone_import_no_torch() -> None:
    probe = "import sys, lr_recipes.schedules; print(sorted({'torch', 'lightning'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ast.literal_eval(done.stdout) == []


def test_phases_have_their_names_and_updates() -> None:
    assert WarmupStableDecay(warmup=10).resolve(RUN).phases == [
        Phase("warmup", 0, 9),
        Phase("stable", 10, 79),
        Phase("decay", 80, 99),
    ]
    # A step's cuts count from update 0, but until the warmup ends the phase is the warmup.
    assert Step(step_size=10, warmup=20).resolve(RUN).phases == [Phase("warmup", 0, 19), Phase("step", 20, 99)]
    assert InverseSqrt(warmup=10).resolve(ENDLESS).phases == [Phase("warmup", 0, 9), Phase("inverse_sqrt", 10, None)]
    assert [phase.first for phase in OneCycle(three_phase=True).resolve(RUN).phases] == [0, 30, 59]


# Independent references: the LR that each of T updates uses, peak 1


def used(
    total: int, attach: Callable[[Optimizer], Any], name: str = "lr", optimizer: Any = SGD, **knobs: Any
) -> list[float]:
    """What ``total`` updates of an optimizer use under a torch scheduler."""
    found = optimizer([torch.nn.Parameter(torch.zeros(1))], lr=1.0, **knobs)
    scheduler = attach(found)
    group, values = found.param_groups[0], []
    for n in range(total):
        if n:
            found.step()
            scheduler.step()
        values.append(group["betas"][0] if name == "beta1" else group[name])
    return values


def planned(schedule: Schedule, total: int) -> list[float]:
    curve = schedule.resolve(Horizon(total_steps=total, steps_per_epoch=10))
    return [curve(n) for n in range(total)]


def same(ours: list[float], theirs: list[float]) -> None:
    assert ours == pytest.approx(theirs, rel=0, abs=1e-6)


def cyclic(optimizer: Optimizer, up: int, **knobs: Any) -> Any:
    return lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, step_size_up=up, cycle_momentum=False, **knobs)


TOTALS = [40, 97, 200]
each_total = pytest.mark.parametrize("total", TOTALS)


@each_total
@pytest.mark.parametrize(
    ("schedule", "attach"),
    [
        (Step(step_size=7, gamma=0.5), lambda o, T: lr_scheduler.StepLR(o, 7, 0.5)),
        (MultiStep(milestones=[5, "2 epochs", 39]), lambda o, T: lr_scheduler.MultiStepLR(o, [5, 20, 39])),
        (Exponential(gamma=0.9, every=1), lambda o, T: lr_scheduler.ExponentialLR(o, 0.9)),
        (Cosine(), lambda o, T: lr_scheduler.CosineAnnealingLR(o, T)),
        (Cosine(min_lr_ratio=0.1), lambda o, T: lr_scheduler.CosineAnnealingLR(o, T, eta_min=0.1)),
        (Polynomial(power=3), lambda o, T: lr_scheduler.PolynomialLR(o, T, power=3)),
        (Linear(), lambda o, T: lr_scheduler.PolynomialLR(o, T, power=1)),
        (Linear(min_lr_ratio=0.2), lambda o, T: lr_scheduler.LinearLR(o, 1, 0.2, total_iters=T)),
        (Ramp(start=0.3, end=0.9), lambda o, T: lr_scheduler.LinearLR(o, 0.3, 0.9, total_iters=T)),
        (Ramp(start=0.3, end=0.9, length=30), lambda o, T: lr_scheduler.LinearLR(o, 0.3, 0.9, total_iters=30)),
        (CosineRestarts(cycle=11), lambda o, T: lr_scheduler.CosineAnnealingWarmRestarts(o, 11)),
        (
            CosineRestarts(cycle=7, cycle_mult=2, min_lr_ratio=0.1),
            lambda o, T: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 2, eta_min=0.1),
        ),
        (Cyclic(cycle=14, min_lr_ratio=0.1), lambda o, T: cyclic(o, 7)),
        (Cyclic(cycle=14, min_lr_ratio=0.1, mode="triangular2"), lambda o, T: cyclic(o, 7, mode="triangular2")),
        (
            Cyclic(cycle=14, min_lr_ratio=0.1, mode="exp_range", gamma=0.98),
            lambda o, T: cyclic(o, 7, mode="exp_range", gamma=0.98),
        ),
        (Cyclic(cycle=12, min_lr_ratio=0.1, pct_start=0.25), lambda o, T: cyclic(o, 3, step_size_down=9)),
        (
            Product(schedules=[Exponential(gamma=0.99, every=1), Step(step_size=7), Ramp(start=0.5, end=1, length=10)]),
            lambda o, T: lr_scheduler.ChainedScheduler(
                [
                    lr_scheduler.LinearLR(o, 0.5, 1, 10),
                    lr_scheduler.ExponentialLR(o, 0.99),
                    lr_scheduler.StepLR(o, 7),
                ]
            ),
        ),
        (
            Sequence(schedules=[Exponential(gamma=0.9, every=1), Step(step_size=5)], milestones=[12]),
            lambda o, T: lr_scheduler.SequentialLR(
                o, [lr_scheduler.ExponentialLR(o, 0.9), lr_scheduler.StepLR(o, 5)], [12]
            ),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Schedule) else "torch",
)
def test_equals_torch(schedule: Schedule, attach: Callable[[Optimizer, int], Any], total: int) -> None:
    same(planned(schedule, total), used(total, lambda optimizer: attach(optimizer, total)))


@each_total
@pytest.mark.parametrize("warmup", [1, 2, 17])
def test_warmup_and_cosine_equal_torch(warmup: int, total: int) -> None:
    def attach(optimizer: Optimizer) -> Any:
        rising = lr_scheduler.LinearLR(optimizer, 1 / warmup, 1, warmup - 1)
        falling = lr_scheduler.CosineAnnealingLR(optimizer, total - warmup)
        return lr_scheduler.SequentialLR(optimizer, [rising, falling], [warmup])

    # torch's LinearLR divides by its length, so a warmup of one update has no equal there but the cosine alone.
    theirs = [1.0, *used(total - 1, lambda o: lr_scheduler.CosineAnnealingLR(o, total - 1))]
    same(planned(Cosine(warmup=warmup), total), theirs if warmup == 1 else used(total, attach))


@each_total
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"anneal_strategy": "linear"},
        {"pct_start": 0.45, "div_factor": 10.0, "final_div_factor": 50.0},
        {"three_phase": True},
        {"three_phase": True, "anneal_strategy": "linear", "pct_start": 0.5},
        {"base_momentum": 0.5, "max_momentum": 0.9, "pct_start": 0.0},
    ],
    ids=str,
)
def test_one_cycle_equals_torch(knobs: dict[str, Any], total: int) -> None:
    def attach(optimizer: Optimizer) -> Any:
        strategy = {**knobs, "anneal_strategy": knobs.get("anneal_strategy", "cos")}
        return lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total, **strategy)

    curve = OneCycle(**knobs).resolve(Horizon(total_steps=total))
    assert "momentum" in curve.beside
    momenta = [curve.beside["momentum"](n) for n in range(total)]
    same([curve(n) for n in range(total)], used(total, attach, momentum=0.9))
    same(momenta, used(total, attach, "momentum", momentum=0.9))
    same(momenta, used(total, attach, "beta1", Adam))


def test_one_cycle_leaves_momentum_alone_on_request() -> None:
    assert OneCycle(cycle_momentum=False).resolve(RUN).beside == {}


@many
@given(
    points=st.dictionaries(st.integers(0, 120), st.floats(0, 4), min_size=1, max_size=6),
    total=st.integers(1, 100),
)
def test_piecewise_equals_numpy(points: dict[int, float], total: int) -> None:
    marks = sorted(points)
    schedule = Piecewise(milestones=marks, factors=[points[mark] for mark in marks])
    theirs = numpy.interp(range(total + 1), marks, schedule.factors)
    curve = schedule.resolve(Horizon(total_steps=total))
    assert [curve(n) for n in range(total + 1)] == pytest.approx(list(theirs), rel=1e-12, abs=1e-12)


@many
@given(warmup=st.integers(0, 60), scale=st.integers(1, 80), exponent=st.floats(0.1, 2))
def test_power_equals_the_papers_formula(warmup: int, scale: int, exponent: float) -> None:
    """min(eta_max, a n^-b) at n tokens, here one an update; during the warmup a share of what it leads to."""
    eta_max = 0.3
    a = eta_max * scale**exponent

    def eta(n: int) -> float:
        return min(eta_max, a * n**-exponent) if n else eta_max

    curve = Power(timescale=scale, exponent=exponent, warmup=warmup, warmup_start_factor=0.0).resolve(120)
    theirs = [eta(warmup) * n / warmup if n < warmup else eta(n) for n in range(120)]
    assert [eta_max * curve(n) for n in range(120)] == pytest.approx(theirs, rel=1e-12)


def test_equals_optax() -> None:
    optax = pytest.importorskip("optax")
    total = 97
    pairs = [
        # optax's first update uses 0, as warmup_start_factor=0 does here.
        (Cosine(warmup=20, warmup_start_factor=0), optax.warmup_cosine_decay_schedule(0, 1, 20, total)),
        (
            Cosine(warmup=20, warmup_start_factor=0.2, min_lr_ratio=0.1),
            optax.warmup_cosine_decay_schedule(0.2, 1, 20, total, end_value=0.1),
        ),
        (Polynomial(power=3, min_lr_ratio=0.1), optax.polynomial_schedule(1, 0.1, 3, total)),
        (Exponential(gamma=0.5, every=13), optax.exponential_decay(1, 13, 0.5)),
        (
            Exponential(gamma=0.5, every=13, min_lr_ratio=0.1),
            optax.exponential_decay(1, 13, 0.5, end_value=0.1),
        ),
        *(
            (
                Piecewise(milestones=[0, 20, 60], factors=[1, 0.5, 2], interpolation=kind),
                optax.piecewise_interpolate_schedule(kind, 1, {20: 0.5, 60: 4}),
            )
            for kind in ("linear", "cosine")
        ),
        (
            Ramp(end=3, length=50, warmup=20, warmup_start_factor=0),
            optax.join_schedules([optax.linear_schedule(0, 1, 20), optax.linear_schedule(1, 3, 50)], [20]),
        ),
        (MultiStep(milestones=[30, 60]), optax.piecewise_constant_schedule(1, {30: 0.1, 60: 0.1})),
        (
            Sequence(schedules=[Fixed(), Linear()], milestones=[40]),
            optax.join_schedules([optax.constant_schedule(1.0), optax.linear_schedule(1, 0, total - 40)], [40]),
        ),
    ]
    for schedule, reference in pairs:
        same(planned(schedule, total), [float(reference(n)) for n in range(total)])


def test_equals_transformers() -> None:
    hf = pytest.importorskip("transformers.optimization")
    total = 97
    from_zero = {"warmup": 20, "warmup_start_factor": 0}  # the first update uses 0
    wsd = {"num_warmup_steps": 20, "num_decay_steps": 30, "num_training_steps": total}
    pairs = [
        (Fixed(**from_zero), lambda o: hf.get_constant_schedule_with_warmup(o, 20)),
        (Linear(**from_zero), lambda o: hf.get_linear_schedule_with_warmup(o, 20, total)),
        (Cosine(**from_zero), lambda o: hf.get_cosine_schedule_with_warmup(o, 20, total)),
        (
            Polynomial(**from_zero, power=3, min_lr_ratio=0.1),
            lambda o: hf.get_polynomial_decay_schedule_with_warmup(o, 20, total, lr_end=0.1, power=3),
        ),
        (
            CosineRestarts(**from_zero, cycles=7),
            lambda o: hf.get_cosine_with_hard_restarts_schedule_with_warmup(o, 20, total, num_cycles=7),
        ),
        (InverseSqrt(**from_zero), lambda o: hf.get_inverse_sqrt_schedule(o, 20)),
        (InverseSqrt(**from_zero, timescale=50), lambda o: hf.get_inverse_sqrt_schedule(o, 20, timescale=50)),
        *(
            (
                # Its warmup starts at the floor.
                WarmupStableDecay(warmup=20, warmup_start_factor=0.1, decay=30, decay_type=shape, min_lr_ratio=0.1),
                lambda o, shape=shape: hf.get_wsd_schedule(o, **wsd, decay_type=shape, min_lr_ratio=0.1),
            )
            for shape in ("linear", "cosine", "1-sqrt")
        ),
    ]
    for schedule, attach in pairs:
        same(planned(schedule, total), used(total, attach))


def test_equals_timm() -> None:
    timm = pytest.importorskip("timm.scheduler")
    total, warmup = 97, 20

    def attach(optimizer: Optimizer) -> Any:
        # With warmup_prefix its length is that of the cosine alone.
        scheduler = timm.CosineLRScheduler(
            optimizer,
            t_initial=total - warmup,
            lr_min=0.1,
            warmup_t=warmup,
            warmup_lr_init=0.2,
            warmup_prefix=True,
            t_in_epochs=False,
        )
        position = iter(range(1, total))
        scheduler.step = lambda: scheduler.step_update(next(position))
        return scheduler

    same(planned(Cosine(warmup=warmup, warmup_start_factor=0.2, min_lr_ratio=0.1), total), used(total, attach))


# Plateau


def reductions(plateau: Plateau, metrics: list[float]) -> Iterator[float]:
    """The factor after each validation."""
    state = PlateauState()
    for metric in metrics:
        state = plateau.observe(state, metric)
        yield plateau.scale(state, peak=1.0)


# Tenths, with thresholds between them: equal metrics happen, and no comparison hangs on the last bit.
@many
@given(
    metrics=st.lists(st.integers(1, 30).map(lambda n: n / 10) | st.just(math.inf), max_size=40),
    knobs=st.fixed_dictionaries(
        {
            "mode": st.sampled_from(["min", "max"]),
            "factor": st.sampled_from([0.1, 0.5, 0.9]),
            "patience": st.integers(0, 4),
            "cooldown": st.integers(0, 4),
            "threshold": st.sampled_from([0, 1e-4, 0.037, 0.25]),
            "threshold_mode": st.sampled_from(["rel", "abs"]),
        }
    ),
    floor=st.sampled_from([0.0, 0.2]),
)
def test_plateau_equals_torch(metrics: list[float], knobs: dict[str, Any], floor: float) -> None:
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **knobs, min_lr=floor, eps=0)
    theirs = []
    for metric in metrics:
        scheduler.step(metric)
        theirs.append(optimizer.param_groups[0]["lr"])
    same(list(reductions(Plateau(**knobs, min_lr_ratio=floor), metrics)), theirs)


PLATEAUS = {
    "patience 1: the second bad validation cuts": (Plateau(patience=1), [1, 1, 1, 1, 1], [1, 1, 0.1, 0.1, 0.01]),
    "patience 0: the first bad validation cuts": (Plateau(patience=0), [1, 1, 0.5, 0.5], [1, 0.1, 0.1, 0.01]),
    "max: higher is better": (Plateau(patience=0, mode="max"), [1, 2, 3, 3], [1, 1, 1, 0.1]),
    "cooldown: validations after a cut do not count": (
        Plateau(patience=0, cooldown=2),
        [1, 1, 1, 1, 1],
        [1, 0.1, 0.1, 0.1, 0.01],
    ),
    "rel threshold": (Plateau(patience=0, threshold=0.1), [1, 0.95, 0.85], [1, 0.1, 0.1]),
    "abs threshold": (Plateau(patience=0, threshold=0.1, threshold_mode="abs"), [10, 9.95, 9.8], [1, 0.1, 0.1]),
    # torch multiplies the best by 1 + threshold, which lets a falling negative metric pass as a better one.
    "rel threshold, negative metric": (Plateau(patience=0, mode="max", threshold=0.1), [-10, -10.5, -8], [1, 0.1, 0.1]),
    "not a number: no decision": (Plateau(patience=0), [1, math.nan, math.nan, 0.5], [1, 1, 1, 1]),
    "min_lr_ratio": (Plateau(patience=0, min_lr_ratio=0.05), [1, 1, 1, 1], [1, 0.1, 0.05, 0.05]),
    "min_lr": (Plateau(patience=0, min_lr=0.05), [1, 1, 1], [1, 0.1, 0.05]),
}


@pytest.mark.parametrize(("plateau", "metrics", "factors"), PLATEAUS.values(), ids=PLATEAUS.keys())
def test_plateau_decisions(plateau: Plateau, metrics: list[float], factors: list[float]) -> None:
    assert list(reductions(plateau, metrics)) == pytest.approx(factors)


def test_plateau_state_is_plain() -> None:
    state = Plateau(patience=0).observe(Plateau().observe(PlateauState(), 1.0), 2.0)
    assert dataclasses.asdict(state) == {"best": 1.0, "bad": 0, "cooldown": 0, "reductions": 1}


# Bad input: each message has the value, the limit and a way out


def resolve(schedule: Schedule, total: int | None = 100, peak: float | None = PEAK) -> Curve:
    return schedule.resolve(Horizon(total_steps=total, steps_per_epoch=10), peak)


# fmt: off
BAD = {
    "negative duration": (lambda: Cosine(warmup=-5), "warmup=-5", "zero or more", "'500 steps'"),
    "zero duration": (lambda: Step(step_size=0), "step_size=0", "positive", "'5 epochs'"),
    "zero percent": (lambda: WarmupStableDecay(decay="0%"), "decay='0%'", "positive", "'10%'"),
    "more than the run": (lambda: Cosine(warmup="150%"), "warmup='150%'", "at most '100%'"),
    "unknown unit": (lambda: Cosine(warmup="5 epoks"), "warmup='5 epoks'", "did you mean 'epochs'", "steps, epochs, %"),
    "float for a duration": (lambda: Cosine(warmup=0.1), "warmup=0.1", "0.1 of what? Write '10%'", "'500 steps'"),
    "float for a milestone": (lambda: MultiStep(milestones=[0.5]), "milestones=0.5", "Write '50%'"),
    "bool for a duration": (lambda: Cosine(warmup=True), "warmup=True", "not a duration", "'500 steps'"),
    "None for a duration": (lambda: Step(step_size=None), "step_size=None", "not a duration", "'5 epochs'"),
    "NaN for a duration": (lambda: Exponential(gamma=0.5, every=math.nan), "every=nan", "of what?", "'10%'"),
    "timescale": (lambda: InverseSqrt(timescale=0), "timescale=0", "positive", "'500 steps'"),
    "no timescale": (lambda: InverseSqrt(), "timescale=None", "warmup=0", "give one of them, as in '500 steps'"),

    "warmup longer than the run": (lambda: resolve(Cosine(warmup="11 epochs")), "warmup='11 epochs' is 110 updates",
        "the run does 100", "Shorten the warmup or train longer"),
    "warmup longer than its phase": (
        lambda: resolve(Sequence(schedules=[Fixed(warmup=30), Cosine()], milestones=["20%"])),
        "warmup=30 is 30 updates", "phase 1 does 20", "Shorten the warmup"),
    "decay and warmup do not fit": (lambda: resolve(WarmupStableDecay(warmup="40%", decay="70%")),
        "warmup='40%' (40 updates)", "decay='70%' (70)", "100 updates of the run", "shorten one of them"),
    "no total": (lambda: resolve(Cosine(), total=None), "Cosine needs to know", "Horizon(total_steps=1000)"),
    "percent without a total": (
        lambda: resolve(Fixed(warmup="5%"), total=None), "warmup='5%' needs", "Horizon(total_steps=1000)"),

    "warmup_type": (lambda: Cosine(warmup_type="linaer"), "warmup_type='linaer' (did you mean 'linear'?)",
        "linear, cosine, exponential, constant"),
    "warmup_type None": (lambda: Cosine(warmup_type=None), "warmup_type=None:", "must be one of linear"),
    "decay_type": (lambda: WarmupStableDecay(decay_type="1-sqr"), "decay_type='1-sqr' (did you mean '1-sqrt'?)",
        "linear, cosine, 1-sqrt, square, exponential"),
    "anneal_strategy": (lambda: OneCycle(anneal_strategy="cosine"), "anneal_strategy='cosine'", "cos, linear"),
    "mode": (lambda: Plateau(mode="mim"), "mode='mim' (did you mean 'min'?)", "min, max"),
    "threshold_mode": (lambda: Plateau(threshold_mode="relative"), "threshold_mode='relative'", "rel, abs"),

    "start factor above 1": (lambda: Fixed(warmup_start_factor=2), "warmup_start_factor=2", "at least 0 and at most 1"),
    "exponential warmup from 0": (lambda: Fixed(warmup_type="exponential", warmup_start_factor=0),
        "warmup_start_factor=0", "above 0", "0.01"),
    "exponential decay to 0": (lambda: WarmupStableDecay(decay_type="exponential"), "decay_type='exponential'",
        "never reaches 0", "min_lr_ratio=0.01"),
    "gamma above 1": (lambda: Step(step_size=5, gamma=1.5), "gamma=1.5", "above 0 and at most 1"),
    "gamma 0": (lambda: Exponential(gamma=0), "gamma=0", "above 0 and at most 1"),
    "power 0": (lambda: Polynomial(power=0), "power=0", "above 0"),
    "power infinite": (lambda: Polynomial(power=math.inf), "power=inf", "finite"),
    "cycle_mult below 1": (lambda: CosineRestarts(cycle=5, cycle_mult=0.5), "cycle_mult=0.5", "at least 1"),
    "cycle_decay 0": (lambda: CosineRestarts(cycle=5, cycle_decay=0), "cycle_decay=0", "above 0 and at most 1"),
    "pct_start in percent": (lambda: OneCycle(pct_start=30), "pct_start=30", "at least 0 and at most 1"),
    "pct_start with three phases": (lambda: OneCycle(pct_start=0.7, three_phase=True), "pct_start=0.7", "at most 0.5"),
    "div_factor below 1": (lambda: OneCycle(div_factor=0.5), "div_factor=0.5", "at least 1"),
    "momentum above 1": (lambda: OneCycle(max_momentum=1.2), "max_momentum=1.2", "at most 1"),
    "flag": (lambda: OneCycle(three_phase="yes"), "three_phase='yes'", "true or false"),
    "factor 1": (lambda: Plateau(factor=1), "factor=1", "below 1", "0.1"),
    "factor 0": (lambda: Plateau(factor=0.0), "factor=0.0", "above 0"),
    "float patience": (lambda: Plateau(patience=2.5), "patience=2.5", "whole number of validations"),
    "negative patience": (lambda: Plateau(patience=-1), "patience=-1", "at least 0"),
    "float cooldown": (lambda: Plateau(cooldown=1.0), "cooldown=1.0", "whole number of validations"),
    "negative threshold": (lambda: Plateau(threshold=-1e-4), "threshold=-0.0001", "at least 0"),
    "no monitor": (lambda: Plateau(monitor=""), "monitor=''", "name of a logged metric", "'val_loss'"),

    "NaN": (lambda: Cosine(min_lr_ratio=math.nan), "min_lr_ratio=nan", "at least 0 and at most 1"),
    "bool for a number": (lambda: Plateau(patience=True), "patience=True", "must be a number"),
    "string for a number": (lambda: Cosine(min_lr_ratio="0.1"), "min_lr_ratio='0.1'", "must be a number"),
    "None for a number": (lambda: Step(step_size=5, gamma=None), "gamma=None", "must be a number"),

    "both floors": (lambda: Cosine(min_lr_ratio=0.1, min_lr=1e-5), "min_lr_ratio=0.1", "min_lr=1e-05", "give one"),
    "floor above 1": (lambda: Linear(min_lr_ratio=2), "min_lr_ratio=2", "at most 1"),
    "negative floor": (lambda: Linear(min_lr=-1e-5), "min_lr=-1e-05", "at least 0"),
    "floor above the peak": (lambda: resolve(Linear(min_lr=0.2)), "min_lr=0.2", "peak LR 0.1", "lower it, or raise"),
    "floor of an unknown peak": (lambda: resolve(Linear(min_lr=0.2), peak=None), "min_lr=0.2", "peak=", "min_lr_ratio"),

    "unsorted milestones": (lambda: resolve(MultiStep(milestones=[60, "30%"])), "milestones=[60, '30%']",
        "'30%' does not come after", "sort them"),
    "equal milestones": (lambda: resolve(MultiStep(milestones=["50%", 50])), "milestones=['50%', 50]", "sort them"),
    "no milestones": (lambda: MultiStep(milestones=[]), "milestones=[]", "not empty", "['50%', '75%']"),
    "one milestone without a list": (lambda: MultiStep(milestones="50%"), "milestones='50%'", "must be a list"),

    "phase is a plateau": (lambda: Sequence(schedules=[Fixed(), Plateau()], milestones=[5]),
        "Plateau() cannot be a phase", "schedules other than Plateau"),
    "phase is no schedule": (lambda: Sequence(schedules=[Fixed(), 3], milestones=[5]), "3 cannot be a phase"),
    "phase moves momentum": (lambda: resolve(Sequence(schedules=[Fixed(), OneCycle()], milestones=[5])),
        "phase OneCycle() moves the momentum", "cycle_momentum=False"),
    "torch phase moves momentum": (
        lambda: resolve(Sequence(milestones=[50], schedules=[
            TorchSchedule(factory=partial(lr_scheduler.OneCycleLR, max_lr=PEAK, total_steps=50)), Fixed()])),
        "TorchSchedule(factory=", "cycle_momentum=False"),
    "too few milestones": (lambda: Sequence(schedules=[Fixed()] * 3, milestones=[5]), "3 schedules and 1 milestone:",
        "one milestone fewer"),
    "phase after the end": (lambda: resolve(Sequence(schedules=[Fixed(), Linear()], milestones=[500])),
        "milestones=[500]", "begin at update 500", "the run does 100", "train longer"),

    "ramp without an end": (lambda: resolve(Ramp(end=2), total=None), "Ramp needs to know", "total_steps=1000"),
    "ramp from below 0": (lambda: Ramp(end=1, start=-0.1), "start=-0.1", "at least 0"),
    "exponential ramp to 0": (lambda: Ramp(end=0, shape="exponential"), "shape='exponential' from 1 to 0",
        "never reaches 0", "as in 0.01", "'cosine'"),
    "ramp's shape": (lambda: Ramp(end=2, shape="cosin"), "shape='cosin' (did you mean 'cosine'?)",
        "linear, cosine, 1-sqrt, square, exponential"),

    "neither a cycle nor their count": (lambda: CosineRestarts(), "cycle=None and cycles=None", "give one of them",
        "cycle='10 epochs'", "cycles=4"),
    "a cycle and their count": (lambda: Cyclic(cycle="5%", cycles=4), "cycle='5%' and cycles=4", "give one of them"),
    "cycles in percent": (lambda: Cyclic(cycles="50%"), "cycles='50%'", "a whole number of cycles", "cycles=4"),
    "cycles that do not fit": (lambda: resolve(CosineRestarts(cycles=101)), "cycles=101", "shorter than an update",
        "100 updates", "Take fewer or train longer"),
    "growing cycles that do not fit": (lambda: resolve(CosineRestarts(cycles=10**6, cycle_mult=2)), "cycles=1000000",
        "shorter than an update"),
    "cycles without an end": (lambda: resolve(CosineRestarts(cycles=4), total=None), "cycles=4 needs to know"),
    "mode of cycles": (lambda: Cyclic(cycle=4, mode="exp"), "mode='exp'", "triangular, triangular2, exp_range"),
    "beta 0": (lambda: Rex(beta=0), "beta=0", "above 0"),
    "exponent 0": (lambda: Power(timescale=1, exponent=0), "exponent=0", "above 0"),
    "exponential last decay to 0": (lambda: Power(timescale=1, decay=5, decay_type="exponential"), "never reaches 0",
        "min_lr_ratio=0.01"),
    "last decay and warmup do not fit": (lambda: resolve(Power(timescale=1, warmup="40%", decay="70%")),
        "decay='70%' (70)", "shorten one of them"),
    "points without factors": (lambda: Piecewise(milestones=[1, 2], factors=[1]), "2 milestones and 1 factor",
        "one factor for each milestone"),
    "a factor below 0": (lambda: Piecewise(milestones=[1], factors=[-1]), "factors=-1", "at least 0"),
    "a factor that is no number": (lambda: Piecewise(milestones=[1], factors=["1"]), "factors='1'", "must be a number"),
    "no interpolation": (lambda: Piecewise(milestones=[1, 2], factors=[1, 2], interpolation="lnear"),
        "interpolation='lnear' (did you mean 'linear'?)", "exponential, step"),
    "too many interpolations": (
        lambda: Piecewise(milestones=[1, 2], factors=[1, 2], interpolation=["linear", "step"]),
        "2 interpolations and 2 factors", "one fewer than factors"),
    "exponential interpolation to 0": (
        lambda: Piecewise(milestones=[1, 2], factors=[1, 0], interpolation="exponential"),
        "interpolation='exponential' from 1 to 0", "never reaches 0"),
    "unsorted points": (lambda: resolve(Piecewise(milestones=[60, "30%"], factors=[1, 0])), "milestones=[60, '30%']",
        "sort them"),
    "function that is none": (lambda: Custom(function=3), "function=3", "lambda p: 1 - p", "dotted path"),
    "function that is not there": (lambda: Custom(function="math.coss"), "function='math.coss' is not found"),
    "function in no module": (lambda: Custom(function="late"), "function='late' is not found", "PYTHONPATH=."),
    "constant for a function": (lambda: Custom(function="math.pi"), "function=3.14", "dotted path"),
    "function that fails": (lambda: Custom(function=lambda p: 1 / p), "gives ZeroDivisionError", "at the progress 0",
        "at least 0"),
    "function below 0": (lambda: Custom(function=lambda p: 1 - 2 * p), "gives -0.25", "at the progress 0.625"),
    "function of no number": (lambda: Custom(function=lambda p: "1"), "gives '1' at the progress 0"),
    "function without an end": (lambda: resolve(Custom(function=math.cos), total=None), "Custom needs to know"),
    "a factor that is a plateau": (lambda: Product(schedules=[Fixed(), Plateau()]), "Plateau() cannot be multiplied"),
    "a factor that moves momentum": (lambda: resolve(Product(schedules=[Fixed(), OneCycle()])),
        "OneCycle() moves the momentum", "cycle_momentum=False"),

    "factory": (lambda: TorchSchedule(factory="StepLR"), "factory='StepLR'", "functools.partial(StepLR, step_size=30)"),
    "factory of something else": (lambda: resolve(TorchSchedule(factory=lambda optimizer: 3)), "factory made a int",
        "functools.partial"),
    "factory of a torch plateau": (lambda: resolve(TorchSchedule(factory=lr_scheduler.ReduceLROnPlateau)),
        "waits for a metric", "use Plateau"),
    "factory that lacks an argument": (lambda: resolve(TorchSchedule(factory=lr_scheduler.StepLR)), "step_size"),
    "torch scheduler that ends early": (
        lambda: resolve(TorchSchedule(factory=partial(lr_scheduler.OneCycleLR, max_lr=PEAK, total_steps=50))),
        "OneCycleLR stops after", "the run goes on"),
    "torch scheduler on an unknown peak": (
        lambda: resolve(TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=3)), peak=None),
        "needs the peak LR", "resolve(horizon, peak=...)"),
    "torch scheduler by the epoch": (
        lambda: TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=3), interval="epoch").resolve(
            Horizon(total_steps=100), PEAK), "interval='1 epoch' needs steps_per_epoch"),
    "interval": (lambda: TorchSchedule(factory=lr_scheduler.StepLR, interval="epochs"),
        "interval='epochs' (did you mean 'epoch'?)", "step, epoch"),
    "a user's factory in a checkpoint": (
        lambda: from_description(TorchSchedule(factory=lambda optimizer: None).describe()), "cannot be built",
        "in the settings"),

    "unknown schedule in a checkpoint": (lambda: from_description({"schedule": "Mystery"}), "'Mystery'", "import"),
    "negative position": (lambda: resolve(Fixed())(-1), "position=-1", "counted from 0"),
}
# fmt: on


@pytest.mark.parametrize(("call", "parts"), [(call, parts) for call, *parts in BAD.values()], ids=BAD.keys())
def test_bad_input(call: Callable[[], Any], parts: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the parts below are the match
        call()
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, str(caught.value)


@pytest.mark.parametrize("row", [row for row in TABLE if row.horizon is ENDLESS], ids=lambda row: row.id)
def test_no_total_no_percent(row: Row) -> None:
    """What runs without an end still refuses a length that is a share of it."""
    with pytest.raises(HorizonError, match="needs to know how many updates"):
        dataclasses.replace(row.schedule, warmup="10%").resolve(row.horizon)


def test_long_warmup_is_a_warning() -> None:
    Cosine(warmup=50).resolve(RUN)
    with pytest.warns(UserWarning, match="warmup=51 is 51 updates, and the run does 100: more than half"):
        Cosine(warmup=51).resolve(RUN)
    with pytest.warns(UserWarning, match="more than half"):
        all_warmup = Cosine(warmup="100%").resolve(RUN)
    assert all_warmup(99) == 1


@pytest.mark.parametrize(
    "config", [{"milestones": ["50%", 75]}, {"milestones": [10], "schedules": [Fixed(), Linear()]}]
)
def test_config_lists_become_plain(config: dict[str, Any]) -> None:
    """The list type of a config would fail in a checkpoint hours later."""
    milestones = OmegaConf.create(config["milestones"])
    kind = Sequence if "schedules" in config else MultiStep
    schedule = kind(**{**config, "milestones": milestones})
    assert type(schedule.milestones) is tuple
    assert schedule == kind(**config)
    assert json.loads(json.dumps(schedule.describe()))["milestones"] == config["milestones"]


def test_misspelt_and_missing_arguments() -> None:
    with pytest.raises(TypeError, match="warmpu"):
        Cosine(warmpu=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="step_size"):
        Step()  # type: ignore[call-arg]
