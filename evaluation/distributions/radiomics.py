"""Frechet radiomics distance: classical texture features instead of a network's (after Konz et al. 2024).

First-order statistics and grey-level co-occurrence (scikit-image) of the image and of two bands of detail. These are
not pyradiomics' features: compare the numbers of this module only with each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from evaluation.distributions.fid import fid
from evaluation.features.extract import Extractor

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

SIDE, LEVELS, DISTANCES = 256, 32, (1, 3, 6)
PROPERTIES = ("contrast", "homogeneity", "energy", "correlation")
ANGLES = (0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)


def radiomics(pixels: Float32[np.ndarray, "height width"]) -> Float[np.ndarray, 66]:
    """Texture features of the image at 256 x 256, and of its details at sigma 1 to 4 and 4 to 16 pixels.

    Args:
        pixels: float32 (H, W) in [-1, 1].

    Returns:
        (66,).
    """
    image = cv2.resize(pixels.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (1, 4, 16)]
    bands = (image, blurred[0] - blurred[1], blurred[1] - blurred[2])
    return np.concatenate([np.concatenate([_first_order(band), _texture(band)]) for band in bands])


@dataclass(frozen=True)
class RadiomicsTransform:
    """`radiomics` as the transform of an Extractor, whose network then has nothing to do.

    Attributes:
        version: Of the features; part of the cache's name.
    """

    version: int = 1

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (H, W) in [-1, 1] to (66,)."""
        return torch.from_numpy(radiomics(pixels))


EXTRACTOR = Extractor("radiomics", nn.Identity(), RadiomicsTransform(), "radiomics")


def _first_order(band: np.ndarray) -> np.ndarray:
    x = band.ravel().astype(np.float64)
    histogram = np.histogram(x, LEVELS)[0] / x.size
    quantiles = np.quantile(x, [0.1, 0.25, 0.5, 0.75, 0.9])
    flat = x.std() < 1e-9
    shape = [0.0, 0.0] if flat else [stats.skew(x), stats.kurtosis(x)]
    return np.array([x.mean(), x.std(), *shape, stats.entropy(histogram), *quantiles])


def _texture(band: np.ndarray) -> np.ndarray:
    from skimage.feature import graycomatrix, graycoprops

    low, high = np.quantile(band, [0.01, 0.99])
    levels = ((band - low) / max(high - low, 1e-9) * (LEVELS - 1)).clip(0, LEVELS - 1).astype(np.uint8)
    matrix = graycomatrix(levels, DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
    return np.concatenate([graycoprops(matrix, name).mean(axis=1) for name in PROPERTIES])


def radiomics_distance(real: Float[np.ndarray, "real 66"], synthetic: Float[np.ndarray, "synthetic 66"]) -> float:
    """Frechet distance of texture features, standardised by the real set's mean and deviation.

    Args:
        real: (N, 66) of `radiomics`.
        synthetic: (M, 66) of `radiomics`.

    Returns:
        The distance, 0 for equal sets.
    """
    mean, deviation = real.mean(axis=0), real.std(axis=0)
    deviation = np.where(deviation > 1e-12, deviation, 1)
    return fid((real - mean) / deviation, (synthetic - mean) / deviation)
