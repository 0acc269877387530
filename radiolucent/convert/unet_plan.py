"""The sizes of a foreign U-Net, and diffusers' U-Net of those sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffusers.models.unets.unet_2d import UNet2DModel

from diffusion.networks.multihead import MultiheadUNet


@dataclass(frozen=True)
class UNetPlan:
    """Sizes of a U-Net; those of a level from the full size inwards.

    Attributes:
        in_channels: Of noisy target and condition together.
        out_channels: Of the answer.
        channels: Of each level.
        residual_blocks: A level.
        attention: Whether each level has it.
        heads: Of each level's attention and, the last level's, of the middle block's.
        scale_shift: The time embedding scales and shifts each norm.
        residual_resampling: Down- and upsampling by residual blocks.
        norm_groups: Groups of the group norms.
        norm_eps: Added to the variance in the norms.
        sample_size: Side of the latents, to be recorded.
    """

    in_channels: int
    out_channels: int
    channels: Sequence[int]
    residual_blocks: int
    attention: Sequence[bool]
    heads: Sequence[int]
    scale_shift: bool
    residual_resampling: bool
    norm_groups: int = 32
    norm_eps: float = 1e-5
    sample_size: int | None = None

    def build(self) -> UNet2DModel:
        """Build the network, with random weights.

        Returns:
            A UNet2DModel if all heads have the same number of channels or each level has one, else a MultiheadUNet.

        Raises:
            ValueError: Heads that do not divide their level's channels.
        """
        pairs = list(zip(self.channels, self.heads, [*self.attention[:-1], True]))
        for width, heads, used in pairs:
            if used and (heads < 1 or width % heads):
                raise ValueError(
                    f"{width} channels cannot be shared among {heads} attention heads: give the right ones"
                )
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
        down, up = plain if self.residual_resampling else ("DownBlock2D", "UpBlock2D")
        resampling = "resnet" if self.residual_resampling else "conv"
        options: dict = {
            "sample_size": self.sample_size,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "down_block_types": tuple("AttnDownBlock2D" if used else down for used in self.attention),
            "up_block_types": tuple("AttnUpBlock2D" if used else up for used in reversed(self.attention)),
            "block_out_channels": tuple(self.channels),
            "layers_per_block": self.residual_blocks,
            "downsample_type": resampling,
            "upsample_type": resampling,
            "norm_num_groups": self.norm_groups,
            "attn_norm_num_groups": self.norm_groups,
            "norm_eps": self.norm_eps,
            "resnet_time_scale_shift": "scale_shift" if self.scale_shift else "default",
        }
        head_channels = {width // heads for width, heads, used in pairs if used}
        if len(head_channels) == 1:
            return UNet2DModel(attention_head_dim=head_channels.pop(), **options)
        if all(heads == 1 for _, heads, used in pairs if used):
            return UNet2DModel(attention_head_dim=None, **options)
        return MultiheadUNet(heads=tuple(heads if used else 1 for _, heads, used in pairs), **options)
