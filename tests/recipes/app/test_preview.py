"""`python train.py task=preview`: what is shown is what a run uses, and no run is needed to show it."""

from __future__ import annotations

import csv
import logging
import multiprocessing.process
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from omegaconf import DictConfig, OmegaConf, open_dict
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, TensorDataset

from lr_recipes import Horizon, schedules
from lr_recipes.plan.plan import Plan
from lr_recipes.plan.resume import ResumeError
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.report.preview import Preview
from recipes.app import config, preview
from recipes.app.messages import explain
from recipes.app.preview import draw_together, labels, previews_of
from recipes.app.training import run
from recipes.data.digits import DigitsData
from recipes.data.glyphs import GlyphsData
from recipes.data.task import ImageTask
from recipes.models.cnn import ImageClassifier
from tests import ready
from tests.recipes.app.test_limits import planned

ROOT = Path(__file__).parents[3]
RECIPES = sorted(path.stem for path in (ROOT / "conf" / "recipe").glob("*.yaml"))
TEXT = ("transformer", "fine_tuning_text")
QUICK = [
    "trainer=cpu", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1", "trainer.num_sanity_val_steps=0",
    "trainer.enable_progress_bar=false", "trainer.enable_model_summary=false", "callbacks=[learning_rate_scheduler]",
    "logger=none",
]  # fmt: skip


def composed(*overrides: str) -> DictConfig:
    return config.composed("task=preview", "output_dir=unused", *overrides)


def previewed(cfg: DictConfig) -> Preview:
    (one,) = previews_of(cfg).values()
    return one


class Used(Callback):
    """Reads LR and momentum of every group at the moment the optimizer really steps."""

    def __init__(self) -> None:
        self.lrs: list[list[float]] = []
        self.momenta: list[list[float]] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.optimizers[0].register_step_pre_hook(self._read)

    def _read(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        groups = optimizer.param_groups
        self.lrs.append([float(group["lr"]) for group in groups])
        self.momenta.append([group["betas"][0] if "betas" in group else group["momentum"] for group in groups])


def assert_previewed_is_used(cfg: DictConfig, updates: int | None = None) -> None:
    shown, used = previewed(cfg), Used()
    run(cfg, [used])
    assert updates in (None, len(used.lrs))
    assert shown.updates == len(used.lrs)
    assert [list(shown.lrs(n).values()) for n in range(shown.updates)] == used.lrs
    if "momentum" in shown.plan.moves:
        assert [[*shown.values("momentum", n).values()] for n in range(shown.updates)] == used.momenta


# Previewed = used


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_uses_what_is_previewed(recipe: str, accumulate: int, tmp_path: Path) -> None:
    epochs = 10 if recipe == "large_batch" else 2  # its warmup takes 5
    small = [] if recipe in TEXT else ["model.width=4"]
    batches = 2 if recipe in ("large_batch", *TEXT) else 5
    limits = [f"trainer.max_epochs={epochs}", f"trainer.limit_train_batches={batches}", "pretraining=null"]
    more = [f"trainer.accumulate_grad_batches={accumulate}", f"output_dir={tmp_path}", *small, *limits]
    cfg = composed(f"recipe={recipe}", *QUICK, *more)
    assert_previewed_is_used(cfg, epochs * -(-batches // accumulate))


@pytest.mark.parametrize(
    ("overrides", "updates"),
    [
        (["schedule=one_cycle"], 78),  # all of the data, two epochs
        (["schedule=one_cycle", "optimizer=sgd", "trainer.accumulate_grad_batches=3"], 26),
        (["schedule=multistep", "trainer.limit_train_batches=0.25", "trainer.accumulate_grad_batches=3"], 6),
        (["schedule=warmup_stable_decay", "trainer.max_steps=11", "trainer.limit_train_batches=7"], 11),
        (["schedule=step", "schedule.step_size=1 epoch", "trainer.max_epochs=-1", "trainer.max_steps=9",
          "trainer.limit_train_batches=4"], 9),
        (["schedule=exponential", "callbacks.learning_rate_scheduler.interval=epoch", "trainer.limit_train_batches=5",
          "trainer.accumulate_grad_batches=3"], 4),
        (["schedule=one_cycle", "callbacks.learning_rate_scheduler.interval=epoch", "trainer.limit_train_batches=5",
          "trainer.max_epochs=3"], 15),
        (["schedule=cosine", "data.batch_size=100", "trainer.limit_train_batches=3"], 6),
        (["schedule=polynomial", "trainer.fast_dev_run=3"], 3),
        (["schedule=warmup_cosine", "schedule.warmup=5 epochs", "trainer.fast_dev_run=true"], None),
        (["schedule=warmup_cosine", "schedule.warmup=100 samples", "trainer.limit_train_batches=7"], 14),
        (["data=topics", "model=transformer", "data.train_windows=100", "data.batch_size=30", "schedule=linear"], 6),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)  # fmt: skip
def test_a_run_uses_what_is_previewed(overrides: list[str], updates: int | None, tmp_path: Path) -> None:
    cfg = composed(*QUICK, "trainer.max_epochs=2", f"output_dir={tmp_path}", *overrides)
    if updates is not None:
        assert_previewed_is_used(cfg, updates)
        return
    shown, used = previewed(cfg), Used()  # too short for its plan, so both follow a long one
    run(cfg, [used])
    assert [list(shown.lrs(n).values()) for n in range(len(used.lrs))] == used.lrs


def test_a_change_of_accumulation_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = ["trainer.max_epochs=4", "trainer.limit_train_batches=7", "model.width=4", "schedule=linear"]
    cfg = composed(*QUICK, *limits, f"output_dir={tmp_path}")
    changing = f"{__name__}.accumulation"
    monkeypatch.setitem(sys.modules, changing, sys.modules[__name__])
    with open_dict(cfg):
        cfg.callbacks.changing = {"_target_": f"{changing}.four_then_two"}
    assert_previewed_is_used(cfg, 2 + 2 + 4 + 4)


def four_then_two() -> GradientAccumulationScheduler:
    return GradientAccumulationScheduler({0: 4, 2: 2})


def test_the_file_is_the_lr_csv_that_the_run_will_write(tmp_path: Path) -> None:
    both = "callbacks=[learning_rate_scheduler,learning_rate_logger]"
    limits = ["trainer.max_epochs=2", "trainer.limit_train_batches=7", "model.width=4", "schedule=one_cycle"]
    cfg = composed(*QUICK, both, *limits, f"output_dir={tmp_path}")
    preview.run(cfg)
    run(cfg)
    planned, written = (list(read_rows(tmp_path / name)) for name in ("preview.csv", "lr.csv"))
    assert len(planned) == 14
    for row, real in zip(planned, written, strict=True):
        assert row.pop("samples") == ""
        assert row == {name: real[name] for name in row}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_that_goes_on_shows_the_plan_that_it_will_follow(tmp_path: Path) -> None:
    limits = ["trainer.limit_train_batches=7", "model.width=4", "schedule=one_cycle"]
    keep = "callbacks=[learning_rate_scheduler,checkpoint]"
    run(composed(*QUICK, keep, *limits, "trainer.max_epochs=2", f"output_dir={tmp_path}"))
    longer = [*QUICK, *limits, "trainer.max_epochs=3", f"ckpt_path={tmp_path}/checkpoints/last.ckpt"]
    with pytest.raises(ResumeError, match="plan different learning rates"):
        previewed(composed(*longer))
    old, new = (previewed(composed(*longer, f"resume={resume}")) for resume in ("checkpoint", "config"))
    assert (old.updates, new.updates) == (14, 21)
    for one in (old, new):
        assert "the run goes on at update 14" in one.table
    anew = previewed(composed(*longer, "resume=restart"))
    assert (anew.updates, "goes on" in anew.table) == (7, False)  # what is left of the run
    logged = ["callbacks=[learning_rate_scheduler,learning_rate_logger,checkpoint]", f"output_dir={tmp_path}/anew"]
    run(composed(*longer, "resume=restart", *logged))
    used = [float(row["planned_factor"]) for row in read_rows(tmp_path / "anew" / "lr.csv")]
    assert used == [anew.factor(n) for n in range(7)]


def test_a_run_that_goes_on_with_other_batches_goes_on_at_the_same_share_of_the_data(tmp_path: Path) -> None:
    limits = ["model.width=4", "schedule=linear", "trainer.max_epochs=2"]
    keep = "callbacks=[learning_rate_scheduler,checkpoint]"
    run(composed(*QUICK, keep, *limits, "trainer.limit_train_batches=8", f"output_dir={tmp_path}"))
    more = [*QUICK, *limits, "trainer.limit_train_batches=4", f"ckpt_path={tmp_path}/checkpoints/last.ckpt"]
    other = previewed(composed(*more, "trainer.max_epochs=3", "resume=config", "data.batch_size=64"))
    assert "the run goes on at update 8" in other.table  # of 4 an epoch
    counted = previewed(
        composed(*more, "trainer.max_steps=20", "trainer.max_epochs=-1", "resume=config", "data.batch_size=64")
    )
    assert "the run goes on at update 16" in counted.table  # of the 20 that are to be done
    with pytest.raises(ResumeError, match="the checkpoint has schedules for AdamW, and this run for SGD"):
        previewed(composed(*more, "optimizer=sgd"))


def test_a_checkpoint_without_a_schedule_leaves_the_plan_as_it_is(tmp_path: Path) -> None:
    limits = ["model.width=4", "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    run(composed(*QUICK, *limits, "callbacks=[checkpoint]", f"output_dir={tmp_path}"))
    more = ["schedule=linear", f"ckpt_path={tmp_path}/checkpoints/last.ckpt"]
    assert previewed(composed(*limits, *more)).updates == 2


@pytest.mark.parametrize(("apply", "told"), [(True, True), (False, False)])
def test_a_peak_that_a_range_test_will_set_is_not_promised(apply: bool, told: bool) -> None:
    swept = ["callbacks=[learning_rate_scheduler,learning_rate_range_test]"]
    one = previewed(composed(*swept, f"callbacks.learning_rate_range_test.apply={str(apply).lower()}"))
    assert ("the peak will be what the LR range test suggests" in one.table) is told


# Without a run


def test_a_run_on_the_same_few_batches_counts_those() -> None:
    assert previewed(composed("trainer.overfit_batches=2")).horizon.steps_per_epoch == 2


def test_a_warning_about_the_plan_is_given_once() -> None:
    with pytest.warns(UserWarning, match="warmup") as caught:
        previewed(composed("schedule.warmup=15 epochs"))
    (warning,) = caught
    assert "more than half of the run is warmup" in str(warning.message)


def test_neither_trainer_data_nor_weights_are_made_and_no_process_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a Trainer is built, the data are loaded, or a process is started for it")

    devices = []
    register = torch.optim.Optimizer.add_param_group

    def watch(self: torch.optim.Optimizer, group: dict[str, Any]) -> None:
        register(self, group)
        devices.extend(parameter.device.type for parameter in group["params"])

    for data in (DigitsData, GlyphsData):
        monkeypatch.setattr(data, "setup", refuse)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", refuse)
    monkeypatch.setattr(Trainer, "__init__", refuse)
    cfgs = [
        composed("data.num_workers=2", "optimizer.fused=true"),
        composed("recipe=classical_cnn"),
        composed("model=transformer_124m", "data=topics"),
    ]
    monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", watch)
    for cfg in cfgs:
        assert list(previewed(cfg).base_lrs) == ["decay", "no_decay"]
    assert set(devices) == {"meta"}


@pytest.mark.parametrize(
    ("overrides", "per_epoch"),
    [
        (["trainer=gpu"], 39),
        (["trainer=gpu", "trainer.precision=transformer-engine", "trainer.strategy=fsdp", "trainer.devices=8"], 4),
        (["trainer=ddp", "trainer.devices=[0,1]"], 19),
        (["trainer=ddp", "trainer.devices='0,1'"], 19),
        (["trainer=ddp", "trainer.devices=2", "trainer.num_nodes=2"], 9),
        (["trainer=cpu", "trainer.devices=auto"], 39),
        (["optimizer.fused=true", "model.compile=true"], 39),
        (["trainer.deterministic=true", "trainer.detect_anomaly=true", "trainer.benchmark=true"], 39),
    ],
)
def test_the_plan_of_another_machine_is_shown_here(overrides: list[str], per_epoch: int) -> None:
    shown = previewed(composed(*overrides))
    assert shown.horizon.steps_per_epoch == per_epoch  # 1,257 images, split, in whole batches of 32
    assert shown.updates == 20 * per_epoch
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_preview_takes_less_than_a_second(recipe: str, tmp_path: Path) -> None:
    cfg = composed(f"recipe={recipe}", f"output_dir={tmp_path}")

    def seconds() -> float:
        started = time.perf_counter()
        preview.run(cfg)
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["preview.csv", "preview.png"]


def test_it_prints_the_plan_and_where_the_picture_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert preview.run(composed(f"output_dir={tmp_path}")) == {}
    (said,) = caplog.messages  # nothing of Lightning's, and the plan once
    for text in (
        "Learning-rate plan for AdamW: 780 updates (20 epochs of 39 updates)",
        "25%",
        "optimizer update (39 an ep",
    ):
        assert said.count(text) == 1
    assert said.splitlines()[-1] == f"Drawn: {tmp_path}/preview.png"


# Data and models of somebody else


class OwnData(LightningDataModule):
    """Keeps nothing that our data modules keep; its last batch is partial."""

    def __init__(self, length: int = 50) -> None:
        super().__init__()
        self.length = length

    @property
    def task(self) -> ImageTask:
        return ImageTask(num_classes=10, channels=1, height=8, width=8)

    def setup(self, stage: str) -> None:
        self.samples = TensorDataset(torch.zeros(self.length, 1, 8, 8), torch.zeros(self.length).long())

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, batch_size=8)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.samples, batch_size=8)

    test_dataloader = val_dataloader


class StubbornModel(ImageClassifier):
    """Reads a number from a tensor while it is built, which one without memory does not have."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.share = torch.full((), 0.5).item()


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(sys.modules, "somebody_elses", sys.modules[__name__])
    return "somebody_elses"


def test_other_data_modules_are_asked_for_their_loader(own: str, tmp_path: Path) -> None:
    cfg = composed(*QUICK, "model.width=4", "trainer.max_epochs=2", f"output_dir={tmp_path}", "schedule=linear")
    with open_dict(cfg):
        cfg.data = {"_target_": f"{own}.OwnData"}
    assert_previewed_is_used(cfg, 14)
    with open_dict(cfg):
        cfg.trainer.devices = 2
    assert previewed(cfg).updates == 8  # 25 samples for each


def test_models_that_need_memory_get_it(own: str, tmp_path: Path) -> None:
    cfg = composed(*QUICK, "model.width=4", "trainer.max_epochs=1", f"output_dir={tmp_path}", "schedule=linear")
    cfg.model._target_ = f"{own}.StubbornModel"
    assert_previewed_is_used(cfg, 39)


class OwnOptimizers(ImageClassifier):
    """Returns its optimizer in one of the forms that Lightning takes."""

    form: Callable[[Optimizer, LRScheduler], Any]
    automatic = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.automatic_optimization = self.automatic

    def configure_optimizers(self) -> Any:
        optimizer: Any = super().configure_optimizers()
        return type(self).form(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer))


def bound(optimizer: Optimizer, scheduler: LRScheduler) -> Optimizer:
    schedules.Fixed().bind(optimizer, Horizon())
    return optimizer


FORMS: dict[str, Callable[[Any, Any], Any]] = {
    "list": lambda optimizer, _: [optimizer],
    "dict": lambda optimizer, _: {"optimizer": optimizer},
    "dict, scheduler": lambda optimizer, scheduler: {"optimizer": optimizer, "lr_scheduler": scheduler},
    "dict, scheduler with settings": lambda optimizer, scheduler: {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
    },
    "list of dicts": lambda optimizer, scheduler: [{"optimizer": optimizer, "lr_scheduler": scheduler}],
    "lists": lambda optimizer, scheduler: ([optimizer], [scheduler]),
    "lists, one scheduler": lambda optimizer, scheduler: ([optimizer], scheduler),
    "lists, settings": lambda optimizer, scheduler: [[optimizer], [{"scheduler": scheduler}]],
    "bound": bound,
}


def outcome(cfg: DictConfig, show: Callable[[DictConfig], dict[str, Plan]]) -> Any:
    """The plans, as a checkpoint would hold them; or the words with which they are refused."""
    try:
        return {name: plan.state() for name, plan in show(cfg).items()}
    except (ValueError, TypeError) as error:
        return str(error)


def previewed_plans(cfg: DictConfig) -> dict[str, Plan]:
    return {name: one.plan for name, one in previews_of(cfg).items()}


@pytest.fixture
def own_optimizers(own: str, tmp_path: Path) -> DictConfig:
    cfg = composed(*QUICK, "model.width=4", f"output_dir={tmp_path}")
    cfg.model._target_ = f"{own}.OwnOptimizers"
    return cfg


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_optimizers_in_every_form_that_lightning_takes(
    form: Any, replace: bool, own_optimizers: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnOptimizers, "form", form, raising=False)
    own_optimizers.callbacks.learning_rate_scheduler.replace = replace
    assert outcome(own_optimizers, previewed_plans) == outcome(own_optimizers, planned)


def test_an_optimizer_without_the_momentum_that_the_plan_moves(
    own_optimizers: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OwnOptimizers, "form", lambda one, _: torch.optim.Adagrad(one.param_groups[0]["params"]), raising=False
    )
    own_optimizers.schedule = config.composed("schedule=one_cycle").schedule
    refused = outcome(own_optimizers, previewed_plans)
    assert "moves the momentum, and Adagrad has none" in refused
    assert refused == outcome(own_optimizers, planned)


def test_several_optimizers_of_a_module_that_steps_them_itself(
    own_optimizers: DictConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OwnOptimizers, "automatic", False)
    monkeypatch.setattr(
        OwnOptimizers, "form", lambda one, _: (one, torch.optim.SGD(one.param_groups[0]["params"])), raising=False
    )
    refused = outcome(own_optimizers, previewed_plans)
    assert refused == outcome(own_optimizers, planned)
    assert "in manual optimization" not in refused
    assert "Give the total" in refused
    own_optimizers.callbacks.learning_rate_scheduler.total_steps = {0: 200, "SGD": 400}
    assert outcome(own_optimizers, previewed_plans) == outcome(own_optimizers, planned)
    assert [one.updates for one in previews_of(own_optimizers).values()] == [200, 400]


# A module with a scheduler of its own, and no LearningRateScheduler


class OwnScheduler(ImageClassifier):
    """Its cosine is as long as the epochs, and ticked at every update."""

    def configure_optimizers(self) -> Any:
        optimizer: Any = super().configure_optimizers()
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.trainer.max_epochs or 0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}


class StepsByHand(OwnOptimizers):
    automatic = False

    @staticmethod
    def form(optimizer: Optimizer, scheduler: LRScheduler) -> Any:
        return [optimizer], [scheduler]


def with_own(module: str, own: str, *overrides: str) -> DictConfig:
    cfg = composed(*QUICK, "model.width=4", "trainer.max_epochs=2", *overrides)
    cfg.model._target_ = f"{own}.{module}"
    return cfg


@pytest.mark.filterwarnings("ignore:climbs_again")
@pytest.mark.parametrize("callbacks", ["none", "[learning_rate_logger]", "[learning_rate_warmup,learning_rate_logger]"])
def test_what_the_scheduler_of_a_module_will_do(callbacks: str, own: str, tmp_path: Path) -> None:
    cfg = with_own("OwnScheduler", own, f"callbacks={callbacks}", f"output_dir={tmp_path}")
    one, used = previewed(cfg), Used()
    run(cfg, [used])
    assert one.updates == len(used.lrs) == 78
    assert [list(one.lrs(n).values()) for n in range(78)] == used.lrs
    text = str(one)
    assert text.startswith(
        "Learning-rate forecast for AdamW: 78 updates (2 epochs of 39 updates)\n  CosineAnnealingLR: 78"
    )
    assert "\n  climbs_again: the LR falls to 0 and from update 3 on" in text


def test_the_forecast_is_drawn_and_written(own: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cfg = with_own("OwnScheduler", own, "callbacks=[learning_rate_logger]", f"output_dir={tmp_path}", "trainer=gpu")
    with caplog.at_level(logging.INFO):
        preview.run(cfg)
    assert "Give T_max=78, or interval='epoch'" in caplog.text
    assert {path.name for path in tmp_path.iterdir()} == {"preview.csv", "preview.png"}
    rows = [row for row in read_rows(tmp_path / "preview.csv") if row]
    assert [row["phase"] for row in rows[:4]] == ["falls", "falls", "falls", "rises"]


def test_a_module_of_which_nothing_is_known(own: str, tmp_path: Path) -> None:
    cfg = with_own("StepsByHand", own, "callbacks=none", f"output_dir={tmp_path}")
    with pytest.raises(ValueError, match="no LR of this run can be shown before it: StepsByHand optimizes by hand"):
        preview.run(cfg)


# Mistakes


@pytest.mark.parametrize("overrides", [
    ["schedule.warmup=30 epochs"],
    ["trainer.max_epochs=-1"],
    ["trainer.max_epochs=-1", "schedule=step", "schedule.step_size=10%"],
    ["trainer.max_epochs=1000"],
    ["callbacks.learning_rate_scheduler.total_steps={3: 10}"],
    ["callbacks.learning_rate_scheduler.total_steps={Adam: 10}"],
    ["+callbacks.averaging={_target_: lightning.pytorch.callbacks.StochasticWeightAveraging, swa_lrs: 0.1}"],
], ids=" ".join)  # fmt: skip
def test_it_is_refused_in_the_words_of_the_run(overrides: list[str], tmp_path: Path) -> None:
    cfg = composed(*QUICK, "model.width=4", f"output_dir={tmp_path}", *overrides)
    refused = outcome(cfg, previewed_plans)
    assert isinstance(refused, str)
    assert refused == outcome(cfg, planned)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["schedule.warmup=5 parsecs"], "unknown unit 'parsecs'"),
        (["schedule.warmup=30 epochs"], "is 1,170 updates, and the run does 780: the peak LR would never be reached"),
        (["trainer.max_epochs=-1"], "needs to know how many updates the run will do"),
        (["callbacks=none"], "callbacks has no learning_rate_scheduler, so that training would not follow"),
        (["model=transformer"], "needs text, the data gives images"),
        (["data.batch_size=1000", "trainer=ddp", "trainer.devices=2"], "the training data make no batch in an epoch"),
        (["data=text_file", "data.path=nowhere.txt"], "path='nowhere.txt' does not exist"),
        (["ckpt_path=nowhere.ckpt"], "ckpt_path='nowhere.ckpt' is not a file"),
        (["trainer.max_epochs=many"], "trainer.max_epochs='many': should be a valid integer"),
    ],
)
def test_what_training_would_refuse_is_refused(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message) as caught:
        preview.run(composed(f"output_dir={tmp_path}/new", *overrides))
    assert explain(caught.value)
    assert not (tmp_path / "new").exists()


# Sweeps


def job(sweep: Path, name: str, overrides: list[str], lrs: list[float]) -> None:
    (sweep / name / ".hydra").mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create(overrides), sweep / name / ".hydra" / "overrides.yaml")
    header, rows = (
        "step,epoch,samples,phase,planned_factor,lr/decay,lr/head",
        [f"{n},,,,,{lr / 2},{lr}" for n, lr in enumerate(lrs)],
    )
    (sweep / name / "preview.csv").write_text("\n".join([header, *rows, ""]))


def content(sweep: Path) -> list[list[str]]:
    with (sweep / "preview.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_all_jobs_of_a_sweep_are_drawn_together_in_their_order(tmp_path: Path) -> None:
    job(tmp_path, "10_c", ["task=preview", "schedule=cosine", "seed=3"], [0.5, 0.25])
    job(tmp_path, "2_s", ["task=preview", "schedule=step", "seed=3"], [1.0, 1.0, 0.125])
    assert draw_together(tmp_path) == 2
    assert content(tmp_path) == [
        ["step", "lr/step", "lr/cosine"],
        ["0", "1.0", "0.5"],
        ["1", "1.0", "0.25"],
        ["2", "0.125", ""],
    ]
    assert (tmp_path / "preview.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10_c", "2_s", "preview.csv", "preview.png"]


def test_a_job_that_comes_while_the_picture_is_drawn_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job(tmp_path, "0_a", ["schedule=step"], [1.0])
    save, late = preview.save_figure, iter([["schedule=cosine"]])

    def save_slowly(*arguments: Any) -> None:
        save(*arguments)
        for overrides in late:
            job(tmp_path, "1_b", overrides, [0.5])

    monkeypatch.setattr(preview, "save_figure", save_slowly)
    assert draw_together(tmp_path) == 2
    assert content(tmp_path)[0] == ["step", "lr/step", "lr/cosine"]


def test_a_sweep_folder_that_is_used_again_shows_the_newest_of_each_number(tmp_path: Path) -> None:
    job(tmp_path, "0_old", ["schedule=step"], [1.0])
    os.utime(tmp_path / "0_old" / "preview.csv", (1, 1))
    job(tmp_path, "0_new", ["schedule=cosine"], [0.5])
    assert draw_together(tmp_path) == 1
    assert content(tmp_path)[1:] == [["0", "0.5"]]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([["task=preview", "schedule=step"]], ["step"]),
        ([["task=preview"]], ["as it is"]),
        ([["schedule=step", "seed=1"], ["schedule=cosine", "seed=1"]], ["step", "cosine"]),
        (
            [["schedule=step", "seed=1"], ["schedule=cosine", "seed=2"]],
            ["schedule=step, seed=1", "schedule=cosine, seed=2"],
        ),
        ([["optimizer.lr=1"], []], ["optimizer.lr=1", "as it is"]),
        ([["seed=1"], ["seed=1"]], ["0: as it is", "1: as it is"]),
    ],
)
def test_jobs_are_named_by_what_sets_them_apart(settings: list[list[str]], names: list[str]) -> None:
    assert labels(settings, ["0", "1"]) == names


def test_a_sweep_as_a_command(tmp_path: Path) -> None:
    arguments = [
        "-m",
        "task=preview",
        "schedule=step,one_cycle",
        "schedule.warmup=0,5000",
        "trainer.max_epochs=15",
    ]
    done = ready.run([ROOT / "train.py", *arguments], tmp_path, {**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert done.stderr.count("Error: warmup=5000 is 5,000 updates, and the run does 585") == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stdout.count("Learning-rate plan for AdamW: 585 updates") == 2
    assert done.stdout.count("learning rate\n") == 2
    (sweep,) = (tmp_path / "runs").iterdir()
    assert f"Drawn: runs/{sweep.name}/preview.png (all 2 so far)" in done.stdout
    assert content(sweep)[0] == ["step", "lr/step", "lr/one_cycle"]
    assert len(content(sweep)) == 586
    jobs = sorted(path for path in sweep.iterdir() if path.is_dir())
    assert [path.name.split("_")[0] for path in jobs] == ["0", "2"]  # a job that was refused leaves nothing
    for path in [sweep, *jobs]:
        assert (path / "preview.png").stat().st_size > 10_000
        assert not list(path.glob("*.new"))
