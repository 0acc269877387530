"""Between radiographs and the latents that are diffused.

The autoencoder is any module with encode(x) -> z, quantize(z) -> (z_q, loss, indices), decode(z_q) -> x,
config.scaling_factor and downsampling (vqgan.VQGAN is one). Latents are multiplied by scaling_factor.

What is diffused: `soft`, the soft-tissue image's latent; or `bone`, the difference (condition - soft) * residual_scale,
where the network only has to find what is to be taken away, and predicting zero leaves the radiograph as it is.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

Target = Literal["soft", "bone"]
Latent = Literal["quantized", "continuous"]


def check_latent_options(target: str, latent: str) -> None:
    """Raise ValueError unless `target` is a Target and `latent` a Latent."""
    if target not in get_args(Target):
        raise ValueError(f"target is '{target}'; expected one of {', '.join(get_args(Target))}")
    if latent not in get_args(Latent):
        raise ValueError(f"latent is '{latent}'; expected one of {', '.join(get_args(Latent))}")


def encode(vqgan: Any, image: Tensor, latent: Latent = "quantized") -> Tensor:
    """Latent (B, C, H/f, W/f) of images (B, 1, H, W) in [-1, 1], scaled; quantised as BS-LDM does, or not."""
    z = vqgan.encode(image)
    if latent == "quantized":
        z = vqgan.quantize(z)[0]
    return z * vqgan.config.scaling_factor


def encode_pairs(
    vqgan: Any, radiograph: Tensor, soft: Tensor, latent: Latent = "quantized", mirrored: Tensor | None = None
) -> Tensor:
    """Latents (B, 2, C, H/f, W/f), float32, of radiographs and soft-tissue images, each (B, 1, H, W).

    mirrored (B,), bool: which pairs are turned left to right before. A latent's mirror image is not the latent of the
    mirror image, since the encoder's filters have a left and a right.
    """
    latents = []
    for image in (radiograph, soft):  # in one batch it takes twice the memory, and on a CPU longer
        if mirrored is not None:
            image = torch.where(mirrored.to(image.device).reshape(-1, 1, 1, 1), image.flip(-1), image)
        latents.append(encode(vqgan, image, latent).float())
    return torch.stack(latents, dim=1)


def decode(vqgan: Any, latent: Tensor) -> Tensor:
    """Image (B, 1, H, W) of a scaled latent, not quantised again (as BS-LDM decodes)."""
    return vqgan.decode(latent / vqgan.config.scaling_factor)


def to_x0(soft: Tensor, condition: Tensor, target: Target, residual_scale: float) -> Tensor:
    """What is diffused, from the two scaled latents."""
    return soft if target == "soft" else (condition - soft) * residual_scale


def from_x0(x0: Tensor, condition: Tensor, target: Target, residual_scale: float) -> Tensor:
    """The soft-tissue latent, from what was diffused; the inverse of `to_x0`."""
    return x0 if target == "soft" else condition - x0 / residual_scale
