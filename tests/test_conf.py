"""The config tree: every file of every group, alone and together."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import get_object, instantiate
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from lr_recipes import Horizon, LearningRateLogger, LearningRateScheduler, schedules
from lr_recipes.schedules.named import NAMED
from recipes.app import config
from recipes.app.config import CONF
from recipes.app.preview import previews_of
from recipes.app.validation import check

NEEDS_NO_TOTAL = [
    "fixed", "step", "warmup_constant", "inverse_sqrt", "inverse_time", "plateau", "warmup_plateau", "exponential",
]  # fmt: skip


def files(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


MADE_OF_OTHERS = ["by_group", "hyperparameters"]  # to be filled in: alone they are no schedule that has a name
SCHEDULES = [name for name in files("schedule") if name not in MADE_OF_OTHERS]
# Published settings too, which are in a folder of their own.
RECIPES = sorted(path.relative_to(CONF / "recipe").with_suffix("").as_posix() for path in CONF.glob("recipe/**/*.yaml"))


def read(group: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CONF / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def composed(*overrides: str) -> DictConfig:
    return config.composed("output_dir=unused", *overrides)


# Schedules


# The bases, and three that are made of objects, which nobody types on a command line.
WITHOUT_A_FILE = {"Schedule", "ToFloor", "Product", "Sequence", "TorchSchedule"}


def public_schedules() -> set[type[Any]]:
    public = [getattr(schedules, name) for name in dir(schedules) if not name.startswith("_")]
    return {one for one in public if inspect.isclass(one) and issubclass(one, schedules.Schedule)}


def test_every_schedule_has_a_file_and_every_file_a_schedule() -> None:
    named = {get_object(read("schedule", name)["_target_"]).__name__ for name in files("schedule")}
    assert {kind.__name__ for kind in public_schedules()} == named | WITHOUT_A_FILE
    assert not named & WITHOUT_A_FILE


@pytest.mark.parametrize("name", files("schedule"))
def test_a_schedule_lists_exactly_its_knobs_each_with_a_comment(name: str) -> None:
    content = read("schedule", name)
    target = get_object(content.pop("_target_"))
    assert content.pop("_convert_") == "all"
    knobs = inspect.signature(target).parameters.values()
    assert set(content) == {one.name for one in knobs if one.kind is one.KEYWORD_ONLY}
    assert "${" not in str(content)
    first, *lines = (CONF / "schedule" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    assert first.startswith("# ")
    assert [line for line in lines if not line.startswith("_") and "   # " not in line] == []


def test_python_knows_each_file_by_its_name() -> None:
    assert {name: instantiate(OmegaConf.create(read("schedule", name))) for name in SCHEDULES} == NAMED


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_fits_an_ordinary_run_and_says_by_its_name_whether_it_warms_up(name: str) -> None:
    schedule = instantiate(composed(f"schedule={name}").schedule)
    curve = schedule.resolve(Horizon(total_steps=2000, steps_per_epoch=100, samples_per_step=32), peak=0.1)
    assert all(0 < curve(n) <= 1 for n in range(2000))
    assert (curve.phases[0].name == "warmup") == (name.startswith("warmup_") or name in ("infinite", "inverse_sqrt"))
    if name in NEEDS_NO_TOTAL:
        schedule.resolve(Horizon(steps_per_epoch=100), peak=0.1)


def test_the_floor_can_be_given_either_way_without_unsetting_the_other() -> None:
    for override in ("schedule.min_lr=0.001", "schedule.min_lr_ratio=0.5"):
        cfg = composed(override)
        assert instantiate(cfg.schedule).resolve(Horizon(total_steps=100), peak=0.002).end == 0.5


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (
            ["schedule=by_group", "+schedule.groups.head=warmup_linear", "+schedule.groups.0=cosine"],
            schedules.ByGroup(groups={"head": "warmup_linear", "0": "cosine"}, default="warmup_cosine"),
        ),
        (
            ["schedule=by_group", "+schedule@schedule.groups.head=linear", "schedule.groups.head.warmup=3",
             "+schedule@schedule.default=step", "+schedule.late.group1=fixed"],
            schedules.ByGroup(groups={"head": schedules.Linear(warmup=3)}, default=NAMED["step"],
                              late={"group1": "fixed"}),
        ),
        (["schedule=hyperparameters"], schedules.Hyperparameters(lr="warmup_cosine")),
        (
            ["schedule=hyperparameters", "+schedule@schedule.lr=linear", "schedule.lr.warmup=3",
             "schedule.weight_decay=cosine", "+schedule.others.beta2=linear"],
            schedules.Hyperparameters(lr=schedules.Linear(warmup=3), weight_decay="cosine", beta2="linear"),
        ),
        (
            ["schedule=hyperparameters", "+schedule@schedule.lr=by_group", "+schedule.lr.groups.head=linear"],
            schedules.Hyperparameters(lr=schedules.ByGroup(groups={"head": "linear"}, default="warmup_cosine")),
        ),
    ],
    ids=["names", "knobs", "as it is", "other numbers", "one within the other"],
)  # fmt: skip
def test_schedules_within_schedules_are_typed(typed: list[str], wanted: schedules.Schedule) -> None:
    assert instantiate(composed(*typed).schedule) == wanted


# All groups

OPTIONS = [(group, name) for group in ("model", "data", "optimizer", "trainer", "callbacks", "logger", "task")
           for name in files(group)]  # fmt: skip


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_every_file_composes_and_passes_the_checks(group: str, name: str) -> None:
    more = ["data.path=book.txt"] if name == "text_file" else []
    cfg = composed(f"{group}={name}", *more)
    check(cfg)
    assert isinstance(cfg[group], DictConfig)


def test_help_lists_every_group_with_all_of_its_files() -> None:
    groups = {path.name for path in CONF.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))}
    assert groups - {"hydra"} == {group for group, _ in OPTIONS} | {"schedule", "recipe"}


def test_the_trainer_needs_no_plus_for_any_common_flag() -> None:
    flags = set(inspect.signature(Trainer).parameters)
    # Given by the program, or of no use to it.
    left_out = {"callbacks", "logger", "plugins", "limit_predict_batches", "enable_autolog_hparams", "model_registry"}
    assert set(read("trainer", "default")) - {"_target_", "_convert_"} == flags - left_out


def test_the_trainers_own_defaults_are_kept_but_for_these() -> None:
    ours = read("trainer", "default")
    theirs = {name: one.default for name, one in inspect.signature(Trainer).parameters.items()}
    other = {name for name, value in ours.items() if name in theirs and value != theirs[name]}
    assert other == {
        "devices", "precision", "max_epochs", "num_sanity_val_steps", "log_every_n_steps", "enable_progress_bar",
        "enable_model_summary", "default_root_dir",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("cpu", {"accelerator": "cpu", "strategy": "auto"}),
        ("gpu", {"accelerator": "gpu", "precision": "bf16-mixed", "benchmark": True, "log_every_n_steps": 50}),
        ("ddp", {"strategy": "ddp", "devices": "auto"}),
    ],
)
def test_trainers_differ_from_the_default_in_little(name: str, values: dict[str, Any]) -> None:
    trainer, default = composed(f"trainer={name}").trainer, composed().trainer
    assert {key: trainer[key] for key in values} == values
    assert {key for key in trainer if trainer[key] != default[key]} <= set(values)


@pytest.mark.parametrize("name", [name for name in files("callbacks") if name.startswith("learning_rate")])
def test_a_callback_lists_exactly_its_arguments_under_its_own_name(name: str) -> None:
    ((key, node),) = read("callbacks", name).items()
    assert key == name
    assert set(node) - {"_target_"} == set(inspect.signature(get_object(node["_target_"])).parameters)


def test_callbacks_combine_by_list() -> None:
    cfg = composed("callbacks=[learning_rate_scheduler,learning_rate_logger]")
    built = [type(instantiate(node)) for node in cfg.callbacks.values()]
    assert built == [LearningRateScheduler, LearningRateLogger]
    assert composed("callbacks=none").callbacks == {}
    assert composed("logger=none").logger == {}


def test_the_scheduler_gets_the_chosen_schedule_and_policy() -> None:
    cfg = composed("schedule=one_cycle", "schedule.pct_start=0.4", "resume=config")
    callback = instantiate(cfg.callbacks.learning_rate_scheduler)
    assert callback.schedule == instantiate(cfg.schedule)
    assert callback.resume == "config"


def test_the_callbacks_stand_alone_in_another_application(tmp_path: Path) -> None:
    pytest.importorskip("lr_recipes.conf", reason="the package is not installed: the tests run from the files alone")
    chosen = "[learning_rate_scheduler, learning_rate_logger, learning_rate_range_test, learning_rate_warmup]"
    lines = ["defaults:", "  - schedule: warmup_cosine", f"  - callbacks: {chosen}", "  - _self_"]
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        cfg = compose("config")
    built = {key: instantiate(node) for key, node in cfg.callbacks.items()}
    assert built["learning_rate_scheduler"].resume == built["learning_rate_warmup"].resume == "error"
    assert [getattr(one, "dirpath", None) for one in built.values()] == [None] * 4


# Recipes


def leaves(node: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def choices(recipe: str) -> dict[str, str]:
    overrides = (entry.popitem() for entry in read("recipe", recipe)["defaults"])
    return {group.removeprefix("override /"): name for group, name in overrides}


@pytest.mark.parametrize(("recipe", "schedule"), list(zip(itertools.cycle(files("recipe")), SCHEDULES)))
def test_a_recipe_runs_with_another_schedule(recipe: str, schedule: str) -> None:
    """Each schedule with one recipe: what a recipe says of its schedule, any schedule has (see below)."""
    cfg = composed(f"recipe={recipe}", f"schedule={schedule}")
    assert cfg.schedule._target_ == read("schedule", schedule)["_target_"]
    run = Horizon(total_steps=1000, steps_per_epoch=100, samples_per_step=32)
    assert instantiate(cfg.schedule).resolve(run, peak=cfg.optimizer.lr)(999) <= 1


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_holds_differences_only(recipe: str) -> None:
    content, groups = read("recipe", recipe), choices(recipe)
    defaults = {group: name for entry in read(".", "config")["defaults"] if isinstance(entry, dict)
                for group, name in entry.items()}  # fmt: skip
    assert {group: name for group, name in groups.items() if defaults[group] == name} == {}
    without = composed(*(f"{group}={name}" for group, name in groups.items()))
    with_it = composed(f"recipe={recipe}")
    del content["defaults"]
    for key, value in leaves(content):
        assert select(with_it, key) == value
        assert select(without, key) != value, f"{key} is no difference"


def select(cfg: DictConfig, key: str) -> Any:
    """A value as it is written: not what an interpolation makes of it."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    plain: Any = OmegaConf.to_container(node, resolve=False)
    return plain.get(name)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_gives_its_reasons(recipe: str) -> None:
    text = (CONF / "recipe" / f"{recipe}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# @package _global_\n# ")
    values = [line for line in text.splitlines() if re.match(r"  (\w+: |- (?!override))", line)]
    assert values
    assert [line for line in values if " # " not in line] == []


@pytest.mark.parametrize("recipe", [name for name in RECIPES if not name.startswith("published/")])
def test_a_recipe_touches_only_what_every_schedule_has(recipe: str) -> None:
    assert set(read("recipe", recipe).get("schedule", {})) <= {"warmup"}


def test_the_command_line_has_the_last_word_and_then_the_recipe() -> None:
    assert composed("recipe=large_batch").data.batch_size == 512
    cfg = composed("recipe=large_batch", "optimizer.lr=0.4", "schedule=step", "data=digits")
    assert (cfg.optimizer.lr, cfg.schedule._target_, cfg.data.batch_size) == (0.4, "lr_recipes.schedules.Step", 512)


# What the first comment of each published recipe says: updates, peaks, and the LR at some updates.
PUBLISHED = {
    "classical_cnn": (70_200, {0.1}, {21_059: 0.1, 21_060: 0.02, 42_120: 0.004, 56_160: 0.0008, 70_199: 0.0008}),
    "fast_supervised": (2088, {0.4}, {433: 0.3997, 1260: 0.2, 2087: 0.0}),
    "fine_tuning": (30, {2e-5}, {0: 1e-5, 1: 2e-5, 29: 2e-5 / 28}),
    "large_batch": (3870, {0.8}, {0: 0.8 / 215, 214: 0.8, 1289: 0.8, 1290: 0.08, 2580: 0.008, 3440: 0.0008}),
    "small_experiment": (3315, {1e-3}, {0: 1e-3, 3314: 1e-3}),
    "transformer": (600_000, {6e-4}, {0: 3e-7, 1999: 6e-4, 301_000: 3.3e-4, 599_999: 6e-5}),
}


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name.startswith("published/")])
def test_a_published_recipe_plans_what_it_says(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("All work and no play makes Jack a dull boy.\n" * 500)
    data = read("recipe", recipe)["defaults"]
    more = ["data.download=true"] if {"override /data": "cifar10"} in data else []
    if {"override /data": "text_file"} in data:
        more = [f"data.path={tmp_path}/book.txt"]
    if recipe == "published/fine_tuning":
        more += ["data.train_windows=320"]  # the size of one's own text decides
    cfg = composed(f"recipe={recipe}", *more)
    check(cfg)
    updates, peaks, lrs = PUBLISHED[recipe.removeprefix("published/")]
    (shown,) = previews_of(cfg).values()
    assert (shown.updates, set(shown.base_lrs.values())) == (updates, peaks)
    for update, lr in lrs.items():
        (used,) = set(shown.lrs(update).values())
        assert used == pytest.approx(lr, rel=1e-3, abs=1e-5 * max(peaks))


def test_the_published_recipes_are_those_of_the_table() -> None:
    assert set(PUBLISHED) == {path.stem for path in (CONF / "recipe" / "published").glob("*.yaml")}
    assert set(PUBLISHED) == set(files("recipe")) - {"fine_tuning_text", "transformer_code"}  # second tasks


@pytest.mark.parametrize("recipe", files("recipe"))
def test_a_recipe_goes_with_all_data_and_models_of_its_kind(recipe: str) -> None:
    """Nothing of the data or the model that a recipe chooses is left behind when another one is chosen."""
    text = composed(f"recipe={recipe}").model._target_.endswith("LanguageModel")
    texts = {"topics", "standard_library", "eight_modules", "text_file"}
    models = [name for name in files("model") if name.startswith("transformer") is text]
    for name in texts if text else set(files("data")) - texts:
        more = {"text_file": ["data.path=book.txt"], "cifar10": ["data.download=true"]}.get(name, [])
        check(composed(f"recipe={recipe}", f"data={name}", "trainer=gpu", *more))
    chosen = [name for name in models if recipe.startswith(("fine", "trans")) or name != "resnet18"]
    assert [name for name in chosen if not leaves_sizes_alone(recipe, name)] == []


def leaves_sizes_alone(recipe: str, model: str) -> bool:
    cfg, plain = composed(f"recipe={recipe}", f"model={model}").model, composed(f"model={model}").model
    return {key for key in plain if cfg[key] != plain[key]} <= {"head_lr_ratio"}
