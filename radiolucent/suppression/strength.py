"""How strongly an image shows its bones: a factor on the predicted bone, read off the image itself."""

from __future__ import annotations

import cv2
import numpy as np

BAND_PX = (1.2, 14.0)  # Gaussian sigmas at 512 pixels between which ribs lie
SIDE = 512
SMALLEST = 500  # pixels of lung


def bone_slope(pixels: np.ndarray, bone: np.ndarray, lungs: np.ndarray) -> float | None:
    """Least-squares slope of a radiograph on its predicted bone, both in the ribs' band, within the lungs.

    It is 1 where the image shows as much bone as was predicted, plus what vessels and noise happen to share with it.

    Args:
        pixels: (H, W).
        bone: (H, W), in the same grey levels.
        lungs: bool (H, W).

    Returns:
        The slope, or None if there is hardly any lung or bone.
    """
    scale = max(pixels.shape) / SIDE
    low, high = (sigma * scale for sigma in BAND_PX)
    x, y = (_blur(image, low) - _blur(image, high) for image in (bone, pixels))
    inside = cv2.erode(lungs.astype(np.uint8), np.ones((round(8 * scale) + 1,) * 2)) > 0
    if inside.sum() < SMALLEST * scale**2:
        return None
    x, y = x[inside] - x[inside].mean(), y[inside] - y[inside].mean()
    energy = float((x * x).sum())
    return None if energy < 1e-9 * inside.sum() else float((x * y).sum()) / energy


def strength_of(slope: float | None, gain: float, offset: float, bounds: tuple[float, float]) -> float:
    """The factor on the predicted bone for an image: gain * slope + offset within bounds.

    Args:
        slope: Of `bone_slope`, or None.
        gain: As a pipeline records it (`strength`), fitted on drawn pairs of a CT held out.
        offset: As a pipeline records it.
        bounds: As a pipeline records them.

    Returns:
        The factor; 1 without a slope.
    """
    return 1.0 if slope is None else float(np.clip(gain * slope + offset, *bounds))


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
