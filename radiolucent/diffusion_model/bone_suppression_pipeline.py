"""Opens this folder of Radiolucent: DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

import importlib

try:
    for parts in ["diffusion.schedulers.thresholded", "vqgan.model"]:  # diffusers wants the networks' modules imported
        importlib.import_module(parts)
    BoneSuppressionPipeline = importlib.import_module("diffusion").BoneSuppressionPipeline
except ImportError as error:
    raise ImportError(
        "this folder holds a BoneSuppressionPipeline of Radiolucent, which is not installed here: install it, by "
        f"`pip install .` in its source folder, and open this folder again ({error})"
    ) from error
