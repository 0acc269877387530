"""MONAI's VQVAE, the autoencoder of BS-LDM, GL-LCM and DeBoneDiT: strided convolutions and residual units, no norms.

(van den Oord et al. 2017, arXiv 1711.00937; Tudosiu et al., arXiv 2209.03177.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F

from vqgan.quantizer import VectorQuantizer


class ResidualUnit(nn.Module):
    """relu(x + conv(relu(conv(x)))), 3x3 both."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def _block(conv: nn.Module, relu: bool = True) -> nn.Sequential:
    return nn.Sequential(OrderedDict({"conv": conv} | ({"relu": nn.ReLU()} if relu else {})))


class ConvolutionalVQVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Radiographs (B, in_channels, H, W) in [-1, 1] to latents (B, latent_channels, H/f, W/f) and back; as vqgan.VQGAN.

    channels, residual_channels: of each level, from the image inwards; each level halves the size, f = 2^levels.
    residual_layers: residual units a level.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 1,
        channels: Sequence[int] = (128, 256, 512),
        residual_channels: Sequence[int] = (512, 512, 512),
        residual_layers: int = 2,
        latent_channels: int = 4,
        codebook_size: int = 256,
        scaling_factor: float = 1.0,
    ) -> None:
        super().__init__()
        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        outer = in_channels
        for level, (width, inner) in enumerate(zip(channels, residual_channels)):
            units = [[ResidualUnit(width, inner) for _ in range(residual_layers)] for _ in range(2)]
            encoder += [_block(nn.Conv2d(outer, width, 4, stride=2, padding=1)), *units[0]]
            decoder = [*units[1], _block(nn.ConvTranspose2d(width, outer, 4, stride=2, padding=1), level > 0), *decoder]
            outer = width
        self.encoder = nn.Sequential(*encoder, _block(nn.Conv2d(outer, latent_channels, 3, padding=1), relu=False))
        self.decoder = nn.Sequential(_block(nn.Conv2d(latent_channels, outer, 3, padding=1), relu=False), *decoder)
        self.quantizer = VectorQuantizer(codebook_size, latent_channels)

    @property
    def downsampling(self) -> int:
        """f: image pixels per latent pixel along a side."""
        return 2 ** len(self.config["channels"])

    def encode(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) in [-1, 1] -> z (B, latent_channels, H/f, W/f), not quantised; f divides H and W."""
        if x.shape[2] % self.downsampling or x.shape[3] % self.downsampling:
            raise ValueError(
                f"the autoencoder got {x.shape[2]}x{x.shape[3]} pixels, but both sides must be multiples of "
                f"{self.downsampling}: pad or resize the image"
            )
        return self.encoder(x)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z (B, C, h, w) -> nearest codes z_q (B, C, h, w), codebook loss (), code indices (B, h, w)."""
        return self.quantizer(z)

    def decode(self, z_q: Tensor) -> Tensor:
        """(B, latent_channels, h, w) -> image (B, in_channels, f*h, f*w)."""
        return self.decoder(z_q.to(self.dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Image -> reconstruction of the same shape, codebook loss (), indices (B, h, w)."""
        z_q, loss, indices = self.quantize(self.encode(x))
        return self.decode(z_q), loss, indices
