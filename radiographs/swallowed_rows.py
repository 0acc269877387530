"""A cell of a CSV that has swallowed whole rows; shared by every reader of tables, so it imports nothing of ours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

SHORTEST_NAME = 5  # characters of a first cell by which a row is known again inside another row's cell


def holds_a_row(cells: Sequence[str]) -> bool:
    """Whether a cell of several lines has swallowed rows: an inner line begins like this row, as far as its name goes.

    Two quotes that are missing in two rows pair up, and what is between them is one cell by the rules of CSV.

    Args:
        cells: Of one row; the first one is its name.

    Returns:
        Whether it has; False for names of fewer than SHORTEST_NAME characters, which say too little.
    """
    name = cells[0].strip()
    if len(name) < SHORTEST_NAME:
        return False
    shape, suffix = _shape(name), Path(name).suffix
    for cell in cells[1:]:
        for inner in cell.splitlines()[1:]:
            first, comma, _ = inner.partition(",")
            alike = _shape(first) == shape or (suffix and first.endswith(suffix) and " " not in first)
            if comma and alike:
                return True
    return False


def _shape(name: str) -> str:
    """What names of one table have in common: where digits stand or, in names such as train_1_a_1, the separators."""
    name = name.strip().strip('"')
    parts = re.sub(r"\w+", "x", name.replace("_", "-"))
    return parts if len(re.findall("[-./]", parts)) >= 2 and " " not in name else re.sub(r"\d+", "0", name)
