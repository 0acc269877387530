"""guided-diffusion's UNetModel (BS-LDM, GL-LCM, CompVis latent-diffusion) as diffusers' U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel

from radiolucent.convert.source import Tensors, count, fill, need, rename, select
from radiolucent.convert.unet_plan import UNetPlan

KIND = "a guided-diffusion U-Net"
RESIDUAL = [
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
]
ENDS = [
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
]


def convert_guided_unet(
    tensors: Tensors,
    options: dict[str, Any],
    out_channels: int | None = None,
    sample_size: int | None = None,
) -> UNet2DModel:
    """The U-Net of a state dict with the names input_blocks, middle_block, output_blocks.

    Args:
        tensors: By name.
        options: num_heads, num_head_channels (-1: not given) and use_new_attention_order, as UNetModel takes them.
        out_channels: How many of the output channels to keep; None: all.
        sample_size: Side of the latents, to be recorded.

    Returns:
        The U-Net with its weights.

    Raises:
        ValueError: diffusers' U-Net cannot express it.
    """
    need(tensors, "input_blocks.0.0.weight", KIND)
    refuse_conditioning(tensors)
    blocks_a_level, levels = _levels(tensors)
    channels, attention, rules = [], [], list(ENDS)
    for level in range(levels):
        first = 1 + level * blocks_a_level  # of the level's input blocks, the last of which downsamples
        residual = blocks_a_level - 1
        channels.append(need(tensors, f"input_blocks.{first}.0.out_layers.3.weight", KIND).shape[0])
        attention.append(f"input_blocks.{first}.1.qkv.weight" in tensors)
        for i in range(residual):
            rules.append((rf"^input_blocks\.{first + i}\.0\.", f"down_blocks.{level}.resnets.{i}."))
            rules.append((rf"^input_blocks\.{first + i}\.1\.", f"down_blocks.{level}.attentions.{i}."))
        down = f"down_blocks.{level}.downsamplers.0."
        rules += [(rf"^input_blocks\.{first + residual}\.0\.op\.", f"{down}conv.")]
        rules += [(rf"^input_blocks\.{first + residual}\.0\.", down)]
        up = levels - 1 - level
        for i in range(blocks_a_level):
            n = up * blocks_a_level + i
            rules.append((rf"^output_blocks\.{n}\.0\.", f"up_blocks.{up}.resnets.{i}."))
            if attention[level]:
                rules.append((rf"^output_blocks\.{n}\.1\.", f"up_blocks.{up}.attentions.{i}."))
            rules.append((rf"^output_blocks\.{n}\.[12]\.", f"up_blocks.{up}.upsamplers.0."))
    renamed = rename(tensors, rules + RESIDUAL)
    heads = _heads(options, channels)
    state = _split_attention(renamed, heads, channels, bool(options.get("use_new_attention_order", False)))
    kept = out_channels or state["conv_out.weight"].shape[0]
    for name in ("conv_out.weight", "conv_out.bias"):
        state[name] = state[name][:kept]
    first_projection = need(tensors, "input_blocks.1.0.emb_layers.1.weight", KIND)
    plan = UNetPlan(
        in_channels=state["conv_in.weight"].shape[1],
        out_channels=kept,
        channels=channels,
        residual_blocks=blocks_a_level - 1,
        attention=attention,
        heads=heads,
        scale_shift=first_projection.shape[0] == 2 * channels[0],
        residual_resampling=levels > 1 and "down_blocks.0.downsamplers.0.conv1.weight" in state,
        sample_size=sample_size,
    )
    unet = plan.build()
    fill(unet, state, "diffusers' U-Net of their sizes")
    return unet


def refuse_conditioning(tensors: Tensors) -> None:
    """Refuse what UNet2DModel lacks: cross-attention, class labels, 1-D or 3-D convolutions.

    Args:
        tensors: Of the U-Net, by guided-diffusion's or MONAI's names.

    Raises:
        ValueError: Says which of them is there.
    """
    cross = next((name for name in tensors if ".transformer_blocks." in name), None)
    if cross:
        raise ValueError(
            f"this U-Net has cross-attention ({cross}), which diffusers' UNet2DModel cannot express: only U-Nets "
            "that take their condition as input channels can be converted"
        )
    if any(name.startswith(("label_emb.", "class_embedding.")) for name in tensors):
        raise ValueError("this U-Net takes class labels, which a pipeline without them cannot give: not convertible")
    stem = tensors.get("input_blocks.0.0.weight", tensors.get("conv_in.conv.weight"))
    if stem is not None and stem.ndim != 4:
        raise ValueError(f"this U-Net is for {stem.ndim - 2} dimensions; only two can be converted")


def _levels(tensors: Tensors) -> tuple[int, int]:
    """(residual blocks a level + 1, levels): the last output block of a level holds an upsampling layer as well."""
    total = count(tensors, r"output_blocks\.(\d+)\.")
    for n in range(total):
        names = select(tensors, f"output_blocks.{n}.")
        layers = {name.split(".")[0] for name in names}
        attention = {name.split(".")[0] for name in names if ".qkv." in name}
        if len(layers - attention) > 1:
            break
    else:
        n = total - 1  # one level: nothing is upsampled
    if total % (n + 1) or count(tensors, r"input_blocks\.(\d+)\.") != total:
        raise ValueError(f"these weights are not {KIND} with the same number of residual blocks at every level")
    return n + 1, total // (n + 1)


def _heads(options: dict[str, Any], channels: Sequence[int]) -> list[int]:
    """Attention heads of each level, from UNetModel's options."""
    width = options.get("num_head_channels", -1)
    if width not in (-1, None):
        return [max(1, level // int(width)) for level in channels]
    if options.get("num_heads", -1) in (-1, None):
        raise ValueError(
            "the weights do not tell the number of attention heads: give the model's YAML by --model-config"
        )
    return [int(options["num_heads"])] * len(channels)


def _split_attention(tensors: Tensors, heads: list[int], channels: list[int], new_order: bool) -> Tensors:
    """Each `qkv` as to_q, to_k and to_v. The old order is q, k, v head by head, the new one all of q, of k, of v."""
    state = {}
    for name, tensor in tensors.items():
        if ".attentions." not in name:
            state[name] = tensor
        elif ".qkv." in name:
            level = _level(name, len(channels))
            rows = tensor.reshape(tensor.shape[0], -1) if name.endswith("weight") else tensor
            if rows.shape[0] != 3 * channels[level] or channels[level] % heads[level]:
                raise ValueError(f"{name} of {tuple(tensor.shape)} cannot be shared among {heads[level]} heads")
            shape = (3, -1) if new_order else (heads[level], 3, -1)
            parts = rows.reshape(*shape, *rows.shape[1:]).movedim(0 if new_order else 1, 0)
            for part, values in zip("qkv", parts):
                state[name.replace(".qkv.", f".to_{part}.")] = values.reshape(-1, *rows.shape[1:])
        else:
            name = name.replace(".norm.", ".group_norm.").replace(".proj_out.", ".to_out.0.")
            flat = "to_out" in name and name.endswith("weight")
            state[name] = tensor.reshape(tensor.shape[:2]) if flat else tensor
    return {name: torch.as_tensor(tensor).contiguous() for name, tensor in state.items()}


def _level(name: str, levels: int) -> int:
    side, index = name.split(".")[:2]
    if side == "mid_block":
        return levels - 1
    return int(index) if side == "down_blocks" else levels - 1 - int(index)
