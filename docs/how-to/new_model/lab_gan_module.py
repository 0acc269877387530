"""Training of a GanPipeline: what a YAML names and a Trainer runs. Wiring only."""

from __future__ import annotations

from typing import Any

import torch
from lab_gan_pipeline import GanPipeline, Generator
from torch import Tensor, nn

from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import own_images


class GanModule(MeasuredModule):
    """Batches are those of PairDataModule: "radiograph" and "soft", (B, 1, S, S) in [-1, 1].

    Args:
        generator: Predicts the bone.
        image_size: Side S in pixels of the batches' images.
        adversarial_weight: Of the critic's opinion beside the mean absolute error.
        lr: Learning rate of both networks.
    """

    def __init__(self, generator: Generator, image_size: int, adversarial_weight: float = 0.01, lr: float = 2e-3):
        super().__init__()
        self.automatic_optimization = False  # two networks take turns
        self.generator, self.image_size, self.lr = generator, image_size, lr
        self.adversarial_weight = adversarial_weight
        self.critic = nn.Sequential(nn.Conv2d(1, 8, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, 2, 1))

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=self.lr) for part in (self.generator, self.critic)]

    def pipeline(self) -> GanPipeline:
        """The model as it stands; `FolderExport` saves it."""
        return GanPipeline(self.generator, self.image_size)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        generator, critic = self.optimizers()
        soft = batch["radiograph"] - self.generator(batch["radiograph"])
        loss = (soft - batch["soft"]).abs().mean() + self.adversarial_weight * (self.critic(soft) - 1).square().mean()
        generator.zero_grad()
        self.manual_backward(loss)
        generator.step()
        wrong = (self.critic(batch["soft"]) - 1).square().mean() + self.critic(soft.detach()).square().mean()
        critic.zero_grad()
        self.manual_backward(wrong)
        critic.step()
        self.log_step({"train/loss": loss, "train/critic": wrong})

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        batch, count = own_images(batch)
        if not count:
            return None
        soft = self.predict_step(batch, batch_idx)
        self.measure_psnr("val", batch["soft"], psnr=soft)
        return soft

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Soft tissue (B, 1, S, S) in [-1, 1]."""
        return self.pipeline()(batch["radiograph"]).soft
