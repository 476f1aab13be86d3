"""Copies of schedulers: ticking one gives the LRs that ticking the original gives, and leaves that one untouched."""

from __future__ import annotations

import copy
import math
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim import lr_scheduler as of_torch
from torch.optim.swa_utils import SWALR
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes.optimizer.clock import Clock
from lr_recipes.optimizer.groups import read_lrs
from lr_recipes.optimizer.twin import CannotCopy, Twins
from lr_recipes.optimizer.warmup import WarmupOver
from lr_recipes.plan.horizon import Horizon
from lr_recipes.schedules import Fixed
from tests.optimizer.loops import parameter, sgd

pytestmark = pytest.mark.filterwarnings(
    "ignore:Detected call of `lr_scheduler.step", "ignore:Seems like `optimizer.step..` has been overridden"
)

TICKS = 50
CALLS: list[int] = []  # what a function of the user's keeps in its module
SETTINGS = {"rate": 0.9}


class Counts:
    """An object with a state of its own, called as a function."""

    def __init__(self) -> None:
        self.calls, self.seen = 0, deque([0.0], maxlen=3)
        self.per = Counter[int]()

    def __call__(self, n: int) -> float:
        return self.factor(n)

    def factor(self, n: int, rate: float = 0.9) -> float:
        self.calls += 1
        self.per[n % 3] += 1
        self.seen.append(rate**self.calls)
        return sum(self.seen) / len(self.seen)


@dataclass
class Slotted:
    """Kept in slots."""

    __slots__ = ("count",)
    count: int

    def __call__(self, n: int) -> float:
        self.count += 1
        return 1 / (1 + self.count)


@dataclass
class Held:
    history: list[float] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=lambda: {"best": math.inf})


class HomeMade(of_torch.LRScheduler):
    """Keeps state of every kind."""

    def __init__(self, optimizer: Any) -> None:
        self.window, self.held, self.seen = deque([1.0], maxlen=4), Held(), {0}
        self.ordered, self.by_default = OrderedDict(first=1), defaultdict[str, int](int)
        self.curve = torch.linspace(1, 0, 40)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        self.window.append(self.window[-1] * 0.95)
        self.held.history.append(self.window[0])
        self.held.best["best"] = min(self.held.best["best"], self.window[0])
        self.seen.add(self.last_epoch)
        self.by_default["ticks"] += 1
        self.ordered["last"] = self.last_epoch
        self.curve.mul_(0.99)
        scale = float(self.curve[min(self.last_epoch, 39)]) + self.held.best["best"] + 1 / len(self.seen)
        return [base * scale for base in self.base_lrs]


class NoScheduler:
    """None of torch's."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.count = optimizer, 0

    def step(self) -> None:
        self.count += 1
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"] * 0.9 + 0.001 * self.count


def counting_closure() -> Callable[[int], float]:
    calls = 0
    kept: list[int] = []

    def factor(n: int) -> float:
        nonlocal calls
        calls += 1
        kept.append(n)
        return 0.9**calls + 0.01 * len(kept)

    return factor


def with_globals(n: int) -> float:
    CALLS.append(n)
    SETTINGS["rate"] *= 0.99
    return SETTINGS["rate"] ** len(CALLS)


def with_defaults(n: int, kept: list[int] = [], *, rates: dict[str, float] = {"rate": 0.9}) -> float:  # noqa: B006
    kept.append(n)
    rates["rate"] *= 0.999
    return rates["rate"] ** len(kept)


def with_an_inner_function() -> Callable[[int], float]:
    kept = [0]

    def inner(n: int) -> float:
        def innermost() -> float:
            CALLS.append(n)
            kept[0] += 1
            return 0.95 ** (kept[0] + len(CALLS))

        return innermost()

    return inner


def recursive() -> Callable[[int], float]:
    def factor(n: int) -> float:
        return 1.0 if n <= 0 else 0.9 * factor(n - 1)

    return factor


def lambdas(*functions: Any) -> Callable[[Any], Any]:
    """A LambdaLR: one function, or one for each of two groups."""
    return lambda optimizer: of_torch.LambdaLR(optimizer, list(functions) if len(functions) > 1 else functions[0])


def nested(optimizer: Any) -> Any:
    inner = of_torch.SequentialLR(
        optimizer,
        [of_torch.LinearLR(optimizer, total_iters=5), of_torch.LambdaLR(optimizer, Counts())],
        milestones=[5],
    )
    return of_torch.ChainedScheduler([inner, of_torch.StepLR(optimizer, 7)], optimizer=optimizer)


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    # torch's own, all of them
    "LambdaLR": lambda o: of_torch.LambdaLR(o, lambda n: 0.9**n),
    "MultiplicativeLR": lambda o: of_torch.MultiplicativeLR(o, lambda n: 0.9),
    "StepLR": lambda o: of_torch.StepLR(o, 3),
    "MultiStepLR": lambda o: of_torch.MultiStepLR(o, [3, 3, 10]),
    "ConstantLR": lambda o: of_torch.ConstantLR(o),
    "LinearLR": lambda o: of_torch.LinearLR(o),
    "ExponentialLR": lambda o: of_torch.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: of_torch.CosineAnnealingLR(o, 20, eta_min=0.01),
    "PolynomialLR": lambda o: of_torch.PolynomialLR(o, 30, 2.0),
    "CosineAnnealingWarmRestarts": lambda o: of_torch.CosineAnnealingWarmRestarts(o, 5, 2),
    "CyclicLR": lambda o: of_torch.CyclicLR(o, 0.01, 0.1, 7, mode="exp_range", gamma=0.99),
    "OneCycleLR": lambda o: of_torch.OneCycleLR(o, 0.5, total_steps=TICKS + 1),
    "SequentialLR": lambda o: of_torch.SequentialLR(
        o, [of_torch.ConstantLR(o), of_torch.ExponentialLR(o, 0.9)], milestones=[7]
    ),
    "ChainedScheduler": lambda o: of_torch.ChainedScheduler([of_torch.StepLR(o, 4), of_torch.LinearLR(o)]),
    "ReduceLROnPlateau": lambda o: of_torch.ReduceLROnPlateau(o, patience=2, cooldown=1),
    "SWALR": lambda o: SWALR(o, 0.05, anneal_epochs=6),
    # what keeps a state
    "closure": lambda o: of_torch.LambdaLR(o, counting_closure()),
    "globals": lambda o: of_torch.LambdaLR(o, with_globals),
    "defaults": lambda o: of_torch.LambdaLR(o, with_defaults),
    "inner function": lambda o: of_torch.LambdaLR(o, with_an_inner_function()),
    "recursive": lambda o: of_torch.LambdaLR(o, recursive()),
    "object": lambda o: of_torch.LambdaLR(o, Counts()),
    "object with slots": lambda o: of_torch.LambdaLR(o, Slotted(0)),
    "bound method": lambda o: of_torch.LambdaLR(o, Counts().factor),
    "partial": lambda o: of_torch.LambdaLR(o, partial(Counts().factor, rate=0.8)),
    "partial of a closure": lambda o: of_torch.LambdaLR(o, partial(counting_closure())),
    "multiplied": lambda o: of_torch.MultiplicativeLR(o, counting_closure()),
    "of two groups": lambdas(Counts(), counting_closure()),
    "one for two groups": lambda o: of_torch.LambdaLR(o, [counting_closure()] * 2),
    "home made": HomeMade,
    "none of torch's": NoScheduler,
    "nested": nested,
}


def tensors() -> Optimizer:
    """Two groups that share one tensor as their LR."""
    shared = torch.tensor(0.1, dtype=torch.float64)
    optimizer = Adam([{"params": [parameter()], "lr": shared}, {"params": [parameter()], "lr": shared}], foreach=False)
    assert optimizer.param_groups[0]["lr"] is optimizer.param_groups[1]["lr"]
    return optimizer


OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {"numbers": lambda: sgd(0.1, 0.02), "tensors": tensors}


def tick(scheduler: Any, number: int) -> None:
    plateau = isinstance(scheduler, of_torch.ReduceLROnPlateau)
    scheduler.step(*([1.0 + number % 5] if plateau else []))


def ticked(optimizer: Any, scheduler: Any) -> list[Any]:
    """The groups after each of 50 ticks, with all that a scheduler may have written there."""
    found = []
    for number in range(TICKS):
        tick(scheduler, number)
        found.append(content(optimizer))
    return found


def content(optimizer: Any) -> list[dict[str, Any]]:
    return [
        {
            key: float(value) if isinstance(value, torch.Tensor) else value
            for key, value in group.items()
            if key != "params"
        }
        for group in optimizer.param_groups
    ]


def seen(value: Any, known: set[int] | None = None) -> Any:
    """All that can be reached from an object, in plain values that can be compared."""
    known = set() if known is None else known
    if isinstance(value, (bool, int, float, str, bytes, type(None), type)):
        return repr(value)
    if id(value) in known:
        return "seen"
    known.add(id(value))
    if isinstance(value, torch.Tensor):
        return (id(value), value.tolist())
    if isinstance(value, dict):
        return [(repr(key), seen(one, known)) for key, one in value.items()]
    if isinstance(value, (list, tuple, deque)):
        return [seen(one, known) for one in value]
    if isinstance(value, set):
        return sorted(map(repr, value))
    if isinstance(value, partial):
        return [seen(one, known) for one in (value.func, value.args, value.keywords)]
    parts = [seen(getattr(value, "__dict__", {}), known), type(value).__name__]
    parts += [
        seen(getattr(value, name, None), known) for name in ("__self__", "__func__", "__defaults__", "__kwdefaults__")
    ]
    parts += [seen(cell.cell_contents, known) for cell in getattr(value, "__closure__", None) or ()]
    return [*parts, seen([getattr(value, name, None) for name in getattr(type(value), "__slots__", ())], known)]


def everything(*of: Any) -> Any:
    return seen([*of, CALLS, SETTINGS])


@pytest.fixture(autouse=True)
def _own_globals() -> Iterator[None]:
    calls, settings = list(CALLS), dict(SETTINGS)
    yield
    CALLS[:] = calls
    SETTINGS.clear()
    SETTINGS.update(settings)


@pytest.mark.parametrize("kind", OPTIMIZERS)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_copy_ticks_as_its_original_and_leaves_it_untouched(name: str, kind: str) -> None:
    optimizer = OPTIMIZERS[kind]()
    scheduler = SCHEDULERS[name](optimizer)
    for number in range(2):  # a run that goes on
        optimizer.step()
        tick(scheduler, number)
    if name == "OneCycleLR":
        scheduler.total_steps += 2
    before = everything(optimizer, scheduler)
    twins = Twins()
    twin = twins.optimizer(optimizer)
    ahead = ticked(twin, twins.of(scheduler))
    assert everything(optimizer, scheduler) == before
    assert ahead == ticked(optimizer, scheduler)
    assert everything(optimizer, scheduler) != before  # there was something to be seen


def test_all_schedulers_of_torch_are_here() -> None:
    public = {name for name in of_torch.__all__ if isinstance(getattr(of_torch, name), type)}
    assert public - {"LRScheduler"} <= set(SCHEDULERS)


def test_two_copies_know_nothing_of_each_other() -> None:
    optimizer = sgd(0.1, 0.02)
    scheduler = nested(optimizer)
    first, second = Twins(), Twins()
    ones = [(twins.optimizer(optimizer), twins.of(scheduler)) for twins in (first, second)]
    (ahead, again) = (ticked(*one) for one in ones)
    assert ahead == again


def test_a_copy_holds_copies_where_the_original_holds_originals() -> None:
    optimizer = tensors()
    twins = Twins()
    twin = twins.optimizer(optimizer)
    first, second = twin.param_groups
    assert first["lr"] is second["lr"]
    assert first["lr"] is not optimizer.param_groups[0]["lr"]
    assert twins.of(optimizer) is twin
    kept: list[Any] = [optimizer, None]
    kept[1] = kept  # a circle
    copied = twins.of(kept)
    assert copied[0] is twin
    assert copied[1] is copied
    assert twins.of(kept) is copied


def test_a_scheduler_that_is_warmed_up_is_copied_as_the_one_it_is() -> None:
    optimizer, alone = sgd(0.1, 0.02), sgd(0.1, 0.02)
    scheduler, expected = of_torch.ExponentialLR(optimizer, 0.9), of_torch.ExponentialLR(alone, 0.9)
    clock = Clock(optimizer)
    warmup = WarmupOver(Fixed(warmup=8).plan(Horizon(), [], peak=1.0), clock, [scheduler])
    clock.start()
    twins = Twins()
    twin = twins.optimizer(optimizer)
    for group, lr in zip(twin.param_groups, warmup.own_lrs, strict=True):
        group["lr"] = lr
    before = [read_lrs(optimizer), scheduler.last_epoch, warmup.own_lrs]
    ahead = ticked(twin, twins.of(scheduler))
    assert [read_lrs(optimizer), scheduler.last_epoch, warmup.own_lrs] == before
    assert [[group["lr"] for group in groups] for groups in ahead] == [
        [group["lr"] for group in groups] for groups in ticked(alone, expected)
    ]


class Wraps(Optimizer):
    """Keeps the optimizer that does the updates, and shares its groups."""

    def __init__(self, inner: Optimizer) -> None:
        self.inner = inner
        super().__init__(inner.param_groups, inner.defaults)
        self.param_groups = inner.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.inner.step(closure)


def test_an_optimizer_that_wraps_another_shares_its_groups_in_the_copy_too() -> None:
    optimizer = Wraps(Wraps(sgd(0.1, 0.02)))
    scheduler = of_torch.ExponentialLR(optimizer, 0.9)
    twins = Twins()
    twin = twins.optimizer(optimizer)
    assert twin.param_groups is twin.inner.param_groups is twin.inner.inner.param_groups
    assert twin.param_groups is not optimizer.param_groups
    before = everything(optimizer, scheduler)
    ahead = ticked(twin, twins.of(scheduler))
    assert everything(optimizer, scheduler) == before
    assert ahead == ticked(optimizer, scheduler)


# What is shared


def test_what_is_large_is_shared_and_its_values_are_seen() -> None:
    weights, curve = nn.Linear(300, 300), torch.linspace(1, 0, 5000)
    data = TensorDataset(torch.zeros(10**6))
    loader = DataLoader(data)
    optimizer = SGD(weights.parameters(), lr=0.1)
    scheduler = of_torch.LambdaLR(optimizer, lambda n: float(curve[n]))
    kept: Any = scheduler
    kept.weights, kept.data, kept.loader = weights, data, loader
    twins = Twins()
    twin, copied = twins.optimizer(optimizer), twins.of(scheduler)
    assert copied.weights is weights
    assert copied.data is data
    assert copied.loader is loader
    assert copied.lr_lambdas[0].__closure__[0].cell_contents is curve
    ours = zip(twin.param_groups[0]["params"], optimizer.param_groups[0]["params"], strict=True)
    assert all(one is other for one, other in ours)
    assert twin.state == {}


def test_an_optimizer_with_a_state_is_copied_without_it() -> None:
    optimizer = Adam([parameter()])
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    twin = Twins().optimizer(optimizer)
    assert twin.state == {}
    assert optimizer.state_dict()["state"].keys() == state["state"].keys()
    assert type(twin) is Adam
    assert twin.defaults == optimizer.defaults


# What cannot be copied


def generated() -> Iterator[float]:
    yield from (1 / (n + 1) for n in range(1000))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: generated(), "generator"),
        (lambda path: threading.Lock(), "lock"),
        (lambda path: path.open("w"), "TextIOWrapper"),
        (lambda path: {"deep": [partial(next, generated())]}, "generator"),
    ],
    ids=["generator", "lock", "file", "deep within"],
)
def test_what_cannot_be_copied_is_refused_by_its_name(make: Any, what: str, tmp_path: Path) -> None:
    optimizer = sgd(0.1)
    scheduler: Any = of_torch.StepLR(optimizer, 3)
    scheduler.held = make(tmp_path / "file")
    twins = Twins()
    twins.optimizer(optimizer)
    with pytest.raises(CannotCopy, match=what):
        twins.of(scheduler)
    if hasattr(scheduler.held, "close"):
        scheduler.held.close()


def test_a_generator_is_not_advanced_by_the_attempt() -> None:
    optimizer, values = sgd(0.1), generated()
    scheduler = of_torch.LambdaLR(optimizer, lambda n: next(values))
    twins = Twins()
    twins.optimizer(optimizer)
    with pytest.raises(CannotCopy):
        twins.of(scheduler)
    assert next(values) == 1 / 2  # the first was asked for when the scheduler was built
