"""The CT volume: Hounsfield units on a grid in patient space (LPS, mm)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume.

    hu: int16 (D, H, W), indexed [z, y, x], Hounsfield units. A float torch tensor is taken by the torch backend.
    affine: float64 (4, 4), voxel index (x, y, z, 1) -> LPS position in mm of that voxel's centre.
    labels: integer (D, H, W) label map, or None.
    structures: {label id: structure name} for `labels`.
    bone: uint8 (D, H, W), or None: 0 not bone, 1 rim (only what is denser than soft tissue is taken away),
        2 bone (replaced by soft tissue).
    source: where the volume came from, for messages and manifests; never a patient identifier.
    """

    hu: Any
    affine: np.ndarray
    labels: np.ndarray | None = None
    structures: dict[int, str] | None = None
    bone: np.ndarray | None = None
    source: str = ""

    def replace(self, **changes: Any) -> Volume:
        """A copy with some fields replaced."""
        return replace(self, **changes)
