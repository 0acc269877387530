"""CT-RATE's tables: metadata, abnormality labels, reports, and the volumes without a chest. Hamamci et al., 2024."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from drr.io.tables import read_rows, read_text

METADATA = (
    "RescaleSlope",
    "RescaleIntercept",
    "XYSpacing",
    "ZSpacing",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
REPORT = {
    "clinical_information": "ClinicalInformation_EN",
    "technique": "Technique_EN",
    "findings": "Findings_EN",
    "impression": "Impressions_EN",
}
NAMES = ("VolumeName", "ImageName")  # the latter is DRR-RATE's
NO_TEXT = ("", "not given.", "not given")
CONFLICT = "conflict"  # in a metadata row: why none of the volume's rows can be believed
Row = dict[str, str]
Value = TypeVar("Value")


def volume_key(name: str) -> str:
    """A file's base name without .nii or .nii.gz, as every table of CT-RATE may be looked up by.

    Args:
        name: A path of any system, or a base name, with or without suffix.

    Returns:
        Such as valid_1_a_2.
    """
    return name.strip().replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".gz").removesuffix(".nii")


def read_table(path: str | Path, columns: tuple[str, ...] = ()) -> dict[str, Row]:
    """A table by volume.

    Args:
        path: CSV with the column VolumeName (or DRR-RATE's ImageName).
        columns: Others that it must have.

    Returns:
        {volume key: its row}.

    Raises:
        FileNotFoundError: No such table.
        ValueError: A damaged table (see `drr.io.tables`), or a volume that has two different rows.
    """
    table: dict[str, Row] = {}
    for line, key, row in _keyed(path, columns):
        if table.setdefault(key, row) != row:
            raise ValueError(f"{path}, line {line}: {key} has two rows that differ; keep one")
    return table


def read_metadata(path: str | Path) -> dict[str, Row]:
    """CT-RATE's metadata; no other column than METADATA's (age, sex, dates) is kept.

    Args:
        path: The CSV.

    Returns:
        {volume key: the columns as text}. A volume with two rows that differ in these columns gets the entry
        `CONFLICT`, so that it alone is skipped.
    """
    table: dict[str, Row] = {}
    for line, key, row in _keyed(path, METADATA):
        kept = {column: row[column] for column in METADATA}
        first = table.setdefault(key, kept)
        if differ := [column for column in METADATA if first[column] != kept[column]]:
            first.setdefault(CONFLICT, _conflict(differ[0], first, kept, f"{path}, line {line}"))
    return table


def merge_metadata(paths: Sequence[str | Path]) -> dict[str, Row]:
    """The metadata of several tables.

    Args:
        paths: CSVs.

    Returns:
        {volume key: its row}; a volume whose rows differ between tables gets the entry `CONFLICT`.
    """
    merged: dict[str, Row] = {}
    for path in paths:
        for key, row in read_metadata(path).items():
            first = merged.setdefault(key, row)
            differ = [column for column in METADATA if first[column] != row[column]]
            if CONFLICT in row or differ:
                first.setdefault(CONFLICT, row.get(CONFLICT) or _conflict(differ[0], first, row, str(path)))
    return merged


def merge_tables(paths: Sequence[str | Path], read: Callable[[str | Path], dict[str, Value]]) -> dict[str, Value]:
    """What is found in each of several tables.

    Args:
        paths: Files.
        read: A file to {volume key: value}.

    Returns:
        {volume key: value}.

    Raises:
        ValueError: A volume that stands differently in two of them; and as `read`.
    """
    merged: dict[str, Any] = {}
    for path in paths:
        for key, value in read(path).items():
            if merged.setdefault(key, value) != value:
                raise ValueError(f"{path}: {key} stands otherwise in a table before; keep one")
    return merged


def read_labels(path: str | Path) -> dict[str, dict[str, int]]:
    """Abnormality labels.

    Args:
        path: The CSV.

    Returns:
        {volume key: {abnormality: 0 or 1}}, all columns of the table but an index without a name.

    Raises:
        ValueError: Any other value; and as `read_table`.
    """
    return {key: {name: _label(row, name, key, path) for name in row} for key, row in read_table(path).items()}


def read_reports(path: str | Path) -> dict[str, dict[str, str | None]]:
    """Reports.

    Args:
        path: The CSV.

    Returns:
        {volume key: {clinical_information, technique, findings, impression}}; "Not given." becomes None.
    """
    table = read_table(path, tuple(REPORT.values()))
    return {key: {part: _text(row[column]) for part, column in REPORT.items()} for key, row in table.items()}


def read_no_chest(path: str | Path) -> set[str]:
    """The volume keys that a list without header (paths or base names, one a line) names.

    Args:
        path: Text; quotes and commas around a name are taken off, and a line VolumeName is skipped.

    Returns:
        Keys as `volume_key` gives them.
    """
    lines = read_text(path).splitlines()
    return {volume_key(line.strip(" ,\"'")) for line in lines if line.strip()} - {"VolumeName"}


def _keyed(path: str | Path, columns: tuple[str, ...]) -> list[tuple[int, str, Row]]:
    """(line, volume key, the other cells) of each row."""
    rows = read_rows(Path(path), columns)
    if not rows:
        raise ValueError(f"{path}: the table has a header and no rows")
    name = next((column for column in NAMES if column in rows[0][1]), None)
    if name is None:
        found = ", ".join(list(rows[0][1])[:20])
        raise ValueError(f"{path}: the table lacks the column {NAMES[0]}; it has {found}")
    keyed = []
    for line, row in rows:
        key = volume_key(row.pop(name)).removesuffix(".png")
        if not key:
            raise ValueError(f"{path}, line {line}: a row without a {name}")
        keyed.append((line, key, row))
    return keyed


def _conflict(column: str, first: Row, second: Row, where: str) -> str:
    return f"{where}: two rows of the metadata differ in {column} ('{first[column]}' and '{second[column]}'); keep one"


def _label(row: Row, name: str, key: str, path: str | Path) -> int:
    try:
        value = float(row[name])
    except ValueError:
        value = -1.0
    if value not in (0.0, 1.0):
        raise ValueError(f"{path}: {name} of {key} is '{row[name]}'; 0 or 1 was expected")
    return int(value)


def _text(cell: str) -> str | None:
    text = " ".join(cell.split())
    return None if text.lower() in NO_TEXT else text
