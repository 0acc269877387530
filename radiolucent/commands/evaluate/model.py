"""The model that an evaluation runs, as `radiolucent suppress` uses it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluation.nodules.implants import Suppress

PACKAGED = "packaged"


def load_suppressor(args: Any, checkpoint: str | None) -> Suppress:
    """A function of one radiograph float32 (H, W) in [-1, 1] to its soft tissue; every image has the same noise.

    Args:
        args: With model_size, compose, steps, seed, device and trust_remote_code.
        checkpoint: A pipeline's folder or hub name; "packaged" or None is the model in the package.

    Returns:
        The function; its result is float32 (H, W) in [-1, 1] too.

    Raises:
        ValueError: Steps or a size that the model cannot take.
        OSError: No pipeline in the folder.
    """
    from radiolucent.suppression.suppressor import Suppressor

    suppressor = Suppressor(
        None if checkpoint in (None, PACKAGED) else checkpoint,
        device=args.device,
        size=args.model_size,
        steps=args.steps,
        seed=args.seed,
        compose=args.compose,
        trust_remote_code=args.trust_remote_code,
    )
    return lambda pixels: suppressor.suppress(pixels).soft
