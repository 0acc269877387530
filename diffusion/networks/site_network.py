"""SiteNetwork: what one site's own soft-tissue images lack beside the bone that the packaged model finds.

Plain torch, so that suppression starts without diffusers; site_unet.SiteUNet is the same network in diffusers' form.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.bone_network import BlockUNet

BONE_GAIN = 4.0  # bone is weak beside the radiograph's own deviation
REFERENCE = 512  # longer side in pixels of the images in which widths of bands are given


def band_images(image: Tensor, widths: Sequence[float]) -> Tensor:
    """An image's bands: what is finer than each of some widths and not than the one before, by Gaussian blurs.

    Args:
        image: (B, 1, H, W).
        widths: Standard deviations of the blurs, increasing, in pixels of an image whose longer side is 512.

    Returns:
        (B, K, H, W); their sum is the image less its widest blur.
    """
    blurred = [image]
    for width in widths:
        sigma = width * max(image.shape[2:]) / REFERENCE
        radius = max(1, min(round(3 * sigma), min(image.shape[2:]) - 1))
        places = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
        kernel = torch.exp(-0.5 * (places / sigma) ** 2)
        kernel = kernel / kernel.sum()
        rows = F.conv2d(F.pad(image, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
        blurred.append(F.conv2d(F.pad(rows, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1)))
    return torch.cat([finer - wider for finer, wider in pairwise(blurred)], dim=1)


class SiteNetwork(BlockUNet):
    """The network of a SiteUNet (which see); it is never made without being told all of its sizes.

    Args:
        channels: As a SiteUNet's.
        size: As a SiteUNet's.
        groups: As a SiteUNet's.
        tone_jitter: As a SiteUNet's.
        widths: As a SiteUNet's.
    """

    weights: Tensor  # of the bands of radiograph and bone, (2, K)

    def __init__(
        self, channels: Sequence[int], size: int, groups: int, tone_jitter: float, widths: Sequence[float] = ()
    ) -> None:
        super().__init__()
        multiple = 2 ** (len(channels) - 1)
        if size < multiple or size % multiple:
            raise ValueError(f"size {size}: {len(channels)} levels need a multiple of {multiple}")
        self.size, self.multiple, self.tone_jitter = size, multiple, tone_jitter
        self.widths = tuple(widths)
        if self.widths:
            self.register_buffer("weights", torch.zeros(2, len(self.widths)))
        self.build(2, channels, 1, groups)

    def weighted_bands(self, radiograph: Tensor, bone: Tensor) -> Tensor:
        """What of the radiograph's and the bone's bands the site's soft tissue lacks.

        Args:
            radiograph: (B, 1, H, W), bones bright.
            bone: (B, 1, H, W), what the packaged model takes away.

        Returns:
            (B, 1, H, W) float32; zero for a network without widths.
        """
        if not self.widths:
            return torch.zeros_like(radiograph, dtype=torch.float32)
        both = torch.stack([band_images(image.float(), self.widths) for image in (radiograph, bone)])
        return (self.weights.float()[:, None, :, None, None] * both).sum(dim=(0, 2))[:, None]

    def forward(self, radiograph: Tensor, bone: Tensor) -> Tensor:
        """What is to be taken away besides the bone.

        Args:
            radiograph: (B, 1, H, W), bones bright.
            bone: (B, 1, H, W), what the packaged model takes away, in the radiograph's grey levels.

        Returns:
            (B, 1, H, W) float32 in the radiograph's grey levels.
        """
        linear = self.weighted_bands(radiograph, bone)
        return linear + self.learned(radiograph, bone + linear)

    def learned(self, radiograph: Tensor, bone: Tensor) -> Tensor:
        """The network's answer on its grid.

        Args:
            radiograph: (B, 1, H, W), bones bright.
            bone: (B, 1, H, W), what is taken away without it.

        Returns:
            (B, 1, H, W) float32 in the radiograph's grey levels.
        """
        shape = radiograph.shape[2:]
        grid = [max(1, round(side * self.size / max(shape) / self.multiple)) * self.multiple for side in shape]
        small, removed = (_resized(image.float(), grid) for image in (radiograph, bone))
        spread = small.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
        tone = (small - small.mean(dim=(2, 3), keepdim=True)) / spread
        if self.training and self.tone_jitter:
            gain, offset = self.tone_jitter * torch.randn(2, *spread.shape, device=spread.device)
            tone = tone * gain.exp() + offset
        seen = torch.cat([tone, BONE_GAIN * removed / spread], dim=1)
        return _resized(self.answer(seen.to(self.first.weight.dtype)).float() * spread, list(shape))


def _resized(image: Tensor, shape: list[int]) -> Tensor:
    """(B, 1, H, W) at another size; as it is where that is its own."""
    if list(image.shape[2:]) == shape:
        return image
    return F.interpolate(image, shape, mode="bicubic", antialias=shape[0] < image.shape[2], align_corners=False)
