"""Joseph's method on a GPU, by numba-cuda: every ray of every pose in one launch.

The sums are those of `drr/projection/ray.py`, which states the words used here. What is different is how they are read:

- Voxels come packed (see `drr/projection/packed.py`): 16 bits each, or 32 with bone's excess beside it. So a corner of
  a cell is one load without a branch, for one material or three.
- The axis i, along which neighbours lie next to each other in memory, is never the one that a ray runs along: rays that
  are fastest along x read a copy whose rows run along y.
- The rays of a block walk the same plane at the same time, so that what they read lies together for oblique poses too.
- Planes that count fully for all rays of a block need neither clamping nor weights.
"""

from __future__ import annotations

from typing import Any

import numba
import numba.cuda
import numpy as np

from drr.projection.ray import aim, make_splat, ray_of_pixel

cuda: Any = numba.cuda
config: Any = numba.config
SIMULATED = bool(config.ENABLE_CUDASIM)
BLOCK = (4, 4, 1) if SIMULATED else (16, 8, 1)  # columns, rows, views: neighbouring rays read neighbouring voxels
f32, i32, u32 = np.float32, np.int32, np.uint32

_aim = cuda.jit(aim, device=True)
_ray_of_pixel = cuda.jit(ray_of_pixel, device=True)


@cuda.jit(device=True)
def _short(voxels, at, second):  # type: ignore[no-untyped-def]
    """16 bits of q."""
    return f32(i32(voxels[at]) & i32(0xFFFF)), f32(0)


@cuda.jit(device=True)
def _pair(voxels, at, second):  # type: ignore[no-untyped-def]
    """The lower 16 bits are q, the upper bone's excess, signed."""
    word = i32(voxels[at])
    return f32(word & i32(0xFFFF)), f32(word >> i32(16))


@cuda.jit(device=True)
def _real(voxels, at, second):  # type: ignore[no-untyped-def]
    """float32 q."""
    return voxels[at], f32(0)


@cuda.jit(device=True)
def _reals(voxels, at, second):  # type: ignore[no-untyped-def]
    """float32 q, bone's excess `second` elements behind it."""
    return voxels[at], voxels[u32(at + second)]


def _make_edges(fetch: Any, with_bone: bool) -> Any:
    """The planes at a ray's ends: clamped into the grid, and weighted by their share of the ray."""

    def edges(voxels, at, second, plane, end, first, last, low, high, ni, nj, step, step_j, i_0, j_0, slope_i, slope_j):  # type: ignore[no-untyped-def]
        """Sums of q and excess over planes plane..end-1, as far as the ray samples them; see `aim` for the others.

        The volume begins at element `at` of voxels, and bone's excess `second` elements after it.
        """
        total, excess = f32(0), f32(0)
        while plane < end:
            if first <= plane and plane <= last:
                along = f32(plane - first)
                i = min(max(i_0 + along * slope_i, f32(0)), f32(ni - 1))
                j = min(max(j_0 + along * slope_j, f32(0)), f32(nj - 1))
                i0, j0 = min(i32(i), i32(ni - 2)), min(i32(j), i32(nj - 2))
                wi, wj = i - f32(i0), j - f32(j0)
                share = max(min(along + f32(0.5), high) - max(along - f32(0.5), low), f32(0))
                a = u32(at + u32(plane) * step + u32(i0) + u32(j0) * step_j)
                b = u32(a + step_j)
                qa, ea = fetch(voxels, a, second)
                qb, eb = fetch(voxels, u32(a + u32(1)), second)
                qc, ec = fetch(voxels, b, second)
                qd, ed = fetch(voxels, u32(b + u32(1)), second)
                upper, lower = qa + wi * (qb - qa), qc + wi * (qd - qc)
                total += share * (upper + wj * (lower - upper))
                if with_bone:
                    upper, lower = ea + wi * (eb - ea), ec + wi * (ed - ec)
                    excess += share * (upper + wj * (lower - upper))
            plane = i32(plane + i32(1))
        return total, excess

    return edges


def _make_middle(fetch: Any, with_bone: bool) -> Any:
    """The planes between: all but a few."""

    def middle(voxels, at, second, plane, end, first, step, step_j, i_0, j_0, slope_i, slope_j):  # type: ignore[no-untyped-def]
        """As `edges`, where every plane counts fully and all four corners lie in the grid."""
        total, excess = f32(0), f32(0)
        along = f32(plane - first)
        base = u32(at + u32(plane) * step)
        while plane < end:
            i, j = i_0 + along * slope_i, j_0 + along * slope_j
            i0, j0 = i32(i), i32(j)
            wi, wj = i - f32(i0), j - f32(j0)
            a = u32(base + u32(i0) + u32(j0) * step_j)
            b = u32(a + step_j)
            qa, ea = fetch(voxels, a, second)
            qb, eb = fetch(voxels, u32(a + u32(1)), second)
            qc, ec = fetch(voxels, b, second)
            qd, ed = fetch(voxels, u32(b + u32(1)), second)
            upper, lower = qa + wi * (qb - qa), qc + wi * (qd - qc)
            total += upper + wj * (lower - upper)
            if with_bone:
                upper, lower = ea + wi * (eb - ea), ec + wi * (ed - ec)
                excess += upper + wj * (lower - upper)
            base = u32(base + step)
            along += f32(1)
            plane = i32(plane + i32(1))
        return total, excess

    return middle


@cuda.jit(device=True)
def _full_planes(first, last, low, high, ni, nj, i_0, j_0, slope_i, slope_j):  # type: ignore[no-untyped-def]
    """First and last plane of a ray that `middle` may take; none if first > last."""
    begin, end = max(first, int(low + 1.5)), min(last, int(high + 0.5) - 1)
    if begin <= end:
        to_begin, to_end = f32(begin - first), f32(end - first)
        i_begin, i_end = i_0 + to_begin * slope_i, i_0 + to_end * slope_i
        j_begin, j_end = j_0 + to_begin * slope_j, j_0 + to_end * slope_j
        if min(i_begin, i_end, j_begin, j_end) < f32(0):
            end = begin - 1
        if max(i_begin, i_end) >= f32(ni - 1) or max(j_begin, j_end) >= f32(nj - 1):
            end = begin - 1
    return begin, end


def _make_cast(fetch: Any, with_bone: bool) -> Any:
    edges = cuda.jit(_make_edges(fetch, with_bone), device=True)
    middle = cuda.jit(_make_middle(fetch, with_bone), device=True)

    def cast(voxels, turned_at, second, nx, ny, nz, numbers, out):  # type: ignore[no-untyped-def]
        """A thread casts a ray of a view, together with its block.

        Args:
            voxels: Packed voxels, x fastest, then y, then z, then zeros, a plane at least.
            turned_at: uint32, where in `voxels` the turned volume begins (y fastest, then x, then z); unused if no ray
                is fastest along x.
            second: uint32, elements from a voxel to its bone's excess, where that has elements of its own.
            nx: Voxels along x.
            ny: Voxels along y.
            nz: Voxels along z.
            numbers: (1 + V, 7, 3) float64: in numbers[0, :, :2] the box of `aim`, then for each view `index_geometry`
                and under it `ray_lengths`.
            out: (V, 1 or 2, rows, columns), filled: total and, with bone, its excess.
        """
        planes = cuda.shared.array(4, numba.int32)
        if cuda.threadIdx.x == 0 and cuda.threadIdx.y == 0:
            planes[0], planes[1], planes[2], planes[3] = 1 << 30, -1, -1, 1 << 30
        cuda.syncthreads()
        c, r, view = cuda.grid(3)
        # A thread beyond the detector walks with the ray at its edge, and writes nothing.
        row, column = min(r, out.shape[2] - 1), min(c, out.shape[3] - 1)
        beam = numbers[view + 1]
        dx, dy, dz, scale = _ray_of_pixel(beam, beam[4:], row, column)
        first, last, low, high, ni, nj, step, _, step_j, i_0, j_0, slope_i, slope_j = _aim(
            nx, ny, nz, numbers[0], beam[0, 0], beam[0, 1], beam[0, 2], dx, dy, dz
        )
        at = u32(0)
        if step == 1:  # fastest along x
            at, step = u32(turned_at), ny
        i_0, j_0, slope_i, slope_j = f32(i_0), f32(j_0), f32(slope_i), f32(slope_j)
        if first <= last:
            begin, end = _full_planes(first, last, low, high, ni, nj, i_0, j_0, slope_i, slope_j)
            cuda.atomic.min(planes, 0, i32(first))
            cuda.atomic.max(planes, 1, i32(last))
            cuda.atomic.max(planes, 2, i32(begin))
            cuda.atomic.min(planes, 3, i32(end))
        cuda.syncthreads()
        start, stop = planes[0], i32(planes[1] + 1)
        begin, end = planes[2], i32(planes[3] + 1)
        if end <= begin:
            begin, end = stop, stop
        low, high, first, last = f32(low - first), f32(high - first), i32(first), i32(last)
        step, step_j = u32(step), u32(step_j)
        total, excess = edges(voxels, at, second, start, begin, first, last, low, high, ni, nj, step, step_j, i_0, j_0,
                              slope_i, slope_j)  # fmt: skip
        if first <= last:
            more, more_excess = middle(voxels, at, second, begin, end, first, step, step_j, i_0, j_0, slope_i, slope_j)
            total, excess = total + more, excess + more_excess
        more, more_excess = edges(voxels, at, second, end, stop, first, last, low, high, ni, nj, step, step_j, i_0, j_0,
                                  slope_i, slope_j)  # fmt: skip
        if r < out.shape[2] and c < out.shape[3]:
            out[view, 0, r, c] = scale * (total + more)
            if with_bone:
                out[view, 1, r, c] = scale * (excess + more_excess)

    return cast


cast_short = _make_cast(_short, False)
cast_pair = _make_cast(_pair, True)
cast_real = _make_cast(_real, False)
cast_reals = _make_cast(_reals, True)


@cuda.jit(device=True)
def _add(array, index, value):  # type: ignore[no-untyped-def]
    cuda.atomic.add(array, index, value)


_splat = cuda.jit(make_splat(_aim, _add), device=True)


def back_project(hu, bone, nx, ny, nz, numbers, lines, gradient):  # type: ignore[no-untyped-def]
    """The adjoint of casting, a thread a ray.

    Args:
        hu: Flat voxels.
        bone: Flat bone map; empty for none.
        nx: Voxels along x.
        ny: Voxels along y.
        nz: Voxels along z.
        numbers: See `cast`.
        lines: (V, 1 or 2, rows, columns) of total and, with bone, its excess.
        gradient: Flat float32, added to atomically.
    """
    c, r, view = cuda.grid(3)
    if view < lines.shape[0] and r < lines.shape[2] and c < lines.shape[3]:
        beam = numbers[view + 1]
        dx, dy, dz, scale = _ray_of_pixel(beam, beam[4:], r, c)
        of_total = scale * lines[view, 0, r, c]
        of_bone = scale * lines[view, 1, r, c] if bone.size > 0 else 0.0
        planes = max(nx, ny, nz)
        _splat(hu, bone, nx, ny, nz, numbers[0], beam[0, 0], beam[0, 1], beam[0, 2], dx, dy, dz, 0, planes, of_total,
               of_bone, gradient)  # fmt: skip
