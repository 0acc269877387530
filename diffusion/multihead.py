"""Saved folders and configs from before MultiheadUNet moved name it by this path."""

from diffusion.networks.multihead import MultiheadUNet

__all__ = ["MultiheadUNet"]
