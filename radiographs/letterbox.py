"""Any size and aspect onto a network's grid and back: scaled with its aspect kept and padded, never squashed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float

BLACK = -1.0


@dataclass(frozen=True)
class Fit:
    """Where an image lies on the network's grid.

    Attributes:
        original: Its own (H, W).
        scaled: Its (h, w) on the grid.
        corner: Its upper left corner (top, left) on the grid.
    """

    original: tuple[int, int]
    scaled: tuple[int, int]
    corner: tuple[int, int]


def resize(pixels: Float[np.ndarray, "height width"], shape: tuple[int, int]) -> Float[np.ndarray, "rows columns"]:
    """Resize an image; pixel centres stay where they were.

    Args:
        pixels: (H, W).
        shape: (h, w).

    Returns:
        (h, w): area averages if it shrinks, cubic if it grows.
    """
    if pixels.shape == tuple(shape):
        return pixels
    shrinks = shape[0] * shape[1] < pixels.shape[0] * pixels.shape[1]
    return cv2.resize(pixels, (shape[1], shape[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def pad_to_multiple(
    pixels: Float[np.ndarray, "height width"], multiple: int, fill: float = BLACK
) -> tuple[Float[np.ndarray, "rows columns"], tuple[int, int]]:
    """Pad an image evenly.

    Args:
        pixels: (H, W).
        multiple: What both sides will be divisible by.
        fill: Grey of the padding.

    Returns:
        The padded image, and the corner (top, left) where the image lies.
    """
    height, width = pixels.shape
    extra_rows, extra_columns = -height % multiple, -width % multiple
    top, left = extra_rows // 2, extra_columns // 2
    border = ((top, extra_rows - top), (left, extra_columns - left))
    return np.pad(pixels, border, constant_values=fill), (top, left)


def fit(
    pixels: Float[np.ndarray, "height width"], size: int, multiple: int | None = None
) -> tuple[Float[np.ndarray, "rows columns"], Fit]:
    """Scale an image so that its longer side has a given length, then pad it with black.

    Args:
        pixels: (H, W) in [-1, 1].
        size: Longer side in pixels.
        multiple: What both sides will be divisible by; None: `size`, which gives a square (size, size).

    Returns:
        The image on the grid, and where it lies, for `unfit`.

    Example:
        >>> placed = fit(np.zeros((100, 50), np.float32), 64)
        >>> placed[0].shape, placed[1].scaled
        ((64, 64), (64, 32))
    """
    height, width = pixels.shape
    scale = size / max(height, width)
    scaled = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = resize(pixels, scaled).clip(-1, 1)
    padded, corner = pad_to_multiple(small, multiple or size)
    return padded, Fit((height, width), scaled, corner)


def unfit(pixels: Float[np.ndarray, "rows columns"], placed: Fit) -> Float[np.ndarray, "height width"]:
    """Undo `fit`: cut the padding off and scale back.

    Args:
        pixels: An image on the grid.
        placed: Where it lies.

    Returns:
        (H, W) of the original; values are not clipped.
    """
    (top, left), (height, width) = placed.corner, placed.scaled
    return resize(np.ascontiguousarray(pixels[top : top + height, left : left + width]), placed.original)


def centre_crop(pixels: Float[np.ndarray, "height width"], size: int) -> Float[np.ndarray, "size size"]:
    """The middle square of an image, resized.

    Args:
        pixels: (H, W) in [-1, 1].
        size: Side in pixels.

    Returns:
        (size, size) in [-1, 1]; of an odd surplus the additional pixel is cut at the lower or right side.
    """
    height, width = pixels.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    return resize(square, (size, size)).clip(-1, 1)
