"""A linear path round encoder and decoder, so that the networks learn only what a block transform misses."""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import idct
from torch import Tensor, nn
from torch.nn import functional as F


def lowest_frequencies(block: int, count: int) -> Tensor:
    """The `count` lowest 2-D DCT-II basis images of block x block pixels, orthonormal: (count, block, block)."""
    waves = idct(np.eye(block), axis=1, norm="ortho")  # row u: the wave of frequency u
    frequencies = sorted(((u, v) for u in range(block) for v in range(block)), key=lambda uv: (sum(uv), max(uv), uv))
    return torch.tensor(np.stack([np.outer(waves[u], waves[v]) for u, v in frequencies[:count]]), dtype=torch.float32)


class BlockShortcut(nn.Module):
    """Blocks of f x f pixels to latent pixels and back: residual autoencoding (Chen et al., arXiv:2410.10733).

    Both ways start as the orthonormal DCT's lowest frequencies and are learnt. Autocast does not lower their precision.
    Raises ValueError unless 1 <= latent_channels / image_channels <= f * f in whole numbers.
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
        """(B, image_channels, H, W) -> (B, latent_channels, H/f, W/f)."""
        with torch.autocast(x.device.type, enabled=False):
            return F.conv2d(x.to(self.analysis.dtype), self.analysis, stride=self.block)

    def decode(self, z: Tensor) -> Tensor:
        """(B, latent_channels, h, w) -> (B, image_channels, f*h, f*w)."""
        with torch.autocast(z.device.type, enabled=False):
            return F.conv_transpose2d(z.to(self.synthesis.dtype), self.synthesis, stride=self.block)
