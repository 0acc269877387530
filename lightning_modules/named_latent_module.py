"""NamedLatentModule: images that are known by name as latents, their scale, and what a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffusion.latents import Latent, encode
from lightning_modules.latent_module import LatentModule
from radiographs.vocabulary import VIEWS

UNSAVED_SIZE = 512  # of checkpoints that do not say it: the default of earlier versions


class NamedLatentModule(LatentModule):
    """A subclass sets the attributes in its __init__.

    Attributes:
        latent: `quantized` or `continuous`, see diffusion.latents.
        image_size: Side S of the images in pixels; None: as the first batch has it.
        trained_views: Views that training has images of; None: the data do not say.
        cache: {name: latent}, float16 in the CPU's memory; None: they are encoded each time.
    """

    latent: Latent
    image_size: int | None
    trained_views: list[str] | None
    cache: dict[str, Tensor] | None

    @torch.no_grad()
    def latents(self, images: Tensor, names: Sequence[str]) -> Tensor:
        """Scaled latents of images that are known by name.

        Args:
            images: (B, 1, S, S) in [-1, 1].
            names: One an image, for the cache.

        Returns:
            (B, C, h, w), float32.

        Raises:
            ValueError: Another size than `image_size`.
        """
        if self.image_size is None:
            self.image_size = images.shape[-1]
        if images.shape[-2:] != (self.image_size, self.image_size):
            raise ValueError(
                f"the images are {images.shape[-2]} x {images.shape[-1]} and image_size is {self.image_size}: make the "
                "model's image_size the data's"
            )
        if self.cache is None:
            return encode(self.vqgan, images, self.latent).float()
        missing = [i for i, name in enumerate(names) if name not in self.cache]
        if missing:
            new = encode(self.vqgan, images[missing], self.latent).half().cpu()
            self.cache.update(zip([names[i] for i in missing], new))
        return torch.stack([self.cache[name] for name in names]).to(self.device).float()

    def _measure_latents(self, batch: dict[str, Any]) -> None:
        self.unit_latents(self.latents(batch["radiograph"], batch["name"]))
        if self.cache is not None:
            self.cache.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the latents' scale, the images' size and the views too.

        Args:
            checkpoint: Takes them.
        """
        super().on_save_checkpoint(checkpoint)
        checkpoint["scaling_factor"] = self.vqgan.config.scaling_factor
        checkpoint["image_size"] = self.image_size
        checkpoint["trained_views"] = self.trained_views

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over the latents' scale, the images' size if it was not given, and the views; new data may add some.

        Args:
            checkpoint: As `on_save_checkpoint` made it.
        """
        self.vqgan.register_to_config(scaling_factor=checkpoint["scaling_factor"])
        if self.image_size is None:
            self.image_size = checkpoint.get("image_size", UNSAVED_SIZE)
        before = checkpoint.get("trained_views")  # an earlier version did not record them: any may have been there
        known = None if before is None else {*before, *(self.trained_views or ())}
        self.trained_views = None if known is None else [view for view in VIEWS if view in known]
        self.measured = True
