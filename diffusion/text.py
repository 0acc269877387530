"""Saved folders and configs from before TextEncoder moved name it by this path."""

from diffusion.networks.text import TextEncoder

__all__ = ["TextEncoder"]
