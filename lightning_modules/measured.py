"""MeasuredModule: what all our LightningModules log, the same on one process and on several."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, distributed
from torchmetrics.functional.image import peak_signal_noise_ratio

from diffusion.finite import broken_tensors
from lightning_modules.processes import Means

SHOWN = ("loss", "psnr")  # beside the progress bar


def refuse_diverged(trainer: Trainer, module: LightningModule) -> None:
    """End a training whose weights are no longer finite numbers.

    Args:
        trainer: For the epoch and step, in the message.
        module: The weights, with their averages.

    Raises:
        ValueError: Some weight is not finite.
    """
    broken = broken_tensors(module)
    if broken:
        raise ValueError(
            f"the training has diverged: at epoch {trainer.current_epoch}, step {trainer.global_step}, {len(broken)} "
            f"tensors hold values that are not finite numbers, such as {broken[0]}; the checkpoints and folders written"
            " before are kept: resume from one with --ckpt_path and a lower learning rate, gradients clipped, or "
            "trainer.precision 32"
        )


class MeasuredModule(LightningModule):
    """A LightningModule whose measurements are means over all images of all processes.

    A validation or test step gives its own to `means.add("val/...", mean, count)`; they are logged when it is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.means = Means()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to write over a good checkpoint with weights that are not finite.

        Args:
            checkpoint: Lightning's, to which subclasses add.

        Raises:
            ValueError: The training has diverged; see `refuse_diverged`.
        """
        refuse_diverged(self.trainer, self)

    def on_validation_epoch_end(self) -> None:
        """Log the means of all images."""
        self._log_means()

    def on_test_epoch_end(self) -> None:
        """Log the means of all images."""
        self._log_means()

    def _log_means(self) -> None:
        for name, value in self.means.collect().items():
            self.log(name, value, prog_bar=name.rpartition("/")[2] in SHOWN, sync_dist=True)

    def measure_psnr(self, stage: str, truth: Tensor, **images: Tensor) -> None:
        """Take in the PSNR in dB of each image, all of which count, as "STAGE/NAME".

        Args:
            stage: "val" or "test".
            truth: (B, 1, H, W) in [-1, 1].
            **images: By name, (B, 1, H, W) in [-1, 1].
        """
        for name, image in images.items():
            psnr = peak_signal_noise_ratio(image.float(), truth.float(), data_range=2.0, dim=(1, 2, 3))
            self.means.add(f"{stage}/{name}", psnr, len(image))

    def log_step(self, values: dict[str, Tensor]) -> None:
        """Log a training step's values, each the mean over all processes; in one exchange, and without waiting.

        Args:
            values: Scalars by name.
        """
        if distributed.is_available() and distributed.is_initialized():
            means = torch.stack([value.detach().float() for value in values.values()])
            distributed.all_reduce(means)
            values = dict(zip(values, means / distributed.get_world_size()))
        for name, value in values.items():
            self.log(name, value.detach(), prog_bar=name == "train/loss")
