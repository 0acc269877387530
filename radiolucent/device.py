"""Where a model computes: the one place that decides what --device means."""

from __future__ import annotations


def choose_device(device: str, gpus: int | None = None) -> str:
    """What a choice of device means.

    Args:
        device: "auto", "cpu" or "cuda".
        gpus: CUDA devices that there are; None: those of this machine.

    Returns:
        "cuda" or "cpu"; for "auto" "cuda" if there is such a device.

    Raises:
        ValueError: "cuda" is asked for and there is none.
    """
    if gpus is None:
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if gpus else "cpu"
    if device == "cuda" and not gpus:
        raise ValueError("--device cuda: no CUDA device was found; use --device cpu")
    return device
