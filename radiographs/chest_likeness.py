"""How like a picture is to a chest: the correlation of its ranks with drawn templates, in many sizes and places.

Two dark lungs beside a bright middle above a bright abdomen are a frontal chest, one dark field in the middle a
lateral. Ranks in place of grey levels, so that exposure and display do not matter.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np

SIDE = 64  # of the ranked copy that templates are compared with, in pixels


def chest_likeness(ranks: np.ndarray) -> tuple[float, float]:
    """Correlation with the best template of a frontal chest, of an image and of its negative.

    Args:
        ranks: (SIDE, SIDE), see `ranked`.

    Returns:
        Two values, -1 to 1.
    """
    return _best(ranks, _frontal_templates())


def lateral_likeness(ranks: np.ndarray) -> float:
    """Correlation with the best template of a lateral chest.

    Args:
        ranks: (SIDE, SIDE), see `ranked`.

    Returns:
        -1 to 1.
    """
    return _best(ranks, _lateral_templates())[0]


def _without_frame(small: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(small, (0, 0), 1)
    least = 0.1 * float(np.quantile(smooth, 0.99) - np.quantile(smooth, 0.01))
    rows, columns = (np.flatnonzero(np.ptp(smooth, axis=axis) > least) for axis in (1, 0))
    if len(rows) < 8 or len(columns) < 8:
        return small
    return small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def ranked(small: np.ndarray) -> np.ndarray:
    """An image by the order of its grey levels, smoothed and without a flat frame; the aspect is not kept.

    Args:
        small: (H, W), grey in any range.

    Returns:
        (SIDE, SIDE) float32 ranks from -1, the darkest pixel, to 1; equal values have equal ranks.
    """
    square = cv2.resize(_without_frame(small), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    square = cv2.GaussianBlur(square, (0, 0), 1)
    _, place, count = np.unique(square, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count + 1) / 2  # equal values have equal ranks
    return (middle[place].reshape(SIDE, SIDE) / (SIDE * SIDE - 1) * 2 - 1).astype(np.float32)


def _best(ranks: np.ndarray, templates: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    """The best weighted correlation among the templates, and the best of the negative."""
    weighted, weights = templates
    flat = np.ascontiguousarray(ranks).ravel()
    mean = weights @ flat
    deviation = np.sqrt(np.maximum(weights @ (flat * flat) - mean * mean, 1e-4))
    correlation = (weighted @ flat) / deviation
    return float(correlation.max()), float(-correlation.min())


@functools.cache
def _frontal_templates() -> tuple[np.ndarray, np.ndarray]:
    """Two dark ellipses, a bright middle, a bright abdomen and side walls, in many sizes and places."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    found = []
    for scale in (0.6, 0.7, 0.8, 0.9, 1.0):
        for aspect in (0.85**0.5, 1.1**0.5):
            for down in (-0.15, -0.07, 0.0, 0.07, 0.15):
                for right in (-0.12, -0.06, 0.0, 0.06, 0.12):
                    u, v = (x - 0.5 - right) / scale / aspect, (y - 0.45 - down) / scale * aspect
                    distance = ((np.abs(u) - 0.22) / 0.13) ** 2 + (v / 0.33) ** 2
                    parts = [
                        (distance < 1, 0.45),
                        ((np.abs(u) < 0.06) & (np.abs(v) < 0.36), 0.25),
                        ((v > 0.40) & (v < 0.55) & (np.abs(u) < 0.33), 0.2),
                        ((distance > 1.5) & (distance < 2.6) & (np.abs(u) > 0.3) & (np.abs(v) < 0.25), 0.1),
                    ]
                    if parts[2][0].sum() >= 20:  # else the abdomen lies outside of the picture
                        found.append(_template(parts))
    return _stacked(found)


@functools.cache
def _lateral_templates() -> tuple[np.ndarray, np.ndarray]:
    """One dark ellipse, upright or tilted, with bright walls, shoulders and abdomen."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] / (SIDE - 1)
    found = []
    for scale in (0.7, 0.85, 1.0):
        for half_width in (0.16, 0.22):
            for down in (-0.12, -0.04, 0.04, 0.12):
                for right in (-0.15, -0.08, 0.0, 0.08, 0.15):
                    for tilt in (-0.15, 0.15):
                        v = (y - 0.45 - down) / scale
                        u = (x - 0.5 - right) / scale - tilt * v
                        distance = (u / half_width) ** 2 + (v / 0.30) ** 2
                        walls = (distance > 1.4) & (distance < 2.6) & (np.abs(u) > 0.8 * half_width)
                        parts = [
                            (distance < 1, 0.45),
                            (walls & (np.abs(v) < 0.3), 0.25),
                            ((v < -0.34) & (v > -0.5) & (np.abs(u) < 0.25), 0.1),
                            ((v > 0.36) & (v < 0.52) & (np.abs(u) < 0.25), 0.2),
                        ]
                        found.append(_template(parts))
    return _stacked(found)


def _template(parts: list[tuple[np.ndarray, float]]) -> tuple[np.ndarray, np.ndarray]:
    """(template times weights, weights): the first part is dark, the others bright, each with its share of weight."""
    weights = sum(part * (share / max(int(part.sum()), 1)) for part, share in parts)
    weights = np.asarray(weights) / np.sum(weights)
    values = np.where(parts[0][0], -1.0, 1.0)
    values = values - (weights * values).sum()
    return weights * values / np.sqrt((weights * values * values).sum()), weights


def _stacked(templates: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    weighted, weights = (np.stack([pair[i].ravel() for pair in templates]).astype(np.float32) for i in (0, 1))
    return weighted, weights
