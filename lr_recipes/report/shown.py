"""What is looked at shows as text in a terminal, and as text and picture in a notebook. No torch."""

from __future__ import annotations

import html
from base64 import b64encode
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
        picture = b64encode(as_png(self.plot())).decode()
        return f'<pre>{html.escape(self.table)}</pre><img src="data:image/png;base64,{picture}" alt="its curve">'


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
