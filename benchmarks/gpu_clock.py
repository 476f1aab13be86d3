"""What only a GPU shows of the clock: gradient scalers, compiled steps, CUDA graphs, and waiting for the device.

Each check returns what it found as ``(passed, words)``. `benchmarks.gpu_check` runs those that the device allows.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.data import DataLoader, Dataset

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, schedules
from lr_recipes.optimizer.follow import BoundSchedule

PEAK, UPDATES = 0.1, 8
SCHEDULE = schedules.Cosine(warmup=2)
Finding = tuple[bool, str]


def planned(updates: int) -> list[float]:
    """Return the LRs of the plan."""
    curve = SCHEDULE.resolve(Horizon(total_steps=UPDATES))
    return [PEAK * curve(n) for n in range(updates)]


def _bound(weight: nn.Parameter, lr: Any = PEAK, **options: Any) -> BoundSchedule:
    return SCHEDULE.bind(AdamW([weight], lr=lr, **options), Horizon(total_steps=UPDATES))


def _compared(used: list[float], expected: list[float]) -> Finding:
    worst = max((abs(a - b) / PEAK for a, b in zip(used, expected, strict=False)), default=1.0)
    equal = len(used) == len(expected) and worst < 1e-6
    return equal, f"{len(used)} updates, largest difference {worst:.1e}"


def scaler_skips(device: str, *, fused: bool) -> Finding:
    """The first 4 of 8 steps overflow in fp16: the fifth is the first update."""
    weight = nn.Parameter(torch.ones(4, device=device))
    bound = _bound(weight, fused=fused)
    bound.attach()
    scaler = torch.amp.GradScaler(device, init_scale=16.0)
    used = []
    for step in range(UPDATES):
        before, lr = weight.detach().clone(), float(bound.optimizer.param_groups[0]["lr"])
        bound.optimizer.zero_grad()
        loss = (weight * weight).sum() * (float("inf") if step < 4 else 1.0)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(bound.optimizer)
        scaler.update()
        if not torch.equal(before, weight):
            used.append(lr)
    return _compared(used, planned(4))


def compiled_step(device: str) -> Finding:
    """A compiled optimizer step reads a tensor LR anew at every update, and is compiled once."""
    from torch._dynamo.testing import CompileCounterWithBackend

    weight = nn.Parameter(torch.zeros(4, device=device))
    bound = _bound(weight, torch.tensor(PEAK, device=device), betas=(0.0, 0.0), eps=0.0, weight_decay=0.0)
    counter = CompileCounterWithBackend("inductor")
    torch.compiler.reset()
    step = torch.compile(bound.optimizer.step, backend=counter)
    used = []
    for _ in range(UPDATES):
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        step()
        bound.step()
        used.append(float((before - weight.detach())[0]))  # Adam without memory moves by exactly the LR
    equal, words = _compared(used, planned(UPDATES))
    return equal and counter.frame_count == 1, f"{words}, {counter.frame_count} graph"


def captured_graph(device: str) -> Finding:
    """A captured CUDA graph of a training step follows the schedule, because the LR is a tensor that is filled."""
    weight = nn.Parameter(torch.zeros(4, device=device))
    bound = _bound(
        weight, torch.tensor(PEAK, device=device), betas=(0.0, 0.0), eps=0.0, weight_decay=0.0, capturable=True
    )
    weight.grad = torch.ones_like(weight)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # state is made before the capture
        for _ in range(3):
            bound.optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        bound.optimizer.step()
    used = []
    for _ in range(UPDATES):
        before = weight.detach().clone()
        graph.replay()
        used.append(float((before - weight.detach())[0]))
        bound.step()
    return _compared(used, planned(UPDATES))


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
        return AdamW(self.parameters(), lr=PEAK)


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
        self.waits = sum("synchronizing" in str(one.message) for one in self._seen)


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
    ours = waits(LearningRateScheduler(SCHEDULE), LearningRateLogger(folder, plot=False))
    return plain == ours, f"{ours} waits in 31 batches, {plain} without the callbacks"


def checks(device: str, folder: str) -> dict[str, Callable[[], Finding]]:
    """Return the checks that ``device`` ("cuda" or "cpu") allows, by name."""
    everywhere: dict[str, Callable[[], Finding]] = {
        "fp16, foreach": lambda: scaler_skips(device, fused=False),
        "fp16, fused": lambda: scaler_skips(device, fused=True),
        "compiled step": lambda: compiled_step(device),
    }
    if device != "cuda":
        return everywhere
    return {
        **everywhere,
        "CUDA graph": lambda: captured_graph(device),
        "added waits": lambda: added_waits(device, folder),
    }
