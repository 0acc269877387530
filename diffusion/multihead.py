"""Saved folders and configs from before MultiheadUNet moved name it by this path.

diffusers looks for ModelMixin in the module that a folder names.
"""

from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.multihead import MultiheadUNet

__all__ = ["ModelMixin", "MultiheadUNet"]
