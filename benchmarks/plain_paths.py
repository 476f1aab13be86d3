"""Rows B40 to B63 of docs/guarantees.md: every path through a run, and the doors beside Lightning's Trainer.

Like ``plain_cases.py``: a function trains without lr_recipes and returns the sentence of its row.
"""

from __future__ import annotations

import contextlib
import io
import math
import pickle
import subprocess
import sys
import tempfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    ExponentialLR,
    LinearLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from benchmarks.plain_runs import (
    PEAK,
    Do,
    Run,
    Tiny,
    Watch,
    code,
    cosine,
    cosine_over_estimate,
    error_of,
    fit,
    listening,
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

# What cases share


def every_checkpoint(
    build: Callable[[Any], Any], folder: str, **arguments: Any
) -> tuple[list[float], list[list[float]]]:
    """Return what a run uses, and what it uses when it is resumed after each of its updates but the last."""
    keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = fit(build, callbacks=[keep], enable_checkpointing=True, **arguments).used
    after = range(1, len(whole))
    return whole, [fit(build, ckpt_path=f"{folder}/step={n}.ckpt", **arguments).used for n in after]


def fit_on(run: Run, epochs: int, batches: int = 8) -> list[float]:
    """Let the same Trainer fit again, up to ``epochs``; return what that fit uses."""
    run.trainer.fit_loop.max_epochs = epochs
    with listening():
        run.trainer.fit(run.module, loader(batches), loader(1) if run.module.metrics else None)
    return run.used


def warmed(optimizer: Optimizer) -> SequentialLR:
    """A warmup of 4 updates and then a cosine, as torch's manual joins them."""
    return SequentialLR(optimizer, [LinearLR(optimizer, 0.25, 1.0, 3), CosineAnnealingLR(optimizer, 12)], [4])


def warmed_together(optimizer: Optimizer) -> ChainedScheduler:
    return ChainedScheduler([LinearLR(optimizer, 0.25, 1.0, 3), CosineAnnealingLR(optimizer, 16)])


# The cases


@row(
    "B40",
    "A run with a warmup is resumed after the warmup's end.",
    "Resumed before, at or after the end of the warmup, with one optimizer or two, the LRs are those of the "
    "uninterrupted run, over every torch scheduler.",
)
def warmup_resumed() -> str:
    def right(factory: Callable[[Optimizer], Any]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            whole, resumed = every_checkpoint(stepped(factory), folder, max_epochs=2)
        same = sum(used == whole[-len(used) :] for used in resumed)
        return f"{same} of {len(resumed)}"

    return (
        f"A warmup of 4 updates and a cosine, resumed after each update: the LRs are those of the uninterrupted run in "
        f"{right(warmed)} cases with `SequentialLR`, in {right(warmed_together)} with `ChainedScheduler`."
    )


@row(
    "B41",
    "The metric of a plateau is one of the training epoch.",
    "One decision for each fresh value, wherever the module logs it, beside a validation or without one: on the "
    "epoch's mean where that is logged, and through a resume.",
)
def plateau_on_the_training_epoch() -> str:
    class Training(Tiny):
        """Its loss falls on the first batch of each epoch and is the same on the last; ``how`` it is logged."""

        def __init__(self, build: Any, how: dict[str, Any] | None) -> None:
            super().__init__(build, metrics=[1.0] * 6)
            self.how = how

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            if self.how is not None:
                self.log("train_loss", 5.0 if batch_idx else 10.0 - self.current_epoch, **self.how)
            return super().training_step(batch, batch_idx)

        def on_train_epoch_end(self) -> None:
            if self.how is None:
                self.log("train_loss", 10.0 - self.current_epoch)

    def cuts(how: dict[str, Any] | None, **options: Any) -> int:
        build = plateau(monitor="train_loss")
        used = fit(build, module=Training(build, how), metrics=[1.0], batches=2, max_epochs=6, **options).used
        return len(set(used)) - 1

    epoch, both = {"on_step": False, "on_epoch": True}, {"on_step": True, "on_epoch": True}
    return (
        "A loss whose mean falls in every epoch, and which is the same on the last batch, beside a validation: "
        f"{cuts(epoch)} cuts in 6 epochs where the mean is logged, {cuts(both)} with `on_step` and `on_epoch`, "
        f"{cuts(None)} logged in `on_train_epoch_end`, {cuts(both, check_val_every_n_epoch=2)} with a validation in "
        "every second epoch."
    )


@row(
    "B42",
    "Between two fits of one Trainer something is tested, validated or restored.",
    "The second fit goes on where the first stopped; what was tested in between changes nothing.",
)
def test_between_fits() -> str:
    class Tested(Tiny):
        def test_step(self, batch: Tensor, batch_idx: int) -> None: ...

    def second(test: bool) -> tuple[list[float], list[float]]:
        module = Tested(plateau(), metrics=[1.0] * 6)
        run = fit(module.build, module=module, metrics=module.metrics, batches=1, max_epochs=4)
        first = run.used
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), listening():
            if test:
                run.trainer.save_checkpoint(f"{folder}/run.ckpt")
                run.trainer.test(module, loader(1), ckpt_path=f"{folder}/run.ckpt", verbose=False)
        return first, fit_on(run, epochs=6, batches=1)

    first, plain = second(test=False)
    _, tested = second(test=True)
    return (
        f"Flat metric, patience 0: 4 epochs use {show(first)}, 2 more in a second fit {show(plain)}, with a test in "
        f"between {show(tested)}: each fit builds its optimizers and schedulers anew."
    )


@row(
    "B43",
    "The same Trainer fits again, with a higher `max_epochs` or for a new task.",
    "The message speaks of the earlier fit, and the choices are its plan, the new one at its position, and a new "
    "schedule from position 0.",
)
def trainer_fits_again() -> str:
    run = fit(cosine_over_estimate, max_epochs=1)
    first, second = run.used, fit_on(run, epochs=2)
    return (
        f"A cosine over the estimate: {len(first)} updates end at {first[-1]:.3g}; with `max_epochs=2` the second fit "
        f"estimates {run.module.estimate}, does {len(second)} and uses {show(second)}; {word(run)}."
    )


@row(
    "B44",
    "A run is broken off in an epoch, by Ctrl-C or for want of memory, and the same Trainer fits on.",
    "The plan covers the updates that will really be done, or the run asks; there is no silent tail at the floor.",
)
def fit_after_a_break() -> str:
    def fail(trainer: Trainer) -> None:
        raise MemoryError

    broken = Do(5, fail)
    module = Tiny(cosine_over_estimate)
    trainers: list[Trainer] = []
    keep = Do(0, trainers.append)
    with contextlib.suppress(MemoryError):
        fit(module.build, module=module, callbacks=[keep, broken], max_epochs=2)
    broken.at = -1
    watch: Any = trainers[0].callbacks[-1]  # type: ignore[attr-defined]
    first = [lrs[0] for lrs in watch.used[0]]
    with listening() as said:
        trainers[0].fit(module, loader(8))
    second = [lrs[0] for lrs in watch.used[0]]
    run = Run(trainers[0], module, watch, said)
    return (
        f"2 epochs of 8 batches, broken off after {len(first)} updates: the epoch is done again, so {len(second)} "
        f"updates follow, by a cosine over {module.estimate} that begins anew and ends at {second[-1]:.3g}; "
        f"{word(run)}."
    )


@row(
    "B45",
    "The optimizer is rebuilt in mid-run.",
    "The new one is scheduled from its first update, at the position of the old one, and the plan says so; "
    "checkpoints and resumes work.",
)
def optimizer_rebuilt() -> str:
    def second_half(rebuild: Callable[[Trainer], Any]) -> list[float]:
        used: list[float] = []

        def watched(trainer: Trainer) -> None:
            rebuild(trainer)
            optimizer = trainer.optimizers[0]
            optimizer.register_step_pre_hook(lambda *_: used.append(optimizer.param_groups[0]["lr"]))

        fit(cosine(16), callbacks=[Do(8, watched)], max_epochs=2)
        return used

    def setup(trainer: Trainer) -> None:
        trainer.strategy.setup_optimizers(trainer)

    def assign(trainer: Trainer) -> None:
        trainer.optimizers = [sgd(trainer.lightning_module)]  # type: ignore[arg-type]

    return (
        f"A cosine of 16 updates, a new optimizer after 8: by `strategy.setup_optimizers` it uses "
        f"{show(second_half(setup))}, by `trainer.optimizers = [...]` {show(second_half(assign))}."
    )


class Sharpening(Optimizer):
    """The two steps of SAM around a base optimizer, whose groups are its own."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": PEAK, "rho": 0.05})
        self.base_optimizer = SGD(self.param_groups, lr=PEAK)
        self.param_groups = self.base_optimizer.param_groups

    def first_step(self) -> None:
        self.move(1)

    def second_step(self) -> None:
        self.move(-1)
        self.base_optimizer.step()

    @torch.no_grad()
    def move(self, sign: int) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                p.add_(p.grad, alpha=sign * group["rho"])


class Slow(Optimizer):
    """A wrapper that shares the groups of another optimizer without ``Optimizer.__init__``, as Lookahead does."""

    def __init__(self, base: Optimizer) -> None:
        self.base, self.defaults, self.state = base, base.defaults, defaultdict(dict)
        self.param_groups = base.param_groups
        for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post"):
            setattr(self, f"_optimizer_{name}_hooks", OrderedDict())

    def step(self, closure: Any = None) -> Any:
        return self.base.step(closure)


@row(
    "B46",
    "The optimizer wraps another, or has steps of its own: SAM, Lookahead.",
    "Each real update is counted once; where none can be counted, an error before the first update, or at the end of "
    "the first epoch at the latest, names the optimizer and what to do.",
)
def wrapping_optimizers() -> str:
    class TwoSteps(Tiny):
        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer: Any = self.trainer.optimizers[0]
            for step in (optimizer.first_step, optimizer.second_step):
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                step()
            used.append(optimizer.param_groups[0]["lr"])
            self.lr_schedulers().step()  # type: ignore[union-attr]

    def inner(trainer: Trainer) -> None:
        base: Any = trainer.optimizers[0]
        base.base.register_step_pre_hook(lambda *_: slow.append(base.param_groups[0]["lr"]))

    used: list[float] = []
    slow: list[float] = []
    sam = cosine(8, optimizer=lambda module: Sharpening(module.parameters()))
    run = fit(sam, module=TwoSteps(sam), max_epochs=1)
    fit(cosine(8, optimizer=lambda module: Slow(sgd(module))), callbacks=[Do(0, inner)], max_epochs=1)
    planned = fit(cosine(8), max_epochs=1).used
    return (
        f"A cosine that the module steps after each `second_step` of SAM: the LRs are {as_in(planned, used)}; "
        f"{word(run)}. A wrapper without hooks, stepped by Lightning: {as_in(planned, slow)}."
    )


def as_in(planned: Sequence[float], used: Sequence[float]) -> str:
    """Say whether LRs are those of a plan."""
    return "those of the cosine" if list(used) == list(planned) else f"{show(used)} and not {show(planned)}"


@row(
    "B47",
    "Unusual groups: one is removed, all LRs are 0, `lr=None`, no optimizer, `lr_scale` of timm and MAE, settings by "
    "group.",
    "Right, or one sentence says what was found and what to do; `lr_scale` is honoured or reported, and lists with a "
    "setting for each group work.",
)
def unusual_groups() -> str:
    class Unset(Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": None})

        def step(self, closure: Any = None) -> Any:
            return closure()

    def last(optimizer: Callable[[Any], Optimizer], factory: Any = None) -> str:
        factory = factory or partial(CosineAnnealingLR, T_max=8)
        used = fit(stepped(factory, optimizer=optimizer), max_epochs=1).watch.used[0][-1]
        return " and ".join(f"{lr:.3g}" for lr in used)

    def scaled(module: Tiny) -> Optimizer:
        first, second = module.weights
        return SGD([{"params": [first], "lr_scale": 0.1}, {"params": [second], "lr_scale": 1.0}], lr=PEAK)

    def remove(trainer: Trainer) -> None:
        del trainer.optimizers[0].param_groups[0]

    removed = error_of(lambda: fit(cosine(8, optimizer=two_groups), callbacks=[Do(4, remove)], max_epochs=1))
    unset = error_of(lambda: fit(cosine(8, optimizer=lambda m: Unset(m.parameters())), max_epochs=1))
    none = [quoted(text) for text in fit(lambda module: None, max_epochs=1).said if "optimizer" in text]
    each = partial(OneCycleLR, max_lr=[PEAK, PEAK / 10], total_steps=8, cycle_momentum=False)
    return (
        f"A group removed in mid-run: {removed}. All LRs 0: they stay {last(partial(sgd, lr=0.0))}. `lr=None`: "
        f"{unset}. No optimizer: {'; '.join(none)}. `lr_scale` of 0.1 and 1: both groups end at {last(scaled)}. "
        f"`OneCycleLR(max_lr=[...])` for two groups: {last(two_groups, each)}."
    )


@row(
    "B48",
    "`reload_dataloaders_every_n_epochs`, and the loader grows.",
    "Epochs have the length that they have; the total is known, given or asked for; there is no silent tail, and the "
    "unchanged run resumes.",
)
def growing_loader() -> str:
    class Growing(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader((4, 6, 8)[self.trainer.current_epoch])  # type: ignore[union-attr]

    run = fit(cosine_over_estimate, train=Growing(), max_epochs=3, reload_dataloaders_every_n_epochs=1)
    return (
        f"Epochs of 4, 6 and 8 batches: {run.module.estimate} updates are estimated and {len(run.used)} done; a cosine "
        f"over the estimate falls to {min(run.used):.3g} and ends at {run.used[-1]:.3g}; {word(run)}."
    )


@row(
    "B49",
    "A checkpoint is written after a group has joined and before the next update.",
    "The resumed run is the uninterrupted one.",
)
def checkpoint_behind_a_join() -> str:
    def build(module: Tiny, groups: int) -> Any:
        weights = [{"params": [weight], "lr": lr} for weight, lr in zip(module.weights, (PEAK, 0.5), strict=True)]
        return stepped(partial(StepLR, step_size=2, gamma=0.5), optimizer=lambda _: SGD(weights[:groups]))(module)

    with tempfile.TemporaryDirectory() as folder:

        def join(trainer: Trainer) -> None:
            module: Any = trainer.lightning_module
            trainer.optimizers[0].add_param_group({"params": [module.weights[1]], "lr": 0.5})
            trainer.save_checkpoint(f"{folder}/run.ckpt")

        whole = fit(partial(build, groups=1), callbacks=[Do(8, join)], max_epochs=2).watch.used[0][8:]
        late = fit(partial(build, groups=2), ckpt_path=f"{folder}/run.ckpt", max_epochs=2).watch.used[0]
    return (
        "`StepLR`, resumed with an optimizer that has both groups: the LRs are "
        f"{'those' if late == whole else 'not those'} of the uninterrupted run."
    )


@row(
    "B50",
    "A group above the first peak joins, the floor is absolute, and the run is resumed.",
    "Whatever can change an LR is saved, compared and shown; the floor is that of the uninterrupted run.",
)
def floor_of_a_late_group() -> str:
    def build(module: Tiny, groups: int) -> Any:
        weights = [{"params": [weight], "lr": lr} for weight, lr in zip(module.weights, (PEAK, 0.5), strict=True)]
        floor = partial(CosineAnnealingLR, T_max=16, eta_min=0.01)
        return stepped(floor, optimizer=lambda _: SGD(weights[:groups]))(module)

    with tempfile.TemporaryDirectory() as folder:

        def join(trainer: Trainer) -> None:
            module: Any = trainer.lightning_module
            trainer.optimizers[0].add_param_group({"params": [module.weights[1]], "lr": 0.5})

        def save(trainer: Trainer) -> None:
            trainer.save_checkpoint(f"{folder}/run.ckpt")

        whole = fit(partial(build, groups=1), callbacks=[Do(4, join), Do(8, save)], max_epochs=2).watch.used[0]
        resumed = fit(partial(build, groups=2), ckpt_path=f"{folder}/run.ckpt", max_epochs=2).watch.used[0]
    return (
        f"`CosineAnnealingLR(eta_min=0.01)` and a group of LR 0.5 from update 5 of 16 on: both end at "
        f"{whole[-1][0]:.3g} and {whole[-1][1]:.3g}, and so {'do they' if resumed == whole[8:] else 'do they not'} "
        "when the run is resumed after 8."
    )


@row(
    "B51",
    "The Trainer is that of the package `pytorch_lightning`.",
    "Both names of the library behave the same, or are told apart at once.",
)
def other_name_of_lightning() -> str:
    # In a process of its own: to import it changes how `lightning` logs.
    (printed,) = outputs_of([start("plain_paths.train_under_the_other_name()")])
    theirs, ours = printed.splitlines()[-2:]
    return (
        f"2 epochs of 8 batches, `GradientAccumulationScheduler({{0: 4}})`: with that of `pytorch_lightning` {theirs}, "
        f"with that of `lightning.pytorch`, which is another class, {ours}."
    )


def train_under_the_other_name() -> None:
    import pytorch_lightning

    class Plain(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def training_step(self, batch: Tensor, batch_idx: int) -> Any:
            return (self.weight * batch).sum()

        def configure_optimizers(self) -> Any:
            return SGD(self.parameters(), lr=PEAK)

    def updates(callback: Any) -> str:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "enable_checkpointing": False, **quiet}
        trainer = pytorch_lightning.Trainer(max_epochs=2, callbacks=[callback], **options)
        error = error_of(lambda: trainer.fit(Plain(), loader(8)))
        return f"{trainer.global_step} updates and {error}"

    print(updates(pytorch_lightning.callbacks.GradientAccumulationScheduler({0: 4})))
    print(updates(GradientAccumulationScheduler({0: 4})))


@row(
    "B52",
    "In manual optimization a module asks for its own scheduler, `isinstance(sch, ReduceLROnPlateau)`, under a warmup.",
    "`self.lr_schedulers()` and `trainer.lr_scheduler_configs` show the module's own objects.",
)
def scheduler_by_its_class() -> str:
    class Asking(Tiny):
        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()

        def on_train_epoch_end(self) -> None:
            scheduler = self.lr_schedulers()
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(1.0)

    build = plateau()
    run = fit(build, module=Asking(build), batches=1, max_epochs=5)
    return (
        "It is the module's own, and stepped so on a flat metric it cuts after each bad epoch: "
        f"{show(run.used)}. No warmup of torch can stand over it (B14)."
    )


@row(
    "B53",
    "The module steps a scheduler by hand, past Lightning, under a warmup.",
    "The warmup multiplies what the scheduler wrote, once.",
)
def stepped_by_hand_under_a_warmup() -> str:
    class Warming(Tiny):
        """Warms up in `optimizer_step`, and steps its scheduler itself."""

        def optimizer_step(self, epoch: Any, batch_idx: Any, optimizer: Any, optimizer_closure: Any = None) -> None:
            if self.trainer.global_step < 4:
                for group in optimizer.param_groups:
                    group["lr"] *= (self.trainer.global_step + 1) / 4
            optimizer.step(closure=optimizer_closure)
            self.scheduler.step()

        def configure_optimizers(self) -> Any:
            optimizer = sgd(self)
            self.scheduler = ExponentialLR(optimizer, 0.9)
            return optimizer

    run = fit(sgd, module=Warming(sgd), max_epochs=1)
    planned = [PEAK * 0.9**n * min(1.0, (n + 1) / 4) for n in range(8)]
    return (
        f"`ExponentialLR(0.9)` and a warmup of 4 updates that multiplies the LR in `optimizer_step`: {show(run.used)}, "
        f"where warmup times schedule is {show(planned)}; {word(run)}."
    )


@row(
    "B54",
    "A schedule takes the place of the module's `OneCycleLR` or `CyclicLR`.",
    "Peak and momentum are the optimizer's own, as it was built.",
)
def in_place_of_one_cycle() -> str:
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK, momentum=0.9)
    OneCycleLR(optimizer, max_lr=PEAK, total_steps=8)
    cosine_after = CosineAnnealingLR(optimizer, T_max=8)
    (group,) = optimizer.param_groups
    return (
        f"An optimizer built with LR {PEAK:g} and momentum 0.9, a `OneCycleLR`, then a `CosineAnnealingLR` in its "
        f"place: its base LR is {cosine_after.base_lrs[0]:.3g}, the momentum {group['momentum']:.3g}."
    )


@row(
    "B55",
    "A module takes a schedule as an argument and calls `save_hyperparameters()`.",
    "It trains, logs readable hyper-parameters, and `load_from_checkpoint` works.",
)
def schedule_as_hyperparameter() -> str:
    class Taking(Tiny):
        def __init__(self, schedule: Any = None) -> None:
            super().__init__(sgd)
            self.save_hyperparameters()

        def configure_optimizers(self) -> Any:
            return stepped(self.hparams["schedule"])(self)

    with tempfile.TemporaryDirectory() as folder:
        module = Taking(partial(CosineAnnealingLR, T_max=8))
        run = fit(sgd, module=module, max_epochs=1, logger=CSVLogger(folder, name="", version=""))
        logged = (Path(folder) / "hparams.yaml").read_text().splitlines()
        run.trainer.save_checkpoint(f"{folder}/run.ckpt")
        safe = error_of(lambda: torch.load(f"{folder}/run.ckpt", weights_only=True))
        loaded = error_of(lambda: Taking.load_from_checkpoint(f"{folder}/run.ckpt", weights_only=False))
    return (
        f"`partial(CosineAnnealingLR, T_max=8)`: it trains; `hparams.yaml` begins with `{logged[0]}`; its checkpoint "
        f"with `weights_only=True`: {safe}; `load_from_checkpoint(weights_only=False)`: {loaded}."
    )


@row(
    "B56",
    "`default_root_dir` is not local: `s3://...`, `memory://...`.",
    "The record lands where the checkpoints do, or one sentence says where it is instead.",
)
def remote_folder() -> str:
    root = "memory://plain"
    options: dict[str, Any] = {
        "default_root_dir": root,
        "logger": CSVLogger(root, name="", version=""),
        "log_every_n_steps": 1,
    }
    fit(cosine(8), callbacks=[LearningRateMonitor("step")], enable_checkpointing=True, max_epochs=1, **options)
    files = sorted(Path(name).name for name in fsspec.filesystem("memory").find("/plain"))
    local = "a" if Path("memory:").exists() else "no"
    return f"`memory://...`: {code(files)} are there, and {local} local folder `memory:`."


@row(
    "B57",
    "Steps are skipped before the first real update, and the run is resumed.",
    "They are counted once, through a resume as well.",
)
def skipped_before_the_first_update() -> str:
    def overflow(module: Tiny, batch: Tensor, index: int) -> Any:
        return module.loss(batch) * (math.inf if module.trainer.current_epoch == 0 else 1)

    def precision() -> MixedPrecision:
        return MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**20))

    first = fit(cosine(16), step=overflow, max_epochs=1, plugins=[precision()])
    run = resume(first, cosine(16), step=overflow, max_epochs=2, plugins=[precision()])
    return (
        f"All 8 steps of the first epoch overflow: the resumed run has `global_step` {first.trainer.global_step} "
        f"before its first real update, which uses {run.used[0]:.3g} of {PEAK:g}; {word(first, run)}."
    )


@row(
    "B58",
    "A message gives advice.",
    "Every error and warning has the value, the limit and what to change, and each piece of advice in it is tried by a "
    "test: following it ends the error, and the run trains as planned.",
)
def advice() -> str:
    class Twice(Tiny):
        """Two updates for each batch."""

        automatic_optimization = False

        def training_step(self, batch: Tensor, batch_idx: int) -> None:
            optimizer: Any = self.optimizers()
            for _ in range(2):
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()
                self.lr_schedulers().step()  # type: ignore[union-attr]

    def train(**limits: Any) -> str:
        run = fit(cosine_over_estimate, module=Twice(cosine_over_estimate), **limits)
        return f"{run.module.estimate} updates are estimated and {len(run.used)} done, {word(run)}"

    return (
        f"Manual optimization, two updates a batch: {train(max_epochs=2)}; with `max_steps=16` {train(max_steps=16)}."
    )


@row(
    "B59",
    "A schedule in a plain PyTorch loop.",
    "It behaves as torch's schedulers do where the interface means the same; positions that are none are refused, a "
    "metric is taken or the right method is named, and wrapped optimizers are unwrapped.",
)
def plain_loop() -> str:
    class Wrapped:
        """Passes everything on to another optimizer, as Accelerate's wrapper does, but is none of torch's classes."""

        def __init__(self, optimizer: Optimizer) -> None:
            self.optimizer, self.param_groups = optimizer, optimizer.param_groups

    def optimizer() -> Optimizer:
        return SGD([nn.Parameter(torch.ones(1))], lr=PEAK)

    def at(position: Any) -> str:
        one = optimizer()
        scheduler = LinearLR(one, start_factor=0.5, total_iters=4)
        error = error_of(lambda: scheduler.step(position))
        return f"LR {one.param_groups[0]['lr']:.3g} at position {scheduler.last_epoch}, {error}"

    with listening():
        two = optimizer()
        schedulers = [ExponentialLR(two, 0.5), ExponentialLR(two, 0.5)]
        for one in schedulers:
            two.step()
            one.step()
        negative, metric = at(-3), at(0.63)
    kept = error_of(lambda: pickle.dumps(StepLR(optimizer(), 3)))
    wrapped: Any = Wrapped(optimizer())
    return (
        f"Two `ExponentialLR(0.5)` on one optimizer, a step each: LR {two.param_groups[0]['lr']:.3g}. Pickled: {kept}. "
        f"`LinearLR.step(-3)`: {negative}; `step(0.63)`: {metric}. A wrapped optimizer: "
        f"{error_of(lambda: StepLR(wrapped, 3))}."
    )


@row(
    "B60",
    "The last updates of a schedule: a power below 1, a warmup as long as the run, cycles of a third of it.",
    "The LR is the closed form to 15 digits; the end is the limit of the schedule, and the last update is the end of "
    "the last cycle.",
)
def last_updates() -> str:
    total = 10_000
    optimizer = SGD([nn.Parameter(torch.ones(1))], lr=PEAK)
    scheduler = PolynomialLR(optimizer, total_iters=total, power=0.5)
    worst = 0.0
    for n in range(total):
        planned = PEAK * math.sqrt(1 - n / total)
        worst = max(worst, abs(optimizer.param_groups[0]["lr"] / planned - 1))
        optimizer.step()
        scheduler.step()
    rising = fit(stepped(partial(LinearLR, start_factor=0.125, total_iters=7)), max_epochs=2).used
    cycles = fit(stepped(partial(CosineAnnealingWarmRestarts, T_0=463 // 3)), batches=463, max_epochs=1).used
    return (
        f"`PolynomialLR(power=0.5)` over {total:,} updates is up to {worst:.0e} of the LR off. A warmup of 8 updates "
        f"that goes on for 8 more ends at {rising[-1]:.3g}. `CosineAnnealingWarmRestarts` with cycles of a third of "
        f"463 updates: the last two use {cycles[-2]:.3g} and {cycles[-1]:.3g}."
    )


@row(
    "B61",
    "A checkpoint by `every_n_train_steps` falls on the batch of a validation, and a plateau decides on it.",
    "Lightning does not repeat that validation after a resume, so its decision is lost: this is said once, with the "
    "setting that avoids it.",
)
def checkpoint_before_a_validation() -> str:
    arguments: dict[str, Any] = {"metrics": [1.0] * 8, "batches": 2, "max_epochs": 8}
    with tempfile.TemporaryDirectory() as folder:
        keep = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)
        first = fit(plateau(), callbacks=[keep], enable_checkpointing=True, **arguments)
        resumed = fit(plateau(), ckpt_path=f"{folder}/step=8.ckpt", **arguments)
    return (
        f"Flat metric, epochs of 2 updates, a checkpoint every 2: from update 9 on the run uses "
        f"{show(first.used[8:])}, resumed there {show(resumed.used)}; {word(resumed)}."
    )


@row(
    "B62",
    "The run is configured by `LightningCLI`.",
    "Every schedule and callback by `class_path` and `init_args`, or by its short name, with `--help` and saved "
    "configs that load again.",
)
def lightning_cli() -> str:
    from lightning.pytorch.cli import LightningCLI

    class Net(Tiny):
        def __init__(self) -> None:
            super().__init__(sgd)

        def configure_optimizers(self) -> Any:  # the command line's
            return LightningModule.configure_optimizers(self)

    class Data(LightningDataModule):
        def train_dataloader(self) -> Any:
            return loader(8)

    quiet = ["logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"]
    options = [f"--trainer.{name}=false" for name in quiet] + ["--trainer.accelerator=cpu", "--trainer.max_epochs=3"]
    chosen = [
        "--optimizer=SGD",
        f"--optimizer.lr={PEAK}",
        "--lr_scheduler=CosineAnnealingLR",
        "--lr_scheduler.T_max=24",
    ]
    watch = Watch()

    def train() -> None:
        with listening(), contextlib.redirect_stderr(io.StringIO()):
            cli = LightningCLI(
                Net,
                Data,
                run=False,
                args=[*options, *chosen],
                save_config_callback=None,
                trainer_defaults={"callbacks": watch},
            )
            cli.trainer.fit(cli.model, cli.datamodule)
            done.append(cli.trainer)

    done: list[Trainer] = []
    error = error_of(train)
    if not done:
        return f"{error}."
    used = [lrs[0] for lrs in watch.used[0]]
    return (
        f"`--lr_scheduler=CosineAnnealingLR --lr_scheduler.T_max=24` for a run of {len(used)} updates: "
        f"{done[0].lr_scheduler_configs[0].scheduler.last_epoch} ticks, the LRs are {show(used)}."
    )


@row(
    "B63",
    "Another Hydra application of the environment names a group or a file that it does not have.",
    "Our groups never stand in for the application's own; where our files need something that it has not, the message "
    "says what to add.",
)
def another_application() -> str:
    # Without any plugin: ours would answer for the application.
    script = (
        "import sys; sys.modules['hydra_plugins'] = None\n"
        "from hydra import compose, initialize_config_dir\n"
        "with initialize_config_dir(sys.argv[1], version_base=None):\n"
        "    try: print(compose('config'))\n"
        "    except Exception as error: print(f'{type(error).__name__}: {error}'.splitlines()[0])"
    )
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.yaml").write_text("defaults: [callbacks: default]\n")
        process = subprocess.run([sys.executable, "-c", script, folder], cwd=folder, capture_output=True, text=True)
    return f"Hydra alone, `defaults: [callbacks: default]` without such a file: {quoted(process.stdout)}."
