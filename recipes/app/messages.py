"""Puts a mistake of the user's into words: what was given, what is possible, what to change.

Only mistakes: an exception that is not known to be one keeps its traceback.
"""

from __future__ import annotations

import difflib
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from lr_recipes.checks import brief, nearest, visible
from lr_recipes.plan.resume import Undecided
from recipes.app.config import CONF

_LONGEST_MESSAGE = 4000  # characters; plans side by side have some 2,000
_LONGEST_SETTING = 100  # characters of what may be a misspelt setting


def explain(error: BaseException, command: Sequence[str] | None = None) -> str | None:
    """Return one message for a mistake; ``None`` where the exception is not a user's mistake.

    Args:
        error: the exception.
        command: what was typed after ``python train.py``, where it can be typed again.
    """
    if isinstance(error, Undecided) and command is not None:
        again = [word for word in command if not word.startswith("resume=")]
        return _shown(
            f"{error.question}. For the first:\n    python train.py {shlex.join([*again, 'resume=checkpoint'])}"
        )
    for kind, words in _WORDS:
        if isinstance(error, kind):
            return _shown(words(error))
    return _shown(str(error)) if isinstance(error, _lightning_mistakes()) else None


def _shown(message: str) -> str:
    """A message for a terminal; one of a library that quotes all that it was given is not read to its end."""
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[: _LONGEST_MESSAGE // 2]} ... ({len(message):,} characters)"
    return visible(message)


def unknown_key(key: str, known: Sequence[str], config: Any = None, value: str = "...") -> str:
    """Say that a dotted key does not exist, which do, and which one elsewhere in the config was meant.

    Args:
        key: what was typed.
        known: the keys that stand where it was looked for.
        config: the whole config.
        value: what was typed for it.

    Example:
        >>> unknown_key("schedule.warmpu", ["gamma", "warmup"])
        "schedule has no 'warmpu' (did you mean 'warmup'?); it has gamma, warmup"
        >>> unknown_key("lr", ["optimizer", "schedule"], {"optimizer": {"lr": 0.001}, "schedule": {}}, "0.1")
        "the config has no 'lr' (did you mean optimizer.lr=0.1?); it has optimizer, schedule"
    """
    parent, _, name = key.rpartition(".")
    config = config or {}
    nearer = "" if _close(name, known) else _elsewhere(_close(name, _last_words(config)), config, value)
    meant = _elsewhere(name, config, value) or nearer or nearest(name, known, most=2)
    if not known:
        return f"{parent} is a value and has no {brief(name)}{meant}"
    return f"{parent or 'the config'} has no {brief(name)}{meant}; it has {', '.join(known)}"


# What other programs call it -> what is typed here.
_OTHER_WORDS = {
    "accumulation": "trainer.accumulate_grad_batches={}",
    "arch": "model={}",
    "bs": "data.batch_size={}",
    "checkpoint": "ckpt_path={}",
    "dataset": "data={}",
    "device": "trainer.accelerator={}",
    "epochs": "trainer.max_epochs={}",
    "gpu": "trainer=gpu",
    "gpus": "trainer=gpu trainer.devices={}",
    "gradient_accumulation_steps": "trainer.accumulate_grad_batches={}",
    "learning_rate": "optimizer.lr={}",
    "lr_scheduler": "schedule={}",
    "num_epochs": "trainer.max_epochs={}",
    "scheduler": "schedule={}",
    "steps": "trainer.max_steps={}",
    "warmup_epochs": "schedule.warmup={}ep",
    "warmup_steps": "schedule.warmup={}",
    "wd": "optimizer.weight_decay={}",
}
_MOST_MEANT = 4  # settings that one word may have meant; more are no help


def _elsewhere(name: str, config: Mapping[Any, Any], value: str) -> str:
    """What was meant, where a setting of this name is elsewhere in the config, or one that others call so."""
    found = [path for path in _paths(config) if path.endswith(f".{name}")]
    if not found and name in _OTHER_WORDS:
        return f" (did you mean {_OTHER_WORDS[name].format(shlex.quote(value))}?)"
    words = [shlex.quote(f"{path}={value}") for path in found]
    return f" (did you mean {' or '.join(words)}?)" if 0 < len(found) <= _MOST_MEANT else ""


def _close(name: str, known: Iterable[str]) -> str:
    """The known word that a word is hardly different from; nothing where there is none."""
    return next(iter(difflib.get_close_matches(name[:_LONGEST_SETTING], list(known), n=1, cutoff=0.8)), "")


def _last_words(config: Mapping[Any, Any]) -> set[str]:
    return {path.rpartition(".")[2] for path in _paths(config) if "." in path}


def _paths(node: Any, above: str = "") -> Iterator[str]:
    """The dotted keys of all values that a config has, but Hydra's own."""
    for key, below in node.items():
        if not str(key).startswith("_") and key != "hydra":
            path = f"{above}.{key}".lstrip(".")
            yield from _paths(below, path) if isinstance(below, Mapping) else [path]


_QUOTES = "'\""


def _missing_file(error: Any) -> str:
    group, _, name = (error.missing_cfg_file or "").rpartition("/")
    known = error.options or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    if not group or not known:
        return _one_line(error)
    typed = brief(name).strip(_QUOTES)
    return f"{group}={typed} is unknown{nearest(name, known, most=2)}; choose one of {', '.join(known)}"


def _unreadable(error: Any) -> str:
    return (  # without the parser's reason, which speaks of its grammar
        f"{brief(error.override)} cannot be read: write key=value, and put quotes around a value with spaces, commas "
        "or brackets, as in 'schedule.warmup=\"5 epochs\"'"
    )


def _composition(error: Any) -> str:
    cause = error.__cause__
    key, parent = getattr(cause, "full_key", None), getattr(cause, "parent_node", None)
    if key and parent is not None and "not in struct" in str(cause):
        typed = re.search(r"\+" + re.escape(key) + r"=(.*)", str(error))  # Hydra's advice repeats what was typed
        top = "." not in key  # where the whole config is what has no such key
        whole = OmegaConf.to_container(parent, resolve=False) if top else None
        if key.startswith("schedule.") and not _keys(parent, top):  # as of one by group, which names none by itself
            again = shlex.quote(f"+{key}={typed[1] if typed else '...'}")
            return f"{key.rpartition('.')[0]} has nothing in it: if it takes groups or numbers, add one with {again}"
        return unknown_key(key, _keys(parent, top), whole, typed[1] if typed else "...")
    return _one_line(error) + (f" {_one_line(cause)}" if cause is not None else "")


def _keys(node: Any, top: bool) -> list[str]:
    try:
        found = [str(key) for key in node if not str(key).startswith("_") and key != "hydra"]
    except TypeError:  # a value, not a mapping
        return []
    return sorted({*found, "recipe"}) if top else found


def _instantiation(error: Any) -> str:
    """The mistake that the target reported, under the config's name for it."""
    cause = error.__cause__
    place = re.search(r"full_key: (\S+)", str(error))
    if cause is None:
        return _one_line(error)
    said = explain(cause) or f"{type(cause).__name__}: {cause}"
    return f"{place[1]}: {said}" if place else said


def _interpolation(error: Any) -> str:
    """What one of our own ``${...:}`` found wrong; OmegaConf says before it where it was asked."""
    return _one_line(error).removeprefix("ValueError raised while resolving interpolation: ")


def _wrong_value(error: Any) -> str:
    # Hydra opens the log file through `logging.config`, which hides the reason.
    if str(error).startswith("Unable to configure handler") and isinstance(error.__cause__, OSError):
        return _system(error.__cause__)
    return str(error)


def _system(error: Any) -> str:
    """Our own messages are whole; those of the system name a file and a reason."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename} cannot be used ({error.strerror}): free it, or set output_dir to another folder"


def _one_line(error: BaseException) -> str:
    lines = (line.strip() for line in str(error).splitlines())
    return " ".join(line for line in lines if line and not line.startswith(("See https", "object_type", "full_key")))


# The first kind that fits has the word; Hydra's subclasses come before their bases.
_WORDS: list[tuple[type[BaseException], Callable[[Any], str]]] = [
    (MissingConfigException, _missing_file),
    (OverrideParseException, _unreadable),
    (ConfigCompositionException, _composition),
    (InstantiationException, _instantiation),
    (HydraException, _one_line),
    (InterpolationResolutionError, _interpolation),
    (OmegaConfBaseException, _one_line),
    (OSError, _system),
    (ValueError, _wrong_value),
    (ImportError, str),
]


def _lightning_mistakes() -> tuple[type[BaseException], ...]:
    """Lightning's own class for wrong settings; its module is not loaded for this."""
    module = sys.modules.get("lightning.fabric.utilities.exceptions")
    return (module.MisconfigurationException,) if module else ()
