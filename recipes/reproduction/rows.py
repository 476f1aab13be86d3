"""All rows of the page, by name."""

from __future__ import annotations

from lr_recipes.checks import nearest
from recipes.reproduction.further import FURTHER
from recipes.reproduction.row import Row
from recipes.reproduction.table import TABLE

ROWS = (*TABLE, *FURTHER)


def rows_of(names: list[str]) -> list[Row]:
    """Return rows by name, in the order of the page.

    Raises:
        ValueError: a name is not that of a row.
    """
    known = [row.name for row in ROWS]
    for name in names:
        if name not in [*known, "all"]:
            raise ValueError(
                f"rows={name} is unknown{nearest(name, known, most=2)}: choose all, or some of {', '.join(known)}"
            )
    return [row for row in ROWS if "all" in names or row.name in names]
