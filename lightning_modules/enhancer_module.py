"""EnhancerModule: training of BS-Diff's second stage on what its first stage drew."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from diffusion.pipelines.enhancement import enhance
from diffusion.pipelines.suppression import BoneSuppressionPipeline
from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import find_unused_parameters, own_images
from lightning_modules.vqgan_module import keep_perceptual
from vqgan.discriminator import PatchDiscriminator
from vqgan.losses import HybridLoss
from vqgan.perceptual import load_perceptual


class EnhancerModule(MeasuredModule):
    """Training of BS-Diff's second stage, on batches of "radiograph", here the first stage's images, and "soft".

    Both are (B, 1, H, W) in [-1, 1]. Trainer's max_steps counts the discriminator's steps too: give max_epochs.

    Args:
        first_stage: Folder of the BoneSuppressionPipeline that drew them; the saved pipeline is it and the enhancer.
        enhancer: The network, diffusion.build_enhancer's.
        loss: Its parts and weights (its codebook's does not count).
        discriminator: Needed if the adversarial weight is not 0.
        perceptual_weights: File (or hf://owner/name/file) of VGG-16's weights, read when a run starts and only if the
            perceptual weight is not 0.
        optimizer: Of the enhancer; AdamW at 1e-4 by default.
        discriminator_optimizer: AdamW at 5e-4 by default.
        seed: Of the latents' noise, which depends on it, the epoch and the batch's number alone.

    Raises:
        ValueError: A part is missing that the loss needs.
    """

    def __init__(
        self,
        first_stage: str,
        enhancer: AutoencoderKL,
        loss: HybridLoss,
        discriminator: PatchDiscriminator | None = None,
        perceptual_weights: str | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=1e-4),
        discriminator_optimizer: OptimizerCallable = lambda parameters: torch.optim.AdamW(parameters, lr=5e-4),
        seed: int = 0,
    ) -> None:
        super().__init__()
        if loss.adversarial_weight and discriminator is None:
            raise ValueError(
                "adversarial_weight is not 0 but there is no discriminator: give one or set the weight to 0."
            )
        if loss.perceptual_weight and loss.perceptual is None and perceptual_weights is None:
            raise ValueError("perceptual_weight is not 0: give perceptual_weights or set the weight to 0.")
        if loss.adaptive or loss.adversarial_start:
            raise ValueError(
                "the enhancer's adversarial loss counts from the first step on: no adaptive weight or start"
            )
        self.automatic_optimization = False
        self.enhancer, self.loss = enhancer, loss
        self.discriminator = discriminator if loss.adversarial_weight else None
        self.first_stage, self.perceptual_weights = first_stage, perceptual_weights
        self.optimizer, self.discriminator_optimizer, self.seed = optimizer, discriminator_optimizer, seed

    def setup(self, stage: str) -> None:
        """Check the first stage's folder, and read the perceptual network.

        Args:
            stage: Lightning's; "predict" needs no perceptual network.
        """
        if self.discriminator is not None:
            find_unused_parameters(self)
        BoneSuppressionPipeline.from_pretrained(self.first_stage)  # tells a folder that is none before the training
        if stage != "predict" and self.loss.perceptual_weight and self.loss.perceptual is None:
            self.loss.perceptual = load_perceptual(str(self.perceptual_weights))

    def pipeline(self) -> BoneSuppressionPipeline:
        """Both stages, as they stand.

        Returns:
            The first stage as it was saved, with the enhancer of this moment.
        """
        return BoneSuppressionPipeline.from_pretrained(self.first_stage, enhancer=self.enhancer)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """How the two networks learn.

        Returns:
            The enhancer's optimizer, then the discriminator's if there is one.
        """
        optimizers = [self.optimizer(self.enhancer.parameters())]
        if self.discriminator is not None:
            optimizers.append(self.discriminator_optimizer(self.discriminator.parameters()))
        return optimizers

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of the enhancer, then one of the discriminator.

        Args:
            batch: See the class.
            batch_idx: Number of the batch, which the noise depends on.
        """
        truth, critic = batch["soft"], self.discriminator
        optimizers = self.optimizers()
        generator, *others = optimizers if isinstance(optimizers, list) else [optimizers]
        seeds = [self.seed, self.global_rank, self.current_epoch, batch_idx]
        noise = torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))

        self.toggle_optimizer(generator)
        enhanced = enhance(self.enhancer, batch["radiograph"], noise)
        loss, parts = self.loss(enhanced, truth, enhanced.new_zeros(()), critic(enhanced) if critic else None)
        self._step(generator, loss)
        self.untoggle_optimizer(generator)
        if critic:
            parts["discriminator"] = self.loss.adversarial.discriminator(critic(truth), critic(enhanced.detach()))
            self._step(others[0], parts["discriminator"])
        logged = {f"train/{name}": value for name, value in parts.items() if name != "codebook"}
        self.log_step({"train/loss": loss, **logged})

    def _step(self, optimizer: LightningOptimizer | Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """Measure the enhanced images.

        Args:
            batch: See the class.
            batch_idx: Number of the batch.

        Returns:
            The enhanced images (B, 1, H, W); None if the batch only fills up a process's share.
        """
        return self._evaluate(batch, batch_idx, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor | None:
        """As `validation_step`, logged as "test".

        Args:
            batch: See the class.
            batch_idx: Number of the batch.

        Returns:
            As `validation_step`.
        """
        return self._evaluate(batch, batch_idx, "test")

    def _evaluate(self, batch: dict[str, Any], batch_idx: int, stage: str) -> Tensor | None:
        """Measure the PSNR in dB of the enhanced images beside the first stage's; the enhanced images."""
        batch, count = own_images(batch)
        if not count:
            return None
        enhanced = self.predict_step(batch, batch_idx)
        self.measure_psnr(stage, batch["soft"], psnr=enhanced, psnr_first_stage=batch["radiograph"])
        return enhanced

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Enhance a first stage's images.

        Args:
            batch: With "radiograph".
            batch_idx: Not used.

        Returns:
            (B, 1, H, W) in [-1, 1].
        """
        return enhance(self.enhancer, batch["radiograph"]).clamp(-1, 1)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The perceptual network stays this run's.

        Args:
            checkpoint: Changed in place.
        """
        keep_perceptual(self.loss, checkpoint)
