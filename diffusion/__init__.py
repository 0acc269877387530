"""Conditional latent diffusion: U-Net, noise, schedulers, objectives, sampling, and pipelines as diffusers folders.

What is named here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffusion.guidance import guidance_terms
    from diffusion.latents import Latent, Target, decode, encode, from_x0, to_x0
    from diffusion.networks.concatenation import ConditionScaling, concatenate_condition
    from diffusion.networks.conditioning import CONDITIONS, Conditioner, Conditions
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
    from radiographs.vocabulary import VIEWS

HOME = {
    "BoneRegressionPipeline": "diffusion.pipelines.regression",
    "BoneSuppressionOutput": "diffusion.pipelines.contract",
    "BoneSuppressionPipeline": "diffusion.pipelines.suppression",
    "BrownianBridgeScheduler": "diffusion.schedulers.brownian_bridge",
    "CONDITIONS": "diffusion.networks.conditions",
    "ConditionScaling": "diffusion.networks.concatenation",
    "Conditioner": "diffusion.networks.conditioning",
    "Conditions": "diffusion.networks.conditions",
    "Latent": "diffusion.latents",
    "LatentDiT": "diffusion.networks.dit",
    "MultiheadUNet": "diffusion.networks.multihead",
    "PixelSpace": "diffusion.networks.pixels",
    "SuppressionModel": "diffusion.pipelines.contract",
    "SuppressionPipeline": "diffusion.pipelines.contract",
    "SynthesisOutput": "diffusion.pipelines.synthesis",
    "SynthesisPipeline": "diffusion.pipelines.synthesis",
    "Target": "diffusion.latents",
    "TextEncoder": "diffusion.networks.text",
    "ThresholdedDDIMScheduler": "diffusion.schedulers.thresholded",
    "ThresholdedDDPMScheduler": "diffusion.schedulers.thresholded",
    "ThresholdedDPMSolverScheduler": "diffusion.schedulers.thresholded",
    "ThresholdedLCMScheduler": "diffusion.schedulers.thresholded",
    "VIEWS": "radiographs.vocabulary",
    "boundary_scalings": "diffusion.training.distillation",
    "build_enhancer": "diffusion.pipelines.enhancement",
    "build_unet": "diffusion.networks.unet",
    "concatenate_condition": "diffusion.networks.concatenation",
    "consistency_function": "diffusion.training.distillation",
    "ddim_step": "diffusion.training.distillation",
    "decode": "diffusion.latents",
    "denoising_loss": "diffusion.training.objectives",
    "distillation_loss": "diffusion.training.distillation",
    "encode": "diffusion.latents",
    "enhance": "diffusion.pipelines.enhancement",
    "from_x0": "diffusion.latents",
    "guidance_terms": "diffusion.guidance",
    "min_snr_weights": "diffusion.training.objectives",
    "noise_levels": "diffusion.training.objectives",
    "offset_noise": "diffusion.noise",
    "predicted_x0": "diffusion.parametrization",
    "prediction_target": "diffusion.parametrization",
    "sample": "diffusion.pipelines.sampler",
    "seeded_generators": "diffusion.noise",
    "seeded_noise": "diffusion.noise",
    "solver_timesteps": "diffusion.training.distillation",
    "to_x0": "diffusion.latents",
    "warmed_up_ema": "diffusion.training.ema",
}
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


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that one network does not need all the others."""
    if name not in HOME:
        raise AttributeError(f"module 'diffusion' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)
