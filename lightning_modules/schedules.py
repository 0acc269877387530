"""Learning rates that end with the training, so that its length stands once: in the trainer's section of the YAML."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, PolynomialLR, ReduceLROnPlateau

_length: ContextVar[Callable[[], int] | None] = ContextVar("length of the training", default=None)


class PolynomialToEnd(PolynomialLR):
    """torch's PolynomialLR over the whole training: from the optimizer's rate to zero.

    Args:
        optimizer: Whose rate it is.
        power: 1 is a straight line.
        total_iters: Steps until zero; None: as many as the training has, by the trainer's max_steps or max_epochs.

    Raises:
        ValueError: No length is given, and the trainer has none.
    """

    def __init__(self, optimizer: Optimizer, power: float = 1.0, total_iters: int | None = None) -> None:
        super().__init__(optimizer, total_iters=_steps(total_iters), power=power)


class OneCycleToEnd(OneCycleLR):
    """torch's OneCycleLR over the whole training, with the optimizer's rate as its highest.

    Args:
        optimizer: Whose rate it is.
        pct_start: The part of the training in which the rate rises.
        total_steps: Of the cycle; None: as many as the training has, by the trainer's max_steps or max_epochs.

    Raises:
        ValueError: No length is given, and the trainer has none.
    """

    def __init__(self, optimizer: Optimizer, pct_start: float = 0.3, total_steps: int | None = None) -> None:
        rate: Any = optimizer.defaults["lr"]
        super().__init__(optimizer, max_lr=rate, total_steps=_steps(total_steps), pct_start=pct_start)


def build_schedule(
    make: LRSchedulerCallable,
    optimizer: Optimizer,
    module: LightningModule,
    interval: Literal["epoch", "step"] = "step",
) -> LRScheduler | ReduceLROnPlateau:
    """The scheduler of an optimizer; one that ends with the training is told its length.

    Args:
        make: As LightningCLI gives an LRSchedulerCallable.
        optimizer: Whose rate it is.
        module: Of the training, attached to its trainer if the scheduler asks for the length.
        interval: What the scheduler is stepped by.

    Returns:
        The scheduler.
    """
    token = _length.set(lambda: training_length(module, interval))
    try:
        return make(optimizer)
    finally:
        _length.reset(token)


def training_length(module: LightningModule, interval: Literal["epoch", "step"]) -> int:
    """Epochs or batches that a module's trainer will go through.

    If two optimizers take turns, Lightning's max_steps counts the steps of both: give max_epochs there.

    Args:
        module: Attached to its trainer.
        interval: "epoch" or "step".

    Returns:
        How many.

    Raises:
        ValueError: The training has no end of that kind.
    """
    trainer = module.trainer
    length: float = trainer.estimated_stepping_batches if interval == "step" else trainer.max_epochs or -1
    if not 1 <= length < float("inf"):
        wanted = "trainer.max_epochs" if interval == "epoch" else "trainer.max_steps or trainer.max_epochs"
        raise ValueError(f"the learning rate ends with the training, which has no end: set {wanted}, or the rate's own")
    return int(length)


def _steps(given: int | None) -> int:
    if given is not None:
        return given
    length = _length.get()
    if length is None:
        raise ValueError("the length of the training is not known here: give the schedule's own")
    return length()
