"""Which columns a table of prompts has: those that are read, slips of the pen, and notes of its owner."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

from radiographs.files import printable

PROMPT_COLUMNS = ("annotated_prompt", "prompt")  # CheXGenBench's and SynthCheX-75K's
NAME_COLUMNS = ("img_savename", "filename", "image", "name")
LABEL_COLUMNS = ("labels_dict", "chexpert_labels", "labels")
# names of one thing, of which a table needs one
GROUPS = (
    PROMPT_COLUMNS, NAME_COLUMNS, LABEL_COLUMNS, ("view",), ("seed",), ("boxes",), ("masks",), ("prior",),
    ("prior_view",),
)  # fmt: skip
# what our trainings' and renderings' tables, and MIMIC-CXR's, call the same
ELSEWHERE = {"report": "prompt", "file": "filename", "prior_image": "prior", "viewposition": "view"}
ALIKE = 0.75  # of difflib's ratio: two letters of `view` may be exchanged


def check_columns(path: Path, columns: Sequence[str], classes: Collection[str]) -> None:
    """Refuse a column that was surely meant to be read and would not be; say on stderr which others are not read.

    Args:
        path: The table, for the messages.
        columns: Its header.
        classes: Columns that are labels.

    Raises:
        ValueError: A column's name is nearly that of one that is read and is missing, or is what other tables call it.
    """
    groups = [*GROUPS, *((name,) for name in classes)]
    read = {name for group in groups for name in group}
    missing = {_plain(name): name for group in groups if not set(group) & set(columns) for name in group}
    notes = []
    for column in columns:
        if column in read or not column.strip():
            continue
        plain = _plain(column)
        elsewhere = ELSEWHERE.get(plain, "")
        close = [elsewhere] if elsewhere in missing else get_close_matches(plain, missing, n=1, cutoff=ALIKE)
        if close:
            raise ValueError(
                f"{path}: the column '{printable(column)}' is not read: rename it to '{missing[close[0]]}', or, if it "
                "is a note of your own, to something less alike"
            )
        notes.append(printable(column))
    if notes:
        print(f"{path.name}: columns that are not read: {', '.join(notes)}", file=sys.stderr)


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
