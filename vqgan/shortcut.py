"""A linear path round encoder and decoder, so that the networks learn only what a block transform misses."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import idct
from torch import Tensor, nn
from torch.nn import functional as F


def lowest_frequencies(block: int, count: int) -> Tensor:
    """The lowest two-dimensional DCT-II basis images, in order of u + v.

    Args:
        block: Side of the block in pixels.
        count: How many, at most block * block.

    Returns:
        Orthonormal images (count, block, block), float32.
    """
    waves = idct(np.eye(block), axis=1, norm="ortho")  # row u: the wave of frequency u
    frequencies = sorted(((u, v) for u in range(block) for v in range(block)), key=lambda uv: (sum(uv), max(uv), uv))
    return torch.tensor(np.stack([np.outer(waves[u], waves[v]) for u, v in frequencies[:count]]), dtype=torch.float32)


class BlockShortcut(nn.Module):
    """Linear maps between blocks of f x f pixels and latent pixels: residual autoencoding.

    Both maps start as the orthonormal DCT's lowest frequencies and are learnt. Autocast does not lower their precision.

    Args:
        image_channels: Channels of the image.
        latent_channels: Channels of a latent, a multiple of image_channels.
        block: f, side of a block in pixels.

    Raises:
        ValueError: latent_channels / image_channels is not a whole number in [1, f * f].

    Reference:
        Chen et al., arXiv:2410.10733.
    """

    def __init__(self, image_channels: int, latent_channels: int, block: int) -> None:
        super().__init__()
        count, rest = divmod(latent_channels, image_channels)
        if rest or not 1 <= count <= block**2:
            raise ValueError(
                f"A shortcut from {image_channels} image channels to {latent_channels} latent channels in blocks of "
                f"{block}x{block}: latent channels must be 1 to {block**2} times the image channels."
            )
        basis = torch.zeros(image_channels, count, image_channels, block, block)
        for channel in range(image_channels):
            basis[channel, :, channel] = lowest_frequencies(block, count)
        self.analysis = nn.Parameter(basis.flatten(0, 1))
        self.synthesis = nn.Parameter(basis.flatten(0, 1).clone())
        self.block = block

    def encode(self, x: Tensor) -> Tensor:
        """Project blocks of pixels onto the analysis basis.

        Args:
            x: Images (B, image_channels, H, W); f divides H and W.

        Returns:
            Latents (B, latent_channels, H/f, W/f).
        """
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.to(self.analysis.dtype), self.analysis, stride=self.block)

    def decode(self, z: Tensor) -> Tensor:
        """Sum the synthesis basis, weighted by the latents.

        Args:
            z: Latents (B, latent_channels, h, w).

        Returns:
            Images (B, image_channels, f*h, f*w).
        """
        with torch.autocast(z.device.type, enabled=False):
            return F.conv_transpose2d(z.to(self.synthesis.dtype), self.synthesis, stride=self.block)
