"""Encoder and decoder of VQ-GAN (Esser et al. 2021, arXiv:2012.09841): taming-transformers' networks behind our names.

The parameters carry the same names and shapes as there, so that its checkpoints load.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from taming.modules.diffusionmodules import model as taming
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(taming.AttnBlock):
    """Self-attention over all positions, computed by SDPA so that memory grows linearly with them, unlike in taming."""

    def forward(self, x: Tensor) -> Tensor:
        """Add to each position what it gathers from all others.

        Args:
            x: Features (B, C, h, w).

        Returns:
            Features (B, C, h, w).
        """
        normed = self.norm(x)
        # (B, C, h, w) -> (B, 1 head, h*w, C)
        q, k, v = (layer(normed).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        attended = F.scaled_dot_product_attention(q, k, v)[:, 0].transpose(1, 2).reshape(x.shape)
        return x + self.proj_out(attended)


@dataclass(frozen=True)
class Architecture:
    """Sizes that encoder and decoder share.

    A latent pixel covers f = patch * 2**(len(channel_multipliers) - 1) pixels of the image along each side.

    Attributes:
        image_channels: Channels of the image.
        channels: Features at full resolution (taming's ch), a multiple of 32 and of norm_groups.
        channel_multipliers: Features of each level in units of `channels`, from the image inwards (taming's ch_mult).
        residual_blocks: Residual blocks a level (taming's num_res_blocks).
        latent_channels: Channels of the encoder's output.
        patch: Side of the square of pixels that is folded into channels before the first convolution.
        attention: Self-attention in the middle block, as taming has it; its time grows as the square of the positions.
        attention_resolutions: Feature sizes with attention besides, for an image of `resolution` pixels after folding.
        resolution: Side in pixels, after folding, that attention_resolutions refers to; other sizes can be encoded.
        norm_groups: Groups of each GroupNorm. taming's 32 are instance normalisation at 32 channels, which loses the
            image's mean brightness.

    Raises:
        ValueError: `channels` is not a multiple of 32 and of norm_groups.
    """

    image_channels: int
    channels: int
    channel_multipliers: Sequence[int]
    residual_blocks: int
    latent_channels: int
    patch: int
    attention: bool
    attention_resolutions: Sequence[int]
    resolution: int
    norm_groups: int

    def __post_init__(self) -> None:
        if self.channels % 32 or self.channels % self.norm_groups:
            raise ValueError(
                f"VQGAN got channels={self.channels} and norm_groups={self.norm_groups}: channels must be a multiple "
                "of 32 and of norm_groups."
            )

    def taming(self) -> dict[str, Any]:
        """The arguments under taming's names.

        Returns:
            Keyword arguments of taming's Encoder and Decoder; the patches' pixels are counted as channels.
        """
        return {
            "ch": self.channels,
            "ch_mult": tuple(self.channel_multipliers),
            "num_res_blocks": self.residual_blocks,
            "attn_resolutions": tuple(self.attention_resolutions),
            "in_channels": self.image_channels * self.patch**2,
            "out_ch": self.image_channels * self.patch**2,
            "resolution": self.resolution,
            "z_channels": self.latent_channels,
            "double_z": False,
        }

    def adapt(self, network: nn.Module) -> None:
        """Put our attention (or none in the middle block) and norm_groups into a network that taming has built.

        Args:
            network: Taming's Encoder or Decoder; it is changed in place.
        """
        for name, module in list(network.named_modules()):
            if isinstance(module, taming.AttnBlock):
                skip = name == "mid.attn_1" and not self.attention
                network.set_submodule(name, nn.Identity() if skip else Attention(module.in_channels))
            elif isinstance(module, nn.GroupNorm):
                module.num_groups = self.norm_groups


class Encoder(taming.Encoder):
    """The analysis half: images (B, image_channels, H, W) to latents (B, latent_channels, H/f, W/f).

    Args:
        architecture: The sizes shared with the decoder.
    """

    def __init__(self, architecture: Architecture) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(**architecture.taming())
        architecture.adapt(self)
        self.patch = architecture.patch

    def forward(self, x: Tensor) -> Tensor:
        """Encode images.

        Args:
            x: Images (B, image_channels, H, W) in [-1, 1]; f divides H and W.

        Returns:
            Latents (B, latent_channels, H/f, W/f), not quantised.
        """
        return super().forward(F.pixel_unshuffle(x, self.patch))


class Decoder(taming.Decoder):
    """The synthesis half: latents (B, latent_channels, h, w) to images (B, image_channels, f*h, f*w).

    Args:
        architecture: The sizes shared with the encoder.
    """

    def __init__(self, architecture: Architecture) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            super().__init__(**architecture.taming())
        architecture.adapt(self)
        self.patch = architecture.patch

    @property
    def last_layer(self) -> Tensor:
        """Weight of the last convolution, where the adaptive adversarial weight compares gradients."""
        return self.conv_out.weight

    def forward(self, z: Tensor) -> Tensor:
        """Decode latents.

        Args:
            z: Latents (B, latent_channels, h, w).

        Returns:
            Images (B, image_channels, f*h, f*w), about [-1, 1] but not clipped.
        """
        return F.pixel_shuffle(super().forward(z), self.patch)
