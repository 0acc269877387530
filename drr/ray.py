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


def trace(hu, bone, nx, ny, nz, x, y, z, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Sums of q and of bone's excess, per plane, along the ray from (x, y, z) to (x + dx, y + dy, z + dz) in voxels.

    hu, bone: the voxels as flat arrays of nz * ny * nx; an empty `bone` leaves the second sum at 0.
    The type of x decides the precision. Multiply by the ray's length over its planes, max(|dx|, |dy|, |dz|).
    """
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
    total = x * 0
    excess = x * 0
    for k in range(n):
        t = (k - s) / d
        i = si + t * di
        j = sj + t * dj
        if t < 0 or t > 1 or i < 0 or j < 0 or i > ni - 1 or j > nj - 1:
            continue
        i0 = int(i)
        j0 = int(j)
        wi = i - i0
        wj = j - j0
        a = k * step + i0 * step_i + j0 * step_j
        b = a + (step_j if j0 < nj - 1 else 0)
        down = step_i if i0 < ni - 1 else 0
        share = 2 if n > 1 and (k == 0 or k == n - 1) else 1
        waa, wab, wba, wbb = (1 - wi) * (1 - wj) / share, (1 - wi) * wj / share, wi * (1 - wj) / share, wi * wj / share
        qaa, qab = max(hu[a] + 1000, 0), max(hu[b] + 1000, 0)
        qba, qbb = max(hu[a + down] + 1000, 0), max(hu[b + down] + 1000, 0)
        total += waa * qaa + wab * qab + wba * qba + wbb * qbb
        if bone.size > 0:
            caa, cab, cba, cbb = bone[a], bone[b], bone[a + down], bone[b + down]
            if caa == 2 or (caa == 1 and qaa > Q_SOFT):
                excess += waa * (qaa - Q_SOFT)
            if cab == 2 or (cab == 1 and qab > Q_SOFT):
                excess += wab * (qab - Q_SOFT)
            if cba == 2 or (cba == 1 and qba > Q_SOFT):
                excess += wba * (qba - Q_SOFT)
            if cbb == 2 or (cbb == 1 and qbb > Q_SOFT):
                excess += wbb * (qbb - Q_SOFT)
    return total, excess


trace_cpu = numba.njit(trace, cache=True, fastmath=False)


def index_geometry(affine: np.ndarray, beam: ConeBeam) -> np.ndarray:
    """(4, 3): source, origin, du and dv of the beam in voxel index space (x, y, z)."""
    to_index = np.linalg.inv(affine)
    points = np.stack([beam.numpy(name) for name in ("source", "origin", "du", "dv")])
    return points @ to_index[:3, :3].T + np.array([[1], [1], [0], [0]]) * to_index[:3, 3]


def project_rays(hu: np.ndarray, bone: np.ndarray | None, affine: np.ndarray, beam: ConeBeam) -> np.ndarray:
    """Line integrals of total and bone on the CPU, float32 (2, rows, columns), ray by ray, in float64."""
    hu = np.ascontiguousarray(hu)
    flat_bone = NO_BONE if bone is None else np.ascontiguousarray(bone).reshape(-1)
    out = np.zeros((2, *beam.shape), np.float32)
    lengths = np.stack([beam.numpy("du"), beam.numpy("dv"), beam.numpy("origin") - beam.numpy("source")])
    _rays(hu.reshape(-1), flat_bone, hu.shape, index_geometry(affine, beam), lengths, out)
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
