"""What a schedule, a curve and a plan have in common: a notebook shows them as text and picture.

How they look is the business of ``report/``, a higher floor than theirs. So the way there is handed down: the package's
own ``__init__``, which stands above all floors and runs before any module of them, sets ``html_of``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

html_of: Callable[[Any], str] = repr  # until the package has set it, before any other module of it is imported


class Sight:
    """Something that a notebook shows as ``html_of`` does."""

    __slots__ = ()

    def _repr_html_(self) -> str:  # the name that IPython looks for
        return html_of(self)
