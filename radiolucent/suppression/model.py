"""The model behind `radiolucent suppress`: which one, at which size, with which lung masks, and its prediction."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


PACKAGED = {"regression": "model"}  # name: folder in the package; the first is the default


def packaged_model(name: str | None = None) -> str:
    """Folder of a model that came with the package, by default the first of PACKAGED.

    Raises:
        ValueError: No packaged model has that name. FileNotFoundError: this installation lacks it.
    """
    name = next(iter(PACKAGED)) if name is None else name
    if name not in PACKAGED:
        raise ValueError(f"no packaged model is called {name!r}: choose one of {', '.join(PACKAGED)}")
    folder = Path(str(importlib.resources.files("radiolucent"))) / PACKAGED[name]
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(
            "no model came with this installation of radiolucent: give --checkpoint FOLDER, a pipeline folder that "
            "training wrote"
        )
    return str(folder)


def model_folder(model: str | Path | None) -> str:
    """The folder of a packaged model, by name or by default, or the folder that was given.

    Raises:
        FileNotFoundError: Neither a folder nor a packaged model's name.
    """
    if model is None or str(model) in PACKAGED:
        return packaged_model(None if model is None else str(model))
    if not Path(model).is_dir():
        raise FileNotFoundError(f"{model}: no such folder, nor a packaged model ({', '.join(PACKAGED)})")
    return str(model)


def checkpoint_digest(folder: str | Path) -> str:
    """sha256 over the configurations and weights in a pipeline's folder."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def load_pipeline(checkpoint: str, device: str) -> Any:
    """The BoneSuppressionPipeline or BoneRegressionPipeline of a folder on its device, loaded once in each process."""
    import torch
    from diffusers.utils import logging

    from diffusion import BoneSuppressionPipeline
    from diffusion.pipelines.regression import BoneRegressionPipeline
    from radiographs.files import read_json

    logging.disable_progress_bar()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: no CUDA device was found; use --device cpu")
    index = Path(checkpoint) / "model_index.json"
    name = read_json(index).get("_class_name") if index.is_file() else None
    kind: Any = BoneRegressionPipeline if name == BoneRegressionPipeline.__name__ else BoneSuppressionPipeline
    pipeline = kind.from_pretrained(checkpoint)  # tells what is wrong with a folder of neither
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def is_regression(pipeline: Any) -> bool:
    """Whether a pipeline is one network's one pass, without sampling: no steps, seeds or second path."""
    return "scheduler" not in pipeline.components


def model_sizes(pipeline: Any, size: int | None, tile: int | None) -> tuple[int, int]:
    """Sides in pixels of the square that the model sees and of its tiles; ValueError where they do not fit the model.

    By default both are what the model was trained on; if that is unknown, the tile is the size, which must be given.
    """
    trained = pipeline.trained_size
    size = trained if size is None else size
    if size is None:
        raise ValueError(
            "the folder, of an earlier version, does not say on which image size it was trained: give --size"
        )
    tile = (trained or size) if tile is None else tile
    for name, side in (("size", size), ("tile", tile)):
        if side < 1 or side % pipeline.size_multiple:
            raise ValueError(f"--{name} {side}: this model needs a multiple of {pipeline.size_multiple}")
    return size, tile


def find_masks(pipeline: Any, lungs: str | None, names: list[str]) -> list[str | None]:
    """For each result's name the file of its lung mask, "auto", or None without `lungs`.

    ValueError with the list of names without a mask, or for a pipeline that has no second path.
    """
    if lungs is None:
        return [None] * len(names)
    if is_regression(pipeline):
        raise ValueError("--lungs: this model is a regression, which has no second path in the lungs; leave it out")
    if lungs == "auto":
        return ["auto"] * len(names)
    from radiographs.folders import images_in, refuse

    masks = images_in(lungs)
    keys = [Path(name).with_suffix("").as_posix() for name in names]
    refuse(lungs, [f"{key}: no mask" for key in keys if key not in masks])
    return [str(masks[key]) for key in keys]


def predict_square(
    pipeline: Any,
    fitted: np.ndarray,
    seed: int,
    *,
    lungs: np.ndarray | None,
    steps: int | None,
    tile: int,
    flips: bool | None = None,
) -> np.ndarray:
    """The model's soft tissue of a radiograph on its grid (size, size), with `lungs`, its mask, by both paths.

    flips: of a regression, whether the mirror image is asked too; None: as it records.
    """
    import torch

    seen = torch.from_numpy(fitted)[None, None].to(pipeline.device)
    if is_regression(pipeline):
        return pipeline(seen, seeds=[seed], tile=tile, flips=flips).soft[0, 0].cpu().numpy()
    inside = None if lungs is None else torch.from_numpy(lungs)[None, None].to(pipeline.device)
    soft = pipeline(seen, num_inference_steps=steps, seeds=[seed], tile=tile, lungs=inside).soft
    return soft[0, 0].cpu().numpy()
