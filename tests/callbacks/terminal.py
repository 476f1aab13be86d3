"""A terminal for tests: what a person would see of a program, its scrollback included."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
from collections.abc import Sequence
from pathlib import Path

import pyte

from tests.ready import Program

ROWS = 30  # of the window: what goes out of it is in the scrollback and cannot be erased any more
_OUTSIDE = ("CI", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE")  # make programs blind for a terminal

BARS = ("rich", "tqdm", "none")


def begin(name: str) -> None:
    """Print where the output of a run begins."""
    print(f"begins: {name}", flush=True)


def run_in_terminal(arguments: Sequence[str], cwd: Path, columns: int, **environment: str) -> list[str]:
    """Run `python ARGUMENTS` in a terminal of its own, and return the lines that are there when it has ended."""
    outside = {name: value for name, value in os.environ.items() if name not in _OUTSIDE}
    mine, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
    program = Program(arguments, cwd, {**outside, "TERM": "xterm-256color", **environment}, os.ttyname(its))
    lines = displayed(_everything(mine, program), columns)
    os.close(mine)
    os.close(its)
    assert program.wait(timeout=60).returncode == 0, "\n".join(lines)
    return lines


def _everything(terminal: int, program: Program) -> bytes:
    """Read until the program has ended and nothing is left to read."""
    parts = []
    while True:
        ended = program.poll() is not None  # before it is seen whether anything is there: that may be its last word
        if select.select([terminal], [], [], 0.02)[0]:
            parts.append(os.read(terminal, 65536))
        elif ended:
            return b"".join(parts)


def displayed(written: bytes, columns: int) -> list[str]:
    """Return the lines of a terminal that was sent these bytes."""
    screen = pyte.HistoryScreen(columns, ROWS, history=10_000, ratio=0.5)
    pyte.ByteStream(screen).feed(written)
    scrolled = ["".join(line[column].data for column in range(columns)) for line in screen.history.top]
    return [line.rstrip() for line in (*scrolled, *screen.display)]


def places_of(text: str, lines: Sequence[str], columns: int) -> list[range]:
    """Where the text stands on lines of its own and whole; what is too long for the terminal goes on in the next line.

    Example:
        >>> places_of("abcde", ["abcd", "e", "abcdef", "abc", "abcd", "e f"], columns=4)
        [range(0, 2)]
    """
    rows = [line[at : at + columns].rstrip() for line in text.splitlines() for at in range(0, len(line), columns)]
    starts = range(len(lines) - len(rows) + 1)
    return [range(at, at + len(rows)) for at in starts if list(lines[at : at + len(rows)]) == rows]
