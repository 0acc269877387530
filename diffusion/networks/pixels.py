"""Diffusion in pixels: an autoencoder that leaves the image as it is, in a VQ-GAN's place (BS-Diff's first stage)."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class PixelSpace(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """An autoencoder that returns images (B, 1, H, W) as they are; its downsampling is 1.

    Args:
        scaling_factor: Diffusion works on the image times this.
    """

    downsampling = 1

    @register_to_config
    def __init__(self, scaling_factor: float = 1.0) -> None:
        super().__init__()
        self.register_parameter("placeholder", nn.Parameter(Tensor(0)))  # safetensors and `dtype` want one

    def encode(self, x: Tensor) -> Tensor:
        """The image itself.

        Args:
            x: (B, 1, H, W) in [-1, 1].

        Returns:
            x.
        """
        return x

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, None]:
        """The image itself: there is no codebook.

        Args:
            z: (B, 1, H, W).

        Returns:
            z, a loss () of 0, and None for the indices.
        """
        return z, z.new_zeros(()), None

    def decode(self, z: Tensor) -> Tensor:
        """The image itself.

        Args:
            z: (B, 1, H, W).

        Returns:
            z.
        """
        return z
