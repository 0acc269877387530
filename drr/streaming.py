"""Slice streaming: every voxel is read once, in memory order (shear-warp for a point source).

Lacroute and Levoy, SIGGRAPH 1994, with Joseph's method for the sum: all rays that run fastest along one axis of the
grid cross its slices one by one. Seen from the source, slice k is the far slice scaled and shifted, so that on a
virtual detector in the plane of the far slice, with pixels along the grid's axes, each slice adds a separable linear
resampling of itself. A detector parallel to the grid is its own virtual detector: then the result is Joseph's to
rounding. Otherwise the virtual image is read at the real pixels by cubic interpolation (off by 2e-3 in L2 at most).
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from .geometry import ConeBeam
from .lanes import LANES, WIDEST_STEP, resample
from .ray import Q_SOFT, index_geometry, ray_lengths
from .sweep import AXES, Sweep, plan, reaches_behind
from .volume import Volume
from .voxels import occupied, slices_along
from .warp import cast_border_rays, scale_sums, warp_sums

ROWS_A_TILE = 24  # rows of voxels that a tile of the virtual detector covers


def stream(volume: Volume, beam: ConeBeam, with_bone: bool) -> np.ndarray | None:
    """Line integrals of total and bone, float32 (2, rows, columns); None where streaming does not apply.

    It does not when the source lies between slices that hold more than air, when something lies behind the detector,
    or when rays leave the source both ways along an axis.
    """
    geometry = index_geometry(volume.affine, beam)
    box = occupied(volume)
    out = np.zeros((2, *beam.shape), np.float32)
    if box is None:
        return out
    sweeps = plan(geometry, box, beam.shape, volume.spacing)
    if sweeps is None or reaches_behind(slices_along(volume, 1).spans, geometry):
        return None
    millimetres = ray_lengths(beam)
    for sweep in sweeps:
        order = list(AXES[sweep.axis])
        sums = _run(volume, sweep, box[sweep.axis], with_bone)
        rays = np.stack([geometry[1] - geometry[0], geometry[2], geometry[3]])[:, order]
        if sweep.flip is not None:
            sums = sums[:, :: sweep.flip[0], :: sweep.flip[1]]
            scale_sums(sums.transpose(0, 2, 1) if sweep.swap else sums, rays, millimetres, out)
        else:
            to_grid = np.array([*sweep.source, sweep.far - sweep.source[0], *sweep.start, *sweep.step])
            warp_sums(sums, rays, millimetres, to_grid, with_bone, out)
            cast_border_rays(volume, sweep, box[order], rays, millimetres, with_bone, out)
    return out


def _run(volume: Volume, sweep: Sweep, ends: np.ndarray, with_bone: bool) -> np.ndarray:
    """Sums of q over the slices `ends` on the virtual detector, float32 (2, rows, columns)."""
    slices = slices_along(volume, sweep.axis)
    count = slices.shape[1]
    reach = (np.arange(count) - sweep.source[0]) / (sweep.far - sweep.source[0])  # 0 at the source, 1 in the far plane
    maps = np.empty((6, count))  # of each slice: row scale and shift, column scale and shift, its cell's two ends
    slopes = np.empty((2, 2))  # rows and columns a slice of virtual pixel 0, and how much more a pixel on
    for n in range(2):
        maps[2 * n] = reach * sweep.step[n]
        maps[2 * n + 1] = sweep.source[1 + n] + reach * (sweep.start[n] - sweep.source[1 + n])
        slopes[n] = np.array([sweep.start[n] - sweep.source[1 + n], sweep.step[n]]) / (sweep.far - sweep.source[0])
    maps[4:] = np.array([[-0.5], [0.5]])
    maps[4, 0] = maps[5, -1] = 0
    per_pixel = maps[0, ends].max()
    tile = max(4, min(int(ROWS_A_TILE / per_pixel), math.ceil(sweep.shape[0] / (4 * numba.get_num_threads()))))
    rows = int(tile * per_pixel) + 3
    sums = np.zeros((2, *sweep.shape), np.float32)
    bone_too = with_bone and bool(slices.spans[3].any())
    narrow = bool(maps[2, ends].max() <= WIDEST_STEP)
    grid = (slices.row_step, slices.slice_step, slices.shape[0], slices.shape[2], int(ends[0]), int(ends[1]))
    with numba.parallel_chunksize(1):
        _sweep_tiles(slices.voxels, slices.bone, grid, slices.spans, maps, slopes, (tile, rows), (bone_too, narrow),
                     sums)  # fmt: skip
    return sums


@numba.njit(cache=True, parallel=True)
def _sweep_tiles(voxels: Any, bone: Any, grid: Any, spans: Any, maps: Any, slopes: Any, tiles: Any, flags: Any,
                 sums: Any) -> None:  # fmt: skip
    """Tiles of rows of the virtual detector; each is summed by one thread in the order of the slices."""
    tile, rows = tiles
    height = sums.shape[1]
    for n in numba.prange((height + tile - 1) // tile):
        of_sums = (n * tile, min((n + 1) * tile, height), rows)
        _sweep_tile(voxels, bone, grid, spans, maps, slopes, of_sums, flags, sums)


@numba.njit(cache=True)
def _sweep_tile(voxels: Any, bone: Any, grid: Any, spans: Any, maps: Any, slopes: Any, tile: Any, flags: Any,
                sums: Any) -> None:  # fmt: skip
    """Add every slice to the rows of a tile of the sums. bone: None if the voxels are packed."""
    row_step, slice_step, ni, nj, near, far = grid
    first, last, rows = tile
    with_bone, narrow = flags
    width = sums.shape[2]
    resampled = np.zeros((2 if with_bone else 1, rows, width + LANES), np.float32)
    row = np.zeros((2, nj + 4 * LANES), np.float32)
    index, offset = np.zeros(width + LANES, np.int32), np.zeros(width + LANES, np.int32)
    weight = np.zeros(width + LANES, np.float32)
    share_j = np.zeros(width + LANES, np.float32)
    slope_a, slope_b = slopes[0, 0] + slopes[0, 1] * first, slopes[0, 0] + slopes[0, 1] * (last - 1)
    over_i = max(abs(slope_a), abs(slope_b)) / 2  # how far beyond the border a cell still has its share
    over_j = max(abs(slopes[1, 0]), abs(slopes[1, 0] + slopes[1, 1] * (width - 1))) / 2
    for k in range(near, far + 1):
        scale_i, shift_i, scale_j, shift_j = maps[0, k], maps[1, k], maps[2, k], maps[3, k]
        before, after = maps[4, k], maps[5, k]
        top, end = _pixels(-over_i, ni - 1 + over_i, scale_i, shift_i, first, last)
        if end <= top:
            continue
        i0 = int(max(shift_i + scale_i * top, 0))
        i1 = min(int(shift_i + scale_i * (end - 1)) + 1, ni - 1)
        low, high = _union(spans[0], spans[1], i0, i1, k)
        if high <= low:
            continue
        low, high = max(low - 1, 0), min(high, nj - 1)
        cut = low == 0 or high == nj - 1
        over = over_j if cut else 0.0
        left, right = _pixels(low - over, high + over, scale_j, shift_j, 0, width)
        if right <= left:
            continue
        low = min(max(int(shift_j + scale_j * left), low), high)
        high = max(min(int(shift_j + scale_j * (right - 1)) + 1, high), low)
        _place(shift_j + scale_j * left, scale_j, low, high, right - left, index, weight, offset)
        if cut:
            for c in range(left, right):
                slope = slopes[1, 0] + slopes[1, 1] * c
                share_j[c - left] = _share(shift_j + scale_j * c, slope, before, after, nj - 1) / (after - before)
        bone_left = bone_right = 0
        if with_bone:
            bone_low, bone_high = _union(spans[2], spans[3], i0, i1, k)
            if bone_high > bone_low:
                bone_low, bone_high = bone_low - 1 - over, bone_high + over
                bone_left, bone_right = _pixels(bone_low, bone_high, scale_j, shift_j, left, right)
                bone_left = left + (bone_left - left) // LANES * LANES
        for i in range(i0, i1 + 1):
            at = i * row_step + k * slice_step
            if bone is None:
                _unpack(voxels[at + low : at + high + 1], row)
            else:
                _convert(voxels[at + low : at + high + 1], row[0])
                if bone_right > bone_left:
                    _convert_bone(row[0], bone[at + low : at + high + 1], row[1])
            row[0, high - low + 1] = row[1, high - low + 1] = 0
            for m in range(2 if bone_right > bone_left else 1):
                a, b = (bone_left - left, bone_right - left) if m else (0, right - left)
                resample(row[m], index, offset, weight, resampled[m, i - i0], a, b, narrow)
                if cut:
                    _multiply(resampled[m, i - i0, a:b], share_j[a:b])
        for r in range(top, end):
            place = shift_i + scale_i * r
            share = _share(place, slopes[0, 0] + slopes[0, 1] * r, before, after, ni - 1)
            if share == 0:
                continue
            place = min(max(place, 0), ni - 1)
            i = min(int(place), ni - 2) - i0
            w1 = np.float32(share * (place - i - i0))
            w0 = np.float32(share) - w1
            b = right - left
            _add(sums[0, r, left:right], resampled[0, i, :b], resampled[0, i + 1, :b], w0, w1)
            if bone_right > bone_left:
                a, b = bone_left - left, bone_right - left
                _add(sums[1, r, bone_left:bone_right], resampled[1, i, a:b], resampled[1, i + 1, a:b], w0, w1)


@numba.njit(cache=True)
def _union(low: Any, high: Any, i0: int, i1: int, k: int) -> Any:
    """The span that covers those of rows i0..i1 of slice k; 0, 0 if all are empty."""
    first, last = np.int64(1 << 30), np.int64(0)
    for i in range(i0, i1 + 1):
        if high[i, k] > low[i, k]:
            first, last = min(first, low[i, k]), max(last, high[i, k])
    return (first, last) if last > 0 else (np.int64(0), np.int64(0))


@numba.njit(cache=True)
def _pixels(low: float, high: float, scale: float, shift: float, first: int, last: int) -> tuple[int, int]:
    """The virtual pixels of first..last-1 that fall between voxels low and high: the first and one after the last."""
    return max(first, math.ceil((low - shift) / scale)), min(last, math.floor((high - shift) / scale) + 1)


@numba.njit(cache=True)
def _place(first: float, step: float, low: int, high: int, count: int, index: Any, weight: Any, offset: Any) -> None:
    """Where `count` columns lie between voxels low and high, as `resample` takes it, from voxel low on."""
    for c in range(count):
        place = min(max(first + step * c - low, 0.0), np.float64(high - low))
        index[c] = np.int32(place)
        weight[c] = np.float32(place - np.int32(place))
    for start in range(0, count, LANES):
        for lane in range(start, start + LANES):
            offset[lane] = index[lane] - index[start]


@numba.njit(cache=True)
def _share(place: float, slope: float, before: float, after: float, last: int) -> float:
    """The part of a cell (before..after a slice) in which place + u * slope is within 0..last."""
    if slope == 0:
        return after - before if 0 <= place <= last else 0.0
    a, b = -place / slope, (last - place) / slope
    return max(min(after, max(a, b)) - max(before, min(a, b)), 0.0)


@numba.njit(cache=True)
def _convert(hu: Any, q: Any) -> None:
    for x in range(hu.size):
        q[x] = max(np.float32(hu[x]) + np.float32(1000), np.float32(0))


@numba.njit(cache=True)
def _convert_bone(q: Any, code: Any, excess: Any) -> None:
    for x in range(code.size):
        over = q[x] - np.float32(Q_SOFT)
        rim = max(over, np.float32(0))
        excess[x] = over if code[x] == 2 else (rim if code[x] == 1 else np.float32(0))


@numba.njit(cache=True)
def _unpack(packed: Any, row: Any) -> None:
    q, excess = row[0], row[1]
    for x in range(packed.size):
        code = np.int32(packed[x])
        value = np.float32(code & 0x7FFF)
        q[x] = value
        excess[x] = value - np.float32(Q_SOFT) if code >= 0x8000 else np.float32(0)


@numba.njit(cache=True)
def _multiply(row: Any, share: Any) -> None:
    for c in range(row.size):
        row[c] *= share[c]


@numba.njit(cache=True, fastmath={"contract"})
def _add(sums: Any, row_0: Any, row_1: Any, share_0: Any, share_1: Any) -> None:
    for c in range(sums.size):
        sums[c] += share_0 * row_0[c] + share_1 * row_1[c]
