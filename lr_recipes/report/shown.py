"""What is looked at shows as text in a terminal, and as text and picture in a notebook. No torch."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Shown:
    """Something with a ``table`` and a ``plot()``, which notebooks show both of."""

    table: Any
    plot: Any

    def _repr_html_(self) -> str:  # the name that IPython looks for
        return in_html(self.table, self.plot, "its curve")


def in_html(text: str, draw: Callable[[], Figure | None], alt: str) -> str:
    """Return what a notebook shows: text as it is, and below it a picture, where there is one, or what it needs.

    Args:
        text: shown in columns, in the colours of the notebook.
        draw: draws the picture, if there is one.
        alt: read out in place of the picture.
    """
    # Said of the text itself: not every notebook's page sets what is within it in a font of one width.
    shown = f'<pre style="font-family: monospace; line-height: 1.25">{html.escape(text)}</pre>'
    try:
        figure = draw()
    except ImportError as error:  # there is no matplotlib
        return f"{shown}<p>{html.escape(str(error))}</p>"
    # In inches a figure is as large as on paper, of 96 pixels each; its own are finer, for screens that can show them.
    return shown if figure is None else shown + as_card(as_png(figure), round(figure.get_figwidth() * 96), alt)


def as_card(png: bytes, width: int, alt: str) -> str:
    """Return a picture within HTML: white also on a dark page, and never wider than the page."""
    style = "max-width: 100%; height: auto; background: white"
    picture = b64encode(png).decode()
    return f'<img src="data:image/png;base64,{picture}" alt="{alt}" width="{width}" style="{style}">'


def new_figure(**options: Any) -> Figure:
    """Return an empty matplotlib figure, which notebooks show as a picture.

    They do so by themselves for a figure of ``pyplot``, which would choose a window system and keep every figure until
    it is closed.

    Raises:
        ImportError: there is no matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            f"a picture needs matplotlib, which is not there ({error}): pip install matplotlib"
        ) from error

    figure = Figure(layout="constrained", **options)
    vars(figure)["_repr_png_"] = partial(as_png, figure)
    return figure


def as_png(figure: Figure) -> bytes:
    """Return a figure as the content of a PNG file."""
    file = BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
