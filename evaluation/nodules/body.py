"""The body that scenes are rendered of: the sample CT, or another CT, with or without a label map.

Where there is no label map, lungs and spine are found by Hounsfield units and place and written as labels, so that a
deformation carries them along.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cc3d
import numpy as np
from scipy import ndimage

from drr import Volume, isolate_body, read_ct, sample_ct, separate_bone
from drr.anatomy.chest import lung_box, require_chest

FIELD_MM = (270.0, 310.0)  # width of the picture, of the sample CT
SAMPLE_LUNGS_MM = 225.0  # the longer side of its lungs' box, from which other bodies' fields are scaled
GRID_MM = 2.5  # lungs and spine are found on a grid no finer than this
AIR_HU = -400
SPINE_MM = 30.0  # half the width of the band about the midline in which bone behind the lungs' middle is spine
CLOSED = 2  # voxels of the grid over which the lungs are closed, so that their vessels are in


@dataclass(frozen=True, eq=False)
class Body:
    """A CT without its table, bone known, with labels that start with `lung_` and `vertebra`.

    Attributes:
        volume: The CT.
        field_mm: Range of the picture's width.
        centre: LPS in mm of the picture's middle; None: the middle of the body.
    """

    volume: Volume
    field_mm: tuple[float, float] = FIELD_MM
    centre: np.ndarray | None = None


@cache
def sample_body() -> Body:
    """The packaged CT.

    Returns:
        Made once for a process, and shared: do not write into its arrays.
    """
    return Body(separate_bone(isolate_body(sample_ct())))


@cache
def ct_body(path: str | Path, labels: str | Path | None = None) -> Body:
    """Another CT, collimated to its lungs.

    Args:
        path: As `drr.read_ct` takes it.
        labels: Label map on its grid with lungs and vertebrae; without one they are found by Hounsfield units.

    Returns:
        The CT with bone known; its field is the sample's, scaled by the lungs, about their middle.

    Raises:
        ValueError: Not a CT of a chest, or a label map that lacks lungs or vertebrae.
        OSError: No such file.
    """
    volume = read_ct(path, labels)
    require_chest(volume)
    volume = separate_bone(isolate_body(volume))
    if labels is None:
        volume = with_found_parts(volume)
    for part in ("lung_", "vertebra"):
        if not volume.names_where(lambda name, part=part: name.startswith(part)):
            raise ValueError(f"{labels}: no structure of its table starts with '{part}'; leave --ct-labels out")
    low, high = lung_box(volume)
    scale = float(max(high[0] - low[0], high[2] - low[2])) / SAMPLE_LUNGS_MM
    return Body(volume, (FIELD_MM[0] * scale, FIELD_MM[1] * scale), (low + high) / 2)


def with_found_parts(volume: Volume) -> Volume:
    """Label lungs and spine by Hounsfield units.

    Lungs: air that the body encloses, closed over its vessels. Spine: bone near the lungs' midline and behind their
    middle.

    Args:
        volume: A CT whose `bone` is known.

    Returns:
        The volume with labels 1 (lungs) and 2 (spine).

    Raises:
        ValueError: It has no lungs or no spine.
    """
    assert volume.bone is not None, "separate_bone comes first"
    step = np.maximum(1, np.rint(GRID_MM / volume.spacing[::-1])).astype(int)
    grid = tuple(slice(None, None, n) for n in step)
    air = cc3d.connected_components(volume.hu[grid] < AIR_HU, connectivity=6)
    sizes = np.bincount(air.ravel())
    sizes[0] = 0
    for side in (air[:, 0], air[:, -1], air[:, :, 0], air[:, :, -1]):
        sizes[np.unique(side)] = 0
    lungs = np.isin(air, np.flatnonzero((sizes > 0) & (sizes > 0.1 * sizes.max())))
    if not lungs.any():
        raise ValueError(f"{volume.source or 'volume'}: no air that the body encloses; is this a CT of a chest?")
    lungs = ndimage.binary_closing(np.pad(lungs, CLOSED, mode="edge"), iterations=CLOSED)[(slice(CLOSED, -CLOSED),) * 3]
    _, y, x = np.nonzero(lungs)
    middle, front = (x.min() + x.max()) / 2, (y.min() + y.max()) / 2
    columns, rows = np.arange(lungs.shape[2]), np.arange(lungs.shape[1])
    near = np.abs(columns - middle) * step[2] * volume.spacing[0] < SPINE_MM
    spine = (volume.bone[grid] == 2) & near & (rows > front)[:, None]
    coarse = np.where(spine, np.uint8(2), lungs.astype(np.uint8))
    labels = coarse
    for axis, (count, size) in enumerate(zip(step, volume.hu.shape)):
        labels = np.repeat(labels, count, axis=axis).take(range(size), axis=axis)
    return volume.replace(labels=labels, structures={1: "lung_by_hu", 2: "vertebrae_by_hu"})
