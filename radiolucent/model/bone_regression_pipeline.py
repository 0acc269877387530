"""Opens this folder of Radiolucent: diffusers.DiffusionPipeline.from_pretrained(FOLDER, trust_remote_code=True)."""

import importlib

try:
    BoneRegressionPipeline = importlib.import_module("diffusion.regression").BoneRegressionPipeline
except ImportError as error:
    raise ImportError(
        "this folder holds a BoneRegressionPipeline of Radiolucent, which is not installed here: install it, by "
        f"`pip install .` in its source folder, and open this folder again ({error})"
    ) from error
