"""The table that this project's own trainings read: `ReportDataModule` with `table: exports/table.csv`.

A row a picture: image, report, view ("" for an oblique or turned one), patient (the CT), study, boxes (as
`radiographs.regions` describes them), labels, and of a current picture with a prior also prior_image, prior_report and
comparison. The prior's picture and the current's are of one patient, so no split separates them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from radiographs.files import atomic_path
from radiographs.regions import Region, format_regions
from radiographs.vocabulary import VIEWS
from radiolucent.rendering.exports.common import Truth, is_pair, shown, unit_box

COLUMNS = (
    "image", "report", "view", "patient", "study", "boxes", "labels", "prior_image", "prior_report", "comparison",
)  # fmt: skip


def write_table(truths: Callable[[], Iterable[Truth]], folder: Path) -> None:
    """Write the table of all pictures.

    Args:
        truths: Gives the truth about each picture, anew for each call.
        folder: Where table.csv is written.
    """
    reports = {truth["image"]: said(truth["report"]) for truth in truths() if truth["time"] == "prior"}
    with atomic_path(folder / "table.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for truth in truths():
            prior = ("", "", "")
            if is_pair(truth):
                prior = (truth["prior_image"], reports[truth["prior_image"]], said(truth["comparison"]))
            view = truth["view"] if truth["view"] in VIEWS and not truth["orbit_degrees"] else ""
            known = {name: value for name, value in truth["labels"].items() if value is not None}
            study = f"{truth['ct']}_{truth['study']}"
            about = (truth["image"], said(truth["report"]), view, truth["ct"], study, boxes(truth), json.dumps(known))
            writer.writerow((*about, *prior))


def said(report: Truth) -> str:
    """Findings and impression of a report, as one text.

    Args:
        report: With `findings` and `impression`.

    Returns:
        Findings first; technique and comparison are left out.
    """
    return f"{report['findings']} {report['impression']}"


def boxes(truth: Truth) -> str:
    """The cell of the findings that the picture shows.

    Args:
        truth: Of the picture.

    Returns:
        Text as `radiographs.regions` reads it, boxes in 0..1; "" where nothing is shown.
    """
    found = []
    for finding in shown(truth):
        x1, y1, x2, y2 = unit_box(finding["box"], truth["size"])
        found.append(Region(finding["kind"], (x1, y1, x2, y2)))
    return format_regions(found)
