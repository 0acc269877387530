"""CT-RATE: both releases, the tables, and what must be refused."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from drr.anatomy.chest import lung_size, require_chest
from drr.io.ct_rate import (
    csv_affine,
    looks_like_hu,
    parse_name,
    read_labels,
    read_metadata,
    read_no_chest,
    read_reports,
    read_volume,
    volume_key,
)
from drr.io.read import LPS_FROM_RAS, sample_ct

NAME = "train_7_b_2.nii.gz"


@pytest.fixture(scope="module")
def chest():
    """The sample CT on a 5 mm grid."""
    volume = sample_ct()
    affine = volume.affine.copy()
    affine[:3, :3] *= 2
    return volume.replace(hu=volume.hu[::2, ::2, ::2].copy(), affine=affine, labels=None)


def metadata_row(chest, slope="1", intercept="-1024"):
    x, y, z = chest.spacing
    return {
        "RescaleSlope": slope,
        "RescaleIntercept": intercept,
        "XYSpacing": f"[{x}, {y}]",
        "ZSpacing": str(z),
        "ImagePositionPatient": str(chest.affine[:3, 3].tolist()),
        "ImageOrientationPatient": "[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]",
    }


def first_release(path, chest, slope=1.0, intercept=-1024.0):
    """The stored values, and no geometry."""
    stored = np.clip(np.rint((chest.hu.T - intercept) / slope), 0, 65535).astype(np.uint16)
    nibabel.Nifti1Image(stored, np.eye(4)).to_filename(path)
    return path


def second_release(path, hu, affine):
    """HU, and a true header."""
    nibabel.Nifti1Image(np.ascontiguousarray(hu.T), LPS_FROM_RAS @ affine).to_filename(path)
    return path


def test_names_and_paths():
    name = parse_name("x/dataset/train_fixed/train_10010/train_10010_a/train_10010_a_1.nii.gz")
    assert (name.split, name.patient, name.scan, name.volume) == (
        "train",
        "train_10010",
        "train_10010_a",
        "train_10010_a_1",
    )
    assert name.image_name == "train_10010_a_1.png"
    assert name.image_path("AP") == "train/AP/train_10010/train_10010_a/train_10010_a_1.png"
    assert name.image_path("PA", "bone") == "train/PA_bone/train_10010/train_10010_a/train_10010_a_1.png"
    assert parse_name("test_1_a_1.nii.gz") is None
    assert parse_name("train_1_a_1_mask.nii.gz") is None
    assert volume_key("dataset/valid/valid_2/valid_2_a/valid_2_a_1.nii.gz") == "valid_2_a_1"


@pytest.mark.parametrize(("slope", "intercept"), [(1.0, -1024.0), (1.0, -8192.0), (0.5, -1024.0)])
def test_first_release_takes_geometry_and_rescale_from_the_table(tmp_path, chest, slope, intercept):
    row = metadata_row(chest, str(slope), str(intercept))
    volume, decision = read_volume(first_release(tmp_path / NAME, chest, slope, intercept), row)
    assert decision.release == 1
    assert f"slope {slope:g} and intercept {intercept:g}" in decision.reason
    np.testing.assert_array_equal(volume.hu, np.clip(chest.hu, -1024, 3071))
    np.testing.assert_allclose(volume.affine, chest.affine)


def test_second_release_is_never_scaled_twice(tmp_path, chest):
    row = metadata_row(chest)  # the table still holds slope and intercept of the stored values
    volume, decision = read_volume(second_release(tmp_path / NAME, chest.hu, chest.affine), row)
    assert decision.release == 2
    assert decision.notes == ()
    assert "the voxels are HU" in decision.reason
    np.testing.assert_array_equal(volume.hu, chest.hu)
    np.testing.assert_allclose(volume.affine, chest.affine, atol=1e-4)


def test_where_table_and_header_disagree_is_reported(tmp_path, chest):
    path = second_release(tmp_path / NAME, chest.hu, chest.affine)
    row = metadata_row(chest)
    row |= {"ZSpacing": "2.5", "ImageOrientationPatient": "[1, 0, 0, 0, -1, 0]", "ImagePositionPatient": "[0, 0, 9]"}
    volume, decision = read_volume(path, row)
    assert [note.split(":")[0] for note in decision.notes] == ["spacing", "direction", "position"]
    assert "header (5.000, 5.000, 5.000) mm, CSV (5.000, 5.000, 2.500) mm" in decision.notes[0]
    np.testing.assert_allclose(volume.spacing, 5)
    assert read_volume(path, None)[1].notes == ("no metadata row: the header was not compared",)


def test_neither_release(tmp_path, chest):
    stored_with_header = second_release(tmp_path / NAME, chest.hu + 1024, chest.affine)
    with pytest.raises(ValueError, match=r"neither release.*header holds geometry.*not HU"):
        read_volume(stored_with_header, metadata_row(chest))
    hu_without_header = tmp_path / "train_8_a_1.nii.gz"
    nibabel.Nifti1Image(np.ascontiguousarray(chest.hu.T), np.eye(4)).to_filename(hu_without_header)
    with pytest.raises(ValueError, match=r"neither release.*header holds none.*intercept -1024"):
        read_volume(hu_without_header, metadata_row(chest))
    with pytest.raises(ValueError, match="give its table with --metadata"):
        read_volume(hu_without_header, None)


def test_hu_are_told_from_stored_and_twice_scaled_values(chest):
    assert looks_like_hu(chest.hu)[0]
    for shift in (1024, 8192, -1024, 1000, -1000):
        assert not looks_like_hu(chest.hu + np.int16(shift))[0], shift


def test_values_are_clamped_to_12_bits(tmp_path, chest):
    hu = chest.hu.copy()
    hu[0, 0, :3] = (-8192, 20000, 3071)
    volume, _ = read_volume(second_release(tmp_path / NAME, hu, chest.affine), None)
    assert volume.hu[0, 0, :3].tolist() == [-1024, 3071, 3071]


def test_hu_cut_off_at_a_window_are_refused(tmp_path, chest):
    noise = np.random.default_rng(0).normal(0, 12, chest.hu.shape).round()
    hu = (chest.hu + noise).clip(-1000, 400).astype(np.int16)
    with pytest.raises(ValueError, match=r"train_7_b_2.*cut off at 400, a window in which bone is lost"):
        read_volume(second_release(tmp_path / NAME, hu, chest.affine), None)


def test_orientation_is_normalised(tmp_path, chest):
    flip = np.diag([1.0, -1.0, -1.0, 1.0])
    flip[1, 3], flip[2, 3] = chest.hu.shape[1] - 1, chest.hu.shape[0] - 1
    path = second_release(tmp_path / NAME, chest.hu[::-1, ::-1], chest.affine @ flip)
    volume, _ = read_volume(path, None)
    np.testing.assert_array_equal(volume.hu, chest.hu)
    np.testing.assert_allclose(volume.affine, chest.affine, atol=1e-3)


def test_affine_from_the_table_is_dicoms():
    row = metadata_row(sample_ct())
    row |= {
        "XYSpacing": "[0.5, 0.75]",
        "ZSpacing": "3",
        "ImagePositionPatient": "[-10, 20.5, -300]",
        "ImageOrientationPatient": "[0, 1, 0, -1, 0, 0]",
    }
    np.testing.assert_allclose(
        csv_affine(row), [[0, -0.75, 0, -10], [0.5, 0, 0, 20.5], [0, 0, 3, -300], [0, 0, 0, 1]], atol=1e-12
    )
    for wrong in ({"XYSpacing": "[0.5]"}, {"ZSpacing": "nan"}, {"ImagePositionPatient": ""}, {"ZSpacing": "0"}):
        with pytest.raises(ValueError, match="the metadata CSV"):
            csv_affine(row | wrong)


def test_lungs_of_the_sample(chest):
    volume = sample_ct()
    lungs = volume.mask(*volume.names_where(lambda name: name.startswith("lung_")).values())
    truth = lungs.sum() * 2.5**3 / 1e6
    for ct in (volume, chest):
        litres, height = lung_size(ct)
        assert litres == pytest.approx(truth, rel=0.15)
        assert 200 < height < 280
    require_chest(chest)


@pytest.mark.parametrize("part", ["abdomen", "3 slices", "no air"])
def test_too_little_chest(chest, part):
    hu = {"abdomen": chest.hu[:14], "3 slices": chest.hu[30:33], "no air": np.maximum(chest.hu, -200)}[part]
    with pytest.raises(ValueError, match="not enough chest"):
        require_chest(chest.replace(hu=hu))


def test_tables(tmp_path):
    (tmp_path / "labels.csv").write_text("VolumeName,Cardiomegaly,Lung nodule\ntrain_1_a_1.nii.gz,0,1\n")
    assert read_labels(tmp_path / "labels.csv") == {"train_1_a_1": {"Cardiomegaly": 0, "Lung nodule": 1}}
    (tmp_path / "reports.csv").write_text(
        "VolumeName,ClinicalInformation_EN,Technique_EN,Findings_EN,Impressions_EN\n"
        'train_1_a_1.nii.gz,Not given.,Non-contrast,"Heart, normal.",\n'
    )
    assert read_reports(tmp_path / "reports.csv")["train_1_a_1"] == {
        "clinical_information": None,
        "technique": "Non-contrast",
        "findings": "Heart, normal.",
        "impression": None,
    }
    (tmp_path / "no_chest.txt").write_text("train/train_1/train_1_a/train_1_a_1.nii.gz\nvalid_2_a_1\n\n")
    assert read_no_chest(tmp_path / "no_chest.txt") == {"train_1_a_1", "valid_2_a_1"}


def test_metadata_keeps_no_personal_column(tmp_path, chest):
    row = metadata_row(chest) | {"PatientAge": "061Y", "StudyDate": "20200101"}
    cells = ",".join(f'"{value}"' for value in row.values())
    (tmp_path / "metadata.csv").write_text(f"VolumeName,{','.join(row)}\n{NAME},{cells}\n")
    assert read_metadata(tmp_path / "metadata.csv") == {"train_7_b_2": metadata_row(chest)}


def test_wrong_tables_are_refused(tmp_path):
    table = tmp_path / "table.csv"
    with pytest.raises(FileNotFoundError, match="no such table"):
        read_labels(table)
    table.write_text("Name,Cardiomegaly\na,0\n")
    with pytest.raises(ValueError, match="lacks the column VolumeName"):
        read_labels(table)
    table.write_text("VolumeName,Cardiomegaly\na.nii.gz,perhaps\n")
    with pytest.raises(ValueError, match="0 or 1 was expected"):
        read_labels(table)
    table.write_text("VolumeName,Cardiomegaly\na.nii.gz,0\na.nii.gz,1\n")
    with pytest.raises(ValueError, match="a has two rows that differ"):
        read_labels(table)
