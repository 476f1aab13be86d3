"""Packages that are not there, for tests that run in a process of their own."""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from typing import Any


def without(*packages: str) -> None:
    """Let this process find what is installed, apart from some packages; without any, all of it again."""

    class Found(PathFinder):
        @classmethod
        def find_spec(cls, name: str, *where: Any) -> Any:
            return None if name.partition(".")[0] in packages else super().find_spec(name, *where)

    is_the_one = [isinstance(one, type) and issubclass(one, PathFinder) for one in sys.meta_path]
    sys.meta_path[is_the_one.index(True)] = Found
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
