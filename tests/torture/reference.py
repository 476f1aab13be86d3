"""Every schedule and every warmup once more, as short formulas of their own: what a random run is compared with.

Nothing of the project is used but the fields of a schedule, which are what its user wrote. Update ``n``, counted from
0, uses ``base LR x factor(n)``. Where the scheduler is torch's own, it runs on an optimizer beside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

Factor = Callable[[int], float]


@dataclass(frozen=True)
class Facts:
    """What lengths and ends are made of.

    Attributes:
        total: updates of the plan, ``None`` where it has no end.
        epochs: updates of each epoch; later ones are as long as the last.
        samples: samples in an update.
        peak: the largest base LR.
    """

    total: int | None
    epochs: Sequence[int] = ()
    samples: int | None = None
    peak: float = 0.1


def factor(schedule: Any, facts: Facts) -> Factor:
    """Return position -> factor, with the warmup and what comes after the end."""
    if type(schedule).__name__ == "Hyperparameters":
        return factor(schedule.lr, facts)
    warmup = mark(schedule.warmup, facts)
    body, end, during_warmup = _BODIES[type(schedule).__name__](schedule, facts, warmup)
    ramp = warmup_factor(schedule.warmup_type, schedule.warmup_start_factor, warmup)
    level = ramp(0) if warmup and schedule.warmup_type == "constant" else 1.0

    def at(n: int) -> float:
        if facts.total is not None and n >= facts.total:
            if warmup and warmup == facts.total:  # all of it was warmup, and it stays where that has led
                return level * (end() if during_warmup else 1.0)
            return end()
        if n >= warmup:
            return body(n)
        return ramp(n) * (body(n) if during_warmup else 1.0)

    return at


def warmup_factor(kind: str, start: float | None, length: int) -> Factor:
    """Return the factor of update ``n < length`` of a warmup, and 1 afterwards."""
    ahead = 1 if start is None else 0  # by default update 0 is one step up already
    low = {"exponential": 1 / max(length, 1), "constant": 1 / 3}.get(kind, 0.0) if start is None else start

    def at(n: int) -> float:
        if n >= length:
            return 1.0
        r = (n + ahead) / length
        return {
            "linear": lambda: low + (1 - low) * r,
            "cosine": lambda: low + (1 - low) * (1 - math.cos(math.pi * r)) / 2,
            "exponential": lambda: low ** (1 - r),
            "constant": lambda: low,
        }[kind]()

    return at


def mark(length: int | str, facts: Facts, times: int = 1) -> int:
    """Return ``times`` x a length in updates, rounded half up; a length that is not 0 lasts an update each time."""
    if isinstance(length, int):
        return length * times
    number, unit = length.rstrip("%epochsaml "), length.lstrip("0123456789. ")
    value = float(number) * times
    if unit == "%":
        exact = value * (facts.total or 0) / 100
    elif unit == "samples":
        exact = value / (facts.samples or 1)
    else:  # "epoch", "epochs", "ep"
        whole = int(value)
        exact = sum(_epoch(facts, k) for k in range(whole)) + (value - whole) * _epoch(facts, whole)
    return max(math.floor(round(exact, 6) + 0.5), times) if exact > 0 else 0


def _epoch(facts: Facts, index: int) -> int:
    return facts.epochs[min(index, len(facts.epochs) - 1)]


def _passed(length: int | str, facts: Facts, n: int) -> int:
    """How many stretches of a length have passed at position ``n``."""
    times = 0
    while mark(length, facts, times + 1) <= n:
        times += 1
    return times


# For each schedule: position -> factor, what the plan ends at, and whether the first also counts in the warmup

Body = tuple[Factor, Callable[[], float], bool]


def _constant(schedule: Any, facts: Facts, warmup: int) -> Body:
    return (lambda n: 1.0), (lambda: 1.0), False


def _step(schedule: Any, facts: Facts, warmup: int) -> Body:
    at: Factor = lambda n: schedule.gamma ** _passed(schedule.step_size, facts, n)  # noqa: E731
    return at, (lambda: at(facts.total - 1)), True


def _multistep(schedule: Any, facts: Facts, warmup: int) -> Body:
    at: Factor = lambda n: schedule.gamma ** sum(mark(one, facts) <= n for one in schedule.milestones)  # noqa: E731
    return at, (lambda: at(facts.total - 1)), True


def _exponential(schedule: Any, facts: Facts, warmup: int) -> Body:
    def at(n: int) -> float:
        k = _passed(schedule.every, facts, n)
        start, stop = mark(schedule.every, facts, k) if k else 0, mark(schedule.every, facts, k + 1)
        return schedule.gamma ** (k + (n - start) / (stop - start))

    return at, (lambda: at(facts.total)), True


def _cosine(schedule: Any, facts: Facts, warmup: int) -> Body:
    return _decay(lambda p: (1 + math.cos(math.pi * p)) / 2, schedule, facts, warmup)


def _linear(schedule: Any, facts: Facts, warmup: int) -> Body:
    return _decay(lambda p: 1 - p, schedule, facts, warmup)


def _polynomial(schedule: Any, facts: Facts, warmup: int) -> Body:
    return _decay(lambda p: (1 - p) ** schedule.power, schedule, facts, warmup)


def _decay(fall: Callable[[float], float], schedule: Any, facts: Facts, warmup: int) -> Body:
    low, length = _floor(schedule, facts), max(facts.total - warmup, 1)
    return (lambda n: low + (1 - low) * fall((n - warmup) / length)), (lambda: low), False


def _inverse_sqrt(schedule: Any, facts: Facts, warmup: int) -> Body:
    scale = warmup if schedule.timescale is None else mark(schedule.timescale, facts)
    at: Factor = lambda n: math.sqrt(scale / (scale + n - warmup))  # noqa: E731
    return at, (lambda: at(facts.total)), False


def _warmup_stable_decay(schedule: Any, facts: Facts, warmup: int) -> Body:
    low, length = _floor(schedule, facts), mark(schedule.decay, facts)
    fall = {"linear": lambda q: 1 - q, "1-sqrt": lambda q: 1 - math.sqrt(q)}[schedule.decay_type]

    def at(n: int) -> float:
        q = max((n - (facts.total - length)) / length, 0.0)
        return low + (1 - low) * fall(q)

    return at, (lambda: low), False


def _cosine_restarts(schedule: Any, facts: Facts, warmup: int) -> Body:
    low = _floor(schedule, facts)

    def at(n: int, last: bool = False) -> float:
        start, length, k = warmup, float(mark(schedule.cycle, facts)), 0
        # The end of the plan belongs to the cycle that ends there, and any other position to the one that begins.
        while n > start + round(length) or (n == start + round(length) and not last):
            start, length, k = start + round(length), length * schedule.cycle_mult, k + 1
        high = max(schedule.cycle_decay**k, low)
        return low + (high - low) * (1 + math.cos(math.pi * (n - start) / round(length))) / 2

    return at, (lambda: at(facts.total, last=True)), False


def _one_cycle(schedule: Any, facts: Facts, warmup: int) -> Body:
    top, low = schedule.pct_start * facts.total - 1, 1 / schedule.div_factor

    def at(n: int) -> float:
        if n <= top:
            return 1 + (low - 1) * (1 + math.cos(math.pi * n / top)) / 2
        final, share = low / schedule.final_div_factor, (n - top) / (facts.total - 1 - top)
        return final + (1 - final) * (1 + math.cos(math.pi * share)) / 2

    return at, (lambda: at(facts.total - 1)), True


def _sequence(schedule: Any, facts: Facts, warmup: int) -> Body:
    starts = [0, *(mark(one, facts) for one in schedule.milestones)]
    lengths = [after - start for start, after in zip(starts, [*starts[1:], facts.total], strict=True)]
    phases = [
        factor(phase, replace(facts, total=length)) for phase, length in zip(schedule.schedules, lengths, strict=True)
    ]

    def at(n: int) -> float:
        k = sum(start <= n for start in starts) - 1
        return phases[k](n - starts[k])

    return at, (lambda: at(facts.total)), True


def _from_torch(schedule: Any, facts: Facts, warmup: int) -> Body:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=facts.peak)
    scheduler, lrs = schedule.factory(optimizer), []

    def at(n: int) -> float:
        ticks = n if schedule.interval == "step" else _passed("1 epoch", facts, n)
        while len(lrs) <= ticks:
            lrs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return lrs[ticks] / facts.peak

    return at, (lambda: at(facts.total - 1)), True


_BODIES: dict[str, Callable[[Any, Facts, int], Body]] = {
    "Fixed": _constant,
    "Plateau": _constant,
    "Step": _step,
    "MultiStep": _multistep,
    "Exponential": _exponential,
    "Cosine": _cosine,
    "Linear": _linear,
    "Polynomial": _polynomial,
    "InverseSqrt": _inverse_sqrt,
    "WarmupStableDecay": _warmup_stable_decay,
    "CosineRestarts": _cosine_restarts,
    "OneCycle": _one_cycle,
    "Sequence": _sequence,
    "TorchSchedule": _from_torch,
}


def _floor(schedule: Any, facts: Facts) -> float:
    return schedule.min_lr / facts.peak if schedule.min_lr is not None else schedule.min_lr_ratio or 0.0


class PlateauCuts:
    """How often a plateau has cut: torch's rule, for metrics above 0 of which less is better."""

    def __init__(self, schedule: Any) -> None:
        self.schedule, self.best, self.bad, self.rest, self.cuts = schedule, math.inf, 0, 0, 0

    def see(self, value: float) -> None:
        better = value < self.best * (1 - self.schedule.threshold)
        self.best = value if better else self.best
        self.bad = 0 if better or self.rest else self.bad + 1
        self.rest = max(self.rest - 1, 0)
        if self.bad > self.schedule.patience:
            self.cuts, self.bad, self.rest = self.cuts + 1, 0, self.schedule.cooldown

    def scale(self, facts: Facts) -> float:
        return max(self.schedule.factor**self.cuts, _floor(self.schedule, facts))
