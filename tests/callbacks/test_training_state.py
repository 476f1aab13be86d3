"""What is kept comes back exactly, and into the same objects."""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import ConstantLR, SequentialLR, StepLR
from torch.utils.data import BatchSampler, ConcatDataset, DataLoader, Dataset, RandomSampler, Sampler, Subset

from lr_recipes.callbacks.training_state import TrainingState


class Net(nn.Module):
    """A module with everything that a training step may change."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)
        self.seen, self.history, self.by_name = 0, [1.0], {"a": [1]}
        self.queue, self.names, self.pair = deque([1], maxlen=3), {"x"}, (torch.ones(1), 2)
        self.total = torch.zeros(1)
        self.cache: Tensor | None = None
        self.generator = torch.Generator().manual_seed(1)
        self.numbers = np.random.default_rng(2)
        self.register_buffer("count", torch.zeros((), dtype=torch.long), persistent=False)


def described(net: Net) -> list[Any]:
    return [
        {name: value.tolist() for name, value in net.state_dict().items()},
        [(p.grad, p.requires_grad) for p in net.parameters()],
        (net.count.item(), net.seen, net.history, net.by_name, net.queue, net.names, net.pair[0].item()),
        (net.total.item(), net.cache, list(vars(net)), [module.training for module in net.modules()]),
        (net.generator.get_state().tolist(), net.numbers.bit_generator.state),
    ]


def use(net: Net) -> None:
    net.norm(net.layer(torch.randn(4, 3))).sum().backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.data = parameter.data + 1  # not in place
            parameter.requires_grad_(False)
    net.eval()
    net.count = net.count + 1  # another tensor
    net.seen += 1
    net.history.append(2.0)
    net.by_name["a"].append(2)
    net.by_name["b"] = [3]
    net.queue.extend([2, 3, 4])
    net.names.add("y")
    net.pair[0].add_(1)
    net.total += 1
    net.cache = torch.ones(2)
    net.new = 1
    net.register_forward_hook(lambda *_: None)
    torch.rand(1, generator=net.generator)
    net.numbers.random()


def test_modules_come_back_with_all_they_hold() -> None:
    net = Net()
    before, objects = described(net), [*net.parameters(), *net.buffers(), net.history, net.by_name["a"], net.total]
    state = TrainingState()
    state.keep(net)
    use(net)
    assert described(net) != before
    state.put_back()
    assert described(net) == before
    assert list(map(id, objects)) == [
        *map(id, [*net.parameters(), *net.buffers(), net.history, net.by_name["a"], net.total])
    ]
    assert not hasattr(net, "new")
    assert not net._forward_hooks


def test_gradients_are_put_aside_and_come_back() -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.grad = gradient = torch.full((2,), 3.0)
    state = TrainingState()
    state.keep({"weight": weight})
    assert weight.grad is None
    (weight * 5).sum().backward()
    state.put_back()
    assert weight.grad is gradient
    assert gradient.tolist() == [3.0, 3.0]


def test_a_buffer_that_became_part_of_a_graph_is_a_leaf_again() -> None:
    net = nn.Module()
    net.register_buffer("total", torch.zeros(1))
    total = net.get_buffer("total")
    state = TrainingState()
    state.keep(net)
    total += nn.Parameter(torch.ones(1))
    assert not total.is_leaf
    state.put_back()
    assert total.is_leaf
    assert not total.requires_grad
    assert total.item() == 0


def test_an_expanded_tensor_is_left_alone() -> None:
    net = nn.Module()
    net.mask = torch.ones(1).expand(5)
    state = TrainingState()
    state.keep(net)
    state.put_back()
    assert net.mask.tolist() == [1.0] * 5


@pytest.mark.parametrize("build", [lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, torch.tensor(0.1))])
@pytest.mark.parametrize("steps", [0, 2])
def test_optimizers_come_back_fresh_or_under_way(build: Callable[[Any], Optimizer], steps: int) -> None:
    def trained(updates: int) -> None:
        for n in range(updates):
            optimizer.zero_grad()
            (weight * (n + 1)).sum().backward()
            optimizer.step()

    weight = nn.Parameter(torch.ones(2))
    optimizer = build([weight])
    trained(steps)
    before, groups, lr = str(optimizer.state_dict()), optimizer.param_groups[0], optimizer.param_groups[0]["lr"]
    state = TrainingState()
    state.keep(optimizer)
    optimizer.register_step_post_hook(lambda *_: None)
    trained(3)
    if isinstance(lr, Tensor):
        lr.fill_(7)
    else:
        groups["lr"] = 7.0
    groups["extra"] = 1
    assert str(optimizer.state_dict()) != before
    state.put_back()
    assert str(optimizer.state_dict()) == before
    assert optimizer.param_groups[0] is groups
    assert groups["lr"] is lr or groups["lr"] == 0.1
    assert not optimizer._optimizer_step_post_hooks
    assert len(optimizer.state) == (1 if steps else 0)


@pytest.mark.filterwarnings("ignore:Detected call of")
def test_schedulers_come_back_with_those_inside_them() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    parts = [ConstantLR(optimizer, 0.5, total_iters=3), StepLR(optimizer, 2)]
    scheduler = SequentialLR(optimizer, parts, milestones=[3])
    optimizer.step()
    scheduler.step()
    before = str(scheduler.state_dict())
    state = TrainingState()
    state.keep(scheduler)
    for _ in range(5):
        scheduler.step()
    state.put_back()
    assert str(scheduler.state_dict()) == before
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("used", [False, True])
def test_a_gradient_scaler_comes_back_before_and_after_its_first_use(used: bool) -> None:
    def use_it() -> None:
        weight = nn.Parameter(torch.ones(1))
        optimizer = SGD([weight], lr=0.1)
        scaler.scale(weight.sum() * float("inf")).backward()
        scaler.step(optimizer)
        scaler.update()

    scaler = torch.amp.GradScaler("cpu")
    if used:
        use_it()
    before = scaler.state_dict()
    state = TrainingState()
    state.keep(scaler)
    use_it()
    assert scaler.state_dict() != before
    state.put_back()
    assert scaler.state_dict() == before
    assert (scaler._scale is None) == (not used)


def test_random_numbers_go_on_as_if_none_had_been_drawn() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    state = TrainingState()
    state.keep_random_numbers()
    first = draw()
    draw()
    state.put_back()
    assert draw() == first


# Data


class Shuffled(Sampler[int]):
    """Shuffles its own lists in place, each pass further, and counts passes: samplers that people write."""

    def __init__(self) -> None:
        self.order, self.tensor, self.array = list(range(6)), torch.arange(6), np.arange(6)
        self.passes, self.random = 0, random.Random(3)

    def __iter__(self) -> Any:
        self.random.shuffle(self.order)
        np.random.default_rng(self.passes).shuffle(self.array)
        self.tensor += 1
        self.passes += 1
        return iter(self.order)

    def __len__(self) -> int:
        return 6


class Noisy(Dataset[Any]):
    """Draws from a generator of its own; its data are not to be copied."""

    def __init__(self) -> None:
        self.values, self.generator, self.read = torch.zeros(6), np.random.RandomState(4), 0

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Any:
        self.read += 1
        return index, self.generator.rand()


class OddSampler:
    """A batch sampler that is no Sampler."""

    def __init__(self) -> None:
        self.epoch = 0

    def __iter__(self) -> Any:
        self.epoch += 1
        return iter([[self.epoch % 6, 1], [2, 3]])


@pytest.mark.parametrize(
    "build",
    [
        lambda: DataLoader(Noisy(), sampler=Shuffled(), batch_size=2),
        lambda: DataLoader(Noisy(), batch_sampler=BatchSampler(Shuffled(), 2, False)),
        lambda: DataLoader(Noisy(), batch_sampler=OddSampler()),
        lambda: DataLoader(Subset(Noisy(), [3, 1, 2]), sampler=RandomSampler(range(3), generator=torch.Generator())),
        lambda: DataLoader(ConcatDataset([Noisy(), Noisy()]), shuffle=True, generator=torch.Generator()),
    ],
)
def test_data_come_again_in_the_same_order(build: Callable[[], DataLoader[Any]]) -> None:
    def batches() -> list[str]:
        return [str(batch) for _ in range(2) for batch in loader]

    loader = build()
    batches()
    state = TrainingState()
    state.keep_data(loader)
    first = batches()
    assert batches() != first
    state.put_back()
    assert batches() == first


def test_the_data_themselves_are_not_copied() -> None:
    data = Noisy()
    state = TrainingState()
    state.keep_data(DataLoader(data))
    data.values += 1
    state.put_back()
    assert data.values.tolist() == [1.0] * 6


def test_dicts_keep_their_order_and_their_kind() -> None:
    ordered, plain = OrderedDict(a=1, b=2), {"a": 1, "b": None}
    state = TrainingState()
    state.keep([ordered, plain])
    ordered.move_to_end("a")
    ordered["c"] = 3
    del plain["a"], plain["b"]
    state.put_back()
    assert list(ordered.items()) == [("a", 1), ("b", 2)]
    assert list(plain.items()) == [("a", 1), ("b", None)]
