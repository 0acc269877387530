"""VQGANModule: training of a VQ-GAN and its discriminator on radiographs and soft-tissue images together."""

from __future__ import annotations

from typing import Any, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from lightning_modules.measured import MeasuredModule
from lightning_modules.processes import Spread, find_unused_parameters, of_all_processes, own_images
from lightning_modules.schedules import build_schedule
from vqgan.discriminator import PatchDiscriminator
from vqgan.losses import HybridLoss
from vqgan.model import VQGAN
from vqgan.perceptual import load_perceptual
from vqgan.quantizer import codebook_statistics, count_statistics

PERCEPTUAL = "loss.perceptual."


def keep_perceptual(loss: HybridLoss, checkpoint: dict[str, Any]) -> None:
    """Give a checkpoint that is being read the perceptual network that is there, or none: it has a file of its own.

    Args:
        loss: Of the module.
        checkpoint: Changed in place.
    """
    state = {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith(PERCEPTUAL)}
    own = {} if loss.perceptual is None else loss.perceptual.state_dict()
    checkpoint["state_dict"] = state | {f"{PERCEPTUAL}{name}": value for name, value in own.items()}


class VQGANModule(MeasuredModule):
    """Training of a VQ-GAN, on batches of "radiograph" and "soft", (B, 1, H, W) in [-1, 1].

    One update takes all 2B images.

    Logs every loss part, the codebook's perplexity and used fraction, and on validation the PSNR in dB. Validation sets
    vqgan.config.scaling_factor to 1 / the standard deviation of all its latents. Trainer's max_steps counts the
    discriminator's steps too: give max_epochs.

    Args:
        vqgan: The network.
        loss: Its parts and weights.
        discriminator: Needed if the adversarial weight is not 0.
        perceptual_weights: File (or hf://owner/name/file) of VGG-16's weights, read when a run starts and only if the
            perceptual weight is not 0.
        optimizer: Of the VQ-GAN; Adam at 1e-4 by default.
        discriminator_optimizer: Adam at 5e-4 by default.
        scheduler: Of the VQ-GAN's learning rate, stepped each update; null: constant.
        gradient_clip: Largest norm of each network's gradient; null for none (Trainer's own is for automatic
            optimisation).
        channels_last: Keep weights and features in that memory format.
        compile: Let torch.compile translate encoder and decoder; checkpoints and folders stay as they are. Not with an
            adaptive adversarial weight, which runs the decoder backwards more than once.

    Raises:
        ValueError: A part is missing that the loss needs, or options exclude each other.
    """

    updates: Tensor

    def __init__(
        self,
        vqgan: VQGAN,
        loss: HybridLoss,
        discriminator: PatchDiscriminator | None = None,
        perceptual_weights: str | None = None,
        optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=1e-4),
        discriminator_optimizer: OptimizerCallable = lambda parameters: torch.optim.Adam(parameters, lr=5e-4),
        scheduler: LRSchedulerCallable | None = None,
        gradient_clip: float | None = 1.0,
        channels_last: bool = False,
        compile: bool = False,
    ) -> None:
        super().__init__()
        if loss.adversarial_weight and discriminator is None:
            raise ValueError(
                "adversarial_weight is not 0 but there is no discriminator: give one or set the weight to 0."
            )
        if loss.perceptual_weight and loss.perceptual is None and perceptual_weights is None:
            raise ValueError("perceptual_weight is not 0: give perceptual_weights or set the weight to 0.")
        if compile and loss.adversarial_weight and loss.adaptive:
            raise ValueError(
                "compile does not go with the adaptive adversarial weight, which runs the decoder backwards more than "
                "once: set compile or adaptive to false."
            )
        self.automatic_optimization = False
        self.vqgan, self.loss = vqgan, loss
        self.discriminator = discriminator if loss.adversarial_weight else None
        self.perceptual_weights = perceptual_weights
        self.optimizer, self.discriminator_optimizer, self.scheduler = optimizer, discriminator_optimizer, scheduler
        self.gradient_clip, self.channels_last, self.compiled = gradient_clip, channels_last, compile
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))  # decides the end of the warm-up
        self.spread, self.codes = Spread(), torch.zeros(vqgan.quantizer.n_e, dtype=torch.long)  # of those measured

    def setup(self, stage: str) -> None:
        """Read the perceptual network, and prepare the networks.

        Args:
            stage: Lightning's; "predict" needs no perceptual network, and only "fit" compiles.
        """
        if self.discriminator is not None:
            find_unused_parameters(self)
        if stage != "predict" and self.loss.perceptual_weight and self.loss.perceptual is None:
            self.loss.perceptual = load_perceptual(str(self.perceptual_weights))
        if self.channels_last:
            self.to(memory_format=torch.channels_last)
        if self.compiled and stage == "fit":
            self.vqgan.encoder.compile()
            self.vqgan.decoder.compile()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """How the two networks learn.

        Returns:
            The VQ-GAN's optimizer, then the discriminator's if there is one; and the schedule of the first, if any.
        """
        optimizers = [self.optimizer(self.vqgan.parameters())]
        if self.discriminator is not None:
            optimizers.append(self.discriminator_optimizer(self.discriminator.parameters()))
        return optimizers, [build_schedule(self.scheduler, optimizers[0], self)] if self.scheduler else []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """One update of the VQ-GAN, then one of the discriminator.

        Args:
            batch: See the class.
            batch_idx: Not used.
        """
        images = torch.cat([batch["radiograph"], batch["soft"]])
        critic = self.discriminator if self.loss.is_adversarial(int(self.updates)) else None
        optimizers = self.optimizers()
        generator, *others = optimizers if isinstance(optimizers, list) else [optimizers]

        self.toggle_optimizer(generator)
        reconstruction, codebook_loss, indices = self.vqgan(images)
        fake = critic(reconstruction) if critic else None
        loss, parts = self.loss(reconstruction, images, codebook_loss, fake, self.vqgan.decoder.last_layer)
        self._step(generator, loss)
        self.untoggle_optimizer(generator)
        if self.scheduler:
            self.lr_schedulers().step()  # type: ignore[union-attr, call-arg]

        if critic:
            real, fake = critic(images), critic(reconstruction.detach())
            parts["discriminator"] = self.loss.adversarial.discriminator(real.float(), fake.float())
            self._step(others[0], parts["discriminator"])
        self.updates.add_(1)
        parts["perplexity"], parts["codebook_usage"] = codebook_statistics(indices, self.vqgan.quantizer.n_e)
        self.log_step({"train/loss": loss, **{f"train/{name}": value for name, value in parts.items()}})

    def _step(self, optimizer: LightningOptimizer | Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        self.manual_backward(loss)
        self.clip_gradients(
            cast(Optimizer, optimizer), gradient_clip_val=self.gradient_clip, gradient_clip_algorithm="norm"
        )
        optimizer.step()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Measure reconstructions and the use of the codebook.

        Args:
            batch: See the class.
            batch_idx: Not used.
        """
        self._measure(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """As `validation_step`, logged as "test".

        Args:
            batch: See the class.
            batch_idx: Not used.
        """
        self._measure(batch, "test")

    def _measure(self, batch: dict[str, Any], stage: str) -> None:
        batch, count = own_images(batch)
        if not count:
            return
        images = torch.cat([batch["radiograph"], batch["soft"]])
        z = self.vqgan.encode(images)
        z_q, codebook_loss, indices = self.vqgan.quantize(z)
        reconstruction = self.vqgan.decode(z_q).float()
        _, parts = self.loss(reconstruction, images, codebook_loss)
        for name, value in parts.items():
            self.means.add(f"{stage}/{name}", value, count)
        self.measure_psnr(stage, images, psnr=reconstruction)
        self.spread.add(z.float())
        self.codes += torch.bincount(indices.flatten(), minlength=len(self.codes)).cpu()

    def on_validation_epoch_end(self) -> None:
        """Log what was measured, and set the latents' scale."""
        super().on_validation_epoch_end()
        self.vqgan.register_to_config(scaling_factor=1 / max(self._log_codes("val"), 1e-6))

    def on_test_epoch_end(self) -> None:
        """Log what was measured."""
        super().on_test_epoch_end()
        self._log_codes("test")

    def _log_codes(self, stage: str) -> float:
        """Log the codebook's perplexity, its used fraction and the latents' deviation over all images; the latter."""
        perplexity, usage = count_statistics(torch.stack(of_all_processes(self.codes)).sum(0))
        self.codes, deviation = torch.zeros_like(self.codes), self.spread.collect()
        values: dict[str, Any] = {"perplexity": perplexity, "codebook_usage": usage, "latent_deviation": deviation}
        self.log_dict({f"{stage}/{name}": value for name, value in values.items()}, sync_dist=True)
        return deviation

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Reconstruct radiographs.

        Args:
            batch: With "radiograph".
            batch_idx: Not used.

        Returns:
            (B, 1, H, W), about [-1, 1] but not clipped.
        """
        return self.vqgan(batch["radiograph"])[0]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the latents' scale too.

        Args:
            checkpoint: Takes it.
        """
        super().on_save_checkpoint(checkpoint)
        checkpoint["scaling_factor"] = self.vqgan.config["scaling_factor"]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the latents' scale; the perceptual network stays this run's.

        Args:
            checkpoint: Changed in place.
        """
        if "scaling_factor" in checkpoint:  # not in earlier versions'
            self.vqgan.register_to_config(scaling_factor=checkpoint["scaling_factor"])
        keep_perceptual(self.loss, checkpoint)
