"""The folder of a run: its name, what a run that goes on takes over, and how a run that never began leaves none.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lr_recipes.checks import one_line, visible
from recipes.app.quoting import unquoted
from recipes.app.taken_over import going_on_with, key_of, settings_in

SETTINGS = ".hydra"
OVERRIDES = "overrides.yaml"

# Lightning's talk about itself; the log file has it.
_CHATTER = (
    "💡 Tip",
    "TPU available",
    "Restoring states from",
    "Loaded model weights",
    "`Trainer.fit` stopped",  # the closing line of the LR says how the run ended
    "Detected KeyboardInterrupt",  # whoever pressed Ctrl-C is told how to go on
)


class OfInterest(logging.Filter):
    """Keeps stdout for what a run has to say: errors go to stderr, chatter to the log file only."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR and not record.getMessage().lstrip().startswith(_CHATTER)


class Visible(logging.Formatter):
    """Writes control characters out: what a library says of a checkpoint may quote it."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


def run_folder(ckpt_path: str | None, resume: str, now: str) -> str:
    """Return the folder of a run: the old one where it goes on, else ``runs/<now>``.

    A run goes on in its folder when it is given one of its own checkpoints. With ``resume=config`` or ``restart`` it is
    a branch, and gets a new folder.

    Example:
        >>> run_folder(None, "error", "2030-01-31_12-00-00-123456")
        'runs/2030-01-31_12-00-00-123456'
    """
    old = None if resume in ("config", "restart") else folder_of(ckpt_path)
    if old is None:
        return f"runs/{now}"
    refuse_links(old)
    return str(old)


def refuse_links(run: Path) -> None:
    """Refuse to go on in a folder where something that a run writes leads out of it, or is no file.

    Raises:
        ValueError: names it, and says how to go on elsewhere.
    """
    inside = os.path.realpath(run)
    for folder in (run, run / SETTINGS, run / "checkpoints"):
        for one in folder.iterdir() if folder.is_dir() else ():
            leads_to = Path(os.path.realpath(one))
            if not leads_to.is_relative_to(inside) or not (leads_to.is_file() or leads_to.is_dir()):
                raise ValueError(
                    f"{one_line(str(one))} is no file of this folder, and a run that goes on here might write to "
                    f"{one_line(str(leads_to))}: set hydra.run.dir=runs/NAME to go on in another folder"
                )


def folder_of(ckpt_path: str | None) -> Path | None:
    """Return the run that wrote the checkpoint ``<run>/checkpoints/<name>``, if that file exists."""
    path = Path(ckpt_path or "")
    return path.parent.parent if path.is_file() and path.parent.name == "checkpoints" else None


def sweep_subfolder(number: int, overrides: str) -> str:
    """Return the folder of one job of a sweep: its number and what is special about it.

    No ``=``, comma or space in it, so that its path can be typed as ``ckpt_path=...`` without quotes.

    Example:
        >>> sweep_subfolder(3, "schedule=one_cycle,schedule.warmup=5 epochs")
        '3_schedule-one_cycle_schedule.warmup-5-epochs'
    """
    parts = (re.sub(r"[^\w.-]+", "-", part).strip("-") for part in overrides.replace("'", "").split(","))
    return "_".join([str(number), *parts])[:100].rstrip("_-.")


class Going(NamedTuple):
    """A command line, and what is to be said about it."""

    arguments: list[str]
    said: str


def with_settings_of_the_run(arguments: Sequence[str]) -> Going:
    """Put the overrides of the run that ``ckpt_path=...`` belongs to before what was typed; what was typed wins.

    Choosing another file of a group also drops the old values of that group: they belong to the old file.
    """
    typed = {key_of(argument): argument for argument in arguments if "=" in argument and not argument.startswith("-")}
    _, _, path = typed.get("ckpt_path", "").partition("=")
    run = folder_of(unquoted(path))
    file = run / SETTINGS / OVERRIDES if run else None
    if run is None or file is None or not os.path.lexists(file):
        return Going(list(arguments), "")
    words, left_out = settings_in(file, run, typed)
    return Going([*words, *arguments], going_on_with(words, left_out))


def save_settings(cfg: DictConfig, folder: Path) -> None:
    """Write the composed config, as Hydra does by itself; here once training has begun and not before."""
    target = folder / SETTINGS
    target.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, target / "config.yaml")
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        OmegaConf.save(OmegaConf.create({"hydra": _without_help(hydra)}), target / "hydra.yaml")
        OmegaConf.save(hydra.overrides.task, target / OVERRIDES)


def _without_help(hydra: Any) -> Any:
    # nodes as they are written, interpolations included
    return OmegaConf.masked_copy(hydra, [key for key in hydra if key not in ("help", "hydra_help")])


def is_new(folder: Path, log: str) -> bool:
    """Whether nothing but the log file that Hydra has just opened is in the folder."""
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= {log}


def discard(folder: Path) -> bool:
    """Remove what a run wrote before its training began, and say so; a run that did begin keeps its folder."""
    if (folder / SETTINGS).exists():
        return False
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.resolve() != Path.cwd():  # hydra.run.dir=. is allowed
        folder.rmdir()
    return True


def settings_since(folder: Path) -> int | None:
    """Return when settings were written into the folder, as a run does that begins to train; ``None``: never."""
    file = folder / SETTINGS / "config.yaml"
    return file.stat().st_mtime_ns if file.is_file() else None


def is_first_process() -> bool:
    """Whether this process is the only one, or the first of several that train together."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def how_to_go_on(folder: Path) -> str:
    """Say how an interrupted run is continued."""
    last = folder / "checkpoints" / "last.ckpt"
    if not last.is_file():
        return "Interrupted before the first checkpoint was written: there is nothing to go on from."
    return f"Interrupted. Go on with:\n    python train.py {shlex.quote('ckpt_path=' + _typeable(shown(last)))}"


def how_to_train_longer(cfg: DictConfig) -> str:
    """Say how a run that has come to its end is trained for one more epoch or update: a branch, with a longer plan."""
    steps, epochs = cfg.trainer.get("max_steps", -1), cfg.trainer.get("max_epochs")
    longer = f"trainer.max_epochs={(epochs or 0) + 1}" if steps == -1 else f"trainer.max_steps={steps + 1}"
    path = shlex.quote("ckpt_path=" + _typeable(shown(Path(cfg.ckpt_path))))
    return f"To train longer, with any larger number:\n    python train.py {path} {longer} resume=config"


def shown(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _typeable(value: str) -> str:
    """Quote what Hydra would not read as one plain value."""
    return value if re.fullmatch(r"[\w/.:@%+-]+", value) else '"' + value.replace('"', '\\"') + '"'
