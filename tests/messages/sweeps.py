"""What the range test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from lr_recipes import LearningRateRangeTest, range_test
from lr_recipes.sweep.result import RangeTest, Sweep
from tests.callbacks.harness import Endless, Tiny, fit, loader, sgd
from tests.messages.doors import Both, Case, Manual, OwnAccumulation, Packed, a_file, without_matplotlib


class Falling(Tiny):
    """Its loss falls from 2 to 1 around an LR, by the LR of the moment, with noise that larger batches make smaller."""

    def __init__(self, around: float = 1e-3, noise: float = 0.0, build: Any = sgd) -> None:
        super().__init__(build)
        self.around, self.noise = around, noise

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        lr = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        return 0 * self.loss(batch) + 2 - 1 / (1 + (self.around / lr) ** 2) + self.noise * batch.mean()


class Silly(Tiny):
    """Returns what is no loss."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return {"output": batch}


class InADict(Tiny):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return {"loss": self.loss(batch)}


class Never(Tiny):
    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return None


class Backward(Manual):
    """Steps by hand, with a gradient that comes from elsewhere than ``manual_backward``."""

    def __init__(self, returned: Callable[[Any], Any]) -> None:
        super().__init__()
        self.returned = returned

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        optimizer.step()
        return self.returned(loss)


class Idle(Manual):
    """Leaves one of two optimizers alone."""

    def training_step(self, batch: Tensor, batch_idx: int) -> Any:
        return self.loss(batch)


class ByIterator(Tiny):
    def training_step(self, dataloader_iter: Any) -> Any:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        return self.loss(batch)


class Once:
    """An iterator: what is read of it is gone."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return next(self.batches)


def swept(module: Any = None, train: Any = None, strategy: Any = "auto", steps: int = 50, **options: Any) -> None:
    """A run that begins with a range test, which must suggest something."""
    test = LearningRateRangeTest(dirpath="range", plot=False, num_training_steps=steps, **options)
    train = loader() if train is None else train
    fit(module=module or Falling(), train=train, callbacks=[test], max_epochs=1, strategy=strategy)
    assert test.result is not None
    assert test.result.suggestion is not None


def measured(module: Any, train: Any = None, **options: Any) -> None:
    """A range test that measures what it shall, whatever it says."""
    result = range_test(module, loader() if train is None else train, **{**QUIET, "num_training_steps": 20, **options})
    assert len(result.losses) == 20


def random_batches(batch_size: int) -> Any:
    return DataLoader(torch.randn(8 * batch_size, 1, generator=torch.Generator().manual_seed(0)), batch_size=batch_size)


def run_without_data() -> Any:
    test = LearningRateRangeTest(epoch=None, num_training_steps=20)

    class Early(Callback):
        def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
            test.run(trainer)

    fit(module=Falling(), callbacks=[test, Early()], max_epochs=1)


def run_while_it_trains() -> None:
    test = LearningRateRangeTest(epoch=None, num_training_steps=20)

    class Later(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            assert len(test.run(trainer).losses) == 20

    fit(module=Falling(), callbacks=[test, Later()], max_epochs=1)


QUIET: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False}


def over_a_folder(folder: str) -> None:
    """Where the picture is to be there is a folder."""
    (Path(folder) / "range_test.png").mkdir(parents=True)
    range_test(Tiny(), loader(), dirpath=folder, **QUIET)


SWEEPS: dict[str, Case] = {
    "argument that is none": Case(
        lambda: range_test(Falling(), loader(4), max_lrs=1.0),
        ["range_test() has no argument 'max_lrs'", "it takes model, data, min_lr, max_lr"],
        {
            "did you mean 'max_lr'": lambda: measured(Falling(), max_lr=1.0),
            "what Lightning's Trainer takes": lambda: measured(Falling(), gradient_clip_val=1.0),
        },
    ),
    "LR that is none": Case(
        lambda: LearningRateRangeTest(min_lr=0),
        ["min_lr=0", "above 0"],
        {"min_lr=1e-07": lambda: LearningRateRangeTest(min_lr=1e-07)},
    ),
    "LRs the wrong way round": Case(
        lambda: LearningRateRangeTest(min_lr=1.0, max_lr=1e-3),
        ["min_lr=1", "max_lr=0.001"],
        {
            "set min_lr=1e-07": lambda: LearningRateRangeTest(min_lr=1e-07, max_lr=1e-3),
            "a larger max_lr": lambda: LearningRateRangeTest(min_lr=1.0, max_lr=10.0),
        },
    ),
    "too few updates": Case(
        lambda: LearningRateRangeTest(num_training_steps=5),
        ["num_training_steps=5", "at least 10"],
        {"100 is usual": lambda: LearningRateRangeTest(num_training_steps=100)},
    ),
    "divergence": Case(
        lambda: LearningRateRangeTest(divergence=1),
        ["divergence=1", "above 1"],
        {"4 stops": lambda: LearningRateRangeTest(divergence=4)},
    ),
    "epoch that is none": Case(
        lambda: LearningRateRangeTest(epoch=-1),
        ["epoch=-1"],
        {
            "the first is 0": lambda: LearningRateRangeTest(epoch=0),
            "or None for none": lambda: LearningRateRangeTest(epoch=None),
        },
    ),
    "optimizer that is none": Case(
        lambda: LearningRateRangeTest(optimizer=1.5),  # type: ignore[arg-type]
        ["optimizer=1.5"],
        {
            "as in 0": lambda: LearningRateRangeTest(optimizer=0),
            "or None": lambda: LearningRateRangeTest(optimizer=None),
        },
    ),
    "result of no sweep": Case(
        lambda: RangeTest("sweep", []),  # type: ignore[arg-type]
        ["sweep='sweep'"],
        {"Sweep(min_lr=1e-6, max_lr=1.0)": lambda: RangeTest(Sweep(min_lr=1e-6, max_lr=1.0), [])},
    ),
    "loss that is none": Case(
        lambda: RangeTest(Sweep(), [1.0, float("nan")]),
        ["losses=[1.0, nan]"],
        {"a list of finite numbers": lambda: RangeTest(Sweep(), [1.0, 0.5])},
    ),
    "sweep that shows nothing": Case(
        lambda: swept(Falling(noise=0.3), random_batches(1)),
        ["training goes on at LR 0.1", "does not fall by more than its noise"],
        {
            "larger batches": lambda: swept(Falling(noise=0.3), random_batches(256)),
            "more updates": lambda: swept(Falling(noise=0.3), random_batches(1), steps=300),
        },
    ),
    "sweep that begins too late": Case(
        lambda: swept(min_lr=1e-3),
        ["falls fastest at the start, LR 0.001"],
        {"lower min_lr, as in min_lr=1e-06": lambda: swept(min_lr=1e-6)},
    ),
    "sweep that stops too early": Case(
        lambda: swept(max_lr=1e-3),
        ["falls fastest at the end, LR 0.001"],
        {"raise max_lr, as in max_lr=0.1": lambda: swept(max_lr=0.1)},
    ),
    "several optimizers": Case(
        lambda: measured(Both()),
        ["the module has 2 optimizers"],
        {
            "optimizer=0 or 'SGD', 1 or 'SGD-1'": lambda: [
                measured(Both(), optimizer=name) for name in (0, "SGD", 1, "SGD-1")
            ]
        },
    ),
    "optimizer that is not there": Case(
        lambda: measured(Tiny(), optimizer="Adam"),
        ["optimizer names the optimizer 'Adam'"],
        {"the module has 0 or 'SGD'": lambda: [measured(Tiny(), optimizer=name) for name in (0, "SGD")]},
    ),
    "no batch": Case(
        lambda: measured(Tiny(), limit_train_batches=0),
        ["there is no training batch", "limit_train_batches=0"],
        {"limit_train_batches": lambda: measured(Tiny(), limit_train_batches=4)},
    ),
    "folder that cannot be written": Case(
        lambda: range_test(Tiny(), loader(), dirpath=a_file() / "folder", **QUIET),
        ["file/folder cannot be written"],
        {"another folder, as dirpath": lambda: range_test(Tiny(), loader(), dirpath="range", **QUIET)},
    ),
    "picture without matplotlib": Case(
        without_matplotlib(lambda: range_test(Tiny(), loader(), dirpath="range", **QUIET)),
        ["the range test is not drawn as range_test.png", "needs matplotlib"],
        {"pip install matplotlib": lambda: range_test(Tiny(), loader(), dirpath="range", **QUIET)},
    ),
    "files that cannot be written": Case(
        lambda: over_a_folder("range"),
        ["the files of the range test cannot be written"],
        {
            "another dirpath": lambda: range_test(Tiny(), loader(), dirpath="another", **QUIET),
            "make room for them": lambda: (
                Path("range/range_test.png").rmdir(),
                range_test(Tiny(), loader(), dirpath="range", **QUIET),
            ),
        },
    ),
    "LRs of 0": Case(
        lambda: measured(Tiny(partial(sgd, lr=0.0))),
        ["every group of SGD has an LR of 0"],
        {"such as lr=0.001": lambda: measured(Tiny(partial(sgd, lr=0.001)))},
    ),
    "step that takes an iterator": Case(
        lambda: measured(ByIterator()),
        ["training_step takes a dataloader_iter"],
        {"one that takes a batch": lambda: measured(Tiny())},
    ),
    "strategy that steps by itself": Case(
        lambda: measured(Tiny(), strategy=OwnAccumulation()),
        ["OwnAccumulation steps its optimizer by itself"],
        {"another strategy": lambda: measured(Tiny(), strategy="auto")},
    ),
    "step by hand without a loss": Case(
        lambda: measured(Backward(lambda loss: None)),
        ["Backward.training_step returned no loss", "did not call self.manual_backward"],
        {
            "self.manual_backward": lambda: measured(Manual()),
            "return the loss": lambda: measured(Backward(lambda loss: loss)),
            "or a dict with it under 'loss'": lambda: measured(Backward(lambda loss: {"loss": loss})),
        },
    ),
    "no update": Case(
        lambda: measured(Never()),
        ["100 batches and not one update of SGD"],
        {"a tensor": lambda: measured(Tiny()), "a dict with it under 'loss'": lambda: measured(InADict())},
    ),
    "no update by hand": Case(
        lambda: measured(Idle()),
        ["100 batches and not one update of SGD", "Idle.training_step"],
        {"in manual optimization step the optimizer": lambda: measured(Manual())},
    ),
    "empty loader": Case(
        lambda: measured(Tiny(), DataLoader(Endless(0)), limit_train_batches=4),
        ["gave no batch"],
        {
            "check the loader": lambda: measured(Tiny(), DataLoader(Endless(3)), limit_train_batches=4),
            "limit_train_batches": lambda: measured(Tiny()),
        },
    ),
    "data that are not there yet": Case(
        run_without_data,
        ["the Trainer has no training data yet"],
        {"make the range test while it trains": run_while_it_trains},
    ),
    "data that are read once": Case(
        lambda: measured(Tiny(), Once(iter(torch.ones(100, 1, 1))), limit_train_batches=4),
        ["Once", "can be read only once"],
        {
            "give a DataLoader": lambda: measured(Tiny(), loader()),
            "another object that starts anew": lambda: measured(Tiny(), Packed()),
        },
    ),
    "step without a loss": Case(
        lambda: measured(Silly()),
        ["training_step returned a dict with output"],
        {"return a tensor": lambda: measured(Tiny()), "a dict with one under 'loss'": lambda: measured(InADict())},
    ),
}
