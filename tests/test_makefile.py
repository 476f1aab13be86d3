"""`make help` and what the targets would run; nothing is installed or trained here."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TARGETS = ["setup", "train", "test", "test-oldest", "lint", "docs", "guarantees", "bench", "reproduce"]
TARGETS += ["gpu", "gpu-check", "gpu-bench"]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Without the variables of a `make test` around us, which would be handed on to this make.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment.pop("ARGS", None)
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [["help"], []], ids=["help", "default"])
def test_help_lists_every_target_with_a_description(arguments: list[str]) -> None:
    lines = make(*arguments).stdout.splitlines()
    described = {line.split()[1]: line.split()[2:] for line in lines}
    assert list(described) == ["help", *TARGETS]
    assert all(described.values())


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["train"], "train.py schedule=warmup_cosine"),
        (["train", "ARGS=schedule=one_cycle optimizer.lr=0.1"], "one_cycle optimizer.lr=0.1"),
        (["test", "ARGS=-k horizon"], "-m pytest -n 2 --dist worksteal -k horizon"),
        (["lint"], "-m mypy"),
        (["docs"], "--conf-dir docs . build/docs"),
        (["guarantees"], "-m benchmarks.guarantees"),
        (["reproduce", "ARGS=rows=transformer seeds=10"], "-m recipes.reproduction rows=transformer seeds=10"),
        (["bench"], "-m benchmarks.bench"),
        (["gpu", "ARGS=--only rates"], "-m benchmarks.gpu --only rates"),
        (["gpu-check"], "-m benchmarks.gpu --only clock trainings recipes compiled"),
        (["gpu-bench"], "-m benchmarks.gpu --only rates gpt-124m resnet-512 small-cnn gpt-10m attention resnet-1024"),
    ],
)
def test_targets_set_up_and_then_run_in_the_venv(arguments: list[str], command: str) -> None:
    # -W: as if pyproject.toml had just changed, so that the install is due whatever this checkout has.
    *before, last = make("-n", "-W", "pyproject.toml", *arguments).stdout.strip().splitlines()
    assert last.startswith(".venv/bin/python ")
    assert last.strip().endswith(command)
    assert any("pip install" in line and "-c constraints.txt" in line for line in before)


@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("setup", "test-oldest")])
def test_a_given_interpreter_installs_nothing(target: str) -> None:
    planned = make("-n", "-W", "pyproject.toml", target, "PYTHON=python3").stdout.strip().splitlines()
    assert planned
    assert all(line.startswith("python3 ") for line in planned)


def test_the_oldest_are_what_pyproject_names(tmp_path: Path) -> None:
    # Its first command writes them; what is installed and run after it is only looked at.
    written, *rest = make("-n", "test-oldest", "ARGS=-k horizon").stdout.splitlines()
    subprocess.run(written.replace(">.venv-oldest.txt", f">{tmp_path}/oldest.txt"), shell=True, cwd=ROOT, check=True)
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    project = toml.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    lowest = {(one.name, at.version) for one in map(Requirement, listed) for at in one.specifier if at.operator == ">="}
    found = {tuple(line.split("==")) for line in (tmp_path / "oldest.txt").read_text().splitlines()}
    assert {"torch", "lightning", "pytorch-lightning", "hydra-core"} <= {name for name, _ in found}
    assert found == lowest
    assert "CONSTRAINTS=.venv-oldest.txt" in rest[0]
    assert any(
        re.match(r"\.venv-oldest/bin/python -m pytest -n 2 --dist worksteal .* -k horizon$", line) for line in rest
    )


def test_without_a_python_that_is_new_enough_setup_says_so(tmp_path: Path) -> None:
    old = tmp_path / "old_python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    refused = make("setup", "-W", "pyproject.toml", f"VENV={tmp_path}/venv", f"BASE_PYTHON={old}")
    assert refused.returncode != 0
    assert "needs Python 3.10 or newer" in refused.stderr
    assert str(old) in refused.stderr
    assert not (tmp_path / "venv").exists()
