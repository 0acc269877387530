"""Pixel size from headers: which attribute counts, and what no chest radiograph can have."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom import Dataset

from radiographs import Radiograph
from radiographs.spacing import pixel_mm


def radiograph(side: int = 2000, **attributes: object) -> Radiograph:
    header = Dataset()
    for name, value in attributes.items():
        setattr(header, name, value)
    return Radiograph(np.zeros((side, side), np.float32), 12, "dicom", header)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.2]}, 0.2),
        ({"PixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.15, 0.15]}, 0.2),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "PixelSpacing": [0.15, 0.15],
                "PixelSpacingCalibrationType": "FIDUCIAL",
            },
            0.15,
        ),
        ({"ImagerPixelSpacing": [0.1, 0.4]}, 0.2),
        ({"ImagerPixelSpacing": [0, 0], "PixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [1, 1], "PixelSpacing": [0.15, 0.15]}, 0.15),  # 2 m: a header that was filled in
        ({"PixelSpacing": [1, 1]}, None),
        ({"PixelSpacing": []}, None),
        ({}, None),
    ],
)
def test_spacing(attributes: dict[str, object], expected: float | None) -> None:
    assert pixel_mm(radiograph(**attributes)) == (None if expected is None else pytest.approx(expected))


def test_a_picture_has_none() -> None:
    assert pixel_mm(Radiograph(np.zeros((8, 8), np.float32), 8, "png")) is None
