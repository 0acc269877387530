"""A cell of a report's table: a text, a number, or a value with the interval around it; and how it reads."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A value with the interval around it, such as 30.1 [29.8, 30.4].

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


Cell = str | int | float | Interval | None


def number(value: float) -> str:
    """A number as the tables show it.

    Args:
        value: Any, finite or not.

    Returns:
        Four significant digits and at most four decimals; below 0.001 and from a million on three digits and an
        exponent; a dash for NaN.
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        digits = 4 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:.{min(digits, 4)}f}"
    return f"{value:.2e}"


def show(cell: Cell) -> str:
    """A cell's value as text.

    Args:
        cell: Of a table.

    Returns:
        Without its interval; a dash for None and NaN.
    """
    if isinstance(cell, Interval):
        return number(cell.value)
    if cell is None:
        return "–"
    return number(cell) if isinstance(cell, float) else str(cell)


def bounds(cell: Cell) -> str:
    """The interval of a cell as text.

    Args:
        cell: Of a table.

    Returns:
        [low, high]; "" where there is none, or an end is not known.
    """
    known = isinstance(cell, Interval) and not (math.isnan(cell.low) or math.isnan(cell.high))
    return f"[{number(cell.low)}, {number(cell.high)}]" if known else ""  # type: ignore[union-attr]
