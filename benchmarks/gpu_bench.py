"""How near the reference models come to what the device can do: `python -m benchmarks.gpu_bench`.

For each model, with the same network, settings, batches and plan of the LR in the same run: the two floors of a step, a
hand-written PyTorch loop, and Lightning with `LearningRateScheduler` and `LearningRateLogger`. The two take turns, and
what is compared is the median. Then: do our callbacks make the host wait for the device, do they start kernels, and
does a captured CUDA graph follow the schedule?

`--device cpu` tries the program out with small models; its rates say nothing about a GPU.
"""

from __future__ import annotations

import argparse
import logging
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks import gpu_clock
from benchmarks.gpu_floors import Floors, floors_of, matmul_rate, memory_rate, timed, transformer_flops, wait
from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler
from recipes.app.config import composed
from recipes.data.glyphs import GlyphsData
from recipes.data.seeded import Ticketed
from recipes.data.task import ImageTask, TextTask
from recipes.models.transformer import GPT

WARM_UP = 10  # updates before the clock starts; the first ones compile
BATCHES = 4  # different ones, which take turns
REPEATS = 3
# Of the data sheets, by a part of the device's name: dense bfloat16 operations and bytes of memory a second.
NOMINAL = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.0e12)}
QUIET = ("trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "output_dir=unused")


@dataclass(frozen=True)
class Case:
    """A model, and what it trains on.

    Args:
        name: in the table.
        overrides: what to type after ``python train.py``.
        task: shape of the task.
        batch: samples of an update.
        goal: share of the plain loop's rate that Lightning shall reach.
        updates: of one timed run.
        small: overrides, task, batch and updates with ``--device cpu``.
    """

    name: str
    overrides: tuple[str, ...]
    task: Any
    batch: int
    goal: float
    updates: int
    small: tuple[tuple[str, ...], Any, int, int]

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if isinstance(self.task, TextTask) else "images"

    def reduced(self) -> Case:
        """Return the case at the size that suits a CPU."""
        overrides, task, batch, updates = self.small
        return Case(
            f"{self.name.partition(',')[0]}, small",
            (*self.overrides, *overrides),
            task,
            batch,
            self.goal,
            updates,
            self.small,
        )


_SMALL_IMAGES: tuple[tuple[str, ...], Any, int, int] = (
    ("model.compile=false", "optimizer.fused=null"),
    ImageTask(num_classes=10, channels=3, height=8, width=8),
    4,
    6,
)
_SMALL_TEXT: tuple[tuple[str, ...], Any, int, int] = (
    ("model.compile=false", "model.layers=2", "model.width=48", "model.heads=2", "optimizer.fused=null"),
    TextTask(vocab_size=65, context=16),
    4,
    6,
)
_CIFAR = ImageTask(num_classes=10, channels=3, height=32, width=32)
_RESNET = ("model=resnet18", "optimizer=sgd", "model.compile=true", "optimizer.fused=true")
_GPT = ("optimizer=adamw", "model.compile=true", "optimizer.fused=true")
CASES = (
    Case("ResNet-18, batch 512", _RESNET, _CIFAR, 512, 0.97, 60, _SMALL_IMAGES),
    Case("ResNet-18, batch 1024", _RESNET, _CIFAR, 1024, 0.97, 40, _SMALL_IMAGES),
    Case(
        "GPT 124M, 32 x 1024 tokens",
        ("model=transformer_124m", *_GPT),
        TextTask(vocab_size=50_304, context=1024),  # GPT-2's 50,257, up to a multiple of 128
        32,
        0.98,
        20,
        _SMALL_TEXT,
    ),
    Case(
        "GPT 10.65M, 64 x 256 tokens",
        ("model=transformer_10m", *_GPT),
        TextTask(vocab_size=65, context=256),
        64,
        0.9,
        200,
        _SMALL_TEXT,
    ),
    Case(
        "small CNN, batch 128",
        ("model=cnn", "optimizer=sgd", "model.compile=true", "optimizer.fused=true"),
        ImageTask(num_classes=36, channels=1, height=16, width=16),
        128,
        0.9,
        300,
        _SMALL_IMAGES,
    ),
)


# What is measured


@dataclass(frozen=True)
class Result:
    """Seconds of an update of a case.

    Args:
        case: the case.
        plain: of the hand-written loop, a value for each repetition.
        lightning: of Lightning with our callbacks, likewise.
        floors: what an update must at least do.
    """

    case: Case
    plain: Sequence[float]
    lightning: Sequence[float]
    floors: Floors

    @property
    def share(self) -> float:
        """Rate of Lightning as a share of the plain loop's, the median of the pairs."""
        return statistics.median(p / ours for p, ours in zip(self.plain, self.lightning, strict=True))

    @property
    def rate(self) -> float:
        """Images or tokens a second with Lightning."""
        per_sample = self.case.task.context if self.case.unit == "tokens" else 1
        return self.case.batch * per_sample / statistics.median(self.lightning)


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


def config(case: Case, device: str) -> DictConfig:
    """Compose what one would type after ``python train.py``."""
    trainer = "trainer=gpu" if device == "cuda" else "trainer=cpu"
    updates = WARM_UP + case.updates
    more = (trainer, *QUIET, f"trainer.max_steps={updates}", "trainer.max_epochs=-1", "trainer.precision=bf16-mixed")
    return composed(*case.overrides, *more)


def model_of(cfg: DictConfig, case: Case) -> LightningModule:
    """Build the module of a config."""
    model: LightningModule = instantiate(cfg.model, optimizer=instantiate(cfg.optimizer), task=case.task)
    return model


def plain_loop(model: Any, cfg: DictConfig, case: Case, batches: Sequence[Any], device: str) -> float:
    """Train with a loop written by hand, and return the seconds of an update.

    The same network, compiled once for both; the same optimizer, precision and LRs, written before each update.
    """
    network, optimizer, updates = model.network.train(), model.configure_optimizers(), WARM_UP + case.updates
    curve = instantiate(cfg.schedule).resolve(Horizon(total_steps=updates), peak=cfg.optimizer.lr)
    bases = [group["lr"] for group in optimizer.param_groups]

    def update(number: int) -> None:
        factor = curve(number)
        for group, base in zip(optimizer.param_groups, bases, strict=True):
            group["lr"] = base * factor
        batch = batches[number % len(batches)]
        with torch.autocast(device, torch.bfloat16):
            if isinstance(batch, Tensor):
                loss = F.cross_entropy(network(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())
            else:
                loss = F.cross_entropy(network(batch[0]), batch[1])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    for number in range(WARM_UP):
        update(number)

    def rest() -> None:
        for number in range(WARM_UP, updates):
            update(number)

    return timed(rest, device) / case.updates


class Clock(Callback):
    """Seconds of all updates but the first ones."""

    def __init__(self, device: str) -> None:
        self.device, self.begun, self.seconds = device, 0.0, 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            wait(self.device)
            self.begun = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait(self.device)
        self.seconds = time.perf_counter() - self.begun


def fit(model: LightningModule, cfg: DictConfig, batches: Sequence[Any], *callbacks: Callback) -> None:
    """Train with Lightning as `train.py` does, without checkpoints and validation."""
    trainer = instantiate(cfg.trainer, callbacks=list(callbacks), logger=False, enable_checkpointing=False)
    loader = DataLoader(OnDevice(batches, cfg.trainer.max_steps), batch_size=None)
    trainer.fit(model, loader)


def ours(cfg: DictConfig, folder: str) -> list[Callback]:
    """Return the callbacks that own and record the LR."""
    return [LearningRateScheduler(instantiate(cfg.schedule)), LearningRateLogger(folder, plot=False)]


def lightning_loop(model: LightningModule, cfg: DictConfig, case: Case, batches: Sequence[Any], device: str) -> float:
    """Train with Lightning and our callbacks, and return the seconds of an update."""
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as folder:
        fit(model, cfg, batches, *ours(cfg, folder), clock)
    return clock.seconds / case.updates


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


def measure(case: Case, device: str) -> Result:
    """Let both loops take turns."""
    cfg = config(case, device)
    batches, model = batches_of(case, device), model_of(cfg, case).to(device)
    plain, with_lightning = [], []
    for _ in range(REPEATS):
        model.to(device)  # Lightning takes it off when it is done
        plain.append(plain_loop(model, cfg, case, batches, device))
        with_lightning.append(lightning_loop(model, cfg, case, batches, device))
    return Result(case, plain, with_lightning, floors(cfg, case))


# What our callbacks must not do


class _Kernels(Callback):
    """Counts what is started on the device (on a CPU: torch's operators) in the updates after the first ones."""

    def __init__(self, device: str) -> None:
        self.device, self.count = device, 0
        self._profiler: Any = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == WARM_UP:
            kinds = torch.profiler.ProfilerActivity
            kind = kinds.CUDA if self.device == "cuda" else kinds.CPU
            self._profiler = torch.profiler.profile(activities=[kind])
            self._profiler.__enter__()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        wait(self.device)
        self._profiler.__exit__(None, None, None)
        starts = ("cudaLaunchKernel", "cuLaunchKernel", "cudaMemcpy", "cudaMemset", "cudaGraphLaunch")
        wanted = starts if self.device == "cuda" else ("aten::",)
        self.count = sum(event.count for event in self._profiler.key_averages() if event.key.startswith(wanted))


def added_kernels(case: Case, device: str, folder: str) -> gpu_clock.Finding:
    """With a float LR, as many kernels are started with our callbacks as without them."""
    cfg = config(case, device)
    batches, model = batches_of(case, device), model_of(cfg, case)
    counts = []
    for callbacks in ([], ours(cfg, folder)):
        counter = _Kernels(device)
        fit(model, cfg, batches, *callbacks, counter)
        counts.append(counter.count)
    what = "kernels and copies" if device == "cuda" else "operators"
    return counts[0] == counts[1], f"{counts[1]} {what} in {case.updates} updates, {counts[0]} without the callbacks"


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


def no_waits(case: Case, folder: str) -> gpu_clock.Finding:
    """Training steps with scheduler and logger never wait for the device."""
    cfg = config(case, "cuda")
    fit(model_of(cfg, case), cfg, batches_of(case, "cuda"), *ours(cfg, folder), _NoWaits())
    return True, f"{case.updates} updates, and the host waited for the device in none of them"


def glyph_stream(device: str) -> gpu_clock.Finding:
    """Glyphs are made on the device faster than the small CNN trains on them."""
    case = next(case for case in CASES if case.name.startswith("small CNN"))
    case = case if device == "cuda" else case.reduced()
    data = GlyphsData(size=case.task.height, batch_size=case.batch)
    data.setup("fit")
    batch = Ticketed(torch.arange(case.batch, device=device), 0)
    data.on_after_batch_transfer(batch, 0)

    def make() -> None:
        for _ in range(case.updates):
            data.on_after_batch_transfer(batch, 0)

    made = case.updates * case.batch / timed(make, device)
    cfg = config(case, device)
    model = model_of(cfg, case).to(device)
    trained = case.batch / plain_loop(model, cfg, case, batches_of(case, device), device)
    return made > trained, f"{made:,.0f} images/s are made, {trained:,.0f} are trained on"


def checks(case: Case, device: str, folder: str) -> dict[str, Callable[[], gpu_clock.Finding]]:
    """Return the checks that the device allows, by name."""
    everywhere = {
        "added kernels": lambda: added_kernels(case, device, folder),
        "glyph stream": lambda: glyph_stream(device),
    }
    if device != "cuda":
        return everywhere
    more = gpu_clock.checks(device, folder)
    return {
        **everywhere,
        "no waits": lambda: no_waits(case, folder),
        "added waits": more["added waits"],
        "compiled step": more["compiled step"],
        "CUDA graph": more["CUDA graph"],
    }


# What is printed


def lines_of(result: Result, matmul: float, memory: float, nominal: float | None) -> list[str]:
    """Return the row of a case, as Markdown."""
    case, seconds = result.case, statistics.median(result.lightning)
    arithmetic, moved = result.floors.seconds(matmul, memory)
    floor = max(arithmetic, moved)
    cells = [
        case.name,
        f"{1e3 * arithmetic:.3g}",
        f"{1e3 * moved:.3g}",
        f"{1e3 * statistics.median(result.plain):.3g}",
        f"{1e3 * seconds:.3g}",
        f"{floor / seconds:.0%}",
        "-" if nominal is None else f"{result.floors.flops / seconds / nominal:.1%}",
        f"{result.rate:,.0f} {case.unit}/s",
        f"{result.share:.3f}",
        f"{case.goal:g}",
    ]
    return [f"| {' | '.join(cells)} |"]


HEADS = (
    "model, and what an update takes",
    "least ms by arithmetic",
    "by bytes",
    "plain loop (ms)",
    "Lightning and ours (ms)",
    "floor / ours",
    "MFU",
    "rate",
    "share of plain",
    "goal",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0 if every share reaches its goal and every check passes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: to try this program out, small")
    parser.add_argument("--floors", action="store_true", help="print the floors alone; needs no GPU")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="cases whose name has one of these words")
    parser.add_argument("--minutes", type=float, default=9, help="begin no other case after so many (default: 9)")
    options = parser.parse_args(arguments)
    device: str = options.device
    cases = [case for case in CASES if not options.only or any(word in case.name for word in options.only)]
    if not cases:
        parser.error(f"--only {' '.join(options.only)} fits none of: {'; '.join(case.name for case in CASES)}")
    if options.floors:
        print(floors_table(cases))
        return 0
    if device == "cuda" and not torch.cuda.is_available():
        print("SKIPPED: no CUDA GPU here. On a machine with one: make gpu-bench, or make gpu-bench PYTHON=python3")
        return 0
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_float32_matmul_precision("high")
    begun = time.monotonic()
    if device == "cpu":
        cases = [case.reduced() for case in cases]
    good = table(cases, device, begun + 60 * options.minutes) & check_callbacks(cases[-1], device)
    print(f"\n{time.monotonic() - begun:.0f} s. {versions(device)}")
    return 0 if good or device == "cpu" else 1


def floors_table(cases: Sequence[Case]) -> str:
    """Return what an update of each case must at least do, and the least time by the data sheets, as Markdown."""
    heads = ["update of", "arithmetic (TFLOP)", "bytes (GB)", *(f"least ms on {name}" for name in NOMINAL)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for case in cases:
        found = floors(config(case, "cuda"), case)
        least = [max(found.seconds(*rates)) for rates in NOMINAL.values()]
        cells = [case.name, f"{found.flops / 1e12:.3g}", f"{found.bytes / 1e9:.3g}"]
        lines.append(f"| {' | '.join([*cells, *(f'{1e3 * one:.3g}' for one in least)])} |")
    return "\n".join(lines)


def table(cases: Sequence[Case], device: str, end: float) -> bool:
    """Measure the cases, print a row for each, and tell whether all reach their goal."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.machine()
    nominal = next((rates[0] for part, rates in NOMINAL.items() if part in name), None)
    size, numbers = (8192, 2**28) if device == "cuda" else (512, 2**20)
    matmul, memory = matmul_rate(device, size), memory_rate(device, numbers)
    print(f"{name}: bfloat16 products {matmul / 1e12:.3g} TFLOP/s, memory {memory / 1e9:,.0f} GB/s, measured\n")
    print(f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS), sep="\n", flush=True)
    good = True
    for case in cases:
        if time.monotonic() > end:
            print(f"| {case.name} | not measured: the time is over |")
            good = False
            continue
        try:
            result = measure(case, device)
        except Exception as error:  # the other cases still tell something
            print(f"| {case.name} | {type(error).__name__}: {str(error).splitlines()[0]} |")
            good = False
            continue
        print(*lines_of(result, matmul, memory, nominal), sep="\n", flush=True)
        good &= result.share >= case.goal
    return good


def check_callbacks(case: Case, device: str) -> bool:
    """Run the checks, print a line for each, and tell whether all pass."""
    passed_all = True
    print()
    with tempfile.TemporaryDirectory() as folder:
        for name, find in checks(case, device, folder).items():
            try:
                passed, words = find()
            except Exception as error:  # a check that cannot run has failed
                passed, words = False, f"{type(error).__name__}: {error}"
            passed_all &= passed
            print(f"{name:<16}{words}{'' if passed else '  FAILED'}", flush=True)
    return passed_all


def versions(device: str) -> str:
    """Return the versions that matter."""
    cuda = f", CUDA {torch.version.cuda}" if device == "cuda" else ""
    return f"Python {platform.python_version()}, torch {torch.__version__}{cuda}, lightning {lightning.__version__}"


if __name__ == "__main__":
    sys.exit(main())
