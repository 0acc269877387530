"""Where in a chest radiograph a site's correction is weighed apart: lungs, what lies between them, what lies outside.

A dual-energy unit shows the lungs sharply and shoulders, arms and abdomen smoothly, so one weight a band is too few.
The lungs are those of `radiographs.lungs.lung_mask`; where they are not found all counts as lung, whose weights are the
most careful.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.bone_network import gaussian_blur

SOFTNESS = 4.0  # sigma in pixels of 512 of the borders between regions
TONE_SIGMA = 8.0  # in pixels of 512, of the grey by which bright and dark are told
TONES = (-1.7, -0.15, 1.4)  # in the radiograph's deviations from its mean: black air, the chest wall, the abdomen
REGIONS = 6  # lungs; between them, darker and brighter; outside, black, grey and bright
REFERENCE = 512  # longer side in pixels of the images in which widths are given
COARSE = 8.0  # pixels, from which on a blur is made on a smaller grid


def blurred(image: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, mirrored at the borders.

    Args:
        image: (B, 1, H, W).
        sigma: In pixels of an image whose longer side is 512.

    Returns:
        (B, 1, H, W); blurs of 8 of its own pixels and more are made on a smaller grid.
    """
    sigma = sigma * max(image.shape[2:]) / REFERENCE
    if sigma >= COARSE:
        return gaussian_blur(image, sigma)
    radius = max(1, min(round(3 * sigma), min(image.shape[2:]) - 1))
    places = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    rows = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    return F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))


def region_maps(radiograph: Tensor) -> Tensor:
    """How much each pixel belongs to each region.

    Args:
        radiograph: (B, 1, H, W), bones bright.

    Returns:
        (B, REGIONS, H, W) in [0, 1], with the sum 1 everywhere.
    """
    spread = radiograph.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    tone = blurred((radiograph - radiograph.mean(dim=(2, 3), keepdim=True)) / spread, TONE_SIGMA)
    black, grey, bright = TONES
    dark = ((grey - tone) / (grey - black)).clamp(0, 1)
    light = ((tone - grey) / (bright - grey)).clamp(0, 1)
    both = torch.stack([_lungs_and_chest(image) for image in radiograph[:, 0].detach().float().cpu().numpy()])
    lungs, chest = (
        blurred(both.to(radiograph).flatten(0, 1)[:, None], SOFTNESS)
        .view(len(both), 2, *tone.shape[2:])
        .split(1, dim=1)
    )
    chest = torch.maximum(lungs, chest)
    between, outside = chest - lungs, 1 - chest
    return torch.cat(
        [lungs, between * (1 - light), between * light, outside * dark, outside * (1 - dark - light), outside * light],
        dim=1,
    )


def convex_hull(mask: np.ndarray) -> np.ndarray:
    """The smallest convex area that holds a mask.

    Args:
        mask: (H, W), not empty.

    Returns:
        bool (H, W).
    """
    import cv2

    hull = np.zeros(mask.shape, np.uint8)
    rows, columns = np.nonzero(mask)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32)), 1)
    return hull > 0


def _lungs_and_chest(radiograph: np.ndarray) -> Tensor:
    """(2, H, W): the lungs, and the convex hull of both, as 0 and 1."""
    from radiographs.lungs import lung_mask

    try:
        lungs = lung_mask(radiograph)
    except ValueError:
        return torch.ones(2, *radiograph.shape)
    return torch.from_numpy(np.stack([lungs, convex_hull(lungs)]).astype(np.float32))
