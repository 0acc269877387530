"""Saved folders and configs from before PixelSpace moved name it by this path."""

from diffusion.networks.pixels import PixelSpace

__all__ = ["PixelSpace"]
