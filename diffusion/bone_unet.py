"""Saved folders and configs from before BoneUNet moved name it by this path.

diffusers looks for ModelMixin in the module that a folder names.
"""

from diffusers.models.modeling_utils import ModelMixin

from diffusion.networks.bone_unet import BoneUNet

__all__ = ["BoneUNet", "ModelMixin"]
