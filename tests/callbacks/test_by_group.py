"""A Trainer with schedules by group and for other numbers than the LR: what every update used is the closed form.

The numbers are read from the groups in the step itself, by a hook of torch's that sees every optimizer there is.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.callbacks import BaseFinetuning
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import OneCycleLR, StepLR
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lr_recipes import LearningRateLogger
from lr_recipes.optimizer.recorder import LearningRateError
from lr_recipes.plan.state import ResumeError
from lr_recipes.schedules import (
    ByGroup,
    Cosine,
    Fixed,
    Hyperparameters,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Step,
    TorchSchedule,
)
from tests.callbacks.harness import Run, Tiny, Validated, go, keep_all, loader, messages, prepare

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:Be aware that when using `ckpt_path`",  # the resumed runs save nothing
        "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    ),
]
T = 16  # updates of two epochs
SEEN: list[tuple[Optimizer, list[dict[str, float]]]] = []


HOOKS: list[Any] = []


def read_every_step() -> None:
    """Read behind all hooks that there are by now."""
    stop_reading()
    HOOKS.append(register_optimizer_step_pre_hook(lambda one, *_: SEEN.append((one, numbers(one)))))


def stop_reading() -> None:
    while HOOKS:
        HOOKS.pop().remove()


@pytest.fixture(autouse=True)
def _reading_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    SEEN.clear()
    read_every_step()
    yield
    stop_reading()


def numbers(optimizer: Optimizer) -> list[dict[str, float]]:
    """What a step uses of each group, as torch keeps it."""
    found = []
    for group in optimizer.param_groups:
        beta1, beta2 = group.get("betas", (group.get("momentum"), 0.0))
        found.append({"lr": group["lr"], "wd": group["weight_decay"], "beta1": beta1, "beta2": beta2})
    return [{key: float(value) for key, value in one.items()} for one in found]


def seen(kind: type[Optimizer] = Optimizer, key: str = "lr") -> list[list[float]]:
    """What the steps of one kind of optimizer have used in the last run, of each group."""
    return [[group[key] for group in groups] for optimizer, groups in SEEN if isinstance(optimizer, kind)]


def seen_all() -> list[list[dict[str, float]]]:
    return [groups for _, groups in SEEN]


def trained(schedule: Any, build: Any = None, *, module: Any = None, ckpt: Any = None, **arguments: Any) -> Run:
    """Train two epochs of eight batches, unless told otherwise."""
    SEEN.clear()
    run = prepare(schedule, module=module or Tiny(build or adamw), **{"max_epochs": 2, **arguments})
    return go(run, ckpt_path=ckpt)


def adamw(weights: list[nn.Parameter]) -> Optimizer:
    """A body, and a head without weight decay."""
    return AdamW(
        [
            {"params": weights[:1], "name": "body", "lr": 0.01},
            {"params": weights[1:], "name": "head", "weight_decay": 0.0, "betas": (0.8, 0.9)},
        ],
        lr=0.1,
        weight_decay=0.5,
    )


def linear(t: int, total: int = T, warmup: int = 0, floor: float = 0.0) -> float:
    return (t + 1) / warmup if t < warmup else floor + (1 - floor) * (1 - (t - warmup) / (total - warmup))


def cosine(t: int, total: int = T, warmup: int = 0) -> float:
    return (t + 1) / warmup if t < warmup else (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2


def close(values: list[Any]) -> Any:
    return [pytest.approx(one, rel=1e-12) for one in values]


HEAD_LINEAR = ByGroup(groups={"head": Linear(warmup=4)}, default=Cosine(warmup="2 steps"))
OTHERS = Hyperparameters(
    lr=HEAD_LINEAR,
    weight_decay=Linear(min_lr_ratio=0.5),
    momentum=ByGroup(groups={"head": Linear(min_lr_ratio=0.5)}),
    others={"betas[1]": Cosine(min_lr_ratio=0.9)},
)
MIXED = ByGroup(groups={"head": Hyperparameters(lr=Linear(), eps=Linear(min_lr_ratio=0.5))}, default=OneCycle())


# One optimizer


def test_each_group_follows_its_own_and_the_file_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    trained(OTHERS, callbacks=[LearningRateLogger(tmp_path, plot=False, audit="error")])
    expected = [[0.01 * cosine(t, warmup=2), 0.1 * linear(t, warmup=4)] for t in range(T)]
    assert seen() == close(expected)
    assert seen(key="wd") == close([[0.5 * linear(t, floor=0.5), 0.0] for t in range(T)])
    assert seen(key="beta1") == close([[0.9, 0.8 * linear(t, floor=0.5)] for t in range(T)])
    with (tmp_path / "lr.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = {"lr": "lr", "weight_decay": "wd", "momentum": "beta1", "betas[1]": "beta2"}
    for column, key in columns.items():
        for place, group in enumerate(("body", "head")):
            assert [float(row[f"{column}/{group}"]) for row in rows] == [one[place] for one in seen(key=key)]
    assert "used = planned on 16 of 16 updates, schedule complete" in messages(caplog)


def test_a_late_group_of_fine_tuning_follows_what_means_it(tmp_path: Path) -> None:
    """Lightning's own callback adds the backbone as a group without a name: it is ``group1``."""

    class Unfreezes(BaseFinetuning):
        def freeze_before_training(self, pl_module: Any) -> None:
            self.freeze(pl_module.backbone)

        def finetune_function(self, pl_module: Any, epoch: int, optimizer: Optimizer) -> None:
            if epoch == 1:
                self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.05)

    class Net(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.head = nn.Linear(1, 1), nn.Linear(1, 1)

        def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
            return self.head(self.backbone(batch)).sum()

        def configure_optimizers(self) -> Any:
            return AdamW(self.head.parameters(), lr=0.1, weight_decay=0.5)

    schedule = ByGroup(late={"group1": Hyperparameters(lr=Linear(), eps=Linear(min_lr_ratio=0.5))}, default=Cosine())
    logger = partial(LearningRateLogger, plot=False, audit="error")
    callbacks = [Unfreezes(), logger(tmp_path), keep_all(tmp_path)]
    trained(schedule, module=Net(), callbacks=callbacks)
    expected = [[0.1 * cosine(t), *([0.05 * linear(t)] if t >= 8 else [])] for t in range(T)]
    assert seen() == close(expected)
    for at in (5, 12):
        trained(schedule, module=Net(), callbacks=[Unfreezes(), logger()], ckpt=tmp_path / f"step={at}.ckpt")
        assert seen() == close(expected[at:])


# Several optimizers


class TwoOptimizers(LightningModule):
    """AdamW beside Muon, by hand; the second steps at every second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.net = nn.Linear(2, 2)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        self.manual_backward(self.net(batch.expand(1, 2)).square().sum())
        for optimizer in optimizers[: 1 + batch_idx % 2]:
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self) -> Any:
        scalars = [{"params": [self.net.bias], "name": "bias", "lr": 0.01}]
        matrices = [{"params": [self.net.weight], "name": "weight"}]
        return AdamW(scalars, weight_decay=0.5), torch.optim.Muon(matrices, lr=0.02, weight_decay=0.1)


TOTALS = {"total_steps": {"AdamW": 16, "Muon": 8}}
BOTH = ByGroup(groups={"bias": Hyperparameters(lr=Linear(), beta2=Linear(min_lr_ratio=0.9))}, default=Cosine(warmup=2))


def check_both() -> None:
    assert seen(AdamW) == close([[0.01 * linear(t)] for t in range(16)])
    assert seen(AdamW, "beta2") == close([[0.999 * linear(t, floor=0.9)] for t in range(16)])
    assert seen(torch.optim.Muon) == close([[0.02 * cosine(t, 8, 2)] for t in range(8)])


def test_one_schedule_by_group_over_two_optimizers(tmp_path: Path) -> None:
    callbacks = [LearningRateLogger(tmp_path, plot=False, audit="error")]
    trained(BOTH, module=TwoOptimizers(), options=TOTALS, callbacks=callbacks)
    check_both()


def test_by_group_within_a_mapping_of_optimizers() -> None:
    mapping = {"AdamW": BOTH, 1: ByGroup(groups={"weight": Cosine(warmup=2)})}
    trained(mapping, module=TwoOptimizers(), options=TOTALS)
    check_both()


def test_a_name_that_no_optimizer_has_is_refused_and_so_is_one_of_an_optimizer_that_follows_another() -> None:
    with pytest.raises(ValueError, match=r"no group 'wieght' .did you mean 'weight'..; groups are bias, weight"):
        trained(ByGroup(groups={"wieght": Cosine()}), module=TwoOptimizers(), options=TOTALS)
    apart = {"AdamW": ByGroup(groups={"weight": Cosine()}), "Muon": ByGroup(groups={"weight": Cosine()})}
    with pytest.raises(ValueError, match=r"there is no group 'weight'; groups are bias[.]"):
        trained(apart, module=TwoOptimizers(), options=TOTALS)


# Going on


@pytest.mark.parametrize(
    ("schedule", "arguments"),
    [(OTHERS, {}), (MIXED, {"accumulate_grad_batches": 3}), (OTHERS, {"options": {"interval": "epoch"}})],
    ids=["others", "mixed, accumulated", "held for an epoch"],
)
def test_a_resumed_run_uses_what_an_uninterrupted_one_does(schedule: Schedule, arguments: Any, tmp_path: Path) -> None:
    trained(schedule, callbacks=[keep_all(tmp_path)], **arguments)
    whole = seen_all()
    for at in (1, 4, 5):
        trained(schedule, ckpt=tmp_path / f"step={at}.ckpt", **arguments)
        assert seen_all() == whole[at:]


LR_ALONE = Hyperparameters(lr=HEAD_LINEAR)


def test_another_plan_is_a_question_with_four_answers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that leaves the weight decay alone gives back what was built."""
    trained(OTHERS, callbacks=[keep_all(tmp_path)])
    whole, path = seen_all(), tmp_path / "step=6.ckpt"
    with pytest.raises(ResumeError, match=r"schedule: Hyperparameters\(lr=ByGroup.* -> ByGroup"):
        trained(HEAD_LINEAR, ckpt=path)
    trained(HEAD_LINEAR, ckpt=path, options={"resume": "checkpoint"})
    assert seen_all() == whole[6:]
    caplog.set_level("INFO")
    trained(HEAD_LINEAR, ckpt=path, options={"resume": "config"})
    assert seen() == close([[0.01 * cosine(t, warmup=2), 0.1 * linear(t, warmup=4)] for t in range(6, T)])
    built = {"wd": [0.5, 0.0], "beta1": [0.9, 0.8], "beta2": [0.999, 0.9]}
    assert {key: seen(key=key) for key in built} == {key: [one] * (T - 6) for key, one in built.items()}
    assert "checkpoint -> this run: " in messages(caplog)
    trained(LR_ALONE, ckpt=path, options={"resume": "restart"})
    assert seen() == close([[0.01 * cosine(t, 10, warmup=2), 0.1 * linear(t, 10, warmup=4)] for t in range(10)])
    assert seen(key="wd") == [[0.5, 0.0]] * 10


def test_a_second_fit_follows_the_plan_of_its_length() -> None:
    run = trained(OTHERS, options={"resume": "restart"}, max_epochs=1)
    run.trainer.fit_loop.max_epochs = 2
    go(run)
    assert seen(key="wd") == close([[0.5 * linear(t, 8, floor=0.5), 0.0] for t in [*range(8), *range(8)]])
    assert seen(key="beta1")[8:] == close([[0.9, 0.8 * linear(t, 8, floor=0.5)] for t in range(8)])


@pytest.mark.parametrize("assigned", [False, True])
def test_a_rebuilt_optimizer_goes_on_in_the_plan_from_what_it_is_built_with(assigned: bool, tmp_path: Path) -> None:
    class Rebuilds(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 6:
                read_every_step()  # a rebuilt optimizer is found by such a hook
                if assigned:
                    trainer.optimizers = [adamw(list(pl_module.weights))]
                else:
                    trainer.strategy.setup_optimizers(trainer)

    logger = LearningRateLogger(tmp_path, plot=False, audit="error")
    trained(OTHERS, callbacks=[logger, Rebuilds()])
    assert seen(key="wd") == close([[0.5 * linear(t, floor=0.5), 0.0] for t in range(T)])
    assert seen() == close([[0.01 * cosine(t, warmup=2), 0.1 * linear(t, warmup=4)] for t in range(T)])


def test_a_loader_that_is_made_anew_gives_the_plan_its_length() -> None:
    class Longer(Tiny):
        def train_dataloader(self) -> Any:
            return loader(4 if self.trainer.current_epoch == 0 else 6)

    staircase = Hyperparameters(lr=Fixed(), weight_decay=ByGroup(groups={"body": Step(step_size="1 epoch")}))
    run = prepare(staircase, module=Longer(adamw), max_epochs=3, reload_dataloaders_every_n_epochs=1,
                  options={"total_steps": 16})  # fmt: skip
    run.trainer.fit(run.module)
    assert seen(key="wd") == close([[0.5 * 0.1**k, 0.0] for k in [0] * 4 + [1] * 6 + [2] * 6])


# What is within, and what groups bring along


def test_torchs_schedulers_and_one_cycles_are_of_their_own_groups() -> None:
    stairs = TorchSchedule(factory=partial(StepLR, step_size=5, gamma=0.5))
    trained(ByGroup(groups={"body": stairs, "head": OneCycle(max_momentum=0.9, base_momentum=0.6)}))
    lrs, betas = seen(AdamW), seen(AdamW, "beta1")  # a schedule of torch runs on a stand-in too
    stop_reading()
    there = AdamW([nn.Parameter(torch.ones(1))], lr=0.1)
    cycle = OneCycleLR(there, max_lr=0.1, total_steps=T, max_momentum=0.9, base_momentum=0.6)
    for t in range(T):
        (group,) = there.param_groups
        assert lrs[t] == pytest.approx([0.01 * 0.5 ** (t // 5), group["lr"]])
        assert betas[t] == pytest.approx([0.9, group["betas"][0]])
        there.step()
        if t < T - 1:
            cycle.step()


def test_a_plateau_cuts_the_lr_and_nothing_beside_it(tmp_path: Path) -> None:
    schedule = Hyperparameters(lr=Plateau(patience=0, factor=0.5), weight_decay=Linear(min_lr_ratio=0.5))
    values = [1.0, 1.0, 0.9, 1.0]
    arguments: dict[str, Any] = {"module": Validated(values, adamw), "max_epochs": 4, "num_sanity_val_steps": 0}
    trained(schedule, callbacks=[keep_all(tmp_path)], **arguments)
    whole = seen_all()
    assert seen() == close([[0.01 * cut, 0.1 * cut] for cut in (1.0, 1.0, 0.5, 0.5) for _ in range(8)])
    assert seen(key="wd") == close([[0.5 * linear(t, 32, floor=0.5), 0.0] for t in range(32)])
    trained(schedule, ckpt=tmp_path / "step=19.ckpt", **{**arguments, "module": Validated(values, adamw)})
    assert seen_all() == whole[19:]


def test_lr_scales_and_layer_wise_decay_are_part_of_each_groups_peak() -> None:
    def layered(weights: list[nn.Parameter]) -> Optimizer:
        return SGD(
            [
                {"params": weights[:1], "name": "layers.0.decay", "lr_scale": 0.25},
                {"params": weights[1:], "name": "layers.1.decay", "lr_scale": 0.5},
                {"params": [nn.Parameter(torch.ones(1))], "name": "head"},
            ],
            lr=0.1,
            weight_decay=0.5,
        )

    trained(ByGroup(groups={r"layers\.\d+\.decay": Linear(min_lr=0.01)}, default=Cosine()), layered)
    share = [linear(t, floor=0.01 / 0.05) for t in range(T)]
    assert seen() == close([[0.025 * share[t], 0.05 * share[t], 0.1 * cosine(t)] for t in range(T)])


def test_what_somebody_else_writes_to_the_weight_decay_is_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Writes(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.global_step == 3:
                trainer.optimizers[0].param_groups[0]["weight_decay"] = 0.125

    caplog.set_level("INFO")
    said = "update 3 used weight_decay 0.125 in group 'body', and the plan says 0.453125"
    with pytest.warns(UserWarning, match=said):
        trained(OTHERS, callbacks=[LearningRateLogger(tmp_path, plot=False), Writes()])
    assert (
        "used = planned on 15 of 16 updates, largest difference 0.328125 in group body (weight_decay) at update 3"
        in (messages(caplog))
    )
    assert seen(key="wd")[4][0] == pytest.approx(0.5 * linear(4, floor=0.5))
    with pytest.raises(LearningRateError, match=said):
        trained(OTHERS, callbacks=[LearningRateLogger(tmp_path, plot=False, audit="error"), Writes()])
