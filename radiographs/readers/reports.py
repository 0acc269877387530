"""Radiographs with their reports and views, read from data sets as they are distributed; one function a data set.

Every reader takes (root, table) and gives a `Reading`: what it found, and how many images it skipped for what reason.
A view is one of VIEWS, or None where the data do not tell. No name, date or free text but the report's is kept.
Tables are read by radiographs.tables: damage, and a value that is none of those known, is refused with file and line.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

from radiographs.io import FORMATS
from radiographs.readers.base import (
    VIEWS,
    Reading,
    ReportedImage,
    checked_age,
    checked_sex,
    checked_split,
    joined,
    parse_age,
    parse_sex,
    plain_text,
)
from radiographs.tables import Row, read_rows

CHEXPERT_LABELS = {"": 0, "0": 0, "0.0": 0, "1": 1, "1.0": 1, "-1": -1, "-1.0": -1}
OPTIONAL = ("patient", "study", "age", "sex", "split")  # columns of a table of one's own
HEADING = re.compile(r"^[ \t]*([A-Z][A-Z ,/()&-]+):", re.MULTILINE)  # of a section in a MIMIC-CXR report
RENDERED = {"drr-rate": "AP", "drr-rate-lateral": "LATERAL"}


def read_table(root: Path, table: Path, encoding: str | None = None) -> Reading:
    """A table with the columns image (a path below `root`), report, view and, if available, those of OPTIONAL.

    Args:
        root: the folder of the images.
        table: CSV, CSV.gz or Parquet. age in years; sex F or M; split train, validation or test, in every row. Without
            a patient every image is its own.
        encoding: of a CSV that is not UTF-8, see `radiographs.tables.read_rows`.

    Raises:
        ValueError: with file and line, a damaged table, an unknown view, split or sex, an age beyond 120.
    """
    found = Reading()
    for row in read_rows(table, ("image", "report", "view"), encoding):
        if not found.images and not found.set_aside:
            _refuse_misspelt(table, row)
        name = "" if row["image"] is None else str(row["image"])
        if not name.strip():
            raise ValueError(f"{row.where}: no image is named")
        view = plain_text(row["view"]) or None
        if view not in (None, *VIEWS):
            raise ValueError(
                f"{row.where}: the view of {name} is '{view}'; expected one of {', '.join(VIEWS)}, or nothing"
            )
        patient = plain_text(row.get("patient")) or name
        split = checked_split(row["split"], row) if "split" in row else None
        age, sex = checked_age(row), checked_sex(row)
        study = plain_text(row.get("study")) or name
        found.add(ReportedImage(root / name, name, view, plain_text(row["report"]), patient, study, age, sex, split))
    return found


def _refuse_misspelt(table: Path, row: Row) -> None:
    """A column Split or Patient, which would be left out without a word, is refused."""
    wrong = {column: column.strip().lower() for column in row if column not in OPTIONAL}
    for column, name in wrong.items():
        if name in OPTIONAL:
            raise ValueError(f"{table}: the table has a column '{column}'; expected it as '{name}': rename it")


def read_mimic_cxr(root: Path, table: Path | None = None) -> Reading:
    """MIMIC-CXR-JPG: mimic-cxr-*-metadata.csv[.gz] with ViewPosition, *-split.csv[.gz] where it lies there, and
    files/p10/p10000032/s50414267/*.jpg in `root`; table: the folder of the reports (files/p10/p10000032/s50414267.txt),
    `root` itself where none is given. A report is its findings and impression."""
    metadata, split_table = (_the_one(root, f"mimic-cxr-*-{kind}.csv*") for kind in ("metadata", "split"))
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


def read_chexpert(root: Path, table: Path | None = None) -> Reading:
    """CheXpert's train.csv and valid.csv, or the table of CheXpert Plus, below `root`.

    CheXpert has no reports: the labels that are positive stand in their place. Plus has findings and impression.
    """
    tables = [table] if table else [path for name in ("train.csv", "valid.csv") for path in _some(root, name)]
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


def read_open_i(root: Path, table: Path) -> Reading:
    """Open-i (Indiana University), in either of its forms; every report is taken to be of another patient.

    The original: the reports' XML files and the images anywhere below `root`; table: the DICOM headers as CSV[.gz] with
    imageid and View Position. Kaggle's: table: indiana_projections.csv, with indiana_reports.csv beside it; the images
    anywhere below `root`. It says Frontal and Lateral: a frontal image's side is not known, its view is None.
    """
    files = {path.stem: path for path in _below(root) if path.suffix.lower() in FORMATS}
    if {"uid", "filename", "projection"} <= next(read_rows(table), {}).keys():
        return _read_kaggle(root, table, files)
    views = {row["imageid"]: plain_text(row["View Position"]) for row in read_rows(table, ("imageid", "View Position"))}
    reports = [path for path in _below(root) if path.suffix == ".xml"]
    if not reports:
        raise FileNotFoundError(f"{root}: no XML report below it; unpack Open-i's reports there")
    found = Reading()
    for path in reports:
        tree = _read_xml(path)
        parts = {part.get("Label"): part.text for part in tree.iter("AbstractText")}
        report = joined(parts.get("FINDINGS"), parts.get("IMPRESSION"))
        identity = tree.find("uId")
        study = path.stem if identity is None else identity.get("id", path.stem)
        for image in tree.iter("parentImage"):
            name = image.get("id", "")
            view = views.get(name, "")
            if view not in VIEWS:
                found.skip(f"view '{view}'", name)
            elif not report:
                found.skip("the report has neither findings nor impression", path.name)
            else:
                found.add(ReportedImage(files.get(name, root / name), name, view, report, study, study))
    return found


def _read_kaggle(root: Path, table: Path, files: dict[str, Path]) -> Reading:
    """Kaggle's two tables of Open-i."""
    beside = table.with_name("indiana_reports.csv")
    reports = {
        row["uid"]: joined(row["findings"], row["impression"])
        for row in read_rows(beside, ("uid", "findings", "impression"))
    }
    found = Reading()
    known = {"Frontal": None, "Lateral": "LATERAL"}
    for row in read_rows(table, ("uid", "filename", "projection")):
        name, study = plain_text(row["filename"]), f"CXR{row['uid']}"
        if row["projection"] not in known:
            raise ValueError(f"{row.where}: the projection is '{row['projection']}'; expected Frontal or Lateral")
        if row["uid"] not in reports:
            raise ValueError(f"{row.where}: {beside.name} has no row of the uid {row['uid']}")
        if not reports[row["uid"]]:
            found.skip("the report has neither findings nor impression", study)
            continue
        path = files.get(Path(name).stem, root / name)
        found.add(ReportedImage(path, name, known[row["projection"]], reports[row["uid"]], study, study))
    return found


def _read_xml(path: Path) -> ElementTree.Element:
    """ValueError with the file and the line of what is no XML."""
    try:
        return ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise ValueError(f"{path} line {error.position[0]}: no XML, or cut off ({error}): copy it again") from None
    except (LookupError, ValueError) as error:  # an encoding that Python or expat does not know
        raise ValueError(f"{path}: no XML that can be read ({error})") from None


def read_manifest(root: Path, table: Path | None = None) -> Reading:
    """A manifest that `radiolucent drr` wrote (`root`/manifest.parquet), its radiographs of material total.

    The patient is CT-RATE's (train_1 of train_1_a_1), else the volume. A report is its findings and impression.
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


read_ct_rate = read_manifest  # its old name, until version 0.3
READERS: dict[str, Callable[..., Reading]] = {
    "table": read_table,
    "mimic_cxr": read_mimic_cxr,
    "chexpert": read_chexpert,
    "open_i": read_open_i,
    "manifest": read_manifest,
}
RENAMED = {"ct_rate": "manifest"}  # readers by their old names, which are accepted until version 0.3


def report_sections(text: str) -> str:
    """The findings and impression of a report whose sections begin with headings in capitals; "" without either."""
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


def _some(root: Path, pattern: str) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder")
    return sorted(path for path in root.glob(pattern) if path.suffix in (".csv", ".gz"))


def _the_one(root: Path, pattern: str) -> Path | None:
    """The table of that name, packed or not; ValueError where there are two releases of it."""
    found = _some(root, pattern)
    if len({path.name.removesuffix(".gz") for path in found}) > 1:
        raise ValueError(f"{root}: several tables {', '.join(path.name for path in found)}: keep those of one release")
    return found[0] if found else None


def _below(root: Path) -> list[Path]:
    """All files below a folder but hidden ones, such as the ._NAME that macOS leaves."""
    return sorted(path for path in root.rglob("*") if not path.name.startswith("."))


def _tails(name: str) -> list[str]:
    """A path and the same without its first folder, which may be `root` itself."""
    return [name, name.split("/", 1)[-1]]
