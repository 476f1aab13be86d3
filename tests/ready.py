"""Programs in processes of their own that find torch and its company imported: that takes longer than what they do.

They are forked from a process that has imported what Lightning imports, and neither Lightning nor anything of ours. All
else is as if `python` had been started: arguments, folder, environment, streams, signals, and how it ends. Not for a
program that starts others with joblib, which waits for ever for them.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKED = multiprocessing.get_context("forkserver")
_FORKED.set_forkserver_preload(["torchmetrics", "torch.utils.tensorboard", "matplotlib.pyplot", "hydra"])


class Program:
    """`python ARGUMENTS`, where they are a script or `-m` and a module, and what these are given; it has been started.

    Each stream goes to a file, or all of them to the terminal of that path.
    """

    def __init__(
        self, arguments: Sequence[object], cwd: Path, environment: Mapping[str, str], terminal: str = ""
    ) -> None:
        self._folder = tempfile.mkdtemp()
        self.args = [str(one) for one in arguments]
        streams = [terminal] * 3 if terminal else [os.devnull, f"{self._folder}/out", f"{self._folder}/err"]
        self._process = _FORKED.Process(target=_be, args=(self.args, str(cwd), dict(environment), streams))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        self._streams = streams

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """How it ended, and what it wrote."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        written = [Path(one).read_text() if Path(one).is_file() else "" for one in self._streams[1:]]
        shutil.rmtree(self._folder)
        return subprocess.CompletedProcess(self.args, self._process.exitcode, *written)


def run(
    arguments: Sequence[object], cwd: Path, environment: Mapping[str, str] = os.environ, timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    return Program(arguments, cwd, environment).wait(timeout)


def run_two(arguments: Sequence[object], cwd: Path) -> str:
    """Run it as the two processes of one DDP run, as `Trainer(devices=2)` would start them; return what both wrote."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "WORLD_SIZE": "2"}
    both = [Program(arguments, cwd, {**os.environ, **group, "LOCAL_RANK": rank}) for rank in "01"]
    done = [one.wait(timeout=120) for one in both]
    assert [one.returncode for one in done] == [0, 0], done
    return "".join(one.stdout + one.stderr for one in done)


def _be(arguments: list[str], cwd: str, environment: dict[str, str], streams: Sequence[str]) -> None:
    """Become the program."""
    os.setsid()  # so that the first terminal that is opened is its own
    for number, (path, mode) in enumerate(zip(streams, (os.O_RDONLY, os.O_RDWR, os.O_RDWR), strict=True)):
        opened = os.open(path, mode | os.O_CREAT)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    encoding = environment.get("PYTHONIOENCODING")
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    is_module = arguments[0] == "-m"
    sys.path[:0] = [cwd if is_module else str(Path(arguments[0]).parent), *_paths(environment)]
    sys.argv = arguments[is_module:]
    if is_module:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(arguments[0], run_name="__main__")


def _paths(environment: Mapping[str, str]) -> list[str]:
    return [one for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
