"""A plain lung mask for frontal radiographs, where no segmentation is at hand.

Dark against the chest wall (Otsu's threshold on a smoothed image), not connected to the air outside the body, the
largest region on each side of the image, closed over the ribs. Where the chest wall is so thin that it is as dark as
the lungs and lets them run out into the air, the threshold is lowered until both are cut off. It misses what is opaque
(the heart's overlap, effusions, consolidations) and serves to weight errors to the lungs, not to measure lungs.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

SIDE = 256  # the mask is made at this size
SHARE = (0.02, 0.35)  # of the image, for each lung
STEP = 4  # grey levels of 256 by which the threshold is lowered, down to half of Otsu's


def lung_mask(pixels: np.ndarray) -> np.ndarray:
    """Radiograph float32 (H, W) in [-1, 1], frontal, bones bright -> bool (H, W).

    Raises ValueError where no two regions of a lung's size are found: give masks then.
    """
    small = cv2.resize(pixels.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 3)
    low, high = np.quantile(smooth, [0.01, 0.99])
    levels = ((smooth - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    tried = (_two_regions(levels <= lower) for lower in range(int(threshold), int(threshold) // 2, -STEP))
    lungs = next((found for found in tried if found.any()), None)
    if lungs is None:
        raise ValueError(
            f"no dark region of {SHARE[0]:.0%} to {SHARE[1]:.0%} of the image on each side, where lungs were expected: "
            "give a folder of masks with --lungs"
        )
    return cv2.resize(lungs.astype(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _two_regions(dark: np.ndarray) -> np.ndarray:
    """The largest region on each side off the top and the sides; nothing if one has not a lung's size."""
    labels, _ = ndimage.label(cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, _disc(3)))
    labels[np.isin(labels, np.unique([labels[0], labels[:, 0], labels[:, -1]]))] = 0  # lungs may leave at the bottom
    lungs = np.zeros(dark.shape, bool)
    for half in (slice(0, SIDE // 2), slice(SIDE // 2, SIDE)):
        counts = np.bincount(labels[:, half].ravel(), minlength=2)[1:]
        region = np.zeros(dark.shape, np.uint8)
        if counts.any():
            region[:, half] = labels[:, half] == 1 + int(counts.argmax())
        closed = ndimage.binary_fill_holes(cv2.morphologyEx(region, cv2.MORPH_CLOSE, _disc(9)))
        if not SHARE[0] <= closed.mean() <= SHARE[1]:
            return np.zeros(dark.shape, bool)
        lungs |= closed
    return lungs


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
