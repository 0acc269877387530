"""Schedulers for diffusers: temporal adaptive thresholding and Brownian bridges.

Folders saved before the schedulers had files of their own name their classes by this module's path.
"""

from diffusion.schedulers.thresholded import (
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedDPMSolverScheduler,
    ThresholdedLCMScheduler,
)

__all__ = [
    "ThresholdedDDIMScheduler",
    "ThresholdedDDPMScheduler",
    "ThresholdedDPMSolverScheduler",
    "ThresholdedLCMScheduler",
]
