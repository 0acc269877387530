"""What happens to a finished radiograph: noise, letters, collimator borders, JPEG; alike in both images of a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np

from drr.appearance.look import blur

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

Images = list[np.ndarray]
LETTERS = ("L", "R", "PA", "AP", "PORT", "SUPINE", "ERECT", "12:40")
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX)


def quantum_noise(
    lines: Float[np.ndarray, "height width"], level: float, grain_px: float, rng: np.random.Generator
) -> Float32[np.ndarray, "height width"]:
    """Noise of a displayed image: fewer quanta behind thicker bodies, so more noise there.

    Args:
        lines: (H, W) line integrals of the radiograph.
        level: Standard deviation at the mean line integral, in grey levels of [-1, 1].
        grain_px: Gaussian sigma in pixels of the detector's blur, which correlates it.
        rng: Where chance comes from.

    Returns:
        float32 (H, W).
    """
    grain = blur(rng.standard_normal(lines.shape, dtype=np.float32), grain_px)
    behind = np.exp(np.clip(0.35 * (lines - lines.mean()), -2, 2))
    return (grain * np.float32(level / grain.std()) * behind).astype(np.float32)


def add_letters(
    images: Sequence[Float[np.ndarray, "height width"]], pixel_mm: float, rng: np.random.Generator
) -> Images:
    """A side marker or a note near a corner, as bright as white, in all images alike.

    Args:
        images: (H, W) in [-1, 1], of one shape.
        pixel_mm: Side of a pixel.
        rng: Decides on text, size and place.

    Returns:
        New images, in the same order.
    """
    height, width = images[0].shape
    mask = np.zeros((height, width), np.uint8)
    text, font = str(rng.choice(LETTERS)), int(rng.choice(FONTS))
    scale = rng.uniform(6, 22) / pixel_mm / 22  # of capitals 22 pixels high
    x = rng.uniform(0.02, 0.2) if rng.random() < 0.5 else rng.uniform(0.7, 0.92)
    y = rng.uniform(0.05, 0.35) if rng.random() < 0.7 else rng.uniform(0.6, 0.97)
    weight = max(1, round(rng.uniform(1.5, 4) * scale))
    cv2.putText(mask, text, (int(x * width), int(y * height)), font, scale, 255, weight, cv2.LINE_AA)
    return _over(images, mask, rng.uniform(0.5, 1.1))


def add_collimator(images: Sequence[Float[np.ndarray, "height width"]], rng: np.random.Generator) -> Images:
    """Black, or nearly so, beyond one to four straight edges, a little turned, in all images alike.

    Args:
        images: (H, W) in [-1, 1], of one shape.
        rng: Decides on the edges.

    Returns:
        New images, in the same order.
    """
    height, width = images[0].shape
    turn = rng.normal(0, 0.02)
    x, y = (np.arange(n, dtype=np.float32) / n for n in (width, height))
    x, y = x[None] + turn * (y[:, None] - 0.5), y[:, None] + turn * (0.5 - x[None])
    outside = np.zeros((height, width), np.float32)
    for distance in (x, 1 - x, y, 1 - y):
        if rng.random() < 0.5:
            outside = np.maximum(outside, distance < rng.uniform(0.005, 0.08))
    return _over(images, (255 * outside).astype(np.uint8), rng.uniform(-1.1, -0.8))


def _over(images: Sequence[np.ndarray], mask: np.ndarray, level: float) -> Images:
    share = mask.astype(np.float32) / 255
    return [image + share * (np.float32(level) - image) for image in images]


def jpeg_residual(radiograph: Float[np.ndarray, "height width"], quality: int) -> Float[np.ndarray, "height width"]:
    """What JPEG adds to a radiograph, rounding to 8 bits included.

    Args:
        radiograph: (H, W) in [-1, 1].
        quality: 1 to 100.

    Returns:
        (H, W), to be added to the images of a pair.
    """
    levels = np.rint((radiograph.clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    _, data = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    back = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32) / np.float32(127.5) - 1
    return back - radiograph.clip(-1, 1)
