"""BoneRegressionPipeline: one network call from radiograph to soft-tissue image, without diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion.finite import refuse_broken
from diffusion.pipeline import BoneSuppressionOutput
from diffusion.unet import size_multiple


def predict_bone(unet: nn.Module, radiograph: Tensor, patch: int) -> Tensor:
    """The bone to take away from a radiograph (B, 1, H, W), in its grey levels, as one call of a U-Net.

    The network sees the image standardised (mean 0, standard deviation 1 each), as patch x patch pixels side by side
    in its channels (pixel unshuffle; Shi et al., arXiv:1609.05158), at timestep 0; its output is scaled back.
    """
    mean = radiograph.mean(dim=(2, 3), keepdim=True)
    deviation = radiograph.std(dim=(2, 3), keepdim=True).clamp(min=1e-3)
    seen = F.pixel_unshuffle((radiograph - mean) / deviation, patch)
    timesteps = torch.zeros(len(seen), dtype=torch.long, device=seen.device)
    return F.pixel_shuffle(unet(seen, timesteps, return_dict=False)[0], patch) * deviation


class BoneRegressionPipeline(DiffusionPipeline):
    """A U-Net that was trained to predict the bone itself; the least-squares or least-absolute answer, always the same.

    unet: build_unet's, with patch^2 channels in and out. patch: see `predict_bone`. trained_size: side in pixels of
    the square images that it was trained on.
    """

    def __init__(self, unet: nn.Module, patch: int = 2, trained_size: int = 256) -> None:
        super().__init__()
        channels: Any = unet.config
        if channels["in_channels"] != patch**2 or channels["out_channels"] != patch**2:
            raise ValueError(
                f"a U-Net of {channels['in_channels']} channels in and {channels['out_channels']} out: patch {patch} "
                f"needs {patch**2} of both"
            )
        self.register_modules(unet=unet.eval())
        self.register_to_config(patch=patch, trained_size=trained_size)

    @property
    def trained_size(self) -> int:
        """Side in pixels of the images in training."""
        return self.config["trained_size"]

    @property
    def size_multiple(self) -> int:
        """What an image's height and width must be divisible by."""
        return self.config["patch"] * size_multiple(self.unet)

    @torch.no_grad()
    def __call__(
        self, radiograph: Tensor, num_inference_steps: int = 1, seeds: Sequence[int] | None = None
    ) -> BoneSuppressionOutput:
        """radiograph: (B, 1, H, W) in [-1, 1], bones bright -> `.soft`, (B, 1, H, W) float32 in [-1, 1].

        num_inference_steps, seeds: as of BoneSuppressionPipeline; nothing here depends on them.
        ValueError: another shape, or a size that is not a multiple of `size_multiple`.
        """
        if radiograph.ndim != 4 or radiograph.shape[1] != 1:
            raise ValueError(f"a radiograph of shape {tuple(radiograph.shape)}: (B, 1, H, W) is needed")
        if any(side % self.size_multiple for side in radiograph.shape[2:]):
            raise ValueError(
                f"a radiograph of {tuple(radiograph.shape[2:])} pixels: height and width must be multiples of "
                f"{self.size_multiple}"
            )
        bone = predict_bone(self.unet, radiograph.to(self.unet.dtype), self.config["patch"]).float()
        return BoneSuppressionOutput(soft=(radiograph.float() - bone).clamp(-1, 1))

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, folder: str | Path, **options: Any
    ) -> BoneRegressionPipeline:
        """Load a folder that `save_pretrained` wrote, as diffusers does; ValueError for weights that are not finite."""
        pipeline = super().from_pretrained(str(folder), **options)
        refuse_broken(pipeline.components, folder)
        return pipeline
