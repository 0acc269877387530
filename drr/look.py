"""The display look of many vendors, drawn at random, the same for both images of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .detector import detector_response

Range = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How a pair is exposed and processed. Lengths are fractions of the image's longer side; 0 amounts do nothing.

    bone_strength: multiplies the bone's line integral; a radiograph is taken and processed so that bone stands out.
    bone_saturation s: a line integral b of bone counts as b (1 + 0.1 s) / (1 + s b), so that 0.1, a rib, stays: beam
        hardening, and scatter behind the mediastinum, hold thick bone back, above all the spine.
    bone_sharpening, bone_sigma: unsharp mask of the bone layer, for CT slices that blur the ribs' cortex.
    centre, width: exposure and latitude, see `detector_response`.
    window: quantiles of the radiograph that become -1 and 1, for both images.
    gamma: exponent on [0, 1] after the window.
    compression, compression_sigma: part of the blurred image that is taken away, and the width of that blur: dynamic
        range compression, by which spine, heart and shoulders come nearer to the lungs' grey while edges stay.
    unsharp, unsharp_sigma: amount and width of the coarse and of the fine unsharp mask.
    local_contrast, local_sigma: exponent by which local standard deviations are evened out, and their width.
    """

    bone_strength: float = 1.0
    bone_saturation: float = 0.0
    bone_sharpening: float = 0.0
    bone_sigma: float = 0.008
    centre: float = 4.0
    width: float = 1.4
    window: Range = (0.0, 1.0)
    gamma: float = 1.0
    compression: float = 0.0
    compression_sigma: float = 0.15
    unsharp: Range = (0.0, 0.0)
    unsharp_sigma: Range = (0.04, 0.004)
    local_contrast: float = 0.0
    local_sigma: float = 0.06

    def __post_init__(self) -> None:
        if not all(np.isfinite(value).all() for value in vars(self).values()):
            raise ValueError(f"{self}: every number of a look must be finite")
        low, high = self.window
        amounts = min(self.bone_strength, self.bone_saturation, self.compression) >= 0 and self.compression < 1
        if not (amounts and self.width > 0 and self.gamma > 0 and 0 <= low < high <= 1):
            raise ValueError(
                f"{self}: needed are bone_strength, bone_saturation >= 0, 0 <= compression < 1, width > 0, gamma > 0 "
                "and 0 <= window < window <= 1"
            )

    @classmethod
    def random(cls, rng: np.random.Generator) -> Look:
        """A look within the ranges that carried over to real dual-energy pairs."""
        return cls(
            bone_strength=rng.uniform(1.5, 6),
            bone_sharpening=rng.uniform(0, 2.5),
            bone_sigma=rng.uniform(1, 4) / 256,
            centre=rng.uniform(3.4, 5),
            width=rng.uniform(1.2, 2.2),
            window=(rng.uniform(0, 0.02), rng.uniform(0.99, 1)),
            gamma=rng.uniform(0.5, 1.3),
            unsharp=(rng.uniform(0, 2), rng.uniform(0, 1)),
            unsharp_sigma=(rng.uniform(3, 25) / 256, rng.uniform(0.8, 2) / 256),
            local_contrast=rng.uniform(0, 0.4),
            local_sigma=rng.uniform(10, 30) / 256,
            compression=max(0.0, rng.uniform(-0.6, 0.9)),  # none in four of ten looks
            bone_saturation=rng.uniform(0, 12),
            compression_sigma=rng.uniform(15, 60) / 256,
        )


def render_pair(soft: np.ndarray, bone: np.ndarray, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """A radiograph and its soft-tissue image, both float32 (H, W) in [-1, 1], by one and the same mapping.

    soft, bone: (H, W) line integrals, as `project` gives them.
    """
    soft, bone = (np.ascontiguousarray(lines, dtype=np.float32) for lines in (soft, bone))
    if soft.ndim != 2 or soft.shape != bone.shape:
        raise ValueError(f"soft has shape {soft.shape}, bone {bone.shape}; two equal images (H, W) are needed")
    size = max(soft.shape)
    if look.bone_saturation:
        bone = bone * ((1 + 0.1 * look.bone_saturation) / (1 + look.bone_saturation * bone))
    if look.bone_sharpening:
        bone = np.maximum(bone + look.bone_sharpening * (bone - blur(bone, look.bone_sigma * size)), 0)
    images = [_process(lines, look) for lines in (soft + look.bone_strength * bone, soft)]
    step = max(1, size // 256)
    low, high = (np.float32(edge) for edge in np.quantile(images[0][::step, ::step], look.window))
    scale = 1 / max(high - low, np.float32(1e-6))
    radiograph, soft_image = (
        np.clip((image - low) * scale, 0, 1) ** np.float32(look.gamma) * 2 - 1 for image in images
    )
    return radiograph, soft_image


def _process(lines: np.ndarray, look: Look) -> np.ndarray:
    """Detector, compression, local contrast, unsharp masks: what does not depend on the other image."""
    size = max(lines.shape)
    image = detector_response(lines, look.centre, look.width)
    if look.compression:
        image = image - look.compression * blur(image, look.compression_sigma * size)
    if look.local_contrast:
        mean = blur(image, look.local_sigma * size)
        spread = np.sqrt(np.maximum(blur(image * image, look.local_sigma * size) - mean * mean, 0))
        gain = np.clip((spread.mean() / np.maximum(spread, 1e-4)) ** look.local_contrast, 0.5, 2)
        image = mean + (image - mean) * blur(gain, look.local_sigma * size)
    sharper = image
    for amount, sigma in zip(look.unsharp, look.unsharp_sigma):
        if amount:
            sharper = sharper + amount * (image - blur(image, sigma * size))
    return sharper


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur, float32 (H, W), sigma in pixels, border reflected; wide ones are done on a smaller image."""
    step = max(1, int(sigma / 3))
    if step == 1:
        return cv2.GaussianBlur(image, (0, 0), sigma)
    height, width = image.shape
    small = cv2.resize(image, (max(1, width // step), max(1, height // step)), interpolation=cv2.INTER_AREA)
    # the area mean (variance step^2 / 12) and the linear interpolation (step^2 / 6) blur too
    small = cv2.GaussianBlur(small, (0, 0), np.sqrt(sigma**2 / step**2 - 0.25))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
