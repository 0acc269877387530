"""Saved folders and configs from before LatentDiT moved name it by this path."""

from diffusion.networks.dit import LatentDiT

__all__ = ["LatentDiT"]
