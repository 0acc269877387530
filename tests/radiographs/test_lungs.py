"""The plain lung mask: arms are no lungs, grey lungs are found, the rim is taken off, mm from the lungs' height."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from radiographs.lungs import inner_lungs, lung_mask, pixel_mm_from_lungs

SIDE = 256


def ellipses(centres, radii) -> np.ndarray:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    return np.any([((x - cx) / radii[0]) ** 2 + ((y - cy) / radii[1]) ** 2 < 1 for cx, cy in centres], axis=0)


def portable() -> tuple[np.ndarray, np.ndarray]:
    """Grey lungs in a bright chest, and between chest and arms dark air, which reaches the lower border alone."""
    pixels = np.full((SIDE, SIDE), 0.5, np.float32)
    lungs = ellipses([(0.35, 0.42), (0.65, 0.42)], (0.09, 0.26))
    pixels[lungs] = 0.25
    for left in (0.07, 0.86):
        pixels[int(0.45 * SIDE) :, int(left * SIDE) : int((left + 0.07) * SIDE)] = -0.8
    texture = np.random.default_rng(0).normal(0, 0.02, pixels.shape).astype(np.float32)
    return cv2.GaussianBlur(pixels, (0, 0), 2) + texture, lungs


def test_dark_air_beside_the_arms_is_not_taken_for_lungs():
    pixels, lungs = portable()
    mask = lung_mask(pixels)
    assert 2 * (mask & lungs).sum() / (mask.sum() + lungs.sum()) > 0.85


def test_two_arms_without_lungs_are_refused():
    pixels, lungs = portable()
    pixels[cv2.dilate(lungs.astype(np.uint8), np.ones((15, 15))) > 0] = 0.5
    with pytest.raises(ValueError, match="where lungs were expected"):
        lung_mask(pixels)


def test_inner_lungs_lack_a_rim_of_four_pixels_in_512():
    pixels = cv2.resize(portable()[0], (512, 512), interpolation=cv2.INTER_LINEAR)
    whole, inner = lung_mask(pixels), inner_lungs(pixels)
    expected = cv2.distanceTransform(whole.astype(np.uint8), cv2.DIST_C, 3) > 4
    np.testing.assert_array_equal(inner, expected)


def test_mm_from_the_height_of_the_taller_lung():
    mask = np.zeros((512, 512), bool)
    mask[100:400, 100:200] = True
    mask[200:300, 300:400] = True
    assert pixel_mm_from_lungs(mask) == pytest.approx(240 / 300)
    mask[100:400] = mask[:100] = False
    mask[250:300, 100:200] = True
    assert pixel_mm_from_lungs(mask) == pytest.approx(430 / 512)  # no cassette is larger
    with pytest.raises(ValueError, match="empty"):
        pixel_mm_from_lungs(np.zeros((64, 64), bool))
