"""Nearest neighbours by blocked matrix products.

Memory: both sets in float32, the second one twice (once centred, on the device), and two blocks of distances. 75,000
images against 240,000 with 2048 features need 0.6 + 2 x 2.0 GB and, with blocks of 1024 rows, 2.0 GB. A tenth of each
(7,500 against 24,000) took 0.41 GB beside the two sets, 0.40 by this count, and 9 s of one core's time; the whole is a
hundred times as much work: a quarter of an hour on one core.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Float64, Int64

BLOCK = 1024


def refuse_unfinite(*features: np.ndarray) -> None:
    """Refuse features of which a distance would say anything or nothing: NaN is near to no image.

    Args:
        *features: Sets of them, each (N, D).

    Raises:
        ValueError: Values that are not finite, of how many images.
    """
    for x in features:
        bad = int((~np.isfinite(x).reshape(len(x), -1).all(axis=1)).sum())
        if bad:
            raise ValueError(f"the features of {bad} of {len(x)} images are not finite numbers: leave these images out")


def _tensor(x: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)


def squared_distances(
    a: Float[np.ndarray, "count dimensions"], b: Float[np.ndarray, "others dimensions"], device: str = "cpu"
) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances between two sets, in blocks of rows.

    Both are centred on b's mean first, since |a|^2 + |b|^2 - 2 a'b loses digits far from the origin.

    Args:
        a: (N, D).
        b: (M, D).
        device: Where to compute.

    Yields:
        A slice of a's rows, and their distances (rows, M), float32.

    Raises:
        ValueError: Features of different lengths, or that are not finite.
    """
    refuse_unfinite(a, b)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features of shapes {a.shape} and {b.shape} where (N, D) and (M, D) were expected")
    centre = b.mean(axis=0, dtype=np.float64).astype(np.float32)
    targets = _tensor(b - centre, device)
    norms = targets.square().sum(1)
    for start in range(0, len(a), BLOCK):
        rows = slice(start, min(start + BLOCK, len(a)))
        block = _tensor(a[rows] - centre, device)
        squared = torch.addmm(norms, block, targets.T, alpha=-2).add_(block.square().sum(1, keepdim=True))
        yield rows, squared.clamp_min_(0)


def nearest(
    a: Float[np.ndarray, "count dimensions"],
    b: Float[np.ndarray, "others dimensions"],
    k: int = 1,
    device: str = "cpu",
    itself: bool = False,
) -> tuple[Float64[np.ndarray, "count k"], Int64[np.ndarray, "count k"]]:
    """The k nearest rows of b for each row of a.

    Args:
        a: (N, D).
        b: (M, D).
        k: At most M, or M - 1 if `itself`.
        device: Where to compute.
        itself: a and b are the same set, and a row is not its own neighbour.

    Returns:
        Distances float64 (N, k), recomputed exactly, and indices (N, k).

    Raises:
        ValueError: Fewer than k rows in b.
    """
    if k > len(b) - itself:
        raise ValueError(f"{k} neighbours asked for in a set of {len(b)}")
    indices = np.empty((len(a), k), np.int64)
    for rows, squared in squared_distances(a, b, device):
        if itself:
            squared[torch.arange(len(squared)), torch.arange(rows.start, rows.stop)] = torch.inf
        indices[rows] = squared.topk(k, largest=False).indices.cpu().numpy()
    distances = np.empty((len(a), k))
    for start in range(0, len(a), BLOCK):
        rows = slice(start, start + BLOCK)
        difference = a[rows, None].astype(np.float64) - b[indices[rows]]
        distances[rows] = np.sqrt(np.square(difference).sum(-1))
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)
