"""What is no frontal chest radiograph, on drawn pictures; on renderings see tests/benchmarks/test_suitability.py."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from radiographs.suitability import assess, measure


def chest(height: int = 400, width: int = 360) -> np.ndarray:
    """Two dark lungs, a bright middle and abdomen, air above the shoulders and beside the body."""
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width])[:, None, None]
    lungs = np.minimum(*(((x - c) / 0.14) ** 2 + ((y - 0.42) / 0.3) ** 2 for c in (0.31, 0.69)))
    pixels = np.where(lungs < 1, -0.5, 0.3) + 0.4 * (np.abs(x - 0.5) < 0.06) + 0.2 * (y > 0.75)
    pixels[np.abs(x - 0.5) > 0.3 + 0.17 * np.minimum(1, y / 0.3) + 0.04 * y] = -0.95
    noise = np.random.default_rng(0).normal(0, 0.03, pixels.shape)
    return (cv2.GaussianBlur(pixels, (0, 0), 5) + noise).clip(-1, 1).astype(np.float32)


def said(pixels: np.ndarray) -> str:
    return " ".join(assess(pixels.astype(np.float32)).warnings)


def test_a_chest_is_fine_whatever_its_size_exposure_and_frame() -> None:
    for pixels in (chest(), chest(2000, 1500), chest(120, 100), chest() * 0.3 + 0.2, np.pad(chest(), 50)):
        found = assess(pixels.astype(np.float32))
        assert found.warnings == () and not found.inverted
        turned = assess(-pixels.astype(np.float32))
        assert turned.inverted and turned.warnings == ()


def test_the_display_does_not_matter() -> None:
    """Measures are of ranks: any rising curve gives the same, and a negative the exchanged ones."""
    one, curved, negative = (measure(image) for image in (chest(256, 230), chest(256, 230) ** 3, -chest(256, 230)))
    assert one.frontal == pytest.approx(curved.frontal, abs=0.05)
    assert (negative.frontal, negative.negative) == pytest.approx((one.negative, one.frontal), abs=1e-3)
    assert negative.sides == pytest.approx(-one.sides, abs=1e-3)


def test_a_chest_on_its_side() -> None:
    for turns in (1, 3):
        assert "lies on its side" in said(np.rot90(chest(), turns))


def test_what_is_no_anatomy() -> None:
    rng = np.random.default_rng(0)
    page = np.full((500, 400), 255, np.uint8)
    for line in range(20):
        cv2.putText(page, "Lorem ipsum dolor sit amet", (10, 30 + 23 * line), 0, 0.6, 0, 1)
    assert "nothing to see" in said(np.full((300, 300), 0.2))
    assert "black and white" in said(page / 127.5 - 1)
    assert "noise" in said(rng.uniform(-1, 1, (300, 300)))
    assert "no frontal chest" in said(np.linspace(-1, 1, 90000).reshape(300, 300))


def test_a_small_part_of_the_range() -> None:
    assert "small part of the range" in said(chest() * 0.05 - 0.9)
    assert "small part" not in said(chest() * 0.4 - 0.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3, 2), (40, 9), (9, 4000)])
def test_any_size_is_taken(shape: tuple[int, int]) -> None:
    assert not assess(np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)).inverted
