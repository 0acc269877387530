"""Radiographs with their reports and views, read from data sets as they are distributed; one function a data set.

Every reader takes (root, table) and gives a `Reading`: what it found, and how many images it set aside for what reason.
A view is one of VIEWS, or None where the data do not tell. No name, date or free text but the report's is kept.
"""

from __future__ import annotations

import csv
import gzip
import re
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radiographs.io import FORMATS

VIEWS = ("PA", "AP", "LL", "LATERAL", "RL")  # LL left lateral, RL right lateral, LATERAL a lateral of either side
SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
SPLITS = {"train": "train", "valid": "validation", "validate": "validation", "validation": "validation", "test": "test"}
HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/()&-]+):", re.MULTILINE)  # of a section in a MIMIC-CXR report
RENDERED = {"drr-rate": "AP", "drr-rate-lateral": "LATERAL"}
Row = Mapping[str, Any]


@dataclass(frozen=True)
class ReportedImage:
    """path and name (unique in its data set) of an image; its view; its report, "" for none; patient and study.

    age in years, sex F or M, split train, validation or test: None where the data do not tell.
    """

    path: Path
    name: str
    view: str | None
    report: str
    patient: str
    study: str
    age: float | None = None
    sex: str | None = None
    split: str | None = None


@dataclass
class Reading:
    """images, in the order of the table; set_aside: how many were left out, by reason."""

    images: list[ReportedImage] = field(default_factory=list)
    set_aside: Counter[str] = field(default_factory=Counter)

    def add(self, image: ReportedImage) -> None:
        """Keep an image if its file is there."""
        if image.path.is_file():
            self.images.append(image)
        else:
            self.set_aside["the image file is missing"] += 1


def read_table(root: Path, table: Path) -> Reading:
    """CSV or Parquet with the columns image (a path below root), report, view and, where known, patient, study, age,
    sex (F, M) and split. Without a patient every image is its own."""
    found = Reading()
    for row in _rows(table, ("image", "report", "view")):
        name = str(row["image"])
        view = _text(row["view"]) or None
        if view not in (None, *VIEWS):
            raise ValueError(f"{table}: the view of {name} is '{view}'; expected one of {', '.join(VIEWS)}, or nothing")
        patient = _text(row.get("patient")) or name
        age, sex, split = _age(row.get("age")), _sex(row.get("sex")), _split(row.get("split"))
        study = _text(row.get("study")) or name
        found.add(ReportedImage(root / name, name, view, _text(row["report"]), patient, study, age, sex, split))
    return found


def read_mimic_cxr(root: Path, table: Path | None = None) -> Reading:
    """MIMIC-CXR-JPG: mimic-cxr-*-metadata.csv[.gz] with ViewPosition, *-split.csv[.gz] where it lies there, and
    files/p10/p10000032/s50414267/*.jpg in `root`; table: the folder of the reports (files/p10/p10000032/s50414267.txt),
    `root` itself where none is given. A report is its findings and impression."""
    splits = {}
    for path in _some(root, "mimic-cxr-*-split.csv*"):
        splits = {row["dicom_id"]: row["split"] for row in _rows(path, ("dicom_id", "split"))}
    tables = _some(root, "mimic-cxr-*-metadata.csv*")
    if not tables:
        raise FileNotFoundError(f"{root}: no mimic-cxr-*-metadata.csv[.gz] here; give MIMIC-CXR-JPG's top folder")
    found, reports = Reading(), {}
    for row in _rows(tables[0], ("dicom_id", "subject_id", "study_id", "ViewPosition")):
        subject, study, view = f"p{row['subject_id']}", f"s{row['study_id']}", _text(row["ViewPosition"])
        folder = f"files/{subject[:3]}/{subject}/{study}"
        if study not in reports:
            reports = {study: _mimic_report((table or root) / f"{folder}.txt")}
        report = reports[study]
        if view not in VIEWS:
            found.set_aside[f"view '{view}'"] += 1
        elif report is None:
            found.set_aside["the report is missing, or has neither findings nor impression"] += 1
        else:
            name = f"{folder}/{row['dicom_id']}.jpg"
            split = _split(splits.get(row["dicom_id"]))
            found.add(ReportedImage(root / name, name, view, report, subject, study, split=split))
    return found


def read_chexpert(root: Path, table: Path | None = None) -> Reading:
    """CheXpert's train.csv and valid.csv, or the table of CheXpert Plus, below `root`.

    CheXpert has no reports: the labels that are positive stand in their place. Plus has findings and impression.
    """
    tables = [table] if table else [path for name in ("train.csv", "valid.csv") for path in _some(root, name)]
    if not tables:
        raise FileNotFoundError(f"{root}: neither train.csv nor valid.csv here; give CheXpert's folder, or the table")
    found = Reading()
    for path in tables:
        for row in _rows(path, ()):
            if "path_to_image" in row:
                name, side, view = row["path_to_image"], row["frontal_lateral"], row["ap_pa"]
                report = _joined(row.get("section_findings"), row.get("section_impression"))
                age, sex = row.get("age"), row.get("sex")
            elif "Path" in row:
                name, side, view, age, sex = (row[k] for k in ("Path", "Frontal/Lateral", "AP/PA", "Age", "Sex"))
                labels = list(row)[list(row).index("AP/PA") + 1 :]
                report = ", ".join(label for label in labels if _text(row[label]) in ("1.0", "1"))
            else:
                raise ValueError(f"{path}: neither a column Path (CheXpert) nor path_to_image (CheXpert Plus)")
            view = "LATERAL" if side == "Lateral" else _text(view)
            if view not in VIEWS:
                found.set_aside[f"view '{view}'"] += 1
                continue
            split, patient, study = re.search(r"(?:(train|valid|test)/)?(patient\d+)/(study\d+)", name).groups()  # type: ignore[union-attr]
            file = next((root / tail for tail in _tails(name) if (root / tail).is_file()), root / name)
            study = f"{patient}/{study}"
            found.add(ReportedImage(file, name, view, report, patient, study, _age(age), _sex(sex), _split(split)))
    return found


def read_open_i(root: Path, table: Path) -> Reading:
    """Open-i (Indiana University): the reports' XML files and the images anywhere below `root`; table: the DICOM
    headers as CSV[.gz] with imageid and View Position. Every report is taken to be of another patient."""
    views = {row["imageid"]: _text(row["View Position"]) for row in _rows(table, ("imageid", "View Position"))}
    files = {path.stem: path for path in sorted(root.rglob("*")) if path.suffix.lower() in FORMATS}
    reports = sorted(root.rglob("*.xml"))
    if not reports:
        raise FileNotFoundError(f"{root}: no XML report below it; unpack Open-i's reports there")
    found = Reading()
    for path in reports:
        tree = ElementTree.parse(path)
        parts = {part.get("Label"): part.text for part in tree.iter("AbstractText")}
        report = _joined(parts.get("FINDINGS"), parts.get("IMPRESSION"))
        identity = tree.find("uId")
        study = path.stem if identity is None else identity.get("id", path.stem)
        for image in tree.iter("parentImage"):
            name = image.get("id", "")
            view = views.get(name, "")
            if view not in VIEWS:
                found.set_aside[f"view '{view}'"] += 1
            elif not report:
                found.set_aside["the report has neither findings nor impression"] += 1
            else:
                found.add(ReportedImage(files.get(name, root / name), name, view, report, study, study))
    return found


def read_ct_rate(root: Path, table: Path | None = None) -> Reading:
    """A manifest that `radiolucent drr` wrote (`root`/manifest.parquet), its radiographs of material total.

    The patient is CT-RATE's (train_1 of train_1_a_1), else the volume. A report is its findings and impression.
    """
    found = Reading()
    for row in _rows(table or root / "manifest.parquet", ("file", "view", "material", "volume", "report")):
        if row["material"] != "total":
            continue
        view = RENDERED.get(row["view"], row["view"])
        if view not in VIEWS:
            found.set_aside[f"view '{view}'"] += 1
            continue
        report, volume = row["report"] or {}, row["volume"]
        text = _joined(report.get("findings"), report.get("impression"))
        known = re.match(r"((train|valid)_\d+)_[a-z]+_\d+$", volume)
        patient, split = known.groups() if known else (volume, None)
        found.add(ReportedImage(root / row["file"], row["file"], view, text, patient, volume, split=_split(split)))
    return found


READERS: dict[str, Callable[..., Reading]] = {
    "table": read_table,
    "mimic_cxr": read_mimic_cxr,
    "chexpert": read_chexpert,
    "open_i": read_open_i,
    "ct_rate": read_ct_rate,
}


def report_sections(text: str) -> str:
    """The findings and impression of a report whose sections begin with headings in capitals; "" without either."""
    pieces = HEADING.split(text)
    sections = dict(zip(pieces[1::2], pieces[2::2]))
    return _joined(sections.get("FINDINGS"), sections.get("IMPRESSION"))


def _mimic_report(path: Path) -> str | None:
    return (report_sections(path.read_text(encoding="utf-8", errors="replace")) or None) if path.is_file() else None


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a CSV, CSV.gz or Parquet table that has, at least, `columns`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            for batch in file.iter_batches():
                yield from batch.to_pylist()
        return
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream)
        _check_columns(path, list(reader.fieldnames or []), columns)
        yield from reader


def _check_columns(path: Path, found: list[str], wanted: tuple[str, ...]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise ValueError(f"{path}: the table lacks the column {', '.join(missing)}; it has {', '.join(found[:20])}")


def _some(root: Path, pattern: str) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    return sorted(path for path in root.glob(pattern) if path.suffix in (".csv", ".gz"))


def _tails(name: str) -> list[str]:
    """A path and the same without its first folder, which may be `root` itself."""
    return [name, name.split("/", 1)[-1]]


def _text(value: Any) -> str:
    return "" if value is None or value != value else " ".join(str(value).split())


def _joined(*parts: Any) -> str:
    return " ".join(text for text in map(_text, parts) if text)


def _age(value: Any) -> float | None:
    """Years from 0 to 120; CheXpert's 0 stands for unknown."""
    try:
        years = float(value)
    except (TypeError, ValueError):
        return None
    return years if 0 < years <= 120 else None


def _sex(value: Any) -> str | None:
    return SEXES.get(_text(value).lower())


def _split(value: Any) -> str | None:
    return SPLITS.get(_text(value).lower())
