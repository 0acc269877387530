"""Conditioning by concatenation: the U-Net sees the noisy target and the radiograph's latent side by side."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

ConditionScaling = Literal["clean", "legacy", "scaled"]


def check_condition_scaling(scaling: str) -> None:
    """Raise ValueError unless `scaling` is a ConditionScaling."""
    if scaling not in get_args(ConditionScaling):
        raise ValueError(f"condition_scaling is '{scaling}'; expected one of {', '.join(get_args(ConditionScaling))}")


def concatenate_condition(
    noisy: Tensor, condition: Tensor, alpha: Tensor, scaling: ConditionScaling, training: bool
) -> Tensor:
    """The U-Net's input (B, C + Cc, H, W) from the noisy target (B, C, H, W) and the condition (B, Cc, H, W).

    alpha: what x0 is multiplied by in the noisy target, sqrt(alpha_bar_t), (B, 1, 1, 1).
    scaling: `clean` gives the condition as it is. BS-LDM's code noises target and condition together with zero noise on
    the condition, so that its training sees sqrt(alpha_bar_t) * condition while its sampling feeds the clean one:
    `legacy` reproduces that, and `scaled` scales in sampling as well, as weights trained so would want it.
    """
    if scaling == "scaled" or (scaling == "legacy" and training):
        condition = alpha * condition
    return torch.cat([noisy, condition], dim=1)
