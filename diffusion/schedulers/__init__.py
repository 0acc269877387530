"""Schedulers for diffusers: temporal adaptive thresholding and Brownian bridges.

Folders saved before the schedulers had files of their own name their classes by this module's path;
diffusers looks for SchedulerMixin in the module that a folder names.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from diffusion.schedulers.thresholded import (
    ThresholdedDDIMScheduler,
    ThresholdedDDPMScheduler,
    ThresholdedDPMSolverScheduler,
    ThresholdedLCMScheduler,
)

__all__ = [
    "SchedulerMixin",
    "ThresholdedDDIMScheduler",
    "ThresholdedDDPMScheduler",
    "ThresholdedDPMSolverScheduler",
    "ThresholdedLCMScheduler",
]
