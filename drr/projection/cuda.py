"""The ray caster on a GPU, by numba-cuda (the extra `cuda`): packs a CT, launches `drr/projection/cuda_kernels.py`.

Tensors go in and out without copies, on torch's current stream; all views are cast in one launch, and nothing waits for
the GPU but the first views of a CT that is kept. With NUMBA_ENABLE_CUDASIM=1 the same kernels run in Python on CPU
tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numba.cuda
import numpy as np
import torch

from drr.geometry import ConeBeam
from drr.projection import cuda_kernels
from drr.projection.cuda_kernels import BLOCK, SIMULATED
from drr.projection.kept import kept_of, lock
from drr.projection.packed import Packed, pack
from drr.projection.ray import index_geometry, ray_lengths, whole
from drr.volume import Volume

cuda: Any = numba.cuda
# By the packed voxels' type and whether bone is with them.
_cast = {
    (torch.int16, False): cuda.jit(cuda_kernels.cast_short),
    (torch.int32, True): cuda.jit(cuda_kernels.cast_pair),
    (torch.float32, False): cuda.jit(cuda_kernels.cast_real),
    (torch.float32, True): cuda.jit(cuda_kernels.cast_reals),
}
_back_project = cuda.jit(cuda_kernels.back_project)


def is_available() -> bool:
    """Whether the kernels can run here: a GPU that torch and numba-cuda both see, or the simulator.

    Returns:
        False if there is no GPU, or numba-cuda lacks a driver that fits.
    """
    return SIMULATED or (torch.cuda.is_available() and cuda.is_available())


def packed(volume: Volume, with_bone: bool) -> Packed:
    """A volume, packed on the GPU.

    Arrays are packed once per volume, with bone and without, and become read-only here. Tensors may change, so they are
    packed at each call.

    Args:
        volume: The CT.
        with_bone: Whether its bone map is wanted.

    Returns:
        The packed CT.
    """
    if isinstance(volume.hu, torch.Tensor):
        hu = on_device(volume.hu)
        return pack(hu, on_device(volume.bone, hu.device) if with_bone else None)
    kept = kept_of(volume)
    if with_bone not in kept.on_device:
        kept.on_device[with_bone] = pack(on_device(volume.hu), on_device(volume.bone) if with_bone else None, keep=True)
        lock(volume)
        _wait()
    return kept.on_device[with_bone]


def on_device(array: Any, device: Any = None) -> Any:
    """An array or a tensor as a tensor on the GPU.

    Args:
        array: Or None.
        device: Of the tensor; torch's current GPU if not given, and array is not on one.

    Returns:
        The tensor; None for None.
    """
    if array is None:
        return None
    if isinstance(array, torch.Tensor):
        return array.to(device or (array.device if array.is_cuda or SIMULATED else "cuda"))
    return torch.tensor(array, device=device or ("cpu" if SIMULATED else "cuda"))


def project_packed(voxels: Packed, affine: np.ndarray, beams: Sequence[ConeBeam]) -> torch.Tensor:
    """Line integrals of total and, where it is packed, of bone, by one launch.

    Args:
        voxels: The CT.
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beams: V beams of one shape.

    Returns:
        float32 (V, 1 or 2, rows, columns) on the voxels' device.
    """
    out = torch.empty(len(beams), 2 if voxels.with_bone else 1, *beams[0].shape, device=voxels.words.device)
    numbers = _numbers(affine, beams, voxels.box)
    if (
        any(_may_run_along_x(geometry, beams[0].shape) for geometry in numbers[1:, :4])
        and voxels.turn()
        and voxels.kept
    ):
        _wait()
    kernel = _cast[voxels.words.dtype, voxels.with_bone]
    places = np.uint32(voxels.turned_at), np.uint32(voxels.second)
    _launch(kernel, out, (voxels.words,), (*places, *voxels.shape[::-1]), (_send(numbers, out), out))
    return out


def back_project_on_device(
    hu: torch.Tensor, bone: torch.Tensor | None, affine: np.ndarray, beams: Sequence[ConeBeam], lines: torch.Tensor
) -> torch.Tensor:
    """The adjoint of casting.

    Args:
        hu: Floating point (D, H, W).
        bone: uint8 of its shape, or None.
        affine: (4, 4) index (x, y, z) -> LPS mm.
        beams: V beams of one shape.
        lines: (V, 1 or 2, rows, columns): 2 with bone.

    Returns:
        A gradient like hu.
    """
    gradient = torch.zeros(hu.numel(), device=hu.device)
    lines = lines.detach().float().contiguous()
    flat = hu.detach().contiguous().view(-1)
    flat_bone = flat.new_empty(0, dtype=torch.uint8) if bone is None else bone.contiguous().view(-1)
    numbers = _send(_numbers(affine, beams, whole(tuple(hu.shape))), lines)
    _launch(_back_project, lines, (flat, flat_bone), hu.shape[::-1], (numbers, lines, gradient))
    return gradient.reshape(hu.shape).to(hu.dtype)


def _numbers(affine: np.ndarray, beams: Sequence[ConeBeam], box: np.ndarray) -> np.ndarray:
    """(1 + V, 7, 3) float64, see `cuda_kernels`."""
    numbers = np.zeros((1 + len(beams), 7, 3))
    numbers[0, :3, :2] = box
    for view, beam in zip(numbers[1:], beams):
        view[:4], view[4:] = index_geometry(affine, beam), ray_lengths(beam)
    return numbers


def _may_run_along_x(geometry: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a ray of a view may be fastest along x; only ever wrong by saying yes.

    Directions change linearly over the detector. Where a ray is fastest along +x, all of x-y, x+y, x-z and x+z are at
    least 0, so each of them must be somewhere, which is at a corner if it is anywhere; and likewise for -x.
    """
    rows, columns = shape
    corners = [(r, c) for r in (0, rows - 1) for c in (0, columns - 1)]
    x, y, z = np.stack([geometry[1] - geometry[0] + c * geometry[2] + r * geometry[3] for r, c in corners]).T
    rounding = 1e-9 * max(abs(x).max(), abs(y).max(), abs(z).max())
    ahead, behind = (np.stack([side - y, side + y, side - z, side + z]).max(axis=1).min() for side in (x, -x))
    return bool(max(ahead, behind) >= -rounding)


def _send(numbers: np.ndarray, near: torch.Tensor) -> torch.Tensor:
    """The numbers where `near` lies; the GPU is not waited for."""
    tensor = torch.from_numpy(numbers)
    return tensor if SIMULATED else tensor.pin_memory().to(near.device, non_blocking=True)


def _wait() -> None:
    """Until what is kept is there, since the next view may be cast on another stream."""
    if not SIMULATED:
        torch.cuda.current_stream().synchronize()


def _launch(kernel: Any, lines: torch.Tensor, voxels: Sequence[torch.Tensor], sizes: Sequence[Any],
            rest: Sequence[torch.Tensor]) -> None:  # fmt: skip
    """A thread for each element of `lines` (V, fields, rows, columns) but its fields."""
    views, _, rows, columns = lines.shape
    grid = tuple(-(-n // per) for n, per in zip((columns, rows, views), BLOCK))
    arguments = (*map(_as_numba, voxels), *sizes, *map(_as_numba, rest))
    if SIMULATED:
        kernel[grid, BLOCK](*arguments)
        return
    with torch.cuda.device(lines.device), cuda.gpus[lines.device.index]:
        kernel[grid, BLOCK, cuda.external_stream(torch.cuda.current_stream().cuda_stream)](*arguments)


def _as_numba(tensor: torch.Tensor) -> Any:
    return tensor.numpy() if SIMULATED else cuda.as_cuda_array(tensor)
