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
from diffusion.networks.site_regions import REFERENCE, REGIONS, blurred, region_maps

BONE_GAIN = 4.0  # bone is weak beside the radiograph's own deviation
FRAME = 4  # lines at each border, in pixels of 512
FRAME_SIGMA = 16.0  # of their surroundings, in pixels of 512


def band_images(image: Tensor, widths: Sequence[float]) -> Tensor:
    """An image's bands: what is finer than each of some widths and not than the one before, by Gaussian blurs.

    Args:
        image: (B, 1, H, W).
        widths: Standard deviations of the blurs, increasing, in pixels of an image whose longer side is 512.

    Returns:
        (B, K + 1, H, W); the last is the widest blur, and their sum is the image.
    """
    smooth = [image, *(blurred(image, width) for width in widths)]
    return torch.cat([*(finer - wider for finer, wider in pairwise(smooth)), smooth[-1]], dim=1)


def frame_images(image: Tensor) -> Tensor:
    """How much brighter an image is than its surroundings on each of the outermost lines, from the border inwards.

    Units enhance edges, and a picture's border looks like one to them.

    Args:
        image: (B, 1, H, W).

    Returns:
        (B, 4 * FRAME, H, W): the lines at the top, the bottom, the left and the right, each a pixel of 512 wide.
    """
    width = max(1, round(max(image.shape[2:]) / REFERENCE))
    excess = image - blurred(image, FRAME_SIGMA)
    rows, columns = (
        torch.arange(side, device=image.device).div(width, rounding_mode="floor") for side in image.shape[2:]
    )
    lines = torch.arange(FRAME, device=image.device)[:, None]
    across = [(lines == places)[:, :, None] for places in (rows, rows.flip(0))]
    along = [(lines == places)[:, None, :] for places in (columns, columns.flip(0))]
    return torch.cat([excess * mask for mask in (*across, *along)], dim=1)


def site_features(radiograph: Tensor, bone: Tensor, widths: Sequence[float]) -> tuple[Tensor, Tensor]:
    """What is weighed: in each region the bands of both images and a constant, and everywhere the frame.

    Args:
        radiograph: (B, 1, H, W), bones bright.
        bone: (B, 1, H, W), what the packaged model takes away.
        widths: K of them, see `band_images`.

    Returns:
        (B, 2 * K + 3, H, W), to be weighed by region, and (B, 4 * FRAME, H, W).
    """
    bands = [band_images(image, widths) for image in (radiograph, bone)]
    return torch.cat([*bands, torch.ones_like(radiograph)], dim=1), frame_images(radiograph)


class SiteNetwork(BlockUNet):
    """The network of a SiteUNet (which see); it is never made without being told all of its sizes.

    Args:
        channels: As a SiteUNet's.
        size: As a SiteUNet's.
        groups: As a SiteUNet's.
        tone_jitter: As a SiteUNet's.
        widths: As a SiteUNet's.
    """

    weights: Tensor  # of the bands of radiograph and bone and of a constant, (REGIONS, 2 * K + 3)
    frame_weights: Tensor  # of the lines at each border, (4 * FRAME,)

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
            self.register_buffer("weights", torch.zeros(REGIONS, 2 * len(self.widths) + 3))
            self.register_buffer("frame_weights", torch.zeros(4 * FRAME))
        self.build(2, channels, 1, groups)

    def weighted_bands(self, radiograph: Tensor, bone: Tensor) -> Tensor:
        """What of the radiograph's and the bone's bands the site's soft tissue lacks.

        Args:
            radiograph: (B, 1, H, W), bones bright.
            bone: (B, 1, H, W), what the packaged model takes away.

        Returns:
            (B, 1, H, W) float32; zero for a network without widths.
        """
        radiograph, bone = radiograph.float(), bone.float()
        if not self.widths:
            return torch.zeros_like(radiograph)
        with torch.autocast(radiograph.device.type, enabled=False):
            bands, frame = site_features(radiograph, bone, self.widths)
            regions = torch.einsum("bfhw,rf->brhw", bands, self.weights.float())
            lines = torch.einsum("bfhw,f->bhw", frame, self.frame_weights.float())
            return ((regions * region_maps(radiograph)).sum(dim=1) + lines)[:, None]

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
