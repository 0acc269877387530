"""How much easier a nodule is to find after suppression: its signal over the anatomy's own answer to its template.

The observer is the non-prewhitening matched filter (Barrett and Myers, Foundations of Image Science, 2004, 13.2.13): it
correlates the image with the nodule's shape, and the deviation of its answers over the lungs, where there is no nodule,
is what it has to tell the nodule from. Ribs answer to a nodule's template, so taking them away raises the detectability
d' = signal / clutter; taking the nodule too lowers it. d' after over before is the figure in which taking too little
and taking too much both lose. A gain or offset of the whole image leaves it as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from evaluation.suppression.gains import SIDE, scaled

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float32

REACH = 1.5  # the template's radius in diameters: the nodule, and around it what it stands out from


def template(diameter_mm: float, pixel_mm: float) -> Float32[np.ndarray, "size size"]:
    """The template of the observer: a ball's chords less their mean within 1.5 diameters.

    Args:
        diameter_mm: Of the ball.
        pixel_mm: Side of a pixel.

    Returns:
        float32 (K, K); it answers 0 to a constant.
    """
    reach = int(REACH * diameter_mm / pixel_mm)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * pixel_mm
    squares = y**2 + x**2
    ball = np.sqrt(np.maximum((diameter_mm / 2) ** 2 - squares, 0)).astype(np.float32)
    inside = squares <= (REACH * diameter_mm) ** 2
    return np.where(inside, ball - ball[inside].mean(), np.float32(0))


def clutter(
    image: Float[np.ndarray, "height width"],
    lungs: Bool[np.ndarray, "height width"],
    diameter_mm: float,
    pixel_mm: float,
) -> float:
    """The deviation over the lungs of an image's answers to the template of a nodule.

    Args:
        image: (H, W) without a nodule.
        lungs: bool (H, W).
        diameter_mm: Of the nodule.
        pixel_mm: Side of a pixel.

    Returns:
        The deviation, in the image's grey.
    """
    kernel = template(diameter_mm, pixel_mm)
    answers = cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT)
    return float(answers[lungs].std(dtype=np.float64))


class ClutterRatio:
    """Clutter before over after, for nodules of any size; it is measured at 512 pixels and once for each diameter.

    Args:
        before: Radiograph (H, W) without a nodule.
        after: The same, suppressed.
        lungs: bool (H, W).
        pixel_mm: Side of a pixel of these images.
    """

    def __init__(
        self,
        before: Float[np.ndarray, "height width"],
        after: Float[np.ndarray, "height width"],
        lungs: Bool[np.ndarray, "height width"],
        pixel_mm: float,
    ) -> None:
        self._before, self._after = scaled(before, SIDE), scaled(after, SIDE)
        self._lungs = scaled(lungs.astype(np.float32), SIDE) > 0.5
        self._pixel_mm = pixel_mm * max(before.shape) / max(self._before.shape)
        self._known: dict[float, tuple[float, float]] = {}

    def __call__(self, diameter_mm: float) -> float:
        """Before over after: above 1 where the anatomy answers less to a nodule's template; NaN without an answer."""
        before, after = self.clutters(diameter_mm)
        return before / after if after > 0 else float("nan")

    def clutters(self, diameter_mm: float) -> tuple[float, float]:
        """Clutter before and after.

        Args:
            diameter_mm: Of the nodule whose template answers.

        Returns:
            As `clutter` measures them, in the images' grey.
        """
        if diameter_mm not in self._known:
            images = (self._before, self._after)
            before, after = (clutter(image, self._lungs, diameter_mm, self._pixel_mm) for image in images)
            self._known[diameter_mm] = before, after
        return self._known[diameter_mm]

    def index(self, diameter_mm: float, contrast_per_mm: float) -> float:
        """D' of a ball before suppression.

        Args:
            diameter_mm: Of the ball.
            contrast_per_mm: Grey that 1 mm of its chord adds.

        Returns:
            Its signal over the clutter.
        """
        kernel = template(diameter_mm, self._pixel_mm)
        before, _ = self.clutters(diameter_mm)
        reach = kernel.shape[0] // 2
        y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] * self._pixel_mm
        chords = 2 * np.sqrt(np.maximum((diameter_mm / 2) ** 2 - y**2 - x**2, 0))
        answer = float((kernel * chords).sum()) * contrast_per_mm
        return answer / before if before > 0 else float("nan")
