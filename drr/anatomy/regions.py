"""Lungs, lobes and heart of a CT without a label map, by density and place: good enough to put findings into."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

from drr.anatomy.chest import lungs_on_grid
from drr.volume import Volume, require_array

LUNG_HU = -400
TRACHEA_HU = -960
CLOSE_MM = 8.0  # vessels thinner than this belong to the lung around them
SMOOTH_MM = 2.5  # of the lungs' border, which is ragged at the hila
HEART_HU = (-60, 900)  # with contrast medium
RIGHT_REACH, LEFT_REACH = 0.45, 0.8  # of a lung's width, from the middle
HEART_MM = 12.0  # thinner parts between the lungs are vessels, oesophagus or folds
STRUCTURES = {
    1: "lung_upper_lobe_left",
    2: "lung_lower_lobe_left",
    3: "lung_upper_lobe_right",
    4: "lung_middle_lobe_right",
    5: "lung_lower_lobe_right",
    6: "heart",
}


def label_chest(volume: Volume) -> Volume:
    """Infer a label map of the five lobes and the heart from Hounsfield units.

    Lobes are the lung on either side of planes where fissures usually run; the heart is what lies between the lungs,
    thick, and before the spine, from a fifth to two thirds of the lungs' height. Measured on the sample CT
    against its own label map (Dice): tests/drr/anatomy/test_regions.py.

    Args:
        volume: int16 HU with axes as `read_ct` turns them (x to the patient's left, y to the back, z to the head).

    Returns:
        The same volume with `labels` (uint8) and `structures`; labels that it had are replaced.

    Raises:
        ValueError: No lung on either side, or other axes.
    """
    require_array(volume, "label_chest")
    volume.require_patient_axes("label_chest")
    lung = _lungs(volume)
    labels = np.zeros(lung.shape, np.uint8)
    middle = _middle(lung)
    x = np.arange(lung.shape[2])
    for side, half, upper in (("right", x < middle, 3), ("left", x >= middle, 1)):
        part = lung & half
        if not part.any():
            raise ValueError(f"{volume.source or 'volume'}: no {side} lung is seen in it; is this a CT of a chest?")
        labels[part] = _lobes(part, side, upper)[part]
    labels[_heart(volume, lung) & ~lung] = 6
    return volume.replace(labels=labels, structures=dict(STRUCTURES))


def _lungs(volume: Volume) -> np.ndarray:
    """Bool (D, H, W): both lungs with their vessels, without the trachea."""
    coarse, step = lungs_on_grid(volume)
    coarse = ndimage.binary_closing(coarse, iterations=2) | coarse
    near = ndimage.binary_dilation(coarse)
    for axis, size in enumerate(volume.hu.shape):
        near = near.repeat(step[axis], axis=axis).take(np.arange(size), axis=axis, mode="clip")
    lung = near & (volume.hu < LUNG_HU)
    for section, trachea in zip(lung, volume.hu < TRACHEA_HU):
        section &= ~_round_air(trachea, volume.spacing[0], section.shape[1])
    radius = max(1, round(CLOSE_MM / 2 / float(volume.spacing[0])))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    closed = np.stack([cv2.morphologyEx(s.astype(np.uint8), cv2.MORPH_CLOSE, disc) for s in lung])
    smooth: np.ndarray = ndimage.gaussian_filter(closed.astype(np.float32), SMOOTH_MM / volume.spacing[::-1]) > 0.5
    return smooth


def _round_air(air: np.ndarray, spacing_mm: float, width: int) -> np.ndarray:
    """Bool (H, W): pure air in parts of 10 to 40 mm in the middle third of a section: trachea and main bronchi."""
    count, parts, stats, centres = cv2.connectedComponentsWithStats(air.astype(np.uint8), connectivity=4)
    chosen = np.zeros(count, bool)
    for k in range(1, count):
        across = stats[k, [cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT]] * spacing_mm
        chosen[k] = across.min() >= 8 and across.max() <= 45 and abs(centres[k][0] - width / 2) < 50 / spacing_mm
    grown: np.ndarray = ndimage.binary_dilation(chosen[parts], iterations=max(1, round(3 / spacing_mm)))
    return grown


def _middle(lung: np.ndarray) -> float:
    """The column (x) that parts the right lung from the left: the one with the least lung in the middle third."""
    columns = lung.sum(axis=(0, 1)).astype(float)
    places = np.flatnonzero(columns)
    if not len(places):
        return lung.shape[2] / 2
    low, high = places[0], places[-1]
    third = (high - low) // 3
    inner = ndimage.gaussian_filter1d(columns, 2)[low + third : high - third + 1]
    return float(low + third + np.argmin(inner))


def _lobes(lung: np.ndarray, side: str, upper: int) -> np.ndarray:
    """uint8 (D, H, W): the labels of one lung's lobes, by the planes in which fissures usually run."""
    ends = [np.flatnonzero(lung.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3)]
    height, back, left = np.meshgrid(
        *((np.arange(size) - low) / max(1, high - low) for size, (low, high) in zip(lung.shape, ends)),
        indexing="ij",
        sparse=True,
    )  # 0 to 1 in the lung: from its base up, from its front to the back, from its right to the left
    labels = np.full(lung.shape, upper, np.uint8)
    if side == "right":
        labels[height < 0.46 + 0.1 * left - 0.2 * (left - 0.5) ** 2 - 0.05 * (1 - back)] = upper + 1
        lower = upper + 2
    else:
        lower = upper + 1
    labels[height < 0.05 + 0.75 * back - 0.25 * (left - 0.5) ** 2] = lower
    return labels


def _heart(volume: Volume, lung: np.ndarray) -> np.ndarray:
    """Bool (D, H, W): the thick part of what lies between the lungs, before the spine, at their middle height."""
    places = np.flatnonzero(lung.sum(axis=(1, 2)) > 0.1 * lung.sum(axis=(1, 2)).max())
    bottom, top = places[0], places[-1]
    soft = (volume.hu > HEART_HU[0]) & (volume.hu < HEART_HU[1])
    middle, columns = _middle(lung), np.flatnonzero(lung.any(axis=(0, 1)))
    reach = (round(middle - RIGHT_REACH * (middle - columns[0])), round(middle + LEFT_REACH * (columns[-1] - middle)))
    radius = max(1, round(HEART_MM / float(volume.spacing[0])))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    heart = np.zeros(lung.shape, bool)
    for k in range(bottom + round(0.22 * (top - bottom)), bottom + round(0.65 * (top - bottom))):
        rows = lung[k].any(axis=1)
        if not rows.any():
            continue
        first, last = np.flatnonzero(rows)[[0, -1]]
        right = np.logical_or.accumulate(lung[k], axis=1)
        left = np.logical_or.accumulate(lung[k][:, ::-1], axis=1)[:, ::-1]
        between = right & left & ~lung[k] & soft[k]
        between[:, : reach[0]] = between[:, reach[1] :] = False  # domes of the diaphragm
        between[first + round(0.62 * (last - first)) :] = False  # the spine and the aorta beside it
        heart[k] = cv2.morphologyEx(between.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0
    parts, count = ndimage.label(heart)
    if count:
        heart = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    return heart
