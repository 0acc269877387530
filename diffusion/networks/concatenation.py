"""A condition's latent beside the noisy target, clean or scaled as BS-LDM's code does."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

ConditionScaling = Literal["clean", "legacy", "scaled"]


def check_condition_scaling(scaling: str) -> None:
    """Check how a condition is scaled.

    Args:
        scaling: `clean`, `legacy` or `scaled`, see `concatenate_condition`.

    Raises:
        ValueError: It is something else.
    """
    if scaling not in get_args(ConditionScaling):
        raise ValueError(f"condition_scaling is '{scaling}'; expected one of {', '.join(get_args(ConditionScaling))}")


def concatenate_condition(
    noisy: Tensor, condition: Tensor, alpha: Tensor, scaling: ConditionScaling, training: bool
) -> Tensor:
    """The U-Net's input: the noisy target and the condition side by side.

    BS-LDM's code noises target and condition together with zero noise on the condition, so that its training sees
    sqrt(alpha_bar_t) * condition while its sampling feeds the clean one.

    Args:
        noisy: The noisy target (B, C, H, W).
        condition: (B, Cc, H, W).
        alpha: What x0 is multiplied by in the noisy target, sqrt(alpha_bar_t), (B, 1, 1, 1).
        scaling: `clean` gives the condition as it is; `legacy` scales it by alpha in training only, as BS-LDM does;
            `scaled` in sampling as well, as weights trained so would want it.
        training: Whether this is a training step.

    Returns:
        (B, C + Cc, H, W).
    """
    if scaling == "scaled" or (scaling == "legacy" and training):
        condition = alpha * condition
    return torch.cat([noisy, condition], dim=1)
