"""Tells the user something while a progress bar is on the screen, so that the text and the bar both stand whole.

A log record goes straight to the terminal, past the bar: its handler has held that stream since before the bar began.
The cursor then stands at the end of the bar. Text would be glued to it, and Rich, which counts the lines that it drew
and not those of others, would erase the text with its next refresh. So the bars leave the screen first, the record
is written as it is, and the bars are drawn again below it. In a notebook and in a file there is nothing to make room
for: a bar has a place of its own there.

What is said, and when, is the callbacks' business; how the words are put together is ``report/words.py``'s.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lr_recipes.callbacks.lightning import (
    RichProgressBar,
    TQDMProgressBar,
    Trainer,
    rank_zero_info,
    rank_zero_warn,
    settings_of_command_line,
)
from lr_recipes.checks import visible
from lr_recipes.report.shown import as_card

_CALLER = 5  # frames from the log call to the caller of `tell` and `warn`: the place that a record names

_WIDTH = 768  # pixels of a picture in a notebook


def tell(trainer: Trainer, text: str) -> None:
    """Log ``text`` at the level of information, on the first process only, on lines of its own in a terminal.

    Args:
        trainer: whose progress bar makes room.
        text: one or more lines; shown as they are, whatever their length, but for control characters.
    """
    with bars_aside(trainer):  # the bars belong to the first process, as the log record does
        rank_zero_info(visible(text), stacklevel=_CALLER)


def warn(trainer: Trainer, text: str) -> None:
    """Warn, on the first process only, on lines of its own in a terminal; otherwise like ``tell``."""
    with bars_aside(trainer):
        rank_zero_warn(visible(text), stacklevel=_CALLER)


def show_in_cell(picture: Path) -> None:
    """Show a PNG below the cell of a notebook that is running; anywhere else, in IPython's terminal too, nothing."""
    # Asked of the IPython that is there: a program that has not imported it runs in no notebook.
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is not None and picture.is_file():  # behind a URL it is no more
        shown = as_card(picture.read_bytes(), _WIDTH, picture.name)
        shell.display_pub.publish({"text/html": shown, "text/plain": f"<{picture.name}>"})


def end_bar(trainer: Trainer) -> None:
    """Let the training bar draw its last state and leave the terminal: what is told from now on stands below it.

    To be called when training has ended, in ``on_train_end`` or ``on_exception``. Lightning then ends the bar a second
    time, which does nothing, and begins a new one for the next stage.
    """
    # Lightning puts its own bar behind the callbacks that it is given, so the bar's hook of the same name comes after
    # ours: without this the closing line would stand above the bar.
    bar = trainer.progress_bar_callback
    if isinstance(bar, TQDMProgressBar):
        with suppress(TypeError):  # Lightning's word for a bar that has not begun
            bar.train_progress_bar.close()
    progress = _rich_progress(trainer)
    if progress is not None:
        progress.stop()


@contextmanager
def bars_aside(trainer: Trainer) -> Iterator[None]:
    """Take the bars off the terminal, and draw them again below what was written meanwhile.

    For a moment only: tqdm, which knows all of its bars, keeps its lock.
    """
    from tqdm import tqdm  # type: ignore[import-untyped] # comes with Lightning, whose absence is to be said first

    # tqdm clears all bars of the terminal and draws them again afterwards; where there is none it does nothing.
    with live_display_aside(trainer), tqdm.external_write_mode():
        yield


@contextmanager
def live_display_aside(trainer: Trainer) -> Iterator[None]:
    """Take a Rich bar off the terminal; while it is live, what is printed goes through Rich, line by line.

    Its rows are hidden first: a live display that is stopped would leave them on the screen, and one that is started
    again would erase as many rows as it had.
    """
    progress = _rich_progress(trainer)
    if progress is None:
        yield
        return
    shown = [task.id for task in progress.tasks if task.visible]
    _set_visible(progress, shown, False)
    # Stopping also takes Rich's hands off stdout and stderr, which go through its console while a bar is live.
    progress.stop()
    try:
        yield
    finally:
        progress.start()
        _set_visible(progress, shown, True)


def _set_visible(progress: Any, tasks: list[Any], visible: bool) -> None:
    for task in tasks:
        progress.update(task, visible=visible)
    progress.refresh()  # now: Lightning's own refreshes wait for a thread, also that which hides the sanity check's row


def _rich_progress(trainer: Trainer) -> Any:
    """Return the ``rich.progress.Progress`` that is live in a terminal, if there is one."""
    # `bar.progress` is made in the sanity check or in `on_train_start`; in hooks before that there is none.
    bar = trainer.progress_bar_callback
    progress = bar.progress if isinstance(bar, RichProgressBar) else None
    if progress is None or not progress.live.is_started:
        return None
    console = progress.console
    return progress if console.is_interactive and not console.is_jupyter else None


def shortest(path: Path) -> str:
    """Return a path as short as it can be typed here.

    Example:
        >>> shortest(Path.cwd() / "runs" / "first")
        'runs/first'
    """
    try:
        relative = os.path.relpath(path)
    except (ValueError, OSError):  # on another drive; or there is no working folder any more
        return str(path)
    return str(path) if relative.startswith("..") else relative


def as_typed(owner: str, written: str) -> str:
    """Return how ``resume="checkpoint"`` is given: as the command to type where LightningCLI has made the run.

    Args:
        owner: ``"lr_scheduler"``, or the class of the callback that takes it.
        written: how it is given in a program.
    """
    settings = settings_of_command_line()
    if settings is None:
        return written
    given = settings.get("trainer.callbacks") or []
    names = [one.class_path.rpartition(".")[2] for one in (given if isinstance(given, list) else [given])]
    part = owner
    if owner != "lr_scheduler":
        if names[-1:] != [owner]:  # what is typed after `--trainer.callbacks` is of the last one
            return f"resume: checkpoint  # in the YAML file, among the init_args of {owner}"
        part = "trainer.callbacks"
    return shlex.join(["python", *sys.argv, f"--{part}.resume=checkpoint"])
