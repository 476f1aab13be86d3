"""A file that one process appends to: whole or not at all, under whatever happens to it; and nobody else writes it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lr_recipes.report import appended_file
from lr_recipes.report.appended_file import AppendedFile

pytestmark = [pytest.mark.behaviour("B67"), pytest.mark.behaviour("B72")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lr.csv"


def begun(path: Path, *text: bytes) -> AppendedFile:
    file = AppendedFile(path)
    file.begin(text)
    return file


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir())


@contextmanager
def most_bytes(size: int) -> Iterator[None]:
    """No file may become longer, as on a disk that is full: a write fills it up to there, and the rest is refused."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# What is written


def test_what_is_appended_is_there_at_once(path: Path) -> None:
    file = begun(path, b"a\n", b"b\n")
    file.append(b"c\n")
    assert file.is_whole()
    assert path.read_bytes() == b"a\nb\nc\n"
    file.close()
    file.close()
    assert names(path) == ["lr.csv"]


@pytest.mark.parametrize("room", [0, 1, 7])
def test_half_of_what_has_no_room_is_taken_back(room: int, path: Path) -> None:
    file = begun(path, b"begin\n")
    with most_bytes(6 + room), pytest.raises(OSError, match="File too large"):
        file.append(b"0123456789\n")
    assert path.read_bytes() == b"begin\n"
    assert file.is_whole()
    file.append(b"0123456789\n")
    file.close()
    assert path.read_bytes() == b"begin\n0123456789\n"


def test_a_new_beginning_without_room_leaves_the_old_file(path: Path) -> None:
    file = begun(path, b"old\n")
    with most_bytes(10), pytest.raises(OSError, match="File too large"):
        file.begin([b"new\n", b"much longer\n"])
    assert (path.read_bytes(), names(path), file.is_whole()) == (b"old\n", ["lr.csv"], True)
    file.append(b"more\n")
    file.close()
    assert path.read_bytes() == b"old\nmore\n"


def test_what_a_process_that_was_killed_has_left_is_used_up(path: Path) -> None:
    path.parent.mkdir()
    path.with_name("lr.csv.tmp").write_bytes(b"a part of a longer file\n")
    begun(path, b"new\n").close()
    assert (path.read_bytes(), names(path)) == (b"new\n", ["lr.csv"])


# What others do to it


def rewritten(path: Path, text: bytes) -> None:
    path.write_bytes(text)  # in place


def exchanged(path: Path, text: bytes) -> None:
    other = path.with_name("other")
    other.write_bytes(text)
    os.replace(other, path)


@pytest.mark.parametrize("tail", [b"x", b"a line\n" * 50])
def test_what_others_append_is_cut_off(tail: bytes, path: Path) -> None:
    file = begun(path, b"ours\n")
    with path.open("ab") as other:
        other.write(tail)
    assert file.is_whole()
    file.append(b"ours too\n")
    file.close()
    assert path.read_bytes() == b"ours\nours too\n"


CHANGES: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "removed": (Path.unlink, b"ours, all of it\n"),
    "folder removed": (lambda path: shutil.rmtree(path.parent), b"ours, all of it\n"),
    "folder moved": (lambda path: path.parent.rename(path.parent.with_name("moved")), b"ours, all of it\n"),
    "moved": (lambda path: path.rename(path.with_name("moved")), b"ours, all of it\n"),
    "replaced by a link to itself": (lambda path: (path.unlink(), path.symlink_to(path)), b"ours, all of it\n"),
    "emptied": (lambda path: rewritten(path, b""), b""),
    "cut": (lambda path: os.truncate(path, 6), b"ours, "),
    "written anew": (lambda path: rewritten(path, b"x" * 16), b"x" * 16),
    "written anew, longer": (lambda path: rewritten(path, b"x" * 99), b"x" * 16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_and_what_is_left_can_be_read(change: str, path: Path) -> None:
    file = begun(path, b"ours, all of it\n")
    do, left = CHANGES[change]
    do(path)
    assert not file.is_whole()
    assert file.source().read_bytes() == left
    file.begin([file.source().read_bytes(), b"|\n"])
    file.append(b"more\n")
    assert file.is_whole()
    file.close()
    assert (file.path, path.read_bytes()) == (path, left + b"|\nmore\n")
    assert set(names(path)) <= {"lr.csv", "moved"}


@pytest.mark.parametrize(
    "change", [lambda path: exchanged(path, b"theirs\n"), lambda path: (path.unlink(), path.mkdir())]
)
def test_what_others_put_in_its_place_stays(change: Callable[[Path], object], path: Path) -> None:
    file = begun(path, b"ours\n")
    change(path)
    assert not file.is_whole()
    file.begin([file.source().read_bytes()])
    file.append(b"more\n")
    file.close()
    assert (file.path.name, file.path.read_bytes()) == ("lr.2.csv", b"ours\nmore\n")
    assert path.is_dir() or path.read_bytes() == b"theirs\n"
    assert names(path) == ["lr.2.csv", "lr.csv"]


def test_what_is_no_file_is_replaced_when_it_begins(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    begun(path, b"ours\n").close()
    assert (path.read_bytes(), names(path)) == (b"ours\n", ["lr.csv"])
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        begun(path, b"ours\n")
    assert names(path) == ["lr.csv"]


def test_a_folder_that_cannot_be_made_again(path: Path) -> None:
    """Once it can be, all is there."""
    file = begun(path, b"ours\n")
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")
    assert not file.is_whole()
    with pytest.raises(OSError, match="run"):
        file.begin([file.source().read_bytes()])
    path.parent.unlink()
    file.begin([file.source().read_bytes()])
    file.close()
    assert (path.read_bytes(), names(path)) == (b"ours\n", ["lr.csv"])


# Two of them


def test_the_second_one_takes_another_name(path: Path) -> None:
    first, second, third = (begun(path, text) for text in (b"1\n", b"2\n", b"3\n"))
    for file in (first, second, third):
        file.append(b"more\n")
        assert file.is_whole()
        file.close()
    assert [file.path.name for file in (first, second, third)] == ["lr.csv", "lr.2.csv", "lr.3.csv"]
    assert [file.path.read_bytes() for file in (first, second, third)] == [b"%d\nmore\n" % n for n in (1, 2, 3)]
    assert names(path) == ["lr.2.csv", "lr.3.csv", "lr.csv"]


def test_a_name_is_free_again_when_its_file_is_closed(path: Path) -> None:
    first = begun(path, b"1\n")
    first.begin([b"anew\n"])  # it keeps the lock
    second = begun(path, b"2\n")
    first.close()
    third = begun(path, b"3\n")
    second.close()
    third.close()
    assert [file.path.name for file in (second, third)] == ["lr.2.csv", "lr.csv"]


def test_files_that_others_have_left_are_not_overwritten(path: Path) -> None:
    begun(path.with_name("lr.2.csv"), b"an earlier run's\n").close()
    first, second = begun(path, b"1\n"), begun(path, b"2\n")
    assert second.path.name == "lr.3.csv"
    first.close()
    second.close()


HOLDER = """
import sys, time
from pathlib import Path
from lr_recipes.report.appended_file import AppendedFile
file = AppendedFile(Path(sys.argv[1]))
file.begin([b"theirs\\n"])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def other_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process, which writes the file."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_another_process_keeps_its_file_and_none_is_locked_once_it_is_killed(
    path: Path, other_process: subprocess.Popen[str]
) -> None:
    beside = begun(path, b"ours\n")
    assert (beside.path.name, path.read_bytes()) == ("lr.2.csv", b"theirs\n")
    beside.close()
    other_process.send_signal(signal.SIGKILL)
    other_process.wait()
    after = begun(path, b"ours\n")
    assert (after.path, path.read_bytes()) == (path, b"ours\n")
    after.close()


def test_a_forked_process_does_not_hold_the_file(path: Path) -> None:
    """As a DataLoader's worker, which may outlive a training that was killed by some seconds."""
    file = begun(path, b"1\n")
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.write(ready[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    try:
        assert begun_and_closed(path).name == "lr.2.csv"  # the parent still does
        file.append(b"more\n")
        file.close()
        assert begun_and_closed(path).name == "lr.csv"
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*ready, *done):
            os.close(end)


def begun_and_closed(path: Path) -> Path:
    file = begun(path, b"2\n")
    file.close()
    return file.path


def test_where_there_are_no_locks_a_file_that_was_replaced_goes_on_beside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system without them, and Windows: whoever came first sees it at the next write."""
    monkeypatch.setattr(appended_file, "fcntl", None)
    first, second = begun(path, b"1\n"), begun(path, b"2\n")
    assert second.is_whole()
    assert not first.is_whole()
    first.begin([first.source().read_bytes()])
    first.append(b"more\n")
    second.append(b"more\n")
    first.close()
    second.close()
    assert (first.path.name, first.path.read_bytes()) == ("lr.2.csv", b"1\nmore\n")
    assert (second.path.name, second.path.read_bytes()) == ("lr.csv", b"2\nmore\n")
    assert names(path) == ["lr.2.csv", "lr.csv"]
