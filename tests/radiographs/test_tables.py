"""Tables are read whole and right, or refused with the file and the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from radiographs.tables import read_cells, read_lines, read_rows

HEADER = "image,view,report\n"
LONG = "word " * 40_000


def rows(path: Path, content: str | bytes, encoding: str | None = None) -> list[dict]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_rows(path, ("image", "report"), encoding))


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_with_a_mark_and_utf_8_are_read(tmp_path: Path, code: str) -> None:
    mark = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}.get(code, b"")
    found = rows(tmp_path / "t.csv", mark + (HEADER + 'a.png,PA,"Sağ akciğer, ""temiz"".\r\nİz."\r\n').encode(code))
    assert found == [{"image": "a.png", "view": "PA", "report": 'Sağ akciğer, "temiz".\r\nİz.'}]
    assert found[0].where == f"{tmp_path / 't.csv'} line 2"  # type: ignore[attr-defined]


@pytest.mark.parametrize("code", ["cp1252", "iso8859-9"])
def test_other_encodings_are_read_when_named_and_refused_with_the_line_else(tmp_path: Path, code: str) -> None:
    text = (HEADER + "a.png,PA,clear\nb.png,PA,Größe\n").encode(code)
    assert rows(tmp_path / "t.csv", text, code)[1]["report"] == "Größe"
    with pytest.raises(ValueError, match=r"t\.csv line 3: the byte 0xf6 is not UTF-8 text"):
        rows(tmp_path / "t.csv", text)
    with pytest.raises(ValueError, match=r"t\.csv: the encoding 'klingon' is unknown"):
        rows(tmp_path / "t.csv", HEADER + "a,b,c\n", "klingon")
    with pytest.raises(ValueError, match=r"t\.csv line 1: zero bytes"):
        rows(tmp_path / "t.csv", HEADER.encode("utf-16-le"))


@pytest.mark.parametrize("packed", [False, True])
def test_long_cells_and_blank_lines(tmp_path: Path, packed: bool) -> None:
    text = f"{HEADER}\na.png,PA,{LONG}\n , ,\nb.png,,\n   \n".encode()
    found = rows(tmp_path / "t.csv", gzip.compress(text) if packed else text)  # what it is, its first bytes say
    assert [row["report"] for row in found] == [LONG, ""]
    assert found[1].where.endswith("line 5")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (HEADER + "a.png,PA,No effusion, no pneumothorax\n", "line 2: 4 cells where the header has 3"),
        (HEADER + "a.png,PA,x\nb.png\n", "line 3: 1 cells where the header has 3"),
        (HEADER + 'a.png,PA,"x\nb.png,PA,y\nc.png,PA,z\n', "line 2: a quote is opened in the row that begins here"),
        (HEADER + 'a.png,PA,x\nb.png,PA,"y\nc.png,PA,"z"\n', "line 3: a cell goes on behind its closing quote"),
        (HEADER + 'a1.png,PA,"x\nb2.png,PA,y\nc3.png,PA,z"\n', "line 2: the cell .* holds whole rows"),
        (HEADER + 'train_1_a,PA,"x\ntrain_20_b,PA,y"\n', "line 2: the cell .* holds whole rows"),
        (HEADER + f'a.png,PA,"{"x" * (2**24 + 1)}"\n', "line 2: a cell of more than 16,777,216 characters"),
        ("image,view\n", "lacks the column report; it has image, view"),
        ("image;view;report\na;b;c\n", "separate the columns by commas, not by ';'"),
        ('image;view;report\na.png;PA;"x; y"\n', "line 1: separate the columns by commas, not by ';'"),
        ("image\tview\treport\na\tb\tc\n", "separate the columns by commas, not by tabs"),
        ("image,report,report\n", "has the column report more than once"),
        ("", "an empty file"),
        (b"PK\x03\x04 and so on", "a spreadsheet or an archive"),
        (b"PAR1 and no more", "a damaged Parquet file"),
        (gzip.compress(HEADER.encode() * 999, mtime=0)[:-20], r"line \d+: damaged gzip, or cut off here"),
        (gzip.compress((HEADER * 999).encode(), mtime=0)[:40] + b"x" * 40, "damaged gzip|no CSV"),
    ],
)
def test_damage_is_refused_with_file_and_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        rows(tmp_path / "t.csv", text)
    assert str(refused.value).startswith(str(tmp_path / "t.csv")) and "\n" not in str(refused.value)


def test_cells_of_several_lines_are_no_damage(tmp_path: Path) -> None:
    report = "1. Tube, in place.\n2. No effusion, no edema.\n\nfile a.png, seen"
    assert rows(tmp_path / "t.csv", f'{HEADER}12345,PA,"{report}"\na.png,PA,"{report}"\n')[0]["report"] == report


def test_parquet_by_content_and_damage_in_its_pages(tmp_path: Path) -> None:
    table = pa.table({"image": [f"{i}.png" for i in range(5000)], "report": [b"Gr\xc3\xb6\xc3\x9fe"] * 5000})
    pq.write_table(table, tmp_path / "t.csv", write_page_checksum=True, compression="none")
    found = list(read_rows(tmp_path / "t.csv", ("report",)))
    assert len(found) == 5000 and found[0]["report"] == "Größe" and found[0].where.endswith("row 1")
    content = bytearray((tmp_path / "t.csv").read_bytes())
    place = content.index(b"4321.png")
    content[place : place + 1] = b"9"
    (tmp_path / "u.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"u\.parquet: a damaged Parquet file"):
        list(read_rows(tmp_path / "u.parquet"))
    (tmp_path / "v.parquet").write_bytes(b"text")
    with pytest.raises(ValueError, match=r"v\.parquet: a damaged Parquet file"):
        list(read_rows(tmp_path / "v.parquet"))


def test_raw_cells_and_lines(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1\n\n2,3,4\n")
    assert list(read_cells(tmp_path / "t.csv")) == [(1, ["a", "b"]), (2, ["1"]), (4, ["2", "3", "4"])]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.png\r\nb.png")
    assert read_lines(tmp_path / "list.txt") == ["a.png", "b.png"]
    (tmp_path / "list.txt").write_bytes(b"a.png\n\xe4.png\n")
    with pytest.raises(ValueError, match=r"list\.txt line 2"):
        read_lines(tmp_path / "list.txt")
    with pytest.raises(FileNotFoundError, match="there is no such table"):
        list(read_rows(tmp_path))


@pytest.mark.parametrize("text", ['prompt;boxes\nx;"a; b"\n', "prompt\tview\nx\tPA\n"])
def test_raw_cells_of_another_separator_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError, match="separate the columns by commas"):
        list(read_cells(tmp_path / "t.csv"))
