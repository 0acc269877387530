"""Saved folders and configs from before BrownianBridgeScheduler moved name it by this path."""

from diffusion.schedulers.brownian_bridge import BrownianBridgeScheduler

__all__ = ["BrownianBridgeScheduler"]
