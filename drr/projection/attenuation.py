"""Hounsfield units to linear attenuation in 1/mm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float, UInt8

MU_WATER_PER_MM = 0.0206  # water at 60 keV
HU_SOFT = 50  # soft tissue is 1.05 x water
MU_SOFT_PER_MM = MU_WATER_PER_MM * (1 + HU_SOFT / 1000)


def mu_per_mm(hu: Float[torch.Tensor, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    """Linear attenuation mu = 0.0206 max(0, 1 + HU / 1000).

    Args:
        hu: Floating point, any shape.

    Returns:
        1/mm, of that shape.
    """
    return MU_WATER_PER_MM / 1000 * (hu + 1000).clamp(min=0)


def bone_per_mm(
    hu: Float[torch.Tensor, "*shape"], bone: UInt8[torch.Tensor, "*shape"]
) -> Float[torch.Tensor, "*shape"]:
    """What bone attenuates beyond the soft tissue (1.05 x water) that would stand in its place.

    Args:
        hu: Floating point, any shape.
        bone: uint8 of the same shape, 0 no bone (gives 0), 1 rim (never negative), 2 core (negative in fatty marrow).

    Returns:
        1/mm, of that shape.
    """
    excess = mu_per_mm(hu) - MU_SOFT_PER_MM
    return torch.where(bone == 2, excess, torch.where(bone == 1, excess.clamp(min=0), torch.zeros_like(excess)))
