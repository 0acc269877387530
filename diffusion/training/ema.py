"""Exponential moving average of weights, for torch.optim.swa_utils.AveragedModel."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...] | list[Tensor]


def warmed_up_ema(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """multi_avg_fn with decay min(decay, (1 + n) / (10 + n)) at update n, so that the first weights are soon forgotten.

    The ramp is that of TensorFlow's ExponentialMovingAverage, which torch-ema (BS-LDM: decay 0.995) takes over.
    """

    @torch.no_grad()
    def average(averaged: Tensors, current: Tensors, updates: Tensor | int) -> None:
        ramp = (1 + int(updates)) / (10 + int(updates))
        torch._foreach_lerp_(averaged, current, 1 - min(decay, ramp))

    return average
