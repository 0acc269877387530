"""What `radiolucent drr` finds in its inputs: trees, links, DICOM series, and what it leaves out and says so."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest

from drr import sample_ct
from drr.io.read import LPS_FROM_RAS
from radiographs import read_radiograph
from radiolucent.cli import dispatch
from radiolucent.rendering.find_cts import find_cts


@pytest.fixture(scope="module")
def chest():
    """The sample CT on a 5 mm grid: hu (66, 72, 72) and its affine."""
    volume = sample_ct()
    affine = volume.affine.copy()
    affine[:3, :3] *= 2
    return volume.hu[:-1:2, ::2, ::2].copy(), affine


def save(path: Path, hu: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(np.ascontiguousarray(hu.T), LPS_FROM_RAS @ affine).to_filename(path)
    return path


def drr(*words: object) -> int:
    return dispatch(["drr", *map(str, words), "--size", "32", "--materials", "total", "--backend", "cpu"])


def errors(out: Path) -> dict[str, str]:
    with open(out / "errors.csv", newline="") as file:
        return {row["input"]: row["reason"] for row in csv.DictReader(file)}


def pictures(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))


def names(given: Path) -> list[str]:
    return [found.name for found in find_cts(str(given))[0]]


@pytest.fixture
def dicom(chest, write_series):
    """dicom(folder, slices, **options): the chest as a DICOM series; slices: which of them."""
    hu, affine = chest
    places = [affine[:3, 3] + k * affine[:3, 2] for k in range(len(hu))]

    def write(folder, slices=slice(None), **options):
        return write_series(folder, hu[slices], places[slices], **options)

    return write


def test_every_ct_of_a_tree_is_found(tmp_path, chest):
    save(tmp_path / "in/train_1_a_1.nii.gz", *chest)
    save(tmp_path / "in/other.nii.gz", *chest)
    save(tmp_path / "in/deep/er/scan.nii", *chest)
    save(tmp_path / "in/s1/ct.nii.gz", *chest)
    save(tmp_path / "in/s1/segmentations/heart.nii.gz", (chest[0] > 40).astype(np.uint8), chest[1])
    save(tmp_path / "elsewhere/p3/ct.nii.gz", *chest)
    (tmp_path / "in/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "in/linked/loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in/broken.nii.gz.link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "in/._other.nii.gz").write_bytes(b"\0\5\26\7")
    for name in ("readme.txt", "table.csv", "s1/notes.txt", "DICOMDIR"):
        (tmp_path / "in" / name).write_text("words")
    found, left_out = find_cts(str(tmp_path / "in"))
    assert [one.name for one in found] == ["deep/er/scan", "linked/p3/ct", "other", "s1/ct", "train_1_a_1"]
    assert "left out 6 file(s) that are no CT" in left_out and "2 .txt" in left_out and "1 DICOMDIR" in left_out
    assert "1 NIfTI of 8 bits, such as label maps" in left_out and "1 broken links" in left_out
    assert drr(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert pictures(tmp_path / "out") == [
        *("PA/deep/er/scan_total.png", "PA/linked/p3/ct_total.png", "PA/other_total.png", "PA/s1/ct_total.png"),
        "train/PA/train_1/train_1_a/train_1_a_1.png",
    ]


def test_what_was_left_out_is_printed(tmp_path, chest, capsys):
    save(tmp_path / "in/ct.nii.gz", *chest)
    (tmp_path / "in/report.docx").touch()
    assert drr(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert "left out 1 file(s) that are no CT: 1 .docx (such as report.docx)" in capsys.readouterr().out


def test_a_name_that_is_no_utf_8_is_told(tmp_path, chest):
    save(tmp_path / "in/ct.nii.gz", *chest)
    Path(os.fsdecode(bytes(tmp_path / "in") + b"/Sch\xe4del.doc")).touch()
    assert "such as Sch\\udce4del.doc" in find_cts(str(tmp_path / "in"))[1]


def test_a_tree_of_dicom_series(tmp_path, dicom):
    dicom(tmp_path / "in/p1/st/ct")
    dicom(tmp_path / "in/p2/st/ct", edit=lambda data, k: setattr(data, "Modality", "MR"))
    dicom(tmp_path / "in/p3/0", slice(0, 30))
    dicom(tmp_path / "in/p3/0", slice(30, None), number=2)
    (tmp_path / "in/p1/st/ct/._1_0000.dcm").write_bytes(b"\0\5\26\7" * 60)
    assert names(tmp_path / "in") == ["p1/st/ct", "p2/st/ct", "p3/0"]
    out = tmp_path / "out"
    assert drr(tmp_path / "in", "--out", out) == 1
    assert pictures(out) == ["PA/p1/st/ct_total.png"]
    reasons = errors(out)
    assert "the modality is MR" in reasons["p2/st/ct"]
    assert "2 DICOM series of CT in this folder (series 1: CT, 30 image(s); series 2" in reasons["p3/0"]
    assert names(tmp_path / "in/p1/st/ct") == ["ct"]


def test_a_series_that_is_spread_over_folders_is_one_ct(tmp_path, dicom, chest):
    uid = "1.2.826.0.1.3680043.8.498.77"

    def same(data, k):
        data.SeriesInstanceUID = uid

    dicom(tmp_path / "in/DIR1", slice(0, 40), edit=same)
    dicom(tmp_path / "in/DIR2", slice(40, None), edit=same, number=2)
    assert names(tmp_path / "in") == ["DIR1"]
    assert drr(tmp_path / "in", "--out", tmp_path / "out") == 0
    assert drr(save(tmp_path / "whole.nii.gz", *chest), "--out", tmp_path / "out") == 0
    one, two = (read_radiograph(tmp_path / f"out/PA/{name}_total.png").pixels for name in ("DIR1", "whole"))
    np.testing.assert_allclose(one, two, atol=1e-4)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert uid.encode() not in written


def test_one_series_is_chosen_by_its_number(tmp_path, dicom, chest):
    dicom(tmp_path / "in", number=3)
    dicom(tmp_path / "in", slice(0, 50), number=4)
    assert drr(tmp_path / "in", "--series", "3", "--out", tmp_path / "out") == 0
    assert drr(tmp_path / "in", "--series", "8", "--out", tmp_path / "none") == 1
    assert "no series with the number or UID 8; there are series 3" in errors(tmp_path / "none")["in"]
    with pytest.raises(ValueError, match="choose another --out"):
        drr(tmp_path / "in", "--series", "4", "--out", tmp_path / "out")
    with pytest.raises(ValueError, match="--series 3: none of the inputs is a DICOM folder"):
        drr(save(tmp_path / "ct.nii.gz", *chest), "--series", "3", "--out", tmp_path / "other")


def test_rescale(tmp_path, chest):
    hu, affine = chest[0].clip(-1000), chest[1]
    stored = save(tmp_path / "stored.nii.gz", ((hu + 1000) // 2).astype(np.uint16), affine)
    train = save(tmp_path / "train_1_a_1.nii.gz", ((hu + 1000) // 2).astype(np.uint16), affine)
    plain = save(tmp_path / "plain.nii.gz", (hu + 1000) // 2 * 2 - 1000, affine)
    assert drr(stored, "--out", tmp_path / "out") == 1
    assert "--rescale on the command line" in errors(tmp_path / "out")["stored"]
    assert drr(stored, train, "--rescale", 2, -1000, "--out", tmp_path / "scaled") == 0
    assert drr(plain, "--out", tmp_path / "out") == 0
    files = [
        "scaled/PA/stored_total.png",
        "scaled/train/PA/train_1/train_1_a/train_1_a_1.png",
        "out/PA/plain_total.png",
    ]
    one, two, three = (read_radiograph(tmp_path / file).pixels for file in files)
    np.testing.assert_array_equal(one, three)
    np.testing.assert_allclose(two, three, atol=2e-3)  # CT-RATE's HU are clamped
    rows = pq.read_table(tmp_path / "scaled/manifest.parquet").to_pylist()
    assert "rescale by 2 and -1000 as given" in rows[0]["decision"]


def test_notes_of_the_reader_stand_in_the_manifest(tmp_path, dicom):
    def with_a_localizer(data, k):
        if k == 0:
            data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    assert drr(dicom(tmp_path / "in", edit=with_a_localizer), "--out", tmp_path / "out") == 0
    notes = pq.read_table(tmp_path / "out/manifest.parquet").to_pylist()[0]["notes"]
    assert notes == ["1 localizer image(s) of the series were left out"]


def test_metadata_rows_that_differ_skip_their_volume_alone(tmp_path, chest):
    for i in (1, 2):
        save(tmp_path / f"in/train_{i}_a_1.nii.gz", *chest)
    columns = "RescaleSlope,RescaleIntercept,XYSpacing,ZSpacing,ImagePositionPatient,ImageOrientationPatient"
    place = f'"[5, 5]",{{}},"{chest[1][:3, 3].tolist()}","[1, 0, 0, 0, 1, 0]"'
    rows = [f"train_{i}_a_1.nii.gz,1,-1024,{place.format(z)}" for i, z in ((1, 5), (1, 2.5), (2, 5))]
    (tmp_path / "metadata.csv").write_text("\n".join([f"VolumeName,{columns}", *rows]))
    out = tmp_path / "out"
    assert drr(tmp_path / "in", "--metadata", tmp_path / "metadata.csv", "--out", out) == 1
    assert pictures(out) == ["train/PA/train_2/train_2_a/train_2_a_1.png"]
    assert "two rows of the metadata differ in ZSpacing ('5' and '2.5')" in errors(out)["train_1_a_1"]


def test_bad_tables_are_refused_before_any_work_and_strange_ones_told(tmp_path, chest, capsys):
    ct = save(tmp_path / "train_1_a_1.nii.gz", *chest)
    table = tmp_path / "labels.csv"
    table.write_text("VolumeName,Cardiomegaly\ntrain_1_a_1.nii.gz,40000\n")
    with pytest.raises(ValueError, match="0 or 1 was expected"):
        drr(ct, "--labels", table, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    table.write_text("VolumeName,Cardiomegaly\nvalid_1_a_1.nii.gz,1\n")
    assert drr(ct, "--labels", table, "--out", tmp_path / "out") == 0
    assert "--labels: none of the 1 volumes stands in it, such as train_1_a_1" in capsys.readouterr().out


def test_the_refusal_of_a_phantom_names_its_option(tmp_path, chest):
    hu = np.pad(np.zeros((20, 20, 20), np.int16), 9, constant_values=-1000)
    path = save(tmp_path / "block.nii.gz", hu, chest[1])
    assert drr(path, "--out", tmp_path / "out") == 1
    assert errors(tmp_path / "out")["block"].endswith("--require-chest false renders it all the same")
