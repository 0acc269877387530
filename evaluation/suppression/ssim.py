"""SSIM and multi-scale SSIM as maps, so that they can be averaged inside a mask (Wang et al. 2003, 2004).

Over the whole image they equal torchmetrics' values; its functions cannot be restricted to a region.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA, WINDOW = 1.5, 11
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
SMALLEST_SIDE = WINDOW * 2 ** (len(SCALE_WEIGHTS) - 1)  # 176: below it the coarsest scale has no window


def ssim_maps(a: Tensor, b: Tensor, data_range: float) -> tuple[Tensor, Tensor]:
    """SSIM and its contrast-structure factor at each pixel; images are mirrored at their borders.

    Args:
        a: (B, 1, H, W).
        b: (B, 1, H, W).
        data_range: White less black.

    Returns:
        Two maps (B, 1, H, W), float64.

    Raises:
        ValueError: Images smaller than the window.

    Reference:
        Wang et al. 2004, IEEE TIP 13(4), eq. 13.
    """
    if min(a.shape[-2:]) < WINDOW:
        raise ValueError(f"SSIM needs images of {WINDOW} pixels a side or more, got {tuple(a.shape[-2:])}")
    a, b = a.double(), b.double()
    mean_a, mean_b, aa, bb, ab = (_smooth(moment) for moment in (a, b, a * a, b * b, a * b))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variances = (aa - mean_a**2).clamp_min(0) + (bb - mean_b**2).clamp_min(0)
    structure = (2 * (ab - mean_a * mean_b) + c2) / (variances + c2)
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return luminance * structure, structure


def _smooth(images: Tensor) -> Tensor:
    """Gaussian window over (B, 1, H, W) in float64; on the CPU by OpenCV, forty times as fast as torch there."""
    if images.device.type != "cpu":
        return smooth_by_torch(images)
    taps = _kernel().numpy()
    smooth = [cv2.sepFilter2D(image[0].numpy(), -1, taps, taps, borderType=cv2.BORDER_REFLECT_101) for image in images]
    return torch.from_numpy(np.stack(smooth))[:, None]


def smooth_by_torch(images: Tensor) -> Tensor:
    """What OpenCV computes on the CPU, on any device: the Gaussian window of SSIM over images.

    Args:
        images: float64 (B, 1, H, W); they are mirrored at the border.

    Returns:
        float64 (B, 1, H, W).
    """
    kernel = _kernel().to(images.device)
    padded = F.pad(images, [WINDOW // 2] * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))


def _kernel() -> Tensor:
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    return kernel / kernel.sum()


def masked_mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each map, over everything or inside a mask.

    Args:
        values: (B, 1, H, W).
        mask: (B, 1, H, W) of 0 and 1; None: everything.

    Returns:
        (B,); NaN for an empty mask.
    """
    if mask is None:
        return values.mean(dim=(1, 2, 3))
    weights = mask.to(values.dtype)
    return (values * weights).sum(dim=(1, 2, 3)) / weights.sum(dim=(1, 2, 3))


def ssim_pyramid(a: Tensor, b: Tensor, data_range: float) -> list[tuple[Tensor, Tensor]]:
    """`ssim_maps` at the five scales of MS-SSIM, or the first alone if images are too small for others.

    Args:
        a: (B, 1, H, W).
        b: (B, 1, H, W).
        data_range: White less black.

    Returns:
        Maps of SSIM and of its contrast-structure factor at each scale, fine to coarse.
    """
    scales = len(SCALE_WEIGHTS) if min(a.shape[-2:]) >= SMALLEST_SIDE else 1
    a, b = a.double(), b.double()
    maps = []
    for scale in range(scales):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        maps.append(ssim_maps(a, b, data_range))
    return maps


def ms_ssim(a: Tensor, b: Tensor, data_range: float, mask: Tensor | None = None) -> Tensor:
    """Multi-scale SSIM; negative factors count as 0.

    Inside a mask every scale is averaged over the pixels whose block lies mostly in it.

    Args:
        a: (B, 1, H, W), sides of at least 176 pixels.
        b: (B, 1, H, W).
        data_range: White less black.
        mask: (B, 1, H, W) of 0 and 1.

    Returns:
        (B,).

    Raises:
        ValueError: Smaller images.

    Reference:
        Wang et al. 2003, "Multiscale structural similarity for image quality assessment", eq. 7.
    """
    if min(a.shape[-2:]) < SMALLEST_SIDE:
        raise ValueError(f"MS-SSIM needs images of {SMALLEST_SIDE} pixels a side or more, got {tuple(a.shape[-2:])}")
    return pyramid_ms_ssim(ssim_pyramid(a, b, data_range), mask)


def pyramid_ms_ssim(pyramid: list[tuple[Tensor, Tensor]], mask: Tensor | None = None) -> Tensor:
    """MS-SSIM of what `ssim_pyramid` gave, over everything or inside a mask.

    Args:
        pyramid: (similarity, structure), each (B, 1, h, w), a scale each.
        mask: (B, 1, H, W) of 0 and 1; None: everything.

    Returns:
        (B,), float64; NaN for a pyramid of one scale.
    """
    first = pyramid[0][0]
    if len(pyramid) < len(SCALE_WEIGHTS):
        return torch.full((first.shape[0],), float("nan"), dtype=torch.float64, device=first.device)
    share = None if mask is None else mask.double()
    inner = slice(WINDOW // 2, -(WINDOW // 2))
    product = torch.ones(first.shape[0], dtype=torch.float64, device=first.device)
    for scale, ((similarity, structure), weight) in enumerate(zip(pyramid, SCALE_WEIGHTS)):
        last = scale == len(SCALE_WEIGHTS) - 1
        values = similarity if last else structure[..., inner, inner]  # as torchmetrics does
        inside = None if share is None else (share if last else share[..., inner, inner]) > 0.5
        product = product * masked_mean(values, inside).clamp_min(0) ** weight
        share = None if share is None or last else F.avg_pool2d(share, 2)
    return product
