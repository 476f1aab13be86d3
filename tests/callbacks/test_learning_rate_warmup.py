"""A warmup over the module's own scheduler: seen by the optimizer, hidden from the scheduler, gone when it is over."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import SGD
from torch.optim import lr_scheduler as torch_schedulers

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.plan.resume import ResumeError
from tests.callbacks.harness import PEAK, Run, Tiny, Validated, fit, go, keep_all, loader, messages, prepare

WARMUP = 5


def stepped(factory: Callable[[Any], Any], interval: str, **extra: Any) -> Callable[[list[Any]], Any]:
    """What a module's configure_optimizers makes of its parameters: SGD, and a scheduler at that interval."""

    def build(parameters: list[Any]) -> Any:
        optimizer = SGD(parameters, lr=PEAK, momentum=0.9)
        scheduler = {"scheduler": factory(optimizer), "interval": interval, **extra}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    return build


def sequential(optimizer: Any) -> Any:
    parts = [torch_schedulers.LinearLR(optimizer, 0.5, 1, 3), torch_schedulers.ExponentialLR(optimizer, 0.9)]
    return torch_schedulers.SequentialLR(optimizer, parts, milestones=[3])


def chained(optimizer: Any) -> Any:
    parts = [torch_schedulers.ConstantLR(optimizer, 0.5, 2), torch_schedulers.ExponentialLR(optimizer, 0.9)]
    return torch_schedulers.ChainedScheduler(parts)


TORCH: dict[str, Callable[[Any], Any]] = {
    "LambdaLR": partial(torch_schedulers.LambdaLR, lr_lambda=lambda n: 0.9**n),
    "MultiplicativeLR": partial(torch_schedulers.MultiplicativeLR, lr_lambda=lambda n: 0.9),
    "StepLR": partial(torch_schedulers.StepLR, step_size=2, gamma=0.5),
    "MultiStepLR": partial(torch_schedulers.MultiStepLR, milestones=[1, 4], gamma=0.5),
    "ConstantLR": partial(torch_schedulers.ConstantLR, factor=0.5, total_iters=2),
    "LinearLR": partial(torch_schedulers.LinearLR, start_factor=0.5, total_iters=3),
    "ExponentialLR": partial(torch_schedulers.ExponentialLR, gamma=0.9),
    "PolynomialLR": partial(torch_schedulers.PolynomialLR, total_iters=20),
    "CosineAnnealingLR": partial(torch_schedulers.CosineAnnealingLR, T_max=16, eta_min=1e-3),
    "CosineAnnealingWarmRestarts": partial(torch_schedulers.CosineAnnealingWarmRestarts, T_0=4),
    "CyclicLR": partial(torch_schedulers.CyclicLR, base_lr=0.01, max_lr=PEAK, step_size_up=3),
    "OneCycleLR": partial(torch_schedulers.OneCycleLR, max_lr=PEAK, total_steps=40),
    "SequentialLR": sequential,
    "ChainedScheduler": chained,
}
pytestmark = [
    # torch's SequentialLR calls its parts in a way that torch itself warns of
    pytest.mark.filterwarnings("ignore:The epoch parameter in .scheduler.step"),
    # the batches are all alike, so it does not matter which come after a resume
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    # right in general, and here it is stepped per epoch on purpose
    pytest.mark.filterwarnings("ignore:A `OneCycleLR` scheduler is using 'interval'. 'epoch'"),
]


def ramped(alone: list[float]) -> list[float]:
    return [lr * min((n + 1) / WARMUP, 1.0) for n, lr in enumerate(alone)]


@pytest.mark.behaviour("B13")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", TORCH)
def test_over_any_scheduler_of_torch(name: str, interval: str) -> None:
    def train(*callbacks: Callback) -> list[float]:
        module = Tiny(stepped(TORCH[name], interval))
        return fit(module=module, callbacks=callbacks, batches=4, max_epochs=4).used

    alone = train()
    used = train(LearningRateWarmup(WARMUP))
    assert used[:WARMUP] == pytest.approx(ramped(alone)[:WARMUP], rel=1e-12)
    assert used[WARMUP:] == alone[WARMUP:], "bit for bit, once the warmup is over"
    assert used[0] < alone[0]


@pytest.mark.behaviour("B13")
def test_after_the_first_cut_the_lr_never_rises_again() -> None:
    build = stepped(partial(torch_schedulers.ReduceLROnPlateau, patience=0), "epoch", monitor="val_loss")
    module = Validated([1.0] * 9, build)
    used = fit(module=module, callbacks=[LearningRateWarmup(4)], batches=2, max_epochs=6).used
    assert used[:6] == pytest.approx([PEAK / 4, PEAK / 2, 3 * PEAK / 4, PEAK, PEAK / 10, PEAK / 10])
    assert used[4:] == sorted(used[4:], reverse=True)
    assert used[-1] < PEAK / 100


@pytest.mark.behaviour("B13")
def test_a_warmup_beside_our_scheduler_is_a_second_owner() -> None:
    with pytest.raises(ValueError, match=r"both write the LR.*schedules.Cosine\(warmup=4\)"):
        fit(schedules.Fixed(), callbacks=[LearningRateWarmup(4)], max_epochs=1)


@pytest.mark.behaviour("B14")
def test_warmup_and_plateau_through_a_resume(tmp_path: Path) -> None:
    losses = [1.0, 0.9, 0.9, 0.9, 0.9, 0.9]
    expected = [PEAK * f for f in (0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001)]

    build = stepped(partial(torch_schedulers.ReduceLROnPlateau, patience=0), "epoch", monitor="val_loss")

    def train(checkpoint: Path | None) -> list[float]:
        keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        module = Validated(losses, build)
        arguments: dict[str, Any] = {"batches": 2, "max_epochs": 6, "ckpt_path": checkpoint}
        return fit(module=module, callbacks=[LearningRateWarmup(4), keep], **arguments).used

    assert train(None) == pytest.approx(expected)
    assert train(tmp_path / "epoch=0.ckpt") == pytest.approx(expected[2:])


class Saves(Callback):
    """Writes ``step=<n>.ckpt`` after every batch; Lightning's own callback warns in manual optimization."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        trainer.save_checkpoint(self.folder / f"step={trainer.global_step}.ckpt")


@pytest.mark.behaviour("B40")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", TORCH)
def test_resumed_before_at_and_after_its_end(name: str, interval: str, tmp_path: Path) -> None:
    """Bit for bit what an uninterrupted run uses: when the warmup is over it has nothing that could be stale."""
    build = stepped(TORCH[name], interval)

    def train(checkpoint: Path | None = None) -> list[float]:
        saves = [] if checkpoint else [Saves(tmp_path)]
        options: dict[str, Any] = {"batches": 4, "max_epochs": 4, "ckpt_path": checkpoint}
        return fit(module=Tiny(build), callbacks=[LearningRateWarmup(WARMUP), *saves], **options).used

    whole = train()
    for cut in (2, WARMUP - 1, WARMUP, WARMUP + 1, 8, 11):
        assert train(tmp_path / f"step={cut}.ckpt") == whole[cut:], f"cut at {cut}"


class Two(Tiny):
    """Two optimizers, the second steps every other batch; only the second has a scheduler, which steps when it does."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        first, second = (SGD([weight], lr=lr) for weight, lr in zip(self.weights, (PEAK, 1.0), strict=True))
        return [first, second], [torch_schedulers.ExponentialLR(second, 0.9)]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for index, optimizer in enumerate(self.optimizers()):
            if index == 0 or batch_idx % 2 == 0:
                optimizer.zero_grad()
                self.manual_backward(self.loss(batch))
                optimizer.step()
        if batch_idx % 2 == 0:
            self.lr_schedulers().step()


@pytest.mark.behaviour("B40")
@pytest.mark.parametrize("cut", [3, 6, 12, 18])
def test_two_optimizers_are_resumed_each_at_its_own_position(cut: int, tmp_path: Path) -> None:
    """The one may be over its warmup and the other not."""

    def train(checkpoint: Path | None = None) -> Run:
        saves = [] if checkpoint else [Saves(tmp_path)]
        callbacks = [LearningRateWarmup(5), *saves]
        return fit(module=Two(), callbacks=callbacks, batches=16, max_epochs=1, ckpt_path=checkpoint)

    whole = train()
    resumed = train(tmp_path / f"step={cut}.ckpt")
    for index in (0, 1):
        rest = resumed.groups(index)
        assert rest
        assert whole.groups(index)[-len(rest) :] == rest
    assert len(resumed.groups(0)) + len(resumed.groups(1)) == 24 - cut


# The module's own objects


@pytest.mark.behaviour("B52")
def test_the_module_sees_its_own_scheduler(tmp_path: Path) -> None:
    """The very object and, for `isinstance`, its class; so a plateau that is stepped by hand cuts."""
    seen: list[Any] = []

    class ByHand(Tiny):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.weights, lr=PEAK)
            self.mine = torch_schedulers.ReduceLROnPlateau(optimizer, patience=0)
            return [optimizer], [self.mine]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            optimizer, scheduler = self.optimizers(), self.lr_schedulers()
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
            seen.append((scheduler is self.mine, isinstance(scheduler, torch_schedulers.ReduceLROnPlateau)))
            if isinstance(scheduler, torch_schedulers.ReduceLROnPlateau) and batch_idx in (1, 2):
                scheduler.step(1.0)  # the second time nothing is better: a cut

    module = ByHand()
    run = fit(module=module, callbacks=[LearningRateWarmup(4)], batches=6, max_epochs=1)
    assert run.used == pytest.approx([PEAK * f for f in (0.25, 0.5, 0.75, 0.1, 0.1, 0.1)])
    assert seen == [(True, True)] * 6
    (config,) = run.trainer.lr_scheduler_configs
    assert config.scheduler is module.mine
    assert type(module.mine) is torch_schedulers.ReduceLROnPlateau


def test_a_scheduler_is_what_it_was_when_the_run_ends_within_the_warmup() -> None:
    class Stops(Callback):
        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            trainer.should_stop = True

    module = Tiny(stepped(TORCH["StepLR"], "step"))
    run = fit(module=module, callbacks=[LearningRateWarmup(4), Stops()], batches=9, max_epochs=1)
    assert len(run.used) == 1
    (config,) = run.trainer.lr_scheduler_configs
    assert type(config.scheduler) is torch_schedulers.StepLR


def test_a_scheduler_is_what_it_was_when_the_run_breaks_within_the_warmup() -> None:
    class Breaks(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("broken")

    module = Tiny(stepped(TORCH["StepLR"], "step"))
    run = prepare(module=module, callbacks=[LearningRateWarmup(4), Breaks()], max_epochs=1)
    with pytest.raises(RuntimeError, match="broken"):
        go(run, batches=9)
    (config,) = run.trainer.lr_scheduler_configs
    assert type(config.scheduler) is torch_schedulers.StepLR


@pytest.mark.behaviour("B52")
def test_lightning_steps_a_scheduler_by_the_modules_own_rule() -> None:
    """`lr_scheduler_step` that asks for the class, and a scheduler that is not torch's with a step of another name."""

    class Other:
        """As in timm: the count is given, and it writes an LR that it works out from what it finds."""

        def __init__(self, optimizer: Any) -> None:
            self.optimizer = optimizer

        def step_update(self, updates: int) -> None:
            for group in self.optimizer.param_groups:
                group["lr"] *= 0.9

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...

    class Own(Tiny):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            assert type(scheduler).__name__ == "Other"
            scheduler.step_update(self.trainer.global_step)

    build = stepped(Other, "step")
    alone = fit(module=Own(build), batches=12, max_epochs=1).used
    used = fit(module=Own(build), callbacks=[LearningRateWarmup(WARMUP)], batches=12, max_epochs=1).used
    assert used[:WARMUP] == pytest.approx(ramped(alone)[:WARMUP], rel=1e-12)
    assert used[WARMUP:] == alone[WARMUP:]


@pytest.mark.behaviour("B53")
@pytest.mark.parametrize("where", ["on_train_batch_end", "optimizer_step", "on_before_zero_grad", "post_hook"])
@pytest.mark.parametrize("name", ["ExponentialLR", "CosineAnnealingLR", "SequentialLR", "LambdaLR", "OneCycleLR"])
def test_a_scheduler_that_only_the_module_knows(name: str, where: str) -> None:
    """The module steps it, Lightning has never heard of it: the warmup multiplies what it wrote, once."""

    class Past(Tiny):
        def configure_optimizers(self) -> Any:
            optimizer = SGD(self.weights, lr=PEAK, momentum=0.9)
            self.hidden = [TORCH[name](optimizer)]
            if where == "post_hook":
                optimizer.register_step_post_hook(lambda *_: self.hidden[0].step())
            return optimizer

        def on_train_batch_end(self, *_: Any) -> None:
            if where == "on_train_batch_end":
                self.hidden[0].step()

        def on_before_zero_grad(self, optimizer: Any) -> None:
            if where == "on_before_zero_grad" and self.trainer.global_step:
                self.hidden[0].step()

        def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
            super().optimizer_step(*args, **kwargs)
            if where == "optimizer_step":
                self.hidden[0].step()

    alone = fit(module=Past(), batches=12, max_epochs=1).used
    used = fit(module=Past(), callbacks=[LearningRateWarmup(WARMUP)], batches=12, max_epochs=1).used
    assert used[:WARMUP] == pytest.approx(ramped(alone)[:WARMUP], rel=1e-12)
    assert used[WARMUP:] == alone[WARMUP:]


# Between two updates


class Reader(Callback):
    """Reads the LR wherever somebody could, and says which update comes next."""

    def __init__(self) -> None:
        self.read: list[tuple[int, float]] = []

    def _read(self, trainer: Any) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self.read.append((trainer.global_step, float(trainer.optimizers[0].param_groups[0]["lr"])))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._read(trainer)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self._read(trainer)

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._read(trainer)

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        self._read(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self._read(trainer)


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("name", TORCH)
def test_whoever_reads_the_lr_sees_what_the_next_update_uses(name: str, interval: str) -> None:
    """But for a scheduler per epoch in the moments between an epoch's last update and its own step."""
    reader = Reader()
    module = Validated([1.0] * 9, stepped(TORCH[name], interval))
    used = fit(module=module, callbacks=[LearningRateWarmup(6), reader], batches=4, max_epochs=3).used
    due = [(n, lr) for n, lr in reader.read if n < len(used) and not (interval == "epoch" and n and n % 4 == 0)]
    assert due
    assert due == [(n, used[n]) for n, _ in due]


@pytest.mark.behaviour("B14")
def test_our_plateau_with_a_warmup() -> None:
    schedule = schedules.Plateau(warmup=4, patience=0)
    used = fit(schedule, module=Validated([1.0, 0.9, 0.9, 0.8, 0.9, 0.9]), batches=2, max_epochs=6).used
    cuts = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01)
    assert used == pytest.approx([PEAK * factor for factor in cuts])


@pytest.mark.behaviour("B15")
@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("warmup", [0, WARMUP])
@pytest.mark.parametrize("name", TORCH)
def test_any_torch_scheduler_as_a_schedule(name: str, warmup: int, interval: str) -> None:
    alone = fit(module=Tiny(stepped(TORCH[name], interval)), batches=4, max_epochs=4).used
    schedule = schedules.TorchSchedule(factory=TORCH[name], interval=interval, warmup=warmup)
    used = fit(schedule, batches=4, max_epochs=4).used
    assert used == pytest.approx(ramped(alone) if warmup else alone, rel=1e-12)


@pytest.mark.behaviour("B15")
def test_a_torch_scheduler_is_resumed_exactly(tmp_path: Path) -> None:
    schedule = schedules.TorchSchedule(factory=sequential, warmup=2)
    whole = fit(schedule, callbacks=[keep_all(tmp_path)], max_epochs=2).used
    resumed = fit(schedule, callbacks=[keep_all(tmp_path)], max_epochs=2, ckpt_path=tmp_path / "step=5.ckpt")
    assert whole[5:] == resumed.used[: len(whole) - 5]


@pytest.mark.behaviour("B22")
def test_another_warmup_on_resume_is_a_question(tmp_path: Path) -> None:
    def train(duration: int, resume: str = "error", checkpoint: Path | None = None) -> list[float]:
        callbacks = [LearningRateWarmup(duration, resume=resume), keep_all(tmp_path)]
        return fit(callbacks=callbacks, max_epochs=1, ckpt_path=checkpoint).used

    train(3)
    checkpoint = (tmp_path / "step=2.ckpt").rename(tmp_path / "kept.ckpt")
    with pytest.raises(ResumeError, match=r"warmup: 3 -> 4"):
        train(4, checkpoint=checkpoint)
    assert train(4, "checkpoint", checkpoint)[:2] == pytest.approx([PEAK, PEAK])
    assert train(4, "config", checkpoint)[:2] == pytest.approx([0.75 * PEAK, PEAK])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_lightnings_monitor_shows_the_used_values(tmp_path: Path, accumulate: int) -> None:
    module = Tiny(stepped(TORCH["ExponentialLR"], "step"))
    seen: list[float] = []

    class Kept(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            seen.extend(value for key, value in metrics.items() if key.startswith("lr-"))

    monitor = LearningRateMonitor("step")
    run = fit(
        module=module,
        callbacks=[monitor, LearningRateWarmup(WARMUP)],
        batches=36,
        max_epochs=1,
        logger=Kept(tmp_path),
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
    )
    assert seen[::accumulate] == run.used
    assert len(run.used) == 36 // accumulate


def test_two_optimizers_in_manual_optimization() -> None:
    run = fit(module=Two(), callbacks=[LearningRateWarmup(3)], batches=8, max_epochs=1)
    assert [lrs[0] for lrs in run.groups(0)] == pytest.approx([PEAK / 3, 2 * PEAK / 3, *[PEAK] * 6])
    assert [lrs[0] for lrs in run.groups(1)] == pytest.approx([1 / 3, 0.9 * 2 / 3, 0.9**2, 0.9**3])


def test_tensor_lrs_stay_the_same_objects() -> None:
    lr = torch.tensor(PEAK)

    def build(parameters: list[Any]) -> Any:
        optimizer = SGD([{"params": [p]} for p in parameters], lr=lr)
        return [optimizer], [{"scheduler": torch_schedulers.ExponentialLR(optimizer, 0.9), "interval": "step"}]

    run = fit(module=Tiny(build), callbacks=[LearningRateWarmup(4)], batches=8, max_epochs=1)
    assert run.used == pytest.approx([PEAK * 0.9**n * min((n + 1) / 4, 1) for n in range(8)])
    assert run.trainer.optimizers[0].param_groups[0]["lr"] is lr


def test_a_tensor_lr_is_compared_in_plain_numbers(tmp_path: Path) -> None:
    """What is saved of the comparison loads with `weights_only`, also where somebody has filled the tensor."""

    class Fills(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 2:
                trainer.optimizers[0].param_groups[0]["lr"].fill_(0.7)

    logger = LearningRateLogger(tmp_path, plot=False)
    module = Tiny(lambda parameters: SGD(parameters, lr=torch.tensor(PEAK)))
    with pytest.warns(UserWarning, match=r"update 2 used LR 0\.6999.*plan says 0\.075"):
        fit(module=module, callbacks=[LearningRateWarmup(4), logger, Fills()], batches=8, max_epochs=1)
    (audit,) = logger.state_dict()["audits"].values()
    assert json.loads(json.dumps(audit)) == audit
    assert (audit["different"], audit["worst_at"], audit["unplanned"]) == (1, 2, 0)


def test_a_group_that_joins_and_a_foreign_lr_are_warmed_up_too() -> None:
    class Joins(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                trainer.optimizers[0].add_param_group({"params": [pl_module.weights[1]], "lr": 1.0})
            if batch_idx == 2:
                trainer.optimizers[0].param_groups[0]["lr"] = 0.4

    module = Tiny(lambda parameters: SGD([parameters[0]], lr=PEAK))
    run = fit(module=module, callbacks=[LearningRateWarmup(4), Joins()], batches=8, max_epochs=1)
    flat = [value for lrs in run.groups() for value in lrs][:9]
    assert flat == pytest.approx([PEAK / 4, PEAK / 2, 0.5, 0.3, 0.75, 0.4, 1.0, 0.4, 1.0])


def test_the_length_may_be_a_share_or_epochs_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        used = fit(callbacks=[LearningRateWarmup("25%")], batches=4, max_epochs=2).used
    assert used == fit(callbacks=[LearningRateWarmup("0.5 epochs")], batches=4, max_epochs=2).used
    assert used == pytest.approx([PEAK / 2, *[PEAK] * 7])
    assert "Learning-rate warmup for SGD: updates 0 to 1 (linear), over the module's own schedule" in messages(caplog)


def test_the_state_is_plain(tmp_path: Path) -> None:
    run: Run = fit(callbacks=[LearningRateWarmup(4), keep_all(tmp_path)], max_epochs=1)
    assert run.used
    state = torch.load(tmp_path / "step=2.ckpt", weights_only=True)["callbacks"]["LearningRateWarmup"]
    assert json.loads(json.dumps(state))["optimizers"] == {
        "SGD": {"position": 2, "lrs": [PEAK], "next_lrs": [PEAK * 0.75]}
    }


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: LearningRateWarmup(0.1), "0.1 of what"),  # type: ignore[arg-type]
        (lambda: LearningRateWarmup("5 epocs"), "did you mean 'epochs'"),
        (lambda: LearningRateWarmup(5, "linaer"), "did you mean 'linear'"),
        (lambda: LearningRateWarmup(5, resume="ask"), "error, checkpoint, config"),
        (lambda: fit(callbacks=[LearningRateWarmup(9)], batches=8, max_epochs=1), "the run does 8"),
    ],
    ids=["float", "unit", "type", "resume", "too long"],
)
def test_bad_input(make: Callable[[], Any], parts: str) -> None:
    with pytest.raises(ValueError, match=parts):
        make()


@pytest.mark.behaviour("B26")
def test_another_batch_size_goes_on_at_the_same_share_of_the_data(tmp_path: Path) -> None:
    schedule = schedules.Cosine()
    options: dict[str, Any] = {"callbacks": [keep_all(tmp_path, every=16)], "max_epochs": 2}
    fit(schedule, train=loader(16, batch_size=2), **options)
    larger: dict[str, Any] = {"train": loader(8, batch_size=4), "ckpt_path": tmp_path / "step=16.ckpt", **options}
    with pytest.raises(ResumeError, match=r"samples_per_step: 2 -> 4"):
        fit(schedule, **larger)
    resumed = fit(schedule, options={"resume": "config"}, **larger)
    curve = schedule.resolve(Horizon(total_steps=16))
    assert resumed.used == [PEAK * curve(n) for n in range(8, 16)]
    assert isinstance(resumed.scheduler, LearningRateScheduler)
