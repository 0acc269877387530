"""Noise: offset noise for training, and noise that belongs to an image's own seed for sampling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def offset_noise(shape: Sequence[int], strength: float, generator: torch.Generator | None = None) -> Tensor:
    """Gaussian noise plus one Gaussian constant per image and channel: randn(B,C,H,W) + strength * randn(B,C,1,1).

    The constant lets a model learn an image's mean, which white noise hardly disturbs (N. Guttenberg, "Diffusion with
    offset noise", 2023; BS-LDM uses strength 0.1 in training). Drawn on the generator's device, else on the CPU.
    """
    device = generator.device if generator is not None else torch.device("cpu")
    noise = torch.randn(*shape, generator=generator, device=device)
    if strength:
        noise += strength * torch.randn(*shape[:2], 1, 1, generator=generator, device=device)
    return noise


def seeded_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per image, so that an image depends on its own seed and not on its neighbours or the device."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def seeded_noise(generators: Sequence[torch.Generator], shape: Sequence[int], device: torch.device | str) -> Tensor:
    """White noise (len(generators), *shape), float32, row i drawn from generators[i] alone."""
    return torch.stack([torch.randn(*shape, generator=generator) for generator in generators]).to(device)
