"""Saved folders and configs from before BrownianBridgeScheduler moved name it by this path.

diffusers looks for SchedulerMixin in the module that a folder names.
"""

from diffusers.schedulers.scheduling_utils import SchedulerMixin

from diffusion.schedulers.brownian_bridge import BrownianBridgeScheduler

__all__ = ["BrownianBridgeScheduler", "SchedulerMixin"]
