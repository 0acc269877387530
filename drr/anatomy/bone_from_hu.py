"""Bone without a label map: hysteresis on Hounsfield units, contrast medium left out, marrow filled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import cc3d
import cv2
import numba
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Int16, UInt8

LOW_HU, HIGH_HU = 150, 280  # hysteresis, for means over about 2.5 mm
DENSE_HU = 1800  # above it: undiluted contrast medium or metal, no bone of the chest
AIR_HU = -400
REACH_MM = 10.0  # bone lies no farther than this from a voxel above HIGH_HU
SPINE_HALF_WIDTH_MM, SPINE_DEPTH_MM = 28.0, 45.0


def bone_from_hu(
    hu: Int16[np.ndarray, "depth height width"], spacing_mm: float = 2.5
) -> UInt8[np.ndarray, "depth height width"]:
    """Find bone by its density, its texture and its place.

    Contrast-filled heart and vessels have bone's HU. They are told from it by place (between the lungs only the
    spine is bone) and by texture (a thick part without any is blood).

    Args:
        hu: int16 (D, H, W), axes along the patient's (z, y, x), x left and y back.
        spacing_mm: Side of a voxel; isotropic to within a factor of two.

    Returns:
        uint8 (D, H, W): 2 bone with its marrow, 1 the rim of one voxel around it, 0 the rest.
    """
    chest = _between_lungs(hu)
    spine = _spine_zone(hu, chest, spacing_mm)
    not_bone = _contrast(hu, spine) | ((chest > 0) & ~spine)
    candidates = (hu > LOW_HU) & ~not_bone
    seeds = (hu > HIGH_HU) & candidates
    near = _sections(cv2.dilate, seeds, disc(REACH_MM / spacing_mm)) > 0
    parts, count = cc3d.connected_components(candidates & near, connectivity=26, return_N=True)
    size, seeded = part_sizes(parts, count), np.bincount(parts[seeds], minlength=count + 1)
    keep = np.asarray((size * spacing_mm**3 > 500) & (seeded > 0.03 * size))
    keep[0] = False
    shell = pick(parts, keep)
    column = shell & spine.view(np.uint8)
    filled = np.empty_like(shell)
    for out, section, part in zip(filled, shell, column):
        out[:] = fill(_close(section, 7 / spacing_mm)) | fill(_close(part, 12 / spacing_mm))
    filled &= ((hu > -100) & ~not_bone).view(np.uint8)
    return filled + (dilate(filled) & ~not_bone)


def _between_lungs(hu: np.ndarray) -> np.ndarray:
    """uint8: every axial section's convex hull of the lungs; zero where no air is enclosed by the body."""
    parts, count = cc3d.connected_components(hu < AIR_HU, connectivity=6, return_N=True)
    size = part_sizes(parts, count)
    size[0] = 0
    for border in (parts[:, 0], parts[:, -1], parts[:, :, 0], parts[:, :, -1]):
        size[border] = 0
    large = np.asarray((size > 0) & (size > 0.1 * size.max()))
    lungs = pick(parts, large)
    hull = np.zeros_like(lungs)
    for section, out in zip(lungs, hull):
        outlines, _ = cv2.findContours(section, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if outlines:
            cv2.fillConvexPoly(out, cv2.convexHull(np.concatenate(outlines)), 1)
    return hull


def _spine_zone(hu: np.ndarray, chest: np.ndarray, spacing_mm: float) -> np.ndarray:
    """bool: a band around the spine, from its front to the skin of the back.

    Its middle follows the dense voxels of the back; its front lies a vertebra's depth before the line that joins
    the backs of the lungs, and as deep under the skin above and below them.
    """
    depth, height, width = hu.shape
    y, x = np.arange(height), np.arange(width)
    body = np.greater(hu, -300)
    back = np.where(body.any(axis=(1, 2)), height - 1 - body.any(axis=2)[:, ::-1].argmax(axis=1), height - 1)
    columns = np.count_nonzero(body, axis=1)
    middle = (columns * np.arange(width)).sum(axis=1) / np.maximum(columns.sum(axis=1), 1)
    for k in range(depth):
        near = np.flatnonzero(np.abs(x - middle[k]) < 45 / spacing_mm)
        found = (hu[k, y > back[k] - 90 / spacing_mm, near[0] : near[-1] + 1] > HIGH_HU).nonzero()[1]
        if len(found):
            found.sort()  # np.median takes ten times as long for so few
            middle[k] = near[0] + (found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2
    middle = ndimage.median_filter(middle, max(3, int(75 / spacing_mm)) | 1, mode="nearest")
    lungs = np.count_nonzero(chest, axis=(1, 2)) * spacing_mm**2 > 2000
    lung_back = height - 1 - chest.max(axis=2)[:, ::-1].argmax(axis=1)
    cover = np.median((back - lung_back)[lungs]) if lungs.any() else 45 / spacing_mm
    front = back - cover - SPINE_DEPTH_MM / spacing_mm
    beside = np.abs(x - middle[:, None]) < SPINE_HALF_WIDTH_MM / spacing_mm
    return beside[:, None, :] & (y > front[:, None])[:, :, None]


def _contrast(hu: np.ndarray, spine: np.ndarray) -> np.ndarray:
    """bool: thick homogeneous parts (contrast-filled heart, aorta, kidneys), undiluted contrast medium and metal.

    A young vertebra is homogeneous too, so within the spine's band it takes an artery's HU.
    """
    smooth = np.empty(hu.shape, bool)
    for k, section in enumerate(hu.astype(np.float32)):
        mean = cv2.blur(section, (5, 5))
        variance = cv2.blur(section * section, (5, 5)) - mean * mean
        smooth[k] = (variance < 60**2) & (~spine[k] | (mean > HIGH_HU))
    thick = _sections(cv2.erode, hu > LOW_HU, disc(2)) > 0
    blood = _sections(cv2.dilate, thick & smooth, disc(3)) > 0
    return blood | (_sections(cv2.dilate, hu > DENSE_HU, np.ones((3, 3), np.uint8)) > 0)


@numba.njit(cache=True, nogil=True)
def part_sizes(parts: Any, count: int) -> Any:
    """Voxels of each label, as np.bincount has them, counted run by run.

    Args:
        parts: Label map (D, H, W).
        count: Highest label.

    Returns:
        int64 (count + 1,).
    """
    size = np.zeros(count + 1, np.int64)
    for section in parts:
        for row in section:
            last, run = row[0], 0
            for part in row:
                if part != last:
                    size[last] += run
                    last, run = part, 0
                run += 1
            size[last] += run
    return size


@numba.njit(cache=True, nogil=True)
def pick(parts: Any, chosen: Any) -> Any:
    """Where a label map's label is chosen.

    Args:
        parts: Label map (D, H, W).
        chosen: bool (labels,).

    Returns:
        uint8 (D, H, W), 1 there.
    """
    picked = np.empty(parts.shape, np.uint8)
    for z in range(parts.shape[0]):
        for y in range(parts.shape[1]):
            for x in range(parts.shape[2]):
                picked[z, y, x] = chosen[parts[z, y, x]]
    return picked


def dilate(mask: np.ndarray) -> np.ndarray:
    """uint8 (D, H, W): `mask` grown by one voxel in every direction, diagonals included.

    Args:
        mask: bool or uint8 of 0 and 1, (D, H, W).

    Returns:
        0 and 1, of the same shape.
    """
    flat = _sections(cv2.dilate, mask, np.ones((3, 3), np.uint8))
    grown = flat.copy()
    np.maximum(grown[1:], flat[:-1], out=grown[1:])
    np.maximum(grown[:-1], flat[1:], out=grown[:-1])
    return grown


def fill(section: np.ndarray) -> np.ndarray:
    """uint8 (H, W): a section with its holes filled.

    Args:
        section: uint8 (H, W) of 0 and 1.

    Returns:
        A hole is what no path of 0 joins to the border; filled ones are 1.
    """
    contours, _ = cv2.findContours(section, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(section), contours, -1, 1, cv2.FILLED)


@functools.cache
def disc(radius: float) -> np.ndarray:
    """A structuring element.

    Args:
        radius: In pixels.

    Returns:
        uint8 (2 r + 1, 2 r + 1) with r the radius rounded down: 1 within the radius.
    """
    r = int(radius)
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    return (x * x + y * y <= radius * radius).astype(np.uint8)


def _sections(operation: Callable[..., np.ndarray], mask: Any, element: np.ndarray) -> np.ndarray:
    """uint8: a 2-D morphological operation in every axial section."""
    return np.stack([operation(section, element) for section in mask.view(np.uint8)])


def _close(section: np.ndarray, radius: float) -> np.ndarray:
    return cv2.morphologyEx(section, cv2.MORPH_CLOSE, disc(radius))
