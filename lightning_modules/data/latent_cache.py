"""Latents that are encoded once and kept, for data whose images stay the same from epoch to epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor


def refuse_random_images(data: LightningDataModule | None) -> None:
    """Refuse data whose images change from epoch to epoch.

    A cached latent is of the image that was seen first, so augmentation would be lost without a word.

    Args:
        data: A DataModule, which says by `transform` None that an image is always the same; None passes.

    Raises:
        ValueError: It does not say so.
    """
    if data is not None and getattr(data, "transform", True) is not None:
        raise ValueError(
            f"cache_latents is on, but {type(data).__name__} draws its training images anew every epoch, and only the "
            "first would be learnt: take data with fixed images (PairDataModule with augment false; the model's "
            "`mirror` augments cached latents), or set cache_latents to false"
        )


class LatentCache:
    """The latents of pairs and of their mirror images, in the CPU's memory, by (name, mirrored)."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, bool], Tensor] = {}

    def __call__(self, names: Sequence[str], mirrored: Tensor, encode: Callable[[Tensor], Tensor]) -> Tensor:
        """Latents of a batch, of which only those not seen before are encoded.

        Args:
            names: B names.
            mirrored: (B,) bool.
            encode: Indices of the batch to their latents.

        Returns:
            (B, 2, C, h, w), on the CPU.
        """
        keys = list(zip(names, mirrored.tolist()))
        missing = [i for i, key in enumerate(keys) if key not in self.kept]
        if missing:
            self.kept.update(zip([keys[i] for i in missing], encode(torch.tensor(missing)).cpu()))
        return torch.stack([self.kept[key] for key in keys])

    def clear(self) -> None:
        """Forget all, because the latents' scale has changed."""
        self.kept.clear()
