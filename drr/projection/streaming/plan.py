"""Which slices a beam is streamed through, and onto which virtual detector (see drr/projection/streaming/kernel.py)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PITCH = 1.0  # of the virtual detector, in the smaller voxel side of the far slice ...
PITCH_MM = 1.0  # ... and at most this: where voxels are large, more samples a voxel cost little
MARGIN = 2  # virtual pixels around what the real ones need: the cubic's reach
AXES = {0: (0, 2, 1), 1: (1, 2, 0), 2: (2, 1, 0)}  # slices along x, y, z; then the rows and columns of a slice


class Sweep(NamedTuple):
    """A pass over the slices along an axis. Positions in voxels, ordered (slice, row, column) as AXES says.

    Attributes:
        axis: x (0), y (1) or z (2).
        source: (3,) of the beam.
        far: The far slice, whose plane the virtual detector lies in.
        start: (row, column) of the virtual detector's first pixel.
        step: From a pixel to the next.
        shape: (rows, columns) of the virtual detector.
        flip: Signs of rows and columns where the virtual detector is the real one; None where it is not.
        swap: Whether rows and columns change places then.
    """

    axis: int
    source: np.ndarray
    far: int  # the slice in whose plane the virtual detector lies
    start: tuple[float, float]  # row and column of virtual pixel (0, 0)
    step: tuple[float, float]  # > 0
    shape: tuple[int, int]
    flip: tuple[int, int] | None  # a detector parallel to the slices: 1 or -1 by axis; None: interpolate
    swap: bool  # with flip: the detector's rows run along the columns of a slice


def plan(geometry: np.ndarray, box: np.ndarray, shape: tuple[int, int], spacing: np.ndarray) -> list[Sweep] | None:
    """The sweeps that together see every ray along its fastest axis.

    Args:
        geometry: (4, 3) source, origin, du, dv in voxels (x, y, z).
        box: (3, 2) first and last index in x, y, z of what is not air.
        shape: Of the detector.
        spacing: Of the voxels (x, y, z) in mm.

    Returns:
        Sweeps; None where streaming does not apply.
    """
    source = geometry[0]
    rays = np.stack([geometry[1] - source, geometry[3], geometry[2]])  # direction = rays[0] + r rays[1] + c rays[2]
    corners = np.array([(r, c) for r, c in ((0, 0), (0, 1), (1, 1), (1, 0))], float) * (np.array(shape) - 1)
    sweeps = []
    for axis in range(3):
        others = [b for b in range(3) if b != axis]
        for sign in (1, -1):
            limits = [sign * rays[:, axis] - s * rays[:, b] for b in others for s in (1, -1)]
            region = _clip(corners, limits)
            if not len(region):
                continue
            near, far = box[axis, ::sign]
            if sign * (near - source[axis]) < 1e-3:
                return None
            sweep = _sweep(axis, source, rays, region, box, int(near), int(far), shape, spacing)
            if sweep is not None:
                sweeps.append(sweep)
    return sweeps if len({sweep.axis for sweep in sweeps}) == len(sweeps) else None


def reaches_behind(spans: np.ndarray, geometry: np.ndarray) -> bool:
    """Whether a voxel that is not air, or its neighbours, lies on the far side of the detector's plane.

    Args:
        spans: int32 (4, D, H): along x, the first voxel that is not air and the one after the last come first.
        geometry: (4, 3) source, origin, du, dv in voxels (x, y, z).

    Returns:
        True if the far side holds body; a beam that streams must have all of it in front.
    """
    normal = np.cross(geometry[2], geometry[3])
    normal /= normal @ (geometry[0] - geometry[1])
    lowest = np.minimum(normal[0] * (spans[0] - 1), normal[0] * spans[1])
    lowest = lowest + normal[1] * np.arange(spans.shape[2]) + (normal[2] * np.arange(spans.shape[1]))[:, None]
    lowest = lowest[spans[1] > spans[0]]
    return bool(lowest.min() - abs(normal[1]) - abs(normal[2]) < normal @ geometry[1])


def _sweep(axis, source, rays, region, box, near, far, shape, spacing) -> Sweep | None:  # type: ignore[no-untyped-def]
    """The virtual detector for the rays through a region of the real one; None if they miss the grid."""
    order = list(AXES[axis])
    s = source[order]
    directions = rays[0] + region @ rays[1:]
    # Where the region's corners, and the box's nearest and farthest slice seen from the source, lie in the far plane.
    scale = (far - s[0]) / directions[:, axis]
    seen = s[1:] + scale[:, None] * directions[:, order[1:]]
    edges = box[order[1:]].T + np.array([[-1.5], [1.5]])  # the reach of interpolation and of a cut cell
    shadow = np.concatenate([edges, s[1:] + (edges - s[1:]) * (far - s[0]) / (near - s[0])])
    low, high = np.maximum(seen.min(0), shadow.min(0)), np.minimum(seen.max(0), shadow.max(0))
    if (low > high).any():
        return None
    dv, du = rays[1][order], rays[2][order]
    for swap, (rows, columns) in enumerate(((dv, du), (du, dv))):
        tiny = 1e-9 * (np.abs(rows).max() + np.abs(columns).max())
        if max(abs(rows[0]), abs(rows[2]), abs(columns[0]), abs(columns[1])) < tiny:
            step = scale[0] * np.array([rows[1], columns[2]])
            count = shape[::-1] if swap else shape
            start = s[1:] + scale[0] * rays[0][order[1:]]
            start = np.where(step < 0, start + step * (np.array(count) - 1), start)
            flip = (1 if step[0] > 0 else -1, 1 if step[1] > 0 else -1)
            return Sweep(axis, s, far, tuple(start), tuple(abs(step)), count, flip, bool(swap))
    sides = spacing[order[1:]]
    pitch = min(PITCH * sides.min(), PITCH_MM) / sides
    low, high = low - MARGIN * pitch, high + MARGIN * pitch
    count = np.ceil((high - low) / pitch).astype(int) + 1
    return Sweep(axis, s, far, tuple(low), tuple(pitch), (int(count[0]), int(count[1])), None, False)


def _clip(polygon: np.ndarray, limits: list[np.ndarray]) -> np.ndarray:
    """The part of a convex polygon (N, 2) where a + b r + c c' >= 0 for each (a, b, c): Sutherland and Hodgman."""
    for limit in limits:
        values = limit[0] + polygon @ limit[1:]
        kept = []
        for n in range(len(polygon)):
            before, here = values[n - 1], values[n]
            if (before < 0) != (here < 0):
                kept.append(polygon[n - 1] + before / (before - here) * (polygon[n] - polygon[n - 1]))
            if here >= 0:
                kept.append(polygon[n])
        polygon = np.array(kept).reshape(-1, 2)
    return polygon
