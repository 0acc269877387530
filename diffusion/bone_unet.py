"""Saved folders and configs from before BoneUNet moved name it by this path."""

from diffusion.networks.bone_unet import BoneUNet

__all__ = ["BoneUNet"]
