"""Kernel distance between two sets of features (KID, Binkowski et al. 2018): unbiased, so it can be below 0."""

from __future__ import annotations

import numpy as np
import torch
from torchmetrics.image.kid import poly_mmd


def kid(
    real: np.ndarray, synthetic: np.ndarray, subset: int = 1000, subsets: int = 100, seed: int = 0, device: str = "cpu"
) -> tuple[float, float]:
    """Mean and standard deviation over random subsets of the squared MMD with the kernel (x'y / D + 1)^3.

    real (N, D), synthetic (M, D); a subset has min(subset, N, M) of each, at least 2.
    """
    size = min(subset, len(real), len(synthetic))
    if size < 2:
        raise ValueError(f"sets of {len(real)} and {len(synthetic)} images where at least 2 of each were expected")
    random = np.random.default_rng(seed)
    a, b = (torch.from_numpy(np.ascontiguousarray(x)).to(device).double() for x in (real, synthetic))
    values = []
    for _ in range(subsets):
        ours, theirs = (x[torch.from_numpy(random.choice(len(x), size, replace=False)).to(device)] for x in (a, b))
        values.append(float(poly_mmd(ours, theirs)))
    return float(np.mean(values)), float(np.std(values))
