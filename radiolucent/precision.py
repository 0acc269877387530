"""In which precision a network is trained on a CPU: the one that takes less time here, by a measured step."""

from __future__ import annotations

import time
from functools import cache

BFLOAT16, FLOAT32 = "bf16-mixed", "32-true"  # as Lightning's Trainer calls them
CLEARLY = 0.85  # of float32's time, below which bfloat16 is worth its rounding
ROUNDS = 3  # of which the first makes the kernels
SIDE, CHANNELS = 64, 32


@cache
def bfloat16_time() -> float:
    """How long a training step takes in bfloat16 on this CPU, over what it takes in float32.

    Processors with AVX512-BF16 or AMX take half the time or less; without them bfloat16 is emulated and takes many
    times as long. The step, of two convolutions with a group norm between them, takes a hundredth of a second in
    float32 and is measured three times in each precision, in turns, once a process.

    Returns:
        The ratio of the shortest times.
    """
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):  # a seeded training stays as it is
        network = nn.Sequential(
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.GroupNorm(8, CHANNELS),
            nn.SiLU(),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
        )
        image = torch.randn(1, CHANNELS, SIDE, SIDE)
    shortest = {True: float("inf"), False: float("inf")}
    for half in (False, True) * ROUNDS:
        start = time.perf_counter()
        with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            network(image).float().square().mean().backward()
        shortest[half] = min(shortest[half], time.perf_counter() - start)
    return shortest[True] / shortest[False]


def training_precision(device: str) -> str:
    """What Lightning's Trainer is given as `precision`.

    Args:
        device: "cpu" or "cuda".

    Returns:
        "bf16-mixed"; on a CPU on which bfloat16 is not clearly faster "32-true".
    """
    return BFLOAT16 if device != "cpu" or bfloat16_time() < CLEARLY else FLOAT32
