"""What speaks against two images being a radiograph and its soft tissue."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from radiographs.pair_check import why_no_pair


def exposure(seed: int, side: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A radiograph and its soft tissue: walls, two lungs and vessels of a body of its own, and ribs in the first."""
    rng = np.random.default_rng(seed)
    soft = np.full((side, side), 0.4, np.float32)
    top, left = rng.integers(20, 50, 2)
    for first in (left, left + 70):
        soft[top : top + 120, first : first + 50] = -0.5
    texture = cv2.GaussianBlur(rng.normal(0, 1, soft.shape).astype(np.float32), (0, 0), 2)
    soft = cv2.GaussianBlur(soft, (0, 0), 3) + 0.5 * texture
    ribs = np.zeros_like(soft)
    for row in range(int(top), int(top) + 120, 20):
        ribs[row : row + 7, 20:180] = 0.15
    return soft + ribs, 0.7 * soft + 0.1


def test_a_pair_is_one_in_any_gain_and_offset() -> None:
    for seed in range(3):
        radiograph, soft = exposure(seed)
        assert why_no_pair(radiograph, soft) == why_no_pair(radiograph, 0.2 * soft - 0.6) == ""
        assert why_no_pair(radiograph, np.roll(soft, 1, axis=0)) == ""  # 2 mm


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (lambda soft: np.roll(soft, 6, axis=1), "lies 12 mm to the right and 0 mm"),
        (lambda soft: np.roll(soft, (-5, -3), axis=(0, 1)), "6 mm to the left and 10 mm above"),
        (lambda soft: exposure(7)[1], "shows other fine structures"),
        (lambda soft: cv2.rotate(soft, cv2.ROTATE_180), "shows other fine structures"),
        (lambda soft: -soft, "is one a negative"),
        (lambda soft: np.full_like(soft, 0.3), "soft tissue is of one grey level"),
        (lambda soft: 0.5 * exposure(0)[0] + 0.1, "the radiograph itself"),
    ],
)
def test_what_is_no_pair_is_said(spoilt, said: str) -> None:
    radiograph, soft = exposure(0)
    assert said in why_no_pair(radiograph, spoilt(soft))
