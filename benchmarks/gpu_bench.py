"""How near the reference models come to what a GPU can do: a loop written by hand beside Lightning and our callbacks.

The same network, settings, batches and plan of the LR in the same process; the two loops take turns, and what is
compared is the median. `python -m benchmarks.gpu` runs it. `python -m benchmarks.gpu_bench` prints what an update must
at least do, which needs no GPU.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor
from torch._dynamo.utils import counters
from torch.utils.data import DataLoader, Dataset

from benchmarks.gpu_device import NOMINAL, seconds_of, timed, wait
from benchmarks.gpu_floors import Floors, floors_of, transformer_flops
from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler
from recipes.app.config import composed
from recipes.data.task import ImageTask, TextTask
from recipes.models.attention import ATTENTION_KERNELS, AttentionKernel, attending, attending_alone, attention_order
from recipes.models.transformer import GPT

WARM_UP = 10  # updates before the clock starts; the first ones compile
BATCHES = 4  # different ones, which take turns
REPEATS = 3
SHEETS = ("NVIDIA H200", "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB")  # whose floors are printed
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "output_dir=unused")


@dataclass(frozen=True)
class Case:
    """A model, and what it trains on.

    Args:
        name: in the table.
        overrides: what to type after ``python train.py``.
        task: shape of the task.
        batch: samples of an update.
        goal: share of the plain loop's rate that Lightning shall reach; ``None`` where the host sets the pace.
        updates: of one timed run.
    """

    name: str
    overrides: tuple[str, ...]
    task: Any
    batch: int
    goal: float | None
    updates: int

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if isinstance(self.task, TextTask) else "images"

    @property
    def counted(self) -> int:
        """How many of them an update trains on."""
        return self.batch * (self.task.context if isinstance(self.task, TextTask) else 1)

    def reduced(self) -> Case:
        """Return the case at the size that suits a CPU."""
        less: tuple[str, ...] = ("model.compile=false", "optimizer.fused=null")
        task: Any = ImageTask(num_classes=10, channels=3, height=8, width=8)
        if isinstance(self.task, TextTask):
            less = (*less, "model.layers=2", "model.width=48", "model.heads=2")
            task = TextTask(vocab_size=65, context=16)
        name = f"{self.name.partition(',')[0]}, small"
        return replace(self, name=name, overrides=(*self.overrides, *less), task=task, batch=4, goal=None, updates=6)


_RESNET = ("model=resnet18", "optimizer=sgd", "model.compile=true", "optimizer.fused=true")
_GPT = ("optimizer=adamw", "model.compile=true", "optimizer.fused=true")
_CNN = ("model=cnn", "optimizer=sgd", "optimizer.fused=true")
_CIFAR = ImageTask(num_classes=10, channels=3, height=32, width=32)
_GLYPHS = ImageTask(num_classes=36, channels=1, height=16, width=16)
_GPT2 = TextTask(vocab_size=50_304, context=1024)  # GPT-2's 50,257 tokens, up to a multiple of 128
_TEXT = TextTask(vocab_size=65, context=256)
CASES = {
    "resnet-512": Case("ResNet-18, batch 512", _RESNET, _CIFAR, 512, 0.97, 60),
    "resnet-1024": Case("ResNet-18, batch 1024", _RESNET, _CIFAR, 1024, 0.97, 40),
    "gpt-124m": Case("GPT 124M, 32 x 1024 tokens", ("model=transformer_124m", *_GPT), _GPT2, 32, 0.98, 20),
    "gpt-10m": Case("GPT 10.65M, 64 x 256 tokens", ("model=transformer_10m", *_GPT), _TEXT, 64, 0.9, 100),
    "small-cnn": Case("small CNN, batch 128", (*_CNN, "model.compile=true"), _GLYPHS, 128, None, 300),
    "small-cnn-graphs": Case(
        "small CNN in CUDA graphs, batch 128", (*_CNN, "model.compile=reduce-overhead"), _GLYPHS, 128, None, 300
    ),
}


def case_of(name: str, device: str) -> Case:
    """Return a case at the size that suits the device."""
    return CASES[name] if device == "cuda" else CASES[name].reduced()


# What is measured


@dataclass(frozen=True)
class Timed:
    """A timed run: seconds of an update, and the loss of the last one."""

    seconds: float
    loss: float


@dataclass(frozen=True)
class Result:
    """What the updates of a case took.

    Args:
        case: the case.
        plain: runs of the loop written by hand.
        lightning: runs of Lightning with our callbacks, as many.
        floors: what an update must at least do.
        graphs: how many the compiler made in all runs; 0 where nothing is compiled.
        memory: the most that the device has held, in bytes.
        attention: the kernel that attention tries first, where the case has attention.
    """

    case: Case
    plain: Sequence[Timed]
    lightning: Sequence[Timed]
    floors: Floors
    graphs: int
    memory: int
    attention: AttentionKernel | None = None

    @property
    def share(self) -> float:
        """Rate of Lightning as a share of the plain loop's, the median of the pairs."""
        return statistics.median(a.seconds / b.seconds for a, b in zip(self.plain, self.lightning, strict=True))

    def values(self) -> dict[str, Any]:
        """Return what is kept of it, as JSON has it."""
        plain, lightning = (statistics.median(one.seconds for one in runs) for runs in (self.plain, self.lightning))
        return {
            "name": self.case.name,
            "plain_seconds": plain,
            "lightning_seconds": lightning,
            "share": self.share,
            "goal": self.case.goal,
            "rate": self.case.counted / lightning,
            "unit": f"{self.case.unit}/s",
            "flops": self.floors.flops,
            "bytes": self.floors.bytes,
            "memory": self.memory,
            "graphs": self.graphs,
            "attention": self.attention,
            "runs": {
                name: [[one.seconds, one.loss] for one in runs]
                for name, runs in (("plain", self.plain), ("lightning", self.lightning))
            },
        }

    def __str__(self) -> str:
        kept = self.values()
        order = f", attention by {', '.join(attention_order(self.attention))}" if self.attention else ""
        lines = [
            f"{self.case.name}: plain {1e3 * kept['plain_seconds']:.3g} ms, Lightning and ours "
            f"{1e3 * kept['lightning_seconds']:.3g} ms, {kept['rate']:,.0f} {kept['unit']}, share {self.share:.3f}, "
            f"{self.graphs} graphs, {self.memory / 1e9:.1f} GB{order}"
        ]
        for name, runs in (("plain", self.plain), ("Lightning", self.lightning)):
            lines.append(f"  {name}: " + ", ".join(f"{1e3 * one.seconds:.3g} ms (loss {one.loss:.3f})" for one in runs))
        return "\n".join(lines)


class OnDevice(Dataset[Any]):
    """A few batches that are already on the device, again and again."""

    def __init__(self, batches: Sequence[Any], length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.batches[index % len(self.batches)]


def batches_of(case: Case, device: str) -> list[Any]:
    """Make random batches: (images, labels), or windows of tokens."""
    torch.manual_seed(0)
    task = case.task
    if isinstance(task, TextTask):
        size = (case.batch, task.context + 1)
        return [torch.randint(task.vocab_size, size, device=device) for _ in range(BATCHES)]
    shape = (case.batch, task.channels, task.height, task.width)
    return [
        (
            torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last),
            torch.randint(task.num_classes, (case.batch,), device=device),
        )
        for _ in range(BATCHES)
    ]


def config(case: Case, device: str, *more: str) -> DictConfig:
    """Compose what one would type after ``python train.py``; bfloat16 only on a GPU, as most CPUs are slow at it."""
    updates = WARM_UP + case.updates
    trainer = ("trainer=gpu", "trainer.precision=bf16-mixed") if device == "cuda" else ("trainer=cpu",)
    length = (f"trainer.max_steps={updates}", "trainer.max_epochs=-1")
    return composed(*case.overrides, *trainer, *QUIET, *length, *more)


def model_of(cfg: DictConfig, case: Case) -> LightningModule:
    """Build the module of a config."""
    model: LightningModule = instantiate(cfg.model, optimizer=instantiate(cfg.optimizer), task=case.task)
    return model


def _autocast(cfg: DictConfig, device: str) -> AbstractContextManager[object]:
    """Return what Lightning enters for the precision: with another cache, the network would be compiled once more."""
    if cfg.trainer.precision != "bf16-mixed":
        return nullcontext()
    return torch.autocast(device, torch.bfloat16, cache_enabled=False)


def plain_loop(model: Any, cfg: DictConfig, case: Case, batches: Sequence[Any], device: str) -> Timed:
    """Train with a loop written by hand.

    The same network, compiled once for both; the same optimizer, precision and LRs, written before each update.
    """
    network, optimizer, updates = model.network.train(), model.configure_optimizers(), WARM_UP + case.updates
    curve = instantiate(cfg.schedule).resolve(Horizon(total_steps=updates), peak=cfg.optimizer.lr)
    bases = [group["lr"] for group in optimizer.param_groups]
    loss = torch.empty(())

    def update(number: int) -> None:
        nonlocal loss
        factor = curve(number)
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["lr"] = base * factor
        batch = batches[number % len(batches)]
        with _autocast(cfg, device):
            if isinstance(batch, Tensor):
                loss, _ = network(batch[:, :-1], batch[:, 1:])
            else:
                loss = F.cross_entropy(network(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    def rest() -> None:
        for number in range(WARM_UP, updates):
            update(number)

    with attending(cfg.model.get("attention")):
        for number in range(WARM_UP):
            update(number)
        return Timed(timed(rest, device) / case.updates, loss.item())


class Clock(Callback):
    """Seconds of all updates but the first ones."""

    def __init__(self, device: str) -> None:
        self.device, self.begun, self.seconds, self.loss = device, 0.0, 0.0, math.nan
        self._last: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            wait(self.device)
            self.begun = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._last = outputs["loss"]

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait(self.device)
        self.seconds = time.perf_counter() - self.begun
        self.loss = float(self._last)


def fit(model: LightningModule, cfg: DictConfig, batches: Sequence[Any], *callbacks: Callback) -> None:
    """Train with Lightning as `train.py` does, without checkpoints and validation."""
    trainer = instantiate(cfg.trainer, callbacks=list(callbacks), logger=False, enable_checkpointing=False)
    loader = DataLoader(OnDevice(batches, cfg.trainer.max_steps), batch_size=None)
    trainer.fit(model, loader)


def ours(cfg: DictConfig, folder: str) -> list[Callback]:
    """Return the callbacks that own and record the LR."""
    return [LearningRateScheduler(instantiate(cfg.schedule)), LearningRateLogger(folder, plot=False)]


def lightning_loop(model: LightningModule, cfg: DictConfig, case: Case, batches: Sequence[Any], device: str) -> Timed:
    """Train with Lightning and our callbacks."""
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, cfg, batches, *ours(cfg, folder), clock)
    return Timed(clock.seconds / case.updates, clock.loss)


def compared(model: LightningModule, cfg: DictConfig, case: Case, device: str) -> Result:
    """Let both loops take turns.

    What was compiled before is forgotten: of a second model of the same kind, torch would compile a version for any
    shape, which is slower.
    """
    torch.compiler.reset()
    compiled = counters["stats"]["unique_graphs"]
    batches, found = batches_of(case, device), list[tuple[Timed, Timed]]()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(REPEATS):
        model.to(device)  # Lightning takes it off when it is done
        plain = plain_loop(model, cfg, case, batches, device)
        found.append((plain, lightning_loop(model, cfg, case, batches, device)))
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    graphs = counters["stats"]["unique_graphs"] - compiled
    plains, lightnings = zip(*found, strict=True)
    return Result(case, plains, lightnings, floors(cfg, case), graphs, memory, cfg.model.get("attention"))


def measure(case: Case, device: str) -> Result:
    """Let both loops take turns, with the attention that is fastest on the device."""
    more = [f"model.attention={next(iter(kernel_seconds(case, device)))}"] if isinstance(case.task, TextTask) else []
    cfg = config(case, device, *more)
    return compared(model_of(cfg, case), cfg, case, device)


def kernel_seconds(case: Case, device: str, seconds: float = 0.05) -> dict[AttentionKernel, float]:
    """Return the seconds of a forward and backward pass of the attention of one block, by kernel; the fastest first.

    Args:
        case: a model with attention.
        device: where it is computed.
        seconds: how long each kernel is tried, about.
    """
    settings = config(case, device).model
    size = (case.batch, case.task.context, 3, settings.heads, settings.width // settings.heads)
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    qkv = torch.randn(size, device=device, dtype=kind, requires_grad=True)

    def attend() -> None:
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # as they lie in memory in the model
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=settings.dropout)
        torch.autograd.grad(mixed, qkv, mixed)

    found: dict[AttentionKernel, float] = {}
    for kernel in ATTENTION_KERNELS:
        try:
            with attending_alone(kernel):
                found[kernel] = seconds_of(attend, device, seconds)
        except RuntimeError:  # torch's word for a kernel that does not take these inputs, or is not for this device
            continue
    return dict(sorted(found.items(), key=lambda item: item[1]))


# What an update must at least do


def floors(cfg: DictConfig, case: Case) -> Floors:
    """Return the floors of an update, from the network on the meta device."""
    cfg = cfg.copy()
    cfg.model.compile = False
    with torch.device("meta"):
        network: Any = model_of(cfg, case).network
        batch = batches_of(case, "meta")[0]
    kind = cfg.optimizer._target_.rpartition(".")[2]
    if not isinstance(network, GPT):
        return floors_of(network, batch[0], kind)
    numbers = sum(p.numel() for p in network.parameters()) - network.positions.weight.numel()
    layers, width = len(network.blocks), network.tokens.embedding_dim
    tokens = batch[:, :-1]
    flops = transformer_flops(numbers, layers, width, case.task.context, tokens.numel())
    return floors_of(network, tokens, kind, flops)


def floors_table(cases: Sequence[Case]) -> str:
    """Return what an update of each case must at least do, and the least time by the data sheets, as Markdown."""
    names = [name.removeprefix("NVIDIA ") for name in SHEETS]
    heads = ["update of", "arithmetic (TFLOP)", "bytes (GB)", *(f"least ms on {name}" for name in names)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for case in cases:
        found = floors(config(case, "cuda"), case)
        least = [max(found.seconds(*NOMINAL[name])) for name in SHEETS]
        cells = [case.name, f"{found.flops / 1e12:.3g}", f"{found.bytes / 1e9:.3g}"]
        lines.append(f"| {' | '.join([*cells, *(f'{1e3 * one:.3g}' for one in least)])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the floors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="CASE", choices=CASES, default=list(CASES), help=", ".join(CASES))
    print(floors_table([CASES[name] for name in parser.parse_args(arguments).only]))


if __name__ == "__main__":
    main()
