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
        ValueError: Shapes that disagree, HU that are not finite, a `bone` that is no uint8, or an affine that is not a
            finite, invertible (4, 4) matrix with the last row 0, 0, 0, 1.

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
        if isinstance(self.hu, (list, tuple)):
            raise ValueError(f"{what}: the CT is a {type(self.hu).__name__}; an array (D, H, W) of HU is needed")
        if isinstance(self.hu, np.ndarray) and not self.hu.dtype.isnative:
            object.__setattr__(self, "hu", self.hu.astype(self.hu.dtype.newbyteorder("=")))
        shape = tuple(self.hu.shape)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"{what}: the CT has shape {shape}; a volume (D, H, W) is needed")
        affine = np.asarray(self.affine, dtype=np.float64)
        object.__setattr__(self, "affine", affine)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError(
                f"{what}: the affine is not a finite, invertible (4, 4) matrix; give the voxel spacing in mm"
            )
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise ValueError(
                f"{what}: the affine's last row is {affine[3].tolist()}; it must be 0, 0, 0, 1: is it transposed?"
            )
        if isinstance(self.hu, np.ndarray) and self.hu.dtype.kind == "f":
            ends = self.hu.min(), self.hu.max()  # without a mask as large as the volume
            if not np.isfinite(ends).all():
                raise ValueError(f"{what}: the CT holds HU that are not finite numbers; replace them, air is -1000")
        if self.bone is not None and str(self.bone.dtype).removeprefix("torch.") != "uint8":
            raise ValueError(
                f"{what}: bone is {self.bone.dtype}; uint8 is needed: 2 in bone, 1 in its rim, 0 elsewhere "
                "(2 * mask.astype('uint8') of a mask)"
            )
        for name in ("labels", "bone"):
            other = getattr(self, name)
            if other is not None and tuple(other.shape) != shape:
                raise ValueError(f"{what}: {name} has shape {tuple(other.shape)}, the CT {shape}; they must be equal")

    @property
    def spacing(self) -> np.ndarray:
        """Voxel size (x, y, z) in mm."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    def require_patient_axes(self, what: str) -> None:
        """Refuse a volume whose axes do not run most nearly to the patient's left, back and head.

        What knows the chest by place needs it; `read_ct` turns every CT so, and projection takes any axes.

        Args:
            what: The function that needs it, for the message.

        Raises:
            ValueError: Other axes.
        """
        order, flips = patient_axes(self.affine)
        if order != (0, 1, 2) or flips:
            raise ValueError(
                f"{self.source or 'volume'}: {what} needs axes x, y, z that run to the patient's left, back and head, "
                "as read_ct turns them; turn the array and its affine"
            )

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


def patient_axes(affine: Float64[np.ndarray, "4 4"]) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Which way a volume's axes run in the patient.

    Args:
        affine: Voxel index (x, y, z, 1) -> LPS mm.

    Returns:
        The index axis that runs most nearly along L, P and S each; of these three those that run against it.
    """
    from scipy.optimize import linear_sum_assignment

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    x, y, z = (int(axis) for axis in linear_sum_assignment(-np.abs(cosines))[1])
    return (x, y, z), tuple(world for world, axis in enumerate((x, y, z)) if affine[world, axis] < 0)


def require_array(volume: Any, what: str) -> None:
    """Refuse all but a Volume whose HU are a numpy array, where compiled code reads them.

    Args:
        volume: What was given.
        what: The function that needs it, for the message.

    Raises:
        ValueError: No Volume, or one of another kind of HU, such as a torch tensor, which projection takes.
    """
    if not isinstance(volume, Volume):
        raise ValueError(
            f"{what} needs a drr.Volume, this is a {type(volume).__name__}: Volume(hu, affine) of HU (D, H, W) and "
            "their (4, 4) affine, or read_ct of a file"
        )
    if not isinstance(volume.hu, np.ndarray):
        raise ValueError(
            f"{volume.source or 'volume'}: {what} needs HU in a numpy array, these are a {type(volume.hu).__name__}: "
            "volume.replace(hu=hu.cpu().numpy()) of a tensor"
        )
