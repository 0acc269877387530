"""MONAI's VQVAE and DiffusionModelUNet, of monai-generative and of MONAI itself, as our autoencoder and U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from radiolucent.convert.guided_unet import refuse_conditioning
from radiolucent.convert.source import Tensors, count, fill, need, rename, with_usage
from radiolucent.convert.unet_plan import UNetPlan
from vqgan.vqvae import ConvolutionalVQVAE

CODEBOOK = "quantizer.quantizer.embedding.weight"
AVERAGES = ("quantizer.quantizer.ema_cluster_size", "quantizer.quantizer.ema_w")  # only its training needs them
PUBLISHED_STRIDE = (2, 4, 1, 1)  # stride, kernel, dilation, padding
UNET = "a MONAI DiffusionModelUNet"
UNET_RULES = [
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.conv\.", "conv_out."),
    (r"^conv_in\.conv\.", "conv_in."),
    (r"^middle_block\.resnet_1\.", "mid_block.resnets.0."),
    (r"^middle_block\.attention\.", "mid_block.attentions.0."),
    (r"^middle_block\.resnet_2\.", "mid_block.resnets.1."),
    (r"\.downsampler\.op\.conv\.", ".downsamplers.0.conv."),
    (r"\.upsampler\.(conv|postconv)\.conv\.", ".upsamplers.0.conv."),
    (r"\.(down|up)sampler\.", r".\1samplers.0."),
    (r"\.skip_connection\.conv\.", ".conv_shortcut."),
    (r"\.conv([12])\.conv\.", r".conv\1."),
    (r"(\.attentions\.\d+)\.attn\.", r"\1."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.out_proj\.", r"\1.to_out.0."),
]


def convert_vqvae(tensors: Tensors, options: dict[str, Any]) -> ConvolutionalVQVAE:
    """The autoencoder of a VQVAE's state dict.

    Args:
        tensors: By name.
        options: The arguments of MONAI's class, as far as they are known.

    Returns:
        The autoencoder with its weights.

    Raises:
        ValueError: ConvolutionalVQVAE lacks it: other strides, kernels or activations, three dimensions.
    """
    codebook = need(tensors, CODEBOOK, "a MONAI VQVAE")
    for side, expected in (("downsample", PUBLISHED_STRIDE), ("upsample", (*PUBLISHED_STRIDE, 0))):
        given = options.get(f"{side}_parameters", expected)
        steps = given if isinstance(given[0], Sequence) else [given]
        if any(tuple(step) != expected for step in steps):
            raise ValueError(
                f"this VQVAE has {side}_parameters {given}; only {expected} at each level can be converted"
            )
    if str(options.get("act", "RELU")).upper() != "RELU" or options.get("output_act"):
        raise ValueError("this VQVAE has another activation than ReLU, or one at its output: it cannot be converted")
    blocks = count(tensors, r"encoder\.blocks\.(\d+)\.")
    downs = [i for i in range(blocks - 1) if f"encoder.blocks.{i}.conv.weight" in tensors]
    stems = [need(tensors, f"encoder.blocks.{i}.conv.weight", "a MONAI VQVAE") for i in downs]
    units = [i + 1 for i in downs if f"encoder.blocks.{i + 1}.conv1.conv.weight" in tensors]
    if not stems or stems[0].ndim != 4 or len(units) != len(downs):
        raise ValueError("this VQVAE is not two-dimensional or has levels without residual layers: not convertible")
    if any(stem.shape[-2:] != (4, 4) for stem in stems):
        raise ValueError("this VQVAE has kernels other than 4x4 in its downsampling: it cannot be converted")
    model = ConvolutionalVQVAE(
        in_channels=stems[0].shape[1],
        channels=tuple(stem.shape[0] for stem in stems),
        residual_channels=tuple(tensors[f"encoder.blocks.{i}.conv1.conv.weight"].shape[0] for i in units),
        residual_layers=(blocks - 1) // len(downs) - 1,
        latent_channels=codebook.shape[1],
        codebook_size=codebook.shape[0],
    )
    kept = {name: tensor for name, tensor in tensors.items() if name not in AVERAGES}
    state = rename(kept, [(r"\.blocks\.", "."), (r"\.conv([12])\.conv\.", r".conv\1."), (r"^quantizer\.", "")])
    fill(model, with_usage(state, model), "a VQVAE of their sizes")
    return model


def convert_monai_unet(
    tensors: Tensors, options: dict[str, Any], out_channels: int | None = None, sample_size: int | None = None
) -> UNet2DModel:
    """The U-Net of a DiffusionModelUNet's state dict.

    Args:
        tensors: By name.
        options: num_head_channels (a number, or one a level) and, unless MONAI's defaults hold, norm_num_groups,
            norm_eps.
        out_channels: How many of the output channels to keep; None: all.
        sample_size: Side of the latents, to be recorded.

    Returns:
        The U-Net with its weights.

    Raises:
        ValueError: diffusers' U-Net cannot express it.
    """
    need(tensors, "conv_in.conv.weight", UNET)
    refuse_conditioning(tensors)
    state = _with_projection(rename(tensors, UNET_RULES))
    levels = range(count(state, r"down_blocks\.(\d+)\."))
    channels = [need(state, f"down_blocks.{i}.resnets.0.conv2.weight", UNET).shape[0] for i in levels]
    blocks = {count(state, rf"down_blocks\.{i}\.resnets\.(\d+)\.") for i in levels}
    if len(blocks) > 1:
        raise ValueError(
            "this U-Net has another number of residual blocks at each level: UNet2DModel cannot express it"
        )
    given = options.get("num_head_channels")
    if given is None:
        raise ValueError(
            "the weights do not tell num_head_channels of the attention: give the bundle or --model-config"
        )
    widths = [given] * len(channels) if isinstance(given, int) else list(given)
    if len(widths) != len(channels):
        raise ValueError(f"num_head_channels {given} does not fit the {len(channels)} levels of these weights")
    kept = out_channels or state["conv_out.weight"].shape[0]
    for name in ("conv_out.weight", "conv_out.bias"):
        state[name] = state[name][:kept].contiguous()
    unet = UNetPlan(
        in_channels=state["conv_in.weight"].shape[1],
        out_channels=kept,
        channels=channels,
        residual_blocks=blocks.pop(),
        attention=[f"down_blocks.{i}.attentions.0.to_q.weight" in state for i in levels],
        heads=[channel // width if width else 1 for channel, width in zip(channels, widths)],
        scale_shift=False,
        residual_resampling="down_blocks.0.downsamplers.0.conv1.weight" in state,
        norm_groups=int(options.get("norm_num_groups", 32)),
        norm_eps=float(options.get("norm_eps", 1e-6)),
        sample_size=sample_size,
    ).build()
    fill(unet, state, "diffusers' U-Net of their sizes")
    return unet


def _with_projection(state: Tensors) -> Tensors:
    """The state with the identity as the attentions' last layer where their network has none.

    monai-generative stores one, `proj_attn`, and never applies it.
    """
    kept = {name: tensor for name, tensor in state.items() if ".proj_attn." not in name}
    for name, query in state.items():
        if name.endswith(".to_q.weight"):
            last = name.replace(".to_q.weight", ".to_out.0")
            kept.setdefault(f"{last}.weight", torch.eye(len(query)))
            kept.setdefault(f"{last}.bias", torch.zeros(len(query)))
    return kept
