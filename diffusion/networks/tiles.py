"""Images above the training size: overlapping tiles of that size, blended (MultiDiffusion, arXiv 2302.08113).

Bar-Tal et al. let the network answer for each crop of the noisy latent and take, wherever crops overlap, the weighted
mean (their eq. 5), at every step; so all tiles are one image by the end. The weights here are sin^2 windows, which
come to nothing at a tile's edge: no seam. The same blending carries an autoencoder, or any network from image to image,
over an image of any size with the memory of one tile. Tiles are worked one after the other, in a fixed order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffusion.contracts import Autoencoder, AutoencoderConfig, Denoiser

if TYPE_CHECKING:
    from diffusers.models.unets.unet_2d import UNet2DOutput

SPACING = 0.75  # of a tile, from one to the next at most: neighbours share a quarter or more


def tile_starts(length: int, tile: int, unit: int = 1) -> list[int]:
    """Where tiles begin along a side.

    Args:
        length: Pixels of the side, a multiple of `unit`.
        tile: Pixels of a tile, a multiple of `unit`.
        unit: What each start is a multiple of.

    Returns:
        Starts, evenly spread; [0] where one tile covers the side.
    """
    if length <= tile:
        return [0]
    steps = math.ceil((length - tile) / (SPACING * tile))
    return sorted({round(i * (length - tile) / (steps * unit)) * unit for i in range(steps + 1)})


def window(height: int, width: int) -> Tensor:
    """Weights of a tile: sin^2 along each side, greatest in the middle, never 0.

    Args:
        height: Pixels.
        width: Pixels.

    Returns:
        (height, width), float32.
    """
    rows, columns = (torch.sin(torch.pi * (torch.arange(n) + 0.5) / n).square() for n in (height, width))
    return rows[:, None] * columns


def tiled(function: Callable[[Tensor], Tensor], image: Tensor, tile: int, unit: int = 1) -> Tensor:
    """Apply a function to an image tile by tile, and blend its answers with `window`.

    An image that one tile covers is given to the function whole.

    Args:
        function: (B, C, h, w) -> (B, D, s h, s w) with one scale s, h and w at most `tile`.
        image: (B, C, H, W).
        tile: Side of a tile in pixels.
        unit: Tiles begin at its multiples; it divides H, W and tile, and unit * s must be whole.

    Returns:
        (B, D, s H, s W).

    Raises:
        ValueError: `unit` does not divide the tile.

    Reference:
        Bar-Tal et al. (MultiDiffusion), arXiv:2302.08113, eq. 5.
    """
    height, width = image.shape[2:]
    if tile < unit or tile % unit:
        raise ValueError(f"the tile is {tile}; it must be a multiple of {unit}")
    if max(height, width) <= tile:
        return function(image)
    total = weights = answer = torch.empty(0)
    for top, left in itertools.product(tile_starts(height, tile, unit), tile_starts(width, tile, unit)):
        part = image[..., top : top + tile, left : left + tile]
        answer = function(part)
        rows, columns = answer.shape[2:]
        if not weights.numel():
            shape = (height * rows // part.shape[2], width * columns // part.shape[3])
            total = answer.new_zeros(*answer.shape[:2], *shape, dtype=torch.float32)
            weights = total.new_zeros(shape)
        y, x = top * rows // part.shape[2], left * columns // part.shape[3]
        weight = window(rows, columns).to(total.device)
        total[..., y : y + rows, x : x + columns] += weight * answer
        weights[y : y + rows, x : x + columns] += weight
    return total.div_(weights).to(answer.dtype)


@dataclass(frozen=True)
class TiledNetwork:
    """A network of diffusers' form whose answer on anything larger than `tile` is blended from tiles.

    Attributes:
        network: Called as network(inputs, timestep), and answers with `.sample`.
        tile: Side of a tile in latent pixels.
        unit: What starts of tiles are multiples of; divides `tile`.
    """

    network: Denoiser
    tile: int
    unit: int = 1

    @property
    def dtype(self) -> torch.dtype:
        """The network's precision."""
        return self.network.dtype

    def __call__(self, inputs: Tensor, timestep: Tensor, return_dict: bool = True) -> UNet2DOutput | tuple[Tensor]:
        """As diffusers' networks."""
        from diffusers.models.unets.unet_2d import UNet2DOutput

        answer = tiled(lambda part: self.network(part, timestep).sample, inputs, self.tile, self.unit)
        return UNet2DOutput(sample=answer) if return_dict else (answer,)


@dataclass(frozen=True)
class TiledAutoencoder:
    """An autoencoder whose `encode` and `decode` work tile by tile.

    Attributes:
        autoencoder: What it wraps.
        tile: Side of a tile in pixels of the image, a multiple of `unit`.
        unit: What starts of tiles are multiples of, in pixels; the downsampling divides it.
    """

    autoencoder: Autoencoder
    tile: int
    unit: int

    @property
    def config(self) -> AutoencoderConfig:
        """The autoencoder's configuration, with its scaling_factor."""
        return self.autoencoder.config

    @property
    def downsampling(self) -> int:
        """f: image pixels per latent pixel along a side."""
        return self.autoencoder.downsampling

    def encode(self, image: Tensor) -> Tensor:
        """Latents (B, C, H/f, W/f) of images (B, 1, H, W).

        Args:
            image: In [-1, 1], of any size that f divides.

        Returns:
            Not scaled; blended where tiles overlap.
        """
        return tiled(self.autoencoder.encode, image, self.tile, self.unit)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """As the autoencoder does: a latent pixel's code depends on no other, so that no tiles are needed.

        Args:
            z: Latents, not scaled, of any size.

        Returns:
            Codes, a loss and indices, see `Autoencoder.quantize`.
        """
        return self.autoencoder.quantize(z)

    def decode(self, z: Tensor) -> Tensor:
        """Images (B, 1, f*h, f*w) of latents (B, C, h, w).

        Args:
            z: Latents, not scaled, of any size.

        Returns:
            About [-1, 1], not clipped; blended where tiles overlap.
        """
        f = self.autoencoder.downsampling
        return tiled(self.autoencoder.decode, z, self.tile // f, self.unit // f)
