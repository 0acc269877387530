"""Saved folders and configs from before LatentDiT moved name it by this path.

diffusers looks for ModelMixin in the module that a folder names.
"""

from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.dit import LatentDiT

__all__ = ["LatentDiT", "ModelMixin"]
