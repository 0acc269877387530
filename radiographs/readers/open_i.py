"""Open-i (Indiana University), the original and Kaggle's form."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from radiographs.io import FORMATS
from radiographs.readers.base import Reading, ReportedImage, joined, plain_text
from radiographs.readers.files import files_below
from radiographs.tables import read_rows
from radiographs.vocabulary import VIEWS


def read_open_i(root: Path, table: Path) -> Reading:
    """Open-i (Indiana University), in either of its forms; every report is taken to be of another patient.

    The original: the reports' XML files and the images anywhere below `root`. Kaggle's says Frontal and Lateral: a
    frontal image's side is not known, its view is None.

    Args:
        root: Folder below which the images lie.
        table: Of the original the DICOM headers as CSV[.gz] with imageid and View Position; of Kaggle's
            indiana_projections.csv, with indiana_reports.csv beside it.

    Returns:
        The images.

    Raises:
        FileNotFoundError: A folder or table is missing.
    """
    files = {path.stem: path for path in files_below(root) if path.suffix.lower() in FORMATS}
    if {"uid", "filename", "projection"} <= next(read_rows(table), {}).keys():
        return _read_kaggle(root, table, files)
    views = {row["imageid"]: plain_text(row["View Position"]) for row in read_rows(table, ("imageid", "View Position"))}
    reports = [path for path in files_below(root) if path.suffix == ".xml"]
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
