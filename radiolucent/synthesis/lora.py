"""A LoRA for a pipeline of diffusers: fused into its weights, or refused where some of it has no place there."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ADAPTER = "radiolucent_lora"
SHOWN = 2  # keys in a message


def add_lora(pipeline: Any, path: Path, scale: float) -> None:
    """Fuse a LoRA into a pipeline of diffusers.

    diffusers itself passes over what finds no place, so that a LoRA of another model, or with keys named otherwise,
    would change nothing, or something else than it was trained for.

    Args:
        pipeline: With `load_lora_weights`.
        path: A .safetensors file, its keys as diffusers, kohya or another trainer that diffusers knows names them.
        scale: What its change of the weights is multiplied by.

    Raises:
        ValueError: PEFT is missing, the pipeline takes no LoRA, or a tensor of the file found no place.
    """
    if find_spec("peft") is None:
        raise ValueError("--lora needs PEFT: pip install peft")
    if not hasattr(pipeline, "load_lora_weights"):
        raise ValueError(f"--lora: diffusers knows no LoRA for a {type(pipeline).__name__}")
    where = {"weight_name": path.name, "local_files_only": True}
    try:
        wanted = pipeline.lora_state_dict(str(path.parent), **where)
        pipeline.load_lora_weights(str(path.parent), adapter_name=ADAPTER, **where)
    except (ValueError, KeyError, RuntimeError, OSError, IndexError, StopIteration) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"--lora {path}: it does not fit this {type(pipeline).__name__}: {reason}") from None
    refuse_left_over(pipeline, path, wanted[0] if isinstance(wanted, tuple) else wanted)
    pipeline.fuse_lora(lora_scale=scale)
    pipeline.unload_lora_weights()


def refuse_left_over(pipeline: Any, path: Path, wanted: dict[str, Tensor]) -> None:
    """Check that each tensor of a LoRA is now, value for value, one of the adapter's in the pipeline.

    Args:
        pipeline: With the LoRA loaded.
        path: The file, for messages.
        wanted: Its tensors as diffusers has renamed them (and divided, if a model keeps q, k and v apart).

    Raises:
        ValueError: One found no place.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        given = [key for key in file.keys() if not key.endswith("alpha")]  # noqa: SIM118 (no mapping)
    wanted = {key: value for key, value in wanted.items() if not key.endswith("alpha")}
    modules = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    placed = [v.detach() for part in modules for key, v in part.named_parameters() if ADAPTER in key.split(".")]
    free, kinds = Counter(map(_fingerprint, placed)), {value.dtype for value in placed}
    lost = []
    for key, value in wanted.items():
        twins = [one for one in (_fingerprint(value.to(kind)) for kind in kinds) if free[one]]
        free.subtract(twins[:1])
        lost += [] if twins else [key]
    dropped = max(0, len(given) - len(wanted))  # before diffusers looked for a place, such as DoRA's magnitudes
    if not lost and not dropped and placed:
        return
    examples = lost or [key for key in given if key not in wanted]
    raise ValueError(
        f"--lora {path}: {len(lost) + dropped} of its {max(len(given), len(wanted))} tensors found no place in this "
        f"{type(pipeline).__name__}, such as {', '.join(examples[:SHOWN])}: it was trained for another model, or its "
        "keys are named otherwise than diffusers names them (unet.LAYER.lora_A.weight)"
    )


def _fingerprint(value: Tensor) -> tuple[tuple[int, ...], str]:
    raw = value.contiguous().cpu().flatten().view(torch.uint8).numpy().tobytes()
    return tuple(value.shape), hashlib.sha256(raw).hexdigest()
