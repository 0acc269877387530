"""The sampling loop, the same for every diffusers scheduler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import numpy as np
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffusion.contracts import Denoiser, NoiseSchedule, VarianceSchedule
from diffusion.networks.concatenation import ConditionScaling, concatenate_condition
from diffusion.noise import seeded_generators, seeded_noise
from diffusion.training.objectives import noise_levels


def sample(
    network: Denoiser,
    scheduler: NoiseSchedule,
    condition: Tensor,
    num_inference_steps: int,
    seeds: Sequence[int],
    channels: int,
    condition_scaling: ConditionScaling = "clean",
    guidance_scale: float = 1.0,
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """Sample x0 given a condition; image i depends on seeds[i] alone.

    The starting noise and, for samplers that add some, each step's noise come from one generator an image.

    Args:
        network: See diffusion.networks.
        scheduler: One that diffusion.schedulers.served names.
        condition: (B, Cc, H, W).
        num_inference_steps: 1 or more.
        seeds: One an image.
        channels: C, of x0.
        condition_scaling: See diffusion.networks.conditioning.
        guidance_scale: Classifier-free guidance by a network that was trained with its condition left out, as zeros,
            now and then; 1 is none, any other value costs a second call a step.
        progress: Wraps the timesteps.

    Returns:
        x0 (B, channels, H, W), float32.

    Raises:
        ValueError: Not one seed an image, or fewer than one step.

    Reference:
        Ho and Salimans, arXiv:2207.12598, eq. 6, for the guidance.
    """
    if len(seeds) != len(condition):
        raise ValueError(f"{len(condition)} images arrived with {len(seeds)} seeds; give one seed an image")
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps is {num_inference_steps}; it must be 1 or more")
    generators = seeded_generators(seeds)
    noise = seeded_noise(generators, (channels, *condition.shape[2:]), condition.device)

    def ask(noisy: Tensor, given: Tensor, timestep: Tensor) -> Tensor:
        alpha = signal_level(scheduler, timestep)
        inputs = concatenate_condition(noisy, given, alpha, condition_scaling, training=False)
        return network(inputs.to(network.dtype), timestep).sample[:, :channels].float()

    def answer(noisy: Tensor, timestep: Tensor) -> Tensor:
        output = ask(noisy, condition, timestep)
        if guidance_scale == 1:
            return output
        without = ask(noisy, torch.zeros_like(condition), timestep)
        return without + guidance_scale * (output - without)

    return denoise(answer, scheduler, noise, num_inference_steps, generators, progress)


def denoise(
    answer: Callable[[Tensor, Tensor], Tensor],
    scheduler: NoiseSchedule,
    noise: Tensor,
    num_inference_steps: int,
    generators: list[torch.Generator],
    progress: Callable[[Iterable[Tensor]], Iterable[Tensor]] = iter,
) -> Tensor:
    """Sample x0 by any scheduler that diffusion.schedulers.served names, flow matching or the Brownian bridge.

    Args:
        answer: (x_t as the network was trained to see it, timestep) -> what it predicts, all (B, C, H, W).
        scheduler: Its noise is scaled as it asks (init_noise_sigma), and so is what the network sees: those of Euler's
            family work on x0 + sigma * noise (scale_model_input).
        noise: White, (B, C, H, W).
        num_inference_steps: 1 or more.
        generators: One an image, for a scheduler that draws noise at its steps.
        progress: Wraps the timesteps.

    Returns:
        x0 (B, C, H, W), float32.
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        # as Flux and SD3 do: left to itself the scheduler ends in a step from next to no noise, which does nothing
        sigmas = np.linspace(1, 1 / num_inference_steps, num_inference_steps).tolist()
        scheduler.set_timesteps(sigmas=sigmas, device=noise.device)
    else:
        scheduler.set_timesteps(num_inference_steps, device=noise.device)
    parameters = inspect.signature(scheduler.step).parameters.values()
    draws = any(one.name == "generator" or one.kind is one.VAR_KEYWORD for one in parameters)
    options = {"generator": generators} if draws else {}
    scale = getattr(scheduler, "scale_model_input", None)
    x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    with torch.no_grad():
        for timestep in progress(scheduler.timesteps):
            seen = x if scale is None else scale(x, timestep)
            x = scheduler.step(answer(seen, timestep), timestep, x, return_dict=False, **options)[0]
    return x


def signal_level(scheduler: NoiseSchedule, timestep: Tensor) -> Tensor:
    """What x0 is multiplied by in x_t.

    Args:
        scheduler: Of diffusers' kind.
        timestep: One of its timesteps, which may lie between two of training's.

    Returns:
        alpha_t (1, 1, 1, 1).
    """
    if not timestep.is_floating_point():
        return noise_levels(scheduler, timestep)[0]
    # one of Euler's family: no other has timesteps between two of training's
    variances = cast(VarianceSchedule, scheduler)
    alpha_bar = variances.alphas_cumprod.to(timestep.device)
    ratio = ((1 - alpha_bar) / alpha_bar).sqrt()  # noise over signal, which Euler's family interpolates
    below = timestep.long().clamp(0, len(ratio) - 1)
    above = (below + 1).clamp(max=len(ratio) - 1)
    return (1 + torch.lerp(ratio[below], ratio[above], timestep - below).square()).rsqrt().reshape(1, 1, 1, 1)
