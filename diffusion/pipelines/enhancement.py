"""BS-Diff's second stage: an autoencoder that sharpens what the first stage drew (arXiv 2311.15328).

It sees the first stage's soft-tissue image and is trained on the true one, at the same size; BS-Diff then resizes to
512 x 512 plainly. The network is diffusers' AutoencoderKL. As BS-Diff's loss has no Kullback-Leibler term, the latent's
variance is free to vanish; it is drawn from in training, and the mean is taken afterwards, so that an image depends on
nothing but the first stage's (BS-Diff draws there too).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor


def build_enhancer(
    channels: Sequence[int] = (128, 256, 384),
    residual_blocks: int = 2,
    latent_channels: int = 8,
    attention_levels: Sequence[int] = (1, 2),
    norm_groups: int = 32,
) -> AutoencoderKL:
    """The autoencoder of BS-Diff's second stage; the defaults are its sizes.

    Args:
        channels: Of each level, each half the size of the one before.
        residual_blocks: A level, and one more in the decoder (MONAI's, which BS-Diff takes, has no such one: 34.4 M
            parameters, where this has 39.5 M).
        latent_channels: Of the latent.
        attention_levels: Levels (0 is the full image size) with self-attention, besides that at the smallest size.
        norm_groups: Groups of the group norms; divides each level's channels.

    Returns:
        An autoencoder of images (B, 1, H, W).

    Raises:
        ValueError: A level does not exist, or sizes do not go together.

    Reference:
        Chen et al. (BS-Diff), arXiv:2311.15328.
    """
    levels = range(len(channels))
    attention = ["Attn" if i in attention_levels else "" for i in levels]
    if not set(attention_levels) <= set(levels):
        raise ValueError(f"attention_levels {list(attention_levels)} must lie in 0 to {len(channels) - 1}")
    if any(count % norm_groups for count in channels):
        raise ValueError(f"channels {list(channels)} must each be divisible by norm_groups {norm_groups}")
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=tuple(f"{kind}DownEncoderBlock2D" for kind in attention),
        up_block_types=tuple(f"{kind}UpDecoderBlock2D" for kind in reversed(attention)),
        block_out_channels=tuple(channels),
        layers_per_block=residual_blocks,
        latent_channels=latent_channels,
        norm_num_groups=norm_groups,
    )


def enhance(enhancer: AutoencoderKL, image: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Sharpen what a first stage drew.

    Args:
        enhancer: See `build_enhancer`.
        image: (B, 1, H, W) in [-1, 1]; H and W divisible by `enhancer_multiple`.
        generator: What the latent is drawn with, in training; None takes its mean.

    Returns:
        (B, 1, H, W), float32, not clipped.
    """
    draw = generator is not None
    return enhancer(image.to(enhancer.dtype), sample_posterior=draw, generator=generator).sample.float()


def enhancer_multiple(enhancer: AutoencoderKL) -> int:
    """What an image's height and width must be divisible by.

    Args:
        enhancer: See `build_enhancer`.

    Returns:
        A number of pixels.
    """
    return 2 ** (len(enhancer.config["block_out_channels"]) - 1)
