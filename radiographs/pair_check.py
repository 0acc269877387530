"""Whether two images are a radiograph and the soft tissue of the same exposure, one over the other."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float

from radiographs.letterbox import resize

SIDE = 512  # longer side in pixels of the copies that are compared, of larger images
FIELD_MM = 400.0  # of a chest radiograph, where nothing else is known
FINE, COARSE = 1.5, 14.0  # sigmas in pixels of 512 between which vessels, ribs and borders lie
ALIKE = 0.5  # correlation there: above 0.85 in real pairs, below 0.35 for two patients
SAME = 2e-3  # of the radiograph's deviation, below which nothing differs
SURE = 0.3  # response of the phase correlation from which a shift is believed
MOST_SHIFT_MM = 3.0  # a heart's motion between two exposures shifts nothing


def why_no_pair(radiograph: Float[np.ndarray, "height width"], soft: Float[np.ndarray, "height width"]) -> str:
    """What speaks against a radiograph and a soft-tissue image being of one exposure.

    Args:
        radiograph: float32 (H, W).
        soft: float32 (H, W), in any gain and offset.

    Returns:
        A sentence, or "" for a pair.
    """
    if np.ptp(soft) == 0 or np.ptp(radiograph) == 0:
        return f"its {'soft tissue' if np.ptp(soft) == 0 else 'radiograph'} is of one grey level"
    gain, offset = np.polyfit(soft.ravel(), radiograph.ravel(), 1)
    if not gain > 0:
        return (
            f"its soft tissue and its radiograph do not go together (best gain {gain:.2f}): is one a negative, or of "
            "another patient?"
        )
    fitted = gain * soft + offset
    if (radiograph - fitted).std() < SAME * radiograph.std():
        return "its soft tissue is the radiograph itself: nothing has been taken away"
    scale = min(1.0, SIDE / max(radiograph.shape))
    shape = tuple(max(1, round(side * scale)) for side in radiograph.shape)
    one, other = (resize(image, shape).astype(np.float64) for image in (radiograph, fitted))
    alike = np.corrcoef(fine_band(one).ravel(), fine_band(other).ravel())[0, 1]
    shift, response = cv2.phaseCorrelate(one, other, cv2.createHanningWindow(one.shape[::-1], cv2.CV_64F))
    across, down = (part * FIELD_MM / max(shape) for part in shift)
    if response >= SURE and np.hypot(across, down) > MOST_SHIFT_MM:
        return (
            f"its soft tissue lies {abs(across):.0f} mm to the {'right' if across > 0 else 'left'} and {abs(down):.0f} "
            f"mm {'below' if down > 0 else 'above'} its radiograph (as if that were {FIELD_MM:.0f} mm wide): register "
            "them first"
        )
    if not alike >= ALIKE:
        return (
            f"its soft tissue shows other fine structures than its radiograph (correlation {alike:.2f}, of pairs 0.8 "
            "and more): is it of another patient, or not registered?"
        )
    return ""


def fine_band(image: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """What of an image is as wide as vessels, ribs and borders.

    Args:
        image: (H, W).

    Returns:
        (H, W), between Gaussian blurs of 1.5 and 14 pixels of 512.
    """
    scale = max(image.shape) / SIDE
    return cv2.GaussianBlur(image, (0, 0), FINE * scale) - cv2.GaussianBlur(image, (0, 0), COARSE * scale)
