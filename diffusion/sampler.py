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
    guidance_scale: float = 1.0,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """x0 (B, channels, H, W), float32, given the condition (B, Cc, H, W); image i depends on seeds[i] alone.

    guidance_scale: classifier-free guidance (Ho and Salimans, arXiv 2207.12598) by a network that was trained with its
    condition left out, as zeros, now and then; 1 is none, any other value costs a second call a step.
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

    def answer(noisy: Tensor, given: Tensor, alpha: Tensor, timestep: Tensor) -> Tensor:
        inputs = concatenate_condition(noisy, given, alpha, condition_scaling, training=False)
        return network(inputs.to(network.dtype), timestep).sample[:, :channels].float()

    with torch.no_grad():
        for timestep in progress(scheduler.timesteps):
            alpha, _ = noise_levels(scheduler, timestep)
            output = answer(x, condition, alpha, timestep)
            if guidance_scale != 1:
                without = answer(x, torch.zeros_like(condition), alpha, timestep)
                output = without + guidance_scale * (output - without)
            x = scheduler.step(output, timestep, x, generator=generators, return_dict=False)[0]
    return x
