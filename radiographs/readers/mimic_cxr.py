"""MIMIC-CXR-JPG as it is distributed."""

from __future__ import annotations

import re
from pathlib import Path

from radiographs.readers.base import Reading, ReportedImage, checked_split, joined, plain_text
from radiographs.readers.files import the_one_table
from radiographs.tables import read_rows
from radiographs.vocabulary import VIEWS

HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/()&-]+):", re.MULTILINE)  # of a section in a MIMIC-CXR report


def read_mimic_cxr(root: Path, table: Path | None = None) -> Reading:
    """MIMIC-CXR-JPG as it is distributed.

    `root` holds mimic-cxr-*-metadata.csv[.gz] with ViewPosition, *-split.csv[.gz] if available, and
    files/p10/p10000032/s50414267/*.jpg. A report is its findings and impression.

    Args:
        root: The folder.
        table: Folder of the reports (files/p10/p10000032/s50414267.txt); None: `root` itself.

    Returns:
        The images.

    Raises:
        FileNotFoundError: A folder or the metadata are missing.
        ValueError: Two releases of a table, or a damaged one.
    """
    metadata, split_table = (the_one_table(root, f"mimic-cxr-*-{kind}.csv*") for kind in ("metadata", "split"))
    splits = {}
    if split_table is not None:
        splits = {
            row["dicom_id"]: checked_split(row["split"], row) for row in read_rows(split_table, ("dicom_id", "split"))
        }
    if metadata is None:
        raise FileNotFoundError(f"{root}: no mimic-cxr-*-metadata.csv[.gz] here; give MIMIC-CXR-JPG's top folder")
    found, reports = Reading(), {}
    for row in read_rows(metadata, ("dicom_id", "subject_id", "study_id", "ViewPosition")):
        subject, study, view = f"p{row['subject_id']}", f"s{row['study_id']}", plain_text(row["ViewPosition"])
        folder = f"files/{subject[:3]}/{subject}/{study}"
        if study not in reports:
            reports = {study: _mimic_report((table or root) / f"{folder}.txt")}
        report, problem = reports[study]
        name = f"{folder}/{row['dicom_id']}.jpg"
        if split_table is not None and row["dicom_id"] not in splits:
            raise ValueError(
                f"{row.where}: {row['dicom_id']} has no row in {split_table.name}; take both of one release"
            )
        if view not in VIEWS:
            found.skip(f"view '{view}'", name)
        elif problem:
            found.skip(problem, f"{folder}.txt")
        else:
            split = splits.get(row["dicom_id"])
            found.add(ReportedImage(root / name, name, view, report, subject, study, split=split))
    return found


def report_sections(text: str) -> str:
    """The findings and impression of a report whose sections begin with headings in capitals; "" without either.

    Args:
        text: A report as the data set has it, with its line breaks.

    Returns:
        On one line, the findings first.
    """
    pieces = HEADING.split(text)
    sections = dict(zip(pieces[1::2], pieces[2::2]))
    return joined(sections.get("FINDINGS"), sections.get("IMPRESSION"))


def _mimic_report(path: Path) -> tuple[str, str]:
    """(report, "") or ("", why there is none)."""
    if not path.is_file():
        return "", "the report is missing, or has neither findings nor impression"
    try:
        text = report_sections(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        return "", "the report is not UTF-8 text"
    return (text, "") if text else ("", "the report is missing, or has neither findings nor impression")
