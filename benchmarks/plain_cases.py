"""The rows of docs/guarantees.md: a situation, what happens here, and a function that measures Lightning and torch.

A function trains without lr_recipes and returns the sentence of its row. Sorted by the number of the row; those from
B40 on are in ``plain_paths.py``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.tuner.lr_finder import _LRFinder
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)
from torch.utils.data import DataLoader

from benchmarks import range_test_rules
from benchmarks.plain_runs import (
    PEAK,
    TORCH,
    Do,
    Run,
    StopAfter,
    Tiny,
    Unsized,
    Watch,
    code,
    cosine,
    cosine_over_estimate,
    error_of,
    fit,
    linear_over_estimate,
    loader,
    outputs_of,
    plateau,
    quoted,
    resume,
    row,
    sgd,
    show,
    start,
    stepped,
    two_groups,
    word,
)
from lr_recipes.sweep.result import Sweep


@row(
    "B1",
    "The loader has no length and only `max_epochs` is given (pytorch-lightning 14209).",
    "An error before the first update names `max_steps`, an integer `limit_train_batches` and `total_steps`; with "
    "`limit_train_batches=k` the LRs are those of a loader of length k.",
)
def loader_without_length() -> str:
    linear = fit(linear_over_estimate, train=DataLoader(Unsized()), max_epochs=2)
    swinging = fit(cosine_over_estimate, train=DataLoader(Unsized()), max_epochs=1)
    return (
        f"`estimated_stepping_batches` is {linear.module.estimate}: a linear decay over it uses {show(linear.used)}, "
        f"a cosine {show(swinging.used)}; {word(linear, swinging)}."
    )


@row(
    "B2",
    "Nothing that is known beforehand ends the run: `max_epochs=-1`, only `max_time`, or no limit at all.",
    "An error before the first update, unless the schedule needs no total; then it runs as planned.",
)
def run_without_known_end() -> str:
    def train(**limits: Any) -> str:
        run = fit(linear_over_estimate, callbacks=[StopAfter(8)], **limits)
        return f"{run.module.estimate} updates, so that a linear decay uses {show(run.used)}"

    return (
        f"Estimated for `max_epochs=-1`: {train(max_epochs=-1)}; for `max_time`: {train(max_time={'hours': 1})}; for "
        f"no limit, which means 1000 epochs: {train()}."
    )


@row(
    "B3",
    "`GradientAccumulationScheduler` changes the accumulation between epochs.",
    "The planned total is the number of updates really done, and the last update uses the schedule's last value.",
)
def accumulation_schedule() -> str:
    run = fit(linear_over_estimate, callbacks=[GradientAccumulationScheduler({0: 4, 2: 2})], max_epochs=4)
    return (
        f"`{{0: 4, 2: 2}}`, 4 epochs of 8 batches: {run.module.estimate} updates estimated, {len(run.used)} done; a "
        f"linear decay over the estimate uses {run.used[-1]:.3g} at the last one, of {PEAK} at the first."
    )


@row(
    "B4",
    "Partial accumulation windows, epochs shorter than a window, `limit_train_batches`, `max_steps`, `drop_last`.",
    "The planned total is the number of updates really done, in random set-ups of all of these.",
)
def partial_windows() -> str:
    right = count = 0
    for samples, accumulate, limit, steps, drop in product((5, 7), (1, 2, 5), (1.0, 0.5, 2), (-1, 5), (True, False)):
        run = fit(
            linear_over_estimate,
            train=loader(samples, batch_size=2, drop_last=drop),
            max_epochs=3,
            accumulate_grad_batches=accumulate,
            limit_train_batches=limit,
            max_steps=steps,
        )
        count += 1
        right += run.module.estimate == sum(map(len, run.watch.used))
    return f"`estimated_stepping_batches` is the number of updates done in {right} of {count} set-ups."


@row(
    "B5",
    "The run ends before its schedule: early stopping, `max_time`, a loader that is shorter than its length.",
    "The closing line says at what share of the schedule the run ended; below 95 % it is a warning.",
)
def run_ends_early() -> str:
    stopping = EarlyStopping("val_loss", patience=2)
    run = fit(cosine_over_estimate, metrics=[1.0] * 10, callbacks=[stopping], max_epochs=10)
    return (
        f"Early stopping ends a run of {run.module.estimate} planned updates after {len(run.used)}; the last one "
        f"uses {run.used[-1]:.3g} of {PEAK}; {word(run)}."
    )


@row(
    "B6",
    "The run goes on past the end of its schedule.",
    "The LR stays at its floor, and that is said once.",
)
def run_goes_past_the_end() -> str:
    run = fit(cosine(8), max_epochs=2)
    return (
        f"A cosine of 8 updates in a run of 16 comes down to {min(run.used):.3g} and climbs to {run.used[-1]:.3g} "
        f"again; {word(run)}."
    )


@row(
    "B7",
    "The warmup is longer than the run.",
    "An error before the first update gives both lengths; above half of the run it is a warning.",
)
def warmup_longer_than_the_run() -> str:
    run = fit(stepped(partial(LinearLR, start_factor=0.01, total_iters=100)), max_epochs=1)
    return f"Warmup of 100 updates, run of 8: the largest LR is {max(run.used):.3g} of {PEAK}; {word(run)}."


@row(
    "B8",
    "The scheduler is returned without `interval` (pytorch-lightning 11599).",
    "Lengths carry their units: the same schedule in steps, epochs, percent or samples gives the same LRs, and "
    "`interval` changes no length.",
)
def interval_left_out() -> str:
    def build(module: Tiny) -> Any:
        optimizer = sgd(module)
        return [optimizer], [CosineAnnealingLR(optimizer, T_max=24)]

    run = fit(build, max_epochs=3)
    return (
        f"A cosine made for the {len(run.used)} updates of the run ticks {run.ticks} times; the LRs "
        f"are {show(run.used)}; {word(run)}."
    )


@row(
    "B9",
    "Gradients are accumulated, and the scheduler has a `frequency` (pytorch-lightning 17544, 21491).",
    "One tick for each update, whatever is accumulated; validation and tests move nothing, and a second `fit` goes on "
    "where the first ended.",
)
def frequency_with_accumulation() -> str:
    def train(frequency: int, accumulate: int, epochs: int) -> str:
        build = stepped(partial(StepLR, step_size=1, gamma=0.5), frequency=frequency)
        run = fit(build, max_epochs=epochs, batches=3 * accumulate, accumulate_grad_batches=accumulate)
        return f"{len(run.used)} updates are {run.ticks} ticks (LRs {show(run.used)})"

    return (
        f"Accumulation 4: {train(1, 4, 2)}. With `frequency=2`, accumulation 1, 3 updates an epoch: "
        f"{train(2, 1, 3)}; accumulation 2: {train(2, 2, 3)}. Batches are counted, in each epoch anew."
    )


@row(
    "B10",
    "fp16: the gradient scaler skips updates (pytorch-lightning 5558, 16228).",
    "A skipped update does not count: the first one that takes effect uses the schedule's first value. With a fused "
    "optimizer, which skips inside its kernel, the scaler's verdict is read.",
)
def scaler_skips_updates() -> str:
    def step(module: Tiny, batch: Tensor, index: int) -> Any:
        return module.loss(batch) * (math.inf if index < 4 else 1)

    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    run = fit(cosine(8), step=step, max_epochs=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    return (
        f"The first 4 of 8 updates overflow: {len(run.used)} updates use {show(run.used)}, the scheduler ticks "
        f"{run.ticks} times and `global_step` is {run.trainer.global_step}; {word(run)}."
    )


@row(
    "B11",
    "`training_step` returns `None`, the loader yields `None`, or `on_train_batch_start` returns -1.",
    "The position is the number of updates.",
)
def batches_without_an_update() -> str:
    class Ended(Tiny):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if batch_idx == 5 else None

    rows: Any = [None if index < 3 else torch.ones(1) for index in range(8)]
    runs = {
        "3 losses of `None`": fit(cosine(8), step=lambda m, x, i: None if i < 3 else m.loss(x), max_epochs=1),
        "3 batches of `None`": fit(cosine(8), train=DataLoader(rows, batch_size=None), max_epochs=1),
        "a -1 at the sixth batch": fit(cosine(8), module=Ended(cosine(8)), max_epochs=1),
    }
    ticks = [f"{len(run.used)} updates and {run.ticks} ticks with {name}" for name, run in runs.items()]
    return f"Of 8 batches: {', '.join(ticks)}."


@row(
    "B12",
    "Manual optimization with several optimizers (pytorch-lightning 17958).",
    "Each optimizer follows its own schedule over its own updates, here 1:5; what needs a total asks for it.",
)
def manual_optimization() -> str:
    def step(module: Tiny, batch: Tensor, index: int) -> None:
        optimizers: Any = module.optimizers()
        discriminator, generator = optimizers
        for optimizer in [discriminator, generator] if index % 5 == 0 else [discriminator]:
            optimizer.zero_grad()
            module.manual_backward(module.loss(batch))
            optimizer.step()

    def build(module: Tiny) -> Any:
        both = [SGD([weight], lr=PEAK) for weight in module.weights]
        return both, [{"scheduler": CosineAnnealingLR(one, 10), "interval": "step"} for one in both]

    module = Tiny(build, step)
    module.automatic_optimization = False
    run = fit(build, module=module, batches=100, max_steps=12, max_epochs=-1)
    first, second = ([lrs[0] for lrs in used] for used in run.watch.used)
    return (
        f"`max_steps=12` ends the run after {len(first)} + {len(second)} updates; the returned schedulers tick "
        f"{run.ticks} times, the LRs are {show(first)} and {show(second)}; {word(run)}."
    )


@row(
    "B13",
    "The module has a scheduler, and something else warms up beside it (pytorch-lightning 8884).",
    "Two owners of one LR are an error; `LearningRateWarmup` warms up over the module's own scheduler, and after the "
    "first cut the LR never rises again.",
)
def warmup_beside_a_scheduler() -> str:
    class Warming(Tiny):
        """Warms up as the documentation of `optimizer_step` shows it."""

        def optimizer_step(self, epoch: Any, batch_idx: Any, optimizer: Any, optimizer_closure: Any = None) -> None:
            optimizer.step(closure=optimizer_closure)
            if self.trainer.global_step < 4:
                for group in optimizer.param_groups:
                    group["lr"] = PEAK * (self.trainer.global_step + 1) / 4

    module = Warming(plateau(), metrics=[1.0] * 8)
    run = fit(plateau(), module=module, metrics=module.metrics, batches=1, max_epochs=8)
    return (
        f"Warmup of 4 updates in `optimizer_step`, `ReduceLROnPlateau` on a flat metric: {show(run.used)}; {word(run)}."
    )


@row(
    "B14",
    "A warmup before a plateau (pytorch-lightning 10759, pytorch 68978).",
    "The updates of the warmup rise, then cuts come at the right validations, through a resume as well.",
)
def warmup_before_plateau() -> str:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK)
    parts: list[Any] = [LinearLR(optimizer, 0.25, 1.0, 4), ReduceLROnPlateau(optimizer)]
    return (
        f"`SequentialLR` of `LinearLR` and `ReduceLROnPlateau`: "
        f"{error_of(lambda: SequentialLR(optimizer, parts, [4]))}. "
        f"`ChainedScheduler` of them: {error_of(lambda: ChainedScheduler(parts))}."
    )


@row(
    "B15",
    "A torch scheduler is wrapped by another.",
    "`TorchSchedule` takes any scheduler of torch: the LR is the warmup's factor times what the scheduler alone does.",
)
def wrapped_schedulers() -> str:
    def warmed(scheduler: Any, optimizer: Optimizer) -> Any:
        return ChainedScheduler([LinearLR(optimizer, 0.25, 1.0, 3), scheduler(optimizer)])

    ramp = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    wrong = {}
    for name, scheduler in TORCH.items():
        planned = [lr * factor for lr, factor in zip(fit(stepped(scheduler), max_epochs=1).used, ramp, strict=True)]
        used = fit(stepped(partial(warmed, scheduler)), max_epochs=1).used
        if not all(map(math.isclose, used, planned)):
            wrong[name] = f"`{name}` begins with {show(used[:4])} and not {show(planned[:4])}"
    return (
        f"`ChainedScheduler` of a warmup of 4 updates and another scheduler: right with {len(TORCH) - len(wrong)} of "
        f"{len(TORCH)} torch schedulers, not with {code(wrong)}; {'; '.join(list(wrong.values())[-2:])}."
    )


@row(
    "B16",
    "Epochs without a validation, or several validations in an epoch (pytorch-lightning 11224).",
    "One decision for each fresh validation of the fit; the sanity check is none.",
)
def plateau_without_fresh_metric() -> str:
    improving = [1.0 / (epoch + 1) for epoch in range(12)]
    run = fit(plateau(strict=False), metrics=improving, batches=1, max_epochs=12, check_val_every_n_epoch=3)
    twice = fit(plateau(), metrics=[1.0] * 6, batches=2, max_epochs=6, val_check_interval=1)
    return (
        f"A metric that improves at each validation, one in 3 epochs, patience 0: 12 epochs use {show(run.used)}. Two "
        f"validations in each of 6 epochs, flat metric: {show(twice.used)}, one decision an epoch."
    )


@row(
    "B17",
    "DDP, and the metric of the plateau is not reduced over the processes.",
    "All processes decide on the same value, the mean, and a warning names the metric; LR and weights stay equal.",
)
def plateau_on_two_processes() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    facts = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "NODE_RANK": "0"}
    processes = [
        start("plain_cases.train_in_one_of_two_processes()", LOCAL_RANK=str(rank), **facts) for rank in range(2)
    ]
    (lrs, weight), (other_lrs, other_weight) = map(json.loads, outputs_of(processes))
    return (
        f"Flat metric on rank 0, improving metric on rank 1: rank 0 uses {show(lrs)}, rank 1 {show(other_lrs)}; after "
        f"{len(lrs)} updates the same weight is {weight:.3g} on rank 0 and {other_weight:.3g} on rank 1."
    )


def train_in_one_of_two_processes() -> None:
    rank = int(os.environ["LOCAL_RANK"])
    metrics = [1.0 / (epoch + 1) if rank else 1.0 for epoch in range(6)]
    run = fit(plateau(), metrics=metrics, batches=2, max_epochs=6, devices=2, strategy="ddp")
    print(json.dumps([run.used, float(run.module.weights[0][0])]))


@row(
    "B18",
    "A run that is preempted in every epoch, with a plateau.",
    "The decision is made before the checkpoint of its validation is written: 8 resumed runs of an epoch are one run "
    "of 8 epochs.",
)
def plateau_preempted() -> str:
    def preempt(trainer: Trainer) -> None:
        raise KeyError("preempted")

    arguments: dict[str, Any] = {"metrics": [1.0] * 8, "batches": 1, "max_epochs": 8}
    whole = fit(plateau(), **arguments).used
    parts: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(8):
            watch = Watch()
            callbacks = [ModelCheckpoint(folder, save_last=True), Do(epoch + 1, preempt), watch]
            last = f"{folder}/last.ckpt" if epoch else None
            with contextlib.suppress(KeyError):
                fit(plateau(), enable_checkpointing=True, callbacks=callbacks, ckpt_path=last, **arguments)
            parts += [lrs[0] for lrs in watch.used[0]]
    return (
        f"Flat metric, patience 0, epochs of 1 update, in one run: {show(whole)}. In 8 runs, each from the checkpoint "
        f"of the epoch before: {show(parts)}."
    )


@row(
    "B19",
    "The metric of a plateau is NaN.",
    "That validation does not count, the LR is unchanged, and there is one warning.",
)
def plateau_nan() -> str:
    run = fit(plateau(patience=1), metrics=[1.0, math.nan, math.nan, 0.9, 0.8], batches=1, max_epochs=5)
    return f"Metrics 1, NaN, NaN, 0.9, 0.8 and patience 1: {show(run.used)}, so NaN is a bad epoch; {word(run)}."


@row(
    "B20",
    "The metric of a plateau is not there in the first epochs, or its name is misspelt.",
    "The first validation is waited for; a misspelt name is an error then, and names the nearest metric.",
)
def plateau_without_metric() -> str:
    def train() -> None:
        fit(plateau(), metrics=[1.0] * 4, batches=1, max_epochs=4, check_val_every_n_epoch=2)

    return f"First validation after epoch 2: the end of epoch 1 is a {error_of(train)}"


@row(
    "B21",
    "A resumed run is longer than its checkpoint's (pytorch-lightning 19865, transformers 27749).",
    'An error prints both totals and the choices. `resume="checkpoint"` keeps the old plan and then its floor; '
    '`resume="config"` follows the new plan from the restored position, and the jump is printed.',
)
def resume_longer() -> str:
    back = resume(fit(cosine(8), max_epochs=1), cosine(16), max_epochs=2)
    first = fit(linear_over_estimate, max_epochs=1)
    jump = resume(first, linear_over_estimate, max_epochs=2)
    return (
        f"8 updates, then 16 in the config: after its end at 0 `CosineAnnealingLR` climbs, {show(back.used)}; a linear "
        f"`LambdaLR` ends at {first.used[-1]:.3g} and goes on with {show(jump.used[:3])}; {word(back)}."
    )


@row(
    "B22",
    "A resumed run has another peak, warmup or patience in its config.",
    "As B21: old and new values are printed side by side, and a choice is asked for.",
)
def resume_with_other_settings() -> str:
    lower = partial(sgd, lr=PEAK / 10)
    run = resume(fit(cosine(16), max_epochs=1), cosine(16, optimizer=lower), max_epochs=2)
    first = fit(plateau(), metrics=[1.0] * 9, batches=1, max_epochs=1)
    patient = resume(first, plateau(patience=5), metrics=[1.0] * 9, batches=1, max_epochs=2)
    return (
        f"LR {PEAK:g} -> {PEAK / 10:g} in the config: the resumed run uses {show(run.used)}. Patience 0 -> 5: it is "
        f"{patient.schedulers[0].patience}. Both: {word(run, patient)}."
    )


@row(
    "B23",
    "A resumed run has another class of scheduler in its config.",
    "As B21.",
)
def resume_with_another_scheduler() -> str:
    first = fit(stepped(partial(StepLR, step_size=4, gamma=0.5)), max_epochs=1)
    run = resume(first, cosine(16), max_epochs=2)
    return (
        f"`StepLR` -> `CosineAnnealingLR`: the cosine takes the other's state, attribute `step_size="
        f"{getattr(run.schedulers[0], 'step_size', None)}` included, and uses {show(run.used)}; {word(run)}."
    )


@row(
    "B24",
    "A resumed run has another number of schedulers.",
    "An error lists both sets.",
)
def resume_with_more_schedulers() -> str:
    def build(module: Tiny, count: int) -> Any:
        optimizer = sgd(module)
        every = [{"scheduler": StepLR(optimizer, 6), "interval": "step"} for _ in range(count)]
        return [optimizer], every

    fewer = resume(fit(partial(build, count=1), max_epochs=1), partial(build, count=2), max_epochs=2)
    more = resume(fit(partial(build, count=2), max_epochs=1), partial(build, count=1), max_epochs=2)
    return (
        f"8 updates with 1 scheduler, 8 more with 2: they end at positions {fewer.ticks}; the other way round at "
        f"{more.ticks}; {word(fewer, more)}."
    )


@row(
    "B25",
    "The checkpoint has no schedule, and the config has one.",
    "The schedule starts at the restored position.",
)
def resume_without_schedule() -> str:
    goes_on, begins, failed, highest = 0, 0, [], {}
    for name, factory in TORCH.items():
        try:
            used = resume(fit(sgd, max_epochs=1), stepped(factory), max_epochs=2).used
        except KeyError as error:
            failed.append(f"`{name}` with KeyError: {error}")
            continue
        whole = fit(stepped(factory), max_epochs=2).used
        goes_on += show(used) == show(whole[8:])
        begins += show(used) == show(whole[:8])
        highest[name] = max(used)
    worst = max(highest, key=highest.__getitem__)
    return (
        f"Resumed after 8 updates without a schedule, {goes_on} of {len(TORCH)} torch schedulers go on at the ninth "
        f"and {begins} begin at the first; {len(failed)} fails ({', '.join(failed)}); the others do neither, and "
        f"`{worst}` reaches {highest[worst]:.3g} where its peak is {PEAK}."
    )


@row(
    "B26",
    "A resumed run has another batch size, accumulation or number of devices.",
    'Noticed and asked about as in B21; `resume="config"` goes on at the same share of the data.',
)
def resume_with_other_batches() -> str:
    first = fit(cosine(32), max_epochs=2)
    run = resume(first, cosine_over_estimate, max_epochs=4, accumulate_grad_batches=2)
    return (
        f"4 epochs, a cosine over the estimated total, accumulation 1 -> 2 after 2 epochs: the old total of 32 stays, "
        f"the run ends after {len(first.used) + len(run.used)} updates, and the last one uses {run.used[-1]:.3g} of "
        f"{PEAK}; {word(run)}."
    )


@row(
    "B27",
    "`kill -9` at any moment.",
    "Run again from the last checkpoint, every update uses what it would have used in an uninterrupted run, and "
    "`lr.csv` has each update once.",
)
def killed_run() -> str:
    whole = fit(cosine(24), max_epochs=3).used
    with tempfile.TemporaryDirectory() as folder:
        outputs_of([start(f"plain_cases.train_until_killed({folder!r})")], code=-signal.SIGKILL)
        (checkpoint,) = Path(folder).glob("*.ckpt")
        used = fit(cosine(24), max_epochs=3, ckpt_path=checkpoint, **recording(folder)).used
        steps = [int(line["step"]) for line in recorded(folder)]
    same = "as in" if used == whole[-len(used) :] else "not as in"
    return (
        f"Killed in update 14 of 24, resumed at update {len(whole) - len(used) + 1}: the LRs are {same} an "
        f"uninterrupted run. `LearningRateMonitor` and `CSVLogger` keep {len(set(steps))} of the 24 updates, in "
        f"{len(steps)} rows."
    )


def recorded(folder: str) -> list[dict[str, str]]:
    """The rows of all files that a CSVLogger has left in a folder."""
    rows = []
    for path in sorted(Path(folder).rglob("metrics.csv")):
        with path.open() as file:
            rows += list(csv.DictReader(file))
    return rows


def recording(folder: str, *callbacks: Callback) -> dict[str, Any]:
    """Trainer arguments that record the LR at every step into a folder."""
    logger = CSVLogger(folder, name="logs")
    return {"logger": logger, "log_every_n_steps": 1, "callbacks": [LearningRateMonitor("step"), *callbacks]}


def train_until_killed(folder: str) -> None:
    saving = ModelCheckpoint(folder, every_n_train_steps=5)
    kill = Do(13, lambda trainer: os.kill(os.getpid(), signal.SIGKILL))
    fit(cosine(24), max_epochs=3, enable_checkpointing=True, **recording(folder, saving, kill))


@row(
    "B28",
    "A checkpoint is loaded with `weights_only=True`.",
    "Every schedule's and every callback's state is plain numbers, strings, lists and dicts, and loads.",
)
def plain_checkpoints() -> str:
    def load(build: Any) -> str:
        run = fit(build, max_epochs=1)
        with tempfile.TemporaryDirectory() as folder:
            run.trainer.save_checkpoint(f"{folder}/run.ckpt", weights_only=False)
            return error_of(lambda: torch.load(f"{folder}/run.ckpt", weights_only=True))

    good = [load(stepped(factory)) for factory in TORCH.values()].count("no error")
    function = load(stepped(partial(LambdaLR, lr_lambda=Shaped(math.cos))))
    number = load(stepped(partial(StepLR, step_size=4), optimizer=partial(sgd, lr=np.float64(PEAK))))
    return (
        f"{good} of {len(TORCH)} torch schedulers load. `LambdaLR` over an object that holds a function: {function}. "
        f"A NumPy number as LR: {number}."
    )


class Shaped:
    """A decay over 8 updates whose shape is a function that it was given."""

    def __init__(self, shape: Callable[[float], float]) -> None:
        self.shape = shape

    def __call__(self, t: int) -> float:
        return self.shape(t / 8)


@row(
    "B29",
    "Parameter groups of different LRs (pytorch 73305).",
    "Groups keep their ratio at every update of every schedule.",
)
def ratio_of_groups() -> str:
    def ratios(factory: Any) -> str:
        run = fit(stepped(factory, optimizer=two_groups), max_epochs=1)
        return show(first / second for first, second in run.watch.used[0])

    cycle = partial(OneCycleLR, max_lr=PEAK, total_steps=8, cycle_momentum=False)
    floor = partial(CosineAnnealingLR, T_max=8, eta_min=PEAK / 1000)
    return (
        f"Two groups, 100:1. `OneCycleLR(max_lr={PEAK:g})`: the ratio is {ratios(cycle)}. "
        f"`CosineAnnealingLR(eta_min={PEAK / 1000:g})`: {ratios(floor)}."
    )


@row(
    "B30",
    "A parameter group is added during training.",
    "Wherever it joins, its LR is its own base LR times the schedule's factor from then on.",
)
def late_group() -> str:
    def one_group(module: Tiny) -> Optimizer:
        return SGD([module.weights[0]], lr=PEAK)

    def join(trainer: Trainer) -> None:
        module: Any = trainer.lightning_module
        trainer.optimizers[0].add_param_group({"params": [module.weights[1]], "lr": 0.5})

    failed, wrong = [], []
    for name, factory in TORCH.items():
        planned = [5 * lr for lr in fit(stepped(factory), max_epochs=1).used[4:]]
        try:
            run = fit(stepped(factory, optimizer=one_group), callbacks=[Do(4, join)], max_epochs=1)
        except (KeyError, ValueError):
            failed.append(name)
            continue
        late = [lrs[1] for lrs in run.watch.used[0][4:]]
        if show(late) != show(planned):
            wrong.append((max(late), f"`{name}` uses {show(late)} and not {show(planned)}"))
    return (
        f"A group of LR 0.5 joins after 4 of 8 updates: {len(failed)} of {len(TORCH)} torch schedulers fail "
        f"({code(failed)}), {len(wrong)} others do not use 0.5 x the factor; {max(wrong)[1]}."
    )


@row(
    "B31",
    "The LR is a tensor.",
    "Each group keeps a tensor object of its own, before and after, and the values are those of the float run, to the "
    "precision of the tensor.",
)
def tensor_lr() -> str:
    def sharing(module: Tiny) -> Optimizer:
        tensor = torch.tensor(PEAK)
        objects.append(tensor)
        return SGD([{"params": [weight]} for weight in module.weights], lr=tensor)

    objects: list[Tensor] = []
    kept = equal = 0
    for factory in TORCH.values():
        run = fit(stepped(factory, optimizer=sharing), max_epochs=1)
        kept += all(group["lr"] is objects[-1] for group in run.trainer.optimizers[0].param_groups)
        equal += all(map(partial(math.isclose, rel_tol=1e-5), run.used, fit(stepped(factory), max_epochs=1).used))
    each = partial(LambdaLR, lr_lambda=[lambda t: 1.0, lambda t: 0.01])
    first, second = fit(stepped(each, optimizer=sharing), max_epochs=1).watch.used[0][-1]
    return (
        f"{kept} of {len(TORCH)} torch schedulers fill the tensor in place, {equal} with the values of the float run. "
        f"Groups that set no LR of their own share one tensor: with factors of 1 and 0.01 they use {first:.3g} and "
        f"{second:.3g}."
    )


@row(
    "B32",
    "The LR is recorded.",
    "`lr.csv` has a row for each update, with or without a logger, and columns keep their names when a group joins.",
)
def recorded_lr() -> str:
    def rows_of(every: int = 1, accumulate: int = 1, callbacks: Sequence[Callback] = ()) -> list[dict[str, str]]:
        with tempfile.TemporaryDirectory() as folder:
            options = {**recording(folder, *callbacks), "log_every_n_steps": every}
            fit(cosine(30), batches=30, max_epochs=1, accumulate_grad_batches=accumulate, **options)
            return recorded(folder)

    def join(trainer: Trainer) -> None:
        trainer.optimizers[0].add_param_group({"params": [nn.Parameter(torch.ones(1))]})

    bare = error_of(lambda: fit(sgd, callbacks=[LearningRateMonitor("step")], max_epochs=1))
    joined = [[key for key in line if line[key] and key != "step"] for line in rows_of(callbacks=[Do(4, join)])]
    return (
        f"`LearningRateMonitor` without a logger: {bare}. With the default `log_every_n_steps=50` it writes "
        f"{len(rows_of(every=50))} rows for 30 updates; with 1 and accumulation 3, {len(rows_of(accumulate=3))} rows "
        f"for 10 updates. When a group joins, the column {code(joined[0])} is followed by {code(joined[-1])}."
    )


@row(
    "B33",
    'Something else writes `param_group["lr"]`.',
    "The closing line compares used and planned LRs at every update; a foreign write is reported with the update it "
    "happened at.",
)
def foreign_write() -> str:
    def write(trainer: Trainer) -> None:
        trainer.optimizers[0].param_groups[0]["lr"] = 0.02

    planned = fit(cosine(8), max_epochs=1)
    run = fit(cosine(8), callbacks=[Do(3, write)], max_epochs=1)
    return (
        f"One write of 0.02 before update 4 of 8: `CosineAnnealingLR` uses {show(run.used)} and not "
        f"{show(planned.used)}; {word(run)}."
    )


@row(
    "B34",
    "The LR in the progress bar (pytorch-lightning 14691).",
    "It is shown, in Rich's bar and in tqdm's.",
)
def progress_bar() -> str:
    def shown(bar: Any) -> str:
        names: list[str] = []
        look = Do(4, lambda trainer: names.extend(bar.get_metrics(trainer, trainer.lightning_module)))
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            fit(cosine(8), max_epochs=1, enable_progress_bar=True, **recording(folder, bar, look))
        return code(names) or "nothing"

    return (
        f"With `LearningRateMonitor` and a logger, Rich's bar shows {shown(RichProgressBar())} and tqdm's "
        f"{shown(TQDMProgressBar())}."
    )


@row(
    "B35",
    "A suggestion of the range test is used in a run with a schedule (pytorch-lightning 15856).",
    "It becomes the peak of the schedule that then runs, of `LearningRateScheduler`, a warmup or torch's own, and of "
    "the run that goes on from its checkpoint.",
)
def suggestion_with_a_schedule() -> str:
    wrong = {}
    for name, factory in TORCH.items():
        build = stepped(factory)
        plain = fit(build, batches=16, max_epochs=1).used
        run, suggested = with_finder(build, batches=16, max_epochs=1, find=16)
        if show(run.used) != show(lr * suggested / PEAK for lr in plain):
            wrong[name] = show(run.used[:4])
    return (
        f"`LearningRateFinder` suggests {suggested:.3g} where the LR was {PEAK:g}. With {len(wrong)} of {len(TORCH)} "
        f"torch schedulers ({code(wrong)}) the run is not at the suggestion times the schedule; `LambdaLR(0.9^n)` goes "
        f"back to the old LR: {wrong['LambdaLR']}."
    )


@row(
    "B36",
    "The losses of the range test are noisy (pytorch-lightning 21141).",
    "Several rules on a curve that is smoothed without a lag, over log LR: on a synthetic curve with a known answer "
    "and 1 % or 5 % noise, every suggestion of every rule and seed is within half a decade.",
)
def noisy_range_test() -> str:
    found = []
    for (low, high), seed in product(range_test_rules.RANGES, range_test_rules.SEEDS):
        sweep = Sweep(min_lr=low, max_lr=high, num_training_steps=range_test_rules.UPDATES)
        measured = range_test_rules.by_lightning(sweep, range_test_rules.noisy_curve(0.01, seed))
        finder = _LRFinder("exponential", low, high, range_test_rules.UPDATES)
        finder.results = {"lr": measured.lrs, "loss": measured.losses}
        found.append(finder.suggestion() or math.nan)
    close = sum(abs(math.log10(lr) - range_test_rules.STEEPEST) <= range_test_rules.CLOSE for lr in found)
    return (
        f"Steepest at 0.003, 1 % noise, {len(found)} sweeps: `lr_find` suggests {min(found):.1e} to {max(found):.1e}; "
        f"within half a decade: {close} of {len(found)}."
    )


@row(
    "B37",
    "The range test needs more batches than the run has, or shows nothing.",
    "The loader is cycled, whatever ends the run. A sweep that is incomplete, flat or diverges at once gives no "
    "suggestion, and says why.",
)
def short_run_with_range_test() -> str:
    run, suggested = with_finder(sgd, batches=20, max_epochs=1, find=100)
    _, guessed = with_finder(sgd, batches=60, max_epochs=1, find=50, step=lambda *_: torch.ones((), requires_grad=True))
    about = [text for text in run.said if "stopped early" in text]
    return (
        f"100 steps are asked for and an epoch has 20 batches: `LearningRateFinder` measures {points(run)} points, up "
        f"to LR {lrs_of(run)[-1]:.2g} of 1, says «{quoted(*about)}», and sets {suggested:.3g}. A loss that is always "
        f"1: it sets {guessed:.3g}."
    )


@row(
    "B38",
    "The range test with parameter groups of different LRs.",
    "The groups keep their ratio, in the sweep and in the peak that it sets.",
)
def range_test_with_groups() -> str:
    run, _ = with_finder(two_groups, batches=60, max_epochs=1, find=50)
    first, second = run.watch.used[0][-1]
    return f"Two groups, 100:1. After `LearningRateFinder` they use {first:.3g} and {second:.3g}."


@row(
    "B39",
    "The range test in the middle of training, or with a loss that is not a number.",
    "It works at any position and changes nothing. It stops at the first loss that is not finite, and uses what came "
    "before.",
)
def range_test_under_way() -> str:
    def broken(module: Tiny, batch: Tensor, batch_idx: int) -> Any:
        return module.loss(batch) * (math.nan if batch_idx >= 30 else 1)

    late, _ = with_finder(sgd, batches=60, max_epochs=3, find=50, epoch=1)
    nan, suggested = with_finder(sgd, batches=60, max_epochs=1, find=50, step=broken)
    losses = finder_of(nan).optimal_lr.results["loss"]
    return (
        f"At epoch 1 of 3, in the way of Lightning's manual, `LearningRateFinder` measures {points(late)} of 50 "
        f"points. A loss that is not a number from update 30 on: it goes on to update {len(losses)}, "
        f"{sum(map(math.isnan, losses))} of its losses are none, and it suggests {suggested:.3g}."
    )


class Finder(LearningRateFinder):
    """Lightning's finder at the start of the fit or, in the way that its manual shows, of a later epoch."""

    def __init__(self, epoch: int, **options: Any) -> None:
        super().__init__(**options)
        self.epoch = epoch

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self.epoch:
            super().on_fit_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.epoch and trainer.current_epoch == self.epoch:
            self.lr_find(trainer, pl_module)


def with_finder(build: Callable[[Any], Any], *, find: int, epoch: int = 0, step: Any = None, **options: Any) -> Any:
    """Train with Lightning's finder of ``find`` steps from 1e-4 to 1; return the run and the LR that it set."""
    module = Tiny(build, step)
    finder = Finder(epoch, min_lr=1e-4, max_lr=1.0, num_training_steps=find)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        run = fit(build, module=module, callbacks=[finder], default_root_dir=folder, **options)
    return run, module.lr


def finder_of(run: Run) -> Any:
    return next(one for one in run.trainer.callbacks if isinstance(one, Finder))  # type: ignore[attr-defined]


def lrs_of(run: Run) -> Any:
    return finder_of(run).optimal_lr.results["lr"]


def points(run: Run) -> int:
    return len(lrs_of(run))
