"""Gradients of the line integrals with respect to the volume, on the CPU and on CUDA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
import torch

from drr.geometry import ConeBeam
from drr.projection.ray import (
    NO_BONE,
    aim_cpu,
    index_geometry,
    make_splat,
    project_rays,
    ray_lengths,
    ray_of_pixel_cpu,
    read_only,
    whole,
)
from drr.projection.threads import threads_of_torch_kept

SLICES = 16  # that a thread owns at a time


class ProjectVolume(torch.autograd.Function):
    """Line integrals of total and bone by Joseph's method, differentiable in the voxels.

    The derivative is that of the clamped HU -> mu: 0 below -1000 HU, and for bone's rim below soft tissue.
    """

    @staticmethod
    def forward(
        ctx: Any, hu: torch.Tensor, bone: Any, affine: np.ndarray, beams: Sequence[ConeBeam], backend: str
    ) -> torch.Tensor:
        """Project some views.

        Args:
            ctx: torch's.
            hu: Floating point (D, H, W).
            bone: uint8 of its shape, or None: an array for backend cpu, a tensor on the same device for cuda.
            affine: (4, 4) index (x, y, z) -> LPS mm.
            beams: V beams of one shape.
            backend: "cpu" or "cuda".

        Returns:
            (V, 2, rows, columns); without bone (V, 1, rows, columns) on cuda.
        """
        ctx.save_for_backward(hu)
        ctx.rest = bone, affine, beams, backend
        if backend == "cuda":
            from drr.projection.cuda import project_packed
            from drr.projection.packed import pack

            return project_packed(pack(hu, bone), affine, beams)
        voxels = hu.detach().numpy()
        with threads_of_torch_kept():
            return torch.stack([torch.from_numpy(project_rays(voxels, bone, affine, beam)) for beam in beams])

    @staticmethod
    def backward(ctx: Any, grad_output: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:  # type: ignore[override]
        """The gradient in the voxels; there is none in the other arguments.

        Args:
            ctx: torch's.
            grad_output: As `forward` returned.

        Returns:
            Of hu's shape, and None for each other argument.
        """
        (hu,) = ctx.saved_tensors
        bone, affine, beams, backend = ctx.rest
        if backend == "cuda":
            from drr.projection.cuda import back_project_on_device

            return back_project_on_device(hu, bone, affine, beams, grad_output), None, None, None, None
        voxels = hu.detach().numpy()
        gradient = np.zeros_like(voxels)
        with threads_of_torch_kept():
            for beam, lines in zip(beams, grad_output.detach().numpy()):
                gradient += back_project(voxels, bone, affine, beam, lines)
        return torch.from_numpy(gradient), None, None, None, None


def back_project(
    hu: np.ndarray, bone: np.ndarray | None, affine: np.ndarray, beam: ConeBeam, lines: np.ndarray
) -> np.ndarray:
    """The adjoint of `project_rays`: d(sum of lines * line integrals) / d(hu).

    Every thread owns whole slices, so nothing is added atomically and the result does not depend on the number of
    threads.

    Args:
        hu: (D, H, W), as for `project_rays`.
        bone: uint8 (D, H, W), or None.
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beam: The view.
        lines: (2, rows, columns) of total and bone.

    Returns:
        Of hu's shape and dtype.
    """
    flat, flat_bone = read_only(hu).reshape(-1), read_only(NO_BONE if bone is None else bone).reshape(-1)
    gradient = np.zeros(hu.size, hu.dtype)
    geometry, mm = index_geometry(affine, beam), ray_lengths(beam)
    lines = np.ascontiguousarray(lines, np.float64)
    for axis in range(3):
        _splat_slices(flat, flat_bone, hu.shape, whole(hu.shape), geometry, mm, lines, axis, gradient)
    return gradient.reshape(hu.shape)


@numba.njit(cache=True)
def _add(array: Any, index: int, value: float) -> None:
    array[index] += value


_splat = numba.njit(make_splat(aim_cpu, _add), cache=True)


@numba.njit(cache=True, parallel=True)
def _splat_slices(
    hu: Any, bone: Any, shape: Any, box: Any, geometry: Any, mm: Any, lines: Any, axis: int, gradient: Any
) -> None:
    """The rays that run fastest along `axis`, which write to slices across it only."""
    nz, ny, nx = shape
    x, y, z = geometry[0]
    count = shape[2 - axis]
    for block in numba.prange((count + SLICES - 1) // SLICES):
        first, last = block * SLICES, min((block + 1) * SLICES, count)
        for r in range(lines.shape[1]):
            for c in range(lines.shape[2]):
                dx, dy, dz, scale = ray_of_pixel_cpu(geometry, mm, r, c)
                fastest = 0 if abs(dx) >= abs(dy) and abs(dx) >= abs(dz) else (1 if abs(dy) >= abs(dz) else 2)
                if fastest == axis:
                    total, excess = scale * lines[0, r, c], scale * lines[1, r, c]
                    _splat(hu, bone, nx, ny, nz, box, x, y, z, dx, dy, dz, first, last, total, excess, gradient)
