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

from drr.geometry import ConeBeam
from drr.projection.ray import Q_SOFT, index_geometry, ray_lengths
from drr.projection.streaming.plan import AXES, Sweep, plan, reaches_behind
from drr.projection.streaming.simd import LANES, WIDEST_STEPS, prefetch, resample
from drr.projection.streaming.slices import occupied, slices_along
from drr.projection.streaming.warp import cast_border_rays, scale_sums, warp_sums
from drr.volume import Volume

ROWS_A_TILE = 24  # rows of voxels that a tile of the virtual detector covers
AHEAD = 2  # rows of voxels that are asked for before they are needed
LINE = 32  # int16 in a line of the cache
DEPTH = 4  # slices taken together (even): their rows are neighbours in memory, and the sums are read and written once


def stream(volume: Volume, beam: ConeBeam, with_bone: bool) -> np.ndarray | None:
    """Line integrals of total and bone by slice streaming.

    It does not apply when the source lies between slices that hold more than air, when something lies behind the
    detector, or when rays leave the source both ways along an axis.

    Args:
        volume: The CT.
        beam: The view.
        with_bone: Whether bone is wanted; its channel is 0 otherwise.

    Returns:
        float32 (2, rows, columns); None where streaming does not apply.

    Reference:
        Lacroute and Levoy, SIGGRAPH 1994.
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
    rows = int(tile * per_pixel) + 3 + DEPTH
    sums = np.zeros((2, *sweep.shape), np.float32)
    bone_too = with_bone and bool(slices.spans[3].any())
    registers = 1 + sum(float(maps[2, ends].max()) > step for step in WIDEST_STEPS)
    grid = (slices.row_step, slices.slice_step, slices.shape[0], slices.shape[2], int(ends[0]), int(ends[1]))
    tiles = (tile, rows, numba.get_num_threads())
    _sweep_tiles(slices.voxels, slices.bone, grid, slices.spans, maps, slopes, tiles, (bone_too, registers), sums)
    return sums


@numba.njit(cache=True, parallel=True)
def _sweep_tiles(voxels: Any, bone: Any, grid: Any, spans: Any, maps: Any, slopes: Any, tiles: Any, flags: Any,
                 sums: Any) -> None:  # fmt: skip
    """Tiles of rows of the virtual detector; each is summed by one thread in the order of the slices.

    A thread is given a run of numbers beforehand; dealing the tiles out in turn gives every thread full and empty ones.
    """
    tile, rows, hands = tiles
    height = sums.shape[1]
    count = (height + tile - 1) // tile
    each = (count + hands - 1) // hands
    for n in numba.prange(each * hands):
        number = n // each + n % each * hands
        if number < count:
            part = (number * tile, min((number + 1) * tile, height), rows)
            _sweep_tile(voxels, bone, grid, spans, maps, slopes, part, flags, sums)


@numba.njit(cache=True)
def _sweep_tile(voxels: Any, bone: Any, grid: Any, spans: Any, maps: Any, slopes: Any, tile: Any, flags: Any,
                sums: Any) -> None:  # fmt: skip
    """Add every slice to the rows of a tile of the sums. bone: None if the voxels are packed."""
    row_step, slice_step, ni, nj, near, far = grid
    first, last, rows = tile
    with_bone, registers = flags
    width = sums.shape[2]
    padded = width + LANES
    resampled = np.zeros((2 if with_bone else 1, DEPTH, rows, padded), np.float32)
    row = np.zeros((DEPTH, 2, nj + 4 * LANES), np.float32)
    index, offset = np.zeros((DEPTH, padded), np.int32), np.zeros((DEPTH, padded), np.int32)
    weight, share_j = np.zeros((DEPTH, padded), np.float32), np.zeros((DEPTH, padded), np.float32)
    at, w = np.zeros(DEPTH, np.int64), np.zeros((DEPTH, 2), np.float32)
    slope_a, slope_b = slopes[0, 0] + slopes[0, 1] * first, slopes[0, 0] + slopes[0, 1] * (last - 1)
    over_i = max(abs(slope_a), abs(slope_b)) / 2  # how far beyond the border a cell still has its share
    over_j = max(abs(slopes[1, 0]), abs(slopes[1, 0] + slopes[1, 1] * (width - 1))) / 2
    for k0 in range(near, far + 1, DEPTH):
        k1 = min(k0 + DEPTH, far + 1)
        top, end = _pixels(-over_i, ni - 1 + over_i, maps[0:2, k0:k1], first, last)
        i0, i1 = _voxels(top, end, 0, ni - 1, maps[0:2, k0:k1])
        low, high = _union(spans[0], spans[1], i0, i1, k0, k1)
        if end <= top or high <= low:
            continue
        low, high = max(low - 1, 0), min(high, nj - 1)
        cut = low == 0 or high == nj - 1
        over = over_j if cut else 0.0
        left, right = _pixels(low - over, high + over, maps[2:4, k0:k1], 0, width)
        if right <= left:
            continue
        low, high = _voxels(left, right, low, high, maps[2:4, k0:k1])
        bone_left = bone_right = left
        if with_bone:
            bone_low, bone_high = _union(spans[2], spans[3], i0, i1, k0, k1)
            if bone_high > bone_low:
                bone_left, bone_right = _pixels(bone_low - 1 - over, bone_high + over, maps[2:4, k0:k1], left, right)
                bone_left = left + (bone_left - left) // LANES * LANES
        for k in range(k0, k1):
            d = k - k0
            _place(maps[3, k] + maps[2, k] * left, maps[2, k], low, high, right - left, index[d], weight[d], offset[d])
            if cut:
                for c in range(left, right):
                    place, slope = maps[3, k] + maps[2, k] * c, slopes[1, 0] + slopes[1, 1] * c
                    share = _share(place, slope, maps[4, k], maps[5, k], nj - 1)
                    share_j[d, c - left] = share / (maps[5, k] - maps[4, k])
        for i in range(i0, i1 + 1):
            if i + AHEAD <= i1:
                for k in range(k0, k1):
                    start = (i + AHEAD) * row_step + k * slice_step
                    for x in range(low, high, LINE):
                        prefetch(voxels, start + x)  # type: ignore[call-arg]
            for d in range(k1 - k0):
                start = i * row_step + (k0 + d) * slice_step
                if bone is None:
                    _unpack(voxels[start + low : start + high + 1], row[d], bone_right > bone_left)
                else:
                    _convert(voxels[start + low : start + high + 1], row[d, 0])
                    if bone_right > bone_left:
                        _convert_bone(row[d, 0], bone[start + low : start + high + 1], row[d, 1])
                row[d, 0, high - low + 1] = row[d, 1, high - low + 1] = 0
            # Only now, so that what was written is in the cache: a load does not find what two stores still hold.
            for d in range(k1 - k0):
                for m in range(2 if bone_right > bone_left else 1):
                    a, b = (bone_left - left, bone_right - left) if m else (0, right - left)
                    resample(row[d, m], index[d], offset[d], weight[d], resampled[m, d, i - i0], a, b, registers)
                    if cut:
                        _multiply(resampled[m, d, i - i0, a:b], share_j[d, a:b])
        w[:] = 0
        for r in range(top, end):
            for k in range(k0, k1):
                place, slope = maps[1, k] + maps[0, k] * r, slopes[0, 0] + slopes[0, 1] * r
                share = _share(place, slope, maps[4, k], maps[5, k], ni - 1)
                place = min(max(place, 0), ni - 1)
                i = min(int(place), ni - 2)
                at[k - k0] = i - i0 if share > 0 else 0
                w[k - k0, 0], w[k - k0, 1] = share * (i + 1 - place), share * (place - i)
            _add(sums[0, r, left:right], resampled[0], at, w, 0)
            if bone_right > bone_left:
                _add(sums[1, r, bone_left:bone_right], resampled[1], at, w, bone_left - left)


@numba.njit(cache=True)
def _union(low: Any, high: Any, i0: int, i1: int, k0: int, k1: int) -> Any:
    """The span that covers those of rows i0..i1 of slices k0..k1-1; 0, 0 if all are empty."""
    first, last = 1 << 30, 0
    for i in range(i0, i1 + 1):
        for k in range(k0, k1):
            if high[i, k] > low[i, k]:
                first, last = min(first, low[i, k]), max(last, high[i, k])
    return (first, last) if last > 0 else (0, 0)


@numba.njit(cache=True)
def _pixels(low: float, high: float, maps: Any, first: int, last: int) -> Any:
    """The virtual pixels of first..last-1, to one past the end, that fall between voxels low and high of any slice.

    maps: (2, slices) voxels a virtual pixel, and the voxel at pixel 0.
    """
    start, end = last, first
    for scale, shift in maps.T:
        start = min(start, max(first, math.ceil((low - shift) / scale)))
        end = max(end, min(last, math.floor((high - shift) / scale) + 1))
    return start, end


@numba.njit(cache=True)
def _voxels(start: int, end: int, low: int, high: int, maps: Any) -> Any:
    """The voxels of low..high between which pixels start..end-1 of some slices fall, both included."""
    first, last = high, low
    for scale, shift in maps.T:
        first = min(first, max(low, int(max(shift + scale * start, 0))))
        last = max(last, min(high, int(max(shift + scale * (end - 1), 0)) + 1))
    return first, last


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
def _unpack(packed: Any, row: Any, with_bone: bool) -> None:
    q, excess = row[0], row[1]
    for x in range(packed.size):
        q[x] = np.float32(np.int32(packed[x]) & 0x7FFF)
    if with_bone:
        for x in range(packed.size):
            excess[x] = q[x] - np.float32(Q_SOFT) if np.int32(packed[x]) >= 0x8000 else np.float32(0)


@numba.njit(cache=True)
def _multiply(row: Any, share: Any) -> None:
    for c in range(row.size):
        row[c] *= share[c]


@numba.njit(cache=True, fastmath={"contract"})
def _add(sums: Any, resampled: Any, at: Any, w: Any, first: int) -> None:
    """Add to a row of the sums, of each of DEPTH slices, rows at[d] and at[d] + 1 with the weights w[d]."""
    last = first + sums.size
    for d in range(0, DEPTH, 2):
        a, b = resampled[d, at[d], first:last], resampled[d, at[d] + 1, first:last]
        e, f = resampled[d + 1, at[d + 1], first:last], resampled[d + 1, at[d + 1] + 1, first:last]
        wa, wb, we, wf = w[d, 0], w[d, 1], w[d + 1, 0], w[d + 1, 1]
        for c in range(sums.size):
            sums[c] += (wa * a[c] + wb * b[c]) + (we * e[c] + wf * f[c])
