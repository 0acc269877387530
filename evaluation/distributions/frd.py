"""Frechet Radiomic Distance (FRD, Konz, Osuala et al. 2026, arXiv:2412.01496, eq. 3) on pyradiomics' features.

The features, their settings and the order of the steps are those of the authors' frd-score 1.0 (its version "v1", two
dimensions), which CheXGenBench uses too; tests compare the value with frd-score's. Like it, this gives the logarithm
of the squared distance; the paper's formula, of the distance itself, is half of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.distributions.fid import fid
from evaluation.features.extract import Extractor

if TYPE_CHECKING:
    from jaxtyping import Float, Float32

GLCM = (
    "Autocorrelation JointAverage ClusterProminence ClusterShade ClusterTendency Contrast Correlation "
    "DifferenceAverage DifferenceEntropy DifferenceVariance JointEnergy JointEntropy Imc1 Imc2 Idm Idmn Id Idn "
    "InverseVariance MaximumProbability SumEntropy SumSquares"
)
SETTINGS: dict[str, Any] = {
    "imageType": {"Original": {}, "LoG": {"sigma": [2.0, 3.0, 4.0, 5.0]}, "Wavelet": {}},  # LoG skips flat images
    "featureClass": {"firstorder": None, "glcm": GLCM.split(), "glrlm": None, "glszm": None, "ngtdm": None},
    "setting": {
        "normalize": True,
        "normalizeScale": 100,
        "interpolator": "sitkBSpline",
        "resampledPixelSpacing": [2, 2, 0],
        "padDistance": 10,
        "preCrop": True,
        "force2D": True,
        "force2Ddimension": 0,
        "binWidth": 5,
        "voxelArrayShift": 300,
        "label": 1,
    },
}
INSTALL = (
    "FRD needs pyradiomics, whose releases do not install by themselves: pip install --no-build-isolation "
    "pyradiomics==3.0.1 (up to Python 3.11, after numpy and setuptools), or its main branch"
)


@cache
def load_pyradiomics() -> Any:
    """Its feature extractor with `SETTINGS`, and its log turned off.

    Returns:
        pyradiomics' RadiomicsFeatureExtractor.

    Raises:
        ValueError: pyradiomics is not installed.
    """
    try:
        from radiomics import featureextractor, setVerbosity
    except ImportError as error:
        raise ValueError(f"{INSTALL} ({error})") from None
    logging.getLogger("radiomics").setLevel(logging.ERROR)
    setVerbosity(60)
    return featureextractor.RadiomicsFeatureExtractor(SETTINGS)


def radiomic_features(pixels: Float32[np.ndarray, "height width"]) -> np.ndarray:
    """Pyradiomics' features and its numeric diagnostics of an image at half its size.

    Args:
        pixels: float32 (H, W) in [-1, 1].

    Returns:
        float64 (D,).

    Raises:
        ValueError: pyradiomics is not installed, or the image has one grey level and so no texture.
    """
    import SimpleITK

    extractor = load_pyradiomics()
    if np.ptp(pixels) == 0:
        raise ValueError("an image of one grey level has no radiomic features")
    inside = np.ones((1, *pixels.shape), np.uint8)
    inside[0, 0, 0] = 0  # pyradiomics refuses a mask without an outside
    levels = ((pixels[None].astype(np.float64) + 1) * 127.5).astype(np.float32)
    image, mask = (SimpleITK.GetImageFromArray(array) for array in (levels, inside))
    found = extractor.execute(image, mask).values()
    return np.array([float(value) for value in found if np.ndim(value) == 0 and not isinstance(value, str | dict)])


@dataclass(frozen=True)
class FRDTransform:
    """`radiomic_features` as the transform of an Extractor, whose network then has nothing to do.

    Attributes:
        version: Of the features; part of the cache's name.
    """

    version: int = 1

    def __call__(self, pixels: np.ndarray) -> Tensor:
        """float32 (H, W) in [-1, 1] to float32 (D,)."""
        return torch.from_numpy(radiomic_features(pixels).astype(np.float32))


EXTRACTOR = Extractor("FRD", nn.Identity(), FRDTransform(), "pyradiomics")


def frd(real: Float[np.ndarray, "real features"], synthetic: Float[np.ndarray, "synthetic features"]) -> float:
    """Frechet Radiomic Distance, with features standardised by the real set.

    Features that are constant in the real set are left out.

    Args:
        real: (N, D) of `radiomic_features`.
        synthetic: (M, D) of `radiomic_features`.

    Returns:
        ln of the squared Frechet distance; -inf for equal sets.

    Reference:
        Konz, Osuala et al. 2026, arXiv:2412.01496, eq. 3, whose value is half of this.
    """
    mean, deviation = real.mean(axis=0), real.std(axis=0)
    kept = deviation > 0
    squared = fid(*((x[:, kept] - mean[kept]) / deviation[kept] for x in (real, synthetic)))
    return float(np.log(squared)) if squared > 0 else float("-inf")
