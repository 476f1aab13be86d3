"""What our callbacks must not do on a GPU: start kernels, or make the host wait for it; and whether data keep up."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset

from benchmarks.gpu_bench import WARM_UP, Case, batches_of, config, fit, model_of, ours, plain_loop
from benchmarks.gpu_device import timed, wait
from benchmarks.gpu_notes import Finding
from lr_recipes import LearningRateLogger, LearningRateScheduler, schedules
from recipes.data.glyphs import GlyphsData
from recipes.data.seeded import Ticketed

NOTHING_WRITTEN = "trainer.log_every_n_steps=0"  # a metric that Lightning reads makes the host wait, and is not ours
WAIT = "called a synchronizing"  # torch's words for each wait; once it also says that the debug mode is a prototype


class _Kernels(Callback):
    """Counts what is started on the device (on a CPU: torch's operators) in the updates after the first ones."""

    def __init__(self, device: str) -> None:
        self.device, self.count = device, 0
        self._profiler: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            kinds = torch.profiler.ProfilerActivity
            kind = kinds.CUDA if self.device == "cuda" else kinds.CPU
            self._profiler = torch.profiler.profile(activities=[kind], acc_events=True)  # or torch 2.11 warns
            self._profiler.__enter__()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait(self.device)
        self._profiler.__exit__(None, None, None)
        starts = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpy", "cudaMemset", "cudaGraphLaunch")
        wanted = starts if self.device == "cuda" else ("aten::",)
        self.count = sum(event.count for event in self._profiler.key_averages() if event.key.startswith(wanted))


def added_kernels(case: Case, device: str, folder: str) -> Finding:
    """With a float LR, as many kernels are started with our callbacks as without them."""
    cfg = config(case, device, NOTHING_WRITTEN)
    batches, model = batches_of(case, device), model_of(cfg, case)
    counts = []
    for callbacks in ([], ours(cfg, folder)):
        counter = _Kernels(device)
        fit(model, cfg, batches, *callbacks, counter)
        counts.append(counter.count)
    what = "kernels and copies" if device == "cuda" else "operators"
    words = f"{counts[1]} {what} in {case.updates} updates, {counts[0]} without the callbacks"
    return counts[0] == counts[1] > 0, words  # none at all: the profiler has seen nothing


class _NoWaits(Callback):
    """Makes it an error to wait for the device, in all updates after the first ones."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == trainer.max_steps:
            torch.cuda.set_sync_debug_mode("default")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        torch.cuda.set_sync_debug_mode("default")


def no_waits(case: Case, folder: str) -> Finding:
    """Between updates whose metrics are written, scheduler and logger never make the host wait for the device."""
    cfg = config(case, "cuda", NOTHING_WRITTEN)
    fit(model_of(cfg, case), cfg, batches_of(case, "cuda"), *ours(cfg, folder), _NoWaits())
    return True, f"{case.updates} updates, and the host waited for the device in none of them"


class _Ones(Dataset[Tensor]):
    def __init__(self, device: str) -> None:
        self.ones = torch.ones(64, device=device)

    def __len__(self) -> int:
        return 32

    def __getitem__(self, index: int) -> Tensor:
        return self.ones


class _Quiet(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 64)

    def training_step(self, batch: Tensor) -> Tensor:
        loss: Tensor = self.layer(batch).pow(2).mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return AdamW(self.parameters(), lr=0.1)


class _CountWaits(Callback):
    """Counts, from the second batch on, how often the host waits for the device."""

    def __init__(self) -> None:
        self.waits = 0
        self._caught: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self._caught = warnings.catch_warnings(record=True)
            self._seen = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._caught.__exit__(None, None, None)
        self.waits = waits_among(str(one.message) for one in self._seen)


class _Waits(Callback):
    """Waits once at every batch: whoever counts must see it."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        float(outputs["loss"])


def waits_among(messages: Iterable[str]) -> int:
    """Return how many of torch's warnings tell of a wait for the device."""
    return sum(WAIT in message for message in messages)


def added_waits(device: str, folder: str) -> Finding:
    """With scheduler and logger on, the host waits for the device as often as without them."""

    def waits(*callbacks: Callback) -> int:
        counter = _CountWaits()
        trainer = Trainer(
            accelerator="gpu" if device == "cuda" else device,
            devices=1,
            max_epochs=1,
            precision="bf16-mixed",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[counter, *callbacks],
        )
        trainer.fit(_Quiet(), DataLoader(_Ones(device), batch_size=None))
        return counter.waits

    plain = waits()
    with_ours = waits(LearningRateScheduler(schedules.Cosine(warmup=2)), LearningRateLogger(folder, plot=False))
    seen = waits(_Waits()) - plain
    words = f"{with_ours} waits in 31 batches, {plain} without the callbacks; {seen} seen where there are 31 more"
    return plain == with_ours and seen >= 31, words  # reading a value may take more than one wait


class Stream(Sequence[Any]):
    """Batches of glyphs, made when they are asked for.

    Args:
        case: the model that they are for.
        device: where they are made.
        compile: see `GlyphsData`.
    """

    def __init__(self, case: Case, device: str, *, compile: bool) -> None:
        task = case.task
        self.data = GlyphsData(
            size=task.height, num_classes=task.num_classes, batch_size=case.batch, val_size=1, compile=compile
        )
        self.data.setup("fit")
        self.channels, self.updates = task.channels, case.updates
        self.tickets = torch.arange(case.batch, device=device)

    def __len__(self) -> int:
        return WARM_UP + self.updates

    def __getitem__(self, index: Any) -> Any:
        images, labels = self.data.on_after_batch_transfer(Ticketed(self.tickets, index * len(self.tickets)), 0)
        return images.expand(-1, self.channels, -1, -1), labels

    def seconds(self, device: str) -> float:
        """Return what it takes to make a batch."""

        def make(first: int, last: int) -> None:
            for index in range(first, last):
                self[index]

        make(0, WARM_UP)
        return timed(lambda: make(WARM_UP, len(self)), device) / self.updates


def glyph_rates(case: Case, device: str, *, compile: bool) -> dict[str, float]:
    """Return images a second that are made, and that the loop by hand trains on.

    Args:
        case: the small CNN.
        device: where both is done.
        compile: compile the distortion for the stream that is trained on.
    """
    cfg, stream = config(case, device), Stream(case, device, compile=compile)
    model = model_of(cfg, case).to(device)
    seconds = {"made": Stream(case, device, compile=False).seconds(device)}
    if compile:
        seconds["made, compiled"] = stream.seconds(device)
    for name, batches in (("fixed batches", batches_of(case, device)), ("the stream", stream)):
        torch.compiler.reset()  # images of one channel that lie otherwise in memory would be compiled for any shape
        seconds[f"trained on, {name}"] = plain_loop(model, cfg, case, batches, device).seconds
    return {name: case.batch / each for name, each in seconds.items()}
