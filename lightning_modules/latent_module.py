"""LatentModule: what the trainings of latent diffusion share: a frozen VQ-GAN, an averaged network, seeded noise."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffusion.noise import seeded_generators
from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import image_seeds
from lightning_modules.schedules import build_schedule
from vqgan.model import VQGAN


class LatentModule(MeasuredModule):
    """A subclass says what is trained and its loss, and sets these: ema, optimizer, lr_scheduler, lr_interval, seed."""

    vqgan: Any
    ema: AveragedModel
    optimizer: OptimizerCallable
    lr_scheduler: LRSchedulerCallable | None
    lr_interval: Literal["epoch", "step"]
    seed: int

    @property
    def trained(self) -> nn.Module:
        """The network that the optimizer changes; `ema` is its average."""
        raise NotImplementedError

    def _loss(self, batch: dict[str, Any], network: Any, stage: int, batch_idx: int) -> Tensor:
        """The loss () of a batch; stage 0 is training, 1 measuring."""
        raise NotImplementedError

    def keep_vqgan(self, vqgan: ModelMixin | str) -> None:
        """Keep a trained VQ-GAN, which stays as it is, or the folder that `read_vqgan` reads when a run starts."""
        self.vqgan_folder = vqgan if isinstance(vqgan, str) else None
        if not isinstance(vqgan, str):
            self.vqgan = vqgan.requires_grad_(False).eval()

    def read_vqgan(self) -> None:
        """Read the VQ-GAN if its folder was given and it has not been read yet."""
        if self.vqgan_folder is not None and not hasattr(self, "vqgan"):
            vqgan = VQGAN.from_pretrained(self.vqgan_folder, low_cpu_mem_usage=False)
            self.vqgan = vqgan.requires_grad_(False).eval()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.trained.parameters())
        if self.lr_scheduler is None:
            return optimizer
        schedule = build_schedule(self.lr_scheduler, optimizer, self, self.lr_interval)
        return [optimizer], [{"scheduler": schedule, "interval": self.lr_interval}]

    def _generators(self, batch: dict[str, Any], stage: int, batch_idx: int) -> list[torch.Generator]:
        """One for a batch of training (stage 0), one an image for measuring, which asks the same of every epoch."""
        if stage:
            return seeded_generators(image_seeds(batch, self.seed, stage))
        seeds = [self.seed, stage, self.global_rank, self.current_epoch, batch_idx]
        return seeded_generators(np.random.SeedSequence(seeds).generate_state(1).tolist())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = self._loss(batch, self.trained, 0, batch_idx)
        self.log_step({"train/loss": loss})
        return loss

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        self.ema.update_parameters(self.trained)
