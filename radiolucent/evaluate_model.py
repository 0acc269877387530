"""The model that an evaluation runs, as `radiolucent suppress` uses it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from evaluation.implants import Suppress

PACKAGED = "packaged"


def load_suppressor(args: Any, checkpoint: str | None) -> Suppress:
    """A function of one radiograph float32 (H, W) in [-1, 1] to its soft tissue; every image has the same noise.

    Args:
        args: With model_size, compose, steps, seed and device.
        checkpoint: A pipeline's folder; "packaged" or None is the model in the package.

    Raises:
        ValueError: Steps or a size that the model cannot take.
        OSError: No pipeline in the folder.
    """
    from radiolucent.suppress import suppress_pixels
    from radiolucent.suppress_model import load_pipeline, model_sizes, packaged_model, predict_square

    if args.steps is not None and args.steps < 1:
        raise ValueError(f"--steps {args.steps}: it must be 1 or more")
    folder = packaged_model() if checkpoint in (None, PACKAGED) else str(checkpoint)
    pipeline = load_pipeline(folder, args.device)
    steps = args.steps or getattr(pipeline.config, "num_inference_steps", None)
    size, tile = model_sizes(pipeline, args.model_size, None)
    predict = partial(predict_square, pipeline, lungs=None, steps=steps, tile=tile)

    def suppress(pixels: np.ndarray) -> np.ndarray:
        return suppress_pixels(predict, pixels, compose=args.compose, seeds=[args.seed], size=size)[0]

    return suppress
