"""One ray through the voxels by Joseph's method: scalar functions that numba compiles for the CPU and for CUDA.

`drr/projection/reference.py` states the method. `trace` sums on the CPU, `drr/projection/cuda_kernels.py` on a GPU.
Attenuation is summed as q = max(0, HU + 1000) and scaled once at the end.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numba
import numpy as np

from drr.geometry import ConeBeam
from drr.projection.attenuation import HU_SOFT, MU_WATER_PER_MM

if TYPE_CHECKING:
    from jaxtyping import Float, Num, UInt8

Q_SOFT = 1000 + HU_SOFT
MU_PER_Q = MU_WATER_PER_MM / 1000
NO_BONE = np.zeros(0, np.uint8)


def aim(nx, ny, nz, box, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Which planes a ray samples, and where; everything in voxels.

    Args:
        nx: Voxels along x.
        ny: Voxels along y.
        nz: Voxels along z.
        box: (3, 2) first and last x, y, z index outside which there is only air.
        x: Of the ray's start.
        y: Of the ray's start.
        z: Of the ray's start.
        dx: From there to its end.
        dy: From there to its end.
        dz: From there to its end.

    Returns:
        (first, last) plane across the ray's fastest axis, none if first > last; (low, high) ends of the ray along it
        within the grid; sizes and starts of the grid's two other axes i and j and the steps of all three in flat memory
        (ni, nj, step, step_i, step_j); (i, j) at plane `first` and their slopes a plane.
    """
    enters, leaves, body_enters, body_leaves = 0.0, 1.0, 0.0, 1.0
    for start, direction, size, axis in ((x, dx, nx, 0), (y, dy, ny, 1), (z, dz, nz, 2)):
        if direction != 0:
            a, b = -start / direction, (size - 1 - start) / direction
            enters, leaves = max(enters, min(a, b)), min(leaves, max(a, b))
            a, b = (box[axis, 0] - 1 - start) / direction, (box[axis, 1] + 1 - start) / direction
            body_enters, body_leaves = max(body_enters, min(a, b)), min(body_leaves, max(a, b))
        elif start < max(0, box[axis, 0] - 1) or start > min(size - 1, box[axis, 1] + 1):
            leaves = -1.0
    if abs(dx) >= abs(dy) and abs(dx) >= abs(dz):
        n, ni, nj, step, step_i, step_j = nx, ny, nz, 1, nx, nx * ny
        s, si, sj, d, di, dj = x, y, z, dx, dy, dz
    elif abs(dy) >= abs(dz):
        n, ni, nj, step, step_i, step_j = ny, nx, nz, nx, 1, nx * ny
        s, si, sj, d, di, dj = y, x, z, dy, dx, dz
    else:
        n, ni, nj, step, step_i, step_j = nz, nx, ny, nx * ny, 1, nx
        s, si, sj, d, di, dj = z, x, y, dz, dx, dy
    low, high = min(s + enters * d, s + leaves * d), max(s + enters * d, s + leaves * d)
    first, last = max(int(low + 0.5), 0), min(int(high + 0.5), n - 1)
    a, b = s + body_enters * d, s + body_leaves * d
    # The cell of a plane reaches half a plane further than its samples, hence one plane more on either side.
    first, last = max(first, int(min(a, b)) - 1), min(last, int(max(a, b)) + 2)
    if leaves <= enters or body_leaves <= body_enters:
        first, last = 1, 0
    i, j = si + (first - s) / d * di, sj + (first - s) / d * dj
    return first, last, low, high, ni, nj, step, step_i, step_j, i, j, di / d, dj / d


def ray_of_pixel(geometry, mm, r, c):  # type: ignore[no-untyped-def]
    """The ray through a pixel.

    Args:
        geometry: (4, 3), see `index_geometry`.
        mm: (3, 3), see `ray_lengths`.
        r: Row.
        c: Column.

    Returns:
        Direction (x, y, z) in voxels, and mu per q times its length a plane.
    """
    dx = geometry[1, 0] - geometry[0, 0] + c * geometry[2, 0] + r * geometry[3, 0]
    dy = geometry[1, 1] - geometry[0, 1] + c * geometry[2, 1] + r * geometry[3, 1]
    dz = geometry[1, 2] - geometry[0, 2] + c * geometry[2, 2] + r * geometry[3, 2]
    px = mm[0, 0] + c * mm[1, 0] + r * mm[2, 0]
    py = mm[0, 1] + c * mm[1, 1] + r * mm[2, 1]
    pz = mm[0, 2] + c * mm[1, 2] + r * mm[2, 2]
    return dx, dy, dz, MU_PER_Q * math.sqrt(px * px + py * py + pz * pz) / max(abs(dx), abs(dy), abs(dz))


def trace(hu, bone, nx, ny, nz, box, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Sums of q and of bone's excess along the ray that `aim` describes, in float64.

    Multiply by the ray's length a plane: its whole length over max(|dx|, |dy|, |dz|).

    Args:
        hu: Voxels as a flat array of nz * ny * nx.
        bone: Bone map likewise; an empty one leaves the second sum at 0.
        nx: See `aim`, for this and the rest.
        ny: Likewise.
        nz: Likewise.
        box: Likewise.
        x: Likewise.
        y: Likewise.
        z: Likewise.
        dx: Likewise.
        dy: Likewise.
        dz: Likewise.

    Returns:
        Both sums.
    """
    total, excess = 0.0, 0.0
    first, last, low, high, ni, nj, step, step_i, step_j, i_0, j_0, slope_i, slope_j = aim_cpu(
        nx, ny, nz, box, x, y, z, dx, dy, dz
    )
    begin, end = low - first, high - first
    for k in range(first, last + 1):
        along = np.float64(k - first)
        i = min(max(i_0 + along * slope_i, 0.0), ni - 1.0)
        j = min(max(j_0 + along * slope_j, 0.0), nj - 1.0)
        i0, j0 = min(int(i), ni - 2), min(int(j), nj - 2)
        wi, wj = i - i0, j - j0
        share = max(min(along + 0.5, end) - max(along - 0.5, begin), 0.0)
        a = k * step + i0 * step_i + j0 * step_j
        b, c, e = a + step_j, a + step_i, a + step_i + step_j
        wa, wb = share * (1 - wi) * (1 - wj), share * (1 - wi) * wj
        wc, we = share * wi * (1 - wj), share * wi * wj
        qa, qb = max(np.float64(hu[a]) + 1000, 0.0), max(np.float64(hu[b]) + 1000, 0.0)
        qc, qe = max(np.float64(hu[c]) + 1000, 0.0), max(np.float64(hu[e]) + 1000, 0.0)
        total += wa * qa + wb * qb + wc * qc + we * qe
        if bone.size > 0 and (bone[a] | bone[b] | bone[c] | bone[e]):
            if bone[a] == 2 or (bone[a] == 1 and qa > Q_SOFT):
                excess += wa * (qa - Q_SOFT)
            if bone[b] == 2 or (bone[b] == 1 and qb > Q_SOFT):
                excess += wb * (qb - Q_SOFT)
            if bone[c] == 2 or (bone[c] == 1 and qc > Q_SOFT):
                excess += wc * (qc - Q_SOFT)
            if bone[e] == 2 or (bone[e] == 1 and qe > Q_SOFT):
                excess += we * (qe - Q_SOFT)
    return total, excess


def make_splat(aim: Any, add: Any) -> Any:
    """The adjoint of the ray function.

    Args:
        aim: `aim`, compiled.
        add: (array, index, value), adds to an element (atomically on a GPU).

    Returns:
        A function to compile.
    """

    def splat(hu, bone, nx, ny, nz, box, x, y, z, dx, dy, dz, from_plane, to_plane, of_total, of_bone, gradient):  # type: ignore[no-untyped-def]
        """Add d(of_total * total + of_bone * excess) / d(hu) of one ray's sums to the flat `gradient`.

        Only planes from_plane..to_plane-1 are served.
        """
        first, last, low, high, ni, nj, step, step_i, step_j, i_0, j_0, slope_i, slope_j = aim(
            nx, ny, nz, box, x, y, z, dx, dy, dz
        )
        for k in range(max(first, from_plane), min(last + 1, to_plane)):
            i = min(max(i_0 + (k - first) * slope_i, 0.0), ni - 1.0)
            j = min(max(j_0 + (k - first) * slope_j, 0.0), nj - 1.0)
            i0, j0 = min(int(i), ni - 2), min(int(j), nj - 2)
            wi, wj = i - i0, j - j0
            share = max(min(k + 0.5, high) - max(k - 0.5, low), 0.0)
            for corner in range(4):
                down, right = corner // 2, corner % 2
                at = k * step + (i0 + down) * step_i + (j0 + right) * step_j
                weight = share * (wi if down else 1 - wi) * (wj if right else 1 - wj)
                slope = of_total if hu[at] > -1000 else 0.0
                if bone.size > 0 and (
                    (bone[at] == 2 and hu[at] >= -1000) or (bone[at] == 1 and hu[at] >= Q_SOFT - 1000)
                ):
                    slope += of_bone
                add(gradient, at, weight * slope)

    return splat


ray_of_pixel_cpu = numba.njit(ray_of_pixel, cache=True)
aim_cpu = numba.njit(aim, cache=True)
trace_cpu = numba.njit(trace, cache=True)


def read_only(array: np.ndarray) -> np.ndarray:
    """A contiguous view that cannot be written: numba compiles once for it, whether the array can be or not.

    Args:
        array: Copied only if it is not contiguous; otherwise the view shares its memory, which stays writable.

    Returns:
        Of the same shape and type.
    """
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def index_geometry(affine: np.ndarray, beam: ConeBeam) -> np.ndarray:
    """A beam in voxel index space.

    Args:
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beam: In LPS mm.

    Returns:
        (4, 3): source, origin, du and dv, each (x, y, z) in voxels.
    """
    to_index = np.linalg.inv(affine)
    points = np.stack([beam.numpy(name) for name in ("source", "origin", "du", "dv")])
    return points @ to_index[:3, :3].T + np.array([[1], [1], [0], [0]]) * to_index[:3, 3]


def ray_lengths(beam: ConeBeam) -> np.ndarray:
    """(3, 3): in mm, from the source to pixel (0, 0), and du and dv.

    Args:
        beam: In mm, LPS.

    Returns:
        The ray through pixel (r, c) is the first row + c times the second + r times the third; its length counts.
    """
    return np.stack([beam.numpy("origin") - beam.numpy("source"), beam.numpy("du"), beam.numpy("dv")])


def whole(shape: tuple[int, ...]) -> np.ndarray:
    """(3, 2): first and last x, y, z index of a volume (D, H, W).

    Args:
        shape: Of the voxels, slowest axis first.

    Returns:
        Both ends of each range belong to it.
    """
    return np.array([[0, n - 1] for n in shape[::-1]])


def project_rays(
    hu: Num[np.ndarray, "depth height width"],
    bone: UInt8[np.ndarray, "depth height width"] | None,
    affine: Float[np.ndarray, "4 4"],
    beam: ConeBeam,
) -> Float[np.ndarray, "2 rows columns"]:
    """Line integrals of total and bone on the CPU, ray by ray, in float64.

    Args:
        hu: int16, float32 or float64 (D, H, W).
        bone: uint8 (D, H, W), or None.
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beam: The view.

    Returns:
        (2, rows, columns), float64 for float64, else float32.
    """
    flat, flat_bone = read_only(hu).reshape(-1), read_only(NO_BONE if bone is None else bone).reshape(-1)
    out = np.zeros((2, *beam.shape), np.float64 if hu.dtype == np.float64 else np.float32)
    _rays(flat, flat_bone, hu.shape, whole(hu.shape), index_geometry(affine, beam), ray_lengths(beam), out)
    return out


@numba.njit(cache=True, parallel=True)
def _rays(hu: Any, bone: Any, shape: Any, box: Any, geometry: Any, mm: Any, out: Any) -> None:
    nz, ny, nx = shape
    x, y, z = geometry[0]
    for r in numba.prange(out.shape[1]):
        for c in range(out.shape[2]):
            dx, dy, dz, scale = ray_of_pixel_cpu(geometry, mm, r, c)
            total, excess = trace_cpu(hu, bone, nx, ny, nz, box, x, y, z, dx, dy, dz)
            out[0, r, c], out[1, r, c] = scale * total, scale * excess
