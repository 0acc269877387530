"""A CT as the GPU's ray caster reads it: attenuation, and bone's excess beside it, made once for all rays.

int16 HU become q = max(0, HU + 1000) in 16 bits, without loss; with bone, its excess over soft tissue lies in the
upper 16 bits of a 32 bit word (-1050 to 32717, signed), so that a ray reads both at once. Floating-point HU become
float32, bone's excess in a second field behind the first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from drr.projection.attenuation import HU_SOFT
from drr.projection.ray import whole


@dataclass(eq=False)
class Packed:
    """Packed voxels.

    Attributes:
        words: Flat int16 (q), int32 (q and excess) or float32 (q, then excess), x fastest, then y, then z; each field
            is followed by zeros, a plane and more, so that a ray along the grid's border reads them with weight 0.
        shape: (D, H, W).
        with_bone: Whether bone's excess is there.
        box: (3, 2) int64 first and last x, y, z index outside which all is 0.
        second: Elements from a float32 q to its excess.
        kept: Whether more views than one call's are cast from it.
        turned_at: Where in `words` the same begins again with y fastest, then x, then z; 0 before `turn`.
    """

    words: torch.Tensor
    shape: tuple[int, int, int]
    with_bone: bool
    box: np.ndarray
    second: int
    kept: bool = False
    turned_at: int = 0

    def turn(self) -> bool:
        """Append the turned voxels, which rays along x read, unless they are there. Doubles `words`.

        Returns:
            Whether they were not there.

        Raises:
            ValueError: See `pack`.
        """
        if self.turned_at:
            return False
        voxels = self.words.view(-1, self.second)[:, : int(np.prod(self.shape))].view(-1, *self.shape)
        turned = _flat(voxels.transpose(-1, -2)).view(-1)
        _check_length(2 * len(turned), self.shape)
        self.turned_at, self.words = len(self.words), torch.cat([self.words, turned])
        return True


def pack(hu: torch.Tensor, bone: torch.Tensor | None, keep: bool = False) -> Packed:
    """Pack a CT where it lies.

    Args:
        hu: int16 or floating point (D, H, W).
        bone: uint8 of its shape, or None.
        keep: Whether it is for more views than one call's. Then what is not air is found, for which the device is
            waited for; else the box is the whole grid.

    Returns:
        The packed CT.

    Raises:
        ValueError: A CT of 2^32 elements or more (turned copy and excess included), which 32 bit indices do not reach.
    """
    hu = hu.detach()
    depth, rows, columns = hu.shape
    low = (hu if hu.dtype == torch.int16 else hu.float()).clamp(min=-1000)
    q = low + 1000  # above 32767 in int16's bits
    voxels = q[None]
    if bone is not None:
        over = low - HU_SOFT
        excess = torch.where(bone == 2, over, torch.where(bone == 1, over.clamp(min=0), torch.zeros_like(over)))
        if hu.dtype == torch.int16:
            voxels = torch.stack((q, excess), dim=-1).view(torch.int32).squeeze(-1)[None]
        else:
            voxels = torch.stack((q, excess))
    words = _flat(voxels)
    _check_length(words.numel(), (depth, rows, columns))
    box = _filled(voxels[0] != 0) if keep else whole(tuple(hu.shape))
    return Packed(words.view(-1), (depth, rows, columns), bone is not None, box, words.shape[1], keep)


def _flat(voxels: torch.Tensor) -> torch.Tensor:
    """(fields, D, H, W) -> (fields, elements), each followed by zeros."""
    count, plane = voxels[0].numel(), voxels.shape[-1] * voxels.shape[-2]
    words = voxels.new_zeros(len(voxels), count + plane + max(voxels.shape[-2:]) + 2)
    words[:, :count].view(voxels.shape).copy_(voxels)
    return words


def _check_length(elements: int, shape: tuple[int, int, int]) -> None:
    if elements >= 1 << 32:
        raise ValueError(f"the CT of {shape} voxels is too large for the GPU's caster; use backend='cpu'")


def _filled(dense: torch.Tensor) -> np.ndarray:
    """(3, 2) int64: first and last x, y, z index where there is something; the whole grid if nowhere."""
    box = whole(tuple(dense.shape))
    for row, axis in zip(box, (2, 1, 0)):
        filled = dense.amax(dim=tuple({0, 1, 2} - {axis})).nonzero()
        if len(filled):
            row[:] = int(filled[0]), int(filled[-1])
    return box
