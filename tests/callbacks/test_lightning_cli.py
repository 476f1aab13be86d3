"""LightningCLI: every schedule and callback by name, in YAML and typed, with its help, and again from what is saved."""

from __future__ import annotations

import re
import shlex
import sys
import types
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI

import lr_recipes.lr_scheduler  # noqa: F401 - its short names are known from then on
from lr_recipes import (
    LearningRateLogger,
    LearningRateRangeTest,
    LearningRateScheduler,
    LearningRateWarmup,
    schedules,
)
from lr_recipes.plan.horizon import HorizonError
from lr_recipes.plan.resume import Undecided
from lr_recipes.schedules import Schedule, Shape, Span, ToFloor
from lr_recipes.schedules.named import NAMED

from .harness import PEAK, SCHEDULES, Oracle, Tiny, loader, plan, sgd

pytestmark = pytest.mark.behaviour("B62")

SCHEDULER = "lr_recipes.LearningRateScheduler"
UPDATES = 16  # of two epochs


class Data(LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader(8)


class Net(Tiny):
    def __init__(self, lr: float = PEAK, schedule: Schedule | None = None) -> None:
        super().__init__(lambda parameters: sgd(parameters, lr))
        self.save_hyperparameters()
        self.schedule = schedule


class Plain(LightningModule):
    """Leaves its optimizer to the command line."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.ones(2))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.weights * batch.mean()).sum()


@pytest.fixture(autouse=True)
def _as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py"])  # LightningCLI warns of `args` beside pytest's own
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning 2.6 still asks it the old way


@dataclass(frozen=True, kw_only=True)
class Halved(ToFloor):
    """A schedule of a user's own."""

    hold: int | str = "50%"

    def shape(self, span: Span) -> Shape:
        start = span.horizon.steps(self.hold, "hold")
        return Shape(lambda t: 1.0 if t < start else 0.5, 0.5, [("halved", span.warmup)])


def stairs(optimizer: torch.optim.Optimizer) -> Any:
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=4)


def cli(
    folder: Path, *typed: str, callbacks: Any = None, model: Any = None, saves: bool = False, kind: Any = None
) -> LightningCLI:
    """The command line after ``main.py``, with callbacks and a model's arguments in a file of settings."""
    quiet = {
        "accelerator": "cpu", "max_epochs": 2, "logger": False, "enable_checkpointing": False,
        "enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": str(folder),
    }  # fmt: skip
    trainer = quiet if callbacks is None else {**quiet, "callbacks": callbacks}
    settings = {"seed_everything": 1, "trainer": trainer, "model": model or {}}
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump(settings))
    keeps: dict[str, Any] = {} if saves else {"save_config_callback": None}
    return LightningCLI(kind or Net, Data, run=False, args=["--config", str(file), *typed], **keeps)


def used(made: LightningCLI) -> list[float]:
    """What every update used."""
    oracle = Oracle()
    made.trainer.callbacks.append(oracle)  # type: ignore[attr-defined]
    made.trainer.fit(made.model, made.datamodule)
    return [lrs[0] for lrs in oracle.used[0]]


def scheduler_of(made: LightningCLI) -> LearningRateScheduler:
    (found,) = (one for one in made.trainer.callbacks if isinstance(one, LearningRateScheduler))  # type: ignore[attr-defined]
    return found


def written(schedule: Schedule, short: bool = False) -> dict[str, Any]:
    """A schedule as somebody writes it into YAML."""
    fields = schedule.describe()
    name = fields.pop("schedule")
    if isinstance(schedule, schedules.Sequence):
        fields["schedules"] = [written(phase, short) for phase in schedule.schedules]
    return {"class_path": name if short else f"lr_recipes.schedules.{name}", "init_args": fields}


def owner(schedule: Any, **knobs: Any) -> list[dict[str, Any]]:
    return [{"class_path": SCHEDULER, "init_args": {"schedule": schedule, **knobs}}]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("short", [False, True], ids=["path", "name"])
def test_every_schedule_in_yaml(name: str, short: bool, tmp_path: Path) -> None:
    made = cli(tmp_path, callbacks=owner(written(SCHEDULES[name], short)))
    assert scheduler_of(made).schedule == SCHEDULES[name]
    if not short:
        assert used(made) == plan(SCHEDULES[name], UPDATES)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["schedule=Cosine", "schedule.warmup=4"], schedules.Cosine(warmup=4)),
        (["schedule=lr_recipes.schedules.Linear", "schedule.init_args.warmup=25%"], schedules.Linear(warmup="25%")),
        (["schedule=Step", "schedule.step_size=1 epoch"], schedules.Step(step_size="1 epoch")),
        (["schedule=MultiStep", "schedule.milestones=[50%,12]"], schedules.MultiStep(milestones=["50%", 12])),
        (["schedule=Fixed", "interval=epoch"], schedules.Fixed()),
        (["schedule=Plateau", "schedule.monitor=loss"], schedules.Plateau(monitor="loss")),
        (["schedule=Halved", "schedule.hold=4"], Halved(hold=4)),
        (["schedule=ByGroup", "schedule.groups.head=warmup_linear", "schedule.default=Cosine"],
         schedules.ByGroup(groups={"head": "warmup_linear"}, default=schedules.Cosine())),
        (["schedule=Hyperparameters", "schedule.lr=Cosine", "schedule.lr.warmup=4", "schedule.momentum=linear",
          "schedule.others={beta2: linear}"],
         schedules.Hyperparameters(lr=schedules.Cosine(warmup=4), momentum="linear", beta2="linear")),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_typed(typed: Sequence[str], wanted: Schedule, tmp_path: Path) -> None:
    arguments = [f"--trainer.callbacks.{argument}" for argument in typed]
    made = cli(tmp_path, "--trainer.callbacks=LearningRateScheduler", *arguments)
    assert scheduler_of(made).schedule == wanted


def test_schedules_within_schedules_are_saved_and_load_again(tmp_path: Path) -> None:
    warm, half = {"warmup": 3}, {"min_lr_ratio": 0.5}
    groups = {0: {"class_path": "Linear", "init_args": warm}}
    within = {"lr": {"class_path": "ByGroup", "init_args": {"groups": groups, "late": {"joins": "cosine"}}},
              "momentum": "linear",
              "others": {"weight_decay": {"class_path": "Linear", "init_args": half}}}  # fmt: skip
    made = cli(tmp_path, callbacks=owner({"class_path": "Hyperparameters", "init_args": within}), saves=True)
    wanted = schedules.ByGroup(groups={0: schedules.Linear(warmup=3)}, late={"joins": "cosine"})
    decay = schedules.Linear(min_lr_ratio=0.5)
    assert scheduler_of(made).schedule == schedules.Hyperparameters(lr=wanted, momentum="linear", weight_decay=decay)
    first = used(made)
    saved = ["--config", str(tmp_path / "config.yaml")]
    again = LightningCLI(Net, Data, run=False, args=saved, save_config_callback=None)
    assert scheduler_of(again).schedule == scheduler_of(made).schedule
    assert used(again) == first == plan(schedules.Linear(warmup=3), UPDATES)


@pytest.mark.parametrize("name", ["warmup_cosine", "one_cycle"])
def test_a_name_is_saved_and_loads_again(name: str, tmp_path: Path) -> None:
    typed = ["--trainer.callbacks=LearningRateScheduler", f"--trainer.callbacks.schedule={name}"]
    first = used(cli(tmp_path, *typed, saves=True))
    saved = ["--config", str(tmp_path / "config.yaml")]
    again = LightningCLI(Net, Data, run=False, args=saved, save_config_callback=None)
    assert used(again) == first == plan(NAMED[name], UPDATES)


def test_typed_over_a_file(tmp_path: Path) -> None:
    made = cli(tmp_path, "--trainer.callbacks.schedule.warmup=3", callbacks=owner({"class_path": "Cosine"}))
    assert scheduler_of(made).schedule == schedules.Cosine(warmup=3)


def test_a_schedule_for_each_optimizer(tmp_path: Path) -> None:
    made = cli(tmp_path, callbacks=owner({"SGD": written(schedules.Linear(warmup=2))}))
    assert scheduler_of(made).schedule == {"SGD": schedules.Linear(warmup=2)}
    assert used(made) == plan(schedules.Linear(warmup=2), UPDATES)


def test_a_scheduler_of_torch_from_a_function(tmp_path: Path) -> None:
    factory = f"{__name__}.stairs"
    sys.modules.setdefault(__name__, sys.modules[stairs.__module__])
    made = cli(tmp_path, callbacks=owner({"class_path": "TorchSchedule", "init_args": {"factory": factory}}))
    assert used(made) == pytest.approx([PEAK * 0.1 ** (n // 4) for n in range(UPDATES)])


STEP_LR = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 4}}
STAIRS = pytest.approx([PEAK * 0.1 ** (n // 4) for n in range(UPDATES)])


def test_a_scheduler_of_torch_by_its_class(tmp_path: Path) -> None:
    made = cli(tmp_path, callbacks=owner({"class_path": "TorchSchedule", "init_args": {"factory": STEP_LR}}))
    assert used(made) == STAIRS


@pytest.mark.parametrize("schedule", [
    schedules.Custom(function="math.cos", warmup="25%"),
    schedules.Piecewise(milestones=[0, "50%"], factors=[1, 0.5], interpolation=["cosine"]),
    schedules.Ramp(end=0.5, shape="cosine", length="1 epoch"),
    schedules.CosineRestarts(cycles=4),
], ids=lambda value: type(value).__name__)  # fmt: skip
def test_a_shape_whose_knobs_are_of_several_types(schedule: Schedule, tmp_path: Path) -> None:
    described = schedule.describe()
    knobs = {name: value for name, value in described.items() if name != "schedule" and value is not None}
    if "function" in knobs:
        knobs["function"] = "math.cos"
    made = cli(tmp_path, callbacks=owner({"class_path": described["schedule"], "init_args": knobs}))
    assert made.trainer.callbacks[0].schedule == schedule


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        (["schedule=Cosin"], "'cosine', 'cosine_restarts', 'custom'"),
        (["schedule=Cosine", "schedule.warmpu=5%"], "Problem with given class_path 'lr_recipes.schedules.Cosine'"),
        (["schedule={SGD: warmup_cosin}"], "'warmup_constant', 'warmup_cosine'"),
        (["schedule=lr_recipes.lr_scheduler.Cosine"], "does not correspond to a subclass of Schedule"),
    ],
    ids=["class", "knob", "name for an optimizer", "class of another kind"],
)
def test_a_wrong_word_is_refused_before_anything_is_made(
    typed: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"--trainer.callbacks={SCHEDULER}", *(f"--trainer.callbacks.{one}" for one in typed)]
    with pytest.raises(SystemExit) as ended:
        LightningCLI(Net, Data, run=False, args=words)
    assert ended.value.code == 2
    assert answer in capsys.readouterr().err


# A schedule as the `--lr_scheduler` of the command line


def by_path(folder: Path, *typed: str, saves: bool = False) -> LightningCLI:
    optimizer = ["--optimizer=SGD", f"--optimizer.lr={PEAK}"]
    return cli(folder, *optimizer, *typed, callbacks=[], saves=saves, kind=Plain)


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        (["lr_recipes.lr_scheduler.Cosine", "warmup=25%", "min_lr_ratio=0.1"],
         schedules.Cosine(warmup="25%", min_lr_ratio=0.1)),
        (["Step", "step_size=1 epoch"], schedules.Step(step_size="1 epoch")),
        (["MultiStep", "milestones=[50%,12]"], schedules.MultiStep(milestones=["50%", 12])),
        (["Linear", f"total_steps={UPDATES}"], schedules.Linear()),
        (["lr_recipes.lr_scheduler.ByGroup", "groups={0: linear}"], schedules.Linear()),
        (["Hyperparameters", "lr=linear", "weight_decay=cosine"], schedules.Linear()),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)  # fmt: skip
def test_lr_scheduler(typed: list[str], wanted: Schedule, tmp_path: Path) -> None:
    name, *knobs = typed
    made = by_path(tmp_path, f"--lr_scheduler={name}", *(f"--lr_scheduler.{knob}" for knob in knobs), saves=True)
    assert used(made) == plan(wanted, UPDATES, steps_per_epoch=8)
    saved = ["--config", str(tmp_path / "config.yaml")]
    again = LightningCLI(Plain, Data, run=False, args=saved, save_config_callback=None)
    assert used(again) == plan(wanted, UPDATES, steps_per_epoch=8)


def test_lr_scheduler_of_torch(tmp_path: Path) -> None:
    name, step_lr = "lr_recipes.lr_scheduler.TorchSchedule", STEP_LR["class_path"]
    made = by_path(
        tmp_path,
        f"--lr_scheduler={name}",
        f"--lr_scheduler.factory={step_lr}",
        "--lr_scheduler.factory.step_size=4",
    )
    assert used(made) == STAIRS


def test_lr_scheduler_of_a_run_without_end(tmp_path: Path) -> None:
    made = by_path(tmp_path, "--lr_scheduler=Cosine", "--trainer.max_epochs=-1")
    with pytest.raises(HorizonError, match=r"Trainer\(max_steps=...\).*, total_steps=...\)"):
        made.trainer.fit(made.model, made.datamodule)


def test_help_of_lr_scheduler(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        LightningCLI(Plain, Data, run=False, args=["--lr_scheduler.help=lr_recipes.lr_scheduler.OneCycle"])
    printed = capsys.readouterr().out
    assert [knob for knob in ("pct_start", "share of the run that goes up", "total_steps") if knob not in printed] == []


def test_the_other_callbacks(tmp_path: Path) -> None:
    listed = [
        {"class_path": "lr_recipes.LearningRateWarmup", "init_args": {"duration": "25%"}},
        {"class_path": "LearningRateLogger", "init_args": {"dirpath": str(tmp_path / "log"), "plot": False}},
        {"class_path": "LearningRateRangeTest", "init_args": {"num_training_steps": 20, "epoch": None}},
    ]
    made = cli(tmp_path, callbacks=listed)
    kinds = [type(one) for one in made.trainer.callbacks]  # type: ignore[attr-defined]
    assert {LearningRateWarmup, LearningRateLogger, LearningRateRangeTest} <= set(kinds)
    assert used(made) == pytest.approx([PEAK * min((n + 1) / 4, 1) for n in range(UPDATES)])
    assert len((tmp_path / "log" / "lr.csv").read_text().splitlines()) == 1 + UPDATES


@pytest.mark.parametrize("name", ["cosine_min_lr", "sequence", "multistep"])
def test_what_is_saved_loads_again(name: str, tmp_path: Path) -> None:
    made = cli(tmp_path, callbacks=owner(written(SCHEDULES[name], short=True), total_steps=UPDATES), saves=True)
    first = used(made)
    saved = tmp_path / "config.yaml"
    again = LightningCLI(Net, Data, run=False, args=["--config", str(saved)], save_config_callback=None)
    assert scheduler_of(again).schedule == SCHEDULES[name]
    assert used(again) == first == plan(SCHEDULES[name], UPDATES)


def test_a_module_takes_a_schedule_and_comes_back_from_its_checkpoint(tmp_path: Path) -> None:
    schedule = SCHEDULES["sequence"]
    made = cli(tmp_path, "--trainer.enable_checkpointing=true", model={"schedule": written(schedule)})
    assert made.model.schedule == schedule
    made.trainer.fit(made.model, made.datamodule)
    checkpoint = made.trainer.checkpoint_callback.best_model_path  # type: ignore[union-attr]
    assert Net.load_from_checkpoint(checkpoint, weights_only=True).schedule == schedule


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["--help"], ["--trainer.callbacks", "--model.schedule"]),
        (["--trainer.callbacks.help=LearningRateScheduler"], ["schedule", "interval", "resume", "total_steps"]),
        (["--trainer.callbacks.help=LearningRateWarmup"], ["duration", "warmup_type"]),
        (["--trainer.callbacks.help=LearningRateLogger"], ["dirpath", "audit"]),
        (["--trainer.callbacks.help=LearningRateRangeTest"], ["num_training_steps", "rule"]),
        (["--model.schedule.help=CosineRestarts"], ["cycle_mult", "warmup_start_factor", "min_lr_ratio"]),
        (["--trainer.callbacks=LearningRateScheduler", "--trainer.callbacks.schedule.help=OneCycle"], ["pct_start"]),
        (["--model.schedule.help=Hyperparameters"], ["schedule.lr", "weight_decay", "momentum", "others"]),
        (["--model.schedule.help=ByGroup"], ["groups", "default", "late", "regular expression"]),
    ],
    ids=lambda value: value[-1],
)
def test_help(typed: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        LightningCLI(Net, Data, run=False, args=typed)
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert [part for part in parts if part not in printed] == []
    assert "init=False" not in printed


@pytest.mark.parametrize(
    ("schedule", "parts"),
    [
        ({"class_path": "Cosine", "init_args": {"warmup": 0.1}}, ["warmup", "0.1"]),
        ({"class_path": "Cosine", "init_args": {"warmup": "soon"}}, ["warmup='soon' cannot be read", "'5 epochs'"]),
        ({"class_path": "Cosine", "init_args": {"warmpu": 1}}, ["Option 'warmpu' is not accepted"]),
        ({"class_path": "Cosine", "init_args": {"min_lr": 1, "min_lr_ratio": 0.1}}, ["both set the floor"]),
        ({"class_path": "Cosin"}, ["Cosin"]),
    ],
    ids=["a bare float", "no length", "a misspelt knob", "two floors", "a misspelt name"],
)
def test_what_is_wrong_is_said(
    schedule: dict[str, Any], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The parser ends the program; what only a schedule can tell is an error of its own.
    with pytest.raises((SystemExit, ValueError)) as ended:
        cli(tmp_path, callbacks=owner(schedule))
    said = f"{capsys.readouterr().err}{ended.value}"
    assert [part for part in parts if part not in said] == []


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["schedule=Cosin"], ["Cosin", "'one_cycle'"]),
        (["schedule=Cosine", "schedule.warmpu=5"], ["Option 'warmpu' is not accepted"]),
    ],
    ids=["a name", "a knob"],
)
def test_what_is_misspelt_is_refused_by_the_parser(
    typed: list[str], parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--trainer.callbacks=LearningRateScheduler", *(f"--trainer.callbacks.{one}" for one in typed)]
    with pytest.raises(SystemExit) as ended:
        cli(tmp_path, *arguments)
    said = capsys.readouterr().err
    assert (ended.value.code, [part for part in parts if part not in said]) == (2, [])


SCHEDULED = ["--trainer.callbacks=LearningRateScheduler", "--trainer.callbacks.schedule=Linear"]
AS_LR_SCHEDULER = ["--lr_scheduler=lr_recipes.lr_scheduler.Linear"]
BY_YAML = [*SCHEDULED, "--trainer.callbacks+=LearningRateLogger", "--trainer.callbacks.plot=false"]


@pytest.mark.parametrize(
    ("written", "last"),
    [
        (SCHEDULED, "--trainer.callbacks.resume=checkpoint"),
        (AS_LR_SCHEDULER, "--lr_scheduler.resume=checkpoint"),
        (BY_YAML, "    resume: checkpoint  # in the YAML file, among the init_args of LearningRateScheduler"),
    ],
    ids=["callback", "lr_scheduler", "another callback is last"],
)
def test_a_refused_resume_ends_with_what_is_to_be_typed(
    written: list[str], last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}

    def program(*typed: str) -> Trainer:
        monkeypatch.setattr(sys, "argv", ["main.py", *typed])
        return LightningCLI(Plain, Data, save_config_callback=None, trainer_defaults=quiet).trainer

    run = ["fit", "--seed_everything=1", "--optimizer=SGD", "--optimizer.lr=0.1", *written, "--trainer.max_epochs=1"]
    saved = str(program(*run).checkpoint_callback.best_model_path)  # type: ignore[union-attr]
    longer = [*run, "--trainer.max_epochs=2", f"--ckpt_path={saved}"]
    with pytest.raises(Undecided) as refused:
        program(*longer)
    said = str(refused.value).splitlines()[-1]
    assert said.endswith(last)
    if "YAML" not in said:
        assert shlex.split(said) == ["python", "main.py", *longer, last]
        assert program(*shlex.split(said)[2:]).global_step == UPDATES


# The page that says it

PAGE = (Path(__file__).parents[2] / "docs" / "lightning_cli.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


MY_PROJECT = f"""
import torch
from lightning.pytorch import LightningModule
from {__name__} import Data


class Net(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.layer(batch).mean()
"""


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs ``main.py`` of the page with arguments, beside its ``config.yaml``."""
    (tmp_path / "config.yaml").write_text(blocks("yaml")[0])
    project = types.ModuleType("my_project")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Data.__module__])
    exec(MY_PROJECT, vars(project))
    monkeypatch.setitem(sys.modules, "my_project", project)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Trainer:
        monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
        scope: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(blocks("python")[0], "main.py", "exec", dont_inherit=True), scope)
        trainer: Trainer = scope["cli"].trainer
        return trainer

    return run


COMMANDS = re.findall(r"^ {4}python main\.py (.*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if ".help=" not in command])
def test_the_commands_of_the_page(command: str, main: Any) -> None:
    quiet = ["logger=false", "enable_checkpointing=false", "enable_progress_bar=false", "accelerator=cpu"]
    quiet += ["default_root_dir=runs"]  # without a logger, the settings are saved there
    trainer = main(*shlex.split(command), "--seed_everything=1", *(f"--trainer.{option}" for option in quiet))
    assert trainer.global_step == UPDATES
    assert {type(one) for one in trainer.callbacks} & {LearningRateScheduler, LearningRateWarmup}


@pytest.mark.parametrize("command", [command for command in COMMANDS if ".help=" in command])
def test_the_help_of_the_page(command: str, main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(*shlex.split(command))
    assert "min_lr_ratio" in capsys.readouterr().out


@pytest.mark.parametrize("block", blocks("yaml")[1:])
def test_the_other_blocks_of_the_page(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["from torch.optim.lr_scheduler import StepLR", "def stairs(optimizer):", "    return StepLR(optimizer, 4)"]
    (tmp_path / "my_schedulers.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    made = cli(tmp_path, callbacks=owner(yaml.safe_load(block)["schedule"]))
    assert len(used(made)) == UPDATES
