"""Which settings of a run folder the run that goes on takes over: a folder may be a stranger's.

Whoever types ``ckpt_path=...`` trusts what is typed, the code and the config tree, and not what lies beside the
checkpoint. A word from there may set a value of this program or choose a file of the config tree. It may not be an
option, name code, a place to read from or to write to, nor take its value from elsewhere, such as the environment.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from lr_recipes.checks import one_line
from lr_recipes.report.words import cut
from recipes.app.quoting import parsed_word

# What stands at the top of the config, as far as a folder may say it: choices of a file, and values.
CHOICES = ("model", "data", "optimizer", "schedule", "trainer", "callbacks", "logger", "task", "recipe")
VALUES = ("seed", "batch_scaling", "threads")
# What belongs to one start of a run: the next has its weights from the checkpoint, and its folder is the run's or new.
OF_ONE_START = ("ckpt_path", "resume", "weights", "pretraining", "output_dir")
# The last word of the keys that say where something is read, written or fetched; and all that is sent to a logger.
PLACES = (
    "checkpoint_dir",
    "pretrained_dir",
    "default_root_dir",
    "save_dir",
    "dirpath",
    "root",
    "path",
    "download",
)

_OPTION = "is not a setting"
_OTHERS = "is not a setting of this program"
_CODE = "names code"
_ELSEWHERE = "takes its value from elsewhere"
_A_PLACE = "names a place to read or to write"
_SEVERAL_VALUES = "stands for several values"

_MOST_BYTES = 1 << 16  # of a file of settings; one of ours has some hundred
_MOST_CHARACTERS = 1000  # of one of them: the parser takes longer for a line than the line is longer
_SHOWN = 100  # characters of one that is left out
_SHOWN_LINES = 20
_FILE_NAME = re.compile(r"[\w-]+(/[\w-]+)*")  # of a file of the config tree, which no name leads out of
# From the top of a disk, of a home or of a server, or up: wherever such text stands, a file could be meant.
_LIKE_A_PLACE = re.compile(r"[/~]|\w+:/|.*(\\|://)|(.*/)?\.\.(/|$)", re.DOTALL)
_OUR_VALUES = ("${scaled_lr:}",)  # the LR that follows the batch


class Settings(NamedTuple):
    """Words of a run folder: those to take over, and a line about each that is left out."""

    words: list[str]
    left_out: list[str]


def settings_in(file: Path, run: Path, typed: Iterable[str] = ()) -> Settings:
    """Read the settings that a run began with.

    Args:
        file: a YAML list of words, ``key=value``, as Hydra writes it.
        run: the folder of the run, which holds the file.
        typed: keys that somebody has typed a value for: they and what is under them are not asked for.
    """
    try:
        found = words_in(file, run)
    except ValueError as error:
        return Settings([], [str(error)])
    gone = (*OF_ONE_START, *typed)
    words = [word for word in found if not any(_is_under(key_of(word), key) for key in gone)]
    reasons = {word: why_not(word) for word in words}
    left_out = [f"{cut(one_line(shlex.quote(word)), _SHOWN)}: {reason}" for word, reason in reasons.items() if reason]
    return Settings([word for word in words if reasons[word] is None], left_out)


def words_in(file: Path, run: Path) -> list[str]:
    """Return the words of a file of settings, as text: nothing in them is looked up.

    Raises:
        ValueError: it is not a small regular file within the run's folder that holds a list of words.
    """
    if not file.is_file() or not file.resolve().is_relative_to(run.resolve()):
        raise ValueError(f"{one_line(str(file))} is not a regular file of the folder, and is not read")
    with file.open("rb") as opened:
        content = opened.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ValueError(f"{one_line(str(file))} has more than {_MOST_BYTES:,} bytes, and is not read")
    try:
        # all scalars as text; an alias is one more name for an object, which is not copied
        found = yaml.load(content, yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError):
        found = None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"{one_line(str(file))} is not a list of settings, and is not read")
    return found


def why_not(word: str) -> str | None:
    """Say why a word is not taken from a folder; ``None`` where it is.

    Example:
        >>> why_not("schedule.warmup=5 epochs")
        >>> why_not("+schedule._target_=os.system")
        'names code'
        >>> why_not("optimizer.lr=${oc.env:LR}")
        'takes its value from elsewhere'
    """
    if word.startswith("-") or len(word) > _MOST_CHARACTERS or not word.isprintable():
        return _OPTION
    override = parsed_word(word)
    if override is None:
        return _OPTION
    parts = override.key_or_group.split(".")
    if parts[-1] in PLACES:
        return _A_PLACE
    if override.package is not None or parts[0] not in CHOICES + VALUES or not all(map(_FILE_NAME.fullmatch, parts)):
        return _OTHERS
    if override.is_sweep_override():
        return _SEVERAL_VALUES
    if len(parts) == 1 and parts[0] in CHOICES:
        return _why_no_choice(override.value())
    return next(_against(parts, override.value()), None)


def _why_no_choice(value: Any) -> str | None:
    """Of files of the config tree: their names, or none."""
    names = value if isinstance(value, list) else [value]
    if any(isinstance(name, dict) for name in names):
        return _CODE
    return None if all(name is None or _FILE_NAME.fullmatch(str(name)) for name in names) else _A_PLACE


def _against(keys: list[Any], value: Any) -> Iterator[str]:
    """What speaks against a value, and against those in it, under its keys."""
    last = str(keys[-1])
    if any(str(key).startswith("_") for key in keys) or last == "function":
        yield _CODE
    if keys[0] == "logger" or last in PLACES:
        yield _A_PLACE
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _against_text(str(key))
            yield from _against([*keys, key], one)
    elif isinstance(value, list):
        for one in value:
            yield from _against(keys, one)
    elif isinstance(value, str) and value not in _OUR_VALUES:
        yield from _against_text(value)
        if last == "pretrained" and not re.fullmatch(r"\w+", value):  # a name that torchvision knows is none
            yield _A_PLACE


def _against_text(text: str) -> Iterator[str]:
    if "${" in text:
        yield _ELSEWHERE
    if _LIKE_A_PLACE.match(text):
        yield _A_PLACE


def key_of(word: str) -> str:
    """Return the key of a word: of ``++optimizer.lr=0.1``, ``optimizer.lr``."""
    return word.partition("=")[0].lstrip("+~")


def _is_under(key: str, other: str) -> bool:
    """Whether a key is another one, or of a value within it."""
    return key == other or key.startswith(f"{other}.")


def going_on_with(taken: Sequence[str], left_out: Sequence[str]) -> str:
    """Say what is taken over from a run folder, and what is not."""
    lines = [f"Going on with the settings of the run: {one_line(' '.join(taken))}"] if taken else []
    if left_out:
        shown = [f"    {line}" for line in left_out][:_SHOWN_LINES]
        lines += ["Left out of what the run's folder says:", *shown]
        lines += [f"    and {len(left_out) - len(shown):,} more"] if len(left_out) > len(shown) else []
        lines += [
            "A folder may be a stranger's: it sets values and chooses files of conf/, and nothing else. What is yours "
            "of this, and wanted, type beside ckpt_path=..."
        ]
    return "\n".join(lines)
