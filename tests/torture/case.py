"""What a random run is: everything in it is drawn from its seed.

A *feature* is a name for something that a case has drawn, such as ``"joined"`` or ``"StepLR"``. The report counts them,
and ``--without`` leaves them out; the other draws of a seed stay what they are.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch.optim import lr_scheduler

from lr_recipes import schedules
from lr_recipes.schedules.base import WARMUP_TYPES

GROUPS = ("a", "b", "c")  # "c" joins later
LRS = {"a": 0.1, "b": 0.001, "c": 0.005}
SHARES = (1.0, 0.5, 2.0)  # what the LRs of the first, second and third optimizer are multiplied by

# How a run is stopped, and where: the place is a moment of the batch that it happens at.
STOPS = {
    "kill": ("training_step", "step", "batch_end", "validation_step"),
    "exception": ("training_step", "batch_end", "validation_step"),
    "ctrl_c": ("training_step", "batch_end", "validation_step"),
    "time": ("batch_end",),
    "should_stop": ("training_step", "batch_end"),
}

Build = Callable[[Any, int], Any]

# How a module makes its own scheduler, given the optimizer and how often it may be stepped.
MODULE_SCHEDULERS: dict[str, Build] = {
    "StepLR": lambda one, calls: lr_scheduler.StepLR(one, step_size=3, gamma=0.5),
    "MultiStepLR": lambda one, calls: lr_scheduler.MultiStepLR(one, milestones=[2, 5], gamma=0.3),
    "ExponentialLR": lambda one, calls: lr_scheduler.ExponentialLR(one, gamma=0.9),
    "CosineAnnealingLR": lambda one, calls: lr_scheduler.CosineAnnealingLR(one, T_max=7, eta_min=1e-4),
    "CosineAnnealingWarmRestarts": lambda one, calls: lr_scheduler.CosineAnnealingWarmRestarts(one, T_0=3, T_mult=2),
    "LinearLR": lambda one, calls: lr_scheduler.LinearLR(one, start_factor=0.2, total_iters=5),
    "ConstantLR": lambda one, calls: lr_scheduler.ConstantLR(one, factor=0.5, total_iters=4),
    "PolynomialLR": lambda one, calls: lr_scheduler.PolynomialLR(one, total_iters=8, power=2),
    "LambdaLR": lambda one, calls: lr_scheduler.LambdaLR(one, lambda n: 1 / (1 + n) ** 0.5),
    "CyclicLR": lambda one, calls: lr_scheduler.CyclicLR(one, base_lr=0.01, max_lr=0.1, step_size_up=3),
    "OneCycleLR": lambda one, calls: lr_scheduler.OneCycleLR(one, max_lr=0.2, total_steps=calls),
    "SequentialLR": lambda one, calls: lr_scheduler.SequentialLR(
        one,
        [lr_scheduler.LinearLR(one, start_factor=0.1, total_iters=3), lr_scheduler.ExponentialLR(one, gamma=0.8)],
        milestones=[3],
    ),
    "ChainedScheduler": lambda one, calls: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(one, factor=0.5, total_iters=4), lr_scheduler.ExponentialLR(one, gamma=0.9)],
        optimizer=one,
    ),
    "ReduceLROnPlateau": lambda one, calls: lr_scheduler.ReduceLROnPlateau(one, patience=0, factor=0.5),
}


@dataclass
class Case:
    """One random run.

    Attributes:
        owner: ``"scheduler"``, ``"warmup"``, ``"logger"`` (alone, over a module's scheduler) or ``"bind"``.
        story: ``"whole"``; ``"resumed"``, stopped and resumed in another Trainer; ``"again"``, two fits of one Trainer.
        schedules: of each optimizer, the schedule that it follows; ``None`` for one that is left alone.
        module_scheduler: the kind of the module's own scheduler, for every optimizer.
        validates: every how many epochs; 0 for never.
        every: of each optimizer, at which batches it steps: at every one, at every second one ...
        stop: how and where the first run is stopped, and at which batch, counted over all epochs.
        policy: what is chosen where the plans of the two runs differ.
    """

    seed: int
    owner: str = "scheduler"
    story: str = "whole"
    schedules: list[Any] = field(default_factory=list)
    mapped: bool = False
    module_scheduler: str = ""
    frequency: int = 1
    warmup: int | str = 0
    warmup_type: str = "linear"
    range_test: bool = False
    interval: str = "step"
    optimizers: Sequence[str] = ("SGD",)
    every: Sequence[int] = (1,)
    manual: bool = False
    tensor_lr: bool = False
    batches: int = 6
    epochs: int = 3
    loaders: Sequence[int] = ()
    accumulate: int = 1
    accumulate_by_epoch: dict[int, int] = field(default_factory=dict)
    limit: int | float = 1.0
    max_steps: int = -1
    val_check_interval: float = 1.0
    validates: int = 1
    metric: str = "val_loss"
    metric_values: Sequence[float] = ()
    overflow: frozenset[int] = frozenset()
    lossless: frozenset[int] = frozenset()
    joins_at: int = -1
    leaves: tuple[int, str] | None = None
    rebuilt: tuple[int, str, float] | None = None
    changes_in: str = "on_train_batch_start"
    order: int = 0
    stop: tuple[str, str, int] | None = None
    savers: dict[str, Any] = field(default_factory=dict)
    pick: int = 0
    policy: str = "error"
    total_given: bool = False
    more_epochs: int = 0
    between: Sequence[str] = ()
    from_checkpoint: bool = False
    by_step: bool = False
    features: set[str] = field(default_factory=set)

    def __repr__(self) -> str:
        """What was drawn, without what is as by default."""
        empty = Case(self.seed)
        given = [(one.name, getattr(self, one.name)) for one in fields(self) if one.name not in ("seed", "features")]
        return f"Case({', '.join(f'{name}={value!r}' for name, value in given if value != getattr(empty, name))})"

    def sizes(self, epochs: int) -> list[int]:
        """Return the batches of each epoch."""
        lengths = [self.loaders[min(k, len(self.loaders) - 1)] if self.loaders else self.batches for k in range(epochs)]
        if isinstance(self.limit, float):
            return [int(length * self.limit) for length in lengths]
        return [min(length, self.limit) for length in lengths]

    def accumulation(self, epoch: int) -> int:
        """Return the batches of one update."""
        started = [start for start in self.accumulate_by_epoch if start <= epoch]
        return self.accumulate_by_epoch[max(started)] if started else self.accumulate

    def updates(self, epochs: int, optimizer: int = 0) -> list[int]:
        """Return the updates of each epoch, whether or not they change anything."""
        sizes = self.sizes(epochs)
        if self.manual:
            before = [sum(sizes[:k]) for k in range(epochs)]
            return [
                sum(batch % self.every[optimizer] == 0 for batch in range(start, start + size))
                for start, size in zip(before, sizes, strict=True)
            ]
        return [-(-size // self.accumulation(epoch)) for epoch, size in enumerate(sizes)]

    def total(self, epochs: int, optimizer: int = 0) -> int:
        """Return the updates of a run of so many epochs."""
        total = sum(self.updates(epochs, optimizer))
        return total if self.max_steps < 0 else min(total, self.max_steps)


class Dice:
    """The random numbers of a case, and the features that it may not have."""

    def __init__(self, seed: int, attempt: int, without: frozenset[str]) -> None:
        self.random = random.Random(f"{seed}.{attempt}")
        self.without, self.features = without, set[str]()

    def chance(self, feature: str, share: float) -> bool:
        """Whether the case has a feature."""
        drawn = self.random.random() < share and feature not in self.without
        if drawn:
            self.features.add(feature)
        return drawn

    def one_of(self, *shares: tuple[str, float]) -> str:
        """Choose one feature, by weights."""
        allowed = [(name, share) for name, share in shares if name not in self.without] or [shares[0]]
        (name,) = self.random.choices([name for name, _ in allowed], [share for _, share in allowed])
        self.features.add(name)
        return name


def draw(seed: int, attempt: int = 0, without: frozenset[str] = frozenset()) -> Case:
    """Return the case that belongs to ``seed``; with another ``attempt``, the next one where that one was refused."""
    dice = Dice(seed, attempt, without)
    owner = dice.one_of(("scheduler", 0.55), ("warmup", 0.25), ("logger", 0.1), ("bind", 0.1))
    case = Case(seed, owner=owner, features=dice.features)
    _draw_loop(case, dice)
    _draw_story(case, dice)
    if owner in ("warmup", "logger"):
        _draw_module_scheduler(case, dice)
    else:
        _draw_schedules(case, dice)
    _draw_groups(case, dice)
    _leave_out_what_is_unclear(case)
    return case


def _draw_loop(case: Case, dice: Dice) -> None:
    rng = dice.random
    case.epochs, case.batches, case.order = rng.randint(2, 4), rng.randint(3, 8), rng.randrange(100)
    case.interval = "epoch" if dice.chance("interval epoch", 0.25) else "step"
    case.optimizers = [rng.choice(["SGD", "SGD", "Adam"])]
    case.tensor_lr = dice.chance("tensor LR", 0.15)
    case.metric_values = [rng.choice([1.0, 0.9, 0.8, 0.7]) for _ in range(11)]
    if case.owner == "bind":
        case.by_step = dice.chance("step()", 0.5)
        if dice.chance("no loss", 0.2):
            case.lossless = frozenset(rng.sample(range(case.batches * case.epochs), 2))
        return
    case.metric = dice.one_of(
        ("val_loss", 0.6), ("train metric", 0.2), ("train metric of both", 0.1), ("metric at epoch end", 0.1)
    )
    if dice.chance("manual", 0.2):
        case.manual, count = True, 1 + dice.chance("several optimizers", 0.7) + (rng.random() < 0.3)
        case.optimizers = [rng.choice(["SGD", "Adam"]) for _ in range(count)]
        case.every = [rng.randint(1, 3) for _ in range(count)]
    elif dice.chance("accumulation changes", 0.15):
        case.accumulate_by_epoch = {0: rng.randint(1, 4), 1: rng.randint(1, 3)}
    else:
        case.accumulate = rng.choice([1, 1, 2, 3, 4])
    if not case.manual and dice.chance("loaders change", 0.1):
        case.loaders = [rng.randint(2, 8) for _ in range(case.epochs)]
    else:
        case.limit = rng.choice([1.0, 1.0, rng.randint(2, case.batches), rng.choice([0.5, 0.75])])
    if not case.manual and dice.chance("max_steps", 0.2):
        case.max_steps = rng.randint(6, 24)
    case.val_check_interval = rng.choice([1.0, 1.0, 0.5])
    if dice.chance("validation every 2nd epoch", 0.1):
        case.validates = 2
    elif case.metric != "val_loss" and dice.chance("no validation", 0.4):
        case.validates = 0
    numbers = range(sum(case.sizes(case.epochs)))
    if not case.manual and dice.chance("overflow", 0.2):
        case.overflow = frozenset(rng.sample(numbers, 2))
    elif dice.chance("no loss", 0.2):
        case.lossless = frozenset(rng.sample(numbers, 2))


def _draw_story(case: Case, dice: Dice) -> None:
    rng = dice.random
    case.story = dice.one_of(("whole", 0.25), ("resumed", 0.55), ("again", 0.2))
    if case.story == "again" and case.owner == "warmup" and not dice.chance("fit on under a warmup", 1.0):
        case.story = "whole"
        case.features.add("whole")
        case.features.discard("again")
    batches, case.pick = sum(case.sizes(case.epochs)), rng.randrange(1000)
    kind = dice.one_of(("kill", 0.4), ("exception", 0.2), ("ctrl_c", 0.15), ("time", 0.1), ("should_stop", 0.15))
    case.stop = (kind, rng.choice(STOPS[kind]), rng.randrange(batches))
    case.savers = {
        "epoch": rng.choice([None, True, False]) if rng.random() < 0.5 else "",
        "step": rng.randint(1, 4) if rng.random() < 0.6 else 0,
        "exception": rng.random() < 0.7,
        "slurm": rng.randrange(batches) if rng.random() < 0.4 else -1,
    }
    if case.story == "whole" or case.owner == "bind":
        case.features -= {kind}
        case.stop = case.stop if case.owner == "bind" else None
        case.savers = {}
    elif case.story == "again":
        _draw_second_fit(case, dice, kind)
    elif dice.chance("longer", 0.15):
        case.more_epochs, case.max_steps = rng.randint(1, 2), -1
        case.features.discard("max_steps")
        case.policy = dice.one_of(("error", 0.3), ("checkpoint", 0.3), ("config", 0.4))


def _draw_second_fit(case: Case, dice: Dice, kind: str) -> None:
    rng = dice.random
    case.features -= {kind}
    case.max_steps = -1  # it counts over both fits: the second would do nothing
    case.accumulate_by_epoch = {}  # Lightning refuses the callback's own number of the first fit in the second
    case.features -= {"max_steps", "accumulation changes"}
    case.more_epochs = rng.randint(1, 2)
    case.policy = dice.one_of(("error", 0.3), ("checkpoint", 0.25), ("config", 0.25), ("restart", 0.2))
    case.between = [
        kind for kind in ("test", "validate", "test checkpoint", "validate checkpoint") if dice.chance(kind, 0.3)
    ]
    if dice.chance("stopped then fit on", 0.25):
        case.stop = ("should_stop", "batch_end", case.stop[2])
    elif dice.chance("broken epoch", 0.25):
        kind = rng.choice(["ctrl_c", "exception"])
        case.stop = (kind, rng.choice(STOPS[kind]), case.stop[2])
        # Whether skipped steps of the broken epoch count for the length of the run is not said anywhere.
        case.overflow = case.lossless = frozenset()
    else:
        case.stop = None
        case.from_checkpoint = dice.chance("fit then fit from checkpoint", 0.3)


def _draw_module_scheduler(case: Case, dice: Dice) -> None:
    rng = dice.random
    case.module_scheduler = dice.one_of(*((kind, 1.0) for kind in MODULE_SCHEDULERS))
    case.frequency = rng.choice([1, 1, 1, 2])
    if case.module_scheduler == "ReduceLROnPlateau":
        case.interval = "epoch"
    if case.owner == "warmup":
        lengths: list[Any] = [1, 2, 3, 5, 8]
        # Only where the length of the run is known and stays what it is.
        if not (case.manual or case.more_epochs or case.loaders):
            lengths += ["10%", "30%", "1 epoch", "0.5 epochs"]
        case.warmup, case.warmup_type = rng.choice(lengths), rng.choice(WARMUP_TYPES)


def _draw_schedules(case: Case, dice: Dice) -> None:
    # In manual optimization the Trainer knows no length, and a loader that changes has none that is known before.
    given = case.owner == "bind" or case.manual or bool(case.loaders)
    case.total_given = given or dice.chance("total given", 0.15)
    count = len(case.optimizers)
    case.mapped = count > 1 and dice.chance("mapping", 0.5)
    case.schedules = [_draw_schedule(case, dice) for _ in range(count if case.mapped else 1)] * (
        1 if case.mapped else count
    )
    if case.mapped and dice.chance("left alone", 0.3):
        case.schedules[-1] = None
    automatic = case.owner == "scheduler" and not case.manual
    case.range_test = automatic and case.module_scheduler == "" and dice.chance("range test", 0.1)


def _draw_schedule(case: Case, dice: Dice) -> schedules.Schedule:
    rng = dice.random
    epochs = case.epochs
    lengths: list[int | str] = ["40%", 3, 4]
    warmups: list[int | str] = [0, 0, 1, 2, "10%", "20%", f"{100 // (2 * epochs)}%"]
    if _epochs_are_even(case):
        lengths += ["1 epoch", "2ep", "0.5 epochs"]
        warmups += ["0.5 epochs", "1 epoch"] + ([] if case.accumulate_by_epoch else ["4 samples"])
    elif case.loaders and not _cuts_epochs_short(case):
        lengths += ["1 epoch", "2 epochs"]
    cut = rng.choice(
        lengths
    )  # an exponential comes down towards it from the start, when later epochs are not known yet
    stepped = functools.partial(lr_scheduler.StepLR, step_size=3, gamma=0.5)
    cosine = functools.partial(lr_scheduler.CosineAnnealingLR, T_max=9, eta_min=0.001)
    by_epoch = "epoch" if "1 epoch" in lengths and rng.random() < 0.3 else "step"
    # An absolute floor is measured against the peak at the start, which a rebuilt optimizer or a range test moves.
    kinds: dict[str, Any] = {
        "Fixed": schedules.Fixed,
        "Step": functools.partial(schedules.Step, step_size=cut, gamma=0.5),
        "MultiStep": functools.partial(schedules.MultiStep, milestones=[rng.choice([2, "40%"]), "80%"], gamma=0.3),
        "Exponential": functools.partial(schedules.Exponential, gamma=0.7, every=3 if case.loaders else cut),
        "Cosine": functools.partial(schedules.Cosine, min_lr_ratio=rng.choice([None, 0.1])),
        "Cosine to min_lr": functools.partial(schedules.Cosine, min_lr=0.001),
        "Linear": schedules.Linear,
        "Polynomial": functools.partial(schedules.Polynomial, power=rng.choice([2, 0.5])),
        "InverseSqrt": functools.partial(schedules.InverseSqrt, timescale=4),
        "WarmupStableDecay": functools.partial(
            schedules.WarmupStableDecay, decay="30%", decay_type=rng.choice(["linear", "1-sqrt"])
        ),
        "CosineRestarts": functools.partial(schedules.CosineRestarts, cycle=4, cycle_mult=1.5, cycle_decay=0.8),
        "OneCycle": schedules.OneCycle,
        "Plateau": functools.partial(
            schedules.Plateau,
            monitor=monitor(case),
            patience=rng.choice([0, 1]),
            factor=0.5,
            cooldown=rng.choice([0, 1]),
        ),
        "TorchSchedule": functools.partial(
            schedules.TorchSchedule, factory=rng.choice([stepped, cosine]), interval=by_epoch
        ),
        "Sequence": functools.partial(
            schedules.Sequence,
            schedules=[schedules.Fixed(), schedules.Linear(warmup=rng.choice([0, 2]))],
            milestones=["50%"],
        ),
    }
    # One draw for each, so that the others stay what they are without one.
    kind = dice.one_of(*((name, 2.0 if name == "Plateau" else 1.0) for name in kinds))
    return kinds[kind](warmup=rng.choice(warmups), warmup_type=rng.choice(WARMUP_TYPES))  # type: ignore[no-any-return]


def _epochs_are_even(case: Case) -> bool:
    """Whether a length in epochs has one meaning: no epoch is cut short, done twice or of a length of its own."""
    return not (case.manual or case.loaders or _cuts_epochs_short(case))


def _cuts_epochs_short(case: Case) -> bool:
    return case.stop is not None and (case.stop[0] in ("time", "should_stop") or case.story == "again")


def monitor(case: Case) -> str:
    """Return the name that the metric is logged under."""
    return "val_loss" if case.metric == "val_loss" else "train_loss"


def _draw_groups(case: Case, dice: Dice) -> None:
    rng = dice.random
    batches = sum(case.sizes(case.epochs))
    case.changes_in = rng.choice(
        ["on_train_batch_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_start"]
    )
    goes_on = case.range_test and case.story != "whole"
    joins = dice.chance("joined", 0.25) and (not goes_on or dice.chance("joined after a range test", 1.0))
    case.features -= set() if joins else {"joined"}
    if joins:
        case.joins_at = rng.randrange(batches)
    if dice.chance("left", 0.12):
        case.leaves = (rng.randrange(batches), rng.choice(["a", "b"]))
    ways = ("setup", "assign", "in place", "load") if case.owner != "bind" else ()
    if ways and dice.chance("rebuilt", 0.12):
        way = dice.one_of(*((way, 1.0) for way in ways))
        # `setup_optimizers` builds what `configure_optimizers` returns, so there too the module builds other LRs.
        case.rebuilt = (rng.randrange(batches), way, rng.choice([1.0, 0.5]))


def _leave_out_what_is_unclear(case: Case) -> None:
    """Take back what has no clear meaning together with the rest."""
    floors = any(getattr(one, "min_lr", None) is not None for one in case.schedules)
    if case.rebuilt and (floors or case.range_test or (case.tensor_lr and case.rebuilt[1] == "load")):
        # The floor of a peak that changes; whether the new peak is scaled by the range test; whose tensor is filled.
        case.rebuilt = None
        case.features -= {"rebuilt", "setup", "assign", "in place", "load"}
    if case.range_test and floors:
        case.range_test = False  # the floor was given as an LR, and the peak is not known before
        case.features -= {"range test"}
    if "Plateau" not in case.features and case.module_scheduler != "ReduceLROnPlateau":
        case.features -= {"val_loss", "train metric", "train metric of both", "metric at epoch end"}  # nobody looks
    if case.policy == "restart":
        case.total_given = bool(case.schedules)  # how long a new schedule of an old Trainer is, is not said anywhere
        case.from_checkpoint = False
        case.features.discard("fit then fit from checkpoint")


def optimizer_class(name: str) -> Callable[..., torch.optim.Optimizer]:
    """Return the class of an optimizer with what every one of its kind is given here."""
    return functools.partial(torch.optim.SGD, momentum=0.9) if name == "SGD" else torch.optim.Adam
