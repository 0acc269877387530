"""DICOM: the grey-scale pipeline against values worked out by hand, and the derived image."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, generate_uid

from radiographs import read_radiograph, to_levels, write_radiograph
from radiographs.io import radiograph_size

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"
SECRETS = ("Doe^Jane", "ID-4711", "19610203", "ACC-99", "Dr^Who", "St. Elsewhere", "20240506")


def make_dicom(path: Path, levels: np.ndarray, bits: int = 12, **attributes: Any) -> Path:
    """A digital radiograph with an identity, and the attributes given."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = DIGITAL_XRAY, generate_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = SECRETS[:3]
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.InstitutionName = SECRETS[3:6]
    dataset.StudyDate = SECRETS[6]
    dataset.add_new(0x00091001, "LO", SECRETS[0])  # a private attribute
    dataset.Modality, dataset.ViewPosition, dataset.ImagerPixelSpacing = "DX", "PA", [0.143, 0.143]
    dataset.Rows, dataset.Columns = levels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = levels.itemsize * 8, bits, bits - 1
    dataset.PixelRepresentation = int(levels.dtype.kind == "i")
    dataset.add_new("PixelData", "OW", levels.tobytes())
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset.save_as(path, enforce_file_format=True)
    return path


def ramp(bits: int = 12) -> np.ndarray:
    return np.linspace(0, 2**bits - 1, 7 * 9).round().astype(np.uint16).reshape(7, 9)


def table(values: list[int], first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_monochrome1_is_monochrome2_turned(tmp_path: Path) -> None:
    two = read_radiograph(make_dicom(tmp_path / "2.dcm", ramp()))
    one = read_radiograph(make_dicom(tmp_path / "1.dcm", ramp(), PhotometricInterpretation="MONOCHROME1"))
    assert (two.format, two.bits, two.pixels.shape) == ("dicom", 12, (7, 9))
    np.testing.assert_array_equal(one.pixels, -two.pixels)
    np.testing.assert_allclose(two.pixels, ramp() / 4095 * 2 - 1, atol=1e-6)


def test_window_is_linear_as_in_the_standard(tmp_path: Path) -> None:
    levels = np.array([[0, 999, 1000, 1500, 2999, 3000, 4095]], np.uint16)
    path = make_dicom(tmp_path / "a.dcm", levels, WindowCenter=2000, WindowWidth=2000)
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5), 0 up to c - 0.5 - (w - 1) / 2 and 1 above the other end
    expected = (((levels - 1999.5) / 1999) + 0.5).clip(0, 1) * 2 - 1
    np.testing.assert_allclose(read_radiograph(path).pixels, expected, atol=1e-6)
    whole = make_dicom(tmp_path / "b.dcm", ramp(), WindowCenter=2048, WindowWidth=4096)
    np.testing.assert_array_equal(to_levels(read_radiograph(whole).pixels, 12), ramp())


@pytest.mark.parametrize(("slope", "turned"), [(2.0, False), (-2.0, True)])
def test_rescale_comes_before_the_window(tmp_path: Path, slope: float, turned: bool) -> None:
    levels = np.array([[0, 1000, 2000, 3000, 4095]], np.uint16)
    only = make_dicom(tmp_path / "a.dcm", levels, RescaleSlope=slope, RescaleIntercept=-500)
    unit = levels / 4095 * 2 - 1
    np.testing.assert_allclose(read_radiograph(only).pixels, -unit if turned else unit, atol=1e-6)
    window = {"WindowCenter": slope * 2000 - 500 + 0.5, "WindowWidth": 4001}
    both = make_dicom(tmp_path / "b.dcm", levels, RescaleSlope=slope, RescaleIntercept=-500, **window)
    expected = np.array([[-1, -1, 0, 1, 1]])
    np.testing.assert_allclose(read_radiograph(both).pixels, -expected if turned else expected, atol=1e-6)


def test_voi_table_goes_before_the_window_and_gives_the_depth(tmp_path: Path) -> None:
    levels = np.array([[0, 99, 100, 101, 102, 4095]], np.uint16)
    voi = {"VOILUTSequence": [table([0, 512, 1023], first=100, bits=10)], "WindowCenter": 10, "WindowWidth": 10}
    image = read_radiograph(make_dicom(tmp_path / "a.dcm", levels, **voi))
    assert image.bits == 10
    np.testing.assert_array_equal(to_levels(image.pixels, 10), [[0, 0, 0, 512, 1023, 1023]])
    rescaled = read_radiograph(make_dicom(tmp_path / "b.dcm", levels, RescaleSlope=1, RescaleIntercept=-1, **voi))
    np.testing.assert_array_equal(to_levels(rescaled.pixels, 10), [[0, 0, 0, 0, 512, 1023]])


def test_modality_table(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 2, 9]], np.uint16)
    lut = table([65535, 300, 0], first=0, bits=16)
    lut.ModalityLUTType = "US"
    image = read_radiograph(make_dicom(tmp_path / "a.dcm", levels, ModalityLUTSequence=[lut]))
    np.testing.assert_array_equal(to_levels(image.pixels, 16), [[65535, 300, 0, 0]])


def test_signed_levels(tmp_path: Path) -> None:
    levels = np.array([[-2048, 0, 2047]], np.int16)
    image = read_radiograph(make_dicom(tmp_path / "a.dcm", levels))
    np.testing.assert_array_equal(to_levels(image.pixels, 12), [[0, 2048, 4095]])


def test_derived_image_keeps_pixels_and_loses_the_identity(tmp_path: Path) -> None:
    source = read_radiograph(make_dicom(tmp_path / "a.dcm", ramp(), PhotometricInterpretation="MONOCHROME1"))
    write_radiograph(tmp_path / "b.dcm", source.pixels, source.bits, source=source, description="Bones suppressed")
    again, derived, original = (
        read_radiograph(tmp_path / "b.dcm"),
        dcmread(tmp_path / "b.dcm"),
        dcmread(tmp_path / "a.dcm"),
    )
    np.testing.assert_array_equal(to_levels(again.pixels, 12), 4095 - ramp())
    assert radiograph_size(tmp_path / "b.dcm") == (7, 9)
    assert derived.ImageType == ["DERIVED", "SECONDARY"] and derived.BitsStored == 12
    assert derived.DerivationDescription == "Research use only. Bones suppressed"
    assert derived.SourceImageSequence[0].ReferencedSOPClassUID == DIGITAL_XRAY
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert derived[keyword].value.is_valid and derived[keyword].value != original[keyword].value
    assert (derived.ViewPosition, derived.ImagerPixelSpacing) == ("PA", [0.143, 0.143])
    content = (tmp_path / "b.dcm").read_bytes()
    uids = (original.SOPInstanceUID, original.StudyInstanceUID, original.SeriesInstanceUID)
    assert not [secret for secret in (*SECRETS, *uids) if secret.encode() in content]


def test_keep_identity_keeps_patient_and_study(tmp_path: Path) -> None:
    source = read_radiograph(make_dicom(tmp_path / "a.dcm", ramp()))
    write_radiograph(tmp_path / "b.dcm", source.pixels, 12, source=source, keep_identity=True)
    derived, original = dcmread(tmp_path / "b.dcm"), dcmread(tmp_path / "a.dcm")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert derived[keyword].value == original[keyword].value
    assert derived.SOPInstanceUID != original.SOPInstanceUID
    assert derived.SourceImageSequence[0].ReferencedSOPInstanceUID == original.SOPInstanceUID
    assert "PatientIdentityRemoved" not in derived and "InstitutionName" not in derived


def test_the_same_image_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    source = read_radiograph(make_dicom(tmp_path / "a.dcm", ramp()))
    for name, pixels in (("b", source.pixels), ("c", source.pixels), ("d", -source.pixels)):
        write_radiograph(tmp_path / f"{name}.dcm", pixels, 12, source=source)
    assert (tmp_path / "b.dcm").read_bytes() == (tmp_path / "c.dcm").read_bytes()
    assert dcmread(tmp_path / "b.dcm").SOPInstanceUID != dcmread(tmp_path / "d.dcm").SOPInstanceUID


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs the validator dciodvfy (dicom3tools)")
@pytest.mark.parametrize("keep_identity", [False, True])
def test_derived_images_pass_a_validator(tmp_path: Path, keep_identity: bool) -> None:
    source = read_radiograph(make_dicom(tmp_path / "a.dcm", ramp(), PixelSpacing=[0, 0]))
    chest = read_radiograph(make_dicom(tmp_path / "a.dcm", ramp(), BodyPartExamined="CHEST"))
    for name, origin, bits in (("b", source, 12), ("c", None, 8), ("d", chest, 12)):
        path = tmp_path / f"{name}.dcm"
        write_radiograph(path, source.pixels, bits, source=origin, keep_identity=keep_identity)
        report = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True).stderr
        assert "SCImage" in report and "Error" not in report, report


def test_jpeg_2000_is_decoded(tmp_path: Path) -> None:
    pytest.importorskip("openjpeg", reason="JPEG 2000 needs the dicom extra")
    levels = np.resize(ramp(), (65, 67))
    dataset = dcmread(make_dicom(tmp_path / "a.dcm", levels))
    dataset.compress(JPEG2000Lossless)
    dataset.save_as(tmp_path / "b.dcm")
    np.testing.assert_array_equal(to_levels(read_radiograph(tmp_path / "b.dcm").pixels, 12), levels)


def test_a_missing_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders import JPEGLSLosslessDecoder

    dataset = dcmread(make_dicom(tmp_path / "a.dcm", ramp()))
    dataset.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.save_as(tmp_path / "b.dcm")
    monkeypatch.setattr(JPEGLSLosslessDecoder, "_available", {})
    with pytest.raises(ValueError, match=r"JPEG-LS.*radiolucent\[dicom\]"):
        read_radiograph(tmp_path / "b.dcm")


def test_what_is_not_one_grey_image_is_refused(tmp_path: Path) -> None:
    colour = {"Columns": 4, "SamplesPerPixel": 3, "PlanarConfiguration": 0, "PhotometricInterpretation": "RGB"}
    with pytest.raises(ValueError, match="3 channels"):
        read_radiograph(make_dicom(tmp_path / "a.dcm", np.zeros((4, 12), np.uint8), 8, **colour))
    with pytest.raises(ValueError, match="2 frames"):
        read_radiograph(make_dicom(tmp_path / "b.dcm", np.zeros((4, 4), np.uint16), Rows=2, NumberOfFrames=2))
    dataset = dcmread(tmp_path / "b.dcm")
    del dataset.PixelData
    dataset.save_as(tmp_path / "c.dcm")
    with pytest.raises(ValueError, match="without an image"):
        read_radiograph(tmp_path / "c.dcm")
    whole = make_dicom(tmp_path / "d.dcm", ramp()).read_bytes()
    (tmp_path / "e.dcm").write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"e\.dcm"):
        read_radiograph(tmp_path / "e.dcm")
