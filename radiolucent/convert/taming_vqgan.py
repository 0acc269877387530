"""taming-transformers' VQModel (also CompVis' first stage) and diffusers' VQModel as our VQGAN."""

from __future__ import annotations

from typing import Any

from radiolucent.convert.source import Tensors, fill, need, rename, with_usage
from vqgan import VQGAN

OURS = ("encoder.", "decoder.", "quantize.", "quant_conv.", "post_quant_conv.")  # the rest is the training loss's
SIZES = ("ch", "ch_mult", "num_res_blocks", "z_channels", "attn_resolutions", "resolution", "in_channels", "out_ch")
DIFFUSERS_RULES = [
    (r"^(\w+coder)\.mid_block\.resnets\.0\.", r"\1.mid.block_1."),
    (r"^(\w+coder)\.mid_block\.resnets\.1\.", r"\1.mid.block_2."),
    (r"^(\w+coder)\.mid_block\.attentions\.0\.", r"\1.mid.attn_1."),
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.up_blocks\.(\d+)\.resnets\.", r".up.\1.block."),
    (r"\.(down|up)_blocks\.(\d+)\.attentions\.", r".\1.\2.attn."),
    (r"\.(down|up)_blocks\.(\d+)\.\1samplers\.0\.", r".\1.\2.\1sample."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".proj_out."),
    (r"\.conv_norm_out\.", ".norm_out."),
]


def convert_taming(tensors: Tensors, options: dict[str, Any], scaling_factor: float = 1.0) -> VQGAN:
    """The VQ-GAN of taming's state dict.

    Args:
        tensors: By name.
        options: The `params` of its YAML (ddconfig, n_embed, embed_dim).
        scaling_factor: Of the latents, if known.

    Returns:
        The VQ-GAN with its weights.

    Raises:
        ValueError: Our VQGAN cannot express it, or the YAML does not fit.
    """
    codebook = need(tensors, "quantize.embedding.weight", "a taming VQ-GAN (VQModel)")
    sizes = options.get("ddconfig", {})
    missing = [name for name in SIZES if name not in sizes]
    if missing:
        raise ValueError(
            f"the VQ-GAN's YAML does not give {', '.join(missing)} under ddconfig: give it by --model-config"
        )
    if sizes["z_channels"] != codebook.shape[1]:
        raise ValueError(
            f"this VQ-GAN encodes to {sizes['z_channels']} channels but has codes of {codebook.shape[1]}: our VQGAN "
            "has as many of one as of the other and cannot express it"
        )
    if sizes["in_channels"] != sizes["out_ch"] or sizes.get("double_z"):
        raise ValueError("this VQ-GAN's input and output differ in channels, or it is a KL one: not convertible")
    model = VQGAN(
        in_channels=sizes["in_channels"],
        channels=sizes["ch"],
        channel_multipliers=list(sizes["ch_mult"]),
        residual_blocks=sizes["num_res_blocks"],
        latent_channels=sizes["z_channels"],
        codebook_size=codebook.shape[0],
        attention=True,
        attention_resolutions=list(sizes["attn_resolutions"]),
        resolution=sizes["resolution"],
        norm_groups=sizes.get("norm_groups", 32),
        scaling_factor=scaling_factor,
    )
    state = {name: tensor for name, tensor in tensors.items() if name.startswith(OURS)}
    state = rename(state, [(r"^quantize\.", "quantizer.")])
    fill(model, with_usage(state, model), "a VQ-GAN of the YAML's sizes")
    return model


def convert_diffusers_vq(tensors: Tensors, config: dict[str, Any]) -> VQGAN:
    """The VQ-GAN of diffusers' VQModel.

    Args:
        tensors: By name.
        config: Its config.json.

    Returns:
        The VQ-GAN with its weights.

    Raises:
        ValueError: As `convert_taming`.
    """
    channels = config["block_out_channels"]
    if any(width % channels[0] for width in channels) or config.get("norm_type", "group") != "group":
        raise ValueError(
            "this VQModel's levels are no multiples of its first, or it has spatial norms: not convertible"
        )
    if config.get("lookup_from_codebook") or not config.get("mid_block_add_attention", True):
        raise ValueError("this VQModel has no attention in its middle or decodes indices: our VQGAN cannot express it")
    resolution = config.get("sample_size") or 256
    attended = [i for i, block in enumerate(config["down_block_types"]) if block.startswith("Attn")]
    options = {
        "ddconfig": {
            "ch": channels[0],
            "ch_mult": [width // channels[0] for width in channels],
            "num_res_blocks": config["layers_per_block"],
            "z_channels": config["latent_channels"],
            "attn_resolutions": [resolution // 2**i for i in attended],
            "resolution": resolution,
            "in_channels": config["in_channels"],
            "out_ch": config["out_channels"],
            "norm_groups": config["norm_num_groups"],
        }
    }
    last = len(channels) - 1  # diffusers numbers the decoder's levels from the inside, taming from the outside
    turned = {}
    for name, tensor in tensors.items():
        if name.startswith("decoder.up_blocks."):
            _, _, level, rest = name.split(".", 3)
            name = f"decoder.up_blocks.{last - int(level)}.{rest}"
        projection = ".attentions." in name and name.endswith("weight") and tensor.ndim == 2
        turned[name] = tensor[:, :, None, None] if projection else tensor
    return convert_taming(rename(turned, DIFFUSERS_RULES), options, config.get("scaling_factor", 1.0))
