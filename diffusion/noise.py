"""Noise: offset noise for training, and noise that belongs to an image's own seed for sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def offset_noise(shape: Sequence[int], strength: float, generator: torch.Generator | None = None) -> Tensor:
    """White noise plus one Gaussian constant for each image and channel.

    The constant lets a model learn an image's mean, which white noise hardly disturbs.

    Args:
        shape: (B, C, H, W).
        strength: Factor of the constant; BS-LDM trains with 0.1, 0 is white noise.
        generator: Where chance comes from, and whose device the noise is drawn on; None: torch's own, on the CPU.

    Returns:
        randn(B, C, H, W) + strength * randn(B, C, 1, 1).

    Reference:
        N. Guttenberg, "Diffusion with offset noise", 2023.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    noise = torch.randn(*shape, generator=generator, device=device)
    if strength:
        noise += strength * torch.randn(*shape[:2], 1, 1, generator=generator, device=device)
    return noise


def seeded_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator an image, so that an image depends on its own seed and not on its neighbours or the device.

    Args:
        seeds: One an image.

    Returns:
        Generators, in the same order.
    """
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def seeded_noise(generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device | str) -> Tensor:
    """White noise whose row i is drawn from generators[i] alone.

    Args:
        generators: One an image, see `seeded_generators`; each moves on.
        shape: Of one image's noise, such as (C, h, w).
        device: Where to put it; it is always drawn on the CPU.

    Returns:
        (len(generators), *shape), float32.
    """
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(device)
