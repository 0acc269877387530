"""The sampling loop, the same for every diffusers scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffusion.conditioning import ConditionScaling, concatenate_condition
from diffusion.noise import seeded_generators, seeded_noise
from diffusion.objectives import noise_levels


def sample(
    network: ModelMixin,
    scheduler: Any,
    condition: Tensor,
    num_inference_steps: int,
    seeds: Sequence[int],
    channels: int,
    condition_scaling: ConditionScaling = "clean",
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """x0 (B, channels, H, W), float32, given the condition (B, Cc, H, W); image i depends on seeds[i] alone.

    The starting noise and, for samplers that add some, each step's noise come from one generator per image.
    Raises ValueError unless there is one seed an image and num_inference_steps is 1 or more.
    """
    if len(seeds) != len(condition):
        raise ValueError(f"{len(condition)} images arrived with {len(seeds)} seeds; give one seed an image")
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps is {num_inference_steps}; it must be 1 or more")
    scheduler.set_timesteps(num_inference_steps, device=condition.device)
    generators = seeded_generators(seeds)
    x = seeded_noise(generators, (channels, *condition.shape[2:]), condition.device) * scheduler.init_noise_sigma
    with torch.no_grad():
        for timestep in progress(scheduler.timesteps):
            alpha, _ = noise_levels(scheduler, timestep)
            inputs = concatenate_condition(x, condition, alpha, condition_scaling, training=False)
            output = network(inputs.to(network.dtype), timestep).sample[:, :channels].float()
            x = scheduler.step(output, timestep, x, generator=generators, return_dict=False)[0]
    return x
