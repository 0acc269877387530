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
    notes: what was done to it that a user should know, each a sentence; see `read_ct`.

    ValueError: shapes that disagree, or an affine that is not a finite, invertible (4, 4) matrix.
    """

    hu: Any
    affine: np.ndarray
    labels: np.ndarray | None = None
    structures: dict[int, str] | None = None
    bone: np.ndarray | None = None
    source: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        what = self.source or "volume"
        shape = tuple(self.hu.shape)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"{what}: the CT has shape {shape}; a volume (D, H, W) is needed")
        affine = np.asarray(self.affine, dtype=np.float64)
        object.__setattr__(self, "affine", affine)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(
                f"{what}: the affine is not a finite, invertible (4, 4) matrix; give the voxel spacing in mm"
            )
        for name in ("labels", "bone"):
            other = getattr(self, name)
            if other is not None and tuple(other.shape) != shape:
                raise ValueError(f"{what}: {name} has shape {tuple(other.shape)}, the CT {shape}; they must be equal")

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (x, y, z) in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def names_where(self, test: Any) -> dict[int, str]:
        """{label id: name} of the structures whose name passes `test`; empty without a label map."""
        return {i: name for i, name in (self.structures or {}).items() if test(name)}

    def mask(self, *names: str) -> np.ndarray:
        """bool (D, H, W): the voxels of the named structures.

        ValueError: no label map, or a name that its table lacks.
        """
        if self.labels is None or self.structures is None:
            raise ValueError(f"{self.source or 'volume'}: no label map; give one with read_ct(path, labels=...)")
        ids = {name: i for i, name in self.structures.items()}
        missing = [name for name in names if name not in ids]
        if missing:
            raise ValueError(f"the label table has no structure {', '.join(missing)}; it has {', '.join(ids)}")
        return np.isin(self.labels, [ids[name] for name in names])

    def replace(self, **changes: Any) -> Volume:
        """A copy with some fields replaced."""
        return replace(self, **changes)
