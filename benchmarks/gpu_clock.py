"""What only a GPU shows of the clock: gradient scalers, compiled steps, CUDA graphs.

Each check returns what it found as ``(passed, words)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from benchmarks.gpu_notes import Finding
from lr_recipes import Horizon, schedules
from lr_recipes.optimizer.follow import BoundSchedule

PEAK, UPDATES = 0.1, 8
SCHEDULE = schedules.Cosine(warmup=2)
NEAR = 1e-5  # of the peak: a compiled step rounds otherwise than one that is not


def planned(updates: int) -> list[float]:
    """Return the LRs of the plan."""
    curve = SCHEDULE.resolve(Horizon(total_steps=UPDATES))
    return [PEAK * curve(n) for n in range(updates)]


def _bound(weight: nn.Parameter, lr: Any = PEAK, **options: Any) -> BoundSchedule:
    return SCHEDULE.bind(AdamW([weight], lr=lr, **options), Horizon(total_steps=UPDATES))


def _compared(used: list[float], expected: list[float]) -> Finding:
    worst = max((abs(a - b) / PEAK for a, b in zip(used, expected, strict=False)), default=1.0)
    equal = len(used) == len(expected) and worst < NEAR
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


def checks(device: str) -> dict[str, Callable[[], Finding]]:
    """Return the checks that ``device`` ("cuda" or "cpu") allows, by name."""
    graph = {"CUDA graph": lambda: captured_graph(device)} if device == "cuda" else {}
    return {
        "fp16, foreach": lambda: scaler_skips(device, fused=False),
        "fp16, fused": lambda: scaler_skips(device, fused=True),
        **graph,
        "compiled step": lambda: compiled_step(device),  # last: it forgets what others have compiled
    }
