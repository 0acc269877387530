"""AveragedModule: a network that is trained, and beside it the moving average of its weights, which is used."""

from __future__ import annotations

from typing import Any, Literal

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import nn
from torch.optim.swa_utils import AveragedModel

from diffusion.training.ema import warmed_up_ema
from lightning_modules.measured import MeasuredModule
from lightning_modules.schedules import build_schedule


class AveragedModule(MeasuredModule):
    """A subclass says what is trained, and calls `average` and `learn_by` in its __init__.

    Attributes:
        ema: The average of `trained`, which validation, prediction and the pipeline use.
    """

    ema: AveragedModel
    optimizer: OptimizerCallable
    lr_scheduler: LRSchedulerCallable | None
    lr_interval: Literal["epoch", "step"]

    @property
    def trained(self) -> nn.Module:
        """The network that the optimizer changes; `ema` is its average."""
        raise NotImplementedError

    def average(self, decay: float) -> None:
        """Begin the average of `trained`.

        Args:
            decay: See diffusion.training.ema.
        """
        average = AveragedModel(self.trained, multi_avg_fn=warmed_up_ema(decay))
        self.ema = average.requires_grad_(False).eval()

    def learn_by(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        lr_interval: Literal["epoch", "step"] = "step",
    ) -> None:
        """Keep how `trained` learns.

        Args:
            optimizer: Parameters to their optimizer.
            lr_scheduler: Of its rate; None: constant.
            lr_interval: What the schedule is stepped by.
        """
        self.optimizer, self.lr_scheduler, self.lr_interval = optimizer, lr_scheduler, lr_interval

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """How `trained` learns.

        Returns:
            Its optimizer, or, as Lightning takes it, the optimizer with its schedule.
        """
        optimizer = self.optimizer(self.trained.parameters())
        if self.lr_scheduler is None:
            return optimizer
        schedule = build_schedule(self.lr_scheduler, optimizer, self, self.lr_interval)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self.lr_interval}}

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """Update the average after every step.

        Args:
            *args: As Lightning gives them.
            **options: As Lightning gives them.
        """
        super().optimizer_step(*args, **options)
        self.ema.update_parameters(self.trained)
