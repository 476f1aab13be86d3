"""What a checkpoint holds about LRs: compared with the LR that a run that goes on from it really uses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import StochasticWeightAveraging
from torch.optim import SGD, AdamW, lr_scheduler

from lr_recipes import LearningRateLogger, LearningRateScheduler, LearningRateWarmup, schedules
from lr_recipes.report.checkpoint import Inspected, inspect_checkpoint
from tests.callbacks.harness import Run, Tiny, Validated, fit, loader, record_lrs
from tests.report.test_saved_scheduler import CASES as SCHEDULERS
from tests.test_old_checkpoints import EXPECTED, checkpoint, each

pytestmark = [
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended"),
    pytest.mark.filterwarnings("ignore:The loaded checkpoint was produced with Lightning"),
]


class Keeps(Callback):
    """Writes a checkpoint after some updates, where ModelCheckpoint would; ``at`` are counts of updates."""

    def __init__(self, folder: Path, *at: int) -> None:
        self.folder, self.at = folder, at

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step in self.at:
            trainer.save_checkpoint(self.folder / f"{trainer.global_step}.ckpt")


def two_groups(weights: Any) -> Any:
    return SGD([{"params": weights[:1], "name": "body"}, {"params": weights[1:], "lr": 0.05}], lr=0.1, momentum=0.9)


def scheduled(make: Callable[[Any], Any], interval: str = "step") -> Callable[[Any], Any]:
    def build(weights: Any) -> Any:
        optimizer = two_groups(weights)
        return [optimizer], [{"scheduler": make(optimizer), "interval": interval, "monitor": "val_loss"}]

    return build


def kept(folder: Path, *at: int, schedule: Any = None, **arguments: Any) -> None:
    """Train three epochs of 8 updates, and keep checkpoints."""
    callbacks = [*arguments.pop("callbacks", []), Keeps(folder, *at)]
    fit(schedule, callbacks=callbacks, **{"max_epochs": 3, **arguments})


def next_of(found: Inspected) -> list[tuple[float, ...]]:
    """The LRs that the next update of each optimizer is said to use."""
    assert not found.notes
    return [tuple(one.facts["next_lrs"]) for one in found.optimizers]


def first_of(run: Run) -> list[tuple[float, ...]]:
    return [used[0] for used in run.oracle.used]


# What the next update uses


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in ("SWALR", "ReduceLROnPlateau")])
def test_a_scheduler_of_the_module(name: str, tmp_path: Path) -> None:
    make, _ = SCHEDULERS[name]
    kept(tmp_path, 5, module=Tiny(scheduled(make)), max_epochs=1)
    found = inspect_checkpoint(tmp_path / "5.ckpt")
    run = fit(module=Tiny(scheduled(make)), ckpt_path=tmp_path / "5.ckpt", max_epochs=1)
    assert next_of(found) == first_of(run)
    (scheduler,) = found.schedulers
    assert (scheduler.facts["ticks"], scheduler.facts["optimizer"]) == (5, 0)
    assert name in scheduler.words
    assert "after 5 ticks" in " ".join(scheduler.words.split())


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("at", [5, 8, 13, 16])
def test_a_plan_of_ours(interval: str, at: int, tmp_path: Path) -> None:
    schedule = schedules.Cosine(warmup=3, min_lr_ratio=0.1)
    arguments: dict[str, Any] = {"schedule": schedule, "options": {"interval": interval}}
    kept(tmp_path, at, module=Tiny(two_groups), **arguments)
    found = inspect_checkpoint(tmp_path / f"{at}.ckpt")
    run = fit(module=Tiny(two_groups), ckpt_path=tmp_path / f"{at}.ckpt", max_epochs=3, **arguments)
    assert next_of(found) == first_of(run)
    (plan,) = found.callbacks
    assert (plan.facts["position"], plan.facts["share"], plan.facts["fault"]) == (at, at / 24, "")
    assert f"done: {at} of 24 updates ({100 * at // 24}%); the next is in phase cosine" in plan.words
    assert "schedule: Cosine(warmup=3, min_lr_ratio=0.1)" in plan.words


def test_a_plateau_of_ours(tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"schedule": schedules.Plateau(patience=0, factor=0.5), "val": loader(1)}
    kept(tmp_path, 13, module=Validated([1.0, 1.0, 1.0]), **arguments)
    kept(tmp_path, 21, module=Validated([1.0, 1.0, 1.0]), **arguments)
    found = inspect_checkpoint(tmp_path / "21.ckpt")
    assert next_of(inspect_checkpoint(tmp_path / "13.ckpt")) == [(0.1,)]
    assert next_of(found) == [(0.05,)]
    assert "of its metric: best=1, bad=0, cooldown=0, reductions=1" in str(found)


@pytest.mark.parametrize("at", [2, 4, 6])
def test_a_warmup_over_the_modules_own(at: int, tmp_path: Path) -> None:
    def module() -> Tiny:
        return Tiny(scheduled(SCHEDULERS["ExponentialLR"][0]))

    kept(tmp_path, at, module=module(), callbacks=[LearningRateWarmup(4)], max_epochs=1)
    found = inspect_checkpoint(tmp_path / f"{at}.ckpt")
    run = fit(module=module(), callbacks=[LearningRateWarmup(4)], ckpt_path=tmp_path / f"{at}.ckpt", max_epochs=1)
    assert next_of(found) == first_of(run)
    (warmup,) = found.callbacks
    assert (warmup.facts["position"], warmup.facts["warmup"], warmup.facts["share"]) == (at, 4, min(at / 4, 1))
    says = {2: "2 of 4 updates done; the LR that it multiplies is 0.025, 0.0125"}.get(at, "over since update 4")
    assert says in " ".join(warmup.words.split())


@each("checkpoints")
def test_checkpoints_of_older_versions(version: str, name: str) -> None:
    """What the run that goes on from each uses first was written down when they were made."""
    found = inspect_checkpoint(checkpoint(version, name))
    expected = [updates[0]["lr"] for updates in EXPECTED[version]["checkpoints"][name]]
    for said, used in zip(next_of(found), expected, strict=True):
        assert list(said) == pytest.approx(used, rel=1e-12)
    assert "damaged" not in str(found)
    assert max(map(len, str(found).splitlines()[1:])) <= 80


def test_stochastic_weight_averaging(tmp_path: Path) -> None:
    swa = StochasticWeightAveraging(swa_lrs=[0.01, 0.02], swa_epoch_start=2, annealing_epochs=2)
    kept(tmp_path, 4, 21, module=Tiny(scheduled(SCHEDULERS["ExponentialLR"][0], "epoch")), callbacks=[swa])
    before, later = (inspect_checkpoint(tmp_path / f"{at}.ckpt") for at in (4, 21))
    assert before.callbacks[0].words == "StochasticWeightAveraging: not begun"
    (averaging,) = later.callbacks
    assert averaging.words.startswith("StochasticWeightAveraging: SWALR(anneal_strategy=cos, anneal_epochs=2), after")
    assert averaging.facts["scheduler"]["last_lrs"] == list(next_of(later)[0])


# What else it says


def test_the_words_as_a_whole(tmp_path: Path) -> None:
    kept(tmp_path, 5, schedule=schedules.Cosine(warmup=2), module=Tiny(two_groups), callbacks=[record_lrs(tmp_path)])
    assert str(inspect_checkpoint(tmp_path / "5.ckpt")).replace(str(tmp_path), "run") == (
        f"run/5.ckpt\n  Lightning {lightning_version()}, epoch 0, global_step 5\n\n"
        "Optimizer 0, SGD: 2 parameter groups\n"
        "  body    LR 0.0954816, base 0.1, momentum 0.9, weight decay 0, 2 parameters\n"
        "  group1  LR 0.0477408, base 0.05, momentum 0.9, weight decay 0, 2 parameters\n"
        "  next update: LR 0.0954816, 0.0477408, by the plan below\n\n"
        "Learning-rate plan for SGD: 24 updates (3 epochs of 8 updates)\n"
        "  warmup      updates 0 to 1    factor 0.5 -> 1\n"
        "  cosine      updates 2 to 23   factor 1 -> 0.00509\n"
        "  group body  peak LR 0.1, floor 0\n"
        "  group1      peak LR 0.05, floor 0\n"
        "  schedule: Cosine(warmup=2)\n"
        "  done: 5 of 24 updates (20%); the next is in phase cosine\n\n"
        "Learning-rate record for SGD: used = planned on 5 of 5 updates, in\n  run/lr.csv"
    )


def lightning_version() -> str:
    import lightning

    return lightning.__version__


def test_json_says_the_same(tmp_path: Path) -> None:
    module = Validated([], scheduled(lr_scheduler.ReduceLROnPlateau, "epoch"))
    kept(tmp_path, 5, module=module, val=loader(1), max_epochs=1)
    found = inspect_checkpoint(tmp_path / "5.ckpt")
    read = json.loads(found.as_json())
    assert (read["lightning"], read["epoch"], read["global_step"]) == (lightning_version(), 0, 5)
    assert [group["name"] for group in read["optimizers"][0]["groups"]] == ["body", "group1"]
    assert read["optimizers"][0]["next_lrs"] == [0.1, 0.05]
    assert (read["schedulers"][0]["kind"], read["schedulers"][0]["seen"]["best"]) == ("ReduceLROnPlateau", "inf")
    assert (read["callbacks"], read["notes"]) == ([], [])


def test_whose_scheduler_it_is_is_told_by_the_lrs(tmp_path: Path) -> None:
    """Also where there is none for the first optimizer; Lightning saves a list, and no word about whose they are."""

    class Manual(LightningModule):
        automatic_optimization = False

        def __init__(self) -> None:
            super().__init__()
            self.layers = torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(3)])

        def configure_optimizers(self) -> Any:
            made = [kind(one.parameters(), lr=lr) for kind, one, lr in zip(KINDS, self.layers, LRS, strict=True)]
            return made, [lr_scheduler.StepLR(made[2], 5), lr_scheduler.StepLR(made[1], 9)]

        def training_step(self, batch: Any, batch_idx: int) -> None:
            self.manual_backward(sum(layer(batch).sum() for layer in self.layers))  # type: ignore[arg-type]
            for optimizer in self.optimizers():  # type: ignore[union-attr]
                optimizer.step()

    KINDS, LRS = (SGD, AdamW, AdamW), (0.1, 0.2, 0.3)
    kept(tmp_path, 9, module=Manual(), callbacks=[LearningRateLogger(str(tmp_path), plot=False)])
    found = inspect_checkpoint(tmp_path / "9.ckpt")
    assert [one.facts["optimizer"] for one in found.schedulers] == [2, 1]
    assert [one.facts["name"] for one in found.optimizers] == ["SGD", "AdamW", "AdamW-1"]
    assert [one.facts["position"] for one in found.callbacks] == [3, 3, 3]


def test_very_many_groups_are_cut_and_names_are_a_strangers(tmp_path: Path) -> None:
    names = ["two\nlines", "\x1b[2J", *["n" * 5000] * 9998]
    groups = [{"params": [index], "name": name, "lr": 0.1} for index, name in enumerate(names)]
    state = {
        "pytorch-lightning_version": "\x1b2.6",
        "optimizer_states": [{"param_groups": groups, "state": {}}],
        "lr_schedulers": [],
    }
    torch.save(state, tmp_path / "a.ckpt")
    found = inspect_checkpoint(tmp_path / "a.ckpt")
    assert "two\\nlines" in str(found)
    assert "\\x1b[2J" in str(found)
    assert "... 9,996 more groups ..." in str(found)
    assert len(str(found).splitlines()) < 15
    assert len(json.loads(found.as_json())["optimizers"][0]["groups"]) == 10_000


def test_weights_alone(tmp_path: Path) -> None:
    run = fit(max_epochs=1)
    run.trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    found = inspect_checkpoint(tmp_path / "a.ckpt")
    assert (found.optimizers, found.schedulers, found.callbacks) == ([], [], [])
    assert "Note: there is no optimizer in it: it was saved with weights only" in str(found)


# What is damaged or not known


def edited(tmp_path: Path, change: Callable[[dict[str, Any]], None], schedule: Any = None) -> Inspected:
    kept(tmp_path, 5, schedule=schedule or schedules.Cosine(), max_epochs=1)
    content = torch.load(tmp_path / "5.ckpt", weights_only=True)
    change(content)
    torch.save(content, tmp_path / "5.ckpt")
    return inspect_checkpoint(tmp_path / "5.ckpt")


def plan_in(content: dict[str, Any]) -> Any:
    return content["callbacks"]["LearningRateScheduler"]["optimizers"]["SGD"]


def test_a_schedule_that_is_not_known_here(tmp_path: Path) -> None:
    found = edited(tmp_path, lambda content: plan_in(content)["schedule"].update(schedule="NotKnownHere", gain=2))
    words = " ".join(found.callbacks[0].words.split())
    assert "schedule: NotKnownHere(" in words
    assert "gain=2)" in words
    assert "its plan cannot be shown: schedule='NotKnownHere' is not known here" in words
    (plan,) = found.callbacks
    assert plan.facts["next_lrs"] == found.optimizers[0].facts["next_lrs"]  # those that it has saved
    assert plan.facts["next_lrs"] == pytest.approx([0.1 * schedules.Cosine().resolve(8)(5)])


def test_a_scheduler_of_torch_is_not_run_for_hours(tmp_path: Path) -> None:
    from functools import partial

    schedule = schedules.TorchSchedule(factory=partial(lr_scheduler.StepLR, step_size=3))
    found = edited(tmp_path, lambda content: plan_in(content)["horizon"].update(total_steps=10**9), schedule)
    assert "would be run ahead for 1,000,000,000 steps, and 1,000,000 is the most" in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda content: plan_in(content).update(position=-1), "optimizers['SGD'].position is -1, and must be"),
        (lambda content: plan_in(content).update(next_lrs=[0.5]), "damaged: next_lrs is [0.5], and its plan gives"),
        (lambda content: content.update(optimizer_states=[5]), "optimizer_states[0] is no state of an optimizer"),
        (lambda content: content.update(lr_schedulers=5), "lr_schedulers is 5, and must be a list"),
        (lambda content: content["callbacks"].update(LearningRateWarmup={"plan": 5}), "plan is 5, and must be a dict"),
        (lambda content: content["callbacks"].update(LearningRateLogger={"files": 5}), "files is 5, and must be"),
    ],
)  # fmt: skip
def test_what_is_damaged_is_said(change: Callable[[Any], None], says: str, tmp_path: Path) -> None:
    assert says in " ".join(str(edited(tmp_path, change)).split())


def test_a_state_of_a_run_that_has_not_begun_says_nothing(tmp_path: Path) -> None:
    callbacks = [LearningRateScheduler(schedules.Cosine()), LearningRateLogger(), LearningRateWarmup(3)]
    states = {type(one).__name__: one.state_dict() for one in callbacks}
    torch.save({"optimizer_states": [], "callbacks": states}, tmp_path / "a.ckpt")
    assert inspect_checkpoint(tmp_path / "a.ckpt").callbacks == []
