"""The folder that the files of a run go to: on this machine, or behind a URL, where Lightning puts checkpoints too.

What is behind a URL is reached with fsspec. Most such file systems (S3, GCS) cannot append to a file, so the files are
written on this machine and copied whole, by ``publish``: whoever uses a folder says when.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from lr_recipes.callbacks.telling import shortest
from lr_recipes.report.appended_file import numbered_file
from lr_recipes.report.lr_csv import FIXED

_BEGINS = ",".join(FIXED).encode()  # of a record

# Under which of these names a file system tells the versions of a file apart is its own affair.
_VERSION = {"size", "created", "mtime", "modified", "last_modified", "LastModified", "ETag", "etag", "generation"}


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
        # Absolute: the working folder may be another one later, or gone.
        self.path = Path(tempfile.mkdtemp(prefix="lr_recipes-") if self.url else os.path.abspath(self._there))
        self._fetched: list[Path] = []
        self._left_here = False
        self._number = 1  # of ours among the runs that write to the same URL
        self._copied: dict[str, Any] = {}  # paths behind the URL -> what is known of the file that was put there

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def address(self, name: str) -> str:
        """Return where a file of the folder is, for a later run."""
        return f"{self.url}/{numbered_file(name, self._number)}" if self.url else os.path.realpath(self.path / name)

    def own(self, address: Any, name: str) -> str:
        """Return ``name``; or ``lr.2.csv`` in place of ``lr.csv`` where the earlier run had taken that one.

        Args:
            address: of the earlier run's file, whose folder may have been moved here; as a checkpoint has it, so it may
                be anything.
            name: of the file where nothing is in the way.
        """
        there = os.path.basename(address) if isinstance(address, str) else ""
        stem, ending = os.path.splitext(name)
        # Not `Path.exists`: it fails for what cannot be a name, and a checkpoint may hold anything.
        is_here = there and (address == self.address(there) or os.path.exists(self.path / there))
        return there if is_here and there.startswith(f"{stem}.") and there.endswith(ending) else name

    def shown(self, name: str) -> str:
        """Return where a file of the folder is, for people."""
        return self.address(name) if self.url and not self._left_here else shortest(self.path / name)

    def publish(self) -> bool:
        """Copy the files to the URL, if there is one; return whether they are there."""
        if self._system is None:
            return True
        try:
            self._system.makedirs(self._there, exist_ok=True)
            self._make_way()
            for file in self.path.iterdir():
                there = f"{self._there}/{numbered_file(file.name, self._number)}"
                self._copied.pop(there, None)
                self._system.put_file(str(file), there)
                self._copied[there] = self._known_of(there)
            self._left_here = False
        except Exception as error:  # a file system of somebody else's raises what it likes: no run is to end by it
            told, self._left_here = self._left_here, True
            if not told:
                self._tell(
                    f"{self.url} cannot be written ({type(error).__name__}: {error}): the files are in {self.path}"
                )
        return not self._left_here

    def _make_way(self) -> None:
        """Take other names where another run has meanwhile overwritten what we have put there.

        A URL has no locks: so it is the run that began first that sees it, and finds names that are free.
        """
        if all(self._known_of(there) in (known, {}) for there, known in self._copied.items()):
            return
        names = [file.name for file in self.path.iterdir()]
        self._copied = {}
        self._number += 1
        while any(self._system.exists(f"{self._there}/{numbered_file(name, self._number)}") for name in names):
            self._number += 1
        now = ", ".join(numbered_file(name, self._number) for name in names)
        self._tell(
            f"another run writes to {self.url}: this one's files there are {now}; give each run a URL of its own"
        )

    def _known_of(self, there: str) -> dict[str, Any]:
        """What tells one version of a file from another; nothing where there is none."""
        try:
            return {key: value for key, value in self._system.info(there).items() if key in _VERSION}
        except FileNotFoundError:
            return {}

    def earlier(self, address: Any, name: str, beside: str | Path | None = None) -> Path | None:
        """Return, on this machine, the record of an earlier run: the one at ``address``, else this folder's own.

        Args:
            address: where a checkpoint says that it is. It may come from anywhere, so only what is an ``lr.csv`` is
                taken: a regular file on this machine, or one in a store that this run uses itself.
            name: of the record in this folder.
            beside: another place that this run uses, such as its checkpoint.
        """
        own = self.address(name)
        if isinstance(address, str) and address != own:
            ours = _store_of(address) in ("", _store_of(own), _store_of(beside))
            found = self._fetch(address, name) if ours else None
            if found is not None and is_record(found):
                return found
            if found is not None or not ours:
                self._tell(
                    f"{address}, which the checkpoint names as its record, is not a record on this machine or in a "
                    f"store that this run uses, and is not read: copy it to {self.shown(name)} first, if it is yours"
                )
        return self._fetch(own, name)

    def _fetch(self, address: str, name: str) -> Path | None:
        """A regular file, on this machine; ``None`` where there is none."""
        try:
            system, there = _system_of(address)
            if system is None:
                return Path(there) if os.path.isfile(there) else None
            if not system.exists(there):
                return None
            self._fetched.append(Path(tempfile.mkdtemp(prefix="lr_recipes-")))
            system.get_file(there, str(self._fetched[-1] / name))
            return self._fetched[-1] / name
        except Exception as error:  # see `publish`
            self._tell(f"{address} cannot be read ({type(error).__name__}: {error}): its rows are not taken along")
            return None

    def close(self) -> None:
        """Copy the files a last time, and leave nothing on this machine but what could not be copied."""
        if self.publish() and self.url:
            shutil.rmtree(self.path, ignore_errors=True)
        for fetched in self._fetched:
            shutil.rmtree(fetched, ignore_errors=True)
        self._fetched = []


def is_record(file: Path) -> bool:
    """Whether a file is named and begins like one that ``LearningRateLogger`` writes, whatever links lead to it."""
    file = file.resolve()
    if not (file.is_file() and fnmatch(file.name, "lr*.csv") and os.access(file, os.R_OK)):
        return False
    with file.open("rb") as opened:
        return opened.read(len(_BEGINS)) == _BEGINS


def _store_of(where: Any) -> str:
    """Scheme and host, or bucket, of a URL; empty for a path on this machine, and all of it for a chain of URLs."""
    text = str(where)
    if "::" in text:
        return text
    parts = urlsplit(text) if "://" in text else None
    return f"{parts.scheme}://{parts.netloc}" if parts and parts.scheme not in ("file", "local") else ""


def _system_of(where: str | Path) -> tuple[Any, str]:
    """The file system behind a URL, and the path in it; for this machine's own, ``None`` and the path."""
    text = str(where)
    if "://" not in text and not text.startswith("file:"):  # Lightning makes "file:/folder" of "file:///folder"
        return None, text
    system, path = url_to_fs(text)
    return (None if isinstance(system, LocalFileSystem) else system), path
