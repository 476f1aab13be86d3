"""The range test in a run and as a function: what it suggests is used, and nothing else has changed."""

from __future__ import annotations

import csv
import json
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, CyclicLR, OneCycleLR, SequentialLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.callbacks.learning_rate_range_test import FILES, LearningRateRangeTest, range_test, set_peak, writable
from lr_recipes.callbacks.sweep_loop import SweepError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.sweep.result import RULES
from tests.callbacks.harness import PEAK, Oracle, Tiny, keep_all, loader, messages, plan, quiet_trainer, record_lrs
from tests.ready import run_two

COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
ROOT = Path(__file__).parents[2]


def adamw(parameters: Any) -> Optimizer:
    return AdamW(parameters, lr=1e-3)


class Net(LightningModule):
    """Learns, has batch statistics, dropout and a memory of its own, and logs."""

    def __init__(self, build: Callable[[Any], Any] = adamw) -> None:
        super().__init__()
        self.build = build
        self.net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 4))
        self.losses: list[float] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, labels = batch
        loss = nn.functional.cross_entropy(self.net(inputs) + 0.01 * random.random() + 0.01 * np.random.rand(), labels)
        self.losses.append(loss.item())
        self.log("train_loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.net(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return self.build(self.net.parameters())


def data(batch_size: int = 32, shuffle: bool = True) -> DataLoader[Any]:
    """256 samples that can be learnt."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(256, 8, generator=generator)
    labels = (inputs @ torch.randn(8, 4, generator=generator)).argmax(dim=1)
    return DataLoader(TensorDataset(inputs, labels), batch_size=batch_size, shuffle=shuffle)


def seed(number: int = 1) -> None:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


class Fitted:
    """A fit, and what it used and left."""

    def __init__(
        self,
        *callbacks: Callback,
        build: Callable[[Any], Any] = adamw,
        schedule: Any = COSINE,
        module: LightningModule | None = None,
        train: Any = None,
        ckpt_path: Any = None,
        **arguments: Any,
    ) -> None:
        seed()
        self.module, self.oracle = module or Net(build), Oracle()
        owner = [] if schedule is None else [LearningRateScheduler(schedule)]
        self.trainer = quiet_trainer([*owner, *callbacks, self.oracle], **{"max_epochs": 3, **arguments})
        val = data(64, shuffle=False) if is_overridden("validation_step", self.module) else None
        self.trainer.fit(self.module, data() if train is None else train, val, ckpt_path=ckpt_path)
        self.left = self._left()

    @property
    def used(self) -> list[float]:
        return [lrs[0] for lrs in self.oracle.used[0]]

    def _left(self) -> list[Any]:
        """Everything that must be equal bit for bit."""
        weights = {name: value.tolist() for name, value in self.module.state_dict().items()}
        states = [str(optimizer.state_dict()) for optimizer in self.trainer.optimizers]
        metrics = {name: value.item() for name, value in self.trainer.callback_metrics.items()}
        numbers = (random.random(), np.random.rand(), torch.rand(1).item())
        return [weights, states, metrics, numbers, self.used, getattr(self.module, "losses", None)]


def sweeping(folder: Path, **options: Any) -> LearningRateRangeTest:
    """A range test that draws nothing: a picture takes longer than the run."""
    return LearningRateRangeTest(dirpath=folder, plot=False, **options)


@pytest.fixture
def test(tmp_path: Path) -> LearningRateRangeTest:
    return sweeping(tmp_path / "range")


# The peak


@pytest.mark.behaviour("B35")
def test_the_suggestion_becomes_the_peak_of_the_schedule_that_then_runs(test: LearningRateRangeTest) -> None:
    run = Fitted(test)  # after the scheduler in the list; it goes first by itself
    assert test.result is not None
    peak = test.result.suggestion
    assert peak is not None
    assert 1e-3 < peak < 1
    assert run.used == plan(COSINE, 24, base=peak)


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_can_be_chosen(rule: str, tmp_path: Path) -> None:
    test = sweeping(tmp_path, rule=rule)
    run = Fitted(test, max_epochs=1)
    assert test.result is not None
    assert max(run.used) == test.result.suggestions[rule]


def test_the_place_in_the_list_does_not_matter(tmp_path: Path) -> None:
    def run(first: bool) -> Fitted:
        test = sweeping(tmp_path)
        rest = [LearningRateScheduler(COSINE), record_lrs(tmp_path / "lr")]
        return Fitted(*([test, *rest] if first else [*rest, test]), schedule=None)

    assert run(first=True).used == run(first=False).used != plan(COSINE, 24, base=1e-3)


def test_a_warmup_over_the_modules_own_scheduler_rises_to_the_suggestion(test: LearningRateRangeTest) -> None:
    def build(parameters: Any) -> Any:
        optimizer = adamw(parameters)
        return [optimizer], [{"scheduler": StepLR(optimizer, 8, gamma=0.5), "interval": "step"}]

    run = Fitted(test, LearningRateWarmup(4), schedule=None, build=build)
    assert test.result is not None
    peak = test.result.suggestion
    assert peak is not None
    expected = [peak * 0.5 ** (n // 8) * min((n + 1) / 4, 1) for n in range(24)]
    assert run.used == pytest.approx(expected)


SCHEDULERS: dict[str, Callable[[Optimizer], Any]] = {
    "step": lambda optimizer: StepLR(optimizer, 3),
    "cosine": lambda optimizer: CosineAnnealingLR(optimizer, 24),
    "one_cycle": lambda optimizer: OneCycleLR(optimizer, max_lr=0.01, total_steps=25),
    "cyclic": lambda optimizer: CyclicLR(optimizer, base_lr=0.001, max_lr=0.01, cycle_momentum=False),
    "sequence": lambda optimizer: SequentialLR(
        optimizer, [ConstantLR(optimizer, 0.1, total_iters=5), StepLR(optimizer, 3)], milestones=[5]
    ),
}


@pytest.mark.behaviour("B35")
@pytest.mark.behaviour("B54")
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("name", SCHEDULERS)
def test_torch_schedulers_of_the_module_follow_in_proportion(name: str, tmp_path: Path) -> None:
    def build(parameters: Any) -> Any:
        optimizer = AdamW(parameters, lr=1e-3)
        return [optimizer], [{"scheduler": SCHEDULERS[name](optimizer), "interval": "step"}]

    plain = Fitted(schedule=None, build=build)
    test = sweeping(tmp_path)
    run = Fitted(test, schedule=None, build=build)
    assert test.result is not None
    built = {"one_cycle": 0.01, "cyclic": 0.01}.get(name, 0.001)  # of these two the peak is an argument of their own
    factor = (test.result.suggestion or math.nan) / built
    assert run.used == pytest.approx([lr * factor for lr in plain.used], rel=1e-6)


def test_groups_keep_their_ratio_and_tensors_stay_the_same_objects() -> None:
    shared = torch.tensor(0.1)
    weights = [nn.Parameter(torch.ones(1)) for _ in range(4)]
    groups: list[dict[str, Any]] = [{"params": weights[:1]}, {"params": weights[1:2]}]
    groups += [{"params": weights[2:3], "lr": torch.tensor(0.01)}, {"params": weights[3:], "lr": 0.001}]
    optimizer = AdamW(groups, lr=shared)
    lrs = [group["lr"] for group in optimizer.param_groups]
    set_peak(optimizer, [], 0.5)
    assert all(after["lr"] is before for after, before in zip(optimizer.param_groups, lrs[:3], strict=False))
    assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.5, 0.5, 0.05, 0.005])


class Flat(Tiny):
    """Learns nothing: its gradient is 0."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return 0 * self.loss(batch) + 2.3


@pytest.mark.behaviour("B37")
def test_without_a_suggestion_training_goes_on_at_the_lr_that_was_configured_and_says_why(
    test: LearningRateRangeTest,
) -> None:
    with pytest.warns(UserWarning, match=r"suggests nothing, so training goes on at LR 0\.1: the loss is flat"):
        run = Fitted(test, module=Flat(), train=loader())
    assert run.used == []  # a gradient of 0 changes nothing, with an LR of any size
    assert run.trainer.optimizers[0].param_groups[0]["initial_lr"] == PEAK


def test_a_rule_that_finds_nothing_is_told_too(tmp_path: Path) -> None:
    class Falling(Tiny):
        """Falls to a flat bottom, by the LR of the update before it."""

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            lr = self.trainer.optimizers[0].param_groups[0]["lr"]
            return self.loss(batch) * 0 + 2 - 1 / (1 + (1e-3 / lr) ** 2)

    test = sweeping(tmp_path, rule="minimum")
    with pytest.warns(UserWarning, match=r"goes on at LR 0\.1: the rule 'minimum' finds nothing on this curve"):
        Fitted(test, module=Falling(), train=loader(), max_epochs=1)
    assert test.result is not None
    assert test.result.reason is None


# Nothing else has changed


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"accumulate_grad_batches": 3},
        {"gradient_clip_val": 0.5},
        {"precision": "bf16-mixed"},
        {"limit_train_batches": 5, "max_steps": 11},
        {"build": lambda p: SGD(p, lr=0.01, momentum=0.9)},
    ],
    ids=["plain", "accumulation", "clipping", "bf16", "limits", "sgd"],
)
def test_a_fit_after_it_equals_a_fit_without_it_bit_for_bit(arguments: Any, tmp_path: Path) -> None:
    test = sweeping(tmp_path, apply=False)
    swept, plain = Fitted(test, **arguments), Fitted(**arguments)
    assert test.result is not None
    assert len(test.result.losses) > 60
    assert swept.left == plain.left
    assert swept.used == plan(COSINE, len(plain.used), base=plain.used[1])


@pytest.mark.behaviour("B39")
@pytest.mark.parametrize("epoch", [1, 2])
def test_in_the_middle_of_training_it_measures_all_and_changes_nothing(epoch: int, tmp_path: Path) -> None:
    test = sweeping(tmp_path, epoch=epoch)
    swept, plain = Fitted(test, record_lrs(tmp_path / "swept")), Fitted(record_lrs(tmp_path / "plain"))
    assert test.result is not None
    assert len(test.result.losses) > 60
    assert swept.left == plain.left
    assert (tmp_path / "swept" / "lr.csv").read_text() == (tmp_path / "plain" / "lr.csv").read_text()
    assert len(list(read_rows(tmp_path / "swept" / "lr.csv"))) == 24


@pytest.mark.behaviour("B39")
@pytest.mark.parametrize("listed", [True, False])
def test_it_can_be_made_at_any_update(listed: bool) -> None:
    class AtUpdate(Callback):
        def __init__(self) -> None:
            self.results: list[Any] = []

        def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
            if trainer.global_step == 11:
                self.results += [test.run(trainer) for _ in range(2)]

    at, test = AtUpdate(), LearningRateRangeTest(num_training_steps=50, epoch=None)
    assert Fitted(at, *([test] if listed else [])).left == Fitted().left
    first, second = at.results
    assert len(first.losses) >= 30
    assert first == second
    assert test.result is None


def test_step_hooks_of_the_module_work_in_the_sweep_and_those_of_callbacks_rest(tmp_path: Path) -> None:
    calls = {"module": 0, "callback": 0}

    def count(name: str) -> Callable[..., None]:
        def note(*_: Any) -> None:
            calls[name] += 1

        return note

    def build(parameters: Any) -> Optimizer:
        optimizer = adamw(parameters)
        optimizer.register_step_pre_hook(count("module"))
        return optimizer

    class Watching(Callback):
        def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
            trainer.optimizers[0].register_step_post_hook(count("callback"))

    test = sweeping(tmp_path, num_training_steps=20, apply=False)
    Fitted(Watching(), test, build=build)
    assert test.result is not None
    assert calls == {"module": 24 + len(test.result.losses), "callback": 24}


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(tmp_path: Path) -> None:
    def losses(number: int) -> Any:
        seed(number)
        return range_test(Net(), data(), accelerator="cpu", enable_progress_bar=False, num_training_steps=20).losses

    assert losses(1) == losses(1) != losses(2)


def test_it_is_left_out_of_a_quick_run_for_errors(test: LearningRateRangeTest, caplog: Any) -> None:
    with caplog.at_level("INFO"):
        run = Fitted(test, fast_dev_run=True)
    assert test.result is None
    assert len(run.used) == 1
    assert "LR range test: left out" in messages(caplog)


# Going on


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_run_that_goes_on_makes_no_sweep_and_keeps_the_peak(tmp_path: Path, caplog: Any) -> None:
    whole = Fitted(sweeping(tmp_path), keep_all(tmp_path, 8))
    again = sweeping(tmp_path)
    with caplog.at_level("INFO"):
        resumed = Fitted(again, keep_all(tmp_path, 8), ckpt_path=tmp_path / "step=8.ckpt")
    assert again.result is None
    assert resumed.used == whole.used[8:]
    assert f"goes on at the peak LR {max(whole.used):g}" in messages(caplog)
    checkpoint = torch.load(tmp_path / "step=8.ckpt", weights_only=True)
    state = {"peak": max(whole.used), "groups": ["group0"], "before": 0.001}
    assert checkpoint["callbacks"]["LearningRateRangeTest"] == state


def test_a_second_fit_of_the_same_trainer_goes_on_at_the_peak(test: LearningRateRangeTest) -> None:
    run = Fitted(test, schedule=schedules.Fixed())
    result, used = test.result, run.used
    run.trainer.fit_loop.max_epochs = 5
    run.trainer.fit(run.module, data(), data(64, shuffle=False))
    assert test.result is result
    assert run.used == [used[0]] * 16
    fresh = Fitted(test, schedule=schedules.Fixed())  # another Trainer makes its own
    assert test.result is not result
    assert fresh.used == [used[0]] * 24


def test_a_sweep_after_a_checkpoint_without_one_is_not_made(test: LearningRateRangeTest, tmp_path: Path) -> None:
    Fitted(keep_all(tmp_path, 8))
    resumed = Fitted(test, keep_all(tmp_path, 8), ckpt_path=tmp_path / "step=8.ckpt")
    assert resumed.used == plan(COSINE, 24, base=1e-3)[8:]
    assert test.result is None


# Files, words and the bar


def test_files_and_words(tmp_path: Path, caplog: Any) -> None:
    test = LearningRateRangeTest(dirpath=tmp_path / "new" / "folder")
    with caplog.at_level("INFO"):
        Fitted(test, max_epochs=1)
    result = test.result
    assert result is not None
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == sorted(FILES)
    with (tmp_path / "new" / "folder" / "range_test.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == list(result.losses)
    assert json.loads((tmp_path / "new" / "folder" / "range_test.json").read_text())["suggestion"] == result.suggestion
    said = messages(caplog)
    assert result.table in said
    assert f"the peak LR is now {result.suggestion:g} (edge); it was 0.001" in said


def test_files_go_to_the_trainers_folder_by_default(tmp_path: Path) -> None:
    Fitted(LearningRateRangeTest(apply=False), max_epochs=1, default_root_dir=tmp_path)
    assert set(FILES) <= {path.name for path in tmp_path.iterdir()}


def test_the_bar_is_shown_where_the_trainer_shows_one(tmp_path: Path, capsys: Any) -> None:
    test = sweeping(tmp_path, num_training_steps=20, apply=False)
    Fitted(test, TQDMProgressBar(refresh_rate=0), max_epochs=1, enable_progress_bar=True)
    assert "LR range test" not in capsys.readouterr().err
    Fitted(test, TQDMProgressBar(), max_epochs=1, enable_progress_bar=True)
    assert "LR range test:" in capsys.readouterr().err


@pytest.mark.behaviour("B65")
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, True),
        ({"enable_progress_bar": False}, False),
        ({"callbacks": [TQDMProgressBar(refresh_rate=0)]}, False),
        ({"callbacks": TQDMProgressBar()}, True),
    ],
)
def test_the_function_shows_its_own_bar_at_most_and_says_nothing(
    options: dict[str, Any], shown: bool, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    level = logging.getLogger("lightning.pytorch").level
    range_test(Net(), data(), accelerator="cpu", num_training_steps=20, **options)
    out, err = capsys.readouterr()
    assert (out, messages(caplog)) == ("", "")
    assert ("LR range test:" in err) == shown
    assert "Epoch" not in err  # Lightning's bar, which would stay empty
    assert logging.getLogger("lightning.pytorch").level == level


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_lr": 1.0, "max_lr": 1e-3}, r"min_lr=1 must be below max_lr=0.001"),
        ({"num_training_steps": 5}, r"num_training_steps=5: .* at least 10"),
        ({"divergence": 0.5}, r"divergence=0.5: must be above 1"),
        ({"rule": "steep"}, r"rule='steep'.*: must be one of steepest, valley, slide, minimum, edge"),
        ({"epoch": -1}, r"epoch=-1: must be the number of an epoch, the first is 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused_at_once(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LearningRateRangeTest(**arguments)


def test_a_folder_that_cannot_be_written_is_found_before_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    class Never(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise AssertionError("trained")

    with pytest.raises(OSError, match=r"file.folder cannot be written \(.*\): give the range test another folder"):
        Fitted(sweeping(tmp_path / "file" / "folder"), module=Never())
    with pytest.raises(OSError, match="cannot be written"):
        range_test(Never(), data(), dirpath=tmp_path / "file" / "folder")
    with pytest.raises(OSError, match="cannot be written"):
        writable(Path("/proc/range"))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (None, r"the module has 2 optimizers: name the one to sweep, optimizer=0 or 'SGD', 1 or 'SGD-1'"),
        ("Adam", r"optimizer names the optimizer 'Adam', and the module has 0 or 'SGD', 1 or 'SGD-1'"),
        (2, r"optimizer names the optimizer 2, and the module has"),
    ],
)
def test_the_optimizer_must_be_named_where_there_are_several(optimizer: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=message):
        Fitted(sweeping(tmp_path, optimizer=optimizer), module=Gan(), schedule=None)


class Gan(LightningModule):
    """Two optimizers, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.first, self.second = nn.Linear(8, 4), nn.Linear(8, 4)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for layer, optimizer in zip((self.first, self.second), self.optimizers(), strict=True):  # type: ignore[arg-type]
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(layer(batch[0]), batch[1]))
            optimizer.step()

    def configure_optimizers(self) -> Any:
        return SGD(self.first.parameters(), lr=0.01), SGD(self.second.parameters(), lr=0.02)


@pytest.mark.parametrize("name", [1, "SGD-1"])
def test_the_named_optimizer_of_several_gets_the_suggestion_and_the_other_keeps_its_lr(
    name: int | str, tmp_path: Path
) -> None:
    test = sweeping(tmp_path, optimizer=name, max_lr=1e3)
    run = Fitted(test, module=Gan(), schedule=None)
    assert test.result is not None
    assert {lrs[0] for lrs in run.oracle.used[0]} == {0.01}
    assert {lrs[0] for lrs in run.oracle.used[1]} == {test.result.suggestion}


class Breaking(Net):
    """Is not a number, or is interrupted, from some update on."""

    def __init__(self, at: int, interrupt: bool = False) -> None:
        super().__init__()
        self.at, self.interrupt, self.done = at, interrupt, 0

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.done == self.at and self.interrupt:
            raise KeyboardInterrupt
        self.done += 1
        return super().training_step(batch, batch_idx) + (math.nan if self.done > self.at else 0)


QUIET = {"accelerator": "cpu", "enable_progress_bar": False}


def test_not_a_number_from_the_first_batch_on(test: LearningRateRangeTest) -> None:
    with pytest.warns(UserWarning, match=r"goes on at LR 0\.001: the loss was not finite after 0 updates"):
        Fitted(test, module=Breaking(0), max_epochs=1)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Lightning ignores Ctrl-C from the first one on."""
    import signal

    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_in_a_run_keeps_what_was_measured_restores_the_state_and_ends_the_run(tmp_path: Path) -> None:
    module = Breaking(30, interrupt=True)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    test = sweeping(tmp_path)
    with pytest.raises(SystemExit):
        Fitted(test, module=module)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert (module.done, module.losses) == (0, [])
    found = json.loads((tmp_path / "range_test.json").read_text())
    assert (found["updates"], found["stop"], found["suggestion"]) == (30, "interrupted", None)
    assert len((tmp_path / "range_test.csv").read_text().splitlines()) == 31


# The function


@pytest.mark.filterwarnings("ignore:Found 1 module.* in eval mode")
def test_the_function_leaves_module_and_random_numbers_as_they_are_and_returns_the_result(tmp_path: Path) -> None:
    seed()
    module, numbers = Net(), (random.getstate(), torch.get_rng_state().tolist())
    module.net[3].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    result = range_test(module, data(), dirpath=tmp_path, **QUIET)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [layer.training for layer in module.net] == [True, True, True, False, True]
    assert module.losses == []
    assert (random.getstate(), torch.get_rng_state().tolist()) == numbers
    assert set(result.suggestions) == set(RULES)
    assert result.agree
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_the_function_takes_a_datamodule_settings_and_options_of_the_trainer() -> None:
    class Data(LightningDataModule):
        def train_dataloader(self) -> DataLoader[Any]:
            return data()

    class Seeing(Callback):
        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            self.accumulate = trainer.accumulate_grad_batches

    seeing = Seeing()
    options: dict[str, Any] = {"accumulate_grad_batches": 2, "min_epochs": 3, "callbacks": [seeing]}
    settings: dict[str, Any] = {"min_lr": 1e-4, "max_lr": 1e-2, "num_training_steps": 12, "mode": "linear"}
    result = range_test(Net(), Data(), **settings, **options, **QUIET)
    assert seeing.accumulate == 2
    assert result.lrs == pytest.approx(np.linspace(1e-4, 1e-2, 12))


def test_ctrl_c_ends_the_function_and_what_was_measured_is_returned() -> None:
    result = range_test(Breaking(30, interrupt=True), data(), **QUIET)
    assert (len(result.losses), result.suggestion) == (30, None)
    assert result.reason == "the sweep was interrupted after 30 of 100 updates"


@pytest.mark.filterwarnings("ignore:Total length of", "ignore:Length of split")
@pytest.mark.parametrize(
    ("train", "options"),
    [(lambda: DataLoader(TensorDataset(torch.zeros(0, 8))), {}), (data, {"limit_train_batches": 0})],
)
def test_no_data_at_all(train: Any, options: Any) -> None:
    with pytest.raises(
        SweepError, match=r"there is no training batch, so nothing can be measured: the loader is empty"
    ):
        range_test(Net(), train(), **options, **QUIET)


def test_a_checkpoint_callback_and_a_logger_of_the_run_see_one_run_only(tmp_path: Path) -> None:
    saving = ModelCheckpoint(tmp_path, monitor="val_loss", save_top_k=-1, filename="{step}")
    Fitted(sweeping(tmp_path / "range"), saving)
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["step=16.ckpt", "step=24.ckpt", "step=8.ckpt"]


# Two processes


def two_processes(folder: Path) -> None:
    """What each process measured, used and ended with, to ``<folder>/<rank>.json``."""
    ddp: dict[str, Any] = {"strategy": "ddp", "devices": 2, "accumulate_grad_batches": 2}
    test = sweeping(folder / "range")
    run = Fitted(test, train=data(8), max_epochs=1, **ddp)
    swept = Fitted(sweeping(folder / "range", apply=False), train=data(8), max_epochs=1, **ddp)
    plain = Fitted(train=data(8), max_epochs=1, **ddp)
    assert test.result is not None
    facts = {
        "losses": test.result.losses,
        "suggestion": test.result.suggestion,
        "used": run.used,
        "weights": run.left[0],
        "equal": swept.left == plain.left,
    }
    (folder / f"{run.trainer.global_rank}.json").write_text(json.dumps(facts))


def test_two_processes_measure_the_mean_and_agree(tmp_path: Path) -> None:
    run_two(["-m", "tests.callbacks.test_learning_rate_range_test", tmp_path], ROOT)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert len(first["losses"]) > 60
    assert first["equal"]
    assert first["used"] == plan(COSINE, 8, base=first["suggestion"])
    assert sorted(path.name for path in (tmp_path / "range").iterdir()) == ["range_test.csv", "range_test.json"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    two_processes(Path(sys.argv[1]))
