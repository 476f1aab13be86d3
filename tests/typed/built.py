"""Random arguments for every public constructor: it works with them, or refuses them in words of ours."""

from __future__ import annotations

import inspect
import linecache
import math
import random
import time
import warnings
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.optim.lr_scheduler import OneCycleLR, StepLR

import lr_recipes
from lr_recipes import (
    Horizon,
    LearningRateLogger,
    LearningRateRangeTest,
    LearningRateScheduler,
    LearningRateWarmup,
    preview,
    schedules,
)
from lr_recipes.plan.horizon import Duration
from lr_recipes.schedules import Schedule
from lr_recipes.sweep.result import RangeTest, Sweep

_OURS = str(Path(lr_recipes.__file__).parent)
_LONGEST = 2000  # characters of a message
_SECONDS = 60.0
RUN = Horizon(total_steps=100, steps_per_epoch=10, samples_per_step=8, tokens_per_sample=20)
UPDATES = 100


class Odd:
    """Fails whatever it is asked."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("odd")

    __repr__ = __str__ = __eq__ = __bool__ = __len__ = __iter__ = __lt__ = __hash__ = _fail  # type: ignore[assignment]


class Wordy:
    def __repr__(self) -> str:
        return "word\n" * 10**5


class Everything:
    """Is equal to everything, and larger."""

    def __eq__(self, other: object) -> bool:
        return True

    def __gt__(self, other: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


ODD: list[Any] = [
    10**400, -(10**400), 10**5000, 2**63, 10**16, 10**15, -1, 0, 1, 3, True, False, None, math.nan, math.inf, -math.inf,
    5e-324, 1.7976931348623157e308, -0.0, 0.5, 1.0, 1j, Decimal(1), Fraction(1, 3), Ellipsis, object(), Path("x"),
    "", " ", "5%", "5 epochs", "1e400", "9" * 300, "9" * 10**6, "x" * 10**6, "1_0 samples", "٣ steps", "\udcff",
    "é\x00\n", "1e-9ep", b"5%", [], [1], [1, 2, 3], ["50%", "5 epochs"], (0.5,), {}, {"a": 1}, {1: 2}, {3, 4}, range(3),
    list(range(10**5)), [[1]], [math.nan], [None], [None, 1], np.float64(0.5), np.float64("nan"), np.float32(0.5),
    np.int64(3), np.bool_(True), np.ones(3), np.ones((20, 20)), torch.tensor(0.5), torch.ones(3), int, print,
    Odd(), Wordy(), Everything(), [Odd()], [Everything()], schedules.Fixed(), {"SGD": schedules.Fixed()},
    [schedules.Fixed(), schedules.Linear()], Horizon(), RUN, Sweep(), Duration(5, "%"), Duration(math.nan, "steps"),
    Duration("x", "parsecs"), Duration(Odd(), "steps"),  # type: ignore[arg-type]
]  # fmt: skip
LENGTHS: list[Any] = [
    0,
    1,
    7,
    "5%",
    "100%",
    "3 steps",
    "2 epochs",
    "0.5ep",
    "40 samples",
    "800 tokens",
    "1.5 epochs",
    Duration(10, "%"),
]
SHARES = [0, 0.0, 0.1, 0.5, 1, 1.0, 1e-9]
_SAME: dict[tuple[str, ...], list[Any]] = {
    ("warmup", "step_size", "every", "timescale", "decay", "cycle", "duration", "given"): LENGTHS,
    ("end", "start"): [0, 0.1, 1, 2.5, 100],
    ("length",): [None, *LENGTHS],
    ("cycles",): [None, 1, 3, 10**6],
    ("beta", "exponent"): [1e-9, 0.5, 1, 2.5, 1e300],
    ("warmup_start_factor", "min_lr_ratio"): [None, *SHARES],
    ("gamma", "pct_start", "base_momentum", "max_momentum", "factor", "cycle_decay", "threshold"): SHARES,
    ("three_phase", "cycle_momentum", "plot", "apply", "replace", "summary"): [True, False],
    ("patience", "cooldown"): [0, 1, 10],
    ("div_factor", "final_div_factor", "cycle_mult", "power"): [1, 1.0, 2, 25.0, 1e4, 1e300],
}
GOOD: dict[str, list[Any]] = {
    **{name: values for names, values in _SAME.items() for name in names},
    "min_lr": [None, 0, 1e-3, 0.1, 0.2, 1e-320],
    "warmup_type": ["linear", "cosine", "exponential", "constant", "quadratic"],
    "decay_type": ["linear", "cosine", "1-sqrt", "exponential", "square"],
    "anneal_strategy": ["cos", "linear"],
    "shape": ["linear", "cosine", "1-sqrt", "square", "exponential"],
    "milestones": [["50%", "75%"], [1, 2], ["1 epoch"], [99], ["100%"]],
    "schedules": [[schedules.Fixed(), schedules.Linear()], [schedules.Cosine(warmup=3), schedules.Step(step_size=2)]],
    "factory": [partial(StepLR, step_size=3), partial(OneCycleLR, max_lr=1.0, total_steps=200), StepLR],
    "interval": ["step", "epoch"],
    "interpolation": ["linear", "step", "exponential", ["cosine"], ["1-sqrt", "square"]],
    "factors": [[1, 0.5], [0.1, 2.0], [1], [0, 1, 0]],
    "function": [math.cos, "math.exp", lambda p: 1 - p],
    "mode": ["min", "max", "exponential", "linear", "triangular", "triangular2", "exp_range"],
    "threshold_mode": ["rel", "abs"],
    "monitor": ["val_loss"],
    "total_steps": [None, 1, 100, 10**6, "100 steps", "1M samples", "3 epochs", "10B tokens"],
    "steps_per_epoch": [None, 1, 10, [10, 7], (3, 3, 3)],
    "samples_per_step": [None, 1, 8],
    "timed": [True, False],
    "max_time": [None, "8h", "90 minutes", "1 day"],
    "progress": ["updates", "time"],
    "tokens_per_sample": [None, 1, 2048, 312.5],
    "source": ["", "words"],
    "schedule": [schedules.Fixed(), schedules.Cosine(warmup="10%"), schedules.Plateau(), {"a": schedules.Linear()}],
    "resume": ["error", "checkpoint", "config", "restart"],
    "audit": ["warn", "error"],
    "findings": ["warn", "error", "off"],
    "names": ["groups", "monitor"],
    "dirpath": [None, "folder", Path("folder")],
    "max_lr": [10.0, 1, 1e300],
    "num_training_steps": [10, 100],
    "divergence": [2, 4.0],
    "rule": ["edge", "slide"],
    "epoch": [None, 0, 3],
    "optimizer": [None, 0, "Adam"],
    "horizon": [RUN, Horizon(total_steps=100), Horizon(total_steps=1000, steps_per_epoch=[10, 7])],
    "lr": [None, 0.1, 1, {"a": 0.1, "b": 1e-3}, schedules.Linear(warmup=3), "one_cycle", schedules.Plateau()],
    "built": [None, {}, {"weight_decay": 0.1}, {"beta2": {"group0": 0.9}}, {"momentum": 0.9}],
    "groups": [{0: schedules.Linear()}, {"group0": schedules.Cosine(), 1: "step"}, {"group.*": "fixed"}],
    "late": [{}, {"group7": schedules.Linear()}, {5: "cosine"}],
    "default": [None, "one_cycle", schedules.Fixed(warmup=3)],
    **{name: [None, schedules.Linear(warmup="5%"), "cosine"] for name in ("weight_decay", "momentum", "more")},
    "others": [{}, {"beta2": schedules.Linear()}, {"betas[1]": "cosine", "eps": schedules.Step(step_size=2)}],
    "title": ["", "mine"],
    "sweep": [Sweep(), Sweep(min_lr=1e-3, max_lr=1.0, num_training_steps=10)],
    "losses": [[], [1.0] * 9, [2 - n / 100 for n in range(100)], [1, 0.5, 1e300] * 4],
    "stop": ["max_lr", "diverged", "not finite", "interrupted"],
    "name": ["duration"],
    "minimum": [0, 1],
    "peak": [0.1],
}


_OURS_TO_GIVE = ("name", "minimum")  # arguments that say how to check another


def _public() -> list[Callable[..., Any]]:
    found = [
        getattr(schedules, name) for name in schedules.__all__ if name not in ("Schedule", "ToFloor", "Shape", "Span")
    ]
    return [
        *found, Horizon, Duration.parse, LearningRateScheduler, LearningRateLogger, LearningRateWarmup,
        LearningRateRangeTest, preview, Sweep, RangeTest,
    ]  # fmt: skip


PUBLIC = _public()


def draw(seed: int) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return something public and its arguments; from the seed alone."""
    rng = random.Random(seed)
    build = rng.choice(PUBLIC)
    parameters = inspect.signature(build).parameters.values()
    odd = set(rng.sample([one.name for one in parameters], min(rng.choice([0, 1, 1, 1, 2, 3]), len(parameters))))
    arguments = {}
    for one in parameters:
        if one.name in odd and one.name not in _OURS_TO_GIVE:
            arguments[one.name] = rng.choice(ODD)
        elif one.default is one.empty or rng.random() < 0.4:
            arguments[one.name] = rng.choice(GOOD[one.name])
    return build, arguments


def wrong_with(seed: int) -> str:
    """Build what the seed draws and use it; return what is wrong, or nothing."""
    build, arguments = draw(seed)
    started = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wrong = _used(build(**arguments))
        except Exception as error:
            wrong = not_ours(error)
    seconds = time.monotonic() - started
    if not wrong and seconds > _SECONDS:
        wrong = f"took {seconds:.0f} s"
    shown = ", ".join(f"{name}={_short(value)}" for name, value in arguments.items())
    return f"{getattr(build, '__qualname__', build)}({shown})\n    {wrong}" if wrong else ""


def _short(value: Any) -> str:
    try:
        return repr(value)[:100]
    except Exception:
        return f"<{type(value).__name__}>"


def not_ours(error: Exception) -> str:
    """What is wrong with an error: it must be raised on purpose, by a line of the package, and not be long."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    source, text = linecache.getline(file, line).strip(), str(error)
    if not file.startswith(_OURS) or not source.startswith("raise ") or not isinstance(error, (ValueError, TypeError)):
        return f"{type(error).__name__}: {text[:300]}, at {file}:{line}: {source}"
    if len(text) > _LONGEST or "\n" in text:
        return f"a message of {len(text):,} characters: {text[:300]!r}"
    return ""


def _used(made: Any) -> str:
    """What is wrong with something that was built; it is used as far as it goes without training."""
    if isinstance(made, Schedule):
        plan = made.plan(RUN, [0.1, 0.1])
        factors = [lr / 0.1 for n in range(UPDATES + 1) for lr in plan.lrs(n)]
        if not all(math.isfinite(one) and one >= 0 for one in factors):
            return f"its factors are {factors!r:.300}"
        repr(preview(made, RUN, lr={"group0": 0.1, "group1": 0.1}))
        if made.read(made.describe()) != made:
            return "it is another one when it is read back"
    elif isinstance(made, (Horizon, Duration)):
        RUN.steps(str(made)) if isinstance(made, Duration) else made.describe()
    elif isinstance(made, Sweep):
        lrs = [made.lr(n) for n in (0, 1, made.num_training_steps - 1)]
        if not all(math.isfinite(one) and one > 0 for one in lrs):
            return f"its LRs are {lrs}"
    elif isinstance(made, RangeTest):
        repr(made.table)
        made.as_dict()
    else:
        repr(made)
    return ""
