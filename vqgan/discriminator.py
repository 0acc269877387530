"""PatchGAN discriminator (Isola et al. 2017, arXiv:1611.07004) of taming-transformers."""

from __future__ import annotations

from taming.modules.discriminator.model import NLayerDiscriminator, weights_init


class PatchDiscriminator(NLayerDiscriminator):
    """Tells real images from reconstructions, one patch at a time.

    `forward` takes images (B, in_channels, H, W) to logits (B, 1, about H / 2**layers, about W / 2**layers), high
    where the image looks real.

    Args:
        in_channels: Channels of the images, 1 for radiographs.
        channels: Features of the first layer; they double with each layer, up to eight times as many.
        layers: Convolutions of stride 2; each doubles the patch that one logit sees (3: 70 x 70 pixels).

    Reference:
        Isola et al. 2017, arXiv:1611.07004, section 3.2.2.
    """

    def __init__(self, in_channels: int = 1, channels: int = 64, layers: int = 3) -> None:
        super().__init__(in_channels, ndf=channels, n_layers=layers)
        self.apply(weights_init)
