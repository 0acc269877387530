"""Kernel distance between two sets of features (KID, Binkowski et al. 2018): unbiased, so it can be below 0.

torchmetrics' poly_mmd computes the same; it is accurate only in float64, and then takes twice the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from evaluation.features.neighbours import refuse_unfinite

if TYPE_CHECKING:
    from jaxtyping import Float


def mmd(a: Float[Tensor, "count dimensions"], b: Float[Tensor, "others dimensions"]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x'y / D + 1)^3.

    Products are taken in the features' own precision, sums in float64.

    Args:
        a: (N, D).
        b: (M, D).

    Returns:
        The discrepancy, which may be below 0.

    Reference:
        Gretton et al. 2012, JMLR 13, eq. 3.
    """

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        base = torch.addmm(torch.ones((), dtype=x.dtype, device=x.device), x, y.T, alpha=1 / x.shape[1])
        return base.square().mul_(base)

    def within(x: Tensor) -> Tensor:
        values = kernel(x, x)
        others = values.sum(dtype=torch.float64) - values.diagonal().sum(dtype=torch.float64)
        return others / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean(dtype=torch.float64))


def kid(
    real: Float[np.ndarray, "real dimensions"],
    synthetic: Float[np.ndarray, "synthetic dimensions"],
    subset: int = 1000,
    subsets: int = 100,
    seed: int = 0,
    device: str = "cpu",
) -> tuple[float, float]:
    """Kernel distance: `mmd` over random subsets.

    Args:
        real: (N, D).
        synthetic: (M, D).
        subset: Images of each set in a subset, at most N and M.
        subsets: How many.
        seed: Of the subsets.
        device: Where to compute.

    Returns:
        Mean and standard deviation. If a subset is all of both sets, there is one value, and no deviation (NaN).

    Raises:
        ValueError: Fewer than 2 images in a set, or features that are not finite.

    Reference:
        Binkowski et al. 2018, arXiv:1801.01401.
    """
    refuse_unfinite(real, synthetic)
    size = min(subset, len(real), len(synthetic))
    if size < 2:
        raise ValueError(f"sets of {len(real)} and {len(synthetic)} images where at least 2 of each were expected")
    random = np.random.default_rng(seed)
    a, b = (torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device) for x in (real, synthetic))
    if size == len(a) == len(b):
        return mmd(a, b), float("nan")
    values = []
    for _ in range(subsets):
        ours, theirs = (x[torch.from_numpy(random.choice(len(x), size, replace=False)).to(device)] for x in (a, b))
        values.append(mmd(ours, theirs))
    return float(np.mean(values)), float(np.std(values))
