"""The kinds of foreign weights: each a function from its source to our models, and what its pipeline takes besides."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion import (
    BrownianBridgeScheduler,
    PixelSpace,
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedLCMScheduler,
)
from radiographs.files import read_json
from radiolucent.convert.configs import model_parameters, monai_options, read_config
from radiolucent.convert.guided_unet import convert_guided_unet
from radiolucent.convert.monai_nets import CODEBOOK, convert_monai_unet, convert_vqvae
from radiolucent.convert.sit import convert_sit
from radiolucent.convert.source import Source, Tensors, count, read_source, select
from radiolucent.convert.taming_vqgan import convert_taming

GUIDED, SIT, MONAI, TAMING = (
    "input_blocks.0.0.weight",
    "x_embedder.proj.weight",
    "conv_in.conv.weight",
    "quantize.embedding.weight",
)
COMPVIS = "model.diffusion_model.input_blocks.0.0.weight"


@dataclass
class Parts:
    """What a source held: an autoencoder, a network, or both.

    Attributes:
        vqgan: The autoencoder, or None.
        unet: The network, or None.
        scheduler: BoneSuppressionPipeline's; None if no such pipeline can be made of them.
        options: BoneSuppressionPipeline's.
    """

    vqgan: Any = None
    unet: Any = None
    scheduler: Any = None
    options: dict[str, Any] = field(default_factory=dict)


def _found(source: Source, marker: str, kind: str) -> Source:
    part = source.within(marker)
    if part is None:
        first = ", ".join(list(source.tensors)[:3])
        raise ValueError(f"these weights are not of kind {kind}: no tensor is called {marker} (but {first}, ...)")
    return part


def _vqvae(source: Source) -> Parts:
    """MONAI's VQVAE, with what the pickled module says of itself."""
    part = _found(source, CODEBOOK, "VQVAE")
    options = {
        "downsample_parameters": part.attribute("encoder", "downsample_parameters"),
        "upsample_parameters": part.attribute("decoder", "upsample_parameters"),
        "act": part.attribute("encoder.blocks.0.adn.A", "class", "RELU").rpartition(".")[2],
        "output_act": part.attribute("decoder", "output_act"),
    }
    known = {name: value for name, value in options.items() if value} | monai_options(source.config, "VQVAE")
    return Parts(vqgan=convert_vqvae(part.tensors, known))


def _latent_unet(source: Source, kind: str) -> Any:
    """guided-diffusion's U-Net of BS-LDM and GL-LCM: 8 heads, half of the input channels the target's."""
    part = _found(source, GUIDED, kind)
    attention = part.modules.get("middle_block.1.attention", {})
    new_order = attention.get("class", "").endswith(".QKVAttention") and "n_heads" in attention
    options = {
        "num_heads": part.attribute("middle_block.1", "num_heads", 8),
        "use_new_attention_order": new_order if attention else kind == "gl-lcm",
    }
    latent = part.tensors[GUIDED].shape[1] // 2
    size = part.attribute("", "image_size", 128)
    return convert_guided_unet(part.tensors, options | source.config, out_channels=latent, sample_size=int(size))


def bs_ldm(source: Source) -> Parts:
    """VQVAE, or U-Net with DDPM and temporal adaptive thresholding; sampled with a clean condition, as published.

    Args:
        source: BS-LDM's weights.

    Returns:
        One of the two models.
    """
    if source.within(CODEBOOK):
        return _vqvae(source)
    unet = _latent_unet(source, "bs-ldm")
    return Parts(unet=unet, scheduler=ThresholdedDDPMScheduler(), options={"condition_scaling": "legacy"})


def gl_lcm(source: Source) -> Parts:
    """As BS-LDM with the LCM scheduler: the global path.

    Args:
        source: GL-LCM's weights.

    Returns:
        The VQVAE or the U-Net.
    """
    if source.within(CODEBOOK):
        return _vqvae(source)
    unet = _latent_unet(source, "gl-lcm")
    return Parts(unet=unet, scheduler=ThresholdedLCMScheduler(), options={"condition_scaling": "legacy"})


def debonedit(source: Source) -> Parts:
    """VQVAE, or the transformer on a Brownian bridge.

    Args:
        source: DeboneDiT's weights.

    Returns:
        One of the two models.
    """
    if source.within(CODEBOOK):
        return _vqvae(source)
    part = _found(source, SIT, "debonedit")
    width = part.tensors[SIT].shape[0]
    heads = source.config.get("num_heads", part.attribute("blocks.0.attn", "num_heads", max(1, width // 64)))
    scheduler = BrownianBridgeScheduler(prediction_type="epsilon")
    return Parts(unet=convert_sit(part.tensors, heads), scheduler=scheduler, options={"target": "bone"})


def bs_diff(source: Source) -> Parts:
    """The first stage: MONAI's U-Net in pixels, one attention head at each level.

    Args:
        source: BS-Diff's weights.

    Returns:
        The U-Net, with pixels in place of an autoencoder.
    """
    part = _found(source, MONAI, "bs-diff")
    levels = range(count(part.tensors, r"down_blocks\.(\d+)\."))
    options = {"num_head_channels": [part.tensors[f"down_blocks.{i}.resnets.0.norm2.weight"].shape[0] for i in levels]}
    options |= _of_module(part) | source.config
    images = part.tensors[MONAI].shape[1] // 2
    unet = convert_monai_unet(part.tensors, options, out_channels=images, sample_size=256)
    scheduler = ThresholdedDDPMScheduler(threshold_start=1.0, threshold_rate=0.0)
    return Parts(PixelSpace(), unet, scheduler, {"condition_scaling": "legacy"})


def _of_module(part: Source) -> dict[str, Any]:
    """What a pickled DiffusionModelUNet says of itself."""
    options = {
        "num_head_channels": part.attribute("", "num_head_channels"),
        "norm_num_groups": part.attribute("out.0", "num_groups"),
        "norm_eps": part.attribute("out.0", "eps"),
    }
    return {name: value for name, value in options.items() if value is not None}


def taming(source: Source) -> Parts:
    """taming-transformers' VQ-GAN.

    Args:
        source: Its weights, with the YAML that they came with.

    Returns:
        The autoencoder.
    """
    part = _found(source, TAMING, "taming")
    return Parts(vqgan=convert_taming(part.tensors, model_parameters(source.config)))


def monai(source: Source) -> Parts:
    """MONAI's VQVAE or DiffusionModelUNet.

    Args:
        source: Weights of one of them.

    Returns:
        That model.
    """
    if source.within(CODEBOOK):
        return _vqvae(source)
    part = _found(source, MONAI, "monai")
    options = _of_module(part) | monai_options(source.config, "DiffusionModelUNet")
    return Parts(unet=convert_monai_unet(part.tensors, options))


def compvis(source: Source) -> Parts:
    """latent-diffusion: U-Net and, if it is a VQ model, the first stage; averaged weights if available.

    A pipeline comes of it where the condition is the first stage's latent beside the noisy one.

    Args:
        source: Its checkpoint, with the YAML that it came with.

    Returns:
        The models, as far as they are of a form that is known here.
    """
    part = _found(source, COMPVIS, "compvis")
    settings = model_parameters(source.config)
    options = settings.get("unet_config", {}).get("params", {})
    tensors = _averaged(part.tensors)
    unet = convert_guided_unet(tensors, options, sample_size=options.get("image_size"))
    stage = select(part.tensors, "first_stage_model.")
    if TAMING not in stage:
        return Parts(unet=unet)
    scaling = float(part.tensors.get("scale_factor", settings.get("scale_factor", 1.0)))
    vqgan = convert_taming(stage, settings.get("first_stage_config", {}).get("params", {}), scaling)
    conditioned = settings.get("cond_stage_config") == "__is_first_stage__" and scaling == 1.0
    if not conditioned or unet.config["in_channels"] != 2 * vqgan.config["latent_channels"]:
        return Parts(vqgan, unet)
    scheduler = ThresholdedDDIMScheduler(
        num_train_timesteps=settings.get("timesteps", 1000),
        beta_start=settings.get("linear_start", 1e-4),
        beta_end=settings.get("linear_end", 2e-2),
        beta_schedule="scaled_linear",
        prediction_type={"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[
            settings.get("parameterization", "eps")
        ],
        thresholding=False,
    )
    return Parts(vqgan, unet, scheduler, {"latent": "continuous"})


def _averaged(tensors: Tensors) -> Tensors:
    """The U-Net's weights below model.diffusion_model., from model_ema (names without dots) where it is there."""
    prefix = "model.diffusion_model."
    plain = {name.removeprefix(prefix): name for name in tensors if name.startswith(prefix)}
    average = {name: f"model_ema.{full.removeprefix('model.').replace('.', '')}" for name, full in plain.items()}
    chosen = average if all(name in tensors for name in average.values()) else plain
    return {name: tensors[full] for name, full in chosen.items()}


KINDS = {
    "bs-ldm": bs_ldm,
    "gl-lcm": gl_lcm,
    "debonedit": debonedit,
    "bs-diff": bs_diff,
    "taming": taming,
    "monai": monai,
    "compvis": compvis,
}


def recognise(source: Source) -> str:
    """The kind of a file of weights by its tensors' names.

    Args:
        source: The weights.

    Returns:
        A value of --kind.

    Raises:
        ValueError: None fits.
    """
    markers = {COMPVIS: "compvis", CODEBOOK: "monai", SIT: "debonedit", TAMING: "taming"}
    for marker, kind in markers.items():
        if source.within(marker):
            return kind
    if source.within(MONAI):
        return "bs-diff" if f"model.{MONAI}" in source.tensors else "monai"
    if part := source.within(GUIDED):
        attention = part.attribute("middle_block.1.attention", "class", "")
        return "gl-lcm" if attention.endswith(".QKVAttention") else "bs-ldm"
    raise ValueError(f"the kind of these weights is not recognised ({', '.join(list(source.tensors)[:3])}, ...)")


def read_bundle(folder: Path, allow_pickle: bool, config: dict[str, Any]) -> Parts:
    """A MONAI bundle: configs/ and the one or two files in models/.

    Args:
        folder: The bundle's.
        allow_pickle: Whether .pt and .pth files may be read.
        config: The model's options; an empty one takes configs/inference or configs/train.

    Returns:
        Autoencoder and network, as far as they are there.

    Raises:
        FileNotFoundError: No weights.
        ValueError: Weights of something else, or a pickle that may not be read.
    """
    configs = [folder / "configs" / f"{name}{end}" for name in ("inference", "train") for end in (".json", ".yaml")]
    given = next((path for path in configs if path.is_file()), None)
    known = config or (read_json(given) if given and given.suffix == ".json" else {})
    if given and not known:
        known = read_config(given)
    files = sorted(path for path in folder.glob("models/*") if path.suffix in (".pt", ".pth", ".safetensors"))
    if not files:
        raise FileNotFoundError(f"{folder} holds no weights in models/: give the folder of a MONAI bundle")
    parts = Parts()
    for path in files:
        found = monai(read_source(path, allow_pickle, known))
        parts.vqgan, parts.unet = found.vqgan or parts.vqgan, found.unet or parts.unet
    return parts
