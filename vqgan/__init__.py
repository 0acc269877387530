"""VQ-GAN: encoder, quantiser, decoder, discriminator and losses."""

from __future__ import annotations

from vqgan.discriminator import PatchDiscriminator
from vqgan.losses import Hinge, HybridLoss, LeastSquares
from vqgan.model import VQGAN
from vqgan.perceptual import VGGPerceptual
from vqgan.quantizer import VectorQuantizer, codebook_statistics
from vqgan.vqvae import ConvolutionalVQVAE

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
