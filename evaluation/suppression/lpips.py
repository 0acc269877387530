"""LPIPS restricted to a mask (Zhang et al. 2018, eq. 1), on the network of `vqgan.perceptual.load_perceptual`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from evaluation.suppression.ssim import masked_mean
from vqgan.perceptual import VGGPerceptual

if TYPE_CHECKING:
    from jaxtyping import Float


def lpips(
    network: VGGPerceptual,
    prediction: Float[Tensor, "batch 1 height width"],
    truth: Float[Tensor, "batch 1 height width"],
    mask: Float[Tensor, "batch 1 height width"] | None = None,
) -> Tensor:
    """Perceptual distance, also inside a mask.

    Args:
        network: Of `vqgan.perceptual.load_perceptual`.
        prediction: (B, 1, H, W) in [-1, 1].
        truth: (B, 1, H, W) in [-1, 1].
        mask: (B, 1, H, W) of 0 and 1: each stage's distances are averaged with the share of the mask in their cells.

    Returns:
        (B,); lower is nearer.
    """
    total = prediction.new_zeros(prediction.shape[0], dtype=truth.dtype)
    stages = zip(network.stages(prediction.to(truth.dtype)), network.stages(truth), network.heads)
    for ours, theirs, head in stages:
        distance = ((ours - theirs).square() * head[:, None, None]).sum(1, keepdim=True)
        share = None if mask is None else F.adaptive_avg_pool2d(mask.to(distance.dtype), distance.shape[-2:])
        total = total + masked_mean(distance, share)
    return total
