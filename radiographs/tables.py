"""Tables as people have them, read strictly: CSV, CSV.gz or Parquet. All but a CT's (drr.io.tables) come through here.

What a table is, is read from its first bytes, not from its name. Damage is refused with the file and the line: a quote
that is never closed, a row that is too short or too long, bytes that are no text, a file that was cut off.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ZERO_BYTES = "zero bytes where text was expected: save the table as UTF-8"
LONGEST_CELL = 2**24  # characters; the csv module's own limit of 131,072 is shorter than some reports
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SPREADSHEETS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # xlsx and ods, or any zip archive; xls
SHORTEST_NAME = 5  # characters of a first cell by which a row is known again inside another row's cell


class Row(dict[str, Any]):
    """A row, {column: value}: text in a CSV, what the file holds in Parquet.

    Args:
        values: Of the cells.
        where: The table's file and line, for messages.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        super().__init__(values)
        self.where = where


def read_rows(path: str | Path, columns: Sequence[str] = (), encoding: str | None = None) -> Iterator[Row]:
    """The rows of a table, one after the other.

    Args:
        path: CSV, CSV.gz or Parquet.
        columns: those that the table must have, at least.
        encoding: of a CSV without a byte order mark, by Python's name (cp1252, iso8859-9); UTF-8 by default.

    Returns:
        An iterator over the rows; what is wrong with a row is raised when it is reached.

    Raises:
        FileNotFoundError: no such file.
        ValueError: with the file and the line, a column that is missing or there twice, a row whose number of cells is
            not the header's, and as `read_cells`; a damaged Parquet file.
    """
    path = Path(path)
    if _first_bytes(path) == b"PAR1" or path.suffix == ".parquet":
        yield from _parquet_rows(path, columns)
        return
    lines = read_cells(path, encoding)
    _, header = next(lines, (1, []))
    _check_columns(path, header, columns)
    for line, cells in lines:
        if len(cells) != len(header):
            raise ValueError(
                f"{path} line {line}: {len(cells)} cells where the header has {len(header)}: complete the row, and "
                "quote each cell that holds a comma"
            )
        yield Row(dict(zip(header, cells)), f"{path} line {line}")


def read_cells(path: str | Path, encoding: str | None = None) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows of a CSV or CSV.gz as they stand, each with the line at which it begins.

    Rows in which every cell is empty are left out; how many cells a row has is not checked, see `read_rows`.

    Args:
        path: the file.
        encoding: as for `read_rows`.

    Returns:
        An iterator over (line, counted from 1; its cells as text), the header first.

    Raises:
        FileNotFoundError: no such file.
        ValueError: with the file and the line, a quote that is never closed, bytes that are no text in the encoding, a
            cell of more than 16 million characters, a header divided by ; or tabs, an empty file, a
            spreadsheet, a damaged gzip file.
    """
    path = Path(path)
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    reader = csv.reader(_text_lines(path, encoding), strict=True)
    empty = True
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{path} line {line}: {_said(error)}") from None
        if cells is None:
            break
        if any("\0" in cell for cell in cells):
            raise ValueError(f"{path} line {line}: {ZERO_BYTES}")
        if reader.line_num > line and _holds_a_row(cells):
            raise ValueError(
                f"{path} line {line}: the cell that is opened by a quote here holds whole rows: the quote is not closed"
            )
        if any(map(str.strip, cells)):
            if empty:
                _check_separator(path, line, cells)
            empty = False
            yield line, cells
    if empty:
        raise ValueError(f"{path}: an empty file where a table with a header was expected")


def read_lines(path: str | Path, encoding: str | None = None) -> list[str]:
    """The lines of a text file; errors as in `read_cells`, but an empty file has no lines.

    Args:
        path: Plain or gzip.
        encoding: As for `read_rows`.

    Returns:
        The lines, without their ends.
    """
    return [line.rstrip("\r\n") for line in _text_lines(Path(path), encoding)]


def _check_separator(path: Path, line: int, header: Sequence[str]) -> None:
    """Refuse what spreadsheets write where the comma is the decimal sign: each row would be one cell."""
    for mark, name in {";": "';'", "\t": "tabs", "|": "'|'"}.items():
        if len(header) == 1 and mark in header[0].strip():
            raise ValueError(f"{path} line {line}: separate the columns by commas, not by {name}")


def _said(error: csv.Error) -> str:
    """The csv module's error in our words."""
    text = str(error)
    if "NUL" in text:  # Python 3.10
        return ZERO_BYTES
    if "unexpected end of data" in text:
        return "a quote is opened in the row that begins here and never closed"
    if "expected after" in text:
        return "a cell goes on behind its closing quote: double the quotes inside, or close the one before"
    if "field larger" in text:
        return f"a cell of more than {LONGEST_CELL:,} characters: is a quote never closed?"
    return f"no CSV ({text})"


def _holds_a_row(cells: Sequence[str]) -> bool:
    """Whether a cell of several lines has swallowed rows: an inner line begins like this row, as far as its name goes.

    Two quotes that are missing in two rows pair up, and what is between them is one cell by the rules of CSV.
    """
    name = cells[0].strip()
    if len(name) < SHORTEST_NAME:
        return False
    shape, suffix = _shape(name), Path(name).suffix
    for cell in cells[1:]:
        for inner in cell.splitlines()[1:]:
            first, comma, _ = inner.partition(",")
            alike = _shape(first) == shape or (suffix and first.endswith(suffix) and " " not in first)
            if comma and alike:
                return True
    return False


def _shape(name: str) -> str:
    """What names of one table have in common: where digits stand or, in names such as train_1_a_1, the separators."""
    name = name.strip().strip('"')
    parts = re.sub(r"\w+", "x", name.replace("_", "-"))
    return parts if len(re.findall("[-./]", parts)) >= 2 and " " not in name else re.sub(r"\d+", "0", name)


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    with open(path, "rb") as file:
        return file.read(4)


def _text_lines(path: Path, encoding: str | None) -> Iterator[str]:
    """The lines of a text file, plain or gzip, with their ends; ValueError for what is no text in its encoding."""
    start = _first_bytes(path)
    if start in SPREADSHEETS:
        raise ValueError(f"{path}: a spreadsheet or an archive where a table was expected: save it as CSV, UTF-8")
    number = 1  # of the line that is read
    opened = gzip.open if start.startswith(b"\x1f\x8b") else open
    try:
        with opened(path, "rb") as file:
            name = _encoding(file, encoding)
            for line in io.TextIOWrapper(file, name, newline=""):  # type: ignore[type-var]
                number += 1
                yield line
    except UnicodeDecodeError:
        raise ValueError(_no_text(path, opened, name)) from None
    except LookupError:
        raise ValueError(f"{path}: the encoding '{encoding}' is unknown; give one such as utf-8 or cp1252") from None
    except UnicodeError as error:  # UTF-16 without its mark, as it says itself
        raise ValueError(f"{path}: not {name} text ({error})") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} line {number}: damaged gzip, or cut off here ({error}): copy it again") from None


def _encoding(file: Any, given: str | None) -> str:
    """By the byte order mark, else as given, else UTF-8."""
    start = file.read(3)
    file.seek(0)
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), given or "utf-8")


def _no_text(path: Path, opened: Any, encoding: str) -> str:
    """What to say of a file whose bytes are not of its encoding: the first line with such a byte."""
    with opened(path, "rb") as file:
        data = file.read()
    try:
        data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "ignore").count("\n") + 1
        name = encoding.removesuffix("-sig").upper()
        return (
            f"{path} line {line}: the byte 0x{data[error.start]:02x} is not {name} text: save the table as UTF-8, "
            "or name its encoding"
        )
    return f"{path}: not {encoding} text"


def _check_columns(path: Path, found: Sequence[str], wanted: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise ValueError(f"{path}: the table lacks the column {', '.join(missing)}; it has {', '.join(found[:20])}")
    twice = [column for column, count in Counter(found).items() if count > 1 and column]
    if twice:
        raise ValueError(f"{path}: the table has the column {twice[0]} more than once; keep one, or rename the other")


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, page_checksum_verification=True) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            for batch in file.iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield Row(_decoded(values, path, number), f"{path} row {number}")
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: a damaged Parquet file, from row {number + 1} on ({error}): copy it again") from None


def _decoded(values: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    """Columns that pandas wrote as bytes, as text."""
    try:
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}
    except UnicodeDecodeError:
        raise ValueError(f"{path} row {number}: bytes that are not UTF-8 where text was expected") from None
