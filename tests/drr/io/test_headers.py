"""Headers of NIfTI, MetaImage and NRRD: what they say is taken, what they do not say is not made up."""

from __future__ import annotations

import gzip
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from drr import read_ct
from drr.io.read import CTWarning

MM = np.diag([-5.0, -4.0, 3.0, 1.0])  # RAS
HU = np.arange(-1000, -1000 + 6 * 5 * 4, dtype="<i2").reshape(6, 5, 4)


@pytest.fixture
def patched(tmp_path):
    """patched(offset, layout, *values): a NIfTI with header bytes changed; by_qform: its place is in the qform."""

    def write(offset, layout, *values, by_qform=False):
        image = nibabel.Nifti1Image(HU.T, MM)
        image.header.set_xyzt_units("mm")
        if by_qform:
            image.header.set_qform(MM, 1)
            image.header.set_sform(None, 0)
        content = bytearray(image.to_bytes())
        struct.pack_into(layout, content, offset, *values)
        path = tmp_path / "ct.nii.gz"
        path.write_bytes(gzip.compress(bytes(content)))
        return path

    return write


def test_what_others_read_is_read(patched):
    expected = read_ct(patched(76, "<f", 1.0))
    np.testing.assert_allclose(expected.spacing, [5, 4, 3])
    for path in (
        patched(76, "<f", 0.0, by_qform=True),  # nifti1.h: a qfac of 0 is 1
        patched(80, "<3f", 0.0, 0.0, 0.0),  # the sform says it, too
        patched(123, "<B", 0),  # no units
    ):
        volume = read_ct(path)
        np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-5)
        np.testing.assert_array_equal(volume.hu, expected.hu)


def test_units_of_the_header_count(patched, tmp_path):
    metres = nibabel.Nifti1Image(HU.T, np.diag([-5e-3, -4e-3, 3e-3, 1]))
    metres.header.set_xyzt_units("meter")
    metres.to_filename(tmp_path / "metres.nii")
    np.testing.assert_allclose(read_ct(tmp_path / "metres.nii").spacing, [5, 4, 3], rtol=1e-5)
    with pytest.raises(ValueError, match=r"spacing of \(5000, 4000, 3000\) mm, where 0\.05 to 30 are possible"):
        read_ct(patched(123, "<B", 1))
    with pytest.raises(ValueError, match=r"spacing of \(0\.005, 0\.004, 0\.003\) mm"):
        read_ct(patched(123, "<B", 3))


def test_a_pixdim_that_says_otherwise_is_told(patched):
    with pytest.warns(CTWarning, match=r"\(5, 4, 3\) by the header's sform, \(1, 4, 3\) by its pixdim"):
        volume = read_ct(patched(80, "<f", 1.0))
    np.testing.assert_allclose(volume.spacing, [5, 4, 3])


BROKEN = {
    "no orientation": (252, "<2h", 0, 0),
    "no finite": (280, "<f", np.nan),
    r"spacing of \(0, 4, 3\)": (280, "<f", 0.0),
    "its header promises": (42, "<3h", 32767, 32767, 32767),
    "begin at byte 0": (108, "<f", 0.0),
    "begin at byte 20": (108, "<f", 20.0),
    "not a NIfTI": (108, "<f", np.nan),
    "unknown data type 77": (70, "<h", 77),
    "voxels of type": (70, "<2h", 128, 24),
    "magic": (344, "<4s", b"ni1\0"),
    "NIfTI file .*nan": (112, "<2f", 1.0, np.nan),
}


@pytest.mark.parametrize("says", BROKEN)
def test_broken_nifti_is_refused_in_one_line(patched, says):
    path = patched(*BROKEN[says])
    with pytest.raises(ValueError, match=says) as error:
        read_ct(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("affine", [np.eye(4), np.diag([-1.0, -1, 1, 1])])
def test_what_libraries_fill_in_is_no_spacing(tmp_path, affine):
    path = tmp_path / "ct.nii.gz"
    nibabel.Nifti1Image(HU.T, affine).to_filename(path)
    with pytest.raises(ValueError, match="the header gives no spacing"):
        read_ct(path)
    np.testing.assert_allclose(read_ct(path, affine=np.diag([2.0, 2, 3, 1])).spacing, [2, 2, 3])
    for name in ("ct.mha", "ct.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(HU), str(tmp_path / name))
        with pytest.raises(ValueError, match="the header gives no spacing"):
            read_ct(tmp_path / name)


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.eye(3), r"shape \(3, 3\)"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([0.0, 0, 0, 1]), "spacing of"),
        (np.diag([1.0, 1, 900, 1]), "0.05 to 30"),
        (np.array([[5.0, 0, 0, 0], [0, 4, 0, 0], [0, 0, 3, 0], [10, 20, 30, 1]]), "was it transposed"),
    ],
)
def test_a_callers_affine_is_checked(patched, affine, says):
    with pytest.raises(ValueError, match=f"affine: .*{says}"):
        read_ct(patched(76, "<f", 1.0), affine=affine)


@pytest.mark.parametrize("rescale", [(1,), (0, -1024), (float("nan"), 0)])
def test_a_callers_rescale_is_checked(patched, rescale):
    with pytest.raises(ValueError, match=r"\(slope, intercept\) are needed, finite"):
        read_ct(patched(76, "<f", 1.0), rescale=rescale)


@pytest.mark.parametrize("name", ["CT.NII.GZ", "packed.nii", "plain.nii.gz"])
def test_the_content_counts_not_the_suffix(tmp_path, patched, name):
    content = patched(76, "<f", 1.0).read_bytes()
    (tmp_path / name).write_bytes(gzip.decompress(content) if name.startswith("plain") else content)
    np.testing.assert_array_equal(read_ct(tmp_path / name).hu, read_ct(tmp_path / "ct.nii.gz").hu)


NRRD = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 4 5 6\nendian: little\nencoding: raw\n"
MHA = b"ObjectType = Image\nNDims = 3\nDimSize = 4 5 6\nElementType = MET_SHORT\n"
DIRECTIONS = b"space: left-posterior-superior\nspace directions: (5,0,0) (0,4,0) (0,0,3)\n"


def write_text(path, *lines):
    end = b"\n" if path.suffix == ".nrrd" else b"ElementDataFile = LOCAL\n"
    path.write_bytes((NRRD if path.suffix == ".nrrd" else MHA) + b"".join(lines) + end + HU.tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "line", "says"),
    [
        ("ct.nrrd", b"", "no voxel spacing"),
        ("ct.nrrd", b"spacings: nan 4 3\n", "no voxel spacing"),
        ("ct.nrrd", DIRECTIONS + b'space units: "um" "um" "um"\n', "in um instead of mm"),
        ("ct.nrrd", DIRECTIONS.replace(b"(5,0,0)", b"none"), "spacing|cannot be read"),
        ("ct.mha", b"", "no voxel spacing"),
        ("ct.mha", b"ElementSpacing = 0 4 3\n", "cannot be read .*[Ss]pacing"),
        ("ct.mha", b"ElementSpacing = 5 4 3\nModality = MET_MOD_MR\n", "says MET_MOD_MR; a CT is needed"),
        ("ct.mha", b"ElementSpacing = 5 4 3\nElementNumberOfChannels = 2\n", "cannot be read|one channel"),
    ],
)
def test_metaimage_and_nrrd_that_do_not_say_enough(tmp_path, name, line, says):
    with pytest.raises(ValueError, match=says) as error:
        read_ct(write_text(tmp_path / name, line))
    assert str(error.value).startswith(str(tmp_path / name)) and "\n" not in str(error.value)


def test_metaimage_and_nrrd_without_an_orientation_are_read_and_told(tmp_path):
    for name, line in (("ct.nrrd", b"spacings: 5 4 3\n"), ("ct.mha", b"ElementSpacing = 5 4 3\n")):
        with pytest.warns(CTWarning, match="the header gives no orientation"):
            volume = read_ct(write_text(tmp_path / name, line))
        np.testing.assert_allclose(volume.spacing, [5, 4, 3])
    volume = read_ct(write_text(tmp_path / "told.nrrd", DIRECTIONS, b'space units: "mm" "mm" "mm"\n'))
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ()


def test_a_metaimages_intensity_function_counts(tmp_path):
    lines = b"ElementSpacing = 5 4 3\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    law = b"ElementToIntensityFunctionSlope = 0.5\nElementToIntensityFunctionOffset = -100\n"
    volume = read_ct(write_text(tmp_path / "ct.mha", lines, law))
    np.testing.assert_array_equal(volume.hu, np.rint(HU / 2 - 100))


def test_labels_stored_in_another_order_or_scaled(tmp_path):
    ct = tmp_path / "ct.nii.gz"
    nibabel.Nifti1Image(HU.T, MM).to_filename(ct)
    labels = np.zeros(HU.shape, np.uint8)
    labels[1:3, 2:4, :2] = 69
    plain = nibabel.Nifti1Image(labels.T, MM)
    plain.to_filename(tmp_path / "plain.nii.gz")
    right = read_ct(ct, tmp_path / "plain.nii.gz").labels
    assert (right == 69).sum() == 8
    nibabel.as_closest_canonical(plain).to_filename(tmp_path / "ras.nii.gz")
    np.testing.assert_array_equal(read_ct(ct, tmp_path / "ras.nii.gz").labels, right)
    turned = nibabel.orientations.axcodes2ornt(("S", "L", "A"))
    plain.as_reoriented(turned).to_filename(tmp_path / "turned.nii.gz")
    np.testing.assert_array_equal(read_ct(ct, tmp_path / "turned.nii.gz").labels, right)
    plain.header.set_slope_inter(2, 0)
    plain.to_filename(tmp_path / "scaled.nii.gz")
    raw = bytearray(gzip.decompress((tmp_path / "scaled.nii.gz").read_bytes()))
    raw[112:120] = struct.pack("<2f", 2, 0)
    raw[352:] = labels.tobytes()
    (tmp_path / "scaled.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    np.testing.assert_array_equal(read_ct(ct, tmp_path / "scaled.nii.gz").labels, 2 * right)
    moved = MM.copy()
    moved[0, 3] += 5
    nibabel.Nifti1Image(labels.T, moved).to_filename(tmp_path / "moved.nii.gz")
    with pytest.raises(ValueError, match="another grid"):
        read_ct(ct, tmp_path / "moved.nii.gz")


def test_structures_are_read_strictly(tmp_path):
    ct, table = tmp_path / "ct.nii.gz", tmp_path / "structures.csv"
    nibabel.Nifti1Image(HU.T, MM).to_filename(ct)
    nibabel.Nifti1Image(np.ones(HU.shape, np.uint8).T, MM).to_filename(tmp_path / "labels.nii.gz")
    for text, says in (
        ("id,structure\none,heart\n", "line 2: id 'one'"),
        ("id,structure\n1,heart\n1,liver\n", "line 3: id '1'"),
        ("id,name\n1,heart\n", "lacks the column structure"),
        ('id,structure\n1,"heart\n', "never closed"),
    ):
        table.write_text(text)
        with pytest.raises(ValueError, match=says):
            read_ct(ct, tmp_path / "labels.nii.gz")
