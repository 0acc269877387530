"""BoneNetwork: a U-Net from a radiograph to its bones, blind to the display's tone; and the fine part of an image.

Plain torch, so that suppression starts without diffusers; bone_unet.BoneUNet is the same network in diffusers' form.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion.networks.tiles import tiled

GRID = 4  # pixels; wide blurs are done on block means of this size


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, computed on a grid of a quarter of the size, with reflected borders.

    Args:
        image: (B, 1, H, W).
        sigma: Width in pixels, 4 or more.

    Returns:
        (B, 1, H, W).
    """
    small = F.avg_pool2d(image, GRID, ceil_mode=True, count_include_pad=False)
    radius = max(1, min(round(3 * sigma / GRID), min(small.shape[2:]) - 1))
    places = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device) * GRID
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel = kernel / kernel.sum()
    small = F.conv2d(F.pad(small, (radius, radius, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    small = F.conv2d(F.pad(small, (0, 0, radius, radius), mode="reflect"), kernel.view(1, 1, -1, 1))
    wide = F.interpolate(small, scale_factor=float(GRID), mode="bilinear", align_corners=False)
    return wide[..., : image.shape[2], : image.shape[3]]


def fine_part(image: Tensor, sigma: float, share: float) -> Tensor:
    """An image without most of its coarse part: what is wider than sigma is the display's, not the bone's.

    Args:
        image: (B, 1, H, W).
        sigma: Width in pixels of the blur, 4 or more.
        share: Part of the blur that is taken off, in [0, 1].

    Returns:
        (B, 1, H, W).
    """
    return image - share * gaussian_blur(image, sigma)


def standardise(radiograph: Tensor, sigma: float, tone_jitter: float = 0.0) -> tuple[Tensor, Tensor]:
    """What a BoneNetwork sees of a radiograph, whatever window, gamma or dynamic range compression it was shown in.

    Args:
        radiograph: (B, 1, H, W), float32.
        sigma: Width in pixels of what is local, 4 or more.
        tone_jitter: Standard deviation of random gain and offset of the second image.

    Returns:
        (B, 2, H, W): without the local mean, in units of the local deviation; and in units of the whole's. And the
        local deviation (B, 1, H, W) in grey levels, never under a twentieth of the whole image's.
    """
    mean = radiograph.mean(dim=(2, 3), keepdim=True)
    spread = radiograph.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    tone = (radiograph - mean) / spread
    detail = tone - gaussian_blur(tone, sigma)
    local = (gaussian_blur(detail.square(), sigma) + 0.05**2).sqrt()
    if tone_jitter:
        gain = torch.exp(tone_jitter * torch.randn_like(mean))
        tone = tone * gain + tone_jitter * torch.randn_like(mean)
    return torch.cat([detail / local, tone], dim=1), local * spread


class Block(nn.Module):
    """Two 3x3 convolutions with group norm around a shortcut.

    Args:
        before: Channels of the input.
        after: Channels of the output.
        groups: Of the group norms; divides `after`.

    Reference:
        He et al., arXiv:1603.05027.
    """

    def __init__(self, before: int, after: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1),
            nn.GroupNorm(groups, after),
            nn.SiLU(),
            nn.Conv2d(after, after, 3, padding=1),
            nn.GroupNorm(groups, after),
        )
        self.shortcut = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions beside a shortcut.

        Args:
            x: Features (B, before, H, W).

        Returns:
            Features (B, after, H, W).
        """
        return F.silu(self.body(x) + self.shortcut(x))


class BlockUNet(nn.Module):
    """A U-Net of `Block`s between a first and a last convolution, which starts by answering 0."""

    def build(self, seen: int, channels: Sequence[int], answered: int, groups: int) -> None:
        """Make the layers; to be called once, from __init__.

        Args:
            seen: Channels of the input.
            channels: Of each level, from full to smallest; each divisible by `groups`.
            answered: Channels of the output.
            groups: Of the group norms.

        Raises:
            ValueError: `groups` does not divide some level's channels.
        """
        if any(number % groups for number in channels):
            raise ValueError(f"channels {list(channels)}: each must be divisible by groups {groups}")
        before = (channels[0], *channels[:-1])
        self.first = nn.Conv2d(seen, channels[0], 3, padding=1)
        self.down = nn.ModuleList(Block(i, o, groups) for i, o in zip(before, channels))
        self.up = nn.ModuleList(Block(low + high, high, groups) for high, low in pairwise(channels))
        self.last = nn.Conv2d(channels[0], answered, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def answer(self, x: Tensor) -> Tensor:
        """Run the U-Net.

        Args:
            x: (B, seen, H, W); 2^(levels - 1) divides H and W.

        Returns:
            (B, answered, H, W).
        """
        x = self.first(x.contiguous(memory_format=torch.channels_last))
        skips = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([x, skips[level]], dim=1))
        return self.last(x)


class BoneNetwork(BlockUNet):
    """The network of a BoneUNet (which see); it is never made without being told all of its sizes.

    Args:
        channels: As a BoneUNet's.
        patch: As a BoneUNet's.
        sigma: As a BoneUNet's.
        coarse_share: As a BoneUNet's.
        groups: As a BoneUNet's.
        tone_jitter: As a BoneUNet's.
    """

    def __init__(
        self, channels: Sequence[int], patch: int, sigma: float, coarse_share: float, groups: int, tone_jitter: float
    ) -> None:
        super().__init__()
        self.patch, self.sigma, self.coarse_share, self.tone_jitter = patch, sigma, coarse_share, tone_jitter
        self.build(2 * patch**2, channels, patch**2, groups)

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        return self.patch * 2 ** (len(self.down) - 1)

    def deviation(self, radiograph: Tensor) -> Tensor:
        """Local standard deviation of a radiograph.

        Args:
            radiograph: (B, 1, H, W).

        Returns:
            (B, 1, H, W) in grey levels, never under a twentieth of the whole image's.
        """
        return self._standardise(radiograph.float())[1]

    def forward(self, radiograph: Tensor, tile: int | None = None) -> Tensor:
        """The bone that is to be taken away.

        Args:
            radiograph: (B, 1, H, W) in [-1, 1], bones bright; H and W divisible by `size_multiple`.
            tile: Side in pixels of the tiles in which the network sees a larger image, see diffusion.networks.tiles;
                None: it sees it whole.

        Returns:
            (B, 1, H, W), float32 in grey levels.
        """
        with torch.autocast(radiograph.device.type, enabled=False):
            seen, deviation = self._standardise(radiograph.float())
        seen = seen.to(self.first.weight.dtype)
        answer = self._network(seen) if tile is None else tiled(self._network, seen, tile, self.size_multiple)
        with torch.autocast(radiograph.device.type, enabled=False):
            return fine_part(answer.float(), self.sigma, self.coarse_share) * deviation

    def _standardise(self, radiograph: Tensor) -> tuple[Tensor, Tensor]:
        return standardise(radiograph, self.sigma, self.tone_jitter if self.training else 0.0)

    def _network(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.answer(F.pixel_unshuffle(x, self.patch)), self.patch)
