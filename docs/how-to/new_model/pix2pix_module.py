"""Training of a Pix2PixPipeline: what a YAML names and a Trainer runs. Wiring only."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from pix2pix import Generator, Pix2PixPipeline
from torch import Tensor

from lightning_modules.measured import MeasuredModule
from vqgan import LeastSquares, PatchDiscriminator


class Pix2PixModule(MeasuredModule):
    """Batches are those of PairDataModule or CTPairDataModule: "radiograph" and "soft", (B, 1, H, W) in [-1, 1].

    Args:
        generator: Predicts the bone.
        discriminator: Of 2 channels: the radiograph, and a soft-tissue image of it.
        image_size: Side in pixels of the batches' images.
        l1_weight: Of the mean absolute error beside the adversarial loss.
        optimizer: Of both networks.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: PatchDiscriminator,
        image_size: int = 256,
        l1_weight: float = 100.0,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999)),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # two networks take turns
        self.generator, self.discriminator = generator, discriminator
        self.image_size, self.l1_weight, self.optimizer = image_size, l1_weight, optimizer
        self.adversarial = LeastSquares()

    def pipeline(self) -> Pix2PixPipeline:
        """The model as it stands; `FolderExport` saves it."""
        return Pix2PixPipeline(self.generator, self.image_size)

    def configure_optimizers(self) -> Any:
        return self.optimizer(self.generator.parameters()), self.optimizer(self.discriminator.parameters())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        radiograph, soft = batch["radiograph"], batch["soft"]
        of_generator, of_discriminator = self.optimizers()  # type: ignore[misc]
        drawn = radiograph - self.generator(radiograph)

        real = self.discriminator(torch.cat([radiograph, soft], dim=1))
        fake = self.discriminator(torch.cat([radiograph, drawn.detach()], dim=1))
        told_apart = self.adversarial.discriminator(real, fake)
        self._step(of_discriminator, told_apart)

        fake = self.discriminator(torch.cat([radiograph, drawn], dim=1))
        loss = self.adversarial.generator(fake) + self.l1_weight * (drawn - soft).abs().mean()
        self._step(of_generator, loss)
        self.log_step({"train/loss": loss, "train/discriminator": told_apart})

    def _step(self, optimizer: Any, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        drawn = self.predict_step(batch, batch_idx)
        self.measure_psnr("val", batch["soft"], psnr=drawn)
        return drawn

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Soft tissue (B, 1, H, W) in [-1, 1]."""
        return self.pipeline()(batch["radiograph"]).soft
