"""Saved folders and configs from before Conditioner moved name it by this path.

diffusers looks for ModelMixin in the module that a folder names.
"""

from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.conditioning import Conditioner

__all__ = ["Conditioner", "ModelMixin"]
