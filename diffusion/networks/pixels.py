"""Diffusion in pixels: an autoencoder that leaves the image as it is, in a VQ-GAN's place (BS-Diff's first stage)."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class PixelSpace(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """encode, quantize and decode return the image (B, 1, H, W); downsampling is 1."""

    downsampling = 1

    @register_to_config
    def __init__(self, scaling_factor: float = 1.0) -> None:
        super().__init__()
        self.register_parameter("placeholder", nn.Parameter(Tensor(0)))  # safetensors and `dtype` want one

    def encode(self, x: Tensor) -> Tensor:
        return x

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, None]:
        return z, z.new_zeros(()), None

    def decode(self, z: Tensor) -> Tensor:
        return z
