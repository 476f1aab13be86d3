"""Do the schedulers of others give the same factors as ours? `python -m benchmarks.parity` writes docs/coming_from.md.

Each row of the page's tables is an old line and a new one. They are evaluated as they stand there, on a run of 1,000
updates with a peak of 1, and their factors are compared at every position, 0 to 999. Rows of a package that is not
installed stay as they are. Projects that nobody installs for this (NeMo, Megatron-LM, ...) are here as formulas, each
with the file that it was read from: `t` is the update, counted from 0, `p` and `q` the progress of a decay.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.optim import SGD, lr_scheduler

from lr_recipes import Horizon, schedules

PAGE = Path(__file__).parents[1] / "docs" / "coming_from.md"
TOTAL = 1000
EXACT = 1e-12  # more than rounding leaves where the same formula is computed in another order
Formula = Callable[[int], float]
Shape = Callable[[float], float]


class Row(NamedTuple):
    """An old line and the new one.

    Args:
        old: as it is typed where one comes from.
        new: the schedule; for a scheduler that has no equal here, the nearest.
        formula: what ``old`` computes, where it is not evaluated.
        total: the ``total_steps`` that the new line is given.
        why: why there is no equal.
    """

    old: str
    new: str
    formula: Formula | None = None
    total: int = TOTAL
    why: str = ""

    def theirs(self, scope: Mapping[str, Any]) -> list[float]:
        """The factor of each update."""
        optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        made = self.formula or eval(self.old, {**scope, "optimizer": optimizer, "math": math})
        if callable(made):
            return [float(made(n)) for n in range(TOTAL)]
        used = []
        for n in range(TOTAL):
            if hasattr(made, "step_update"):  # timm's, which are told where they are
                made.step_update(n)
            elif n:
                optimizer.step()
                made.step()
            used.append(float(optimizer.param_groups[0]["lr"]))
        return used

    def ours(self) -> list[float]:
        """The factor of each update, of the new line."""
        scope = {**vars(lr_scheduler), **vars(schedules), "partial": functools.partial, "math": math}
        curve = eval(self.new, scope).resolve(Horizon(total_steps=self.total), peak=1.0)
        return [curve(n) for n in range(TOTAL)]

    def line(self, scope: Mapping[str, Any]) -> str:
        largest = max(abs(a - b) for a, b in zip(self.theirs(scope), self.ours(), strict=True))
        said = f"exact ({largest:.0e})" if 0 < largest < EXACT else f"{largest:.2g}" if largest else "exact"
        new = f"`{self.new}`" + (f", `total_steps={self.total}`" if self.total != TOTAL else "")
        return f"| {' | '.join([f'`{self.old}`', new, said, *([self.why] if self.why else [])])} |"


# Formulas


def _half_cosine(p: float) -> float:
    return (1 + math.cos(math.pi * p)) / 2


def _joined(warmup: Formula, until: int, decay: Formula, minimum: float = 0.0) -> Formula:
    """A warmup up to an update, that one included; then a decay, as a share of what lies above the minimum."""
    return lambda t: warmup(t) if t <= until else minimum + (1 - minimum) * decay(t)


def _progress(start: int, end: int) -> Formula:
    return lambda t: (t - start) / (end - start)


def _cosine(start: int, end: int) -> Formula:
    p = _progress(start, end)
    return lambda t: _half_cosine(min(p(t), 1.0))


def _stairs(warmup: int) -> Formula:
    """W + 1 equal stairs, of which update 0 is on the first and update W on the last."""
    return lambda t: (t + 1) / (warmup + 1)


def nemo(name: str, warmup: int, minimum: float = 0.0, power: float = 1.0) -> Formula:
    """NeMo, nemo/core/optim/lr_scheduler.py."""
    p = _progress(warmup, TOTAL)
    decays: dict[str, Formula] = {
        "CosineAnnealing": _cosine(warmup, TOTAL),
        "PolynomialDecayAnnealing": lambda t: (1 - p(t)) ** power,
        "InverseSquareRootAnnealing": lambda t: math.sqrt((warmup + 1) / (t + 1)),
    }
    return _joined(_stairs(warmup), warmup, decays[name], minimum)


def nemo_noam(warmup: int) -> Formula:
    """The same file, NoamAnnealing, as a share of the highest LR: updates 0 and 1 are on the same stair."""
    return lambda t: min(max(t, 1) / warmup, math.sqrt(warmup / max(t, 1)))


def megatron(style: str, warmup: int, minimum: float = 0.0, decay: int = 0) -> Formula:
    """Megatron-LM, megatron/core/optimizer_param_scheduler.py: from 0, at update 0, to the peak at update W."""
    p, q = _progress(warmup, TOTAL), _progress(TOTAL - decay, TOTAL)
    decays: dict[str, Formula] = {
        "cosine": _cosine(warmup, TOTAL),
        "linear": lambda t: 1 - p(t),
        "inverse-square-root": lambda t: math.sqrt(warmup / t),
        "WSD linear": lambda t: 1 - max(q(t), 0),
        "WSD minus_sqrt": lambda t: 1 - math.sqrt(max(q(t), 0)),
        "WSD exponential": lambda t: 2 * 0.5 ** max(q(t), 0) - 1,
    }
    return _joined(lambda t: t / warmup, warmup, decays[style], minimum)


def torchtitan(decay_type: str, warmup: int, decay: int, minimum: float = 0.0) -> Formula:
    """torchtitan, torchtitan/components/optimizer/lr_scheduler.py: one more stable update than there are, of T + 1."""
    stable = TOTAL + 1 - warmup - decay
    shapes: dict[str, Shape] = {"linear": lambda q: 1 - q, "sqrt": lambda q: 1 - math.sqrt(q), "cosine": _half_cosine}

    def after(t: int) -> float:
        done = t + 1 - warmup - stable
        return shapes[decay_type](done / decay) if done > 0 else 1.0

    return _joined(lambda t: (t + 1) / warmup, warmup - 1, after, minimum)


def nanogpt(warmup: int, minimum: float) -> Formula:
    """nanoGPT, train.py, get_lr."""
    return _joined(_stairs(warmup), warmup, _cosine(warmup, TOTAL), minimum)


def olmo(decay: str, warmup: int, minimum: float, start: float = 0.1) -> Formula:
    """OLMo, olmo/optim.py, whose trainer (olmo/train.py) counts an update before it: the first one is at t = 1."""
    p = _progress(warmup, TOTAL)
    decays: dict[str, Formula] = {"cosine": _cosine(warmup, TOTAL), "linear": lambda t: 1 - min(p(t), 1.0)}
    formula = _joined(lambda t: start + (1 - start) * t / warmup, warmup, decays[decay], minimum)
    return lambda t: formula(t + 1)


def composer(name: str, warmup: int, minimum: float = 0.0) -> Formula:
    """composer, composer/optim/scheduler.py."""
    p = _progress(warmup, TOTAL)
    decays: dict[str, Formula] = {
        "cosine": _cosine(warmup, TOTAL),
        "linear": lambda t: 1 - p(t),
        "constant": lambda t: 1,
    }
    return _joined(lambda t: t / warmup, warmup, decays[name], minimum)


def keras(warmup: int, start: float, minimum: float) -> Formula:
    """Keras, keras/src/optimizers/schedules/learning_rate_schedule.py, CosineDecay."""
    return _joined(lambda t: start + (1 - start) * t / warmup, warmup, _cosine(warmup, TOTAL), minimum)


def deepspeed(warmup_type: str, warmup: int, minimum: float) -> Formula:
    """DeepSpeed, deepspeed/runtime/lr_schedules.py, WarmupCosineLR: the first update, made before it steps, uses 0."""
    rises: dict[str, Formula] = {"log": lambda t: math.log(t + 1) / math.log(warmup), "linear": lambda t: t / warmup}
    after = _joined(rises[warmup_type], warmup - 1, _cosine(warmup - 1, TOTAL - 1), minimum)
    return lambda t: after(t - 1) if t else 0.0


def dolomite(warmup: int, b: float, knee: float) -> Formula:
    """dolomite-engine, dolomite_engine/optimization/scheduler.py, PowerScheduler: a / peak x (c x t)^b, 1 at a knee."""
    power: Formula = lambda t: min(1.0, (t / knee) ** b)  # noqa: E731 - a def could not be a short line
    return _joined(lambda t: power(warmup) * t / warmup, warmup, power)


# The tables


TORCH = [
    Row("StepLR(optimizer, 300, gamma=0.5)", "Step(step_size=300, gamma=0.5)"),
    Row("MultiStepLR(optimizer, [500, 750])", "MultiStep(milestones=[500, 750])"),
    Row("ExponentialLR(optimizer, 0.99)", "Exponential(gamma=0.99, every=1)"),
    Row("CosineAnnealingLR(optimizer, 1000)", "Cosine()"),
    Row("CosineAnnealingLR(optimizer, 1000, eta_min=0.1)", "Cosine(min_lr=0.1)"),
    Row("PolynomialLR(optimizer, 1000, power=2)", "Polynomial(power=2)"),
    Row("LinearLR(optimizer, 1, 0.1, total_iters=1000)", "Linear(min_lr_ratio=0.1)"),
    Row("LinearLR(optimizer, 0.1, 1, total_iters=100)", "Fixed(warmup=100, warmup_start_factor=0.1)"),
    Row(
        "ConstantLR(optimizer, 0.25, total_iters=50)",
        'Fixed(warmup=50, warmup_type="constant", warmup_start_factor=0.25)',
    ),
    Row("CosineAnnealingWarmRestarts(optimizer, 100, T_mult=2)", "CosineRestarts(cycle=100, cycle_mult=2)"),
    Row("OneCycleLR(optimizer, max_lr=1.0, total_steps=1000, cycle_momentum=False)", "OneCycle(cycle_momentum=False)"),
    Row(
        "OneCycleLR(optimizer, max_lr=1.0, total_steps=1000, three_phase=True, cycle_momentum=False)",
        "OneCycle(three_phase=True, cycle_momentum=False)",
    ),
    Row(
        "SequentialLR(optimizer, [LinearLR(optimizer, 1 / 100, 1, 99), CosineAnnealingLR(optimizer, 900)], [100])",
        "Cosine(warmup=100)",
    ),
    Row(
        "SequentialLR(optimizer, [LinearLR(optimizer, 0.1, 1, 100), CosineAnnealingLR(optimizer, 900)], [100])",
        "Cosine(warmup=100, warmup_start_factor=0.1)",
    ),
    Row(
        "SequentialLR(optimizer, [ExponentialLR(optimizer, 0.99), StepLR(optimizer, 200)], [300])",
        "Sequence(schedules=[Exponential(gamma=0.99, every=1), Step(step_size=200)], milestones=[300])",
    ),
    Row("CyclicLR(optimizer, 0.1, 1.0, step_size_up=50, cycle_momentum=False)", "Cyclic(cycle=100, min_lr=0.1)"),
    Row(
        'CyclicLR(optimizer, 0.1, 1.0, step_size_up=50, step_size_down=150, mode="triangular2", cycle_momentum=False)',
        'Cyclic(cycle=200, pct_start=0.25, mode="triangular2", min_lr=0.1)',
    ),
    Row(
        'CyclicLR(optimizer, 0.1, 1.0, step_size_up=50, mode="exp_range", gamma=0.999, cycle_momentum=False)',
        'Cyclic(cycle=100, mode="exp_range", gamma=0.999, min_lr=0.1)',
    ),
    Row("LinearLR(optimizer, 0.2, 0.8, total_iters=500)", "Ramp(start=0.2, end=0.8, length=500)"),
    Row("LambdaLR(optimizer, lambda t: 1 - (t / 1000) ** 4)", "Custom(function=lambda p: 1 - p**4)"),
    Row(
        "LambdaLR(optimizer, lambda t: 1 / (1 + t))",
        "TorchSchedule(factory=partial(LambdaLR, lr_lambda=lambda t: 1 / (1 + t)))",
    ),
    Row(
        "MultiplicativeLR(optimizer, lambda t: 0.99)",
        "TorchSchedule(factory=partial(MultiplicativeLR, lr_lambda=lambda t: 0.99))",
    ),
    Row(
        "ChainedScheduler([StepLR(optimizer, 300), ExponentialLR(optimizer, 0.99)])",
        "Product(schedules=[Step(step_size=300), Exponential(gamma=0.99, every=1)])",
    ),
    Row(
        "ChainedScheduler([ConstantLR(optimizer, 0.5, 10), ExponentialLR(optimizer, 0.99)])",
        'Exponential(gamma=0.99, every=1, warmup=10, warmup_type="constant", warmup_start_factor=0.5)',
    ),
]
TRANSFORMERS = [
    Row("get_constant_schedule(optimizer)", "Fixed()"),
    Row("get_constant_schedule_with_warmup(optimizer, 100)", "Fixed(warmup=100, warmup_start_factor=0)"),
    Row("get_linear_schedule_with_warmup(optimizer, 100, 1000)", "Linear(warmup=100, warmup_start_factor=0)"),
    Row("get_cosine_schedule_with_warmup(optimizer, 100, 1000)", "Cosine(warmup=100, warmup_start_factor=0)"),
    Row(
        "get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 100, 1000, num_cycles=3)",
        "CosineRestarts(cycles=3, warmup=100, warmup_start_factor=0)",
    ),
    Row(
        "get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, 100, 1000, num_cycles=7)",
        "Custom(function=lambda p: (1 + math.cos(math.pi * (7 * p % 1))) / 2, warmup=100, warmup_start_factor=0)",
    ),
    Row(
        "get_polynomial_decay_schedule_with_warmup(optimizer, 100, 1000, lr_end=0.1, power=2)",
        "Polynomial(power=2, min_lr=0.1, warmup=100, warmup_start_factor=0)",
    ),
    Row("get_inverse_sqrt_schedule(optimizer, 100)", "InverseSqrt(warmup=100, warmup_start_factor=0)"),
    Row(
        "get_cosine_with_min_lr_schedule_with_warmup(optimizer, 100, 1000, min_lr_rate=0.1)",
        "Cosine(min_lr_ratio=0.1, warmup=100, warmup_start_factor=0)",
    ),
    Row(
        "get_cosine_with_min_lr_schedule_with_warmup_lr_rate(optimizer, 100, 1000, min_lr_rate=0.1)",
        "Cosine(min_lr_ratio=0.1, warmup=99, warmup_start_factor=1 / 100)",
        total=999,
    ),
    Row(
        "get_wsd_schedule(optimizer, 100, 200, num_training_steps=1000)",
        'WarmupStableDecay(decay=200, decay_type="cosine", warmup=100, warmup_start_factor=0)',
    ),
    Row(
        'get_wsd_schedule(optimizer, 100, 200, num_training_steps=1000, decay_type="1-sqrt", min_lr_ratio=0.1)',
        "WarmupStableDecay(decay=200, min_lr_ratio=0.1, warmup=100, warmup_start_factor=0.1)",
    ),
]
TIMM = [
    Row(
        "CosineLRScheduler(optimizer, 900, warmup_t=100, warmup_prefix=True, t_in_epochs=False)",
        "Cosine(warmup=100, warmup_start_factor=0)",
    ),
    Row(
        "CosineLRScheduler(optimizer, 900, lr_min=0.01, warmup_t=100, warmup_lr_init=0.1, warmup_prefix=True, "
        "t_in_epochs=False)",
        "Cosine(min_lr=0.01, warmup=100, warmup_start_factor=0.1)",
    ),
    Row(
        "PolyLRScheduler(optimizer, 900, power=2, warmup_t=100, warmup_prefix=True, t_in_epochs=False)",
        "Polynomial(power=2, warmup=100, warmup_start_factor=0)",
    ),
    Row(
        "CosineLRScheduler(optimizer, 250, lr_min=0.01, cycle_decay=0.5, cycle_limit=4, t_in_epochs=False)",
        "CosineRestarts(cycles=4, cycle_decay=0.5, min_lr=0.01)",
    ),
    Row(
        "CosineLRScheduler(optimizer, 1000, k_decay=2, t_in_epochs=False)",
        "Custom(function=lambda p: (1 + math.cos(math.pi * p**2)) / 2)",
    ),
    Row("StepLRScheduler(optimizer, 300, decay_rate=0.5, t_in_epochs=False)", "Step(step_size=300, gamma=0.5)"),
    Row(
        "MultiStepLRScheduler(optimizer, [500, 750], decay_rate=0.1, t_in_epochs=False)",
        "MultiStep(milestones=[499, 749])",
    ),
    Row(
        "WSDLRScheduler(optimizer, 900, 200, warmup_t=100, t_in_epochs=False)",
        "WarmupStableDecay(decay=200, warmup=100, warmup_start_factor=0)",
    ),
]
OPTAX = [
    Row("cosine_decay_schedule(1.0, 1000, alpha=0.1)", "Cosine(min_lr_ratio=0.1)"),
    Row("warmup_cosine_decay_schedule(0.0, 1.0, 100, 1000)", "Cosine(warmup=100, warmup_start_factor=0)"),
    Row("linear_schedule(1.0, 0.1, 1000)", "Linear(min_lr_ratio=0.1)"),
    Row("polynomial_schedule(1.0, 0.1, 2, 1000)", "Polynomial(power=2, min_lr_ratio=0.1)"),
    Row("exponential_decay(1.0, 100, 0.5)", "Exponential(gamma=0.5, every=100)"),
    Row("exponential_decay(1.0, 100, 0.5, end_value=0.1)", "Exponential(gamma=0.5, every=100, min_lr_ratio=0.1)"),
    Row(
        'piecewise_interpolate_schedule("cosine", 1.0, {300: 0.5, 800: 0.2})',
        'Piecewise(milestones=[0, 300, 800], factors=[1, 0.5, 0.1], interpolation="cosine")',
    ),
    Row("piecewise_constant_schedule(1.0, {500: 0.1, 750: 0.1})", "MultiStep(milestones=[500, 750])"),
    Row("warmup_constant_schedule(0.0, 1.0, 100)", "Fixed(warmup=100, warmup_start_factor=0)"),
    Row(
        "cosine_onecycle_schedule(1000, 1.0)",
        "OneCycle(pct_start=301 / 1001, cycle_momentum=False)",
        total=1001,
    ),
    Row(
        "join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 600)], [400])",
        "Sequence(schedules=[Fixed(), Linear()], milestones=[400])",
    ),
]
PROJECTS = [
    Row(
        "NeMo: CosineAnnealing(warmup_steps=100, min_lr=0.1)",
        "Cosine(min_lr=0.1, warmup=100, warmup_start_factor=1 / 101)",
        nemo("CosineAnnealing", 100, minimum=0.1),
    ),
    Row(
        "NeMo: PolynomialDecayAnnealing(warmup_steps=100, power=2)",
        "Polynomial(power=2, warmup=100, warmup_start_factor=1 / 101)",
        nemo("PolynomialDecayAnnealing", 100, power=2),
    ),
    Row(
        "NeMo: InverseSquareRootAnnealing(warmup_steps=100)",
        "InverseSqrt(timescale=101, warmup=100, warmup_start_factor=1 / 101)",
        nemo("InverseSquareRootAnnealing", 100),
    ),
    Row(
        "Megatron-LM: --lr-decay-style cosine --lr-warmup-iters 100 --min-lr 0.1",
        "Cosine(min_lr=0.1, warmup=100, warmup_start_factor=0)",
        megatron("cosine", 100, minimum=0.1),
    ),
    Row(
        "Megatron-LM: --lr-decay-style linear --lr-warmup-iters 100",
        "Linear(warmup=100, warmup_start_factor=0)",
        megatron("linear", 100),
    ),
    Row(
        "Megatron-LM: --lr-decay-style inverse-square-root --lr-warmup-iters 100",
        "InverseSqrt(warmup=100, warmup_start_factor=0)",
        megatron("inverse-square-root", 100),
    ),
    Row(
        "Megatron-LM: --lr-decay-style WSD --lr-wsd-decay-style minus_sqrt --lr-wsd-decay-iters 200 "
        "--lr-warmup-iters 100",
        "WarmupStableDecay(decay=200, warmup=100, warmup_start_factor=0)",
        megatron("WSD minus_sqrt", 100, decay=200),
    ),
    Row(
        "torchtitan: warmup_steps=100, decay_type='cosine', min_lr_factor=0.1",
        "Cosine(min_lr_ratio=0.1, warmup=100)",
        torchtitan("cosine", 100, 900, minimum=0.1),
    ),
    Row(
        "torchtitan: warmup_steps=100, decay_ratio=0.2, decay_type='sqrt'",
        "WarmupStableDecay(decay=200, warmup=100)",
        torchtitan("sqrt", 100, 200),
    ),
    Row(
        "nanoGPT: warmup_iters=100, lr_decay_iters=1000, min_lr=0.1",
        "Cosine(min_lr=0.1, warmup=100, warmup_start_factor=1 / 101)",
        nanogpt(100, minimum=0.1),
    ),
    Row(
        "OLMo: cosine_with_warmup, t_warmup=100, alpha_f=0.1",
        "Cosine(min_lr_ratio=0.1, warmup=99, warmup_start_factor=0.1 + 0.9 / 100)",
        olmo("cosine", 100, minimum=0.1),
        total=999,
    ),
    Row(
        "OLMo: linear_with_warmup, t_warmup=100, alpha_f=0, warmup_min_lr=0",
        "Linear(warmup=99, warmup_start_factor=1 / 100)",
        olmo("linear", 100, minimum=0.0, start=0.0),
        total=999,
    ),
    Row(
        'composer: CosineAnnealingWithWarmupScheduler(t_warmup="100ba", alpha_f=0.1)',
        "Cosine(min_lr_ratio=0.1, warmup=100, warmup_start_factor=0)",
        composer("cosine", 100, minimum=0.1),
    ),
    Row(
        'composer: LinearWithWarmupScheduler(t_warmup="100ba")',
        "Linear(warmup=100, warmup_start_factor=0)",
        composer("linear", 100),
    ),
    Row(
        'composer: ConstantWithWarmupScheduler(t_warmup="100ba")',
        "Fixed(warmup=100, warmup_start_factor=0)",
        composer("constant", 100),
    ),
    Row(
        "Megatron-LM: --lr-decay-style inverse-square-root --lr-warmup-iters 100 --min-lr 0.5",
        "InverseSqrt(min_lr=0.5, warmup=100, warmup_start_factor=0)",
        lambda t: max(megatron("inverse-square-root", 100)(t), 0.5) if t > 100 else t / 100,
    ),
    Row(
        "Megatron-LM: --lr-decay-style WSD --lr-wsd-decay-style exponential --lr-wsd-decay-iters 200 "
        "--lr-warmup-iters 100",
        "Sequence(schedules=[Fixed(warmup=100, warmup_start_factor=0), Custom(function=lambda q: 2 * 0.5**q - 1)], "
        "milestones=[800])",
        megatron("WSD exponential", 100, decay=200),
    ),
    Row(
        "DeepSpeed: WarmupCosineLR(warmup_num_steps=100, cos_min_ratio=0.1)",
        "Sequence(schedules=[TorchSchedule(factory=partial(LambdaLR, lr_lambda=lambda t: math.log(max(t, 1)) / "
        "math.log(100))), Cosine(min_lr_ratio=0.1)], milestones=[100])",
        deepspeed("log", 100, minimum=0.1),
    ),
    Row(
        "dolomite-engine: PowerScheduler(num_warmup_steps=100, b=-0.51, ...), which has the peak up to update 120",
        "Power(timescale=120, warmup=100, warmup_start_factor=0)",
        dolomite(100, b=-0.51, knee=120),
    ),
    Row("init2winit: rex, beta=0.5", "Rex()", lambda t: (1 - t / TOTAL) / (1 - 0.5 * t / TOTAL)),
    Row("Keras: InverseTimeDecay(1.0, 100, 0.5)", "InverseTime(timescale=200)", lambda t: 1 / (1 + 0.5 * t / 100)),
    Row(
        "Keras: CosineDecay(0.1, 900, alpha=0.01, warmup_target=1.0, warmup_steps=100)",
        "Cosine(min_lr_ratio=0.01, warmup=100, warmup_start_factor=0.1)",
        keras(100, start=0.1, minimum=0.01),
    ),
]
NOT_NATIVE_TIMM = [
    Row(
        "CosineLRScheduler(optimizer, 1000, warmup_t=100, t_in_epochs=False)",
        "Cosine(warmup=100, warmup_start_factor=0)",
        why="Without `warmup_prefix` the cosine runs from update 0 on, unseen beneath the warmup, so the LR jumps down "
        "where the warmup has reached the peak.",
    ),
]
NOT_NATIVE = [
    Row(
        'DeepSpeed: WarmupCosineLR(warmup_num_steps=100, warmup_type="linear", cos_min_ratio=0.1)',
        "Cosine(min_lr_ratio=0.1, warmup=100, warmup_start_factor=0)",
        deepspeed("linear", 100, minimum=0.1),
        why="The warmup is one update late and the cosine is not, so the peak is left out.",
    ),
    Row(
        "NeMo: NoamAnnealing(warmup_steps=100)",
        "InverseSqrt(warmup=100, warmup_start_factor=0)",
        nemo_noam(100),
        why="Update 0 uses what update 1 uses; all others are equal.",
    ),
]


class Table(NamedTuple):
    """Rows whose old lines are evaluated in the names of a module, or are formulas."""

    rows: Sequence[Row]
    module: str = ""

    def written(self, old: str) -> str:
        """The table; the old one where the module is not installed."""
        try:
            scope = vars(importlib.import_module(self.module)) if self.module else {}
        except ImportError:
            return old
        head = ["old line", "schedule", "difference"] if not self.rows[0].why else ["", "nearest", "difference", "why"]
        lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(row.line(scope) for row in self.rows)]
        return "\n".join(lines) + "\n"


class Ends(NamedTuple):
    """What the updates at the ends of a warmup and of a run use, and the knobs that do the same here."""

    who: str
    formula: Formula
    knobs: str

    def line(self) -> str:
        values = (f"{self.formula(n):.3g}" for n in (0, 99, 100, 999))
        return f"| {' | '.join([self.who, *values, self.knobs])} |"


ENDS = [
    Ends("here, torch `SequentialLR` over `LinearLR(1 / W, 1, W - 1)`, torchtitan", torchtitan("cosine", 100, 900), ""),
    Ends(
        "transformers, timm, optax, Megatron-LM, composer, Keras",
        megatron("cosine", 100),
        "`warmup_start_factor=0`, or what it starts with",
    ),
    Ends("NeMo, nanoGPT", nanogpt(100, minimum=0.0), "`warmup_start_factor=1 / (W + 1)`"),
    Ends(
        "OLMo, transformers `cosine_warmup_with_min_lr`",
        olmo("cosine", 100, minimum=0.0, start=0.0),
        "`warmup=W - 1, warmup_start_factor=1 / W`, `total_steps=T - 1`",
    ),
]


def ends(old: str) -> str:
    """The table of the ends."""
    head = "| | update 0 | update 99 | update 100 | update 999 | knobs |\n|---|---|---|---|---|---|\n"
    return head + "".join(f"{one.line()}\n" for one in ENDS)


TABLES: dict[str, Callable[[str], str]] = {
    "ends": ends,
    "torch": Table(TORCH, "torch.optim.lr_scheduler").written,
    "transformers": Table(TRANSFORMERS, "transformers.optimization").written,
    "timm": Table(TIMM, "timm.scheduler").written,
    "optax": Table(OPTAX, "optax").written,
    "projects": Table(PROJECTS).written,
    "not native": Table(NOT_NATIVE).written,
    "not native of timm": Table(NOT_NATIVE_TIMM, "timm.scheduler").written,
}
_PLACE = re.compile(r"(<!-- parity: ([\w ]+) -->\n\n)((?:\|.*\n)*)\n?")


def written(page: str) -> str:
    """Return the page with its tables made anew."""
    return _PLACE.sub(lambda found: found[1] + TABLES[found[2]](found[3]) + "\n", page)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
