"""One ray through the voxels by Joseph's method: a scalar function that numba compiles for the CPU and for CUDA.

`drr/reference.py` states the method. Attenuation is summed as q = max(0, HU + 1000) and scaled once at the end.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from .attenuation import HU_SOFT, MU_WATER_PER_MM
from .geometry import ConeBeam

Q_SOFT = 1000 + HU_SOFT
MU_PER_Q = MU_WATER_PER_MM / 1000
NO_BONE = np.zeros(0, np.uint8)


def make_trace(real: Any) -> Any:
    """The ray function, with sums and interpolation in the type `real` (np.float64 on the CPU, np.float32 on a GPU)."""

    def trace(hu, bone, nx, ny, nz, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
        """Sums of q and of bone's excess over the planes from (x, y, z) to (x + dx, y + dy, z + dz).

        x to dz: float64, in voxels. hu, bone: the voxels as flat arrays of nz * ny * nx; an empty `bone` leaves the
        second sum at 0.
        Multiply by the ray's length a plane: its whole length over max(|dx|, |dy|, |dz|).
        """
        total, excess = real(0), real(0)
        enters, leaves = 0.0, 1.0
        for start, direction, size in ((x, dx, nx), (y, dy, ny), (z, dz, nz)):
            if direction != 0:
                a, b = -start / direction, (size - 1 - start) / direction
                enters, leaves = max(enters, min(a, b)), min(leaves, max(a, b))
            elif start < 0 or start > size - 1:
                leaves = -1.0
        if leaves <= enters:
            return total, excess
        # The ray's fastest axis comes first (n, s, d: size, start, direction); i and j run along the two others.
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
        slope_i, slope_j = real(di / d), real(dj / d)
        start_i, start_j = real(si + (first - s) / d * di), real(sj + (first - s) / d * dj)
        for k in range(first, last + 1):
            i = min(max(start_i + real(k - first) * slope_i, real(0)), real(ni - 1))
            j = min(max(start_j + real(k - first) * slope_j, real(0)), real(nj - 1))
            i0, j0 = min(int(i), ni - 2), min(int(j), nj - 2)
            wi, wj = i - real(i0), j - real(j0)
            share = real(min(k + 0.5, high) - max(k - 0.5, low))
            a = k * step + i0 * step_i + j0 * step_j
            b, c, e = a + step_j, a + step_i, a + step_i + step_j
            wa, wb = share * (real(1) - wi) * (real(1) - wj), share * (real(1) - wi) * wj
            wc, we = share * wi * (real(1) - wj), share * wi * wj
            qa, qb = max(real(hu[a]) + real(1000), real(0)), max(real(hu[b]) + real(1000), real(0))
            qc, qe = max(real(hu[c]) + real(1000), real(0)), max(real(hu[e]) + real(1000), real(0))
            total += wa * qa + wb * qb + wc * qc + we * qe
            if bone.size > 0 and (bone[a] | bone[b] | bone[c] | bone[e]):
                if bone[a] == 2 or (bone[a] == 1 and qa > real(Q_SOFT)):
                    excess += wa * (qa - real(Q_SOFT))
                if bone[b] == 2 or (bone[b] == 1 and qb > real(Q_SOFT)):
                    excess += wb * (qb - real(Q_SOFT))
                if bone[c] == 2 or (bone[c] == 1 and qc > real(Q_SOFT)):
                    excess += wc * (qc - real(Q_SOFT))
                if bone[e] == 2 or (bone[e] == 1 and qe > real(Q_SOFT)):
                    excess += we * (qe - real(Q_SOFT))
        return total, excess

    return trace


trace_cpu = numba.njit(make_trace(np.float64), cache=True)


def read_only(array: np.ndarray) -> np.ndarray:
    """A contiguous view that cannot be written: numba compiles once for it, whether the array can be or not."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


def index_geometry(affine: np.ndarray, beam: ConeBeam) -> np.ndarray:
    """(4, 3): source, origin, du and dv of the beam in voxel index space (x, y, z)."""
    to_index = np.linalg.inv(affine)
    points = np.stack([beam.numpy(name) for name in ("source", "origin", "du", "dv")])
    return points @ to_index[:3, :3].T + np.array([[1], [1], [0], [0]]) * to_index[:3, 3]


def project_rays(hu: np.ndarray, bone: np.ndarray | None, affine: np.ndarray, beam: ConeBeam) -> np.ndarray:
    """Line integrals of total and bone on the CPU, float32 (2, rows, columns), ray by ray, in float64."""
    flat, flat_bone = read_only(hu).reshape(-1), read_only(NO_BONE if bone is None else bone).reshape(-1)
    out = np.zeros((2, *beam.shape), np.float32)
    lengths = np.stack([beam.numpy("du"), beam.numpy("dv"), beam.numpy("origin") - beam.numpy("source")])
    _rays(flat, flat_bone, hu.shape, index_geometry(affine, beam), lengths, out)
    return out


@numba.njit(cache=True, parallel=True)
def _rays(hu: Any, bone: Any, shape: Any, geometry: Any, mm: Any, out: Any) -> None:
    nz, ny, nx = shape
    source, origin, du, dv = geometry[0], geometry[1], geometry[2], geometry[3]
    for r in numba.prange(out.shape[1]):
        for c in range(out.shape[2]):
            dx, dy, dz = origin + c * du + r * dv - source
            total, excess = trace_cpu(hu, bone, nx, ny, nz, source[0], source[1], source[2], dx, dy, dz)
            px, py, pz = mm[2] + c * mm[0] + r * mm[1]
            scale = MU_PER_Q * np.sqrt(px * px + py * py + pz * pz) / max(abs(dx), abs(dy), abs(dz))
            out[0, r, c] = total * scale
            out[1, r, c] = excess * scale
