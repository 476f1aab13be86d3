"""What a part of the GPU run has found so far, on disk after each finding: a part that is stopped keeps what it has."""

from __future__ import annotations

import faulthandler
import json
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lr_recipes.report.lr_csv import with_replacement

Finding = tuple[bool, str]


class Notes:
    """The file ``<part>.json``, and what is printed beside it.

    Args:
        folder: where the file is.
        part: the part's name.
        setup: the device and versions, see `benchmarks.gpu_device.setup_of`.
    """

    def __init__(self, folder: Path, part: str, setup: Mapping[str, str]) -> None:
        self.path, self._begun = path_of(folder, part), time.monotonic()
        self.content: dict[str, Any] = {"part": part, "setup": dict(setup), "begun": time.time(), "ended": False}
        self.content |= {"figures": [], "cases": [], "checks": []}
        self._write()

    def figure(self, name: str, value: float, unit: str) -> None:
        """Keep a number that has been measured."""
        self._keep("figures", {"name": name, "value": value, "unit": unit}, f"{name}: {value:,.4g} {unit}")

    def case(self, values: Mapping[str, Any], words: str) -> None:
        """Keep what an update of a model takes."""
        self._keep("cases", dict(values), words)

    def check(self, name: str, passed: bool, words: str, trace: str | None = None) -> None:
        """Keep whether something is as it must be."""
        found = {"name": name, "passed": bool(passed), "words": words}
        line = f"{name:<28} {words}{'' if passed else '  FAILED'}"
        self._keep("checks", found | ({"traceback": trace} if trace else {}), f"{trace or ''}{line}")

    def attempt(self, name: str, find: Callable[[], Finding | None]) -> None:
        """Let ``find`` find something; what it returns, or that it fails, is kept as a check, and the part goes on."""
        try:
            found = find()
        except Exception as error:  # what comes after it still tells something
            self.check(name, False, described(error), traceback.format_exc())
        else:
            if found is not None:
                self.check(name, *found)

    def end(self) -> None:
        """Say that the part has come to its end."""
        self.content["ended"] = True
        self._write()

    def _keep(self, kind: str, found: dict[str, Any], words: str) -> None:
        self.content[kind].append(found)
        self._write()
        print(words, flush=True)

    def _write(self) -> None:
        self.content["seconds"] = round(time.monotonic() - self._begun, 1)
        text = json.dumps(self.content, indent=1) + "\n"
        with_replacement(self.path, lambda path: path.write_text(text, encoding="utf-8"))


def watch(until: float) -> None:
    """End this process at a second of the epoch, with a traceback of what it does then.

    From a thread of its own, which needs nothing of Python: a call into the device that never returns is seen too.
    """
    faulthandler.dump_traceback_later(max(until - time.time(), 0.1), exit=True)


def described(error: BaseException) -> str:
    """Return the kind of an error and the first line of its text, if it has one.

    Example:
        >>> described(AssertionError())
        'AssertionError'
    """
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def path_of(folder: Path, part: str) -> Path:
    """Return where a part keeps what it has found."""
    return folder / f"{part}.json"


def noted(folder: Path, part: str) -> dict[str, Any] | None:
    """Return what a part has found, or ``None`` if it never began."""
    path = path_of(folder, part)
    content: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return content


def failures(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the checks that failed."""
    return [check["name"] for check in content["checks"] if not check["passed"]]
