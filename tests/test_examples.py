"""Every script of examples/ is run by the commands that it names, in a process of its own, with warnings as errors."""

from __future__ import annotations

import ast
import csv
import math
import multiprocessing
import os
import re
import runpy
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
# By hand, in the folder itself.
WRITTEN = shutil.ignore_patterns(
    "branch", "checkpoint.*", "lightning_logs", "long", "lr.*", "outputs", "trained", "__pycache__"
)
SCRIPTS = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py"))


class Run(NamedTuple):
    """What a script says; and of its records, by name of the file and of the column, what a row should have.

    The columns of LRs are all named.
    """

    says: list[str]
    records: dict[str, dict[str, Callable[[dict[str, str]], float]]]


def peak(lr: float) -> Callable[[dict[str, str]], float]:
    return lambda row: lr * float(row["planned_factor"])


def warmed_up_steps(row: dict[str, str]) -> float:
    step, epoch = int(row["step"]), int(row["epoch"])
    return 0.1 * min((step + 1) / 100, 1) * 0.1 ** (epoch // 3)


def share(row: dict[str, str], warmup: int = 0) -> float:
    """Of a run of four epochs, how much is over after the warmup."""
    return (int(row["step"]) - warmup) / (4 * EPOCH - warmup)


def cosine_backbone(row: dict[str, str]) -> float:
    warm = (int(row["step"]) + 1) / EPOCH
    return 1e-3 * (warm if warm <= 1 else (1 + math.cos(math.pi * share(row, EPOCH))) / 2)


def linear_head(row: dict[str, str]) -> float:
    return 1e-2 * min((int(row["step"]) + 1) / 11, 1 - share(row, 11))


def cosine_to_a_tenth(row: dict[str, str]) -> float:
    return 0.1 * (0.1 + 0.9 * (1 + math.cos(math.pi * share(row))) / 2)


def complete(updates: int) -> str:
    return f"used = planned on {updates:,} of {updates:,} updates, schedule complete"


EPOCH = 57  # updates: 1,797 digits in batches of 32
ADAM = {"lr.csv": {"lr/group0": peak(3e-3)}}
RUNS = {
    "accelerate_loop.py": Run([complete(4 * 29)], ADAM),
    "averaged_weights.py": Run([complete(4 * 50)], ADAM),
    "fabric_loop.py": Run(["schedule ended at 50%", complete(4 * EPOCH)], ADAM),
    "fine_tuning.py": Run(
        [f"{complete(4 * EPOCH)}, group body joined at update {EPOCH}"],
        {"lr.csv": {"lr/head": peak(1e-2), "lr/body": peak(1e-3)}},
    ),
    "finetuning_scheduler_phases.py": Run(
        [f"{complete(4 * EPOCH)}, group group1 joined at update {2 * EPOCH}"],
        {"lr.csv": {"lr/group0": peak(1e-2), "lr/group1": peak(1e-3)}},
    ),
    "hydra_application/main.py": Run([complete(3 * EPOCH)], ADAM),
    "lightning_cli/main.py": Run([complete(3 * EPOCH)], ADAM),
    "lightning_script.py": Run([complete(5 * EPOCH)], ADAM),
    "muon_and_adamw.py": Run(
        [complete(4 * EPOCH)],
        {
            "lr-Muon.csv": {"lr/hidden": peak(2e-2)},
            "lr-AdamW.csv": {"lr/head": peak(3e-3), "lr/vectors": peak(3e-3)},
        },
    ),
    "optuna_sweep.py": Run(["best of 6 trials, of which", "and schedules.Cosine(warmup='"], {}),
    "plain_loop.py": Run(["schedule ended at 50%", complete(4 * 29)], ADAM),
    "range_test_then_train.py": Run(["as the peak of a schedule", complete(3 * EPOCH)], {}),
    "resume_and_branch.py": Run(
        [complete(6 * EPOCH), f"resumed at update {3 * EPOCH}", complete(4 * EPOCH)],
        {"long/lr.csv": {"lr/group0": peak(3e-3)}, "branch/lr.csv": {"lr/group0": peak(3e-3)}},
    ),
    "schedule_by_group.py": Run(
        [complete(4 * EPOCH)], {"lr.csv": {"lr/backbone": cosine_backbone, "lr/head": linear_head}}
    ),
    "schedule_free.py": Run([complete(4 * 50)], {"lr.csv": {"lr/group0": peak(1e-2)}}),
    "several_optimizers.py": Run(
        [complete(4 * (EPOCH // 2)), complete(4 * EPOCH)],
        {"lr-Adam.csv": {"lr/group0": peak(2e-3)}, "lr-RMSprop.csv": {"lr/group0": peak(1e-3)}},
    ),
    "transformers_trainer.py": Run(
        ["resumed at update 87", "total_steps: 87 -> 116", complete(4 * 29)],
        {"trained/lr.csv": {"lr/group0": peak(3e-3), "lr/group1": peak(3e-3)}},
    ),
    "weight_decay_schedule.py": Run(
        [complete(4 * EPOCH)],
        {
            "lr.csv": {
                "lr/matrices": peak(3e-3),
                "lr/vectors": peak(3e-3),
                "weight_decay/matrices": cosine_to_a_tenth,
                "weight_decay/vectors": lambda row: 0.0,
            }
        },
    ),
    "warmup_over_own_scheduler.py": Run(
        [f"used = planned on {5 * EPOCH} of {5 * EPOCH} updates, warmup complete"],
        {"lr.csv": {"lr/group0": warmed_up_steps}},
    ),
}
# What others warn of, and a script of a few lines cannot help.
IGNORED = [
    r".isinstance\(treespec, LeafSpec\). is deprecated",  # Lightning 2.6 still asks torch the old way
    r".torch\.jit\..* is deprecated",  # torch 2.11's own distributed optimizers use it
    "The '.*_dataloader' does not have many workers",  # depends on the machine
    "Checkpoint directory .* exists and is not empty",  # a run that goes on in its folder
    "The dirpath has changed from .*branch",  # a branch has a folder of its own
    "'.*' (argument is )?deprecated",  # matplotlib 3.8 beside the newest pyparsing
    r"Final phase max_transition_epoch \(4\) will be overidden",  # finetuning-scheduler asks for it
]


def commands(script: str) -> list[str]:
    """Those that its docstring names."""
    text = ast.get_docstring(ast.parse((EXAMPLES / script).read_text(encoding="utf-8"))) or ""
    return re.findall(r"^(python .*)$", text, flags=re.MULTILINE)


def run_as_typed(folder: Path, command: str) -> None:
    """In the process that was made for it: what `command` does in ``folder``, with all that it prints in a file."""
    printed = os.open(folder / "printed.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.chdir(folder)
    os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"  # Lightning 2.6 still asks it the old way
    warnings.simplefilter("error")
    for message in IGNORED:
        warnings.filterwarnings("ignore", message=message)
    sys.argv = shlex.split(command)[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """A process that has imported what is slow to import, and forks for every script."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lightning.pytorch", "sklearn.datasets", "matplotlib.pyplot"])
    return context


COMMANDS = [(script, command) for script in SCRIPTS for command in commands(script)]


@pytest.mark.parametrize(("script", "command"), COMMANDS, ids=[command.replace(" ", "_") for _, command in COMMANDS])
def test_a_script_does_what_it_says(
    script: str, command: str, tmp_path: Path, processes: multiprocessing.context.ForkServerContext
) -> None:
    folder = shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=WRITTEN)
    process = processes.Process(target=run_as_typed, args=(folder, command))
    process.start()
    process.join()
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    assert process.exitcode == 0, printed
    assert [part for part in RUNS[script].says if part not in printed] == [], printed
    for name, columns in RUNS[script].records.items():
        (record,) = folder.rglob(name)
        with record.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [int(row["step"]) for row in rows] == list(range(len(rows)))
        assert {column for column in rows[0] if column.startswith("lr/")} <= set(columns)
        for column, planned in columns.items():
            joined = [row for row in rows if row[column]]
            assert [float(row[column]) for row in joined] == pytest.approx([planned(row) for row in joined], rel=1e-12)


def test_every_script_has_a_command_and_stands_in_the_table_with_it() -> None:
    table = re.findall(r"^\|.*?\]\(([\w/]+\.py)\).*\| `(python .*)` \|$", README, flags=re.MULTILINE)
    assert sorted(table) == [(script, commands(script)[0]) for script in SCRIPTS]
