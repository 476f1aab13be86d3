"""What moving the LR on by one update costs, beside other schedulers: `python -m benchmarks.schedule_cost`.

All follow a cosine over the same groups, and take turns; each number is the median of all turns. Compared with: the
least that can be done, a cosine in closed form and an assignment to each group. transformers and timm take part where
they are installed (the extra ``peers``).
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LinearLR, OneCycleLR, SequentialLR, StepLR

from lr_recipes import Horizon, schedules

TOTAL = 1_000_000
GROUPS = (1, 10, 100, 1000)
OURS, FLOOR, BARE = "lr_recipes", "closed-form cosine + bare assignment", "bare assignment"
Step = Callable[[], Any]


def optimizer_of(groups: int, tensor: bool = False) -> SGD:
    """Return an optimizer with so many groups, which has stepped once."""
    parameters: list[dict[str, Any]] = [
        {"name": f"{('even', 'odd')[n % 2]}{n}", "lr": torch.tensor(0.1) if tensor else 0.1} for n in range(groups)
    ]
    for group in parameters:
        group["params"] = [nn.Parameter(torch.zeros(1))]
    optimizer = SGD(parameters[:1], lr=0.1, momentum=0.9, weight_decay=0.01)
    # torch compares the parameters of a group that it is given with those of all others, which takes minutes.
    optimizer.param_groups += [{**optimizer.param_groups[0], **group} for group in parameters[1:]]
    optimizer.step()
    return optimizer


def bare(groups: int, tensor: bool) -> Step:
    """Write the same number into every group."""
    optimizer = optimizer_of(groups, tensor)

    def step() -> None:
        for group in optimizer.param_groups:
            if tensor:
                group["lr"].fill_(0.05)
            else:
                group["lr"] = 0.05

    return step


def closed_form(groups: int, tensor: bool) -> Step:
    """Compute a cosine and write it times the base LR into every group."""
    optimizer = optimizer_of(groups, tensor)
    bases, position = [0.1] * groups, 0

    def step() -> None:
        nonlocal position
        position += 1
        factor = 0.5 * (1 + math.cos(math.pi * position / TOTAL))
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            if tensor:
                group["lr"].fill_(base * factor)
            else:
                group["lr"] = base * factor

    return step


def of_ours(schedule: schedules.Schedule) -> Callable[[int, bool], Step]:
    """One of our bound schedules."""

    def make(groups: int, tensor: bool) -> Step:
        optimizer = optimizer_of(groups, tensor)
        bound = schedule.bind(optimizer, Horizon(total_steps=TOTAL))
        optimizer.step()
        return bound.step

    return make


ours = of_ours(schedules.Cosine())


def of_torch(build: Callable[[Any], Any]) -> Callable[[int, bool], Step]:
    """One of torch's schedulers."""

    def make(groups: int, tensor: bool) -> Step:
        optimizer = optimizer_of(groups, tensor)
        scheduler = build(optimizer)
        optimizer.step()
        step: Step = scheduler.step
        return step

    return make


def of_transformers(groups: int, tensor: bool) -> Step:
    """The cosine of transformers; a `LambdaLR`."""
    build = importlib.import_module("transformers").get_cosine_schedule_with_warmup
    return of_torch(lambda optimizer: build(optimizer, 0, TOTAL))(groups, tensor)


def of_timm(groups: int, tensor: bool) -> Step:
    """The cosine of timm, which is told the position."""
    build = importlib.import_module("timm.scheduler").CosineLRScheduler
    scheduler = build(optimizer_of(groups, tensor), t_initial=TOTAL, t_in_epochs=False)
    position = 0

    def step() -> None:
        nonlocal position
        position += 1
        scheduler.step_update(position)

    return step


CONTENDERS: dict[str, Callable[[int, bool], Step]] = {
    BARE: bare,
    FLOOR: closed_form,
    OURS: ours,
    "torch CosineAnnealingLR": of_torch(lambda optimizer: CosineAnnealingLR(optimizer, TOTAL)),
    "torch LambdaLR": of_torch(lambda optimizer: LambdaLR(optimizer, lambda n: math.cos(n / TOTAL))),
    "torch OneCycleLR": of_torch(lambda optimizer: OneCycleLR(optimizer, 0.1, TOTAL)),
    "torch SequentialLR(LinearLR, CosineAnnealingLR)": of_torch(
        lambda optimizer: SequentialLR(
            optimizer, [LinearLR(optimizer, 0.1, 1.0, 10), CosineAnnealingLR(optimizer, TOTAL)], [10]
        )
    ),
    "transformers get_cosine_schedule_with_warmup": of_transformers,
    "timm CosineLRScheduler.step_update": of_timm,
}
# What moves more than one curve of the LR, or nothing at most updates.
STEP, TWO, DECAY = "lr_recipes, Step", "lr_recipes, ByGroup with 2 curves", "lr_recipes, LR and weight decay"
MORE: dict[str, Callable[[int, bool], Step]] = {
    FLOOR: closed_form,
    OURS: ours,
    STEP: of_ours(schedules.Step(step_size="50%")),
    TWO: of_ours(schedules.ByGroup(groups={"even.*": schedules.Linear()}, default=schedules.Cosine())),
    DECAY: of_ours(schedules.Hyperparameters(lr=schedules.Cosine(), weight_decay=schedules.Linear())),
    "torch StepLR": of_torch(lambda optimizer: StepLR(optimizer, TOTAL // 2)),
    "torch LambdaLR with 2 functions": of_torch(
        lambda optimizer: LambdaLR(
            optimizer,
            [lambda n: math.cos(n / TOTAL), lambda n: 1 - n / TOTAL] * (len(optimizer.param_groups) // 2)
            + [lambda n: 1.0] * (len(optimizer.param_groups) % 2),
        )
    ),
    "torch OneCycleLR, LR and momentum": of_torch(lambda optimizer: OneCycleLR(optimizer, 0.1, TOTAL)),
    "timm CosineLRScheduler.step_update": of_timm,
}
MORE_GROUPS = (1, 10, 1000, 10_000)
# With a tensor LR: those that can do it at all, and keep it a tensor.
WITH_TENSORS = (BARE, FLOOR, OURS, "torch CosineAnnealingLR")


def measure(
    groups: int,
    *,
    tensor: bool = False,
    repeats: int = 100,
    seconds: float = 0.001,
    names: Sequence[str] = (),
    among: Mapping[str, Callable[[int, bool], Step]] = MappingProxyType({}),
) -> dict[str, float]:
    """Return the microseconds of a step for each contender that is installed.

    Args:
        groups: parameter groups.
        tensor: whether the LR is a tensor.
        repeats: turns.
        seconds: length of a turn; short, so that other processes interrupt few of them.
        names: contenders; by default all.
        among: what they are the names of; by default ``CONTENDERS``.
    """
    steps: dict[str, Step] = {}
    among = among or CONTENDERS
    for name in names or (WITH_TENSORS if tensor else among):
        try:
            steps[name] = among[name](groups, tensor)
        except ImportError:
            continue
    counts = {name: max(1, int(seconds / _seconds(step, 20))) for name, step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            times[name].append(1e6 * _seconds(step, counts[name]))
    return {name: statistics.median(values) for name, values in times.items()}


def _seconds(step: Step, count: int) -> float:
    begun = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - begun) / count


def table(repeats: int) -> str:
    """Measure all and return the microseconds of a step, and how many times the floor that is, as Markdown."""
    heads = [*(f"{groups:,} group{'s' * (groups > 1)}" for groups in GROUPS), "1 group, tensor LR"]
    columns = [measure(groups, repeats=repeats) for groups in GROUPS] + [measure(1, tensor=True, repeats=repeats)]
    return _as_table(heads, columns, CONTENDERS)


def table_of_more(repeats: int) -> str:
    """The same of schedules that move several curves, or hardly anything."""
    heads = [f"{groups:,} group{'s' * (groups > 1)}" for groups in MORE_GROUPS]
    columns = [measure(groups, repeats=repeats, among=MORE) for groups in MORE_GROUPS]
    return _as_table(heads, columns, MORE)


def _as_table(heads: Sequence[str], columns: Sequence[dict[str, float]], names: Iterable[str]) -> str:
    lines = [f"| us per update (times the floor) | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for name in names:
        cells = [f"{found[name]:.3g} ({found[name] / found[FLOOR]:.2g})" if name in found else "-" for found in columns]
        if name in columns[0]:
            lines.append(f"| {f'**{name}**' if name.startswith(OURS) else name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=100, help="turns of each (default: 100)")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(table(options.repeats), table_of_more(options.repeats), sep="\n\n")


if __name__ == "__main__":
    main()
