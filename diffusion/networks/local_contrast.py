"""Local contrast: a radiograph without its local mean, in units of its local deviation, whatever its display's tone.

A model of pictures in local contrast needs not know the looks of all vendors. Bone there times the unit is what is to
be taken away from the radiograph, in its grey levels.
"""

from __future__ import annotations

from torch import Tensor

from diffusion.networks.bone_network import fine_part, standardise

SPAN = 3.0  # local deviations that are shown as 1; beyond them a picture is clipped
KEPT = 0.9  # part of the bone's coarse shading that stays in the image, see fine_part


def to_local_contrast(radiograph: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """A radiograph in local contrast.

    Args:
        radiograph: (B, 1, H, W) in [-1, 1], bones bright.
        sigma: Width in pixels of what is local, 4 or more.

    Returns:
        (B, 1, H, W) in [-1, 1], and the unit it is in, (B, 1, H, W) grey levels.
    """
    seen, deviation = standardise(radiograph.float(), sigma)
    return (seen[:, :1] / SPAN).clamp(-1, 1), SPAN * deviation


def to_local_pair(radiograph: Tensor, soft: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """A radiograph and its soft tissue in the radiograph's local contrast; bone's coarse shading stays in both.

    Args:
        radiograph: (B, 1, H, W) in [-1, 1], bones bright.
        soft: (B, 1, H, W) in [-1, 1].
        sigma: Width in pixels of what is local, 4 or more.

    Returns:
        Both (B, 1, H, W) in [-1, 1].
    """
    seen, unit = to_local_contrast(radiograph, sigma)
    bone = fine_part(radiograph.float() - soft.float(), sigma, KEPT)
    return seen, (seen - bone / unit).clamp(-1, 1)
