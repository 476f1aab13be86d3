"""What previews, pictures and the program ``lr-recipes`` say."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
import torch

import lr_recipes
from lr_recipes import Horizon, command_line, preview, schedules
from lr_recipes.report.picture import draw
from tests.callbacks.harness import fit, record_lrs
from tests.messages.doors import COSINE, RUN, Case, Door, a_file, saved


def typed(*words: str) -> None:
    """Run the program ``lr-recipes``; an error is raised with the text that it prints."""
    found: list[BaseException] = []
    explained = command_line._explained

    def noting(error: Any) -> str:
        found.append(error)
        return explained(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command_line, "_explained", noting)
        with contextlib.redirect_stderr(io.StringIO()) as printed, contextlib.redirect_stdout(io.StringIO()):
            status = command_line.main(words)
    if status or printed.getvalue():
        raise ValueError(printed.getvalue()) from (found[0] if found else None)


def shown(*words: str) -> Door:
    """``lr-recipes preview`` with these words, and what every call needs where it is not among them."""
    needed = {"schedule": "cosine", "total_steps": "100"}
    rest = [f"{key}={value}" for key, value in needed.items() if not any(word.startswith(f"{key}=") for word in words)]
    return lambda: typed("preview", *words, *rest)


def header_only() -> Path:
    Path("lr.csv").write_text("step,epoch,samples,phase,planned_factor,lr/group0\n")
    return Path("lr.csv")


def drawn() -> None:
    fit(COSINE, max_epochs=2, callbacks=[record_lrs(Path())])
    draw(Path("lr.csv"), Path("lr.png"))


DECAYS = schedules.Hyperparameters(weight_decay=schedules.Linear())
PREVIEWS: dict[str, Case] = {
    "nothing to compare": Case(
        lambda: preview({}, RUN),
        ["schedule={}"],
        {"{'cosine': Cosine()}": lambda: preview({"cosine": schedules.Cosine()}, RUN)},
    ),
    "run that is none": Case(
        lambda: preview(schedules.Cosine(), "5 epochs"),
        ["horizon='5 epochs'"],
        {
            "Horizon(total_steps=1000, steps_per_epoch=100)": lambda: preview(
                schedules.Cosine(), Horizon(total_steps=1000, steps_per_epoch=100)
            ),
            "as in 1000": lambda: preview(schedules.Cosine(), 1000),
        },
    ),
    "name that is none": Case(
        lambda: preview(COSINE, RUN, {1: 0.1}),  # type: ignore[dict-item]
        ["lr: 1", "no name"],
        {"as in 'decay'": lambda: preview(COSINE, RUN, {"decay": 0.1})},
    ),
    "schedule that is none": Case(
        lambda: preview(torch.optim.lr_scheduler.StepLR, RUN),  # type: ignore[arg-type]
        ["schedule=<class 'torch.optim.lr_scheduler.StepLR'>"],
        {
            "Cosine(warmup='10%')": lambda: preview(schedules.Cosine(warmup="10%"), RUN),
            "as in 'warmup_cosine'": lambda: preview("warmup_cosine", RUN),
        },
    ),
    "schedule by a name that is none": Case(
        lambda: preview("warmup_cosin", RUN),
        ["schedule=warmup_cosin is unknown"],
        {
            "did you mean 'warmup_cosine'": lambda: preview("warmup_cosine", RUN),
            "choose one of cosine, ": lambda: [preview(name, RUN, lr=0.1) for name in command_line.schedule_names()],
        },
    ),
    "argument that is none": Case(
        lambda: preview(schedules.Cosine(warmpu=4), RUN),  # type: ignore[call-arg]
        ["Cosine has no argument 'warmpu'", "it takes warmup, warmup_type, warmup_start_factor, min_lr_ratio, min_lr"],
        {"did you mean 'warmup'": lambda: preview(COSINE, RUN)},
    ),
    "value without its name": Case(
        lambda: preview(schedules.Step("5 epochs"), RUN),  # type: ignore[misc]
        ["'5 epochs' is given to Step without a name"],
        {"as in Step(step_size='5 epochs')": lambda: preview(schedules.Step(step_size="5 epochs"), RUN)},
    ),
    "value that must be given": Case(
        lambda: preview(schedules.Step(), RUN),  # type: ignore[call-arg]
        ["Step needs step_size"],
        {"it takes warmup, warmup_type": lambda: preview(schedules.Step(step_size=4), RUN)},
    ),
    "schedule that is not there": Case(
        lambda: schedules.Cosin,  # type: ignore[attr-defined]
        ["lr_recipes.schedules has no 'Cosin'"],
        {
            "did you mean 'Cosine'": lambda: schedules.Cosine,
            "it has ByGroup, Cosine, CosineRestarts": lambda: [getattr(schedules, name) for name in schedules.__all__],
        },
    ),
    "name of the command line": Case(
        lambda: schedules.warmup_cosine,  # type: ignore[attr-defined]
        ["lr_recipes.schedules has no 'warmup_cosine'"],
        {"did you mean Cosine(warmup='5%')": lambda: schedules.Cosine(warmup="5%")},
    ),
    "LR held for epochs without a length": Case(
        lambda: preview(COSINE, Horizon(total_steps=16), interval="epoch").chart(),
        ["interval='epoch' needs steps_per_epoch"],
        {
            "Horizon(steps_per_epoch=100)": lambda: preview(
                COSINE, Horizon(total_steps=16, steps_per_epoch=8), interval="epoch"
            ).chart()
        },
    ),
    "LR that is none": Case(
        lambda: preview(COSINE, RUN, lr=-0.1),
        ["lr=-0.1", "above 0"],
        {"as in 0.001": lambda: preview(COSINE, RUN, lr=0.001)},
    ),
    "LRs of no group": Case(
        lambda: preview(COSINE, RUN, lr={}),
        ["lr={}", "at least one group"],
        {"{'decay': 0.001}": lambda: preview(COSINE, RUN, lr={"decay": 0.001})},
    ),
    "number that is not moved": Case(
        lambda: preview(DECAYS, RUN, built={"weight_decy": 0.1}),
        ["built: 'weight_decy' is not moved"],
        {
            "did you mean 'weight_decay'": lambda: preview(DECAYS, RUN, built={"weight_decay": 0.1}),
            "what is moved is weight_decay": lambda: preview(DECAYS, RUN, built={"weight_decay": 0.1}),
        },
    ),
    "number where only the LR is moved": Case(
        lambda: preview(COSINE, RUN, built={"weight_decay": 0.1}),
        ["built: 'weight_decay' is not moved"],
        {"leave built out": lambda: preview(COSINE, RUN)},
    ),
    "number of a group that is none": Case(
        lambda: preview(DECAYS, RUN, {"head": 0.1, "body": 0.1}, built={"weight_decay": {"haed": 0.1}}),
        ["weight_decay is given for 'haed', and there is no such group"],
        {
            "did you mean 'head'": lambda: preview(DECAYS, RUN, {"head": 0.1}, built={"weight_decay": {"head": 0.1}}),
            "groups are head, body": lambda: preview(
                DECAYS, RUN, {"head": 0.1, "body": 0.1}, built={"weight_decay": {"head": 0.1, "body": 0}}
            ),
        },
    ),
    "number that is none": Case(
        lambda: preview(DECAYS, RUN, built={"weight_decay": "much"}),  # type: ignore[dict-item]
        ["built: weight_decay is 'much'", "a number"],
        {"as in {'weight_decay': 0.1}": lambda: preview(DECAYS, RUN, built={"weight_decay": 0.1})},
    ),
    "floor of a number that is not known": Case(
        lambda: preview(schedules.Hyperparameters(weight_decay=schedules.Linear(min_lr=0.01)), RUN, lr=0.1),
        ["weight_decay: min_lr=0.01 needs the weight_decay that the groups are built with"],
        {
            "preview(..., built={'weight_decay': 0.1})": lambda: preview(
                schedules.Hyperparameters(weight_decay=schedules.Linear(min_lr=0.01)), RUN, built={"weight_decay": 0.1}
            ),
            "give min_lr_ratio in its place": lambda: preview(
                schedules.Hyperparameters(weight_decay=schedules.Linear(min_lr_ratio=0.1)), RUN
            ),
        },
    ),
    "picture of nothing": Case(
        lambda: draw(header_only(), Path("lr.png")),
        ["lr.csv has no rows to draw"],
        {"let LearningRateLogger record a run into it first": lambda: drawn()},
    ),
    "picture of a folder": Case(
        lambda: draw(Path(), Path("lr.png")),
        [". is a folder, a device or a pipe"],
        {"give the path of a file, such as the lr.csv of a run": lambda: drawn()},
    ),
    "name that the package has not": Case(
        lambda: lr_recipes.LearningRateSchedular,
        ["lr_recipes has no attribute 'LearningRateSchedular'"],
        {
            "did you mean 'LearningRateScheduler'": lambda: lr_recipes.LearningRateScheduler,
            "it has Horizon, LearningRateLogger": lambda: [getattr(lr_recipes, name) for name in lr_recipes.__all__],
        },
    ),
    # lr-recipes
    "unknown command": Case(
        lambda: typed("previw", "schedule=cosine"),
        ["'previw' is not a command"],
        {"did you mean 'preview'": shown(), "there are preview, inspect, audit": lambda: typed("inspect", saved())},
    ),
    "checkpoint that is not there": Case(
        lambda: typed("inspect", "last.ckpt"),
        ["last.ckpt cannot be inspected", "there is no such file"],
        {"give a checkpoint that Lightning has written": lambda: typed("inspect", saved())},
    ),
    "no checkpoint": Case(
        lambda: typed("inspect"),
        ["inspect shows one checkpoint, and 0 were given"],
        {"lr-recipes inspect CHECKPOINT": lambda: typed("inspect", saved())},
    ),
    "option that is none": Case(
        lambda: typed("inspect", saved(), "--json"),
        ["'--json' is unknown"],
        {"there is --as-json": lambda: typed("inspect", saved(), "--as-json")},
    ),
    "floor without an LR": Case(
        shown("schedule.min_lr=0.01"),
        ["schedule.min_lr=0.01 needs the base LR"],
        {"lr=0.001": shown("schedule.min_lr=0.01", "lr=0.1")},
    ),
    "LR of all groups and of one": Case(
        shown("lr=0.01", "lr.head=0.1"),
        ["lr=0.01 is of all groups, and lr.head of one"],
        {"give only one of them": lambda: (shown("lr=0.01")(), shown("lr.head=0.1")())},
    ),
    "word that is no key": Case(
        shown("warmup"),
        ["'warmup' cannot be read: write key=value"],
        {"schedule=warmup_cosine": shown("schedule=warmup_cosine")},
    ),
    "unknown key": Case(
        shown("pictre=a.png"),
        ["'pictre' is unknown"],
        {
            "did you mean 'picture'": shown("picture=a.png"),
            "steps_per_epoch, samples_per_step, tokens_per_sample, max_time, lr, picture, csv": shown(
                "steps_per_epoch=1", "samples_per_step=1", "tokens_per_sample=1", "lr=0.1", "picture=a.png", "csv=a.csv"
            ),
            "schedule.KNOB": shown("schedule.warmup=10"),
        },
    ),
    "no schedule": Case(
        lambda: typed("preview", "total_steps=100"),
        ["which schedule?"],
        {
            "schedule=NAME": shown(),
            "there are cosine, ": lambda: [
                shown(f"schedule={name}", "lr=0.1", "steps_per_epoch=10", "schedule.warmup=1")()
                for name in command_line.schedule_names()
            ],
        },
    ),
    "fact that is none": Case(
        shown("steps_per_epoch=0"),
        ["steps_per_epoch=0"],
        {"a whole number of at least 1": shown("steps_per_epoch=1")},
    ),
    "total in percent": Case(
        shown("total_steps=50%"),
        ["total_steps='50%': percent of what?"],
        {
            "as in total_steps=1000": shown("total_steps=1000"),
            "total_steps='90 epochs'": shown("total_steps=90 epochs", "steps_per_epoch=1"),
        },
    ),
    "unknown schedule": Case(
        shown("schedule=cosin"),
        ["schedule=cosin is unknown"],
        {"did you mean 'cosine'": shown(), "choose one of cosine": shown()},
    ),
    "unknown knob": Case(
        shown("schedule.warmupp=10"),
        ["schedule=cosine has no 'warmupp'"],
        {
            "did you mean 'warmup'": shown("schedule.warmup=10"),
            "it has warmup, warmup_type, warmup_start_factor, min_lr_ratio, min_lr": shown("schedule.warmup=10"),
        },
    ),
    "value that cannot be read": Case(
        shown("schedule.warmup=[1"),
        ["'schedule.warmup=[1' cannot be read"],
        {
            "a number": shown("schedule.warmup=10"),
            "null": shown("schedule.warmup_start_factor=null"),
            "text": shown("schedule.warmup=10%"),
        },
    ),
    "no total": Case(
        lambda: typed("preview", "schedule=cosine"),
        ["Cosine needs to know how many updates"],
        {"total_steps=1000": shown("total_steps=1000")},
    ),
    "no epochs": Case(
        shown("schedule.warmup='5 epochs'"),
        ["warmup='5 epochs' needs steps_per_epoch"],
        {"steps_per_epoch=100": shown("schedule.warmup='5 epochs'", "steps_per_epoch=100", "total_steps=10000")},
    ),
    "no samples": Case(
        shown("schedule.warmup='1k samples'"),
        ["warmup='1000 samples' needs samples_per_step"],
        {"samples_per_step=256": shown("schedule.warmup='1k samples'", "samples_per_step=256")},
    ),
    "no tokens": Case(
        shown("schedule.warmup='100k tokens'", "samples_per_step=1"),
        ["warmup='100000 tokens' needs tokens_per_sample"],
        {"tokens_per_sample=2048": shown("schedule.warmup=100ktok", "samples_per_step=1", "tokens_per_sample=2048")},
    ),
    "file that cannot be written": Case(
        lambda: shown(f"csv={a_file()}/lr.csv")(),
        ["file/lr.csv cannot be written"],
        {"choose another path": shown("csv=folder/lr.csv")},
    ),
    "warning of a schedule": Case(
        shown("schedule.warmup=80"),
        ["warmup=80 is 80 updates", "the run does 100"],
        {
            "Shorten the warmup": shown("schedule.warmup=50"),
            "train longer": shown("schedule.warmup=80", "total_steps=160"),
        },
    ),
}
