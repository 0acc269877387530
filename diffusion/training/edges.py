"""The loss on edges that are left over."""

from __future__ import annotations

from torch import Tensor


def edge_loss(error: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels: left-over edges of ribs.

    Args:
        error: (B, 1, H, W).

    Returns:
        A scalar.
    """
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
