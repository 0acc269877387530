"""What a suppression model is asked for must be: a batch of radiographs, and one seed an image."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

LARGEST_SEED = 2**63 - 1  # as of `radiolucent synthesize`


def check_radiograph(radiograph: Any, multiple: int) -> None:
    """Refuse what is no batch of radiographs.

    Args:
        radiograph: Expected: (B, 1, H, W) in [-1, 1], H and W divisible by `multiple`.
        multiple: What both sides must be divisible by.

    Raises:
        ValueError: It is something else; the error says what arrived.
    """
    if not torch.is_tensor(radiograph) or radiograph.ndim != 4 or radiograph.shape[1] != 1:
        what = tuple(radiograph.shape) if torch.is_tensor(radiograph) else type(radiograph).__name__
        raise ValueError(f"the radiograph is {what}; expected a tensor (B, 1, H, W) with one grey channel")
    height, width = radiograph.shape[2:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"the radiograph is {height} x {width} pixels; this model needs both divisible by {multiple}: pad it first "
            f"to multiples of {multiple}"
        )
    low, high = radiograph.aminmax()
    if not (low >= -1.001 and high <= 1.001):  # false for NaN as well
        raise ValueError(
            f"the radiograph's values run from {low:g} to {high:g}; expected finite values in [-1, 1], bones bright"
        )


def whole_seeds(seeds: Any) -> list[int]:
    """Seeds as plain integers.

    Args:
        seeds: As a caller gave them: a list, tuple, range, array or tensor.

    Returns:
        They.

    Raises:
        ValueError: It is no list, or holds something else than whole numbers from 0 to LARGEST_SEED.
    """
    try:
        given = [operator.index(seed) for seed in seeds]
    except TypeError:
        given = [-1]
    if any(not 0 <= seed <= LARGEST_SEED for seed in given):
        raise ValueError(
            f"seeds is {seeds!r}; expected a list with a whole number from 0 to {LARGEST_SEED} for each image, as [3]"
        )
    return given


def check_seeds(seeds: Sequence[int], radiograph: Tensor) -> None:
    """Check that there is one seed an image.

    Args:
        seeds: As a caller gave them.
        radiograph: (B, 1, H, W).

    Raises:
        ValueError: Their numbers differ, or see `whole_seeds`.
    """
    if len(whole_seeds(seeds)) != len(radiograph):
        raise ValueError(f"{len(seeds)} seeds for {len(radiograph)} radiographs: give one for each")
