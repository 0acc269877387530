"""PairLatentModule: radiographs and soft tissue as latents, their scales, and what a checkpoint keeps of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffusion.latents import Latent, encode_pairs
from diffusion.networks.local_contrast import to_local_pair
from lightning_modules.data.latent_cache import LatentCache
from lightning_modules.latent_module import LatentModule
from lightning_modules.processes import Spread


class PairLatentModule(LatentModule):
    """A subclass sets the attributes in its __init__.

    Attributes:
        latent: `quantized` or `continuous`, see diffusion.latents.
        contrast_sigma: Width in pixels of what is local, if networks see local contrast; None: images as they are.
        residual_scale: What the difference of a pair's latents is multiplied by, so that its deviation is 1.
        trained_size: Longest side of the training images in pixels; None before there were any.
        cache: Of the latents of named pairs; None: they are encoded each time.
        channels_last: Whether weights lie in that memory format.
    """

    latent: Latent
    contrast_sigma: float | None
    residual_scale: float
    trained_size: int | None
    cache: LatentCache | None
    channels_last: bool

    @torch.no_grad()
    def latents(self, batch: dict[str, Any], mirrored: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The scaled latents of a batch's pairs.

        Args:
            batch: With "radiograph" and "soft", and "name" if latents are cached.
            mirrored: (B,) bool, of which pairs the mirror image is meant; None: of none.

        Returns:
            Of radiographs and of soft tissue, each (B, C, h, w), float32.
        """
        radiograph, soft = batch["radiograph"], batch["soft"]
        if self.contrast_sigma is not None:
            radiograph, soft = to_local_pair(radiograph, soft, self.contrast_sigma)
        mirrored = torch.zeros(len(radiograph), dtype=torch.bool) if mirrored is None else mirrored

        def encode(rows: Tensor) -> Tensor:
            return encode_pairs(self.vqgan, radiograph[rows], soft[rows], self.latent, mirrored[rows])

        if self.cache is None:
            pairs = encode(torch.arange(len(radiograph)))
        else:
            pairs = self.cache(batch["name"], mirrored, encode).to(self.device)
        return pairs[:, 0], pairs[:, 1]

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Note the images' size, and measure the latents' scale by the first batch of all.

        Args:
            batch: With "radiograph", "soft" and "name".
            batch_idx: Not used.
        """
        self.trained_size = max(batch["radiograph"].shape[-2:])
        super().on_train_batch_start(batch, batch_idx)

    def _measure_latents(self, batch: dict[str, Any]) -> None:
        condition, soft = self.latents(batch)
        difference = Spread()
        difference.add(condition - soft)
        self.residual_scale = self.unit_latents(condition, soft) / max(difference.collect(), 1e-6)
        if self.cache is not None:
            self.cache.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the latents' scales and the images' size too.

        Args:
            checkpoint: Takes them.
        """
        super().on_save_checkpoint(checkpoint)
        scale = self.vqgan.config.scaling_factor
        checkpoint["latents"] = {"scaling_factor": scale, "residual_scale": self.residual_scale}
        checkpoint["trained_size"] = self.trained_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the latents' scales and the images' size.

        Args:
            checkpoint: The optimizers' state in it is laid out anew, in place.
        """
        self.vqgan.register_to_config(scaling_factor=checkpoint["latents"]["scaling_factor"])
        self.residual_scale, self.measured = checkpoint["latents"]["residual_scale"], True
        self.trained_size = checkpoint.get("trained_size")  # not in earlier versions'
        # Fused optimisers walk through memory, so their state must lie there as this run's weights do.
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        for optimizer in checkpoint.get("optimizer_states", []):
            for state in optimizer["state"].values():
                state.update({k: v.to(memory_format=memory_format) for k, v in state.items() if v.ndim == 4})
