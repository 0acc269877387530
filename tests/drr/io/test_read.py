"""Reading CTs: values, orientation, and what is refused."""

from __future__ import annotations

import gzip

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from drr.io.read import read_ct, sample_ct


@pytest.fixture
def block() -> np.ndarray:
    """HU [z, y, x], no two voxels alike."""
    return np.arange(-500, -500 + 3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


def write_nifti(path, block, ras=None, dtype=np.int16, slope=None, inter=None):
    ras = np.diag([-2.0, -3.0, 4.0, 1.0]) if ras is None else ras
    image = nibabel.Nifti1Image(block.T.astype(dtype), ras)
    image.header.set_slope_inter(slope, inter)
    image.header.set_data_dtype(dtype)
    nibabel.save(image, path)
    return path


def at(volume, lps):
    """HU at an LPS position."""
    x, y, z, _ = np.linalg.solve(volume.affine, [*lps, 1]).round().astype(int)
    return volume.hu[z, y, x]


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_nifti_values_and_affine(tmp_path, block, name):
    volume = read_ct(write_nifti(tmp_path / name, block))
    assert volume.hu.dtype == np.int16 and volume.hu.flags.writeable
    np.testing.assert_array_equal(volume.hu, block)
    np.testing.assert_allclose(volume.affine, np.diag([2, 3, 4, 1]))  # RAS (-2, -3, 4) is LPS (2, 3, 4)
    np.testing.assert_allclose(volume.spacing, [2, 3, 4])


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_any_handedness_and_axis_order_keeps_every_voxel_in_place(tmp_path, block, signs, order):
    ras = np.eye(4)
    ras[:3, :3] = (np.diag([2.0, 3.0, 4.0]) * signs)[:, order]
    ras[:3, 3] = 10, 20, 30
    volume = read_ct(write_nifti(tmp_path / "ct.nii.gz", block, ras))
    assert (np.diag(volume.affine)[:3] > 0).all()  # towards left, back, head
    for index in np.ndindex(block.T.shape):
        position = ras @ [*index, 1]
        assert at(volume, position[:3] * [-1, -1, 1]) == block.T[index]


def test_same_volume_from_mha_and_nrrd(tmp_path, block):
    image = sitk.GetImageFromArray(block)
    image.SetSpacing((2, 3, 4))
    image.SetDirection((1, 0, 0, 0, -1, 0, 0, 0, 1))
    image.SetOrigin((7, 8, 9))
    for name in ("ct.mha", "ct.nrrd", "ct.nii.gz"):
        sitk.WriteImage(image, str(tmp_path / name))
        volume = read_ct(tmp_path / name)
        np.testing.assert_array_equal(volume.hu, block[:, ::-1])
        np.testing.assert_allclose(volume.affine, [[2, 0, 0, 7], [0, 3, 0, -1], [0, 0, 4, 9], [0, 0, 0, 1]], atol=1e-6)


def write_dicom(folder, block, places):
    import pydicom
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir()
    series, study = generate_uid(), generate_uid()
    for k, (section, z) in enumerate(zip(block, places)):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, study, "CT"
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.InstanceNumber = [3, 2], 4, k + 1
        data.Rows, data.Columns = section.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = (section + 1024).astype("<u2").tobytes()
        data.save_as(folder / f"{len(block) - k}.dcm", enforce_file_format=True)
    return folder


def test_dicom_folder(tmp_path, block):
    volume = read_ct(write_dicom(tmp_path / "ct", block, [0, 4, 8]))
    np.testing.assert_array_equal(volume.hu, block)
    np.testing.assert_allclose(volume.spacing, [2, 3, 4])


def test_dicom_with_a_missing_slice_is_refused(tmp_path, block):
    folder = write_dicom(tmp_path / "ct", np.concatenate([block, block]), [0, 4, 8, 12, 20, 24])
    with pytest.raises(ValueError, match="slices are missing"):
        read_ct(folder)


def test_unsigned_voxels_with_an_offset(tmp_path, block):
    stored = block.astype(np.int32) + 1024
    volume = read_ct(write_nifti(tmp_path / "a.nii.gz", stored, dtype=np.uint16, slope=1, inter=-1024))
    np.testing.assert_array_equal(volume.hu, block)
    plain = write_nifti(tmp_path / "b.nii.gz", stored, dtype=np.uint16)
    with pytest.raises(ValueError, match="unsigned"):
        read_ct(plain)
    np.testing.assert_array_equal(read_ct(plain, rescale=(1, -1024)).hu, block)


def test_float_voxels_are_rounded_and_nan_refused(tmp_path, block):
    values = block + 0.4
    np.testing.assert_array_equal(read_ct(write_nifti(tmp_path / "a.nii.gz", values, dtype=np.float32)).hu, block)
    values[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        read_ct(write_nifti(tmp_path / "b.nii.gz", values, dtype=np.float32))


def test_affine_replaces_the_headers(tmp_path, block):
    volume = read_ct(write_nifti(tmp_path / "ct.nii.gz", block), affine=np.diag([1, -1, 5, 1]))
    np.testing.assert_array_equal(volume.hu, block[:, ::-1])
    np.testing.assert_allclose(volume.affine[:3, 3], [0, -3, 0])


def test_gzip_of_several_members(tmp_path, block):
    raw = write_nifti(tmp_path / "a.nii", block).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))
    np.testing.assert_array_equal(read_ct(tmp_path / "b.nii.gz").hu, block)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: gzip.compress(raw)[:-40], "truncated"),
        (lambda raw: gzip.compress(raw[:-10]), "header promises"),
        (lambda raw: gzip.compress(raw + b"more"), "header promises"),
        (lambda raw: gzip.compress(raw[:280] + bytes(16) + raw[296:]), "spacing"),  # srow_x
        (lambda raw: b"no gzip at all", "not a NIfTI"),
        (lambda raw: gzip.compress(b"short"), "not a NIfTI"),
    ],
)
def test_damaged_files_are_refused(tmp_path, block, change, message):
    raw = write_nifti(tmp_path / "a.nii", block).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(change(raw))
    with pytest.raises(ValueError, match=message) as error:
        read_ct(tmp_path / "b.nii.gz")
    assert "b.nii.gz" in str(error.value) and "\n" not in str(error.value)


def test_not_a_volume(tmp_path, block):
    with pytest.raises(ValueError, match="3-D"):
        read_ct(write_nifti(tmp_path / "flat.nii.gz", block[:1]))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_ct(tmp_path / "missing.nii.gz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no DICOM"):
        read_ct(tmp_path / "empty")
    (tmp_path / "ct.txt").touch()
    with pytest.raises(ValueError, match="not a CT"):
        read_ct(tmp_path / "ct.txt")


def test_labels_follow_the_ct(tmp_path, block):
    ras = np.diag([2.0, 3.0, -4.0, 1.0])
    ct = write_nifti(tmp_path / "ct.nii.gz", block, ras)
    labels = write_nifti(tmp_path / "labels.nii.gz", block == block[0, 1, 2], ras, dtype=np.uint8)
    (tmp_path / "structures.csv").write_text("id,structure\n1,heart\n")
    volume = read_ct(ct, labels)
    assert volume.hu[volume.mask("heart")].tolist() == [block[0, 1, 2]]
    with pytest.raises(ValueError, match="no structure liver"):
        volume.mask("liver")
    with pytest.raises(ValueError, match="another grid"):
        read_ct(ct, write_nifti(tmp_path / "moved.nii.gz", block > 0, np.diag([2.0, 3.0, 4.0, 1.0]), dtype=np.uint8))
    with pytest.raises(ValueError, match="label map has shape"):
        read_ct(ct, write_nifti(tmp_path / "small.nii.gz", block[:, :, :3] > 0, ras, dtype=np.uint8))


def test_sample_ct_lies_as_a_patient_does():
    volume = sample_ct()
    assert volume.hu.shape == (133, 144, 144) and volume.hu.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, 2.5)
    assert volume.hu.min() >= -1024 and volume.hu.max() <= 3071

    def place(name):
        return volume.affine[:3] @ [*np.argwhere(volume.mask(name)).mean(axis=0)[::-1], 1]

    assert place("liver")[0] < place("heart")[0] < place("stomach")[0]  # right to left
    assert place("sternum")[1] < place("heart")[1] < place("vertebrae_T8")[1]  # front to back
    assert place("liver")[2] < place("heart")[2] < place("vertebrae_C7")[2]  # feet to head
