"""A model's answers on its own grid, made one image of the radiograph's size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from radiographs import fit, resize, unfit

Predict = Callable[[np.ndarray, int], np.ndarray]
OwnStrength = Callable[[np.ndarray, np.ndarray], float]


def as_the_model_says(fitted: np.ndarray, bone: np.ndarray) -> float:
    """The strength of models that do not record how an image asks for one.

    Args:
        fitted: Square radiograph (size, size) in [-1, 1]; not looked at.
        bone: Its bone (size, size); not looked at.

    Returns:
        1, the model's answer as it is.
    """
    return 1.0


def find_bone(
    predict: Predict,
    pixels: np.ndarray,
    *,
    compose: str,
    seeds: Sequence[int],
    size: int,
    own_strength: OwnStrength = as_the_model_says,
    detail: tuple[Predict, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """The bone of a radiograph at its own size; see `suppress_pixels`, which takes it away.

    Args:
        predict: (square image (size, size), seed) -> its soft tissue, both float32 in [-1, 1].
        pixels: float32 (H, W) in [-1, 1], bones bright.
        compose: "subtract" takes the bone at the radiograph's own size; "direct" gives the model's image, made larger.
        seeds: One for each answer that is averaged.
        size: Side in pixels of the square that the model sees.
        own_strength: (square image, its bone) -> the factor on the bone that the image asks for.
        detail: A second `predict` and the side of what it sees, for edges that are finer than `size` shows; None: none.

    Returns:
        Bone (H, W), in the radiograph's grey levels; the samples' standard deviation (H, W); the factor on the bone
        that the image asks for.
    """
    fitted, placed = fit(pixels, size)
    samples = [predict(fitted, seed) for seed in seeds]
    mean, spread = samples[0], np.zeros(pixels.shape, np.float32)
    if len(samples) > 1:
        mean, spread = np.mean(samples, axis=0), unfit(np.std(samples, axis=0), placed).clip(0, 1)
    if compose == "direct":
        return pixels - unfit(mean, placed), spread, 1.0
    own = own_strength(fitted, fitted - mean)
    bone = unfit(fitted - mean, placed)
    if detail is not None and max(pixels.shape) > size:
        finer, side = detail
        fitted, placed = fit(pixels, side)
        fine = fitted - finer(fitted, seeds[0])
        bone = bone + unfit(fine - resize(resize(fine, (size, size)), fine.shape), placed)
    return bone, spread, own


def take_away(pixels: np.ndarray, bone: np.ndarray, strength: float) -> np.ndarray:
    """The radiograph without `strength` times its bone.

    Args:
        pixels: float32 (H, W) in [-1, 1], bones bright.
        bone: float32 (H, W), in the same grey levels.
        strength: 0 leaves the radiograph as it is.

    Returns:
        float32 (H, W) in [-1, 1].
    """
    return (pixels - np.float32(strength) * bone).clip(-1, 1)


def suppress_pixels(
    predict: Predict,
    pixels: np.ndarray,
    *,
    compose: str,
    seeds: Sequence[int],
    size: int,
    strength: float = 1.0,
    own_strength: OwnStrength = as_the_model_says,
    detail: tuple[Predict, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """A radiograph without its bones.

    The image is fitted into the model's grid with its aspect kept. "direct": the mean prediction, upsampled.
    "subtract": what it took away, upsampled, is taken from the radiograph, so that all finer detail stays.

    Args:
        predict: (size, size) and a seed -> the soft tissue (size, size).
        pixels: float32 (H, W) in [-1, 1].
        compose: "direct" or "subtract".
        seeds: Of the answers that are averaged.
        size: Side of the model's grid in pixels.
        strength: Multiplies what is taken away.
        own_strength: Of the fitted image and its bone, a further factor.
        detail: Another `predict` and its larger size; where the radiograph is larger than `size`, what its bone has
            that fits into no image of `size` pixels is taken away too.

    Returns:
        Soft tissue (H, W) in [-1, 1], the samples' standard deviation (H, W), the factor on what was predicted.
    """
    bone, spread, own = find_bone(
        predict, pixels, compose=compose, seeds=seeds, size=size, own_strength=own_strength, detail=detail
    )
    return take_away(pixels, bone, strength * own), spread, strength * own
