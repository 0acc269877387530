"""Readers of data sets as they are distributed: small copies of their layouts, with made-up contents."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drr.io.manifest import image_row, write_manifest
from radiographs.crop import centre_crop
from radiographs.readers.reports import (
    READERS,
    RENAMED,
    read_chexpert,
    read_ct_rate,
    read_manifest,
    read_mimic_cxr,
    read_open_i,
    read_table,
    report_sections,
)

REPORT = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  Cough.  // pneumonia?

 FINDINGS:

 The lungs are clear.
 Heart size: normal.

 IMPRESSION:

 No acute process.
"""


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write_csv(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_table(tmp_path, suffix):
    touch(tmp_path / "a.png", tmp_path / "b/c.png")
    rows = [
        {"image": "a.png", "report": "Clear  lungs.", "view": "PA", "patient": "1", "age": "61", "sex": "F"},
        {"image": "b/c.png", "report": "", "view": "", "patient": "1", "age": "", "sex": ""},
        {"image": "gone.png", "report": "x", "view": "AP", "patient": "2", "age": "0", "sex": "other"},
    ]
    if suffix == "csv":
        table = write_csv(tmp_path / "t.csv", rows)
    else:
        table = tmp_path / "t.parquet"
        pq.write_table(pa.Table.from_pylist(rows), table)
    found = read_table(tmp_path, table)
    assert [(i.name, i.view, i.report, i.patient, i.age, i.sex) for i in found.images] == [
        ("a.png", "PA", "Clear lungs.", "1", 61.0, "F"),
        ("b/c.png", None, "", "1", None, None),
    ]
    assert found.set_aside == {"the image file is missing": 1}


def test_table_with_a_wrong_view_or_column(tmp_path):
    table = write_csv(tmp_path / "t.csv", [{"image": "a.png", "report": "x", "view": "frontal"}])
    with pytest.raises(ValueError, match=r"the view of a\.png is 'frontal'; expected one of PA, AP, LL, LATERAL, RL"):
        read_table(tmp_path, table)
    table = write_csv(tmp_path / "t.csv", [{"image": "a.png", "text": "x"}])
    with pytest.raises(ValueError, match="the table lacks the column report, view; it has image, text"):
        read_table(tmp_path, table)


@pytest.mark.parametrize(
    ("columns", "row", "says"),
    [
        ("image,report,view", "a.png,No effusion, no edema,PA", "line 2: 4 cells where the header has 3"),
        ("image,report,view", '"",x,PA', "line 2: no image is named"),
        ("image,report,view,age", "a.png,x,PA,612", "line 2: the age is '612'"),
        ("image,report,view,sex", "a.png,x,PA,femal", "line 2: the sex is 'femal'"),
        ("image,report,view,split", "a.png,x,PA,", "line 2: the split is ''"),
        ("image,report,view,Split", "a.png,x,PA,train", "has a column 'Split'; expected it as 'split'"),
    ],
)
def test_a_row_that_is_not_right_is_refused_with_its_line(tmp_path, columns, row, says):
    (tmp_path / "t.csv").write_text(f"{columns}\n{row}\n")
    with pytest.raises(ValueError, match=rf"t\.csv:? .*{says}|t\.csv {says}"):
        read_table(tmp_path, tmp_path / "t.csv")


def test_long_reports_are_read(tmp_path):
    touch(tmp_path / "a.png")
    table = write_csv(tmp_path / "t.csv", [{"image": "a.png", "report": "word " * 30_000, "view": "PA"}])
    assert len(read_table(tmp_path, table).images[0].report) == 149_999


def test_report_sections():
    assert report_sections(REPORT) == "The lungs are clear. Heart size: normal. No acute process."
    assert report_sections("CHEST RADIOGRAPH:\n fine") == ""


def test_mimic_cxr(tmp_path):
    root, reports = tmp_path / "jpg", tmp_path / "reports"
    base = {"subject_id": "10000032", "study_id": "50414267"}
    rows = [{"dicom_id": f"d{i}", **base, "ViewPosition": view} for i, view in enumerate(["PA", "LL", "LATERAL", ""])]
    rows.append({"dicom_id": "d9", "subject_id": "10000033", "study_id": "5", "ViewPosition": "AP"})
    write_csv(root / "mimic-cxr-2.0.0-metadata.csv.gz", rows)
    splits = [{"dicom_id": row["dicom_id"], "split": "validate"} for row in rows]
    write_csv(root / "mimic-cxr-2.0.0-split.csv.gz", splits)
    folder = "files/p10/p10000032/s50414267"
    touch(*(root / folder / f"d{i}.jpg" for i in range(4)), reports / f"{folder}.txt")
    (reports / f"{folder}.txt").write_text(REPORT)
    found = read_mimic_cxr(root, reports)
    assert [image.view for image in found.images] == ["PA", "LL", "LATERAL"]
    first = found.images[0]
    assert first.path == root / folder / "d0.jpg"
    assert (first.patient, first.study, first.split) == ("p10000032", "s50414267", "validation")
    assert first.report.endswith("No acute process.")
    missing = "the report is missing, or has neither findings nor impression"
    assert found.set_aside == {"view ''": 1, missing: 1}
    assert found.first[missing] == "files/p10/p10000033/s5.txt"
    with pytest.raises(FileNotFoundError, match="give MIMIC-CXR-JPG's top folder"):
        read_mimic_cxr(reports)
    (reports / f"{folder}.txt").write_bytes(REPORT.replace("Cough", "Hüsteln").encode("cp1252"))
    assert read_mimic_cxr(root, reports).set_aside["the report is not UTF-8 text"] == 3
    write_csv(root / "mimic-cxr-2.0.0-split.csv.gz", splits[1:])
    with pytest.raises(ValueError, match=r"metadata\.csv\.gz line 2: d0 has no row in mimic-cxr-2\.0\.0-split"):
        read_mimic_cxr(root, reports)
    write_csv(root / "mimic-cxr-2.1.0-split.csv", splits)
    with pytest.raises(ValueError, match=r"several tables .*: keep those of one release"):
        read_mimic_cxr(root, reports)


def test_chexpert_and_chexpert_plus(tmp_path):
    name = "CheXpert-v1.0-small/train/patient00002/study1/view{}"
    labels = {"No Finding": "", "Cardiomegaly": "1.0", "Edema": "-1.0", "Pneumothorax": "0.0", "Support Devices": "1.0"}
    rows = [
        {
            "Path": name.format("1_frontal.jpg"),
            "Sex": "Female",
            "Age": "68",
            "Frontal/Lateral": "Frontal",
            "AP/PA": "AP",
        },
        {"Path": name.format("2_lateral.jpg"), "Sex": "Female", "Age": "68", "Frontal/Lateral": "Lateral", "AP/PA": ""},
    ]
    write_csv(tmp_path / "train.csv", [{**row, **labels} for row in rows])
    touch(tmp_path / "train/patient00002/study1/view1_frontal.jpg")
    touch(tmp_path / "CheXpert-v1.0-small/train/patient00002/study1/view2_lateral.jpg")
    found = read_chexpert(tmp_path).images
    assert [(i.view, i.report) for i in found] == [(v, "Cardiomegaly, Support Devices") for v in ("AP", "LATERAL")]
    assert (found[0].patient, found[0].study, found[0].age) == ("patient00002", "patient00002/study1", 68.0)
    assert (found[0].sex, found[0].split) == ("F", "train")
    plus = {
        "path_to_image": "train/patient00002/study1/view1_frontal.jpg",
        "frontal_lateral": "Frontal",
        "ap_pa": "PA",
        "section_findings": "",
        "section_impression": "1. Clear\n lungs.",
        "age": "68.0",
        "sex": "Male",
    }
    found = read_chexpert(tmp_path, write_csv(tmp_path / "df_chexpert_plus_240401.csv", [plus])).images
    assert [(i.view, i.report, i.sex) for i in found] == [("PA", "1. Clear lungs.", "M")]
    wrong = tmp_path / "wrong.csv"
    for change, says in (
        ({"Edema": "0.7"}, "line 2: the label Edema is '0.7'; expected 1, 0, -1 or nothing"),
        ({"Path": "x.jpg"}, r"line 2: the image is 'x\.jpg'"),
    ):
        write_csv(wrong, [{**rows[0], **labels, **change}])
        with pytest.raises(ValueError, match=says):
            read_chexpert(tmp_path, wrong)
    wrong.write_text("Path,Cardiomegaly\nCheXpert/train/patient1/study1/view1.jpg,1\n")
    with pytest.raises(ValueError, match=r"wrong\.csv: the table lacks the column Frontal/Lateral, AP/PA"):
        read_chexpert(tmp_path, wrong)


def test_open_i(tmp_path):
    xml = """<eCitation><uId id="CXR7"/><MedlineCitation><Article><Abstract>
    <AbstractText Label="INDICATION">cough</AbstractText><AbstractText Label="FINDINGS">Clear lungs.</AbstractText>
    <AbstractText Label="IMPRESSION">Normal chest.</AbstractText></Abstract></Article></MedlineCitation>
    <parentImage id="CXR7_IM-1-1001"/><parentImage id="CXR7_IM-1-2001"/>
    <parentImage id="CXR7_IM-1-3001"/></eCitation>"""
    (tmp_path / "ecgen-radiology").mkdir()
    (tmp_path / "ecgen-radiology/7.xml").write_text(xml)
    touch(tmp_path / "png/CXR7_IM-1-1001.png", tmp_path / "png/CXR7_IM-1-2001.png", tmp_path / "png/CXR7_IM-1-3001.png")
    views = {"CXR7_IM-1-1001": "PA", "CXR7_IM-1-2001": "RL", "CXR7_IM-1-3001": "LARGE LATERAL"}
    rows = [{"imageid": name, "View Position": view, "Patient's Name": ""} for name, view in views.items()]
    found = read_open_i(tmp_path, write_csv(tmp_path / "headers.csv.gz", rows))
    assert [(i.view, i.report, i.patient) for i in found.images] == [
        ("PA", "Clear lungs. Normal chest.", "CXR7"),
        ("RL", "Clear lungs. Normal chest.", "CXR7"),
    ]
    assert found.set_aside == {"view 'LARGE LATERAL'": 1}
    touch(tmp_path / "ecgen-radiology/._7.xml")  # as macOS leaves it
    assert len(read_open_i(tmp_path, tmp_path / "headers.csv.gz").images) == 2
    cut = r"8\.xml line 3: no XML, or cut off"
    for content, says in ((xml[:200], cut), ("<?xml version='1.0' encoding='x'?><a/>", r"8\.xml")):
        (tmp_path / "ecgen-radiology/8.xml").write_text(content)
        with pytest.raises(ValueError, match=says):
            read_open_i(tmp_path, tmp_path / "headers.csv.gz")


def test_open_i_as_kaggle_has_it(tmp_path):
    reports = [
        {"uid": "1", "MeSH": "normal", "findings": "Clear lungs.", "impression": "Normal."},
        {"uid": "2", "MeSH": "", "findings": "", "impression": ""},
    ]
    write_csv(tmp_path / "indiana_reports.csv", reports)
    views = {"1_IM-1-4001.dcm.png": "Frontal", "1_IM-1-3001.dcm.png": "Lateral", "2_IM-6-1001.dcm.png": "Frontal"}
    touch(*(tmp_path / "images/images_normalized" / name for name in views))
    rows = [{"uid": name[0], "filename": name, "projection": view} for name, view in views.items()]
    found = read_open_i(tmp_path, write_csv(tmp_path / "indiana_projections.csv", rows))
    assert [(i.view, i.report, i.patient) for i in found.images] == [
        (None, "Clear lungs. Normal.", "CXR1"),
        ("LATERAL", "Clear lungs. Normal.", "CXR1"),
    ]
    assert found.set_aside == {"the report has neither findings nor impression": 1}
    write_csv(tmp_path / "indiana_projections.csv", [{**rows[0], "projection": "Oblique"}])
    with pytest.raises(ValueError, match=r"projections\.csv line 2: the projection is 'Oblique'"):
        read_open_i(tmp_path, tmp_path / "indiana_projections.csv")


class Beam:
    source = origin = du = dv = (0.0, 0.0, 0.0)
    shape = (4, 4)


def test_the_reader_of_manifests_goes_by_its_old_name_too():
    assert read_ct_rate is read_manifest is READERS[RENAMED["ct_rate"]] and "ct_rate" not in READERS


def test_manifests_of_our_own(tmp_path):
    def images(volume: str, *views: str) -> list[dict]:
        paths = {view: f"train/{view}/{volume}.png" for view in views}
        touch(*(tmp_path / path for path in paths.values()))
        rows = [image_row(f"{volume}.png", view, "total", path, "", Beam) for view, path in paths.items()]
        return [*rows, image_row(f"{volume}.png", views[0], "bone", "bone.png", "", Beam)]

    about = {"decision": "", "notes": [], "version": "1"}
    records = [
        {"key": "train_1_a_1", "images": images("train_1_a_1", "PA", "drr-rate", "oblique"), **about},
        {"key": "train_1_b_1", "images": images("train_1_b_1", "LL"), **about},
        {"key": "sample", "images": images("sample", "LATERAL"), **about},
    ]
    text = {"clinical_information": "x", "technique": None, "findings": "Nodule.", "impression": "Follow up."}
    write_manifest(tmp_path / "manifest.parquet", records, reports={"train_1_a_1": text})
    found = read_manifest(tmp_path)
    assert [(i.view, i.report, i.patient, i.study, i.split) for i in found.images] == [
        ("PA", "Nodule. Follow up.", "train_1", "train_1_a_1", "train"),
        ("AP", "Nodule. Follow up.", "train_1", "train_1_a_1", "train"),
        ("LL", "", "train_1", "train_1_b_1", "train"),
        ("LATERAL", "", "sample", "sample", None),
    ]
    assert found.set_aside == {"view 'oblique'": 1}


def test_centre_crop_keeps_the_aspect():
    """A disc stays a disc, and what is beyond the middle square is gone."""
    rows, columns = np.mgrid[:40, :60]
    disc = np.where((rows - 19.5) ** 2 + (columns - 29.5) ** 2 < 15**2, 1.0, -1.0).astype(np.float32)
    disc[:, :9] = 1
    square = centre_crop(disc, 20)
    assert square.shape == (20, 20)
    bright = square > 0
    assert bright.sum() == pytest.approx(np.pi * 7.5**2, rel=0.05)
    assert np.array_equal(bright, bright.T)
