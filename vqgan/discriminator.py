"""PatchGAN discriminator (Isola et al. 2017, arXiv:1611.07004) of taming-transformers."""

from __future__ import annotations

from taming.modules.discriminator.model import NLayerDiscriminator, weights_init


class PatchDiscriminator(NLayerDiscriminator):
    """Image (B, in_channels, H, W) -> logits (B, 1, about H / 2**layers, about W / 2**layers), high where real."""

    def __init__(self, in_channels: int = 1, channels: int = 64, layers: int = 3) -> None:
        super().__init__(in_channels, ndf=channels, n_layers=layers)
        self.apply(weights_init)
