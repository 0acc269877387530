"""Radiographs rendered from CT-RATE: the manifest that `radiolucent drr` writes."""

from __future__ import annotations

import re
from pathlib import Path

from radiographs.readers.base import Reading, ReportedImage, checked_split, joined, plain_text
from radiographs.tables import read_rows
from radiographs.vocabulary import VIEWS

RENDERED = {"drr-rate": "AP", "drr-rate-lateral": "LATERAL"}


def read_manifest(root: Path, table: Path | None = None) -> Reading:
    """A manifest that `radiolucent drr` wrote: its radiographs of material total.

    The patient is CT-RATE's (train_1 of train_1_a_1), else the volume. A report is its findings and impression.

    Args:
        root: The folder that was written.
        table: The manifest; None: `root`/manifest.parquet.

    Returns:
        The images.

    Raises:
        ValueError: It is no such manifest.
    """
    found = Reading()
    for row in read_rows(table or root / "manifest.parquet", ("file", "view", "material", "volume", "report")):
        if row["material"] != "total":
            continue
        view = RENDERED.get(row["view"], row["view"])
        if view not in VIEWS:
            found.skip(f"view '{view}'", row["file"])
            continue
        report, volume = row["report"] or {}, plain_text(row["volume"])
        if not isinstance(report, dict):
            raise ValueError(f"{row.where}: the report is no record of its parts; give the manifest that drr wrote")
        text = joined(report.get("findings"), report.get("impression"))
        known = re.match(r"((train|valid)_\d+)_[a-z]+_\d+$", volume)
        patient, split = known.groups() if known else (volume, None)
        split = None if split is None else checked_split(split, row)
        found.add(ReportedImage(root / row["file"], row["file"], view, text, patient, volume, split=split))
    return found
