"""A plain lung mask for frontal radiographs, where no segmentation is at hand.

Dark against the chest wall (Otsu's threshold on a smoothed image), not connected to the air outside the body, the
largest region on each side of the image, closed over the ribs. Where the chest wall is so thin that it is as dark as
the lungs and lets them run out into the air, the threshold is lowered until both are cut off. Where no threshold gives
two regions that lie as lungs do (an arm beside dark air is none), it is tried on what is darker than its surroundings,
which finds the grey lungs of a portable film. It misses what is opaque (the heart's overlap, effusions, consolidations)
and serves to weight errors to the lungs, not to measure lungs.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from radiographs.folders import read_mask
from radiographs.letterbox import BLACK, fit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

SIDE = 256  # the mask is made at this size
SHARE = (0.02, 0.35)  # of the image, for each lung
AROUND, DROPS = 32, (0.0, 0.02, 0.04)  # sigma of what a lung is darker than, and by how much of the grey range
ASIDE = 0.16  # of the width: nearer to a side than this lies an arm's edge, not a lung's middle
COMMON, APART, UNEQUAL = 0.5, 0.4, 4.0  # of the shorter one's height; of the width; the larger to the smaller
STEP = 4  # grey levels of 256 by which the threshold is lowered, down to half of Otsu's
RIM = 4 / 512  # of the longer side, which `inner_lungs` takes off: there a mask and a chest wall disagree
LUNG_HEIGHT_MM = 240.0
FIELD_MM = (300.0, 430.0)  # of the longer side: from a child's to the largest cassette's, 35 x 43 cm


def lung_mask(pixels: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """Find the lungs.

    Args:
        pixels: Radiograph float32 (H, W) in [-1, 1], frontal, bones bright.

    Returns:
        bool (H, W).

    Raises:
        ValueError: No two regions of a lung's size are found: give masks then.
    """
    small = cv2.resize(pixels.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    smooth = cv2.GaussianBlur(small, (0, 0), 3)
    low, high = np.quantile(smooth, [0.01, 0.99])
    levels = ((smooth - low) / max(high - low, 1e-6) * 255).clip(0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    around = cv2.GaussianBlur(smooth, (0, 0), AROUND)
    tried = itertools.chain(
        (levels <= lower for lower in range(int(threshold), int(threshold) // 2, -STEP)),
        (smooth - around < -drop * (high - low) for drop in DROPS),
    )
    lungs = next((found for dark in tried if _like_lungs(found := _two_regions(dark))), None)
    if lungs is None:
        raise ValueError(
            f"no dark region of {SHARE[0]:.0%} to {SHARE[1]:.0%} of the image on each side, where lungs were expected: "
            "give a folder of masks with --lungs"
        )
    return cv2.resize(lungs.astype(np.uint8), pixels.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def inner_lungs(pixels: Float[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """`lung_mask` without its rim of 4 pixels in 512: where bone suppression is measured.

    Args:
        pixels: Radiograph float32 (H, W) in [-1, 1], frontal, bones bright.

    Returns:
        bool (H, W).

    Raises:
        ValueError: No lungs were found.
    """
    rim = round(RIM * max(pixels.shape))
    return cv2.erode(lung_mask(pixels).astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)) > 0


def pixel_mm_from_lungs(lungs: Bool[np.ndarray, "height width"]) -> float:
    """A guess at the side of a pixel: the taller lung is taken to be 240 mm high from apex to sinus.

    Adults' lungs measure 215 to 244 mm from the apex to the diaphragm's dome (526 radiographs, West African Journal of
    Medicine 2007), and their sinuses lie some 20 mm deeper. The image's longer side is held within 300 and 430 mm.

    Args:
        lungs: bool (H, W), a mask of both lungs.

    Returns:
        mm.

    Raises:
        ValueError: An empty mask.
    """
    halves = np.array_split(lungs, 2, axis=1)
    rows = [np.flatnonzero(half.any(axis=1)) for half in halves]
    heights = [int(found[-1] - found[0]) + 1 for found in rows if len(found)]
    if not heights:
        raise ValueError("the lung mask is empty: there is no height to measure")
    side = max(lungs.shape)
    return float(np.clip(LUNG_HEIGHT_MM / max(heights), FIELD_MM[0] / side, FIELD_MM[1] / side))


def _two_regions(dark: np.ndarray) -> np.ndarray:
    """The largest region on each side off the top and the sides; nothing if one has not a lung's size."""
    labels, _ = ndimage.label(cv2.morphologyEx(dark.astype(np.uint8), cv2.MORPH_OPEN, _disc(3)))
    labels[np.isin(labels, np.unique([labels[0], labels[:, 0], labels[:, -1]]))] = 0  # lungs may leave at the bottom
    lungs = np.zeros(dark.shape, bool)
    for half in (slice(0, SIDE // 2), slice(SIDE // 2, SIDE)):
        counts = np.bincount(labels[:, half].ravel(), minlength=2)
        columns = np.arange(half.start, half.stop)
        sums = np.bincount(labels[:, half].ravel(), np.tile(columns, SIDE), minlength=2)
        centres = sums / np.maximum(counts, 1) / SIDE
        counts[(np.minimum(centres, 1 - centres) < ASIDE) | (np.arange(len(counts)) == 0)] = 0
        region = np.zeros(dark.shape, np.uint8)
        if counts.any():
            region[:, half] = labels[:, half] == int(counts.argmax())
        closed = ndimage.binary_fill_holes(cv2.morphologyEx(region, cv2.MORPH_CLOSE, _disc(9)))
        if not SHARE[0] <= closed.mean() <= SHARE[1]:
            return np.zeros(dark.shape, bool)
        lungs |= closed
    return lungs


def _like_lungs(lungs: np.ndarray) -> bool:
    """Whether two regions lie side by side as lungs do: at one height, near the midline, alike in size."""
    left, right = lungs[:, : SIDE // 2], lungs[:, SIDE // 2 :]
    if not (left.any() and right.any()):
        return False
    rows = [np.flatnonzero(half.any(axis=1)) for half in (left, right)]
    common = min(r[-1] for r in rows) - max(r[0] for r in rows) + 1
    shorter = min(r[-1] - r[0] + 1 for r in rows)
    inner = np.flatnonzero(right.any(axis=0))[0] + SIDE // 2 - np.flatnonzero(left.any(axis=0))[-1]
    sizes = sorted((left.sum(), right.sum()))
    return common >= COMMON * shorter and inner <= APART * SIDE and sizes[1] <= UNEQUAL * sizes[0]


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def read_lungs(mask: str | Path, pixels: Float[np.ndarray, "height width"], size: int) -> Bool[np.ndarray, "size size"]:
    """Lung mask of a radiograph on the network's grid.

    Args:
        mask: A file of the radiograph's size, or "auto".
        pixels: The radiograph (H, W) in [-1, 1].
        size: Side of the grid in pixels.

    Returns:
        bool (size, size).

    Raises:
        ValueError: The mask has another size or is empty, or no lungs are found.
    """
    lungs = lung_mask(pixels) if mask == "auto" else read_mask(Path(mask))
    if lungs.shape != pixels.shape:
        raise ValueError(
            f"the lung mask has {lungs.shape[0]} x {lungs.shape[1]} pixels, the radiograph {pixels.shape[0]} x "
            f"{pixels.shape[1]}: give one of its size"
        )
    return fit(np.where(lungs, np.float32(1), np.float32(BLACK)), size)[0] > 0


def blacken(
    image: Float[np.ndarray, "height width"], lungs: Bool[np.ndarray, "height width"]
) -> Float[np.ndarray, "height width"]:
    """An image that is black outside the lungs, as lung_fusion.lungs_only makes it.

    Args:
        image: (H, W) in [-1, 1].
        lungs: bool (H, W).

    Returns:
        (H, W).
    """
    return np.where(lungs, image, np.float32(BLACK))
