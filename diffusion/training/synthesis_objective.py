"""What a synthesis network is asked and how it is trained: v-prediction (or another) and flow matching."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, binary_cross_entropy_with_logits

from diffusion.contracts import NoiseSchedule
from diffusion.networks.conditioning import Conditioner
from diffusion.networks.conditions import Conditions
from diffusion.networks.dit import LatentDiT
from diffusion.parametrization import prediction_target
from diffusion.training.objectives import check_scheduler, min_snr_weights, noise_levels

SMALLEST_SHARE = 0.03  # of the picture: a smaller finding's pixels count no more than this one's


def check_synthesis_scheduler(scheduler: SchedulerMixin | NoiseSchedule) -> None:
    """Refuse a scheduler that the pipeline cannot sample with.

    Args:
        scheduler: Of diffusers' kind, for a noise schedule or for flow matching.

    Raises:
        ValueError: It is not served.
    """
    if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        check_scheduler(scheduler, "soft")
    elif scheduler.config["use_dynamic_shifting"] or scheduler.config["invert_sigmas"]:
        raise ValueError("flow matching with use_dynamic_shifting or invert_sigmas is not supported: set them to false")


def check_networks(network: ModelMixin, conditioner: Conditioner) -> None:
    """Check that network and conditioner go together.

    Args:
        network: The denoising network.
        conditioner: What makes its tokens and vector.

    Raises:
        ValueError: The network is of no known kind, or not of the conditioner's sizes.
    """
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
    wanted = condition["images"] * channels + condition["regions"]
    if extra != wanted:
        raise ValueError(
            f"the network takes {extra} channels beside the noisy latent's {channels}; with {condition['images']} "
            f"other views and {condition['regions']} maps of regions it must take {wanted}"
        )


def network_multiple(network: ModelMixin) -> int:
    """What a latent's height and width must be divisible by.

    Args:
        network: A LatentDiT, or a U-Net of diffusers.

    Returns:
        A whole number, 1 or more.
    """
    if isinstance(network, LatentDiT):
        return network.size_multiple
    return 2 ** (len(network.config["block_out_channels"]) - 1)


def ask(
    network: ModelMixin, noisy: Tensor, timestep: Tensor, given: Conditions, context: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """The network's answer at one noise level.

    Args:
        network: The denoising network.
        noisy: (B, C, h, w).
        timestep: () or (B,), as `training_times` gives it.
        given: Conditions of the B images.
        context: What Conditioner makes of `given`.

    Returns:
        (B, C, h, w), float32.
    """
    tokens, mask, vector = context
    count, channels = noisy.shape[:2]
    others = given.image.flatten(1, 2).to(noisy)
    if not others.numel():  # no image of the batch has another view
        others = noisy.new_zeros(count, given.image_view.shape[1] * channels, *noisy.shape[2:])
    places = noisy.new_zeros(count, given.region.shape[1], *noisy.shape[2:])  # of findings: nothing is said of them
    if given.region.numel():
        places = adaptive_avg_pool2d(given.region.to(noisy), noisy.shape[2:])  # type: ignore[arg-type]
    inputs = torch.cat([noisy, others, places], dim=1).to(network.dtype)
    takes_vector = isinstance(network, LatentDiT) or network.config["class_embed_type"] is not None
    labels = vector if takes_vector else None
    return network(inputs, timestep, tokens, class_labels=labels, encoder_attention_mask=mask).sample.float()


def flow_times(count: int, generator: torch.Generator, shift: float = 1.0) -> Tensor:
    """Noise levels for flow matching: logit-normal, then shifted to s sigma / (1 + (s - 1) sigma).

    Args:
        count: How many.
        generator: Where chance comes from.
        shift: s, of the scheduler's config.

    Returns:
        sigma, (count,) in (0, 1).

    Reference:
        Esser et al., arXiv:2403.03206, eq. 19 and 23.
    """
    sigma = torch.sigmoid(torch.randn(count, generator=generator))
    return shift * sigma / (1 + (shift - 1) * sigma)


def training_times(scheduler: NoiseSchedule, count: int, generator: torch.Generator) -> Tensor:
    """Draw times in the unit in which the network receives them.

    Args:
        scheduler: For a noise schedule or for flow matching.
        count: How many.
        generator: Where chance comes from.

    Returns:
        (count,) on the CPU: sigma * T for flow matching, else integers in [0, T).
    """
    steps = scheduler.config["num_train_timesteps"]
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return flow_times(count, generator, scheduler.config["shift"]) * steps
    return torch.randint(0, steps, (count,), generator=generator)


def synthesis_loss(
    network: ModelMixin,
    scheduler: NoiseSchedule,
    x0: Tensor,
    given: Conditions,
    context: tuple[Tensor, Tensor, Tensor],
    noise: Tensor,
    times: Tensor,
    min_snr_gamma: float | None = None,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean squared error of the network's answer.

    In flow matching x_t = (1 - sigma) x0 + sigma noise and the answer is noise - x0. Otherwise they are what the
    scheduler's prediction_type says (diffusion.parametrization).

    Args:
        network: The denoising network.
        scheduler: For a noise schedule or for flow matching.
        x0: (B, C, h, w).
        given: Conditions of the B images.
        context: What Conditioner makes of `given`.
        noise: White, of the shape of x0.
        times: (B,), of `training_times`.
        min_snr_gamma: See diffusion.training.objectives; without effect in flow matching.
        weight: (B, 1, h, w) of the squared error, see `place_weights`; None: 1.

    Returns:
        A scalar.

    Reference:
        Lipman et al., arXiv:2210.02747; Liu et al., arXiv:2209.03003.
    """
    weight = x0.new_ones(1) if weight is None else weight
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        sigma = (times / scheduler.config["num_train_timesteps"]).reshape(-1, 1, 1, 1)
        answer = ask(network, (1 - sigma) * x0 + sigma * noise, times, given, context)
        return (weight * (answer - (noise - x0)).square()).mean()
    prediction = scheduler.config["prediction_type"]
    alpha, sigma = noise_levels(scheduler, times)
    answer = ask(network, alpha * x0 + sigma * noise, times, given, context)
    error = (weight * (answer - prediction_target(prediction, x0, noise, alpha, sigma)).square()).mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        error = error * min_snr_weights(prediction, alpha, sigma, min_snr_gamma)
    return error.mean()


def place_weights(maps: Tensor, size: Sequence[int], place_weight: float) -> Tensor:
    """How much the error counts where findings lie: each finding alike, however small it is.

    A pneumothorax's line or a nodule is a hundredth of the picture, and of a loss that counts every pixel alike.

    Args:
        maps: (B, R, H, W) in [0, 1], of where the findings are.
        size: (h, w) of the latents.
        place_weight: What one finding adds, in units of the whole picture's weight; 0 or more.

    Returns:
        (B, 1, h, w), of mean 1 over the batch.
    """
    places = adaptive_avg_pool2d(maps, size)  # type: ignore[arg-type]
    share = places.mean(dim=(2, 3), keepdim=True).clamp(min=SMALLEST_SHARE)
    weight = 1 + place_weight * (places / share).sum(dim=1, keepdim=True)
    return weight / weight.mean()


def plan_loss(logits: Tensor, maps: Tensor, has_report: Tensor) -> Tensor:
    """How far a plan is from where the findings are (binary cross-entropy, over the images with a report).

    Args:
        logits: (B, R, s, s), of Conditioner.planned.
        maps: (B, R, h, w) in [0, 1], of the truth.
        has_report: (B,) bool.

    Returns:
        A number; 0 if no image has a report.
    """
    truth = adaptive_avg_pool2d(maps, logits.shape[2:])  # type: ignore[arg-type]
    each = binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=(1, 2, 3))
    return (each * has_report).sum() / has_report.sum().clamp(min=1)
