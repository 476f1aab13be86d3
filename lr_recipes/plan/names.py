"""Names that people gave, of groups and of phases, as they are shown: in one line, and each once.

They are columns of a file, keys of loggers, words on a terminal and in a picture, and the same ones in all of these: so
they are cleaned where they are read off, and nowhere else. The standard library alone.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from lr_recipes.checks import one_line

_MOST = 1000  # characters of a name: readers of CSV files have limits


def clean(name: object) -> str:
    r"""Return a name as one line of characters that can be seen: others become their escapes, a very long one is cut.

    Example:
        >>> print(clean("two\nlines"), clean("\x1b[31mred"))
        two\nlines \x1b[31mred
    """
    text = one_line(str(name))
    return text if len(text) <= _MOST else f"{text[: _MOST - 3]}..."


def distinct(names: Iterable[object]) -> list[str]:
    """Return names as they are shown, each another one: a repeated name gets its place as a number.

    A name does not depend on those after it, so groups that join change none.

    Example:
        >>> distinct(["body", "head", "body", "body-2"])
        ['body', 'head', 'body-2', 'body-2-3']
    """
    shown: dict[str, None] = {}  # in order, and quick to look a name up in
    for place, name in enumerate(names):
        shown[numbered(clean(name), shown, place)] = None
    return list(shown)


def numbered(name: str, taken: Container[str], number: int) -> str:
    """Return ``name``, with ``-number`` after it, if need be several times, where it is taken."""
    while name in taken:
        name = f"{name}-{number}"
    return name
