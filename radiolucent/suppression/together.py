"""Several radiographs suppressed together: one call of the network for all of them, then each for itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from radiographs import fit
from radiolucent.suppression.model import look_again_at, predict_squares
from radiolucent.suppression.suppressor import Suppressed, Suppressor, suppress_pixels

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def suppress_together(
    suppressor: Suppressor,
    images: Sequence[Float[np.ndarray, "height width"]],
    lungs: Sequence[Bool[np.ndarray, "size size"] | None],
) -> list[Suppressed]:
    """As `Suppressor.suppress` of each; of several, up to the rounding of their common call.

    Args:
        suppressor: What suppresses.
        images: float32 (H, W) in [-1, 1], bones bright, of any sizes.
        lungs: A mask each, or None; all or none of them.

    Returns:
        One result an image.
    """
    if len(images) == 1:
        return [suppressor.suppress(images[0], lungs[0])]
    size, pipeline, steps = suppressor.size, suppressor.pipeline, suppressor.steps
    masks = None if any(mask is None for mask in lungs) else np.stack([mask for mask in lungs if mask is not None])
    fitted = np.stack([fit(pixels, size)[0] for pixels in images])
    first = {
        seed: predict_squares(pipeline, fitted, seed, lungs=masks, steps=steps, tile=suppressor.tile)
        for seed in suppressor.seeds
    }
    side = suppressor.detail if suppressor.compose == "subtract" else None
    large = [] if side is None else [number for number, pixels in enumerate(images) if max(pixels.shape) > size]
    second = {}
    if side is not None and large:
        seen = np.stack([fit(images[number], side)[0] for number in large])
        second = dict(zip(large, look_again_at(pipeline, seen, suppressor.seeds[0], steps=steps)))
    found = []
    for number, pixels in enumerate(images):
        soft, spread, strength = suppress_pixels(
            lambda _, seed, number=number: first[seed][number],  # type: ignore[misc]
            pixels,
            compose=suppressor.compose,
            seeds=suppressor.seeds,
            size=size,
            strength=suppressor.strength,
            own_strength=suppressor._own_strength,
            detail=None if side is None else (lambda _, seed, number=number: second[number], side),  # type: ignore[misc]
        )
        found.append(Suppressed(soft, pixels - soft, spread if len(suppressor.seeds) > 1 else None, strength))
    return found
