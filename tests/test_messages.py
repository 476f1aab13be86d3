"""Every error and warning of the package: it has the value and the limit, and whoever follows its advice is helped.

The cases are tables in ``tests/messages/``. One provokes a message through a public door, says which words it must
have, and follows each piece of its advice: that must end the error, and train as planned where something is trained.
`test_every_message_has_a_case` reads the source: a new message without a case is red.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import lr_recipes
from tests.messages.adapters import ADAPTERS
from tests.messages.combined import COMBINED
from tests.messages.constructors import CONSTRUCTORS
from tests.messages.doors import Case, Door
from tests.messages.forecasts import FORECASTS
from tests.messages.lengths import HORIZONS
from tests.messages.loops import PLAIN
from tests.messages.of_callbacks import CALLBACKS
from tests.messages.of_schedules import SCHEDULES
from tests.messages.previews import PREVIEWS
from tests.messages.records import RECORDS
from tests.messages.sweeps import SWEEPS
from tests.messages.trainers import TRAINERS

ROOT = Path(lr_recipes.__file__).parent
CASES: dict[str, Case] = {
    f"{table}: {name}": case
    for table, cases in {
        "length": HORIZONS,
        "trainer": TRAINERS,
        "schedule": SCHEDULES,
        "by group": COMBINED,
        "plain loop": PLAIN,
        "constructor": CONSTRUCTORS,
        "callback": CALLBACKS,
        "range test": SWEEPS,
        "preview": PREVIEWS,
        "record": RECORDS,
        "forecast": FORECASTS,
        "elsewhere": ADAPTERS,
    }.items()
    for name, case in cases.items()
}
# What is no case -> why.
EXEMPT = {
    "AssertionError('the batches have no end')": "cannot be reached",
    "CannotCopy(": "becomes a caveat of a forecast: tests/callbacks/test_forecast.py",
    "Unknowable(": "becomes a caveat of a forecast: tests/callbacks/test_forecast.py",
    "neither lightning nor pytorch_lightning": "needs a process without them: tests/test_absent.py",
    "is a malicious release": "needs a process with one: tests/test_absent.py",
    "differs between processes": "needs two processes: provoked, and followed, in tests/callbacks/test_processes.py",
}
# Some are given `warn` under another name.
WARN = ("warn", "warnings.warn", "rank_zero_warn", "self.tell", "self._say", "complain")
# Lightning's own word about a training step that takes an iterator.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Found `dataloader_iter` argument",
    "ignore:You are using the `dataloader_iter`",
    "ignore:`LightningModule.configure_optimizers` returned `None`",
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # cases write files and checkpoints under short names


def said_by(door: Door) -> Exception:
    """What somebody is told; a warning is an error in tests."""
    try:
        door()
    except Exception as error:
        return error
    pytest.fail("nothing was said")


@pytest.mark.behaviour("B58")
@pytest.mark.parametrize("name", CASES)
def test_a_message_has_the_value_and_the_limit_and_its_advice_helps(name: str) -> None:
    case = CASES[name]
    text = str(said_by(case.provoke))
    assert [words for words in [*case.says, *case.advice] if words not in text] == [], text
    assert [words for words in case.never if words in text] == [], text
    assert case.advice, "what to change?"
    for words, follow in case.advice.items():
        try:
            follow()
        except Exception as error:
            raise AssertionError(f"{words!r} was followed and does not help") from error


# Completeness


@dataclass(frozen=True)
class Site:
    """A place of the source that raises an error or gives a warning."""

    path: Path
    first: int
    last: int
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.first}: {self.text}"


def sites() -> Iterator[Site]:
    """Every `raise X(...)` and every warning of the package; `raise X` alone has no words."""
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            raises = isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
            if raises or (isinstance(node, ast.Call) and ast.unparse(node.func) in WARN):
                yield Site(path, node.lineno, node.end_lineno or node.lineno, ast.unparse(node))


def places_of(error: BaseException | None) -> Iterator[tuple[Path, int]]:
    """File and line of each frame that an error, and those that it was made of, went through."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            yield Path(trace.tb_frame.f_code.co_filename), trace.tb_lineno
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def _is_among(site: Site, places: set[tuple[Path, int]]) -> bool:
    return any((site.path, line) in places for line in range(site.first, site.last + 1))


@pytest.mark.behaviour("B58")
def test_every_message_has_a_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places: set[tuple[Path, int]] = set()
    for number, case in enumerate(CASES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        places.update(places_of(said_by(case.provoke)))
    silent = [site for site in sites() if not _is_among(site, places)]
    without = [str(site) for site in silent if not any(words in site.text for words in EXEMPT)]
    assert not without, "\n".join(["no case provokes", *without])
    assert [words for words in EXEMPT if not any(words in site.text for site in silent)] == []


def test_a_message_without_a_case_is_found() -> None:
    """A case accounts for the place that its own message comes from, and for no other."""
    places = set(places_of(said_by(CASES["length: bare float"].provoke)))
    found = [site.text for site in sites() if _is_among(site, places)]
    assert found == ["raise ValueError(_of_what(given, given, name))"]
