"""The padding around a scanner's field of view, which is no part of the patient, to air.

Scanners, resamplers and registration fill what they did not measure with one number: -2000, -3024, 0, 32767. Measured
air is never of one number, so the corners of the axial sections tell.
"""

from __future__ import annotations

import cv2
import numpy as np

AIR = -1024
DENSER_THAN_AIR_HU = -900
BODY_HU = -300
CORNERS = 0.03  # of the corners' voxels that have the very same value
REGION = 0.002  # of the looked-at voxels, within reach of the border
REST = 0.001  # of the looked-at voxels that must be body; else the "padding" is what the volume shows


def find_padding(hu: np.ndarray) -> int | None:
    """The value of the padding. Air of one number between -1024 and -900 HU counts as none: it is air already.

    Args:
        hu: int16 (D, H, W), axes as `read_ct` turns them.

    Returns:
        HU, or None if there is none.
    """
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    values, counts = np.unique(corners, return_counts=True)
    odd = (values > DENSER_THAN_AIR_HU) | (values < AIR)
    if not odd.any() or counts[odd].max() < max(4, CORNERS * corners.size):
        return None
    value = int(values[odd][counts[odd].argmax()])
    return value if value < AIR or _surrounds_a_body(hu, value) else None


def padding_to_air(hu: np.ndarray, value: int) -> None:
    """Turn padding into air, in place.

    What is denser than air becomes air only where it is connected with the border of its section: 0 HU is tissue, too.

    Args:
        hu: int16 (D, H, W).
        value: Of the padding.
    """
    if value < AIR:
        np.maximum(hu, AIR, out=hu)
        return
    for plane in hu:
        plane[at_the_border(plane == value)] = AIR


def at_the_border(mask: np.ndarray) -> np.ndarray:
    """The part of a mask that is connected with the border of the picture.

    Args:
        mask: bool (H, W).

    Returns:
        bool (H, W).
    """
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    return framed[1:-1, 1:-1] == 2


def _surrounds_a_body(hu: np.ndarray, value: int) -> bool:
    """Whether what has the value at the border is large, and something else is the body: a slab of water is none."""
    outside = rest = looked_at = 0
    for plane in hu[:: max(1, len(hu) // 32)]:
        region = at_the_border(plane == value)
        outside += int(region.sum())
        rest += int(((plane > BODY_HU) & ~region).sum())
        looked_at += plane.size
    return outside > REGION * looked_at and rest > REST * looked_at
