"""The largest square in an image's middle, scaled: the aspect stays, and what lies beyond the square is lost."""

from __future__ import annotations

import numpy as np

from radiographs.letterbox import resize


def centre_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W) in [-1, 1] -> (size, size); of an odd surplus the pixel more is cut at the lower or right side."""
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return resize(square, (size, size)).clip(-1, 1)
