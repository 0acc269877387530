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
    """relu(x + conv(relu(conv(x)))), both convolutions 3x3.

    Args:
        channels: Of the input and output.
        inner: Of the features between the convolutions.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 3, padding=1)
        self.conv2 = nn.Conv2d(inner, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, channels, h, w) to features of the same shape.

        Args:
            x: (B, channels, h, w) of any range.

        Returns:
            Not negative, since the sum goes through a ReLU.
        """
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


def _block(conv: nn.Module, relu: bool = True) -> nn.Sequential:
    return nn.Sequential(OrderedDict({"conv": conv} | ({"relu": nn.ReLU()} if relu else {})))


class ConvolutionalVQVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Radiographs (B, in_channels, H, W) in [-1, 1] to latents (B, latent_channels, H/f, W/f) and back.

    It offers the same methods as vqgan.VQGAN.

    Args:
        in_channels: Channels of the image, 1 for radiographs.
        channels: Features of each level, from the image inwards; each level halves the size, f = 2^levels.
        residual_channels: Features within the residual units of each level.
        residual_layers: Residual units a level.
        latent_channels: Channels of a latent.
        codebook_size: Number of codes.
        scaling_factor: Diffusion works on latents times this: 1 / their standard deviation once trained.

    Reference:
        van den Oord et al. 2017, arXiv:1711.00937; Tudosiu et al., arXiv:2209.03177.
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
        """Encode images, without quantising.

        Args:
            x: (B, in_channels, H, W) in [-1, 1]; f divides H and W.

        Returns:
            Latents z (B, latent_channels, H/f, W/f).

        Raises:
            ValueError: A size that f does not divide.
        """
        if x.shape[2] % self.downsampling or x.shape[3] % self.downsampling:
            raise ValueError(
                f"the autoencoder got {x.shape[2]}x{x.shape[3]} pixels, but both sides must be multiples of "
                f"{self.downsampling}: pad or resize the image"
            )
        return self.encoder(x)

    def quantize(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replace each latent pixel by the nearest code.

        Args:
            z: Latents (B, C, h, w).

        Returns:
            Codes z_q (B, C, h, w), codebook loss (), indices of the codes (B, h, w).
        """
        return self.quantizer(z)

    def decode(self, z_q: Tensor) -> Tensor:
        """Decode latents, quantised or not.

        Args:
            z_q: (B, latent_channels, h, w).

        Returns:
            Images (B, in_channels, f*h, f*w), about [-1, 1] but not clipped.
        """
        return self.decoder(z_q.to(self.dtype))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encode, quantise and decode.

        Args:
            x: Images (B, in_channels, H, W) in [-1, 1].

        Returns:
            Reconstruction of the same shape, codebook loss (), indices (B, h, w).
        """
        z_q, loss, indices = self.quantize(self.encode(x))
        return self.decode(z_q), loss, indices
