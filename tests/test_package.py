"""What others get: the built wheel, in an environment of its own, beside another Hydra application."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import lr_recipes

ROOT = Path(__file__).parents[1]
PUBLIC = [
    "Horizon",
    "LearningRateLogger",
    "LearningRateRangeTest",
    "LearningRateScheduler",
    "LearningRateWarmup",
    "forecast",
    "lr_scheduler",
    "preview",
    "range_test",
    "schedules",
]
SHIPPED_GROUPS = ["callbacks", "schedule"]
# What another application sees of them: nothing with a name that it may mean for a file of its own.
OF_TRAIN_PY = {"callbacks": {"checkpoint", "default", "none", "weight_averaging"}, "schedule": set()}


def run(*command: object, cwd: Path) -> str:
    """The command's stdout; its stderr in the failure."""
    # PYTHONPATH would let the checkout in.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    parts = [str(part) for part in command]
    done = subprocess.run(parts, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def yaml_names(group: str) -> list[str]:
    return sorted(path.stem for path in (ROOT / "conf" / group).glob("*.yaml"))


# The project's own files


def _generated(folder: str, names: list[str]) -> list[str]:
    """What .gitignore leaves out: dot folders, caches, and the root's output folders."""
    here = {"build", "data", "dist", "lightning_logs", "multirun", "outputs", "runs"} if Path(folder) == ROOT else set()
    dots = {name for name in names if name.startswith(".") and name not in (".ci", ".gitignore")}
    return [name for name in names if name in here | dots or name == "__pycache__" or name.endswith(".egg-info")]


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files alone, so that a build leaves nothing in the checkout."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("copy") / "lr_recipes", ignore=_generated)


def test_no_file_names_a_package_index(copy: Path) -> None:
    # In parts, or this file would be found.
    hosts = [".".join(parts) for parts in [("pypi", "org"), ("pythonhosted", "org"), ("download", "pytorch", "org")]]
    files = [path for path in copy.rglob("*") if path.is_file()]
    assert copy / "constraints.txt" in files
    found = [
        f"{path.relative_to(copy)}: {host}"
        for path in files
        for host in hosts
        if host.encode() in path.read_bytes().lower()
    ]
    assert found == []


# The names


def test_public_names() -> None:
    assert sorted(lr_recipes.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(lr_recipes))
    assert all(getattr(lr_recipes, name) for name in PUBLIC)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'Scheduler'.*LearningRateScheduler"):
        lr_recipes.Scheduler  # noqa: B018


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("lr_recipes", ["torch", "lightning", "numpy", "hydra", "omegaconf", "matplotlib"]),
        ("lr_recipes.schedules", ["torch", "lightning", "numpy", "hydra", "omegaconf", "matplotlib"]),
        ("lr_recipes.report.preview", ["torch", "lightning", "numpy", "hydra", "omegaconf", "matplotlib"]),
        ("lr_recipes.command_line", ["torch", "lightning", "numpy", "hydra", "omegaconf", "matplotlib"]),
        ("hydra_plugins.lr_recipes", ["torch", "lightning", "numpy", "matplotlib", "lr_recipes"]),
    ],
)
def test_import_is_cheap(module: str, heavy: list[str]) -> None:
    loaded = run(sys.executable, "-c", f"import sys, {module}; print(*sys.modules)", cwd=ROOT).split()
    assert module in loaded
    assert [name for name in heavy if name in loaded] == []


# The wheel


def build(copy: Path, out: Path, *options: str) -> Path:
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, *options, copy, cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="session")
def wheel(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `pip install .` builds it."""
    return build(copy, tmp_path_factory.mktemp("wheel"), "--wheel")


def test_the_wheel_holds_the_package_and_two_config_groups_and_nothing_else(wheel: Path) -> None:
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lr_recipes").rglob("*.py")}
    configs = {f"lr_recipes/conf/{group}/{name}.yaml" for group in SHIPPED_GROUPS for name in yaml_names(group)}
    assert all(yaml_names(group) for group in SHIPPED_GROUPS)
    assert contents(wheel) == {
        *modules,
        *configs,
        "lr_recipes/py.typed",
        "lr_recipes/conf/__init__.py",
        "hydra_plugins/lr_recipes/__init__.py",
    }


def test_the_license_and_the_version_travel_with_the_wheel(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert wheel.name.startswith(f"lr_recipes-{lr_recipes.__version__}-")
    assert any(name.endswith("/LICENSE") for name in names)


def test_the_source_distribution_builds_the_same_wheel(copy: Path, wheel: Path, tmp_path: Path) -> None:
    assert contents(build(copy, tmp_path)) == contents(wheel)


# Another Hydra application, in an environment with the wheel and without the checkout

APPLICATION = """
import hydra, lr_recipes, sys
from omegaconf import OmegaConf

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    print(lr_recipes.__file__)
    print(OmegaConf.to_yaml(cfg.schedule, resolve=True))
    print(repr(hydra.utils.instantiate(cfg.schedule)))
    print("torch loaded:", "torch" in sys.modules)

main()
"""
CONFIG = """
defaults:
  - schedule: warmup_cosine
  - _self_
hydra:
  run: {dir: .}
"""


@pytest.fixture(scope="session")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel; the tests' own environment lends the dependencies."""
    environment = tmp_path_factory.mktemp("environment") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=environment.parent)
    interpreter = environment / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", wheel]
    run(sys.executable, "-m", "pip", "--python", interpreter, *install, cwd=environment.parent)
    # After the install, or pip would see the lr_recipes that the tests run from. A folder named in a .pth
    # file lends its packages but not its own .pth files, so an editable install stays outside.
    origins = [
        importlib.util.find_spec(name) for name in ("hydra", "omegaconf", "antlr4", "yaml", "torch", "lightning")
    ]
    lent = {str(Path(spec.origin).parents[1]) for spec in origins if spec and spec.origin}
    site_packages = sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)})
    Path(site_packages, "lent.pth").write_text("\n".join(sorted(lent)) + "\n")
    return interpreter


def test_the_console_script_previews_a_schedule(python: Path, tmp_path: Path) -> None:
    printed = run(python.parent / "lr-recipes", "preview", "schedule=warmup_cosine", "total_steps=10000", cwd=tmp_path)
    assert "10,000 updates" in printed


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text(CONFIG)
    (tmp_path / "app.py").write_text(APPLICATION)
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ([], ["Cosine("]),
        (["schedule=one_cycle"], ["OneCycle("]),
        (["schedule.warmup=5 epochs"], ["Cosine(", "warmup='5 epochs'"]),
        (["schedule=step", "schedule.step_size=10ep"], ["Step(", "step_size='10ep'"]),
    ],
    ids=["default", "group", "value", "both"],
)
def test_another_application_chooses_our_schedules(
    python: Path, application: Path, overrides: list[str], parts: list[str]
) -> None:
    printed = run(python, "-W", "error", "app.py", *overrides, cwd=application)
    assert Path(printed.splitlines()[0]).is_relative_to(python.parents[1]), "lr_recipes did not come from the wheel"
    assert [part for part in parts if part not in printed] == []
    assert "torch loaded: False" in printed


def test_another_application_sees_our_two_groups_and_no_others(python: Path, application: Path) -> None:
    lines = run(python, "app.py", "--help", cwd=application).splitlines()
    # The list of groups comes before the composed config, one `group: option, option` a line.
    listed = lines[: next(number for number, line in enumerate(lines) if "== Config ==" in line)]
    groups = {name: options.split(", ") for name, colon, options in (line.partition(": ") for line in listed) if colon}
    assert groups == {group: sorted({*yaml_names(group)} - OF_TRAIN_PY[group]) for group in SHIPPED_GROUPS}


def test_the_applications_own_file_of_the_same_name_wins(python: Path, application: Path) -> None:
    own = application / "conf" / "schedule" / "one_cycle.yaml"
    own.parent.mkdir()
    own.write_text("_target_: lr_recipes.schedules.Fixed\nwarmup: 7\n")
    assert "Fixed(warmup=7" in run(python, "app.py", "schedule=one_cycle", cwd=application)


CALLBACKS = """
import hydra

@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(cfg):
    for callback in hydra.utils.instantiate(cfg.callbacks).values():
        print(type(callback).__name__, getattr(callback, "schedule", ""))

main()
"""


@pytest.fixture
def application_with_callbacks(tmp_path: Path) -> Path:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "config.yaml").write_text("defaults: [_self_]\nhydra: {run: {dir: .}}\n")
    (tmp_path / "app.py").write_text(CALLBACKS)
    return tmp_path


def refused(*command: object, cwd: Path) -> str:
    """The stderr of a command that fails."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr


@pytest.mark.behaviour("B63")
@pytest.mark.parametrize("name", sorted(OF_TRAIN_PY["callbacks"]))
@pytest.mark.parametrize("here", [True, False], ids=["checkout", "wheel"])
def test_a_file_that_an_application_lacks_is_missed_and_not_ours(
    python: Path, application_with_callbacks: Path, name: str, here: bool
) -> None:
    said = refused(sys.executable if here else python, "app.py", f"+callbacks={name}", cwd=application_with_callbacks)
    assert f"Could not find 'callbacks/{name}'" in said
    assert "learning_rate_scheduler" in said  # among the options: what is named after us is there to be chosen


@pytest.mark.behaviour("B63")
def test_an_applications_own_callbacks_stand_beside_ours(python: Path, application_with_callbacks: Path) -> None:
    own = application_with_callbacks / "conf" / "callbacks" / "default.yaml"
    own.parent.mkdir()
    own.write_text("timer: {_target_: lightning.pytorch.callbacks.Timer}\n")
    overrides = ["+callbacks=[default,learning_rate_scheduler]", "+schedule=warmup_cosine"]
    printed = run(python, "-W", "ignore", "app.py", *overrides, cwd=application_with_callbacks)
    assert printed.splitlines() == ["Timer ", "LearningRateScheduler Cosine(warmup='5%')"]


@pytest.mark.behaviour("B63")
def test_a_missing_schedule_is_said_with_what_to_add(python: Path, application_with_callbacks: Path) -> None:
    folder, chosen = application_with_callbacks, "+callbacks=learning_rate_scheduler"
    said = refused(python, "app.py", chosen, cwd=folder)
    assert "add `- schedule: warmup_cosine` to the defaults list" in said
    config = folder / "conf" / "config.yaml"
    config.write_text(config.read_text().replace("[_self_]", "[_self_, {schedule: warmup_cosine}]"))
    assert "Cosine(" in run(python, "-W", "ignore", "app.py", chosen, cwd=folder)


def test_every_shipped_schedule_stands_alone(python: Path, application: Path) -> None:
    # No interpolation into the rest of our config tree, which other applications do not have.
    script = (
        "import sys, hydra\n"
        "with hydra.initialize_config_dir(sys.argv[1], version_base='1.3'):\n"
        "    for name in sys.argv[2:]:\n"
        "        cfg = hydra.compose('config', [f'schedule={name}'])\n"
        "        print(name, repr(hydra.utils.instantiate(cfg.schedule)))\n"
    )
    names = yaml_names("schedule")
    assert names
    printed = run(python, "-c", script, application / "conf", *names, cwd=application)
    assert [line.split()[0] for line in printed.splitlines()] == names
