"""The folder that the files of a run go to: on this machine, or behind a URL, where Lightning puts checkpoints too.

What is behind a URL is reached with fsspec. Most such file systems (S3, GCS) cannot append to a file, so the files are
written on this machine and copied whole, by ``publish``: whoever uses a folder says when.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from lr_recipes.callbacks.telling import shortest


class Folder:
    """A folder for files.

    Args:
        where: its path, or its URL, such as ``"s3://bucket/run"``.
        tell: is given a sentence when files could not be copied to a URL: training goes on.

    Attributes:
        path: where the files are to be written, on this machine; for a URL, a folder of its own until ``close``.
        url: the URL; empty where the folder is on this machine.
    """

    def __init__(self, where: str | Path, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._system, self._there = _system_of(where)
        self.url = "" if self._system is None else str(where).rstrip("/")
        self.path = Path(tempfile.mkdtemp(prefix="lr_recipes-")) if self.url else Path(self._there)
        self._fetched: list[Path] = []

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def address(self, name: str) -> str:
        """Return where a file of the folder is, for a later run."""
        return f"{self.url}/{name}" if self.url else str((self.path / name).resolve())

    def shown(self, name: str) -> str:
        """Return where a file of the folder is, for people."""
        return f"{self.url}/{name}" if self.url else shortest(self.path / name)

    def publish(self) -> bool:
        """Copy the files to the URL, if there is one; return whether they are there."""
        if self._system is None:
            return True
        try:
            self._system.makedirs(self._there, exist_ok=True)
            for file in self.path.iterdir():
                self._system.put_file(str(file), f"{self._there}/{file.name}")
        except Exception as error:  # a file system of somebody else's raises what it likes: no run is to end by it
            self._tell(f"{self.url} cannot be written ({type(error).__name__}: {error}): the files are in {self.path}")
            return False
        return True

    def earlier(self, address: str | None, name: str) -> Path | None:
        """Return, on this machine, the file of an earlier run: the one at ``address``, else this folder's own."""
        for one in (address, self.address(name)):
            system, there = (None, "") if one is None else _system_of(one)
            if system is None and there and Path(there).exists():
                return Path(there)
            if system is not None and system.exists(there):
                self._fetched.append(Path(tempfile.mkdtemp(prefix="lr_recipes-")))
                system.get_file(there, str(self._fetched[-1] / name))
                return self._fetched[-1] / name
        return None

    def close(self) -> None:
        """Copy the files a last time, and leave nothing on this machine but what could not be copied."""
        if self.publish() and self.url:
            shutil.rmtree(self.path)
        for fetched in self._fetched:
            shutil.rmtree(fetched)
        self._fetched = []


def _system_of(where: str | Path) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it; for this machine's own, ``None`` and the path."""
    text = str(where)
    if "://" not in text and not text.startswith("file:"):  # Lightning makes "file:/folder" of "file:///folder"
        return None, text
    system, path = url_to_fs(text)
    return (None if isinstance(system, LocalFileSystem) else system), path
