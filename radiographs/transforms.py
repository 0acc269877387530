"""Augmentation of pairs with albumentations: the same for both images, and then noise on the radiograph alone."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would look for updates over the network when imported
import albumentations as A

if TYPE_CHECKING:
    from jaxtyping import Float32


def default_paired() -> list[A.BasicTransform]:
    """Small poses and exposures, which radiograph and soft tissue share.

    Returns:
        Turns of up to 7 degrees, scales and shifts of up to a tenth and a twentieth, mirror images, contrast, gamma.
    """
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(scale=(0.9, 1.1), rotate=(-7, 7), translate_percent=(-0.05, 0.05), keep_ratio=True, fill=0, p=0.8),
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.15, p=0.5),
        A.RandomGamma(gamma_limit=(80, 125), p=0.5),
    ]


def default_noise() -> list[A.BasicTransform]:
    """Quantum noise as the detector adds it: in the radiograph, not in what is to be predicted.

    Returns:
        Gaussian noise of a deviation of up to 0.02 of the full range, on every second image.
    """
    return [A.GaussNoise(std_range=(0.0, 0.02), p=0.5)]


class PairTransform:
    """Augment a radiograph and its soft tissue.

    albumentations sees float32 images in [0, 1].

    Args:
        paired: albumentations transforms that act on both images alike; None: `default_paired`.
        noise: Transforms that act on the radiograph alone, afterwards; None: `default_noise`.
    """

    def __init__(
        self, paired: Sequence[A.BasicTransform] | None = None, noise: Sequence[A.BasicTransform] | None = None
    ) -> None:
        # A second pipeline, because additional_targets would give the same noise to both images.
        self.paired = A.Compose(default_paired() if paired is None else paired, additional_targets={"soft": "image"})
        self.noise = A.Compose(default_noise() if noise is None else noise)

    def __call__(
        self, radiograph: Float32[np.ndarray, "height width"], soft: Float32[np.ndarray, "height width"], seed: int
    ) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
        """The augmented pair.

        Args:
            radiograph: float32 (H, W) in [-1, 1].
            soft: float32 (H, W) in [-1, 1].
            seed: Decides on everything, whatever was drawn before.

        Returns:
            Both, float32 (H, W) in [-1, 1].
        """
        # Shared generators: set_random_seed would give every transform of a pipeline the same draws.
        for pipeline in (self.paired, self.noise):
            pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        both = self.paired(image=_to_zero_one(radiograph), soft=_to_zero_one(soft))
        noisy = self.noise(image=both["image"])["image"]
        return _from_zero_one(noisy), _from_zero_one(both["soft"])


def _to_zero_one(pixels: np.ndarray) -> np.ndarray:
    return ((pixels + 1) / 2).astype(np.float32)


def _from_zero_one(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 2 - 1).astype(np.float32).clip(-1, 1)
