"""What a synthesis network is asked and how it is trained: v-prediction (or another) and flow matching."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from diffusion.networks.conditioning import Conditioner, Conditions
from diffusion.networks.dit import LatentDiT
from diffusion.parametrization import prediction_target
from diffusion.training.objectives import check_scheduler, min_snr_weights, noise_levels


def check_synthesis_scheduler(scheduler: Any) -> None:
    """Raise ValueError for a scheduler that the pipeline cannot sample with."""
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        check_scheduler(scheduler, "soft")
    elif scheduler.config["use_dynamic_shifting"] or scheduler.config["invert_sigmas"]:
        raise ValueError("flow matching with use_dynamic_shifting or invert_sigmas is not supported: set them to false")


def check_networks(network: Any, conditioner: Conditioner) -> None:
    """Raise ValueError unless the network is of a known kind and of the conditioner's sizes."""
    config, condition = network.config, conditioner.config
    if not isinstance(network, (UNet2DConditionModel, LatentDiT)):
        raise ValueError(f"the network is a {type(network).__name__}; expected UNet2DConditionModel or LatentDiT")
    if config["cross_attention_dim"] != condition["width"]:
        raise ValueError(
            f"the network attends to tokens {config['cross_attention_dim']} wide (cross_attention_dim) and the "
            f"conditioner makes them {condition['width']} wide: make them the same"
        )
    if isinstance(network, LatentDiT):
        channels, extra = config["latent_channels"], config["condition_channels"]
    else:
        channels, extra = config["out_channels"], config["in_channels"] - config["out_channels"]
        if config["class_embed_type"] not in (None, "projection"):
            raise ValueError(f"class_embed_type is '{config['class_embed_type']}'; expected projection, or none")
    wanted = condition["images"] * channels
    if extra != wanted:
        raise ValueError(
            f"the network takes {extra} channels beside the noisy latent's {channels}; with {condition['images']} "
            f"other views it must take {wanted}"
        )


def network_multiple(network: Any) -> int:
    """What a latent's height and width must be divisible by."""
    if isinstance(network, LatentDiT):
        return network.size_multiple
    return 2 ** (len(network.config["block_out_channels"]) - 1)


def ask(
    network: ModelMixin, noisy: Tensor, timestep: Tensor, given: Conditions, context: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """The network's answer (B, C, h, w), float32, at noisy (B, C, h, w); context: what Conditioner makes of `given`."""
    tokens, mask, vector = context
    count, channels = noisy.shape[:2]
    others = given.image.flatten(1, 2).to(noisy)
    if not others.numel():  # no image of the batch has another view
        others = noisy.new_zeros(count, given.image_view.shape[1] * channels, *noisy.shape[2:])
    inputs = torch.cat([noisy, others], dim=1).to(network.dtype)
    takes_vector = isinstance(network, LatentDiT) or network.config["class_embed_type"] is not None
    labels = vector if takes_vector else None
    network_: Any = network
    return network_(inputs, timestep, tokens, class_labels=labels, encoder_attention_mask=mask).sample.float()


def flow_times(count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Noise levels sigma (count,) in (0, 1): logit-normal (Esser et al., arXiv 2403.03206, eq. 19), then shifted.

    shift: of the scheduler's config, s sigma / (1 + (s - 1) sigma) (eq. 23).
    """
    sigma = torch.sigmoid(torch.randn(count, generator=generator))
    return shift * sigma / (1 + (shift - 1) * sigma)


def training_times(scheduler: Any, count: int, generator: torch.Generator) -> Tensor:
    """Times (count,) as the network is told them, on the CPU: sigma * T for flow matching, else integers in [0, T)."""
    steps = scheduler.config["num_train_timesteps"]
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return flow_times(count, generator, scheduler.config["shift"]) * steps
    return torch.randint(0, steps, (count,), generator=generator)


def synthesis_loss(
    network: ModelMixin,
    scheduler: Any,
    x0: Tensor,
    given: Conditions,
    context: tuple[Tensor, Tensor, Tensor],
    noise: Tensor,
    times: Tensor,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error of the network's answer, a scalar; x0, noise (B, C, h, w), times (B,) of `training_times`.

    Flow matching (Lipman et al., arXiv 2210.02747; Liu et al., arXiv 2209.03003): x_t = (1 - sigma) x0 + sigma noise,
    answer noise - x0. Otherwise what the scheduler's prediction_type says (diffusion.parametrization).
    """
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        sigma = (times / scheduler.config["num_train_timesteps"]).reshape(-1, 1, 1, 1)
        answer = ask(network, (1 - sigma) * x0 + sigma * noise, times, given, context)
        return (answer - (noise - x0)).square().mean()
    prediction = scheduler.config["prediction_type"]
    alpha, sigma = noise_levels(scheduler, times)
    answer = ask(network, alpha * x0 + sigma * noise, times, given, context)
    error = (answer - prediction_target(prediction, x0, noise, alpha, sigma)).square().mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        error = error * min_snr_weights(prediction, alpha, sigma, min_snr_gamma)
    return error.mean()
