"""Whether a CT shows enough of a chest to make a chest radiograph of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cc3d
import numpy as np
from scipy import ndimage

from drr.volume import Volume

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

GRID_MM = 4.0
LUNG_HU = (-960, -500)
LUNG_LITRES = 0.6  # both lungs of a small adult, breathed out, hold about 1.5
HEIGHT_MM = 100.0  # of the slices that show lung; the bases in an abdomen's CT span less
LUNG_CM2 = 10.0  # in one slice
MOST_LITRES = 15.0  # no chest holds more: the voxel spacing is wrong


def require_chest(volume: Volume) -> None:
    """Refuse what shows less than 0.6 litres of lung, less than 100 mm of height of it, or more than 15 litres.

    Args:
        volume: Axes as `read_ct` turns them (z to the head).

    Raises:
        ValueError: Not enough, or too much, with what was found.
    """
    litres, height = lung_size(volume)
    if litres < LUNG_LITRES or height < HEIGHT_MM:
        tall = volume.hu.shape[0] * volume.spacing[2]
        raise ValueError(
            f"{volume.source or 'volume'}: not enough chest: {litres:.2f} litres of lung over {height:.0f} mm in a "
            f"volume {tall:.0f} mm high; {LUNG_LITRES} litres over {HEIGHT_MM:.0f} mm are needed"
        )
    if litres > MOST_LITRES:
        said = ", ".join(f"{mm:.3g}" for mm in volume.spacing)
        raise ValueError(
            f"{volume.source or 'volume'}: {litres:.0f} litres of lung, more than any chest holds: is the voxel "
            f"spacing of ({said}) mm right?"
        )


def lung_size(volume: Volume) -> tuple[float, float]:
    """How much lung there is: air of -960 to -500 HU that tissue encloses in its axial section.

    Args:
        volume: Axes as `read_ct` turns them.

    Returns:
        Litres, and mm of height.
    """
    lung, step = _lung(volume)
    z, y, x = step * volume.spacing[::-1]
    area = lung.sum(axis=(1, 2)) * (x * y / 100)
    upright = abs(np.linalg.det(volume.affine[:3, :3])) / volume.spacing.prod()  # less than 1 by a tilted gantry
    return float(area.sum() * z * upright / 1e4), float((area > LUNG_CM2).sum() * z)


def lung_box(volume: Volume) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, 3]]:
    """The box that holds 99% of the lungs: what a chest radiograph is collimated to.

    Parts below a tenth of the largest (bowel gas) do not count, nor do slivers: 0.5% at either end of each axis.

    Args:
        volume: Axes as `read_ct` turns them.

    Returns:
        Lowest and highest x, y, z in mm, (3,) each.

    Raises:
        ValueError: No lung.
    """
    lung, step = lungs_on_grid(volume)
    if not lung.any():
        raise ValueError(f"{volume.source or 'volume'}: no lung is seen in it; is this a CT of a chest?")
    ends = []
    for axis in (2, 1, 0):
        share = np.cumsum(lung.sum(axis=tuple({0, 1, 2} - {axis}))) / lung.sum()
        ends.append(np.searchsorted(share, (0.005, 0.995)) * step[axis])
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1)
    places = volume.affine[:3, :3] @ corners + volume.affine[:3, 3:]
    return places.min(axis=1), places.max(axis=1)


def lungs_on_grid(volume: Volume) -> tuple[Bool[np.ndarray, "depth height width"], Int[np.ndarray, 3]]:
    """The lungs with their air, on a coarse grid.

    Parts below a tenth of the largest (bowel gas) are left out. A phantom's lungs, which hold air and nothing else,
    count.

    Args:
        volume: Axes as `read_ct` turns them.

    Returns:
        bool (z, y, x) on a grid of about 4 mm, nowhere true if there is no lung, and that grid's steps in voxels (z, y,
        x).
    """
    lung, step = _lung(volume, lowest_hu=-5000)
    if lung.any():
        parts, count = cc3d.connected_components(lung, connectivity=6, return_N=True)
        size = np.bincount(parts.ravel(), minlength=count + 1)
        lung &= size[parts] > 0.1 * size[1:].max()
    return lung, step


def _lung(volume: Volume, lowest_hu: int = LUNG_HU[0]) -> tuple[np.ndarray, np.ndarray]:
    """Bool (z, y, x) on a coarse grid, and that grid's steps in voxels."""
    step = np.maximum(1, np.rint(GRID_MM / volume.spacing[::-1])).astype(int)
    hu = volume.hu[:: step[0], :: step[1], :: step[2]]
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 1)
    sections, count = ndimage.label(hu < LUNG_HU[1], in_plane)
    enclosed = np.ones(count + 1, bool)
    enclosed[0] = False
    for side in (sections[:, 0], sections[:, -1], sections[:, :, 0], sections[:, :, -1]):
        enclosed[side] = False
    return enclosed[sections] & (hu > lowest_hu), step
