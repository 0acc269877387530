"""The training loss: epsilon, v, x0 or difference prediction under a scheduler's noise levels, with min-SNR weights.

x_t = alpha_t x0 + sigma_t epsilon. For diffusers' schedulers alpha_t^2 = alpha_bar_t and sigma_t^2 = 1 - alpha_bar_t;
their config may ask for zero terminal SNR (`rescale_betas_zero_snr`, Lin et al., arXiv 2305.08891).
"""

from __future__ import annotations

from typing import cast

from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor, nn

from diffusion.contracts import NoiseSchedule, VarianceSchedule
from diffusion.networks.concatenation import ConditionScaling, concatenate_condition
from diffusion.parametrization import PREDICTION_TYPES, prediction_target
from diffusion.schedulers.brownian_bridge import BrownianBridgeScheduler
from diffusion.schedulers.served import check_served
from diffusion.schedulers.thresholded import TemporalAdaptiveThresholding


def check_scheduler(scheduler: SchedulerMixin | NoiseSchedule, target: str) -> None:
    """Refuse a scheduler that cannot be trained and sampled with, see diffusion.schedulers.served.

    Args:
        scheduler: Of diffusers' kind.
        target: `soft` or `bone`, see diffusion.latents.

    Raises:
        ValueError: It is not served, or its prediction type or the target does not go with it.
    """
    schedule = cast(NoiseSchedule, scheduler)
    prediction = schedule.config.get("prediction_type")
    bridge = isinstance(scheduler, BrownianBridgeScheduler)
    if not bridge:
        check_served(schedule)
    if prediction not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type is '{prediction}'; expected one of {', '.join(PREDICTION_TYPES)}")
    if bridge and target != "bone":
        raise ValueError(f"the Brownian bridge diffuses what is taken away: target is '{target}', set it to bone")
    if not bridge and schedule.config.get("thresholding") and not isinstance(scheduler, TemporalAdaptiveThresholding):
        raise ValueError(
            f"{type(scheduler).__name__} has thresholding set, which rescales latents; make it by from_config(config, "
            "thresholding=False), or take a Thresholded scheduler of diffusion"
        )
    if prediction == "epsilon" and not bridge and schedule.config.get("rescale_betas_zero_snr"):
        raise ValueError(
            "with rescale_betas_zero_snr the noisiest step holds nothing of x0, so epsilon prediction cannot recover "
            "it; set prediction_type to v_prediction or sample"
        )


def noise_levels(scheduler: NoiseSchedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """What x0 and the noise are multiplied by in x_t.

    Args:
        scheduler: Of diffusers' kind.
        timesteps: (B,) in [0, T).

    Returns:
        alpha_t and sigma_t, float32, each (B, 1, 1, 1) on the device of the timesteps.
    """
    if isinstance(scheduler, BrownianBridgeScheduler):
        alpha, sigma = scheduler.levels(timesteps)
    else:
        alpha_bar = cast(VarianceSchedule, scheduler).alphas_cumprod.to(timesteps.device)[timesteps]
        alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    return alpha.reshape(-1, 1, 1, 1), sigma.reshape(-1, 1, 1, 1)


def min_snr_weights(prediction: str, alpha: Tensor, sigma: Tensor, gamma: float) -> Tensor:
    """Loss weights that are min(SNR, gamma) on the error of x0.

    For what is predicted that is: over SNR for epsilon, over SNR + 1 for v.

    Args:
        prediction: See diffusion.parametrization.
        alpha: (B, 1, 1, 1).
        sigma: (B, 1, 1, 1).
        gamma: Bound on the signal-to-noise ratio alpha^2 / sigma^2; the paper takes 5.

    Returns:
        (B,).

    Reference:
        Hang et al., arXiv:2303.09556, section 3.4.
    """
    snr = (alpha / sigma).square().flatten()
    clipped = snr.clamp(max=gamma)
    if prediction == "epsilon":
        return clipped / snr
    return clipped / (snr + 1) if prediction == "v_prediction" else clipped


def training_answer(
    network: nn.Module,
    scheduler: NoiseSchedule,
    x0: Tensor,
    condition: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    condition_scaling: ConditionScaling = "clean",
) -> tuple[Tensor, Tensor]:
    """The network's answer in training; only the target is noised (unlike in BS-LDM's code).

    Args:
        network: Its output channels beyond C, which BS-LDM's has, are not used.
        scheduler: Its schedule and prediction type.
        x0: (B, C, H, W).
        condition: (B, Cc, H, W).
        noise: Of the shape of x0.
        timesteps: (B,) in [0, T).
        condition_scaling: See diffusion.networks.concatenation.

    Returns:
        What it predicts, (B, C, H, W), float32, and the x_t that it saw.
    """
    alpha, sigma = noise_levels(scheduler, timesteps)
    noisy = alpha * x0 + sigma * noise
    inputs = concatenate_condition(noisy, condition, alpha, condition_scaling, training=True)
    return network(inputs, timesteps).sample[:, : x0.shape[1]].float(), noisy


def denoising_errors(
    output: Tensor,
    scheduler: NoiseSchedule,
    x0: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error of each answer.

    Args:
        output: What the network predicts, (B, C, H, W).
        scheduler: Its schedule and prediction type.
        x0: (B, C, H, W).
        noise: Of the shape of x0.
        timesteps: (B,) in [0, T).
        min_snr_gamma: See `min_snr_weights`; None weighs all noise levels alike.

    Returns:
        (B,).
    """
    prediction = scheduler.config.prediction_type
    alpha, sigma = noise_levels(scheduler, timesteps)
    errors = (output - prediction_target(prediction, x0, noise, alpha, sigma)).square().mean(dim=(1, 2, 3))
    return errors if min_snr_gamma is None else errors * min_snr_weights(prediction, alpha, sigma, min_snr_gamma)


def denoising_loss(
    network: nn.Module,
    scheduler: NoiseSchedule,
    x0: Tensor,
    condition: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    condition_scaling: ConditionScaling = "clean",
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Mean of `denoising_errors` of a network's `training_answer`.

    Args:
        network: See `training_answer`.
        scheduler: Its schedule and prediction type.
        x0: (B, C, H, W).
        condition: (B, Cc, H, W).
        noise: Of the shape of x0.
        timesteps: (B,) in [0, T).
        condition_scaling: See diffusion.networks.concatenation.
        min_snr_gamma: See `min_snr_weights`; None weighs all noise levels alike.

    Returns:
        A scalar.
    """
    output, _ = training_answer(network, scheduler, x0, condition, noise, timesteps, condition_scaling)
    return denoising_errors(output, scheduler, x0, noise, timesteps, min_snr_gamma).mean()
