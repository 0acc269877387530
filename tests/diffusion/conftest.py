"""A tiny autoencoder, kept out of vqgan/: the diffusion room knows it by its methods only."""

from __future__ import annotations

import sys

import pytest
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from diffusion import BoneSuppressionPipeline, ThresholdedDDIMScheduler, build_unet


class BlockAutoencoder(ModelMixin, ConfigMixin):
    """2x2 blocks of pixels as four channels, rounded to steps of 1/64 by `quantize`; decoding is exact."""

    @register_to_config
    def __init__(self, scaling_factor: float = 2.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    downsampling = 2

    def encode(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_unshuffle(x, 2) * self.gain

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        indices = (z * 64).round()
        return indices / 64, z.new_zeros(()), indices.long()

    def decode(self, z: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(z / self.gain, 2)


# diffusers finds a class of another package by its module's name, which a conftest has not under importmode=importlib.
sys.modules.setdefault("block_autoencoder", sys.modules[__name__])
BlockAutoencoder.__module__ = "block_autoencoder"


@pytest.fixture
def autoencoder() -> BlockAutoencoder:
    return BlockAutoencoder()


@pytest.fixture
def tiny_unet():
    torch.manual_seed(0)
    return build_unet(
        base_channels=16,
        multipliers=(1, 2),
        residual_blocks=1,
        attention_levels=(1,),
        attention_head_dim=8,
        norm_groups=8,
    )


@pytest.fixture
def pipeline(autoencoder, tiny_unet) -> BoneSuppressionPipeline:
    pipe = BoneSuppressionPipeline(autoencoder, tiny_unet, ThresholdedDDIMScheduler(prediction_type="v_prediction"))
    pipe.set_progress_bar_config(disable=True)
    return pipe
