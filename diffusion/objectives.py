"""What the network is asked for: epsilon, v or x0 prediction under diffusers' schedules, with min-SNR weights.

x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) epsilon, alpha_bar from the scheduler's config, which may ask for
zero terminal SNR (`rescale_betas_zero_snr`, Lin et al., arXiv 2305.08891).
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.training_utils import compute_snr
from torch import Tensor

from diffusion.conditioning import ConditionScaling, concatenate_condition

PREDICTION_TYPES = ("epsilon", "sample", "v_prediction")


def check_scheduler(scheduler: Any) -> None:
    """Raise ValueError for a prediction type that is unknown, or epsilon where the last step holds no signal."""
    prediction = scheduler.config.prediction_type
    if prediction not in PREDICTION_TYPES:
        raise ValueError(f"prediction_type is '{prediction}'; expected one of {', '.join(PREDICTION_TYPES)}")
    if prediction == "epsilon" and scheduler.config.rescale_betas_zero_snr:
        raise ValueError(
            "with rescale_betas_zero_snr the noisiest step holds nothing of x0, so epsilon prediction cannot recover "
            "it; set prediction_type to v_prediction or sample"
        )


def prediction_target(scheduler: Any, x0: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network should answer for x0 (B, C, H, W) under `noise` at `timesteps` (B,).

    epsilon, x0 itself, or v = sqrt(alpha_bar) epsilon - sqrt(1 - alpha_bar) x0 (Salimans and Ho, arXiv 2202.00512).
    """
    prediction = scheduler.config.prediction_type
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x0
    return scheduler.get_velocity(x0, noise, timesteps)


def predicted_x0(scheduler: Any, output: Tensor, noisy: Tensor, timesteps: Tensor) -> Tensor:
    """x0 from the network's answer at x_t = `noisy`; the inverse of `prediction_target`. Not clipped."""
    alpha_bar = scheduler.alphas_cumprod.to(noisy)[timesteps.to(noisy.device)].reshape(-1, 1, 1, 1)
    prediction = scheduler.config.prediction_type
    if prediction == "epsilon":
        return (noisy - (1 - alpha_bar).sqrt() * output) / alpha_bar.sqrt()
    if prediction == "sample":
        return output
    return alpha_bar.sqrt() * noisy - (1 - alpha_bar).sqrt() * output


def min_snr_weights(scheduler: Any, timesteps: Tensor, gamma: float) -> Tensor:
    """Loss weights (B,) of Min-SNR (Hang et al., arXiv 2303.09556): min(SNR, gamma) on x0's error.

    Expressed for the asked prediction: over SNR for epsilon, over SNR + 1 for v, as it is for x0.
    """
    snr = compute_snr(scheduler, timesteps)
    clipped = snr.clamp(max=gamma)
    prediction = scheduler.config.prediction_type
    if prediction == "epsilon":
        return clipped / snr
    return clipped if prediction == "sample" else clipped / (snr + 1)


def denoising_loss(
    unet: UNet2DModel,
    scheduler: Any,
    x0: Tensor,
    condition: Tensor,
    noise: Tensor,
    timesteps: Tensor,
    condition_scaling: ConditionScaling = "clean",
    min_snr_gamma: float | None = None,
) -> Tensor:
    """Mean squared error of the network's answer, a scalar; only the target is noised (unlike BS-LDM's code).

    x0, noise (B, C, H, W); condition (B, Cc, H, W); timesteps (B,) in [0, T). Further output channels of the network
    than C, which BS-LDM's has, are not used.
    """
    noisy = scheduler.add_noise(x0, noise, timesteps)
    alpha_bar = scheduler.alphas_cumprod.to(x0.device)[timesteps]
    output = unet(
        concatenate_condition(noisy, condition, alpha_bar, condition_scaling, training=True), timesteps
    ).sample
    target = prediction_target(scheduler, x0, noise, timesteps)
    error = (output[:, : x0.shape[1]].float() - target.float()).square().mean(dim=(1, 2, 3))
    if min_snr_gamma is not None:
        error = error * min_snr_weights(scheduler, timesteps, min_snr_gamma).to(error)
    return torch.mean(error)
