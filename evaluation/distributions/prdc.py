"""Precision, recall (Kynkaanniemi 2019), density and coverage (Naeem et al. 2020), from k-nearest-neighbour balls.

The prdc package computes the same from whole distance matrices, which at 75,000 images are 45 GB each; these are
blocked, and equal prdc's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from evaluation.features.neighbours import nearest, squared_distances

if TYPE_CHECKING:
    from jaxtyping import Float

PRDC = ("precision", "recall", "density", "coverage")


def prdc(
    real: Float[np.ndarray, "real dimensions"],
    synthetic: Float[np.ndarray, "synthetic dimensions"],
    k: int = 5,
    device: str = "cpu",
) -> dict[str, float]:
    """Precision, recall, density and coverage, from balls that reach to the k-th nearest neighbour.

    Args:
        real: (N, D), N more than k.
        synthetic: (M, D), M more than k.
        k: Of the neighbour; the authors take 5.
        device: Where to compute.

    Returns:
        precision: Share of synthetic images inside any real ball; recall: share of real images inside any synthetic
            ball;
        density: how many real balls hold a synthetic image, over k; coverage: share of real balls that hold any
            synthetic image.

    Raises:
        ValueError: k images or fewer in a set, or features that are not finite.

    Reference:
        Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 to 3; Naeem et al. 2020, arXiv:2002.09797, eq. 6 and 7.
    """
    if min(len(real), len(synthetic)) <= k:
        raise ValueError(f"sets of {len(real)} and {len(synthetic)} images where more than k = {k} were expected")
    real_radii, synthetic_radii = (
        torch.from_numpy(nearest(x, x, k, device, itself=True)[0][:, -1] ** 2).float().to(device)
        for x in (real, synthetic)
    )
    inside, recalled = 0, 0
    balls = 0.0
    closest = torch.full_like(real_radii, torch.inf)
    for _, squared in squared_distances(synthetic, real, device):
        held = squared < real_radii
        inside += int(held.any(1).sum())
        balls += float(held.sum())
        closest = torch.minimum(closest, squared.amin(0))
    for _, squared in squared_distances(real, synthetic, device):
        recalled += int((squared < synthetic_radii).any(1).sum())
    return {
        "precision": inside / len(synthetic),
        "recall": recalled / len(real),
        "density": balls / (k * len(synthetic)),
        "coverage": float((closest < real_radii).float().mean()),
    }
