"""Saved folders and configs from before PixelSpace moved name it by this path.

diffusers looks for ModelMixin in the module that a folder names.
"""

from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.pixels import PixelSpace

__all__ = ["ModelMixin", "PixelSpace"]
