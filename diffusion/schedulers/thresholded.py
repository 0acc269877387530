"""Temporal adaptive thresholding (BS-LDM, arXiv 2412.15670) as diffusers schedulers.

At sampling step j the predicted x0 is clipped to +-(threshold_start + threshold_rate * j). j counts the sampling steps
from 0, the noisiest: the bound starts tight, where x0 is a guess, and opens as it becomes certain. BS-LDM takes 1.4 and
0.003 over 1000 DDPM steps (its ldm_eval.py, whose loop applies each bound one step late), so to +-4.4; GL-LCM takes
2 and 0.025 over 50. With fewer steps `threshold_count="step"` would stop the bound short of that;
`threshold_count="timestep"` counts j in training timesteps passed, T - 1 - t: the same bound at the same noise level
for any number of steps. Over all T steps the two are one.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, LCMScheduler
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from torch import Tensor

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "sample", "v_prediction"]
Spacing = Literal["leading", "trailing", "linspace"]
ThresholdCount = Literal["step", "timestep"]


class TemporalAdaptiveThresholding(SchedulerMixin):
    """Mixin before a diffusers scheduler that clips through its `thresholding` hook; each `step` sets the bound."""

    config: Any
    timesteps: Tensor
    _threshold: float

    def threshold_at(self, timestep: int | Tensor) -> float:
        """The bound on |x0| at one step of sampling.

        Args:
            timestep: One of those that set_timesteps made.

        Returns:
            threshold_start + threshold_rate * j.

        Raises:
            ValueError: It is not one of this scheduler's timesteps.
        """
        if self.config.threshold_count == "timestep":
            count = self.config.num_train_timesteps - 1 - int(timestep)
        else:
            found = (self.timesteps == int(timestep)).nonzero()
            if not len(found):
                raise ValueError(f"timestep {int(timestep)} is not one of this scheduler's; call set_timesteps first")
            count = int(found[0])
        return self.config.threshold_start + self.config.threshold_rate * count

    def step(self, model_output: Tensor, timestep: int | Tensor, sample: Tensor, *args: Any, **options: Any) -> Any:
        """As the diffusers scheduler's own step, with the bound of this timestep.

        Args:
            model_output: The network's answer (B, C, h, w).
            timestep: One of those that set_timesteps made.
            sample: x_t, (B, C, h, w).
            *args: As the scheduler takes them.
            **options: As the scheduler takes them.

        Returns:
            What the scheduler returns.
        """
        self._threshold = self.threshold_at(timestep)
        return super().step(model_output, timestep, sample, *args, **options)  # type: ignore[misc]

    def _threshold_sample(self, sample: Tensor) -> Tensor:
        return torch.clamp(sample, -self._threshold, self._threshold)


class ThresholdedDDPMScheduler(TemporalAdaptiveThresholding, DDPMScheduler):
    """DDPM with temporal adaptive thresholding.

    Args:
        num_train_timesteps: T, noise levels of training.
        beta_start: First variance of the schedule; the squared cosine does not use it.
        beta_end: Last variance of the schedule; the squared cosine does not use it.
        beta_schedule: How the variances grow: `squaredcos_cap_v2` (Nichol and Dhariwal, arXiv:2102.09672, eq. 17),
            `linear` or `scaled_linear`.
        prediction_type: What the network answers, see diffusion.parametrization.
        timestep_spacing: How sampling's timesteps are spread: `trailing` ends at T - 1, as zero terminal SNR needs.
        rescale_betas_zero_snr: Zero terminal SNR (Lin et al., arXiv:2305.08891).
        clip_sample: Clip x0 to [-1, 1] instead; diffusers applies it only without thresholding.
        thresholding: Clip the predicted x0 to the bound that the module's text describes.
        threshold_start: Bound at the first step of sampling.
        threshold_rate: What the bound grows by with each count.
        threshold_count: Count in sampling steps (`step`) or in training timesteps passed (`timestep`), so that the
            bound is the same at the same noise level for any number of steps.

    Reference:
        Ho et al., arXiv:2006.11239; BS-LDM, arXiv:2412.15670.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0008,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "squaredcos_cap_v2",
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: Spacing = "trailing",
        rescale_betas_zero_snr: bool = False,
        clip_sample: bool = False,
        thresholding: bool = True,
        threshold_start: float = 1.4,
        threshold_rate: float = 0.003,
        threshold_count: ThresholdCount = "step",
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
            timestep_spacing=timestep_spacing,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            clip_sample=clip_sample,
            thresholding=thresholding,
        )


class ThresholdedDDIMScheduler(TemporalAdaptiveThresholding, DDIMScheduler):
    """DDIM with temporal adaptive thresholding.

    Args:
        num_train_timesteps: T, noise levels of training.
        beta_start: First variance of the schedule; the squared cosine does not use it.
        beta_end: Last variance of the schedule; the squared cosine does not use it.
        beta_schedule: How the variances grow: `squaredcos_cap_v2` (Nichol and Dhariwal, arXiv:2102.09672, eq. 17),
            `linear` or `scaled_linear`.
        prediction_type: What the network answers, see diffusion.parametrization.
        timestep_spacing: How sampling's timesteps are spread: `trailing` ends at T - 1, as zero terminal SNR needs.
        rescale_betas_zero_snr: Zero terminal SNR (Lin et al., arXiv:2305.08891).
        clip_sample: Clip x0 to [-1, 1] instead; diffusers applies it only without thresholding.
        thresholding: Clip the predicted x0 to the bound that the module's text describes.
        threshold_start: Bound at the first step of sampling.
        threshold_rate: What the bound grows by with each count.
        threshold_count: Count in sampling steps (`step`) or in training timesteps passed (`timestep`), so that the
            bound is the same at the same noise level for any number of steps.

    Reference:
        Song et al., arXiv:2010.02502; BS-LDM, arXiv:2412.15670.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0008,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "squaredcos_cap_v2",
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: Spacing = "trailing",
        rescale_betas_zero_snr: bool = False,
        clip_sample: bool = False,
        thresholding: bool = True,
        threshold_start: float = 1.4,
        threshold_rate: float = 0.003,
        threshold_count: ThresholdCount = "step",
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
            timestep_spacing=timestep_spacing,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            clip_sample=clip_sample,
            thresholding=thresholding,
        )


class ThresholdedDPMSolverScheduler(TemporalAdaptiveThresholding, DPMSolverMultistepScheduler):
    """DPM-Solver++ with temporal adaptive thresholding.

    Args:
        num_train_timesteps: T, noise levels of training.
        beta_start: First variance of the schedule; the squared cosine does not use it.
        beta_end: Last variance of the schedule; the squared cosine does not use it.
        beta_schedule: How the variances grow: `squaredcos_cap_v2` (Nichol and Dhariwal, arXiv:2102.09672, eq. 17),
            `linear` or `scaled_linear`.
        prediction_type: What the network answers, see diffusion.parametrization.
        timestep_spacing: How sampling's timesteps are spread: `trailing` ends at T - 1, as zero terminal SNR needs.
        rescale_betas_zero_snr: Zero terminal SNR (Lin et al., arXiv:2305.08891).
        solver_order: Of the solver, 1 to 3.
        thresholding: Clip the predicted x0 to the bound that the module's text describes.
        threshold_start: Bound at the first step of sampling.
        threshold_rate: What the bound grows by with each count.
        threshold_count: Count in sampling steps (`step`) or in training timesteps passed (`timestep`), so that the
            bound is the same at the same noise level for any number of steps.

    Reference:
        Lu et al., arXiv:2211.01095; BS-LDM, arXiv:2412.15670.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.0008,
        beta_end: float = 0.02,
        beta_schedule: BetaSchedule = "squaredcos_cap_v2",
        prediction_type: PredictionType = "epsilon",
        timestep_spacing: Spacing = "trailing",
        rescale_betas_zero_snr: bool = False,
        solver_order: int = 2,
        thresholding: bool = True,
        threshold_start: float = 1.4,
        threshold_rate: float = 0.003,
        threshold_count: ThresholdCount = "step",
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
            timestep_spacing=timestep_spacing,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            solver_order=solver_order,
            thresholding=thresholding,
        )


class ThresholdedLCMScheduler(TemporalAdaptiveThresholding, LCMScheduler):
    """Multistep consistency sampling with GL-LCM's thresholding.

    Args:
        num_train_timesteps: T, noise levels of training.
        beta_start: First variance of the schedule; the squared cosine does not use it.
        beta_end: Last variance of the schedule; the squared cosine does not use it.
        beta_schedule: How the variances grow: `squaredcos_cap_v2` (Nichol and Dhariwal, arXiv:2102.09672, eq. 17),
            `linear` or `scaled_linear`.
        prediction_type: What the network answers, see diffusion.parametrization.
        original_inference_steps: Steps of the teacher's grid, from which sampling's timesteps are taken.
        timestep_scaling: What timesteps are multiplied by in the boundary condition (`boundary_scalings`).
        rescale_betas_zero_snr: Zero terminal SNR (Lin et al., arXiv:2305.08891).
        clip_sample: Clip x0 to [-1, 1] instead; diffusers applies it only without thresholding.
        thresholding: Clip the predicted x0 to the bound that the module's text describes.
        threshold_start: Bound at the first step of sampling.
        threshold_rate: What the bound grows by with each count.
        threshold_count: Count in sampling steps (`step`) or in training timesteps passed (`timestep`), so that the
            bound is the same at the same noise level for any number of steps.

    Reference:
        Luo et al., arXiv:2310.04378; GL-LCM, arXiv:2508.03357.
    """

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        beta_schedule: BetaSchedule = "scaled_linear",
        prediction_type: PredictionType = "epsilon",
        original_inference_steps: int = 50,
        timestep_scaling: float = 10.0,
        rescale_betas_zero_snr: bool = False,
        clip_sample: bool = False,
        thresholding: bool = True,
        threshold_start: float = 2.0,
        threshold_rate: float = 0.025,
        threshold_count: ThresholdCount = "step",
    ) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            beta_schedule=beta_schedule,
            prediction_type=prediction_type,
            original_inference_steps=original_inference_steps,
            timestep_scaling=timestep_scaling,
            rescale_betas_zero_snr=rescale_betas_zero_snr,
            clip_sample=clip_sample,
            thresholding=thresholding,
        )
