"""The fast PNG encoder against Pillow and OpenCV, which read what it wrote."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from radiographs.png import encode_png


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (64, 48)])
def test_both_readers_get_the_levels_back(dtype, shape):
    levels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)
    data = encode_png(levels, {"Description": "Research use only, 5 µm"})
    picture = Image.open(io.BytesIO(data))
    picture.verify()  # the checksums of all chunks
    picture = Image.open(io.BytesIO(data))
    np.testing.assert_array_equal(np.array(picture).astype(dtype), levels)
    assert picture.text == {"Description": "Research use only, 5 µm"}
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), levels)


def test_smooth_images_shrink():
    ramp = np.add.outer(np.arange(256, dtype=np.uint16) * 97, np.arange(256, dtype=np.uint16))
    assert len(encode_png(ramp, {})) < ramp.nbytes / 5
