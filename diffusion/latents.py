"""Between radiographs and the latents that are diffused.

The autoencoder is any diffusion.contracts.Autoencoder (vqgan.VQGAN is one). Latents are multiplied by its
scaling_factor.

What is diffused: `soft`, the soft-tissue image's latent; or `bone`, the difference (condition - soft) * residual_scale,
where the network only has to find what is to be taken away, and predicting zero leaves the radiograph as it is.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from diffusion.contracts import Autoencoder

Target = Literal["soft", "bone"]
Latent = Literal["quantized", "continuous"]


def check_latent_options(target: str, latent: str) -> None:
    """Check what is to be diffused.

    Args:
        target: `soft` or `bone`.
        latent: `quantized` or `continuous`.

    Raises:
        ValueError: One of them is something else.
    """
    if target not in get_args(Target):
        raise ValueError(f"target is '{target}'; expected one of {', '.join(get_args(Target))}")
    if latent not in get_args(Latent):
        raise ValueError(f"latent is '{latent}'; expected one of {', '.join(get_args(Latent))}")


def encode(vqgan: Autoencoder, image: Tensor, latent: Latent = "quantized") -> Tensor:
    """Scaled latents of images.

    Args:
        vqgan: An autoencoder, see above.
        image: (B, 1, H, W) in [-1, 1]; the autoencoder's downsampling f divides H and W.
        latent: `quantized` as BS-LDM does, or `continuous`.

    Returns:
        Latents (B, C, H/f, W/f).
    """
    z = vqgan.encode(image)
    if latent == "quantized":
        z = vqgan.quantize(z)[0]
    return z * vqgan.config.scaling_factor


def encode_pairs(
    vqgan: Autoencoder, radiograph: Tensor, soft: Tensor, latent: Latent = "quantized", mirrored: Tensor | None = None
) -> Tensor:
    """Latents of radiographs and their soft-tissue images.

    Args:
        vqgan: An autoencoder, see above.
        radiograph: (B, 1, H, W) in [-1, 1].
        soft: (B, 1, H, W) in [-1, 1].
        latent: `quantized` or `continuous`.
        mirrored: (B,) bool, which pairs are turned left to right before; None: none. A latent's mirror image is not the
            latent of the mirror image, since the encoder's filters have a left and a right.

    Returns:
        Scaled latents (B, 2, C, H/f, W/f), float32.
    """
    latents = []
    for image in (radiograph, soft):  # in one batch it takes twice the memory, and on a CPU longer
        if mirrored is not None:
            image = torch.where(mirrored.to(image.device).reshape(-1, 1, 1, 1), image.flip(-1), image)
        latents.append(encode(vqgan, image, latent).float())
    return torch.stack(latents, dim=1)


def decode(vqgan: Autoencoder, latent: Tensor) -> Tensor:
    """Image of a scaled latent, which is not quantised again (as BS-LDM decodes).

    Args:
        vqgan: An autoencoder, see above.
        latent: (B, C, h, w).

    Returns:
        (B, 1, f*h, f*w), about [-1, 1] but not clipped.
    """
    return vqgan.decode(latent / vqgan.config.scaling_factor)


def to_x0(soft: Tensor, condition: Tensor, target: Target, residual_scale: float) -> Tensor:
    """What is diffused, from the two scaled latents.

    Args:
        soft: Latent of the soft-tissue image (B, C, h, w).
        condition: Latent of the radiograph (B, C, h, w).
        target: `soft`, or `bone` for (condition - soft) * residual_scale.
        residual_scale: Brings the difference to about unit deviation.

    Returns:
        x0 (B, C, h, w).
    """
    return soft if target == "soft" else (condition - soft) * residual_scale


def from_x0(x0: Tensor, condition: Tensor, target: Target, residual_scale: float) -> Tensor:
    """The soft-tissue latent, from what was diffused; the inverse of `to_x0`.

    Args:
        x0: What was diffused (B, C, h, w).
        condition: Latent of the radiograph (B, C, h, w).
        target: `soft` or `bone`.
        residual_scale: As given to `to_x0`.

    Returns:
        Scaled latent of the soft-tissue image (B, C, h, w).
    """
    return x0 if target == "soft" else condition - x0 / residual_scale
