"""A file that one process appends to: what is appended is there whole or not at all, and nobody else writes there.

What stands in the file is not known here (``lr_csv.py``), nor what becomes of text that cannot be written
(``backlog.py``). The lock is on the file itself, so there is no second file to be left behind, and the system takes it
off when the process ends, however it ends. It is carried over when the file is replaced: the new one is locked before
it is moved to its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from weakref import WeakSet

try:
    import fcntl
except ImportError:  # Windows: there nobody can replace a file that is open
    fcntl = None  # type: ignore[assignment]

_TAIL = 64  # bytes of the end by which the file is known again


class AppendedFile:
    """A file that nobody but this object writes.

    Args:
        path: where it shall be. Its folder is made when missing.

    Attributes:
        path: where it is: under another name, such as ``lr.2.csv``, where another process writes the one that was asked
            for, or where somebody has put another thing in its place meanwhile.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None
        self._end, self._tail = 0, b""
        _files.add(self)

    def begin(self, text: Iterable[bytes]) -> None:
        """Put a new file in its place, in one move, so that a crash leaves the old or the new one.

        Raises:
            OSError: it cannot be written; the old one is still there.
        """
        path, fresh = self._reserve()
        end, tail = 0, b""
        try:
            for piece in text:
                _write(fresh, piece)
                end, tail = end + len(piece), (tail + piece)[-_TAIL:]
            if fcntl is None:  # Windows moves no file that is open
                fresh.close()
                self.close()
            os.replace(_beside(path), path)
            if fcntl is None:
                fresh = FileIO(path, "a+")
        except BaseException:
            _discard(fresh, _beside(path))
            raise
        self.close()
        self.path, self._file, self._end, self._tail = path, fresh, end, tail

    def append(self, text: bytes) -> None:
        """Append ``text`` and hand it to the operating system, so that it outlives this process.

        Raises:
            OSError: it cannot be written; nothing of it is in the file.
        """
        # To the system, which keeps it when this process is killed; not to the disk (no fsync).
        assert self._file is not None, "begin first"
        try:
            _write(self._file, text)
        except OSError:
            with suppress(OSError):  # `is_whole` tries again
                self._file.truncate(self._end)
            raise
        self._end, self._tail = self._end + len(text), (self._tail + text)[-_TAIL:]

    def is_whole(self) -> bool:
        """Whether the file is in its place and as it was left; what is behind our end is cut off.

        That may be a part of what could not be written, or somebody else's.
        """
        file = self._file
        if file is None or not _is_at(file, self.path):
            return False
        if os.fstat(file.fileno()).st_size > self._end:
            file.truncate(self._end)
        file.seek(self._end - len(self._tail))
        return file.read(_TAIL) == self._tail

    def source(self) -> Path:
        """Return where to read what was written, also where the file has been removed or replaced."""
        if self._file is None or _is_at(self._file, self.path):
            return self.path
        return Path(f"/dev/fd/{self._file.fileno()}")  # the system keeps it as long as it is open here

    def close(self) -> None:
        """Close the file, which is nobody's then."""
        if self._file is not None:
            with suppress(OSError):  # nothing waits to be written; some network file systems complain all the same
                self._file.close()
            self._file = None

    def _reserve(self) -> tuple[Path, FileIO]:
        """Return a name that nobody writes, and the empty and locked file that is to be moved there."""
        # The new file has one name for all processes and is locked first: who has the lock is the only one that may
        # replace the file of that name. One that was left behind by a process that was killed is used, and so goes.
        number = 0
        while True:
            number += 1
            path = self.path.with_name(numbered_file(self.path.name, number))
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = _locked(_beside(path), "a+")
            if fresh is None:
                continue
            try:
                if self._may_replace(path, asked_for=number == 1):
                    fresh.truncate(0)
                    return path, fresh
            except BaseException:
                _discard(fresh, _beside(path))
                raise
            _discard(fresh, _beside(path))

    def _may_replace(self, path: Path, asked_for: bool) -> bool:
        if not path.exists() or (self._file is not None and _is_at(self._file, path)):
            return True
        if self._file is not None or not asked_for:  # what somebody has put in our place, or an earlier run's
            return False
        if not path.is_file():  # a pipe or a device goes; of a folder the system will say that it does not
            return True
        there = _locked(path, "r+")
        if there is not None:
            there.close()
        return there is not None


def numbered_file(name: str, number: int) -> str:
    """Return what the ``number``-th file of a name is called.

    Example:
        >>> numbered_file("lr.csv", 1), numbered_file("lr.csv", 2)
        ('lr.csv', 'lr.2.csv')
    """
    stem, ending = os.path.splitext(name)
    return name if number == 1 else f"{stem}.{number}{ending}"


_files: WeakSet[AppendedFile] = WeakSet()


def _leave_to_parent() -> None:
    """In a process that was forked, such as a worker of a DataLoader: else it would hold the locks of the parent."""
    for file in _files:
        file.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.tmp")  # a move within one folder is one step


def _discard(file: FileIO, path: Path) -> None:
    if fcntl is None:  # Windows removes no file that is open
        file.close()
    with suppress(OSError):  # its folder may be gone
        path.unlink()
    file.close()  # only now: whoever locks it next sees that it is not in its place


def _locked(path: Path, mode: str) -> FileIO | None:
    """Open a file and lock it; ``None`` where somebody else has it locked."""
    while True:
        file = FileIO(path, mode)
        if not _lock(file):
            file.close()
            return None
        if _is_at(file, path):
            return file
        file.close()  # it was moved or replaced before it was locked


def _lock(file: FileIO) -> bool:
    # Not `lockf`: its lock goes as soon as anybody in this process, such as a reader, closes the same file.
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system that knows no locks: `is_whole` will tell
            pass
    return True


def _is_at(file: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except OSError:
        return False


def _write(file: FileIO, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[file.write(left) :]
