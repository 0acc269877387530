"""Which schedulers of diffusers the sampling loop serves, and for which kinds of prediction."""

from __future__ import annotations

from typing import cast

import diffusers

from diffusion.contracts import NoiseSchedule, VarianceSchedule

ALL = ("epsilon", "sample", "v_prediction")
NOISE = ("epsilon", "v_prediction")  # their step has no formula for x0, or takes it for noise without a word
SERVED: dict[str, tuple[str, ...]] = {
    "DDIMScheduler": ALL,
    "DDPMScheduler": ALL,
    "DEISMultistepScheduler": ALL,
    "DPMSolverMultistepScheduler": ALL,
    "DPMSolverSinglestepScheduler": ALL,
    "EulerAncestralDiscreteScheduler": NOISE,
    "EulerDiscreteScheduler": ALL,
    "HeunDiscreteScheduler": NOISE,
    "KDPM2AncestralDiscreteScheduler": NOISE,
    "KDPM2DiscreteScheduler": NOISE,
    "LCMScheduler": ALL,
    "LMSDiscreteScheduler": ALL,
    "PNDMScheduler": NOISE,
    "UniPCMultistepScheduler": ALL,
}
LEAST_ALPHA_BAR = 1e-6  # of the noisiest step where rescale_betas_zero_snr has been obeyed


def check_served(scheduler: NoiseSchedule) -> None:
    """Refuse a scheduler of diffusers, or one derived from it, that would draw another image without a word.

    Args:
        scheduler: Of diffusers' kind.

    Raises:
        ValueError: It is not among SERVED, or not for its prediction type; or it ignores rescale_betas_zero_snr.
    """
    name, prediction = type(scheduler).__name__, scheduler.config.get("prediction_type")
    kinds = [kind for kind in SERVED if isinstance(scheduler, getattr(diffusers, kind))]
    if not kinds:
        raise ValueError(
            f"{name} is no scheduler that this model can be trained or sampled with: take one of diffusion's own, or "
            f"{', '.join(SERVED)}"
        )
    if not any(prediction in SERVED[kind] for kind in kinds):
        able = [kind for kind, known in SERVED.items() if prediction in known]
        advice = f"take one of {', '.join(able)}" if able else f"prediction_type must be one of {', '.join(ALL)}"
        raise ValueError(f"{name} does not sample from a network that predicts '{prediction}': {advice}")
    variances = cast(VarianceSchedule, scheduler)  # all of SERVED are such
    if scheduler.config.get("rescale_betas_zero_snr") and variances.alphas_cumprod[-1] > LEAST_ALPHA_BAR:
        raise ValueError(
            f"the noise schedule has rescale_betas_zero_snr, which {name} passes over: take DDIMScheduler, "
            "DDPMScheduler, DPMSolverMultistepScheduler or EulerDiscreteScheduler"
        )
