"""How the code is laid out: every import goes down, nothing goes round in circles, a word names one thing."""

from __future__ import annotations

import ast
import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import GenericAlias
from typing import NamedTuple

import pytest

import lr_recipes
from lr_recipes import schedules

ROOT = Path(__file__).parents[1]

# From the ground up: a floor uses itself and those before it in this list.
FLOORS = [
    "checks",
    "plan",
    *(OLD := ["horizon", "resume"]),  # addresses of 0.1.0, for whoever catches their errors
    "optimizer",
    "schedules",
    "report",
    "sweep",
    "command_line",
    "adapters",
    "callbacks",
    "lr_scheduler",  # the callbacks only where Lightning is there already
]
# The packages of others that a floor may use: when it is imported, and only when it is needed.
ALLOWED: dict[str, tuple[set[str], set[str]]] = {
    "checks": (set(), set()),
    "plan": (set(), set()),
    **dict.fromkeys(OLD, (set(), set())),
    "optimizer": ({"torch"}, set()),
    "schedules": (set(), {"torch"}),
    # torch to read the file of a checkpoint; tensorboard, as it knows what an event of an event file is
    "report": (set(), {"matplotlib", "tensorboard", "torch"}),
    "sweep": (set(), {"matplotlib"}),
    "command_line": (set(), {"yaml"}),
    "adapters": ({"torch"}, {"tqdm", "transformers"}),
    "callbacks": ({"fsspec", "lightning", "numpy", "torch", "tqdm"}, set()),
    "lr_scheduler": ({"torch"}, set()),
}
# Each library whose private parts are used has one file for them; Lightning's loops, that are played, have another.
DOORS = {
    "lightning": "lr_recipes/callbacks/lightning.py",
    "its loops": "lr_recipes/callbacks/stage.py",
    "torch": "lr_recipes/optimizer/internals.py",
    # a pool of the standard library that cannot be asked to end the work under way (Python 3.14's can)
    "concurrent": "recipes/reproduction/driver.py",
}
RECIPE_ROOMS = {
    "data": {"data"},
    "models": {"data", "models"},
    "app": {"app", "data", "models"},
    "reproduction": {"app", "data", "models", "reproduction"},
}
# Words of Hydra and of notebooks, attributes that we give to optimizers and schedulers, columns of W&B, and what is
# documented of `os`, of `sys` and of named tuples.
NOT_PRIVATE = {
    *("_target_", "_partial_", "_recursive_", "_repr_png_", "_lr_recipes_clock", "_lr_recipes_beneath"),
    *("_step", "_timestamp", "_exit", "_replace", "_asdict", "_current_frames"),
}
# Names that several modules give to their own thing of the same kind.
SHARED = {"log", "main", "run"}


class Import(NamedTuple):
    """A module that a file imports: ``deferred`` within a function, ``typing`` for type checkers only."""

    module: str
    deferred: bool
    typing: bool


def files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in [*files("lr_recipes", "recipes", "benchmarks"), ROOT / "train.py"]}


def imports(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), deferred=False, typing=False))


def _imports(node: ast.AST, deferred: bool, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        within = deferred or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
        for_types = typing or (isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"))
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, deferred, typing) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, f"{ast.unparse(child)}: a relative import; write the module's full name"
            for alias in child.names:
                whole = f"{child.module}.{alias.name}"
                yield Import(whole if whole in MODULES else child.module or "", deferred, typing)
        else:
            yield from _imports(child, within, for_types)


def floor_of(module: str) -> str | None:
    first, _, rest = module.partition(".")
    return rest.partition(".")[0] if first == "lr_recipes" and rest else None


# The library


@pytest.mark.parametrize("floor", FLOORS)
def test_every_import_goes_to_the_same_floor_or_down(floor: str) -> None:
    """Deferred ones and those for type checkers too, without an exception."""
    upwards = [
        f"{module} -> {one.module}"
        for module, path in MODULES.items()
        if floor_of(module) == floor
        for one in imports(path)
        for other in [floor_of(one.module)]
        if other is not None and FLOORS.index(other) > FLOORS.index(floor)
    ]
    assert upwards == []


def test_every_module_is_on_a_floor() -> None:
    assert {floor_of(module_of(path)) for path in files("lr_recipes")} - {None} == set(FLOORS)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_uses_its_packages_and_no_others(floor: str) -> None:
    at_once, when_needed = ALLOWED[floor]
    for module, path in MODULES.items():
        if floor_of(module) != floor:
            continue
        for one in imports(path):
            package = one.module.partition(".")[0]
            if package in sys.stdlib_module_names or package == "lr_recipes":
                continue
            allowed = at_once | when_needed if one.deferred or one.typing else at_once
            assert package in allowed, f"{module} imports {one.module}"


def test_lightning_has_one_door() -> None:
    named = [
        module
        for module, path in MODULES.items()
        if module.startswith("lr_recipes.") and any(one.module.split(".")[0] == "lightning" for one in imports(path))
    ]
    assert [MODULES[module].relative_to(ROOT).as_posix() for module in named] == [DOORS["lightning"]]


def test_private_parts_of_libraries_are_named_in_one_file_each() -> None:
    """``one._name`` of something that the file does not define, or the name as text, as for ``getattr``."""
    found = {
        path.relative_to(ROOT).as_posix(): sorted(private)
        for path in files("lr_recipes", "recipes", "benchmarks")
        if (private := set(_foreign_private_names(path)))
    }
    assert set(found) <= set(DOORS.values()), found
    assert set(DOORS.values()) <= set(found)  # else this test looks at nothing


def _foreign_private_names(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        node.name if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else node.attr
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        or (isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("self", "cls"))
    }
    known = own | NOT_PRIVATE
    pieces = {id(piece) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for piece in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr) and node.attr not in known:
            yield f"{ast.unparse(node)} in line {node.lineno}"
        whole = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces
        text = node.value if whole else ""
        if re.fullmatch(r"_[a-z]\w+", text) and text not in known:
            yield f"{text!r} in line {node.lineno}"


def test_no_module_bears_the_name_of_a_public_function() -> None:
    """Importing ``lr_recipes.preview`` would put the module in the place of the function."""
    functions = {name for name in lr_recipes.__all__ if callable(getattr(lr_recipes, name))}
    assert "preview" in functions
    assert not functions & {path.stem for path in (ROOT / "lr_recipes").glob("*")}


def test_hydra_can_look_at_every_name_of_the_plugin() -> None:
    """It asks ``issubclass`` of all that ``inspect.isclass`` takes for a class: of ``list[str]``, in Python 3.10."""
    plugin = importlib.import_module("hydra_plugins.lr_recipes")
    assert [name for name, value in vars(plugin).items() if isinstance(value, GenericAlias)] == []


def test_every_package_is_in_the_wheel() -> None:
    """They are listed by name; one that is forgotten would be missing in the wheel only."""
    listed = re.search(
        r"^packages = (\[.*?^\])", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert listed is not None
    there = {module_of(path) for path in (ROOT / "lr_recipes").rglob("__init__.py")}
    assert there == set(ast.literal_eval(listed[1])) - {"lr_recipes.conf", "hydra_plugins", "hydra_plugins.lr_recipes"}


@pytest.mark.parametrize("module", ["catalogue", "cycles", "drawn"])
def test_a_new_schedule_stands_in_one_list(module: str) -> None:
    """Its own module's: what is public, and what the YAML files are compared with, follow from it."""
    catalogue = importlib.import_module(f"lr_recipes.schedules.{module}")
    defined = {
        name
        for name, value in vars(catalogue).items()
        if type(value) is type(schedules.Schedule)
        and issubclass(value, schedules.Schedule)
        and value.__module__ == catalogue.__name__
    }
    assert defined == set(catalogue.__all__) <= set(schedules.__all__)


# The whole house


def test_no_circle_of_files() -> None:
    below = {
        module: {one.module for one in imports(path) if one.module in MODULES and one.module != module}
        for module, path in MODULES.items()
    }
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module not in done:
            for other in sorted(below[module]):
                walk(other, (*way, module))
            done.add(module)

    for module in MODULES:
        walk(module, ())


def test_the_library_knows_nothing_of_recipes_and_scripts() -> None:
    for path in files("lr_recipes"):
        packages = {one.module.partition(".")[0] for one in imports(path)}
        assert not packages & {"recipes", "train", "tests", "conf", "benchmarks", "hydra_plugins"}, path


def test_nothing_imports_the_front_door() -> None:
    assert [module for module, path in MODULES.items() if any(one.module == "train" for one in imports(path))] == []


@pytest.mark.parametrize("room", RECIPE_ROOMS)
def test_rooms_of_recipes(room: str) -> None:
    for path in files(f"recipes/{room}"):
        rooms = {one.module.split(".")[1] for one in imports(path) if one.module.startswith("recipes.")}
        assert rooms <= RECIPE_ROOMS[room], path


def test_one_word_names_one_thing() -> None:
    """No two modules define the same name at their top level, private ones included."""
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        if module.startswith(("lr_recipes", "recipes")):
            for name in _defined(path):
                places.setdefault(name, []).append(module)
    twice = {name: where for name, where in places.items() if len(where) > 1 and name not in SHARED}
    assert twice == {}


def _defined(path: Path) -> set[str]:
    names: Counter[str] = Counter()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] += 1
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names.update(target.id for target in targets if isinstance(target, ast.Name))
    return {name for name in names if not name.startswith("__")}


def test_nothing_of_ours_uses_an_old_address() -> None:
    old = {f"lr_recipes.{name}" for name in OLD}
    assert [module for module, path in MODULES.items() if any(one.module in old for one in imports(path))] == []
