"""Opens this folder of Radiolucent: DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

import importlib

try:
    for parts in ["diffusion.networks.conditioning", "vqgan.model"]:  # diffusers wants the networks' modules imported
        importlib.import_module(parts)
    SynthesisPipeline = importlib.import_module("diffusion").SynthesisPipeline
except ImportError as error:
    raise ImportError(
        "this folder holds a SynthesisPipeline of Radiolucent, which is not installed here: install it, by "
        f"`pip install .` in its source folder, and open this folder again ({error})"
    ) from error
