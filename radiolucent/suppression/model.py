"""The model behind `radiolucent suppress`: which one, at which size, with which lung masks, and its prediction."""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

from radiolucent.device import choose_device

if TYPE_CHECKING:
    import numpy as np

    from diffusion.pipelines.contract import SuppressionModel

PRECISIONS = ("float32", "bfloat16")
PACKAGED = {"regression": "model", "diffusion": "diffusion_model"}  # folders in the package; the first is the default


def packaged_model(name: str | None = None) -> str:
    """Folder of a model that came with the package.

    Args:
        name: A key of PACKAGED; None is the first of them.

    Returns:
        The folder, which holds a model_index.json.

    Raises:
        ValueError: No packaged model has that name.
        FileNotFoundError: This installation lacks it.
    """
    name = next(iter(PACKAGED)) if name is None else name
    if name not in PACKAGED:
        raise ValueError(f"no packaged model is called {name!r}: choose one of {', '.join(PACKAGED)}")
    folder = Path(str(importlib.resources.files("radiolucent"))) / PACKAGED[name]
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError("no model came with this installation of radiolucent: give --checkpoint FOLDER")
    return str(folder)


def model_folder(model: str | Path | None) -> str:
    """The folder of a packaged model, by name or by default; the folder that was given; or a downloaded hub model.

    Args:
        model: A packaged model's name, a folder, or OWNER/NAME on the Hugging Face hub; None is the default model.

    Returns:
        A folder on this machine; that of a hub model lies in the hub's cache.

    Raises:
        FileNotFoundError: Neither a folder, nor a packaged model's name, nor a model of the Hugging Face hub.
        ValueError: Both a packaged model's name and that of a pipeline's folder here.
    """
    if model is None or (isinstance(model, str) and model in PACKAGED):
        if model is not None and (Path(model) / "model_index.json").is_file():
            raise ValueError(f"{model} is a packaged model and a folder here: write ./{model} for the folder")
        return packaged_model(model)
    if Path(model).is_dir():
        return str(model)
    from diffusion.folders import is_hub_name, pipeline_folder

    if Path(model).exists() or not is_hub_name(model):
        raise FileNotFoundError(
            f"{model}: no such folder, nor a packaged model ({', '.join(PACKAGED)}), nor a name on the Hugging Face "
            "hub (OWNER/NAME)"
        )
    return str(pipeline_folder(model))


def checkpoint_digest(folder: str | Path) -> str:
    """sha256 over the configurations, weights and code in a pipeline's folder.

    Args:
        folder: The pipeline's; its .json, .safetensors and .py files count, at any depth, in the order of their paths.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.suffix in (".json", ".safetensors", ".py"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=1)
def load_model(
    checkpoint: str, device: str, trust_remote_code: bool = False, precision: str = "float32"
) -> SuppressionModel:
    """The suppression model of a folder on its device, for its answers, loaded once in each process.

    A regression is opened without diffusers (diffusion.pipelines.bare), any other model as `load_pipeline` does.

    Args:
        checkpoint: As of `load_pipeline`.
        device: As of `load_pipeline`.
        trust_remote_code: As of `load_pipeline`.
        precision: One of PRECISIONS, of the arithmetic; the weights stay as they are.

    Returns:
        The model, the same object for the same arguments.

    Raises:
        OSError: No pipeline's folder.
        ValueError: One that is no suppression model, that has code of its own, or that answers in no other precision
            than float32.
    """
    from diffusion.pipelines.bare import open_bare

    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r}: give one of {', '.join(PRECISIONS)}")
    device = choose_device(device)
    found = open_bare(checkpoint)
    if found is not None:
        if precision == "bfloat16":
            found.compute_in_bfloat16()
        return found.to(device)
    model = load_pipeline(checkpoint, device, trust_remote_code)
    if precision != "float32":
        raise ValueError(f"precision {precision}: a model of this kind ({model.method}) answers in float32 alone")
    return model


@functools.lru_cache(maxsize=1)
def load_pipeline(checkpoint: str, device: str, trust_remote_code: bool = False) -> SuppressionModel:
    """The suppression pipeline of a folder on its device, loaded once in each process.

    Args:
        checkpoint: A folder that a pipeline's save_pretrained wrote.
        device: "auto", "cpu" or "cuda".
        trust_remote_code: Whether code in the folder may run: that of a model whose class is not Radiolucent's.

    Returns:
        The pipeline, silent (no progress bar), the same object for the same arguments.

    Raises:
        OSError: No pipeline's folder.
        ValueError: One that is no suppression model, or that has code of its own.
    """
    from diffusers.utils import logging

    from diffusion.pipelines.loading import load_suppression_model

    logging.disable_progress_bar()
    device = choose_device(device)
    pipeline = load_suppression_model(checkpoint, trust_remote_code)
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def model_sizes(pipeline: SuppressionModel, size: int | None, tile: int | None) -> tuple[int, int]:
    """Sides in pixels of the square that the model sees and of its tiles.

    By default both are what the model was trained on; if that is unknown, the tile is the size, which must be given.

    Args:
        pipeline: The model.
        size: As the user gave it, or None.
        tile: As the user gave it, or None.

    Returns:
        Size and tile.

    Raises:
        ValueError: They do not fit the model.
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


def find_masks(pipeline: SuppressionModel, lungs: str | None, names: list[str]) -> list[str | None]:
    """The lung mask of each result.

    Args:
        pipeline: The model.
        lungs: A folder, "auto", or None.
        names: Of the results.

    Returns:
        For each name a file, "auto", or None without `lungs`.

    Raises:
        ValueError: Names without a mask, all listed; or a pipeline that has no second path.
    """
    if lungs is None:
        return [None] * len(names)
    if not pipeline.takes_lungs:
        raise ValueError(f"--lungs: this model ({pipeline.method}) has no second path in the lungs; leave it out")
    if lungs == "auto":
        return ["auto"] * len(names)
    from radiographs.folders import images_in, refuse

    masks = images_in(lungs)
    keys = [Path(name).with_suffix("").as_posix() for name in names]
    refuse(lungs, [f"{key}: no mask" for key in keys if key not in masks])
    return [str(masks[key]) for key in keys]


def predict_square(
    pipeline: SuppressionModel,
    fitted: np.ndarray,
    seed: int,
    *,
    lungs: np.ndarray | None,
    steps: int | None,
    tile: int,
) -> np.ndarray:
    """The model's soft tissue of a radiograph on its grid, with a lung mask by both paths.

    Args:
        pipeline: The model.
        fitted: (size, size) in [-1, 1].
        seed: Of the answer.
        lungs: bool (size, size), or None.
        steps: Of sampling, or None.
        tile: Side of a tile in pixels.

    Returns:
        (size, size) in [-1, 1].
    """
    masks = None if lungs is None else lungs[None]
    return predict_squares(pipeline, fitted[None], seed, lungs=masks, steps=steps, tile=tile)[0]


def predict_squares(
    pipeline: SuppressionModel,
    fitted: np.ndarray,
    seed: int,
    *,
    lungs: np.ndarray | None,
    steps: int | None,
    tile: int,
) -> np.ndarray:
    """`predict_square` of several radiographs in one call.

    Args:
        pipeline: The model.
        fitted: (B, size, size) in [-1, 1].
        seed: Of each answer.
        lungs: bool (B, size, size), or None.
        steps: Of sampling, or None.
        tile: Side of a tile in pixels.

    Returns:
        (B, size, size) in [-1, 1].
    """
    import torch

    seen = torch.from_numpy(fitted)[:, None].to(pipeline.device)
    inside = None if lungs is None else torch.from_numpy(lungs)[:, None].to(pipeline.device)
    seeds = [seed] * len(fitted)
    return pipeline(seen, tile=tile, lungs=inside, seeds=seeds, steps=steps).soft[:, 0].cpu().numpy()


def look_again(pipeline: SuppressionModel, fitted: np.ndarray, seed: int, *, steps: int | None) -> np.ndarray:
    """The model's soft tissue of a radiograph of its `detail_size`, in one pass.

    Args:
        pipeline: The model.
        fitted: (size, size) in [-1, 1].
        seed: Of the answer.
        steps: Of sampling, or None.

    Returns:
        (size, size) in [-1, 1].
    """
    return look_again_at(pipeline, fitted[None], seed, steps=steps)[0]


def look_again_at(pipeline: SuppressionModel, fitted: np.ndarray, seed: int, *, steps: int | None) -> np.ndarray:
    """`look_again` at radiographs (B, size, size) in one call.

    Args:
        pipeline: A model with a second look.
        fitted: float32 (B, size, size) in [-1, 1], bones bright, at the larger side that it takes.
        seed: Of every radiograph's noise.
        steps: Of sampling; None for a model that does not sample.

    Returns:
        Soft tissue float32 (B, size, size) in [-1, 1].
    """
    import torch

    seen = torch.from_numpy(fitted)[:, None].to(pipeline.device)
    return pipeline.second_look(seen, seeds=[seed] * len(fitted), steps=steps).soft[:, 0].cpu().numpy()
