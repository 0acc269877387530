"""Implanted nodules as tables by size, and as a CSV: how many, mean kept, safe, lost, detectability."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.nodules.implant_protocol import TRUTH, ImplantRow
from evaluation.nodules.implants import DIAMETERS_MM
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Table
from evaluation.reporting.statistics import bootstrap_mean, bootstrap_median
from radiographs import atomic_path

LOST, SAFE = 0.5, 0.9  # a nodule that keeps less than LOST of its signal is lost; the aim is to keep SAFE
RELEVANT_MM = 8.0  # the aim counts nodules of this size and more
SUMMARY_COLUMNS = ["n", "kept", f"≥ {SAFE:.0%}", f"< {LOST:.0%}", "detectability ↑"]
NOTE = (
    "Balls of soft tissue put into the radiographs, up to four at a time; a mm adds a tenth of the deviation of "
    "the lungs' texture. Kept: the projection of the change in the result onto the nodule. Detectability: its signal "
    "over the deviation of the lungs' own answers to its matched template, after over before; the median. 1 is doing "
    "nothing; taking too little and taking too much both lose in it."
)


def implant_summary(rows: Sequence[ImplantRow]) -> list[Cell]:
    """The cells of `SUMMARY_COLUMNS`, with intervals over images; empty ones without a nodule.

    Args:
        rows: Of one method, over any images and diameters.

    Returns:
        How many, the mean kept, the shares that are safe and lost, and the median detectability; of the true soft
        tissue the last alone.
    """
    if not rows:
        return [0, None, None, None, None]
    images = [str(row["image"]) for row in rows]
    kept = np.array([row["kept"] for row in rows], float)
    seen = Interval(*bootstrap_median(np.array([row["detectability"] for row in rows], float), images))
    if rows[0]["method"] == TRUTH:  # no nodules were put into it: it shows what could be reached
        return [None, None, None, None, seen]
    known = np.where(np.isnan(kept), np.nan, 1.0)
    values = (kept, known * (kept >= SAFE), known * (kept < LOST))
    return [len(rows), *(Interval(*bootstrap_mean(value, images)) for value in values), seen]


def implant_table(rows: Sequence[ImplantRow], title: str = "Nodules implanted into the radiographs, by size") -> Table:
    """For all that count, for 8 to 12 mm, and for each diameter: one row a method.

    Args:
        rows: Of all methods, which the table has in the order in which they first come.
        title: Above the table.

    Returns:
        The table, with a note that says what was implanted and whose pixels were measured in mm.
    """
    methods = list(dict.fromkeys(str(row["method"]) for row in rows))
    groups: list[tuple[str, Sequence[float]]] = [
        (f"{RELEVANT_MM:g} mm and more", [d for d in DIAMETERS_MM if d >= RELEVANT_MM]),
        ("8 to 12 mm", [d for d in DIAMETERS_MM if 8 <= d <= 12]),
        *((f"{d:g} mm", [d]) for d in DIAMETERS_MM),
    ]
    table: list[list[Cell]] = []
    for name, sizes in groups:
        for method in methods:
            mine = [row for row in rows if row["method"] == method and float(row["diameter_mm"]) in sizes]
            table.append([name, method, *implant_summary(mine)])
    return Table(title, ["nodules", "method", *SUMMARY_COLUMNS], table, f"{NOTE} {scale_note(rows)}")


def scale_note(rows: Sequence[ImplantRow]) -> str:
    """How many images' pixel sizes are known, and what is assumed for the others.

    Args:
        rows: Of any methods; an image counts once.

    Returns:
        A sentence for the table's note.
    """
    origins = {row["image"]: row["pixel_mm_from"] for row in rows}
    assumed = sum(origin == "lungs" for origin in origins.values())
    if not assumed:
        return f"The size of a pixel is from the header in all {len(origins)} images."
    return (
        f"The size of a pixel is from the header in {len(origins) - assumed} of {len(origins)} images; in the others "
        "the taller lung is taken to be 240 mm high."
    )


def write_implants(rows: Sequence[ImplantRow], path: str | Path) -> None:
    """A CSV with one row per nodule and method, and one per diameter for the true soft tissue if there is one.

    Args:
        rows: Their keys become the columns; a cell stays empty if a row lacks the key.
        path: Replaced if it is there.
    """
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
