"""Tables are read strictly: damage is refused with its file and line, before any work."""

from __future__ import annotations

import csv

import pytest

from drr.io.ct_rate import merge_metadata, merge_tables, read_labels, read_metadata, read_no_chest, read_reports
from drr.io.tables import read_rows

HEADER = "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
ROWS = [f"train_{i}_a_1.nii.gz,c,t,findings {i},impression {i}\n" for i in range(1, 6)]
OPEN_QUOTE = ROWS[1].replace("findings 2", '"findings 2')


@pytest.fixture
def table(tmp_path):
    def write(*lines, encoding="utf-8"):
        path = tmp_path / "table.csv"
        path.write_bytes("".join(lines).encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([HEADER, ROWS[0], OPEN_QUOTE, *ROWS[2:]], "a quote that is never closed, in the row that begins at line 3"),
        ([HEADER, OPEN_QUOTE, ROWS[2].replace("findings 3", '"findings 3"')], "row that begins at line 2"),
        (
            [
                HEADER,
                ROWS[0],
                OPEN_QUOTE,
                ROWS[2].replace("findings 3", 'findings 3"'),
                *ROWS[3:],
            ],  # the quotes pair up
            "the row that begins at line 3 holds whole rows: its quote is not closed",
        ),
        (["VolumeName;Findings_EN\n", 'a;"b; c"\n'], "line 1: separate the columns by commas, not by ';'"),
        ([HEADER, ROWS[0], "train_2_a_1.nii.gz,c,t"], "line 3: a row of 3 cells, where 5 are expected"),
        ([HEADER, ROWS[0].replace("findings 1", "heart, lungs")], "line 2: a row of 6 cells"),
        ([HEADER, ROWS[0], ROWS[0].replace("findings 1", "other")], "line 3: train_1_a_1 has two rows that differ"),
        ([HEADER, ",c,t,f,i\n"], "line 2: a row without a VolumeName"),
        ([HEADER.replace("Technique_EN", "Findings_EN"), ROWS[0]], "lacks the column Technique_EN"),
        ([HEADER.replace("\n", ",Findings_EN\n"), ROWS[0]], "the column Findings_EN twice"),
        (["\n"], "the table is empty"),
        ([HEADER], "no rows"),
    ],
)
def test_damage_is_refused_with_its_line(table, lines, says):
    path = table(*lines)
    with pytest.raises(ValueError, match=says) as error:
        read_reports(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["iso8859-9", "cp1252", "utf-16"])
def test_other_encodings_are_refused_with_the_line(table, encoding):
    text = "Sa\u011f akci\u011fer" if encoding == "iso8859-9" else "Fr\u00e4ulein"
    path = table(HEADER, ROWS[0], f"train_2_a_1.nii.gz,c,t,{text},i\n", encoding=encoding)
    with pytest.raises(ValueError, match=rf"table\.csv, line {1 if encoding == 'utf-16' else 3}: not UTF-8"):
        read_reports(path)
    with pytest.raises(ValueError, match=r"table\.csv: not UTF-8"):
        read_no_chest(path)


def test_long_cells_quotes_and_line_breaks_are_read(table):
    limit = csv.field_size_limit()
    path = table("\ufeff" + HEADER, f'train_1_a_1.nii.gz,"a ""quoted"" word",t,"{"x" * 200_000}","one,\ntwo"\n\n')
    report = read_reports(path)["train_1_a_1"]
    assert len(report["findings"]) == 200_000
    assert (report["clinical_information"], report["impression"]) == ('a "quoted" word', "one, two")
    assert csv.field_size_limit() == limit


def test_rows_know_their_lines(table):
    assert read_rows(table('a,,b\n1,9,"x\ny"\n\n2,8,z\n')) == [(2, {"a": "1", "b": "x\ny"}), (5, {"a": "2", "b": "z"})]


@pytest.mark.parametrize("value", ["0.7", "-1", "300", "", "nan", "inf", "yes"])
def test_labels_are_0_or_1(table, value):
    with pytest.raises(ValueError, match=rf"Cardiomegaly of train_1_a_1 is '{value}'; 0 or 1 was expected"):
        read_labels(table(f"VolumeName,Cardiomegaly\ntrain_1_a_1.nii.gz,{value}\n"))


@pytest.mark.parametrize("index", ["", "Unnamed: 0"])
def test_an_index_without_a_name_is_no_label(table, index):
    path = table(f"{index},VolumeName,Cardiomegaly,Mass\n40000,train_1_a_1.nii.gz,1.0,0\n")
    assert read_labels(path) == {"train_1_a_1": {"Cardiomegaly": 1, "Mass": 0}}
    with pytest.raises(ValueError, match="row of train_1_a_1 is '40000'"):
        read_labels(table("row,VolumeName,Mass\n40000,train_1_a_1.nii.gz,1\n"))


COLUMNS = "RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing,ImagePositionPatient,ImageOrientationPatient"
METADATA = f"VolumeName,{COLUMNS},StudyDate\n"


def metadata_row(name, spacing, date="20200101"):
    return f'{name}.nii.gz,1,-1024,"[0.7, 0.7]",{spacing},"[0, 0, 0]","[1, 0, 0, 0, 1, 0]",{date}\n'


def test_metadata_rows_that_differ_concern_their_volume_alone(table, tmp_path):
    path = table(METADATA, metadata_row("a", 1), metadata_row("a", 1.5), metadata_row("b", 2), metadata_row("b", 2, 9))
    found = read_metadata(path)
    assert "line 3: two rows of the metadata differ in ZSpacing ('1' and '1.5')" in found["a"]["conflict"]
    assert "conflict" not in found["b"]
    other = tmp_path / "other.csv"
    other.write_text(METADATA + metadata_row("b", 3) + metadata_row("c", 4))
    merged = merge_metadata([path, other])
    assert [("conflict" in merged[key]) for key in "abc"] == [True, True, False]
    assert "other.csv" in merged["b"]["conflict"]


def test_labels_of_two_tables_that_differ_are_refused(table, tmp_path):
    path = table("VolumeName,Mass\na.nii.gz,1\n")
    other = tmp_path / "other.csv"
    other.write_text("VolumeName,Mass\na.nii.gz,1\nb.nii.gz,0\n")
    assert merge_tables([path, other], read_labels) == {"a": {"Mass": 1}, "b": {"Mass": 0}}
    other.write_text("VolumeName,Mass\na.nii.gz,0\n")
    with pytest.raises(ValueError, match=r"other\.csv: a stands otherwise in a table before"):
        merge_tables([path, other], read_labels)
