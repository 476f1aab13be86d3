"""What is read from the settings without a Trainer is what a Trainer finds: the same horizon, the same plan."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf, open_dict
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from lr_recipes import LearningRateScheduler
from lr_recipes.callbacks.fit import Fit, tokens_per_sample_of
from lr_recipes.plan.horizon import Horizon
from lr_recipes.plan.plan import Plan
from recipes.app import config
from recipes.app.limits import limits_of_run
from recipes.app.preview import previews_of
from recipes.app.training import build
from tests.recipes.data.test_cifar10 import fake_cifar

CONF = Path(__file__).parents[3] / "conf"
QUICK = [
    "callbacks=[learning_rate_scheduler]", "logger=none", "trainer.num_sanity_val_steps=0", "pretraining=null",
    "trainer.enable_progress_bar=false", "trainer.enable_checkpointing=false",
]  # fmt: skip
# What of a Trainer's settings another machine than that with the GPU has in their place; none of them counts updates.
HERE = {"accelerator": "cpu", "precision": "32-true", "benchmark": None}


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


class Enough(Exception):
    """Training has begun, and that was all that was wanted of it."""


class Begun(Callback):
    """Keeps the plans of a run whose first update is about to be done, and ends it."""

    def __init__(self) -> None:
        self.plans: dict[str, Plan] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        (scheduler,) = (one for one in trainer.callbacks if isinstance(one, LearningRateScheduler))  # type: ignore[attr-defined]
        self.plans = {name: bound.plan for name, bound in scheduler.bound.items()}
        raise Enough


def planned(cfg: DictConfig) -> dict[str, Plan]:
    """The plans that a run resolves."""
    begun, cfg = Begun(), cfg.copy()
    cfg.trainer = {**cfg.trainer, **HERE}
    parts = build(cfg, [begun])
    with suppress(Enough):
        parts.trainer.fit(parts.model, datamodule=parts.data)
    return begun.plans


def assert_previewed_is_planned(cfg: DictConfig) -> Plan:
    previews, plans = previews_of(cfg), planned(cfg)
    assert list(previews) == list(plans)
    for name, plan in plans.items():
        shown = previews[name].plan
        assert shown.horizon == plan.horizon
        assert shown.state() == plan.state()
        last = plan.total_steps or 1000
        assert [shown.uses(n) for n in range(0, last, 7)] == [plan.uses(n) for n in range(0, last, 7)]
    (plan,) = plans.values()
    return plan


def composed(tmp_path: Path, *overrides: str) -> DictConfig:
    return config.composed(f"output_dir={tmp_path}", "model.compile=false", *overrides, *QUICK)


# Every file of the config tree

TEXTS = ("topics", "standard_library", "eight_modules", "text_file")
TEXT_RECIPES = ("transformer", "transformer_code", "fine_tuning_text")
OF_IMAGES = [(recipe, data) for recipe in names("recipe") for data in names("data")
             if recipe not in TEXT_RECIPES and data not in TEXTS]  # fmt: skip
OF_TEXTS = [(recipe, data) for recipe in TEXT_RECIPES for data in TEXTS]


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that put something in the place of data that nobody has fetched."""
    (tmp_path / "cifar-10-batches-py").mkdir()
    monkeypatch.setitem(sys.modules, "torchvision.datasets", SimpleNamespace(CIFAR10=fake_cifar))
    (tmp_path / "book.txt").write_text("No plan survives the first update. " * 1000)
    return [f"+data.{key}={tmp_path / path}" for key, path in {"root": "", "path": "book.txt"}.items()]


def data_of(name: str, downloads: list[str]) -> list[str]:
    root, path = downloads
    wanted = {"cifar10": [root.lstrip("+")], "text_file": [path.lstrip("+")]}
    return [f"data={name}", "data.batch_size=32", *wanted.get(name, [])]


@pytest.mark.parametrize("trainer", [one for one in names("trainer") if one != "ddp"])
@pytest.mark.parametrize(("recipe", "data"), [*OF_IMAGES, *OF_TEXTS])
def test_every_trainer_data_set_and_recipe(
    trainer: str, recipe: str, data: str, tmp_path: Path, downloads: list[str]
) -> None:
    cfg = composed(tmp_path, f"recipe={recipe}", f"trainer={trainer}", *data_of(data, downloads))
    assert assert_previewed_is_planned(cfg).horizon.samples_per_step == 32


PUBLISHED = [f"published/{name}" for name in names("recipe/published")]


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_every_published_recipe(recipe: str, tmp_path: Path, downloads: list[str]) -> None:
    """With a small model in the place of the large one, which has other groups and as many updates."""
    settings = OmegaConf.load(CONF / "recipe" / f"{recipe}.yaml").defaults
    model, data = ({key: value for one in settings for key, value in one.items()}.get(f"override /{group}", "digits")
                   for group in ("model", "data"))  # fmt: skip
    small = {"transformer_124m": ["model=transformer_tiny"], "resnet18": ["model=cnn_tiny"]}.get(model, [])
    overrides = [one for one in data_of(data, downloads) if not one.startswith("data.batch_size")]
    assert_previewed_is_planned(composed(tmp_path, f"recipe={recipe}", *small, *overrides))


@pytest.mark.parametrize("overrides", [
    ["trainer.accumulate_grad_batches=3"],
    ["trainer.limit_train_batches=7"],
    ["trainer.limit_train_batches=1"],
    ["trainer.limit_train_batches=1.0"],
    ["trainer.limit_train_batches=5.0"],
    ["trainer.limit_train_batches=99"],
    ["trainer.limit_train_batches=0.25", "trainer.accumulate_grad_batches=4"],
    ["trainer.max_steps=11"],
    ["trainer.max_steps=9999"],
    ["trainer.max_epochs=-1", "trainer.max_steps=70"],
    ["trainer.max_epochs=null", "trainer.max_steps=70"],
    ["trainer.max_epochs=-1", "schedule=fixed"],
    ["trainer.max_epochs=1000", "schedule=fixed"],
    ["trainer.max_epochs=null", "schedule=fixed", "trainer.max_time=00:00:01:00"],
    ["trainer.max_epochs=-1", "callbacks.learning_rate_scheduler.total_steps=300"],
    ["trainer.fast_dev_run=true", "schedule.warmup=0"],
    ["trainer.fast_dev_run=3", "trainer.max_steps=2", "trainer.limit_train_batches=1"],
    ["trainer.fast_dev_run=true", "schedule.warmup=500"],
    ["trainer.fast_dev_run=2", "trainer.overfit_batches=5"],
    ["trainer.overfit_batches=3", "trainer.limit_train_batches=9"],
    ["trainer.overfit_batches=0.5"],
    ["trainer.overfit_batches=2.0"],
    ["data.batch_size=100", "schedule.warmup=1k samples"],
], ids=" ".join)  # fmt: skip
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_every_limit(overrides: list[str], tmp_path: Path) -> None:
    assert_previewed_is_planned(composed(tmp_path, *overrides))


@pytest.mark.filterwarnings("ignore:`max_epochs` was not set")
def test_a_run_without_any_limit_takes_a_thousand_epochs(tmp_path: Path) -> None:
    plan = assert_previewed_is_planned(composed(tmp_path, "trainer.max_epochs=null", "schedule=fixed"))
    assert "max_epochs is 1000" in plan.horizon.source


@pytest.mark.parametrize("callback", [
    {"_target_": "lightning.pytorch.callbacks.Timer", "duration": "00:00:01:00"},
    {"_target_": "lightning.pytorch.callbacks.GradientAccumulationScheduler", "scheduling": {0: 4, 2: 2}},
], ids=lambda one: one["_target_"].rpartition(".")[2])  # fmt: skip
def test_callbacks_that_change_what_counts(callback: dict[str, Any], tmp_path: Path) -> None:
    timed = callback["_target_"].endswith("Timer")
    cfg = composed(tmp_path, *(["trainer.max_epochs=null", "schedule=fixed"] if timed else []))
    with open_dict(cfg):
        cfg.callbacks.more = callback
    assert (assert_previewed_is_planned(cfg).total_steps is None) is timed


# Several devices, and loaders of somebody else: against a Trainer that is built and not run


def trainers_horizon(given: DictConfig, data: LightningDataModule) -> Horizon:
    """The horizon that a Trainer with so many processes finds, none of which is started."""
    strategy = "ddp" if given.devices > 1 else "auto"
    trainer: Trainer = instantiate({"_target_": "lightning.pytorch.Trainer", **given, **HERE, "strategy": strategy},
                                   logger=False)  # fmt: skip
    module = LightningModule()
    module.training_step = lambda *_: None  # type: ignore[method-assign]
    trainer.strategy.connect(module)
    trainer._data_connector.attach_data(module, datamodule=data)
    data.setup("fit")
    trainer.fit_loop.setup_data()
    return Fit(trainer).horizon()


def read_horizon(given: DictConfig, data: LightningDataModule) -> Horizon:
    return limits_of_run(given, data, [], tokens_per_sample=tokens_per_sample_of(data, None)).horizon()


ON_TWO = [*((recipe, None) for recipe in names("recipe")), *((None, data) for data in names("data"))]


@pytest.mark.parametrize(("recipe", "data"), ON_TWO)
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_two_devices(recipe: str | None, data: str | None, tmp_path: Path, downloads: list[str]) -> None:
    own = [f"recipe={recipe}"] if recipe else data_of(data or "", downloads)
    cfg = composed(tmp_path, "trainer=ddp", "trainer.devices=2", *own)
    for more in ({}, {"limit_train_batches": 0.3}, {"overfit_batches": 2}):
        trainer = OmegaConf.merge(cfg.trainer, more)
        found = trainers_horizon(trainer, instantiate(cfg.data))
        assert read_horizon(trainer, instantiate(cfg.data)) == found
        assert found.samples_per_step == 2 * cfg.data.batch_size
        assert found.tokens_per_sample == cfg.data.get("context")


class Counting(IterableDataset[int]):
    def __iter__(self) -> Any:
        return iter(range(50))


class Batches:
    """No DataLoader at all."""

    batch_size = 4

    def __iter__(self) -> Any:
        return iter([[1]] * 13)

    def __len__(self) -> int:
        return 13


class OwnBatches(BatchSampler):
    """Decides for itself which samples make a batch."""


class Loads(LightningDataModule):
    """Returns the training loader that it is given."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def train_dataloader(self) -> Any:
        return self.make(self.trainer)


SAMPLES = TensorDataset(torch.zeros(50))
FEW = TensorDataset(torch.zeros(21))
LOADERS: dict[str, Any] = {
    "partial": lambda trainer: DataLoader(SAMPLES, batch_size=8),
    "full": lambda trainer: DataLoader(SAMPLES, batch_size=8, drop_last=True),
    "shuffled": lambda trainer: DataLoader(SAMPLES, batch_size=8, shuffle=True),
    "subset": lambda trainer: DataLoader(SAMPLES, batch_size=8, sampler=SubsetRandomSampler(range(20))),
    "more than once": lambda trainer: DataLoader(SAMPLES, batch_size=8, sampler=RandomSampler(SAMPLES, True, 77)),
    "weighted": lambda trainer: DataLoader(SAMPLES, batch_size=8, sampler=WeightedRandomSampler([1.0] * 50, 77)),
    "one by one": lambda trainer: DataLoader(SAMPLES, batch_size=None),
    "shares by itself": lambda trainer: DataLoader(
        SAMPLES, batch_size=8, sampler=DistributedSampler(SAMPLES, trainer.world_size, trainer.global_rank)
    ),
    "stream": lambda trainer: DataLoader(Counting(), batch_size=8),
    "no loader": lambda trainer: Batches(),
    "two": lambda trainer: [DataLoader(SAMPLES, batch_size=8), DataLoader(FEW, batch_size=8)],
    "two by name": lambda trainer: {"a": DataLoader(SAMPLES, batch_size=8), "b": DataLoader(FEW, batch_size=8)},
    "one, combined": lambda trainer: CombinedLoader(Batches(), "sequential"),
    "the shortest": lambda trainer: CombinedLoader([DataLoader(SAMPLES, batch_size=8), Batches()], "min_size"),
    "in turn": lambda trainer: CombinedLoader([DataLoader(SAMPLES, batch_size=8), Batches()], "sequential"),
    "with a stream": lambda trainer: [DataLoader(SAMPLES, batch_size=8), DataLoader(Counting(), batch_size=8)],
}
SETTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "a number": {"limit_train_batches": 3},
    "a share": {"limit_train_batches": 0.5},
    "overfit": {"overfit_batches": 2},
    "overfit a share": {"overfit_batches": 0.5},
    "fast": {"fast_dev_run": 2},
    "not shared": {"use_distributed_sampler": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
@pytest.mark.filterwarnings("ignore:You requested to overfit but enabled train dataloader shuffling")
def test_loaders_of_somebody_else(make: Any, settings: dict[str, Any]) -> None:
    for devices in (1, 3):
        trainer = OmegaConf.create({"max_epochs": 20, "devices": devices, **settings})
        try:
            found = trainers_horizon(trainer, Loads(make))
        except MisconfigurationException:  # a share of what has no length, or less than one batch
            with pytest.raises(ValueError, match=r"is a share, and the loader has no length|is less than one"):
                read_horizon(trainer, Loads(make))
        else:
            assert read_horizon(trainer, Loads(make)) == found


@pytest.mark.parametrize("kind", [BatchSampler, OwnBatches])
def test_what_only_training_can_tell_is_not_guessed(kind: type[BatchSampler]) -> None:
    sampler = kind(SubsetRandomSampler(range(20)), 8, drop_last=False)
    own = Loads(lambda trainer: DataLoader(SAMPLES, batch_sampler=sampler))
    trainer = OmegaConf.create({"max_epochs": 20, "devices": 1, "overfit_batches": 9})
    assert read_horizon(trainer, own) == trainers_horizon(trainer, own)
    trainer.devices = 2
    with pytest.raises(ValueError, match=rf"a {kind.__name__} of its own, .* only training can tell its length"):
        read_horizon(trainer, own)


# Runs that would do nothing


@pytest.mark.parametrize(("overrides", "message"), [
    (["trainer.max_epochs=0"], "trainer.max_epochs=0: training would end before its first update"),
    (["trainer.max_steps=0"], "trainer.max_steps=0: training would end before its first update"),
    (["trainer.limit_train_batches=0"], "trainer.limit_train_batches=0: training would end"),
    (["trainer.limit_train_batches=0.01"], "limit_train_batches=0.01 of 39 batches is less than one"),
    (["trainer.limit_train_batches=1.5"], "limit_train_batches=1.5: must be a whole number of batches, or a share"),
    (["trainer.overfit_batches=-1"], "overfit_batches=-1: must be a whole number of batches, or a share"),
    (["trainer.fast_dev_run=-1"], "fast_dev_run=-1: must be true, false or a number of batches"),
    (["trainer.max_epochs=-2"], "max_epochs=-2: must be a whole number, or -1 for no limit"),
    (["trainer.devices=0"], "trainer.devices=0: training needs a device"),
], ids=str)  # fmt: skip
def test_mistakes(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        previews_of(composed(Path("unused"), *overrides))
