"""The published formulas, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.legacy import bsr_one_sided, mse_published, pixel_distance_wrapping, psnr_wrapping


def flat(level: int) -> np.ndarray:
    return np.full((64, 64), level, np.uint8)


def test_psnr_wraps_as_published():
    # 10 - 210 = -200, which is 56 modulo 256; 56^2 = 3136, which is 64 modulo 256
    assert psnr_wrapping(flat(210), flat(10)) == pytest.approx(20 * math.log10(255 / math.sqrt(64)))
    # 16 levels apart the square is 256, which wraps to 0: a perfect score for a visible error
    assert psnr_wrapping(flat(26), flat(10)) == 100.0
    assert psnr_wrapping(flat(13), flat(10)) == pytest.approx(20 * math.log10(255 / 3))


def test_mse_does_not_wrap():
    assert mse_published(flat(210), flat(10)) == pytest.approx((200 / 255) ** 2)


def test_bsr_of_truth_and_of_the_radiograph():
    truth, radiograph = flat(100), flat(100)
    radiograph[:32] = 140  # bone on half of the image
    assert bsr_one_sided(truth, truth, radiograph) == pytest.approx(1)
    # after the shift by its mean (20) the other half lacks 20 where the bone is 40 on half of the image: 1 - 1/4
    assert bsr_one_sided(radiograph, truth, radiograph) == pytest.approx(0.75, abs=2e-3)  # the edge is resized


def test_pixel_distance_wraps():
    assert pixel_distance_wrapping(flat(10), flat(11)) == pytest.approx(255)
    assert pixel_distance_wrapping(flat(11), flat(10)) == pytest.approx(1)
