"""What a reader finds in a CT's file, before anything is believed of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SPACING_MM = (0.05, 30.0)  # of a CT of a human body; beyond lie metres, micrometres and zeros


@dataclass(frozen=True, eq=False)
class Stored:
    """Voxels and geometry as a file holds them.

    Attributes:
        values: (D, H, W), any number type.
        affine: (4, 4) index (x, y, z) -> LPS mm; of no meaning where there is a `fault`.
        scale: (slope, intercept) from `values` to HU.
        fault: why the affine cannot be believed; empty where it can. A caller's own affine makes up for it.
        notes: what a user should know of the reading, each a sentence.
        is_hu: whether `values` are int16 HU already, by the headers or a caller's rescale.
    """

    values: np.ndarray
    affine: np.ndarray
    scale: tuple[float, float] = (1.0, 0.0)
    fault: str = ""
    notes: tuple[str, ...] = ()
    is_hu: bool = False


def affine_fault(affine: np.ndarray) -> str:
    """Why an affine to mm cannot be that of a CT; empty if it can.

    Args:
        affine: (4, 4).

    Returns:
        A phrase for a message: another shape, no finite numbers, another last row, no volume, an impossible spacing.
    """
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return f"an affine of shape {affine.shape} is no finite (4, 4) matrix"
    if not np.allclose(affine[3], (0, 0, 0, 1)):
        return f"the affine's last row is {affine[3].tolist()} instead of 0, 0, 0, 1 (was it transposed?)"
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    said = f"a voxel spacing of ({', '.join(f'{mm:.4g}' for mm in spacing)}) mm"
    if spacing.min() <= 0 or np.linalg.matrix_rank(affine[:3, :3] / spacing) < 3:
        return f"{said} with directions that span no volume"
    if spacing.min() < SPACING_MM[0] or spacing.max() > SPACING_MM[1]:
        return f"{said}, where {SPACING_MM[0]:g} to {SPACING_MM[1]:g} are possible"
    return ""


def is_filled_in(affine: np.ndarray) -> bool:
    """Whether an affine is what libraries write if nobody gave one: voxels of exactly 1 mm, the first at 0.

    Args:
        affine: (4, 4).

    Returns:
        True also for a CT that truly lies so: no affine can tell.
    """
    return bool(np.allclose(np.linalg.norm(affine[:3, :3], axis=0), 1) and np.allclose(affine[:3, 3], 0))


FILLED_IN = (
    "the header gives no spacing (voxels of exactly 1 mm, the first at 0, are what is written where none is set)"
)
