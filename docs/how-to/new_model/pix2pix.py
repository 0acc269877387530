"""A conditional GAN's generator and its pipeline: radiograph in, soft tissue out, in one pass."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffusion import SuppressionPipeline


class Generator(ModelMixin, ConfigMixin):
    """Radiograph (B, 1, H, W) in [-1, 1] -> the bone in it (B, 1, H, W); H and W divisible by 2.

    Args:
        channels: Of the inner layers.
    """

    @register_to_config
    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(channels, 1, 3, padding=1),
        )

    def forward(self, radiograph: Tensor) -> Tensor:
        return self.layers(radiograph)


class Pix2PixPipeline(SuppressionPipeline):
    """Image-to-image translation (Isola et al. 2017, arXiv:1611.07004) of a radiograph to its soft tissue.

    Args:
        generator: Predicts the bone.
        trained_size: Side in pixels of the square images that it was trained on.
    """

    def __init__(self, generator: Generator, trained_size: int = 256) -> None:
        super().__init__()
        self.register_modules(generator=generator.eval())
        self.register_to_config(trained_size=trained_size)

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        return 2

    def predict(self, radiograph: Tensor) -> Tensor:
        """Soft tissue (B, 1, H, W) of radiographs (B, 1, H, W) in [-1, 1]."""
        return radiograph - self.generator(radiograph)
