"""SiteUNet: what one site's own soft-tissue images lack beside the bone that the packaged model finds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor
from torch.nn import functional as F

from diffusion.networks.bone_unet import BlockUNet

BONE_GAIN = 4.0  # bone is weak beside the radiograph's own deviation


class SiteUNet(BlockUNet, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A correction of a packaged model's answer, learned from a few dual-energy pairs of one site.

    A vendor's soft-tissue image differs from the radiograph by more than bones' edges: by the wide shading of the
    spine, shoulders and chest wall, and by its own tone. That is coarse, so a small network on a small grid finds it,
    fast; and since it sees which bone the packaged model has found, two or three pairs teach it. The packaged network
    stays as it is, and with it what it does to nodules.

    Args:
        channels: Of each level, from full to smallest; each is divisible by `groups`.
        size: Longer side in pixels of the grid on which it works.
        groups: Of the group norms.
        tone_jitter: In training, standard deviation of random gain and offset of the standardised radiograph.
    """

    @register_to_config
    def __init__(
        self,
        channels: Sequence[int] = (16, 32, 64, 96, 128),
        size: int = 128,
        groups: int = 8,
        tone_jitter: float = 0.05,
    ) -> None:
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
        return _resized(self.answer(seen.to(self.dtype)).float() * spread, list(shape))


def _resized(image: Tensor, shape: list[int]) -> Tensor:
    """(B, 1, H, W) at another size; as it is where that is its own."""
    if list(image.shape[2:]) == shape:
        return image
    return F.interpolate(image, shape, mode="bicubic", antialias=shape[0] < image.shape[2], align_corners=False)
