"""The CT volume: Hounsfield units on a grid in patient space (LPS, mm)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Float64, Integer, UInt8


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume.

    Attributes:
        hu: int16 (D, H, W), indexed [z, y, x], Hounsfield units. A float torch tensor is taken by the torch backend.
        affine: float64 (4, 4), voxel index (x, y, z, 1) -> LPS position in mm of that voxel's centre.
        labels: Integer (D, H, W) label map, or None.
        structures: {label id: structure name} for `labels`.
        bone: uint8 (D, H, W), or None: 0 not bone, 1 rim (only what is denser than soft tissue is taken away),
            2 bone (replaced by soft tissue).
        source: Where the volume came from, for messages and manifests; never a patient identifier.
        notes: What was done to it that a user should know, each a sentence; see `read_ct`.

    Raises:
        ValueError: Shapes that disagree, or an affine that is not a finite, invertible (4, 4) matrix.

    Example:
        >>> volume = Volume(hu=np.zeros((4, 5, 6), np.int16), affine=np.diag([1.0, 1.0, 2.0, 1.0]))
        >>> volume.spacing
        array([1., 1., 2.])
    """

    hu: Any
    affine: Float64[np.ndarray, "4 4"]
    labels: Integer[np.ndarray, "depth height width"] | None = None
    structures: dict[int, str] | None = None
    bone: UInt8[np.ndarray, "depth height width"] | None = None
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
        """Structures that pass a test.

        Args:
            test: Of a name.

        Returns:
            {label id: name}, empty without a label map.
        """
        return {i: name for i, name in (self.structures or {}).items() if test(name)}

    def mask(self, *names: str) -> Bool[np.ndarray, "depth height width"]:
        """The voxels of some structures.

        Args:
            *names: As `structures` has them.

        Returns:
            bool (D, H, W).

        Raises:
            ValueError: No label map, or a name that its table lacks.
        """
        if self.labels is None or self.structures is None:
            raise ValueError(f"{self.source or 'volume'}: no label map; give one with read_ct(path, labels=...)")
        ids = {name: i for i, name in self.structures.items()}
        missing = [name for name in names if name not in ids]
        if missing:
            raise ValueError(f"the label table has no structure {', '.join(missing)}; it has {', '.join(ids)}")
        return np.isin(self.labels, [ids[name] for name in names])

    def replace(self, **changes: Any) -> Volume:
        """A copy with some fields replaced.

        Args:
            **changes: Fields by name, as the class takes them.

        Returns:
            The copy; arrays that are not replaced are shared.
        """
        return replace(self, **changes)
