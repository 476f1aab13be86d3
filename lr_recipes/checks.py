"""How a wrong value is answered, once for the whole package: what was given, what is possible, what to change.

And how a name is shown that somebody else has given: a checkpoint or a run's folder may come from anywhere.

The ground floor: everything else may use it, and it uses the standard library alone. What belongs here is what several
floors say in the same words; what only one kind of value can get wrong, such as a duration, is said where that value is
read.
"""

from __future__ import annotations

import difflib
import math
import numbers
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

# Longer than any run, in updates or samples; up to here floats count exactly, and nothing overflows.
MOST = 10**15
_LONGEST = 200  # characters of a value in a message
_LONGEST_WORD = 100  # characters of what may be a misspelt name


def plain(value: Any) -> Any:
    """Return a number or a string as one of Python's own, and lists and dicts of them; anything else as it is.

    What numpy, torch and enumerations have of both works like them, but no checkpoint that holds one can be loaded with
    ``weights_only=True``. So it is exchanged where it comes in: what is planned and what is saved is the same number.

    Example:
        >>> from fractions import Fraction
        >>> plain((Fraction(1, 2), "val_loss"))
        (0.5, 'val_loss')
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # not `str(value)`, which for an enumeration is the name of its member
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return (tuple if isinstance(value, tuple) else list)(map(plain, value))
    if callable(getattr(value, "tolist", None)):  # arrays and tensors, those that are one number too
        return plain(value.tolist())
    return value


def brief(value: object) -> str:
    """Return a value as it stands in a message: its ``repr``, of a long one the beginning. It never fails.

    Example:
        >>> brief("5 epochs"), brief("x" * 1000)[:12], brief("x" * 1000)[-21:]
        ("'5 epochs'", "'xxxxxxxxxxx", '... (1,002 characters)')
    """
    try:
        text = " ".join(repr(value).splitlines())
    except Exception:  # of somebody's own class; or of an integer of more digits than Python writes
        return f"<{type(value).__name__}>"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 3]}... ({len(text):,} characters)"


def counted(count: int, what: str) -> str:
    """Return a number of things.

    Example:
        >>> counted(1, "update"), counted(4680, "update")
        ('1 update', '4,680 updates')
    """
    return f"{count:,} {what}{'s' if count != 1 else ''}"


def nearest(name: object, known: Iterable[str], most: int = 1) -> str:
    """Return «(did you mean 'warmup'?)» with a space before it, or nothing where no known name is near.

    Example:
        >>> nearest("warmpu", ["warmup", "gamma"])
        " (did you mean 'warmup'?)"
    """
    word = name if isinstance(name, str) and len(name) <= _LONGEST_WORD else ""
    near = difflib.get_close_matches(word, list(known), n=most)
    return f" (did you mean {' or '.join(map(repr, near))}?)" if near else ""


def one_of(name: str, value: T, known: Iterable[str]) -> T:
    """Return ``value`` if it is one of the ``known`` words.

    Raises:
        ValueError: it is not; the message lists the words and names the nearest one.
    """
    known = tuple(known)  # it is walked three times, and may be an iterator
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{name}={brief(value)}{nearest(value, known)}: must be one of {', '.join(known)}")
    word: T = plain(value)  # whatever class of string was given
    return word


def number(name: str, value: Any, low: float, high: float = math.inf, *, above: bool = False) -> None:
    """Refuse what is not a finite number in [low, high], or above ``low`` where ``above`` is set.

    Raises:
        ValueError: with the name, the value and the limits.
    """
    limits = f"above {low:g}" if above else f"at least {low:g}"
    limits += f" and at most {high:g}" if high < math.inf else ", and finite"
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # a bool is an int in Python
        raise ValueError(f"{name}={brief(value)}: must be a number, {limits}")
    if not is_finite(value) or not (low < value if above else low <= value) or not value <= high:
        raise ValueError(f"{name}={brief(value)}: must be {limits}")


def is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can hold; ``True`` and ``False`` are none.

    Example:
        >>> [is_finite(value) for value in (1, 0.5, float("nan"), float("inf"), 10**400, True, "1")]
        [True, True, False, False, False, False, False]
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # Compared, and not asked of `math`, which fails for an integer that is larger than any float.
    return -sys.float_info.max <= value <= sys.float_info.max


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether a value is an ``int`` of at least ``least``; ``True`` and ``False`` are not."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def countable(name: str, value: float, given: object = None) -> None:
    """Refuse a count that is larger than that of any run.

    Args:
        name: what it is called.
        value: the count.
        given: how it was written, where it was written otherwise.

    Raises:
        ValueError: with the name, what was given, and the limit.
    """
    if value > MOST:
        written = brief(value if given is None else given)
        raise ValueError(f"{name}={written} is longer than any run: give at most {MOST:,}")


def folder(name: str, value: Any) -> None:
    """Refuse what is neither the path of a folder nor ``None``.

    Raises:
        ValueError: with the name and the value.
    """
    if value is not None and not isinstance(value, (str, Path)):
        raise ValueError(f"{name}={brief(value)}: must be the path of a folder, or None")


def flag(name: str, value: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        ValueError: with the name and the value.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={brief(value)}: must be true or false")


def visible(text: str) -> str:
    r"""Return text for a terminal: what would move its cursor or turn its writing round is written out.

    Line breaks stay, as do the letters of all languages.

    Example:
        >>> print(visible("é\x1b[2J\nb"))
        é\x1b[2J
        b
    """
    return text if text.isprintable() else "\n".join(map(one_line, text.split("\n")))


def one_line(name: str) -> str:
    r"""Return a name for a terminal, as ``visible`` does, with its line breaks written out: it cannot pose as a line.

    Example:
        >>> print(one_line("decay\nused = planned"))
        decay\nused = planned
    """
    if name.isprintable():
        return name
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in name)
