"""Any size and aspect onto a network's grid and back: scaled with its aspect kept and padded, never squashed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

BLACK = -1.0


@dataclass(frozen=True)
class Fit:
    """Where an image lies on the network's grid: its own (H, W), its scaled (h, w), and the corner (top, left)."""

    original: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]


def resize(pixels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) -> `shape`: area averages when it shrinks, cubic when it grows; pixel centres stay where they were."""
    if pixels.shape == tuple(shape):
        return pixels
    shrinks = shape[0] * shape[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def pad_to_multiple(pixels: np.ndarray, multiple: int, fill: float = BLACK) -> tuple[np.ndarray, tuple[int, int]]:
    """(H, W) padded evenly to sides that `multiple` divides; also the corner (top, left) where the image lies."""
    height, width = pixels.shape
    extra_rows, extra_columns = -height % multiple, -width % multiple
    top, left = extra_rows // 2, extra_columns // 2
    border = ((top, extra_rows - top), (left, extra_columns - left))
    return np.pad(pixels, border, constant_values=fill), (top, left)


def fit(pixels: np.ndarray, size: int, multiple: int | None = None) -> tuple[np.ndarray, Fit]:
    """Scale (H, W) so that its longer side is `size`, then pad with black to sides that `multiple` divides.

    multiple: default `size`, which gives a square (size, size).
    """
    height, width = pixels.shape
    scale = size / max(height, width)
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = resize(pixels, scaled).clip(-1, 1)
    padded, corner = pad_to_multiple(small, multiple or size)
    return padded, Fit((height, width), scaled, corner)


def unfit(pixels: np.ndarray, placed: Fit) -> np.ndarray:
    """Undo `fit`: cut the padding off and scale back to the original (H, W). Values are not clipped."""
    (top, left), (height, width) = placed.corner, placed.scaled
    return resize(np.ascontiguousarray(pixels[top : top + height, left : left + width]), placed.original)
