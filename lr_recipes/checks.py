"""How a wrong value is answered, once for the whole package: what was given, what is possible, what to change.

And how a name is shown that somebody else has given: a checkpoint or a run's folder may come from anywhere.

The ground floor: everything else may use it, and it uses the standard library alone. What belongs here is what several
floors say in the same words; what only one kind of value can get wrong, such as a duration, is said where that value is
read.
"""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Called = TypeVar("Called", bound=Callable[..., Any])
Fault = Callable[[str, Sequence[Any], Mapping[str, Any]], "str | None"]

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
        >>> nearest("warmup_steps", ["warmup", "warmup_type"])
        " (did you mean 'warmup'?)"
    """
    word, known = name if isinstance(name, str) and len(name) <= _LONGEST_WORD else "", list(known)
    # A known word with something around it, such as `warmup_steps`, is nearer than any that looks alike.
    within = [one for one in known if one != word and f"_{one}_" in f"_{word}_"]
    near = [max(within, key=len)] if within else difflib.get_close_matches(word, known, n=most)
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


def explains_arguments(function: Called, more: Fault | None = None) -> Called:
    """Let a function or a class say what it takes, where it is called with something else.

    Its signature, its hints and its doc stay as they are for whoever reads them, and what it does too.

    Args:
        function: the function, or the class.
        more: its name, what it was given in place, what by name -> what is wrong with a wrong call, if it knows better.

    Example:
        >>> @explains_arguments
        ... def curve(*, warmup=0, gamma=0.1): ...
        >>> curve(warmpu=3)
        Traceback (most recent call last):
        TypeError: curve() has no argument 'warmpu' (did you mean 'warmup'?); it takes warmup, gamma
    """
    if isinstance(function, type):
        made: Any = function  # the class itself, whatever it is made from
        made.__init__ = explains_arguments(made.__init__, more)
        return function
    signature = inspect.signature(function)

    @wraps(function)
    def explaining(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            fault = _fault_of_call(function, signature, args, kwargs, more)
            if fault is None:  # the call was right, and something within went wrong
                raise
            raise TypeError(fault) from error

    return explaining  # type: ignore[return-value]


def no_argument(who: str, name: str, names: Iterable[str], more: Iterable[str] = ()) -> str:
    """Say that a function has no argument of a name, and which it has.

    Args:
        who: the function.
        name: what was given.
        names: its arguments.
        more: others, which may have been meant too.
    """
    names = list(names)
    return f"{who} has no argument {brief(name)}{nearest(name, [*names, *more])}; it takes {', '.join(names)}"


def _fault_of_call(
    function: Callable[..., Any],
    signature: inspect.Signature,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    more: Fault | None,
) -> str | None:
    """What is wrong with a call, in words; ``None`` where nothing is that can be told from its arguments alone."""
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        pass
    else:
        return None
    parameters = list(signature.parameters.values())
    if function.__name__ == "__init__":
        who, parameters, args = type(args[0]).__name__, parameters[1:], args[1:]
    else:
        who = f"{function.__name__}()"
    names = [one.name for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if not names:
        return None
    better = more and more(who, args, kwargs)
    if better:
        return better
    takes = f"it takes {', '.join(names)}"
    for name in kwargs:
        if name not in names:
            return no_argument(who, name, names)
    in_place = [one for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    by_name = [one for one in parameters if one.kind is one.KEYWORD_ONLY]
    if len(args) > len(in_place) and by_name:
        first = args[len(in_place)]
        meant = next((one for one in by_name if one.default is one.empty), by_name[0])
        written = f"{who.removesuffix('()')}({meant.name}={brief(first)})"
        return f"{brief(first)} is given to {who} without a name: write which it is, as in {written}; {takes}"
    missing = [one.name for one in parameters[len(args) :] if one.default is one.empty and one.name not in kwargs]
    return f"{who} needs {' and '.join(missing)}; {takes}" if missing else None


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
