"""A generator and its pipeline: radiograph in, soft tissue out, in one pass."""

from __future__ import annotations

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from diffusion import SuppressionPipeline


class Generator(ModelMixin, ConfigMixin):
    """The bone of a radiograph (B, 1, H, W) in [-1, 1].

    Args:
        channels: Of the inner layer.
    """

    @register_to_config
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 5, padding=2), nn.ReLU(), nn.Conv2d(channels, 1, 5, padding=2)
        )

    def forward(self, radiograph: Tensor) -> Tensor:
        return self.layers(radiograph)


class GanPipeline(SuppressionPipeline):
    """A generator that was trained against a critic.

    Args:
        generator: Predicts the bone.
        trained_size: Side in pixels of the square images that it was trained on.
    """

    def __init__(self, generator: Generator, trained_size: int = 64) -> None:
        super().__init__()
        self.register_modules(generator=generator.eval())
        self.register_to_config(trained_size=trained_size)

    def predict(self, radiograph: Tensor) -> Tensor:
        """Soft tissue (B, 1, H, W) of radiographs (B, 1, H, W) in [-1, 1]."""
        return radiograph - self.generator(radiograph)
