"""SiteNetwork: what one site's own soft-tissue images lack beside the bone that the packaged model finds.

Plain torch, so that suppression starts without diffusers; site_unet.SiteUNet is the same network in diffusers' form.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.bone_network import BlockUNet

BONE_GAIN = 4.0  # bone is weak beside the radiograph's own deviation


class SiteNetwork(BlockUNet):
    """The network of a SiteUNet (which see); it is never made without being told all of its sizes.

    Args:
        channels: As a SiteUNet's.
        size: As a SiteUNet's.
        groups: As a SiteUNet's.
        tone_jitter: As a SiteUNet's.
    """

    def __init__(self, channels: Sequence[int], size: int, groups: int, tone_jitter: float) -> None:
        super().__init__()
        multiple = 2 ** (len(channels) - 1)
        if size < multiple or size % multiple:
            raise ValueError(f"size {size}: {len(channels)} levels need a multiple of {multiple}")
        self.size, self.multiple, self.tone_jitter = size, multiple, tone_jitter
        self.build(2, channels, 1, groups)

    def forward(self, radiograph: Tensor, bone: Tensor) -> Tensor:
        """What is to be taken away besides the bone.

        Args:
            radiograph: (B, 1, H, W), bones bright.
            bone: (B, 1, H, W), what the packaged model takes away, in the radiograph's grey levels.

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
