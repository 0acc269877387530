"""diffusers folders: VQModel and UNet2DModel, alone or in a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers

from diffusion.folders import class_name, read_model_index
from radiographs.files import read_json
from radiolucent.convert.kinds import Parts
from radiolucent.convert.taming_vqgan import convert_diffusers_vq


def read_diffusers(folder: Path) -> Parts:
    """The parts of a folder that diffusers wrote; its pickled weights are read with torch's weights_only.

    Args:
        folder: Of a model or of a pipeline.

    Returns:
        Its models; a bone suppression pipeline comes of a pipeline whose U-Net takes two latents and gives one.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: There is no such model, or its weights are not all there.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        return _model(folder)
    names = read_model_index(index)
    if class_name(names) == "BoneSuppressionPipeline":
        raise ValueError(f"{folder} already is a bone suppression pipeline: there is nothing to convert")
    vqgan = next((name for name in ("vqvae", "vae", "movq") if name in names), None)
    if vqgan is None or "unet" not in names:
        raise ValueError(f"{folder} is a {class_name(names)} without a vqvae or a unet: it cannot be converted")
    parts = Parts(_model(folder / vqgan).vqgan, _model(folder / "unet").unet)
    latent = parts.vqgan.config["latent_channels"]
    if (parts.unet.config["in_channels"], parts.unet.config["out_channels"]) == (2 * latent, latent):
        parts.scheduler = _scheduler(folder / "scheduler")
        parts.options = {"latent": "continuous"}
    return parts


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {name}: give a folder that diffusers' save_pretrained wrote")
    return read_json(path)


def _model(folder: Path) -> Parts:
    name = _config(folder, "config.json").get("_class_name")
    safe = any(folder.glob("*.safetensors*"))
    options: dict[str, Any] = {"low_cpu_mem_usage": False, "local_files_only": True, "use_safetensors": safe}
    if name not in ("UNet2DModel", "VQModel"):
        raise ValueError(f"{folder} holds a {name}, which cannot be converted: only UNet2DModel and VQModel can")
    model, info = getattr(diffusers, name).from_pretrained(folder, **options, output_loading_info=True)
    odd = sorted({*info["missing_keys"], *info["unexpected_keys"]})  # of which diffusers would draw or leave out some
    if odd:
        raise ValueError(f"{folder}: {len(odd)} weights are missing or left over, such as {odd[0]}: copy it again")
    if name == "UNet2DModel":
        return Parts(unet=model)
    return Parts(vqgan=convert_diffusers_vq(model.state_dict(), dict(model.config)))


def _scheduler(folder: Path) -> Any:
    name = _config(folder, "scheduler_config.json").get("_class_name")
    if name not in ("DDPMScheduler", "DDIMScheduler", "DPMSolverMultistepScheduler"):
        raise ValueError(f"{folder} holds a {name}: only DDPM, DDIM and DPM-Solver++ can be converted")
    return getattr(diffusers, name).from_pretrained(folder, local_files_only=True)
