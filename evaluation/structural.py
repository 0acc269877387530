"""SSIM and multi-scale SSIM as maps, so that they can be averaged inside a mask (Wang et al. 2003, 2004).

Over the whole image they equal torchmetrics' values; its functions cannot be restricted to a region.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, WINDOW = 1.5, 11
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)  # 176: below it the coarsest scale has no window


def ssim_maps(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor, each (B, 1, H, W), in float64; images are mirrored at their borders."""
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW} pixels a side or more, got {tuple(a.shape[-2:])}")
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=a.device) - WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    a, b = a.double(), b.double()
    moments = F.pad(torch.cat([a, b, a * a, b * b, a * b], dim=1), [WINDOW // 2] * 4, mode="reflect")
    channels = moments.shape[1]
    moments = F.conv2d(moments, kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    moments = F.conv2d(moments, kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    mean_a, mean_b, aa, bb, ab = moments.split(1, dim=1)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variances = (aa - mean_a**2).clamp_min(0) + (bb - mean_b**2).clamp_min(0)
    structure = (2 * (ab - mean_a * mean_b) + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * structure, structure


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Mean (B,) of (B, 1, H, W) over the mask (B, 1, H, W) of 0 and 1, or over everything; NaN for an empty mask."""
    if mask is None:
        return values.mean(dim=(1, 2, 3))
    weights = mask.to(values.dtype)
    return (values * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def ms_ssim(a: Tensor, b: Tensor, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Multi-scale SSIM (B,) of (B, 1, H, W) with sides of at least 176 pixels; negative factors count as 0.

    Inside a mask every scale is averaged over the pixels whose block lies mostly in it.
    """
    if min(a.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"MS-SSIM needs images of {SMALLEST_SIDE} pixels a side or more, got {tuple(a.shape[-2:])}")
    a, b = a.double(), b.double()
    share = None if mask is None else mask.double()
    inner = slice(WINDOW // 2, -(WINDOW // 2))
    product = torch.ones(a.shape[0], dtype=torch.float64, device=a.device)
    for scale, weight in enumerate(SCALE_WEIGHTS):
        last = scale == len(SCALE_WEIGHTS) - 1
        similarity, structure = ssim_maps(a, b, data_range)
        values = similarity if last else structure[..., inner, inner]  # as torchmetrics does
        inside = None if share is None else (share if last else share[..., inner, inner]) > 0.5
        factor = masked_mean(values, inside)
        product = product * factor.clamp_min(0) ** weight
        if not last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
            share = None if share is None else F.avg_pool2d(share, 2)
    return product
