"""Lung masks on a network's grid, for GL-LCM's path in the lungs: in training as in `radiolucent suppress --lungs`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.inputs import read_mask
from radiographs.letterbox import BLACK, fit
from radiographs.lungs import lung_mask


def read_lungs(mask: str | Path, pixels: np.ndarray, size: int) -> np.ndarray:
    """Lung mask of a radiograph (H, W) on the grid, bool (size, size). mask: a file of its size, or "auto"."""
    lungs = lung_mask(pixels) if mask == "auto" else read_mask(Path(mask))
    if lungs.shape != pixels.shape:
        raise ValueError(
            f"the lung mask has {lungs.shape[0]} x {lungs.shape[1]} pixels, the radiograph {pixels.shape[0]} x "
            f"{pixels.shape[1]}: give one of its size"
        )
    return fit(np.where(lungs, np.float32(1), np.float32(BLACK)), size)[0] > 0


def blacken(image: np.ndarray, lungs: np.ndarray) -> np.ndarray:
    """The image (H, W) with all black but where `lungs` (H, W), bool, is true, as lung_fusion.lungs_only has it."""
    return np.where(lungs, image, np.float32(BLACK))
