"""Does an average of the weights take the place of a decay? `python -m benchmarks.averaging`, two minutes of one core.

A small network on digits, with right labels and with a tenth of them wrong, 620 updates of AdamW or of its
schedule-free form. Each row has the peak LR (and the length of its average) that did best on seeds of their own, by the
validation loss; what is printed is the test loss on five other seeds, and the difference to the cosine, paired by seed.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from schedulefree import AdamWScheduleFree
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lr_recipes import Horizon, schedules
from lr_recipes.schedules import Schedule
from recipes.data.digits import DigitsData
from recipes.models.cnn import MLP
from recipes.reproduction.comparison import paired

EPOCHS, BATCH = 20, 32
NOISES = (0.0, 0.1)  # share of wrong labels
LRS = [0.002 * 2**k for k in range(5)]
EMAS = {"": 0.0, "EMA over 33 updates": 0.97, "EMA over 100 updates": 0.99}
TUNED_ON, SEEDS = (11, 12), (1, 2, 3, 4, 5)


class Kind(NamedTuple):
    """How a network is trained."""

    schedule: Schedule
    build: Callable[..., Any] = AdamW


CONSTANT, COSINE = schedules.Fixed(warmup="5%"), schedules.Cosine(warmup="5%")
KINDS = {
    "warmup, cosine to 0": Kind(COSINE),
    "warmup, constant": Kind(CONSTANT),
    "schedule-free, warmup": Kind(CONSTANT, AdamWScheduleFree),
    "schedule-free, warmup, cosine to 0": Kind(COSINE, AdamWScheduleFree),
}


class Losses(NamedTuple):
    """Of one network, in nats."""

    validation: float
    test: float


@cache
def data(noise: float, seed: int) -> DigitsData:
    made = DigitsData(train_size=1000, label_noise=noise, batch_size=BATCH, seed=seed)
    made.setup("fit")
    return made


@cache
def trained(kind: str, noise: float, lr: float, seed: int, epochs: int) -> dict[str, Losses]:
    """Train once; return the losses of the last weights and of each average of them."""
    images, labels = data(noise, seed).train.images, data(noise, seed).train.labels
    torch.manual_seed(seed)
    model, updates = MLP(data(noise, seed).task), len(labels) // BATCH
    optimizer = KINDS[kind].build(model.parameters(), lr=lr, weight_decay=0.1, foreach=True)
    horizon = Horizon(total_steps=epochs * updates)
    KINDS[kind].schedule.bind(optimizer, horizon).attach()
    free = isinstance(optimizer, AdamWScheduleFree)
    averages = {
        name: AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        for name, decay in EMAS.items()
        if decay and not free
    }
    if free:
        optimizer.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(labels))[: updates * BATCH].split(BATCH):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            F.cross_entropy(model(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            for average in averages.values():
                average.update_parameters(model)
    if free:
        optimizer.eval()
    return {name: losses_of(one, data(noise, seed)) for name, one in {"": model, **averages}.items()}


@torch.no_grad()
def losses_of(model: nn.Module, of: DigitsData) -> Losses:
    def loss(part: Any) -> float:
        outputs: Tensor = model(part.images)
        return float(F.cross_entropy(outputs, part.labels))

    return Losses(loss(of.val), loss(of.test))


class Row(NamedTuple):
    """A way to train and what is averaged, at the LR that suits it."""

    kind: str
    average: str
    lr: float
    losses: list[float]


class Effort(NamedTuple):
    """What is trained for each row."""

    lrs: Sequence[float] = LRS
    seeds: Sequence[int] = SEEDS
    epochs: int = EPOCHS


def row(kind: str, averages: Sequence[str], noise: float, effort: Effort) -> Row:
    def validation(choice: tuple[float, str]) -> float:
        lr, average = choice
        return fmean(trained(kind, noise, lr, seed, effort.epochs)[average].validation for seed in TUNED_ON)

    lr, average = min(((lr, average) for lr in effort.lrs for average in averages), key=validation)
    losses = [trained(kind, noise, lr, seed, effort.epochs)[average].test for seed in effort.seeds]
    return Row(kind, average, lr, losses)


def measure(noise: float, effort: Effort) -> list[Row]:
    last, *emas = EMAS
    rows = []
    for kind, how in KINDS.items():
        rows.append(row(kind, [last], noise, effort))
        if how.build is AdamW:
            rows.append(row(kind, emas, noise, effort))
    return rows


def table(effort: Effort) -> str:
    titles = ["labels", "trained with", "tuned LR", "test loss (nats)", "difference to the cosine, 95 % interval"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for noise in NOISES:
        reference, *others = measure(noise, effort)
        for one in [reference, *others]:
            what = f"{one.kind}{one.average and ', '}{one.average}"
            gap = paired(one.losses, reference.losses)
            said = "-" if one is reference else f"{gap.mean:+.3f} ± {gap.half_width:.3f}"
            lines.append(f"| {1 - noise:.0%} right | {what} | {one.lr:g} | {fmean(one.losses):.3f} | {said} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one epoch, to see that it works; the numbers say nothing")
    quick = parser.parse_args(arguments).quick
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    begun = time.process_time()
    print(table(Effort(LRS[1:2], SEEDS[:2], 1) if quick else Effort()))
    print(f"\n{time.process_time() - begun:.0f} s of one core, torch {torch.__version__}")


if __name__ == "__main__":
    main()
