"""LatentModule: what the trainings of latent diffusion share: a frozen VQ-GAN, latents of unit scale, seeded noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from diffusion.contracts import AutoencoderModel
from diffusion.noise import seeded_generators
from lightning_modules.averaged import AveragedModule
from lightning_modules.processes import Spread, among_first, image_seeds, own_images, unit_scale
from vqgan.model import VQGAN


class LatentModule(AveragedModule):
    """A subclass says what is trained and its loss, and how a batch's latents are measured.

    Attributes:
        vqgan: The autoencoder, which stays as it is.
        measured: Whether the latents' scale is set.
        validation_images: How many images, the first ones, validation samples.
        seed: Of noise, times and whatever else is drawn.
    """

    vqgan: AutoencoderModel
    measured: bool
    validation_images: int
    seed: int

    def _loss(self, batch: dict[str, Any], network: Any, stage: int, batch_idx: int) -> Tensor:
        """The loss () of a batch; stage 0 is training, 1 measuring."""
        raise NotImplementedError

    def _measure_latents(self, batch: dict[str, Any]) -> None:
        """Set the latents' scale by the first batch, with `unit_latents`."""
        raise NotImplementedError

    def _judge(self, stage: str, batch: dict[str, Any], sampled: Tensor) -> None:
        """Measure the images (B, 1, H, W) that were sampled for a batch; by default nothing."""

    def keep_vqgan(self, vqgan: ModelMixin | str) -> None:
        """Keep a trained VQ-GAN, which stays as it is.

        Args:
            vqgan: The model, or the folder that `read_vqgan` reads when a run starts.
        """
        self.vqgan_folder = vqgan if isinstance(vqgan, str) else None
        if not isinstance(vqgan, str):
            self.vqgan = vqgan.requires_grad_(False).eval()

    def read_vqgan(self) -> None:
        """Read the VQ-GAN if its folder was given and it has not been read yet."""
        if self.vqgan_folder is not None and not hasattr(self, "vqgan"):
            vqgan = VQGAN.from_pretrained(self.vqgan_folder, low_cpu_mem_usage=False)
            self.vqgan = vqgan.requires_grad_(False).eval()

    def unit_latents(self, *latents: Tensor) -> float:
        """Set vqgan.config.scaling_factor so that latents have standard deviation 1, over all processes.

        Args:
            *latents: Scaled by the present factor, of any shape.

        Returns:
            Their standard deviation under the present factor.

        Raises:
            ValueError: They are all the same, or not finite.

        Reference:
            Rombach et al., arXiv:2112.10752, appendix G.
        """
        spread = Spread()
        for latent in latents:
            spread.add(latent)
        deviation = spread.collect()
        self.vqgan.register_to_config(scaling_factor=unit_scale(self.vqgan.config.scaling_factor, deviation))
        self.measured = True
        return deviation

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure the latents' scale by the first batch of all.

        Args:
            batch: As the subclass takes it.
            batch_idx: Not used.
        """
        if not self.measured:
            self._measure_latents(batch)

    def _generators(self, batch: dict[str, Any], stage: int, batch_idx: int) -> list[torch.Generator]:
        """One for a batch of training (stage 0), one an image for measuring, which asks the same of every epoch."""
        if stage:
            return seeded_generators(image_seeds(batch, self.seed, stage))
        seeds = [self.seed, stage, self.global_rank, self.current_epoch, batch_idx]
        return seeded_generators(np.random.SeedSequence(seeds).generate_state(1).tolist())

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """The loss of a batch.

        Args:
            batch: As the subclass takes it.
            batch_idx: Number of the batch, which the noise depends on.

        Returns:
            A scalar.
        """
        loss = self._loss(batch, self.trained, 0, batch_idx)
        self.log_step({"train/loss": loss})
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Measure the averaged network, and sample the first images of all.

        Args:
            batch: As the subclass takes it.
            batch_idx: Number of the batch.

        Returns:
            What was sampled, (N, 1, H, W); None if none of the batch is among those images.
        """
        return self._evaluate(batch, batch_idx, "val", self.validation_images)

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Measure the averaged network on all images, which are sampled too.

        Args:
            batch: As the subclass takes it.
            batch_idx: Number of the batch.

        Returns:
            What was sampled, (B, 1, H, W); None if the batch only fills up a process's share.
        """
        return self._evaluate(batch, batch_idx, "test", None)

    def _evaluate(self, batch: dict[str, Any], batch_idx: int, stage: str, images: int | None) -> Tensor | None:
        """Measure the averaged network's loss, and sample the first `images` (None: all), which are returned."""
        batch, count = own_images(batch)
        if not count:
            return None
        self.means.add(f"{stage}/loss", self._loss(batch, self.ema.module, 1, batch_idx), count)
        sampled = count if images is None else among_first(batch, batch_idx, images)
        if not sampled:
            return None
        first = {key: value[:sampled] for key, value in batch.items()}
        predicted = self.predict_step(first, batch_idx)
        self._judge(stage, first, predicted)
        return predicted
