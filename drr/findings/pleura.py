"""Findings in the pleural space of a patient who stands: effusion with a meniscus, and pneumothorax."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

from drr.findings.report import Finding
from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool

FLUID_HU, AIR_HU = 12, -1000
MENISCUS_MM, MENISCUS_REACH_MM = 70.0, 70.0
COLLAPSE_MM = 70.0  # depth under the chest wall to which the lung gives way


def add_pleural_effusion(volume: Volume, side: str, volume_ml: float = 600.0) -> tuple[Volume, Finding]:
    """Fluid that stands in the pleural space from its lowest point up, its surface drawn up along the chest wall.

    It takes the place of the lung at the base.

    Args:
        volume: With a label map.
        side: right or left.
        volume_ml: Of the fluid.

    Returns:
        A new volume, and what was put in.

    Raises:
        ValueError: Another side, no label map, or more fluid than four fifths of the lung.
    """
    lung = lung_mask(volume, side)
    voxel_ml = abs(np.linalg.det(volume.affine[:3, :3])) / 1000
    count = round(volume_ml / voxel_ml)
    if not 1 <= count <= 0.8 * lung.sum():
        raise ValueError(f"{volume_ml:g} ml of fluid do not fit: the {side} lung holds {lung.sum() * voxel_ml:.0f} ml")
    spacing = volume.spacing[::-1]
    height = np.arange(lung.shape[0])[:, None, None] * spacing[0]
    from_wall = _in_sections(_chest_hull(volume), spacing)
    drawn_up = MENISCUS_MM * np.clip(1 - from_wall / MENISCUS_REACH_MM, 0, 1) ** 3
    depth = height - drawn_up
    level = np.partition(depth[lung], count - 1)[count - 1]
    part = np.clip(0.5 + (level - depth) / (2 * spacing[0]), 0, 1) * lung
    hu = volume.hu.astype(np.float32)
    changed = np.rint(np.maximum(hu, hu + part * (FLUID_HU - hu))).astype(np.int16)
    finding = Finding("pleural effusion", side, f"{side} pleural space", part > 0.5, {"volume_ml": volume_ml})
    return volume.replace(hu=changed), finding


def add_pneumothorax(volume: Volume, side: str, gap_mm: float = 25.0) -> tuple[Volume, Finding]:
    """Air between lung and chest wall, widest at the apex; the lung gives way, denser and with all of its vessels.

    Args:
        volume: With a label map.
        side: right or left.
        gap_mm: Distance of the pleural line from the chest wall at the apex, 5 to 50.

    Returns:
        A new volume, and what was put in.

    Raises:
        ValueError: Another side, no label map, or a gap outside of 5 to 50 mm.
    """
    if not 5 <= gap_mm <= 50:
        raise ValueError(f"a pneumothorax of {gap_mm} mm; from 5 to 50 mm is possible")
    lung, spacing = lung_mask(volume, side), volume.spacing[::-1]
    hull = _chest_hull(volume)
    depth = ndimage.distance_transform_edt(hull, sampling=spacing)
    # nothing moves at the mediastinum and the diaphragm
    free = np.clip(ndimage.distance_transform_edt(lung | (hull == 0), sampling=spacing) / 10 - 0.5, 0, 1)
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    rise = np.clip((np.arange(len(lung)) - slices[0]) / max(1, slices[-1] - slices[0]), 0, 1)
    gap = (gap_mm * (0.12 + 0.88 * rise**1.5))[:, None, None]
    smooth = ndimage.gaussian_filter(depth, 1.5)
    inward = np.stack(np.gradient(smooth, *spacing))
    inward /= np.maximum(np.linalg.norm(inward, axis=0), 1e-3)
    # what lies at a depth in the collapsed lung came from nearer to the chest wall; deep inside nothing moves
    stretch = COLLAPSE_MM / (COLLAPSE_MM - gap)
    before = np.where(depth < COLLAPSE_MM, (depth - gap) * stretch, depth)
    before = np.maximum(before, 1.5 * spacing.max())  # not the chest wall itself
    moved = lung & (depth < COLLAPSE_MM) & (depth >= gap)
    index = np.argwhere(moved).T
    source = index - inward[:, moved] * ((depth - before) * free)[moved] / spacing[:, None]
    values = ndimage.map_coordinates(
        np.where(lung, volume.hu, -850), source, order=1, mode="nearest", output=np.float32
    )
    hu = volume.hu.astype(np.float32)
    denser = (values + 1000) * (1 + (stretch - 1) * free)[moved] - 1000
    hu[moved] = np.where(values < 0, np.minimum(denser, 0), values)  # air is what gives way, tissue does not
    pleura = 0.5 * np.clip(1 - np.abs(depth - gap) / spacing.mean(), 0, 1) * free * lung
    air = np.clip(0.5 + (gap - depth) / spacing.mean(), 0, 1) * free * lung
    hu += air * (AIR_HU - hu)
    hu += pleura * (0 - hu)
    changed = np.where(lung, np.rint(np.clip(hu, -1024, 3071)), volume.hu).astype(np.int16)
    finding = Finding("pneumothorax", side, f"{side} pleural space", air > 0.5, {"gap_mm": gap_mm})
    return volume.replace(hu=changed), finding


def lung_mask(volume: Volume, side: str) -> Bool[np.ndarray, "depth height width"]:
    """All lobes of a side.

    Args:
        volume: With a label map.
        side: right or left.

    Returns:
        bool (D, H, W).

    Raises:
        ValueError: Another side, or no such lung.
    """
    if side not in ("right", "left"):
        raise ValueError(f"side is {side!r}; give right or left")
    mask = volume.mask(*volume.names_where(lambda name: name.startswith("lung_") and name.endswith(side)).values())
    if not mask.any():
        raise ValueError(f"{volume.source or 'volume'}: the {side} lung is not in the label map")
    return mask


def _chest_hull(volume: Volume) -> np.ndarray:
    """uint8 (D, H, W): the convex hull of both lungs in every axial section; its border is the chest wall."""
    hull = (lung_mask(volume, "right") | lung_mask(volume, "left")).astype(np.uint8)
    for section in hull:
        points = cv2.findNonZero(section)
        if points is not None:
            cv2.fillConvexPoly(section, cv2.convexHull(points), 1)
    return hull


def _in_sections(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance in mm to the outside of a mask within each axial section."""
    return np.stack([ndimage.distance_transform_edt(section, sampling=spacing[1:]) for section in mask])
