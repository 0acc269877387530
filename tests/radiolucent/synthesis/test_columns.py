"""Columns of a table of prompts: what is read, what is surely meant to be, and what is a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from radiographs.vocabulary import CHEXPERT, VIEWS
from radiolucent.rendering.exports.table import COLUMNS
from radiolucent.synthesis.dataset_formats import Example, write_tables
from radiolucent.synthesis.prompts import Row, read_prompts


@pytest.mark.parametrize(
    ("column", "right"),
    [
        ("veiw", "view"),
        ("View", "view"),
        ("views", "view"),
        ("ViewPosition", "view"),
        ("box", "boxes"),
        ("mask", "masks"),
        ("sead", "seed"),
        ("prior_image", "prior"),
        ("priors", "prior"),
        ("prior-view", "prior_view"),
        ("file_name", "filename"),
        ("file", "filename"),
        ("label", "labels"),
        ("pleural_effusion", "Pleural Effusion"),
    ],
)
def test_a_misspelt_column_is_refused_with_the_right_name(tmp_path: Path, column: str, right: str) -> None:
    (tmp_path / "p.csv").write_text(f"prompt,{column}\nclear,1\n")
    with pytest.raises(ValueError, match=f"the column '{column}' is not read: rename it to '{right}'"):
        read_prompts(tmp_path / "p.csv", views=VIEWS, classes=CHEXPERT)


@pytest.mark.parametrize("column", ["report", "Prompt", "anotated_prompt"])
def test_so_is_a_prompts(tmp_path: Path, column: str) -> None:
    (tmp_path / "p.csv").write_text(f"{column},name\nclear,1\n")
    with pytest.raises(ValueError, match=f"the column '{column}' is not read: rename it to '(annotated_)?prompt'"):
        read_prompts(tmp_path / "p.csv")


def test_notes_are_allowed_and_named(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "p.csv").write_text("name,prompt,view,report,remark,views,filename2\na,clear,PA,x,y,z,b\n")
    rows, bad = read_prompts(tmp_path / "p.csv", views=VIEWS)
    assert [row.name for row in rows] == ["a.png"] and not bad
    assert capsys.readouterr().err == "p.csv: columns that are not read: report, remark, views, filename2\n"


def test_tables_of_drawn_data_sets_come_back_as_they_are(tmp_path: Path, capsys: Any) -> None:
    row = Row("a.png", "clear", "PA", 3, (("Edema", 0),))
    write_tables([Example(row)], tmp_path)
    assert read_prompts(tmp_path / "metadata.csv", views=VIEWS, classes=CHEXPERT) == ([row], {})
    assert capsys.readouterr().err == "metadata.csv: columns that are not read: tokens_cut, agreement, notice\n"
    (again,), bad = read_prompts(tmp_path / "chexgenbench.csv", views=VIEWS, classes=CHEXPERT)
    assert (again.name, again.prompt, again.labels) == (row.name, row.prompt, row.labels) and not bad


def test_the_table_of_rendered_radiographs_says_what_to_rename(tmp_path: Path) -> None:
    cells = {"image": "a.png", "report": "clear", "view": "PA", "labels": json.dumps({}), "prior_image": "p.png"}
    (tmp_path / "p.png").write_bytes(b"")
    columns = list(COLUMNS)
    for old, new in (("report", "prompt"), ("prior_image", "prior")):
        values = [cells.get(column, "") for column in COLUMNS]
        (tmp_path / "p.csv").write_text(",".join(columns) + "\n" + ",".join(values) + "\n")
        with pytest.raises(ValueError, match=f"'{old}' is not read: rename it to '{new}'"):
            read_prompts(tmp_path / "p.csv", views=VIEWS, classes=CHEXPERT)
        columns[columns.index(old)] = new
    (tmp_path / "p.csv").write_text(",".join(columns) + "\n" + ",".join(values) + "\n")
    (row,), _ = read_prompts(tmp_path / "p.csv", views=VIEWS, classes=CHEXPERT)
    assert row.prompt == "clear" and row.prior == (tmp_path / "p.png", None)
