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


def workers_device(device: str, executor: str, workers: int) -> str:
    """Where the workers compute, on the machines on which they run.

    Args:
        device: "auto", "cpu" or "cuda".
        executor: "local" or "ray".
        workers: Processes, one a GPU.

    Returns:
        "cpu" or "cuda".

    Raises:
        ValueError: There are fewer GPUs than are asked for.
    """
    import torch

    if executor == "ray":
        from radiolucent.batch.executors import connect_ray

        gpus = int(connect_ray().cluster_resources().get("GPU", 0))
    else:
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    device = choose_device(device, gpus)
    if device == "cuda" and workers > gpus:
        raise ValueError(f"--workers {workers}: one process a GPU, and there are {gpus}")
    return device
