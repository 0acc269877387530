"""Exponential moving average of weights, for torch.optim.swa_utils.AveragedModel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...] | list[Tensor]


def warmed_up_ema(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Moving average whose first weights are soon forgotten, as a multi_avg_fn of AveragedModel.

    At update n the decay is min(decay, (1 + n) / (10 + n)): the ramp of TensorFlow's ExponentialMovingAverage, which
    torch-ema takes over (BS-LDM: decay 0.995).

    Args:
        decay: In [0, 1), approached from below.

    Returns:
        A function (averages, parameters, number of updates so far) that updates the averages in place.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        ramp = (1 + int(updates)) / (10 + int(updates))
        torch._foreach_lerp_(averaged, current, 1 - min(decay, ramp))

    return average
