"""The program ``lr-recipes``: what it prints, what it loads, and how mistakes end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

import lr_recipes
from lr_recipes.command_line import COMMANDS, KEYS, main, overview, read_request, schedule_names, schedule_of, usage
from lr_recipes.plan.horizon import Horizon
from lr_recipes.report.checkpoint import inspect_checkpoint
from lr_recipes.report.lr_csv import read_rows
from lr_recipes.schedules import ByGroup, Cosine, Hyperparameters, Linear, MultiStep, Ramp, Schedule

ROOT = Path(__file__).parents[1]
MADE_OF_OTHERS = {"by_group", "hyperparameters"}  # no plan without an optimizer's groups
SCHEDULES = sorted({path.stem for path in (ROOT / "conf" / "schedule").glob("*.yaml")} - MADE_OF_OTHERS)
CHECKPOINT = str(ROOT / "tests" / "data" / "checkpoints" / "0.1.0" / "cosine.ckpt")
PREVIEW = ("preview", "schedule=warmup_cosine", "total_steps=10000")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the program prints when all is well."""
    status = main(["preview", *arguments])
    out, err = capsys.readouterr()
    assert (status, err) == (0, "")
    return out


def program(*arguments: str, script: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script] if script else [sys.executable, "-m", "lr_recipes.command_line"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


# What it shows


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["version"], ["preview", "--version"]])
def test_it_says_its_version_and_those_of_what_it_works_with(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"lr-recipes {lr_recipes.__version__} (Python 3.")
    assert f"torch {torch.__version__.partition('+')[0]}" in out
    assert f"lightning {lightning.__version__}" in out


def test_it_shows_plan_lrs_and_curve(capsys: pytest.CaptureFixture[str]) -> None:
    plan, table, chart = printed(capsys, *PREVIEW[1:], "lr=0.002").split("\n\n")
    assert plan.splitlines()[0] == "Learning-rate plan for warmup_cosine: 10,000 updates"
    curve = Cosine(warmup="5%").resolve(Horizon(total_steps=10000))
    assert [row.split()[1:] for row in table.splitlines()[1:]] == [
        [f"{n:,}", f"{0.002 * curve(n):.4g}"] for n in (0, 2500, 5000, 7500, 9999)
    ]
    assert chart.startswith("learning rate\n")


NUMBERS = "1 -1e-4 +1E4 1.5e3 1.e-3 .5 .5e-3 1_000 1_000e-1 0x10 1e400 1:30 .inf -.inf"
OTHERS = "true on null ~ [] [1,2e-1] ['50%',30%] {} 5% 5ep '1' 1e e5 1e5x 2026-11-29 ??? inf nan"


@pytest.mark.parametrize("text", ["", "5 epochs", "{a: 1e3}", *NUMBERS.split(), *OTHERS.split()])
def test_a_value_is_the_one_that_omegaconf_reads(text: str) -> None:
    (value,) = read_request([f"schedule.knob={text}"]).knobs.values()
    expected = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={text}"]))["value"]
    assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_the_one_that_hydra_would_build(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        expected = instantiate(compose("config", [f"schedule={name}", "output_dir=unused"]).schedule)
    assert schedule_of(name, {}) == expected
    assert f"plan for {name}: " in printed(capsys, f"schedule={name}", "total_steps=1000", "steps_per_epoch=10")


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("schedule.milestones=[10, '50%']", (10, "50%")),
        ("schedule.milestones=[1 epoch]", ("1 epoch",)),
        ("schedule.gamma=1e-1", 0.1),
        ("schedule.gamma=1", 1),
        ("schedule.warmup=5 epochs", "5 epochs"),
        ("schedule.warmup='5 epochs'", "5 epochs"),
        ("schedule.warmup=1_000", 1000),
        ("schedule.warmup_start_factor=null", None),
    ],
)
def test_values_are_read_as_in_a_config(typed: str, value: Any) -> None:
    (name, given), *_ = read_request(["schedule=multistep", typed]).knobs.items()
    schedule = schedule_of("multistep", {name: given})
    assert isinstance(schedule, MultiStep)
    assert getattr(schedule, name) == value


@pytest.mark.parametrize(
    ("given", "updates"),
    [("10000", 10_000), ("10k", 10_000), ("1e4", 10_000), ("10_000", 10_000), ("500 steps", 500), ("90ep", 9000),
     ("1M samples", 3906), ("10M tokens", 39), ("10Mtok", 39)],
)  # fmt: skip
def test_the_total_is_given_in_any_unit(given: str, updates: int, capsys: pytest.CaptureFixture[str]) -> None:
    facts = ("steps_per_epoch=100", "samples_per_step=256", "tokens_per_sample=1000")
    source = f" ({given})" if given in ("90ep", "1M samples", "10M tokens", "10Mtok") else ""
    assert f": {updates:,} updates{source}\n" in printed(capsys, "schedule=cosine", f"total_steps={given}", *facts)


def test_a_run_that_follows_the_clock(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ("schedule.warmup='30 minutes'", "max_time=8h", f"picture={tmp_path}/a.png", f"csv={tmp_path}/a.csv")
    out = printed(capsys, "schedule=warmup_cosine", *given)
    assert "Learning-rate plan for warmup_cosine: 8 h\n  warmup    0 s to 30 min " in out
    assert [line.split()[1:3] for line in out.splitlines()[5:9]] == [["0", "s"], ["2", "h"], ["4", "h"], ["6", "h"]]
    rows = list(read_rows(tmp_path / "a.csv"))
    assert float(next(row for row in rows if row["step"] == str(30 * 60_000))["planned_factor"]) == 1


@pytest.mark.parametrize(
    ("typed", "schedule", "more"),
    [
        (
            ["schedule=by_group", "schedule.groups.head=linear", "schedule.groups.head.warmup=10",
             "schedule.default=cosine", "schedule.groups.layers.0=fixed", "lr.head=0.1",
             "lr.body=0.01", "lr.layers.0=1"],
            ByGroup(groups={"head": Linear(warmup=10), "layers.0": "fixed"}, default="cosine"),
            {"lr": {"head": 0.1, "body": 0.01, "layers.0": 1}},
        ),
        (
            ["schedule=by_group", "schedule.groups={head: linear}", "schedule.default=cosine"],
            ByGroup(groups={"head": "linear"}, default="cosine"),
            {},
        ),
        (
            ["schedule=hyperparameters", "schedule.lr=cosine", "schedule.lr.warmup=5%", "schedule.weight_decay=ramp",
             "schedule.weight_decay.end=10", "schedule.others.eps=linear", "lr=0.1"],
            Hyperparameters(lr=Cosine(warmup="5%"), weight_decay=Ramp(end=10), eps="linear"),
            {"lr": 0.1},
        ),
    ],
)  # fmt: skip
def test_one_that_is_made_of_others_is_typed_with_the_values_of_each(
    typed: list[str], schedule: Schedule, more: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", *typed, "total_steps=100"]) == 0
    title = typed[0].removeprefix("schedule=")
    assert capsys.readouterr().out.rstrip() == str(lr_recipes.preview(schedule, 100, title=title, **more)).rstrip()


def test_several_schedules_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = (f"picture={tmp_path}/new/all.png", f"csv={tmp_path}/new/all.csv")
    out = printed(capsys, "schedule=step,cosine", "total_steps=90ep", "steps_per_epoch=10", "lr=0.1", *files)
    assert "2 schedules over 900 updates" in out
    assert [line.split()[0] for line in out.splitlines()[3:5]] == ["step", "cosine"]
    rows = list(read_rows(tmp_path / "new" / "all.csv"))
    assert (len(rows), list(rows[0])) == (900, ["step", "lr/step", "lr/cosine"])
    assert (tmp_path / "new" / "all.png").read_bytes().startswith(b"\x89PNG")
    assert f"Drawn: {tmp_path}/new/all.png" in out


def test_one_schedule_is_drawn_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "schedule=cosine", "total_steps=50", f"picture={tmp_path}/a.svg", f"csv={tmp_path}/a.csv")
    assert "<svg" in (tmp_path / "a.svg").read_text()
    assert len(list(read_rows(tmp_path / "a.csv"))) == 50


def test_a_warning_is_a_line_and_not_a_place_in_our_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preview", "schedule=warmup_linear", "schedule.warmup=60%", "total_steps=100"]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Warning: warmup='60%' is 60 updates, and the run does 100")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"], ["nonsense", "--help"]])
def test_help_names_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out == overview() + "\n"
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  lr-recipes")] == list(COMMANDS)


def test_each_command_has_a_help_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in COMMANDS.items():
        assert main([name, "--help"]) == 0
        out = capsys.readouterr().out
        assert out == command.usage() + "\n"
        assert f"\n  lr-recipes {name} " in out
        assert max(map(len, out.splitlines())) <= 104


@pytest.mark.parametrize(
    "arguments", [["preview", "-h"], ["preview", "--help"], ["preview", "schedule=cosine", "help"]]
)
def test_help_names_keys_and_schedules(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert out == usage() + "\n"
    assert set(SCHEDULES) == set(schedule_names()) <= set(out.split())
    assert {line.split()[0] for line in out.splitlines() if line.startswith("  ")} >= set(KEYS)
    examples = [
        line.split() for line in out.splitlines() if line.startswith("  lr-recipes preview") and "NAME" not in line
    ]
    assert len(examples) == 6


def test_the_examples_of_the_help_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shlex

    examples = [line for line in usage().splitlines() if line.startswith("  lr-recipes preview") and "NAME" not in line]
    for line in examples:
        arguments = [one.replace("picture=", f"picture={tmp_path}/") for one in shlex.split(line)[2:]]
        printed(capsys, *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["all.png"]


# What a checkpoint holds


def test_a_checkpoint_is_shown_in_words_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", CHECKPOINT]) == 0
    words, err = capsys.readouterr()
    assert (words, err) == (f"{inspect_checkpoint(CHECKPOINT)}\n", "")
    assert words.startswith(f"{CHECKPOINT}\n  Lightning 2.")
    assert "  done: 5 of 16 updates (31%); the next is in phase cosine\n" in words
    for arguments in (["inspect", CHECKPOINT, "--as-json"], ["inspect", "--as-json", CHECKPOINT]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        assert out == inspect_checkpoint(CHECKPOINT).as_json() + "\n"
        assert json.loads(out)["callbacks"][0]["position"] == 5


def test_the_docs_show_what_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    _, _, rest = (ROOT / "docs" / "resuming.md").read_text().partition("    $ lr-recipes ")
    command, *lines = rest.splitlines()
    assert main(command.split()) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("    ") for line in lines[: len(out)]] == out


def test_letters_that_a_terminal_has_not_are_written_out(tmp_path: Path) -> None:
    group = {"name": "schön", "lr": 0.1, "params": [0]}
    torch.save({"optimizer_states": [{"param_groups": [group], "state": {}}]}, tmp_path / "a.ckpt")
    done = program("inspect", str(tmp_path / "a.ckpt"), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "sch\\xf6n  LR 0.1" in done.stdout


# How mistakes end


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prview"], "'prview' is not a command (did you mean 'preview'?); there are preview, inspect, audit"),
        (["inspect"], "inspect shows one checkpoint, and 0 were given: write lr-recipes inspect CHECKPOINT"),
        (["inspect", "a.ckpt", "b.ckpt"], "inspect shows one checkpoint, and 2 were given"),
        (["inspect", "a.ckpt", "--json"], "'--json' is unknown (did you mean '--as-json'?); there is --as-json"),
        (["inspect", "a.ckpt"], "a.ckpt cannot be inspected: there is no such file: give a checkpoint that Lightning"),
        (["inspect", "a\x1b.ckpt"], "a\\x1b.ckpt cannot be inspected: there is no such file"),
        (["inspect", "/dev/zero"], "/dev/zero cannot be inspected: it is a device or a pipe: give"),
        (["inspect", "tests"], "tests cannot be inspected: it is a folder: give a file that Lightning has written"),
        (["inspect", "README.md"], "README.md cannot be inspected: it is damaged, or no checkpoint ("),
        (["preview"], "which schedule? Give schedule=NAME; there are cosine, "),
        (["preview", "schedule="], "which schedule? Give schedule=NAME"),
        (["preview", "warmup_cosine"], "'warmup_cosine' cannot be read: write key=value, as in schedule=warmup_cos"),
        (["preview", "schedule=cosin"], "schedule=cosin is unknown (did you mean 'cosine'?); choose one of cosine,"),
        (["preview", "schedule=cosine,stp", "total_steps=9"], "schedule=stp is unknown (did you mean 'step'?)"),
        (["preview", "shedule=cosine"], "'shedule' is unknown (did you mean 'schedule'?); there are schedule, total"),
        (["preview", "schedule=cosine", "optimizer.lr=1"], "'optimizer.lr' is unknown; there are schedule,"),
        (["preview", "schedule=step", "schedule.gama=1"], "schedule=step has no 'gama' (did you mean 'gamma'?)"),
        (["preview", "schedule=cosine"],
         "Cosine needs to know how many updates the run will do: give it, as in total_steps=1000"),
        (["preview", "schedule=warmup_cosine"],
         "warmup='5%' needs to know how many updates the run will do: give it, as in total_steps=1000"),
        (["preview", "schedule=step", "total_steps=100"],
         "step_size='10 epochs' needs steps_per_epoch: give it, as in steps_per_epoch=100"),
        (["preview", "schedule=cosine", "schedule.warmup=10k samples", "total_steps=100"],
         "warmup='10000 samples' needs samples_per_step: give it, as in samples_per_step=256"),
        (["preview", "schedule=cosine", "total_steps=5 epochs"],
         "total_steps='5 epochs' needs steps_per_epoch: give it, as in steps_per_epoch=100"),
        (["preview", "schedule=cosine", "total_steps=5M tokens", "samples_per_step=8"],
         "total_steps='5000000 tokens' needs tokens_per_sample: give it, as in tokens_per_sample=2048"),
        (["preview", "schedule=cosine", "total_steps=10%"], "total_steps='10%': percent of what? Give a number of"),
        (["preview", "schedule=cosine", "total_steps=0"], "total_steps=0: must be a whole number of at least 1"),
        (["preview", "schedule=cosine", "total_steps=1.5"], "total_steps=1.5: must be a whole number of at least 1"),
        (["preview", "schedule=cosine", "total_steps=many"], "total_steps='many' cannot be read"),
        (["preview", "schedule=cosine", "total_steps=9", "steps_per_epoch=0"], "steps_per_epoch=0: must be a whole"),
        (["preview", "schedule=cosine", "total_steps=9", "samples_per_step=x"], "samples_per_step='x': must be a"),
        (["preview", "schedule=cosine", "schedule.warmup=5 parsecs", "total_steps=9"],
         "warmup='5 parsecs': unknown unit 'parsecs'"),
        (["preview", "schedule=cosine", "schedule.warmup=0.1", "total_steps=9"], "warmup=0.1: 0.1 of what? Write"),
        (["preview", "schedule=cosine", "schedule.warmup=20", "total_steps=9"],
         "warmup=20 is 20 updates, and the run does 9"),
        (["preview", "schedule=multistep", "schedule.milestones=[1", "total_steps=9"],
         "'schedule.milestones=[1' cannot be read:"),
        (["preview", "schedule=cosine", "schedule.warmup=${x}", "total_steps=9"],
         "warmup='${x}'"),
        (["preview", "schedule=cosine", "schedule.min_lr=1e-5", "total_steps=9"],
         "schedule.min_lr=1e-05 needs the base LR: give it, as in lr=0.001"),
        (["preview", "schedule=cosine", "total_steps=9", "lr=-1"], "lr=-1: must be a number above 0"),
        (["preview", "schedule=cosine", "total_steps=9", "lr=fast"], "lr='fast': must be a number above 0"),
        (["preview", "schedule=cosine", "total_steps=9", "picture=/proc/x/a.png"],
         "/proc/x/a.png cannot be written (No such file or directory): choose another path"),
        (["preview", "schedule=cosine", "total_steps=9", "csv=/proc/x.csv"],
         "/proc/x.csv cannot be written (No such file or directory): choose another path"),
        (["preview", "schedule=cosine", "total_steps=9", "picture=/tmp/a.foo"], "Format 'foo' is not supported"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"Error: {message}")


# What it costs


def test_it_loads_nothing_heavy_and_takes_less_than_a_second() -> None:
    script = (
        "import sys, lr_recipes.command_line as program\n"
        "status = program.main()\n"
        "print(*sorted({'torch', 'lightning', 'numpy', 'matplotlib', 'hydra'} & set(sys.modules)))\n"
        "sys.exit(status)\n"
    )
    done = program(*PREVIEW, "lr=0.1", script=script)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == ""

    def seconds() -> float:
        started = time.perf_counter()
        assert program(*PREVIEW).returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1


def test_where_the_terminal_prints_ascii_only_so_does_the_program() -> None:
    done = program(*PREVIEW, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "'''" in done.stdout
    fine = program(*PREVIEW, PYTHONIOENCODING="utf-8")
    assert not fine.stdout.isascii()
    assert max(map(len, fine.stdout.splitlines())) <= 80
