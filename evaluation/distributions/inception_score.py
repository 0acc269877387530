"""Inception Score (Salimans et al. 2016): exp of the mean divergence of each image's classes from those of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from jaxtyping import Float

SPLITS = 10


def inception_score(
    logits: Float[np.ndarray, "count classes"], splits: int = SPLITS, seed: int = 0
) -> tuple[float, float]:
    """Exp of the mean divergence of each image's classes from those of all.

    It is 1 if all images are of one class or each is of all alike, and at most C. ImageNet's classes are no
    radiographs': a number for comparison with papers.

    Args:
        logits: (N, C), N at least `splits`.
        splits: Random parts.
        seed: Of the parts.

    Returns:
        Mean and standard deviation over the parts.

    Raises:
        ValueError: Fewer images than parts.

    Reference:
        Salimans et al. 2016, arXiv:1606.03498, section 4.
    """
    if len(logits) < splits:
        raise ValueError(f"{len(logits)} images where at least {splits} were expected for an Inception Score")
    order = np.random.default_rng(seed).permutation(len(logits))
    log_p = torch.from_numpy(logits[order]).double().log_softmax(dim=1)
    parts = [log_p[i * len(logits) // splits : (i + 1) * len(logits) // splits] for i in range(splits)]
    scores = [(p.exp() * (p - p.exp().mean(0).log())).sum(1).mean().exp().item() for p in parts]
    return float(np.mean(scores)), float(np.std(scores))
