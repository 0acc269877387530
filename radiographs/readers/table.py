"""A table of one's own: image, report, view."""

from __future__ import annotations

from pathlib import Path

from radiographs.readers.base import Reading, ReportedImage, checked_age, checked_sex, checked_split, plain_text
from radiographs.regions import Region, parse_masks, parse_regions
from radiographs.tables import Row, read_rows
from radiographs.vocabulary import VIEWS

# columns of a table of one's own
OPTIONAL = ("patient", "study", "age", "sex", "split", "boxes", "masks", "prior_image", "comparison")


def read_table(root: Path, table: Path, encoding: str | None = None) -> Reading:
    """A table with the columns image (a path below `root`), report, view and, if available, those of OPTIONAL.

    Args:
        root: The folder of the images.
        table: CSV, CSV.gz or Parquet. age in years; sex F or M; split train, validation or test, in every row. Without
            a patient every image is its own. boxes and masks as `radiographs.regions` describes them. prior_image is
            another row's image of the same patient, comparison what changed since.
        encoding: Of a CSV that is not UTF-8, see `radiographs.tables.read_rows`.

    Returns:
        The images.

    Raises:
        ValueError: With file and line, a damaged table, an unknown view, split or sex, an age beyond 120.
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
        report, (boxes, masks) = plain_text(row["report"]), _regions(row, table.parent)
        since = (plain_text(row.get("prior_image")), plain_text(row.get("comparison")))
        found.add(ReportedImage(root / name, name, view, report, patient, study, age, sex, split, boxes, masks, *since))
    return found


def _regions(row: Row, folder: Path) -> tuple[tuple[Region, ...], tuple[Region, ...]]:
    """The columns boxes and masks, if they are there; ValueError with the line for what is none."""
    try:
        return parse_regions(plain_text(row.get("boxes"))), parse_masks(plain_text(row.get("masks")), folder)
    except ValueError as error:
        raise ValueError(f"{row.where}: {error}") from None


def _refuse_misspelt(table: Path, row: Row) -> None:
    """A column Split or Patient, which would be left out without a word, is refused."""
    wrong = {column: column.strip().lower() for column in row if column not in OPTIONAL}
    for column, name in wrong.items():
        if name in OPTIONAL:
            raise ValueError(f"{table}: the table has a column '{column}'; expected it as '{name}': rename it")
