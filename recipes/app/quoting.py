"""What a shell hands over, as Hydra's grammar reads it: paths are typed as they are, and get the quotes that they need.

Imported before anything heavy, by `python train.py --help` too: no torch, no lightning.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

# The last word of a setting that takes a path: what is typed for it is that path, whatever signs are in it.
_PATH = re.compile(r"(.*_)?(path|dir|folder|file)|dirpath|filename|root|weights|pretrained|page")


def as_hydra_reads(argument: str, sweep: bool, is_group: Callable[[str], bool] = lambda key: False) -> str:
    """Return an argument of a command line with quotes around its value, where Hydra would not read what was meant.

    Args:
        argument: ``key=value``; anything else stays as it is.
        sweep: whether several jobs are asked for, so that a comma stands between values.
        is_group: whether a key chooses files, so that its value is a name, or a list of names.

    Example:
        >>> as_hydra_reads("ckpt_path=/home/me/my run's/last.ckpt", sweep=False)
        'ckpt_path="/home/me/my run\\'s/last.ckpt"'
        >>> as_hydra_reads("schedule.warmup=5 epochs", sweep=False)
        'schedule.warmup=5 epochs'
    """
    key, equals, text = argument.partition("=")
    if not equals or argument.startswith(("-", "~")):
        return argument
    meant, name = parsed_word(argument), key.lstrip("+")
    fits = _is_name if is_group(name) else _is_text if _PATH.fullmatch(name.rpartition(".")[2]) else _is_anything
    if meant is not None and (sweep if meant.is_sweep_override() else fits(meant.value())):
        return argument
    in_quotes = f"{key}={quoted(text)}"
    return argument if parsed_word(in_quotes) is None else in_quotes  # where the key cannot be read, Hydra says so


def parsed_word(argument: str) -> Override | None:
    """Return what Hydra reads in an argument; ``None`` where it can read nothing."""
    try:
        return _parser().parse_override(argument)
    except (HydraException, ValueError, RecursionError):  # of numbers too long for Python, of brackets in brackets
        return None


@cache
def _parser() -> OverridesParser:
    return OverridesParser.create()


def _is_text(value: Any) -> bool:
    return isinstance(value, str | None)


def _is_name(value: Any) -> bool:
    return all(isinstance(one, str) for one in (value if isinstance(value, list) else [value]))


def _is_anything(value: Any) -> bool:
    return True


def quoted(text: str) -> str:
    """Return text in quotes, so that Hydra reads just this text; ``${...}`` is still filled in.

    Example:
        >>> print(quoted("last (1).ckpt"))
        "last (1).ckpt"
    """
    mark = "'" if '"' in text and "'" not in text else '"'
    # Hydra takes a backslash for what it is, unless a quote comes next
    inside = re.sub(rf"(\\*)({mark})", r"\1\1\\\2", text)
    inside = re.sub(r"(\\+)\Z", r"\1\1", inside)
    return f"{mark}{inside}{mark}"


def unquoted(text: str) -> str:
    """Return the text that Hydra reads where ``text`` stands as a value; what it cannot read stays as it is."""
    meant = parsed_word(f"key={text}")
    value = None if meant is None or meant.is_sweep_override() else meant.value()
    return value if isinstance(value, str) else text
