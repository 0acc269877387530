"""Conditional latent diffusion: U-Net, noise, schedulers, objectives, sampling, and pipelines as diffusers folders."""

from __future__ import annotations

from diffusion.guidance import guidance_terms
from diffusion.latents import Latent, Target, decode, encode, from_x0, to_x0
from diffusion.networks.conditioning import (
    CONDITIONS,
    VIEWS,
    Conditioner,
    Conditions,
    ConditionScaling,
    concatenate_condition,
)
from diffusion.networks.dit import LatentDiT
from diffusion.networks.multihead import MultiheadUNet
from diffusion.networks.pixels import PixelSpace
from diffusion.networks.text import TextEncoder
from diffusion.networks.unet import build_unet
from diffusion.noise import offset_noise, seeded_generators, seeded_noise
from diffusion.parametrization import predicted_x0, prediction_target
from diffusion.pipelines.contract import BoneSuppressionOutput, SuppressionModel, SuppressionPipeline
from diffusion.pipelines.enhancement import build_enhancer, enhance
from diffusion.pipelines.regression import BoneRegressionPipeline
from diffusion.pipelines.sampler import sample
from diffusion.pipelines.suppression import BoneSuppressionPipeline
from diffusion.pipelines.synthesis import SynthesisOutput, SynthesisPipeline
from diffusion.schedulers.brownian_bridge import BrownianBridgeScheduler
from diffusion.schedulers.thresholded import (
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedDPMSolverScheduler,
    ThresholdedLCMScheduler,
)
from diffusion.training.distillation import (
    boundary_scalings,
    consistency_function,
    ddim_step,
    distillation_loss,
    solver_timesteps,
)
from diffusion.training.ema import warmed_up_ema
from diffusion.training.objectives import denoising_loss, min_snr_weights, noise_levels

__all__ = [
    "CONDITIONS",
    "VIEWS",
    "BoneRegressionPipeline",
    "BoneSuppressionOutput",
    "BoneSuppressionPipeline",
    "BrownianBridgeScheduler",
    "ConditionScaling",
    "Conditioner",
    "Conditions",
    "Latent",
    "LatentDiT",
    "MultiheadUNet",
    "PixelSpace",
    "SuppressionModel",
    "SuppressionPipeline",
    "SynthesisOutput",
    "SynthesisPipeline",
    "Target",
    "TextEncoder",
    "ThresholdedDDIMScheduler",
    "ThresholdedDDPMScheduler",
    "ThresholdedDPMSolverScheduler",
    "ThresholdedLCMScheduler",
    "boundary_scalings",
    "build_enhancer",
    "build_unet",
    "concatenate_condition",
    "consistency_function",
    "ddim_step",
    "decode",
    "denoising_loss",
    "distillation_loss",
    "encode",
    "enhance",
    "from_x0",
    "guidance_terms",
    "min_snr_weights",
    "noise_levels",
    "offset_noise",
    "predicted_x0",
    "prediction_target",
    "sample",
    "seeded_generators",
    "seeded_noise",
    "solver_timesteps",
    "to_x0",
    "warmed_up_ema",
]
