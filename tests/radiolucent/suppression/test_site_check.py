"""Folders of pairs the wrong way round."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_modules.data.adaptation import SitePair
from radiolucent.suppression.site_check import refuse_swapped

SIDE = 96
RIBS = np.zeros((SIDE, SIDE), np.float32)
for row in range(10, 90, 20):
    RIBS[row : row + 5] = 0.3


def pair(seed: int, swapped: bool = False) -> SitePair:
    """A body with ribs, bright in its radiograph."""
    soft = np.random.default_rng(seed).normal(0, 0.1, (SIDE, SIDE)).astype(np.float32)
    images = (soft, soft + RIBS) if swapped else (soft + RIBS, soft)
    return SitePair(str(seed), *images, None)


def finds_a_part(radiograph: np.ndarray) -> np.ndarray:
    """A model that finds ribs where they are, and a trace of them where they have been taken away."""
    strength = float((radiograph * RIBS).mean() / (RIBS**2).mean())
    return (0.1 + 0.5 * max(0.0, strength)) * RIBS


def test_folders_that_are_swapped_are_refused() -> None:
    refuse_swapped(finds_a_part, [pair(seed) for seed in range(3)], SIDE)
    refuse_swapped(finds_a_part, [pair(0, swapped=True), pair(1), pair(2)], SIDE)  # most are right
    refuse_swapped(np.zeros_like, [pair(0, swapped=True)], SIDE)  # a model that finds nothing cannot tell
    with pytest.raises(ValueError, match="are the two folders swapped"):
        refuse_swapped(finds_a_part, [pair(0), pair(1, swapped=True), pair(2, swapped=True)], SIDE)
