"""The conditional latent U-Net: diffusers' UNet2DModel with the condition's channels beside the noisy target's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers.models.unets.unet_2d import UNet2DModel


def build_unet(
    latent_channels: int = 4,
    condition_channels: int = 4,
    base_channels: int = 128,
    multipliers: Sequence[int] = (1, 1, 2, 2, 4, 4),
    residual_blocks: int = 8,
    attention_levels: Sequence[int] = (3, 4, 5),
    attention_head_dim: int = 64,
    scale_shift: bool = True,
    residual_resampling: bool = True,
    norm_groups: int = 32,
    mid_attention: bool = True,
    dropout: float = 0.0,
    sample_size: int | None = None,
) -> UNet2DModel:
    """The conditional U-Net; the defaults are BS-LDM's sizes for 4 x 128 x 128 latents.

    Args:
        latent_channels: Of the noisy target, and of the answer.
        condition_channels: Of the condition beside it.
        base_channels: Features of the first level, before its multiplier.
        multipliers: Features of each level in units of base_channels, from full to smallest. Latent height and width
            must be divisible by 2^(levels - 1).
        residual_blocks: A level.
        attention_levels: Levels (0 is the full latent size) with self-attention. BS-LDM passes (64, 32, 16, 8) to
            guided-diffusion's U-Net, which reads them as downsampling factors: of its levels' 1 to 32 they meet 8, 16
            and 32.
        attention_head_dim: Channels a head; 64 gives BS-LDM's 8 heads at the 512-channel levels (4 at its 256-channel
            one).
        scale_shift: The time embedding scales and shifts each norm, instead of being added.
        residual_resampling: Down- and upsampling by residual blocks, instead of plain convolutions.
        norm_groups: Groups of the group norms; divides each level's features.
        mid_attention: Self-attention in the middle block.
        dropout: In the residual blocks, in [0, 1).
        sample_size: Side of the latents that it is trained on; only recorded.

    Returns:
        A UNet2DModel of latent_channels + condition_channels in and latent_channels out.

    Raises:
        ValueError: Attention is asked for at a level that does not exist, or sizes do not go together.

    Reference:
        Dhariwal and Nichol, arXiv:2105.05233, section 3.
    """
    levels = range(len(multipliers))
    if not set(attention_levels) <= set(levels):
        raise ValueError(f"attention_levels {list(attention_levels)} must lie in 0 to {len(multipliers) - 1}")
    if any(base_channels * multiplier % norm_groups for multiplier in multipliers):
        raise ValueError(
            f"base_channels {base_channels} times each of {list(multipliers)} must be divisible by "
            f"norm_groups {norm_groups}"
        )
    plain_down, plain_up = ("DownBlock2D", "UpBlock2D")
    if residual_resampling:
        plain_down, plain_up = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    return UNet2DModel(
        sample_size=sample_size,
        in_channels=latent_channels + condition_channels,
        out_channels=latent_channels,
        block_out_channels=tuple(base_channels * multiplier for multiplier in multipliers),
        layers_per_block=residual_blocks,
        down_block_types=tuple("AttnDownBlock2D" if i in attention_levels else plain_down for i in levels),
        up_block_types=tuple("AttnUpBlock2D" if i in attention_levels else plain_up for i in reversed(levels)),
        downsample_type="resnet" if residual_resampling else "conv",
        upsample_type="resnet" if residual_resampling else "conv",
        resnet_time_scale_shift="scale_shift" if scale_shift else "default",
        attention_head_dim=attention_head_dim,
        norm_num_groups=norm_groups,
        attn_norm_num_groups=norm_groups,
        add_attention=mid_attention,
        dropout=dropout,
    )


def size_multiple(network: Any) -> int:
    """What a latent's height and width must be divisible by: a U-Net's total downsampling, a transformer's patch.

    Args:
        network: A U-Net of diffusers, or a network with a `size_multiple` of its own.

    Returns:
        A number of latent pixels.
    """
    if isinstance(network, UNet2DModel):
        return 2 ** (len(network.config["block_out_channels"]) - 1)
    return network.size_multiple
