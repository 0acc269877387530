"""MeasuredModule: what all our LightningModules log, the same on one process and on several."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, distributed
from torchmetrics.functional.image import peak_signal_noise_ratio

from lightning_modules.processes import Means

SHOWN = ("loss", "psnr")  # beside the progress bar


class MeasuredModule(LightningModule):
    """A LightningModule whose measurements are means over all images of all processes.

    A validation or test step gives its own to `means.add("val/...", mean, count)`; they are logged when it is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.means = Means()

    def on_validation_epoch_end(self) -> None:
        self._log_means()

    def on_test_epoch_end(self) -> None:
        self._log_means()

    def _log_means(self) -> None:
        for name, value in self.means.collect().items():
            self.log(name, value, prog_bar=name.rpartition("/")[2] in SHOWN, sync_dist=True)

    def measure_psnr(self, stage: str, truth: Tensor, **images: Tensor) -> None:
        """Take in the PSNR in dB of each of `images` (B, 1, H, W) in [-1, 1], all of which count, as "STAGE/NAME"."""
        for name, image in images.items():
            psnr = peak_signal_noise_ratio(image.float(), truth.float(), data_range=2.0, dim=(1, 2, 3))
            self.means.add(f"{stage}/{name}", psnr, len(image))

    def log_step(self, values: dict[str, Tensor]) -> None:
        """Log a training step's values (), each the mean over all processes; in one exchange, and without waiting."""
        if self.trainer.world_size > 1:
            means = torch.stack([value.detach().float() for value in values.values()])
            distributed.all_reduce(means)
            values = dict(zip(values, means / self.trainer.world_size))
        for name, value in values.items():
            self.log(name, value.detach(), prog_bar=name == "train/loss")
