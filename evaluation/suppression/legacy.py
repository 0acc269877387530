"""The published numbers, with their wrapping arithmetic, for comparison with papers only.

BS-LDM and GL-LCM compute their PSNR on uint8 arrays: the difference wraps modulo 256, and so does its square. Their
scripts resize to 1024x1024 first. CheXGenBench's pixel distance wraps in the same way.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 1024


def resized(image: np.ndarray) -> np.ndarray:
    """At the scripts' 1024x1024.

    Args:
        image: (H, W) of any type that OpenCV takes; the aspect is not kept.

    Returns:
        Bilinear without antialiasing, as those scripts do it, in the image's type and range.
    """
    return cv2.resize(image, (SIDE, SIDE))


def psnr_wrapping(prediction: np.ndarray, truth: np.ndarray) -> float:
    """BS-LDM's PSNR, whose error wraps: the mean of ((truth - prediction) mod 256)^2 mod 256.

    Args:
        prediction: uint8 (H, W).
        truth: uint8 (H, W).

    Returns:
        PSNR in dB; 100 where the error is 0.
    """
    error = ((resized(truth) - resized(prediction)) ** 2).mean()
    return 100.0 if error == 0 else float(20 * np.log10(255 / np.sqrt(error)))


def mse_published(prediction: np.ndarray, truth: np.ndarray) -> float:
    """BS-LDM's MSE; this one does not wrap.

    Args:
        prediction: uint8 (H, W).
        truth: uint8 (H, W).

    Returns:
        MSE on the scale 0 to 1.
    """
    return float(np.mean((resized(truth / 255) - resized(prediction / 255)) ** 2))


def bsr_one_sided(prediction: np.ndarray, truth: np.ndarray, radiograph: np.ndarray) -> float:
    """BS-LDM's bone suppression ratio; see `evaluation.suppression.metrics.bsr_published`.

    Args:
        prediction: uint8 (H, W).
        truth: uint8 (H, W).
        radiograph: uint8 (H, W).

    Returns:
        The ratio.
    """
    soft, shifted = resized(truth / 255), resized(prediction / 255)
    bone = resized(radiograph / 255 - truth / 255)
    shifted = shifted + np.average(soft - shifted)
    lacking = np.maximum(soft - shifted, 0)
    return float(1 - np.sum(lacking**2) / np.sum(bone**2))


def pixel_distance_wrapping(a: np.ndarray, b: np.ndarray) -> float:
    """CheXGenBench's pixel distance, which wraps: norm((a - b) mod 256) / sqrt(size).

    Args:
        a: uint8 of any shape.
        b: uint8 of that shape.

    Returns:
        The distance, in grey levels.
    """
    return float(np.linalg.norm(a - b) / np.sqrt(a.size))
