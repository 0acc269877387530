"""The ray caster in plain torch: the specification that the fast backends are tested against.

Joseph's method (IEEE Trans. Med. Imaging 1, 192, 1982): along a ray, take the axis of the voxel grid along which it
runs fastest (in voxels); sample the planes of voxel centres across that axis by bilinear interpolation, and sum times
the ray's length per plane. A plane stands for half a voxel to either side: it counts by the share of that cell in which
the ray is between source and pixel and inside the box of the outer voxel centres, where interpolation ends. So a body
that the border cuts ends smoothly, without steps from plane to plane (as in RTK).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import grid_sample

from drr.geometry import ConeBeam

if TYPE_CHECKING:
    from jaxtyping import Float

SAMPLES_AT_ONCE = 1 << 22


def joseph(
    channels: Float[torch.Tensor, "materials depth rows columns"], affine: Float[np.ndarray, "4 4"], beam: ConeBeam
) -> Float[torch.Tensor, "materials height width"]:
    """Line integrals through voxels, differentiable in the voxels and in the beam's vectors.

    Args:
        channels: (M, D, H, W) attenuation in 1/mm, float32 or float64: the dtype that is summed in.
        affine: (4, 4) voxel index (x, y, z) -> mm.
        beam: The view.

    Returns:
        (M, rows, columns), dimensionless.

    Reference:
        Joseph, IEEE Trans. Med. Imaging 1, 192, 1982.
    """
    exact = channels.new_empty(0, dtype=torch.float64)  # a source far away and the turn cost digits
    source, origin, du, dv = (torch.as_tensor(v).to(exact) for v in (beam.source, beam.origin, beam.du, beam.dv))
    rows, columns = (torch.arange(n).to(exact) for n in beam.shape)
    pixels = (origin + rows[:, None, None] * dv + columns[:, None] * du).reshape(-1, 3)
    to_index = torch.linalg.inv(torch.as_tensor(affine).to(exact))
    start = (to_index[:3, :3] @ source + to_index[:3, 3]).to(channels)
    directions = ((pixels - source) @ to_index[:3, :3].T).to(channels)  # in voxels, from the source to the pixel
    lengths = (pixels - source).norm(dim=1).to(channels)
    fastest = directions.abs().argmax(dim=1)
    out = channels.new_zeros(channels.shape[0], len(pixels))
    for axis in range(3):
        planes = channels.shape[3 - axis]
        for rays in (fastest == axis).nonzero()[:, 0].split(max(1, SAMPLES_AT_ONCE // planes)):
            if len(rays):
                sums = _sum_planes(channels, start, directions[rays], axis)
                step = lengths[rays] / directions[rays, axis].abs()
                out = out.index_copy(1, rays, sums * step)
    return out.reshape(channels.shape[0], *beam.shape)


def _sum_planes(channels: torch.Tensor, start: torch.Tensor, directions: torch.Tensor, axis: int) -> torch.Tensor:
    """(M, N): the weighted sum over the planes across `axis` of N rays from `start`; everything in voxels."""
    last = torch.tensor(channels.shape[:0:-1]).to(channels) - 1  # x, y, z
    plane = torch.arange(channels.shape[3 - axis]).to(channels)
    # Where the ray enters and leaves the box: 0 at the source, 1 at the pixel. An axis across it decides by +-inf.
    faces = torch.stack([-start, last - start]) / torch.where(directions == 0, 1e-30, directions)[:, None]  # (N, 2, 3)
    enters = faces.amin(1).amax(1).clamp(min=0)
    leaves = torch.maximum(faces.amax(1).amin(1).clamp(max=1), enters)
    ends = start[axis] + torch.stack([enters, leaves], 1) * directions[:, axis, None]  # (N, 2), in planes
    low, high = ends.amin(1, keepdim=True), ends.amax(1, keepdim=True)
    weight = (torch.minimum(plane + 0.5, high) - torch.maximum(plane - 0.5, low)).clamp(min=0)
    along = (plane - start[axis]) / directions[:, axis, None]
    place = start + along[..., None] * directions[:, None]  # (N, K, 3)
    grid = 2 * place / last.clamp(min=1) - 1
    values = grid_sample(channels[None], grid[None, :, :, None], align_corners=True, padding_mode="border")[0, ..., 0]
    return (values * weight).sum(-1)
