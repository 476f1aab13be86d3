"""Draws a curve with the characters of a terminal: braille dots, or plain ASCII where those cannot be printed.

A cell of a terminal is one braille character, which has two dots side by side and four on top of each other; in ASCII
it is one of ``. - ' |``, which stand for three heights. No torch, no state.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

Point = tuple[int, float]

WIDTH = 80  # columns that every terminal has
_HEIGHT = 11  # odd, so that half of the top has a row of its own
_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of a braille character: rows from the top, columns
# Heights that are filled, from the top: which of the three are.
_ASCII: dict[tuple[int, ...], str] = {(1, 0, 0): "'", (0, 1, 0): "-", (0, 0, 1): ".", (1, 1, 0): "'", (0, 1, 1): "."}
_LEVELS = "▁▂▃▄▅▆▇█"
_EMPTY = (math.inf, -math.inf)


class _Characters(NamedTuple):
    """What an axis is drawn with, and into how many dots a cell is divided."""

    across: int
    up: int
    side: str
    tick: str
    corner: str
    bottom: str
    mark: str


_FINE = _Characters(2, 4, "│", "┤", "└", "─", "┬")
_PLAIN_CHARACTERS = _Characters(1, 3, "|", "+", "+", "-", "+")


def is_plain() -> bool:
    """Whether stdout can print ASCII only, or at least not what is drawn here."""
    try:
        f"{_LEVELS}{chr(_BRAILLE)}{''.join(_FINE[2:])}".encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return True
    return False


def draw_chart(
    points: Sequence[Point],
    *,
    title: str,
    x_title: str,
    ticks: Mapping[int, str],
    log_from: float | None = None,
    low: float = 0.0,
    plain: bool = False,
    width: int = WIDTH,
) -> str:
    """Return a line through ``points`` with its axes, as text.

    Args:
        points: (x, y), sorted by x.
        title: what y is, above the chart.
        x_title: what x is, below it.
        ticks: x -> label.
        log_from: where a logarithmic y axis begins, above 0; lower values lie on it. ``None``: a linear one.
        low: where a linear y axis begins; no y is lower.
        plain: ASCII only.
        width: columns of the whole.

    Example:
        >>> line, ticks = [(0, 1.0), (9, 0.0)], {0: "0", 9: "9"}
        >>> print(draw_chart(line, title="y", x_title="x", ticks=ticks, plain=True, width=24))
        y
           1 +'.
             | '|.
             |   '..
             |     '.
             |      '|.
         0.5 +        '.
             |         '|.
             |           '.
             |            ''.
             |              '|.
           0 +                '.
             ++----------------+
              0                9
                      x
    """
    characters = _PLAIN_CHARACTERS if plain else _FINE
    log, start = log_from is not None, low if log_from is None else log_from
    scale = _Scale(start, _top(points, start, log), log)
    labels = scale.labels()
    margin = max(map(len, labels.values())) + 1
    columns = width - margin - 2
    first, last = points[0][0], points[-1][0]
    canvas = _trace(points, scale, columns * characters.across, _HEIGHT * characters.up)
    lines = [title]
    for row in range(_HEIGHT):
        edge = characters.tick if row in labels else characters.side
        lines.append(f"{labels.get(row, ''):>{margin}} {edge}{_cells(canvas, row, characters)}".rstrip())
    places = {round((x - first) / max(last - first, 1) * (columns - 1)): label for x, label in ticks.items()}
    axis = "".join(characters.mark if column in places else characters.bottom for column in range(columns))
    lines.append(f"{'':>{margin}} {characters.corner}{axis}")
    lines.append(" " * (margin + 2) + _tick_labels(places, columns))
    lines.append((" " * (margin + 2) + f"{x_title:^{columns}}").rstrip())
    return "\n".join(lines)


def sparkline(values: Sequence[float], top: float, plain: bool = False) -> str:
    """Return one character a value: its height, ``top`` being the full one; in ASCII, tenths of it, "." below one.

    Example:
        >>> sparkline([0, 0.5, 1], 1)
        '▁▅█'
        >>> sparkline([0, 0.5, 1], 1, plain=True)
        '.59'
    """
    levels = ".123456789" if plain else _LEVELS
    shares = (value / top if top > 0 else 0.0 for value in values)
    return "".join(levels[min(int(share * len(levels)), len(levels) - 1)] for share in shares)


class _Scale(NamedTuple):
    """A y axis from ``low`` to ``high``, linear or logarithmic."""

    low: float
    high: float
    log: bool

    def share(self, value: float) -> float:
        """Where a value lies, from 0 (bottom) to 1 (top)."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        if value <= self.low:
            return 0.0
        low = math.log(self.low)  # differences, since the quotient of a large and a tiny LR may be no float
        return (math.log(value) - low) / (math.log(self.high) - low)

    def labels(self) -> dict[int, str]:
        """Rows that have a label: of a linear axis top, middle and bottom; of a logarithmic one also its decades."""
        marks = [self.high, self.low]
        if self.log:
            marks += self._decades()
        else:
            marks.append((self.low + self.high) / 2)
        labels: dict[int, str] = {}
        for mark in marks:
            row = round((1 - self.share(mark)) * (_HEIGHT - 1))
            labels.setdefault(row, f"{mark:.3g}")
        return labels

    def _decades(self) -> Iterator[float]:
        low, high = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        return (float(f"1e{power}") for power in range(low, high + 1))


def _top(points: Sequence[Point], low: float, log: bool) -> float:
    """The upper end of the y axis, which must not be the lower one."""
    top = max(y for _, y in points)
    if log:
        return max(top, low * 10)
    return top if top > low else low + 1.0


def _trace(points: Sequence[Point], scale: _Scale, columns: int, rows: int) -> list[tuple[float, float]]:
    """The lowest and the highest dot of the line in each column of dots."""
    first, last = points[0][0], points[-1][0]
    across = (columns - 1) / max(last - first, 1)
    dots = [((x - first) * across, scale.share(y) * (rows - 1)) for x, y in points]
    canvas = [_EMPTY] * columns
    for (x0, y0), (x1, y1) in zip(dots, [*dots[1:], dots[-1]], strict=True):
        slope = (y1 - y0) / (x1 - x0) if x1 > x0 else 0.0
        for column in range(round(x0), round(x1) + 1):
            # the part of the line that lies in this column of dots, so that no gap is left where it is steep
            ends = (y0 + slope * (min(max(column + side, x0), x1) - x0) for side in (-0.5, 0.5))
            reached = [*map(round, ends)]
            low, high = canvas[column]
            canvas[column] = min(low, *reached), max(high, *reached)
    return canvas


def _cells(canvas: Sequence[tuple[float, float]], row: int, characters: _Characters) -> str:
    """One row of characters."""
    across, up = characters.across, characters.up
    top = (_HEIGHT - row) * up - 1  # the highest dot in the row, counted from the bottom
    cells = []
    for start in range(0, len(canvas), across):
        filled = [[low <= top - k <= high for low, high in canvas[start : start + across]] for k in range(up)]
        cells.append(_ascii(filled) if characters is _PLAIN_CHARACTERS else _braille(filled))
    return "".join(cells)


def _braille(filled: Sequence[Sequence[bool]]) -> str:
    bits = sum(bit for row, dots in zip(_BITS, filled, strict=True) for bit, dot in zip(row, dots, strict=True) if dot)
    return chr(_BRAILLE + bits) if bits else " "


def _ascii(filled: Sequence[Sequence[bool]]) -> str:
    heights = tuple(int(dots[0]) for dots in filled)
    return _ASCII.get(heights, "|") if any(heights) else " "


def _tick_labels(places: Mapping[int, str], columns: int) -> str:
    """Labels in the middle below their ticks; one that would touch the one before it is left out."""
    line = ""
    for column, label in sorted(places.items()):
        start = min(max(column - len(label) // 2, 0), columns - len(label))
        if start >= len(line) + 2 or not line:
            line = f"{line:<{start}}{label}"
    return line
