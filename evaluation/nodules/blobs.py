"""A plain detector of nodules: bright blobs of a nodule's size, by the scale-normalised Laplacian of Gaussians.

Lindeberg, International Journal of Computer Vision 30 (1998): -sigma^2 Laplacian(G_sigma * image) is highest at the
middle of a disc of radius r for sigma = r / sqrt(2), where it is 2 / e of the disc's contrast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


@dataclass(frozen=True, eq=False)
class Blobs:
    """K blobs.

    Attributes:
        places: (K, 2), row and column in pixels.
        radii: (K,) in pixels.
        response: (K,), in the image's grey.
    """

    places: np.ndarray
    radii: np.ndarray
    response: np.ndarray

    def above(self, threshold: float) -> Blobs:
        """Those whose response reaches a threshold.

        Args:
            threshold: In the image's grey.

        Returns:
            In the order that they had.
        """
        kept = self.response >= threshold
        return Blobs(self.places[kept], self.radii[kept], self.response[kept])

    def best_within(self, centre: Sequence[float], radius: float) -> float:
        """The highest response near a place.

        Args:
            centre: Row and column in pixels.
            radius: In pixels.

        Returns:
            The response; -inf if there is no blob.
        """
        near = np.linalg.norm(self.places - np.asarray(centre), axis=1) <= radius
        return float(self.response[near].max(initial=-np.inf))

    def without(self, others: Blobs) -> Blobs:
        """Those farther from each of `others` than the larger of the two radii.

        Args:
            others: Blobs of an image of the same size.

        Returns:
            What only this image shows; all of it if there are no others.
        """
        new = ~_overlap(self, others).any(axis=1)
        return Blobs(self.places[new], self.radii[new], self.response[new])

    def distinct(self) -> Blobs:
        """The strongest of each cluster of blobs, which one thing makes at several sizes.

        Returns:
            Blobs that do not overlap, by falling response.
        """
        overlap = _overlap(self, self)
        kept: list[int] = []
        for index in np.argsort(-self.response):
            if not overlap[index, kept].any():
                kept.append(int(index))
        return Blobs(self.places[kept], self.radii[kept], self.response[kept])


def _overlap(ours: Blobs, others: Blobs) -> np.ndarray:
    """Bool (K, L): whether two blobs lie within the larger of their radii."""
    distance = np.linalg.norm(ours.places[:, None] - others.places[None], axis=2)
    return distance <= np.maximum(ours.radii[:, None], others.radii[None])


def find_blobs(
    image: Float[np.ndarray, "height width"], region: Bool[np.ndarray, "height width"], diameters_px: Sequence[float]
) -> Blobs:
    """The bright blobs of an image: maxima of the response over place and diameter.

    Args:
        image: (H, W).
        region: (H, W) bool, where to look.
        diameters_px: Which sizes to look for, in pixels.

    Returns:
        The blobs, overlapping ones included.

    Reference:
        Lindeberg 1998, International Journal of Computer Vision 30.
    """
    image = image.astype(np.float32)
    sigmas = [diameter / 2 / np.sqrt(2) for diameter in diameters_px]
    stack = np.stack([-(s**2) * cv2.Laplacian(cv2.GaussianBlur(image, (0, 0), s), -1, ksize=1) for s in sigmas])
    highest = ndimage.maximum_filter(stack, size=3)
    scale, row, column = np.nonzero((stack == highest) & (stack > 0) & region)
    radii = np.asarray(diameters_px, dtype=float)[scale] / 2
    return Blobs(np.stack([row, column], axis=1).astype(float), radii, stack[scale, row, column])
