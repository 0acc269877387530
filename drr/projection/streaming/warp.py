"""From the virtual detector of slice streaming to the real one."""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from drr.projection.ray import MU_PER_Q, NO_BONE, read_only, trace_cpu, whole
from drr.projection.streaming.plan import AXES, Sweep
from drr.projection.streaming.slices import slices_along
from drr.volume import Volume

STEEP = 8  # virtual pixels within which a body that is cut by the border must fade out for its rays to be cast singly


def cast_border_rays(
    volume: Volume, sweep: Sweep, box: np.ndarray, rays: np.ndarray, mm: np.ndarray, with_bone: bool, out: np.ndarray
) -> None:
    """Cast one by one the rays that graze a face of the grid at which the body is cut.

    There the virtual image is too sharp to interpolate.

    Args:
        volume: The CT.
        sweep: Of the beam.
        box: (3, 2) what is not air, in the order of the sweep.
        rays: (3, 3) from the source to pixel (0, 0), and du and dv, in voxels, in the order of the sweep.
        mm: (3, 3), the same in mm, see `ray_lengths`.
        with_bone: Whether bone is wanted.
        out: (2, rows, columns), filled there.
    """
    last = np.array([volume.hu.shape[2 - axis] - 1 for axis in AXES[sweep.axis]])
    faces = [(n, face) for n in (1, 2) for face in (0, last[n]) if face in box[n]]
    if not faces:
        return
    slices = slices_along(volume, 1)
    flat, flat_bone = slices.voxels, slices.bone if with_bone else read_only(NO_BONE).reshape(-1)
    place = np.array(AXES[sweep.axis])
    cuts = np.array([(n, face, sweep.step[n - 1]) for n, face in faces], np.float64)
    ends = (box[0] - sweep.source[0]).astype(np.float64)
    _cast_grazing(
        flat, flat_bone, volume.hu.shape, whole(volume.hu.shape), sweep.source, rays, mm, cuts, ends, place, out
    )


@numba.njit(cache=True, parallel=True)
def _cast_grazing(hu: Any, bone: Any, shape: Any, grid: Any, source: Any, rays: Any, mm: Any, cuts: Any,
                  ends: Any, place: Any, out: Any) -> None:  # fmt: skip
    nz, ny, nx = shape
    for r in numba.prange(out.shape[1]):
        start, direction = np.empty(3), np.empty(3)  # x, y, z
        for c in range(out.shape[2]):
            dk, di, dj, scale = _lengths(rays, mm, r, c)
            if abs(dk) < max(abs(di), abs(dj)):
                continue
            grazes = False
            for n in range(cuts.shape[0]):
                step = cuts[n, 2]
                slope = (di if cuts[n, 0] == 1 else dj) / dk
                a = (source[1] if cuts[n, 0] == 1 else source[2]) - cuts[n, 1] + ends[0] * slope
                b = a + (ends[1] - ends[0]) * slope
                grazes |= abs(b - a) < STEEP * step and min(a, b) < 2 * step and max(a, b) > -2 * step
            if grazes:
                start[place[0]], start[place[1]], start[place[2]] = source[0], source[1], source[2]
                direction[place[0]], direction[place[1]], direction[place[2]] = dk, di, dj
                total, excess = trace_cpu(
                    hu, bone, nx, ny, nz, grid, start[0], start[1], start[2], direction[0], direction[1], direction[2]
                )
                out[0, r, c], out[1, r, c] = scale * total, scale * excess


@numba.njit(cache=True)
def _lengths(rays: Any, mm: Any, r: int, c: int) -> tuple[float, float, float, float]:
    """Direction of the ray through a pixel in voxels (slice, row, column), and mu per q times its length a slice."""
    dk = rays[0, 0] + c * rays[1, 0] + r * rays[2, 0]
    di = rays[0, 1] + c * rays[1, 1] + r * rays[2, 1]
    dj = rays[0, 2] + c * rays[1, 2] + r * rays[2, 2]
    x = mm[0, 0] + c * mm[1, 0] + r * mm[2, 0]
    y = mm[0, 1] + c * mm[1, 1] + r * mm[2, 1]
    z = mm[0, 2] + c * mm[1, 2] + r * mm[2, 2]
    return dk, di, dj, MU_PER_Q * math.sqrt(x * x + y * y + z * z) / abs(dk)


@numba.njit(cache=True, parallel=True)
def scale_sums(sums: Any, rays: Any, mm: Any, out: Any) -> None:
    """The sums of a detector that is its own virtual one, where the sweep's axis is the ray's fastest.

    Args:
        sums: (2, rows, columns) of all and of bone, without unit, on the pixels of the beam.
        rays: (3, 3) from the source to pixel (0, 0), du and dv in voxels, in the order of the sweep.
        mm: (3, 3), the same in mm, see `ray_lengths`.
        out: (2, rows, columns) of line integrals; a pixel stays as it is if its ray runs fastest along another axis.
    """
    for r in numba.prange(out.shape[1]):
        for c in range(out.shape[2]):
            dk, di, dj, scale = _lengths(rays, mm, r, c)
            if abs(dk) >= max(abs(di), abs(dj)):
                out[0, r, c], out[1, r, c] = scale * sums[0, r, c], scale * sums[1, r, c]


@numba.njit(cache=True, parallel=True)
def warp_sums(sums: Any, rays: Any, mm: Any, to_grid: Any, with_bone: bool, out: Any) -> None:
    """The virtual image at the real pixels by the cubic through four points (Lagrange) along each axis.

    Args:
        sums: (2, rows, columns) of all and of bone, without unit, on the virtual detector.
        rays: (3, 3) from the source to pixel (0, 0), du and dv in voxels, in the order of the sweep.
        mm: (3, 3), the same in mm, see `ray_lengths`.
        to_grid: Source, depth of the virtual detector, its first pixel and its step, in voxels.
        with_bone: Whether bone is wanted.
        out: (2, rows, columns) of line integrals; a pixel stays as it is if its ray runs fastest along another axis or
            leaves the virtual detector.
    """
    height, width = sums.shape[1:]
    source_i, source_j, depth, start_i, start_j, step_i, step_j = to_grid[1:]
    for r in numba.prange(out.shape[1]):
        wi, wj = np.empty(4, np.float32), np.empty(4, np.float32)
        for c in range(out.shape[2]):
            dk, di, dj, scale = _lengths(rays, mm, r, c)
            if abs(dk) < max(abs(di), abs(dj)):
                continue
            i = (source_i + depth / dk * di - start_i) / step_i
            j = (source_j + depth / dk * dj - start_j) / step_j
            i0, j0 = math.floor(i) - 1, math.floor(j) - 1
            if i0 < 0 or j0 < 0 or i0 + 3 >= height or j0 + 3 >= width:
                continue
            _cubic(np.float32(i - i0 - 1), wi)
            _cubic(np.float32(j - j0 - 1), wj)
            for m in range(2 if with_bone else 1):
                value = np.float32(0)
                for a in range(4):
                    row = sums[m, i0 + a, j0 : j0 + 4]
                    value += wi[a] * (wj[0] * row[0] + wj[1] * row[1] + wj[2] * row[2] + wj[3] * row[3])
                out[m, r, c] = scale * (value if m else max(value, np.float32(0)))  # a cubic may swing below 0


@numba.njit(cache=True)
def _cubic(t: Any, weights: Any) -> None:
    """Weights of samples at -1, 0, 1, 2 for the cubic through them at t in 0..1."""
    one, two = np.float32(1), np.float32(2)
    weights[0] = -t * (t - one) * (t - two) / np.float32(6)
    weights[1] = (t + one) * (t - one) * (t - two) / two
    weights[2] = -(t + one) * t * (t - two) / two
    weights[3] = (t + one) * t * (t - one) / np.float32(6)
