"""A sweep of training runs: a line for each, and one table, file and picture of all at its end.

Each job notes what became of it beside the others' notes, in its own process, which may be one of several at a time.
The process that began the sweep reads them when it is over, also where jobs have failed or somebody has ended it.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

import csv
import json
import logging
import math
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from lr_recipes.checks import counted, one_line
from lr_recipes.report.rows import sample_rows
from recipes.app.quoting import parsed_word
from recipes.app.run_folder import is_first_process, shown

SWEEP_FILES = ("sweep.csv", "sweep.png")
_NOTES = ".sweep"  # in the sweep's folder, until it is over
_CLOSING = "Learning rate: "  # how the closing line of LearningRateLogger begins
_DRAWN_OF_A_RUN = 2000  # updates of a run in the picture
_SHOWN_LETTERS = 72  # of what went wrong, in the table

_under_way: list[Path] = []  # the folder of the sweep that this process has begun


class NotesFolder(Callback):
    """Hydra's word that a sweep begins, in the process that begins it."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _under_way[:] = [Path(config.hydra.sweep.dir)]


class SweptRun:
    """One run of a sweep, as it is noted.

    Attributes:
        metrics: what it has measured.
    """

    def __init__(self, cfg: DictConfig) -> None:
        hydra = HydraConfig.get()
        self.number, self.sweep = int(hydra.job.num), Path(hydra.sweep.dir)
        self.settings = list(map(str, hydra.overrides.task))
        self.folder = str(cfg.output_dir)
        self.objective = str(cfg.task.objective)
        self.highest_first = _highest_first(cfg, self.objective)
        self.metrics: dict[str, float] = {}
        self.closing: list[str] = []
        self.began = time.time()

    def note(self, status: str, why: str = "") -> None:
        """Write down how it is; a file that is there is whole."""
        folder = self.sweep / _NOTES
        folder.mkdir(parents=True, exist_ok=True)
        whole = {
            **vars(self),
            "sweep": str(self.sweep),
            "status": status,
            "why": why,
            "seconds": time.time() - self.began,
        }
        partial = folder / f"{self.number}.partial"
        partial.write_text(json.dumps(whole), encoding="utf-8")
        partial.replace(folder / f"{self.number}.json")


@contextmanager
def noted(cfg: DictConfig) -> Iterator[SweptRun | None]:
    """Run one job of a sweep quietly and note what becomes of it; where it is none that trains, do nothing.

    Args:
        cfg: the composed config; its progress bar is turned off.
    """
    trains = OmegaConf.select(cfg, "task.function") == "recipes.app.training.run" and _has_parts(cfg)
    if HydraConfig.get().mode is not RunMode.MULTIRUN or not trains or not is_first_process():
        yield None
        return
    cfg.trainer.enable_progress_bar = False
    job = SweptRun(cfg)
    job.note("interrupted")  # what it is, should nothing else be noted
    swept = _swept_in(job.sweep)
    total = math.prod(swept.values()) if swept else None
    apart = [word for word in job.settings if not swept or _key(word) in swept]
    line = f"[{job.number + 1}{f'/{total}' if total else ''}] {' '.join(apart)}"
    if sys.stdout.isatty():
        print(f"{line} ...", end="\r", flush=True)
    try:
        with _only_closing_lines(job.closing):
            yield job
    except Exception as error:
        job.note("failed", str(error.args[0]) if error.args else type(error).__name__)
        print(f"{line}: failed after {in_words_of_time(time.time() - job.began)}", flush=True)
        raise
    job.note("done")
    found = f"{job.objective} {job.metrics.get(job.objective, math.nan):.4f}"
    print(f"{line}: {found}, {in_words_of_time(time.time() - job.began)}{_still(job, total)}", flush=True)


@contextmanager
def _only_closing_lines(lines: list[str]) -> Iterator[None]:
    """Let only errors through to the terminal, and keep what is said of the LR at the end; the log file has it all."""
    root, listener = logging.getLogger(), _Listener(lines)
    consoles = [one for one in root.handlers if getattr(one, "stream", None) is sys.stdout]
    levels = [one.level for one in consoles]
    for console in consoles:
        console.setLevel(logging.ERROR)
    root.addHandler(listener)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(listener)
        for console, level in zip(consoles, levels, strict=True):
            console.setLevel(level)


class _Listener(logging.Handler):
    """Keeps the closing lines of the LR."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(_CLOSING):
            self.lines.append(text.removeprefix(_CLOSING))


def _has_parts(cfg: DictConfig) -> bool:
    """Whether the config can be asked; where it cannot, the checks of the run say what is wrong."""
    return isinstance(cfg.get("trainer"), DictConfig) and isinstance(cfg.get("callbacks"), DictConfig)


def _swept_in(sweep: Path) -> dict[str, int]:
    """The settings that are swept, with how many values each has; nothing of a sweeper that is not Hydra's own."""
    try:
        written = yaml.safe_load((sweep / "multirun.yaml").read_text(encoding="utf-8"))
        words = written["hydra"]["overrides"]["task"]
        read = {_key(word): parsed_word(word) for word in words}
        return {key: len(list(one.sweep_iterator())) for key, one in read.items() if one and one.is_sweep_override()}
    except Exception:  # there is no such file, or values that only Hydra can list
        return {}


def _still(job: SweptRun, total: int | None) -> str:
    """How long the rest will take, if it takes as long: said where jobs run one after another."""
    notes = _notes_of(job.sweep)
    left = (total or 0) - len(notes)  # not by its number: where several run at a time, the last to end may be the first
    done = [note["seconds"] for note in notes if note["status"] == "done"]
    if left < 1 or any(note["status"] == "interrupted" for note in notes):  # as all are that are under way
        return ""
    return f", about {in_words_of_time(sum(done) / len(done) * left)} left"


def in_words_of_time(seconds: float) -> str:
    """Return a time as somebody would say it.

    Example:
        >>> in_words_of_time(14.2), in_words_of_time(200)
        ('14 s', '3 min')
    """
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


# The end


def end_of_sweep() -> None:
    """Print the table of the sweep that this process has begun, write it and draw the LRs; of another, nothing."""
    for sweep in _under_way:
        notes = _notes_of(sweep)
        if notes:
            print(f"\n{as_text(notes)}\n\n{_written(sweep, notes)}", flush=True)
            shutil.rmtree(sweep / _NOTES)
    _under_way.clear()


def _notes_of(sweep: Path) -> list[dict[str, Any]]:
    """What is noted of the jobs, the best first; those that came to no end are last."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (sweep / _NOTES).glob("*.json")]

    def place(note: dict[str, Any]) -> tuple[bool, bool, float, int]:
        value = note["metrics"].get(note["objective"], math.nan)
        worth = 0.0 if math.isnan(value) else -value if note["highest_first"] else value
        return note["status"] != "done", math.isnan(value), worth, note["number"]

    return sorted(found, key=place)


def _highest_first(cfg: DictConfig, objective: str) -> bool:
    """Whether more of the objective is better: as the checkpoints take it; a loss is better lower."""
    callbacks = [one for one in cfg.callbacks.values() if isinstance(one, DictConfig)]
    modes = [one.get("mode") for one in callbacks if one.get("monitor") == objective]
    return "max" in modes or (not modes and objective.endswith("acc"))


def as_text(notes: Sequence[dict[str, Any]]) -> str:
    """Return the table for a terminal."""
    names = labels([note["settings"] for note in notes], [str(note["number"]) for note in notes])
    metrics = list(dict.fromkeys(name for note in notes for name in note["metrics"]))
    rows = [["", "run", *metrics, "last LR", "learning rate"]]
    for place, (name, note) in enumerate(zip(names, notes, strict=True), 1):
        if note["status"] == "done":
            values = [f"{note['metrics'][metric]:.4f}" if metric in note["metrics"] else "" for metric in metrics]
            rows.append([str(place), name, *values, _last_lr(note), _in_short("; ".join(note["closing"]))])
        else:
            why = one_line(note["why"].partition("\n")[0])
            why = f": {why if len(why) <= _SHOWN_LETTERS else why[:_SHOWN_LETTERS] + ' ...'}" if why else ""
            rows.append(["-", name, *[""] * len(metrics), "", f"{note['status']}{why}"])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # numbers to the right, words to the left
    pads = [str.rjust, str.ljust, *[str.rjust] * (len(metrics) + 1), str.ljust]
    lines = ["  ".join(pad(cell, width) for pad, cell, width in zip(pads, row, widths, strict=True)) for row in rows]
    way = "highest" if notes[0]["highest_first"] else "lowest"
    head = f"{counted(len(notes), 'run')}, the {way} {notes[0]['objective']} first"
    return "\n".join([head, *(line.rstrip() for line in lines)])


def _in_short(closing: str) -> str:
    """A closing line that has nothing to tell, in few words."""
    return re.sub(
        r"used = planned on ([\d,]+) of \1 updates, schedule complete", r"used = planned (\1 updates)", closing
    )


def _written(sweep: Path, notes: Sequence[dict[str, Any]]) -> str:
    table, picture = (sweep / name for name in SWEEP_FILES)
    keys = list(dict.fromkeys(_key(word) for note in notes for word in note["settings"] if _sets_apart(word, notes)))
    metrics = list(dict.fromkeys(name for note in notes for name in note["metrics"]))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["job", *keys, *metrics, "last_lr", "learning_rate", "status", "why", "seconds", "folder"])
        for note in notes:
            settings = {_key(word): word.partition("=")[2] for word in note["settings"]}
            values = [*(settings.get(key, "") for key in keys), *(note["metrics"].get(name, "") for name in metrics)]
            end = [_last_lr(note), "; ".join(note["closing"]), note["status"], note["why"], f"{note['seconds']:.1f}"]
            writer.writerow([note["number"], *values, *end, note["folder"]])
    return f"Written: {shown(table)}{_drawn(picture, notes)}"


def _drawn(picture: Path, notes: Sequence[dict[str, Any]]) -> str:
    from lr_recipes.report.picture import figure_of_several, save_figure  # matplotlib takes a second to import

    names = labels([note["settings"] for note in notes], [str(note["number"]) for note in notes])
    curves = {name: points for name, note in zip(names, notes, strict=True) if (points := _used(note["folder"]))}
    if not curves:
        return ""
    save_figure(figure_of_several(curves, f"{counted(len(curves), 'run')}: the LR that each update used"), picture)
    return f"\nDrawn: {shown(picture)}"


@cache  # the table, the file and the picture ask, of runs that are over
def _used(folder: str) -> list[tuple[int, float]]:
    """Updates and the LRs that they used, of the group with the highest and of the first optimizer."""
    records = sorted(Path(folder).glob("lr*.csv"))
    rows = sample_rows(records[0], _DRAWN_OF_A_RUN) if records else []
    return [(int(row["step"]), max(float(row[key] or 0) for key in row if key.startswith("lr/"))) for row in rows]


def _last_lr(note: dict[str, Any]) -> str:
    points = _used(note["folder"])
    return f"{points[-1][1]:.3g}" if points else ""


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _sets_apart(word: str, notes: Sequence[dict[str, Any]]) -> bool:
    return any(word not in note["settings"] for note in notes)


def labels(settings: Sequence[Sequence[str]], numbers: Sequence[str]) -> list[str]:
    """Name each job by what sets it apart.

    Args:
        settings: the overrides of each job.
        numbers: what tells jobs apart whose settings do not.

    Example:
        >>> labels([["seed=1", "schedule=step"], ["seed=1", "schedule=cosine"]], ["0", "1"])
        ['step', 'cosine']
        >>> labels([["schedule=step", "optimizer.lr=0.1"], ["schedule=step", "optimizer.lr=0.2"]], ["0", "1"])
        ['optimizer.lr=0.1', 'optimizer.lr=0.2']
    """
    common = set(settings[0]).intersection(*settings) if len(settings) > 1 else {"task=preview"}
    apart = [[one for one in own if one not in common] for own in settings]
    if {one.partition("=")[0] for own in apart for one in own} == {"schedule"}:
        apart = [[one.partition("=")[2] for one in own] for own in apart]
    names = [", ".join(own) or "as it is" for own in apart]
    return names if len(set(names)) == len(names) else [f"{n}: {name}" for n, name in zip(numbers, names, strict=True)]
