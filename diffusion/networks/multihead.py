"""diffusers' UNet2DModel with a number of attention heads of its own at each level, as guided-diffusion's has."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

from diffusers.configuration_utils import register_to_config

# DiffusionPipeline looks for ModelMixin in the namespace of a component's module.
from diffusers.models.modeling_utils import ModelMixin  # noqa: F401
from diffusers.models.unets.unet_2d import UNet2DModel


class MultiheadUNet(UNet2DModel):
    """UNet2DModel with a number of attention heads for each level, where UNet2DModel fixes the channels of a head.

    Args:
        heads: Of each level, from full to smallest; the middle block has the last level's.
        sample_size: Side of the latents that it was trained on; only recorded.
        in_channels: Of noisy target and condition together.
        out_channels: Of the answer.
        down_block_types: diffusers' blocks of the levels on the way down.
        up_block_types: diffusers' blocks of the levels on the way up.
        block_out_channels: Channels of each level.
        layers_per_block: Residual blocks a level.
        downsample_type: `conv` or `resnet`.
        upsample_type: `conv` or `resnet`.
        norm_num_groups: Groups of the group norms.
        attn_norm_num_groups: Groups of the norm before attention in the middle block.
        norm_eps: Added to the variance in the norms.
        resnet_time_scale_shift: `default` adds the time embedding; `scale_shift` scales and shifts each norm by it.
    """

    @register_to_config
    def __init__(
        self,
        heads: Sequence[int] = (8, 8, 8, 8),
        sample_size: int | None = None,
        in_channels: int = 8,
        out_channels: int = 4,
        down_block_types: Sequence[str] = ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
        up_block_types: Sequence[str] = ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        block_out_channels: Sequence[int] = (224, 448, 672, 896),
        layers_per_block: int = 2,
        downsample_type: str = "conv",
        upsample_type: str = "conv",
        norm_num_groups: int = 32,
        attn_norm_num_groups: int | None = 32,
        norm_eps: float = 1e-5,
        resnet_time_scale_shift: str = "default",
    ) -> None:
        super().__init__(
            sample_size=sample_size,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=tuple(down_block_types),
            up_block_types=tuple(up_block_types),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            downsample_type=downsample_type,
            upsample_type=upsample_type,
            attention_head_dim=None,
            norm_num_groups=norm_num_groups,
            attn_norm_num_groups=attn_norm_num_groups,
            norm_eps=norm_eps,
            resnet_time_scale_shift=resnet_time_scale_shift,
        )
        blocks = [*self.down_blocks, self.mid_block, *self.up_blocks]
        for block, count in zip(blocks, [*heads, heads[-1], *reversed(heads)]):
            for attention in getattr(block, "attentions", []):
                _set_heads(attention, count)

    @classmethod
    def extract_init_dict(cls, config_dict: dict[str, Any], **options: Any) -> Any:
        """Drop the options that this class fixes: its saved configuration holds them, as UNet2DModel reads them.

        Args:
            config_dict: A saved configuration.
            **options: As diffusers' ConfigMixin takes them.

        Returns:
            As diffusers' ConfigMixin: arguments of __init__, options not used, and attributes that are kept elsewhere.
        """
        fixed = signature(UNet2DModel.__init__).parameters.keys() - signature(cls.__init__).parameters.keys()
        return super().extract_init_dict({k: v for k, v in config_dict.items() if k not in fixed}, **options)


def _set_heads(attention: Any, heads: int) -> None:
    channels = attention.to_q.out_features
    if channels % heads:
        raise ValueError(f"{channels} channels cannot be shared among {heads} attention heads")
    attention.heads = heads
    attention.scale = (channels // heads) ** -0.5
