"""VQ-GAN: encoder, quantiser, decoder, discriminator and losses.

What is named here is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqgan.discriminator import PatchDiscriminator
    from vqgan.losses import Hinge, HybridLoss, LeastSquares
    from vqgan.model import VQGAN
    from vqgan.perceptual import VGGPerceptual
    from vqgan.quantizer import VectorQuantizer, codebook_statistics
    from vqgan.vqvae import ConvolutionalVQVAE

HOME = {
    "ConvolutionalVQVAE": "vqgan.vqvae",
    "Hinge": "vqgan.losses",
    "HybridLoss": "vqgan.losses",
    "LeastSquares": "vqgan.losses",
    "PatchDiscriminator": "vqgan.discriminator",
    "VGGPerceptual": "vqgan.perceptual",
    "VQGAN": "vqgan.model",
    "VectorQuantizer": "vqgan.quantizer",
    "codebook_statistics": "vqgan.quantizer",
}
__all__ = [
    "VQGAN",
    "ConvolutionalVQVAE",
    "Hinge",
    "HybridLoss",
    "LeastSquares",
    "PatchDiscriminator",
    "VGGPerceptual",
    "VectorQuantizer",
    "codebook_statistics",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that drawing does not wait for what training needs."""
    if name not in HOME:
        raise AttributeError(f"module 'vqgan' has no attribute {name!r}")
    return getattr(import_module(HOME[name]), name)
