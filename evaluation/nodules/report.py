"""The nodules' survival as a report: by size, density and place, with intervals over bodies, and a CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.nodules.scenes import DENSITIES, DIAMETERS_MM, PLACES
from evaluation.nodules.survival import (
    NOTHING,
    OPERATING_POINTS,
    RELEVANT_MM,
    SENSITIVITY,
    TRUTH,
    Example,
    SurvivalResult,
)
from evaluation.nodules.twins import AIMS
from evaluation.reporting.cells import Cell, Interval
from evaluation.reporting.report import Report, Table
from evaluation.reporting.statistics import bootstrap_mean, bootstrap_median
from radiographs import atomic_path

LOST, SAFE = 0.5, 0.9  # a nodule that keeps less than LOST of its signal vanishes; the aim is to keep SAFE
Row = dict[str, str | float]
RATES = [f"< {LOST:.0%}", f"≥ {SAFE:.0%}"]
COLUMNS = ["nodules", "method", "n", "kept", *RATES, "likeness", "CNR", "CNR, truth", "contrast kept", "detectability"]
NOTES = [
    "Spheres put into the lungs of deformed bodies of one CT, one at a time; intervals (95 %) over bodies.",
    "Kept: what the nodule adds to the suppressed image (with minus without it, mean inside) over what it adds to the "
    f"true soft-tissue image: 1 keeps it, 0 removes it; under {LOST:.0%} it vanishes. "
    "Likeness: the correlation of the two differences; a smear lacks it.",
    "CNR: mean inside minus that of a ring around the nodule, over the ring's standard deviation, in the one image "
    "that a reader sees, anatomy included. Contrast kept: the median of inside minus ring over the same in the truth.",
    "Detectability: the nodule's signal over the deviation of the lungs' own answers to its matched template, over the "
    "same in the radiograph; the median. 1 is doing nothing; taking too little and taking too much both lose in it.",
    "Under ribs: bone (a line integral above 0.02) covers half of the nodule's projection or more; nodules that the "
    "spine covers are left out.",
    f"'{NOTHING}' is the radiograph itself: the nodule is there, the bones too.",
]


def survival_report(result: SurvivalResult, settings: dict[str, Any]) -> Report:
    """Tables of all nodules of 8 mm and more, by place, density and diameter, and of what appears from nothing.

    Args:
        result: What was measured.
        settings: The options, for the page.

    Returns:
        The report.
    """
    report = Report("Nodules under bone suppression", settings, notes=list(NOTES))
    if result.missing:
        report.notes.append(f"{len(result.missing)} nodules found no place: {'; '.join(result.missing[:20])}")
    relevant = [row for row in result.rows if float(row["diameter_mm"]) >= RELEVANT_MM]
    size = f"{RELEVANT_MM:g} mm and more"
    report.tables = [
        Table(f"Nodules of {size}", COLUMNS, _rows(result, relevant, "", ["all"])),
        false_nodule_table(result),
        twin_table(result),
        Table(f"By place, {size}", COLUMNS, _rows(result, relevant, "place", PLACES)),
        Table(f"By density, {size}", COLUMNS, _rows(result, relevant, "density", DENSITIES)),
        Table("By diameter", COLUMNS, _rows(result, result.rows, "diameter_mm", DIAMETERS_MM)),
    ]
    report.data = {
        "nodules": result.rows,
        "thresholds": result.thresholds,
        "false_nodules": [{"point": p, "method": m, "values": v} for (p, m), v in result.false_nodules.items()],
        "true_blobs": result.true_blobs,
        "missing": result.missing,
        "vessels_and_devices": result.twins,
    }
    return report


def _rows(result: SurvivalResult, rows: list[Row], key: str, values: Iterable[str | float]) -> list[list[Cell]]:
    """One table row for each value of a column and each method; an empty key takes all rows as one group."""
    table: list[list[Cell]] = []
    for value in values:
        group = [row for row in rows if not key or row[key] == value]
        true_cnr = mean_cnr([row for row in group if row["method"] == TRUTH])
        for method in result.methods[:-1]:
            mine = [row for row in group if row["method"] == method]
            *first, contrast, seen = summary(mine)
            title = f"{value:g} mm" if isinstance(value, float) else value
            table.append([title, method, len(mine), *first, true_cnr, contrast, seen])
    return table


def summary(rows: list[Row]) -> list[Interval]:
    """One method's figures, with intervals over bodies.

    Args:
        rows: The method's.

    Returns:
        Kept, shares that vanish and are safe, likeness, CNR (means); contrast, detectability (medians).
    """
    bodies = [str(row["body"]) for row in rows]
    names = ("kept", "likeness", "contrast_kept", "detectability")
    kept, likeness, contrast, seen = (np.array([row[name] for row in rows], float) for name in names)
    known = np.where(np.isnan(kept), np.nan, 1.0)
    means = (kept, known * (kept < LOST), known * (kept >= SAFE), likeness)
    return [
        *(Interval(*bootstrap_mean(v, bodies)) for v in means),
        mean_cnr(rows),
        Interval(*bootstrap_median(contrast, bodies)),
        Interval(*bootstrap_median(seen, bodies)),
    ]


def mean_cnr(rows: list[Row]) -> Interval:
    """Mean contrast-to-noise ratio of rows, over bodies.

    Args:
        rows: Of `SurvivalResult.rows`, each with its body and its cnr.

    Returns:
        The mean with a bootstrap's interval; nodules of one body are drawn together.
    """
    return Interval(*bootstrap_mean(np.array([row["cnr"] for row in rows], float), [str(row["body"]) for row in rows]))


def false_nodule_table(result: SurvivalResult) -> Table:
    """False nodules an image at each of the detector's operating points.

    Args:
        result: Of `evaluate_nodule_survival`.

    Returns:
        A row for each operating point and method, the truth left out: it has none by definition.
    """
    rows: list[list[Cell]] = []
    for point in OPERATING_POINTS:
        true = float(result.true_blobs[point].mean())
        for method in result.methods[:-1]:
            per_image = Interval(*bootstrap_mean(result.false_nodules[point, method]))
            rows.append([point, method, len(result.bodies), result.thresholds[point], true, per_image])
    columns = ["detector finds", "method", "images", "threshold", "finds in the truth", "false nodules an image"]
    note = (
        f"Bright blobs of {RELEVANT_MM:g} to {max(DIAMETERS_MM):g} mm in the lungs of images without a nodule that "
        f"the true soft-tissue image does not have, where the detector finds {SENSITIVITY:.0%} of the nodules."
    )
    return Table("Nodules that appear", columns, rows, note)


def twin_table(result: SurvivalResult) -> Table:
    """What each method keeps of vessels and devices, beside the aims.

    Args:
        result: Of `evaluate_nodule_survival`.

    Returns:
        A row for each kind and method: mean share kept (1: all), and the part of the views that reach the aim.
    """
    rows: list[list[Cell]] = []
    for kind, aim in AIMS.items():
        for method in result.methods[:-1]:
            mine = [row for row in result.twins if row["method"] == method and row["kind"] == kind]
            bodies, kept = [str(row["body"]) for row in mine], np.array([row["kept"] for row in mine], float)
            known = int((~np.isnan(kept)).sum())
            reached = np.where(np.isnan(kept), np.nan, kept >= aim)
            rows.append(
                [kind, method, known, *(Interval(*bootstrap_mean(v, bodies)) for v in (kept, reached)), f"{aim:.0%}"]
            )
    columns = ["drawn in", "method", "n", "contrast kept", "share that reaches the aim", "aim"]
    note = (
        "Branching vessels; catheters, leads, electrodes and clips, each in a view beside the same view without it. "
        "Kept: the projection of what it adds to the result onto what it adds to the true soft tissue."
    )
    return Table("Vessels and devices", columns, rows, note)


def chosen_examples(result: SurvivalResult, method: str) -> list[Example]:
    """Of one method's nodules of 8 mm and more: the three that keep least, two in the middle, and the best.

    Args:
        result: What was measured.
        method: Its name.

    Returns:
        Examples in that order.
    """
    mine = [e for e in result.examples if e.row["method"] == method and float(e.row["diameter_mm"]) >= RELEVANT_MM]
    mine = sorted((e for e in mine if not np.isnan(float(e.row["kept"]))), key=lambda e: float(e.row["kept"]))
    middle, last = len(mine) // 2, len(mine) - 1
    return [mine[i] for i in sorted({0, 1, 2, middle, middle + 1, last}) if 0 <= i <= last]


def write_nodules(result: SurvivalResult, path: str | Path) -> None:
    """A CSV with one row per nodule and method.

    Args:
        result: With one row at least, whose keys become the columns.
        path: Replaced if it is there.
    """
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(result.rows[0]))
        writer.writeheader()
        writer.writerows(result.rows)
