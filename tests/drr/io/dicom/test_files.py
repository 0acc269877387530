"""Which files of a DICOM folder are read, one series of several, enhanced multi-frame files, files made by others."""

from __future__ import annotations

import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from drr import read_ct
from drr.io.dicom.files import read_image
from drr.io.dicom.slices import decoded_by_itk, read_slices
from drr.io.read import CTWarning

OTHERS = [Path(pydicom.__file__).parent / "data/test_files", Path(nibabel.__file__).parent]
NOT_FILES = (".py", ".pyc", ".pyi", ".so")
PLACES = [[10.0, 20.0, 5.0 * z] for z in range(6)]


@pytest.fixture(autouse=True)
def quiet():
    """Notes are looked at in `Volume.notes`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CTWarning)
        yield


def planes(shift=0):
    """HU (6, 8, 8), no two slices alike, air at the border."""
    hu = np.full((6, 8, 8), -1000)
    hu[:, 2:6, 2:6] = 10 * np.arange(96).reshape(6, 4, 4) + shift
    return hu


def test_order_copies_and_other_files(tmp_path, write_series):
    folder = write_series(tmp_path / "ct", planes()[::-1], PLACES[::-1])
    third = folder / "1_0003.dcm"
    (folder / "copy of 3.dcm").write_bytes(third.read_bytes())
    (folder / "._1_0003.dcm").write_bytes(b"\0\5\26\7" * 100)
    (folder / "DICOMDIR").write_bytes(third.read_bytes())
    (folder / "notes.txt").write_text("a note " * 100)
    (folder / "info").write_text("a note " * 100)
    (folder / "gone").symlink_to(tmp_path / "nowhere")
    volume = read_ct(folder)
    np.testing.assert_array_equal(volume.hu, planes())
    np.testing.assert_allclose(volume.affine, [[5, 0, 0, 10], [0, 5, 0, 20], [0, 0, 5, 0], [0, 0, 0, 1]])
    assert volume.notes == ("1 slice(s) that repeat another were left out",)


def test_files_without_a_preamble(tmp_path, write_series):
    folder = write_series(tmp_path / "ct", planes(), PLACES)
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        del data.file_meta
        data.preamble = None
        data.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[:4] == b"\x08\0\x08\0"
    np.testing.assert_array_equal(read_ct(folder).hu, planes())


def test_one_series_of_several(tmp_path, write_series):
    study = tmp_path / "study"
    for number in (2, 7):
        write_series(study / f"s{number}", planes(number), PLACES, number=number)

    def localizer(data, k):
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]

    write_series(study / "s1", planes(), PLACES, edit=localizer, number=1)
    write_series(study / "s3", planes(), PLACES, edit=lambda data, k: setattr(data, "Modality", "MR"), number=3)
    with pytest.raises(ValueError, match=r"2 DICOM series of CT.*series 2: CT, 6 image.*series 7.*--series"):
        read_ct(study)
    np.testing.assert_array_equal(read_ct(study, series=7).hu, planes(7))
    uid = str(read_image(study / "s2/2_0000.dcm").header.SeriesInstanceUID)
    np.testing.assert_array_equal(read_ct(study, series=uid).hu, planes(2))
    with pytest.raises(ValueError, match="no series with the number or UID 9; there are"):
        read_ct(study, series="9")
    with pytest.raises(ValueError, match="the modality is MR"):
        read_ct(study, series="3")
    with pytest.raises(ValueError, match="one slice"):
        read_ct(study / "s2/2_0000.dcm")
    (study / "s7").rename(tmp_path / "elsewhere")
    volume = read_ct(study)
    np.testing.assert_array_equal(volume.hu, planes(2))
    assert "series 1: CT of localizers" in volume.notes[0] and "series 3: MR, 6 image" in volume.notes[0]


def test_coloured_renderings_of_a_ct_are_left_out(tmp_path, write_series):
    def coloured(data, k):
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.PixelData = bytes(6 * 8 * 8)

    write_series(tmp_path / "ct", planes(), PLACES)
    write_series(tmp_path / "ct", planes(), PLACES, edit=coloured, number=2)
    volume = read_ct(tmp_path / "ct")
    np.testing.assert_array_equal(volume.hu, planes())
    assert volume.notes == ("left out: series 2: CT, 6 image(s)",)
    with pytest.raises(ValueError, match=r"3 samples a pixel \(colour\)"):
        read_ct(tmp_path / "ct", series=2)


def item(**attributes):
    data = pydicom.Dataset()
    for name, value in attributes.items():
        setattr(data, name, value)
    return data


def write_enhanced(path, edit=None):
    """An enhanced multi-frame CT, head first: places, spacing and rescale in functional groups."""
    from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian

    data = item(file_meta=pydicom.dataset.FileMetaDataset(), SOPClassUID=EnhancedCTImageStorage, SOPInstanceUID="1.2.4")
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality, data.SeriesNumber = "1.2.3", "1.2", "CT", 1
    data.NumberOfFrames, data.Rows, data.Columns = planes().shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=[5, 4], SliceThickness=5)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")],
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=[item(ImagePositionPatient=place)]) for place in PLACES[::-1]
    ]
    data.PixelData = (planes()[::-1] + 1024).astype("<u2").tobytes()
    if edit:
        edit(data)
    data.save_as(path, enforce_file_format=True)
    return path


def test_an_enhanced_multi_frame_ct(tmp_path):
    volume = read_ct(write_enhanced(tmp_path / "ct.dcm"))
    np.testing.assert_array_equal(volume.hu, planes())
    np.testing.assert_allclose(volume.affine, [[4, 0, 0, 10], [0, 5, 0, 20], [0, 0, 5, 0], [0, 0, 0, 1]])
    packed = write_enhanced(tmp_path / "rle.dcm", lambda data: data.compress(pydicom.uid.RLELossless))
    np.testing.assert_array_equal(read_ct(packed).hu, planes())

    def with_a_localizer(data):
        groups = data.PerFrameFunctionalGroupsSequence[5]
        groups.CTImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])]

    np.testing.assert_array_equal(read_ct(write_enhanced(tmp_path / "scout.dcm", with_a_localizer)).hu, planes()[1:])

    def nowhere(data):
        del data.PerFrameFunctionalGroupsSequence

    with pytest.raises(ValueError, match="6 of 6 slices have no Image Position"):
        read_ct(write_enhanced(tmp_path / "nowhere.dcm", nowhere))

    def own_rescale(data):
        del data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        for groups in data.PerFrameFunctionalGroupsSequence:
            values = item(RescaleSlope=1, RescaleIntercept=-1034, RescaleType="HU")
            groups.PixelValueTransformationSequence = [values]

    np.testing.assert_array_equal(read_ct(write_enhanced(tmp_path / "own.dcm", own_rescale)).hu, planes() - 10)


def test_a_series_of_pydicoms_jpeg_2000_is_read_as_itk_reads_it(tmp_path):
    for k in range(4):
        data = pydicom.dcmread(get_testdata_file("693_J2KI.dcm"))
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{k}"
        data.ImagePositionPatient = [0, 0, 2 * k]
        data.save_as(tmp_path / f"{k}.dcm")
    image = sitk.ReadImage([str(tmp_path / f"{k}.dcm") for k in range(4)])
    volume = read_ct(tmp_path)
    np.testing.assert_array_equal(volume.hu, np.maximum(sitk.GetArrayFromImage(image), -1024))  # padding of -3040
    np.testing.assert_allclose(volume.spacing, image.GetSpacing())


def test_a_ct_of_pydicoms_is_read_as_itk_reads_it():
    folder = OTHERS[0] / "dicomdirtests/98892001"
    names = sorted((folder / "CT5N").iterdir(), key=lambda p: pydicom.dcmread(p).ImagePositionPatient[2])
    image = sitk.ReadImage([str(name) for name in names])
    volume = read_ct(folder)  # the localizers lie in CT2N beside it
    np.testing.assert_array_equal(volume.hu, sitk.GetArrayFromImage(image))
    np.testing.assert_allclose(volume.affine[:3, 3], image.GetOrigin())
    np.testing.assert_allclose(volume.spacing, image.GetSpacing(), rtol=1e-4)


def test_itk_decodes_what_pydicom_has_no_decoder_for():
    for name in ("CT_small.dcm", "693_J2KI.dcm"):
        path = Path(get_testdata_file(name))
        np.testing.assert_array_equal(decoded_by_itk(read_slices([read_image(path)])[0]), pixel_array(path))


@pytest.mark.parametrize("root", OTHERS, ids=["pydicom", "nibabel"])
def test_each_file_of_others_is_refused_with_a_reason(root):
    """None of them is a whole CT by itself: single slices, MR, PET, dose, reports, tracts, damaged files."""
    paths = [path for path in sorted(root.rglob("*")) if path.is_file() and path.suffix not in NOT_FILES]
    assert len(paths) > 60
    for path in paths:
        with pytest.raises(ValueError) as error:
            read_ct(path)
        said = str(error.value)
        assert said.startswith(str(path)) and "\n" not in said and len(said) > len(str(path)) + 10, said


@pytest.mark.parametrize(
    ("folder", "says"),
    [
        (".", "3 DICOM series of CT in this folder"),
        ("dicomdirtests/77654033", r"slices are missing \(a step of 202\.5 mm where 1\.25 is usual\)"),
        ("dicomdirtests/98892003", r"the modality is MR \(7 image"),
        ("dicomdirtests/TINY_ALPHA", "no DICOM series"),
    ],
)
def test_folders_of_pydicoms(folder, says):
    with pytest.raises(ValueError, match=says):
        read_ct(OTHERS[0] / folder)
