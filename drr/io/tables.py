"""CSV tables, read strictly: what is damaged is refused with its file and line, never cut or merged.

They stand apart from radiographs.tables, since drr imports no other room, and since these are tables of CTs: UTF-8
alone, no gzip or Parquet, an index without a name dropped, and a swallowed row known by its volume's name.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

LARGEST_CELL = 1 << 26  # characters; csv's own limit of 131,072 is less than a long report has
COLUMNS_SHOWN = 20


def read_rows(path: Any, columns: tuple[str, ...] = ()) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV in UTF-8 with a header line.

    Args:
        path: a file (`Path`, or a packaged resource).
        columns: those that the table must have.

    Returns:
        (line at which the row begins, {column: cell}) for each row that is not empty; columns without a name, such as
        an index that a spreadsheet or pandas left, are dropped.

    Raises:
        FileNotFoundError: no such table.
        ValueError: not UTF-8, a quote that is not closed, a cell that has swallowed rows, a row with too few or too
            many cells, a column that is missing or there twice; with the file and the line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: not UTF-8 ({error.reason}); save the table as UTF-8") from None
    limit = csv.field_size_limit(LARGEST_CELL)
    try:
        return _rows(text, columns, path)
    finally:
        csv.field_size_limit(limit)


def _rows(text: str, columns: tuple[str, ...], path: Any) -> list[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    rows = []
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass
            elif header is None:
                header = [cell.strip() for cell in cells]
                for mark, name in {";": "';'", "\t": "tabs", "|": "'|'"}.items():
                    if len(header) == 1 and mark in header[0]:
                        raise ValueError(f"{path}, line {line}: separate the columns by commas, not by {name}")
                _check_header(header, columns, path)
            elif len(cells) != len(header):
                raise ValueError(f"{path}, line {line}: a row of {len(cells)} cells, where {len(header)} are expected")
            elif reader.line_num > line and _holds_a_row(cells):
                raise ValueError(
                    f"{path}: a cell of the row that begins at line {line} holds whole rows: its quote is not closed"
                )
            else:
                rows.append((line, {name: cell for name, cell in zip(header, cells) if not is_index(name)}))
            line = reader.line_num + 1
    except csv.Error as error:
        what = "a quote that is never closed" if "unexpected end" in str(error) else str(error)
        raise ValueError(f"{path}: {what}, in the row that begins at line {line}") from None
    if header is None:
        raise ValueError(f"{path}: the table is empty")
    return rows


def _holds_a_row(cells: list[str]) -> bool:
    """Whether a cell of several lines holds rows, as where two quotes are missing and pair up.

    An inner line then begins with a name that has a volume's parts: train_1_a_1 is four words, joined alike.
    """
    joints = re.sub(r"[A-Za-z]+|[0-9]+", "x", cells[0].strip())
    inner = [line.partition(",") for cell in cells[1:] for line in cell.splitlines()[1:]]
    return "_" in joints and any(comma and re.sub(r"[A-Za-z]+|[0-9]+", "x", name) == joints for name, comma, _ in inner)


def is_index(column: str) -> bool:
    """Whether a column is a row number without a name; pandas reads it back as "Unnamed: 0".

    Args:
        column: The title in the header.

    Returns:
        True for an empty title too.
    """
    return not column or column.startswith("Unnamed:")


def _check_header(header: list[str], columns: tuple[str, ...], path: Any) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        found = ", ".join(header[:COLUMNS_SHOWN])
        raise ValueError(f"{path}: the table lacks the column {', '.join(missing)}; it has {found}")
    twice = sorted({name for name in header if header.count(name) > 1 and not is_index(name)})
    if twice:
        raise ValueError(f"{path}: the table has the column {', '.join(twice)} twice")


def read_text(path: str | Path) -> str:
    """A text file in UTF-8.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Not UTF-8, with the file's name.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such list")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason}); save the list as UTF-8") from None
