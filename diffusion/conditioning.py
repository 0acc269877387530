"""Saved folders and configs from before Conditioner moved name it by this path."""

from diffusion.networks.conditioning import Conditioner

__all__ = ["Conditioner"]
