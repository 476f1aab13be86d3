"""A Trainer that fits again goes on where it stopped, whatever was tested, validated or restored in between."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ExponentialLR

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.plan.resume import ResumeError
from lr_recipes.report.lr_csv import read_rows
from tests.callbacks.harness import PEAK, Oracle, Validated, loader, messages, quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weights_only.*"),
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
]


class WithTest(Validated):
    def test_step(self, batch: Any, batch_idx: int) -> None: ...


class Two(WithTest):
    """Two optimizers that do not count their own updates."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> list[Optimizer]:
        return [SGD([weight], lr=PEAK) for weight in self.weights]

    def training_step(self, batch: Any, batch_idx: int) -> None:
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()


def decaying(parameters: list[Any]) -> Any:
    optimizer = SGD(parameters, lr=PEAK)
    return [optimizer], [{"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step"}]


CASES: dict[str, tuple[Any, Any]] = {
    "plateau": (
        lambda: WithTest([1.0] * 20), lambda: LearningRateScheduler(schedules.Plateau(patience=0, factor=0.5))),
    "two optimizers": (Two, lambda: LearningRateScheduler(schedules.Cosine(), total_steps=16)),
    "a longer fit": (lambda: WithTest(), lambda: LearningRateScheduler(schedules.InverseSqrt(timescale=3, warmup=2))),
}  # fmt: skip


def used(between: str, case: str, folder: Path) -> list[list[tuple[float, ...]]]:
    """The LRs of two fits of four epochs, of every optimizer."""
    module, callback = CASES[case]
    oracle, keep = Oracle(), ModelCheckpoint(folder, save_last=True)
    trainer = quiet_trainer([callback(), oracle, keep], max_epochs=4)
    one: Any = module()
    trainer.fit(one, loader(2), loader(1))
    first = oracle.used
    if between == "test":
        trainer.test(one, loader(1), ckpt_path=keep.last_model_path, verbose=False)
    if between == "validate":
        trainer.validate(one, loader(1), ckpt_path=keep.best_model_path, verbose=False)
    trainer.fit_loop.max_epochs = 8
    trainer.fit(one, loader(2), loader(1))
    return [whole + rest for whole, rest in zip(first, oracle.used, strict=True)]


@pytest.mark.behaviour("B42")
@pytest.mark.parametrize("case", CASES)
def test_what_is_tested_in_between_changes_nothing(case: str, tmp_path: Path) -> None:
    expected = used("nothing", case, tmp_path / "nothing")
    assert all(len(lrs) == 16 for lrs in expected)
    for between in ("test", "validate"):
        assert used(between, case, tmp_path / between) == expected, between


@pytest.mark.behaviour("B42")
def test_a_plateau_goes_on_after_a_fit_that_was_resumed(tmp_path: Path) -> None:
    """The second fit has no checkpoint: it goes on from what the first has ended with, not from what it began with."""
    plateau = schedules.Plateau(patience=0, factor=0.5)
    keep = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    first = quiet_trainer([LearningRateScheduler(plateau), keep], max_epochs=3)
    first.fit(WithTest([1.0] * 20), loader(2), loader(1))
    oracle, module = Oracle(), WithTest([1.0] * 20)
    trainer = quiet_trainer([LearningRateScheduler(plateau), oracle], max_epochs=5)
    trainer.fit(module, loader(2), loader(1), ckpt_path=tmp_path / "epoch=2.ckpt")
    lrs = [lr for (lr,) in oracle.used[0]]
    trainer.fit_loop.max_epochs = 7
    trainer.fit(module, loader(2), loader(1))
    lrs += [lr for (lr,) in oracle.used[0]]
    assert lrs[::2] == [PEAK / 4, PEAK / 8, PEAK / 16, PEAK / 32]


@pytest.mark.behaviour("B42")
def test_a_warmup_and_a_record_go_on_too(tmp_path: Path) -> None:
    """The warmup is over in the first fit; a test of a checkpoint from within it does not bring it back."""
    oracle, keep = Oracle(), ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [LearningRateWarmup(3), LearningRateLogger(tmp_path, plot=False), oracle, keep]
    trainer, module = quiet_trainer(callbacks, max_epochs=2), WithTest(build=decaying)
    trainer.fit(module, loader(4), loader(1))
    trainer.test(module, loader(1), ckpt_path=str(tmp_path / "step=2.ckpt"), verbose=False)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, loader(4), loader(1))
    assert [lr for (lr,) in oracle.used[0]] == pytest.approx([PEAK * 0.9**n for n in range(4)])  # a new scheduler
    steps = [line.split(",")[0] for line in (tmp_path / "lr.csv").read_text().splitlines()[1:]]
    assert steps == [str(n) for n in range(12)]


@pytest.mark.behaviour("B42")
def test_what_is_tested_is_not_what_is_saved_afterwards(tmp_path: Path) -> None:
    """A checkpoint that is written after a test holds the state of the fit, not of what was tested."""
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    callbacks = [LearningRateScheduler(schedules.Cosine()), LearningRateLogger(tmp_path, plot=False)]
    trainer, module = quiet_trainer([*callbacks, keep], max_epochs=2), WithTest()
    trainer.fit(module, loader(4), loader(1))
    ended = [callback.state_dict() for callback in callbacks]
    trainer.test(module, loader(1), ckpt_path=str(tmp_path / "step=2.ckpt"), verbose=False)
    assert [callback.state_dict() for callback in callbacks] == ended
    assert ended[0]["optimizers"]["SGD"]["position"] == 8


@pytest.mark.parametrize("make", [lambda: LearningRateScheduler(schedules.Linear()), lambda: LearningRateWarmup(3)])
def test_a_callback_that_is_given_to_another_trainer_begins_anew(make: Any, tmp_path: Path) -> None:
    callback, logger = make(), LearningRateLogger(tmp_path, plot=False)
    runs = []
    for _ in range(2):
        oracle = Oracle()
        quiet_trainer([callback, logger, oracle], max_epochs=1).fit(WithTest(), loader(8), loader(1))
        runs.append((oracle.used, (tmp_path / "lr.csv").read_text(), logger.state_dict()["audits"]))
    assert runs[0] == runs[1]
    assert len(runs[0][0][0]) == 8


# Another plan than the earlier fit's


def cosine(total: int) -> list[float]:
    return [PEAK * (1 + math.cos(math.pi * n / total)) / 2 for n in range(total)]


def two_fits(
    callback: Any, folder: Path | None = None, epochs: tuple[int, int] = (2, 3), module: Any = WithTest
) -> tuple[list[float], list[float]]:
    """The LRs of a fit and of one that goes on, in epochs of 8 updates."""
    oracle = Oracle()
    log = [] if folder is None else [LearningRateLogger(folder, plot=False, audit="error")]
    trainer = quiet_trainer([callback, *log, oracle], max_epochs=epochs[0])
    trainer.fit(module(), loader(8), loader(1))
    first = [lr for (lr,) in oracle.used[0]]
    trainer.fit_loop.max_epochs = epochs[1]
    trainer.fit(module(), loader(8), loader(1))
    return first, [lr for (lr,) in oracle.used[0]]


@pytest.mark.behaviour("B43")
def test_a_longer_fit_asks_and_speaks_of_the_earlier_fit() -> None:
    with pytest.raises(ResumeError) as caught:
        two_fits(LearningRateScheduler(schedules.Cosine()))
    said = str(caught.value)
    assert "the earlier fit (at update 16) and this run plan different learning rates" in said
    assert "total_steps: 16 -> 24" in said
    assert "checkpoint and this run" not in said
    assert "resume='restart' begins a new schedule at position 0" in said


@pytest.mark.behaviour("B43")
@pytest.mark.parametrize(
    ("policy", "expected"),
    [("checkpoint", [0.0] * 8), ("config", cosine(24)[16:]), ("restart", cosine(8))],
)
def test_each_choice_does_what_it_says(policy: str, expected: list[float]) -> None:
    first, second = two_fits(LearningRateScheduler(schedules.Cosine(), resume=policy))
    assert first == pytest.approx(cosine(16), rel=1e-15)
    assert second == pytest.approx(expected, rel=1e-12)


@pytest.mark.behaviour("B43")
@pytest.mark.parametrize("schedule", [schedules.InverseSqrt(timescale=3, warmup=2), schedules.Fixed(warmup=3)])
def test_a_schedule_that_needs_no_total_begins_anew_too(schedule: schedules.Schedule) -> None:
    """There is no difference to ask about: the earlier fit has come to its end, and that is what was asked for."""
    first, second = two_fits(LearningRateScheduler(schedule, resume="restart"))
    assert second == first[:8]


@pytest.mark.behaviour("B43")
def test_a_new_task_has_a_record_of_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The earlier one is kept beside it."""
    with caplog.at_level("INFO"):
        two_fits(LearningRateScheduler(schedules.Cosine(), resume="restart"), tmp_path)
    lengths = {path.name: len(list(read_rows(path))) for path in tmp_path.glob("*.csv")}
    assert lengths == {"lr.csv": 8, "lr-until-16.csv": 16}
    said = messages(caplog)
    assert "begins anew at update 0: the schedule before had come to update 16" in said
    assert "used = planned on 8 of 8 updates, schedule complete" in said


@pytest.mark.behaviour("B43")
def test_a_fit_that_began_anew_is_resumed_in_its_own_schedule(tmp_path: Path) -> None:
    """Killed and resumed with the same settings, it goes on, and does not begin a third time."""
    scheduler = LearningRateScheduler(schedules.Cosine(warmup="0.5 epochs"), resume="restart")
    oracle, keep = Oracle(), ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    trainer = quiet_trainer([scheduler, oracle, keep], max_epochs=1)
    trainer.fit(WithTest(), loader(8), loader(1))
    trainer.fit_loop.max_epochs = 3
    trainer.fit(WithTest(), loader(8), loader(1))
    whole = [lr for (lr,) in oracle.used[0]]
    warmed = [PEAK * (n + 1) / 4 if n < 4 else PEAK * (1 + math.cos(math.pi * (n - 4) / 12)) / 2 for n in range(16)]
    assert whole == pytest.approx(warmed, rel=1e-15)
    for policy in ("restart", "error"):
        for cut in (10, 16, 19):
            again, oracle = LearningRateScheduler(schedules.Cosine(warmup="0.5 epochs"), resume=policy), Oracle()
            resumed = quiet_trainer([again, oracle], max_epochs=3)
            resumed.fit(WithTest(), loader(8), loader(1), ckpt_path=tmp_path / f"step={cut}.ckpt")
            assert [lr for (lr,) in oracle.used[0]] == whole[cut - 8 :], (policy, cut)


@pytest.mark.behaviour("B43")
@pytest.mark.parametrize("cut", [3, 8, 11])
def test_a_checkpoint_can_be_begun_anew_from(cut: int, tmp_path: Path) -> None:
    """Over what is left of the run: for its weights, with a schedule of their own."""
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    quiet_trainer([LearningRateScheduler(schedules.Linear()), keep], max_epochs=2).fit(WithTest(), loader(8), loader(1))
    oracle, scheduler = Oracle(), LearningRateScheduler(schedules.Cosine(), resume="restart")
    trainer = quiet_trainer([scheduler, oracle], max_epochs=3)
    trainer.fit(WithTest(), loader(8), loader(1), ckpt_path=tmp_path / f"step={cut}.ckpt")
    assert [lr for (lr,) in oracle.used[0]] == pytest.approx(cosine(24 - cut), rel=1e-15)


@pytest.mark.behaviour("B43")
@pytest.mark.filterwarnings("ignore:.*more than half of the run is warmup")
def test_a_warmup_begins_anew() -> None:
    first, second = two_fits(LearningRateWarmup(6, resume="restart"))
    assert second == first[:8] == pytest.approx([PEAK * min((n + 1) / 6, 1) for n in range(8)])


# A fit that was broken off


class Breaks(Callback):
    """Raises once, at a batch of an epoch."""

    def __init__(self, epoch: int, batch: int, error: type[BaseException] = RuntimeError) -> None:
        self.at: tuple[int, int] | None = (epoch, batch)
        self.error = error

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self.at == (trainer.current_epoch, batch_idx):
            self.at = None
            raise self.error("out of memory")


def broken_off(scheduler: Any, epoch: int = 1, batch: int = 3, **options: Any) -> tuple[list[float], list[float]]:
    """The LRs of a fit that is broken off and of one that goes on: epochs of 8 batches, the broken one again."""
    oracle = Oracle()
    trainer = quiet_trainer([scheduler, Breaks(epoch, batch), oracle], **{"max_epochs": 3, **options})
    module = WithTest()
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.fit(module, loader(8), loader(1))
    first = [lr for (lr,) in oracle.used[0]]
    trainer.fit(module, loader(8), loader(1))
    return first, [lr for (lr,) in oracle.used[0]]


@pytest.mark.behaviour("B44")
def test_an_epoch_that_is_done_again_makes_the_run_longer_and_that_is_asked_about() -> None:
    with pytest.raises(ResumeError, match=r"the earlier fit \(at update 11\) .*\n    total_steps: 24 -> 27"):
        broken_off(LearningRateScheduler(schedules.Linear()))


@pytest.mark.behaviour("B44")
@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("config", [PEAK * (1 - n / 27) for n in range(11, 27)]),
        ("checkpoint", [PEAK * max(1 - n / 24, 0) for n in range(11, 27)]),
        ("restart", [PEAK * (1 - n / 16) for n in range(16)]),
    ],
)
def test_no_tail_at_the_floor_but_where_it_was_chosen(policy: str, expected: list[float]) -> None:
    _, second = broken_off(LearningRateScheduler(schedules.Linear(), resume=policy))
    assert second == pytest.approx(expected, rel=1e-12, abs=1e-17)


@pytest.mark.behaviour("B44")
def test_where_the_length_of_the_run_does_not_change_it_goes_on() -> None:
    """``max_steps`` counts the updates of the broken epoch too; and some schedules need no total."""
    linear = LearningRateScheduler(schedules.Linear())
    first, second = broken_off(linear, max_epochs=None, max_steps=24)
    assert first + second == pytest.approx([PEAK * (1 - n / 24) for n in range(24)], rel=1e-15)
    first, second = broken_off(LearningRateScheduler(schedules.InverseSqrt(timescale=4)))
    assert first + second == pytest.approx([PEAK * math.sqrt(4 / (4 + n)) for n in range(27)], rel=1e-12)


@pytest.mark.behaviour("B44")
def test_a_cut_each_epoch_comes_with_the_epochs_as_they_are() -> None:
    """The broken epoch has its 3 updates and then its 8."""
    scheduler = LearningRateScheduler(schedules.Step(step_size="1 epoch", gamma=0.5), resume="config")
    first, second = broken_off(scheduler)
    assert first + second == pytest.approx([PEAK] * 8 + [PEAK / 2] * 11 + [PEAK / 4] * 8)


@pytest.mark.behaviour("B44")
def test_a_fit_that_is_broken_off_twice() -> None:
    scheduler, oracle = LearningRateScheduler(schedules.Linear(), resume="config"), Oracle()
    trainer = quiet_trainer([scheduler, Breaks(1, 3), Breaks(1, 5), oracle], max_epochs=3)
    module, used = WithTest(), []
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            trainer.fit(module, loader(8), loader(1))
        used.append([lr for (lr,) in oracle.used[0]])
    trainer.fit(module, loader(8), loader(1))
    used.append([lr for (lr,) in oracle.used[0]])
    assert [len(lrs) for lrs in used] == [11, 5, 16]
    assert used[2] == pytest.approx([PEAK * (1 - n / 32) for n in range(16, 32)], rel=1e-12)


@pytest.mark.behaviour("B44")
@pytest.mark.parametrize("batch", [0, 1])
def test_broken_off_where_an_epoch_begins(batch: int) -> None:
    """Before its first update nothing is repeated, and nothing is asked."""
    if batch:
        with pytest.raises(ResumeError, match="total_steps: 24 -> 25"):
            broken_off(LearningRateScheduler(schedules.Linear()), batch=batch)
        return
    first, second = broken_off(LearningRateScheduler(schedules.Linear()), batch=batch)
    assert first + second == pytest.approx([PEAK * (1 - n / 24) for n in range(24)], rel=1e-15)
