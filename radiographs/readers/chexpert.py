"""CheXpert, and CheXpert Plus with its reports."""

from __future__ import annotations

import re
from pathlib import Path

from radiographs.readers.base import Reading, ReportedImage, checked_split, joined, parse_age, parse_sex, plain_text
from radiographs.readers.files import tables_named
from radiographs.tables import Row, read_rows
from radiographs.vocabulary import VIEWS

CHEXPERT_LABELS = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": -1, "-1.0": -1}


def read_chexpert(root: Path, table: Path | None = None) -> Reading:
    """CheXpert's train.csv and valid.csv, or the table of CheXpert Plus.

    CheXpert has no reports: the labels that are positive stand in their place. Plus has findings and impression.

    Args:
        root: Folder below which the images lie.
        table: The table; None: the one below `root`.

    Returns:
        The images.

    Raises:
        FileNotFoundError: No such folder or table.
    """
    tables = [table] if table else [path for name in ("train.csv", "valid.csv") for path in tables_named(root, name)]
    if not tables:
        raise FileNotFoundError(f"{root}: neither train.csv nor valid.csv here; give CheXpert's folder, or the table")
    found = Reading()
    for path in tables:
        for row in read_rows(path):
            image = _chexpert_image(root, path, row)
            if image.view not in VIEWS:
                found.skip(f"view '{image.view}'", image.name)
            else:
                found.add(image)
    return found


def _chexpert_image(root: Path, path: Path, row: Row) -> ReportedImage:
    """A row of CheXpert's table, or of CheXpert Plus's; ValueError with the line where it is of neither."""
    plus = ("path_to_image", "frontal_lateral", "ap_pa")
    plain = ("Path", "Frontal/Lateral", "AP/PA", "Sex", "Age")
    columns = plus if "path_to_image" in row else plain
    missing = [column for column in columns if column not in row]
    if columns is plain and "Path" in missing:
        raise ValueError(f"{path}: neither a column Path (CheXpert) nor path_to_image (CheXpert Plus)")
    if missing:
        raise ValueError(f"{path}: the table lacks the column {', '.join(missing)}; it has {', '.join(list(row)[:20])}")
    name, side, view = (plain_text(row[column]) for column in columns[:3])
    if columns is plus:
        report, sex = joined(row.get("section_findings"), row.get("section_impression")), parse_sex(row.get("sex"))
        age = parse_age(row.get("age"))
    else:
        labels = list(row)[list(row).index("AP/PA") + 1 :]
        report = ", ".join(label for label in labels if _chexpert_label(row, label) == 1)
        age, sex = parse_age(row["Age"]), parse_sex(row["Sex"])
    parts = re.search(r"(?:(train|valid|test)/)?(patient\d+)/(study\d+)", name)
    if parts is None:
        raise ValueError(f"{row.where}: the image is '{name}'; expected a path such as train/patient1/study1/view1.jpg")
    split, patient, study = parts.groups()
    file = next((root / tail for tail in _tails(name) if (root / tail).is_file()), root / name)
    view = "LATERAL" if side == "Lateral" else view
    study, split = f"{patient}/{study}", None if split is None else checked_split(split, row)
    return ReportedImage(file, name, view, report, patient, study, age, sex, split)


def _chexpert_label(row: Row, label: str) -> int:
    text = plain_text(row[label])
    if text not in CHEXPERT_LABELS:
        raise ValueError(f"{row.where}: the label {label} is '{text}'; expected 1, 0, -1 or nothing")
    return CHEXPERT_LABELS[text]


def _tails(name: str) -> list[str]:
    """A path and the same without its first folder, which may be `root` itself."""
    return [name, name.split("/", 1)[-1]]
