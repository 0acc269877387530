"""Files that others made: pydicom's test files and pictures of installed packages, through `read_radiograph`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom import dcmread

from radiographs import read_radiograph
from radiographs.io import radiograph_size

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
CODE = ("Error:", "object has no attribute", "invalid literal", "NoneType", "Traceback", "unpack")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about its own damaged files
        yield


def read_all() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    read, refused = {}, {}
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        name = path.relative_to(FOLDER).as_posix()
        try:
            image = read_radiograph(path)
        except ValueError as error:
            refused[name] = str(error).replace(str(path), "FILE")
        else:
            assert image.pixels.dtype == np.float32 and np.isfinite(image.pixels).all(), name
            assert -1 <= image.pixels.min() <= image.pixels.max() <= 1 and 1 <= image.bits <= 16, name
            assert image.pixels.shape == radiograph_size(path), name
            read[name] = image.pixels
    return read, refused


def test_every_test_file_of_pydicom_is_read_or_refused_in_words() -> None:
    read, refused = read_all()
    assert len(read) >= 40 and len(refused) >= 60
    for name, reason in refused.items():
        assert reason.startswith("FILE: ") and len(reason) < 400 and "\n" not in reason, (name, reason)
        assert not [word for word in CODE if word in reason], (name, reason)
    for name, words in {
        "rtplan.dcm": "without an image (RTPLAN)",
        "reportsi.dcm": "without an image (SR)",
        "dicomdirtests/DICOMDIR": "the index of a medium",
        "rtdose.dcm": "15 frames",
        "examples_rgb_color.dcm": "3 channels (RGB)",
        "examples_palette.dcm": "PALETTE COLOR",
        "MR_truncated.dcm": "less than expected",
        "badVR.dcm": "NumberOfFrames",
        "JPEG-lossy.dcm": "'JPEG Extended (Process 2 and 4)' data are damaged",
        "README.txt": "neither PNG, TIFF, JPEG nor DICOM",
    }.items():
        assert words in refused[name], refused[name]


def test_one_image_in_every_encoding_is_the_same_image() -> None:
    """pydicom's MR_small in seven transfer syntaxes, and its window by the standard's formula."""
    names = ["bigendian", "expb", "implicit", "RLE", "padded"]
    levels = dcmread(FOLDER / "MR_small.dcm")
    centre, width = float(levels.WindowCenter), float(levels.WindowWidth)
    expected = (((levels.pixel_array - (centre - 0.5)) / (width - 1)) + 0.5).clip(0, 1) * 2 - 1
    for path in [FOLDER / "MR_small.dcm", *(FOLDER / f"MR_small_{name}.dcm" for name in names)]:
        np.testing.assert_allclose(read_radiograph(path).pixels, expected, atol=1e-5)
    pytest.importorskip("openjpeg", reason="JPEG 2000 needs the dicom extra")
    for name in ("jp2klossless", "jpeg_ls_lossless"):
        np.testing.assert_allclose(read_radiograph(FOLDER / f"MR_small_{name}.dcm").pixels, expected, atol=1e-5)


def test_a_header_that_calls_it_no_radiograph_is_told() -> None:
    assert "Modality MR: a slice of an MRI, no radiograph" in read_radiograph(FOLDER / "MR_small.dcm").warnings
    small = read_radiograph(FOLDER / "CT_small.dcm")  # 12 bits in 16, no window, signed
    assert small.bits == 12 and "use 12 of 16 bits" in small.warnings[0]
    stored = dcmread(FOLDER / "CT_small.dcm").pixel_array.astype(float)
    np.testing.assert_allclose((small.pixels + 1) / 2, stored / 4095, atol=1e-6)


def test_pictures_of_other_packages() -> None:
    """Grey ones have OpenCV's levels; colour and others are refused in words."""
    skimage = pytest.importorskip("skimage", reason="the evaluation extra brings scikit-image")
    folder, grey, refused = Path(skimage.__file__).parent / "data", [], {}
    for path in sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg", ".tif")):
        try:
            image = read_radiograph(path)
        except ValueError as error:
            refused[path.name] = str(error)
            continue
        levels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image.bits == 8 and image.format != "jpeg":
            np.testing.assert_array_equal(np.rint((image.pixels + 1) * 127.5), levels)
        assert radiograph_size(path) == levels.shape
        grey.append(path.name)
    assert {"camera.png", "moon.png", "page.png", "text.png"} <= set(grey)
    assert "channels that differ" in refused["astronaut.png"] and "2 pages" in refused["multipage.tif"]
    assert not [reason for reason in refused.values() if "Error" in reason]
