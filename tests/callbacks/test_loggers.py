"""What the Trainer's loggers are told: read back from what each of them has written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.loggers.logger import DummyLogger, Logger
from matplotlib.image import imread
from torch import nn
from torch.optim import SGD, Adagrad, AdamW
from torch.optim.lr_scheduler import ExponentialLR, StepLR

from lr_recipes import LearningRateLogger, LearningRateWarmup, schedules
from tests.callbacks.harness import PEAK, OwnRate, Preempted, Tiny, fit, keep_all, loader, quiet_trainer, sgd

pytestmark = pytest.mark.filterwarnings(
    "ignore:You're resuming from a checkpoint that ended before the epoch ended",
    "ignore:Be aware that when using `ckpt_path`",
)
COSINE = schedules.Cosine(warmup=2, min_lr_ratio=0.1)
AS_PLANNED = "used = planned on 16 of 16 updates, schedule complete"
PLAN = """\
Learning-rate plan for SGD: 16 updates (2 epochs of 8 updates)
  warmup    updates 0 to 1    factor 0.5 -> 1
  cosine    updates 2 to 15   factor 1 -> 0.111
  group0    peak LR 0.1, floor 0.01"""
FACTS = {
    "lr_recipes/schedule": "Cosine(warmup=2, min_lr_ratio=0.1)",
    "lr_recipes/plan": PLAN,
    "lr_recipes/closing_line": AS_PLANNED,
    "lr_recipes/used_is_planned": True,
}


class Plain(Logger):
    """A logger of somebody's own with what every logger has: keeps each call, and only the last hyper-parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[tuple[int | None, dict[str, float]]] = []
        self.hyperparameters: dict[str, Any] = {}

    @property
    def name(self) -> str:
        return "plain"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.metrics.append((step, metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.hyperparameters = dict(params)


class CometLike(Plain):
    """Logs to an experiment with Comet's names."""

    def __init__(self) -> None:
        super().__init__()
        self.others: dict[str, Any] = {}
        self.images: list[tuple[str, str, int]] = []

    @property
    def experiment(self) -> CometLike:
        return self

    def log_other(self, key: str, value: Any) -> None:
        self.others[key] = value

    def log_image(self, image_data: str, name: str, step: int) -> None:
        self.images.append((image_data, name, step))


class Fragile(Plain):
    """Fails in one of its methods."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.where == "log_metrics":
            raise ConnectionError("no network")
        super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        if self.where == "log_hyperparams":
            raise ConnectionError("no network")
        super().log_hyperparams(params)


class WithOwn(Tiny):
    """Has hyper-parameters of its own."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters()


def trained(logger: Any, folder: Path, schedule: Any = COSINE, **options: Any) -> Any:
    """Two epochs of 8 updates; every second one is logged."""
    knobs = {name: options.pop(name) for name in ("names", "summary", "plot") if name in options}
    callbacks = [LearningRateLogger(folder, **knobs), *options.pop("callbacks", [])]
    arguments = {"max_epochs": 2, "log_every_n_steps": 2, "logger": logger, **options}
    return fit(schedule, callbacks=callbacks, **arguments)


def hparams_of(logger: Any) -> Any:
    return yaml.safe_load((Path(logger.log_dir) / "hparams.yaml").read_text())


# Each kind of logger


def test_csv_has_the_facts_in_its_hyper_parameters_beside_the_modules_own(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    trained(logger, tmp_path, module=WithOwn(width=5))
    assert hparams_of(logger) == {"width": 5, **FACTS}
    lines = (Path(logger.log_dir) / "hparams.yaml").read_text().splitlines()
    assert "lr_recipes/used_is_planned: true" in lines  # what `grep` finds
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": WithOwn().state_dict(), "pytorch-lightning_version": "2.5.0"}, path)
    again = WithOwn.load_from_checkpoint(path, hparams_file=Path(logger.log_dir) / "hparams.yaml")
    assert dict(again.hparams) == {"width": 5}


def test_tensorboard_has_texts_a_scalar_and_the_picture(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path)
    trained(logger, tmp_path, module=WithOwn(width=5))
    events = EventAccumulator(logger.log_dir).Reload()
    texts = {
        tag.removesuffix("/text_summary"): [event.tensor_proto.string_val[0].decode() for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
        if tag.endswith("text_summary")
    }
    assert texts == {
        name: ["\n".join(f"    {line}" for line in value.splitlines())]
        for name, value in FACTS.items()
        if isinstance(value, str)
    }
    (verdict,) = events.Scalars("lr_recipes/used_is_planned")
    assert (verdict.step, verdict.value) == (15, 1.0)
    (image,) = events.Images("lr_recipes/lr")
    height, width, _ = imread(tmp_path / "lr.png").shape
    assert (image.step, image.height, image.width) == (15, height, width)
    assert hparams_of(logger) == {"width": 5}  # of which the plugin keeps those of the first call


@pytest.fixture
def wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    yield wandb.Settings(mode="offline", x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True)
    wandb.finish()


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
def test_wandb_has_the_plan_in_its_config_and_the_outcome_in_its_summary(tmp_path: Path, wandb_offline: Any) -> None:
    logger = WandbLogger(save_dir=tmp_path, project="project", settings=wandb_offline)
    run = trained(logger, tmp_path, module=WithOwn(width=5))
    known = {"lr_recipes/schedule", "lr_recipes/plan"}
    assert dict(logger.experiment.config) == {"width": 5, **{name: FACTS[name] for name in known}}
    summary = dict(logger.experiment.summary)
    assert {name: summary[name] for name in FACTS.keys() - known} == {
        name: FACTS[name] for name in FACTS.keys() - known
    }
    assert summary["lr/group0"] == run.used[15]
    (picture,) = Path(logger.experiment.dir).rglob("media/images/lr_recipes/*.png")
    assert picture.read_bytes() == (tmp_path / "lr.png").read_bytes()


def test_mlflow_has_tags_that_runs_are_found_by_and_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes 20 s to be made
    store = tmp_path / "mlruns"
    logger = MLFlowLogger(save_dir=str(store))
    run = trained(logger, tmp_path, module=WithOwn(width=5))
    client = logger.experiment
    assert logger.experiment_id is not None
    found = client.search_runs([logger.experiment_id], "tags.`lr_recipes/used_is_planned` = 'True'")
    assert [one.info.run_id for one in found] == [logger.run_id]
    assert {name: found[0].data.tags[name] for name in FACTS} == {name: str(value) for name, value in FACTS.items()}
    assert found[0].data.params == {"width": "5"}
    assert found[0].data.metrics["lr/group0"] == run.used[15]
    assert [one.path for one in client.list_artifacts(logger.run_id)] == ["lr.png"]


def test_comet_has_others_and_the_picture(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path)
    assert logger.others == FACTS
    assert logger.images == [(str(tmp_path / "lr.png"), "lr_recipes/lr", 15)]
    assert logger.hyperparameters == {}


def test_any_logger_has_the_facts_beside_the_modules_own(tmp_path: Path) -> None:
    logger = Plain()
    run = trained(logger, tmp_path, module=WithOwn(width=5))
    assert logger.hyperparameters == {"width": 5, **FACTS}
    assert logger.metrics == [(x, {"lr/group0": run.used[x]}) for x in range(1, 16, 2)]


# Several, none, and those that fail


def test_several_loggers_are_told_each_in_its_way(tmp_path: Path) -> None:
    loggers: list[Any] = [CSVLogger(tmp_path), CometLike(), Plain()]
    trained(loggers, tmp_path)
    assert hparams_of(loggers[0]) == loggers[1].others == loggers[2].hyperparameters == FACTS


@pytest.mark.parametrize("where", ["log_metrics", "log_hyperparams"])
def test_a_logger_that_fails_ends_no_training_and_keeps_nothing_from_the_others(where: str, tmp_path: Path) -> None:
    after = Plain()
    with pytest.warns(UserWarning, match="Fragile does not take .* training goes on") as said:
        run = trained([Fragile(where), after], tmp_path)
    assert sum("does not take" in str(one.message) for one in said) == 1
    assert len(run.used) == 16
    assert after.hyperparameters == FACTS
    assert [x for x, _ in after.metrics] == [*range(1, 16, 2)]


def test_ctrl_c_in_a_logger_is_no_failure_of_it(tmp_path: Path) -> None:
    class Interrupted(Plain):
        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        trained(Interrupted(), tmp_path)


def test_nothing_is_told_that_is_not_wanted(tmp_path: Path) -> None:
    loggers: list[Any] = [Plain(), CometLike()]
    trained(loggers, tmp_path, summary=False)
    assert loggers[0].hyperparameters == loggers[1].others == {}
    assert loggers[1].images == []
    assert len(loggers[0].metrics) == len(loggers[1].metrics) == 8


def test_without_a_picture_none_is_handed_over(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path, plot=False)
    assert logger.images == []
    assert logger.others == FACTS


@pytest.mark.parametrize("logger", [False, True])
def test_a_run_without_a_logger_trains(logger: bool, tmp_path: Path) -> None:
    options = {"fast_dev_run": 4} if logger else {}
    run = trained(logger, tmp_path, **options)
    assert [type(one) for one in run.trainer.loggers] == ([DummyLogger] if logger else [])
    assert len(run.used) == (4 if logger else 16)


# What came of it


class WritesOnce(Callback):
    """Writes another LR before update 5."""

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 5:
            trainer.optimizers[0].param_groups[0]["lr"] = 0.5


@pytest.mark.filterwarnings("ignore:update 5 used LR 0.5")
def test_an_lr_that_was_not_planned_is_no_success(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path, callbacks=[WritesOnce()])
    assert logger.others["lr_recipes/used_is_planned"] is False
    assert logger.others["lr_recipes/closing_line"].startswith("used = planned on 15 of 16 updates, largest difference")


def test_without_a_plan_there_is_nothing_to_be_equal_to(tmp_path: Path) -> None:
    class Unknown(Tiny):
        def configure_optimizers(self) -> Any:
            optimizer = sgd(self.weights)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 3), "interval": "step"}}

        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
            if torch.rand(1) < 2:  # what its own code does, nobody can foretell
                scheduler.step()

    logger = CometLike()
    trained(logger, tmp_path, None, module=Unknown())
    assert "lr_recipes/used_is_planned" not in logger.others
    assert "there is no plan to compare with" in logger.others["lr_recipes/closing_line"]
    assert logger.others["lr_recipes/schedule"].startswith("StepLR")


def test_a_scheduler_of_the_modules_own_is_told_with_its_forecast(tmp_path: Path) -> None:
    def build(weights: Any) -> Any:
        optimizer = sgd(weights)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 4), "interval": "step"}}

    logger = CometLike()
    trained(logger, tmp_path, None, module=Tiny(build))
    assert logger.others["lr_recipes/schedule"] == "StepLR: 16 ticks, one an update"
    assert logger.others["lr_recipes/plan"].startswith("Learning-rate forecast for SGD: 16 updates")
    assert logger.others["lr_recipes/closing_line"] == "used = forecast on 16 of 16 updates"
    assert logger.others["lr_recipes/used_is_planned"] is True


def test_a_warmup_over_a_scheduler_is_told_with_what_they_do_together(tmp_path: Path) -> None:
    def build(weights: Any) -> Any:
        optimizer = sgd(weights)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 8), "interval": "step"}}

    logger = CometLike()
    trained(logger, tmp_path, None, module=Tiny(build), callbacks=[LearningRateWarmup(4)])
    assert logger.others["lr_recipes/schedule"] == "StepLR: 16 ticks, one an update"
    assert "rises     updates 0 to 2" in logger.others["lr_recipes/plan"]
    assert logger.others["lr_recipes/used_is_planned"] is True


def test_a_run_that_is_broken_off_says_how_far_it_came(tmp_path: Path) -> None:
    logger = CometLike()
    with pytest.raises(RuntimeError, match="preempted"):
        trained(logger, tmp_path, callbacks=[Preempted()])
    assert logger.others == {
        **FACTS,
        "lr_recipes/closing_line": f"{AS_PLANNED[:18]}8 of 8 updates, schedule ended at 50% (8 of 16)",
    }
    assert logger.images == []


@pytest.mark.filterwarnings("ignore:the run ended at update 8 of the 16")
def test_a_run_that_goes_on_in_the_same_experiment_ends_with_the_facts_of_the_whole(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path, max_epochs=1, options={"total_steps": 16}, callbacks=[keep_all(tmp_path)], summary=False)
    trained(logger, tmp_path, ckpt_path=tmp_path / "step=8.ckpt")
    assert logger.others["lr_recipes/closing_line"] == AS_PLANNED
    assert [x for x, _ in logger.metrics] == [*range(1, 16, 2)]


class TwoByHand(LightningModule):
    """Two optimizers of one class, each stepped once a batch, and one of another."""

    def __init__(self, count: int = 2) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weights = nn.ParameterList([nn.Parameter(torch.ones(2)) for _ in range(count + 1)])

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers: Any = self.optimizers()
        for weight, optimizer in zip(self.weights, optimizers, strict=True):
            self.manual_backward((weight * batch.mean()).sum())
            optimizer.step()
            optimizer.zero_grad()
        for scheduler in self.lr_schedulers() or []:  # type: ignore[union-attr]
            scheduler.step()

    def configure_optimizers(self) -> Any:
        *several, last = self.weights
        return [*(AdamW([weight], lr=PEAK) for weight in several), sgd([last])]


def test_several_optimizers_are_told_together(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path, schedules.Fixed(), module=TwoByHand(), max_epochs=1)
    planned = AS_PLANNED.replace("16", "8").replace("complete", "has no end")
    assert logger.others["lr_recipes/closing_line"] == f"AdamW: {planned}\nAdamW-1: {planned}\nSGD: {planned}"
    assert logger.others["lr_recipes/schedule"] == "Fixed(); Fixed(); Fixed()"
    assert logger.others["lr_recipes/plan"].count("Learning-rate plan for") == 3
    assert logger.others["lr_recipes/used_is_planned"] is True
    assert [name for _, name, _ in logger.images] == [
        "lr_recipes/lr-AdamW",
        "lr_recipes/lr-AdamW-1",
        "lr_recipes/lr-SGD",
    ]


def test_of_very_many_optimizers_the_first_and_the_last_are_told(tmp_path: Path) -> None:
    logger = CometLike()
    trained(logger, tmp_path, schedules.Fixed(), module=TwoByHand(9), max_epochs=1)
    lines = logger.others["lr_recipes/closing_line"].splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "AdamW",
        "AdamW-1",
        "AdamW-2",
        "... 6 more optimizers ...",
        "SGD",
    ]
    assert [name for _, name, _ in logger.images] == ["lr_recipes/lr"]


# The names of LearningRateMonitor


def groups(weights: Any, *names: str | None, **options: Any) -> list[dict[str, Any]]:
    return [
        {"params": [weight], **({} if name is None else {"name": name}), **options}
        for weight, name in zip(weights, names, strict=True)
    ]


def with_schedulers(weights: Any, *names: str | None) -> Any:
    """One optimizer, ticked by a scheduler for each name."""
    optimizer = AdamW(weights, lr=PEAK)
    ticked = [{"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "name": name} for name in names]
    return [optimizer], ticked


class JoinsLater(Callback):
    """Moves a weight into a group of its own before update 6."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.global_step == 6 and len(trainer.optimizers[0].param_groups) == 1:
            trainer.optimizers[0].add_param_group({"params": [nn.Parameter(torch.ones(1))]})


class TwoScheduled(TwoByHand):
    def configure_optimizers(self) -> Any:
        first, second, last = super().configure_optimizers()
        return [first, second, last], [ExponentialLR(last, 0.5), ExponentialLR(second, 0.9)]


MONITORED: dict[str, dict[str, Any]] = {
    "one group": {"module": partial(Tiny, lambda weights: AdamW(weights, lr=PEAK))},
    "one with a name": {"module": partial(Tiny, lambda weights: AdamW(groups(weights[:1], "body"), lr=PEAK))},
    "two groups": {"module": partial(Tiny, lambda weights: SGD(groups(weights, None, None), lr=PEAK, momentum=0.9))},
    "two with names": {"module": partial(Tiny, lambda weights: AdamW(groups(weights, "body", "head"), lr=PEAK))},
    "momentum that moves": {"schedule": schedules.OneCycle(), "module": Tiny},
    "several optimizers": {"schedule": schedules.Fixed(), "module": TwoByHand},
    "a group that joins": {"module": Tiny, "callbacks": [JoinsLater()]},
    "a scheduler": {"schedule": None, "module": partial(Tiny, lambda weights: with_schedulers(weights, None))},
    "a scheduler with a name": {
        "schedule": None,
        "module": partial(Tiny, lambda ws: with_schedulers(ws, "mine")),
    },
    "two schedulers": {"schedule": None, "module": partial(Tiny, lambda ws: with_schedulers(ws, None, None))},
    "schedulers of some": {"schedule": None, "module": TwoScheduled},
}


@pytest.mark.filterwarnings("ignore:You have set log_momentum=True", "ignore:update . used LR")
@pytest.mark.parametrize("case", MONITORED)
def test_the_monitors_names_and_values(case: str, tmp_path: Path) -> None:
    """Both callbacks in one run, each at its own moment of the same updates."""
    options = {"schedule": COSINE, **MONITORED[case]}
    module, schedule = options.pop("module")(), options.pop("schedule")
    joins = options.pop("callbacks", [])
    logger, monitor = Plain(), LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)
    trained(logger, tmp_path, schedule, module=module, callbacks=[*joins, monitor], names="monitor", summary=False)
    theirs, ours = logger.metrics[::2], logger.metrics[1::2]  # before the update, and after it
    assert [x for x, _ in ours] == [*range(1, 16, 2)]
    assert ours == theirs
    assert any(name.startswith(("lr-", "mine")) for name in ours[0][1])


def test_a_momentum_that_there_is_not_is_not_logged(tmp_path: Path) -> None:
    logger = Plain()
    trained(logger, tmp_path, module=Tiny(lambda weights: Adagrad(weights, lr=PEAK)), names="monitor", max_epochs=1)
    assert [*logger.metrics[0][1]] == ["lr-Adagrad", "lr-Adagrad-weight_decay"]


def test_an_optimizer_that_computes_its_lr_itself_has_none_to_log(tmp_path: Path) -> None:
    logger = Plain()
    callback = LearningRateLogger(tmp_path, names="monitor", plot=False)
    trainer = quiet_trainer([callback], logger=logger, max_epochs=1, log_every_n_steps=1)
    trainer.fit(Tiny(OwnRate), loader())
    assert logger.metrics == []


@pytest.mark.parametrize("knob", [{"names": "lr"}, {"summary": "yes"}])
def test_a_wrong_word_is_refused(knob: dict[str, Any]) -> None:
    (name, value), *_ = knob.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}"):
        LearningRateLogger(**knob)
