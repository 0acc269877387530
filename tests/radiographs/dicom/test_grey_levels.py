"""DICOM's grey-scale pipeline where real files deviate: High Bit, tables of 8 and 12 bits, windows that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from radiographs import Radiograph, read_radiograph
from radiographs.dicom.grey_levels import look_up

Write = Callable[..., Path]
RAMP = np.linspace(0, 4095, 7 * 9).round().astype(np.uint16).reshape(7, 9)
CURVE = np.rint(np.sqrt(np.arange(4096) / 4095) * 255).astype(np.uint8)


def lut(data: Any, entries: int, first: int, bits: int, vr: str = "OW") -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [entries, first, bits])
    item.add_new("LUTData", vr, data)
    return [item]


def shown(path: Path) -> np.ndarray:
    """Brightness from 0 to 1."""
    return (read_radiograph(path).pixels.astype(np.float64) + 1) / 2


def said(image: Radiograph) -> str:
    return "; ".join(image.warnings)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 13), (10, 15), (9, 15)])
def test_high_bit_says_where_the_value_lies(write_dicom: Write, stored: int, high: int, compressed: bool) -> None:
    levels = RAMP >> (12 - stored)
    path = write_dicom("a.dcm", levels << (high + 1 - stored), stored, HighBit=high)
    if compressed:
        dataset = dcmread(path)
        dataset.compress(RLELossless)
        dataset.save_as(path)
    np.testing.assert_allclose(shown(path), levels / (2**stored - 1), atol=1e-6)


def test_high_bit_of_signed_values(write_dicom: Write) -> None:
    levels = np.array([[-2048, -1, 0, 2047]], np.int16)
    path = write_dicom("a.dcm", levels << 4, 12, HighBit=15)
    np.testing.assert_allclose(shown(path), (levels + 2048) / 4095, atol=1e-6)


def test_high_bit_that_is_wrong(write_dicom: Write) -> None:
    """All values in the lower bits: a header that says otherwise is not followed, nor is one that cannot be."""
    path = write_dicom("a.dcm", RAMP, 12, HighBit=15)
    np.testing.assert_allclose(shown(path), RAMP / 4095, atol=1e-6)
    assert "High Bit 15 is wrong" in said(read_radiograph(path))
    with pytest.raises(ValueError, match="High Bit 7 and Bits Stored 12"):
        read_radiograph(write_dicom("b.dcm", RAMP, 12, HighBit=7))


def test_values_that_bits_stored_does_not_allow_are_refused_not_wrapped(write_dicom: Write) -> None:
    with pytest.raises(ValueError, match="values up to 4095 where Bits Stored 8 allows 255"):
        read_radiograph(write_dicom("a.dcm", RAMP, 8))
    overlay = RAMP | (np.uint16(1) << 15)  # an overlay in the unused bits, as files before 2004 have it
    path = write_dicom("b.dcm", overlay, 12)
    dataset = dcmread(path)
    dataset.add_new(0x60000102, "US", 15)
    dataset.save_as(path)
    np.testing.assert_allclose(shown(path), RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize("first", [0, 100])
@pytest.mark.parametrize(
    ("data", "vr"),
    [
        (CURVE.tobytes(), "OW"),
        (CURVE.astype("<u2").tobytes(), "OW"),
        (CURVE.astype(int).tolist(), "US"),
        (CURVE.view("<u2").astype(int).tolist(), "US"),  # two bytes a word
    ],
)
def test_a_table_of_eight_bits_in_words_and_in_bytes(write_dicom: Write, data: Any, vr: str, first: int) -> None:
    path = write_dicom("a.dcm", RAMP, VOILUTSequence=lut(data, 4096, first, 8, vr))
    np.testing.assert_allclose(shown(path), CURVE[(RAMP.astype(int) - first).clip(0, 4095)] / 255, atol=1e-6)
    assert read_radiograph(path).bits == 8


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_a_modality_table_of_any_depth(write_dicom: Write, bits: int) -> None:
    table = np.linspace(2**bits - 1, 0, 4096).round().astype("<u2")
    item = lut(table.tobytes(), 4096, 0, bits)
    item[0].ModalityLUTType = "US"
    image = read_radiograph(write_dicom("a.dcm", RAMP, ModalityLUTSequence=item))
    np.testing.assert_allclose((image.pixels + 1) / 2, table[RAMP] / (2**bits - 1), atol=1e-6)
    assert image.bits == bits


@pytest.mark.parametrize("written", [64512, -1024])
def test_a_first_value_below_zero_whatever_its_vr(write_dicom: Write, written: int) -> None:
    table = np.rint(np.sqrt(np.arange(4096) / 4095) * 4095).astype("<u2")
    item = lut(table.tobytes(), 4096, 0, 12)
    item[0].add_new("LUTDescriptor", "SS" if written < 0 else "US", [4096, written, 12])
    rescale = {"RescaleSlope": 1, "RescaleIntercept": -1024}
    path = write_dicom("a.dcm", RAMP, VOILUTSequence=item, **rescale)
    np.testing.assert_allclose(shown(path), table[RAMP] / 4095, atol=1e-6)


def test_a_large_first_value_written_signed(write_dicom: Write) -> None:
    levels = np.array([[0, 40000, 40001, 65535]], np.uint16)
    item = lut([0, 700, 1023], 3, 0, 10, "US")
    item[0].add_new("LUTDescriptor", "SS", [3, 40000 - 65536, 10])
    path = write_dicom("a.dcm", levels, 16, VOILUTSequence=item)
    np.testing.assert_allclose(shown(path), np.array([[0, 0, 700, 1023]]) / 1023, atol=1e-6)


def test_a_table_whose_descriptor_is_wrong(write_dicom: Write) -> None:
    twelve = np.arange(4096).astype("<u2").tobytes()
    for bits in (8, 16):  # too few for what it holds, and more than it uses
        path = write_dicom(f"{bits}.dcm", RAMP, VOILUTSequence=lut(twelve, 4096, 0, bits))
        np.testing.assert_allclose(shown(path), RAMP / 4095, atol=1e-6)
    with pytest.raises(ValueError, match="LUT of 4096 entries with 100 bytes"):
        read_radiograph(write_dicom("short.dcm", RAMP, VOILUTSequence=lut(twelve[:100], 4096, 0, 12)))


def test_a_table_in_a_big_endian_file() -> None:
    table = np.arange(4095, -1, -1)
    item = lut(table.astype(">u2").tobytes(), 4096, 0, 12)[0]
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    values, bits = look_up(RAMP.astype(int), item, dataset, signed=False)
    np.testing.assert_array_equal(values, 4095 - RAMP.astype(int))
    assert bits == 12


@pytest.mark.parametrize("header", [{"RescaleSlope": 1, "RescaleIntercept": None}, {"RescaleSlope": None}])
def test_an_empty_rescale_is_none(write_dicom: Write, header: dict[str, Any]) -> None:
    np.testing.assert_allclose(shown(write_dicom("a.dcm", RAMP, **header)), RAMP / 4095, atol=1e-6)


@pytest.mark.parametrize(
    ("header", "inverted", "contradicts"),
    [
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "IDENTITY"}, False, False),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"}, True, False),
        ({"PhotometricInterpretation": "MONOCHROME2", "PresentationLUTShape": "INVERSE"}, True, True),
        ({"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"}, True, True),
    ],
)
def test_presentation_lut_shape(write_dicom: Write, header: dict[str, str], inverted: bool, contradicts: bool) -> None:
    path = write_dicom("a.dcm", RAMP, **header)
    np.testing.assert_allclose(shown(path), 1 - RAMP / 4095 if inverted else RAMP / 4095, atol=1e-6)
    assert ("contradict" in said(read_radiograph(path))) == contradicts


@pytest.mark.parametrize("width", [0, -5, 0.9])
def test_a_window_that_is_none_shows_the_whole_range_and_says_so(write_dicom: Write, width: float) -> None:
    image = read_radiograph(write_dicom("a.dcm", RAMP, WindowCenter=2048, WindowWidth=width))
    np.testing.assert_allclose((image.pixels + 1) / 2, RAMP / 4095, atol=1e-6)
    assert f"Window Width {width:g} is none" in said(image)


def test_narrow_windows_of_small_values_and_of_nothing(write_dicom: Write) -> None:
    rescale = {"RescaleSlope": "0.000244200244", "RescaleIntercept": 0}  # values from 0 to 1
    path = write_dicom("a.dcm", RAMP, WindowCenter=0.5, WindowWidth=0.5, **rescale)
    np.testing.assert_allclose(shown(path), ((RAMP / 4095 - 0.5) / 0.5 + 0.5).clip(0, 1), atol=1e-5)
    one = write_dicom("b.dcm", RAMP, WindowCenter=2048, WindowWidth=1)
    np.testing.assert_array_equal(shown(one), RAMP > 2047.5)  # a width of 1 is a threshold (C.11.2.1.2.1)
    nothing = read_radiograph(write_dicom("c.dcm", RAMP, WindowCenter=40000, WindowWidth=100))
    np.testing.assert_allclose((nothing.pixels + 1) / 2, RAMP / 4095, atol=1e-6)
    assert "show nothing" in said(nothing)


@pytest.mark.parametrize("function", ["LINEAR_EXACT", "SIGMOID", None])
def test_voi_functions(write_dicom: Write, function: str | None) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": function}
    linear = ((RAMP - 1999.5) / 999 + 0.5).clip(0, 1)
    exact = ((RAMP - 2000.0) / 1000 + 0.5).clip(0, 1)
    sigmoid = 1 / (1 + np.exp(-4 * (RAMP - 2000.0) / 1000))
    expected = {"LINEAR_EXACT": exact, "SIGMOID": sigmoid, None: linear}[function]
    np.testing.assert_allclose(shown(write_dicom("a.dcm", RAMP, **window)), expected, atol=1e-6)


def test_a_depth_that_is_not_said_is_the_one_in_use(write_dicom: Write) -> None:
    """Bits Stored 16 because the words have 16 bits; where Bits Stored says less, it is taken at its word."""
    for name, levels, bits, used in (
        ("ten", RAMP >> 2, 16, 10),
        ("signed", (RAMP >> 2).astype(np.int16), 16, 10),
        ("negative", RAMP.astype(np.int16) - 2048, 16, 12),
    ):
        image = read_radiograph(write_dicom(f"{name}.dcm", levels, bits))
        expected = (levels.astype(int) - min(0, levels.min())) / (2**used - 1)
        np.testing.assert_allclose((image.pixels + 1) / 2, expected, atol=1e-6)
        assert image.bits == used and f"use {used} of 16 bits" in said(image)
    dim = read_radiograph(write_dicom("dim.dcm", RAMP >> 3, 12))
    np.testing.assert_allclose((dim.pixels + 1) / 2, (RAMP >> 3) / 4095, atol=1e-6)
    assert not dim.warnings


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_at_the_border_is_black_and_inside_is_image(write_dicom: Write, photometric: str) -> None:
    levels = np.full((8, 8), 1000, np.uint16)
    levels[:, :2] = levels[3, 5] = 0
    header = {"PhotometricInterpretation": photometric, "PixelPaddingValue": 0}
    seen = shown(write_dicom("a.dcm", levels, **header))
    assert (seen[:, :2] == 0).all()
    assert seen[3, 5] == (photometric == "MONOCHROME1")


def test_pixels_that_are_not_square_are_told(write_dicom: Write) -> None:
    assert "not square (PixelSpacing 0.2 x 0.1)" in said(
        read_radiograph(write_dicom("a.dcm", RAMP, PixelSpacing=[0.2, 0.1]))
    )
    for spacing in ([0.1, 0.1], [0, 0], None):
        assert not read_radiograph(write_dicom("b.dcm", RAMP, PixelSpacing=spacing)).warnings


def test_padding_outside_of_bits_stored(write_dicom: Write) -> None:
    levels = np.pad(RAMP, 2, constant_values=63536)
    seen = shown(write_dicom("a.dcm", levels, PixelPaddingValue=63536))
    np.testing.assert_allclose(seen, np.pad(RAMP / 4095, 2), atol=1e-6)


def test_a_value_that_is_no_number_is_not_repeated_in_the_message(write_dicom: Write) -> None:
    path = write_dicom("a.dcm", RAMP, NumberOfFrames=1)
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00Xy"))
    with pytest.raises(ValueError, match="NumberOfFrames is missing, or no whole number") as error:
        read_radiograph(path)
    assert "Xy" not in str(error.value)


def test_headers_that_lack_something(write_dicom: Write) -> None:
    for name, header, words in (
        ("rows", {"Rows": 0}, "an image without pixels"),
        ("bits", {"BitsStored": None}, "BitsStored is missing"),
        ("lut", {"VOILUTSequence": [Dataset()]}, "a LUT without its descriptor"),
        ("photometric", {"PhotometricInterpretation": None}, "Photometric Interpretation is missing"),
        ("function", {"WindowCenter": 1, "WindowWidth": 9, "VOILUTFunction": "CUBIC"}, "VOI LUT Function 'CUBIC'"),
        ("slope", {"RescaleSlope": 0, "RescaleIntercept": 1}, "Rescale Slope is 0"),
    ):
        with pytest.raises(ValueError, match=rf"{name}\.dcm: {words}"):
            read_radiograph(write_dicom(f"{name}.dcm", RAMP, **header))
