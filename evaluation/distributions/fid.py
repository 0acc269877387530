"""Frechet distance between two sets of features (FID, Heusel et al. 2017, eq. 6) and its value without sample bias.

FID is biased upwards by about c / N, with c depending on the sets (Chong and Forsyth 2020): the extrapolation to 1 / N
= 0 takes that away, so that sets of different counts can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from evaluation.features.neighbours import refuse_unfinite

if TYPE_CHECKING:
    from jaxtyping import Float

FEWEST = 16  # images for an extrapolation


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution in D dimensions, float64.

    Attributes:
        mean: (D,).
        root: R (D, D), a root of the covariance, R R' = S.
    """

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Float[np.ndarray, "count dimensions"], device: str = "cpu") -> Gaussian:
        """Fit to features.

        Args:
            features: (N, D), N at least 2.
            device: Where to compute.

        Returns:
            Mean and a root of the sample covariance (with N - 1), on `device`.

        Raises:
            ValueError: Fewer than 2 images, or features that are not finite.
        """
        refuse_unfinite(features)
        if len(features) < 2:
            raise ValueError(f"{len(features)} images where at least 2 were expected for a covariance")
        x = torch.from_numpy(np.ascontiguousarray(features)).to(device).double()
        values, vectors = torch.linalg.eigh(torch.cov(x.T).reshape(x.shape[1], x.shape[1]))
        return cls(x.mean(0), vectors * values.clamp_min(0).sqrt())


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

    Args:
        a: One distribution.
        b: The other, of as many dimensions.

    Returns:
        The distance, 0 for equal distributions; its last trace is the sum of the singular values of R1' R2.

    Reference:
        Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    overlap = torch.linalg.svdvals(a.root.T @ b.root).sum()
    spread = a.root.square().sum() + b.root.square().sum()
    return float((a.mean - b.mean).square().sum() + spread - 2 * overlap)


def fid(
    real: Float[np.ndarray, "real dimensions"],
    synthetic: Float[np.ndarray, "synthetic dimensions"],
    device: str = "cpu",
) -> float:
    """Frechet distance between two sets of features.

    Args:
        real: (N, D).
        synthetic: (M, D).
        device: Where to compute.

    Returns:
        The distance, biased upwards by about c / N, see `fid_by_count`.

    Raises:
        ValueError: Fewer than 2 images in a set.
    """
    return frechet_distance(Gaussian.of(real, device), Gaussian.of(synthetic, device))


@dataclass(frozen=True)
class Extrapolation:
    """FID against the number of images, and what it tends to.

    Attributes:
        counts: N of each point.
        values: FID at N images of each set.
        limit: FID at 1 / N = 0.
        low: Lower end of its interval.
        high: Upper end of its interval.
        slope: Of the line of FID over 1 / N.
    """

    counts: list[int]
    values: list[float]
    limit: float
    low: float
    high: float
    slope: float


def fid_by_count(
    real: Float[np.ndarray, "real dimensions"],
    synthetic: Float[np.ndarray, "synthetic dimensions"],
    points: int = 6,
    repeats: int = 3,
    seed: int = 0,
    device: str = "cpu",
) -> Extrapolation:
    """FID of random subsets, extrapolated to infinitely many images.

    Equally many images of each set are drawn, evenly spaced in 1 / N from N / 4 to N. The interval is that of the
    intercept from drawing the points anew 1000 times; it does not include the sets' own sampling. The line is right
    only if N is well above D.

    Args:
        real: (N, D).
        synthetic: (M, D).
        points: Different counts.
        repeats: Subsets of each count.
        seed: Of the subsets.
        device: Where to compute.

    Returns:
        `points` * `repeats` values from few images to many, and the line's value at 1 / N = 0 with its 95% interval.

    Raises:
        ValueError: Too few images for so many points.

    Reference:
        Chong and Forsyth 2020, arXiv:1911.07023.
    """
    largest = min(len(real), len(synthetic))
    if largest < FEWEST:
        raise ValueError(f"{largest} images in the smaller set where at least {FEWEST} were expected for a limit")
    random = np.random.default_rng(seed)
    sizes = np.rint(1 / np.linspace(4 / largest, 1 / largest, points)).astype(int)
    counts = [int(n) for n in sizes for _ in range(repeats)]
    values = []
    for n in counts:
        ours, theirs = (part[random.choice(len(part), n, replace=False)] for part in (real, synthetic))
        values.append(fid(ours, theirs, device))
    x, y = 1 / np.array(counts), np.array(values)
    slope, limit = np.polyfit(x, y, 1)
    limits: list[float] = []
    while len(limits) < 1000:
        index = random.integers(0, len(x), len(x))
        if np.ptp(x[index]) > 0:
            limits.append(float(np.polyfit(x[index], y[index], 1)[1]))
    low, high = np.quantile(limits, [0.025, 0.975])
    return Extrapolation(counts, values, float(limit), float(low), float(high), float(slope))
