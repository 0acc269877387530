"""The ray function of drr/projection/ray.py on a GPU, by numba-cuda (the extra `cuda`).

Tensors go in and out without copies, on torch's current stream; all views are cast in one launch. With
NUMBA_ENABLE_CUDASIM=1 the same kernels run in Python on CPU tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba.cuda
import numpy as np
import torch

from drr.geometry import ConeBeam
from drr.projection.kept import kept_of, lock
from drr.projection.ray import aim, index_geometry, make_splat, make_trace, ray_lengths, ray_of_pixel
from drr.volume import Volume

cuda: Any = numba.cuda
config: Any = numba.config
SIMULATED = bool(config.ENABLE_CUDASIM)
BLOCK = (16, 8, 1)  # columns, rows, views: neighbouring rays read neighbouring voxels

_aim = cuda.jit(aim, device=True)
_ray_of_pixel = cuda.jit(ray_of_pixel, device=True)
_trace = cuda.jit(make_trace(np.float32, _aim), device=True)


@cuda.jit(device=True)
def _add(array, index, value):  # type: ignore[no-untyped-def]
    cuda.atomic.add(array, index, value)


_splat = cuda.jit(make_splat(_aim, _add), device=True)


def project_kernel(hu, bone, nx, ny, nz, box, geometry, mm, out):  # type: ignore[no-untyped-def]
    """A thread casts a ray of a view.

    Args:
        hu: Flat voxels.
        bone: Flat bone map.
        nx: Voxels along x.
        ny: Voxels along y.
        nz: Voxels along z.
        box: (3, 2), see `aim`.
        geometry: (V, 4, 3) float64, see `index_geometry`.
        mm: (V, 3, 3) float64, see `ray_lengths`.
        out: (V, 2, rows, columns), filled.
    """
    c, r, view = cuda.grid(3)
    if view < out.shape[0] and r < out.shape[2] and c < out.shape[3]:
        beam = geometry[view]
        dx, dy, dz, scale = _ray_of_pixel(beam, mm[view], r, c)
        total, excess = _trace(hu, bone, nx, ny, nz, box, beam[0, 0], beam[0, 1], beam[0, 2], dx, dy, dz)
        out[view, 0, r, c] = scale * total
        out[view, 1, r, c] = scale * excess


def back_project_kernel(hu, bone, nx, ny, nz, box, geometry, mm, lines, gradient):  # type: ignore[no-untyped-def]
    """The adjoint of `project_kernel`, adding atomically to the flat float32 `gradient`."""
    c, r, view = cuda.grid(3)
    if view < lines.shape[0] and r < lines.shape[2] and c < lines.shape[3]:
        beam = geometry[view]
        dx, dy, dz, scale = _ray_of_pixel(beam, mm[view], r, c)
        of_total, of_bone = scale * lines[view, 0, r, c], scale * lines[view, 1, r, c]
        planes = max(nx, ny, nz)
        _splat(hu, bone, nx, ny, nz, box, beam[0, 0], beam[0, 1], beam[0, 2], dx, dy, dz, 0, planes, of_total, of_bone,
               gradient)  # fmt: skip


_project = cuda.jit(project_kernel)
_back_project = cuda.jit(back_project_kernel)


def is_available() -> bool:
    """Whether the kernels can run here: a GPU that torch and numba-cuda both see, or the simulator."""
    return SIMULATED or (torch.cuda.is_available() and cuda.is_available())


def upload(volume: Volume) -> tuple[torch.Tensor, torch.Tensor | None]:
    """HU and bone map on the GPU; arrays are copied there once per volume, and become read-only here.

    Args:
        volume: The CT.

    Returns:
        (D, H, W) each; None for no bone map.
    """
    device: Any = "cpu" if SIMULATED else "cuda"
    if isinstance(volume.hu, torch.Tensor) and (volume.hu.is_cuda or SIMULATED):
        return volume.hu, _to(volume.bone, volume.hu.device)
    kept = kept_of(volume)
    if kept.on_device is None:
        kept.on_device = _to(volume.hu, device), _to(volume.bone, device)
        lock(volume)
    return kept.on_device


def _to(array: Any, device: Any) -> Any:
    if array is None or isinstance(array, torch.Tensor):
        return array if array is None else array.to(device)
    return torch.tensor(array, device=device)


def project_on_device(
    hu: torch.Tensor, bone: torch.Tensor | None, affine: np.ndarray, beams: Sequence[ConeBeam]
) -> torch.Tensor:
    """Line integrals of total and bone.

    Args:
        hu: int16, float16 or float32 (D, H, W).
        bone: uint8 of its shape, or None.
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beams: V beams of one shape.

    Returns:
        float32 (V, 2, rows, columns) on hu's device.
    """
    out = torch.zeros(len(beams), 2, *beams[0].shape, device=hu.device)
    _launch(_project, hu, bone, affine, beams, _body_box(hu), out)
    return out


def back_project_on_device(
    hu: torch.Tensor, bone: torch.Tensor | None, affine: np.ndarray, beam: ConeBeam, lines: torch.Tensor
) -> torch.Tensor:
    """The adjoint of `project_on_device` for one view.

    Args:
        hu: As there.
        bone: As there.
        affine: As there.
        beam: The view.
        lines: (2, rows, columns).

    Returns:
        A gradient like hu.
    """
    gradient = torch.zeros(hu.numel(), device=hu.device)
    lines = lines.detach().float()[None].contiguous()
    _launch(_back_project, hu, bone, affine, [beam], _body_box(hu), lines, gradient)
    return gradient.reshape(hu.shape).to(hu.dtype)


def _launch(kernel: Any, hu: torch.Tensor, bone: torch.Tensor | None, affine: np.ndarray, beams: Sequence[ConeBeam],
            box: np.ndarray, lines: torch.Tensor, *more: torch.Tensor) -> None:  # fmt: skip
    nz, ny, nx = hu.shape
    hu = hu.detach().contiguous()
    bone = torch.zeros(0, dtype=torch.uint8, device=hu.device) if bone is None else bone.contiguous()
    geometry, mm = np.stack([index_geometry(affine, b) for b in beams]), np.stack([ray_lengths(b) for b in beams])
    numbers = [torch.from_numpy(array).to(hu.device) for array in (box, geometry, mm)]
    views, _, rows, columns = lines.shape
    grid = tuple(-(-n // per) for n, per in zip((columns, rows, views), BLOCK))
    flat = [_as_numba(t) for t in (hu.reshape(-1), bone.reshape(-1))]
    arguments = (*flat, nx, ny, nz, *(_as_numba(t) for t in (*numbers, lines, *more)))
    if SIMULATED:
        kernel[grid, BLOCK](*arguments)
        return
    with torch.cuda.device(hu.device), cuda.gpus[hu.device.index]:
        kernel[grid, BLOCK, cuda.external_stream(torch.cuda.current_stream().cuda_stream)](*arguments)


def _as_numba(tensor: torch.Tensor) -> Any:
    return tensor.numpy() if SIMULATED else cuda.as_cuda_array(tensor)


def _body_box(hu: torch.Tensor) -> np.ndarray:
    """(3, 2) int64: first and last x, y, z index of what is not air; the whole grid if all is."""
    dense = hu > -1000
    box = []
    for axis in (2, 1, 0):
        filled = dense.amax(dim=tuple({0, 1, 2} - {axis})).nonzero()
        box.append((int(filled[0]), int(filled[-1])) if len(filled) else (0, hu.shape[axis] - 1))
    return np.array(box)
